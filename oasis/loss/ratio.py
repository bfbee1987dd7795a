"""Ratios: quantities that are a sum over pixels divided by another, so that they can be pooled over processes."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Reduction = Literal["batch", "sample"]
EPSILON = 1e-6  # keeps a batch in which nothing is valid at exactly 0


class Ratio(NamedTuple):
    """A quantity that is a sum over pixels divided by another, kept separately for every sample.

    Attributes:
        numerator: (b,)
        denominator: (b,)
    """

    numerator: Tensor
    denominator: Tensor

    def totals(self, reduction: Reduction) -> Tensor:
        """Return (2,): what to add up over batches and processes, so that the mean is the first over the second.

        `"batch"` pools the pixels of all samples (the reference's way); `"sample"` counts every sample that has
        a weighted pixel once.
        """
        if reduction == "batch":
            return torch.stack([self.numerator.sum(), self.denominator.sum()])
        counted = self.denominator > 0
        means = self.numerator / (self.denominator + EPSILON)
        return torch.stack([means.sum(), counted.sum().to(means.dtype)])

    def mean(self, reduction: Reduction = "batch") -> Tensor:
        """Return the mean as a scalar, 0 where nothing counts."""
        return mean_of(self.totals(reduction))


def mean_of(totals: Tensor) -> Tensor:
    """Return the mean from accumulated `Ratio.totals`."""
    return totals[0] / (totals[1] + EPSILON)
