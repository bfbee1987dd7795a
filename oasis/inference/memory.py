"""Memory: the memory per pixel during separation, and the resulting size of tiles."""

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from oasis.errors import ConfigError, shown
from oasis.separator.separator import Separator, evaluating

LARGEST: Final = {1: 2**20, 2: 2048, 3: 256}  # pixels along an axis of a tile with its halo
CHUNK: Final = {1: 2**16, 2: 256, 3: 32}  # pixels along an axis of a chunk that is written at once to a file
TRIED: Final = {1: 4096, 2: 128, 3: 32}  # pixels along an axis of the image on which the memory is measured
USED = 0.8  # fraction of the free memory: the rest is for reading, writing and the overhead of the allocator
DEFAULT = 2**32  # bytes, unless the machine has less than four times as much
UNITS: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def parse_memory(text: str) -> int:
    """Return a number of bytes: `2GB`, `500 MB`, `1.5GiB`.

    Raises:
        ConfigError: something else.

    Example:
        >>> parse_memory("2GB"), parse_memory("1.5 GiB")
        (2000000000, 1610612736)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", text, flags=re.IGNORECASE)
    if match is None:
        raise ConfigError(f"memory: expected a size such as 2GB, found {shown(text)}")
    unit = UNITS[match[2].upper()]
    if match[3]:
        unit = 2 ** (10 * list(UNITS).index(match[2].upper()))
    found = int(float(match[1]) * unit)
    if not found:
        raise ConfigError(f"memory: expected a size above 0 such as 2GB, found {shown(text)}")
    return found


def bytes_per_pixel(separator: Separator) -> float:
    """Return the memory per pixel during separation: the outputs of all layers, as if all were kept.

    This is an upper bound for networks whose layers are modules, about twice the actual need.
    """
    options = separator.options
    size = [max(TRIED[options.spatial_dims], separator.backbone.minimum_size)] * options.spatial_dims
    parameter = next(separator.parameters())
    image = torch.ones(1, options.bands, *size, device=parameter.device)
    context = torch.zeros(1, options.context, *size, device=parameter.device) if options.context else None
    used = 0

    def note(module: nn.Module, given: Any, output: Any) -> None:
        nonlocal used
        for one in output if isinstance(output, tuple | list) else [output]:
            if isinstance(one, torch.Tensor):
                used += one.numel() * one.element_size()

    network = evaluating(separator)
    hooks = [module.register_forward_hook(note) for module in network.modules() if not [*module.children()]]
    try:
        with torch.inference_mode():
            network(image, context=context)
    finally:
        for hook in hooks:
            hook.remove()
    maps = 4 * 4 * len(options.classes) * options.bands  # of shares, maps, their copy, and what is kept of them
    return used / prod(size) + 8 * (options.bands + options.context) + maps


def allowance(memory: int | None) -> float:
    """Return the bytes available for tiles, from a budget for the whole process or the machine's memory."""
    if memory is not None:
        return USED * (memory - resident())
    return USED * min(DEFAULT, physical() / 4)


def physical() -> float:
    """Return how many bytes of memory the machine has; 16 GiB where the system does not tell."""
    with suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 4 * DEFAULT


def fits(separator: Separator, size: Sequence[int], memory: int | None = None) -> bool:
    """Return whether an image of a size can be separated at once.

    Args:
        separator: that it is separated with.
        size: of the image.
        memory: bytes of the whole process; the machine's, if not given.
    """
    free = allowance(memory) if memory is not None else physical()
    return bytes_per_pixel(separator) * prod(size) <= free


def resident() -> int:
    """Return the bytes that the process uses now; 0 if unknown."""
    with suppress(OSError, ValueError, IndexError, AttributeError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def largest_core(separator: Separator, halo: Sequence[int], memory: int | None = None) -> tuple[int, ...]:
    """Return the largest tile, in pixels along every axis without its halo, for which the memory is sufficient.

    Args:
        separator: the separator to apply.
        halo: pixels of the halo on either side of a tile.
        memory: bytes of the whole process; by default a quarter of the machine's memory, at most 4 GiB.

    Raises:
        ConfigError: the memory is insufficient for the smallest tile.
    """
    dims, grid = separator.options.spatial_dims, separator.backbone.grid
    cost, free = bytes_per_pixel(separator), allowance(memory)
    side = int(max(free / cost, 0) ** (1 / dims))
    cores = []
    for around in (-(-one // grid) * grid for one in halo):
        core = min(side, LARGEST[dims]) - 2 * around
        step = CHUNK[dims] if core >= CHUNK[dims] else grid
        cores.append(core // step * step)
    if min(cores) < max(grid, min(halo) // 4):
        least = cost * prod(2 * (-(-one // grid) * grid) + max(grid, one) for one in halo)
        more = least / USED + (resident() if memory is not None else 0)
        raise ConfigError(
            f"memory: a tile of this network, which sees {max(halo)} pixels to either side, needs some "
            f"{more / 1e9:.1f} GB: give more, or choose the size of tiles with --tile"
        )
    return tuple(cores)
