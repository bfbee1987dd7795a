"""Detection of galaxies in an image of the sky, by SEP."""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oasis.data.samples import Array
from oasis.errors import DataError, import_extra
from oasis.io.files import one_line
from oasis.options import Options
from oasis.stats.robust import median_and_noise


class Detection(Options):
    """How galaxies are detected by SEP.

    Attributes:
        threshold: of a pixel, in units of the noise.
        pixels: minimum number of pixels of an object.
        contrast: fraction of the flux from which on a peak becomes an object of its own (`deblend_cont`).
        smooth: detect in the image smoothed by SEP's default kernel of 3 x 3 pixels, which finds fainter objects
            and divides blends less well.
    """

    threshold: float = Field(3.0, gt=0, le=1000)
    pixels: int = Field(5, ge=1, le=100_000)
    contrast: float = Field(0.001, gt=0, le=1)
    smooth: bool = False


SAMPLED = 2**20  # pixels of which the noise is measured


def sky_of(flux: Array, bad: NDArray[np.bool_] | None = None) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return the level of the sky and the noise of its pixels by band (B,), from medians; NaN without good pixels.

    Args:
        flux: (B, H, W), most of it empty sky.
        bad: (H, W) pixels that do not count.
    """
    pixels = _sampled(flux, bad)
    if not pixels.size:
        return np.full(len(flux), np.nan), np.full(len(flux), np.nan)
    return median_and_noise(pixels, axis=1)


def darkest_of(flux: Array, share: float, bad: NDArray[np.bool_] | None = None) -> NDArray[np.floating]:
    """Return the value below which a share of the pixels lies, per cent, by band (B,); NaN without good pixels."""
    pixels = _sampled(flux, bad)
    return np.percentile(pixels, share, axis=1) if pixels.size else np.full(len(flux), np.nan)


def _sampled(flux: Array, bad: NDArray[np.bool_] | None) -> Array:
    """Return good pixels (B, n) at equal distances."""
    good = slice(None) if bad is None else ~bad
    pixels = flux[:, good].reshape(len(flux), -1)
    return pixels[:, :: max(pixels.shape[1] // SAMPLED, 1)]


def noise_of(
    flux: Array, bad: NDArray[np.bool_] | None = None, deviation: Array | None = None
) -> NDArray[np.float64]:
    """Return the noise of a pixel of sky by band (B,): the median of what is stated, else as `sky_of` measures it.

    Args:
        flux: (B, H, W).
        bad: (H, W) pixels that do not count.
        deviation: (B, H, W) standard deviations of pixels, 0 where unknown.
    """
    if deviation is not None and (deviation > 0).any(axis=(1, 2)).all():
        return np.array([np.median(one[one > 0]) for one in deviation], np.float64)
    return sky_of(flux, bad)[1].astype(np.float64)


def detect(
    flux: Array,
    bad: NDArray[np.bool_] | None = None,
    options: Detection | None = None,
    background: tuple[NDArray[np.floating], NDArray[np.floating]] | None = None,
) -> NDArray[np.float64]:
    """Return rows and columns (k, 2) of the objects in an image, the brightest first.

    They are detected on the sum of all bands, each divided by the square of its noise, which is estimated from the
    median absolute deviation of its pixels.

    Args:
        flux: (B, H, W), most of it empty sky.
        bad: (H, W) pixels in which nothing is detected.
        options: how they are detected.
        background: level and noise of the sky (B,), by default as `sky_of` measures them in this image.

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
    sky, noise = sky_of(flux, bad) if background is None else background
    if not np.isfinite(noise).all():
        raise DataError("all pixels are bad: nothing can be detected")
    if not noise.all():
        raise DataError("most of the sky has one value: there is no noise to set a detection threshold from")
    weights = (1 / noise**2).astype(np.float32)
    total = np.tensordot(weights, flux, 1) - np.float32(weights @ sky)
    detection = np.ascontiguousarray(total / np.float32(np.sqrt((1 / noise**2).sum())), np.float32)
    sep.set_extract_pixstack(max(sep.get_extract_pixstack(), detection.size // 4))
    options = options or Detection()
    detector = {"err": 1.0, "mask": bad, "minarea": options.pixels, "deblend_cont": options.contrast}
    detector |= {} if options.smooth else {"filter_kernel": None}
    try:
        found = sep.extract(detection, options.threshold, **detector)
    except Exception as error:  # sep raises nothing narrower
        raise DataError(f"detection failed: {one_line(error)}") from None
    order = np.argsort(-found["flux"])
    return np.stack([found["y"], found["x"]], axis=1)[order]
