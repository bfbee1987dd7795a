"""The sums over pixels in the loss, with their gradient, in few passes over memory.

On a CPU the cost of a loss is that of its passes over large arrays, above all over newly allocated ones. Each
chunk of a batch is processed while it is in cache, only the arguments are kept for the backward pass, and the
gradient is written once.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

PART = 2**19  # numbers processed together, few enough for a cache


def error_and_step_sums(
    prediction: Tensor, target: Tensor, weights: Tensor, valid: Tensor | None, dims: int
) -> tuple[Tensor, Tensor]:
    r"""Return :math:`\sum_p W_p |\hat I_p - I_p|` of every map, and the absolute steps between neighbours.

    Pixels of weight 0 and edges that are not valid do not count, even if they are NaN.

    Args:
        prediction: (b, N, *S) or (b, N, B, *S), the only argument with a gradient.
        target: like `prediction`.
        weights: (b, *S) or (b, B, *S).
        valid: (b, 1, *S) or (b, 1, 1, *S) bool: an edge counts if both of its ends are valid; all are if None.
        dims: number of trailing spatial axes; edges join neighbours along one of them.

    Returns:
        (b, N) errors and (b,) absolute steps, summed over maps and edges.

    Example:
        >>> prediction, target = torch.tensor([[[0.0, 1.0, 3.0]]]), torch.tensor([[[2.0, 1.0, torch.nan]]])
        >>> error_and_step_sums(prediction, target, torch.tensor([[2.0, 1.0, 0.0]]), None, dims=1)
        (tensor([[4.]]), tensor([3.]))
    """
    return _Sums.apply(prediction, target, weights, valid, dims)  # type: ignore[no-any-return]


def edges(valid: Tensor, axis: int) -> Tensor:
    """Return where a pixel and the next one along an axis are both valid."""
    length = valid.shape[axis] - 1
    return valid.narrow(axis, 1, length) & valid.narrow(axis, 0, length)


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, prediction: Tensor, target: Tensor, weights: Tensor, valid: Tensor | None, dims: int
    ) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(prediction, target, weights, valid)
        ctx.dims = dims
        ctx.holes = False  # masks cost more than everything else and are seldom needed
        sums = _sums(prediction, target, weights, valid, dims, ctx.holes)
        if not all(values.isfinite().all() for values in sums):
            ctx.holes = True
            sums = _sums(prediction, target, weights, valid, dims, ctx.holes)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_errors: Tensor, of_steps: Tensor) -> tuple[Tensor, None, None, None, None]:
        prediction, target, weights, valid = ctx.saved_tensors
        result = torch.empty_like(prediction, memory_format=torch.contiguous_format)
        room = prediction.new_empty(0)
        for sample, part in _parts(prediction.shape):
            one = _errors(prediction, target, weights, sample, part, ctx.holes, out=result[sample, part])
            one.sign_().mul_(weights[sample]).mul_(of_errors[sample, part].view(-1, *[1] * (one.ndim - 1)))
            for axis, steps in _steps(prediction, valid, sample, part, ctx.dims, ctx.holes, room):
                steps.sign_().mul_(of_steps[sample])
                one.narrow(axis, 1, steps.shape[axis]).add_(steps)
                one.narrow(axis, 0, steps.shape[axis]).sub_(steps)
        return result, None, None, None, None


def _sums(
    prediction: Tensor, target: Tensor, weights: Tensor, valid: Tensor | None, dims: int, holes: bool
) -> tuple[Tensor, Tensor]:
    errors, total = prediction.new_empty(prediction.shape[:2]), prediction.new_zeros(len(prediction))
    room = prediction.new_empty(0)
    for sample, part in _parts(prediction.shape):
        error = _errors(prediction, target, weights, sample, part, holes, out=room.resize_(0))
        errors[sample, part] = error.abs_().mul_(weights[sample]).flatten(1).sum(1)
        for _, steps in _steps(prediction, valid, sample, part, dims, holes, room):
            total[sample] += steps.abs_().sum()
    return errors, total


def _parts(shape: torch.Size) -> Iterator[tuple[int, slice]]:
    """Yield the samples of maps (b, N, ...), and the classes of each that are processed together."""
    classes = max(1, PART // max(shape[2:].numel(), 1))
    for sample in range(shape[0]):
        for first in range(0, shape[1], classes):
            yield sample, slice(first, min(first + classes, shape[1]))


def _errors(
    prediction: Tensor, target: Tensor, weights: Tensor, sample: int, part: slice, holes: bool, out: Tensor
) -> Tensor:
    error = torch.sub(prediction[sample, part], target[sample, part], out=out)
    return error.masked_fill_(weights[sample] == 0, 0) if holes else error


def _steps(
    prediction: Tensor, valid: Tensor | None, sample: int, part: slice, dims: int, holes: bool, room: Tensor
) -> Iterator[tuple[int, Tensor]]:
    """Yield the steps of a part along every axis, in a buffer that is reused."""
    maps = prediction[sample, part]
    for axis in range(-dims, 0):
        length = maps.shape[axis] - 1
        steps = torch.sub(maps.narrow(axis, 1, length), maps.narrow(axis, 0, length), out=room.resize_(0))
        if valid is not None:
            inside = edges(valid[sample], axis)
            steps = steps.masked_fill_(~inside, 0) if holes else steps.mul_(inside.to(steps.dtype))
        yield axis, steps
