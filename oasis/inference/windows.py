"""Windows: the parts of an image that are separated at once, so that large images fit into memory.

A tile is separated with a halo around it, as wide as the network sees, and cropped: the maps are those of the
whole image. That holds for networks that do not see the whole frame; others are refused.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from oasis.device import autocast
from oasis.errors import ConfigError, ModelError
from oasis.models.backbone import Backbone, pad
from oasis.separator.prediction import Prediction
from oasis.separator.separator import Separator, evaluating

FARTHEST = {1: 4096, 2: 2048, 3: 512}  # pixels along an axis, within which the reach of a network is looked for
CORE = {1: 65536, 2: 512, 3: 64}  # pixels along an axis that a tile gives by default


class Tile(NamedTuple):
    """One tile of an image.

    Attributes:
        read: the part of the image that is separated.
        write: the part that its maps are kept of.
    """

    read: tuple[slice, ...]
    write: tuple[slice, ...]

    @property
    def kept(self) -> tuple[slice, ...]:
        """The part of the separated maps that is kept."""
        pairs = zip(self.read, self.write, strict=True)
        return tuple(slice(kept.start - read.start, kept.stop - read.start) for read, kept in pairs)


def reach(backbone: Backbone) -> tuple[int, ...]:
    """Return how far away a pixel can be that changes the output, along every spatial axis.

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
        size: of the image, multiples of `grid`.
        core: of a tile without its halo; rounded up to the grid.
        halo: on either side; rounded up to the grid.
        grid: what edges are multiples of.

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

    They are those that the whole image gives at once, up to rounding, if its sides are multiples of the network's
    grid; otherwise those of the image padded to such a size. The scaling is fitted to the whole image. Tiles in
    which the image is zero everywhere have maps of zero and cost nothing.

    Args:
        separator: whose network does not see the whole frame.
        image: (B, *S).
        context: (C, *S).
        core: pixels of a tile along every axis, without its halo.

    Raises:
        ModelError: the network sees the whole frame.
        ConfigError: a tile without pixels.
    """
    backbone, dims = separator.backbone, separator.options.spatial_dims
    cores = [CORE[dims] if core is None else core] * dims if core is None or isinstance(core, int) else list(core)
    if len(cores) != dims or min(cores) < 1:
        raise ConfigError(f"tile: expected {dims} numbers of pixels of at least 1, found {core}")
    halo, grid, size = reach(backbone), backbone.grid, image.shape[1:]
    device = next(separator.parameters()).device
    whole = torch.from_numpy(np.nan_to_num(image, posinf=0, neginf=0))[None]
    scale = separator.options.scaling.fit(whole)
    margins = [(-length % grid // 2, -length % grid - -length % grid // 2) for length in size]
    padded = pad(whole, margins, backbone.padding)
    extra = None if context is None else pad(torch.from_numpy(context)[None], margins, backbone.padding)
    before = [low for low, _ in margins]
    maps = np.zeros((len(separator.classes), *image.shape), dtype=np.float32)
    network = evaluating(separator)
    for tile in tiles(padded.shape[2:], cores, halo, grid):
        part = padded[:, :, *tile.read]
        if not part.any():
            continue
        with torch.inference_mode(), autocast(device):
            around = None if extra is None else extra[:, :, *tile.read].to(device)
            prediction: Prediction = network(part.to(device), context=around, scale=scale.to(device))
        _paste(maps, prediction.maps[0].float().cpu().numpy(), tile, before)
    return maps


def _paste(maps: NDArray[Any], found: NDArray[Any], tile: Tile, before: Sequence[int]) -> None:
    """Write the kept part of a tile's maps, without the padding of the image."""
    into: list[slice] = []
    out_of: list[slice] = []
    everything = [slice(None)] * 2
    for kept, write, margin, length in zip(tile.kept, tile.write, before, maps.shape[2:], strict=True):
        low, high = max(write.start - margin, 0), min(write.stop - margin, length)
        into.append(slice(low, max(high, low)))
        skipped = low - (write.start - margin)
        out_of.append(slice(kept.start + skipped, kept.start + skipped + max(high - low, 0)))
    if prod(part.stop - part.start for part in into):
        maps[*everything, *into] = found[*everything, *out_of]
