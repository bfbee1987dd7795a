"""Pixels: the length of a pixel of measured images, which their maps keep."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from oasis.adapters.base import Adapter
from oasis.io.parts import Parts, facts_of, open_parts


class PixelSize(NamedTuple):
    """The length of a pixel.

    Attributes:
        size: along every spatial axis; empty if unknown.
        unit: its unit.
    """

    size: tuple[float, ...] = ()
    unit: str = ""


def common(found: Sequence[PixelSize]) -> PixelSize:
    """Return the pixel size of several files, unknown if they differ.

    Example:
        >>> common([PixelSize((0.1, 0.1), "µm")] * 2).size, common([PixelSize((0.1,), "s"), PixelSize()]).size
        ((0.1, 0.1), ())
    """
    return found[0] if len(set(found)) == 1 else PixelSize()


def stated_size(adapter: Adapter[Any], path: Path, key: str | None) -> PixelSize:
    """Return the pixel size that a file states which is read part by part."""
    with open_parts(path, key) as parts:
        return PixelSize() if parts is None else pixel_of(parts, adapter.spatial_dims)


def pixel_of(parts: Parts, spatial_dims: int) -> PixelSize:
    """Return the pixel size that an open file states."""
    facts = facts_of(parts)
    sizes = facts.lengths(spatial_dims)
    return PixelSize(sizes, facts.pixel_unit if sizes else "")
