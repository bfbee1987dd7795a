"""Array files of other programs, read as data and never executed: NumPy, TIFF, HDF5 and CSV."""

import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from oasis.errors import DataError
from oasis.io.hdf5 import open_hdf5, read_dataset

NAMES = ("image", "adu")  # of the array that is meant where a file holds several
_DAMAGED = (OSError, ValueError, KeyError, IndexError, EOFError, RuntimeError, ArithmeticError, MemoryError)
_DAMAGED_CONTAINERS = (zipfile.BadZipFile, zlib.error, struct.error, tifffile.TiffFileError)


def read_array(path: str | Path, key: str | None = None) -> NDArray[Any]:
    """Read the numbers of an image file: `.npy`, `.npz`, `.tif`, `.tiff`, `.mtiff`, `.h5`, `.hdf5` or `.csv`.

    Args:
        path: of the file.
        key: the array in an `.npz` or HDF5 file; needed where there are several and none is named `image` or
            `adu`. In a CSV file with a row of names, the column.

    Returns:
        The array in the byte order of the machine; the pages of a TIFF as one stack; a CSV file of several columns
        with two axes, of one column with one.

    Raises:
        DataError: a file that is missing, truncated, of another kind, or without numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise DataError(f"{path}: unknown kind of file; expected {', '.join(SUFFIXES)}")
    try:
        values = np.asarray(_READERS[suffix](path, key))
    except (*_DAMAGED, *_DAMAGED_CONTAINERS) as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        reason = "Python objects are never loaded, only arrays of numbers" if "pickle" in reason else reason
        raise DataError(f"{path}: damaged, or not what its name says: {reason}") from error
    if values.dtype.kind not in "fiub" or not values.size or not values.ndim:
        raise DataError(f"{path}: holds no numbers to make an image of ({values.dtype}, shape {values.shape})")
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _chosen(path: Path, names: Sequence[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    for name in [key] if key else NAMES:
        if name in names:
            return name
    raise DataError(
        f"{path}: no array {key or NAMES[0]!r}, found {', '.join(names) or 'none'}: choose one by its key (--key)"
    )


def _from_numpy(path: Path, key: str | None) -> NDArray[Any]:
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray) != (path.suffix.lower() == ".npy"):
        raise ValueError("a single array is .npy, an archive of arrays .npz")
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        return np.asarray(loaded[_chosen(path, loaded.files, key)])


def _from_hdf5(path: Path, key: str | None) -> NDArray[Any]:
    names: list[str] = []

    def note(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset):
            names.append(name)

    with open_hdf5(path) as file:
        file.visititems(note)
        return read_dataset(file, _chosen(path, names, key))


def _from_tiff(path: Path, key: str | None) -> NDArray[Any]:
    """Read all pages, and refuse a chain of pages that is cut short, which tifffile reads as far as it goes."""
    with tifffile.TiffFile(path) as file:
        layout, handle, end = file.tiff, file.filehandle, file.pages[-1].offset
        handle.seek(end)
        (tags,) = struct.unpack(layout.tagnoformat, handle.read(layout.tagnosize))
        handle.seek(end + layout.tagnosize + tags * layout.tagsize)
        if any(handle.read(layout.offsetsize)):
            raise ValueError(f"the file ends after {len(file.pages)} pages, but names a further one")
        stacks = [series.asarray() for series in file.series]
    if len(stacks) == 1:
        return np.asarray(stacks[0])
    return np.concatenate([stack.reshape(-1, *stack.shape[-2:]) for stack in stacks])


def _from_csv(path: Path, key: str | None) -> NDArray[Any]:
    """Read numbers that commas separate, below a first row of names if there is one."""
    lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    names = [name.strip().strip('"') for line in lines[:1] for name in line.split(",")]
    titled = not all(map(_is_number, names))
    column = None if key is None else names.index(_chosen(path, names if titled else [], key))
    if len(lines) == titled:
        return np.empty(0)
    rows = np.loadtxt(lines[titled:], delimiter=",", usecols=column, ndmin=2)
    return rows[:, 0] if rows.shape[1] == 1 else rows


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


_READERS = {
    ".npy": _from_numpy,
    ".npz": _from_numpy,
    ".tif": _from_tiff,
    ".tiff": _from_tiff,
    ".mtiff": _from_tiff,
    ".h5": _from_hdf5,
    ".hdf5": _from_hdf5,
    ".csv": _from_csv,
}
SUFFIXES = tuple(_READERS)
