"""Detection of galaxies in an image of the sky, by SEP."""

import numpy as np
from numpy.typing import NDArray

from oasis.data.samples import Array
from oasis.errors import DataError, import_extra
from oasis.io.files import one_line

THRESHOLD, FEWEST_PIXELS = 3.0, 5
"""Detection threshold of a pixel in units of the noise, and the minimum number of pixels of an object."""

TO_SIGMA = 1.4826  # from the median absolute deviation of Gaussian noise to its standard deviation


def detect(flux: Array) -> NDArray[np.float64]:
    """Return rows and columns (k, 2) of the objects in an image, the brightest first.

    They are detected on the sum of all bands, each divided by the square of its noise, which is estimated from the
    median absolute deviation of its pixels.

    Args:
        flux: (B, H, W), most of it empty sky.

    Raises:
        DataError: most of the sky has one value, or the image is too crowded for SEP.
        MissingExtraError: SEP is not installed.

    Example:
        >>> image = np.random.default_rng(0).normal(0, 1, (3, 60, 80)).astype(np.float32)
        >>> image[:, 20:24, 50:54] += 20
        >>> detect(image).round(1).tolist()
        [[21.5, 51.5]]
    """
    sep = import_extra("sep", "galaxy")
    sky = np.median(flux, axis=(1, 2), keepdims=True)
    noise = TO_SIGMA * np.median(np.abs(flux - sky), axis=(1, 2), keepdims=True)
    if not noise.all():
        raise DataError("most of the sky has one value: there is no noise to set a detection threshold from")
    total = ((flux - sky) / noise**2).sum(axis=0)
    detection = np.ascontiguousarray(total / np.sqrt((1 / noise**2).sum()), np.float32)
    try:
        found = sep.extract(detection, THRESHOLD, err=1.0, minarea=FEWEST_PIXELS)
    except Exception as error:  # sep raises nothing narrower
        raise DataError(f"detection failed: {one_line(error)}") from None
    order = np.argsort(-found["flux"])
    return np.stack([found["y"], found["x"]], axis=1)[order]
