"""Surveys: the bands of images by name, with the facts that simulation and noise need, and presets of surveys.

The presets except DECaLS are those of surveycodex 1.3, which names a source for every value. Their noise is that
of the sky alone in the exposure stated there; read noise and correlated noise are not in it. The i band of `dr10`
is that of the Dark Energy Survey: exposures of DR10 in i are those of many programmes, and not uniform. All are
typical values, and `data.band` replaces them for images at hand.

References:
    https://github.com/LSSTDESC/surveycodex: the values, and a source for each.
    arXiv:1801.03181: the Dark Energy Survey. arXiv:2108.13045: Hyper Suprime-Cam, Wide.
    arXiv:1608.08603: Euclid VIS. arXiv:2405.13496, arXiv:2108.01201: Euclid NISP.
    https://iopscience.iop.org/article/10.1086/520086: COSMOS with the Hubble Space Telescope in F814W.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Final, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oasis.adapters.galaxy import survey
from oasis.adapters.galaxy.survey import Arcsec, Magnitude
from oasis.errors import ConfigError
from oasis.options import Options

Floats = NDArray[np.float64]
SurveyName = Literal["decals", "dr10", "hsc", "rubin", "euclid", "hst"]
Positive = Annotated[float, Field(gt=0, le=1e12)]


class BandOptions(Options):
    """Facts of a band, instead of those of the survey.

    Attributes:
        wavelength: effective, nm; colours of simulated galaxies depend on it.
        psf_fwhm: full width at half maximum of the point-spread function, arcsec.
        sky: noise of a pixel of empty sky (1 sigma), nmgy, for pixels of the survey's size.
        gain: electrons per nmgy in the whole exposure.
        zero_point: the AB magnitude of a value of 1 in images of this band, if files do not state it.
    """

    wavelength: float | None = Field(None, gt=0, le=1e6)
    psf_fwhm: Arcsec | None = None
    sky: Positive | None = None
    gain: Positive | None = None
    zero_point: Magnitude | None = None


class Band(NamedTuple):
    """A band: effective wavelength (nm), FWHM of the PSF (arcsec), noise of the sky (nmgy), electrons per nmgy."""

    wavelength: float
    psf_fwhm: float
    sky: float
    gain: float


@dataclass(frozen=True)
class Bands:
    """The bands of images in their order.

    Attributes:
        names: of the bands.
        pixel_scale: side of the survey's pixels, arcsec, to which the noise refers.
        facts: of each band; NaN where unknown.
    """

    names: tuple[str, ...]
    pixel_scale: float
    facts: tuple[Band, ...]

    @classmethod
    def named(cls, names: Sequence[str]) -> Self:
        """Return bands by name, with the facts of DECaLS of those that it has."""
        scale, known = SURVEYS["decals"]
        return cls(tuple(names), scale, tuple(_with(known.get(name), None) for name in names))

    def known(self, fact: str) -> Floats:
        """Return a fact of every band (B,).

        Raises:
            ConfigError: it is not known of a band.

        Example:
            >>> DECALS.known("psf_fwhm")
            array([1.29, 1.18, 1.11])
        """
        values = np.array([getattr(one, fact) for one in self.facts], float)
        for name, value in zip(self.names, values, strict=True):
            if not math.isfinite(value):
                raise ConfigError(f"data.band.{name}.{fact}: not known of this band: give it")
        return values

    def sky_noise(self, pixel_scale: float) -> Floats:
        """Return the noise of a pixel of sky (B,) of a side in arcsec, nmgy."""
        return self.known("sky") * (pixel_scale / self.pixel_scale)


def _codex(pixel_scale: float, bands: Mapping[str, tuple[float, float, float, float, float]]) -> dict[str, Band]:
    """Return bands from wavelength, PSF, sky (mag/arcsec^2), zero point (of 1 electron/s) and exposure (s)."""
    found = {}
    for name, (wavelength, width, sky, zero_point, exposure) in bands.items():
        gain = exposure / float(survey.nanomaggies(zero_point))
        electrons = float(survey.nanomaggies(sky)) * gain * pixel_scale**2
        found[name] = Band(wavelength, width, math.sqrt(electrons) / gain, gain)
    return found


def _decals(name: str, wavelength: float) -> Band:
    return Band(wavelength, survey.PSF_FWHM[name], survey.sky_noise(name), survey.gain(name))


_DECALS: Final = {
    "g": _decals("g", 489.004),
    "r": _decals("r", 646.962),
    "z": _decals("z", 919.646),
}
_DES_I: Final = _codex(survey.PIXEL_SCALE, {"i": (784.778, 0.88, 19.89, 26.86, 900)})

SURVEYS: Final[Mapping[str, tuple[float, Mapping[str, Band]]]] = MappingProxyType(
    {
        "decals": (survey.PIXEL_SCALE, _DECALS),
        "dr10": (survey.PIXEL_SCALE, {name: {**_DECALS, **_DES_I}[name] for name in ("g", "r", "i", "z")}),
        "hsc": (
            0.168,
            _codex(
                0.168,
                {
                    "g": (484.370, 0.79, 21.4, 28.90, 600),
                    "r": (625.889, 0.75, 20.6, 28.86, 600),
                    "i": (773.009, 0.61, 19.7, 28.61, 1200),
                    "z": (891.239, 0.68, 18.3, 27.68, 1200),
                    "y": (978.695, 0.68, 17.9, 27.34, 1200),
                },
            ),
        ),
        "rubin": (
            0.2,
            _codex(
                0.2,
                {
                    "u": (368.141, 0.90, 22.99, 26.44, 1680),
                    "g": (486.412, 0.86, 22.26, 28.29, 2400),
                    "r": (624.976, 0.81, 21.20, 28.13, 5520),
                    "i": (756.469, 0.79, 20.48, 27.81, 5520),
                    "z": (870.164, 0.77, 19.60, 27.42, 4800),
                    "y": (972.202, 0.76, 18.61, 26.59, 4800),
                },
            ),
        ),
        "euclid": (
            0.1,
            _codex(0.1, {"IE": (750.637, 0.17, 22.3203, 25.92, 565)})
            | _codex(
                0.1,
                {
                    "YE": (1089.014, 0.477, 22.1, 24.99, 112),
                    "JE": (1379.127, 0.486, 22.2, 25.17, 112),
                    "HE": (1785.975, 0.492, 22.3, 25.11, 112),
                },
            ),
        ),
        "hst": (0.03, _codex(0.03, {"F814W": (807.343, 0.095, 22, 25.94, 2028)})),
    }
)
"""Pixel scale (arcsec) and bands of each survey; NISP of Euclid on the pixels of VIS."""


def bands_of(name: str, chosen: Sequence[str] = (), own: Mapping[str, BandOptions] | None = None) -> Bands:
    """Return the bands of a survey, or some of them, or others whose facts are given.

    Args:
        name: of the survey.
        chosen: the names of the bands, in their order; by default all of the survey, and those of `own`.
        own: facts by band that replace those of the survey.

    Raises:
        ConfigError: a band of which nothing is known, or that is named twice.

    Example:
        >>> bands_of("rubin", ["r", "u"]).names, bands_of("hsc").known("psf_fwhm").tolist()
        (('r', 'u'), [0.79, 0.75, 0.61, 0.68, 0.68])
    """
    scale, known = SURVEYS[name]
    own = own or {}
    names = tuple(chosen) or (*known, *(band for band in own if band not in known))
    if len(set(names)) != len(names):
        raise ConfigError(f"data.bands: {', '.join(names)}: expected different bands")
    for band in names:
        if band not in known and band not in own:
            raise ConfigError(
                f"data.bands: {band!r} is none of the survey {name} ({', '.join(known)}): give data.band.{band} "
                "with its wavelength, psf_fwhm, sky and gain"
            )
    for band in own:
        if band not in names:
            raise ConfigError(f"data.band.{band}: is none of the bands {', '.join(names)}")
    return Bands(names, scale, tuple(_with(known.get(band), own.get(band)) for band in names))


def _with(known: Band | None, own: BandOptions | None) -> Band:
    """Return the facts of a band, with those that the user gives."""
    facts = dict.fromkeys(Band._fields, math.nan) if known is None else known._asdict()
    given = {} if own is None else {name: getattr(own, name) for name in Band._fields}
    return Band(**{**facts, **{name: value for name, value in given.items() if value is not None}})


DECALS: Final = bands_of("decals")
