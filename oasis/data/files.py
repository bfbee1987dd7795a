"""Array files of other programs, read as data: NumPy, TIFF and HDF5."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from oasis.data.storage import open_hdf5
from oasis.errors import DataError, OasisError

SUFFIXES = (".npy", ".npz", ".tif", ".tiff", ".h5", ".hdf5")


def read_array(path: str | Path, key: str | None = None) -> NDArray[Any]:
    """Read the numbers of an image file: `.npy`, `.npz`, `.tif`, `.tiff`, `.h5` or `.hdf5`.

    Args:
        path: of the file.
        key: the array in an `.npz` or HDF5 file; needed where there are several and none is named `image`.

    Raises:
        DataError: a file that is missing, truncated, of another kind, or without numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(f"{path}: unknown kind of file; expected {', '.join(SUFFIXES)}")
    try:
        if suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        elif suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                values = arrays[_chosen(path, list(arrays.files), key)]
        elif suffix in (".tif", ".tiff"):
            values = tifffile.imread(path)
        else:
            with open_hdf5(path) as file:
                names = [name for name, item in file.items() if isinstance(item, h5py.Dataset)]
                values = file[_chosen(path, names, key)][:]
    except OasisError:
        raise
    except (
        OSError,
        EOFError,
        ValueError,
        IndexError,
        KeyError,
        zipfile.BadZipFile,
        tifffile.TiffFileError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: not a readable {suffix} file (truncated?): {reason}") from None
    if values.dtype.kind not in "fiub" or not values.size:
        raise DataError(f"{path}: holds no numbers (dtype {values.dtype}, shape {values.shape})")
    return np.asarray(values)


def _chosen(path: Path, names: Sequence[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    wanted = key or "image"
    if wanted not in names:
        raise DataError(f"{path}: holds the arrays {sorted(names)}: choose one with --key")
    return wanted
