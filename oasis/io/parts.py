"""Parts: arrays in files of which a part is read without the rest: `.npy`, HDF5, TIFF, zarr and FITS."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from oasis.errors import DataError
from oasis.io.arrays import without_pickles
from oasis.io.axes import AxisFacts
from oasis.io.containers import hdf5_facts, opened_dataset
from oasis.io.files import check_file, reading
from oasis.io.fits import FITS, open_fits
from oasis.io.tiff import CHANNELS, check_chain, check_complete, tiff_facts
from oasis.io.zarr_files import is_zarr, open_zarr

Index = tuple[int | slice, ...]


class Parts(Protocol):
    """An array that is read part by part; one whose file names its axes has further `facts`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of all axes."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers."""

    def __getitem__(self, index: Any, /) -> Any:
        """Return a part: an integer or a slice of step 1 for every axis."""


@contextmanager
def open_parts(path: Path, key: str | None = None) -> Iterator[Parts | None]:
    """Open the array of a file, to be read part by part; None where the file has to be read as a whole.

    Args:
        path: of the file.
        key: the array in an HDF5 file or zarr group, or the unit of a FITS file.

    Raises:
        DataError: a file that is missing, truncated or without numbers.
    """
    suffix = path.suffix.lower()
    if is_zarr(path):
        yield open_zarr(path, key)
    elif path.name.lower().endswith(FITS):
        with open_fits(path, key) as image:
            yield image
    elif suffix == ".npy":
        check_file(path)
        with reading(path):
            array = _Mapped(path, partial(without_pickles, partial(np.load, mmap_mode="r"), path))
        yield _checked(path, array)
    elif suffix in (".h5", ".hdf5"):
        with opened_dataset(path, key) as data:
            matlab = "MATLAB_class" in data.attrs
            yield None if matlab else _checked(path, _Hdf5(path, data))
    elif suffix in (".tif", ".tiff", ".mtiff"):
        check_file(path)
        with reading(path):
            file = tifffile.TiffFile(path)
        with file:
            with reading(path):
                pages = _pages(path, file)
            yield pages
    else:
        yield None


def facts_of(parts: Parts) -> AxisFacts:
    """Return what the file of an array states about its axes."""
    found: AxisFacts = getattr(parts, "facts", AxisFacts())
    return found


def _checked(path: Path, array: Any) -> Any:
    if array.dtype.kind not in "fiub" or not prod(array.shape) or not array.shape:
        raise DataError(f"{path}: contains no numeric array (dtype {array.dtype}, shape {array.shape})")
    return array


class _Mapped:
    """An array that is mapped into memory separately for every part, so that earlier parts do not stay there."""

    def __init__(self, path: Path, load: Callable[[], NDArray[Any]], facts: AxisFacts = AxisFacts()) -> None:  # noqa: B008
        self._path, self._load, self.facts = path, load, facts
        array = load()
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype

    def __getitem__(self, index: Index, /) -> NDArray[Any]:
        with reading(self._path):
            return np.array(self._load()[index])


class _Hdf5:
    """A data set, whose damage becomes one error."""

    def __init__(self, path: Path, data: h5py.Dataset) -> None:
        self._path, self._data, self.facts = path, data, hdf5_facts(data)
        self.shape: tuple[int, ...] = data.shape or ()
        self.dtype: np.dtype[Any] = data.dtype

    def __getitem__(self, index: Index, /) -> NDArray[Any]:
        with reading(self._path):
            return np.asarray(self._data[index])


class TiffPages:
    """The pages of a TIFF file as one stack, of which only the tiles or strips are decoded that are needed.

    Args:
        path: of the file.
        pages: of one size and type.
        facts: what the file states about the axes.
    """

    def __init__(self, path: Path, pages: list[Any], facts: AxisFacts) -> None:
        self._path, self._pages, self.facts = path, pages, facts
        first = pages[0]
        self.shape: tuple[int, ...] = (*[len(pages)] * (len(pages) > 1), *first.shape)
        self.dtype: np.dtype[Any] = np.dtype(first.dtype)

    def __getitem__(self, index: Index, /) -> NDArray[Any]:
        *page, rows, columns = index
        assert isinstance(rows, slice)
        assert isinstance(columns, slice)
        if not page:
            return self._read(self._pages[0], rows, columns)
        if isinstance(page[0], int):
            return self._read(self._pages[page[0]], rows, columns)
        return np.stack([self._read(one, rows, columns) for one in self._pages[page[0]]])

    def _read(self, page: Any, rows: slice, columns: slice) -> NDArray[Any]:
        starts = (rows.start or 0, columns.start or 0)
        stops = [
            length if part.stop is None else min(part.stop, length)
            for part, length in zip((rows, columns), page.shape, strict=True)
        ]
        found = np.zeros([stop - start for start, stop in zip(starts, stops, strict=True)], self.dtype)
        height, width = page.chunks[:2]
        across = page.chunked[1]
        with reading(self._path):
            for row in range(starts[0] // height, -(-stops[0] // height)):
                for column in range(starts[1] // width, -(-stops[1] // width)):
                    segment = self._segment(page, row * across + column)
                    if segment is not None:
                        _paste(found, segment, (row * height - starts[0], column * width - starts[1]))
        return found

    @staticmethod
    def _segment(page: Any, number: int) -> NDArray[Any] | None:
        """Return a tile or strip; None for one without data, which is 0."""
        length = page.databytecounts[number]
        if not length:
            return None
        handle = page.parent.filehandle
        handle.seek(page.dataoffsets[number])
        decoded = page.decode(handle.read(length), number, jpegtables=page.jpegtables)[0]
        return np.asarray(decoded[0, :, :, 0])


def _paste(into: NDArray[Any], segment: NDArray[Any], at: tuple[int, int]) -> None:
    """Lay a segment into an array at a place that may lie outside of it in part."""
    low = [max(start, 0) for start in at]
    high = [min(start + size, end) for start, size, end in zip(at, segment.shape, into.shape, strict=True)]
    to = tuple(slice(start, max(stop, start)) for start, stop in zip(low, high, strict=True))
    of = tuple(slice(part.start - start, part.stop - start) for part, start in zip(to, at, strict=True))
    into[to] = segment[of]


def _pages(path: Path, file: tifffile.TiffFile) -> Parts | None:
    """Return the pages of a file as one array, or None for channels, colours and several images."""
    check_chain(file)
    check_complete(file)
    if len(file.series) != 1 or any(axis in CHANNELS for axis in file.series[0].axes):
        return None
    series, facts = file.series[0], tiff_facts(file, path)
    if series.dataoffset is not None and not file.pages.first.is_tiled:
        mapped = _Mapped(path, partial(tifffile.memmap, path, mode="r", series=0), facts)
        if len(mapped.shape) != len(facts.names):
            return None
        return mapped if mapped.shape[-2:] == file.pages.first.shape else None
    pages = [page.aspage() for page in series.pages if page is not None]
    shapes = {(page.shape, page.dtype, page.samplesperpixel, page.imagedepth) for page in pages}
    if len(shapes) != 1 or len(pages[0].shape) != 2 or pages[0].samplesperpixel != 1 or pages[0].imagedepth != 1:
        return None
    names = [name for name, length in zip(series.axes, series.shape, strict=True) if length > 1 or name in "YX"]
    if len(pages) != len(series.pages) or len(names) != 2 + (len(pages) > 1):
        return None
    return TiffPages(path, pages, replace(facts, names="".join(names)))
