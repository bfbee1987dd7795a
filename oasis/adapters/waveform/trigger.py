"""Triggers that find a pulse in a waveform without a network, and the efficiency of a score.

References:
    Gatti and Manfredi 1986, Riv. Nuovo Cimento 9, 1: optimum filters for detector pulses.
    Kay, Fundamentals of Statistical Signal Processing II: Detection Theory, 1998, chapters 5 and 7.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, toeplitz

from oasis.adapters.waveform.metrics import arrival
from oasis.errors import DataError
from oasis.stats.bins import bins_of
from oasis.stats.intervals import rate

Floats = NDArray[np.float64]

LOADING = 1e-6  # minimum white fraction of the variance, so that a covariance can be inverted


class Found(NamedTuple):
    """The most pulse-like position in each of k waveforms.

    Attributes:
        score: (k,) score by which waveforms are ranked.
        amplitude: (k,) amplitude of the pulse, mV.
        arrival: (k,) time at which it crosses half of its peak, in samples.
    """

    score: Floats
    amplitude: Floats
    arrival: Floats


def threshold_trigger(waveforms: NDArray[np.floating]) -> Found:
    """Return the largest excess of each waveform (k, n) over its median.

    Example:
        >>> found = threshold_trigger(np.array([[1.0, 1.0, 1.0, 4.0, 2.0]]))
        >>> found.score, found.arrival
        (array([3.]), array([2.5]))
    """
    above = waveforms - np.median(waveforms, axis=1, keepdims=True)
    peak = above.max(axis=1).astype(float)
    return Found(peak, peak, np.array([arrival(one) for one in above]))


class Whitening:
    """The inverse of the covariance of stationary noise.

    Args:
        autocovariance: (n,) autocovariance of the noise by lag in samples, mV^2.
    """

    def __init__(self, autocovariance: NDArray[np.floating]) -> None:
        covariance = toeplitz(autocovariance)
        covariance[np.diag_indices_from(covariance)] *= 1 + LOADING
        try:
            self._factor = cho_factor(covariance, overwrite_a=True)
        except LinAlgError:
            raise DataError(
                "the autocovariance is not positive definite: estimate it from more or longer traces"
            ) from None

    def __call__(self, columns: NDArray[np.floating]) -> Floats:
        """Return the inverse of the covariance times columns (n,) or (n, k)."""
        return np.asarray(cho_solve(self._factor, columns))

    def significance(self, pulse: NDArray[np.floating]) -> float:
        """Return the largest signal-to-noise ratio that a linear filter can achieve for a known pulse (n,)."""
        values = pulse.astype(float)
        return float(np.sqrt(values @ self(values)))


class MatchedFilter:
    r"""The optimal linear filter for a pulse of known shape in stationary noise, over all arrival times.

    With the covariance C of the noise and the pulse :math:`s_j` that begins at sample j, for a waveform x

    .. math:: A_j = \frac{s_j^T C^{-1} x}{s_j^T C^{-1} s_j}, \qquad
        z_j = A_j \sqrt{s_j^T C^{-1} s_j}

    are the best estimate of the amplitude and its significance, standard normal without a pulse. The score of a
    waveform is the largest z. In Gaussian noise it is the likelihood ratio of the best positive amplitude and the
    best arrival. Edges are exact: C is the covariance of the n samples, not that of periodic noise.

    Args:
        pulse: (m,) pulse with a peak of 1 that begins at its first sample.
        autocovariance: (n,) autocovariance of the noise by lag in samples, mV^2.

    Example:
        >>> white = np.eye(5)[0]
        >>> found = MatchedFilter(np.array([1.0, 0.5]), white)(np.array([[0.0, 0.0, 0.0, 2.0, 1.0]]))
        >>> found.amplitude.round(4), found.score.round(4)
        (array([2.]), array([2.2361]))
    """

    def __init__(self, pulse: NDArray[np.floating], autocovariance: NDArray[np.floating]) -> None:
        samples = len(autocovariance)
        first = np.concatenate([pulse, np.zeros(samples)])[:samples]
        last = samples - int(first.argmax())  # so that the peak is within the waveform
        pulses = toeplitz(np.where(np.arange(last) == 0, first[0], 0), first)
        weights = Whitening(autocovariance)(pulses.T)
        self.significance = np.sqrt((pulses.T * weights).sum(axis=0))
        self.weights = weights / self.significance
        self.offset = arrival(first)

    def __call__(self, waveforms: NDArray[np.floating]) -> Found:
        """Return the most pulse-like position in each waveform (k, n)."""
        scores = waveforms @ self.weights
        place = scores.argmax(axis=1)
        best = scores[np.arange(len(scores)), place]
        return Found(best, best / self.significance[place], place + self.offset)


def efficiency(
    signal: NDArray[np.floating],
    snr: NDArray[np.floating],
    background: NDArray[np.floating],
    edges: Sequence[float],
    false_rate: float = 0.01,
) -> pd.DataFrame:
    """Return the efficiency of a score in bins of the signal-to-noise ratio of pulses.

    A pulse is found if its score exceeds the threshold: the lowest score that at most the requested fraction of
    the waveforms without a pulse exceeds. Scores are thus compared at an equal rate of false positives.

    Args:
        signal: (m,) scores of waveforms with a pulse.
        snr: (m,) signal-to-noise ratios of these pulses.
        background: (k,) scores of waveforms without one.
        edges: the edges of the bins, which are closed below and open above.
        false_rate: the rate of false positives.

    Returns:
        One row per bin: `low`, `high`, `events`, and `efficiency` with the ends `_low` and `_high` of its exact
        95 % interval (Clopper and Pearson 1934), at the threshold of `attrs["threshold"]`.

    Raises:
        DataError: there are too few waveforms without a pulse for the rate of false positives.

    Example:
        >>> table = efficiency(np.arange(100.0), np.arange(100.0), np.arange(50.0), [0, 50, 100], false_rate=0.5)
        >>> table[["low", "high", "events", "efficiency"]].to_numpy().tolist()
        [[0.0, 50.0, 50.0, 0.5], [50.0, 100.0, 50.0, 1.0]]
    """
    allowed = int(false_rate * len(background) + 1e-9)
    if allowed < 1:
        raise DataError(
            f"a rate of {false_rate:g} false positives cannot be set with {len(background)} waveforms without a "
            f"pulse: at least {int(np.ceil(1 / false_rate))} are needed, ten times as many for a stable threshold"
        )
    threshold = float(np.sort(background)[-1 - allowed])
    rows = []
    for one in bins_of(edges):
        hits = signal[one.contains(snr)] > threshold
        rows.append({**one._asdict(), "events": len(hits), **rate(hits).columns("efficiency")})
    table = pd.DataFrame(rows)
    table.attrs["threshold"] = threshold
    return table
