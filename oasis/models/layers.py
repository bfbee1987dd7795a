"""Layers with the same results as torch's own, but faster on the given processor.

See `oasis.models.kernels`. In channels-last memory torch is slow in two more places: the backward pass of a
strided depthwise convolution in bfloat16, and that of an interpolation whose gradient is a slice.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oasis.models import wide
from oasis.models.kernels import (
    batch_norm_silu,
    fuses_batch_norm,
    fuses_norm,
    group_norm_silu,
    plain_group_norm_silu,
)

TINY = 2  # pixels along each axis up to which 3D convolutions on a CPU are computed in float32


class Conv3d(nn.Conv3d):
    """Convolution of volumes with a finite gradient even for the smallest ones.

    In bfloat16 on a CPU the gradient of the weights sometimes contains NaN for volumes of 2 x 2 x 2 (torch
    2.15.0); such volumes are computed in float32.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of `x` (b, c, D, H, W)."""
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and max(x.shape[2:]) <= TINY:
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)


class Conv2d(nn.Conv2d):
    """Convolution of images, faster for many channels on a CPU without AVX-512; see `oasis.models.wide`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of `x` (b, c, H, W)."""
        return wide.convolve(x, self.weight, self.bias) if wide.takes(self, x) else super().forward(x)


CONVOLUTIONS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: Conv2d, 3: Conv3d}


class GroupNormSiLU(nn.GroupNorm):
    """SiLU(GroupNorm(x)), keeping only `x` for the backward pass if it uses the fast kernels.

    Example:
        >>> layer = GroupNormSiLU(num_groups=2, num_channels=4)
        >>> layer(torch.tensor([[[1.0], [3.0], [5.0], [9.0]]])).detach().squeeze()
        tensor([-0.2689,  0.7311, -0.2689,  0.7311])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor like `x` (b, c, *S)."""
        compute = group_norm_silu if fuses_norm(x, self.num_groups) else plain_group_norm_silu
        return compute(x, self.num_groups, self.weight, self.bias, self.eps)


BATCH_NORMS: dict[int, type[nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d]] = {
    1: nn.BatchNorm1d,
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}


class BatchNormSiLU(nn.Sequential):
    """SiLU(BatchNorm(x)); in training with few channels it keeps only `x` for the backward pass.

    Example:
        >>> layer = BatchNormSiLU(channels=1, spatial_dims=1)
        >>> layer(torch.tensor([[[1.0, 3.0]], [[5.0, 9.0]]])).detach().flatten().round(decimals=2)
        tensor([-0.2800, -0.1900,  0.0900,  1.2500])
    """

    def __init__(self, channels: int, spatial_dims: int) -> None:
        super().__init__(BATCH_NORMS[spatial_dims](channels), nn.SiLU())

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor like `x` (b, c, *S)."""
        norm: Any = self[0]  # torch.nn.SyncBatchNorm may have taken its place
        if not (norm.training and type(norm) in BATCH_NORMS.values() and fuses_batch_norm(x)):
            return super().forward(x)  # type: ignore[no-any-return,no-untyped-call]
        out, mean, variance = batch_norm_silu(x, norm.weight, norm.bias, norm.eps)
        with torch.no_grad():
            count = x.numel() / x.shape[1]
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
            norm.num_batches_tracked += 1
        return out


class DepthwiseDown(nn.Module):
    """Depthwise convolution of width 3 and stride 2: it halves every spatial axis, rounding up.

    Example:
        >>> DepthwiseDown(channels=4, spatial_dims=2)(torch.zeros(1, 4, 6, 7)).shape
        torch.Size([1, 4, 3, 4])
    """

    def __init__(self, channels: int, spatial_dims: int) -> None:
        super().__init__()
        self.conv = CONVOLUTIONS[spatial_dims](channels, channels, 3, stride=2, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, c, *ceil(S / 2)); on a CPU the gradient is computed in the precision of the weights."""
        if x.device.type == "cpu" and x.dtype == torch.bfloat16 and x.requires_grad:
            with torch.autocast("cpu", enabled=False):
                return self.conv(x.to(self.conv.weight.dtype))  # type: ignore[no-any-return]
        return self.conv(x)  # type: ignore[no-any-return]


def enlarge(x: Tensor, size: torch.Size, mode: str, wanted: torch.memory_format) -> Tensor:
    """Return `x` interpolated by two and cut at its end to a spatial size, like `upsample`.

    Pixels lie where they do in a larger image; `upsample` stretches those of an image of an odd size.

    Example:
        >>> enlarge(torch.tensor([[[0.0, 1.0]]]), torch.Size([3]), "linear", torch.contiguous_format)
        tensor([[[0.0000, 0.2500, 0.7500]]])
    """
    x = upsample(x, torch.Size([2 * length for length in x.shape[2:]]), mode, wanted)
    for axis, length in enumerate(size, start=2):
        if torch.compiler.is_compiling():  # which does not know that a symbolic length is not larger
            x = x.index_select(axis, torch.arange(length, device=x.device))
        elif x.shape[axis] != length:
            x = x.narrow(axis, 0, length)
    return x


def upsample(x: Tensor, size: torch.Size, mode: str, wanted: torch.memory_format) -> Tensor:
    """Return `x` interpolated to a spatial size, dense and in the wanted format in both passes.

    Example:
        >>> upsample(torch.tensor([[[0.0, 1.0]]]), torch.Size([4]), "linear", torch.contiguous_format)
        tensor([[[0.0000, 0.2500, 0.7500, 1.0000]]])
    """
    # torch's convolution of a small tensor loses the format.
    x = F.interpolate(x.contiguous(memory_format=wanted), size, mode=mode)
    if x.device.type == "cpu" and x.requires_grad and not torch.compiler.is_compiling():
        x.register_hook(lambda grad: grad.contiguous(memory_format=wanted))  # type: ignore[no-untyped-call]
    return x
