"""Intervals: 95 % confidence intervals, bootstrapped or, for fractions, from the binomial distribution."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, stdtrit

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

BLOCK = 2**21  # values drawn at a time
ENDS = ("", "_low", "_high")  # suffixes of the column names of an estimate
TAIL = 0.025  # probability on either side of an interval


class Estimate(NamedTuple):
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def columns(self, name: str) -> dict[str, float]:
        """Return the estimate as columns of a table: `name`, `name_low` and `name_high`.

        Example:
            >>> Estimate(2.0, 1.0, 4.0).columns("bias")
            {'bias': 2.0, 'bias_low': 1.0, 'bias_high': 4.0}
        """
        return {name + end: value for end, value in zip(ENDS, self, strict=True)}

    @classmethod
    def of(cls, row: Mapping[Any, Any], name: str) -> "Estimate":
        """Return the estimate in such columns of a row."""
        return cls(*(row[name + end] for end in ENDS))

    def __format__(self, spec: str) -> str:
        return f"{self.value:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def group_codes(count: int, groups: ArrayLike | None = None) -> Counts:
    """Map group labels to integer codes; an event without a label forms its own group.

    Args:
        count: number of events.
        groups: (count,) names or numbers; None or NaN for an event without a label. None for no groups at all.

    Example:
        >>> group_codes(4, [7.0, np.nan, 7.0, np.nan])
        array([0, 1, 0, 2])
    """
    if groups is None:
        return np.arange(count)
    codes, names = pd.factorize(np.asarray(groups))
    alone = codes < 0
    codes[alone] = len(names) + np.arange(alone.sum())
    return codes.astype(np.int64)


def resample(codes: Counts, resamples: int, rng: np.random.Generator) -> Counts:
    """Draw whole groups with replacement and return how often each event was drawn, (resamples, n).

    Example:
        >>> resample(np.array([0, 0, 1]), 2, np.random.default_rng(0))
        array([[0, 0, 2],
               [1, 1, 1]])
    """
    count = int(codes.max()) + 1
    drawn = rng.integers(count, size=(resamples, count))
    drawn += count * np.arange(resamples)[:, None]
    times = np.bincount(drawn.ravel(), minlength=resamples * count).reshape(resamples, count)
    return times[:, codes]


def bootstrap(
    values: Floats,
    statistic: Callable[[Floats], Floats],
    resamples: int = 1000,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> Estimate:
    """Return a statistic with its bootstrap percentile interval.

    Args:
        values: (n,) one value per event; unknown ones are NaN and ignored.
        statistic: maps (resamples, n) to (resamples,). With groups, resamples differ in length and are padded with
            NaN, which the statistic must ignore.
        resamples: number of resamples.
        seed: the seed of the resampling.
        groups: (n,) the group of each event, as for `group_codes`; whole groups are resampled (the cluster
            bootstrap), since events within a group are correlated and would make the interval too narrow.

    Example:
        >>> bootstrap(np.arange(100.0), lambda x: np.median(x, axis=-1)).value
        49.5
    """
    known = ~np.isnan(values)
    values, groups = values[known], None if groups is None else np.asarray(groups)[known]
    if len(values) == 0:
        return Estimate(np.nan, np.nan, np.nan)
    codes, rng = group_codes(len(values), groups), np.random.default_rng(seed)
    blocks = block_sizes(resamples, len(values))
    with np.errstate(invalid="ignore"):  # infinity less infinity
        drawn = np.concatenate([statistic(_repeated(values, resample(codes, size, rng))) for size in blocks])
        return Estimate(float(statistic(values[None])[0]), *percentiles(drawn))


def block_sizes(resamples: int, width: int) -> list[int]:
    """Divide resamples of `width` values each into blocks that fit into memory."""
    step = max(1, BLOCK // width)
    return [min(step, resamples - start) for start in range(0, resamples, step)]


def _repeated(values: Floats, counts: Counts) -> Floats:
    """Return each value as often as it was drawn, one row per resample, padded with NaN."""
    lengths = counts.sum(axis=1)
    rows = np.full((len(counts), lengths.max()), np.nan)
    rows[np.arange(rows.shape[1]) < lengths[:, None]] = np.repeat(np.tile(values, len(counts)), counts.ravel())
    return rows


def percentiles(drawn: Floats) -> tuple[float, float]:
    """Return the ends of the 95 % percentile interval of bootstrapped values."""
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL])
    return float(low), float(high)


def rate(hits: ArrayLike, groups: ArrayLike | None = None) -> Estimate:
    r"""Return the fraction of events that are hits with its exact interval (Clopper and Pearson 1934).

    Events within a group are correlated, so they carry less information than independent ones: the interval is
    that of the effective sample size (Korn and Graubard 1998)

    .. math:: n_\mathrm{eff} = \frac{p\,(1 - p)}{V} \left(\frac{t_{n - 1}}{t_{G - 1}}\right)^2 \le n, \qquad
        V = \frac{G}{G - 1} \sum_g \Big(\sum_{i \in g} (h_i - p)\Big)^2 / n^2

    with Student's t at 97.5 %. If all events are hits or none is, it is G: the correlation cannot be estimated.

    Args:
        hits: (n,) bool.
        groups: (n,) the group of each event, as for `group_codes`.

    Example:
        >>> f"{rate([True] * 6 + [False] * 494):.2%}"
        '1.20% [0.44%, 2.59%]'
    """
    values = np.asarray(hits, dtype=float)
    if not len(values):
        return Estimate(np.nan, np.nan, np.nan)
    share, count = float(values.mean()), effective_events(values, group_codes(len(values), groups))
    found = share * count
    low = float(betaincinv(found, count - found + 1, TAIL)) if share > 0 else 0.0
    high = float(betaincinv(found + 1, count - found, 1 - TAIL)) if share < 1 else 1.0
    return Estimate(share, low, high)


def effective_events(hits: NDArray[Any], codes: Counts) -> float:
    """Return the effective sample size; see `rate`."""
    count, groups = len(codes), int(codes.max()) + 1
    share = hits.mean()
    if groups == count or share in (0, 1) or groups == 1:
        return float(groups)
    sums = np.bincount(codes, hits - share)
    variance = groups / (groups - 1) * (sums**2).sum() / count**2
    ratio = stdtrit(count - 1, 1 - TAIL) / stdtrit(groups - 1, 1 - TAIL)
    return float(min(count, share * (1 - share) / max(variance, 1e-300) * ratio**2))


def group_column(rows: pd.DataFrame, name: str | None) -> NDArray[Any] | None:
    """Return the groups of the rows of an event table, None if there is no such column."""
    return rows[name].to_numpy() if name in rows else None
