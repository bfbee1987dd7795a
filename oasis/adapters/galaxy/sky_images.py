"""Measured images of the sky: in nanomaggies, in the bands and on the grid of the galaxies that are trained on."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from math import isclose
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.adapters.galaxy.blocks import SkyBlocks, Whole
from oasis.adapters.galaxy.bricks import leading, together
from oasis.adapters.galaxy.cutout import FITS, SUFFIXES, Cutout, Reading, in_bands
from oasis.adapters.galaxy.detection import darkest_of, noise_of, sky_of
from oasis.adapters.galaxy.files import read_cutouts
from oasis.adapters.galaxy.fits import common_geometry, planes_of
from oasis.adapters.galaxy.grid import SAME, Grid, deviation, nearest_scale, on_grid
from oasis.adapters.galaxy.options import GalaxyAdapterOptions
from oasis.adapters.galaxy.places import places_of
from oasis.adapters.galaxy.scenes import is_scene, read_scene
from oasis.adapters.galaxy.simulation import GalaxyOptions
from oasis.adapters.galaxy.stamps import Stamps
from oasis.adapters.galaxy.surveys import Bands, bands_of
from oasis.adapters.galaxy.varying import context_of
from oasis.data.images import Images
from oasis.data.samples import Array
from oasis.errors import DataError
from oasis.io.arrays import SUFFIXES as ARRAYS

DARK = 5  # per cent of the pixels, the darkest of an image, which are sky
LIFTED = 1.0  # times the noise: the sky is not 0 if dark pixels lie above it, or half of all below its negative
OTHER = 10.0  # ratio of the noise to that in training, or its inverse, from which on the unit is doubted
BY_BLOCKS = (".fits", ".fit", ".fits.fz")  # not those that gzip compresses as a whole


class SkyImages(Adapter[GalaxyAdapterOptions]):
    """How images of the sky are read: their bands, units, bad pixels, and where their pixels lie."""

    unit = "nmgy"
    suffixes = (*ARRAYS, *SUFFIXES)

    @cached_property
    def known_bands(self) -> Bands:
        """The bands of images, and what is known of them.

        Raises:
            ConfigError: a band of which nothing is known.
        """
        return bands_of(self.options.survey, self.options.bands, self.options.band)

    @property
    def band_names(self) -> tuple[str, ...]:
        """The names of the bands, in the order of the images."""
        return self.known_bands.names

    @property
    def bands(self) -> int:
        """Number of bands."""
        return len(self.band_names)

    @cached_property
    def pixel_scale(self) -> float:
        """Side of a pixel of the library, arcsec."""
        files = self.options.library.files
        return Stamps.load(files[0]).pixel_scale if files else self.population.scale(self.known_bands)

    @cached_property
    def population(self) -> GalaxyOptions:
        """How simulated galaxies are drawn: as sharply and as finely as any image may show them."""
        options, varying = self.options.library.population, self.options.varying
        changes: dict[str, Any] = {}
        if varying.pixel_scale is not None and options.pixel_scale is None:
            changes["pixel_scale"] = varying.pixel_scale[0]
        if varying.seeing != (1.0, 1.0) and options.psf_fwhm is None:
            least = varying.ranges("seeing", self.band_names)[0]
            changes["psf_fwhm"] = tuple((np.array(options.widths(self.known_bands)) * least).tolist())
        return options.model_copy(update=changes)

    @property
    def pixel_scales(self) -> tuple[float, float]:
        """The smallest and the largest side of a pixel of images, arcsec."""
        return self.options.varying.pixel_scale or (self.pixel_scale, self.pixel_scale)

    def read(self, path: Path, key: str | None = None, dark: NDArray[Any] | None = None) -> Images:
        """Return images in nmgy per pixel, on the grid of the library where a file states its own.

        Bad pixels of a FITS cutout (missing, saturated, of stars) are masked. An `.npz` file is a scene of scarlet
        (see `oasis.adapters.galaxy.scenes`) if it has one's arrays, else a plain array in nmgy per pixel.

        Raises:
            DataError: a file that cannot be read, or has other bands.
        """
        if is_scene(path):
            scene = self._gridded(in_bands(read_scene(path, self._reading), self.band_names, path), path)
            return self._as_read(path, [scene], dark)
        if _is_array(path):
            return super().read(path, key, dark)
        found = read_cutouts(path, self._reading, bands=self.band_names)
        cutouts = [self._gridded(in_bands(one, self.band_names, path), path) for one in found]
        sizes = {one.flux.shape[1:] for one in cutouts}
        if len(sizes) > 1:
            raise DataError(f"{path}: has images of several sizes, {sorted(sizes)}: write each to its own file")
        return self._as_read(path, cutouts, dark)

    def _gridded(self, cutout: Cutout, path: Path) -> Cutout:
        """Return an image on the grid of the library, unless its pixels are too coarse for that."""
        return on_grid(cutout, self._wanted_scale(cutout.pixel_scale, path))

    def _wanted_scale(self, found: float, path: Path) -> float:
        """Return the pixel scale on which an image with pixels of `found` arcsec is separated."""
        largest = self.pixel_scales[1]
        if found > self.options.reading.coarser * largest:
            raise DataError(
                f"{path}: coarse pixels of {found:.4g} arcsec, the model was trained on "
                f"{largest:.4g}: train on such pixels (data.library.population.pixel_scale), or accept "
                "them with data.reading.coarser"
            )
        return nearest_scale(found, self.pixel_scales)

    def blocks(self, path: Path) -> SkyBlocks | None:
        """Return a FITS image that is read block by block; None for others, and where pixels are resampled.

        Raises:
            DataError: a file that cannot be read.
        """
        if not path.name.lower().endswith(BY_BLOCKS):
            return None
        with planes_of(path, self.band_names, headers=True) as planes:
            images = planes["image"]
            scale, ra, dec = common_geometry(path, images, self._reading)
            height, width = images[0].shape[1:]
        if not isclose(self._wanted_scale(scale, path), scale, rel_tol=SAME):
            return None
        return SkyBlocks(path, self._reading, self.band_names, (height, width), (ra, dec), self._of_block)

    def _of_block(self, path: Path, cutout: Cutout, whole: Whole) -> Images:
        """Return a block with what is known of the whole image."""
        images = self._as_read(path, [cutout], None, whole.noise[None])
        return images.replace(background=whole.background[None])

    def _as_read(
        self,
        path: Path,
        cutouts: Sequence[Cutout],
        dark: NDArray[Any] | None,
        noise: NDArray[np.float64] | None = None,
    ) -> Images:
        """Return images of one size with their bad pixels and their noise, that of their sky (n, B) if known."""
        size, scales = cutouts[0].flux.shape[1:], {one.pixel_scale for one in cutouts}
        good, reasons = np.zeros(size, bool), sorted({name for one in cutouts for name in one.flags})
        weights = [one.inverse_variance for one in cutouts if one.inverse_variance is not None]
        deviations = np.stack([deviation(one) for one in weights]) if len(weights) == len(cutouts) else None
        images = self.as_images(np.stack([one.flux for one in cutouts]), dark)
        return Images(
            images,
            context=self._context_of(path, images, deviations, cutouts, noise),
            mask=~np.stack([(good if one.bad is None else one.bad)[None] for one in cutouts]),
            axes=("y", "x"),
            pixel_size=(cutouts[0].pixel_scale,) * 2 if len(scales) == 1 else (),
            pixel_unit="arcsec" if len(scales) == 1 else "",
            position=self._facts(cutouts),
            flags={
                name: np.stack([one.flags.get(name, good)[None] for one in cutouts]) for name in sorted(reasons)
            },
            deviation=deviations,
            source=str(path),
        )

    def doubt(self, images: Images) -> str:
        """Return that the sky of an image is not 0, or has another noise than in training, as in another unit."""
        scale = images.pixel_size[0] if images.pixel_size else self.pixel_scale
        for number, image in enumerate(images.image):
            bad = None if images.mask is None else ~images.mask[number, 0]
            level, noise = sky_of(image, bad)
            ratios = noise / (self.sky_noise * scale / self.pixel_scale)
            wrong = (ratios > 0) & ((ratios > OTHER) | (ratios < 1 / OTHER))
            if wrong.any():
                at = int(wrong.argmax())
                return (
                    f"the {self.band_names[at]} band of image {number} has {ratios[at]:.3g} times the noise of "
                    "that in training: check its unit (data.reading.zero_point)"
                )
            wrong = (noise > 0) & ((darkest_of(image, DARK, bad) > LIFTED * noise) | (level < -LIFTED * noise))
            if wrong.any():
                at = int(wrong.argmax())
                return (
                    f"the {self.band_names[at]} band of image {number} has a median of {level[at]:.3g}, a noise "
                    f"of {noise[at]:.3g} {self.unit}: subtract the level of the sky, which maps would contain"
                )
        return ""

    def _facts(self, cutouts: Sequence[Cutout]) -> dict[str, NDArray[np.float64]]:
        """Return the position of images, and the widths of their point-spread functions where they are known."""
        facts = {name: np.array([getattr(one, name) for one in cutouts]) for name in ("ra", "dec")}
        if self.options.varying.pixel_scale is not None:
            facts["pixel_scale"] = np.array([one.pixel_scale for one in cutouts])
        if all(one.psf_fwhm is not None for one in cutouts):
            widths = np.array([one.psf_fwhm for one in cutouts])
            facts |= {f"psf_fwhm_{band}": widths[:, at] for at, band in enumerate(cutouts[0].bands)}
        return facts

    @property
    def context(self) -> int:
        """Number of further inputs: a plane for each name in `varying.context` and band."""
        return len(self.options.varying.context) * self.bands

    def context_planes(
        self, psf_fwhm: Mapping[str, float], noise: Mapping[str, float], shape: Sequence[int]
    ) -> Array | None:
        """Return the context (C, H, W) of an image, for a model with `varying.context`; None for other models.

        Args:
            psf_fwhm: full width at half maximum of the point-spread function by band, arcsec.
            noise: of a pixel of sky by band, nmgy, for pixels of the library's side.
            shape: rows and columns of the image.

        Raises:
            DataError: a width or a noise is not known that the model needs.
        """
        names = self.options.varying.context
        if not names:
            return None
        widths, levels = (np.array([of.get(band, np.nan) for band in self.band_names]) for of in (psf_fwhm, noise))
        for name, found, way in (
            ("psf", widths, "data.reading.psf_fwhm"),
            ("noise", levels, "an image of which most is sky"),
        ):
            lacking = [band for band, one in zip(self.band_names, found, strict=True) if not one > 0]
            if name in names and lacking:
                raise DataError(
                    f"the model takes the {name} of images, not known in {', '.join(lacking)}: give {way}"
                )
        usual = np.array(self.options.library.population.widths(self.known_bands))
        values = context_of(names, widths, levels, usual, self.sky_noise)
        return np.ascontiguousarray(np.broadcast_to(values[:, None, None], (len(values), *shape)))

    def _context_of(
        self,
        path: Path,
        images: Array,
        deviations: Array | None,
        cutouts: Sequence[Cutout],
        known: NDArray[np.float64] | None,
    ) -> Array | None:
        """Return the context (n, C, H, W) of images, from what files state of them, else by their own noise."""
        if not self.context:
            return None
        found = []
        for at, cutout in enumerate(cutouts):
            stated = None if deviations is None else deviations[at]
            noise = noise_of(images[at], cutout.bad, stated) if known is None else known[at]
            noise = noise * (self.pixel_scale / cutout.pixel_scale)
            widths = np.array(cutout.psf_fwhm or [np.nan] * self.bands)
            found.append(self._planes(path, widths, noise, images.shape[2:]))
        return np.stack(found)

    def _planes(
        self, path: Path, widths: NDArray[np.float64], noise: NDArray[np.float64], shape: Sequence[int]
    ) -> Array:
        """Return the context (C, H, W) of an image of a file."""
        psf, sky = (dict(zip(self.band_names, values.tolist(), strict=True)) for values in (widths, noise))
        try:
            planes = self.context_planes(psf, sky, shape)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
        assert planes is not None
        return planes

    def stored_context(self, path: Path, image: Array) -> Array | None:
        """Return the context of an array of images: that in its file, else by `data.reading` and their noise."""
        if not self.context:
            return None
        with suppress(DataError):  # a file without one
            return super().stored_context(path, image)
        widths = np.array([self.options.reading.psf_fwhm.get(band, np.nan) for band in self.band_names])
        return np.stack([self._planes(path, widths, noise_of(one), image.shape[2:]) for one in image])

    @property
    @abstractmethod
    def sky_noise(self) -> NDArray[np.float64]:
        """Noise of a pixel of sky by band, nmgy."""

    def leading(self, paths: Sequence[Path]) -> list[Path]:
        """Return one file for every image: those of other bands and of planes are read with it."""
        return leading(paths, self.band_names)

    def together(self, path: Path) -> list[Path]:
        """Return the files of all bands and planes of an image."""
        return [one for one, _ in together(path, self.band_names)]

    def sky(self, path: Path) -> Grid | None:
        """Return where the pixels of a FITS image lie on the sky; None for files that do not say.

        Raises:
            DataError: a file that cannot be read.
        """
        if not path.name.lower().endswith(FITS):
            return None
        with planes_of(path, self.band_names, headers=True) as planes:
            known = places_of(path, planes["image"][0].header) is not None
        return self._grid(path) if known else None

    def to_pixels(self, path: Path, sky: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return positions (k, 2) in pixels of the images that `read` gives of a FITS file.

        Raises:
            DataError: a file of another kind, or without a world coordinate system.
        """
        if not path.name.lower().endswith(FITS):
            return super().to_pixels(path, sky)
        return self._grid(path).to_pixels(sky)

    def _grid(self, path: Path) -> Grid:
        return Grid(path, self.pixel_scales, self._reading, self.band_names)

    @cached_property
    def _reading(self) -> Reading:
        """What files do not state, with the names and the zero points of the bands."""
        given = {name: one.zero_point for name, one in self.options.band.items() if one.zero_point is not None}
        reading = self.options.reading
        names = reading.bands if "bands" in reading.model_fields_set else self.band_names
        return reading.model_copy(update={"bands": names, "zero_points": {**given, **reading.zero_points}})

    def reads_parts(self, path: Path) -> bool:
        """Return whether a file is an array of nmgy per pixel on the grid of the library."""
        return _is_array(path) and not is_scene(path)


def _is_array(path: Path) -> bool:
    """Return whether a file is a plain array, and not a FITS cutout or a picture with a grid of its own."""
    name = path.name.lower()
    return not name.endswith(FITS) and (path.suffix.lower() in ARRAYS or not name.endswith(SUFFIXES))
