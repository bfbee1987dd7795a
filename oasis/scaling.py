"""Scaling: invertible transforms of intensity, fitted to each image and applied on the device."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import torch
from pydantic import Discriminator, Field, Tag, field_validator
from torch import Tensor

from oasis.errors import ConfigError
from oasis.options import Options

LN10 = math.log(10)
FLOOR = 1e-12  # minimum of the scale and the peak, so that an empty image scales to zeros
HALF_NORMAL_MEDIAN = 0.6744897501960817  # of |x| for standard normal x
CEILING = 60.0  # maximum of the exponent in the inverse: intensities of an untrained network stay finite


class FittedScale(Protocol):
    """A scaling whose parameters are fixed for every image of a batch."""

    def forward(self, intensity: Tensor) -> Tensor:
        """Return scaled values of intensities (b, ...) in physical units."""

    def inverse(self, scaled: Tensor) -> Tensor:
        """Return intensities in physical units of scaled values (b, ...)."""

    def to(self, device: torch.device | str) -> "FittedScale":
        """Return the scaling with its parameters on a device."""


@dataclass(frozen=True)
class FittedLogScale:
    r"""The logarithm of Eq. 4 and its inverse, Eq. 5, extended to negative values by symmetry.

    .. math:: y = \log_{10}(1 + I/s) / y_\mathrm{max}, \qquad I = s\,(10^{\,y\,y_\mathrm{max}} - 1)

    Attributes:
        scale: (b,) the `s` of every image, in physical units.
        peak: (b,) the `y_max` of every image.
    """

    scale: Tensor
    peak: Tensor

    def forward(self, intensity: Tensor) -> Tensor:
        """Return Eq. 4 of intensities (b, ...)."""
        scale, peak = self._shaped(intensity)
        return intensity.sign() * torch.log1p(intensity.abs() / scale) / (LN10 * peak)

    def inverse(self, scaled: Tensor) -> Tensor:
        """Return Eq. 5 of scaled values (b, ...)."""
        scale, peak = self._shaped(scaled)
        return scaled.sign() * scale * torch.expm1((scaled.abs() * peak * LN10).clamp_max(CEILING))

    def to(self, device: torch.device | str) -> "FittedLogScale":
        """Return the scaling with its parameters on a device."""
        return FittedLogScale(self.scale.to(device), self.peak.to(device))

    def _shaped(self, like: Tensor) -> tuple[Tensor, Tensor]:
        shape = (-1, *[1] * (like.ndim - 1))
        return self.scale.view(shape), self.peak.view(shape)


class LogScale(Options):
    """Logarithmic scaling of intensity (Eq. 4 and 5 of arXiv 2510.06194).

    Attributes:
        percentile: the percentile of the image's pixels that is the scale `s`.
        over: the pixels that count for the percentile and the peak: the whole `frame`, or only `valid` ones.
        scale: a fixed `s` in physical units instead of the percentile.
        peak: divide by the largest value, so that the image reaches 1 (the paper); False keeps the absolute
            intensity visible to the network and needs a fixed `scale`.

    Example:
        >>> image = torch.tensor([[[0.0, 9.0, 99.0]]])
        >>> fitted = LogScale(scale=1.0).fit(image)
        >>> fitted.forward(image)
        tensor([[[0.0000, 0.5000, 1.0000]]])
        >>> fitted.inverse(fitted.forward(image)).round()
        tensor([[[ 0.,  9., 99.]]])
    """

    name: Literal["log"] = "log"
    percentile: float = Field(99.0, ge=0, le=100)
    over: Literal["frame", "valid"] = "frame"
    scale: float | None = Field(None, gt=0)
    peak: bool = True

    def fit(self, image: Tensor, valid: Tensor | None = None) -> FittedLogScale:
        """Fit to every image of a batch.

        Args:
            image: (b, B, *S) in physical units.
            valid: (b, 1, *S) bool, used where `over` is "valid".
        """
        pixels = image.detach().float().flatten(1)
        within = valid if self.over == "valid" else None
        ignored = None if within is None else ~within.expand_as(image).flatten(1)
        if self.scale is None:
            scale = _percentile(pixels, self.percentile, ignored).clamp_min(FLOOR)
        else:
            scale = pixels.new_full((pixels.shape[0],), self.scale)
        if not self.peak:
            return FittedLogScale(scale, torch.ones_like(scale))
        counted = pixels if ignored is None else pixels.masked_fill(ignored, 0)
        largest = counted.abs().amax(1)
        return FittedLogScale(scale, (torch.log1p(largest / scale) / LN10).clamp_min(FLOOR))


def _percentile(pixels: Tensor, percentile: float, ignored: Tensor | None) -> Tensor:
    """Return a percentile of every row (b, n), interpolated linearly between order statistics as numpy does."""
    if torch.compiler.is_compiling():  # a program's order statistics must not depend on the size in its trace
        ignored = torch.zeros_like(pixels, dtype=torch.bool) if ignored is None else ignored
    if ignored is None:
        position = (pixels.shape[1] - 1) * percentile / 100
        low = int(position)
        below = pixels.kthvalue(low + 1, dim=1).values
        if position == low:
            return below
        above = pixels.kthvalue(low + 2, dim=1).values
        return torch.lerp(below, above, position - low)
    ordered = pixels.masked_fill(ignored, torch.inf).sort(dim=1).values
    count = (~ignored).sum(1)
    position_each = (count - 1).clamp_min(0).double() * (percentile / 100)
    low_each = position_each.floor().long()
    below = ordered.gather(1, low_each[:, None])[:, 0]
    above = ordered.gather(1, (low_each + 1).clamp_max(pixels.shape[1] - 1)[:, None])[:, 0]
    fraction = (position_each - low_each).to(pixels.dtype)
    value = torch.where(fraction > 0, below + (above - below) * fraction, below)
    return torch.where(count > 0, value, 0)


@dataclass(frozen=True)
class FittedAsinhScale:
    r"""The inverse hyperbolic sine of Lupton, Gunn and Szalay (1999, AJ 118, 1406) and its inverse.

    .. math:: y = \operatorname{asinh}(I / 2 b) / \ln 10, \qquad I = 2 b \sinh(y \ln 10)

    It is linear for intensities far below the softening `b`, and :math:`\log_{10}(I / b)` far above it.

    Attributes:
        softening: (b, B) the `b` of every image and band, in physical units.
        dims: number of spatial axes.
    """

    softening: Tensor
    dims: int

    def forward(self, intensity: Tensor) -> Tensor:
        """Return scaled values of intensities (b, B, *S) or (b, N, B, *S)."""
        return asinh(intensity / (2 * self._shaped(intensity))) / LN10

    def inverse(self, scaled: Tensor) -> Tensor:
        """Return intensities of scaled values (b, B, *S) or (b, N, B, *S)."""
        return 2 * self._shaped(scaled) * torch.sinh((scaled * LN10).clamp(-CEILING, CEILING))

    def to(self, device: torch.device | str) -> "FittedAsinhScale":
        """Return the scaling with its parameters on a device."""
        return FittedAsinhScale(self.softening.to(device), self.dims)

    def _shaped(self, like: Tensor) -> Tensor:
        images, bands = self.softening.shape
        classes = [1] * (like.ndim > self.dims + 2)
        return self.softening.view(images, *classes, bands, *[1] * self.dims)


def asinh(x: Tensor) -> Tensor:
    """Return the inverse hyperbolic sine, which torch computes number by number on a CPU: four times slower.

    Example:
        >>> asinh(torch.tensor([-1.0, 0.0, 1e-6, 1e20]))
        tensor([-8.8137e-01,  0.0000e+00,  1.0000e-06,  4.6745e+01])
    """
    if x.device.type != "cpu" or torch.compiler.is_compiling():
        return torch.asinh(x)
    return _Asinh.apply(x)  # type: ignore[no-any-return]


class _Asinh(torch.autograd.Function):
    r""":math:`\ln(1 + x + x r)` with :math:`r = 1 / (1 / x + \sqrt{1 + 1 / x^2})` for x > 0, exact."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        size = x.abs()
        inverse = size.reciprocal()
        ratio = torch.reciprocal(inverse + torch.sqrt(1 + inverse * inverse))
        return torch.log1p(torch.addcmul(size, size, ratio)).copysign(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * torch.rsqrt(1 + x * x)


class AsinhScale(Options):
    """Inverse hyperbolic sine of intensity in units of the noise, for images with noise around zero.

    Attributes:
        noise: standard deviation of an empty pixel in physical units, one for all bands or one per band; by
            default it is estimated from the pixels below zero of every image and band, which is right if the
            background is subtracted and objects only add intensity.
        softening: the `b` of the scaling in units of the noise: intensities far below it are scaled linearly,
            those far above it logarithmically.

    Example:
        >>> image = torch.tensor([[[-1.0, 0.0, 1.0, 1000.0]]])
        >>> fitted = AsinhScale(noise=1.0).fit(image)
        >>> fitted.forward(image)
        tensor([[[-0.2090,  0.0000,  0.2090,  3.0000]]])
        >>> fitted.inverse(fitted.forward(image)).round()
        tensor([[[  -1.,    0.,    1., 1000.]]])
    """

    name: Literal["asinh"] = "asinh"
    noise: float | tuple[float, ...] | None = None
    softening: float = Field(1.0, gt=0)

    @field_validator("noise")
    @classmethod
    def _positive(cls, noise: float | tuple[float, ...] | None) -> float | tuple[float, ...] | None:
        if noise is not None and (noise == () or min(noise if isinstance(noise, tuple) else (noise,)) <= 0):
            raise ValueError("expected noise above 0, one for all bands or one for each")
        return noise

    def fit(self, image: Tensor, valid: Tensor | None = None) -> FittedAsinhScale:
        """Fit to every image of a batch.

        Args:
            image: (b, B, *S) in physical units.
            valid: (b, 1, *S) bool; pixels outside do not count for the noise.

        Raises:
            ConfigError: the number of bands differs from the length of `noise`.
        """
        images, bands = image.shape[:2]
        if self.noise is None:
            noise = _negative_side(image.detach().float(), valid)
        else:
            given = image.new_tensor(self.noise, dtype=torch.float32)
            if given.ndim and len(given) != bands:
                raise ConfigError(f"scaling.noise: {len(given)} values for images of {bands} bands")
            noise = given.expand(images, bands)
        return FittedAsinhScale((self.softening * noise).clamp_min(FLOOR), image.ndim - 2)


def _negative_side(image: Tensor, valid: Tensor | None) -> Tensor:
    """Return the standard deviation (b, B) of Gaussian noise around zero from the median of pixels below it."""
    below = image < 0 if valid is None else (image < 0) & valid
    size = image.abs().masked_fill(~below, torch.nan).flatten(2)
    median = _lower_median(size) if torch.compiler.is_compiling() else size.nanmedian(dim=2).values
    return (median / HALF_NORMAL_MEDIAN).nan_to_num(0.0)


def _lower_median(values: Tensor) -> Tensor:
    """Return `nanmedian` over the last axis of (b, B, n), by operations that every format of programs has."""
    unknown = values.isnan()
    ordered = values.masked_fill(unknown, torch.inf).sort(dim=2).values
    place = ((~unknown).sum(2, keepdim=True) - 1).clamp_min(0) // 2
    median = ordered.gather(2, place)[..., 0]
    return torch.where(median.isfinite(), median, torch.nan)


def _kind(values: Any) -> str:
    return str(values.get("name", "log") if isinstance(values, dict) else getattr(values, "name", "log"))


Scaling = Annotated[
    Annotated[LogScale, Tag("log")] | Annotated[AsinhScale, Tag("asinh")],
    Discriminator(_kind, "unknown_scaling", "expected the name log or asinh"),
]
