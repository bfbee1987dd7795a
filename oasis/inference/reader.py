"""Reader: images of files, by number or by part, as far as possible without reading the rest of a file."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.adapters.reading import images_shape, leading_axes, say_saturated
from oasis.data.images import Images
from oasis.inference.large import Large, open_large
from oasis.inference.pixels import PixelSize, pixel_of
from oasis.inference.sources import bad_pixels, check_read, read_images, say_doubt, say_masked
from oasis.io.arrays import native
from oasis.io.parts import Parts, open_parts

AT_ONCE: Final = 2**22  # values of images that are read together


class Shape(NamedTuple):
    """What is known of the images of a file.

    Attributes:
        images: how many there are.
        size: their size.
        masked: whether the file states bad pixels.
        pixel: the length of a pixel.
    """

    images: int
    size: tuple[int, ...]
    masked: bool
    pixel: PixelSize = PixelSize()


class Opened(NamedTuple):
    """The images of an open file.

    Attributes:
        shape: what is known of them.
        part: returns some of them, from one number to another.
    """

    shape: Shape
    part: Callable[[int, int], Images]

    @property
    def together(self) -> int:
        """How many of them may be read at once."""
        return max(AT_ONCE // prod(self.shape.size), 1)


class Reader:
    """Reads images of files; the last file that had to be read as a whole is kept.

    Args:
        adapter: the adapter of the domain.
        key: the array in files with several.
        dark: a dark frame to subtract.
    """

    def __init__(self, adapter: Adapter[Any], key: str | None = None, dark: NDArray[Any] | None = None) -> None:
        self.adapter, self.key, self.dark = adapter, key, dark
        self._whole: tuple[Path, Images] | None = None
        self._opened: tuple[Path, Large] | None = None
        self._open = ExitStack()
        self._saturated: set[Path] = set()  # files that were said to be
        self._seen: set[Path] = set()  # files whose first images were looked at
        self._bad: Counter[Path] = Counter()  # pixels of files that were masked, not yet said

    def shape(self, path: Path) -> Shape:
        """Return what is known of the images of a file.

        Raises:
            DataError: the file cannot be used.
        """
        with self._by_number(path) as parts:
            return _shape_of(self._read(path)) if parts is None else self._shape(path, parts)

    @contextmanager
    def opened(self, path: Path) -> Iterator[Opened]:
        """Open the images of a file, to be read some at a time; nothing of it is kept.

        Raises:
            DataError: the file cannot be used.
        """
        with self._by_number(path) as parts:
            if parts is not None:
                yield Opened(self._shape(path, parts), partial(self._counted, path, parts))
                self._say_masked()
                return
        images = read_images(self.adapter, path, self.key, self.dark)
        yield Opened(_shape_of(images), lambda start, stop: images.part(slice(start, stop)))

    def images(self, path: Path, start: int, stop: int) -> Images:
        """Return some of the images of a file.

        Raises:
            DataError: they cannot be used.
        """
        with self._by_number(path) as parts:
            if parts is not None:
                return self._counted(path, parts, start, stop)
        return self._read(path).part(slice(start, stop))

    def large(self, path: Path) -> Large:
        """Return the images of a file, to be read by parts; they are closed when another file is opened.

        Raises:
            DataError: the file cannot be used.
        """
        if self._opened is None or self._opened[0] != path:
            self.close()
            self._opened = path, self._open.enter_context(open_large(self.adapter, path, self.key, self.dark))
        return self._opened[1]

    def close(self) -> None:
        """Close the file that was opened last, and say how many pixels were masked."""
        self._opened = None
        self._open.close()
        self._say_masked()

    def _say_masked(self) -> None:
        for path, count in self._bad.items():
            say_masked(path, count)
        self._bad.clear()

    @contextmanager
    def _by_number(self, path: Path) -> Iterator[Parts | None]:
        """Open the array of a file whose images can be read one by one; None for other files."""
        adapter = self.adapter
        if getattr(adapter.read, "__func__", None) is not Adapter.read or adapter.context:
            yield None
            return
        with open_parts(path, self.key) as stored:
            parts = None if stored is None else adapter.arranged_parts(path, stored)
            if parts is not None:
                images_shape(parts.shape, adapter.bands, adapter.spatial_dims)
            yield parts

    def _has_images(self, parts: Parts) -> bool:
        return leading_axes(len(parts.shape), self.adapter.bands, self.adapter.spatial_dims)[0]

    def _shape(self, path: Path, parts: Parts) -> Shape:
        size = self._converted(path, parts, 0, 1).image.shape[2:]
        same = size == parts.shape[len(parts.shape) - len(size) :]
        pixel = pixel_of(parts, self.adapter.spatial_dims) if same else PixelSize()
        masked = self.adapter.masks_not_finite and parts.dtype.kind == "f"
        return Shape(parts.shape[0] if self._has_images(parts) else 1, size, masked, pixel)

    def _counted(self, path: Path, parts: Parts, start: int, stop: int) -> Images:
        images = self._converted(path, parts, start, stop)
        self._bad[path] += bad_pixels(images)
        return images

    def _converted(self, path: Path, parts: Parts, start: int, stop: int) -> Images:
        place = [slice(0, length) for length in parts.shape]
        if self._has_images(parts):
            place[0] = slice(start, stop)
        raw = np.asarray(parts[tuple(place)])
        if path not in self._saturated and say_saturated(path, raw):
            self._saturated.add(path)
        images = self.adapter.masked(Images(self.adapter.as_images(native(raw), self.dark)))
        check_read(self.adapter, path, images)
        if path not in self._seen:
            self._seen.add(path)
            say_doubt(self.adapter, path, images)
        return images

    def _read(self, path: Path) -> Images:
        if self._whole is None or self._whole[0] != path:
            self._whole = path, read_images(self.adapter, path, self.key, self.dark)
        return self._whole[1]


def _shape_of(images: Images) -> Shape:
    pixel = PixelSize(images.pixel_size, images.pixel_unit)
    return Shape(len(images), images.image.shape[2:], images.mask is not None, pixel)
