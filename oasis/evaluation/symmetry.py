"""Spread of the predictions of the same image over its symmetries or over several separators."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations, product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from oasis.errors import ModelError
from oasis.separator.prediction import Prediction
from oasis.separator.separator import Separator, evaluating


class Spread(NamedTuple):
    """Mean and spread of several predictions of the same images, in physical units.

    Attributes:
        mean: (b, N, B, *S) mean of the maps.
        std: (b, N, B, *S) standard deviation in every pixel.
        intensity_std: (b, N) standard deviation of the sum over valid pixels.
    """

    mean: Tensor
    std: Tensor
    intensity_std: Tensor


def symmetry_spread(
    separator: Separator,
    image: Tensor,
    valid: Tensor | None = None,
    context: Tensor | None = None,
    flips: bool = True,
    rotations: bool = True,
) -> Spread:
    """Separate images in all their exact symmetries, and return mean and spread of the maps rotated back.

    Everything runs in float32 on the separator's device. With both kinds of operation there are 2 passes in one
    dimension, 4 in two, 8 for squares, and up to 48 in three. The spread is 0 for an equivariant separator. It
    shows where a prediction is unreliable; a `Calibration` fitted to it gives intervals.

    Args:
        separator: the separator to be applied.
        image: (b, B, *S) in physical units.
        valid: (b, 1, *S) bool.
        context: (b, C, *S), whose values must have the same meaning in every orientation.
        flips: reverse every spatial axis.
        rotations: permute spatial axes of equal length, which with flips gives all right-angle rotations.
    """
    spatial = tuple(image.shape[2:])

    def passes() -> Iterator[Tensor]:
        for order, reversed_axes in _symmetries(spatial, flips, rotations):
            turned = [part if part is None else _turn(part, order, reversed_axes) for part in (valid, context)]
            maps = _maps(separator, _turn(image, order, reversed_axes), *turned)
            yield _turn_back(maps, order, reversed_axes)

    return _spread(passes(), valid)


def ensemble_spread(
    separators: Sequence[Separator], image: Tensor, valid: Tensor | None = None, context: Tensor | None = None
) -> Spread:
    """Separate images with several separators, and return mean and spread of their maps, in float32.

    Args:
        separators: separators of the same classes, for example from runs with different seeds.
        image: (b, B, *S) in physical units.
        valid: (b, 1, *S) bool.
        context: (b, C, *S).

    Raises:
        ModelError: there are no separators, or their classes differ.
    """
    known = {tuple(separator.classes) for separator in separators}
    if len(known) != 1:
        found = ", ".join(str(list(classes)) for classes in sorted(known)) or "none"
        raise ModelError(f"an ensemble needs separators of the same classes, found {found}")
    device = next(separators[0].parameters()).device
    return _spread((_maps(separator, image, valid, context).to(device) for separator in separators), valid)


def _symmetries(
    shape: tuple[int, ...], flips: bool, rotations: bool
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Yield every operation that preserves the shape: an order of the spatial axes, then the axes to reverse."""
    axes = range(len(shape))
    orders = [order for order in permutations(axes) if tuple(shape[axis] for axis in order) == shape]
    for order in orders if rotations else [tuple(axes)]:
        for flipped in product((False, True) if flips else (False,), repeat=len(shape)):
            yield order, tuple(axis for axis in axes if flipped[axis])


def _turn(values: Tensor, order: tuple[int, ...], reversed_axes: tuple[int, ...]) -> Tensor:
    lead = values.ndim - len(order)
    turned = values.permute(*range(lead), *(lead + axis for axis in order))
    return turned.flip([lead + axis for axis in reversed_axes]).contiguous()


def _turn_back(values: Tensor, order: tuple[int, ...], reversed_axes: tuple[int, ...]) -> Tensor:
    lead = values.ndim - len(order)
    back = [lead + order.index(axis) for axis in range(len(order))]
    return values.flip([lead + axis for axis in reversed_axes]).permute(*range(lead), *back).contiguous()


def _maps(separator: Separator, image: Tensor, valid: Tensor | None, context: Tensor | None) -> Tensor:
    device = next(separator.parameters()).device
    valid, context = (part if part is None else part.to(device) for part in (valid, context))
    with torch.inference_mode():
        prediction: Prediction = evaluating(separator)(image.float().to(device), valid, context)
        return prediction.maps


class _Moments:
    """Running mean and standard deviation over passes (Welford 1962); exact for equal values."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Any = 0
        self.squares: Any = 0

    def add(self, values: Tensor) -> None:
        self.count += 1
        difference = values - self.mean
        self.mean = self.mean + difference / self.count
        self.squares = self.squares + difference * (values - self.mean)

    @property
    def std(self) -> Tensor:
        return torch.sqrt(self.squares / self.count)


def _spread(passes: Iterable[Tensor], valid: Tensor | None) -> Spread:
    maps, intensity = _Moments(), _Moments()
    for values in passes:
        maps.add(values)
        counted = values if valid is None else torch.where(valid.to(values.device).unsqueeze(1), values, 0)
        intensity.add(counted.flatten(2).sum(2, dtype=torch.float64))
    return Spread(maps.mean, maps.std, intensity.std.float())
