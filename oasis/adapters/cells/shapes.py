"""Shapes: the light of nuclei, vesicles and filaments, in photoelectrons per pixel."""

from collections.abc import Sequence
from functools import lru_cache
from math import ceil
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d, gaussian_filter
from scipy.special import erf

from oasis.data.samples import Array

Floats = NDArray[np.float64]

REACH: Final = 4.0  # standard deviations of a blur that are drawn
STEP: Final = 0.25  # pixels between the points of a filament
WAVES: Final = 4  # of the outline of a nucleus
UNEVEN: Final = 0.06  # rms of each of them, relative to the radius
GRAIN: Final = 2.0  # pixels: standard deviation of the filter of a texture


class Stamp(NamedTuple):
    """A small picture.

    Attributes:
        light: (h, w) photoelectrons.
        origin: the pixel of an image in which its first pixel lies.
    """

    light: Array
    origin: tuple[int, int]


def vesicles(light: Floats, at: Floats, width: Floats) -> list[Stamp]:
    """Return n Gaussian spots, each integrated over pixels.

    Args:
        light: (n,) of each spot in total.
        at: (n, 2) rows and columns of their centres, in pixels from the centre of the first one.
        width: (n,) standard deviations.

    Example:
        >>> spots = vesicles(np.array([100.0, 50.0]), np.array([[5.2, 7.9], [1.0, 2.0]]), np.array([1.0, 1.5]))
        >>> [round(float(spot.light.sum()), 1) for spot in spots]
        [100.0, 50.0]
    """
    reach = np.ceil(REACH * width).astype(int) + 1
    origin = np.rint(at).astype(int) - reach[:, None]
    stamps = dict[int, Stamp]()
    for size in np.unique(reach):  # spots of one size together
        chosen = np.flatnonzero(reach == size)
        edges = origin[chosen, :, None] + np.arange(2 * size + 2) - 0.5 - at[chosen, :, None]
        parts = np.diff(erf(edges / (np.sqrt(2) * width[chosen])[:, None, None]), axis=2) / 2
        drawn = light[chosen, None, None] * (parts[:, 0, :, None] * parts[:, 1, None, :])
        corners = map(_pair, origin[chosen])
        stamps |= zip(chosen.tolist(), map(Stamp, drawn.astype(np.float32), corners), strict=True)
    return [stamps[number] for number in range(len(light))]


def nucleus(peak: float, at: Floats, axes: Floats, texture: float, blur: float, rng: np.random.Generator) -> Stamp:
    """Return a nucleus: the projection of an ellipsoid with an uneven outline, textured and blurred.

    Without unevenness and texture its light is 2/3 π · peak · axes[0] · axes[1].

    Args:
        peak: light of the brightest pixel without texture and blur.
        at: (2,) its centre.
        axes: (2,) semi-axes in pixels.
        texture: rms of the texture, relative to the light.
        blur: standard deviation of the point-spread function.
        rng: draws direction, outline and texture.
    """
    reach = ceil(float(axes.max()) * (1 + 3 * UNEVEN * np.sqrt(WAVES)) + REACH * blur) + 1
    origin = np.rint(at).astype(int) - reach
    rows, columns = np.indices((2 * reach + 1,) * 2) + (origin - at).reshape(2, 1, 1)
    turn = rng.uniform(0, np.pi)
    along = (rows * np.cos(turn) + columns * np.sin(turn)) / axes[0]
    across = (columns * np.cos(turn) - rows * np.sin(turn)) / axes[1]
    around = np.arctan2(across, along)
    outline = np.ones_like(around)
    for wave in range(2, 2 + WAVES):
        outline += rng.normal(0, UNEVEN / wave) * np.cos(wave * around + rng.uniform(0, 2 * np.pi))
    light = peak * np.sqrt(np.clip(1 - (along**2 + across**2) / outline**2, 0, None))
    if texture:
        grain = gaussian_filter(rng.normal(size=light.shape), GRAIN)
        light = light * np.clip(1 + texture * grain / grain.std(), 0, None)
    return Stamp(_blurred(light, blur), _pair(origin))


def filaments(light: Floats, courses: Sequence[Floats], blur: float) -> list[Stamp]:
    """Return n filaments: the light of their points, divided among the nearest pixels and blurred.

    Args:
        light: (n,) of each point.
        courses: n times (k, 2) rows and columns of points, such as from `course`.
        blur: standard deviation of the point-spread function.

    Example:
        >>> line = np.stack([np.zeros(40), np.arange(40) / 4], axis=1)
        >>> round(float(filaments(np.array([2.0]), [line], 1.0)[0].light.sum()), 1)
        80.0
    """
    if not courses:
        return []
    margin = ceil(REACH * blur) + 1
    origin = np.array([np.floor(points.min(axis=0)).astype(int) - margin for points in courses])
    end = np.array([np.ceil(points.max(axis=0)).astype(int) + margin + 1 for points in courses])
    shape = end - origin
    ends = np.cumsum(shape.prod(axis=1))
    counts = [len(points) for points in courses]
    own = np.repeat(np.arange(len(courses)), counts)
    points = np.concatenate(courses)
    low = np.floor(points).astype(int)
    part = points - low
    first = ends - shape.prod(axis=1)
    row, column = (low - origin[own]).T
    corner = first[own] + row * shape[own, 1] + column
    drawn = np.zeros(ends[-1])
    for down in (0, 1):
        for right in (0, 1):
            share = light[own] * np.abs(1 - down - part[:, 0]) * np.abs(1 - right - part[:, 1])
            drawn += np.bincount(corner + down * shape[own, 1] + right, share, len(drawn))
    whole = [drawn[a:b].reshape(size) for a, b, size in zip(first, ends, shape.tolist(), strict=True)]
    return [Stamp(_blurred(one, blur), _pair(corner)) for one, corner in zip(whole, origin, strict=True)]


def course(length: float, persistence: float, rng: np.random.Generator) -> Floats:
    """Return the points (k, 2) of a worm-like chain in the plane, from the origin, some `STEP` apart.

    The angle between the directions at two points at distance s has a variance of s / persistence, so that the
    mean cosine between them falls as exp(-s / 2 persistence).
    """
    count = max(round(length / STEP), 1)
    bends = rng.normal(0, np.sqrt(STEP / persistence), count)
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(bends)
    steps: Floats = STEP * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return np.cumsum(steps, axis=0)


def _blurred(light: Floats, blur: float) -> Array:
    """Return what `scipy.ndimage.gaussian_filter` does, which computes its weights anew each time."""
    if blur > 0:
        weights = _weights(blur)
        light = correlate1d(correlate1d(light, weights, axis=0), weights, axis=1)
    return light.astype(np.float32)


@lru_cache
def _weights(blur: float) -> Floats:
    radius = int(REACH * blur + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / blur) ** 2)
    return np.asarray(weights / weights.sum())


def _pair(origin: NDArray[np.int_]) -> tuple[int, int]:
    return int(origin[0]), int(origin[1])
