"""Tiled images: separated tile by tile, read and written part by part where the files allow it."""

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from oasis.errors import ConfigError, DataError, OasisError
from oasis.evaluation.event_table import count_maps, measured
from oasis.inference.job import Job
from oasis.inference.large import Large, open_large, say_zeroed, survey
from oasis.inference.memory import CHUNK, fits, largest_core
from oasis.inference.output import MASKED, Output
from oasis.inference.sinks import Hdf5Sink
from oasis.inference.sources import left_out
from oasis.inference.tiled_instances import LitCells, group_parts
from oasis.inference.windows import Place, Tiling
from oasis.io.parts import open_parts
from oasis.progress import watched

SMALL = 2**20  # pixels of an image that is separated whole without checking the memory


def separate_tiles(
    job: Job, path: Path, key: str | None, dark: NDArray[Any] | None, output: Output
) -> OasisError | None:
    """Separate the images of a file tile by tile, and return the error of those that could not be used.

    Raises:
        ConfigError: a problem that affects all files.
        DataError: the file cannot be used.
        ModelError: the network sees the whole frame.
    """
    if not isinstance(output.sink, Hdf5Sink):
        raise ConfigError("tiles are written part by part, which .npz files cannot: name an output .h5")
    problems: dict[int, str] = {}
    with open_large(job.adapter, path, key, dark) as images:
        size = images.shape[2:]
        output.check_size(size)
        job.choice.check_size(size, path)
        tiling = tiling_of(job, size)
        output.expect(images.shape[0])
        for index in range(images.shape[0]):
            try:
                _separate(job, tiling, images, index, path, output, output.sink)
            except DataError as error:
                problems[index] = str(error)
                output.sink.drop([_name(one) for one in job.separator.classes], output.count)
        return left_out(path, problems, images.shape[0])


def tiling_of(job: Job, size: tuple[int, ...]) -> Tiling:
    """Return the tiles for images of a size.

    Raises:
        ModelError: the network sees the whole frame.
        ConfigError: tiles are narrower than the reach of the network, or larger than the image.
    """
    tile, halo = job.window.tile, job.choice.halo
    if tile is None:
        return Tiling(largest_core(job.separator, halo, job.window.bytes), halo)
    if tile < max(halo):
        raise ConfigError(
            f"tile: {tile} pixels, but the network sees {max(halo)} to either side, and tiles would overlap by "
            f"more than they give: at least {max(halo)}"
        )
    if tile > max(size):
        found = " x ".join(map(str, size))
        raise ConfigError(f"tile: {tile} pixels, but images have {found}: choose smaller tiles, or whole images")
    return Tiling((tile,) * len(size), halo)


def _separate(
    job: Job, tiling: Tiling, images: Large, index: int, path: Path, output: Output, sink: Hdf5Sink
) -> None:
    """Write the maps of an image and its rows of the table."""
    separator, (bands, *size) = job.separator, images.shape[1:]
    found = survey(separator, images, index)
    chunk = (1, *[CHUNK[len(size)]] * len(size))
    written = [sink.begin(_name(name), output.count, (bands, *size), chunk) for name in separator.classes]
    counts, cells = torch.zeros(3, 1, len(separator.classes), dtype=torch.float64), LitCells(job, tuple(size))
    mask = found.mask
    say_zeroed(path, images, mask)

    def visible(place: Place) -> NDArray[np.bool_]:
        seen = images.visible(index, place)
        return seen if mask is None else seen & mask[:, *place]

    def read(place: Place) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        return images.part(index, place), images.context(index, place)

    tiles = () if found.blank else tiling.maps(separator, size, read, found.scale)
    for place, maps in watched(tiles, path.name, prod(size), "pixels", lambda pair: pair[1][0, 0].size):
        for data, values in zip(written, maps, strict=True):
            data[output.count, :, *place] = values
        cells.add(place, np.where(valid := visible(place), maps, 0))
        counts += count_maps(torch.from_numpy(maps)[None], torch.from_numpy(valid)[None], job.adapter)
    columns: dict[str, ArrayLike] = {"class": np.array(separator.classes)}
    columns |= {name: values[0].numpy() for name, values in measured(counts).items()}
    columns |= {name: [column[index]] * len(separator.classes) for name, column in images.position.items()}
    if mask is not None:
        seen = images.visible(index, tuple(slice(0, length) for length in size))
        columns[MASKED] = [(seen & ~mask).sum() / max(seen.sum(), 1)] * len(separator.classes)
    row = output.count
    output.add(path, np.array([index]), tuple(size), None if mask is None else mask[None], {}, columns)
    if job.grouping:

        def maps_of(place: Place) -> NDArray[np.float32]:
            return np.where(visible(place), np.stack([data[row, :, *place] for data in written]), 0)

        output.add_instances(path, np.array([index]), group_parts(job, tuple(size), cells, maps_of))


def _name(label: str) -> str:
    """Return the name of the maps of a class in the output."""
    return f"maps/{label}"


def needs_tiles(job: Job, path: Path, key: str | None) -> bool:
    """Return whether the images of a file are too large for the memory to be separated whole.

    Without a stated memory, a network that sees the whole frame is tried: tiles are no way out for it.
    """
    adapter, memory = job.adapter, job.window.bytes
    if memory is None and job.separator.sees_whole_frame:
        return False
    if adapter.context or not adapter.reads_parts(path):
        return False
    with open_parts(path, key) as stored:
        parts = None if stored is None else adapter.arranged_parts(path, stored)
        if parts is None:
            return False
        size = parts.shape[max(len(parts.shape) - adapter.spatial_dims, 0) :]
    return prod(size) > SMALL and not fits(job.separator, size, memory)
