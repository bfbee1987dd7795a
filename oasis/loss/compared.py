"""The comparison of a prediction with its target by an `OverlapLoss`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from oasis.errors import DataError
from oasis.loss.ratio import Ratio, known
from oasis.loss.regression import regression_and_smoothness
from oasis.loss.terms import MapPair
from oasis.scaling import FittedScale

if TYPE_CHECKING:
    from oasis.loss.overlap import OverlapLoss


@dataclass(frozen=True)
class Compared:
    """A prediction and its target, compared by an `OverlapLoss`.

    Attributes:
        loss: the loss.
        prediction: (b, N, *S) in at least float32, interchangeable maps in the order that fits the target best.
        target: (b, N, *S).
        valid: (b, 1, *S) bool that broadcasts to maps, or None.
        codes: (b, *S) the region of every pixel.
        scale: the scaling that both maps are in, or None.
        image: (b, B, *S) the measured mixture, or None.
        order: (b, N) the predicted map assigned to each true one; None if no classes are interchangeable.
    """

    loss: "OverlapLoss"
    prediction: Tensor
    target: Tensor
    valid: Tensor | None
    codes: Tensor
    scale: FittedScale | None = None
    image: Tensor | None = None
    order: Tensor | None = None

    @property
    def weights(self) -> Tensor:
        """The weight of every pixel (b, *S) by its region, 0 where it is not valid."""
        return self.loss.weights(self.codes, self.valid, self.target)

    def ratios(self) -> dict[str, Ratio]:
        """Return the terms of non-zero weight, as ratios that can be summed over processes.

        Raises:
            DataError: the target is not finite where it is valid.
        """
        with torch.autocast(self.prediction.device.type, enabled=False):
            weights = self.weights
            return self._of_the_paper(weights) | self._further(weights)

    def _of_the_paper(self, weights: Tensor) -> dict[str, Ratio]:
        loss, wanted = self.loss, self.loss.term_weights
        if not {"regression", "smoothness"} & set(wanted):
            return {}
        dims = loss.spatial_dims if "smoothness" in wanted else 0
        class_weights = loss.class_weights.to(self.prediction.dtype)
        pair = regression_and_smoothness(
            self.prediction, self.target, weights, class_weights, self.valid, dims, loss.distance
        )
        _check_finite(pair[0], self.target, weights, loss.classes)
        both = dict(zip(("regression", "smoothness"), pair, strict=True))
        return {name: ratio for name, ratio in both.items() if name in wanted}

    def _further(self, weights: Tensor) -> dict[str, Ratio]:
        loss = self.loss
        if not loss.further:
            return {}
        maps, true = (
            each if self.scale is None else self.scale.inverse(each) for each in (self.prediction, self.target)
        )
        class_weights = loss.class_weights.to(maps.dtype)
        pair = MapPair(maps, true, weights, class_weights, loss.thresholds, self.image, loss.spatial_dims)
        return {name: term(pair) for name, term in loss.further.items()}

    @torch.no_grad()
    def region_sums(self) -> Tensor:
        """Return the error and the number of pixels of every region, from which the rule `learned` learns.

        Sum them over all processes and pass them to `OverlapLoss.learned.update`.

        Returns:
            (2, 2^N) float64: distances summed over classes with their weights, and pixels.
        """
        loss, codes = self.loss, self.codes
        counted = torch.ones_like(self.target[:, 0]) if self.valid is None else self.valid[:, 0]
        counted = counted.expand_as(self.target[:, 0]) > 0
        kept = counted.unsqueeze(1)
        error = loss.distance(torch.where(kept, self.prediction, 0), torch.where(kept, self.target, 0))
        error = (error * loss.class_weights.view(1, -1, *[1] * (error.ndim - 2))).sum(1)
        sums = torch.zeros(2, len(loss.table), dtype=torch.float64, device=error.device)
        for row, values in zip(sums, (error * counted, counted), strict=True):
            row.index_add_(0, codes.flatten().long(), values.flatten().double())
        return sums


def _check_finite(regression: Ratio, target: Tensor, weights: Tensor, classes: Sequence[str]) -> None:
    """Check that the target is finite where it has weight; it is inspected only if its sum is not finite."""
    if torch.compiler.is_compiling() or known(regression.numerator.isfinite().all()) is not False:
        return
    wrong = ~target.isfinite() & (weights > 0).unsqueeze(1)
    if wrong.any():
        sample, label, *pixel = wrong.nonzero()[0].tolist()
        raise DataError(
            f"target: {int(wrong.sum())} values are NaN or infinite where valid, the first in sample {sample}, "
            f"class {classes[label]}, at {tuple(pixel)}: correct them or mark them as not valid"
        )
