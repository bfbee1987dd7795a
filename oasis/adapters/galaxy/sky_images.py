"""Measured images of the sky: in nanomaggies, in the bands and on the grid of the galaxies that are trained on."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.adapters.galaxy.bricks import leading, together
from oasis.adapters.galaxy.cutout import FITS, SUFFIXES, Cutout, Reading, in_bands
from oasis.adapters.galaxy.files import read_cutouts
from oasis.adapters.galaxy.fits import planes_of
from oasis.adapters.galaxy.grid import Grid, deviation, on_grid
from oasis.adapters.galaxy.headers import wcs_of
from oasis.adapters.galaxy.options import GalaxyAdapterOptions
from oasis.adapters.galaxy.stamps import Stamps
from oasis.adapters.galaxy.surveys import Bands, bands_of
from oasis.data.images import Images
from oasis.errors import DataError
from oasis.io.arrays import SUFFIXES as ARRAYS


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
        options = self.options.library
        return (
            Stamps.load(options.files[0]).pixel_scale
            if options.files
            else options.population.scale(self.known_bands)
        )

    def read(self, path: Path, key: str | None = None, dark: NDArray[Any] | None = None) -> Images:
        """Return images in nmgy per pixel, on the grid of the library where a file states its own.

        Bad pixels of a FITS cutout (missing, saturated, of stars) are masked.

        Raises:
            DataError: a file that cannot be read, or has other bands.
        """
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
        largest = self.options.reading.coarser * self.pixel_scale
        if cutout.pixel_scale > largest:
            raise DataError(
                f"{path}: coarse pixels of {cutout.pixel_scale:.4g} arcsec, the model was trained on "
                f"{self.pixel_scale:.4g}: train on such pixels (data.library.population.pixel_scale), or accept "
                "them with data.reading.coarser"
            )
        return on_grid(cutout, self.pixel_scale)

    def _as_read(self, path: Path, cutouts: Sequence[Cutout], dark: NDArray[Any] | None) -> Images:
        """Return images of one size with their bad pixels and their noise."""
        size = cutouts[0].flux.shape[1:]
        good, reasons = np.zeros(size, bool), sorted({name for one in cutouts for name in one.flags})
        weights = [one.inverse_variance for one in cutouts if one.inverse_variance is not None]
        return Images(
            self.as_images(np.stack([one.flux for one in cutouts]), dark),
            mask=~np.stack([(good if one.bad is None else one.bad)[None] for one in cutouts]),
            axes=("y", "x"),
            pixel_size=(self.pixel_scale,) * 2,
            pixel_unit="arcsec",
            position=self._facts(cutouts),
            flags={
                name: np.stack([one.flags.get(name, good)[None] for one in cutouts]) for name in sorted(reasons)
            },
            deviation=np.stack([deviation(one) for one in weights]) if len(weights) == len(cutouts) else None,
            source=str(path),
        )

    @staticmethod
    def _facts(cutouts: Sequence[Cutout]) -> dict[str, NDArray[np.float64]]:
        """Return the position of images, and the widths of their point-spread functions where they are known."""
        facts = {name: np.array([getattr(one, name) for one in cutouts]) for name in ("ra", "dec")}
        if all(one.psf_fwhm is not None for one in cutouts):
            widths = np.array([one.psf_fwhm for one in cutouts])
            facts |= {f"psf_fwhm_{band}": widths[:, at] for at, band in enumerate(cutouts[0].bands)}
        return facts

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
            known = wcs_of(planes["image"][0].header) is not None
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
        return Grid(path, self.pixel_scale, self._reading, self.band_names)

    @cached_property
    def _reading(self) -> Reading:
        """What files do not state, with the names and the zero points of the bands."""
        given = {name: one.zero_point for name, one in self.options.band.items() if one.zero_point is not None}
        reading = self.options.reading
        names = reading.bands if "bands" in reading.model_fields_set else self.band_names
        return reading.model_copy(update={"bands": names, "zero_points": {**given, **reading.zero_points}})

    def reads_parts(self, path: Path) -> bool:
        """Return whether a file is an array of nmgy per pixel on the grid of the library."""
        return _is_array(path)


def _is_array(path: Path) -> bool:
    """Return whether a file is a plain array, and not a FITS cutout or a picture with a grid of its own."""
    name = path.name.lower()
    return not name.endswith(FITS) and (path.suffix.lower() in ARRAYS or not name.endswith(SUFFIXES))
