"""Windows around objects, which may reach beyond the image: there it is 0."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from oasis.data.samples import Array
from oasis.inference.windows import Place

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


def bell(lengths: Sequence[int]) -> Array:
    """Return weights (1, *lengths) that fall linearly from the middle of a window to its edges, never to 0."""
    weights = np.ones((), np.float32)
    for length in lengths:
        axis = 1 - np.abs((np.arange(length) + 0.5) / length * 2 - 1) * (1 - 1 / length)
        weights = weights[..., None] * axis.astype(np.float32)
    return np.asarray(weights[None], np.float32)
