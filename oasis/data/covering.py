"""Covering: windows of one size that cover an image, each of which counts an equal part of it."""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np


class Covered(NamedTuple):
    """One of the windows that cover an image.

    Attributes:
        start: the first pixel of the window.
        counted: the pixels of the window that no other window of the image counts.
    """

    start: tuple[int, ...]
    counted: tuple[slice, ...]


def covering(size: Sequence[int], window: Sequence[int]) -> list[Covered]:
    """Return the fewest windows that cover an image; where they overlap, each counts an equal part.

    Args:
        size: of the image.
        window: size of a window, not larger.

    Example:
        >>> [(one.start, one.counted) for one in covering([10], [4])]
        [((0,), (slice(0, 3, None),)), ((3,), (slice(0, 4, None),)), ((6,), (slice(1, 4, None),))]
    """
    axes = [_divided(full, length) for full, length in zip(size, window, strict=True)]
    return [Covered(*zip(*places, strict=True)) for places in product(*axes)]


def _divided(full: int, length: int) -> list[tuple[int, slice]]:
    """Return the first pixel, and the pixels that it counts, of each window along an axis."""
    edges = np.linspace(0, full, -(-full // length) + 1).round().astype(int)
    found = []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        start = min(max((low + high - length) // 2, 0), full - length)
        found.append((start, slice(low - start, high - start)))
    return found
