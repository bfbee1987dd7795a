"""Regions of interest: the parts of an image with objects, each separated in a window of the trained size.

Regions may overlap: a pixel that several cover belongs to the one whose centre is nearest, so that no light is
counted twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from oasis.errors import DataError
from oasis.inference.choice import pixels
from oasis.inference.windows import Place

AXES = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x")}
"""Names of the spatial axes in tables of regions."""


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


def owners(regions: Sequence[Region], size: Sequence[int]) -> Iterator[NDArray[np.bool_]]:
    """Yield for every region which pixels of its box belong to it: those to which its centre is the nearest.

    A pixel at the same distance from two centres belongs to the earlier region.

    Args:
        regions: regions within the image.
        size: the size of the image.

    Example:
        >>> regions = [Region((slice(0, 4),)), Region((slice(2, 6),))]
        >>> [own.tolist() for own in owners(regions, [6])]
        [[True, True, True, False], [False, True, True, True]]
    """
    nearest = np.full(size, np.inf, np.float32)
    owner = np.full(size, -1, np.int32)
    for number, region in enumerate(regions):
        axes = np.ogrid[region.box]
        distance = sum((axis - at) ** 2 for axis, at in zip(axes, region.middle, strict=True))
        closer = distance < nearest[region.box]
        nearest[region.box] = np.where(closer, distance, nearest[region.box])
        owner[region.box][closer] = number
    for number, region in enumerate(regions):
        yield owner[region.box] == number
