"""Traces: CSV tables whose first column is a time or another abscissa, and whose other columns are signals."""

import logging
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.io.axes import AxisFacts
from oasis.io.delimited import Delimited, read_delimited

logger = logging.getLogger(__name__)

ABSCISSAS = ("time", "t", "x", "retention", "wavelength", "wavenumber", "energy", "frequency", "position", "depth")
STEADY = 0.01  # largest relative deviation of a step from the mean one for a pixel size to be stated
UNEVEN = 0.25  # deviation of a step that rounding does not explain, for a warning
FEW = 8  # columns that are too few to be samples of a waveform
LONG = 16  # rows of which the first column does not increase throughout by chance


def read_traces(path: Path, key: str | None = None) -> tuple[NDArray[Any], AxisFacts] | None:
    """Read a CSV table with an abscissa, such as `time,counts`; None where it is another table.

    The header names the first column as an abscissa, such as `time (s)` or `retention_time`. Where it does not, or
    where there is no header, a first column that increases throughout is an abscissa if there are `LONG` rows or
    more of at most `FEW` columns. Other tables have rows of waveforms.

    Args:
        path: the path of the file.
        key: the column to read; by default all but the first.

    Returns:
        The signals (columns, samples), and facts with the axes I and X, the step of the abscissa, and its unit in
        brackets.
    """
    table = read_delimited(path)
    found = traces_of(table, key)
    if found is not None:
        steps = np.diff(table.rows[:, 0])
        if (np.abs(steps - steps.mean()) > UNEVEN * steps.mean()).any():
            _say_uneven(path, float(steps.min()), float(steps.max()))
    return found


@lru_cache
def _say_uneven(path: Path, least: float, most: float) -> None:
    """Warn once of a signal whose samples are not at equal distances."""
    logger.warning(
        "%s: the steps of its first column are from %.4g to %.4g, but its samples are taken as equally spaced: "
        "resample them",
        path,
        least,
        most,
    )


def traces_of(table: Delimited, key: str | None = None) -> tuple[NDArray[Any], AxisFacts] | None:
    """Return the signals of a table with an abscissa and their facts, as `read_traces`; None of another table."""
    names, rows = table.names, table.rows
    steps = np.diff(rows[:, 0]) if rows.shape[1] > 1 and len(rows) > 1 else np.empty(0)
    if not len(steps) or not (steps > 0).all():
        return None
    if not (names and _is_abscissa(names[0])) and (len(rows) < LONG or len(rows[0]) > FEW):
        return None
    if len(names) not in (0, rows.shape[1]) or (key is not None and key not in names[1:]):
        return None
    chosen = range(1, rows.shape[1]) if key is None else [names.index(key)]
    mean = float(steps.mean())
    steady = bool((np.abs(steps - mean) <= STEADY * mean).all())
    unit = unit_of(names[0]) if names and steady else ""
    facts = AxisFacts("IX", {"X": mean} if steady else {}, unit)
    return rows[:, list(chosen)].T, facts


def unit_of(name: str) -> str:
    """Return the unit in brackets in the name of a column.

    Example:
        >>> unit_of("absorbance (mAU)"), unit_of("signal [V]"), unit_of("counts")
        ('mAU', 'V', '')
    """
    found = re.search(r"\(([^()]*)\)|\[([^\[\]]*)\]", name)
    return "" if found is None else (found[1] or found[2] or "").strip()


def signal_unit(path: Path) -> str:
    """Return the unit of the first signal of a table with an abscissa, if its header states one in brackets."""
    table = read_delimited(path)
    return "" if traces_of(table) is None else unit_of(next(iter(table.names[1:]), ""))


def _is_abscissa(name: str) -> bool:
    """Return whether the name of a column is that of an abscissa.

    Example:
        >>> [_is_abscissa(name) for name in ("Time (s)", "retention_time", "counts", "t")]
        [True, True, False, True]
    """
    words = name.lower().replace("_", " ").replace("(", " ").replace("[", " ").split()
    return bool(words) and words[0] in ABSCISSAS
