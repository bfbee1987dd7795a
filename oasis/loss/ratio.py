"""Ratios: quantities that are a quotient of two sums over pixels, so that they can be pooled over processes."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

Reduction = Literal["batch", "sample"]
EPSILON = 1e-6  # makes the mean of a batch without valid pixels exactly 0


class Ratio(NamedTuple):
    """The quotient of two sums over pixels, kept separately for every sample.

    Attributes:
        numerator: (b,) sums.
        denominator: (b,) sums.
    """

    numerator: Tensor
    denominator: Tensor

    def totals(self, reduction: Reduction) -> Tensor:
        """Return a numerator and a denominator (2,) to add up over batches and processes; their ratio is the mean.

        `"batch"` pools the pixels of all samples (as in the reference implementation); `"sample"` counts every
        sample with a weighted pixel once.
        """
        if reduction == "batch":
            return torch.stack([self.numerator.sum(), self.denominator.sum()])
        counted = self.denominator > 0
        means = self.numerator / (self.denominator + EPSILON)
        return torch.stack([means.sum(), counted.sum().to(means.dtype)])

    def mean(self, reduction: Reduction = "batch") -> Tensor:
        """Return the mean as a scalar, 0 if nothing counts."""
        return mean_of(self.totals(reduction))


def known(condition: Tensor) -> bool | None:
    """Return whether a condition, a scalar, is true; None where its value is not known, as under `torch.func`.

    Example:
        >>> known(torch.tensor(True))
        True
    """
    try:
        return bool(condition)
    except RuntimeError:  # torch.func.vmap, and traces that hold no values
        return None


def is_transformed(values: Tensor) -> bool:
    """Return whether a tensor is inside of `torch.func.vmap`, `grad` or another transform, which trace operations.

    Example:
        >>> is_transformed(torch.ones(2)), torch.func.vmap(lambda one: one * is_transformed(one))(torch.ones(2))
        (False, tensor([1., 1.]))
    """
    return bool(torch._C._functorch.is_functorch_wrapped_tensor(values))


def mean_of(totals: Tensor) -> Tensor:
    """Return the mean from accumulated `Ratio.totals`."""
    return totals[0] / (totals[1] + EPSILON)
