"""Outlines of single objects, to be drawn over views of their maps."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.data.instances import Instances
from oasis.data.samples import Array, Sample
from oasis.data.views import view
from oasis.evaluation.instances import grouped, visible
from oasis.instances.grouping import Grouping

Segments = NDArray[np.float64]  # (n, 2, 2): both ends of each line as x and y, in corners of pixels
MOST = 300  # objects of a class that are outlined, the brightest first


class ShownObjects(NamedTuple):
    """The single objects of an event.

    Attributes:
        true: the true instances, or None if they are unknown.
        predicted: those that the predicted maps are grouped into.
    """

    true: Instances | None
    predicted: Instances


def objects_of(sample: Sample, maps: Array, adapter: Adapter, grouping: Mapping[str, Grouping]) -> ShownObjects:
    """Return the true and predicted objects of an event, of pixels that are valid and above the thresholds.

    Args:
        sample: with truth.
        maps: predicted, (N, B, *S).
        adapter: the adapter of the domain.
        grouping: how maps are grouped, by class.
    """
    known = sample.instances
    true = None if known is None else visible(known, list(adapter.limits.values()), sample.valid)
    return ShownObjects(true, grouped(maps, sample.valid, adapter, grouping))


def outlines(objects: Instances | None, label: int, part: tuple[slice, ...], side: int | None = None) -> Segments:
    """Return the outlines of the objects of a class in a view of their map; there are none in one dimension.

    Args:
        objects: of an image (B, *S), or None.
        label: the number of the class.
        part: the part of the image that is shown, as for `view`.
        side: the longest side of the view.
    """
    if objects is None or len(part) == 1:
        return np.empty((0, 2, 2))
    own = objects.select(np.flatnonzero(np.asarray(objects.labels) == label))
    brightest = np.argsort(-own.intensity.sum(axis=1), kind="stable")[:MOST]
    found = [edges(view((own.dense(int(one)) > 0).astype(np.float32), part, side) > 0) for one in brightest]
    return np.concatenate([np.empty((0, 2, 2)), *found])


def edges(inside: NDArray[np.bool_]) -> Segments:
    """Return the lines between pixels inside and outside of an object, one per side of a pixel.

    Args:
        inside: (h, w).

    Example:
        >>> edges(np.array([[False, True]])).astype(int).tolist()
        [[[1, 0], [1, 1]], [[2, 0], [2, 1]], [[1, 0], [2, 0]], [[1, 1], [2, 1]]]
    """
    padded = np.pad(inside, 1)
    upright = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])[:, ::-1]
    level = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])[:, ::-1]
    ends = [np.stack([start, start + step], axis=1) for start, step in ((upright, (0, 1)), (level, (1, 0)))]
    return np.concatenate(ends).astype(np.float64)
