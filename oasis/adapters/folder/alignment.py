"""Alignment: whether maps lie where their images have the light, or are shifted, mirrored or transposed."""

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.folder.intensities import Counts
from oasis.adapters.folder.layout import Layout
from oasis.io.axes import SPATIAL

SAMPLED: Final = 5  # images that are compared with their maps
FEWEST: Final = 2  # images that have to agree
SEEN: Final = {1: 2**14, 2: 1024, 3: 128}  # pixels along an axis, in the middle, that are compared
LEAST: Final = 0.3  # correlation of images with their moved maps below which nothing is said
BETTER: Final = 0.05  # by how much it has to be above that of the maps as they are

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]


def misaligned(layout: Layout, dims: int, counts: Counts) -> str:
    """Return how maps would have to be moved to fit their images, where that is clear and the same in all.

    The sum of the maps is correlated with the image at every shift, and mirrored and transposed.

    Args:
        layout: images with maps.
        dims: number of spatial axes.
        counts: reads the files.

    Returns:
        The move as a text; an empty one where maps fit, or nothing is clear.
    """
    found = [_better(image, maps) for image, maps in islice(_pairs(layout, dims, counts), SAMPLED)]
    return found[0] if len(found) >= FEWEST and len(set(found)) == 1 else ""


def _pairs(layout: Layout, dims: int, counts: Counts) -> Iterator[Pair]:
    """Yield single images and the sums of their maps, around 0 and of norm 1."""
    for name, path in layout.images.items():
        arrays = [_images(*counts.labelled(path), dims)]
        arrays += [_images(*counts.labelled(files[name]), dims) for files in layout.maps.values()]
        if len({one.shape for one in arrays}) > 1 or not all(np.isfinite(one).all() for one in arrays):
            continue
        for image, *maps in zip(*arrays, strict=True):
            pair = _normed(image), _normed(np.sum(maps, axis=0))
            if all(one.any() for one in pair):
                yield pair


def _images(values: NDArray[Any], facts: Any, dims: int) -> NDArray[np.float64]:
    """Return the middle of the images of an array (n, *S)."""
    names, wanted = facts.names, SPATIAL[-dims:]
    if names and all(name in names for name in wanted):
        values = np.moveaxis(values, [names.index(name) for name in wanted], range(-dims, 0))
    values = values.reshape(-1, *values.shape[max(values.ndim - dims, 0) :])[:SAMPLED]
    for axis, length in enumerate(values.shape[1:], start=1):
        first = max(length - SEEN[dims], 0) // 2
        values = values.take(range(first, first + min(length, SEEN[dims])), axis)
    return values.astype(float)


def _normed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    values = values - values.mean()
    norm = float(np.linalg.norm(values))
    return values / norm if norm else values


def _better(image: NDArray[np.float64], maps: NDArray[np.float64]) -> str:
    """Return by which move maps fit their image clearly better, or an empty text."""
    spectrum = np.conj(np.fft.rfftn(maps)) * np.fft.rfftn(image)
    shifts = np.fft.irfftn(spectrum, image.shape, tuple(range(image.ndim)))
    place = np.unravel_index(int(shifts.argmax()), shifts.shape)
    moves = [
        int(at) if at <= length // 2 else int(at) - length for at, length in zip(place, image.shape, strict=True)
    ]
    scores = {"": float((image * maps).sum()) + BETTER, _shifted(moves): float(shifts.max())}
    scores |= {name: float((image * moved).sum()) for name, moved in _turned(maps).items()}
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] > LEAST else ""


def _shifted(moves: list[int]) -> str:
    axes = SPATIAL[-len(moves) :]
    return f"shifted by {', '.join(f'{axis} {move:+d}' for axis, move in zip(axes, moves, strict=True))} pixels"


def _turned(maps: NDArray[np.float64]) -> Mapping[str, NDArray[np.float64]]:
    """Return the maps mirrored along every axis, and with rows and columns exchanged where they are as many."""
    axes = SPATIAL[-maps.ndim :]
    found = {f"mirrored along {axis}": np.flip(maps, place) for place, axis in enumerate(axes)}
    if maps.ndim > 1 and maps.shape[-1] == maps.shape[-2]:
        turned = maps.swapaxes(-1, -2)
        found |= {"with rows and columns exchanged": turned, "rotated by 180 degrees": np.flip(maps, (-1, -2))}
        found |= {"rotated by a quarter": np.flip(turned, -1), "rotated by three quarters": np.flip(turned, -2)}
    return found
