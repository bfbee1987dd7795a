"""Augmentation that preserves image = sum of targets + background and noise.

Flips and right-angle rotations are exact to the last bit, re-mixing (`oasis.data.remixing`) up to rounding; warps
(`oasis.data.warping`) interpolate image and maps in the same way.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.data.mixing import Key, SampleDataset, keyed_rng, samples_of
from oasis.data.remixing import Remix, Remixed
from oasis.data.samples import Sample
from oasis.data.warping import Affine, Conserve, Elastic, check_warp, warp
from oasis.options import Options


class Augmentation(Options):
    """The random operations, applied in this order: re-mix, flip and rotate, warp.

    Attributes:
        flips: reverse every spatial axis with probability 1/2.
        rotations: permute spatial axes of equal length, which with flips gives all right-angle rotations.
        affine: rotate by any angle, scale, shear and shift.
        elastic: deform smoothly.
        conserve: what a warp conserves: the total `intensity` of an object, or its `brightness` per pixel.
        remix: make new mixtures from the class maps of different samples.
    """

    flips: bool = True
    rotations: bool = True
    affine: Affine | None = None
    elastic: Elastic | None = None
    conserve: Conserve = "intensity"
    remix: Remix | None = None

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample flipped, rotated and warped at random: image, target, valid, context and instances.

        Re-mixing needs other samples and is done by `Augmented`.

        Example:
            >>> image = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
            >>> sample = Sample(image, image[None], np.ones((1, 2, 2), bool))
            >>> turned = Augmentation().apply(sample, np.random.default_rng(1))
            >>> np.array_equal(turned.image, turned.target[0])
            True
        """
        return warp(self._turned(sample, rng), rng, self.affine, self.elastic, self.conserve)

    def _turned(self, sample: Sample, rng: np.random.Generator) -> Sample:
        spatial = sample.image.shape[1:]
        order = _drawn_order(spatial, rng) if self.rotations else list(range(len(spatial)))
        flips = rng.integers(2, size=len(spatial)).tolist() if self.flips else [0] * len(spatial)

        def turn(maps: NDArray[Any]) -> NDArray[Any]:
            lead = maps.ndim - len(spatial)
            turned = maps.transpose(*range(lead), *(lead + axis for axis in order))
            reversed_axes = tuple(lead + axis for axis, flipped in enumerate(flips) if flipped)
            return np.ascontiguousarray(np.flip(turned, reversed_axes))

        return sample.replace(
            image=turn(sample.image),
            target=turn(sample.target),
            valid=turn(sample.valid),
            context=None if sample.context is None else turn(sample.context),
            instances=sample.changed_instances(lambda found: found.turn(order, flips)),
        )


def _drawn_order(shape: tuple[int, ...], rng: np.random.Generator) -> list[int]:
    """Return a random permutation of axes that keeps the shape."""
    order = list(range(len(shape)))
    by_length = sorted(order, key=lambda axis: shape[axis])
    for _, group in groupby(by_length, key=lambda axis: shape[axis]):
        axes = list(group)
        for axis, source in zip(axes, rng.permutation(axes), strict=True):
            order[axis] = int(source)
    return order


class Augmented(SampleDataset):
    """A data set whose samples are augmented differently in every epoch.

    Raises:
        OasisError: the first sample cannot be re-mixed or warped in this way, or a required package is missing.
    """

    def __init__(self, dataset: SampleDataset, augmentation: Augmentation, seed: int) -> None:
        if augmentation.remix is not None:
            dataset = Remixed(dataset, augmentation.remix, seed)
        self.dataset = dataset
        self.augmentation = augmentation
        self.seed = seed
        if augmentation.remix or augmentation.affine or augmentation.elastic:
            check_warp(dataset[0].image.shape[1:], augmentation.affine, augmentation.elastic)

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int, epoch: int) -> Sample:
        """Return sample `index`, augmented as drawn for (seed, index, epoch)."""
        return self._augmented(self.dataset.sample(index, epoch), index, epoch)

    def __getitems__(self, keys: Sequence[Key]) -> list[Sample]:
        """Return the samples of several keys."""
        numbers = [self._number(key) for key in keys]
        found = samples_of(self.dataset, numbers)
        return [self._augmented(one, index, epoch) for one, (epoch, index) in zip(found, numbers, strict=True)]

    def _augmented(self, sample: Sample, index: int, epoch: int) -> Sample:
        return self.augmentation.apply(sample, keyed_rng(self.seed, "augmentation", index, epoch))
