"""Scaling: invertible transforms of intensity, fitted per image, applied on the device."""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

from oasis.options import Options

LN10 = math.log(10)
FLOOR = 1e-12  # of the scale and the peak, so that an empty image scales to zeros
CEILING = 60.0  # of the exponent in the inverse, so that an untrained network's intensities stay finite


class FittedScale(Protocol):
    """A scaling whose parameters are fixed for every image of a batch."""

    def forward(self, intensity: Tensor) -> Tensor:
        """Return scaled values of intensities (b, ...) in physical units."""

    def inverse(self, scaled: Tensor) -> Tensor:
        """Return intensities in physical units of scaled values (b, ...)."""


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

    def _shaped(self, like: Tensor) -> tuple[Tensor, Tensor]:
        shape = (-1, *[1] * (like.ndim - 1))
        return self.scale.view(shape), self.peak.view(shape)


class LogScale(Options):
    """Logarithmic scaling of intensity (Eq. 4 and 5 of arXiv 2510.06194).

    Attributes:
        percentile: of the image's pixels, which gives the scale `s`.
        over: the pixels that count for the percentile and the peak: the whole `frame`, or `valid` ones.
        scale: a fixed `s` in physical units in the place of the percentile.
        peak: divide by the largest value, so that the image reaches 1 (the paper); False keeps the absolute
            intensity visible to the network, which wants a fixed `scale` beside it.

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
            scale = pixels.new_full((len(pixels),), self.scale)
        if not self.peak:
            return FittedLogScale(scale, torch.ones_like(scale))
        counted = pixels if ignored is None else pixels.masked_fill(ignored, 0)
        largest = counted.abs().amax(1)
        return FittedLogScale(scale, (torch.log1p(largest / scale) / LN10).clamp_min(FLOOR))


def _percentile(pixels: Tensor, percentile: float, ignored: Tensor | None) -> Tensor:
    """Return a percentile of every row (b, n), interpolated linearly between order statistics as numpy does."""
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


SCALINGS: dict[str, type[LogScale]] = {"log": LogScale}
