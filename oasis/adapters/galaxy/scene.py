"""Blends: a galaxy in the middle of the image and others around it, with uniform separations and magnitudes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oasis.adapters.galaxy import survey
from oasis.adapters.galaxy.blurring import Blur, blur
from oasis.adapters.galaxy.simulation import colour_weights
from oasis.adapters.galaxy.stamps import Stamps, reference_band
from oasis.adapters.galaxy.stars import draw_stars, saturated
from oasis.adapters.galaxy.survey import Magnitude
from oasis.adapters.galaxy.surveys import Bands
from oasis.adapters.galaxy.varying import Conditions, Drawing, Varying, context_of
from oasis.adapters.options import Rising
from oasis.data.images import Images
from oasis.data.mixing import Placed, Scene, add_up
from oasis.data.samples import Array, Scalar
from oasis.errors import ConfigError, DataError
from oasis.options import Options

TARGET, NEIGHBOURS, STARS = "target", "neighbours", "stars"
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

    With `Varying`, every image has a point-spread function, a noise, pixels and a background of its own. The light
    of stars belongs to the neighbours, or to the class `stars` where galaxies are interchangeable. Saturated
    pixels are filled from the nearest good ones, as those of measured images are, and are not valid.

    Args:
        stamps: the library, both measured and simulated galaxies.
        indices: which of its galaxies this split uses.
        classes: the classes of the maps.
        options: how galaxies are placed and observed.
        bands: the facts of the bands of the library; by default those of DECaLS.
        varying: what differs between images; by default nothing.

    Raises:
        ConfigError: more galaxies per blend than there are classes or galaxies, or a band without noise or gain.
        DataError: galaxies without flux in the reference band, or with a wider point-spread function or larger
            pixels than images may have.
    """

    def __init__(
        self,
        stamps: Stamps,
        indices: NDArray[np.intp],
        classes: Sequence[str],
        options: BlendOptions,
        bands: Bands | None = None,
        varying: Varying | None = None,
    ) -> None:
        most = options.galaxies[1]
        self.stamps = stamps
        self.options = options
        self.classes = tuple(classes)
        self.interchangeable = self.classes != (TARGET, NEIGHBOURS)
        self.of_galaxies = tuple(name for name in self.classes if name != STARS)
        self.varying = varying or Varying()
        self.shape = (len(stamps.bands), options.size, options.size)
        if self.interchangeable and most > len(self.of_galaxies):
            count = len(self.of_galaxies)
            raise ConfigError(f"galaxies: up to {most} in a blend, but there are only {count} classes")
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
        self.draw = self._drawing(bands) if self.varying != Varying() else None
        self.colours = colour_weights(bands)[:, 0] if self.varying.stars.number[1] else None

    def _drawing(self, bands: Bands) -> Drawing:
        """Return how conditions are drawn; checks that stamps are sharp and fine enough for them."""
        stamps, varying, width = self.stamps, self.varying, bands.known("psf_fwhm")
        if varying.seeing != (1.0, 1.0):
            least = width * varying.ranges("seeing", bands.names)[0]
            for name, has, wanted in zip(bands.names, stamps.psf_fwhm, least, strict=True):
                if not has <= wanted * 1.001:
                    found = "is not known" if np.isnan(has) else f"is {has:.3g} arcsec"
                    raise DataError(
                        f"data.varying.seeing: from {wanted:.3g} arcsec in {name}, but the point-spread function "
                        f"of the galaxies {found}: begin there, or give convert.psf_fwhm when converting"
                    )
        if varying.pixel_scale is not None and varying.pixel_scale[0] < stamps.pixel_scale * 0.999:
            raise DataError(
                f"data.varying.pixel_scale: from {varying.pixel_scale[0]:g} arcsec, but the galaxies have pixels "
                f"of {stamps.pixel_scale:g}: begin there"
            )
        return Drawing(varying, bands, width, self.sky, self.gain, stamps.pixel_scale)

    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Scalar]]:
        """Draw the galaxy in the middle and its neighbours.

        Metadata of the sample:

        - `galaxies`: how many;
        - `noise_<band>`: of a pixel without the galaxies' shot noise, root mean square over the image, nmgy;
        - `<class>_galaxy`, and `neighbour_<k>_galaxy` of those that share a map: the galaxy's number in the
          library, NaN where there is none;
        - `neighbour_separation`: of the nearest neighbour from the galaxy in the middle, in units of the sum of
          their half-light radii; `neighbour_magnitude`: its magnitude minus that of the galaxy in the middle;
        - `clipped`: the sum of negative pixels over the flux in the reference band, in the worst stamp;
        - where images differ: `pixel_scale` (arcsec), `stars`, and for every band `psf_fwhm_<band>`, `sky_<band>`,
          `gain_<band>` and `background_<band>`, see `Conditions`.

        Metadata of each object: `galaxy`, its number in the library, -1 for a star; `row` and `col` of its centre,
        for galaxies that of a pixel; `r50` (arcsec) and `flux_<band>` (nmgy) of the whole stamp in the library.
        """
        conditions = None if self.draw is None else self.draw(rng)
        positions = self._choose(rng)
        galaxies = self.indices[positions]
        centres = self._arrange(galaxies, rng, self._zoom(conditions))
        names = [TARGET, *[NEIGHBOURS] * (len(galaxies) - 1)]
        if self.interchangeable:
            names = rng.permutation(self.of_galaxies)[: len(galaxies)].tolist()
        stamps = [self.stamp(*each, rng) for each in zip(names, galaxies, centres, strict=True)]
        if conditions is not None:
            stamps = self.seen(stamps, conditions)
            stamps += self._stars(stamps[0], conditions, rng)
        truth = [replace(stamp, values=np.maximum(stamp.values, 0)) for stamp in stamps]
        sky = self.sky if conditions is None else conditions.sky
        variance = np.maximum(sky[:, None, None] ** 2, self._stamp_variance(truth, conditions))
        noise = np.sqrt(variance.mean(axis=(1, 2)))
        reference = [stamp.values[self.reference] for stamp in stamps[: len(galaxies)]]
        meta: dict[str, Scalar] = {"galaxies": len(galaxies)}
        if conditions is not None:
            meta |= {"stars": len(stamps) - len(galaxies)} | conditions.meta()
        meta |= {f"noise_{band}": float(one) for band, one in zip(self.stamps.bands, noise, strict=True)}
        meta |= self._identities(names, galaxies) | self._nearest(positions, centres, self._zoom(conditions))
        meta["clipped"] = max(float(np.maximum(-values, 0).sum() / values.sum()) for values in reference)
        return truth, meta

    def observe(
        self, target: Array, placed: Sequence[Placed], rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the sum of the maps with noise, valid where it is not saturated.

        A target without stamps has no noise.
        """
        light = target.sum(axis=0)
        smooth = [replace(one, name="") for one in placed if not self._is_noisy(one)]
        photons = light if len(smooth) == len(placed) else add_up(smooth, [""], self.shape)[0]
        conditions = Conditions.of(placed[0].meta, self.stamps.bands) if self.draw is not None and placed else None
        level, gain = (self.sky, self.gain) if conditions is None else (conditions.sky, conditions.gain)
        sky = np.maximum(level[:, None, None] ** 2 - self._stamp_variance(placed, conditions), 0)
        sigma = np.sqrt(sky + photons / gain[:, None, None])
        image = light + sigma * rng.standard_normal(light.shape)
        valid = np.ones((1, *self.shape[1:]), dtype=bool)
        if conditions is None:
            return image.astype(np.float32), valid
        image = (image + conditions.plane(self.shape)).astype(np.float32)
        if self.varying.stars.number[1]:
            valid = ~saturated(image, self.varying.stars, conditions.pixel_scale)[None]
            image = Images(image[None], mask=valid[None]).filled()[0]
        return image, valid

    def context(self, meta: Mapping[str, Scalar]) -> Array | None:
        """Return the planes of `Varying.context`: the same value in every pixel."""
        if self.draw is None or not self.varying.context:
            return None
        found = Conditions.of(meta, self.stamps.bands)
        sky = found.sky * (self.stamps.pixel_scale / found.pixel_scale)
        values = context_of(self.varying.context, found.psf_fwhm, sky, self.draw.psf_fwhm, self.sky)
        return np.ascontiguousarray(np.broadcast_to(values[:, None, None], (len(values), *self.shape[1:])))

    def seen(self, stamps: Sequence[Placed], conditions: Conditions) -> list[Placed]:
        """Return galaxies as an image of other conditions shows them, with these as metadata."""
        change, facts = self._blur(conditions), _facts(conditions)
        return [
            replace(one, values=one.values if change is None else change(one.values), meta={**one.meta, **facts})
            for one in stamps
        ]

    def _stars(self, middle: Placed, conditions: Conditions, rng: np.random.Generator) -> list[Placed]:
        """Return stars beside the galaxy in the middle."""
        if self.colours is None:
            return []
        name, facts = STARS if STARS in self.classes else NEIGHBOURS, _facts(conditions)
        place = (self.colours, self.reference, self.shape[1], name, middle)
        stars = draw_stars(self.varying.stars, conditions, *place, rng)
        return [replace(one, meta={**one.meta, **facts}) for one in stars]

    def _blur(self, conditions: Conditions) -> Blur | None:
        if not self.varying.blurs:
            return None
        new = conditions.psf_fwhm
        old = new if self.varying.seeing == (1.0, 1.0) else self.stamps.psf_fwhm.astype(float)
        scales = self.stamps.pixel_scale, conditions.pixel_scale
        return blur(self.stamps.flux.shape[-1], np.minimum(old, new), new, *scales)

    def _zoom(self, conditions: Conditions | None) -> float:
        """Return the side of a pixel of the library over that of an image."""
        return 1.0 if conditions is None else self.stamps.pixel_scale / conditions.pixel_scale

    def _is_noisy(self, stamp: Placed) -> bool:
        noisy: bool = stamp.meta["galaxy"] >= 0 and self.noisy[int(stamp.meta["galaxy"])]
        return noisy

    def _stamp_variance(
        self, placed: Sequence[Placed], conditions: Conditions | None = None
    ) -> Array | np.float32:
        """Return the variance (B, H, W) that stamps bring to every pixel, nmgy^2; one 0 if they bring none."""
        brought = []
        change = self._blur(conditions) if conditions is not None and any(map(self._is_noisy, placed)) else None
        for stamp in filter(self._is_noisy, placed):
            variance = self.stamps.noise[int(stamp.meta["galaxy"]), :, None, None] ** 2
            if change is not None:
                variance = variance * change.noise[:, None, None].astype(np.float32) ** 2
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

    def _arrange(
        self, galaxies: NDArray[np.intp], rng: np.random.Generator, zoom: float = 1.0
    ) -> NDArray[np.intp]:
        """Draw the pixels (n, 2) on which galaxies are centred, whose sizes in pixels are `zoom` times larger."""
        jitter, middle = self.options.jitter, self.options.size // 2
        reach = self.options.size - 1 - middle - jitter
        centres = middle + rng.integers(-jitter, jitter + 1, (1, 2))
        for number, galaxy in enumerate(galaxies[1:], start=1):
            sizes = zoom * (self.r50[galaxies[:number]] + self.r50[galaxy])
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
        known: Sequence[str] = self.of_galaxies
        if not self.interchangeable:
            known = names = [TARGET, *(f"neighbour_{number}" for number in range(1, self.options.galaxies[1]))]
        numbers = dict(zip(names, map(int, galaxies), strict=False))
        return {f"{name}_galaxy": numbers.get(name, np.nan) for name in known}

    def _nearest(self, positions: Sequence[int], centres: NDArray[np.intp], zoom: float) -> dict[str, Scalar]:
        """Return separation and magnitude of the neighbour that is nearest to the galaxy in the middle."""
        if len(positions) == 1:
            return {"neighbour_separation": np.nan, "neighbour_magnitude": np.nan}
        r50 = zoom * self.r50[self.indices[positions]]
        separations = np.hypot(*(centres[1:] - centres[0]).T) / (r50[0] + r50[1:])
        nearest = int(separations.argmin())
        magnitude = self.magnitudes[positions[1 + nearest]] - self.magnitudes[positions[0]]
        return {"neighbour_separation": float(separations[nearest]), "neighbour_magnitude": float(magnitude)}


def _facts(conditions: Conditions) -> dict[str, float]:
    return {name: float(value) for name, value in conditions.meta().items()}
