"""Windows around objects, which may reach beyond the image: there it is 0."""

from collections.abc import Sequence
from itertools import pairwise, product
from math import ceil
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from oasis.data.samples import Array
from oasis.inference.windows import Place

LONGEST = 2048  # pixels of the side of a block, without what is read around it

T = TypeVar("T", bound=np.generic)


def starts_of(places: NDArray[np.float64], lengths: Sequence[int]) -> NDArray[np.intp]:
    """Return the first pixels (k, axes) of windows whose pixel `length // 2` is nearest to each place.

    Example:
        >>> starts_of(np.array([[32.2, 10.0]]), [64, 64]).tolist()
        [[0, -22]]
    """
    return np.asarray(np.floor(places + 0.5).astype(np.intp) - np.array(lengths) // 2)


def overlap(start: NDArray[np.intp], lengths: Sequence[int], size: Sequence[int]) -> tuple[Place, Place]:
    """Return the part of an image that a window covers, and the same part within the window."""
    low = np.maximum(start, 0)
    high = np.maximum(np.minimum(start + np.array(lengths), size), low)
    inside = tuple(map(slice, low.tolist(), high.tolist()))
    return inside, tuple(map(slice, (low - start).tolist(), (high - start).tolist()))


def cut(values: NDArray[T], starts: NDArray[np.intp], lengths: Sequence[int]) -> NDArray[T]:
    """Return the windows (k, channels, *lengths) of an array (channels, *S), 0 beyond it."""
    found = np.zeros((len(starts), values.shape[0], *lengths), values.dtype)
    for window, start in zip(found, starts, strict=True):
        inside, within = overlap(start, lengths, values.shape[1:])
        window[:, *within] = values[:, *inside]
    return found


def cores(size: Sequence[int], longest: int | None = None) -> list[Place]:
    """Return the parts, about equally large, that an image is divided into.

    Args:
        size: of the image.
        longest: side of a part, at most; by default `LONGEST`.

    Example:
        >>> cores([10, 3], longest=6)
        [(slice(0, 5, None), slice(0, 3, None)), (slice(5, 10, None), slice(0, 3, None))]
    """
    axes = []
    for length in size:
        count = max(ceil(length / (longest or LONGEST)), 1)
        edges = [round(length * number / count) for number in range(count + 1)]
        axes.append([slice(low, high) for low, high in pairwise(edges)])
    return list(product(*axes))


def widened(core: Place, by: Sequence[int], size: Sequence[int]) -> Place:
    """Return a part of an image with its surroundings, as far as the image reaches.

    Example:
        >>> widened((slice(5, 10),), [3], [11])
        (slice(2, 11, None),)
    """
    return tuple(
        slice(max(part.start - more, 0), min(part.stop + more, length))
        for part, more, length in zip(core, by, size, strict=True)
    )


def is_within(places: NDArray[np.float64], part: Place) -> NDArray[np.bool_]:
    """Return which places (k, axes) have their nearest pixel in a part of an image."""
    nearest = np.floor(places + 0.5)
    low, high = np.array([[one.start, one.stop] for one in part]).T
    return np.asarray(((nearest >= low) & (nearest < high)).all(axis=1))


def bell(lengths: Sequence[int]) -> Array:
    """Return weights (1, *lengths) that fall linearly from the middle of a window to its edges, never to 0."""
    weights = np.ones((), np.float32)
    for length in lengths:
        axis = 1 - np.abs((np.arange(length) + 0.5) / length * 2 - 1) * (1 - 1 / length)
        weights = weights[..., None] * axis.astype(np.float32)
    return np.asarray(weights[None], np.float32)
