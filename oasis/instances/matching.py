r"""Matching: the assignment of predicted to true instances, and the panoptic quality.

.. math:: SQ = \frac{\sum_{TP} \mathrm{IoU}}{TP}, \qquad RQ = \frac{TP}{TP + FP / 2 + FN / 2}, \qquad
          PQ = SQ \cdot RQ

Instances may share pixels, so that an instance can overlap several others; pairs are assigned one to one. Source:
Kirillov et al. 2019, arXiv:1801.00868.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from oasis.data.instances import Instances
from oasis.errors import ConfigError, DataError
from oasis.stats.intervals import bootstrap

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Overlap = Literal["mask", "weighted", "box"]
Drop = Literal["first", "last"]
COUNTED = ("matched", "false", "missed")  # columns of counts
MATCH = 0.5  # the IoU that a match has to exceed


@dataclass(frozen=True)
class Pairs:
    """Pairs of an overlapping predicted and true instance.

    Attributes:
        predicted: (k,) indices.
        true: (k,) indices.
        iou: (k,) intersection over union.
    """

    predicted: Integers
    true: Integers
    iou: Floats

    def above(self, threshold: float) -> "Pairs":
        """Return the pairs with an IoU strictly above a threshold."""
        chosen = self.iou > threshold
        return Pairs(self.predicted[chosen], self.true[chosen], self.iou[chosen])


def overlaps(predicted: Instances, true: Instances, by: Overlap = "mask") -> Pairs:
    r"""Return all pairs of instances that share a pixel, or whose boxes do, with their IoU.

    Args:
        predicted: the predicted instances of an image.
        true: the true instances of the same image.
        by: `mask` counts pixels; `weighted` takes :math:`\sum_p \min(\hat I_p, I_p) / \sum_p \max(\hat I_p, I_p)`,
            so that faint edges count little; `box` takes the bounding boxes.

    Raises:
        DataError: the images differ in shape.

    Example:
        >>> one = Instances.pack((1, 6), [0], [[0, 1, 2, 3]], [[1, 1, 1, 1]])
        >>> two = Instances.pack((1, 6), [0, 0], [[2, 3, 4], [5]], [[1, 1, 1], [1]])
        >>> pairs = overlaps(one, two)
        >>> pairs.true, pairs.iou
        (array([0]), array([0.4]))
    """
    if predicted.shape != true.shape:
        raise DataError(f"instances of images of shape {predicted.shape} and {true.shape} cannot be matched")
    if by == "box":
        return _box_overlaps(predicted, true)
    first, second = _shared(predicted.pixels, true.pixels)
    least = np.ones(len(first))
    if by == "weighted":
        least = np.minimum(predicted.values[first], true.values[second]).astype(float)
    keys, place = np.unique(predicted.owners[first] * len(true) + true.owners[second], return_inverse=True)
    rows, cols = np.divmod(keys.astype(np.int64), max(len(true), 1))
    both = np.asarray(np.bincount(place, least, len(keys)), dtype=np.float64)
    sizes = [each.sizes if by == "mask" else each.intensity.sum(axis=1) for each in (predicted, true)]
    return Pairs(rows, cols, _iou(both, sizes[0][rows], sizes[1][cols]))


def _shared(first: NDArray[np.integer], second: NDArray[np.integer]) -> tuple[Integers, Integers]:
    """Return the places of equal numbers in two arrays, every pair of them."""
    order = np.argsort(second, kind="stable")
    rising = second[order]
    low, high = (np.searchsorted(rising, first, side) for side in ("left", "right"))
    counts = high - low
    begins = np.repeat(low - np.cumsum(counts) + counts, counts)
    return np.repeat(np.arange(len(first)), counts), order[begins + np.arange(counts.sum())]


def _iou(both: Floats, first: NDArray[Any], second: NDArray[Any]) -> Floats:
    return np.asarray(both / np.maximum(first + second - both, 1e-300), dtype=np.float64)


def _box_overlaps(predicted: Instances, true: Instances) -> Pairs:
    if not len(predicted) or not len(true):
        nothing = np.empty(0, np.int64)
        return Pairs(nothing, nothing, np.empty(0))
    first, second = predicted.boxes, true.boxes  # (n, dims, 2), the second end exclusive
    low = np.maximum(first[:, None, :, 0], second[None, :, :, 0])
    high = np.minimum(first[:, None, :, 1], second[None, :, :, 1])
    both = np.prod(np.clip(high - low, 0, None), axis=2)
    rows, cols = np.nonzero(both)
    volumes = [np.prod(boxes[..., 1] - boxes[..., 0], axis=1) for boxes in (first, second)]
    return Pairs(rows, cols, _iou(both[rows, cols].astype(float), volumes[0][rows], volumes[1][cols]))


def match(pairs: Pairs) -> Pairs:
    """Return the pairs of the one-to-one assignment with the largest summed IoU.

    Example:
        >>> best = match(Pairs(np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([0.6, 0.5, 0.2])))
        >>> best.predicted, best.true
        (array([0, 1]), array([0, 1]))
    """
    if not len(pairs.iou):
        return pairs
    rows = int(pairs.predicted.max()) + 1
    size = rows + int(pairs.true.max()) + 1
    edges = coo_array((np.ones(len(pairs.iou), bool), (pairs.predicted, rows + pairs.true)), shape=(size, size))
    parts = connected_components(edges, directed=False)[1][pairs.predicted]
    order = np.argsort(parts, kind="stable")
    kept = [_best(pairs, chosen) for chosen in np.split(order, np.flatnonzero(np.diff(parts[order])) + 1)]
    chosen = np.concatenate(kept)
    chosen = chosen[np.argsort(pairs.predicted[chosen], kind="stable")]
    return Pairs(pairs.predicted[chosen], pairs.true[chosen], pairs.iou[chosen])


def _best(pairs: Pairs, chosen: Integers) -> Integers:
    """Return the pairs of one component of the graph that form its best assignment."""
    if len(chosen) == 1:
        return chosen
    rows, row = np.unique(pairs.predicted[chosen], return_inverse=True)
    cols, col = np.unique(pairs.true[chosen], return_inverse=True)
    gain, place = np.zeros((len(rows), len(cols))), np.full((len(rows), len(cols)), -1)
    gain[row, col], place[row, col] = pairs.iou[chosen], chosen
    found = place[linear_sum_assignment(gain, maximize=True)]
    return np.asarray(found[found >= 0])


def matches(
    predicted: Instances,
    true: Instances,
    threshold: float = MATCH,
    by: Overlap = "mask",
    blind: bool = False,
    drop: Drop = "first",
) -> tuple[Pairs, list[Integers]]:
    """Return the matched pairs, and the class of every predicted and of every true instance.

    Args:
        predicted: of an image, or of several that are stacked.
        true: of the same.
        threshold: the IoU that a match has to exceed.
        by: as for `overlaps`.
        blind: match instances whatever their class; all classes are then 0.
        drop: pairs that do not exceed the threshold are dropped `first`, or `last`, after the assignment, as monai
            does, which can cost others that exceed it.

    Raises:
        ConfigError: a threshold outside 0 to 1.
    """
    if not 0 <= threshold < 1:
        raise ConfigError(f"threshold: expected an IoU of at least 0 and below 1, found {threshold}")
    labels = [
        np.zeros(len(each), np.int64) if blind else np.asarray(each.labels, np.int64) for each in (predicted, true)
    ]
    pairs = overlaps(predicted, true, by).above(threshold if drop == "first" else 0)
    same = labels[0][pairs.predicted] == labels[1][pairs.true]
    return match(Pairs(pairs.predicted[same], pairs.true[same], pairs.iou[same])).above(threshold), labels


@dataclass(frozen=True)
class Counts:
    """Counts of matched and unmatched instances of one image, by class.

    Attributes:
        iou: (N,) IoU summed over matches.
        matched: (N,) true positives.
        unmatched: (N,) predicted instances without a match.
        missed: (N,) true instances without a match.
    """

    iou: Floats
    matched: Integers
    unmatched: Integers
    missed: Integers


def count(
    predicted: Instances,
    true: Instances,
    classes: int,
    threshold: float = MATCH,
    by: Overlap = "mask",
    blind: bool = False,
    drop: Drop = "first",
) -> Counts:
    """Match the instances of one image and count matched, unmatched and missed instances by class.

    Args:
        predicted: instances.
        true: instances.
        classes: number N of classes; with `blind` the counts have one entry.
        threshold: the IoU that a match must exceed.
        by: as for `overlaps`.
        blind: match instances regardless of their class.
        drop: as for `matches`.

    Raises:
        ConfigError: a threshold outside 0 to 1.
    """
    found, labels = matches(predicted, true, threshold, by, blind, drop)
    size = 1 if blind else classes
    of = labels[0][found.predicted]
    matched = np.bincount(of, minlength=size)
    return Counts(
        np.bincount(of, found.iou, size).astype(np.float64),
        matched,
        np.bincount(labels[0], minlength=size) - matched,
        np.bincount(labels[1], minlength=size) - matched,
    )


def panoptic_quality(counts: Sequence[Counts], names: Sequence[str], resamples: int = 1000) -> pd.DataFrame:
    """Return PQ, SQ and RQ of every class, with 95 % intervals from resampled images.

    Args:
        counts: the counts of every image.
        names: the names of the classes, or one name for counts regardless of class.
        resamples: number of resamples.

    Returns:
        One row per class: `class`, `matched`, `false`, `missed`, and `pq`, `sq`, `rq`, each also with `_low` and
        `_high`; NaN for a class that is neither present nor predicted.

    Example:
        >>> one = Counts(np.array([1.6]), np.array([2]), np.array([1]), np.array([1]))
        >>> panoptic_quality([one], ["a"])[["class", "matched", "sq", "rq", "pq"]].round(3)
          class  matched   sq     rq     pq
        0     a        2  0.8  0.667  0.533
    """
    rows = []
    for label, name in enumerate(names):
        sums = np.array(
            [[one.iou[label], one.matched[label], one.unmatched[label], one.missed[label]] for one in counts]
        )
        total = dict(zip(COUNTED, sums.sum(axis=0)[1:].astype(int).tolist(), strict=True))
        row: dict[str, Any] = {"class": name, **total}
        for key, quality in _QUALITIES.items():
            estimate = bootstrap(np.arange(float(len(sums))), partial(_resampled, sums, quality), resamples)
            row |= {key: estimate.value, f"{key}_low": estimate.low, f"{key}_high": estimate.high}
        rows.append(row)
    return pd.DataFrame(rows)


def _resampled(sums: Floats, quality: Callable[[Floats], Floats], images: Floats) -> Floats:
    """Return a quality of resampled images (resamples, n)."""
    return quality(sums[images.astype(int)].sum(axis=-2))


def _divided(numerator: Floats, denominator: Floats) -> Floats:
    return np.asarray(numerator / np.where(denominator > 0, denominator, np.nan))


def _sq(sums: Floats) -> Floats:
    return _divided(sums[..., 0], sums[..., 1])


def _rq(sums: Floats) -> Floats:
    return _divided(sums[..., 1], sums[..., 1] + (sums[..., 2] + sums[..., 3]) / 2)


def _pq(sums: Floats) -> Floats:
    return _divided(sums[..., 0], sums[..., 1] + (sums[..., 2] + sums[..., 3]) / 2)


_QUALITIES = {"pq": _pq, "sq": _sq, "rq": _rq}
