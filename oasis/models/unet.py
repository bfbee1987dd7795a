"""The paper's U-Net, for one, two and three spatial axes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oasis.errors import ModelError, nearest
from oasis.models.backbone import Backbone, check_counts, check_dimension
from oasis.models.folded import Block
from oasis.models.kernels import memory_format
from oasis.models.layers import CONVOLUTIONS, BatchNormSiLU, DepthwiseDown, GroupNormSiLU, enlarge, upsample

GROUPS = 8
STRIDES = (1, 2, 4)
NORMS = ("group", "batch", "instance", "none")
DROPOUTS = {1: nn.Dropout1d, 2: nn.Dropout2d, 3: nn.Dropout3d}
INTERPOLATIONS = {1: "linear", 2: "bilinear", 3: "trilinear"}


class UNet(Backbone):
    """The paper's U-Net; its output has the size of its input and no activation, which belongs to the head.

    Every level has two convolutions of width 3, each followed by a normalisation and SiLU. Depthwise convolutions
    with stride 2 reduce the resolution, linear interpolation increases it. Images can have any size; an axis of
    less than 2^depth pixels is padded to that.
    Source: OASIS, arXiv 2510.06194.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        spatial_dims: 1, 2 or 3.
        base_channels: channels of the first level.
        depth: number of levels.
        multiplier: factor by which the channels grow from level to level.
        norm: `"group"` (the paper's, 8 groups or the most that divide the channels), `"batch"`, `"instance"` or
            `"none"`. Group and instance normalisation see the whole frame: they are not suitable for tiles.
        dropout: fraction of a level's feature maps that are dropped during training.
        residual: add the input of every pair of convolutions to its output.
        attention: weight the skip connections by attention gates, after Oktay et al., arXiv 1804.03999.
        padding: how small images are padded: `"reflect"` or `"zero"`.
        stride: pixels per step of a first convolution, 1 (none), 2 or 4: the network then works on a coarser
            grid and interpolates its output, several times faster where the detector blurs by as many pixels.
        centred: add the distance from the middle of the image as a channel of the input, for objects that are told
            apart by being in the middle (after Liu et al., arXiv 1807.03247). Not suitable for tiles.

    Raises:
        ModelError: an argument is out of range.

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
        residual: bool = False,
        attention: bool = False,
        padding: str = "reflect",
        stride: int = 1,
        centred: bool = False,
    ) -> None:
        check_counts(base_channels=base_channels, depth=depth, multiplier=multiplier)
        if stride not in STRIDES:
            raise ModelError(f"stride must be one of {', '.join(map(str, STRIDES))}, found {stride!r}")
        least = stride * 2**depth
        super().__init__(
            in_channels, out_channels, spatial_dims, divisor=stride, minimum_size=least, padding=padding
        )
        style = Style(spatial_dims, norm, dropout, residual, attention)
        self.normalises_frame = norm in ("group", "instance")
        self.sees_whole_frame = centred or self.normalises_frame
        self.centred = centred
        in_channels += centred
        widths = [base_channels * multiplier**level for level in range(depth)]
        self.stride = stride
        self.stem = (
            CONVOLUTIONS[spatial_dims](in_channels, base_channels, 2 * stride, stride, stride // 2)
            if stride > 1
            else None
        )
        self.encoder = levels(in_channels if self.stem is None else base_channels, widths, style)
        # As in the paper; maps of a network that can be applied to tiles do not depend on where an image ends.
        resize = upsample if self.normalises_frame else enlarge
        self.decoder = nn.ModuleList(
            [Up(deep, width, width, style, resize) for width, deep in pairwise(widths)][::-1]
        )
        self.bottleneck = block(widths[-1], widths[-1], style)
        self.output = CONVOLUTIONS[spatial_dims](base_channels, out_channels, 1)
        self.encoder_channels = widths[-1]
        self.apply(initialise)

    @property
    def grid(self) -> int:
        """The period in pixels under whose shifts the network is equivariant: each level halves the resolution."""
        return int(self.stride * 2 ** (len(self.encoder) - 1))

    def compute(self, image: Tensor) -> Tensor:
        """Return (b, out_channels, *S) for `image` (b, in_channels, *S)."""
        return self.compute_encoded(image)[0]

    def compute_encoded(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return (b, out_channels, *S) and the output of the bottleneck."""
        if self.centred:
            image = torch.cat([image, distance_from_middle(image)], dim=1)
        wanted = memory_format(image, self.output.in_channels, self.normalises_frame)
        x = image.to(memory_format=wanted)
        x = x if self.stem is None else self.stem(x)
        skips = []
        for level in self.encoder:
            x = level(x)
            skips.append(x)
        x = encoded = self.bottleneck(x)
        for level, skip in zip(self.decoder, skips[-2::-1], strict=True):
            x = level(x, skip, wanted)
        maps = self.output(x)
        if self.stem is not None:
            maps = upsample(maps, image.shape[2:], INTERPOLATIONS[self.spatial_dims], wanted)
        return maps, encoded


@dataclass(frozen=True)
class Style:
    """The options of the levels of a U-Net; see the arguments of `UNet`.

    Raises:
        ModelError: a value is out of range.
    """

    spatial_dims: int
    norm: str = "group"
    dropout: float = 0.0
    residual: bool = False
    attention: bool = False

    def __post_init__(self) -> None:
        check_dimension(self.spatial_dims)
        if self.norm not in NORMS:
            raise ModelError(f"unknown norm {self.norm!r}; {nearest(str(self.norm), NORMS)}")
        if not (isinstance(self.dropout, int | float) and 0 <= self.dropout < 1):
            raise ModelError(f"dropout must be at least 0 and below 1, found {self.dropout!r}")


def levels(in_channels: int, widths: Sequence[int], style: Style) -> nn.ModuleList:
    """Return the levels of the contracting path: the first at full resolution, each further one at half of it."""
    modules: list[nn.Module] = [block(in_channels, width, style) for width in widths[:1]]
    for width, deeper in pairwise(widths):
        modules.append(nn.Sequential(DepthwiseDown(width, style.spatial_dims), block(width, deeper, style)))
    return nn.ModuleList(modules)


class Up(nn.Module):
    """A level of the expanding path: interpolation, a 1-wide convolution, the skip, and a block."""

    def __init__(
        self, inputs: int, outputs: int, skips: int, style: Style, resize: Callable[..., Tensor] = upsample
    ) -> None:
        super().__init__()
        self.conv = CONVOLUTIONS[style.spatial_dims](inputs, outputs, 1)
        self.gate = Gate(skips, outputs, style.spatial_dims) if style.attention else None
        self.block = block(outputs + skips, outputs, style)
        self.mode = INTERPOLATIONS[style.spatial_dims]
        self.resize = resize

    def forward(self, x: Tensor, skip: Tensor, wanted: torch.memory_format) -> Tensor:
        """Return (b, outputs, *S) in a memory format for `x` (b, inputs, *coarser) and `skip` (b, skips, *S)."""
        # The convolution and the interpolation commute; in this order there are 2^dims times fewer pixels to mix.
        x = self.resize(self.conv(x), skip.shape[2:], self.mode, wanted)
        if self.gate is not None:
            skip = self.gate(skip, x)
        return self.block(torch.cat([x, skip], dim=1))  # type: ignore[no-any-return]


class Gate(nn.Module):
    r"""Additive attention gate: every pixel of a skip connection is weighted by the coarser features.

    .. math:: \hat s = s\, \sigma(\psi^T \mathrm{ReLU}(W_s s + W_g g + b) + b_\psi)

    Source: Oktay et al. 2018, arXiv 1804.03999, Eq. 1 and 2, with `g` interpolated to the size of `s`.
    """

    def __init__(self, skips: int, features: int, spatial_dims: int) -> None:
        super().__init__()
        convolution, width = CONVOLUTIONS[spatial_dims], max(skips // 2, 1)
        self.skip = convolution(skips, width, 1, bias=False)
        self.features = convolution(features, width, 1)
        self.weight = convolution(width, 1, 1)

    def forward(self, skip: Tensor, features: Tensor) -> Tensor:
        """Return a tensor like `skip` (b, skips, *S) for `features` (b, features, *S)."""
        return skip * torch.sigmoid(self.weight(F.relu(self.skip(skip) + self.features(features))))


class Residual(nn.Module):
    """A block whose input is added to its output, through a 1-wide convolution if their channels differ."""

    def __init__(self, body: nn.Module, inputs: int, outputs: int, spatial_dims: int) -> None:
        super().__init__()
        self.body = body
        self.shortcut = nn.Identity() if inputs == outputs else CONVOLUTIONS[spatial_dims](inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, outputs, *S) for `x` (b, inputs, *S)."""
        return self.body(x) + self.shortcut(x)  # type: ignore[no-any-return]


def block(inputs: int, outputs: int, style: Style) -> nn.Module:
    """Return two convolutions of width 3, each with normalisation and SiLU."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers.append(CONVOLUTIONS[style.spatial_dims](channels, outputs, 3, padding=1))
        layers.append(_norm_silu(outputs, style))
    if style.dropout:
        layers.append(DROPOUTS[style.spatial_dims](style.dropout))
    body = Block(*layers)
    return Residual(body, inputs, outputs, style.spatial_dims) if style.residual else body


def _norm_silu(channels: int, style: Style) -> nn.Module:
    match style.norm:
        case "group":
            return GroupNormSiLU(gcd(GROUPS, channels), channels)
        case "instance":
            return GroupNormSiLU(channels, channels)
        case "batch":
            return BatchNormSiLU(channels, style.spatial_dims)
        case _:
            return nn.SiLU()


def distance_from_middle(image: Tensor) -> Tensor:
    """Return ln(1 + distance from the middle pixel, pixels) for images (b, C, *S), (b, 1, *S).

    Example:
        >>> distance_from_middle(torch.zeros(1, 3, 5)).exp()
        tensor([[[3., 2., 1., 2., 3.]]])
    """
    squares = image.new_zeros(image.shape[2:])
    for axis, length in enumerate(image.shape[2:]):
        steps = torch.arange(length, device=image.device, dtype=image.dtype) - length // 2
        squares = squares + steps.square().view(-1, *[1] * (image.ndim - 3 - axis))
    return squares.sqrt().log1p().expand(image.shape[0], 1, *image.shape[2:])


def initialise(module: nn.Module) -> None:
    """Draw the weights of a convolution from a Kaiming normal distribution, with biases of 0."""
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="leaky_relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
