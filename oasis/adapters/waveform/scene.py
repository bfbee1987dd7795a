"""Waveforms: a signal pulse on pulses of other shapes and on pickup, and pulses that pile up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oasis.adapters.options import Rising
from oasis.adapters.waveform.noise import Noise
from oasis.adapters.waveform.shapes import PulseShape
from oasis.data.mixing import Placed, Scene
from oasis.data.samples import Array, Scalar
from oasis.options import Options

Floats = NDArray[np.float64]

SIGNAL, INTERFERENCE = "signal", "interference"  # "background" is the region without any class
MHZ = 1e-3  # 1 / ns
EARLIEST = 3.0  # earliest start of background pulses before the waveform, in fall times


Positive = Annotated[float, Field(gt=0, le=1e9)]
Bounds = Annotated[tuple[Positive, Positive], Rising]


class PulseOptions(Options):
    """The options of one kind of pulse.

    Attributes:
        amplitude: bounds of the peak, mV, drawn log-uniformly.
        shape: the shape of the pulses.
        templates: a file of measured pulses, one per row, instead of `shape`; each is scaled to a peak of 1.
    """

    amplitude: Bounds = (0.5, 50.0)
    shape: PulseShape = PulseShape(rise_ns=20, fall_ns=150)
    templates: str | None = None


class BackgroundOptions(PulseOptions):
    """The options of the background: slow pulses, some from before the waveform, afterpulses, and pickup.

    Attributes:
        amplitude: bounds of the peak of a slow pulse, mV, drawn log-uniformly.
        shape: the shape of the slow pulses.
        templates: a file of measured pulses, one per row, instead of `shape`.
        pulses: mean number of slow pulses that begin in a waveform or shortly before it.
        afterpulses: mean number of afterpulses per slow pulse.
        afterpulse_share: bounds of their peaks, as fractions of the peak of the slow pulse.
        afterpulse_delay_ns: mean delay after the slow pulse; delays are exponential.
        afterpulse_shape: the shape of the afterpulses.
        pickup: fraction of the waveforms with a burst of pickup.
        pickup_amplitude: bounds of its height, mV.
        pickup_mhz: bounds of its frequency.
        pickup_ns: bounds of its duration.
    """

    amplitude: Bounds = (1.0, 20.0)
    shape: PulseShape = PulseShape(rise_ns=20, fall_ns=1000)
    pulses: float = Field(1.0, ge=0, le=1000)
    afterpulses: float = Field(1.0, ge=0, le=1000)
    afterpulse_share: Bounds = (0.05, 0.5)
    afterpulse_delay_ns: float = Field(500.0, gt=0, le=1e12)
    afterpulse_shape: PulseShape = PulseShape(rise_ns=5, fall_ns=40)
    pickup: float = Field(0.2, ge=0, le=1)
    pickup_amplitude: Bounds = (0.5, 3.0)
    pickup_mhz: Bounds = (1.0, 5.0)
    pickup_ns: Bounds = (500.0, 3000.0)


@dataclass(frozen=True)
class PulseSource:
    """The source of one kind of pulse: a shape, or measured templates.

    Attributes:
        options: the options of the pulses.
        templates: (k, m), each with a peak of 1, or None for the shape.
        sampling_ns: sampling period of the templates; pulses are interpolated linearly between samples.
    """

    options: PulseOptions
    templates: Floats | None = None
    sampling_ns: float = 1.0

    def amplitude(self, rng: np.random.Generator) -> float:
        """Return a random peak of a pulse, mV."""
        return _log_uniform(self.options.amplitude, rng)

    def pulse(self, times: Floats, rng: np.random.Generator) -> Floats:
        """Return a random pulse of peak 1 at times in ns after its start."""
        if self.templates is None:
            return self.options.shape.drawn(rng)(times)
        chosen = self.templates[rng.integers(len(self.templates))]
        return np.asarray(np.interp(times, self.sampling_ns * np.arange(len(chosen)), chosen, left=0, right=0))

    def mean(self, times: Floats) -> Floats:
        """Return the mean pulse at times in ns after its start, scaled to a peak of 1."""
        if self.templates is None:
            return self.options.shape(times)
        mean = self.templates.mean(axis=0) / self.templates.mean(axis=0).max()
        return np.asarray(np.interp(times, self.sampling_ns * np.arange(len(mean)), mean, left=0, right=0))


class _Waveforms(Scene):
    """The common base of both scenes.

    Args:
        classes: the class names.
        times: (n,) times of the samples, ns.
        arrival: bounds of the start of pulses, as fractions of the waveform.
        noise: noise and baseline, which belong to no class.
    """

    def __init__(self, classes: Sequence[str], times: Floats, arrival: tuple[float, float], noise: Noise) -> None:
        self.classes = tuple(classes)
        self.shape = (1, len(times))
        self.times = times
        self.arrival = arrival[0] * times[-1], arrival[1] * times[-1]
        self.noise = noise

    def observe(
        self, target: Array, placed: Sequence[Placed], rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the sum of the maps with noise and baseline, which may be negative."""
        image = target.sum(axis=0) + self.noise.draw(rng)
        return image.astype(np.float32), np.ones(self.shape, dtype=bool)

    def _place(self, name: str, values: Floats, meta: Mapping[str, float]) -> Placed:
        return Placed(name, values[None].astype(np.float32), (0,), meta)

    def _pulse(self, name: str, source: PulseSource, start: float, rng: np.random.Generator) -> Placed:
        """Return a random pulse that begins at `start` (ns), with its peak in mV."""
        amplitude = source.amplitude(rng)
        return self._place(
            name, amplitude * source.pulse(self.times - start, rng), {"start_ns": start, "peak": amplitude}
        )


class WaveformScene(_Waveforms):
    """A signal pulse in every even waveform, and a structured background in all of them.

    Args:
        times: (n,) times of the samples, ns.
        arrival: bounds of the start of signal pulses, as fractions of the waveform.
        noise: noise and baseline, which belong to no class.
        signal: the source of signal pulses.
        background: the source of slow pulses; its options also describe afterpulses and pickup.
    """

    def __init__(
        self,
        times: Floats,
        arrival: tuple[float, float],
        noise: Noise,
        signal: PulseSource,
        background: PulseSource,
    ) -> None:
        super().__init__((SIGNAL, INTERFERENCE), times, arrival, noise)
        self.signal = signal
        self.background = background

    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Scalar]]:
        """Return random slow pulses with their afterpulses, pickup and, in even waveforms, a signal pulse."""
        options: BackgroundOptions = self.background.options  # type: ignore[assignment]
        earliest = self.times[0] - EARLIEST * options.shape.fall_ns
        starts = rng.uniform(earliest, self.times[-1], rng.poisson(options.pulses))
        values = np.zeros(len(self.times))
        for start in starts:
            values += self._slow_pulse(start, options, rng)
        pickup = rng.random() < options.pickup
        if pickup:
            values += self._pickup(options, rng)
        placed = [self._place(INTERFERENCE, values, {"slow_pulses": len(starts), "pickup": pickup})]
        if index % 2 == 0:
            placed.append(self._pulse(SIGNAL, self.signal, float(rng.uniform(*self.arrival)), rng))
        return placed, {"kind": "background" if index % 2 else "signal", "slow_pulses": len(starts)}

    def _slow_pulse(self, start: float, options: BackgroundOptions, rng: np.random.Generator) -> Floats:
        amplitude = self.background.amplitude(rng)
        values = amplitude * self.background.pulse(self.times - start, rng)
        for delay in rng.exponential(options.afterpulse_delay_ns, rng.poisson(options.afterpulses)):
            share = _log_uniform(options.afterpulse_share, rng)
            values += share * amplitude * options.afterpulse_shape.drawn(rng)(self.times - start - delay)
        return values

    def _pickup(self, options: BackgroundOptions, rng: np.random.Generator) -> Floats:
        """Return a burst of rectified, non-negative oscillation with a smooth envelope."""
        height, frequency, duration = (
            _log_uniform(bounds, rng)
            for bounds in (options.pickup_amplitude, options.pickup_mhz, options.pickup_ns)
        )
        centre = rng.uniform(self.times[0], self.times[-1])
        place = np.clip((self.times - centre) / duration, -0.5, 0.5)
        phase = 2 * np.pi * (frequency * MHZ * self.times + rng.random())
        return np.asarray(height * np.cos(np.pi * place) ** 2 * (1 + np.cos(phase)) / 2)


class PulsesScene(_Waveforms):
    """Interchangeable pulses that pile up, numbered by the order of their start.

    Args:
        classes: the class names, one for each of the maximum number of pulses.
        times: (n,) times of the samples, ns.
        arrival: bounds of the start of pulses, as fractions of the waveform.
        noise: noise and baseline, which belong to no class.
        source: the source of the pulses.
        gap_ns: mean time from the start of one pulse to that of the next; gaps are exponential.
    """

    def __init__(
        self,
        classes: Sequence[str],
        times: Floats,
        arrival: tuple[float, float],
        noise: Noise,
        source: PulseSource,
        gap_ns: float,
    ) -> None:
        super().__init__(classes, times, arrival, noise)
        self.source = source
        self.gap_ns = gap_ns

    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Scalar]]:
        """Return random pulses; every number from none to the maximum is equally likely."""
        count = int(rng.integers(len(self.classes) + 1))
        first, last = self.arrival
        offsets = np.cumsum([0.0, *rng.exponential(self.gap_ns, max(count - 1, 0))])
        starts = np.minimum(rng.uniform(first, max(first, last - offsets[-1])) + offsets, last)[:count]
        placed = [
            self._pulse(name, self.source, float(start), rng)
            for name, start in zip(self.classes, starts, strict=False)
        ]
        return placed, {"pulses": count}


def _log_uniform(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))
