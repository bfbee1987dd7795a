"""The adapter of one's own images in folders, which needs no Python."""

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.adapters.folder.channels import channel_files, leading, read_channels
from oasis.adapters.folder.doubts import say_doubts, say_repeated
from oasis.adapters.folder.layout import KINDS, Layout, find_layout, split_frames, split_names
from oasis.adapters.folder.options import FolderOptions
from oasis.adapters.folder.stained import Mixtures, StainedScene
from oasis.adapters.folder.stock import Reader, Stock, stored_shape
from oasis.adapters.folder.windows import Files, Item, Windows
from oasis.adapters.options import SPLITS
from oasis.adapters.reading import as_images
from oasis.data.mixing import Mixer, SampleDataset
from oasis.data.samples import Array, Sample
from oasis.errors import ConfigError, DataError
from oasis.io.axes import AxisFacts
from oasis.io.parts import Parts
from oasis.io.signal_tables import Abscissa, abscissa_of

logger = logging.getLogger(__name__)

LEFT_OUT = 0.01  # fraction of the pixels of a split in no window above which it is said
LABELS_MEAN = (
    "%s: label images are no maps: all light under a label is attributed to its class, also that of other classes "
    "where they overlap, and none of the light beside it"
)


class FolderAdapter(Adapter[FolderOptions]):
    """One's own images in folders, with maps or labels of their classes, or of one class each, to be mixed."""

    defaults = {"model": {"name": "unet", "base_channels": 16, "depth": 3, "norm": "batch"}}

    @property
    def classes(self) -> tuple[str, ...]:
        """The names in the options.

        Raises:
            ConfigError: there are none.
        """
        if not self.options.classes:
            raise ConfigError("data.classes: name the classes, as oasis init writes them for a folder")
        return self.options.classes

    @property
    def spatial_dims(self) -> int:
        """That in the options."""
        return self.options.spatial_dims

    @property
    def bands(self) -> int:
        """That in the options."""
        return self.options.bands

    @property
    def band_names(self) -> tuple[str, ...]:
        """What the images to train on call their channels, or the endings of the names of their files."""
        endings = tuple(one.strip("_-. ") or one for one in self.options.channels)
        names = self.options.stated.channels or endings
        return names if len(names) == self.bands else ()

    @property
    def size(self) -> tuple[int, ...] | None:
        """Size of a window."""
        return self.options.size

    @property
    def unit(self) -> str:
        """That in the options."""
        return self.options.unit

    @property
    def suffixes(self) -> Sequence[str]:
        """Those of arrays, and pictures."""
        return KINDS

    def as_images(self, raw: NDArray[Any], dark: NDArray[Any] | None = None) -> Array:
        """Return counts as images (n, B, *S) in physical units: minus offset or dark frame, times the gain.

        Raises:
            DataError: the array has another shape, or is a mask.
        """
        if raw.dtype.kind == "b":
            raise DataError(
                "found booleans, which are no intensities: masks of a class are read where data.labels names it"
            )
        images = as_images(raw, self.bands, self.spatial_dims, dark)
        camera = self.options.camera
        return camera.signal(images) if dark is None else images * np.float32(camera.gain)

    @property
    def masks_not_finite(self) -> bool:
        """True: files of others mark unknown pixels so, and windows in training do not count them."""
        return True

    def reads_parts(self, path: Path) -> bool:
        """Return True: every pixel is converted by itself."""
        return True

    def numbers(self, path: Path, key: str | None = None) -> tuple[NDArray[Any], AxisFacts]:
        """Return the array of a file and its facts, together with its other channels where these are files.

        Raises:
            DataError: a file cannot be read, or channels do not fit together.
        """
        return read_channels(path, self.options.channels, self.spatial_dims, key)

    def named_axes(self, path: Path, values: Any, facts: AxisFacts) -> tuple[Any, AxisFacts]:
        """Return an array of a file and its facts; warn if these are not those of the files in training.

        Raises:
            DataError: `axes` does not have a letter for every axis.
        """
        text = self.options.stated.unlike(facts, self.spatial_dims)
        if text and self.is_new((path, text)):
            logger.warning("%s: %s", path, text)
        return super().named_axes(path, values, facts)

    def abscissa(self, sample: Sample) -> Abscissa | None:
        """Return the first column of the CSV file of a measured signal, such as its times; None of mixtures."""
        split = str(sample.meta.get("id")).partition("/")[0]
        if self.spatial_dims != 1 or split not in SPLITS or self.options.files.of(split):
            return None
        name, _, place = str(sample.meta.get("source", "")).rpartition("@")
        layout = self.layouts[split]
        path = None if layout.single else layout.images.get(name.rpartition("/")[0])
        whole = path and abscissa_of(path)
        if not whole:
            return None
        first, length = int(place), sample.image.shape[-1]
        return Abscissa(whole.name, whole.values[first : first + length])

    def leading(self, paths: Sequence[Path]) -> list[Path]:
        """Return the files without those of further channels."""
        return leading(paths, self.options.channels)

    def together(self, path: Path) -> list[Path]:
        """Return the files of all channels of an image."""
        return channel_files(path, self.options.channels)

    def arranged_parts(self, path: Path, parts: Parts) -> Parts | None:
        """Return the array of a file as images; None if its channels are several files.

        Raises:
            DataError: the axes do not fit.
        """
        return None if self.options.channels else super().arranged_parts(path, parts)

    @cached_property
    def layouts(self) -> dict[str, Layout]:
        """The files for each split: its own folder's, or the same for all.

        Raises:
            ConfigError: the options name no folder.
            DataError: the folder does not have a known layout.
        """
        if not self.options.folder:
            raise ConfigError("data.folder: name the folder of images, as oasis init does")
        folder, classes, channels = Path(self.options.folder), self.classes, self.options.channels
        own = [split for split in SPLITS if (folder / split).is_dir()]
        if own and len(own) < len(SPLITS):
            missing = next(split for split in SPLITS if split not in own)
            raise DataError(f"{folder}: has {', '.join(own)}, but no folder {missing}: give all three or none")
        if own:
            return {split: find_layout(folder / split, classes, channels) for split in SPLITS}
        return dict.fromkeys(SPLITS, find_layout(folder, classes, channels))

    def items(self, files: dict[str, Path], split: str) -> list[Item]:
        """Return the images of a split among files.

        Args:
            files: the files by name.
            split: the split.

        Raises:
            ConfigError: the stated groups of files are too few for three splits.
            DataError: there are too few images for three splits, or a file cannot be read.
        """
        names, frames = list(files), None
        if self.layouts["train"] is self.layouts["test"]:
            chosen = split_names(names, self.options.split, self.seed)
            names = chosen[split] or names
            frames = None if chosen[split] else self.options.split
        found: list[Item] = []
        for name in names:
            count, _, *size = stored_shape(self, files[name], self.options.key)
            numbers = range(count) if frames is None else split_frames(count, frames)[split]
            if not len(numbers):
                raise DataError(
                    f"{files[name]}: {count} images in {len(files)} files are too few for three splits: "
                    "give at least three files, or stacks of three images, or the folders train, val and test"
                )
            found += [Item(name, frame, tuple(size)) for frame in numbers]
        return found

    def _measured(self, split: str) -> list[Path]:
        """Return the files of the measured images of a split; none where the images of a file are divided."""
        layout, found = self.layouts[split], list[Path]()
        for files in layout.maps.values() if layout.single else [layout.images]:
            names = list(files)
            if self.layouts["train"] is self.layouts["test"]:
                names = split_names(names, self.options.split, self.seed)[split]
            found += [files[name] for name in names]
        return found

    def scene(self, split: str) -> StainedScene:
        """Return the scene that mixes single-stained images.

        Raises:
            DataError: files cannot be read.
        """
        layout, options = self.layouts[split], self.options
        items = {name: self.items(dict(files), split) for name, files in layout.maps.items()}
        stock = Stock(Reader(self, "images", options.key))
        return StainedScene(
            items, layout.maps, options.size, self.limits, options.mixing, options.camera, stock, self.bands
        )

    def dataset(self, split: str) -> SampleDataset:
        """Return windows of images with maps, or mixtures of single-stained images.

        Raises:
            ConfigError: the split has no events, or windows are larger than images.
            DataError: files are missing, or cannot be read.
        """
        options = self.options
        if options.files.of(split):
            return super().dataset(split)
        layout = self.layouts[split]
        if split == "train":
            kinds = layout.maps.values() if layout.single else [layout.images]
            say_doubts(self, [kind.values() for kind in kinds], options.key)
            if left := layout.left_below():
                logger.warning("%s", left)
            say_repeated({name: self._measured(name) for name in SPLITS})
        if layout.single:
            mixed = super().dataset(split)
            return Mixtures(mixed) if isinstance(mixed, Mixer) else mixed
        count: int = getattr(options.events, split)
        if not count:
            raise ConfigError(f"data.events.{split}: expected at least 1 sample, found 0")
        if split == "train" and options.labels:
            logger.warning(LABELS_MEAN, ", ".join(options.labels))
        files = Files(layout.images, layout.maps, frozenset(options.labels))
        maps = {"counts": "counts", "net": "net", "unit": "maps"}[options.maps]
        stocks = [Stock(Reader(self, kind, options.key)) for kind in ("images", maps, "labels")]
        items = self.items(dict(layout.images), split)
        windows = Windows(files, items, options.size, count, self.seed, split, *stocks)
        self._say_left_out(windows)
        return windows

    def larger(self, split: str, factor: int) -> SampleDataset | None:
        """Return larger windows, as far as the images reach, or mixtures of such; None where these are no larger.

        Raises:
            DataError: files cannot be read.
        """
        if self.size is None or self.options.files.of(split):
            return None
        layout = self.layouts[split]
        kinds = layout.maps.values() if layout.single else [layout.images]
        sizes = [item.size for files in kinds for item in self.items(dict(files), split)]
        smallest = [min(lengths) for lengths in zip(*sizes, strict=True)]
        size = tuple(min(factor * one, most) for one, most in zip(self.size, smallest, strict=True))
        return None if size == self.size else self.varied(size=size).dataset(split)

    def _say_left_out(self, windows: Windows) -> None:
        """Log, once for a split, that there are more windows than are used."""
        if windows.left_out < LEFT_OUT or not self.is_new(("left out", windows.split)):
            return
        text = "%s: data.events.%s=%d windows leave out %.0f %% of the pixels of the images"
        logger.info(text, windows.split, windows.split, len(windows), 100 * windows.left_out)
