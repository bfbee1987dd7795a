"""Metrics: the counting of arXiv 2201.08973, errors of energies, and distances between spectra."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance

from oasis.data.instances import Instances
from oasis.errors import DataError
from oasis.instances.matching import Counts, matches, overlaps
from oasis.stats.intervals import Estimate, bootstrap, percentiles

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CHI2_EDGES = np.arange(0.0, 1201.0, 60.0)  # keV


def paper_counts(predicted: Instances, true: Instances, classes: int, threshold: float = 0.5) -> Counts:
    """Count as the paper does: by boxes, and not one to one.

    A predicted box is a true positive if the true box with which it overlaps most has its class and an IoU
    strictly above the threshold; several boxes on one object all count. Other predicted boxes are false, and true
    boxes without a predicted one above the threshold, whatever its class, are missed. The paper does not say
    whether boxes on nothing count as false; here they do.

    Example:
        >>> true = Instances.pack((1, 4, 4), [0], [[0, 1]], [[1, 1]])
        >>> twice = Instances.pack((1, 4, 4), [0, 0, 1], [[0, 1], [0, 1], [0, 1]], [[1, 1]] * 3)
        >>> counts = paper_counts(twice, true, classes=2)
        >>> counts.matched, counts.unmatched, counts.missed
        (array([2, 0]), array([0, 1]), array([0, 0]))
    """
    pairs = overlaps(predicted, true, by="box")
    order = np.lexsort((-pairs.iou, pairs.predicted))
    first = np.unique(pairs.predicted[order], return_index=True)[1]
    best = order[first]
    best = best[pairs.iou[best] > threshold]
    labels, of_true = np.asarray(predicted.labels, np.int64), np.asarray(true.labels, np.int64)
    right = best[labels[pairs.predicted[best]] == of_true[pairs.true[best]]]
    matched = np.bincount(labels[pairs.predicted[right]], minlength=classes)
    iou = np.bincount(labels[pairs.predicted[right]], pairs.iou[right], classes)
    boxed = np.zeros(len(true), bool)
    boxed[pairs.true[pairs.iou > threshold]] = True
    return Counts(
        iou.astype(np.float64),
        matched,
        np.bincount(labels, minlength=classes) - matched,
        np.bincount(of_true[~boxed], minlength=classes),
    )


class Energies(NamedTuple):
    """Matched objects of some images.

    Attributes:
        ratio: (k,) predicted over true charge.
        shares: (k,) whether the true object has pixels in common with others.
        label: (k,) class of the true object.
    """

    ratio: Floats
    shares: NDArray[np.bool_]
    label: Integers

    @classmethod
    def of(cls, predicted: Instances, true: Instances, charge: Floats | None = None) -> "Energies":
        """Match the objects of an image, whatever their class, and compare charges.

        Args:
            predicted: objects.
            true: objects.
            charge: (n,) predicted charges, instead of the summed intensities.
        """
        pairs, _ = matches(predicted, true, blind=True)
        found = predicted.intensity.sum(axis=1) if charge is None else charge
        ratio = found[pairs.predicted] / true.intensity.sum(axis=1)[pairs.true]
        label = np.asarray(true.labels, np.int64)[pairs.true]
        return cls(np.asarray(ratio), (true.shared > 0)[pairs.true], label)

    @classmethod
    def concatenate(cls, parts: Sequence["Energies"]) -> "Energies":
        """Return the matched objects of several images."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def median_interval(values: Floats, resamples: int = 1000, seed: int = 0) -> Estimate:
    """Return the median of values with a 95 % bootstrap interval; NaN without values."""
    return bootstrap(values, partial(np.median, axis=-1), resamples, seed)


def spectrum_distance(
    predicted: Sequence[Floats], true: Sequence[Floats], resamples: int = 200, seed: int = 0
) -> Estimate:
    """Return the Wasserstein distance of two spectra in the unit of the energies, with a 95 % bootstrap interval.

    Args:
        predicted: the energies in every image.
        true: the same.
        resamples: number of resamples of the images.
        seed: of the resamples.

    Raises:
        DataError: no energies.

    Example:
        >>> spectrum_distance([np.array([1.0, 2.0])], [np.array([2.0, 3.0])]).value
        1.0
    """
    if not sum(map(len, predicted)) or not sum(map(len, true)):
        raise DataError("a spectrum without any object has no distance from another one")

    def distance(rows: NDArray[np.intp]) -> float:
        first, second = (np.concatenate([part[row] for row in rows]) for part in (predicted, true))
        return float(wasserstein_distance(first, second)) if len(first) and len(second) else np.nan

    rng, count = np.random.default_rng(seed), len(true)
    drawn = np.array([distance(rng.integers(count, size=count)) for _ in range(resamples)])
    return Estimate(distance(np.arange(count)), *percentiles(drawn[np.isfinite(drawn)]))


def chi2(predicted: Floats, true: Floats) -> float:
    """Return chi2 per bin of 60 keV of two spectra of counts, over bins that are not empty in both.

    Example:
        >>> chi2(np.array([10.0] * 9), np.array([10.0] * 16))
        1.96
    """
    first, second = (np.histogram(one, CHI2_EDGES)[0].astype(float) for one in (predicted, true))
    filled = first + second > 0
    return float(np.mean((first - second)[filled] ** 2 / (first + second)[filled]))
