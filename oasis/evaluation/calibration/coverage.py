"""Coverage: the fraction of intervals that contain the truth."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from oasis.evaluation.calibration.columns import INTENSITY, column, counted, interval_names
from oasis.stats.bins import bins_of


def coverage_table(table: pd.DataFrame, by: str, edges: Sequence[float], truth: str = INTENSITY) -> pd.DataFrame:
    """Return the measured coverage of intervals in bins of a quantity.

    Args:
        table: the rows of one class, with the truth and the columns of `Calibration.intervals`.
        by: the column to bin by.
        edges: the edges of the bins.
        truth: the column of the truth.

    Returns:
        One row per bin, and a last one for events with `by` NaN if there are any: `low`, `high`, `events`,
        `coverage` with its exact 95 % interval (Clopper and Pearson 1934) `coverage_low` and `coverage_high`, and
        the median `width` of the intervals.

    Raises:
        DataError: a column is missing.

    Example:
        >>> table = pd.DataFrame({"intensity_true": [1.0, 2.0], "overlap_fraction": [0.0, 0.0]})
        >>> table = table.assign(intensity_low=[0.0, 2.5], intensity_high=[2.0, 3.5])
        >>> coverage_table(table, "overlap_fraction", [0, 0.5]).round(2)
           low  high  events  coverage  coverage_low  coverage_high  width
        0    0   0.5       2       0.5          0.01           0.99    1.5
    """
    table = counted(table, truth, absent=True)
    true, place = (column(table, name, finite=False) for name in (truth, by))
    low, high = (column(table, name, finite=False) for name in interval_names(truth)[1:])
    covered = (low <= true) & (true <= high)
    known = ~np.isnan(low)
    bins = [(*one, known & one.contains(place)) for one in bins_of(edges)]
    nowhere = known & np.isnan(place)
    rows = []
    for start, end, chosen in [*bins, *[(np.nan, np.nan, nowhere)] * bool(nowhere.any())]:
        row = {"low": start, "high": end, "events": int(chosen.sum())}
        row |= dict.fromkeys(("coverage", "coverage_low", "coverage_high", "width"), np.nan)
        if chosen.any():
            test = binomtest(int(covered[chosen].sum()), int(chosen.sum()))
            interval = test.proportion_ci(method="exact")
            row |= {"coverage": test.statistic, "coverage_low": interval.low, "coverage_high": interval.high}
            row["width"] = float(np.median(high[chosen] - low[chosen]))
        rows.append(row)
    return pd.DataFrame(rows)
