r"""Winograd's convolution: 3 x 3 pixels wide, with a quarter of the multiplications.

The image is cut into tiles of 6 x 6 pixels that overlap by 2. In the coordinates :math:`B^T d B` of a tile and
:math:`G g G^T` of a kernel the convolution is a product of numbers, summed over channels by a multiplication of
matrices; :math:`A^T m A` are 4 x 4 pixels of the result. Its errors in float32 are a few times larger than those
of the sum over pixels, some 1e-5 of the largest value.

Source: Lavin & Gray 2015, arXiv 1509.09308, F(4 x 4, 3 x 3).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

OUT, IN = 4, 6  # pixels along the edge of a tile of the result and of the image
CHANNELS, PIXELS = 64, 1024  # from which on it is faster
PART = 2**16  # numbers of each coordinate that are processed together, few enough for a cache
G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)


def pays(x: Tensor, weight: Tensor) -> bool:
    """Return whether this convolution is faster than torch's, for `x` (b, c, H, W) and `weight` (k, c, ...).

    Below these numbers the sums before and after the multiplications take longer than what they save.
    """
    outputs, inputs = weight.shape[:2]
    return min(inputs, outputs) >= CHANNELS and inputs + outputs >= 3 * CHANNELS and x.shape[2:].numel() >= PIXELS


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the convolution of an image with 3 x 3 pixels, padded with zeros, like `conv2d(..., padding=1)`.

    Args:
        x: (b, c, H, W), fastest in channels-last memory.
        weight: (k, c, 3, 3).
        bias: (k,).

    Returns:
        (b, k, H, W), in channels-last memory, which passes no gradient.

    Example:
        >>> x, weight = torch.ones(1, 1, 5, 5), torch.ones(1, 1, 3, 3)
        >>> convolve(x, weight)[0, 0].round().int()[:2].tolist()
        [[4, 6, 6, 6, 4], [6, 9, 9, 9, 6]]
    """
    with torch.no_grad():
        return _convolved(x, weight, bias)


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the convolution, computed a few rows of tiles at a time."""
    height, width = x.shape[2:]
    kernels = _transformed(weight)
    down, across = -(-height // OUT), -(-width // OUT)
    out = x.new_empty(len(x), down, OUT, across, OUT, len(weight))
    for sample, image in enumerate(x.permute(0, 2, 3, 1)):
        rows = max(1, PART // (across * max(weight.shape[:2])))
        for first in range(0, down, rows):
            part = out[sample, first : first + rows]
            _convolve_rows(_padded(image, OUT * first, len(part), across), kernels, part)
            if bias is not None:
                part += bias
    whole = out.view(len(x), OUT * down, OUT * across, len(weight))[:, :height, :width].permute(0, 3, 1, 2)
    return whole.contiguous(memory_format=torch.channels_last)


def _transformed(weight: Tensor) -> Tensor:
    """Return the kernels (k, c, 3, 3) in the coordinates of a tile, (36, c, k)."""
    g = weight.new_tensor(G)
    square = torch.kron(g, g) @ weight.reshape(-1, 9).T
    return square.view(IN * IN, *weight.shape[:2]).transpose(1, 2)


def _padded(image: Tensor, first: int, down: int, across: int) -> Tensor:
    """Return rows of an image (H, W, c) from one before `first` on, and zeros around it."""
    height, width, channels = image.shape
    part = image.new_zeros(OUT * down + 2, OUT * across + 2, channels)
    begin, end = max(first - 1, 0), min(first + OUT * down + 1, height)
    part[begin - first + 1 : end - first + 1, 1 : width + 1] = image[begin:end]
    return part


def _convolve_rows(image: Tensor, kernels: Tensor, out: Tensor) -> None:
    """Write the convolution of a padded part of an image (H, W, c) to rows of tiles (n, 4, m, 4, k)."""
    down, _, across, _, outputs = out.shape
    channels = image.shape[2]
    rows = image.new_empty(IN, down, image.shape[1], channels)
    _to_coordinates([image[place : place + OUT * down - 3 : OUT] for place in range(IN)], rows)
    tiles = image.new_empty(IN, IN, down, across, channels)
    columns = [rows[:, :, place : place + OUT * across - 3 : OUT] for place in range(IN)]
    _to_coordinates(columns, tiles.transpose(0, 1))
    products = torch.bmm(tiles.view(IN * IN, -1, channels), kernels).view(IN, IN, down, across, outputs)
    columns_out = image.new_empty(OUT, IN, down, across, outputs)
    _from_coordinates(products, columns_out)
    _from_coordinates(columns_out.transpose(0, 1), out.permute(3, 1, 0, 2, 4))


def _to_coordinates(d: Sequence[Tensor], out: Tensor) -> None:
    """Write B^T d for six arrays along one axis."""
    torch.sub(d[4], d[2], alpha=5, out=out[0]).add_(d[0], alpha=4)
    torch.sub(d[5], d[3], alpha=5, out=out[5]).add_(d[1], alpha=4)
    even, odd = torch.sub(d[4], d[2], alpha=4), torch.sub(d[3], d[1], alpha=4)
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.sub(d[4], d[2], out=even)
    torch.sub(d[3], d[1], out=odd)
    torch.add(even, odd, alpha=2, out=out[3])
    torch.sub(even, odd, alpha=2, out=out[4])


def _from_coordinates(m: Tensor, out: Tensor) -> None:
    """Write A^T m for six arrays along one axis, as four."""
    near, far = m[1] + m[2], m[3] + m[4]
    near_odd, far_odd = m[1] - m[2], m[3] - m[4]
    torch.add(near_odd, far_odd, alpha=2, out=out[1])
    torch.add(near, far, alpha=4, out=out[2])
    torch.add(near.add_(m[0]), far, out=out[0])
    torch.add(near_odd.add_(m[5]), far_odd, alpha=8, out=out[3])
