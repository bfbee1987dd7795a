"""Layers that give what torch's own give, by the kernels that are fast on a CPU.

In channels-last memory, in which convolutions are fastest, torch is uneven: the backward pass of a group
normalisation with few channels per group takes ten times as long as it needs or more, and so do that of a strided
depthwise convolution in bfloat16 and that of an interpolation whose gradient is a slice.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

CONVOLUTIONS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
MEMORY_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}
ROW = 128  # numbers in a row that keep the vector units busy


class GroupNormSiLU(nn.GroupNorm):
    """SiLU(GroupNorm(x)), keeping only `x` for the backward pass where it takes the fast kernels.

    Example:
        >>> layer = GroupNormSiLU(num_groups=2, num_channels=4)
        >>> layer(torch.tensor([[[1.0], [3.0], [5.0], [9.0]]])).detach().squeeze()
        tensor([-0.2689,  0.7311, -0.2689,  0.7311])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor like `x` (b, c, *S)."""
        if self._is_channels_last_on_cpu(x):
            return _GroupNormSiLU.apply(x, self.weight, self.bias, self.num_groups, self.eps)  # type: ignore[no-any-return]
        return F.silu(super().forward(x))

    def _is_channels_last_on_cpu(self, x: Tensor) -> bool:
        return (
            x.device.type == "cpu"
            and x.ndim > 3
            and x.is_contiguous(memory_format=MEMORY_FORMATS[x.ndim - 2])
            and not torch.compiler.is_compiling()
        )


class DepthwiseDown(nn.Module):
    """Depthwise convolution, 3 wide with stride 2: it halves every spatial axis, rounding up.

    Example:
        >>> DepthwiseDown(channels=4, spatial_dims=2)(torch.zeros(1, 4, 6, 7)).shape
        torch.Size([1, 4, 3, 4])
    """

    def __init__(self, channels: int, spatial_dims: int) -> None:
        super().__init__()
        self.conv = CONVOLUTIONS[spatial_dims](channels, channels, 3, stride=2, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, c, *ceil(S / 2)), whose gradient a CPU computes in the precision of the weights."""
        if x.device.type == "cpu" and x.dtype == torch.bfloat16 and x.requires_grad:
            with torch.autocast("cpu", enabled=False):
                return self.conv(x.to(self.conv.weight.dtype))  # type: ignore[no-any-return]
        return self.conv(x)  # type: ignore[no-any-return]


def upsample(x: Tensor, size: torch.Size, mode: str) -> Tensor:
    """Interpolate `x` to a spatial size; forwards and backwards, what arrives is dense and channels-last.

    Example:
        >>> upsample(torch.tensor([[[0.0, 1.0]]]), torch.Size([4]), mode="linear")
        tensor([[[0.0000, 0.2500, 0.7500, 1.0000]]])
    """
    memory_format = MEMORY_FORMATS[x.ndim - 2]
    # torch's convolution of a small tensor forgets the format.
    x = F.interpolate(x.contiguous(memory_format=memory_format), size, mode=mode)
    if x.device.type == "cpu" and x.requires_grad and not torch.compiler.is_compiling():
        x.register_hook(lambda grad: grad.contiguous(memory_format=memory_format))  # type: ignore[no-untyped-call]
    return x


class _GroupNormSiLU(torch.autograd.Function):
    r"""Group normalisation and SiLU out of the kernels of batch normalisation, one sample at a time.

    With the variance `v` and the average <> over a group, :math:`z = w \hat x + b` has the gradient

    .. math:: dx = (w\, dz - \langle w\, dz \rangle - \hat x \langle w\, dz\, \hat x \rangle) / \sqrt{v + \epsilon}
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        rows, out = _rows(x), torch.empty_like(x)
        mean, variance = _moments(rows, x.shape[1], groups)
        ctx.save_for_backward(x, weight, bias, mean, variance)
        ctx.groups, ctx.eps = groups, eps
        w, b = (_tile(values.to(mean.dtype), rows) for values in (weight, bias))
        for row, m, v, z in zip(rows, _tile(mean, rows), _tile(variance, rows), _rows(out), strict=True):
            F.silu(_normalise(row, w, b, m, v, eps, out=z), inplace=True)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, variance = ctx.saved_tensors
        weight, bias = weight.to(mean.dtype), bias.to(mean.dtype)
        dx = torch.empty_like(x)
        grad = grad.contiguous(memory_format=MEMORY_FORMATS[x.ndim - 2])
        rows, grads, targets = _rows(x), _rows(grad), _rows(dx)
        w, b, means, variances = (_tile(values, rows) for values in (weight, bias, mean, variance))

        sums = []
        for row, m, v, dy, target in zip(rows, means, variances, grads, targets, strict=True):
            z = _normalise(row, w, b, m, v, ctx.eps, out=target)
            dz = torch.ops.aten.silu_backward.grad_input(dy, z, grad_input=z)
            sums.append(_sums(dz, row, w, m, v, ctx.eps))
        dw, db = (torch.stack(parts).view(len(x), -1, len(weight)).sum(1) for parts in zip(*sums, strict=True))

        scale = torch.rsqrt(variance + ctx.eps) / x[0, 0].numel()
        slopes = _tile(-scale * _group_mean(weight * dw, len(weight), ctx.groups), rows)
        offsets = _tile(-scale * _group_mean(weight * db, len(weight), ctx.groups), rows)
        zero = torch.zeros_like(w)
        for row, m, v, slope, offset, dz in zip(rows, means, variances, slopes, offsets, targets, strict=True):
            correction = _normalise(row, slope, offset, m, v, ctx.eps, out=torch.empty_like(row))
            _normalise(dz, w, zero, zero, v, ctx.eps, out=dz).add_(correction)
        return dx, dw.sum(0), db.sum(0), None, None


def _rows(x: Tensor) -> Tensor:
    """View a channels-last (b, c, *S) as (b, pixels / k, k * c), with k so that the rows are not too short."""
    batch, channels = x.shape[:2]
    pixels = x[0, 0].numel()
    fold = 1
    while fold * channels < ROW and pixels % (2 * fold) == 0:
        fold *= 2
    return x.movedim(1, -1).view(batch, pixels // fold, fold * channels)


def _tile(values: Tensor, rows: Tensor) -> Tensor:
    """Repeat (..., c) for each of the pixels in a row (b, p, k * c): (..., k * c)."""
    return values.repeat(*[1] * (values.ndim - 1), rows.shape[2] // values.shape[-1])


def _group_mean(values: Tensor, channels: int, groups: int) -> Tensor:
    """Average (b, k * c) over the k and over the channels of each group; returns (b, c)."""
    means = values.view(len(values), -1, groups, channels // groups).mean((1, 3))
    return means.repeat_interleave(channels // groups, dim=1)


def _moments(rows: Tensor, channels: int, groups: int) -> tuple[Tensor, Tensor]:
    """Return the mean and the variance of the group that each channel is in, (b, c) each."""
    # Running statistics make the result float32 whatever the rows are; with momentum 0 they stay as they are.
    running = rows.new_zeros(rows.shape[2], dtype=torch.promote_types(rows.dtype, torch.float32))
    stats = [torch.batch_norm_update_stats(row, running, running, 0.0) for row in rows]
    rough, variances = (torch.stack(parts) for parts in zip(*stats, strict=True))
    # Those means are plain sums: exact enough for bfloat16, but blank images need the pairwise sums of `mean`.
    means = rough if rows.dtype == torch.bfloat16 else rows.mean(1)
    mean = _group_mean(means, channels, groups)
    variances = variances - (rough - means) ** 2 + (means - _tile(mean, rows)) ** 2
    return mean, _group_mean(variances, channels, groups).clamp_min(0)


def _normalise(
    row: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float, out: Tensor
) -> Tensor:
    """Write (row - mean) / sqrt(variance + eps) * weight + bias, by column, to `out`, which may be `row`."""
    unused = mean.new_empty(0)
    torch.ops.aten.native_batch_norm.out(
        row, weight, bias, mean, variance, False, 0.0, eps, out=out, save_mean=unused, save_invstd=unused
    )
    return out


def _sums(
    dz: Tensor, row: Tensor, weight: Tensor, mean: Tensor, variance: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Return the sums of each column of dz * (row - mean) / sqrt(variance + eps) and of dz."""
    _, dw, db = torch.ops.aten.native_batch_norm_backward(
        dz, row, weight, mean, variance, None, None, False, eps, [False, True, True]
    )
    return dw, db
