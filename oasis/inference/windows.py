"""Windows: the parts of an image that are separated at once, so that large images fit into memory.

A tile is separated with a halo as wide as the reach of the network, and cropped: the maps are those of the whole
image. This is true for networks that do not see the whole frame; others are refused.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
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


class Tile(NamedTuple):
    """One tile of an image.

    Attributes:
        read: the part of the image that is separated.
        write: the part whose maps are kept.
    """

    read: tuple[slice, ...]
    write: tuple[slice, ...]

    @property
    def kept(self) -> tuple[slice, ...]:
        """The part of the separated maps that is kept."""
        pairs = zip(self.read, self.write, strict=True)
        return tuple(slice(kept.start - read.start, kept.stop - read.start) for read, kept in pairs)


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


def tiles(size: Sequence[int], core: Sequence[int], halo: Sequence[int], grid: int = 1) -> Iterator[Tile]:
    """Divide an image into tiles whose edges lie on a grid, each with a halo that ends at the image.

    Args:
        size: the size of the image, multiples of `grid`.
        core: the size of a tile without its halo; rounded up to the grid.
        halo: the halo on either side; rounded up to the grid.
        grid: edges of tiles are multiples of this.

    Example:
        >>> [(tile.read[0], tile.write[0]) for tile in tiles([16], core=[8], halo=[3], grid=4)]
        [(slice(0, 12, None), slice(0, 8, None)), (slice(4, 16, None), slice(8, 16, None))]
    """
    core, halo = ([-(-length // grid) * grid for length in lengths] for lengths in (core, halo))
    starts = [range(0, whole, part) for whole, part in zip(size, core, strict=True)]
    for place in product(*starts):
        write = tuple(
            slice(start, min(start + part, whole)) for start, part, whole in zip(place, core, size, strict=True)
        )
        read = tuple(
            slice(max(part.start - around, 0), min(part.stop + around, whole))
            for part, around, whole in zip(write, halo, size, strict=True)
        )
        yield Tile(read, write)


def separate_tiled(
    separator: Separator,
    image: NDArray[np.float32],
    context: NDArray[np.float32] | None = None,
    core: int | Sequence[int] | None = None,
) -> NDArray[np.float32]:
    """Return the maps (N, B, *S) of one image in physical units, separated tile by tile.

    They equal those of the whole image, up to rounding, if its sides are multiples of the network's grid;
    otherwise those of the image padded to such a size. The scaling is fitted to the whole image. Tiles in which
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
        backbone = separator.backbone
        device, network = next(separator.parameters()).device, evaluating(separator)
        scale = scale.to(device)
        beyond = [-length % backbone.grid for length in size]
        margins = [(more // 2, more - more // 2) for more in beyond]
        padded = [length + more for length, more in zip(size, beyond, strict=True)]
        for tile in tiles(padded, self.core, self.halo, backbone.grid):
            place, missing = _within(tile.read, size, margins)
            part, around = read(place)
            if not part.any():
                continue
            image, context = (
                None if one is None else pad(torch.from_numpy(one)[None], missing, backbone.padding).to(device)
                for one in (part, around)
            )
            with torch.inference_mode(), autocast(device):
                prediction: Prediction = network(image, context=context, scale=scale)
            into, out_of = _kept(tile, size, margins)
            if prod(one.stop - one.start for one in into):
                yield into, prediction.maps[0].float().cpu().numpy()[:, :, *out_of]


def _within(part: Place, size: Sequence[int], margins: Margins) -> tuple[Place, Margins]:
    """Return a part of a padded image as a part of the image, and the missing pixels on either side."""
    place, missing = [], []
    for one, length, (low, _) in zip(part, size, margins, strict=True):
        start, stop = max(one.start - low, 0), min(one.stop - low, length)
        place.append(slice(start, stop))
        missing.append((start - (one.start - low), one.stop - low - stop))
    return tuple(place), missing


def _kept(tile: Tile, size: Sequence[int], margins: Margins) -> tuple[Place, Place]:
    """Return the position of the kept part of a tile's maps in the image, and in these maps."""
    into, out_of = [], []
    for kept, write, (low, _), length in zip(tile.kept, tile.write, margins, size, strict=True):
        start, stop = max(write.start - low, 0), min(write.stop - low, length)
        into.append(slice(start, max(stop, start)))
        skipped = start - (write.start - low)
        out_of.append(slice(kept.start + skipped, kept.start + skipped + max(stop - start, 0)))
    return tuple(into), tuple(out_of)
