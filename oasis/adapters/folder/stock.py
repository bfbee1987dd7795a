"""Stock: the images of files in physical units, of which the last ones read stay in memory."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.axes import arrangement
from oasis.adapters.base import Adapter
from oasis.adapters.reading import images_shape
from oasis.data.samples import Array
from oasis.errors import DataError
from oasis.io.arrays import as_image_array
from oasis.io.parts import open_parts
from oasis.io.png import PALETTE, PNG

MOST_BYTES = 2**29  # of images in memory, in every process that prepares samples
ROUNDING = 1e-6  # of the brightest pixel: negative values up to this are 0


def raw_images(adapter: Adapter[Any], path: Path, bands: int, key: str | None = None) -> NDArray[Any]:
    """Return the images (n, bands, *S) of a file as they are stored.

    Raises:
        DataError: the file cannot be read, or its axes do not fit.
    """
    values, facts = adapter.named_axes(path, *adapter.numbers(path, key))
    found = arrangement(facts, values.shape, bands, adapter.spatial_dims, str(path))
    if found is not None:
        adapter.say_axes(path, found, found.text(facts, values.shape))
        arranged: NDArray[Any] = found.apply(values)
        return arranged
    with naming(path):
        shape = images_shape(values.shape, bands, adapter.spatial_dims)
    return np.reshape(values, shape)


def stored_shape(adapter: Adapter[Any], path: Path, key: str | None) -> tuple[int, ...]:
    """Return the shape (n, B, *S) of the images of a file, without reading them where the format allows it."""
    with naming(path), open_parts(path, key) as stored:
        parts = None if stored is None else adapter.arranged_parts(path, stored)
        if parts is not None:
            return images_shape(parts.shape, adapter.bands, adapter.spatial_dims)
    return raw_images(adapter, path, adapter.bands, key).shape


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file in the errors of what is done with its contents."""
    try:
        yield
    except DataError as error:
        if str(path) in str(error):
            raise
        raise DataError(f"{path}: {error}") from None


def with_pixels(images: Array) -> Array:
    """Return images (n, B, *S) if each has a pixel of which all bands are finite.

    Raises:
        DataError: one has none.
    """
    for frame, image in enumerate(images):
        if not np.isfinite(image).all(axis=0).any():
            raise DataError(
                f"image {frame} has no pixel that is finite in every band: expected numbers, leave it out"
            )
    return images


def not_negative(maps: Array, dark: float) -> Array:
    """Return maps without light that is negative before an offset is subtracted; after it, that is noise.

    Args:
        maps: of the classes.
        dark: what a count of 0 is in units.

    Raises:
        DataError: there is negative light.
    """
    finite = np.where(np.isfinite(maps), maps, 0)
    wrong = finite[finite < min(dark, 0.0) - ROUNDING * finite.max(initial=0.0)]
    if len(wrong):
        raise DataError(
            f"{len(wrong)} pixels of the map are negative without an offset of the camera, down to "
            f"{wrong.min():g}: expected light of at least 0 (state data.camera.offset, or set to 0 what is noise)"
        )
    return maps


class Stock:
    """The arrays of files, read when they are needed.

    Args:
        read: returns the images (n, B, *S) of a file.
        most: bytes that stay in memory.
    """

    def __init__(self, read: Callable[[Path], NDArray[Any]], most: int = MOST_BYTES) -> None:
        self._read, self._most = read, most
        self._kept: OrderedDict[Path, NDArray[Any]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_kept": OrderedDict()}  # other processes read for themselves

    def __getitem__(self, path: Path) -> NDArray[Any]:
        """Return the images of a file."""
        if path not in self._kept:
            self._kept[path] = self._read(path)
            while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > self._most:
                self._kept.popitem(last=False)
        self._kept.move_to_end(path)
        return self._kept[path]


class Reader:
    """Reads images, maps and labels of a folder; a class so that processes can pass it on.

    Args:
        adapter: the adapter of the folder.
        kind: `images` in counts; maps in `counts` of the same camera, in `net` counts, or as `maps` in units; or
            `labels`.
        key: the array in files with several.
    """

    def __init__(self, adapter: Adapter[Any], kind: str, key: str | None) -> None:
        self._adapter, self._kind, self._key = adapter, kind, key

    def __call__(self, path: Path) -> NDArray[Any]:
        """Return the images (n, B, *S) of a file, or its labels (n, 1, *S).

        Raises:
            DataError: the file cannot be read, or has not what its kind has; the error names it.
        """
        with naming(path):
            return self._labels(path) if self._kind == "labels" else self._light(path)

    def _light(self, path: Path) -> Array:
        adapter = self._adapter
        if self._kind == "maps":
            return not_negative(as_image_array(raw_images(adapter, path, adapter.bands, self._key)), 0.0)
        camera = adapter.options.camera
        dark = float(camera.signal(np.zeros(1))[0])
        if self._kind == "net":
            counts = as_image_array(raw_images(adapter, path, adapter.bands, self._key))
            return not_negative(counts * np.float32(camera.gain), dark)
        images: Array = adapter.read(path, self._key).image
        return with_pixels(images) if self._kind == "images" else not_negative(images, dark)

    def _labels(self, path: Path) -> NDArray[np.int64]:
        labels = raw_images(self._adapter, path, 1, PALETTE if path.suffix.lower() == PNG else self._key)
        if labels.dtype.kind not in "uib" and not (np.mod(labels, 1) == 0).all():
            raise DataError("expected labels, found numbers that are not whole: is it a map?")
        return labels.astype(np.int64)
