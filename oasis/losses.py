"""The overlap-aware loss: a mean absolute error weighted over the 2^N regions, and a masked total variation.

Source of the equations: OASIS, arXiv 2510.06194. Everything is computed in float32 at least, whatever the
autocast, and pixels that are not valid do not count, even where they hold NaN.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from oasis.errors import ConfigError, DataError, nearest
from oasis.regions import check_classes, check_weight, per_class, region_codes, weight_table

Reduction = Literal["batch", "sample"]
EPSILON = 1e-6  # keeps a batch in which nothing is valid at exactly 0


class Ratio(NamedTuple):
    """A quantity that is a sum over pixels divided by another, kept apart for every sample.

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
    """Return the mean that summed-up `Ratio.totals` stand for."""
    return totals[0] / (totals[1] + EPSILON)


def region_weighted_mae(
    prediction: Tensor,
    target: Tensor,
    codes: Tensor,
    class_weights: Tensor,
    table: Tensor,
    valid: Tensor | None = None,
) -> Ratio:
    r"""Return the mean absolute error weighted by class and by region (Eq. 2 of the paper).

    .. math:: L = \frac{\sum_c \sum_{p \in B} w_c W_p |\hat I_{c,p} - I_{c,p}|}
                       {\sum_c \sum_{p \in B} w_c W_p}

    One gather gives `W`: memory and time are linear in N.

    Args:
        prediction: (b, N, *S).
        target: (b, N, *S).
        codes: (b, *S) region of each pixel, from `region_codes`.
        class_weights: (N,) the `w_c`.
        table: (2^N,) the weight of each region.
        valid: (b, 1, *S), where pixels count; everywhere if None.

    Returns:
        Numerator and denominator, (b,) each.

    Example:
        >>> target = torch.tensor([[[2.0, 0.0], [1.0, 0.0]]])
        >>> codes = region_codes(target > 0)
        >>> mae = region_weighted_mae(target + 1, target, codes, torch.ones(2), torch.ones(4))
        >>> mae.mean()
        tensor(1.0000)
    """
    weights = table.index_select(0, codes.flatten()).view(codes.shape)
    error = prediction - target
    if valid is not None:
        weights = weights * valid[:, 0]
        error = torch.where(valid, error, 0)
    per_sample = (error.abs() * weights[:, None]).flatten(2).sum(2)
    return Ratio((per_sample * class_weights).sum(1), weights.flatten(1).sum(1) * class_weights.sum())


def total_variation(prediction: Tensor, valid: Tensor | None = None, spatial_dims: int | None = None) -> Ratio:
    r"""Return the anisotropic total variation over edges whose two ends are valid (Eq. 3 of the paper).

    .. math:: L = \frac{\sum_c \sum_{(p,q)} |\hat I_{c,p} - \hat I_{c,q}|}{\sum_{(p,q)} 1}

    The edges (p, q) join neighbours along one spatial axis; they are counted once, not per class, so the value
    is the sum over the classes.

    Args:
        prediction: (b, N, *S), or (b, N, B, *S) with `spatial_dims`.
        valid: (b, 1, *S), or (b, 1, 1, *S).
        spatial_dims: how many trailing axes are spatial; all after the class axis if None.

    Returns:
        Numerator and denominator, (b,) each.

    Example:
        >>> total_variation(torch.tensor([[[0.0, 1.0, 3.0]]])).mean()
        tensor(1.5000)
    """
    dims = spatial_dims or prediction.ndim - 2
    if valid is None:
        valid = torch.ones_like(prediction[:, :1], dtype=torch.bool)
    else:
        valid = valid.expand(-1, 1, *prediction.shape[2:])
    numerator = prediction.new_zeros(len(prediction))
    denominator = prediction.new_zeros(len(prediction))
    for axis in range(prediction.ndim - dims, prediction.ndim):
        length = prediction.shape[axis]
        edge = valid.narrow(axis, 1, length - 1) & valid.narrow(axis, 0, length - 1)
        step = prediction.narrow(axis, 1, length - 1) - prediction.narrow(axis, 0, length - 1)
        numerator = numerator + torch.where(edge, step, 0).abs().flatten(1).sum(1)
        denominator = denominator + edge.flatten(1).sum(1)
    return Ratio(numerator, denominator)


class OverlapLoss(nn.Module):
    r"""Segmentation-regression loss that weights every overlap subset of the classes (Eq. 1 of the paper).

    .. math:: L = L_\mathrm{regression} + \alpha L_\mathrm{smoothness}

    Args:
        classes: the N class names.
        class_weights: weight of each class's error by name; unnamed classes weigh 1.
        region_weights: weight of each region by name (`{"ER": 3, "ER&NR": 6}`); unnamed regions weigh 1,
            `"background"` names the pixels where no class is present.
        smoothness: the weight alpha of the total variation.
        reduction: `"batch"` divides sums over the whole batch (the reference's way), `"sample"` takes the mean
            over samples.
        thresholds: a class is present where its target lies above this; one number, or by class name.
        spatial_dims: how many trailing axes are spatial; all after the class axis if None. With maps in bands
            `(b, N, B, *S)` it must be given.

    Raises:
        ConfigError: an unknown class, region or reduction, or a weight that is negative or not finite.

    Example:
        >>> loss = OverlapLoss(("ER", "NR"), class_weights={"ER": 5}, region_weights={"ER": 3, "ER&NR": 6})
        >>> target = torch.zeros(1, 2, 4, 4)
        >>> target[:, :, 1:3, 1:3] = 1
        >>> loss(target, target)
        tensor(0.0067)
        >>> loss.terms(target + 0.5, target)["regression"]
        tensor(0.5000)
    """

    class_weights: Tensor
    table: Tensor
    thresholds: Tensor

    def __init__(
        self,
        classes: Sequence[str],
        class_weights: Mapping[str, float] | None = None,
        region_weights: Mapping[str, float] | None = None,
        smoothness: float = 0.01,
        reduction: Reduction = "batch",
        thresholds: Mapping[str, float] | float = 0.0,
        spatial_dims: int | None = None,
    ) -> None:
        super().__init__()
        if reduction not in ("batch", "sample"):
            raise ConfigError(f"reduction: unknown {reduction!r}; {nearest(reduction, ('batch', 'sample'))}")
        self.classes = check_classes(classes)
        self.smoothness = check_weight(smoothness, "smoothness")
        self.reduction: Reduction = reduction
        self.spatial_dims = spatial_dims
        weights = per_class(self.classes, class_weights, 1.0, "class_weights")
        self.register_buffer("class_weights", weights, persistent=False)
        self.register_buffer("table", weight_table(self.classes, region_weights), persistent=False)
        limits = per_class(self.classes, thresholds, 0.0, "thresholds")
        self.register_buffer("thresholds", limits, persistent=False)

    def regions(self, target: Tensor) -> Tensor:
        """Return the region code (b, *S) of every pixel of a target (b, N, *S)."""
        limits = self.thresholds.view(1, -1, *[1] * (target.ndim - 2))
        return region_codes(target > limits)

    def ratios(
        self, prediction: Tensor, target: Tensor, valid: Tensor | None = None, codes: Tensor | None = None
    ) -> dict[str, Ratio]:
        """Return `regression` and `smoothness` as ratios that can be summed over batches and processes."""
        valid = self._check(prediction, target, valid, codes)
        with torch.autocast(prediction.device.type, enabled=False):
            prediction, target = _at_least_float32(prediction), _at_least_float32(target)
            if codes is None:
                codes = self.regions(target)
            weights, table = self.class_weights.to(prediction.dtype), self.table.to(prediction.dtype)
            return {
                "regression": region_weighted_mae(prediction, target, codes, weights, table, valid),
                "smoothness": total_variation(prediction, valid, self.spatial_dims),
            }

    def combine(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return the total of Eq. 1 from its terms."""
        return terms["regression"] + self.smoothness * terms["smoothness"]

    def terms(
        self, prediction: Tensor, target: Tensor, valid: Tensor | None = None, codes: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the scalars `total`, `regression` and `smoothness`; the arguments are those of `forward`."""
        ratios = self.ratios(prediction, target, valid, codes)
        means = {name: ratio.mean(self.reduction) for name, ratio in ratios.items()}
        return {"total": self.combine(means), **means}

    def forward(
        self, prediction: Tensor, target: Tensor, valid: Tensor | None = None, codes: Tensor | None = None
    ) -> Tensor:
        """Return the loss as a scalar.

        Args:
            prediction: (b, N, *S) maps.
            target: (b, N, *S) true maps in the same units.
            valid: (b, 1, *S), non-zero where pixels count; everywhere if None.
            codes: (b, *S) region codes, where they do not follow from `target` (a target in scaled units with
                thresholds in physical ones); by default `self.regions(target)`.

        Raises:
            DataError: shapes that do not fit together.
        """
        return self.terms(prediction, target, valid, codes)["total"]

    def _check(
        self, prediction: Tensor, target: Tensor, valid: Tensor | None, codes: Tensor | None
    ) -> Tensor | None:
        if prediction.shape != target.shape:
            raise DataError(
                f"prediction of shape {tuple(prediction.shape)} and target of shape {tuple(target.shape)} differ"
            )
        if prediction.ndim < 3 or prediction.shape[1] != len(self.classes):
            raise DataError(
                f"expected (batch, {len(self.classes)} classes, *spatial), found {tuple(prediction.shape)}"
            )
        if self.spatial_dims is not None and not 1 <= self.spatial_dims <= prediction.ndim - 2:
            raise DataError(
                f"expected {self.spatial_dims} axes after batch and classes, found {tuple(prediction.shape)}"
            )
        if codes is not None and codes.shape != prediction[:, 0].shape:
            raise DataError(f"codes has shape {tuple(codes.shape)}, expected {tuple(prediction[:, 0].shape)}")
        if valid is None:
            return None
        spatial = prediction.shape[2:] if self.spatial_dims is None else prediction.shape[-self.spatial_dims :]
        if valid.shape != (len(prediction), 1, *spatial):
            raise DataError(f"valid has shape {tuple(valid.shape)}, expected {(len(prediction), 1, *spatial)}")
        extra = prediction.ndim - valid.ndim
        return (valid != 0).view(len(valid), *[1] * (1 + extra), *spatial)


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
