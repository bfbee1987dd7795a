"""Matched filter: the significance of a spot of known width at every pixel, in noise that differs between pixels.

The collaboration's own online trigger of 2026 (CYGNO-Analysis/Data_reduction) is one too: a Gaussian of 8 pixels
in uniform noise, without the division.
"""

from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import gaussian_filter

from oasis.adapters.cygno.clusters import Clustering, Clusters
from oasis.errors import DataError
from oasis.options import Options

Array = NDArray[np.float32]


class MatchedFilter(Options):
    r"""A Gaussian filter, weighted with the inverse variance of every pixel.

    .. math:: z_p = \frac{\sum_q k_{p-q} I_q / \sigma_q^2}{\sqrt{\sum_q k_{p-q}^2 / \sigma_q^2}}, \qquad
              k_d = e^{-d^2 / 2 s^2}

    is standard normal in Gaussian noise without a spot, and the best linear filter for a spot of width s.

    Attributes:
        width: s, pixels; 4.4 is that of the middle of the drift.
        clip: largest value of a pixel in units of its rms, so that a single jumping pixel makes no spot; none by
            default.
        truncate: s at which the filter ends.
        clustering: of the pixels above a significance.

    Example:
        >>> noise = np.random.default_rng(0).normal(0, 2, (256, 256)).astype(np.float32)
        >>> score = MatchedFilter().significance(noise, np.full((256, 256), 2.0, np.float32))
        >>> bool(0.85 < score.std() < 1.15)
        True
    """

    width: float = Field(4.4, gt=0, le=1000)
    clip: float | None = Field(None, gt=0, le=1e6)
    truncate: float = Field(3.5, gt=0, le=10)
    clustering: Clustering = Clustering(cut=5.0, grow=6)

    def significance(self, image: Array, rms: Array) -> Array:
        """Return z (H, W).

        Args:
            image: (H, W) counts after the pedestal was subtracted.
            rms: (H, W) of every pixel, counts.

        Raises:
            DataError: the sizes differ, or an rms is not above 0.
        """
        check_noise(image, rms)
        weight = np.asarray(1 / np.asarray(rms, np.float32) ** 2)
        values = image if self.clip is None else np.clip(image, -self.clip * rms, self.clip * rms)
        # scipy's filter sums to 1: a Gaussian of unit height is that times 2 pi s^2
        signal = gaussian_filter(values * weight, self.width, truncate=self.truncate, mode="constant")
        narrow = self.width / np.sqrt(2)
        power = gaussian_filter(weight, narrow, truncate=self.truncate * np.sqrt(2), mode="constant")
        factor = np.float32(2 * np.sqrt(np.pi) * self.width)  # 2 pi s^2 / sqrt(pi s^2)
        return np.asarray(factor * signal / np.sqrt(np.maximum(power, 1e-12)), np.float32)

    def __call__(self, image: Array, rms: Array) -> Clusters:
        """Return the clusters of pixels above the cut."""
        start = perf_counter()
        score = self.significance(image, rms)
        between = perf_counter()
        found = self.clustering(score, image)
        seconds = {"preselect": between - start, "cluster": perf_counter() - between}
        return Clusters(found.pixels, found.score, found.integral, found.shape, found.sent, seconds)


def check_noise(image: NDArray[np.floating], rms: NDArray[np.floating]) -> None:
    """Check that an image and the rms of its pixels fit.

    Raises:
        DataError: the sizes differ, or an rms is 0, negative or not finite.
    """
    if image.shape != rms.shape or image.ndim != 2:
        raise DataError(
            f"an image of {image.shape} pixels, but a noise map of {rms.shape}: expected the same size"
        )
    wrong = int((~(rms > 0) | ~np.isfinite(rms)).sum())
    if wrong:
        raise DataError(f"the noise map has {wrong} pixels with an rms of 0 or NaN: set them to a large value")
