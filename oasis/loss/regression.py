"""The two terms of the paper, OASIS, arXiv 2510.06194: region-weighted error and total variation."""

import torch
from torch import Tensor

from oasis.loss.distances import Distance, absolute
from oasis.loss.kernels import edges, error_and_step_sums
from oasis.loss.ratio import Ratio, is_transformed


def pixel_weights(codes: Tensor, table: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the weight of every pixel: that of its region, 0 where it is not valid.

    Args:
        codes: (b, *S) region of each pixel, from `region_codes`.
        table: (2^N,) the weight of each region.
        valid: (b, *S) bool, or a shape that broadcasts to it; all are valid if None.

    Returns:
        (b, *S).

    Example:
        >>> pixel_weights(torch.tensor([[0, 3]]), torch.tensor([1.0, 1.0, 1.0, 6.0]))
        tensor([[1., 6.]])
    """
    weights = table.index_select(0, codes.flatten()).view(codes.shape)
    return weights if valid is None else torch.where(valid, weights, 0)


def region_weighted_error(
    prediction: Tensor, target: Tensor, weights: Tensor, class_weights: Tensor, distance: Distance = absolute
) -> Ratio:
    r"""Return the mean error weighted by class and by region (Eq. 2 of the paper, with any distance d).

    .. math:: L = \frac{\sum_c \sum_{p \in B} w_c W_p\, d(\hat I_{c,p}, I_{c,p})}
                       {\sum_c \sum_{p \in B} w_c W_p}

    `W` comes from one table look-up: memory and time are linear in N.

    Args:
        prediction: (b, N, *S).
        target: (b, N, *S).
        weights: (b, *S) the `W_p`, from `pixel_weights`; pixels of weight 0 do not count, even if they are NaN.
        class_weights: (N,) the `w_c`.
        distance: distance per pixel; the paper's is the absolute one.

    Returns:
        Numerator and denominator, (b,) each.

    Example:
        >>> target = torch.tensor([[[2.0, 0.0], [1.0, 0.0]]])
        >>> mae = region_weighted_error(target + 1, target, torch.tensor([[6.0, 1.0]]), torch.ones(2))
        >>> mae.mean()
        tensor(1.0000)
    """
    counted = (weights > 0).unsqueeze(1)
    error = distance(torch.where(counted, prediction, 0), torch.where(counted, target, 0))
    return _regression((error * weights.unsqueeze(1)).flatten(2).sum(2), weights, class_weights)


def _regression(per_class: Tensor, weights: Tensor, class_weights: Tensor) -> Ratio:
    return Ratio((per_class * class_weights).sum(1), weights.flatten(1).sum(1) * class_weights.sum())


def total_variation(prediction: Tensor, valid: Tensor | None = None, spatial_dims: int | None = None) -> Ratio:
    r"""Return the anisotropic total variation over edges whose two ends are valid (Eq. 3 of the paper).

    .. math:: L = \frac{\sum_c \sum_{(p,q)} |\hat I_{c,p} - \hat I_{c,q}|}{\sum_{(p,q)} 1}

    The edges (p, q) join neighbours along one spatial axis; they are counted once, not per class, so the value
    is the sum over the classes.

    Args:
        prediction: (b, N, *S), or (b, N, B, *S) with `spatial_dims`.
        valid: (b, 1, *S), or (b, 1, 1, *S).
        spatial_dims: number of trailing spatial axes; all after the class axis if None.

    Returns:
        Numerator and denominator, (b,) each.

    Example:
        >>> total_variation(torch.tensor([[[0.0, 1.0, 3.0]]])).mean()
        tensor(1.5000)
    """
    dims = prediction.ndim - 2 if spatial_dims is None else spatial_dims
    numerator = prediction.new_zeros(len(prediction))
    for axis in range(-dims, 0):
        step = prediction.diff(dim=axis).abs()
        step = step if valid is None else torch.where(edges(valid, axis), step, 0)
        numerator = numerator + step.flatten(1).sum(1)
    return Ratio(numerator, _edge_counts(prediction, valid, dims))


def _edge_counts(prediction: Tensor, valid: Tensor | None, dims: int) -> Tensor:
    """Return the number of valid edges of a map (b,)."""
    counts = prediction.new_zeros(len(prediction))
    pixels = prediction.shape[2:].numel()
    for axis in range(-dims, 0):
        if valid is None:
            counts += pixels - pixels // prediction.shape[axis]
        else:
            counts += pixels // valid.shape[2:].numel() * edges(valid, axis).flatten(1).sum(1)
    return counts


def regression_and_smoothness(
    prediction: Tensor,
    target: Tensor,
    weights: Tensor,
    class_weights: Tensor,
    valid: Tensor | None = None,
    spatial_dims: int | None = None,
    distance: Distance = absolute,
) -> tuple[Ratio, Ratio]:
    """Return `region_weighted_error` and `total_variation`, on a CPU with the fast kernel if it applies.

    With `spatial_dims=0` there are no edges, and the total variation is 0.

    Example:
        >>> maps = torch.tensor([[[0.0, 1.0, 3.0]]])
        >>> terms = regression_and_smoothness(maps, maps + 1, torch.ones(1, 3), torch.ones(1))
        >>> [term.mean() for term in terms]
        [tensor(1.0000), tensor(1.5000)]
    """
    dims = prediction.ndim - 2 if spatial_dims is None else spatial_dims
    learned = target.requires_grad or weights.requires_grad
    traced = torch.compiler.is_compiling() or is_transformed(prediction)
    if distance is not absolute or learned or prediction.device.type != "cpu" or traced:
        error = region_weighted_error(prediction, target, weights, class_weights, distance)
        return error, total_variation(prediction, valid, dims)
    errors, steps = error_and_step_sums(prediction, target, weights, valid, dims)
    return _regression(errors, weights, class_weights), Ratio(steps, _edge_counts(prediction, valid, dims))
