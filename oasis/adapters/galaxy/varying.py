"""What differs from image to image within a survey: seeing, depth, pixel scale, background and stars."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oasis.adapters.galaxy.survey import Arcsec, Magnitude
from oasis.adapters.galaxy.surveys import Bands
from oasis.adapters.options import Rising
from oasis.data.samples import Scalar
from oasis.errors import ConfigError, nearest
from oasis.options import Options

Floats = NDArray[np.float64]
Factor = Annotated[float, Field(gt=0, le=1000)]
Factors = Annotated[tuple[Factor, Factor], Rising]
Count = Annotated[int, Field(ge=0, le=1000)]
ContextName = Literal["psf", "noise"]


class StarOptions(Options):
    """Stars beside the galaxies: point sources, whose light belongs to the neighbours.

    Attributes:
        number: the least and the largest number of stars in an image; all numbers in between are equally likely.
        magnitudes: of the brightest and the faintest star in the reference band (r); uniform.
        g_r: bluest and reddest colour; uniform, and continued to other bands in a straight line in the logarithm
            of the wavelength.
        saturation: flux in a pixel, in nmgy per arcsec^2, from which on it is saturated in any band; it is then
            marked as bad with its neighbours, filled from the nearest good pixel, and not counted in the loss.
    """

    number: Annotated[tuple[Count, Count], Rising] = (0, 0)
    magnitudes: Annotated[tuple[Magnitude, Magnitude], Rising] = (15.0, 22.0)
    g_r: Annotated[tuple[Magnitude, Magnitude], Rising] = (0.2, 1.5)
    saturation: float = Field(300.0, gt=0, le=1e12)


class Varying(Options):
    """Ranges from which the conditions of every image are drawn; by default all images have those of the survey.

    Attributes:
        seeing: factors of the widths of the point-spread function, for all bands or by band; each band of an image
            has a uniform factor of its own.
        noise: factors of the noise of the sky, for all bands or by band, drawn like the former but uniform in
            the logarithm. Electrons per nmgy change with its inverse square, as with another exposure time.
        pixel_scale: smallest and largest side of a pixel, arcsec, uniform; None for that of the library.
        background: largest level of the background above or below 0, in units of the noise of the sky; uniform.
        gradient: largest difference of the background between the middle and the corners of an image, in the
            same units; its direction is uniform.
        stars: stars beside the galaxies.
        context: further inputs of the network, a plane each in every band: `psf`, the logarithm of the width of
            the point-spread function over that of the survey, and `noise`, that of the noise of the sky.
    """

    seeing: Factors | dict[str, Factors] = (1.0, 1.0)
    noise: Factors | dict[str, Factors] = (1.0, 1.0)
    pixel_scale: Annotated[tuple[Arcsec, Arcsec], Rising] | None = None
    background: float = Field(0.0, ge=0, le=1000)
    gradient: float = Field(0.0, ge=0, le=1000)
    stars: StarOptions = StarOptions()
    context: tuple[ContextName, ...] = ()

    @property
    def conditions(self) -> bool:
        """Whether images differ in anything but their galaxies and stars."""
        fixed = all(found == (1.0, 1.0) for found in (self.seeing, self.noise)) and self.pixel_scale is None
        return not fixed or self.background > 0 or self.gradient > 0

    @property
    def blurs(self) -> bool:
        """Whether stamps are drawn with another point-spread function, or on other pixels."""
        return self.seeing != (1.0, 1.0) or self.pixel_scale is not None

    def ranges(self, name: Literal["seeing", "noise"], bands: Sequence[str]) -> Floats:
        """Return the least and the largest factor of every band (2, B).

        Raises:
            ConfigError: a band that images do not have.

        Example:
            >>> Varying(seeing={"r": (0.9, 1.2)}).ranges("seeing", ["g", "r"]).tolist()
            [[1.0, 0.9], [1.0, 1.2]]
        """
        found = getattr(self, name)
        if not isinstance(found, Mapping):
            return np.repeat(np.array(found, float)[:, None], len(bands), axis=1)
        for band in found:
            if band not in bands:
                raise ConfigError(f"data.varying.{name}: unknown band {band!r}; {nearest(band, bands)}")
        return np.array([found.get(band, (1.0, 1.0)) for band in bands], float).T


@dataclass(frozen=True)
class Conditions:
    """The conditions of one image.

    Attributes:
        bands: the names of the B bands.
        psf_fwhm: (B,) full width at half maximum of the point-spread function, arcsec.
        sky: (B,) noise of a pixel of sky, nmgy.
        gain: (B,) electrons per nmgy, infinite without shot noise.
        pixel_scale: arcsec.
        background: (B,) its level in the middle of the image, nmgy per pixel.
        slopes: (B, 2) its increase from the middle of the image to its last row and column, nmgy per pixel.
    """

    bands: tuple[str, ...]
    psf_fwhm: Floats
    sky: Floats
    gain: Floats
    pixel_scale: float
    background: Floats
    slopes: Floats

    def meta(self) -> dict[str, Scalar]:
        """Return the conditions as metadata of a sample, or of a placed galaxy."""
        found: dict[str, Scalar] = {"pixel_scale": self.pixel_scale}
        for at, band in enumerate(self.bands):
            found |= {f"psf_fwhm_{band}": float(self.psf_fwhm[at]), f"sky_{band}": float(self.sky[at])}
            found |= {f"gain_{band}": float(self.gain[at]), f"background_{band}": float(self.background[at])}
            found |= {f"background_{band}_{axis}": float(self.slopes[at, n]) for n, axis in enumerate("yx")}
        return found

    @classmethod
    def of(cls, meta: Mapping[str, Scalar], bands: tuple[str, ...]) -> Self:
        """Return the conditions that metadata state."""

        def column(name: str) -> Floats:
            return np.array([meta[name.format(band)] for band in bands], float)

        slopes = np.stack([column(f"background_{{}}_{axis}") for axis in "yx"], axis=1)
        facts = (column("psf_fwhm_{}"), column("sky_{}"), column("gain_{}"), float(meta["pixel_scale"]))
        return cls(bands, *facts, column("background_{}"), slopes)

    def plane(self, shape: Sequence[int]) -> NDArray[np.float32]:
        """Return the background (B, H, W) of an image, nmgy per pixel."""
        rows, columns = (np.linspace(-1, 1, length) for length in shape[-2:])
        level = self.background[:, None, None]
        tilt = self.slopes[:, :1, None] * rows[None, :, None] + self.slopes[:, 1:, None] * columns
        return np.asarray(level + tilt, np.float32)


@dataclass(frozen=True)
class Drawing:
    """How the conditions of images are drawn.

    Attributes:
        options: the ranges.
        bands: the bands.
        psf_fwhm: (B,) of the survey, arcsec.
        sky: (B,) noise of a pixel of the library, nmgy.
        gain: (B,) electrons per nmgy.
        pixel_scale: of the library, arcsec.
    """

    options: Varying
    bands: Bands
    psf_fwhm: Floats
    sky: Floats
    gain: Floats
    pixel_scale: float

    def __call__(self, rng: np.random.Generator) -> Conditions:
        """Return the conditions of one image."""
        options, names = self.options, self.bands.names
        seeing = rng.uniform(*options.ranges("seeing", names))
        noise = np.exp(rng.uniform(*np.log(options.ranges("noise", names))))
        scale = self.pixel_scale if options.pixel_scale is None else rng.uniform(*options.pixel_scale)
        sky = self.sky * noise * (scale / self.pixel_scale)
        level = rng.uniform(-options.background, options.background, len(names))
        angle, height = rng.uniform(0, 2 * np.pi), rng.uniform(0, options.gradient, len(names))
        direction = np.array([math.sin(angle), math.cos(angle)])
        slopes = (height * sky)[:, None] * direction / np.abs(direction).sum()  # so that it is reached in corners
        gain = self.gain / noise**2
        return Conditions(names, self.psf_fwhm * seeing, sky, gain, float(scale), level * sky, slopes)


def context_of(
    names: Sequence[ContextName], psf_fwhm: Floats, sky: Floats, usual_psf: Floats, usual_sky: Floats
) -> NDArray[np.float32]:
    """Return the context (C, ...): logarithms of widths and noise in units of those of the survey.

    Args:
        names: which of them.
        psf_fwhm: (B, ...) arcsec.
        sky: (B, ...) nmgy.
        usual_psf: (B,) of the survey.
        usual_sky: (B,) of the survey.

    Example:
        >>> width = np.array([1.2])
        >>> context_of(["psf"], 2 * width, width, width, width).round(2)
        array([0.69], dtype=float32)
    """
    values = {"psf": (psf_fwhm, usual_psf), "noise": (sky, usual_sky)}
    parts = []
    for name in names:
        found, usual = values[name]
        parts.append(np.log(found / usual.reshape(-1, *[1] * (found.ndim - 1))))
    return np.concatenate(parts).astype(np.float32)
