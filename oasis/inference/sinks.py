"""Sinks: HDF5, `.npz`, OME-TIFF and CSV files, to which maps are written image by image."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import h5py
import numpy as np
from numpy.typing import NDArray

from oasis.errors import DataError
from oasis.evaluation.identity import CONFIGURATION
from oasis.inference.pixels import PixelSize
from oasis.io.catalogues import CATALOGUES
from oasis.io.hdf5 import append_rows, create_hdf5, spooled_hdf5
from oasis.io.npz import NpzWriter, create_npz
from oasis.io.ome_tiff import TIFF, write_ome_tiff
from oasis.io.signal_tables import abscissa_of, write_signals
from oasis.io.zarr_files import ZARR
from oasis.separator.options import SeparatorOptions

COMPRESSION: Final[Mapping[str, Any]] = {"compression": "gzip", "compression_opts": 1}
HDF5: Final = (".h5", ".hdf5")
NPZ: Final = ".npz"
CSV: Final = ".csv"  # of one file of signals; that of several would be their table of intensities
OUTPUTS: Final = (*HDF5, NPZ, ZARR, *TIFF)


class Sink(Protocol):
    """A file to which arrays are appended."""

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Append rows (n, ...) to the array of a name."""


class FileSink(Sink, Protocol):
    """A file of maps, which also states what all of them have in common."""

    def describe(self, pixel: PixelSize) -> None:
        """State the length of a pixel, once all rows are there."""


def check_kind(out: Path) -> str:
    """Return the suffix of an output.

    Raises:
        DataError: the suffix is not supported.
    """
    suffix = out.suffix.lower()
    if suffix not in OUTPUTS:
        raise DataError(
            f"{out}: unknown kind of output; expected {', '.join(OUTPUTS)}, or, of "
            f"objects, {', '.join(CATALOGUES)}; a folder goes with --each"
        )
    return suffix


@contextmanager
def open_sink(
    path: Path, suffix: str, options: SeparatorOptions, source: Path, bands: Sequence[str] = ()
) -> Iterator[FileSink]:
    """Create the file for maps.

    Args:
        path: of the file.
        suffix: the suffix of the output, to which the file is renamed.
        options: the options of the separator, whose classes, unit and identity the file states.
        source: the first of the inputs, the only one of a CSV file, which has its abscissa.
        bands: names of the bands; empty if unknown.
    """
    facts = {
        "classes": json.dumps(list(options.classes)),
        "unit": options.unit,
        "identity": json.dumps(options.identity),
    }
    if bands:
        facts["bands"] = json.dumps(list(bands))
    if suffix == NPZ:
        with create_npz(path, facts) as archive:
            yield _Archive(archive)
        return
    if suffix not in (*TIFF, CSV):
        with create_hdf5(path) as file:
            file.attrs.update(facts)
            yield Hdf5Sink(file)
        return
    with spooled_hdf5(path.parent) as (file, check):  # until the number of images is known
        sink = Hdf5Sink(file)
        yield sink
        check()
        if "maps" not in file:
            return
        maps = {name: file[f"maps/{name}"] for name in options.classes}
        if suffix == CSV:
            run = str(options.identity.get(CONFIGURATION, ""))
            write_signals(path, maps, file["frame"][:], run, options.unit, abscissa_of(source), bands)
        else:
            _write_tiff(path, maps, file, sink.pixel, options, bands)


def _write_tiff(
    path: Path,
    maps: Mapping[str, h5py.Dataset],
    file: h5py.File,
    pixel: PixelSize,
    options: SeparatorOptions,
    bands: Sequence[str],
) -> None:
    sources = file["source"].asstr()[:].tolist()
    facts = {
        "unit": options.unit,
        "identity": options.identity,
        "source": sources,
        "frame": file["frame"][:].tolist(),
    }
    write_ome_tiff(path, maps, pixel.size, pixel.unit, facts, bands)


class _Archive:
    """An `.npz` file, in which maps have the names of their classes."""

    def __init__(self, file: NpzWriter) -> None:
        self.file = file

    def append(self, name: str, rows: NDArray[Any]) -> None:
        self.file.append(name.removeprefix("maps/"), rows)

    def describe(self, pixel: PixelSize) -> None:
        if pixel.size:
            self.file.append("pixel_size", np.array(pixel.size))
            self.file.append("pixel_unit", np.array([pixel.unit]))


class Hdf5Sink:
    """An HDF5 file, to which maps can also be written part by part."""

    def __init__(self, file: h5py.File) -> None:
        self.file = file
        self.pixel = PixelSize()

    def describe(self, pixel: PixelSize) -> None:
        """State the length of a pixel in the attributes of the file."""
        self.pixel = pixel
        if pixel.size:
            self.file.attrs.update({"pixel_size": pixel.size, "pixel_unit": pixel.unit})

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Append rows (n, ...) to the array of a name."""
        if rows.dtype.kind == "U":
            rows = np.array([text.encode() for text in rows], dtype=h5py.string_dtype())
        append_rows(self.file, name, rows, **COMPRESSION)

    def begin(self, name: str, index: int, row: Sequence[int], chunk: Sequence[int]) -> h5py.Dataset:
        """Return a data set of maps with a blank row at its end, to be written in parts.

        Args:
            name: the name of the data set.
            index: the index of the row; leftovers of an earlier attempt are dropped.
            row: lengths of its axes.
            chunk: the shape of a chunk.
        """
        if name not in self.file:
            chunks = (1, *(min(pair) for pair in zip(chunk, row, strict=True)))
            self.file.create_dataset(
                name, (0, *row), np.float32, maxshape=(None, *row), chunks=chunks, **COMPRESSION
            )
        data = self.file[name]
        data.resize(index, axis=0)
        data.resize(index + 1, axis=0)
        return data

    def drop(self, names: Sequence[str], count: int) -> None:
        """Drop the rows after the first `count` of data sets that were begun."""
        for name in names:
            if name in self.file:
                self.file[name].resize(count, axis=0)
