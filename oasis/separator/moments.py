"""Moments of maps: their intensity, centroid and shape, as the object head takes them."""

import torch
from torch import Tensor

from oasis.models.tokens import places as cell_places
from oasis.scaling import FittedScale

TINY = 1e-6  # minimum intensity of a map with a shape


def moments(maps: Tensor, scale: FittedScale) -> Tensor:
    r"""Return the zeroth, first and second moments of each map.

    .. math:: m = \sum_p I_p, \qquad \bar x = \frac{1}{m} \sum_p I_p x_p, \qquad
              C = \frac{1}{m} \sum_p I_p (x_p - \bar x)(x_p - \bar x)^T

    over bands, with positions x from -1 to 1 along every axis. The intensity m is returned both scaled, like a
    single pixel, and as its cube root.

    Args:
        maps: (b, N, B, *S) in physical units; values below 0 count as 0.
        scale: the scaling fitted to the image.

    Returns:
        (b, N, 2 B + d + d (d + 1) / 2) for d spatial axes.

    Example:
        >>> from oasis.scaling import LogScale
        >>> line = torch.tensor([[[[1.0, 0.0, 1.0]]]])
        >>> moments(line, LogScale(scale=1.0, peak=False).fit(line[:, 0]))
        tensor([[[0.4771, 1.2599, 0.0000, 0.4444]]])
    """
    dims = maps.ndim - 3
    maps = maps.clamp_min(0)
    total = maps.flatten(3).sum(3)
    intensity = scale.forward(total.view(*total.shape, *[1] * dims)).flatten(2)
    light = maps.sum(2).flatten(2)
    share = light / light.sum(2, keepdim=True).clamp_min(TINY)
    places = cell_places(maps.shape[3:], maps.device).flatten(1)
    first, second = torch.triu_indices(dims, dims, device=maps.device)
    mean = share @ places.T
    covariance = share @ (places[first] * places[second]).T - mean[..., first] * mean[..., second]
    return torch.cat([intensity, total.sign() * total.abs().pow(1 / 3), mean, covariance], dim=2)
