"""Sums over pixels that a loss is made of, with a gradient, by few passes through memory.

On a CPU a loss costs what its passes through large arrays cost, most of all through fresh ones. Here each part of
a batch is worked on while it lies in the cache, nothing is kept for the backward pass but the arguments, and the
gradient is written once. Elsewhere, and under `torch.compile`, the same is written as plain torch.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

PART = 2**19  # numbers that are worked on together, few enough for a cache


def absolute_sums(prediction: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    r"""Return :math:`\sum_p W_p |\hat I_p - I_p|` of every map; pixels of weight 0 do not count, even if NaN.

    Args:
        prediction: (b, N, *S), the only argument that has a gradient.
        target: (b, N, *S).
        weights: (b, *S).

    Returns:
        (b, N).

    Example:
        >>> target = torch.tensor([[[3.0, torch.nan]]])
        >>> absolute_sums(torch.tensor([[[1.0, 5.0]]]), target, weights=torch.tensor([[2.0, 0.0]]))
        tensor([[4.]])
    """
    if _is_plain(prediction) or target.requires_grad or weights.requires_grad:
        counted = (weights > 0).unsqueeze(1)
        error = torch.where(counted, prediction, 0) - torch.where(counted, target, 0)
        return (error.abs() * weights.unsqueeze(1)).flatten(2).sum(2)
    return _AbsoluteSums.apply(prediction, target, weights)  # type: ignore[no-any-return]


def step_sums(prediction: Tensor, valid: Tensor | None, dims: int) -> Tensor:
    """Return the sum over maps and edges of the absolute step between the edge's ends.

    Args:
        prediction: (b, N, *S) or (b, N, B, *S).
        valid: (b, 1, *S) or (b, 1, 1, *S) bool: both ends of an edge have to be; all are if None.
        dims: how many trailing axes are spatial; edges join neighbours along one of them.

    Returns:
        (b,).

    Example:
        >>> step_sums(torch.tensor([[[0.0, 1.0, 3.0]]]), None, dims=1)
        tensor([3.])
    """
    if not _is_plain(prediction):
        return _StepSums.apply(prediction, valid, dims)  # type: ignore[no-any-return]
    total = prediction.new_zeros(len(prediction))
    for axis in range(-dims, 0):
        step = prediction.diff(dim=axis)
        if valid is not None:
            step = torch.where(edges(valid, axis), step, 0)
        total = total + step.abs().flatten(1).sum(1)
    return total


def edges(valid: Tensor, axis: int) -> Tensor:
    """Return where a pixel and the next one along an axis are both valid."""
    length = valid.shape[axis] - 1
    return valid.narrow(axis, 1, length) & valid.narrow(axis, 0, length)


def _is_plain(values: Tensor) -> bool:
    return values.device.type != "cpu" or torch.compiler.is_compiling()


def _parts(shape: torch.Size) -> Iterator[tuple[int, slice]]:
    """Give the samples of maps (b, N, ...), and the classes of each that are worked on together."""
    classes = max(1, PART // max(shape[2:].numel(), 1))
    for sample in range(shape[0]):
        for first in range(0, shape[1], classes):
            yield sample, slice(first, min(first + classes, shape[1]))


class _AbsoluteSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, prediction: Tensor, target: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(prediction, target, weights)
        ctx.holes = None
        sums = prediction.new_empty(prediction.shape[:2])
        _fill_absolute_sums(sums, prediction, target, weights, None)
        if not sums.isfinite().all():  # masks cost more than all else, and are seldom needed
            ctx.holes = weights == 0
            _fill_absolute_sums(sums, prediction, target, weights, ctx.holes)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        prediction, target, weights = ctx.saved_tensors
        result = torch.empty_like(prediction, memory_format=torch.contiguous_format)
        for sample, part in _parts(prediction.shape):
            one = torch.sub(prediction[sample, part], target[sample, part], out=result[sample, part])
            if ctx.holes is not None:
                one.masked_fill_(ctx.holes[sample], 0)
            one.sign_().mul_(weights[sample]).mul_(grad[sample, part].view(-1, *[1] * (one.ndim - 1)))
        return result, None, None


def _fill_absolute_sums(
    sums: Tensor, prediction: Tensor, target: Tensor, weights: Tensor, holes: Tensor | None
) -> None:
    room = prediction.new_empty(0)
    for sample, part in _parts(prediction.shape):
        error = torch.sub(prediction[sample, part], target[sample, part], out=room.resize_(0))
        if holes is not None:
            error.masked_fill_(holes[sample], 0)
        sums[sample, part] = error.abs_().mul_(weights[sample]).flatten(1).sum(1)


class _StepSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, prediction: Tensor, valid: Tensor | None, dims: int) -> Tensor:
        ctx.save_for_backward(prediction, valid)
        ctx.dims, ctx.holes = dims, False
        total = _total_steps(prediction, valid, dims, holes=False)
        if not total.isfinite().all():
            ctx.holes = True
            total = _total_steps(prediction, valid, dims, holes=True)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        prediction, valid = ctx.saved_tensors
        result = torch.zeros_like(prediction, memory_format=torch.contiguous_format)
        for sample, part, axis, steps in _steps(prediction, valid, ctx.dims, ctx.holes):
            steps.sign_().mul_(grad[sample])
            one, length = result[sample, part], steps.shape[axis]
            one.narrow(axis, 1, length).add_(steps)
            one.narrow(axis, 0, length).sub_(steps)
        return result, None, None


def _total_steps(prediction: Tensor, valid: Tensor | None, dims: int, holes: bool) -> Tensor:
    total = prediction.new_zeros(len(prediction))
    for sample, _, _, steps in _steps(prediction, valid, dims, holes):
        total[sample] += steps.abs_().sum()
    return total


def _steps(
    prediction: Tensor, valid: Tensor | None, dims: int, holes: bool
) -> Iterator[tuple[int, slice, int, Tensor]]:
    """Give the steps of every part of every sample along every axis, in room that is used again."""
    room = prediction.new_empty(0)
    for sample, part in _parts(prediction.shape):
        maps = prediction[sample, part]
        for axis in range(-dims, 0):
            length = maps.shape[axis] - 1
            steps = torch.sub(maps.narrow(axis, 1, length), maps.narrow(axis, 0, length), out=room.resize_(0))
            if valid is not None:
                inside = edges(valid[sample], axis)
                steps = steps.masked_fill_(~inside, 0) if holes else steps.mul_(inside.to(steps.dtype))
            yield sample, part, axis, steps
