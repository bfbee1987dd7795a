"""Arrays: converted from any library, or read from files of other programs as data that are never executed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oasis.errors import DataError
from oasis.io.bio import BIO, read_bio
from oasis.io.containers import chosen_name, read_hdf5, read_matlab
from oasis.io.delimited import read_delimited
from oasis.io.files import check_file, one_line, reading
from oasis.io.fits import FITS, read_fits
from oasis.io.png import PNG, read_png
from oasis.io.tiff import read_tiff
from oasis.io.zarr_files import ZARR, is_zarr, read_zarr


def as_image_array(values: Any, where: str = "image") -> NDArray[np.float32]:
    """Return numbers from any library as a native, contiguous and writable float32 array.

    Anything that numpy can convert is accepted: arrays of any byte order, strides or precision, tensors on any
    device, data frames, xarray, nested lists. Values without a unique meaning as intensities are refused.

    Args:
        values: the numbers; not copied if they are such an array already.
        where: what they are, for error messages.

    Raises:
        DataError: complex numbers, texts, times, records or Python objects; masked pixels; numbers too large for
            float32.

    Example:
        >>> as_image_array(np.array([[1, 2], [3, 4]], ">i2")[::-1])
        array([[3., 4.],
               [1., 2.]], dtype=float32)
        >>> as_image_array([1j])
        Traceback (most recent call last):
            ...
        oasis.errors.DataError: image: expected real numbers, found complex128 of shape (1,)
    """
    try:
        array = _as_array(values)
    except Exception as error:  # whatever a foreign `__array__` raises
        kind = type(values).__name__
        raise DataError(f"{where}: {kind} is not an array of numbers ({one_line(error)})") from error
    if array.dtype.kind not in "fiub":
        raise DataError(f"{where}: expected real numbers, found {array.dtype} of shape {array.shape}")
    try:
        with np.errstate(over="raise"):
            return np.require(array, np.float32, ["C_CONTIGUOUS", "WRITEABLE"])
    except FloatingPointError:
        raise DataError(f"{where}: contains numbers above 3.4e38, the largest of float32: rescale them") from None


def _as_array(values: Any) -> NDArray[Any]:
    if hasattr(values, "detach"):  # the `__array__` of a tensor handles neither gradients, GPUs nor bfloat16
        values = values.detach().cpu()
        values = values.numpy() if values.is_complex() else values.float().numpy()
    masked = int(np.ma.getmaskarray(values).sum()) if isinstance(values, np.ma.MaskedArray) else 0
    if masked:
        raise ValueError(f"{masked} values are masked: fill them, and exclude them by a mask of valid pixels")
    return np.asarray(values)


def read_array(path: str | Path, key: str | None = None) -> NDArray[Any]:
    """Read the numbers of an image file.

    Args:
        path: the path of a file `.npy`, `.npz`, `.tif`, `.tiff`, `.mtiff`, `.h5`, `.hdf5`, `.mat`, `.csv`,
            `.png` or `.fits`, of a microscope (`.czi`, `.lif`, `.nd2`), or of a folder `.zarr`.
        key: the name of the array in an `.npz`, `.mat` or HDF5 file or zarr group; required if there are several
            and none is named `image` or `adu`. The column of a CSV file with a header, the unit of a FITS file,
            the scene of a microscope's file.

    Returns:
        The array in the byte order of the machine; the pages of a TIFF as one stack, with its channels before the
        two or three spatial axes; a MATLAB array with the axes of `read_matlab`; a CSV file with two axes, or one
        axis if it has one column.

    Raises:
        DataError: the file is missing, truncated, of another kind, or contains no numbers.
        MissingExtraError: the package for its compression is not installed.
    """
    path = Path(path)
    suffix = _kind(path)
    if suffix != ZARR:
        check_file(path)
    if suffix not in READERS:
        raise DataError(f"{path}: unknown kind of file; expected {', '.join(SUFFIXES)}")
    with reading(path):
        values = np.asarray(READERS[suffix](path, key))
    return checked_numbers(path, values)


def read_named(path: str | Path, name: str) -> NDArray[Any]:
    """Read an array that a file has beside its images.

    Raises:
        DataError: the file has no such array, or is of a kind whose arrays have no names.
    """
    kind = _kind(Path(path))
    if kind not in NAMED:
        raise DataError(f"{path}: a file {kind} has no array {name!r} beside its images: use {', '.join(NAMED)}")
    return read_array(path, name)


def checked_numbers(path: Path, values: NDArray[Any]) -> NDArray[Any]:
    """Return what was read from a file, in the byte order of this machine.

    Raises:
        DataError: it is not an array of numbers.
    """
    if values.dtype.kind not in "fiub" or not values.size or not values.ndim:
        raise DataError(f"{path}: contains no numeric array (dtype {values.dtype}, shape {values.shape})")
    return native(values)


def native(values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers in the byte order of this machine, the same array if they are in it.

    Example:
        >>> native(np.zeros(1, ">f4")).dtype == np.float32
        True
    """
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _kind(path: Path) -> str:
    """Return the suffix of a file, that of its compression included."""
    if is_zarr(path):
        return ZARR
    name = path.name.lower()
    return next((suffix for suffix in FITS if name.endswith(suffix)), path.suffix.lower())


def _from_numpy(path: Path, key: str | None) -> NDArray[Any]:
    loaded = without_pickles(np.load, path)
    if isinstance(loaded, np.ndarray) != (path.suffix.lower() == ".npy"):
        raise ValueError("a single array is .npy, an archive of arrays .npz")
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        return np.asarray(without_pickles(loaded.__getitem__, chosen_name(path, loaded.files, key)))


def without_pickles(load: Callable[[Any], Any], what: object) -> Any:
    """Load something with numpy, whose error message for arrays of Python objects suggests to run them."""
    try:
        return load(what)
    except ValueError as error:
        if "pickle" in str(error):
            raise ValueError("Python objects are never loaded, only arrays of numbers") from None
        raise


def _from_csv(path: Path, key: str | None) -> NDArray[Any]:
    """Read delimited numbers, with or without a header row."""
    rows = read_delimited(path, key).rows
    return rows[:, 0] if rows.shape[1] == 1 else rows


NAMED: Final = (".npz", ".h5", ".hdf5", ".mat", ZARR)  # suffixes of files whose arrays have names
READERS: Final[Mapping[str, Callable[[Path, str | None], NDArray[Any]]]] = {
    **dict.fromkeys((".npy", ".npz"), _from_numpy),
    **dict.fromkeys((".tif", ".tiff", ".mtiff"), read_tiff),
    **dict.fromkeys((".h5", ".hdf5"), read_hdf5),
    ".mat": read_matlab,
    **dict.fromkeys(BIO, read_bio),
    ".csv": _from_csv,
    PNG: read_png,
    **dict.fromkeys(FITS, read_fits),
    ZARR: read_zarr,
}
SUFFIXES: Final = tuple(suffix for suffix in READERS if suffix != PNG)
"""Suffixes of the images in a folder; pictures in PNG are often previews of them, and are read where named."""
