"""Convolutions of many channels in channels-last memory on a CPU without AVX-512.

In this memory torch computes features and their gradient faster than in contiguous memory, and the gradient of the
weights two to four times slower. Here that gradient is a multiplication of matrices for each pixel of the kernel,
as fast as in contiguous memory, and the convolution is Winograd's where it pays.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oasis.models import winograd
from oasis.models.kernels import is_plain, wide_channels_last

LEAST = 2**15  # numbers of an image from which on this is faster
PART = 2**18  # numbers of an image that are multiplied together, few enough for a cache


def takes(conv: nn.Conv2d, x: Tensor) -> bool:
    """Return whether `convolve` computes what a layer is to compute for `x` (b, c, H, W), and does it faster."""
    channels = min(conv.in_channels, conv.out_channels)
    return (
        conv.kernel_size == (3, 3)
        and conv.padding == conv.stride == conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.padding_mode == "zeros"
        and is_plain(x, *conv.parameters())
        and wide_channels_last(x, channels)
        and channels * x.shape[2:].numel() >= LEAST
        and (torch.is_grad_enabled() or winograd.pays(x, conv.weight))
    )


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the convolution (b, k, H, W) of `x` (b, c, H, W) with `weight` (k, c, 3, 3), padded with zeros.

    Example:
        >>> convolve(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 3, 3), None)
        tensor([[[[4., 4.],
                  [4., 4.]]]])
    """
    return _Convolution.apply(x, weight, bias)  # type: ignore[no-any-return]


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolved(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        grad = grad.contiguous(memory_format=torch.channels_last)
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted
            ones, wanted = [1, 1], [of_x, of_weight, of_bias]
            gradients = torch.ops.aten.convolution_backward(
                grad, x, weight, [len(weight)], ones, ones, ones, False, [0, 0], 1, wanted
            )
            return tuple(gradients)
        dx = _convolved(grad, weight.flip(2, 3).transpose(0, 1), None) if of_x else None
        dw = _gradient_of_weight(x, grad) if of_weight else None
        return dx, dw, grad.sum((0, 2, 3)) if of_bias else None


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if winograd.pays(x, weight):
        return winograd.convolve(x, weight, bias)
    return F.conv2d(x, weight.contiguous(memory_format=torch.channels_last), bias, padding=1)


def _gradient_of_weight(x: Tensor, grad: Tensor) -> Tensor:
    """Return the sum over pixels of the products of `grad` (b, k, H, W) and `x` (b, c, H, W), as (k, c, 3, 3).

    Images are rows of pixels with zeros between the rows of the image, so that a shift is another first row.
    """
    height, width = x.shape[2], x.shape[3] + 2
    sums = x.new_zeros(3, 3, grad.shape[1], x.shape[1])
    rows = max(1, PART // (width * max(sums.shape[2:])))
    for image, of_image in zip(x.permute(0, 2, 3, 1), grad.permute(0, 2, 3, 1), strict=True):
        pixels = F.pad(image, (0, 0, 1, 1, 1, 1)).flatten(0, 1)
        gradients = F.pad(of_image, (0, 0, 0, 2)).flatten(0, 1)
        for first in range(0, height, rows):
            count = min(rows, height - first) * width - 2
            part = gradients[first * width :][:count].T
            for row in range(3):
                for column in range(3):
                    shifted = pixels[(first + row) * width + column :][:count]
                    sums[row, column].addmm_(part, shifted)
    return sums.permute(2, 3, 0, 1)
