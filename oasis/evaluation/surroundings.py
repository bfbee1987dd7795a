"""Surroundings: whether a separator gives the same maps in larger images than it was trained on.

A network can find its object by the edges of the image, or take far background for an object. Test samples are
laid into larger surroundings of their own background; the intensity in their part is compared with that of the
sample alone, and the intensity outside is reported.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oasis.data.mixing import SampleDataset, keyed_rng
from oasis.data.samples import Sample
from oasis.device import autocast
from oasis.options import Options
from oasis.regions import present
from oasis.separator.prediction import Prediction
from oasis.separator.separator import Separator, evaluating

SAMPLES = 32
TOLERANCE = 0.1  # of the intensity of a class, inside and outside


class SizeCheck(Options):
    """What larger surroundings do to the maps of test samples.

    Attributes:
        trained: the spatial size in training.
        larger: that of the surroundings.
        samples: how many were tried.
        inside: by class, the median change of the intensity in the part of the sample, relative to the median
            intensity at the size in training.
        outside: by class, the median intensity outside, relative to the same.
    """

    trained: tuple[int, ...]
    larger: tuple[int, ...]
    samples: int
    inside: dict[str, float]
    outside: dict[str, float]

    @property
    def same(self) -> bool:
        """Whether all intensities stay within 10 % and less than 10 % appear outside."""
        return max(map(abs, (*self.inside.values(), *self.outside.values()))) <= TOLERANCE

    def text(self) -> str:
        """Return the check in one line."""
        larger, trained = (" x ".join(map(str, size)) for size in (self.larger, self.trained))
        parts = [
            f"{name} {100 * self.inside[name]:+.1f} % inside, {100 * self.outside[name]:.1f} % outside"
            for name in self.inside
        ]
        return f"{self.samples} samples of {trained} pixels laid into {larger} of background: {'; '.join(parts)}"


def lay_into(sample: Sample, size: Sequence[int], thresholds: Tensor, rng: np.random.Generator) -> Sample:
    """Return a sample in the middle of a larger image of its own background.

    Args:
        sample: without context.
        size: of the larger image along every spatial axis.
        thresholds: (N,) above which a class is present.
        rng: draws background pixels, band by band, from those of the sample in which no class is present.

    Example:
        >>> image = np.array([[0.5, 9.0, 0.5]], np.float32)
        >>> sample = Sample(image, np.array([[[0, 9, 0]]], np.float32), np.ones((1, 3), bool))
        >>> lay_into(sample, [7], torch.zeros(1), np.random.default_rng(0)).image
        array([[0.5, 0.5, 0.5, 9. , 0.5, 0.5, 0.5]], dtype=float32)
    """
    place = middle(sample.image.shape[1:], size)
    empty = ~present(torch.from_numpy(sample.target)[None], thresholds)[0].any(0).numpy()
    image = np.zeros((len(sample.image), *size), np.float32)
    for band, values, free in zip(image, sample.image, empty, strict=True):
        if free.any():
            band[...] = rng.choice(values[free], size=band.shape)
    image[:, *place] = sample.image
    target = np.zeros((*sample.target.shape[:2], *size), np.float32)
    target[:, :, *place] = sample.target
    return Sample(image, target, np.ones((1, *size), bool), sample.meta)


def middle(inner: Sequence[int], outer: Sequence[int]) -> tuple[slice, ...]:
    """Return where a smaller image lies in the middle of a larger one."""
    starts = [(large - small) // 2 for small, large in zip(inner, outer, strict=True)]
    return tuple(slice(start, start + small) for start, small in zip(starts, inner, strict=True))


def check_size(
    separator: Separator, dataset: SampleDataset, thresholds: Tensor, samples: int = SAMPLES, factor: int = 2
) -> SizeCheck | None:
    """Compare samples alone with the same samples in larger surroundings.

    Args:
        separator: to be checked.
        dataset: samples with truth.
        thresholds: (N,) above which a class is present.
        samples: how many to try, the first ones of the data set.
        factor: by which every side of the surroundings is larger.

    Returns:
        The check, or None for a separator with context, which larger surroundings do not have.
    """
    if separator.options.context:
        return None
    count = min(samples, len(dataset))
    rows = []
    for index in range(count):
        sample = dataset[index]
        size = [factor * length for length in sample.image.shape[1:]]
        large = lay_into(sample, size, thresholds, keyed_rng(0, "surroundings", index))
        place = middle(sample.image.shape[1:], size)
        alone, around = (_maps(separator, one.image) for one in (sample, large))
        within = around[:, :, *place].reshape(len(around), -1).sum(1)
        whole = around.reshape(len(around), -1).sum(1)
        rows.append((alone.reshape(len(alone), -1).sum(1), within, whole - within))
    alone, within, outside = np.array(rows, dtype=np.float64).transpose(1, 2, 0)
    typical = np.median(alone, axis=1)
    trained, classes = sample.image.shape[1:], separator.classes
    return SizeCheck(
        trained=trained,
        larger=tuple(size),
        samples=count,
        inside=dict(zip(classes, _ratio(np.median(within - alone, axis=1), typical), strict=True)),
        outside=dict(zip(classes, _ratio(np.median(outside, axis=1), typical), strict=True)),
    )


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> list[float]:
    """Divide; nothing of nothing is 0."""
    scale = np.where(denominator > 0, denominator, np.where(numerator == 0, 1, np.abs(numerator)))
    return [float(value) for value in numerator / scale]


def _maps(separator: Separator, image: NDArray[np.float32]) -> NDArray[np.float32]:
    device = next(separator.parameters()).device
    with torch.inference_mode(), autocast(device):
        prediction: Prediction = evaluating(separator)(torch.from_numpy(image)[None].to(device))
    return prediction.maps[0].float().cpu().numpy()
