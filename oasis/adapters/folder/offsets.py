"""Offsets: whether maps have the offset and the gain of their images, and what they leave of the images' light."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.camera import Camera
from oasis.adapters.folder.intensities import Counts
from oasis.adapters.folder.layout import Layout

SAMPLED: Final = 5  # images that are compared with their maps
DARK: Final = 5.0  # percentile of dark pixels, which is above the noise of those that shine nowhere
BRIGHT: Final = 99.0  # percentile of the added maps above which shares of light are compared

MapsKind = Literal["counts", "net", "unit"]


@dataclass(frozen=True)
class Compared:
    """Images compared with the maps of their classes.

    Attributes:
        kind: what the maps are: `counts` with the offset, `net` counts without it, or in the `unit`.
        without: classes whose maps do not have the offset that their images have.
        level: median of what images have more than all maps together, in units.
        share: of the light above that level, in the brightest pixels of the maps, how much is in the maps.
    """

    kind: MapsKind
    without: tuple[str, ...]
    level: float
    share: float


def compare(layout: Layout, camera: Camera, counts: Counts) -> Compared | None:
    """Compare images with their maps; None if no image has maps of its shape.

    Args:
        layout: images with maps.
        camera: offset and gain, as stated.
        counts: reads the files.
    """
    images, maps = _pixels(layout, counts)
    if not images.size:
        return None
    dark = {name: float(np.nanpercentile(one, DARK)) for name, one in maps.items()}
    seen = camera.offset > 0 and float(np.nanpercentile(images, DARK)) > camera.offset / 2
    without = tuple(name for name, level in dark.items() if seen and level < camera.offset / 2)
    kinds: tuple[MapsKind, ...] = ("counts",)
    if len(without) == len(maps):
        kinds = ("net", "unit") if camera.gain != 1 else ("unit",)
    found = [Compared(kind, without, *_light(images, maps, camera, kind)) for kind in kinds]
    return min(found, key=lambda one: abs(np.log(max(one.share, 1e-9))))


def in_units(values: NDArray[Any], camera: Camera, kind: MapsKind) -> NDArray[Any]:
    """Return the numbers of a map in units.

    Example:
        >>> camera = Camera(offset=100, gain=0.5)
        >>> [float(in_units(np.array([104.0]), camera, kind)[0]) for kind in ("counts", "net", "unit")]
        [2.0, 52.0, 104.0]
    """
    if kind == "counts":
        return camera.signal(values)
    return values * camera.gain if kind == "net" else values


def _pixels(layout: Layout, counts: Counts) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
    """Return the pixels of images, and those of the maps of every class at the same places."""
    images: list[NDArray[Any]] = []
    maps: dict[str, list[NDArray[Any]]] = {name: [] for name in layout.maps}
    for name, path in islice(layout.images.items(), SAMPLED):
        image = counts.labelled(path)[0]
        own = {kind: counts.labelled(files[name])[0] for kind, files in layout.maps.items()}
        if {one.shape for one in own.values()} == {image.shape}:
            images.append(image.ravel().astype(float))
            for kind, one in own.items():
                maps[kind].append(one.ravel().astype(float))
    if not images:
        return np.zeros(0), {}
    return np.concatenate(images), {kind: np.concatenate(parts) for kind, parts in maps.items()}


def _light(
    images: NDArray[Any], maps: Mapping[str, NDArray[Any]], camera: Camera, kind: MapsKind
) -> tuple[float, float]:
    """Return the level that maps of a kind leave, and their share of the light above it."""
    raw = np.sum(list(maps.values()), axis=0)
    truth = np.sum([in_units(one, camera, kind).clip(min=0) for one in maps.values()], axis=0)
    signal = camera.signal(images)
    lit = raw >= np.nanpercentile(raw, BRIGHT)
    level = float(np.nanmedian(signal - truth))
    light = float(np.nanmean(signal[lit])) - level
    return level, float(np.nanmean(truth[lit])) / light if light > 0 else 1.0
