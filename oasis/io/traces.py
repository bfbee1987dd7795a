"""Traces: CSV tables whose first column is a time or another abscissa, and whose other columns are signals."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.io.axes import AxisFacts
from oasis.io.tables import is_number

ABSCISSAS = ("time", "t", "x", "retention", "wavelength", "wavenumber", "energy", "frequency", "position", "depth")
STEADY = 0.01  # largest relative deviation of a step from the mean one for a pixel size to be stated


def read_traces(path: Path, key: str | None = None) -> tuple[NDArray[Any], AxisFacts] | None:
    """Read a CSV table with an abscissa, such as `time,counts`; None where it is another table.

    The header has to name the first column as an abscissa, such as `time (s)` or `retention_time`, which has to
    increase. A table without header, or with rows of waveforms, is not of this kind.

    Args:
        path: the path of the file.
        key: the column to read; by default all but the first.

    Returns:
        The signals (columns, samples), and facts with the axes I and X, the step of the abscissa, and its unit in
        brackets.
    """
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    names = [name.strip().strip('"') for name in lines[0].split(",")] if lines else []
    if len(names) < 2 or all(map(is_number, names)) or not _is_abscissa(names[0]) or len(lines) < 3:
        return None
    if key is not None and key not in names[1:]:
        return None
    rows = np.loadtxt(lines[1:], delimiter=",", ndmin=2)
    steps = np.diff(rows[:, 0])
    if rows.shape[1] != len(names) or not (steps > 0).all():
        return None
    chosen = range(1, len(names)) if key is None else [names.index(key)]
    mean = float(steps.mean())
    steady = bool((np.abs(steps - mean) <= STEADY * mean).all())
    unit = names[0].partition("(")[2].partition(")")[0].strip()
    facts = AxisFacts("IX", {"X": mean} if steady else {}, unit if steady else "")
    return rows[:, list(chosen)].T, facts


def _is_abscissa(name: str) -> bool:
    """Return whether the name of a column is that of an abscissa.

    Example:
        >>> [_is_abscissa(name) for name in ("Time (s)", "retention_time", "counts", "t")]
        [True, True, False, True]
    """
    words = name.lower().replace("_", " ").replace("(", " ").split()
    return bool(words) and words[0] in ABSCISSAS
