"""Large images: read part by part from a file, or cut out of images in memory."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.adapters.reading import images_shape, leading_axes
from oasis.data.images import Images
from oasis.data.mixing import keyed_rng
from oasis.errors import DataError
from oasis.inference.sources import NO_PIXEL, REPLACE, problem, read_images, say_masked
from oasis.inference.windows import Place
from oasis.io.arrays import native
from oasis.io.parts import Index, Parts, open_parts
from oasis.scaling import FittedScale
from oasis.separator.separator import Separator

STRIP = 2**22  # values read at once in a survey of an image
SAMPLED = 2**22  # maximum number of pixels to which a scaling is fitted


class Large(Protocol):
    """Images (n, B, *S) that can be accessed in parts."""

    shape: tuple[int, ...]
    position: dict[str, NDArray[Any]]
    masked: bool  # whether pixels may be bad
    zeroed: bool  # whether these are pixels that are not finite, which are found as parts are read

    def part(self, index: int, place: Place) -> NDArray[np.float32]:
        """Return a part of an image (B, *part) in physical units."""

    def context(self, index: int, place: Place) -> NDArray[np.float32] | None:
        """Return the context (C, *part) of a part of an image."""

    def visible(self, index: int, place: Place) -> NDArray[np.bool_]:
        """Return the pixels (1, *part) over which the domain sums, of a part of an image."""

    def mask(self, index: int, place: Place) -> NDArray[np.bool_] | None:
        """Return the good pixels (1, *part) of a part of an image; None if all of all images are good."""

    def flags(self, index: int) -> Mapping[str, NDArray[np.bool_]]:
        """Return the pixels (1, *S) of an image that are bad for a reason, by reason."""

    def problem(self, index: int) -> str:
        """Return why an image cannot be used, or an empty text, as far as known without reading all of it."""


class InMemory:
    """Images that an adapter has read.

    Args:
        images: all of them.
        adapter: the adapter, which finds the visible pixels.
    """

    def __init__(self, images: Images, adapter: Adapter[Any]) -> None:
        self.images = images
        self.shape = images.image.shape
        self.position = dict(images.position)
        self.masked, self.zeroed = images.mask is not None, False
        self._adapter = adapter
        self._filled: tuple[int, NDArray[np.float32]] | None = None
        self._seen: tuple[int, NDArray[np.bool_]] | None = None

    def part(self, index: int, place: Place) -> NDArray[np.float32]:
        """Return a part of an image (B, *part) without its bad pixels."""
        return self._image(index)[:, *place]

    def context(self, index: int, place: Place) -> NDArray[np.float32] | None:
        """Return the context (C, *part) of a part of an image."""
        return None if self.images.context is None else self.images.context[index][:, *place]

    def visible(self, index: int, place: Place) -> NDArray[np.bool_]:
        """Return the pixels (1, *part) over which the domain sums, of a part of an image."""
        if self._seen is None or self._seen[0] != index:
            self._seen = index, self._adapter.visible(self._image(index)[None])[0]
        return self._seen[1][:, *place]

    def mask(self, index: int, place: Place) -> NDArray[np.bool_] | None:
        """Return the good pixels (1, *part) of a part of an image; None if all of all images are good."""
        return None if self.images.mask is None else self.images.mask[index][:, *place]

    def flags(self, index: int) -> Mapping[str, NDArray[np.bool_]]:
        """Return the pixels (1, *S) of an image that are bad for a reason, by reason."""
        return {name: plane[index] for name, plane in self.images.flags.items()}

    def problem(self, index: int) -> str:
        """Return why an image cannot be used, or an empty text."""
        return problem(self.images, index)

    def _image(self, index: int) -> NDArray[np.float32]:
        """Return an image without its bad pixels."""
        if self._filled is None or self._filled[0] != index:
            self._filled = index, self.images.part(slice(index, index + 1)).filled()[0]
        return self._filled[1]


class _FromFile:
    """Images in a file, of which only the required parts are read.

    Args:
        parts: the array of the file.
        adapter: the adapter, which converts it to physical units.
        dark: a dark frame to subtract.
    """

    def __init__(self, parts: Parts, adapter: Adapter[Any], dark: NDArray[Any] | None) -> None:
        self.shape = images_shape(parts.shape, adapter.bands, adapter.spatial_dims)
        self.position: dict[str, NDArray[Any]] = {}
        self.masked = self.zeroed = adapter.masks_not_finite and parts.dtype.kind == "f"
        self._last: tuple[int, Place, Images] | None = None
        self._parts, self._adapter, self._dark = parts, adapter, dark
        found = leading_axes(len(parts.shape), adapter.bands, adapter.spatial_dims)
        self._has_images, self._has_bands = found

    def part(self, index: int, place: Place) -> NDArray[np.float32]:
        images = self._read(index, place).filled() if self.masked else self._converted(index, place)
        return images[0]  # type: ignore[no-any-return]

    def _read(self, index: int, place: Place) -> Images:
        if self._last is None or self._last[:2] != (index, place):
            self._last = index, place, self._adapter.masked(Images(self._converted(index, place)))
        return self._last[2]

    def _converted(self, index: int, place: Place) -> NDArray[np.float32]:
        lead: Index = (*[index] * self._has_images, *[slice(None)] * self._has_bands)
        raw = np.asarray(self._parts[(*lead, *place)])
        raw = raw.reshape(1, self.shape[1], *raw.shape[raw.ndim - len(place) :])
        dark = None
        if self._dark is not None:
            dark = self._dark[tuple([slice(None)] * (self._dark.ndim - len(place)) + list(place))]
        images: NDArray[np.float32] = self._adapter.as_images(native(raw), dark)
        return images

    def context(self, index: int, place: Place) -> NDArray[np.float32] | None:
        return None

    def visible(self, index: int, place: Place) -> NDArray[np.bool_]:
        return np.ones((1, *[one.stop - one.start for one in place]), bool)

    def mask(self, index: int, place: Place) -> NDArray[np.bool_] | None:
        if not self.masked:
            return None
        images = self._read(index, place)
        return np.ones((1, *images.image.shape[2:]), bool) if images.mask is None else images.mask[0]

    def flags(self, index: int) -> Mapping[str, NDArray[np.bool_]]:
        return {}

    def problem(self, index: int) -> str:
        return ""


@contextmanager
def open_large(
    adapter: Adapter[Any], path: Path, key: str | None = None, dark: NDArray[Any] | None = None
) -> Iterator[Large]:
    """Open the images of a file: part by part if the file and the domain allow it, else all at once.

    Raises:
        DataError: the file cannot be used.
    """
    if adapter.context or not adapter.reads_parts(path):
        yield InMemory(read_images(adapter, path, key, dark), adapter)
        return
    with open_parts(path, key) as stored:
        parts = None if stored is None else adapter.arranged_parts(path, stored)
        if parts is None:
            yield InMemory(read_images(adapter, path, key, dark), adapter)
            return
        found = _FromFile(parts, adapter, dark)
        if dark is not None and dark.shape not in (found.shape[1:], found.shape[2:]):
            raise DataError(f"{path}: the dark frame has shape {dark.shape}, one image {found.shape[1:]}")
        yield found


class Survey(NamedTuple):
    """The result of reading an image once.

    Attributes:
        blank: whether it is zero everywhere.
        scale: the scaling, fitted to all pixels, or to four million of them with the brightest and darkest.
        mask: the good pixels (1, *S), or None if all are good.
    """

    blank: bool
    scale: FittedScale
    mask: NDArray[np.bool_] | None


def survey(separator: Separator, images: Large, index: int) -> Survey:
    """Read an image once and return its survey.

    Raises:
        DataError: it has pixels that are not finite.
    """
    found = images.problem(index)
    if found:
        raise DataError(found)
    share = min(SAMPLED / prod(images.shape[2:]), 1.0)
    rng, sampled, extremes, blank = keyed_rng(0, "survey", index), [], [], True
    good = np.ones((1, *images.shape[2:]), bool) if images.masked else None
    for place in _strips(images.shape[1:]):
        values = images.part(index, place)
        if good is not None:
            good[:, *place] = images.mask(index, place)
        wrong = ~np.isfinite(values)
        if wrong.any():
            first = np.argwhere(wrong)[0] + [0, *[one.start for one in place]]
            raise DataError(f"pixels are NaN or infinite, the first at {tuple(first.tolist())}: {REPLACE}")
        flat = values.reshape(len(values), -1)
        blank = blank and not flat.any()
        if share == 1:
            sampled.append(flat)
            continue
        sampled.append(flat[:, rng.integers(flat.shape[1], size=round(flat.shape[1] * share))])
        extremes.append(np.stack([flat.min(1), flat.max(1)], axis=1))
    if good is not None and images.zeroed:
        if not good.any():
            raise DataError(NO_PIXEL)
        good = None if good.all() else good
    pixels = np.concatenate([*sampled, *extremes], axis=1)
    dims = len(images.shape) - 2
    image = torch.from_numpy(pixels.reshape(1, len(pixels), *[1] * (dims - 1), -1))
    return Survey(blank, separator.options.scaling.fit(image), good)


def say_zeroed(path: Path, images: Large, mask: NDArray[np.bool_] | None) -> None:
    """Warn of the pixels of an image that are masked because they are not finite."""
    if images.zeroed and mask is not None:
        say_masked(path, int((~mask).sum()))


def _strips(shape: tuple[int, ...]) -> Iterator[Place]:
    """Divide an image (B, *S) along its first spatial axis, or along two if one is not enough."""
    bands, *size = shape
    rest = [slice(0, length) for length in size[1:]]
    step = max(STRIP // (bands * prod(size[1:])), 1)
    for start in range(0, size[0], step):
        yield (slice(start, min(start + step, size[0])), *rest)
