"""Signal tables: the maps of signals as CSV, with a row for every sample, for spreadsheets and plots."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from oasis.io.axes import names_of_maps
from oasis.io.delimited import read_delimited
from oasis.io.tables import quoted
from oasis.io.traces import traces_of

INDEX: Final = "index"  # the first column where the input states no abscissa
FACTS: Final = ("frame", "configuration", "intensity_unit")  # the last columns, which tell our tables from others


class Abscissa(NamedTuple):
    """What signals are drawn over.

    Attributes:
        name: with the unit.
        values: (samples,).
    """

    name: str
    values: NDArray[np.float64] | NDArray[np.int64]


def abscissa_of(path: Path) -> Abscissa | None:
    """Return the abscissa of a CSV table of signals; None of other files.

    Example:
        >>> abscissa_of(Path("a.npy")) is None
        True
    """
    if path.suffix.lower() != ".csv":
        return None
    table = read_delimited(path)
    if traces_of(table) is None:
        return None
    return Abscissa(table.names[0] if table.names else INDEX, table.rows[:, 0])


def fitting(abscissa: Abscissa | None, samples: int, name: str) -> Abscissa:
    """Return an abscissa that has as many values as a signal has samples, else the numbers of these.

    Args:
        abscissa: of the signal, or None if it is unknown.
        samples: how many there are.
        name: of their numbers.

    Example:
        >>> fitting(None, 3, "sample").values
        array([0, 1, 2])
    """
    if abscissa is not None and len(abscissa.values) == samples:
        return abscissa
    return Abscissa(name, np.arange(samples))


def write_signals(
    path: Path,
    maps: Mapping[str, h5py.Dataset | NDArray[np.float32]],
    frame: NDArray[np.int64],
    configuration: str,
    unit: str,
    abscissa: Abscissa | None = None,
    named: Sequence[str] = (),
) -> None:
    """Write maps of signals: the abscissa, a column for each class, the frame, the run and the unit.

    Args:
        path: the path of the file.
        maps: (n, B, samples) by class; with several bands a class has a column for each, `NAME BAND`.
        frame: (n,) the number of each signal in its file.
        configuration: fingerprint of the run's configuration.
        unit: of the intensities.
        abscissa: the first column, where it has as many values as samples; else that counts them.
        named: names of the bands; empty if unknown.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "maps.csv")
        >>> write_signals(path, {"a": np.ones((1, 1, 2), np.float32)}, np.zeros(1, int), "0123", "V")
        >>> path.read_text().split()
        ['index,a,frame,configuration,intensity_unit', '0,1.0,0,0123,V', '1,1.0,0,0123,V']
    """
    _, bands, samples = next(iter(maps.values())).shape
    abscissa = fitting(abscissa, samples, INDEX)
    names = names_of_maps(list(maps), bands, named)
    header = [quoted(name) for name in (abscissa.name, *names, *FACTS)]
    with path.open("w", encoding="utf-8", newline="") as file:
        for place, number in enumerate(frame.tolist()):
            signals = [values[place, band] for values in maps.values() for band in range(bands)]
            columns = [abscissa.values, *signals, number, quoted(configuration), quoted(unit)]
            table = pd.DataFrame(dict(enumerate(columns)))
            table.to_csv(file, index=False, header=header if place == 0 else False)


def is_signals(path: Path) -> bool:
    """Return whether a file is a table that `write_signals` wrote."""
    with path.open(encoding="utf-8") as file:
        return file.readline(100_000).rstrip().endswith(f",{','.join(FACTS)}")
