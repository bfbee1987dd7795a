"""Surroundings: whether a separator gives the same maps in larger images than in training.

A network can locate its object by the edges of the image, or mistake distant background for an object. Test
samples are embedded in larger images of their own background; the intensity in their part is compared with that of
the sample alone, and the intensity outside is reported. Where the domain has larger samples, these and random
parts of them are compared instead: objects that the border of a window cuts off have no such edge in an image.
"""

from collections.abc import Iterator, Sequence
from math import prod
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oasis.data.mixing import SampleDataset, keyed_rng
from oasis.data.samples import Sample
from oasis.device import autocast
from oasis.evaluation.stored import Stored
from oasis.regions import present
from oasis.separator.prediction import Prediction
from oasis.separator.separator import Separator, evaluating

SAMPLES = 32
FACTOR = 2  # by which sides are longer
FEWEST = 4  # samples, even if they are large
PIXELS = 2**21  # total pixels of all surroundings
TOLERANCE = 0.1  # fraction of the intensity of a class, inside and outside
PATCH = 16  # pixels along an axis of the patches of background
LARGEST = 1e6  # bound of ratios
UNSTATED = 100  # ratio above which there is next to nothing to compare with


class SizeCheck(Stored):
    """The effect of larger surroundings on the maps of test samples.

    Attributes:
        weights: SHA-256 of the separator that was checked, or "".
        trained: the spatial size in training.
        larger: the size of the surroundings.
        samples: number of samples tested.
        inside: by class, the median change of the intensity in the part of the sample, over the samples with the
            class, relative to their median intensity at the size in training.
        outside: by class, the median intensity outside, relative to the same intensity; in measured surroundings
            instead the median change of the intensity over the samples without the class.
        measured: whether samples are parts of larger ones, instead of being embedded in background.
    """

    what: ClassVar = "size check"
    format: Literal["oasis-size-check-1"] = "oasis-size-check-1"
    weights: str = ""
    trained: tuple[int, ...]
    larger: tuple[int, ...]
    samples: int
    inside: dict[str, float]
    outside: dict[str, float]
    measured: bool = False

    @property
    def same(self) -> bool:
        """Whether all intensities change by at most 10 % and less than 10 % appears outside."""
        return max(map(abs, (*self.inside.values(), *self.outside.values()))) <= TOLERANCE

    def changes(self) -> str:
        """Return the changes of the intensity of every class, as text."""
        named = ("where present", "where absent") if self.measured else ("inside", "outside")
        return "; ".join(_change(name, self.inside[name], self.outside[name], named) for name in self.inside)

    def text(self) -> str:
        """Return the result in one line."""
        larger, trained = (" x ".join(map(str, size)) for size in (self.larger, self.trained))
        text = f"{self.samples} samples of {trained} pixels "
        text += f"as parts of {larger}" if self.measured else f"embedded in {larger} of background"
        return f"{text}: {self.changes()}"


def _change(name: str, inside: float, outside: float, named: tuple[str, str]) -> str:
    """Return the relative changes of the intensity of a class as text, and where they are.

    Example:
        >>> _change("ER", 0.02, 0.3, ("inside", "outside"))
        'ER +2.0 % inside, 30.0 % outside'
        >>> _change("ER", 1e6, 0, ("inside", "outside"))
        'ER hardly any intensity in the samples alone, but in larger surroundings'
    """
    if max(abs(inside), abs(outside)) > UNSTATED:
        return f"{name} hardly any intensity in the samples alone, but in larger surroundings"
    return f"{name} {100 * inside:+.1f} % {named[0]}, {100 * outside:.1f} % {named[1]}"


def embed_in(sample: Sample, size: Sequence[int], thresholds: Tensor, rng: np.random.Generator) -> Sample:
    """Return a sample at the centre of a larger image of its own background.

    The background consists of pieces of the sample in which no class is present, of the largest possible size up
    to 16 pixels along an axis, so that noise keeps its correlations.

    Args:
        sample: a sample without context.
        size: the size of the larger image along every spatial axis.
        thresholds: (N,) thresholds above which a class is present.
        rng: draws the pieces.

    Example:
        >>> image = np.array([[0.5, 9.0, 0.5]], np.float32)
        >>> sample = Sample(image, np.array([[[0, 9, 0]]], np.float32), np.ones((1, 3), bool))
        >>> embed_in(sample, [7], torch.zeros(1), np.random.default_rng(0)).image
        array([[0.5, 0.5, 0.5, 9. , 0.5, 0.5, 0.5]], dtype=float32)
    """
    place = middle(sample.image.shape[1:], size)
    lit = present(torch.from_numpy(sample.target)[None], thresholds)[0].any(0).any(0).numpy()
    image = _background(sample.image, ~lit, size, rng)
    image[:, *place] = sample.image
    target = np.zeros((*sample.target.shape[:2], *size), np.float32)
    target[:, :, *place] = sample.target
    return Sample(image, target, np.ones((1, *size), bool), sample.meta)


def _background(
    image: NDArray[np.float32], empty: NDArray[np.bool_], size: Sequence[int], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return an image (B, *size) composed of empty pieces of another one; 0 if there are none."""
    found, patch = _empty_pieces(empty)
    filled = np.zeros((len(image), *size), np.float32)
    if not len(found):
        return filled
    for index in np.ndindex(*[-(-length // patch) for length in size]):
        into = tuple(slice(at * patch, min((at + 1) * patch, end)) for at, end in zip(index, size, strict=True))
        start = rng.choice(found)
        out_of = (slice(at, at + one.stop - one.start) for at, one in zip(start, into, strict=True))
        filled[:, *into] = image[:, *out_of]
    return filled


def _empty_pieces(empty: NDArray[np.bool_]) -> tuple[NDArray[np.intp], int]:
    """Return the first pixels (n, dims) of the largest completely empty pieces, and the length of their sides."""
    patch = min(PATCH, *empty.shape)
    while patch:
        found = np.argwhere(
            np.lib.stride_tricks.sliding_window_view(empty, [patch] * empty.ndim).all(
                axis=tuple(range(empty.ndim, 2 * empty.ndim))
            )
        )
        if len(found) or patch == 1:
            return found, patch
        patch //= 2
    return np.empty((0, empty.ndim), np.intp), 1


def middle(inner: Sequence[int], outer: Sequence[int]) -> tuple[slice, ...]:
    """Return the slices of a smaller image at the centre of a larger one."""
    starts = [(large - small) // 2 for small, large in zip(inner, outer, strict=True)]
    return tuple(slice(start, start + small) for start, small in zip(starts, inner, strict=True))


def check_size(
    separator: Separator,
    dataset: SampleDataset,
    thresholds: Tensor,
    samples: int = SAMPLES,
    factor: int = FACTOR,
    weights: str = "",
    larger: SampleDataset | None = None,
) -> SizeCheck | None:
    """Compare the maps of samples alone with those of the same samples in larger surroundings.

    Args:
        separator: the separator to be checked.
        dataset: samples with truth.
        thresholds: (N,) thresholds above which a class is present.
        samples: maximum number of samples to test, the first ones of the data set; fewer if they are large.
        factor: the factor by which every side of the surroundings is larger.
        weights: identifies the separator.
        larger: larger samples of the domain, parts of which are tested instead of `dataset`.

    Returns:
        The result, or None for a separator with context, which is unknown in larger surroundings.
    """
    if separator.options.context:
        return None
    trained = dataset[0].image.shape[1:]
    size = [factor * length for length in trained] if larger is None else larger[0].image.shape[1:]
    count = min(samples, len(dataset if larger is None else larger), max(FEWEST, PIXELS // prod(size)))
    pairs = _embedded(dataset, size, thresholds, count) if larger is None else _parts(larger, trained, count)
    rows = [_compared(separator, large, place) for large, place in pairs]
    alone, within, outside, there = _pooled(separator, np.array(rows, dtype=np.float64).transpose(1, 2, 0))
    inside, beyond = [], []
    for label in range(len(separator.classes)):
        of = there[label] > 0 if there[label].any() else np.ones(count, bool)
        typical = float(np.median(alone[label][of]))
        inside.append(_ratio(float(np.median((within - alone)[label][of])), typical))
        further = outside[label] if larger is None else np.abs(within - alone)[label][~of]
        beyond.append(_ratio(float(np.median(further)) if len(further) else 0.0, typical))
    return SizeCheck(
        weights=weights,
        trained=trained,
        larger=tuple(size),
        samples=count,
        inside=dict(zip(separator.classes, inside, strict=True)),
        outside=dict(zip(separator.classes, beyond, strict=True)),
        measured=larger is not None,
    )


def _embedded(
    dataset: SampleDataset, size: Sequence[int], thresholds: Tensor, count: int
) -> Iterator[tuple[Sample, tuple[slice, ...]]]:
    """Yield samples in the middle of larger images of their background, and their place there."""
    for index in range(count):
        sample, rng = dataset[index], keyed_rng(0, "surroundings", index)
        yield embed_in(sample, size, thresholds, rng), middle(sample.image.shape[1:], size)


def _parts(larger: SampleDataset, inner: Sequence[int], count: int) -> Iterator[tuple[Sample, tuple[slice, ...]]]:
    """Yield some larger samples, and a random place in each for a smaller one."""
    for index in np.linspace(0, len(larger) - 1, count).round().astype(int).tolist():
        sample, rng = larger[index], keyed_rng(0, "surroundings", index)
        outer = sample.image.shape[1:]
        starts = [int(rng.integers(full - length + 1)) for length, full in zip(inner, outer, strict=True)]
        yield sample, tuple(slice(start, start + length) for start, length in zip(starts, inner, strict=True))


def _compared(separator: Separator, large: Sample, place: tuple[slice, ...]) -> tuple[NDArray[np.float64], ...]:
    """Return the intensities (N,) of a part of a sample alone, in the sample and outside, and in truth."""
    alone, around = (_maps(separator, one) for one in (large.image[:, *place], large.image))
    within, whole = _sums(around[:, :, *place]), _sums(around)
    return _sums(alone), within, whole - within, _sums(large.target[:, :, *place])


def _pooled(separator: Separator, sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sums (..., N, samples) with those of interchangeable classes, which may swap, averaged."""
    for group in separator.options.interchangeable:
        labels = [separator.classes.index(name) for name in group]
        sums[:, labels] = sums[:, labels].mean(axis=1, keepdims=True)
    return sums


def _sums(maps: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(maps.reshape(len(maps), -1).sum(1, dtype=np.float64))


def _ratio(part: float, whole: float) -> float:
    """Divide, with bounds and 0 / 0 = 0."""
    if part == 0:
        return 0.0
    ratio = part / whole if whole > 0 else LARGEST * np.sign(part)
    return float(np.clip(np.nan_to_num(ratio, nan=LARGEST), -LARGEST, LARGEST))


def _maps(separator: Separator, image: NDArray[np.float32]) -> NDArray[np.float32]:
    device = next(separator.parameters()).device
    with torch.inference_mode(), autocast(device):
        prediction: Prediction = evaluating(separator)(torch.from_numpy(image)[None].to(device))
    return prediction.maps[0].float().cpu().numpy()
