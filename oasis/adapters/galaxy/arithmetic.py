"""Ratios, percentages and magnitudes that are NaN where they are not defined."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    """Divide; NaN where the denominator is 0 or negative.

    Example:
        >>> ratio([1.0, 1.0], [2.0, 0.0])
        array([0.5, nan])
    """
    below = np.asarray(denominator, dtype=float)
    return np.asarray(numerator / np.where(below > 0, below, np.nan))


def magnitude_or_nan(flux: Floats) -> Floats:
    """Return magnitudes; NaN where the flux is 0 or negative."""
    return -2.5 * np.log10(np.where(flux > 0, flux, np.nan))


def percent(predicted: ArrayLike, true: ArrayLike) -> Floats:
    """Return (predicted - true) / true x 100; NaN where the true value is 0 or negative.

    Example:
        >>> percent([1.1], [1.0]).round(6)
        array([10.])
    """
    return 100 * (ratio(predicted, true) - 1)
