"""Regions of interest: the parts of an image with objects, each separated in a window of the trained size.

Regions may overlap: a pixel that several cover belongs to the one whose centre is nearest, so that no light is
counted twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from oasis.data.instances import AXES
from oasis.errors import DataError
from oasis.inference.choice import pixels
from oasis.inference.windows import Place

NAMES = ", "  # between the names of regions that are united


@dataclass(frozen=True)
class Region:
    """A part of an image.

    Attributes:
        box: its pixels, a slice for each spatial axis.
        name: an identifier, if its source gives one.
        position: its position by name, such as `ra` and `dec`, if its source gives it.

    Example:
        >>> Region((slice(2, 6), slice(0, 8))).columns()
        {'y0': 2, 'y1': 6, 'x0': 0, 'x1': 8}
    """

    box: Place
    name: str = ""
    position: Mapping[str, float] = field(default_factory=dict)

    def columns(self) -> dict[str, int]:
        """Return the box as columns of a table: the first pixel of every axis, and the one after the last."""
        names = AXES[len(self.box)]
        pairs = zip(names, self.box, strict=True)
        return {f"{name}{end}": value for name, part in pairs for end, value in ((0, part.start), (1, part.stop))}

    def moved(self, by: Sequence[int]) -> "Region":
        """Return the region with its box moved along every axis."""
        box = tuple(slice(part.start + step, part.stop + step) for part, step in zip(self.box, by, strict=True))
        return Region(box, self.name, self.position)

    @property
    def middle(self) -> NDArray[np.float64]:
        """The centre of the box, in pixels."""
        return np.array([(part.start + part.stop - 1) / 2 for part in self.box])


def around(middle: Sequence[float] | NDArray[np.float64], lengths: Sequence[int]) -> Place:
    """Return the box of given lengths around a position, which is its pixel `length // 2`.

    Example:
        >>> around([32.2], [64])
        (slice(0, 64, None),)
    """
    starts = [int(np.floor(at + 0.5)) - length // 2 for at, length in zip(middle, lengths, strict=True)]
    return tuple(slice(start, start + length) for start, length in zip(starts, lengths, strict=True))


def window_of(region: Region, lengths: Sequence[int], size: Sequence[int]) -> Place:
    """Return the window of given lengths around a region, moved so that it is within the image.

    Args:
        region: the region.
        lengths: the lengths of the window.
        size: the size of the image, not smaller.
    """
    window = around(region.middle, lengths)
    starts = [
        min(max(part.start, 0), whole - length) for part, whole, length in zip(window, size, lengths, strict=True)
    ]
    return tuple(slice(start, start + length) for start, length in zip(starts, lengths, strict=True))


def clipped(region: Region, size: Sequence[int]) -> Region | None:
    """Return the part of a region within an image, or None if there is none."""
    box = tuple(
        slice(max(part.start, 0), min(part.stop, length)) for part, length in zip(region.box, size, strict=True)
    )
    return Region(box, region.name, region.position) if all(part.start < part.stop for part in box) else None


def check_fits(lengths: Sequence[int], size: Sequence[int]) -> None:
    """Check that a window is not larger than the image.

    Raises:
        DataError: it is.
    """
    if any(length > whole for length, whole in zip(lengths, size, strict=True)):
        raise DataError(
            f"windows of {pixels(tuple(lengths))}, as in training, do not fit into images of {pixels(tuple(size))}"
            ": separate them whole, or pad them"
        )


def overlapping(regions: Sequence[Region]) -> list[list[int]]:
    """Return for every region the numbers of those whose boxes overlap with its own.

    Example:
        >>> overlapping([Region((slice(0, 4),)), Region((slice(2, 6),)), Region((slice(5, 9),))])
        [[1], [0, 2], [1]]
    """
    starts = np.array([[part.start for part in region.box] for region in regions]).reshape(len(regions), -1)
    stops = np.array([[part.stop for part in region.box] for region in regions]).reshape(len(regions), -1)
    near: list[list[int]] = [[] for _ in regions]
    order = np.argsort(starts[:, 0], kind="stable") if len(regions) else np.empty(0, int)
    sorted_starts = starts[order, 0] if len(regions) else np.empty(0, int)
    for place, number in enumerate(order.tolist()):
        others = order[place + 1 : np.searchsorted(sorted_starts, stops[number, 0])]
        both = (starts[others] < stops[number]) & (starts[number] < stops[others])
        for other in others[both.all(axis=1)].tolist():
            near[number].append(other)
            near[other].append(number)
    return [sorted(found) for found in near]


def united(regions: Sequence[Region]) -> list[Region]:
    """Return the boxes around regions that overlap, until none overlap any more, with the names of their regions.

    Example:
        >>> parts = [Region((slice(0, 4),), "NR"), Region((slice(8, 9),), "ER"), Region((slice(3, 6),), "ER")]
        >>> [(region.box, region.name) for region in united(parts)]
        [((slice(0, 6, None),), 'ER, NR'), ((slice(8, 9, None),), 'ER')]
    """
    found = list(regions)
    while True:
        near = overlapping(found)
        rows = np.repeat(np.arange(len(found)), [len(others) for others in near])
        columns = np.array([other for others in near for other in others], int)
        if not len(rows):
            return found
        pairs = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(found),) * 2)
        count, labels = connected_components(pairs, directed=False)
        groups: list[list[Region]] = [[] for _ in range(count)]
        for region, label in zip(found, labels.tolist(), strict=True):
            groups[label].append(region)
        found = [_union(group) for group in groups]


def _union(regions: Sequence[Region]) -> Region:
    edges = np.array([[(part.start, part.stop) for part in region.box] for region in regions])
    box = tuple(map(slice, edges[..., 0].min(axis=0).tolist(), edges[..., 1].max(axis=0).tolist()))
    names = {name for region in regions for name in region.name.split(NAMES) if name}
    return Region(box, NAMES.join(sorted(names)))


def owned(regions: Sequence[Region], number: int, near: Sequence[int]) -> NDArray[np.bool_]:
    """Return which pixels of the box of a region belong to it: those to which its centre is the nearest.

    A pixel at the same distance from two centres belongs to the earlier region.

    Args:
        regions: all regions.
        number: of the region.
        near: the numbers of the regions whose boxes overlap with its own.

    Example:
        >>> regions = [Region((slice(0, 4),)), Region((slice(2, 6),))]
        >>> owned(regions, 0, [1]).tolist(), owned(regions, 1, [0]).tolist()
        ([True, True, True, False], [False, True, True, True])
    """
    box = regions[number].box
    axes = np.ogrid[box]
    own = np.ones([part.stop - part.start for part in box], bool)
    distance = _distance(axes, regions[number])
    for other in near:
        within = [
            (axis >= part.start) & (axis < part.stop) for axis, part in zip(axes, regions[other].box, strict=True)
        ]
        further = _distance(axes, regions[other])
        nearer = (further < distance) | ((further == distance) & (other < number))
        own &= ~(nearer & np.logical_and.reduce(np.broadcast_arrays(*within)))
    return own


def _distance(axes: Sequence[NDArray[Any]], region: Region) -> NDArray[np.float64]:
    """Return the squared distance of pixels to the centre of a region."""
    return np.asarray(sum((axis - at) ** 2 for axis, at in zip(axes, region.middle, strict=True)), np.float64)


def touches(one: Place, other: Place) -> bool:
    """Return whether two boxes overlap.

    Example:
        >>> touches((slice(0, 4),), (slice(3, 5),)), touches((slice(0, 4),), (slice(4, 5),))
        (True, False)
    """
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


def is_in(region: Region, place: Place) -> bool:
    """Return whether the centre of a region is in a part of an image: in one of all parts of a division."""
    return all(part.start <= int(at) < part.stop for part, at in zip(place, region.middle, strict=True))


def within(box: Place, window: Place) -> Place:
    """Return the slices of a box in an array of the pixels of a window.

    Example:
        >>> within((slice(5, 8),), (slice(4, 12),))
        (slice(1, 4, None),)
    """
    return tuple(
        slice(part.start - whole.start, part.stop - whole.start) for part, whole in zip(box, window, strict=True)
    )
