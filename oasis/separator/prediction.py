"""Predictions: the results of a separator for a batch of images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from oasis.loss.matching import reorder
from oasis.scaling import FittedScale
from oasis.separator.counting import Counts
from oasis.separator.sequence import Context


@dataclass(frozen=True)
class Maps:
    """Maps in the units of the head; the scaling converts them to the other units when needed.

    Attributes:
        values: (b, N, B, *S) the maps.
        scale: the scaling fitted to every image.
        scaled: whether `values` are in scaled units instead of physical ones.

    Example:
        >>> from oasis.scaling import LogScale
        >>> image = torch.full((1, 1, 2), 9.0)
        >>> maps = Maps(image.unsqueeze(1), LogScale(scale=1.0, peak=False).fit(image), scaled=False)
        >>> maps.in_scaled_units
        tensor([[[[1., 1.]]]])
    """

    values: Tensor
    scale: FittedScale
    scaled: bool

    @cached_property
    def in_scaled_units(self) -> Tensor:
        """The maps in scaled units, as compared by the loss."""
        return self.values if self.scaled else self.scale.forward(self.values)

    @cached_property
    def in_physical_units(self) -> Tensor:
        """The maps in the units of the image."""
        return self.scale.inverse(self.values) if self.scaled else self.values

    def detach(self) -> "Maps":
        """Return the maps without gradient."""
        return replace(self, values=self.values.detach())


class Presence(NamedTuple):
    """Logits of the probability that classes are present.

    Attributes:
        pixels: (b, N, B, *S) presence in every pixel.
        image: (b, N) presence anywhere in the image.
    """

    pixels: Tensor
    image: Tensor

    def ordered(self, order: Tensor) -> "Presence":
        """Return the presence with its classes reordered by (b, N)."""
        return Presence(reorder(self.pixels, order), reorder(self.image, order))


class Objects(NamedTuple):
    """Predicted quantities of objects, standardised: (value - centre) / width.

    Attributes:
        presence: (b, N) the logit of the probability that the object of a class is present.
        of_object: (b, N, Q) quantities of the object of each class.
        of_image: (b, E) quantities of the image.
        counts: the probabilities of the numbers of objects, where these are one decision.
        context: what a decoder of sequences attends to, from which its loss is computed.
    """

    presence: Tensor
    of_object: Tensor
    of_image: Tensor
    counts: Counts | None = None
    context: Context | None = None

    def ordered(self, order: Tensor) -> "Objects":
        """Return the quantities with their objects reordered by (b, N)."""
        return self._replace(presence=reorder(self.presence, order), of_object=reorder(self.of_object, order))


@dataclass(frozen=True)
class Prediction:
    """The results of a separator for a batch of images.

    Attributes:
        intensity: the maps.
        presence: the presence of classes, or None if the separator was not trained for it.
        objects: quantities of objects, or None if the separator was not trained for them.
    """

    intensity: Maps
    presence: Presence | None = None
    objects: Objects | None = None

    @property
    def maps(self) -> Tensor:
        """The maps (b, N, B, *S) in physical units."""
        return self.intensity.in_physical_units

    @property
    def scaled(self) -> Tensor:
        """The maps (b, N, B, *S) in scaled units, as compared by the loss."""
        return self.intensity.in_scaled_units

    @property
    def scale(self) -> FittedScale:
        """The scaling fitted to every image."""
        return self.intensity.scale

    def ordered(self, order: Tensor | None) -> "Prediction":
        """Return the prediction with its classes reordered by (b, N), for example from `matching_order`."""
        if order is None:
            return self
        return Prediction(
            replace(self.intensity, values=reorder(self.intensity.values, order)),
            None if self.presence is None else self.presence.ordered(order),
            None if self.objects is None else self.objects.ordered(order),
        )

    def gated(self) -> "Prediction":
        """Return the prediction with its maps multiplied by the probability of presence in the pixel."""
        if self.presence is None:
            return self
        maps = self.maps * torch.sigmoid(self.presence.pixels)
        return Prediction(Maps(maps, self.scale, scaled=False), self.presence, self.objects)

    def decided(self, least: Sequence[float]) -> "Prediction":
        """Return the prediction with empty maps of the N classes that are less probably present in the image."""
        if self.presence is None or not any(least):
            return self
        chance = torch.sigmoid(self.presence.image)
        return self.blank_where(chance < chance.new_tensor(least))

    def blank_where(self, blank: Tensor) -> "Prediction":
        """Return the prediction with maps set to 0: all of an image by (b,) bool, or single ones by (b, N)."""
        keep = ~blank.to(self.maps.device).view(*blank.shape, *[1] * (self.maps.ndim - blank.ndim))
        maps = torch.where(keep, self.maps, 0)
        return Prediction(Maps(maps, self.scale, scaled=False), self.presence, self.objects)
