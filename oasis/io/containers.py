"""Containers: files with several named arrays, in HDF5 or MATLAB format, and the choice of one of them."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from oasis.errors import DataError, MissingExtraError
from oasis.io.axes import SPATIAL, AxisFacts, letters_of
from oasis.io.hdf5 import open_hdf5, read_dataset

NAMES: Final = ("image", "adu")  # the array to take if a file contains several
MICRON: Final = "µm"
NUMBERS: Final = (
    "double",
    "single",
    "logical",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)
"""MATLAB classes that are arrays of numbers."""


def chosen_name(path: Path, names: Sequence[str], key: str | None) -> str:
    """Return the name of the array to read: `key`, else the only one, else `image` or `adu`.

    Raises:
        DataError: there is no such array, or there are several and no key.
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
    """Read one array of an HDF5 file; one that MATLAB wrote gets the axes of `read_matlab`.

    Args:
        path: the path of the file.
        key: the path of the array in the file, with or without a leading slash; links inside the file are
            followed.

    Raises:
        DataError: no such array, one stored in another file, or a MATLAB variable that is not an array of numbers.
        MissingExtraError: it is compressed by a filter that is not installed.
    """
    return read_hdf5_axes(path, key)[0]


def read_hdf5_axes(path: Path, key: str | None = None) -> tuple[NDArray[Any], AxisFacts]:
    """Read one array of an HDF5 file as `read_hdf5`, and what the file states about its axes."""
    with opened_dataset(path, key) as data:
        kind = data.attrs.get("MATLAB_class")
        if kind is None:
            return read_dataset(data.file, data.name), hdf5_facts(data)
        kind = kind.decode() if isinstance(kind, bytes) else str(kind)
        if "MATLAB_empty" in data.attrs or kind not in NUMBERS:
            name = data.name.strip("/")
            raise DataError(f"{path}: {name} is empty or of the MATLAB class {kind}, expected an array of numbers")
        return _pages_first(read_dataset(data.file, data.name).T), AxisFacts()


def hdf5_facts(data: h5py.Dataset) -> AxisFacts:
    """Return what a data set states about its axes.

    These are the labels of its dimensions, the names of their scales (as netCDF writes them), or its attribute
    `axes`, such as "ZYX" or ["z", "y", "x"]; and the length of a pixel along Z, Y and X that ImageJ and ilastik
    write, `element_size_um`. What has another form says nothing.
    """
    named = (letters_of(names, data.ndim) for names in _axis_names(data))
    names = next((found for found in named if found), "")
    size = data.attrs.get("element_size_um", ())
    lengths = np.ravel(size).tolist() if np.ndim(size) == 1 and np.asarray(size).dtype.kind in "fiu" else []
    spatial = [name for name in SPATIAL if name in names]
    known = len(lengths) == len(SPATIAL) and all(np.isfinite(one) and one > 0 for one in lengths)
    stated = dict(zip(SPATIAL, lengths, strict=True)) if known else {}
    found = {name: stated[name] for name in spatial if name in stated}
    return AxisFacts(names, found, MICRON if found else "")


def _axis_names(data: h5py.Dataset) -> Iterator[Sequence[str]]:
    """Yield the names of axes that a data set states in one way or another."""
    with suppress(OSError, ValueError, RuntimeError, KeyError, TypeError):  # a damaged attribute says nothing
        yield [dimension.label for dimension in data.dims]
    with suppress(OSError, ValueError, RuntimeError, KeyError, TypeError):
        yield [posixpath.basename(dimension[0].name) if len(dimension) else "" for dimension in data.dims]
    with suppress(OSError, ValueError, RuntimeError, KeyError, TypeError):
        stated = data.attrs.get("axes", ())
        names = [one.decode() if isinstance(one, bytes) else str(one) for one in np.ravel(stated)]
        yield list(names[0]) if len(names) == 1 else names


@contextmanager
def opened_dataset(path: Path, key: str | None = None) -> Iterator[h5py.Dataset]:
    """Open an HDF5 file and yield the data set to read; see `read_hdf5`."""
    names: list[str] = []

    def note(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset) and not name.startswith("#"):  # MATLAB's contents of cells
            names.append(name)

    with open_hdf5(path) as file:
        key = key and key.strip("/")
        if key is None or not isinstance(file.get(key), h5py.Dataset):
            file.visititems(note)
            key = chosen_name(path, names, key)
        _check_written(file[key], f"{path}: {key}")
        _check_filters(file[key], f"{path}: {key}")
        check_unscaled(file[key].attrs, f"{path}: {key}")
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
    from scipy.io import loadmat, whosmat  # slow to import

    kinds = {name: kind for name, _, kind in whosmat(path)}
    name = chosen_name(path, [name for name, kind in kinds.items() if kind in NUMBERS], key)
    return _pages_first(np.asarray(loadmat(path, variable_names=[name])[name]))


def _pages_first(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim == 2 and 1 in array.shape:
        return array.ravel()
    return array.T.swapaxes(-1, -2) if array.ndim > 1 else array


def _check_written(data: h5py.Dataset, where: str) -> None:
    """Check that something was written to a data set, which else reads as zeros of any stated shape.

    Raises:
        DataError: nothing was.
    """
    if data.size and not data.is_virtual and not data.id.get_storage_size():
        raise DataError(f"{where} of shape {data.shape} contains no data: nothing was written to it")


def check_unscaled(attributes: Mapping[str, Any], where: str) -> None:
    """Check that numbers are stored as they are meant, not scaled as the CF conventions of netCDF allow.

    Raises:
        DataError: their attributes state a scale or an offset, which other readers may or may not apply.
    """
    for name, neutral in (("scale_factor", 1), ("add_offset", 0)):
        if name in attributes and not np.all(np.equal(attributes[name], neutral)):
            raise DataError(
                f"{where} states {name} {attributes[name]}, so that its numbers are not those that are meant: "
                "store them with the scale applied"
            )


def _check_filters(data: h5py.Dataset, where: str) -> None:
    """Check that the filters of a data set are available; importing hdf5plugin registers more of them."""
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
