"""Overscan: columns at an edge of a raw image that have no pixels, found by their level and noise."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from oasis.stats.robust import median_and_noise

NARROWEST: Final = 4  # columns
WIDEST: Final = 3  # the image is so many times as wide as the widest overscan that is searched for
CLEAR: Final = 8.0  # ratio of a step to the scatter of columns from which on it is one
APART: Final = 4.0  # the same for the scatter of single columns
STEEP: Final = 0.6  # share of a difference of level that lies between two neighbouring columns, unlike a gradient
NOISIER: Final = 1.5  # ratio of the noise of pixels to that of an overscan, which has no dark current


def find_overscan(image: NDArray[Any]) -> str | None:
    """Return which columns at an edge of a raw image (H, W) differ from the others, or None.

    Example:
        >>> image = np.random.default_rng(0).normal(100, 5, (64, 128))
        >>> print(find_overscan(image))
        None
        >>> image[:, 100:] -= 20
        >>> find_overscan(image)
        'last 28 columns'
    """
    width = image.shape[1]
    if width < 4 * NARROWEST:
        return None
    rows = np.nan_to_num(image - np.nanmedian(np.nan_to_num(image), axis=1, keepdims=True))
    level, noise = median_and_noise(rows, axis=0)
    error = max(float(np.median(noise)) / np.sqrt(len(rows)), 1e-12)  # of a level
    logarithm = np.log(np.maximum(noise, 1e-6 * noise.max() + 1e-12))
    profiles = ((level, error), (logarithm, np.log(NOISIER) / CLEAR))
    for reverse, which in ((False, "last"), (True, "first")):
        step = -1 if reverse else 1
        for profile, smallest in profiles:
            columns = _edge(profile[::step], smallest)
            if columns:
                return f"{which} {columns} columns"
    return None


def _edge(profile: NDArray[Any], least: float) -> int:
    """Return how many columns at the end of a profile (W,) lie beyond a step, or 0.

    Args:
        profile: level or noise of every column.
        least: the smallest scatter of columns with which a step is compared.
    """
    width = len(profile)
    smooth = ndimage.median_filter(profile, 5, mode="nearest")  # without single columns that are hot
    steps = np.abs(np.diff(smooth))
    begin = width - width // WIDEST - 1
    place = begin + int(steps[begin : width - NARROWEST].argmax()) + 1
    end, before = profile[place:], profile[max(place - max(width - place, 16), 0) : place]
    apart = abs(float(np.median(end) - np.median(before)))
    scatter = max(*(float(median_and_noise(one)[1]) for one in (end, before)), least)
    random = scatter / np.sqrt(min(len(end), len(before)))
    clear = apart > max(CLEAR * random, APART * scatter, least * CLEAR)
    return width - place if clear and steps[place - 1] > STEEP * apart else 0
