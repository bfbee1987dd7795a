r"""The object head: quantities of each object, such as its energy, and of the image, such as a vertex.

A small set-prediction head attends to the features of the backbone's encoder with one query per class, which
includes the moments of the map predicted for that class, and one query for the image. A map and the quantities of
its class thus belong to the same object, also if classes are interchangeable.

Source of queries that attend to an encoder: Carion et al. 2020, arXiv 2005.12872.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from oasis.data.quantities import Quantities, Quantity
from oasis.errors import ConfigError, DataError, nearest
from oasis.loss.ratio import Ratio
from oasis.options import Options
from oasis.scaling import FittedScale
from oasis.separator.prediction import Objects

PRESENCE = "presence"  # column of the probability that an object is present
PREDICTED = "_predicted"  # suffix of columns of predicted quantities
TINY = 1e-6  # minimum intensity of a map with a shape, and minimum length of a vector with a direction


class ObjectOptions(Options):
    """The options of the head that predicts quantities of objects.

    Attributes:
        channels: number of channels of its features.
        layers: number of attention layers.
        heads: number of attention heads, which divide the channels.
        weight: the weight of its loss relative to that of the maps.
    """

    channels: int = Field(64, ge=1)
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    weight: float = Field(1.0, gt=0)


class ObjectHead(nn.Module):
    """A head that predicts presence and quantities of the object of every class, and quantities of the image.

    Args:
        classes: the N class names.
        features: F, channels of the encoder's features.
        bands: number B of bands of the maps.
        spatial_dims: 1, 2 or 3.
        quantities: what to predict.
        options: the size of the head and the weight of its loss.
        interchangeable: groups of interchangeable classes, which share their query.

    Raises:
        ConfigError: `heads` does not divide `channels`, or there is nothing to predict.

    Example:
        >>> from oasis.scaling import LogScale
        >>> quantities = Quantities(of_object=(Quantity(name="energy", centre=10, width=5),))
        >>> head = ObjectHead(("a", "b"), 8, 1, 2, quantities, ObjectOptions(channels=16))
        >>> image = torch.ones(3, 1, 6, 6)
        >>> objects = head(image.unsqueeze(1).expand(3, 2, 1, 6, 6), image, torch.zeros(3, 8, 2, 2),
        ...                LogScale(scale=1.0).fit(image))
        >>> {name: values.shape for name, values in head.columns(objects).items()}
        {'presence_predicted': torch.Size([3, 2]), 'energy_predicted': torch.Size([3, 2])}
    """

    def __init__(
        self,
        classes: Sequence[str],
        features: int,
        bands: int,
        spatial_dims: int,
        quantities: Quantities,
        options: ObjectOptions,
        interchangeable: Sequence[Sequence[str]] = (),
    ) -> None:
        super().__init__()
        width = options.channels
        if width % options.heads:
            raise ConfigError(f"objects.heads: {options.heads} do not divide {width} channels")
        if not (quantities.of_object or quantities.of_image):
            raise ConfigError("objects: the adapter names no quantities to predict: leave the section out")
        self.classes = tuple(classes)
        self.quantities = quantities
        described = [not quantities.classes or name in quantities.classes for name in classes]
        self.register_buffer("described", torch.tensor(described), persistent=False)
        self.weight = options.weight
        kinds = kinds_of(self.classes, interchangeable)
        self.register_buffer("kinds", torch.tensor([*kinds, len(kinds)]), persistent=False)
        moments = 2 * bands + spatial_dims + spatial_dims * (spatial_dims + 1) // 2
        self.query = nn.Embedding(len(kinds) + 1, width)  # the last one is the image's
        self.moments = nn.Sequential(nn.Linear(moments, width), nn.GELU(), nn.Linear(width, width))
        self.tokens = nn.Linear(features + spatial_dims, width)
        layer = nn.TransformerDecoderLayer(
            width, options.heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.attention = nn.TransformerDecoder(layer, options.layers, nn.LayerNorm(width))
        self.of_object = _perceptron(width, 1 + len(quantities.of_object))
        self.of_image = _perceptron(width, len(quantities.of_image)) if quantities.of_image else None

    kinds: Tensor
    described: Tensor

    def forward(self, maps: Tensor, image: Tensor, encoded: Tensor, scale: FittedScale) -> Objects:
        """Return the quantities of every object.

        Args:
            maps: (b, N, B, *S) predicted maps in physical units; they receive no gradient.
            image: (b, B, *S) the mixture in physical units.
            encoded: (b, F, *s) the encoder's features.
            scale: the scaling fitted to `image`.
        """
        with torch.autocast(maps.device.type, enabled=False):
            shapes = torch.cat([maps, image.unsqueeze(1)], dim=1).detach().float()
            queries = self.query(self.kinds) + self.moments(moments(shapes, scale))
            encoded = encoded.float()
            places = _places(encoded.shape[2:], encoded.device).flatten(1).expand(encoded.shape[0], -1, -1)
            tokens = self.tokens(torch.cat([encoded.flatten(2), places], dim=1).transpose(1, 2))
            found = self.attention(queries, tokens)
            numbers = self.of_object(found[:, :-1])
            of_image = found.new_zeros(found.shape[0], 0) if self.of_image is None else self.of_image(found[:, -1])
            return Objects(numbers[..., 0], numbers[..., 1:], of_image)

    def columns(self, objects: Objects) -> dict[str, Tensor]:
        """Return the quantities in physical units as columns of an event table, (b, N) each.

        A quantity of the image is repeated for all classes; a class without quantities has NaN. Directions are
        normalised to unit vectors.
        """
        values = {PRESENCE: objects.presence.sigmoid()} if self.quantities.of_object else {}
        values |= _physical(self.quantities.of_object, objects.of_object)
        for names in self.quantities.directions:
            length = torch.stack([values[name] for name in names]).norm(dim=0).clamp_min(TINY)
            values |= {name: values[name] / length for name in names}
        values = {name: value.masked_fill(~self.described, torch.nan) for name, value in values.items()}
        of_image = _physical(self.quantities.of_image, objects.of_image)
        values |= {name: value.unsqueeze(1).expand_as(objects.presence) for name, value in of_image.items()}
        return {name + PREDICTED: value for name, value in values.items()}

    def ratios(self, objects: Objects, meta: Sequence[Mapping[str, Any]]) -> dict[str, Ratio]:
        r"""Return the terms of the loss, as ratios that can be summed over processes.

        `presence` is the binary cross entropy of every object, `quantities` the Huber loss of the quantities of
        present objects and of the image, in units of their widths.

        .. math:: \frac{1}{N} \sum_n \mathrm{BCE}(\hat e_n, e_n), \qquad
                  \frac{1}{M} \sum_m h\left(\frac{\hat x_m - x_m}{w_m}\right), \quad
                  h(u) = \begin{cases} u^2 / 2 & |u| < 1 \\ |u| - 1/2 & \text{else} \end{cases}

        Args:
            objects: predictions in the order of the true maps.
            meta: metadata of every sample, with the truth.

        Raises:
            DataError: the metadata lack a quantity, or contain only some quantities of an object.
        """
        of_object, of_image = self.truth(meta, objects.presence.device)
        there = of_object.isfinite().all(2) & self.described
        of_object = of_object.masked_fill(~there.unsqueeze(2), torch.nan)
        known = torch.cat([of_object.isfinite().flatten(1), of_image.isfinite()], dim=1)
        found = torch.cat([objects.of_object.flatten(1), objects.of_image], dim=1)
        true = torch.cat([of_object.flatten(1), of_image], dim=1)
        distance = F.smooth_l1_loss(torch.where(known, found, 0), torch.where(known, true, 0), reduction="none")
        terms = {"quantities": Ratio(distance.sum(1), known.sum(1).to(distance.dtype))}
        if self.quantities.of_object:
            entropy = F.binary_cross_entropy_with_logits(objects.presence, there.float(), reduction="none")
            entropy = entropy * self.described
            terms["presence"] = Ratio(entropy.sum(1), self.described.sum().expand(len(entropy)).to(entropy.dtype))
        return terms

    def truth(
        self, meta: Sequence[Mapping[str, Any]], device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """Return the standardised true quantities (b, N, Q) and (b, E), NaN for absent objects.

        Raises:
            DataError: the metadata lack one of them.
        """
        own, image = self.quantities.of_object, self.quantities.of_image
        pairs = zip(self.classes, self.described.tolist(), strict=True)
        rows = [[f"{name}_{one.name}" if described else "" for one in own] for name, described in pairs]
        try:
            of_object = [[[one[name] if name else math.nan for name in row] for row in rows] for one in meta]
            of_image = [[one[quantity.name] for quantity in image] for one in meta]
        except KeyError as error:
            name = error.args[0]
            raise DataError(
                f"objects: the metadata of the samples have no {name!r}; {nearest(name, map(str, meta[0]))}"
            ) from None
        return (
            _standard(torch.tensor(of_object, dtype=torch.float32), own).to(device),
            _standard(torch.tensor(of_image, dtype=torch.float32), image).to(device),
        )


def kinds_of(classes: Sequence[str], interchangeable: Sequence[Sequence[str]]) -> list[int]:
    """Return for every class the index of the first class that it is interchangeable with, or its own.

    Example:
        >>> kinds_of(("a", "b", "c"), [("b", "c")])
        [0, 1, 1]
    """
    leaders = {name: group[0] for group in interchangeable for name in group}
    return [list(classes).index(leaders.get(name, name)) for name in classes]


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
    places = _places(maps.shape[3:], maps.device).flatten(1)
    first, second = torch.triu_indices(dims, dims, device=maps.device)
    mean = share @ places.T
    covariance = share @ (places[first] * places[second]).T - mean[..., first] * mean[..., second]
    return torch.cat([intensity, total.sign() * total.abs().pow(1 / 3), mean, covariance], dim=2)


def _physical(quantities: Sequence[Quantity], values: Tensor) -> dict[str, Tensor]:
    """Return standardised quantities (..., Q) in physical units, by name."""
    return {one.name: one.centre + one.width * values[..., place] for place, one in enumerate(quantities)}


def _standard(values: Tensor, quantities: Sequence[Quantity]) -> Tensor:
    centre = values.new_tensor([one.centre for one in quantities])
    return (values - centre) / values.new_tensor([one.width for one in quantities])


def _places(shape: Sequence[int], device: torch.device) -> Tensor:
    """Return the centres of cells of equal size (d, *S), from -1 to 1 along every axis."""
    axes = [(torch.arange(size, device=device) * 2 + 1) / size - 1 for size in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def _perceptron(width: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, outputs))
