"""Blocks: large FITS images that are read part by part, with what has to be known of the whole."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, prod
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.galaxy.cutout import Cutout, Reading, check_missing, in_bands
from oasis.adapters.galaxy.detection import SAMPLED
from oasis.adapters.galaxy.fits import cutout_of, planes_of, say_unread
from oasis.data.images import Images
from oasis.stats.robust import median_and_noise

Floats = NDArray[np.float64]
STRIP: Final = 2**21  # pixels that are read together to measure the whole


@dataclass(frozen=True)
class Whole:
    """What is measured over a whole image.

    Attributes:
        background: (2, B) level and noise of the sky, nmgy.
        noise: (B,) of a pixel of sky as the file states it, the median, else as measured.
        psf_fwhm: (B,) medians, arcsec, or None.
    """

    background: Floats
    noise: Floats
    psf_fwhm: tuple[float, ...] | None


class SkyBlocks:
    """A FITS image of the sky of which blocks are read.

    Args:
        path: the path of the file.
        reading: facts that the file does not state.
        bands: the wanted bands.
        size: rows and columns of the image.
        place: right ascension and declination of its centre, degrees.
        finished: makes images of a block and what is known of the whole.
    """

    def __init__(
        self,
        path: Path,
        reading: Reading,
        bands: tuple[str, ...],
        size: tuple[int, int],
        place: tuple[float, float],
        finished: Callable[[Path, Cutout, Whole], Images],
    ) -> None:
        self.path, self.bands, self.size, self.place, self.finished = path, bands, size, place, finished
        self.most_missing, self.reading = reading.missing, reading.model_copy(update={"missing": 1.0})

    def read(self, place: Sequence[slice]) -> Images:
        """Return a block of the image.

        Raises:
            DataError: the file cannot be read, or too much of a band is missing.
        """
        ra, dec = self.place
        cutout = replace(self._block(place), ra=ra, dec=dec, psf_fwhm=self.whole.psf_fwhm)
        return self.finished(self.path, cutout, self.whole)

    def _block(self, place: Sequence[slice]) -> Cutout:
        with planes_of(self.path, self.bands, place=place) as planes:
            return in_bands(cutout_of(self.path, planes, self.reading), self.bands, self.path)

    def _strips(self) -> Iterator[Cutout]:
        rows = max(STRIP // self.size[1], 1)
        for start in range(0, self.size[0], rows):
            yield self._block((slice(start, min(start + rows, self.size[0])), slice(0, self.size[1])))

    @cached_property
    def whole(self) -> Whole:
        """What is measured of the image in one pass, of a large one on pixels at equal distances.

        Raises:
            DataError: the file cannot be read, or too much of a band is missing.
        """
        with planes_of(self.path, self.bands, headers=True) as planes:
            say_unread(self.path, planes)
        step = ceil(prod(self.size) / SAMPLED)
        sky: list[NDArray[np.float32]] = []
        stated: list[NDArray[np.float32]] = []
        widths: list[tuple[float, ...] | None] = []
        missing = np.zeros(len(self.bands))
        for strip in self._strips():
            flat = strip.flux.reshape(len(self.bands), -1)
            good = np.ones(flat.shape[1], bool) if strip.bad is None else ~strip.bad.reshape(-1)
            rows = np.flatnonzero(good)[::step]
            sky.append(flat[:, rows])
            missing += (flat == 0).sum(axis=1)
            widths.append(strip.psf_fwhm)
            if strip.inverse_variance is not None:
                stated.append(strip.inverse_variance.reshape(flat.shape)[:, rows])
        shares = dict(zip(self.bands, (missing / prod(self.size)).tolist(), strict=True))
        check_missing(self.path, shares, self.most_missing)
        pixels = np.concatenate(sky, axis=1)
        if not pixels.size:
            pixels = np.full((len(self.bands), 1), np.nan, np.float32)
        level, measured = median_and_noise(pixels, axis=1)
        noise = measured
        if stated:
            weights = np.concatenate(stated, axis=1)
            known = [1 / np.sqrt(np.median(one[one > 0])) if (one > 0).any() else np.nan for one in weights]
            noise = np.where(np.isfinite(known), known, measured)
        known_widths = [one for one in widths if one is not None]
        found = tuple(np.nanmedian(known_widths, axis=0).tolist()) if known_widths else None
        return Whole(np.stack([level, measured]).astype(float), np.asarray(noise, float), found)
