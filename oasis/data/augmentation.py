"""Exact augmentation: flips and right-angle rotations, which keep image = sum of targets to the last bit."""

from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.data.mixing import SampleDataset, keyed_rng
from oasis.data.samples import Sample
from oasis.options import Options


class Augmentation(Options):
    """Which exact operations are drawn.

    Attributes:
        flips: reverse every spatial axis with probability 1/2.
        rotations: permute spatial axes of equal length, which with flips makes all right-angle rotations.
    """

    flips: bool = True
    rotations: bool = True

    def apply(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the sample with one drawn operation applied to image, target, valid and context alike.

        Example:
            >>> image = np.arange(4, dtype=np.float32).reshape(1, 2, 2)
            >>> sample = Sample(image, image[None], np.ones((1, 2, 2), bool))
            >>> turned = Augmentation().apply(sample, np.random.default_rng(1))
            >>> np.array_equal(turned.image, turned.target[0])
            True
        """
        spatial = sample.image.shape[1:]
        order = _drawn_order(spatial, rng) if self.rotations else list(range(len(spatial)))
        flips = rng.integers(2, size=len(spatial)) if self.flips else [0] * len(spatial)

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
    """A data set whose samples are turned anew in every epoch."""

    def __init__(self, dataset: SampleDataset, augmentation: Augmentation, seed: int) -> None:
        self.dataset = dataset
        self.augmentation = augmentation
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int, epoch: int) -> Sample:
        """Return sample `index`, turned as drawn for (seed, index, epoch)."""
        rng = keyed_rng(self.seed, "augmentation", index, epoch)
        return self.augmentation.apply(self.dataset.sample(index, epoch), rng)
