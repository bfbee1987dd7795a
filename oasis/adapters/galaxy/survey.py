"""The DECam Legacy Survey (DECaLS): bands, pixels, point-spread function, depth and noise.

Fluxes are in nanomaggies (nmgy): the AB magnitude is 22.5 - 2.5 log10(flux).

References:
    Dey et al. (2019), AJ 157, 168: the DESI Legacy Imaging Surveys; image quality and survey design.
    https://www.legacysurvey.org/decamls: exposure times and depth for point sources.
    Abbott et al. (2018), ApJS 239, 18: brightness of the sky above DECam.
    Trujillo et al. (2001), MNRAS 328, 977: the Moffat profile.
"""

import math
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from oasis.errors import ConfigError, nearest

Arcsec = Annotated[float, Field(gt=0, le=3600)]
Magnitude = Annotated[float, Field(ge=-50, le=50)]

BANDS = ("g", "r", "z")
PIXEL_SCALE = 0.262  # arcsec
ZERO_POINT = 22.5  # AB magnitude of 1 nmgy
PSF_FWHM = {"g": 1.29, "r": 1.18, "z": 1.11}  # arcsec, median
MOFFAT_BETA = 3.0  # stars of public coadds fit best with 2.5 to 4
DEPTH = {"g": 24.7, "r": 23.9, "z": 23.0}  # AB magnitude at which a point source is 5 sigma above the noise

EXPOSURE = {"g": 166.0, "r": 134.0, "z": 200.0}  # s in median conditions
CAMERA_ZERO_POINT = {"g": 26.72, "r": 26.99, "z": 26.58}  # AB magnitude of 1 electron/s (surveycodex 1.3, DES)


def nanomaggies(magnitude: ArrayLike) -> NDArray[np.float64]:
    """Return the flux of AB magnitudes, nmgy.

    Example:
        >>> nanomaggies([22.5, 20.0])
        array([ 1., 10.])
    """
    return np.asarray(10 ** (0.4 * (ZERO_POINT - np.asarray(magnitude, np.float64))))


def magnitude(flux: ArrayLike) -> NDArray[np.float64]:
    """Return the AB magnitude of fluxes in nmgy above 0.

    Example:
        >>> magnitude([1, 10])
        array([22.5, 20. ])
    """
    return np.asarray(ZERO_POINT - 2.5 * np.log10(np.asarray(flux, np.float64)))


def moffat_scale(fwhm: float, beta: float = MOFFAT_BETA) -> float:
    """Return the length a of the Moffat profile (1 + (r/a)^2)^-beta with a given full width at half maximum."""
    return fwhm / (2 * math.sqrt(2 ** (1 / beta) - 1))


def sky_noise(band: str, pixel_scale: float = PIXEL_SCALE) -> float:
    """Return the noise of a pixel of empty sky (1 sigma), nmgy, from the depth of the survey.

    The flux of a point source fitted with its profile p has the noise of N = 1 / sum(p^2) pixels, sigma sqrt(N).
    A Moffat profile covers N = pi a^2 (2 beta - 1) / (beta - 1)^2 in units of the pixel area. At the depth m,
    sigma = 10^(0.4 (22.5 - m)) / (5 sqrt(N)).

    Raises:
        ConfigError: a band that the survey does not have.

    Example:
        >>> round(sky_noise("r"), 4)
        0.0063
    """
    if band not in DEPTH:
        raise ConfigError(
            f"band {band!r} is none of the survey's, so its noise has to be given; {nearest(band, DEPTH)}"
        )
    area = math.pi * moffat_scale(PSF_FWHM[band]) ** 2 * (2 * MOFFAT_BETA - 1) / (MOFFAT_BETA - 1) ** 2
    return float(nanomaggies(DEPTH[band])) / 5 / math.sqrt(area / pixel_scale**2)


def gain(band: str) -> float:
    """Return how many electrons the survey counts per nmgy: 10^(0.4 (zero point - 22.5)) in its exposure.

    Raises:
        ConfigError: a band that the survey does not have.

    Example:
        >>> round(gain("r"))
        8377
    """
    if band not in EXPOSURE:
        raise ConfigError(
            f"band {band!r} is none of the survey's, so its gain has to be given; {nearest(band, EXPOSURE)}"
        )
    return EXPOSURE[band] / float(nanomaggies(CAMERA_ZERO_POINT[band]))
