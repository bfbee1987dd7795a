"""Brightness: how noisy and how bright images are, which tells images in another unit from those in training."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from oasis.data.samples import Sample
from oasis.options import Options
from oasis.stats.robust import finite_sample, median_and_noise

SAMPLES: Final = 64  # that are measured
PIXELS: Final = 2**16  # of an image that are measured
QUANTILE: Final = 0.999  # of the brightest pixels
FACTOR: Final = 5.0  # by which images may differ from those in training


class Brightness(Options):
    """The noise and the brightest pixels of images above their level: the least and the most of some images.

    Attributes:
        noise: standard deviation of the noise, from medians.
        peak: the quantile 0.999 of the pixels above the median.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> trained = Brightness.of(rng.normal(0, 2, (8, 1, 64, 64)))
        >>> trained.unlike(rng.normal(0, 3, (1, 64, 64)))
        ''
        >>> print(trained.unlike(rng.normal(0, 200, (1, 64, 64))))
        its noise and its brightest pixels are at least 99 times those of the images in training
    """

    noise: tuple[float, float]
    peak: tuple[float, float]

    @classmethod
    def of(cls, images: Iterable[NDArray[Any]]) -> Self | None:
        """Return that of images (B, *S); None where one has no known noise or light, as images of zeros mostly."""
        found = np.array([_measured(image) for image in images])
        if not found.size or not (found > 0).all():
            return None
        (low, peak_low), (high, peak_high) = found.min(0).tolist(), found.max(0).tolist()
        return cls(noise=(low, high), peak=(peak_low, peak_high))

    def unlike(self, image: NDArray[Any]) -> str:
        """Return what tells that an image (B, *S) is in another unit than those in training, or an empty text.

        Noise and peak must both be larger, or smaller, than any in training by a factor of five: other objects
        change one of them.
        """
        found = _measured(image)
        if not (found > 0).all():
            return ""
        noise, peak = found.tolist()
        larger = min(noise / self.noise[1], peak / self.peak[1])
        smaller = min(self.noise[0] / noise, self.peak[0] / peak)
        if max(larger, smaller) <= FACTOR:
            return ""
        ratio = f"{larger:.2g} times those" if larger > smaller else f"{smaller:.2g} times smaller than those"
        return f"its noise and its brightest pixels are at least {ratio} of the images in training"


def brightness_of(samples: Any) -> Brightness | None:
    """Return that of the images of some samples of a data set, from its beginning to its end."""
    return Brightness.of(sample.image for sample in _some(samples))


def _some(samples: Any) -> Iterator[Sample]:
    for index in np.unique(np.linspace(0, len(samples) - 1, SAMPLES).astype(int)).tolist():
        yield samples[index]


def _measured(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return the noise and the brightest pixels of an image above its median; NaN without finite pixels."""
    pixels = finite_sample(image, PIXELS).astype(np.float64)
    if not pixels.size:
        return np.full(2, np.nan)
    level, noise = median_and_noise(pixels)
    return np.array([float(noise), float(np.quantile(pixels, QUANTILE) - level)])
