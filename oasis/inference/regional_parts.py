"""Images of which only regions of interest are separated, read and written part by part."""

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oasis.errors import ConfigError, DataError, OasisError
from oasis.inference.job import Job
from oasis.inference.large import Large, open_large, say_zeroed
from oasis.inference.memory import CHUNK
from oasis.inference.output import Output
from oasis.inference.regional import Regional
from oasis.inference.regions import Region, check_fits
from oasis.inference.rows import Rows
from oasis.inference.sinks import Hdf5Sink
from oasis.inference.sources import left_out
from oasis.inference.tiled_instances import LitCells, group_parts
from oasis.inference.windows import Place, places
from oasis.io.parts import open_parts

BLOCK: Final = {1: 2**20, 2: 2048, 3: 128}  # pixels along an axis of the parts of a large image
PARTS: Final = 2**22  # pixels of an image that is not read as a whole
SAME_CENTRE = 2.0  # pixels: what two parts of an image find so near to each other is one object


def needs_parts(job: Job, path: Path, key: str | None) -> bool:
    """Return whether the regions of the images of a file are separated without reading these as a whole."""
    adapter = job.adapter
    if adapter.context or not adapter.reads_parts(path):
        return False
    with open_parts(path, key) as stored:
        parts = None if stored is None else adapter.arranged_parts(path, stored)
        return parts is not None and prod(parts.shape[max(len(parts.shape) - adapter.spatial_dims, 0) :]) > PARTS


def separate_in_parts(
    regional: Regional, path: Path, key: str | None, dark: NDArray[Any] | None, output: Output
) -> OasisError | None:
    """Separate the regions of images that are read and written part by part.

    Raises:
        ConfigError: the output is not written part by part, or the adapter finds no regions.
        DataError: the file cannot be used, or all regions are outside of its images.
    """
    if not isinstance(output.sink, Hdf5Sink):
        raise ConfigError(
            "images of this size are written part by part, which .npz files cannot: name an output .h5"
        )
    problems: dict[int, str] = {}
    with open_large(regional.job.adapter, path, key, dark) as images:
        size = images.shape[2:]
        output.check_size(size)
        output.expect(images.shape[0])
        check_fits(regional.trained, size)
        core = [BLOCK[len(size)]] * len(size)
        given = [_all_regions(regional, path, images, index, core) for index in range(images.shape[0])]
        found = [regional.usable(regions, size) for regions in given]
        regional.check_given(path, sum(map(len, given)), sum(map(len, found)), size)
        for index, regions in enumerate(found):
            try:
                _write_parts(regional, path, images, index, regions, core, output, output.sink)
            except DataError as error:
                problems[index] = str(error)
                output.sink.drop([f"maps/{name}" for name in regional.job.separator.classes], output.count)
        return left_out(path, problems, images.shape[0])


def _all_regions(regional: Regional, path: Path, images: Large, index: int, core: Sequence[int]) -> list[Region]:
    if regional.file is not None:
        return regional.file.of(path, index, images.shape[2:], regional.trained)
    return merged([regional.found_in(images, index, place) for place in places(images.shape[2:], core)])


def _write_parts(
    regional: Regional,
    path: Path,
    images: Large,
    index: int,
    regions: Sequence[Region],
    core: Sequence[int],
    output: Output,
    sink: Hdf5Sink,
) -> None:
    """Write the maps of an image and the rows of its regions."""
    job, (bands, *size) = regional.job, images.shape[1:]
    chunk = (1, *[CHUNK[len(size)]] * len(size))
    data = [sink.begin(f"maps/{name}", output.count, (bands, *size), chunk) for name in job.separator.classes]
    cells, rows = LitCells(job, tuple(size)), Rows()
    good = np.ones((1, *size), bool) if images.masked else None
    for place in places(size, core):
        found = regional.part(images, index, regions, place)
        for into, values in zip(data, found.maps, strict=True):
            into[output.count, :, *place] = values
        if found.numbers:
            rows.add(regional.columns(regions, found))
        if good is not None:
            good[:, *place] = images.mask(index, place)
        cells.add(place, found.maps if good is None else np.where(good[:, *place], found.maps, 0))
    row, mask = output.count, None if good is None or good.all() else good
    say_zeroed(path, images, mask)
    output.add(
        path, np.array([index]), tuple(size), None if mask is None else mask[None], {}, ordered(rows, index)
    )
    if job.grouping:

        def maps_of(place: Place) -> NDArray[np.float32]:
            maps = np.stack([one[row, :, *place] for one in data])
            return maps if mask is None else np.where(mask[:, *place], maps, 0)

        output.add_instances(path, np.array([index]), group_parts(job, tuple(size), cells, maps_of))


def ordered(rows: Rows, index: int) -> dict[str, ArrayLike]:
    """Return the rows of the regions of an image by column, in the order of the regions."""
    if not rows:
        return {"class": np.empty(0, str), "frame": np.empty(0, int)}
    table = rows.table().sort_values("region", kind="stable")
    return {"frame": np.full(len(table), index), **{str(name): table[name].to_numpy() for name in table}}


def merged(found: Sequence[Sequence[Region]]) -> list[Region]:
    """Return the regions of all parts of an image; one that two parts find, by its centre, counts once."""
    kept: list[Region] = []
    for regions in found:
        middles = np.array([region.middle for region in kept])
        kept += [
            region
            for region in regions
            if not len(middles) or np.abs(middles - region.middle).max(axis=1).min() > SAME_CENTRE
        ]
    return kept
