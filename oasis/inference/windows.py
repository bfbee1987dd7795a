"""Windows: the parts of an image that are separated at once, so that large images fit into memory.

A tile is separated with a halo as wide as the reach of the network, and cropped: the maps are those of the whole
image. This is true for networks that do not see the whole frame; others are refused.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from oasis.device import autocast
from oasis.errors import ConfigError, ModelError
from oasis.models.backbone import Backbone, Margins, pad
from oasis.scaling import FittedScale
from oasis.separator.prediction import Prediction
from oasis.separator.separator import Separator, evaluating

FARTHEST = {1: 4096, 2: 2048, 3: 512}  # largest reach of a network that is measured, pixels along an axis
CORE = {1: 65536, 2: 512, 3: 64}  # default pixels of a tile along an axis, without its halo

Place = tuple[slice, ...]
Read = Callable[[Place], tuple[NDArray[np.float32], NDArray[np.float32] | None]]


def reach(backbone: Backbone) -> tuple[int, ...]:
    """Return the largest distance at which a pixel changes the output, along every spatial axis.

    It is measured by the gradient of the outputs in one period of the network's grid.

    Raises:
        ModelError: the output depends on the whole frame, or on pixels farther away than can be measured.

    Example:
        >>> from oasis.models import create_model
        >>> reach(create_model("unet", 1, 1, base_channels=4, depth=2, norm="batch"))
        (15, 15)
    """
    if backbone.sees_whole_frame:
        raise ModelError(
            "the network sees the whole frame (group or instance normalisation, attention, or pooling over it), "
            "so that tiles would give other maps: separate whole images of the size in training, or train with "
            "model.norm=batch"
        )
    return tuple(_reach(evaluating(backbone), axis) for axis in range(backbone.spatial_dims))


def _reach(backbone: Backbone, axis: int) -> int:
    period, length = backbone.grid, FARTHEST[backbone.spatial_dims]
    least = -(-max(backbone.minimum_size, period) // period) * period
    size = [least] * backbone.spatial_dims
    size[axis] = length
    weight = next(backbone.parameters())
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, backbone.in_channels, *size, generator=generator).to(weight).requires_grad_()
    output = backbone(image)
    share = torch.rand(output.shape, generator=generator).to(weight)
    first = length // 2 // period * period
    farthest = 0
    for place in range(first, first + period):
        at = output.narrow(2 + axis, place, 1) * share.narrow(2 + axis, place, 1)
        (gradient,) = torch.autograd.grad(at.sum(), image, retain_graph=True)
        seen = gradient.movedim(2 + axis, 0).flatten(1).abs().amax(1).nonzero()[:, 0]
        farthest = max(farthest, int((seen - place).abs().max()))
    if farthest >= first - period:
        raise ModelError(
            f"the network sees more than {farthest} pixels along axis {axis}: tiles cannot be measured"
        )
    return farthest


def places(size: Sequence[int], core: Sequence[int]) -> Iterator[Place]:
    """Divide an image into parts of a size, the last ones of every axis smaller.

    Args:
        size: the size of the image.
        core: the size of a part.

    Example:
        >>> [place[0] for place in places([20], core=[8])]
        [slice(0, 8, None), slice(8, 16, None), slice(16, 20, None)]
    """
    for starts in product(*(range(0, whole, part) for whole, part in zip(size, core, strict=True))):
        yield tuple(
            slice(start, min(start + part, whole)) for start, part, whole in zip(starts, core, size, strict=True)
        )


def surroundings(place: Place, size: Sequence[int], halo: Sequence[int], grid: int = 1) -> Place:
    """Return a part of an image with a halo, extended to edges on a grid, that ends at the image.

    Args:
        place: the part.
        size: the size of the image.
        halo: the halo on either side.
        grid: edges are multiples of this.

    Example:
        >>> surroundings((slice(8, 16),), [24], halo=[3], grid=4)
        (slice(4, 20, None),)
    """
    return tuple(
        slice(max((part.start - around) // grid * grid, 0), min(-(-(part.stop + around) // grid) * grid, whole))
        for part, around, whole in zip(place, halo, size, strict=True)
    )


def separate_tiled(
    separator: Separator,
    image: NDArray[np.float32],
    context: NDArray[np.float32] | None = None,
    core: int | Sequence[int] | None = None,
) -> NDArray[np.float32]:
    """Return the maps (N, B, *S) of one image in physical units, separated tile by tile.

    They equal those of the whole image, up to rounding. The scaling is fitted to the whole image. Tiles in which
    the image is zero everywhere have maps of zero and cost nothing.

    Args:
        separator: a separator whose network does not see the whole frame.
        image: (B, *S) the image.
        context: (C, *S) its context.
        core: pixels of a tile along every axis, without its halo.

    Raises:
        ModelError: the network sees the whole frame.
        ConfigError: a tile has no pixels.
    """
    image = np.nan_to_num(image, posinf=0, neginf=0)
    scale = separator.options.scaling.fit(torch.from_numpy(image)[None])
    maps = np.zeros((len(separator.classes), *image.shape), dtype=np.float32)

    def read(place: Place) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        return image[:, *place], None if context is None else context[:, *place]

    tiling = Tiling.of(separator, core)
    for place, found in tiling.maps(separator, image.shape[1:], read, scale):
        maps[:, :, *place] = found
    return maps


class Tiling(NamedTuple):
    """The division of images into tiles.

    Attributes:
        core: pixels of a tile along every axis, without its halo.
        halo: pixels of the halo on either side.
    """

    core: tuple[int, ...]
    halo: tuple[int, ...]

    @classmethod
    def of(cls, separator: Separator, core: int | Sequence[int] | None = None) -> "Tiling":
        """Return tiles with a halo as wide as the reach of the network.

        Args:
            separator: a separator whose network does not see the whole frame.
            core: pixels of a tile along every axis, without its halo.

        Raises:
            ModelError: the network sees the whole frame.
            ConfigError: a tile has no pixels.
        """
        dims = separator.options.spatial_dims
        cores = [CORE[dims] if core is None else core] * dims if core is None or isinstance(core, int) else core
        if len(cores) != dims or min(cores) < 1:
            raise ConfigError(f"tile: expected {dims} numbers of pixels of at least 1, found {core}")
        return cls(tuple(cores), reach(separator.backbone))

    def maps(
        self, separator: Separator, size: Sequence[int], read: Read, scale: FittedScale
    ) -> Iterator[tuple[Place, NDArray[np.float32]]]:
        """Yield the maps (N, B, *part) of an image part by part, with the position of each part.

        Parts do not overlap; missing parts are blank.

        Args:
            separator: the separator to apply.
            size: the size of the image.
            read: returns image (B, *part) and context (C, *part), or None, of a part.
            scale: the scaling fitted to the whole image.
        """
        network = evaluating(separator)
        for place in places(size, self.core):
            found = self.maps_of(network, size, read, scale, place)
            if found is not None:
                yield place, found

    def maps_of(
        self, network: Separator, size: Sequence[int], read: Read, scale: FittedScale, place: Place
    ) -> NDArray[np.float32] | None:
        """Return the maps (N, B, *part) of one part of an image, or None if it and its surroundings are blank.

        Args:
            network: the separator to apply, in evaluation mode.
            size: the size of the image.
            read: returns image (B, *part) and context (C, *part), or None, of a part.
            scale: the scaling fitted to the whole image.
            place: the part.
        """
        backbone, device = network.backbone, next(network.parameters()).device
        margins = backbone.margins(size)  # as the whole image is padded
        padded = [length + sum(more) for length, more in zip(size, margins, strict=True)]
        inner = tuple(
            slice(part.start + low, part.stop + low) for part, (low, _) in zip(place, margins, strict=True)
        )
        around = surroundings(inner, padded, self.halo, backbone.grid)
        within, missing = _within(around, size, margins)
        part, further = read(within)
        if not part.any():
            return None
        image, context = (
            None if one is None else pad(torch.from_numpy(one)[None], missing, backbone.padding).to(device)
            for one in (part, further)
        )
        with torch.inference_mode(), autocast(device):
            prediction: Prediction = network(image, context=context, scale=scale.to(device))
        kept = tuple(
            slice(one.start - whole.start, one.stop - whole.start)
            for one, whole in zip(inner, around, strict=True)
        )
        found: NDArray[np.float32] = prediction.maps[0].float().cpu().numpy()
        return found[:, :, *kept]


def _within(part: Place, size: Sequence[int], margins: Margins) -> tuple[Place, Margins]:
    """Return a part of a padded image as a part of the image, and the missing pixels on either side."""
    place, missing = [], []
    for one, length, (low, _) in zip(part, size, margins, strict=True):
        start, stop = max(one.start - low, 0), min(one.stop - low, length)
        place.append(slice(start, stop))
        missing.append((start - (one.start - low), one.stop - low - stop))
    return tuple(place), missing
