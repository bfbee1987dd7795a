r"""Normalisation of constant features, whose gradient would overflow.

A normalisation divides its input, and thus the gradient, by the standard deviation. If its input is constant, as
in a blank image, the gradient is multiplied by :math:`1/\sqrt{\epsilon}`, about 300, in every layer: the gradient
of one such image dominates all others, or overflows. Nothing can be learned before such a layer, so the gradient
ends there.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from oasis.models.kernels import group_norm_silu

FLAT = 1e-3  # features with a variance below this fraction of epsilon count as constant
STEP = 4  # distance of the pixels along an axis that mostly suffice to see that features vary
PATCH = 8  # pixels along an axis of the smallest constant area that can make features constant

Constant = Callable[[Tensor, Mapping[str, Any]], Tensor]


def bounded_norms(image: Tensor) -> AbstractContextManager[None]:
    """Return a context in which normalisations of constant features pass no gradient.

    It has an effect only if gradients are computed and `image` (b, c, *S) has constant areas.

    Example:
        >>> image = torch.zeros(1, 4, 8, requires_grad=True)
        >>> with bounded_norms(image):
        ...     F.group_norm(image, 2)[..., 0].sum().backward()
        >>> image.grad.abs().max()
        tensor(0.)
    """
    if not torch.is_grad_enabled() or torch.compiler.is_compiling() or not has_constant_area(image):
        return nullcontext()
    values = image.detach().flatten(2)
    return _BoundedNorms(OF_A_SAMPLE if (values != values[..., :1]).any() else {**OF_A_SAMPLE, **OF_A_BATCH})


def has_constant_area(image: Tensor) -> bool:
    """Return whether a patch of an image (b, c, *S) is constant in every channel.

    Example:
        >>> has_constant_area(torch.arange(32.0).view(1, 1, 32)), has_constant_area(torch.ones(1, 1, 3))
        (False, True)
    """
    dims = image.ndim - 2
    values = image.detach().float()
    size = [min(PATCH, length) for length in image.shape[2:]]
    pool: Callable[..., Tensor] = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[dims - 1]
    constant = pool(values, size) == -pool(-values, size)
    return bool(constant.all(1).any())


class _BoundedNorms(TorchFunctionMode):
    """A mode that removes the gradient of constant inputs of normalisations.

    Args:
        constant: functions that find where the input of a normalisation is constant, from all its arguments.
    """

    def __init__(self, constant: Mapping[Callable[..., Tensor], Constant]) -> None:
        super().__init__()
        self.constant = constant

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch."""
        if func not in self.constant:
            return func(*args, **(kwargs or {}))
        bound = signature(func).bind(*args, **(kwargs or {}))
        bound.apply_defaults()
        x, *_ = bound.args
        constant = self.constant[func](x, bound.arguments)
        return func(_cut(x, constant) if constant.any() else x, *bound.args[1:])


def _cut(x: Tensor, constant: Tensor) -> Tensor:
    """Return `x` with a gradient of 0 where it is constant."""
    if not x.requires_grad:
        return x
    alias = x.view_as(x)
    alias.register_hook(lambda grad: grad.masked_fill(constant, 0))  # type: ignore[no-untyped-call]
    return alias


def _in_groups(x: Tensor, arguments: Mapping[str, Any]) -> Tensor:
    groups = arguments.get("num_groups", x.shape[1])  # those of instance normalisation are the channels
    every: list[Any] = [slice(None, None, STEP)] * (x.ndim - 2)
    few = x[..., *every]
    # The variance of all pixels is at least that of some, times their fraction: rarely are all of them needed.
    constant = _is_small(_variance(few, groups) * (few.numel() / x.numel()), arguments)
    if constant.any():
        constant = _is_small(_variance(x, groups), arguments)
    return constant.repeat_interleave(x.shape[1] // groups, dim=1).view(*x.shape[:2], *[1] * (x.ndim - 2))


def _variance(x: Tensor, groups: int) -> Tensor:
    """Return the variance in each group of channels of each sample."""
    return x.detach().float().reshape(len(x), groups, -1).var(2, correction=0)


def _in_layers(x: Tensor, arguments: Mapping[str, Any]) -> Tensor:
    axes = tuple(range(-len(arguments["normalized_shape"]), 0))
    return _is_small(x.detach().float().var(axes, correction=0, keepdim=True), arguments)


def _in_batches(x: Tensor, arguments: Mapping[str, Any]) -> Tensor:
    variance = x.detach().float().transpose(0, 1).flatten(1).var(1, correction=0)
    constant = _is_small(variance, arguments) & bool(arguments["training"])
    return constant.view(1, -1, *[1] * (x.ndim - 2))


def _is_small(variance: Tensor, arguments: Mapping[str, Any]) -> Tensor:
    return variance <= FLAT * float(arguments["eps"])


OF_A_SAMPLE: Mapping[Callable[..., Tensor], Constant] = {
    F.group_norm: _in_groups,
    F.instance_norm: _in_groups,
    F.layer_norm: _in_layers,
    group_norm_silu: _in_groups,
}
OF_A_BATCH: Mapping[Callable[..., Tensor], Constant] = {F.batch_norm: _in_batches}
