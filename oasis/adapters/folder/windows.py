"""Windows: samples cut out of images with the maps of their classes."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.folder.stock import Stock
from oasis.data.covering import Covered, covering
from oasis.data.instances import Instances
from oasis.data.mixing import SampleDataset, keyed_rng
from oasis.data.samples import Array, Sample
from oasis.errors import ConfigError, DataError


class Item(NamedTuple):
    """One image of a file.

    Attributes:
        name: of the file.
        frame: number of the image in it.
        size: its spatial size.
    """

    name: str
    frame: int
    size: tuple[int, ...]


class Files(NamedTuple):
    """Images with their maps.

    Attributes:
        images: the image files by name.
        maps: the files of maps or labels of every class by name.
        labelled: the classes that have labels.
    """

    images: Mapping[str, Path]
    maps: Mapping[str, Mapping[str, Path]]
    labelled: frozenset[str]


def check_sizes(items: Sequence[Item], size: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the size of a window: that which is set, else the one of all images.

    Raises:
        ConfigError: images are smaller, or differ where no size is set.
    """
    sizes = {item.size for item in items}
    if size is None:
        if len(sizes) > 1:
            found = " and ".join(" x ".join(map(str, one)) for one in sorted(sizes)[:2])
            raise ConfigError(f"data.size: images have different sizes, such as {found}: set the size of a window")
        return next(iter(sizes))
    small = next((item for item in items if any(a < b for a, b in zip(item.size, size, strict=True))), None)
    if small is not None:
        found, wanted = (" x ".join(map(str, one)) for one in (small.size, size))
        raise ConfigError(f"data.size: {wanted}, but {small.name} has {found} pixels: choose it smaller")
    return size


def corner(item: Item, size: Sequence[int], rng: np.random.Generator) -> tuple[int, ...]:
    """Return the first pixel of a random window in an image."""
    return tuple(int(rng.integers(full - length + 1)) for full, length in zip(item.size, size, strict=True))


def grid(items: Sequence[Item], size: Sequence[int], most: int) -> list[tuple[Item, Covered]]:
    """Return windows that count every pixel of images once, evenly chosen if there are more than `most`.

    Example:
        >>> [window.start for _, window in grid([Item("a", 0, (10, 5))], (4, 5), 9)]
        [(0, 0), (3, 0), (6, 0)]
    """
    found = [(item, window) for item in items for window in covering(item.size, size)]
    kept = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int))
    return [found[place] for place in kept]


class Windows(SampleDataset):
    """Windows of images with the maps of their classes.

    In training they lie at random places, new ones in every epoch; else they cover the images, and every pixel is
    valid in one of them.

    Args:
        files: the files.
        items: the images of the split.
        size: of a window; None for whole images of one size.
        count: windows per epoch in training, else the most.
        seed: the seed of everything random.
        split: the name of the split.
        images: the images in units.
        maps: the maps in units.
        labels: the label images.
    """

    def __init__(
        self,
        files: Files,
        items: Sequence[Item],
        size: tuple[int, ...] | None,
        count: int,
        seed: int,
        split: str,
        images: Stock,
        maps: Stock,
        labels: Stock,
    ) -> None:
        self.files, self.items, self.size = files, items, check_sizes(items, size)
        self.count, self.seed, self.split = count, seed, split
        self._images, self._maps, self._labels = images, maps, labels
        self._grid = [] if split == "train" else grid(items, self.size, count)

    @property
    def left_out(self) -> float:
        """Which fraction of the pixels of the images no window counts; 0 in training, whose windows are random."""
        if self.split == "train":
            return 0.0
        counted: int = sum(prod(part.stop - part.start for part in window.counted) for _, window in self._grid)
        return 1 - counted / sum(prod(item.size) for item in self.items)

    def __len__(self) -> int:
        return len(self._grid) if self.split != "train" else self.count

    def sample(self, index: int, epoch: int) -> Sample:
        """Return window `index` of `epoch`.

        Raises:
            DataError: a file has other maps than its images need, or one that is negative, or no finite pixel.
        """
        if self.split == "train":
            rng = keyed_rng(self.seed, self.split, index, epoch)
            item = self.items[int(rng.integers(len(self.items)))]
            place, counted = corner(item, self.size, rng), (slice(None),) * len(self.size)
        else:
            item, (place, counted) = self._grid[index]
        part = tuple(slice(at, at + length) for at, length in zip(place, self.size, strict=True))
        images = self._images[self.files.images[item.name]]
        image = images[item.frame][:, *part]
        parts = [self._map(name, item, part, image, len(images)) for name in self.files.maps]
        known = np.stack([image, *(one for one, _ in parts)])
        good = np.isfinite(known).all(axis=(0, 1))[None]
        target = np.stack([np.where(good, one, 0).clip(min=0) for one, _ in parts]).astype(np.float32)
        image = np.where(good, image, 0).astype(np.float32)
        valid = np.zeros_like(good)
        valid[:, *counted] = good[:, *counted]
        at = ",".join(map(str, place))
        meta = {"id": f"{self.split}/{index}", "source": f"{item.name}/{item.frame}@{at}"}
        return Sample(image, target, valid, meta, instances=_instances(target, [labels for _, labels in parts]))

    def _map(
        self, name: str, item: Item, part: tuple[slice, ...], image: Array, count: int
    ) -> tuple[Array, NDArray[np.int64] | None]:
        """Return the map (B, *size) of a class in a window and, where it has labels, these (*size)."""
        path = self.files.maps[name][item.name]
        labelled = name in self.files.labelled
        found = (self._labels if labelled else self._maps)[path]
        if len(found) != count or found.shape[2:] != item.size:
            shape, wanted = (" x ".join(map(str, one)) for one in (found.shape[2:], item.size))
            raise DataError(
                f"{path}: number and size of maps are {len(found)} of {shape} pixels, but those of the images in "
                f"{self.files.images[item.name]} {count} of {wanted}: give every image its map"
            )
        values: Array = found[item.frame][:, *part]
        return (values, None) if not labelled else (np.where(values > 0, image, 0), values[0].astype(np.int64))


def _instances(target: Array, labels: Sequence[NDArray[np.int64] | None]) -> Callable[[], Instances] | None:
    """Return a function that collects the single objects of label images, or None if a class has none."""
    known = [one for one in labels if one is not None]
    return partial(_collected, target, known) if len(known) == len(labels) else None


def _collected(target: Array, labels: Sequence[NDArray[Any]]) -> Instances:
    classes: list[int] = []
    pixels: list[NDArray[np.intp]] = []
    values: list[Array] = []
    for label, (maps, numbers) in enumerate(zip(target, labels, strict=True)):
        everywhere = np.broadcast_to(numbers, maps.shape).ravel()
        lit = np.flatnonzero((everywhere > 0) & (maps.ravel() != 0))
        order = lit[np.argsort(everywhere[lit], kind="stable")]
        for one in np.split(order, np.flatnonzero(np.diff(everywhere[order])) + 1):
            if len(one):
                classes.append(label)
                pixels.append(one)
                values.append(maps.ravel()[one])
    return Instances.pack(target.shape[1:], classes, pixels, values)
