"""Metrics as the Blending ToolKit (BTK 1.0.9) defines them, under its names, to compare with published figures.

BTK divides each image by its own peak before PSNR and SSIM: a map with half of the true flux has an SSIM of 1.
Both cover the whole stamp, most of which is empty, and its MSE is the root of the mean square. Show them next to
flux errors, not instead of them.

Source: arXiv 2409.06986; https://github.com/LSSTDESC/BlendingToolKit, btk/metrics and btk/measure.py.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oasis.errors import import_extra

Floats = NDArray[np.float64]


def snr(images: NDArray[np.floating], variance: float, gain: float = np.inf) -> Floats:
    r"""Return the signal-to-noise of galaxies with the shot noise of their own light (n,); `get_snr` of BTK.

    .. math:: \mathrm{SNR} = \sqrt{\sum_p \frac{g_p^2}{g_p / \mathrm{gain} + \sigma^2}}

    In BTK images are electrons, so that the gain is 1 and the variance of the sky is its level.

    Args:
        images: (n, H, W) without noise.
        variance: of a pixel of the sky, in the square of the images' unit.
        gain: electrons per unit of the images; infinite for no shot noise.

    Example:
        >>> snr(np.full((1, 1, 1), 9.0), variance=16.0, gain=1.0)
        array([1.8])
    """
    return np.asarray(np.sqrt((images**2 / (images / gain + variance)).sum(axis=(1, 2))))


def mse(first: NDArray[np.floating], second: NDArray[np.floating]) -> Floats:
    """Return the root mean square difference of images (n, H, W), which BTK calls MSE, (n,).

    Example:
        >>> mse(np.zeros((1, 2, 2)), np.full((1, 2, 2), 3.0))
        array([3.])
    """
    return np.asarray(np.sqrt(((first - second) ** 2).mean(axis=(1, 2))))


def psnr(first: NDArray[np.floating], second: NDArray[np.floating]) -> Floats:
    """Return the peak signal-to-noise ratio of images (n, H, W), each divided by its own peak, (n,) dB.

    Negative pixels, which BTK refuses, count as 0; NaN where an image has no light.

    Example:
        >>> image = np.array([[[0.0, 1.0], [2.0, 4.0]]])
        >>> psnr(image, 0.5 * image), psnr(image, image**2).round(2)
        (array([inf]), array([16.12]))
    """
    with np.errstate(divide="ignore"):
        return np.asarray(-20 * np.log10(mse(_by_peak(first), _by_peak(second))))


def struct_sim(first: NDArray[np.floating], second: NDArray[np.floating]) -> Floats:
    """Return the structural similarity of images (n, H, W), each divided by its own peak, (n,).

    The window is scikit-image's, 7 pixels wide. Negative pixels, which BTK refuses, count as 0; NaN where an
    image has no light.

    Raises:
        MissingExtraError: scikit-image is not installed.

    Example:
        >>> image = np.random.default_rng(0).random((1, 9, 9))
        >>> struct_sim(image, 0.5 * image)
        array([1.])
    """
    similarity = import_extra("skimage.metrics", extra="galaxy").structural_similarity
    pairs = zip(_by_peak(first), _by_peak(second), strict=True)
    return np.array([similarity(one, other, data_range=1) for one, other in pairs])


def precision(matched: ArrayLike, detected: ArrayLike) -> float:
    """Return the fraction of detections that are matched with a galaxy, over all images: the purity.

    Args:
        matched: (n,) number of matched detections in each image.
        detected: (n,) number of detections.
    """
    return float(np.sum(matched) / np.sum(detected)) if np.sum(detected) else np.nan


def recall(matched: ArrayLike, galaxies: ArrayLike) -> float:
    """Return the fraction of galaxies that are matched with a detection, over all images: the completeness.

    Args:
        matched: (n,) number of matched detections in each image.
        galaxies: (n,) number of true galaxies.
    """
    return float(np.sum(matched) / np.sum(galaxies)) if np.sum(galaxies) else np.nan


purity, completeness = precision, recall


def f1(matched: ArrayLike, detected: ArrayLike, galaxies: ArrayLike) -> float:
    """Return the harmonic mean of `precision` and `recall`.

    Example:
        >>> round(f1([2, 1], [2, 2], [4, 2]), 3)
        0.6
    """
    pure, complete = precision(matched, detected), recall(matched, galaxies)
    return 2 * pure * complete / (pure + complete) if pure + complete else 0.0


def _by_peak(images: NDArray[np.floating]) -> Floats:
    light = np.maximum(images, 0).astype(float)
    peak = light.max(axis=(1, 2), keepdims=True)
    return np.asarray(light / np.where(peak > 0, peak, np.nan))
