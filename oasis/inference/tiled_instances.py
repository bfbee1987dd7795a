"""Instances of images that are separated in parts: those that cross the border of a part are one.

The image is divided into coarse cells. Connected cells with lit pixels are grouped on their own: nothing outside
them is near enough to matter, so that the instances are those of the whole image.
"""

import logging
from collections.abc import Callable, Iterator
from math import ceil, prod

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import ndimage

from oasis.data.instances import Instances, edge_names
from oasis.inference.choice import pixels
from oasis.inference.job import Job
from oasis.inference.memory import allowance
from oasis.inference.windows import Place
from oasis.instances.grouping import Grouping, group
from oasis.instances.table import POSITION, predicted_table
from oasis.regions import present

logger = logging.getLogger(__name__)

CELL = 8  # least pixels of a cell along every axis
TRUNCATED = 4  # standard deviations at which a Gaussian filter ends
COPIES = 8  # of the maps while they are grouped

ReadMaps = Callable[[Place], NDArray[np.float32]]


class LitCells:
    """The coarse cells of an image in which a class is present.

    Args:
        job: states classes, thresholds and grouping.
        size: of the image.
    """

    def __init__(self, job: Job, size: tuple[int, ...]) -> None:
        self._job, self._size = job, size
        options = [job.grouping.get(name, Grouping()) for name in job.adapter.classes]
        self.cell = max(CELL, *(_reach(how) for how in options))
        self.margin = max(_smoothed(how) for how in options)
        self.lit = np.zeros([-(-length // self.cell) for length in size], bool)

    def add(self, place: Place, maps: NDArray[np.float32]) -> None:
        """Note where classes are present in the maps (N, B, *part) of a part."""
        limits = torch.tensor(list(self._job.adapter.limits.values()))
        lit = present(torch.from_numpy(maps)[None], limits)[0].flatten(0, 1).any(0).numpy()
        if lit.any():
            starts = np.array([part.start for part in place])
            self.lit[tuple(((np.argwhere(lit) + starts) // self.cell).T)] = True

    def of(self, place: Place) -> Place:
        """Return the cells of a part."""
        return tuple(slice(part.start // self.cell, -(-part.stop // self.cell)) for part in place)

    def clusters(self) -> Iterator[tuple[Place, Callable[[NDArray[np.int64]], NDArray[np.bool_]]]]:
        """Yield the box of every cluster of cells, and a function that tells which pixels (k, dims) are in it."""
        numbers, _ = ndimage.label(self.lit, np.ones((3,) * self.lit.ndim))
        for number, cells in enumerate(ndimage.find_objects(numbers), 1):
            box = tuple(
                slice(
                    max(part.start * self.cell - self.margin, 0), min(part.stop * self.cell + self.margin, length)
                )
                for part, length in zip(cells, self._size, strict=True)
            )

            def inside(places: NDArray[np.int64], number: int = number) -> NDArray[np.bool_]:
                return np.asarray(numbers[tuple((places // self.cell).T)] == number)

            yield box, inside


def group_parts(job: Job, size: tuple[int, ...], cells: LitCells, read: ReadMaps) -> pd.DataFrame:
    """Return a row for every instance of an image that is read part by part, as `predicted_table` does.

    Args:
        job: states classes, thresholds, grouping and memory.
        size: of the image.
        cells: where it is lit.
        read: returns the maps (N, B, *part) of a part.
    """
    classes, limits = job.adapter.classes, job.adapter.limits
    tables = []
    for box, inside in cells.clusters():
        lengths = tuple(part.stop - part.start for part in box)
        needed = COPIES * 4 * len(classes) * job.adapter.bands * prod(lengths)
        if needed > allowance(job.window.bytes):
            logger.warning(
                "objects are not listed in a lit area of %s, which does not fit into memory: raise the thresholds",
                pixels(lengths),
            )
            continue
        found = group(read(box), classes, limits, job.grouping)
        starts = np.array([part.start for part in box])
        first = (
            np.asarray(found.pixels, np.int64)[np.asarray(found.offsets)[:-1]] if len(found) else np.empty(0, int)
        )
        bands, *axes = np.unravel_index(first, found.shape)
        places = np.stack(axes, axis=1).astype(np.int64) + starts
        chosen = np.flatnonzero(inside(places)) if len(found) else np.empty(0, int)
        table = _moved_table(found.select(chosen), classes, starts)
        order = np.ravel_multi_index((bands[chosen], *places[chosen].T), (job.adapter.bands, *size))
        tables.append(table.assign(_label=np.asarray(found.labels)[chosen], _first=order))
    if not tables:
        return predicted_table([group(_blank(job), classes, limits, job.grouping)], classes)
    table = pd.concat(tables).sort_values(["_label", "_first"], kind="stable", ignore_index=True)
    return table.drop(columns=["_label", "_first"])


def group_whole(job: Job, maps: NDArray[np.float32]) -> pd.DataFrame:
    """Return a row for every instance in the maps (N, B, *S) of one image."""
    classes = job.adapter.classes
    found = group(maps.astype(np.float32, copy=False), classes, job.adapter.limits, job.grouping)
    return predicted_table([found], classes)


def _moved_table(found: Instances, classes: tuple[str, ...], starts: NDArray[np.int64]) -> pd.DataFrame:
    table = predicted_table([found], classes)
    moved = {POSITION.format(axis): start for axis, start in enumerate(starts)}
    moved |= dict(zip(edge_names(len(starts)), np.repeat(starts, 2), strict=True))
    return table.assign(**{name: table[name] + start for name, start in moved.items()})


def _blank(job: Job) -> NDArray[np.float32]:
    adapter = job.adapter
    return np.zeros((len(adapter.classes), adapter.bands, *[1] * adapter.spatial_dims), np.float32)


def _reach(how: Grouping) -> int:
    """Return the distance of pixels that a grouping may join."""
    return max(
        1, how.gap + 1 if how.method == "gaps" else 1, ceil(how.separation) if how.method == "watershed" else 1
    )


def _smoothed(how: Grouping) -> int:
    """Return the distance of pixels that a grouping looks at."""
    return ceil(TRUNCATED * how.smoothing) + 1 if how.method == "watershed" else 1
