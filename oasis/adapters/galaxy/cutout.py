"""Cutouts: single images of the sky as read from a file, and the checks that all file formats share.

Cutouts of the DESI Legacy Imaging Surveys give flux per pixel of 0.262 arcsec whatever their own pixel scale is,
because the service interpolates; they are multiplied by (pixel scale / 0.262)^2, so that fluxes add up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from oasis.adapters.galaxy.survey import BANDS, Arcsec, Magnitude
from oasis.data.samples import Array
from oasis.errors import DataError
from oasis.options import Options

MISSING = 0.2
"""Fraction of a band's pixels that may be 0 or NaN; Galaxy Zoo discards images with more (arXiv 2102.08414)."""

FITS = (".fits", ".fits.gz", ".fits.fz", ".fit")
PICTURES = (".png", ".jpg", ".jpeg")
HDF5 = (".h5", ".hdf5")
SUFFIXES = (*FITS, *PICTURES, *HDF5)


@dataclass(frozen=True)
class Cutout:
    """One image of the sky as read, with a galaxy in its centre.

    Attributes:
        flux: (B, H, W) float32 nmgy per pixel of the image's own grid.
        bands: the B band names.
        pixel_scale: arcsec.
        name: the name of the object or the file.
        approximate: whether the flux was recovered from a stretched picture.
        inverse_variance: (B, H, W) 1/nmgy^2, or None.
        bad: (H, W) pixels that must not be used, or None.
        ra, dec: coordinates of the centre, degrees; NaN where unknown.
        flags: (H, W) pixels that are bad for a reason, by reason: `missing`, `saturated`, `star`, `no_exposure`.
        psf_fwhm: (B,) median full width at half maximum of the point-spread function, arcsec, or None.
    """

    flux: Array
    bands: tuple[str, ...]
    pixel_scale: float
    name: str
    approximate: bool = False
    inverse_variance: Array | None = None
    bad: NDArray[np.bool_] | None = None
    ra: float = float("nan")
    dec: float = float("nan")
    flags: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    psf_fwhm: tuple[float, ...] | None = None


class Reading(Options):
    """Facts about images that their files do not state.

    Attributes:
        bands: the names of the bands, in their order, where a file does not name them.
        bands_from: `options` to use these names also where a file states others.
        pixel_scale: the pixel scale of the images, arcsec.
        zero_point: the AB magnitude of a value of 1, instead of what FITS files state; 22.5 for nanomaggies.
        zero_points: the same by band, where bands differ.
        native_scale: side of the pixel to which the flux values refer, arcsec, if it differs from the image's own.
        psf_fwhm: full width at half maximum of the point-spread function by band, arcsec, to compare with that
            in training.
        coarser: largest ratio of the pixel scale of an image to that of the model's or the library's grid.
        missing: largest fraction of a band's pixels that may be 0 or NaN.
        stretch: how the intensities of pictures were mapped: `galaxy_zoo` as for the Galaxy Zoo DECaLS release,
            `viewer` as in the Legacy Survey viewer and its JPEG cutouts.
    """

    bands: tuple[str, ...] = BANDS
    bands_from: Literal["files", "options"] = "files"
    pixel_scale: Arcsec | None = None
    zero_point: Magnitude | None = None
    zero_points: dict[str, Magnitude] = {}
    native_scale: Arcsec | None = None
    psf_fwhm: dict[str, Arcsec] = {}
    coarser: float = Field(1.05, ge=1, le=1000)
    missing: float = Field(MISSING, ge=0, le=1)
    stretch: Literal["galaxy_zoo", "viewer"] = "galaxy_zoo"


def object_name(path: Path) -> str:
    """Return a file's name without the suffix of an image.

    Example:
        >>> object_name(Path("J002/J002658.19-014709.9.fits.gz"))
        'J002658.19-014709.9'
    """
    suffix = max((each for each in SUFFIXES if path.name.lower().endswith(each)), key=len, default="")
    return path.name[: len(path.name) - len(suffix)]


def in_bands(cutout: Cutout, bands: tuple[str, ...], where: Path | str) -> Cutout:
    """Return an image with some of its bands, in another order.

    Raises:
        DataError: it does not have all of them.
    """
    if cutout.bands == bands:
        return cutout
    missing = [band for band in bands if band not in cutout.bands]
    if missing:
        raise DataError(
            f"{where}: bands {list(cutout.bands)}, expected {list(bands)}: where they have other names, give "
            "reading.bands with reading.bands_from: options; where each is in a file of its own, let the names of "
            "files end in that of the band, such as field_r.fits"
        )
    order, weights = [cutout.bands.index(band) for band in bands], cutout.inverse_variance
    return replace(
        cutout,
        flux=cutout.flux[order],
        bands=bands,
        inverse_variance=None if weights is None else weights[order],
        psf_fwhm=None if cutout.psf_fwhm is None else tuple(cutout.psf_fwhm[index] for index in order),
    )


def check_missing(where: Path | str, shares: Mapping[str, float], most: float) -> None:
    """Check the share of missing pixels of every band.

    Raises:
        DataError: one is too large.
    """
    for band, share in shares.items():
        if share > most:
            raise DataError(
                f"{where}: band {band} is missing (0 or NaN) in {share:.0%} of the pixels, at most "
                f"{most:.0%} may be (reading.missing)"
            )


def checked(
    where: Path | str, cutout: Cutout, native_scale: float | None, most_missing: float = MISSING
) -> Cutout:
    """Refuse missing bands, mark missing pixels as bad, and convert to flux per pixel of the image."""
    missing = (cutout.flux == 0) | ~np.isfinite(cutout.flux)
    check_missing(where, dict(zip(cutout.bands, missing.mean(axis=(1, 2)).tolist(), strict=True)), most_missing)
    absent = missing.any(axis=0)
    bad = absent if cutout.bad is None else absent | cutout.bad
    factor = np.float32((cutout.pixel_scale / native_scale) ** 2 if native_scale else 1)
    flux = np.asarray(cutout.flux, np.float32)  # in the machine's byte order
    flux = np.where(np.isfinite(flux), flux, np.float32(0)) * factor
    inverse_variance = None if cutout.inverse_variance is None else cutout.inverse_variance / factor**2
    flags = {**cutout.flags, "missing": absent}
    return replace(
        cutout,
        flux=flux,
        inverse_variance=inverse_variance,
        bad=bad if bad.any() else None,
        flags={name: plane for name, plane in flags.items() if plane.any()},
    )
