"""Single-stained images: each shows one class, and mixtures of them have their truth by construction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from oasis.adapters.camera import Camera
from oasis.adapters.folder.options import MixingOptions
from oasis.adapters.folder.stock import Stock
from oasis.adapters.folder.windows import Item, check_sizes, corner
from oasis.data.mixing import Mixer, Placed, SampleDataset, Scene
from oasis.data.samples import Array, Sample, Scalar
from oasis.data.warping import draw_factors

LOCAL = 4.0  # pixels of the Gaussian filter of local means


def _none() -> Array:
    return np.zeros(0, np.float32)


@dataclass(frozen=True)
class Stained(Placed):
    """A window of a single-stained image.

    Attributes:
        rest: (B, *S) what the image has besides the map: noise and what lies below the threshold.
        background: (B,) its background, which is not in `rest`.
        valid: (1, *S) where all its bands are finite; elsewhere `values` and `rest` are 0.
    """

    rest: Array = field(default_factory=_none)
    background: Array = field(default_factory=_none)
    valid: NDArray[np.bool_] = field(default_factory=lambda: np.ones(1, bool))


def local_means(image: Array, sigma: float) -> Array:
    """Return Gaussian means (B, *S) of the finite pixels around each pixel of an image.

    Pixels that are not finite have no weight, instead of that of a dark pixel (normalised convolution), and 0
    themselves.

    Example:
        >>> local_means(np.array([[2, 2, np.nan, np.inf, 2]], np.float32), 1.0)
        array([[2., 2., 0., 0., 2.]], dtype=float32)
    """
    sigmas = (0, *[sigma] * (image.ndim - 1))
    finite = np.isfinite(image)
    if finite.all():
        smooth: Array = gaussian_filter(image, sigmas)
        return smooth
    light = gaussian_filter(np.where(finite, image, 0), sigmas)
    weight = gaussian_filter(finite.astype(np.float32), sigmas)
    means: Array = np.divide(light, weight, out=np.zeros_like(light), where=finite)
    return means


class StainedScene(Scene):
    """Adds up windows of images that show one class each.

    Args:
        items: the images of the split, by class.
        paths: the files by class and name.
        size: of a window.
        thresholds: of presence by class.
        options: of mixing.
        camera: of simulated noise.
        images: the images in units.
        bands: of an image.
    """

    def __init__(
        self,
        items: Mapping[str, Sequence[Item]],
        paths: Mapping[str, Mapping[str, Path]],
        size: tuple[int, ...] | None,
        thresholds: Mapping[str, float],
        options: MixingOptions,
        camera: Camera,
        images: Stock,
        bands: int,
    ) -> None:
        self.classes = tuple(items)
        size = check_sizes([item for each in items.values() for item in each], size)
        self.shape = (bands, *size)
        self._items, self._paths, self._thresholds = items, paths, thresholds
        self._options, self._camera, self._images = options, camera, images
        self._levels: dict[tuple[str, str, int], Array] = {}

    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Scalar]]:
        """Return one window for each class that is present."""
        there = rng.random(len(self.classes)) < self._options.presence
        there[int(rng.integers(len(there)))] |= not there.any()
        sources: dict[str, Scalar] = {f"{name}_source": "" for name in self.classes}
        placed: list[Placed] = []
        for name, present in zip(self.classes, there, strict=True):
            items = self._items[name]
            item = items[int(rng.integers(len(items)))]
            place = corner(item, self.shape[1:], rng)
            factor = float(draw_factors(self._options.brightness, rng))
            mirrored = self._mirrored(rng)
            if present:
                sources[f"{name}_source"] = f"{item.name}/{item.frame}@{','.join(map(str, place))}"
                placed.append(self._window(name, item, place, factor, mirrored))
        return placed, sources

    def _mirrored(self, rng: np.random.Generator) -> tuple[slice, ...]:
        dims = len(self.shape) - 1
        flips = self._options.flips if self._options.flips is not None else dims > 1
        steps = [-1 if flips and flip else 1 for flip in rng.random(dims) < 0.5]
        return tuple(slice(None, None, step) for step in steps)

    def _window(
        self, name: str, item: Item, place: Sequence[int], factor: float, mirrored: tuple[slice, ...]
    ) -> Stained:
        whole = self._images[self._paths[name][item.name]][item.frame]
        level = self._level(name, item, whole)
        spatial = range(1, whole.ndim)
        part = tuple(slice(at, at + length) for at, length in zip(place, self.shape[1:], strict=True))
        above = whole[:, *part][:, *mirrored] - level.reshape(-1, *[1] * len(spatial))
        valid = np.isfinite(above).all(axis=0, keepdims=True)
        smooth = local_means(above, self._options.smooth)
        values = np.where(valid, above, 0)
        lit = (smooth > self._thresholds[name]) & (values > 0)
        target = np.where(lit, values, 0) * np.float32(factor)
        rest = np.where(lit, 0, values) * np.float32(factor)
        return Stained(
            name, target.astype(np.float32), [0] * len(spatial), {}, rest.astype(np.float32), level, valid
        )

    def _level(self, name: str, item: Item, whole: Array) -> Array:
        """Return the background (B,) of an image: a percentile of local means, in which noise averages out.

        Only pixels where all bands are finite count.
        """
        known = self._levels.get((name, item.name, item.frame))
        if known is None:
            known = np.zeros(len(whole), np.float32)
            if self._options.background is not None:
                means = local_means(whole, LOCAL)[:, np.isfinite(whole).all(axis=0)]
                known = np.percentile(means, self._options.background, axis=1)
                known = known.astype(np.float32)
            self._levels[name, item.name, item.frame] = known
        return known

    def observe(
        self, target: Array, placed: Sequence[Placed], rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the sum with the noise of the images or that of the camera, and the mean background.

        It is valid where all images in it are, and 0 elsewhere.
        """
        stained = [one for one in placed if isinstance(one, Stained)]
        levels = [one.background for one in stained]
        level = np.mean(levels, axis=0).reshape(-1, *[1] * (len(self.shape) - 1))
        image = target.sum(axis=0) + level
        if self._options.noise == "simulated":
            image = self._camera.observe(image, rng)
        else:
            image = image + np.sum([one.rest for one in stained], axis=0)
        valid = np.logical_and.reduce([one.valid for one in stained])
        return np.where(valid, image, 0).astype(np.float32), valid


class Mixtures(SampleDataset):
    """Mixtures without instances, since a stained image shows many objects, and dark where they are not valid.

    Args:
        mixed: the mixer.
    """

    def __init__(self, mixed: Mixer) -> None:
        self.mixed = mixed

    def __len__(self) -> int:
        return len(self.mixed)

    def sample(self, index: int, epoch: int) -> Sample:
        """Return mixture `index` of `epoch`."""
        found = self.mixed.sample(index, epoch)
        return found.replace(target=np.where(found.valid, found.target, 0), instances=None)
