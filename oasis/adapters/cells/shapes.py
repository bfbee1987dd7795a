"""Shapes: the light of single nuclei, vesicles and filaments, in photoelectrons per pixel."""

from math import ceil
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
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


def vesicle(light: float, at: Floats, width: float) -> Stamp:
    """Return a Gaussian spot, integrated over each pixel.

    Args:
        light: of the spot in total.
        at: (2,) row and column of its centre, in pixels from the centre of the first one.
        width: standard deviation.

    Example:
        >>> round(float(vesicle(100.0, np.array([5.2, 7.9]), 1.0).light.sum()), 1)
        100.0
    """
    reach = ceil(REACH * width) + 1
    origin = np.rint(at).astype(int) - reach
    edges = origin[:, None] + np.arange(2 * reach + 2) - 0.5 - at[:, None]
    parts = np.diff(erf(edges / (np.sqrt(2) * width)), axis=1) / 2
    return Stamp((light * np.outer(*parts)).astype(np.float32), _pair(origin))


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
    return Stamp(gaussian_filter(light, blur, truncate=REACH).astype(np.float32), _pair(origin))


def filament(
    light: float, start: Floats, length: float, persistence: float, blur: float, rng: np.random.Generator
) -> Stamp:
    """Return a filament: a worm-like chain, whose mean cosine between directions falls as exp(-s / 2 persistence).

    Args:
        light: per pixel of its length.
        start: (2,) where it begins.
        length: in pixels.
        persistence: length over which the direction is lost, in pixels.
        blur: standard deviation of the point-spread function.
        rng: draws its course.
    """
    points = start + course(length, persistence, rng)
    reach = ceil(REACH * blur) + 1
    origin = np.floor(points.min(axis=0)).astype(int) - reach
    shape = tuple(np.ceil(points.max(axis=0)).astype(int) + reach + 1 - origin)
    low = np.floor(points).astype(int)
    part = points - low
    drawn = np.zeros(shape)
    for row in (0, 1):
        for column in (0, 1):
            share = np.abs(1 - row - part[:, 0]) * np.abs(1 - column - part[:, 1])
            np.add.at(drawn, tuple((low + [row, column] - origin).T), share)
    drawn *= light * length / len(points)
    return Stamp(gaussian_filter(drawn, blur, truncate=REACH).astype(np.float32), _pair(origin))


def course(length: float, persistence: float, rng: np.random.Generator) -> Floats:
    """Return the points (k, 2) of a worm-like chain in the plane, from the origin.

    The angle between the directions at two points at distance s has a variance of s / persistence.
    """
    count = max(round(length / STEP), 1)
    bends = rng.normal(0, np.sqrt(STEP / persistence), count)
    angles = rng.uniform(0, 2 * np.pi) + np.cumsum(bends)
    steps: Floats = STEP * np.stack([np.sin(angles), np.cos(angles)], axis=1)
    return np.cumsum(steps, axis=0)


def _pair(origin: NDArray[np.int_]) -> tuple[int, int]:
    return int(origin[0]), int(origin[1])
