"""OME-TIFF: maps of classes as channels, with their names and the size of a pixel, page by page."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
import tifffile
from numpy.typing import NDArray

from oasis.errors import DataError
from oasis.io.axes import SPATIAL, names_of_maps

TIFF: Final = (".tif", ".tiff")
WRITTEN_BY: Final = "oasis-seg maps"
LARGEST: Final = 2**32 - 2**25  # bytes of a TIFF file with offsets of 32 bits
OF_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_ome_tiff(
    path: Path,
    maps: Mapping[str, h5py.Dataset | NDArray[np.float32]],
    pixel_size: Sequence[float] = (),
    pixel_unit: str = "",
    facts: Mapping[str, Any] | None = None,
    named: Sequence[str] = (),
) -> None:
    """Write maps as one OME-TIFF with the axes TCZYX: images along T, classes and their bands along C.

    Args:
        path: the path of the file.
        maps: (n, B, *S) by class, of one shape with one to three spatial axes; a signal becomes one row.
        pixel_size: length of a pixel along every spatial axis; empty if unknown.
        pixel_unit: its unit.
        facts: what else the file states, as JSON in its description.
        named: names of the bands; empty if unknown.

    Raises:
        DataError: there are no maps.
    """
    first = next(iter(maps.values()), None)
    if first is None:
        raise DataError(f"{path}: no maps to write")
    images, bands, *size = first.shape
    volume = (*[1] * (3 - len(size)), *size)
    names = names_of_maps(list(maps), bands, named)
    metadata: dict[str, Any] = {
        "axes": "TCZYX",
        "Channel": {"Name": [OF_XML.sub("?", name) for name in names]},
        "Description": OF_XML.sub("?", json.dumps(dict(facts or {}), default=str)),
    }
    for axis, length in zip(SPATIAL[-len(size) :], pixel_size, strict=False):
        metadata |= {f"PhysicalSize{axis}": float(length), f"PhysicalSize{axis}Unit": pixel_unit}
    shape = (images, len(names), *volume)
    large = 4 * int(np.prod(shape, dtype=float)) > LARGEST
    with tifffile.TiffWriter(path, ome=True, bigtiff=large) as file:
        file.write(
            _pages(maps.values(), images, bands, volume),
            shape=shape,
            dtype=np.float32,
            photometric="minisblack",
            compression="zlib",
            software=WRITTEN_BY,
            metadata=metadata,
        )


def is_ome_maps(path: Path) -> bool:
    """Return whether a file is an OME-TIFF of maps that `write_ome_tiff` wrote."""
    with tifffile.TiffFile(path) as file:
        return bool(file.pages.first.software == WRITTEN_BY)


def _pages(maps: Any, images: int, bands: int, volume: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
    maps = list(maps)
    for index in range(images):
        for values in maps:
            for band in range(bands):
                yield from np.asarray(values[index, band], np.float32).reshape(volume)
