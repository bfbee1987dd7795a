"""ROC curves: how well a score separates signal from background events, and the efficiency at given thresholds."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import binom, rankdata

from oasis.stats.intervals import (
    TAIL,
    Counts,
    Estimate,
    Floats,
    block_sizes,
    effective_events,
    group_codes,
    percentiles,
    rate,
    resample,
)

Groups = tuple[ArrayLike | None, ArrayLike | None]

FEWEST = 10  # background events above a threshold for which its efficiency is stated
RATES = (1e-2, 1e-3)  # false positive rates of a summary
ROC_RATES = np.union1d(RATES, np.linspace(0, 1, 101))  # false positive rates of a drawn curve with its band


def roc(signal: Floats, background: Floats) -> tuple[Floats, Floats]:
    """Return false and true positive rates for every threshold on a score.

    Example:
        >>> roc(np.array([2.0, 3.0]), np.array([1.0, 2.5]))
        (array([0. , 0. , 0.5, 0.5, 1. ]), array([0. , 0.5, 0.5, 1. , 1. ]))
    """
    thresholds = np.concatenate([[np.inf], np.unique(np.concatenate([signal, background]))[::-1]])
    false = 1 - np.searchsorted(np.sort(background), thresholds, side="left") / len(background)
    true = 1 - np.searchsorted(np.sort(signal), thresholds, side="left") / len(signal)
    return false, true


def auc(
    signal: Floats, background: Floats, groups: Groups = (None, None), resamples: int = 1000, seed: int = 0
) -> Estimate:
    """Return the area under the ROC curve: the probability that a signal event outscores a background event.

    Ties count half.

    The percentile interval resamples signal and background events independently.

    Args:
        signal: (m,) scores.
        background: (n,) scores.
        groups: the group of each signal and of each background event; whole groups are resampled.
        resamples: number of resamples.
        seed: the seed of the resampling.

    Example:
        >>> auc(np.array([2.0, 3.0]), np.array([1.0, 2.5])).value
        0.75
    """
    if not len(signal) or not len(background):
        return Estimate(np.nan, np.nan, np.nan)
    order = np.argsort(background)
    lower, upper = (np.searchsorted(background[order], signal, side=side) for side in ("left", "right"))

    def area(of_signal: Counts, of_background: Counts) -> Floats:
        below = _cumulated(of_background[:, order])
        wins = (of_signal * (below[:, lower] + below[:, upper])).sum(axis=1) / 2
        return np.asarray(wins / (of_signal.sum(axis=1) * below[:, -1]))

    codes = group_codes(len(signal), groups[0]), group_codes(len(background), groups[1])
    drawn = np.concatenate([area(*counts) for counts in _resample_both(*codes, resamples, seed)])
    once = (np.ones((1, len(scores)), dtype=np.int64) for scores in (signal, background))
    return Estimate(float(area(*once)[0]), *percentiles(drawn))


def rank_auc(score: Floats, signal: Floats) -> Floats:
    """Return the area under the ROC curve from the ranks of signal events (Mann and Whitney 1947).

    Args:
        score: (..., n).
        signal: (..., n) 1 for signal, 0 for background, NaN for ignored events.

    Example:
        >>> float(rank_auc(np.array([2.0, 3.0, 1.0, 2.5]), np.array([1, 1, 0, 0])))
        0.75
    """
    known = np.isfinite(signal)
    signal = np.where(known, signal, 0)
    positive = signal.sum(axis=-1)
    pairs = positive * (known.sum(axis=-1) - positive)
    ranks = (rankdata(np.where(known, score, np.inf), axis=-1) * signal).sum(axis=-1)
    ahead = ranks - positive * (positive + 1) / 2
    return np.asarray(ahead / np.where(pairs > 0, pairs, np.nan))


def rank_true_rate(score: Floats, signal: Floats, false_rate: float) -> Floats:
    """Return the fraction of signal events above the score that at most `false_rate` of the background exceeds.

    Args:
        score: (..., n).
        signal: (..., n) 1 for signal, 0 for background, NaN for ignored events.
        false_rate: the false positive rate, 0 to 1.

    Example:
        >>> float(rank_true_rate(np.array([5.0, 2.0, 1.0, 2.5]), np.array([1, 1, 0, 0]), 0.1))
        0.5
    """
    background = np.sort(np.where(signal == 0, -score, np.inf), axis=-1)
    allowed = _allowed(np.asarray(false_rate), (signal == 0).sum(axis=-1))
    place = np.minimum(allowed, background.shape[-1] - 1)  # beyond it there is no signal
    threshold = -np.take_along_axis(background, place[..., None], axis=-1)
    positive = (signal == 1).sum(axis=-1)
    return np.asarray(
        ((signal == 1) & (score > threshold)).sum(axis=-1) / np.where(positive > 0, positive, np.nan)
    )


def _resample_both(
    signal: Counts, background: Counts, resamples: int, seed: int
) -> Iterator[tuple[Counts, Counts]]:
    rng = np.random.default_rng(seed)
    for size in block_sizes(resamples, len(signal) + len(background)):
        yield resample(signal, size, rng), resample(background, size, rng)


def _cumulated(counts: Counts) -> Counts:
    """Return the cumulative sums of counts from 0 to the total, (resamples, n + 1)."""
    return np.pad(counts.cumsum(axis=1), ((0, 0), (1, 0)))


_MEASURED = ("threshold", "threshold_low", "threshold_high", "true_rate", "true_rate_low", "true_rate_high")


def operating_points(
    signal: Floats,
    background: Floats,
    rates: Sequence[float] | Floats = RATES,
    groups: Groups = (None, None),
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the true positive rate at given false positive rates; a fine grid of rates gives the ROC curve.

    An event is detected if its score exceeds the threshold: the lowest background score that at most the requested
    fraction of background events exceeds. Intervals are 95 % at each rate separately, not simultaneously:

    - The interval of the threshold lies between order statistics of the background, whose ranks are the 95 %
      range of the number of background events above the true threshold, a binomial variable of n and the rate. It
      is exact without groups, and infinite if the events are too few to bound the threshold.
    - The interval of the true positive rate covers the percentile interval of resampled signal and background and
      the interval of `rate` at the threshold, since a rate of 0 or 1 does not vary when it is resampled.

    Args:
        signal: (m,) scores.
        background: (n,) scores.
        rates: (r,) false positive rates, 0 to 1.
        groups: the group of each signal and of each background event, which widen the intervals as in `rate`.
        resamples: number of resamples.
        seed: the seed of the resampling.

    Returns:
        One row per rate: `false_rate`, `threshold` and `true_rate` with their `_low` and `_high`, and `enough`:
        whether 10 (effective) background events lie above the threshold, for which 10 / rate are needed.

    Example:
        >>> points = operating_points(np.arange(50.0, 150), np.arange(100.0), [0.1])
        >>> points[["false_rate", "threshold", "true_rate", "enough"]]
           false_rate  threshold  true_rate  enough
        0         0.1       89.0        0.6    True
    """
    false_rate = np.asarray(rates, dtype=float)
    points = pd.DataFrame({"false_rate": false_rate, **dict.fromkeys(_MEASURED, np.nan), "enough": False})
    if not (len(signal) and len(background)):
        return points
    codes = group_codes(len(signal), groups[0]), group_codes(len(background), groups[1])
    falling = np.append(np.sort(background)[::-1], -np.inf)
    points["threshold"] = threshold = falling[_allowed(false_rate, len(background))]
    effective = np.array([effective_events(background > one, codes[1]) for one in threshold])
    points[["threshold_low", "threshold_high"]] = _threshold_interval(falling, false_rate, effective)
    drawn = _resampled_rates(signal, background, false_rate, codes, resamples, seed)
    points[list(_MEASURED[3:])] = _widened([rate(signal > one, codes[0]) for one in threshold], *drawn)
    points["enough"] = effective * false_rate >= FEWEST - 1e-9
    return points


def _widened(found: Sequence[Estimate], low: Floats, high: Floats) -> Floats:
    """Return estimates (r, 3) with intervals that cover further ones."""
    value, lower, upper = np.transpose(found)
    return np.stack([value, np.fmin(lower, low), np.fmax(upper, high)], axis=1)


def _allowed(false_rate: Floats, events: int | Counts) -> Counts:
    """Return the largest number of background events above the threshold."""
    return np.asarray(np.floor(false_rate * events + 1e-9), dtype=np.int64)  # 0.29 * 100 is a little less than 29


def _threshold_interval(falling: Floats, false_rate: Floats, effective: Floats) -> Floats:
    """Return the ends (r, 2) of the interval from background scores in decreasing order, followed by -inf."""
    count = len(falling) - 1
    events = np.maximum(np.rint(effective), 1)
    fewest, most = (binom.ppf(part, events, false_rate) * count / events for part in (TAIL, 1 - TAIL))
    rising = np.append(np.inf, falling)
    low = falling[np.minimum(np.ceil(most - 1e-9), count).astype(int)]
    high = rising[np.floor(fewest + 1e-9).astype(int)]
    return np.stack([low, high], axis=1)


def _resampled_rates(
    signal: Floats, background: Floats, false_rate: Floats, codes: tuple[Counts, Counts], resamples: int, seed: int
) -> Floats:
    """Return the percentile interval of the true positive rate at each false positive rate, (2, r)."""
    orders = np.argsort(-signal), np.argsort(-background)
    above = np.searchsorted(np.sort(-signal), np.append(-background[orders[1]], np.inf), side="left")
    blocks = []
    for of_signal, of_background in _resample_both(*codes, resamples, seed):
        kept = of_background[:, orders[1]].cumsum(axis=1)
        allowed = _allowed(false_rate, kept[:, -1:])
        offset = (kept.max() + 1) * np.arange(len(kept))[
            :, None
        ]  # separates the rows, so that one search serves all
        place = np.searchsorted((kept + offset).ravel(), allowed + offset, side="right")
        place -= kept.shape[1] * np.arange(len(kept))[:, None]
        passed = _cumulated(of_signal[:, orders[0]])
        blocks.append(np.take_along_axis(passed, above[place], axis=1) / passed[:, -1:])
    return np.asarray(np.quantile(np.concatenate(blocks), [TAIL, 1 - TAIL], axis=0))
