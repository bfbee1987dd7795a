"""Simulated galaxies: an exponential disc and a de Vaucouleurs bulge, convolved with the survey's PSF.

The distributions of their properties, with r the AB magnitude in the r band:

- log10 of the half-light radius falls by 0.13 per magnitude from 1.9 arcsec at r = 17.5, with a log-normal scatter
  of 0.3: as a galaxy of M_r = -20.9 and 3.5 kpc (Shen et al. 2003, late types) appears at redshifts of 0.1 to 0.5.
- The bulge's fraction of the light (in r) follows a beta distribution; its half-light radius is 0.4 times the
  disc's, with a log-normal scatter of 0.3.
- Discs are 0.2 times as thick as wide and inclined at random (Hubble 1926): the square of their axis ratio is
  q^2 = 0.2^2 + (1 - 0.2^2) cos^2 i, with cos i uniform. Bulges have axis ratios of 0.6 to 1 and the position angle
  of the disc.
- The g-r of discs is normally distributed; that of bulges is redder by an amount with a scatter of its own (Allen
  et al. 2006: bulges are redder than discs but follow their colours). r-z rises by 0.5 per magnitude of g-r, with
  scatter.

Bulges end at 8 half-light radii, as in the catalogues of SDSS and DECaLS (Hogg and Lang 2013).

References:
    Shen et al. (2003), MNRAS 343, 978: sizes of galaxies.
    Hubble (1926), ApJ 64, 321: axis ratios of inclined discs.
    Allen et al. (2006), MNRAS 371, 2: bulges and discs of 10,095 galaxies.
    Hogg and Lang (2013), PASP 125, 719: truncated galaxy profiles.
    Rowe et al. (2015), A&C 10, 121: GalSim.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import brentq
from scipy.special import gammainc

from oasis.adapters.galaxy import survey
from oasis.adapters.galaxy.stamps import Stamps
from oasis.adapters.galaxy.survey import Arcsec, Magnitude
from oasis.adapters.galaxy.surveys import DECALS, Bands
from oasis.adapters.options import Rising
from oasis.data.mixing import keyed_rng
from oasis.data.samples import Array
from oasis.errors import ConfigError, import_extra
from oasis.options import Options

BULGE_EDGE = 8.0  # half-light radii
BULGE_AXIS_RATIO = (0.6, 1.0)
BULGE_SIZE_SCATTER = 0.3
COLOUR_SLOPE = 0.5  # of r-z over g-r
DISC_THICKNESS = 0.2
PIVOT = 17.5  # magnitude at which `r50` is given
TRIES = 100
LARGEST = 4096  # points of the grid of a stamp along an axis; half a gigabyte in each band

Exponent = Annotated[float, Field(gt=0, le=1000)]
Spread = tuple[Magnitude, Annotated[float, Field(ge=0, le=50)]]
"""Mean and standard deviation."""


class GalaxyOptions(Options):
    """The population of simulated galaxies and how they are drawn.

    Attributes:
        size: rows and columns of a stamp, pixels.
        pixel_scale: side of a pixel, arcsec, by default the survey's; the same as that of measured galaxies, if
            these are used as well.
        magnitudes: the magnitudes of the brightest and the faintest galaxy, in r.
        count_slope: number counts grow as 10^(slope x magnitude); 0 is flat, 0.6 is that of a Euclidean universe.
        r50: median half-light radius at magnitude 17.5, before the point-spread function, arcsec.
        r50_slope: decrease of its log10 per magnitude.
        r50_scatter: standard deviation of its natural logarithm.
        bulge_fraction: the two parameters of the beta distribution of the bulge's fraction of the light in r.
        bulge_size: median of the bulge's half-light radius over the disc's.
        g_r: mean and standard deviation of the disc's colour.
        bulge_g_r: mean and standard deviation of the bulge's colour minus the disc's.
        r_z: mean of the disc's colour, and standard deviation about its linear relation with g-r.
        psf_fwhm: full width at half maximum of the Moffat profile in each band, arcsec, by default the survey's.
        contained: least fraction of the light inside the stamp, in every band: other galaxies are rejected and
            redrawn (by default about 11 %, mostly large, bright ones, which are therefore under-represented).
    """

    size: int = Field(64, ge=16, le=4096)
    pixel_scale: Arcsec | None = None
    magnitudes: Annotated[tuple[Magnitude, Magnitude], Rising] = (17.5, 22.0)
    count_slope: float = Field(0.0, ge=-10, le=10)
    r50: float = Field(1.9, gt=0, le=3600)
    r50_slope: float = Field(0.13, ge=-10, le=10)
    r50_scatter: float = Field(0.3, ge=0, le=10)
    bulge_fraction: tuple[Exponent, Exponent] = (0.6, 1.2)
    bulge_size: float = Field(0.4, gt=0, le=100)
    g_r: Spread = (0.55, 0.15)
    bulge_g_r: Spread = (0.25, 0.10)
    r_z: Spread = (0.45, 0.06)
    psf_fwhm: tuple[Arcsec, ...] | None = None
    contained: float = Field(0.97, ge=0, lt=1)

    def scale(self, bands: Bands) -> float:
        """Return the side of a pixel, arcsec."""
        return bands.pixel_scale if self.pixel_scale is None else self.pixel_scale

    def widths(self, bands: Bands) -> tuple[float, ...]:
        """Return the widths of the point-spread function, arcsec.

        Raises:
            ConfigError: there is none for each band.
        """
        if self.psf_fwhm is None:
            return tuple(bands.known("psf_fwhm").tolist())
        if len(self.psf_fwhm) != len(bands.names):
            raise ConfigError(
                f"data.library.population.psf_fwhm: {len(self.psf_fwhm)} values for the bands "
                f"{', '.join(bands.names)}"
            )
        return self.psf_fwhm


def simulate_galaxies(
    count: int, seed: int = 0, options: GalaxyOptions | None = None, bands: Bands = DECALS
) -> Stamps:
    """Draw noise-free images of galaxies with the PSF and the pixels of a survey, by default DECaLS.

    Galaxy i is a pure function of (seed, i) and the options, so that a library can grow. The table contains

    - `magnitude`: in r, of the total flux;
    - `flux_<band>` and `r50`: of the stamp, as `Stamps.measure` gives them;
    - `r50_intrinsic`: half-light radius before inclination and PSF, arcsec;
    - `bulge_fraction`: the bulge's fraction of the light in r;
    - `ellipticity`: 1 - b/a, weighted by the light of disc and bulge in r;
    - `position_angle`: from the direction of columns to that of rows, degrees;
    - `redrawn`: number of galaxies that were rejected before this one fitted the stamp.

    Args:
        count: how many galaxies.
        seed: the seed of the library.
        options: the population; by default that of `GalaxyOptions`.
        bands: the bands; magnitudes and colours of the population are those of DECaLS.

    Raises:
        ConfigError: galaxies that do not fit their stamps.
        MissingExtraError: galsim is not installed.

    Example:
        >>> galaxies = simulate_galaxies(2)
        >>> galaxies.flux.shape, galaxies.bands
        ((2, 3, 64, 64), ('g', 'r', 'z'))
    """
    options = options or GalaxyOptions()
    draw = _Renderer(options, bands)
    drawn = [_contained_galaxy(keyed_rng(seed, "galaxies", index), options, draw) for index in range(count)]
    table = {name: np.array([row[name] for _, row in drawn]) for name in (drawn[0][1] if drawn else ())}
    flux = np.array([stamp for stamp, _ in drawn], np.float32)
    shape = (count, len(bands.names), options.size, options.size)
    return Stamps.measure(flux.reshape(shape), bands.names, draw.scale, table, psf_fwhm=draw.widths)


@dataclass(frozen=True)
class _Component:
    """The disc or the bulge: light per band (nmgy), half-light radius (arcsec) and axis ratio."""

    flux: NDArray[np.float64]
    r50: float
    axis_ratio: float


@dataclass(frozen=True)
class _Galaxy:
    """A galaxy as it is drawn; `offset` is that of its centre from the middle of its pixel, (columns, rows)."""

    disc: _Component
    bulge: _Component
    offset: tuple[float, float]
    table: dict[str, float]


def _contained_galaxy(
    rng: np.random.Generator, options: GalaxyOptions, draw: "_Renderer"
) -> tuple[Array, dict[str, float]]:
    """Draw galaxies until the stamp contains enough of the light of one."""
    for redrawn in range(TRIES):
        galaxy = _random_galaxy(rng, options, draw.colours)
        if galaxy.table["r50_intrinsic"] > options.size * draw.scale / 2:
            continue
        stamp = draw(galaxy)
        inside = stamp.sum((1, 2)) / (galaxy.disc.flux + galaxy.bulge.flux)
        if inside.min() >= options.contained:
            return stamp, galaxy.table | {"redrawn": redrawn}
    raise ConfigError(
        f"size: none of {TRIES} galaxies had {options.contained:.0%} of its light in a stamp of {options.size} "
        "pixels: make the stamps larger or the galaxies smaller"
    )


def colour_weights(bands: Bands) -> NDArray[np.float64]:
    """Return the matrix (B, 3) by which magnitudes in g, r and z, minus that in r, give those in other bands.

    Magnitudes are piecewise linear in the logarithm of the wavelength through those of DECaLS, and extrapolated
    beyond: a break at 400 nm, or emission lines, are not in them.

    Example:
        >>> colour_weights(DECALS).tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    nodes, at = np.log(DECALS.known("wavelength")), np.log(bands.known("wavelength"))
    weights = np.zeros((len(at), 3))
    for row, place in zip(weights, at, strict=True):
        left = 0 if place <= nodes[1] else 1
        share = (place - nodes[left]) / (nodes[left + 1] - nodes[left])
        row[left], row[left + 1] = 1 - share, share
    return weights


def _random_galaxy(
    rng: np.random.Generator, options: GalaxyOptions, to_bands: NDArray[np.float64] | None = None
) -> _Galaxy:
    magnitude = _random_magnitude(rng, options)
    median = options.r50 * 10 ** (options.r50_slope * (PIVOT - magnitude))
    r50 = median * np.exp(rng.normal(0, options.r50_scatter))
    share = rng.beta(*options.bulge_fraction)
    bulge_size = options.bulge_size * np.exp(rng.normal(0, BULGE_SIZE_SCATTER))
    disc_r50 = r50 / _composite_r50(share, bulge_size)
    g_r, r_z = rng.normal(*options.g_r), rng.normal(*options.r_z)
    colours = np.array([g_r, 0.0, -r_z - COLOUR_SLOPE * (g_r - options.g_r[0])])
    redder = rng.normal(*options.bulge_g_r) * np.array([1.0, 0.0, -COLOUR_SLOPE])
    axis_ratio = float(np.sqrt(DISC_THICKNESS**2 + (1 - DISC_THICKNESS**2) * rng.random() ** 2))
    if to_bands is not None:
        colours, redder = to_bands @ colours, to_bands @ redder
    disc = _Component((1 - share) * survey.nanomaggies(magnitude + colours), disc_r50, axis_ratio)
    bulge = _Component(
        share * survey.nanomaggies(magnitude + colours + redder),
        disc_r50 * bulge_size,
        rng.uniform(*BULGE_AXIS_RATIO),
    )
    table = {
        "magnitude": magnitude,
        "r50_intrinsic": r50,
        "bulge_fraction": share,
        "ellipticity": (1 - share) * (1 - disc.axis_ratio) + share * (1 - bulge.axis_ratio),
        "position_angle": rng.uniform(0, 180),
    }
    return _Galaxy(disc, bulge, (rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5)), table)


def _random_magnitude(rng: np.random.Generator, options: GalaxyOptions) -> float:
    """Draw from a density that grows as 10^(slope x magnitude), by the inverse of its integral."""
    low, high = options.magnitudes
    growth = options.count_slope * np.log(10) * (high - low)
    share = rng.random()
    return low + (high - low) * float(np.log1p(share * np.expm1(growth)) / growth if growth else share)


class _Renderer:
    """Renders galaxies with PSF and pixel response, (B, s, s) in nmgy per pixel.

    In Fourier space, where a convolution is a product, disc and bulge are drawn once for all bands and the
    transfer functions once for all galaxies. The grid is periodic and twice as wide as the stamp: some 0.05 % of
    the light of a galaxy that fits its stamp wraps around into it. Pixels wider than the survey's are sampled at
    `step` points along each axis, of which every `step`-th is kept, so that all frequencies of the survey's own
    pixels are included.
    """

    def __init__(self, options: GalaxyOptions, bands: Bands = DECALS) -> None:
        self.galsim: Any = import_extra("galsim", "galaxy")
        self.options = options
        self.scale, self.widths, self.colours = options.scale(bands), options.widths(bands), colour_weights(bands)
        self.step = math.ceil(self.scale / bands.pixel_scale - 0.05)
        self.size = options.size * self.step
        if self.size > LARGEST:
            raise ConfigError(
                f"galaxies of {options.size} pixels of {self.scale:g} arcsec would be drawn on {self.size} points "
                f"along each axis, more than {LARGEST}: choose pixels closer to {bands.pixel_scale:g} arcsec"
            )
        self.grid = self.galsim.BoundsI(0, self.size, -self.size, self.size - 1)
        pixel = self.galsim.Pixel(self.scale)
        profiles = [self.galsim.Moffat(beta=survey.MOFFAT_BETA, fwhm=fwhm) for fwhm in self.widths]
        blurs = np.array([self._waves(self.galsim.Convolve(profile, pixel)) for profile in profiles])
        self.blurs = blurs * self.step**2

    def __call__(self, galaxy: _Galaxy) -> Array:
        disc, bulge = galaxy.disc, galaxy.bulge
        profiles = (
            (self.galsim.Exponential(half_light_radius=disc.r50), disc),
            (self.galsim.DeVaucouleurs(half_light_radius=bulge.r50, trunc=BULGE_EDGE * bulge.r50), bulge),
        )
        angle = galaxy.table["position_angle"] * self.galsim.degrees
        centre = [(self.options.size // 2 + each) * self.scale for each in galaxy.offset]
        waves = sum(
            self._waves(profile.shear(q=part.axis_ratio, beta=angle).shift(*centre)) * part.flux[:, None, None]
            for profile, part in profiles
        )
        image = np.fft.irfft2(waves * self.blurs, s=(2 * self.size, 2 * self.size))
        light = image[:, : self.size : self.step, : self.size : self.step].astype(np.float32)
        return np.maximum(light, 0)  # the cut at the grid's highest frequency leaves ripples around 0

    def _waves(self, profile: Any) -> NDArray[np.complex128]:
        """Return the Fourier transform of a profile (2 s, s + 1), as `irfft2` expects it."""
        spacing = np.pi / (self.options.size * self.scale)
        image = self.galsim.ImageCD(self.grid, scale=spacing)
        return np.fft.ifftshift(profile.drawKImage(image, recenter=False).array, axes=0)


def _composite_r50(bulge_fraction: float, bulge_size: float) -> float:
    """Return the half-light radius of disc and bulge together, in units of the disc's."""

    def excess(radius: float) -> float:
        disc, bulge = _light_within(radius, 1.0, np.inf), _light_within(radius / bulge_size, 4.0, BULGE_EDGE)
        return (1 - bulge_fraction) * disc + bulge_fraction * bulge - 0.5

    return float(brentq(excess, *sorted((0.9 * min(bulge_size, 1), 1.1 * max(bulge_size, 1)))))


def _light_within(radius: float, index: float, edge: float) -> float:
    """Return the fraction of the light of a Sersic profile within a radius, in half-light radii."""
    b = _sersic_b(index, edge)
    return float(
        gammainc(2 * index, b * min(radius, edge) ** (1 / index)) / gammainc(2 * index, b * edge ** (1 / index))
    )


@cache
def _sersic_b(index: float, edge: float) -> float:
    """Return b of the truncated profile exp(-b (r / r50)^(1 / n)) that has half of its light within r50."""
    return float(
        brentq(lambda b: gammainc(2 * index, b) / gammainc(2 * index, b * edge ** (1 / index)) - 0.5, 0.1, 20)
    )
