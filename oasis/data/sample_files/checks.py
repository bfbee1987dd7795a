"""Checks of the samples in a file, made both on writing and on reading."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from oasis.data.instances import Instances
from oasis.data.samples import Sample
from oasis.errors import DataError

FORMAT = "oasis-samples-2"
OLD_FORMATS = ("oasis-samples-1",)  # metadata in a group of columns, no instances


def check_truth(sample: Sample, classes: Sequence[str]) -> None:
    """Check that the valid pixels of the image are finite, and those of the target finite and not negative.

    Raises:
        DataError: they are not.
    """
    if not np.isfinite(sample.image).all():
        _refuse_all(~np.isfinite(sample.image) & sample.valid, sample.image, "image", "finite values")
    if not (sample.target.min() >= 0 and sample.target.max() < np.inf):  # False for NaN too
        for name, maps in zip(classes, sample.target, strict=True):
            wrong = ~((maps >= 0) & (maps < np.inf)) & sample.valid
            _refuse_all(wrong, maps, f"target of {name!r}", "finite values of at least 0")


def check_values(instances: Instances) -> None:
    """Check that instances, like targets, have no negative values.

    Raises:
        DataError: they have.
    """
    lowest = instances.values.min(initial=0)
    if lowest < 0:
        raise DataError(f"instances: a value of {lowest}, expected at least 0")


def _refuse_all(wrong: NDArray[np.bool_], values: NDArray[np.floating], what: str, expected: str) -> None:
    if wrong.any():
        raise DataError(f"the {what} has {values[wrong][0]} in {wrong.sum()} valid pixel(s), expected {expected}")
