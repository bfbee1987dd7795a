"""Bins: bias, spread and IoU of events in bins of a quantity."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from oasis.stats.intervals import Floats, bootstrap, group_column


def median(values: Floats) -> Floats:
    """Return the median over the last axis: the bias, of relative errors."""
    return _quantile(values, 0.5)


def spread(values: Floats) -> Floats:
    """Return the 25th to 75th percentile range over the last axis."""
    return _quantile(values, 0.75) - _quantile(values, 0.25)


def _quantile(values: Floats, share: float) -> Floats:
    """Return a quantile of every row (r, n), NaN left out, interpolated linearly as numpy does."""
    ordered = np.sort(values, axis=-1)
    last = (~np.isnan(ordered)).sum(axis=-1) - 1
    place = last * share
    low = np.floor(place).astype(int)
    below, above = (np.take_along_axis(ordered, at[:, None], 1)[:, 0] for at in (low, np.minimum(low + 1, last)))
    return np.asarray(below + (above - below) * (place - low))


def binned(table: pd.DataFrame, quantity: str, edges: Sequence[float], group: str | None = None) -> pd.DataFrame:
    """Return bias, spread and IoU in bins of a quantity, each with its 95 % bootstrap interval.

    Bias is the median of `delta_percent`, spread its 25th to 75th percentile range (the paper's definitions).

    Args:
        table: the rows of one class.
        quantity: the column to bin by.
        edges: of the bins, which are closed below and open above.
        group: the column that names the object in an event, where objects repeat: whole groups are resampled.

    Returns:
        One row per bin: `low`, `high`, `events`, the quartiles `quarter` and `three_quarters` of `delta_percent`,
        then `bias`, `spread` and `iou`, each also with `_low` and `_high`.
    """
    rows = []
    for low, high in pairwise(edges):
        events = table[(table[quantity] >= low) & (table[quantity] < high)]
        delta = events["delta_percent"].dropna().to_numpy(dtype=float)
        row: dict[str, float] = {"low": low, "high": high, "events": len(events)}
        quarters = np.quantile(delta, [0.25, 0.75]) if len(delta) else (np.nan, np.nan)
        row |= {"quarter": quarters[0], "three_quarters": quarters[1]}
        for name, column, statistic in (
            ("bias", "delta_percent", median),
            ("spread", "delta_percent", spread),
            ("iou", "iou", median),
        ):
            known = events[events[column].notna()]
            values = known[column].to_numpy(dtype=float)
            estimate = bootstrap(values, statistic, groups=group_column(known, group))
            row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        rows.append(row)
    return pd.DataFrame(rows)
