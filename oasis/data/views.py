"""Views: the part of an image, map or volume that is drawn, as a line or a picture."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from oasis.data.samples import Array

BORDER = 8  # pixels around the valid ones that are also shown


def window(valid: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the part of an image (*S) that contains its valid pixels and a border around them.

    Example:
        >>> window(np.arange(100) == 50)
        (slice(42, 59, None),)
    """
    if not valid.any():
        return (slice(None),) * valid.ndim
    return tuple(slice(max(int(at.min()) - BORDER, 0), int(at.max()) + BORDER + 1) for at in np.nonzero(valid))


def widened(part: tuple[slice, ...], size: Sequence[int]) -> tuple[slice, ...]:
    """Return a part (rows, columns) of an image widened to a square, as far as the image reaches.

    Example:
        >>> widened((slice(10, 20), slice(0, 30)), (100, 40))
        (slice(0, 30, None), slice(0, 30, None))
        >>> widened((slice(0, 5), slice(0, 30)), (12, 40))
        (slice(0, 12, None), slice(0, 30, None))
    """
    if len(part) != 2:
        return part
    bounds = [one.indices(length)[:2] for one, length in zip(part, size, strict=True)]
    side = max(high - low for low, high in bounds)
    starts = [
        max(min((low + high - side) // 2, length - side), 0)
        for (low, high), length in zip(bounds, size, strict=True)
    ]
    return tuple(slice(low, min(low + side, length)) for low, length in zip(starts, size, strict=True))


def view(values: Array, part: tuple[slice, ...], side: int | None = None) -> Array:
    """Return the view of an image or a map that is drawn: a line (n,), or a picture (h, w).

    Bands are added up. A volume is shown as projections of the values of largest magnitude, laid out as in a
    technical drawing: along the first axis at the top left, along the second below, along the third on the right.

    Args:
        values: (B, *S).
        part: the part to show, a slice per spatial axis.
        side: the longest side of the result in pixels; a larger one is reduced to means of blocks.

    Example:
        >>> volume = np.zeros((1, 2, 3, 4), dtype=np.float32)
        >>> volume[0, 1, 2, 3] = 5
        >>> view(volume, (slice(None),) * 3)
        array([[ 0.,  0.,  0.,  0., nan,  0.,  0.],
               [ 0.,  0.,  0.,  0., nan,  0.,  0.],
               [ 0.,  0.,  0.,  5., nan,  0.,  5.],
               [nan, nan, nan, nan, nan, nan, nan],
               [ 0.,  0.,  0.,  0., nan, nan, nan],
               [ 0.,  0.,  0.,  5., nan, nan, nan]], dtype=float32)
    """
    with np.errstate(invalid="ignore"):  # infinity minus infinity, in two bands
        flat = values.sum(axis=0)[part]
    if flat.ndim < 3:
        return _reduced(flat, math.ceil(max(flat.shape) / side) if side else 1)
    depth, height, width = flat.shape
    factor = math.ceil((depth + max(height, width)) / (side - 2)) if side else 1
    front, below, right = (_reduced(_largest(np.nan_to_num(flat), axis), factor) for axis in range(3))
    height, width, depth = *front.shape, len(below)
    sheet = np.full((height + 1 + depth, width + 1 + depth), np.nan, dtype=np.float32)
    sheet[:height, :width] = front
    sheet[height + 1 :, :width] = below
    sheet[:height, width + 1 :] = right.T
    return sheet


def _largest(volume: Array, axis: int) -> Array:
    """Return the values of largest magnitude along an axis."""
    return np.take_along_axis(volume, np.abs(volume).argmax(axis, keepdims=True), axis).squeeze(axis)


def _reduced(values: Array, factor: int) -> Array:
    """Return the means of blocks of `factor` pixels along every axis; the last ones may be smaller."""
    for axis, length in enumerate(values.shape):
        starts = np.arange(0, length, factor)
        sizes = np.diff([*starts, length]).reshape(-1, *[1] * (values.ndim - axis - 1))
        values = (np.add.reduceat(values, starts, axis) / sizes).astype(np.float32)
    return values
