r"""Convolution, batch normalisation and SiLU as one operation, in inference on a CPU.

With its statistics of training, batch normalisation is a factor and an offset for every channel, which the
convolution before it can have in its own weights:

.. math:: W' = \frac{g}{\sqrt{v + \epsilon}}\, W, \qquad b' = \frac{g}{\sqrt{v + \epsilon}} (b - m) + \beta

oneDNN applies SiLU before it stores the result, so that features are written once and not three times.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oasis.models import wide
from oasis.models.kernels import is_plain
from oasis.models.layers import BATCH_NORMS, BatchNormSiLU

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05}  # of the self-test, where values are around 1


class Geometry(NamedTuple):
    """How the kernel of a convolution is moved over an image, along every axis."""

    padding: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1


class Folded(NamedTuple):
    """A convolution that includes its normalisation.

    Attributes:
        made_of: a copy of the values of the layers, by which it is known whether they have changed since. (The
            number of writes that torch counts does not include those to `.data`.)
        weight: in the layout and the precision of the computation.
        bias: likewise.
    """

    made_of: tuple[Tensor, ...]
    weight: Tensor
    bias: Tensor


class Block(nn.Sequential):
    """Convolutions, each followed by its normalisation with SiLU, and perhaps dropout at the end.

    Example:
        >>> block = Block(nn.Conv1d(1, 2, 3, padding=1), BatchNormSiLU(2, 1)).eval()
        >>> image = torch.ones(1, 1, 5)
        >>> with torch.no_grad():
        ...     torch.allclose(block(image), block[1](block[0](image)), atol=1e-6)
        True
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__(*layers)
        self._folded: dict[int, Folded] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_folded": {}}  # what can be made anew is neither copied nor stored

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, outputs, *S) for `x` (b, inputs, *S)."""
        layers, place = list(self), 0  # a container is slow to index
        while place < len(layers):
            if place + 1 < len(layers) and folds(layers[place], layers[place + 1], x):
                x = self._convolved(place, x)
                place += 2
            else:
                x = layers[place](x)
                place += 1
        return x

    def _convolved(self, place: int, x: Tensor) -> Tensor:
        """Return the output of a convolution and the normalisation after it."""
        conv: Any = self[place]
        norm, x = self[place + 1], x.to(_precision(x))
        if wide.takes(conv, x):
            return F.silu(wide.convolve(x, *fold(conv, norm)), inplace=True)
        geometry = Geometry(conv.padding, conv.stride, conv.dilation, conv.groups)
        folded = self._folded.get(place)
        if folded is None or folded.weight.dtype != x.dtype or not _same(folded.made_of, _values(conv, norm)):
            weight, bias = fold(conv, norm)
            weight, bias = arranged(weight.to(x.dtype), geometry, x.shape), bias.to(x.dtype)
            folded = Folded(tuple(one.detach().clone() for one in _values(conv, norm)), weight, bias)
            self._folded[place] = folded
        return convolve_silu(x, folded.weight, folded.bias, geometry)


def folds(conv: nn.Module, norm: nn.Module, x: Tensor) -> bool:
    """Return whether `norm(conv(x))` is to be computed as one operation for `x` (b, c, *S).

    Not where a gradient is wanted, something listens to one of the two layers, or a program is recorded.
    """
    if torch.is_grad_enabled() or norm.training or not isinstance(norm, BatchNormSiLU):
        return False
    tensors = (x, *conv.parameters(), *norm.parameters())
    return (
        type(norm[0]) in BATCH_NORMS.values()
        and all(one.device.type == "cpu" for one in tensors)
        and all(one.dtype == torch.float32 for one in tensors[1:])
        and not any(layer._forward_hooks or layer._forward_pre_hooks for layer in (conv, norm, *norm))
        and is_plain(*tensors)
        and kernel_works(_precision(x), x.ndim - 2)
    )


def fold(conv: Any, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the weight and the bias of a convolution that includes its normalisation.

    Example:
        >>> conv, norm = nn.Conv1d(1, 1, 1), BatchNormSiLU(1, 1)
        >>> norm[0].running_var.fill_(4 - norm[0].eps)
        tensor([4.0000])
        >>> bool((fold(conv, norm)[0] == conv.weight / 2).all())
        True
    """
    of_batch: Any = norm[0]  # type: ignore[index]
    factor = of_batch.weight * torch.rsqrt(of_batch.running_var + of_batch.eps)
    bias = -of_batch.running_mean if conv.bias is None else conv.bias - of_batch.running_mean
    return conv.weight * factor.view(-1, *[1] * (conv.weight.ndim - 1)), of_batch.bias + factor * bias


def arranged(weight: Tensor, geometry: Geometry, size: Sequence[int]) -> Tensor:
    """Return the weight of a convolution in oneDNN's own layout, so that it is not rearranged for every image.

    Args:
        weight: the weight.
        geometry: of the convolution.
        size: of the images (b, c, *S) for which the layout is chosen; others can have it too.
    """
    if len(size) != 4:
        return weight
    return torch.ops.mkldnn._reorder_convolution_weight(weight, *geometry, list(size))  # type: ignore[no-any-return]


def convolve_silu(x: Tensor, weight: Tensor, bias: Tensor, geometry: Geometry) -> Tensor:
    """Return the SiLU of the convolution of `x` (b, c, *S)."""
    return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *geometry, "swish", [], "")  # type: ignore[no-any-return]


@cache
def kernel_works(precision: torch.dtype, spatial_dims: int) -> bool:
    """Return whether the installed torch has the private operation, tested once on a few numbers.

    Another version may lack or have changed it, and a processor may not have the precision.
    """
    if precision not in TOLERANCE or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    ones = (1,) * spatial_dims
    geometry = Geometry(ones, ones, ones)
    weight = torch.linspace(-0.4, 0.5, 8 * 3**spatial_dims).view(4, 2, *[3] * spatial_dims)
    x, bias = torch.linspace(-1, 2, 2 * 6**spatial_dims).view(1, 2, *[6] * spatial_dims), torch.linspace(-1, 1, 4)
    convolve = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[spatial_dims]
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        expected = F.silu(convolve(x, weight, bias, padding=1))
        try:
            layout = arranged(weight.to(precision), geometry, x.shape)
            found = convolve_silu(x.to(precision), layout, bias.to(precision), geometry)
        except (AttributeError, RuntimeError, TypeError, ValueError):
            return False
    limit = TOLERANCE[precision]
    return found.dtype == precision and torch.allclose(found.float(), expected, rtol=limit, atol=limit)


def _values(conv: nn.Module, norm: nn.Module) -> list[Tensor]:
    return [*conv.parameters(), *norm.parameters(), *norm.buffers()]


def _same(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))


def _precision(x: Tensor) -> torch.dtype:
    """Return the precision in which a convolution of `x` is computed here."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
