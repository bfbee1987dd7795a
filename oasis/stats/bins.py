"""Bins of a quantity, and bias, spread and IoU of the events in them.

A bin contains its lower edge but not its upper one. A value at the last edge is in no bin, nor is NaN.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from oasis.stats.intervals import Floats, bootstrap, group_column


class Bin(NamedTuple):
    """A bin of a quantity: a half-open interval.

    Attributes:
        low: the lower edge, included.
        high: the upper edge, excluded.
    """

    low: float
    high: float

    @property
    def name(self) -> str:
        """The edges as text, those below 1,000 with four digits.

        Example:
            >>> Bin(4, 5.5).name, Bin(0.125, 2**-1.5).name, Bin(1000, 20480).name
            ('4-5.5', '0.125-0.3536', '1000-20480')
        """
        return "-".join(f"{edge:.4g}" if abs(edge) < 1000 else f"{edge:g}" for edge in self)

    @property
    def centre(self) -> float:
        """The midpoint of the edges."""
        return (self.low + self.high) / 2

    def contains(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Return which values are in the bin; NaN is in none."""
        values = np.asarray(values)
        return np.asarray((values >= self.low) & (values < self.high))


def bins_of(edges: Sequence[float]) -> list[Bin]:
    """Return the bins between increasing edges.

    Example:
        >>> [(one.name, one.contains([3, 4, 5.5]).tolist()) for one in bins_of([3, 4, 5.5])]
        [('3-4', [True, False, False]), ('4-5.5', [False, True, False])]
    """
    return [Bin(low, high) for low, high in pairwise(edges)]


def bin_numbers(values: ArrayLike, edges: ArrayLike) -> NDArray[np.int64]:
    """Return the bin number of every value: 0 below the first edge, n from the n-th edge on.

    Example:
        >>> bin_numbers([2, 3, 4], [3, 4])
        array([0, 1, 2])
    """
    return np.asarray(np.searchsorted(np.asarray(edges), np.asarray(values), side="right"), dtype=np.int64)


def median(values: Floats) -> Floats:
    """Return the median over the last axis; of relative errors, it is the bias."""
    return _quantile(values, 0.5)


def spread(values: Floats) -> Floats:
    """Return the 25th to 75th percentile range over the last axis."""
    with np.errstate(invalid="ignore"):
        return np.asarray(_quantile(values, 0.75) - _quantile(values, 0.25))


def quartiles(values: ArrayLike) -> Floats:
    """Return the quartiles (3,) of values (n,), ignoring NaN but not infinity; NaN if no value is finite.

    Example:
        >>> quartiles([1.0, 2.0, np.nan, np.inf])
        array([1.5, 2. , inf])
    """
    row = np.asarray(values, dtype=float)[None]
    if not np.isfinite(row).any():
        return np.full(3, np.nan)
    return np.array([float(_quantile(row, share)[0]) for share in (0.25, 0.5, 0.75)])


def _quantile(values: Floats, share: float) -> Floats:
    """Return a quantile of every row (r, n), ignoring NaN, interpolated linearly as in numpy."""
    ordered = np.sort(values, axis=-1)
    last = (~np.isnan(ordered)).sum(axis=-1) - 1
    place = last * share
    low = np.floor(place).astype(int)
    below, above = (np.take_along_axis(ordered, at[:, None], 1)[:, 0] for at in (low, np.minimum(low + 1, last)))
    with np.errstate(invalid="ignore"):  # infinity less infinity
        between = below + (above - below) * (place - low)
    return np.where((place == low) | (above == below), below, between)


def binned(table: pd.DataFrame, quantity: str, edges: Sequence[float], group: str | None = None) -> pd.DataFrame:
    """Return bias, spread and IoU in bins of a quantity, each with its 95 % bootstrap interval.

    Bias is the median of `delta_percent`, spread its 25th to 75th percentile range (the paper's definitions).

    Args:
        table: the rows of one class.
        quantity: the column to bin by.
        edges: the edges of the bins.
        group: the column that identifies the object if objects appear in several events: whole groups are
            resampled.

    Returns:
        One row per bin: `low`, `high`, `events`, the quartiles `quarter` and `three_quarters` of `delta_percent`,
        and `bias`, `spread` and `iou`, each with its interval in columns `_low` and `_high`.
    """
    rows = []
    for one in bins_of(edges):
        events = table[one.contains(table[quantity])]
        row: dict[str, Any] = {**one._asdict(), "events": len(events)}
        quarter, _, three_quarters = quartiles(events["delta_percent"])
        row |= {"quarter": quarter, "three_quarters": three_quarters}
        for name, column, statistic in (
            ("bias", "delta_percent", median),
            ("spread", "delta_percent", spread),
            ("iou", "iou", median),
        ):
            known = events[events[column].notna()]
            values = known[column].to_numpy(dtype=float)
            estimate = bootstrap(values, statistic, groups=group_column(known, group))
            row |= estimate.columns(name)
        rows.append(row)
    return pd.DataFrame(rows)
