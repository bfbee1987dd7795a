"""HDF5 files: creating, opening and appending, with one error for every way of failing."""

import io
import math
import os
import posixpath
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from oasis.errors import DataError
from oasis.io.files import one_line
from oasis.io.interrupts import postponed_within

COLUMN_CHUNK = 2**14  # bytes, for data sets with one axis: small, so that few unrequested rows are read
LARGEST_CHUNK = 2**26  # bytes
DEEPEST = 100  # levels of nested groups
OWN_DATA = "copy that data into this file"


class _Patient(io.FileIO):
    """A file that defers write errors to `close`, because HDF5 aborts the process if a write callback raises."""

    def __init__(self, path: Path | int) -> None:
        super().__init__(path, "w+")
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        size = len(view)
        try:
            while view:
                view = view[super().write(view) :]
        except OSError as error:
            self.error = self.error or error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
        return size or 0

    def close(self) -> None:
        super().close()
        error, self.error = self.error, None
        if error is not None:
            raise error


@contextmanager
def create_hdf5(path: Path) -> Iterator[h5py.File]:
    """Create an HDF5 file; a full disk raises OSError at the end, and signals wait while it is written to."""
    with postponed_within(_Patient.write, _Patient.truncate), _Patient(path) as disk, h5py.File(disk, "w") as file:
        yield file


@contextmanager
def spooled_hdf5(folder: Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """Create an HDF5 file without a name, which disappears however the process ends.

    Yields:
        The file, and a function that raises the OSError of a full disk, to be called before the file is read.
    """
    within = postponed_within(_Patient.write, _Patient.truncate)
    with (
        tempfile.TemporaryFile(dir=folder) as spool,
        within,
        _Patient(os.dup(spool.fileno())) as disk,
        h5py.File(disk, "w") as file,
    ):
        yield file, partial(_check_written, file, disk)


def _check_written(file: h5py.File, disk: _Patient) -> None:
    file.flush()
    if disk.error is not None:
        raise disk.error


def append_rows(group: h5py.Group, name: str, rows: NDArray[Any], **storage: Any) -> None:
    """Append rows to a data set that grows along its first axis; the first call creates it.

    A row of several values is one chunk, so that it is read without its neighbours; long rows are divided.

    Args:
        group: the group in which the data set lies.
        name: the name of the data set.
        rows: (n, ...) to append.
        storage: arguments for the creation of the data set, such as `compression`.
    """
    if name not in group:
        chunks = _chunks(rows.shape[1:], rows.dtype.itemsize)
        group.create_dataset(name, data=rows, maxshape=(None, *rows.shape[1:]), chunks=chunks, **storage)
    elif len(rows):
        data = group[name]
        data.resize(len(data) + len(rows), axis=0)
        data[-len(rows) :] = rows


def _chunks(row: Sequence[int], itemsize: int) -> tuple[int, ...]:
    if not row:
        return (max(COLUMN_CHUNK // itemsize, 1),)
    lengths = list(row)
    while math.prod(lengths) * itemsize > LARGEST_CHUNK:
        longest = lengths.index(max(lengths))
        lengths[longest] = -(-lengths[longest] // 2)
    return (1, *lengths)


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading and close it at the end of the block; see `opened_hdf5`."""
    with opened_hdf5(path) as file:
        yield file


def opened_hdf5(path: Path) -> h5py.File:
    """Return a self-contained HDF5 file, opened for reading.

    External links, external raw storage and virtual data sets are refused: they could read any file that the
    process can read.

    Raises:
        DataError: it does not exist, is truncated or not HDF5, or refers to data in another file.
    """
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: not a readable HDF5 file (truncated?): {one_line(error)}") from None
    try:
        check_self_contained(file, path)
    except DataError:
        file.close()
        raise
    return file


def check_self_contained(file: h5py.File, path: Path) -> None:
    """Check that no link and no data set of an open file leads to another file.

    Raises:
        DataError: one does, or the file is damaged.
    """
    try:
        _check_group(h5py.h5g.open(file.id, b"/"))
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged HDF5 file: {one_line(error)}") from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def read_row(data: h5py.Dataset, index: int) -> np.void:
    """Return one row of a table, ten times as fast as h5py, which makes HDF5 convert every field."""
    kind = data.id.get_type()
    if kind.get_size() != data.dtype.itemsize:
        return data[index]  # type: ignore[no-any-return]
    place = data.id.get_space()
    place.select_hyperslab((index,), (1,))
    row = np.empty(1, data.dtype)
    data.id.read(h5py.h5s.create_simple((1,)), place, row, kind)
    return row[0]  # type: ignore[no-any-return]


def read_dataset(group: h5py.Group, name: str) -> NDArray[Any]:
    """Return the array of a data set.

    Raises:
        DataError: it does not exist, is empty (`h5py.Empty`), or cannot be read.
    """
    where = f"{group.file.filename}: {posixpath.join(group.name, name)}"
    try:
        item = group.get(name)
        if not isinstance(item, h5py.Dataset):
            raise DataError(f"{where} is {'missing' if item is None else 'not a data set'}")
        if item.shape is None:
            raise DataError(f"{where} is empty")
        return np.asarray(item[()])
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, MemoryError) as error:
        raise DataError(f"{where} cannot be read: {one_line(error)}") from None


def _check_group(root: h5py.h5g.GroupID) -> None:
    """Check every link and data set below a group.

    Raises:
        DataError: one leads to another file, or groups are nested too deeply.
    """
    waiting, seen = [(root, 1)], {_address(root)}
    while waiting:
        group, depth = waiting.pop()
        if depth > DEEPEST:
            raise DataError(f"groups are nested more than {DEEPEST} deep")
        for name, kind in _links(group):
            if kind == h5py.h5l.TYPE_SOFT:
                continue  # its target is in this file, and all links of this file are checked
            if kind != h5py.h5l.TYPE_HARD:
                raise DataError(f"{_place(group, name)} is a link to another file; {OWN_DATA}")
            item = h5py.h5o.open(group, name)
            if isinstance(item, h5py.h5g.GroupID) and (address := _address(item)) not in seen:
                seen.add(address)
                waiting.append((item, depth + 1))
            elif isinstance(item, h5py.h5d.DatasetID) and _lies_elsewhere(item):
                raise DataError(f"{_place(group, name)} keeps its data in another file; {OWN_DATA}")


def _links(group: h5py.h5g.GroupID) -> list[tuple[bytes, int]]:
    """Return the name and type of every link of a group."""
    found: list[tuple[bytes, int]] = []
    group.links.iterate(lambda name, info: found.append((name, info.type)), info=True)
    return found


def _address(group: h5py.h5g.GroupID) -> tuple[int, int]:
    found = h5py.h5o.get_info(group)
    return found.fileno, found.addr


def _place(group: h5py.h5g.GroupID, name: bytes) -> str:
    return posixpath.join(h5py.h5i.get_name(group) or b"/", name).decode(errors="replace")


def _lies_elsewhere(data: h5py.h5d.DatasetID) -> bool:
    plan = data.get_create_plist()
    if plan.get_layout() == h5py.h5d.VIRTUAL:
        return any(plan.get_virtual_filename(part) != "." for part in range(plan.get_virtual_count()))
    return bool(plan.get_external_count())
