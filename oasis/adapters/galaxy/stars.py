"""Stars: point sources with the profile of the point-spread function, bright ones with saturated cores."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from oasis.adapters.galaxy import survey
from oasis.adapters.galaxy.survey import MOFFAT_BETA, moffat_scale
from oasis.adapters.galaxy.varying import Conditions, StarOptions
from oasis.data.mixing import Placed
from oasis.data.samples import Array

STAR: Final = -1.0
"""The number in the library of what is no galaxy."""

HALF_LIGHT: Final = math.sqrt(2 ** (1 / (MOFFAT_BETA - 1)) - 1)  # radius, in units of the Moffat profile's length
TRIES: Final = 16  # places drawn for a star, at most, until one is far enough from the galaxy in the middle
POINTS: Final = 3  # of a pixel along each axis, at which the profile is evaluated


def draw_stars(
    options: StarOptions,
    conditions: Conditions,
    colours: NDArray[np.float64],
    reference: int,
    size: int,
    name: str,
    middle: Placed,
    rng: np.random.Generator,
) -> list[Placed]:
    """Return stars at uniform places in an image, not on top of the galaxy in the middle.

    Args:
        options: how many, and how bright.
        conditions: of the image.
        colours: (B,) magnitude in every band per magnitude of g-r, 0 in the reference band.
        reference: the band of the magnitudes.
        size: rows and columns of the image.
        name: the class that their light belongs to.
        middle: the galaxy in the middle; stars are farther from it than its half-light radius and their width.
        rng: the generator of the image.
    """
    number = int(rng.integers(options.number[0], options.number[1] + 1))
    reach = (middle.meta["r50"] + float(conditions.psf_fwhm[reference])) / conditions.pixel_scale
    tried = rng.uniform(-0.5, size - 0.5, (number, TRIES, 2))
    free = np.hypot(tried[..., 0] - middle.meta["row"], tried[..., 1] - middle.meta["col"]) > reach
    places = tried[np.arange(number), free.argmax(axis=1)]
    magnitudes, g_r = rng.uniform(*options.magnitudes, number), rng.uniform(*options.g_r, number)
    found = []
    for place, magnitude, colour in zip(places, magnitudes, g_r, strict=True):
        flux = survey.nanomaggies(magnitude + colour * (colours - colours[reference]))
        light = point_source(flux, place, conditions, size)
        radius = HALF_LIGHT * moffat_scale(float(conditions.psf_fwhm[reference]))
        meta = {"galaxy": STAR, "row": float(place[0]), "col": float(place[1]), "r50": radius}
        meta |= {f"flux_{band}": float(one) for band, one in zip(conditions.bands, flux, strict=True)}
        found.append(Placed(name, light, (0, 0), meta))
    return found


def point_source(
    flux: NDArray[np.float64], place: NDArray[np.float64], conditions: Conditions, size: int
) -> Array:
    """Return the image (B, size, size) of a point source with fluxes (B,) at a row and column, nmgy per pixel."""
    steps = (np.arange(POINTS * size) + 0.5) / POINTS - 0.5
    squares = [((steps - at) * conditions.pixel_scale) ** 2 for at in place]
    radius = squares[0][:, None] + squares[1]
    images = np.empty((len(flux), size, size), np.float32)
    for image, total, width in zip(images, flux, conditions.psf_fwhm, strict=True):
        length = moffat_scale(float(width))
        peak = (MOFFAT_BETA - 1) / (np.pi * length**2) * total * conditions.pixel_scale**2
        profile = peak / (1 + radius / length**2) ** int(MOFFAT_BETA)  # a whole power is much faster
        rows = sum(profile[step::POINTS] for step in range(POINTS))
        image[:] = sum(rows[:, step::POINTS] for step in range(POINTS)) / POINTS**2
    return images


def saturated(image: Array, options: StarOptions, pixel_scale: float) -> NDArray[np.bool_]:
    """Return the pixels (H, W) that are saturated in any band of an image (B, H, W), and their neighbours."""
    core = np.asarray((image > options.saturation * pixel_scale**2).any(axis=0), bool)
    return np.asarray(ndimage.binary_dilation(core, np.ones((3, 3), bool)), bool) if core.any() else core
