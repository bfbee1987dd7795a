"""Files that hold several arrays by name: which one is meant, and how HDF5 and MATLAB files give it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from oasis.errors import DataError, MissingExtraError
from oasis.io.hdf5 import open_hdf5, read_dataset

NAMES: Final = ("image", "adu")  # of the array that is meant where a file holds several
NUMBERS: Final = (
    "double",
    "single",
    "logical",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)
"""Classes of MATLAB that are arrays of numbers."""


def chosen_name(path: Path, names: Sequence[str], key: str | None) -> str:
    """Return the name of the array that is meant: the one named, the only one, or `image` or `adu`.

    Raises:
        DataError: no such array, or several and none that is meant.
    """
    if key is None and len(names) == 1:
        return names[0]
    for name in [key] if key else NAMES:
        if name in names:
            return name
    raise DataError(
        f"{path}: no array {key or NAMES[0]!r}, found {', '.join(names) or 'none'}: choose one by its key (--key)"
    )


def read_hdf5(path: Path, key: str | None = None) -> NDArray[Any]:
    """Read one array of an HDF5 file; one that MATLAB wrote is turned as `read_matlab` says.

    Args:
        path: of the file.
        key: the path of the array in the file, with or without a leading slash; links inside the file are
            followed.

    Raises:
        DataError: no such array, one that is stored in another file, or no array of numbers of MATLAB.
        MissingExtraError: it is compressed by a filter that is not installed.
    """
    with opened_dataset(path, key) as data:
        kind = data.attrs.get("MATLAB_class")
        if kind is None:
            return read_dataset(data.file, data.name)
        kind = kind.decode() if isinstance(kind, bytes) else str(kind)
        if "MATLAB_empty" in data.attrs or kind not in NUMBERS:
            name = data.name.strip("/")
            raise DataError(f"{path}: {name} is empty or of MATLAB's class {kind}, expected an array of numbers")
        return _pages_first(read_dataset(data.file, data.name).T)


@contextmanager
def opened_dataset(path: Path, key: str | None = None) -> Iterator[h5py.Dataset]:
    """Open an HDF5 file and give the data set that is meant; see `read_hdf5`."""
    names: list[str] = []

    def note(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("#"):  # where MATLAB keeps what cells hold
            names.append(name)

    with open_hdf5(path) as file:
        key = key and key.strip("/")
        if key is None or not isinstance(file.get(key), h5py.Dataset):
            file.visititems(note)
            key = chosen_name(path, names, key)
        _check_filters(file[key], f"{path}: {key}")
        yield file[key]


def read_matlab(path: Path, key: str | None = None) -> NDArray[Any]:
    """Read one array of a `.mat` file of any version.

    MATLAB stores a stack as rows x columns x pages. It is returned as pages x rows x columns, so that each page is
    an image; a single matrix keeps its rows and columns, and a vector has one axis.

    Raises:
        DataError: no such array, or the file is damaged.
    """
    if h5py.is_hdf5(path):
        return read_hdf5(path, key)
    from scipy.io import loadmat, whosmat  # takes a while to import

    kinds = {name: kind for name, _, kind in whosmat(path)}
    name = chosen_name(path, [name for name, kind in kinds.items() if kind in NUMBERS], key)
    return _pages_first(np.asarray(loadmat(path, variable_names=[name])[name]))


def _pages_first(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim == 2 and 1 in array.shape:
        return array.ravel()
    return array.T.swapaxes(-1, -2) if array.ndim > 1 else array


def _check_filters(data: h5py.Dataset, where: str) -> None:
    """Check that the filters of a data set are known; hdf5plugin registers more of them where it is installed."""
    plan = data.id.get_create_plist()
    filters = [plan.get_filter(place)[0] for place in range(plan.get_nfilters())]
    missing = [number for number in filters if not h5py.h5z.filter_avail(number)]
    if missing:
        try:
            import hdf5plugin  # noqa: F401
        except ImportError:
            raise MissingExtraError(
                f"{where} is compressed by the HDF5 filter {missing[0]}, which is not installed: "
                "run  pip install 'oasis-seg[hdf5]'"
            ) from None
