"""What the readers of sparse events in HDF5 have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from oasis.data.sparse.events import SparseEvent
from oasis.errors import DataError, nearest
from oasis.io.files import one_line
from oasis.io.hdf5 import open_hdf5

_DAMAGED = (ArithmeticError, AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)


@contextmanager
def located(path: Path, where: str = "") -> Iterator[None]:
    """Turn any exception from a damaged file into an error of one line that names the file."""
    try:
        yield
    except (DataError, *_DAMAGED) as error:
        if isinstance(error, DataError) and str(path) in str(error):
            raise
        raise DataError(f"{path}: {where}{one_line(error)}") from None


def child(group: h5py.Group, name: str) -> Any:
    """Return a group or data set.

    Raises:
        DataError: there is none of that name.
    """
    if name not in group:
        raise DataError(f"no {name!r} in {group.name}; {nearest(name, list(group))}")
    return group[name]


def rows(table: h5py.Dataset, names: Sequence[str], first: int, count: int) -> NDArray[Any]:
    """Return rows of a table with named columns.

    Raises:
        DataError: it lacks a column, or ends before.
    """
    missing = set(names) - set(table.dtype.names or ())
    if missing:
        raise DataError(f"{table.name}: no column {sorted(missing)[0]!r}")
    if first < 0 or count < 0 or first + count > len(table):
        raise DataError(f"{table.name}: rows {first} to {first + count} of {len(table)}")
    return np.asarray(table[first : first + count])


def whole(values: NDArray[np.floating], what: str) -> NDArray[np.int64]:
    """Return numbers as integers.

    Raises:
        DataError: one is NaN, infinite or not whole.
    """
    wrong = ~np.isfinite(values) | (values != np.round(values)) | (np.abs(values) > np.iinfo(np.int32).max)
    if wrong.any():
        raise DataError(f"{what}: {values[wrong][0]:g}, expected whole numbers")
    return values.astype(np.int64)


def check_offsets(offsets: NDArray[Any], events: int, length: int, name: str) -> None:
    """Check the offsets (events + 1,) of the rows of events in a table.

    Raises:
        DataError: they do not rise from 0 to the length of the table.
    """
    fits = offsets.shape == (events + 1,) and offsets.dtype.kind in "iu"
    if not fits or offsets[0] != 0 or offsets[-1] != length or (offsets[1:] < offsets[:-1]).any():
        raise DataError(f"event_offsets of {name}: expected {events + 1} integers that rise from 0 to {length}")


class EventFile(ABC):
    """An HDF5 file of sparse events: a sequence that reads them one by one.

    Attributes:
        path: of the file.
    """

    path: Path
    _length: int

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[SparseEvent]:
        with open_hdf5(self.path) as file:
            for index in range(len(self)):
                yield self._read(file, index)

    def __getitem__(self, index: int) -> SparseEvent:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        with open_hdf5(self.path) as file:
            return self._read(file, index % len(self))

    @abstractmethod
    def _read(self, file: h5py.File, index: int) -> SparseEvent:
        """Return one event of the open file."""
