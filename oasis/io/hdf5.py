"""HDF5 files: created, opened and appended to so that every way of failing becomes one error."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py

from oasis.errors import DataError


class _Patient(io.FileIO):
    """A file that tells of a failed write when it is closed: HDF5 crashes if it is told at once."""

    def __init__(self, path: Path) -> None:
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
    """Create an HDF5 file; a full disk raises OSError at the end."""
    with _Patient(path) as disk, h5py.File(disk, "w") as file:
        yield file


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading.

    Raises:
        DataError: it does not exist, or is truncated or not HDF5.
    """
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: not a readable HDF5 file (truncated?): {str(error).splitlines()[0]}") from None
    with file:
        yield file
