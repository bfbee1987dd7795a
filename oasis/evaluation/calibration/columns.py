"""The columns of an event table that a calibration reads and adds."""

import numpy as np
import pandas as pd

from oasis.errors import DataError, nearest
from oasis.stats.intervals import Floats

INTENSITY = "intensity_true"
PREDICTED = "intensity_predicted"


def interval_names(truth: str) -> tuple[str, str, str]:
    """Return the names of the columns of estimate and interval for a column of the truth.

    Example:
        >>> interval_names("intensity_true")
        ('intensity_calibrated', 'intensity_low', 'intensity_high')
    """
    name = truth.removesuffix("_true")
    return f"{name}_calibrated", f"{name}_low", f"{name}_high"


def classes_of(table: pd.DataFrame) -> "pd.Series[str]":
    """Return the class of every row.

    Raises:
        DataError: there is no such column.
    """
    _check_column(table, "class")
    return table["class"]


def column(rows: pd.DataFrame, name: str, finite: bool = True) -> Floats:
    """Return a column (n,) of numbers.

    Raises:
        DataError: it is missing, or contains values that are not finite although they must be.
    """
    _check_column(rows, name)
    values = rows[name].to_numpy(dtype=float)
    if finite and not np.isfinite(values).all():
        raise DataError(f"{name}: {int((~np.isfinite(values)).sum())} of {len(values)} values are not finite")
    return values


def counted(rows: pd.DataFrame, truth: str, absent: bool) -> pd.DataFrame:
    """Return the rows that count: without `absent`, and for quantities, only those whose object is present."""
    if absent and truth == INTENSITY:
        return rows
    return rows[(column(rows, INTENSITY) > 0) & ~np.isnan(column(rows, truth, finite=False))]


def _check_column(table: pd.DataFrame, name: str) -> None:
    if name not in table:
        raise DataError(f"the event table has no column {name!r}; {nearest(name, map(str, table))}")
