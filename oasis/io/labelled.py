"""Labelled arrays: the numbers of an image file together with what it states about their axes."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.io.arrays import checked_numbers, read_array
from oasis.io.axes import AxisFacts
from oasis.io.bio import BIO, read_bio_axes
from oasis.io.containers import read_hdf5_axes
from oasis.io.files import check_file, reading
from oasis.io.tiff import read_tiff_axes
from oasis.io.traces import read_traces
from oasis.io.zarr_files import is_zarr, open_zarr


def read_labelled(path: str | Path, key: str | None = None) -> tuple[NDArray[Any], AxisFacts]:
    """Read the numbers of an image file, with the names of their axes where the file states them.

    Args:
        path: the path of the file, of any kind that `read_array` reads.
        key: as for `read_array`.

    Returns:
        The array and its facts. Unlike with `read_array` no axes of a TIFF file are put together, and the columns
        of a CSV table with an abscissa are separate signals.

    Raises:
        DataError: as `read_array`.
        MissingExtraError: the package for its compression is not installed.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if is_zarr(path):
        array = open_zarr(path, key)
        return np.asarray(array[(slice(None),) * len(array.shape)]), array.facts
    if suffix in (".tif", ".tiff", ".mtiff"):
        check_file(path)
        with reading(path):
            values, facts = read_tiff_axes(path)
        return checked_numbers(path, values), facts
    if suffix in BIO:
        check_file(path)
        with reading(path):
            values, facts = read_bio_axes(path, key)
        return checked_numbers(path, values), facts
    if suffix in (".h5", ".hdf5"):
        check_file(path)
        with reading(path):
            values, facts = read_hdf5_axes(path, key)
        return checked_numbers(path, values), facts
    if suffix == ".csv":
        check_file(path)
        with reading(path):
            traces = read_traces(path, key)
        if traces is not None:
            return checked_numbers(path, traces[0]), traces[1]
    values = read_array(path, key)
    return values, AxisFacts("ICYX") if suffix == ".png" and values.ndim == 4 else AxisFacts()
