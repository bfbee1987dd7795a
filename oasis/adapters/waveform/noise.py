"""Noise of waveforms: simulated from a power spectrum, or cut out of measured traces.

Both kinds provide their autocovariance, from which a matched filter is built.
Reference: Timmer and Koenig 1995, Astron. Astrophys. 300, 707: noise of a given spectrum.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.signal import lfilter

from oasis.adapters.waveform.files import read_spectrum
from oasis.errors import ConfigError
from oasis.options import Options

Floats = NDArray[np.float64]

NS = 1e3  # MHz: 1 / ns is 1000 MHz


class Noise(Protocol):
    """Noise and baseline of a waveform of n samples, which belong to no class."""

    @property
    def rms(self) -> float:
        """Standard deviation without the slow baseline, mV."""

    @property
    def autocovariance(self) -> Floats:
        """The autocovariance (n,) by lag in samples, mV^2, including the baseline."""

    def draw(self, rng: np.random.Generator) -> Floats:
        """Return noise and baseline of one waveform (n,), mV."""


class NoiseOptions(Options):
    """The options of noise and baseline, which are part of the image but of no class.

    Attributes:
        rms: standard deviation of the noise, mV.
        exponent: power law of the coloured part of the noise: its power density is proportional to frequency to
            the power of minus this.
        corner_mhz: the frequency at which the coloured part equals the white one; 0 for white noise.
        spectrum: a power density instead of these two: pairs of frequency in MHz and density in any unit, or a
            file with these two columns; it is scaled to `rms`.
        wander: standard deviation of the slow baseline, mV.
        wander_ns: correlation time of the baseline.
        traces: a file of measured waveforms without signal, mV, instead of all of the above.
    """

    rms: float = Field(1.0, gt=0, le=1e9)
    exponent: float = Field(1.0, ge=0, le=10)
    corner_mhz: float = Field(1.0, ge=0, le=1e9)
    spectrum: str | tuple[tuple[float, float], ...] | None = None
    wander: float = Field(1.0, ge=0, le=1e9)
    wander_ns: float = Field(4000.0, gt=0, le=1e12)
    traces: str | None = None

    def gaussian(self, samples: int, sampling_ns: float) -> "GaussianNoise":
        """Return the noise that these options describe, for waveforms of a given length.

        Raises:
            ConfigError: the spectrum has no power at the frequencies of the waveforms.
            DataError: the spectrum is invalid.
        """
        frequency = np.asarray(np.fft.rfftfreq(2 * samples, sampling_ns / NS), dtype=np.float64)
        noise = self._density(frequency)
        noise[0] = 0  # the constant is part of the baseline
        noise[-1] /= 2  # the bin ends at the Nyquist frequency
        if not noise.any():
            raise ConfigError(
                "data.noise.spectrum: no power at the frequencies of the waveforms, "
                f"{frequency[1]:.3g} to {frequency[-1]:.3g} MHz"
            )
        share = np.exp(-sampling_ns / self.wander_ns)
        return GaussianNoise(self.rms**2 * noise / noise.sum(), self.rms, self.wander, float(share))

    def _density(self, frequency: Floats) -> Floats:
        if self.spectrum is None:
            return np.asarray(1 + (self.corner_mhz / np.maximum(frequency, frequency[1])) ** self.exponent)
        where = self.spectrum if isinstance(self.spectrum, str) else "data.noise.spectrum"
        return np.interp(frequency, *read_spectrum(self.spectrum, where), left=0, right=0)


@dataclass(frozen=True)
class GaussianNoise:
    """Gaussian noise of a given power spectrum on a drifting baseline.

    The noise is generated with twice the length of a waveform and cut, because it is periodic. The baseline is an
    Ornstein-Uhlenbeck process: its autocovariance falls exponentially with the lag.

    Attributes:
        variances: (n + 1,) power at the frequencies of 2n samples; their sum is the variance of the noise, mV^2.
        rms: standard deviation of the noise, mV.
        wander: standard deviation of the baseline, mV.
        memory: correlation of the baseline between neighbouring samples.

    Example:
        >>> noise = NoiseOptions(rms=2.0, wander=1.0).gaussian(samples=512, sampling_ns=4.0)
        >>> noise.draw(np.random.default_rng(0)).shape, round(float(noise.autocovariance[0]), 6)
        ((512,), 5.0)
    """

    variances: Floats
    rms: float
    wander: float
    memory: float

    @property
    def autocovariance(self) -> Floats:
        """The covariance (n,) of two samples by the distance between them, mV^2; baseline included."""
        samples = len(self.variances) - 1
        noise = np.fft.irfft(_halved(self.variances), norm="forward")[:samples]
        return np.asarray(noise + self.wander**2 * self.memory ** np.arange(samples))

    def draw(self, rng: np.random.Generator) -> Floats:
        """Return noise and baseline of one waveform (n,), mV."""
        samples = len(self.variances) - 1
        real, imaginary = rng.standard_normal((2, samples + 1)) * np.sqrt(self.variances)
        noise = np.fft.irfft(_halved(real + 1j * imaginary), norm="forward")[:samples]
        steps = rng.standard_normal(samples) * self.wander
        steps[1:] *= np.sqrt(1 - self.memory**2)
        return np.asarray(noise + lfilter([1.0], [1.0, -self.memory], steps))


def _halved(spectrum: NDArray[Any]) -> NDArray[Any]:
    """Divide power or amplitudes among positive and negative frequencies; 0 and Nyquist have no counterpart."""
    return np.concatenate([spectrum[:1], spectrum[1:-1] / 2, spectrum[-1:]])


@dataclass(frozen=True)
class MeasuredNoise:
    """Windows of measured traces without signal.

    Attributes:
        traces: (k, m), mV.
        samples: length n of a waveform, at most m.
    """

    traces: Floats
    samples: int

    @property
    def rms(self) -> float:
        """Standard deviation around the mean of each trace, mV."""
        return float(np.sqrt(self.traces.var(axis=1).mean()))

    @property
    def autocovariance(self) -> Floats:
        """The autocovariance (n,) by lag in samples, mV^2; see `measured_autocovariance`."""
        return measured_autocovariance(self.traces)[: self.samples]

    def draw(self, rng: np.random.Generator) -> Floats:
        """Return one window (n,), mV."""
        count, length = self.traces.shape
        start = rng.integers(length - self.samples + 1)
        return self.traces[rng.integers(count), start : start + self.samples]


def measured_autocovariance(traces: NDArray[np.floating]) -> Floats:
    """Return the autocovariance (m,) of traces (k, m) by lag: the sum of products of two samples, divided by k m.

    No mean is subtracted: the mean of a trace is part of its covariance. Dividing by k m instead of the number of
    pairs makes the estimate positive definite for any traces.

    Example:
        >>> measured_autocovariance(np.array([[1.0, -1.0, 1.0]])).round(3)
        array([ 1.   , -0.667,  0.333])
    """
    length = traces.shape[1]
    power = (np.abs(np.fft.rfft(traces, 2 * length)) ** 2).mean(axis=0)
    return np.asarray(np.fft.irfft(power, 2 * length)[:length] / length)
