"""The fastest memory format and normalisation on a processor.

Convolutions are fastest in channels-last memory, for which torch's performance on a CPU is uneven. With fewer
channels per group than a vector register holds, the backward pass of a group normalisation is several times slower
than necessary. Batch normalisation of few channels is slow too, the more so the more threads write to their sums,
which lie side by side in memory. Without AVX-512 narrow two-dimensional networks are faster in contiguous memory
if they normalise groups, for which torch's own normalisation is fast and exact.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function_unary

from oasis.device import vector_bits

MEMORY_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}
ROW = 128  # numbers in a row that keep the vector units busy
PART = 2**20  # numbers processed together, few enough for a cache
WIDE = 32  # channels from which on `oasis.models.wide` is faster without AVX-512
NARROW = 16  # channels below which torch's batch normalisation is slow in channels-last memory
MANY = 2**15  # pixels of a batch from which it matters
TOLERANCE = 1e-4  # tolerance of the self-test in float32


def memory_format(x: Tensor, width: int, grouped: bool = False) -> torch.memory_format:
    """Return the memory format in which a network is fastest for `x` (b, c, *S) on its device.

    On an unknown CPU it is torch's default.

    Args:
        x: the image.
        width: channels of the network at full resolution.
        grouped: whether its features are normalised in groups of channels.

    Example:
        >>> memory_format(torch.zeros(1, 2, 5), width=8)
        torch.contiguous_format
    """
    bits = vector_bits() if x.device.type == "cpu" else None
    if bits == 0 or (bits == 256 and x.ndim == 4 and grouped and width < WIDE):
        return torch.contiguous_format
    return MEMORY_FORMATS[x.ndim - 2]


def wide_channels_last(x: Tensor, channels: int) -> bool:
    """Return whether `x` (b, c, H, W) with so many channels is best computed by `oasis.models.wide`."""
    return (
        channels >= WIDE
        and vector_bits() == 256
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def is_plain(*tensors: Tensor) -> bool:
    """Return whether a computation with tensors is not recorded, compiled or transformed by torch.

    Example:
        >>> is_plain(torch.zeros(1))
        True
    """
    return (
        all(type(one) in (Tensor, nn.Parameter) for one in tensors)
        and not torch.compiler.is_compiling()
        and torch._C._get_tracing_state() is None
        and torch._C._functorch.peek_interpreter_stack() is None
    )


def fuses_norm(x: Tensor, groups: int) -> bool:
    """Return whether to use `group_norm_silu` for `x` (b, c, *S) instead of torch's two functions.

    It is faster for channels-last tensors on a CPU, and exact for constant images, where torch's is 5e-3 off in
    float32. Inference in bfloat16 is the exception unless each channel is a group: there torch's is as exact, as
    fast for large images and several times faster for small ones.
    """
    torchs = x.dtype == torch.bfloat16 and x.shape[1] > groups and not torch.is_grad_enabled()
    return not torchs and _kernels_take(x)


def fuses_batch_norm(x: Tensor) -> bool:
    """Return whether to use `batch_norm_silu` in training for `x` (b, c, *S) instead of torch's two functions.

    With AVX2 it is 1.1 to 2.6 times as fast for 8 and 12 channels on one and two threads, and slower for 16.
    """
    worthwhile = x.dtype == torch.float32 and x.shape[1] < NARROW and x.numel() >= MANY * x.shape[1]
    return worthwhile and torch.is_grad_enabled() and _kernels_take(x)


def _kernels_take(x: Tensor) -> bool:
    """Return whether `x` (b, c, *S) is channels-last, on a CPU and outside of a compiler, and the kernels work."""
    return (
        x.device.type == "cpu"
        and x.ndim > 3
        and x.is_contiguous(memory_format=MEMORY_FORMATS[x.ndim - 2])
        and not torch.compiler.is_compiling()
        and kernels_work()
    )


@cache
def kernels_work() -> bool:
    """Return whether the installed torch has the private kernels that `group_norm_silu` uses.

    They are tested once on a few numbers, since another version may lack or have changed them.
    """
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        return _agree(group_norm_silu, plain_group_norm_silu)


def _agree(*functions: Callable[..., Tensor]) -> bool:
    """Return whether functions of the same arguments give the same values and gradients."""
    x = torch.linspace(-1, 2, 96).reshape(2, 4, 3, 4).contiguous(memory_format=torch.channels_last)
    weight, bias = torch.linspace(-1, 2, 4), torch.linspace(0.5, -0.5, 4)
    results: list[list[Tensor]] = []
    for function in functions:
        inputs = [values.clone().requires_grad_() for values in (x, weight, bias)]
        try:
            y = function(inputs[0], 2, inputs[1], inputs[2], 1e-5)
            results.append([y.detach(), *torch.autograd.grad(y.square().sum(), inputs)])
        except (AttributeError, RuntimeError, TypeError, ValueError):
            return False
    return all(torch.allclose(a, b, atol=TOLERANCE, rtol=TOLERANCE) for a, b in zip(*results, strict=True))


def plain_group_norm_silu(x: Tensor, num_groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Return SiLU(GroupNorm(x)) by torch's own functions."""
    return F.silu(F.group_norm(x, num_groups, weight, bias, eps), inplace=not torch.is_grad_enabled())


def group_norm_silu(x: Tensor, num_groups: int, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Return SiLU(GroupNorm(x)) for a channels-last `x` (b, c, *S), keeping only `x` for the backward pass."""
    if has_torch_function_unary(x):
        return handle_torch_function(group_norm_silu, (x,), x, num_groups, weight, bias, eps)
    return _GroupNormSiLU.apply(x, weight, bias, num_groups, eps)[0]  # type: ignore[no-any-return]


def batch_norm_silu(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return SiLU(BatchNorm(x)) in training for a channels-last `x` (b, c, *S), and the mean and variance (c,).

    It is the normalisation of every channel of a single, longer image.
    """
    if has_torch_function_unary(x):
        return handle_torch_function(batch_norm_silu, (x,), x, weight, bias, eps)
    rows = x.movedim(1, -1)  # a view in the order of memory
    one = rows.reshape(1, -1, *rows.shape[2:]).movedim(-1, 1)
    out, mean, variance = _GroupNormSiLU.apply(one, weight, bias, len(weight), eps)
    return out.movedim(1, -1).view(rows.shape).movedim(-1, 1), mean[0], variance[0]


class _GroupNormSiLU(torch.autograd.Function):
    r"""Group normalisation and SiLU based on the kernels of batch normalisation.

    These take columns (pixels, channels); samples are placed side by side as further columns with their own
    moments. With the variance `v` and the average <> over a group, :math:`z = w \hat x + b` has the gradient

    .. math:: dx = (w\, dz - \langle w\, dz \rangle - \hat x \langle w\, dz\, \hat x \rangle) / \sqrt{v + \epsilon}
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        out, moments = torch.empty_like(x), []
        for part, target in _parts(x, out):
            columns = _columns(part)
            mean, variance = _moments(columns, part, groups)
            z = _normalise(columns, weight, bias, mean, variance, eps, out=_place(columns, target))
            _store(F.silu(z, inplace=True), target)
            moments.append((mean, variance))
        mean, variance = map(torch.cat, zip(*moments, strict=True))
        ctx.save_for_backward(x, weight, bias, mean, variance)
        ctx.groups, ctx.eps = groups, eps
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, variance = ctx.saved_tensors
        grad = grad.contiguous(memory_format=MEMORY_FORMATS[x.ndim - 2])
        out, sums = torch.empty_like(x), []
        for part, dy, target, m, v in _parts(x, grad, out, mean, variance):
            columns, none = _columns(part), torch.zeros_like(m)
            z = _normalise(columns, weight, bias, m, v, ctx.eps, out=_place(columns, target))
            dz = torch.ops.aten.silu_backward.grad_input(_columns(dy), z, grad_input=z)
            dw, db = _sums(dz, columns, m, v, ctx.eps)
            scale = -torch.rsqrt(v + ctx.eps) / part[0, 0].numel()
            slope, offset = (scale * _group_mean(weight * total, ctx.groups) for total in (dw, db))
            correction = _normalise(columns, slope, offset, m, v, ctx.eps, out=torch.empty_like(columns))
            dx = _normalise(dz, weight, none, none, v, ctx.eps, out=dz).add_(correction)
            _store(dx, target)
            sums.append((dw, db))
        dw, db = (torch.cat(totals).sum(0) for totals in zip(*sums, strict=True))
        return out, dw, db, None, None


def _parts(x: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield each tensor a few samples at a time."""
    samples = max(1, PART // x[0].numel())
    return zip(*(torch.split(values, samples) for values in (x, *others)), strict=True)


def _rows(x: Tensor) -> Tensor:
    """View a channels-last (n, c, *S) as (n, pixels / k, k * c), with k pixels in a row to make it long enough."""
    samples, channels = x.shape[:2]
    pixels = x[0, 0].numel()
    fold = 1
    while fold * channels < ROW and pixels % (2 * fold) == 0:
        fold *= 2
    return x.movedim(1, -1).view(samples, pixels // fold, fold * channels)


def _columns(x: Tensor) -> Tensor:
    """Return a channels-last (n, c, *S) as (pixels / k, n * k * c); a view where n is 1."""
    rows = _rows(x)
    return rows.transpose(0, 1).reshape(rows.shape[1], -1)


def _place(columns: Tensor, target: Tensor) -> Tensor:
    """Return the buffer to write a result shaped like `columns` that is to be stored in `target`."""
    return _columns(target) if len(target) == 1 else torch.empty_like(columns)


def _store(columns: Tensor, target: Tensor) -> None:
    if len(target) > 1:
        rows = _rows(target)
        rows.copy_(columns.view(rows.shape[1], len(target), -1).transpose(0, 1))


def _spread(values: Tensor, columns: Tensor, like: Tensor) -> Tensor:
    """Repeat values (c,) or (n, c) for every column, with `like` of shape (n, c)."""
    samples, channels = like.shape
    values = values.to(like.dtype).expand_as(like)[:, None]
    # Contiguous, as torch's kernels assume: the one number of a single channel would have a stride of 0.
    return values.expand(samples, columns.shape[1] // like.numel(), channels).reshape(-1).contiguous()


def _group_mean(values: Tensor, groups: int) -> Tensor:
    """Replace each of (n, c) by the mean over its group."""
    grouped = values.view(len(values), groups, -1)
    return grouped.mean(2, keepdim=True).expand_as(grouped).reshape(values.shape)


def _moments(columns: Tensor, x: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return the mean and the variance of the group of each channel of `x` (n, c, *S), (n, c) each."""
    # Running statistics make the result float32 for any type of columns; with momentum 0 they do not change.
    running = columns.new_zeros(columns.shape[1], dtype=torch.promote_types(columns.dtype, torch.float32))
    rough, variances = torch.batch_norm_update_stats(columns, running, running, 0.0)
    # That mean is a plain sum: exact enough for bfloat16, but blank images need the pairwise sum of `mean`.
    means = rough if columns.dtype == torch.bfloat16 else columns.mean(0)
    by_channel = (len(x), -1, x.shape[1])
    mean = _group_mean(means.view(by_channel).mean(1), groups)
    variances = variances - (rough - means) ** 2 + (means - _spread(mean, columns, mean)) ** 2
    return mean, _group_mean(variances.view(by_channel).mean(1), groups).clamp_min(0)


def _normalise(
    columns: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, eps: float, out: Tensor
) -> Tensor:
    """Return (columns - mean) / sqrt(variance + eps) * weight + bias; `out` may be `columns` itself."""
    unused = mean.new_empty(0)
    w, b, m, v = (_spread(values, columns, mean) for values in (weight, bias, mean, variance))
    torch.ops.aten.native_batch_norm.out(
        columns, w, b, m, v, False, 0.0, eps, out=out, save_mean=unused, save_invstd=unused
    )
    return out


def _sums(dz: Tensor, columns: Tensor, mean: Tensor, variance: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Return the sums over pixels of dz * (columns - mean) / sqrt(variance + eps) and of dz, (n, c) each."""
    m, v = (_spread(values, columns, mean) for values in (mean, variance))
    _, dw, db = torch.ops.aten.native_batch_norm_backward(
        dz, columns, torch.ones_like(m), m, v, None, None, False, eps, [False, True, True]
    )
    by_channel = (len(mean), -1, mean.shape[1])
    return dw.view(by_channel).sum(1), db.view(by_channel).sum(1)
