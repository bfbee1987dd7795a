"""Blends: a galaxy in the middle of the image and others around it, with uniform separations and magnitudes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oasis.adapters.galaxy import survey
from oasis.adapters.galaxy.stamps import Stamps, reference_band
from oasis.adapters.galaxy.survey import Magnitude
from oasis.adapters.galaxy.surveys import Bands
from oasis.adapters.options import Rising
from oasis.data.mixing import Placed, Scene, add_up
from oasis.data.samples import Array, Scalar
from oasis.errors import ConfigError, DataError
from oasis.options import Options

TARGET, NEIGHBOURS = "target", "neighbours"
WINDOW = 0.01  # fraction of the library on either side of a wanted magnitude from which a neighbour is chosen
PLACES = 16  # positions drawn for a neighbour, at most, until one is far enough from all other galaxies


Count = Annotated[int, Field(ge=1, le=1000)]
Distance = Annotated[float, Field(ge=0, le=1000)]
Positive = Annotated[float, Field(gt=0, le=1e12)]


class BlendOptions(Options):
    """How galaxies are placed on one another and observed.

    Attributes:
        size: rows and columns of the image, pixels.
        galaxies: the least and the largest number of galaxies in a blend; all numbers in between are equally
            likely.
        separation: least and largest distance of a neighbour from the galaxy in the middle, in units of the sum of
            their half-light radii; uniform, up to where the neighbour's centre would leave the image.
        magnitudes: least and largest magnitude of a neighbour minus that of the galaxy in the middle; uniform
            within the range that the library covers.
        jitter: how far the middle galaxy may lie from the middle of the image, pixels along each axis.
        noise: the noise of the sky, in units of the survey's.
        sky: noise of the sky by band, nmgy per pixel (1 sigma), instead of the survey's.
        poisson: add the shot noise of galaxies that carry no noise of their own.
        gain: electrons per nmgy by band, instead of the survey's.
    """

    size: int = Field(64, ge=8, le=8192)
    galaxies: Annotated[tuple[Count, Count], Rising] = (2, 4)
    separation: Annotated[tuple[Distance, Annotated[Distance, Field(gt=0)]], Rising] = (0.3, 4.0)
    magnitudes: Annotated[tuple[Magnitude, Magnitude], Rising] = (-2.0, 2.0)
    jitter: int = Field(1, ge=0, le=8192)
    noise: float = Field(1.0, gt=0, le=1e6)
    sky: dict[str, Positive] = {}
    poisson: bool = True
    gain: dict[str, Positive] = {}

    def sky_noise(self, bands: Bands, pixel_scale: float) -> NDArray[np.float64]:
        """Return the noise of a pixel of sky by band, nmgy, before it is multiplied by `noise`."""
        if {*bands.names} <= {*self.sky}:
            return np.array([self.sky[name] for name in bands.names])
        known = dict(zip(bands.names, bands.sky_noise(pixel_scale).tolist(), strict=True))
        return np.array([self.sky.get(name, known[name]) for name in bands.names])

    def gains(self, bands: Bands) -> NDArray[np.float64]:
        """Return the electrons per nmgy by band."""
        if {*bands.names} <= {*self.gain}:
            return np.array([self.gain[name] for name in bands.names])
        known = dict(zip(bands.names, bands.known("gain").tolist(), strict=True))
        return np.array([self.gain.get(name, known[name]) for name in bands.names])


class GalaxyScene(Scene):
    """Blends of the galaxies of a library, in nmgy per pixel.

    The classes are `("target", "neighbours")`, the galaxy in the middle and all others, or one class per galaxy,
    in random order, so that no class stands for a position or a brightness, and with empty maps where there
    are fewer galaxies. Stamps are shifted by whole pixels, mirrored and rotated by right angles: no pixel is
    interpolated. A blend contains no galaxy twice, and no two closer than the least separation if there is room.

    Noise is added once, to the sum of the maps, with the variance

        max(sky^2 - sum of the variances that stamps bring to the pixel, 0) + flux of noise-free stamps / gain

    since measured stamps already contain the noise of the sky and of their own photons. It is Gaussian: the sky
    alone gives some 500 electrons per pixel. Where a measured stamp is negative, the truth is set to 0.

    Args:
        stamps: the library, both measured and simulated galaxies.
        indices: which of its galaxies this split uses.
        classes: the classes of the maps.
        options: how galaxies are placed and observed.
        bands: the facts of the bands of the library; by default those of DECaLS.

    Raises:
        ConfigError: more galaxies per blend than there are classes or galaxies, or a band without noise or gain.
        DataError: galaxies without flux in the reference band.
    """

    def __init__(
        self,
        stamps: Stamps,
        indices: NDArray[np.intp],
        classes: Sequence[str],
        options: BlendOptions,
        bands: Bands | None = None,
    ) -> None:
        most = options.galaxies[1]
        self.stamps = stamps
        self.options = options
        self.classes = tuple(classes)
        self.interchangeable = self.classes != (TARGET, NEIGHBOURS)
        self.shape = (len(stamps.bands), options.size, options.size)
        if self.interchangeable and most > len(classes):
            raise ConfigError(f"galaxies: up to {most} in a blend, but there are only {len(classes)} classes")
        if most > len(indices):
            raise ConfigError(
                f"galaxies: up to {most} in a blend, but only {len(indices)} in this part of the library"
            )
        if 4 * options.jitter > options.size:
            raise ConfigError(f"jitter: {options.jitter} pixels are too many for an image of {options.size}")
        self.quantities = ("r50", *(f"flux_{band}" for band in stamps.bands))
        self.truth = np.column_stack([stamps.table[name] for name in self.quantities])
        self.noisy = np.any(stamps.noise, axis=1).tolist()
        self.reference = reference_band(stamps.bands)
        flux = stamps.table[f"flux_{stamps.bands[self.reference]}"][indices]
        self.r50 = stamps.table["r50"] / stamps.pixel_scale  # pixels
        if not ((flux > 0).all() and np.isfinite(flux).all() and (self.r50[indices] > 0).all()):
            raise DataError(
                "some galaxies of the library have no finite flux in the reference band: leave them out"
            )
        order = np.argsort(-flux, kind="stable")
        self.indices = np.asarray(indices)[order]  # from the brightest to the faintest
        self.magnitudes = survey.magnitude(flux[order])
        bands = Bands.named(stamps.bands) if bands is None else bands
        self.sky = options.noise * options.sky_noise(bands, stamps.pixel_scale)
        self.gain = np.full(len(stamps.bands), np.inf)
        if options.poisson:
            self.gain = options.gains(bands)

    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Scalar]]:
        """Draw the galaxy in the middle and its neighbours.

        Metadata of the sample:

        - `galaxies`: how many;
        - `noise_<band>`: of a pixel without the galaxies' shot noise, root mean square over the image, nmgy;
        - `<class>_galaxy`, and `neighbour_<k>_galaxy` of those that share a map: the galaxy's number in the
          library, NaN where there is none;
        - `neighbour_separation`: of the nearest neighbour from the galaxy in the middle, in units of the sum of
          their half-light radii; `neighbour_magnitude`: its magnitude minus that of the galaxy in the middle;
        - `clipped`: the sum of negative pixels over the flux in the reference band, in the worst stamp.

        Metadata of each galaxy: `galaxy`, its number in the library; `row` and `col` of the pixel on which it is
        centred; `r50` (arcsec) and `flux_<band>` (nmgy) of the whole stamp.
        """
        positions = self._choose(rng)
        galaxies = self.indices[positions]
        centres = self._arrange(galaxies, rng)
        names = [TARGET, *[NEIGHBOURS] * (len(galaxies) - 1)]
        if self.interchangeable:
            names = rng.permutation(self.classes)[: len(galaxies)].tolist()
        stamps = [self.stamp(*each, rng) for each in zip(names, galaxies, centres, strict=True)]
        truth = [replace(stamp, values=np.maximum(stamp.values, 0)) for stamp in stamps]
        variance = np.maximum(self.sky[:, None, None] ** 2, self._stamp_variance(truth))
        noise = np.sqrt(variance.mean(axis=(1, 2)))
        reference = [stamp.values[self.reference] for stamp in stamps]
        meta: dict[str, Scalar] = {"galaxies": len(galaxies)}
        meta |= {f"noise_{band}": float(one) for band, one in zip(self.stamps.bands, noise, strict=True)}
        meta |= self._identities(names, galaxies) | self._nearest(positions, centres)
        meta["clipped"] = max(float(np.maximum(-values, 0).sum() / values.sum()) for values in reference)
        return truth, meta

    def observe(
        self, target: Array, placed: Sequence[Placed], rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the sum of the maps with noise, valid everywhere; a target without stamps has no noise."""
        light = target.sum(axis=0)
        smooth = [replace(one, name="") for one in placed if not self._is_noisy(one)]
        photons = light if len(smooth) == len(placed) else add_up(smooth, [""], self.shape)[0]
        sky = np.maximum(self.sky[:, None, None] ** 2 - self._stamp_variance(placed), 0)
        sigma = np.sqrt(sky + photons / self.gain[:, None, None])
        image = light + sigma * rng.standard_normal(light.shape)
        return image.astype(np.float32), np.ones((1, *self.shape[1:]), dtype=bool)

    def _is_noisy(self, stamp: Placed) -> bool:
        noisy: bool = self.noisy[int(stamp.meta["galaxy"])]
        return noisy

    def _stamp_variance(self, placed: Sequence[Placed]) -> Array | np.float32:
        """Return the variance (B, H, W) that stamps bring to every pixel, nmgy^2; one 0 if they bring none."""
        brought = []
        for stamp in filter(self._is_noisy, placed):
            variance = self.stamps.noise[int(stamp.meta["galaxy"]), :, None, None] ** 2
            brought.append(Placed("", (stamp.values > 0) * variance, stamp.origin))
        return add_up(brought, [""], self.shape)[0] if brought else np.float32(0)

    def _choose(self, rng: np.random.Generator) -> list[int]:
        """Draw galaxies as positions in order of magnitude, that of the middle first."""
        count = int(rng.integers(self.options.galaxies[0], self.options.galaxies[1] + 1))
        chosen = [int(rng.integers(len(self.indices)))]
        window = max(round(WINDOW * len(self.indices)), count)
        wanted = self.magnitudes[chosen[0]] + np.array(self.options.magnitudes)
        low, high = np.clip(wanted, self.magnitudes[0], self.magnitudes[-1])
        for wanted in rng.uniform(low, high, count - 1):
            nearest = int(np.searchsorted(self.magnitudes, wanted))
            near = range(max(nearest - window, 0), min(nearest + window, len(self.indices)))
            free = [position for position in near if position not in chosen]
            chosen.append(free[rng.integers(len(free))])
        return chosen

    def _arrange(self, galaxies: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
        """Draw the pixels (n, 2) on which galaxies are centred."""
        jitter, middle = self.options.jitter, self.options.size // 2
        reach = self.options.size - 1 - middle - jitter
        centres = middle + rng.integers(-jitter, jitter + 1, (1, 2))
        for number, galaxy in enumerate(galaxies[1:], start=1):
            sizes = self.r50[galaxies[:number]] + self.r50[galaxy]
            low, high = (min(bound * sizes[0], reach) for bound in self.options.separation)
            radius, angle = rng.uniform(low, high, PLACES), rng.uniform(0, 2 * np.pi, PLACES)
            places = centres[0] + np.rint(radius * np.array([np.sin(angle), np.cos(angle)])).astype(int).T
            distances = np.hypot(*(places[:, None] - centres).transpose(2, 0, 1))
            free = (distances >= self.options.separation[0] * sizes).all(axis=1)
            centres = np.append(centres, places[None, free.argmax()], axis=0)
        return centres

    def stamp(self, name: str, galaxy: int, centre: NDArray[np.intp], rng: np.random.Generator) -> Placed:
        """Return a stamp in one of its eight orientations, with its central pixel on the pixel `centre`."""
        flux = self.stamps.flux[galaxy]
        size, middle = flux.shape[-1], flux.shape[-1] // 2
        if rng.integers(2):
            flux = flux.swapaxes(1, 2)
        steps = rng.choice([1, -1], 2)
        flux = flux[:, :: steps[0], :: steps[1]]
        origin = [
            int(at) - (middle if step > 0 else size - 1 - middle) for at, step in zip(centre, steps, strict=True)
        ]
        meta = {"galaxy": float(galaxy), "row": float(centre[0]), "col": float(centre[1])}
        meta |= zip(self.quantities, self.truth[galaxy].tolist(), strict=True)
        return Placed(name, flux, origin, meta)

    def _identities(self, names: Sequence[str], galaxies: NDArray[np.intp]) -> dict[str, Scalar]:
        """Return the library's number of each galaxy, under the name of its class where it has its own."""
        known: Sequence[str] = self.classes
        if not self.interchangeable:
            known = names = [TARGET, *(f"neighbour_{number}" for number in range(1, self.options.galaxies[1]))]
        numbers = dict(zip(names, map(int, galaxies), strict=False))
        return {f"{name}_galaxy": numbers.get(name, np.nan) for name in known}

    def _nearest(self, positions: Sequence[int], centres: NDArray[np.intp]) -> dict[str, Scalar]:
        """Return separation and magnitude of the neighbour that is nearest to the galaxy in the middle."""
        if len(positions) == 1:
            return {"neighbour_separation": np.nan, "neighbour_magnitude": np.nan}
        r50 = self.r50[self.indices[positions]]
        separations = np.hypot(*(centres[1:] - centres[0]).T) / (r50[0] + r50[1:])
        nearest = int(separations.argmin())
        magnitude = self.magnitudes[positions[1 + nearest]] - self.magnitudes[positions[0]]
        return {"neighbour_separation": float(separations[nearest]), "neighbour_magnitude": float(magnitude)}
