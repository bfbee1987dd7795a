"""The paper's U-Net, one definition for one, two and three spatial axes."""

from itertools import pairwise
from math import gcd

import torch
from torch import Tensor, nn

from oasis.errors import ModelError, nearest
from oasis.models.layers import CONVOLUTIONS, MEMORY_FORMATS, DepthwiseDown, GroupNormSiLU, upsample

GROUPS = 8
NORMS = ("group", "batch", "instance", "none")
BATCH_NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
DROPOUTS = {1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d}
INTERPOLATIONS = {1: "linear", 2: "bilinear", 3: "trilinear"}


class UNet(nn.Module):
    """U-Net whose output has the size of its input, and no activation: that is the head's.

    Every level has two 3-wide convolutions, each followed by a normalisation and SiLU. A depthwise convolution
    with stride 2 leads down, linear interpolation up. Sizes need not be multiples of anything.
    Source: OASIS, arXiv 2510.06194.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        spatial_dims: 1, 2 or 3.
        base_channels: channels of the first level.
        depth: how many levels there are.
        multiplier: how many times the channels of a level those of the next one are.
        norm: `"group"` (the paper's, 8 groups or the most that divide the channels), `"batch"`, `"instance"` or
            `"none"`. Group and instance normalisation see the whole frame: they do not go with tiles.
        dropout: share of a level's feature maps that are dropped while training.

    Attributes:
        minimum_size: the least number of pixels along an axis.

    Raises:
        ModelError: an argument out of its range.

    Example:
        >>> model = UNet(in_channels=1, out_channels=2)
        >>> sum(parameter.numel() for parameter in model.parameters())
        2982274
        >>> UNet(1, 3, spatial_dims=1, base_channels=4)(torch.zeros(2, 1, 37)).shape
        torch.Size([2, 3, 37])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        spatial_dims: int = 2,
        base_channels: int = 32,
        depth: int = 4,
        multiplier: int = 2,
        norm: str = "group",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check_counts(
            in_channels=in_channels,
            out_channels=out_channels,
            base_channels=base_channels,
            depth=depth,
            multiplier=multiplier,
        )
        _check_kind(spatial_dims, norm, dropout)
        self.in_channels = in_channels
        self.spatial_dims = spatial_dims
        self.minimum_size = 2**depth
        widths = [base_channels * multiplier**level for level in range(depth)]
        kind = (spatial_dims, norm, dropout)
        self.encoder = nn.ModuleList([_block(in_channels, base_channels, *kind)])
        self.decoder = nn.ModuleList()
        for width, deeper in pairwise(widths):
            down = DepthwiseDown(width, spatial_dims)
            self.encoder.append(nn.Sequential(down, _block(width, deeper, *kind)))
            self.decoder.insert(0, _Up(deeper, width, *kind))
        self.bottleneck = _block(widths[-1], widths[-1], *kind)
        self.output = CONVOLUTIONS[spatial_dims](base_channels, out_channels, 1)
        self.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Return (b, out_channels, *S) for `image` (b, in_channels, *S).

        Raises:
            ModelError: an axis that is too short, or another number of axes or channels.
        """
        self._check(image)
        x = image.to(memory_format=MEMORY_FORMATS[self.spatial_dims])
        skips = []
        for level in self.encoder:
            x = level(x)
            skips.append(x)
        x = self.bottleneck(x)
        for level, skip in zip(self.decoder, skips[-2::-1], strict=True):
            x = level(x, skip)
        return self.output(x)  # type: ignore[no-any-return]

    def _check(self, image: Tensor) -> None:
        if image.ndim != self.spatial_dims + 2 or image.shape[1] != self.in_channels:
            axes = ", ".join("DHW"[-self.spatial_dims :])
            raise ModelError(
                f"unet: expected an image (batch, {self.in_channels}, {axes}), found {tuple(image.shape)}"
            )
        for axis, size in enumerate(image.shape[2:]):
            if size < self.minimum_size:
                raise ModelError(
                    f"unet: spatial axis {axis} has {size} pixels, needs at least {self.minimum_size}: "
                    "pad the image or choose a smaller depth"
                )


class _Up(nn.Module):
    """The way up to a level: interpolation to its size, a 1-wide convolution to its width, its skip, a block."""

    def __init__(self, inputs: int, outputs: int, spatial_dims: int, norm: str, dropout: float) -> None:
        super().__init__()
        self.conv = CONVOLUTIONS[spatial_dims](inputs, outputs, 1)
        self.block = _block(2 * outputs, outputs, spatial_dims, norm, dropout)
        self.mode = INTERPOLATIONS[spatial_dims]

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        # The convolution and the interpolation commute; in this order there are 2^dims times fewer pixels to mix.
        x = upsample(self.conv(x), skip.shape[2:], self.mode)
        return self.block(torch.cat([x, skip], dim=1))  # type: ignore[no-any-return]


def _block(inputs: int, outputs: int, spatial_dims: int, norm: str, dropout: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers.append(CONVOLUTIONS[spatial_dims](channels, outputs, 3, padding=1))
        layers.append(_norm_silu(outputs, spatial_dims, norm))
    if dropout:
        layers.append(DROPOUTS[spatial_dims](dropout))
    return nn.Sequential(*layers)


def _norm_silu(channels: int, spatial_dims: int, norm: str) -> nn.Module:
    match norm:
        case "group":
            return GroupNormSiLU(gcd(GROUPS, channels), channels)
        case "instance":
            return GroupNormSiLU(channels, channels)
        case "batch":
            return nn.Sequential(BATCH_NORMS[spatial_dims](channels), nn.SiLU())
        case _:
            return nn.SiLU()


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="leaky_relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _check_counts(**counts: int) -> None:
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise ModelError(f"unet: {name} must be a whole number of at least 1, found {count!r}")


def _check_kind(spatial_dims: int, norm: str, dropout: float) -> None:
    if spatial_dims not in CONVOLUTIONS:
        raise ModelError(f"unet: spatial_dims must be 1, 2 or 3, found {spatial_dims!r}")
    if norm not in NORMS:
        raise ModelError(f"unet: unknown norm {norm!r}; {nearest(str(norm), NORMS)}")
    if not (isinstance(dropout, int | float) and 0 <= dropout < 1):
        raise ModelError(f"unet: dropout must be at least 0 and below 1, found {dropout!r}")
