"""Sources: the usable images of a file in batches."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.data.images import Images
from oasis.errors import DataError

logger = logging.getLogger(__name__)

MOST_NAMED = 10  # maximum number of frames listed in a message
REPLACE = "replace them with finite values, such as 0"
NO_PIXEL = "no pixel is finite in every band: expected numbers, leave it out"


def read_images(adapter: Adapter[Any], path: Path, key: str | None, dark: NDArray[Any] | None) -> Images:
    """Read a file through its adapter.

    Raises:
        DataError: there are no images, or images or context have another shape than those of the domain.
    """
    images = adapter.masked(adapter.read(path, key, dark))
    check_read(adapter, path, images)
    say_doubt(adapter, path, images)
    say_masked(path, bad_pixels(images))
    return images


def bad_pixels(images: Images) -> int:
    """Return how many pixels are masked because they are not finite."""
    return 0 if images.fill is None or images.mask is None else int((~images.mask).sum())


def say_masked(path: Path, count: int) -> None:
    """Warn of pixels that are masked because they are not finite."""
    if count:
        logger.warning("%s: %s: masked as in training, no light is counted there", path, not_finite(count))


def not_finite(count: int, what: str = "pixel") -> str:
    """Return how many values are not finite, as a text for people.

    Example:
        >>> not_finite(1), not_finite(2)
        ('1 pixel is NaN or infinite', '2 pixels are NaN or infinite')
    """
    return f"{count} {what}{'s are' if count != 1 else ' is'} NaN or infinite"


def say_doubt(adapter: Adapter[Any], path: Path, images: Images) -> None:
    """Warn of images that are probably not what they are taken for."""
    text = adapter.doubt(images) or _unlike_training(adapter, images)
    if text:
        logger.warning("%s: %s", path, text)


def _unlike_training(adapter: Adapter[Any], images: Images) -> str:
    if adapter.trained_brightness is None or not len(images):
        return ""
    first = images.image[0] if images.mask is None else np.where(images.mask[0], images.image[0], np.nan)
    text = adapter.trained_brightness.unlike(first)
    return text and f"{text}: check unit, gain and exposure; intensities will be off"


def check_read(adapter: Adapter[Any], path: Path, images: Images) -> None:
    """Check the images of a file.

    Args:
        adapter: the adapter, which has read them.
        path: of the file.
        images: of it.

    Raises:
        DataError: there are none, or images or context have another shape than those of the domain.
    """
    shape = images.image.shape
    if len(shape) != adapter.spatial_dims + 2 or shape[1] != adapter.bands or not len(images):
        raise DataError(
            f"{path}: the adapter read images of shape {shape}, expected (n, {adapter.bands}, *spatial) with "
            f"{adapter.spatial_dims} spatial axes"
        )
    found = 0 if images.context is None else images.context.shape[1]
    if found != adapter.context:
        raise DataError(f"{path}: a context of {found} channels, expected {adapter.context} for these images")


@dataclass
class Frames:
    """The images of a file in batches, without those that cannot be used.

    Attributes:
        images: all of them.
        problems: why an image is left out, by its number in the file; known once its batch was reached.
        first: the number in the file of the first of the images.
    """

    images: Images
    problems: dict[int, str]
    first: int = 0

    def batches(self, size: int) -> Iterator[tuple[NDArray[np.intp], Images]]:
        """Yield the numbers of images in the file, and the images, at most `size` at a time."""
        for start in range(0, len(self.images), size):
            part = self.images.part(slice(start, start + size))
            found = [problem(part, place) for place in range(len(part))]
            start += self.first
            self.problems |= {start + place: text for place, text in enumerate(found) if text}
            usable = np.flatnonzero([not text for text in found])
            if len(usable):
                yield start + usable, part if len(usable) == len(part) else part.part(usable)

    def leave_out(self, numbers: NDArray[np.intp], why: str) -> None:
        """Leave out images that turned out to be unusable."""
        self.problems |= dict.fromkeys(numbers.tolist(), why)


def left_out(path: Path, problems: Mapping[int, str], count: int) -> DataError | None:
    """Return the error for images of a file that were left out, or None if there are none.

    Args:
        path: the path of the file.
        problems: the reasons, by the number of the image.
        count: number of images.
    """
    if not problems:
        return None
    numbers = sorted(problems)
    why = problems[numbers[0]]
    if count == 1:
        return DataError(f"{path}: {why}")
    named = ", ".join(map(str, numbers[:MOST_NAMED])) + ", ..." * (len(numbers) > MOST_NAMED)
    return DataError(f"{path}: frame {numbers[0]}: {why}; left out {len(numbers)} of {count} frames: {named}")


def problem(images: Images, place: int) -> str:
    """Return why an image cannot be used (good pixels or context are not finite), or an empty text."""
    image, context = images.image[place], images.context
    wrong = ~np.isfinite(image)
    if images.mask is not None:
        wrong &= images.mask[place]
        if images.fill is not None and not images.mask[place].any():
            return NO_PIXEL
    if wrong.any():
        first = tuple(int(position) for position in np.argwhere(wrong)[0])
        return f"{not_finite(int(wrong.sum()))}, the first at {first}: {REPLACE}"
    if context is not None and not np.isfinite(context[place]).all():
        found = int((~np.isfinite(context[place])).sum())
        return f"{not_finite(found, 'value')} in its context: give finite numbers"
    return ""
