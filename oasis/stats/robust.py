"""Level and noise from medians, which a minority of outliers hardly moves."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAD_TO_SIGMA: Final = 1.4826  # the standard deviation of a normal distribution over its median absolute deviation


def median_and_noise(values: NDArray[Any], axis: int | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the median and the standard deviation that normal values of this median absolute deviation have.

    Args:
        values: numbers without NaN, one at least along the axis.
        axis: over which medians are taken; all of them by default.

    Example:
        >>> values = np.append(np.random.default_rng(0).normal(5, 2, 10_000), np.full(100, 1e6))
        >>> level, noise = median_and_noise(values)
        >>> level.round(1), noise.round(1)
        (np.float64(5.0), np.float64(2.0))
    """
    level = np.median(values, axis=axis, keepdims=True)
    noise = MAD_TO_SIGMA * np.median(np.abs(values - level), axis=axis)
    return np.asarray(level.reshape(noise.shape))[()], np.asarray(noise)[()]


def finite_sample(values: NDArray[Any], most: int) -> NDArray[Any]:
    """Return the finite ones (n,) of values at equal distances, up to about twice as many as `most`.

    Example:
        >>> finite_sample(np.array([[0.0, 1.0, np.nan], [3.0, 4.0, 5.0]]), most=3)
        array([0., 4.])
    """
    sample = np.ravel(values)[:: max(np.size(values) // most, 1)]
    return np.asarray(sample[np.isfinite(sample)])
