"""FITS: cutouts of the Legacy Survey service, and other images whose unit or zero point is known."""

import math
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.galaxy.cutout import Cutout, Reading, checked, object_name
from oasis.adapters.galaxy.survey import PIXEL_SCALE
from oasis.adapters.galaxy.units import nmgy_of_one
from oasis.errors import DataError, import_extra
from oasis.io.files import check_file
from oasis.io.files import reading as guarded

LEGACY_SURVEYS = ("DECaLS", "MzLS", "BASS", "LegacySurvey")
"""Values of the header key SURVEY for cutouts whose flux is per pixel of 0.262 arcsec."""

BAD_BITS = sum(1 << bit for bit in (1, 2, 3, 4, 5, 6, 7, 11))
"""Bits of MASKBITS that make a pixel bad: stars (1, 11), saturation (2-4), bad in all exposures (5-7).

The others mark brick borders, infrared masks and large galaxies (https://www.legacysurvey.org/dr9/bitmasks/).
"""


KINDS = ("image", "invvar", "maskbits")
OTHERS = dict.fromkeys(("ERR", "DQ", "WHT", "CTX", "MASK", "VARIANCE", "PSF", "MODEL", "CHI2", "NEXP"), "other")
"""Names of units (EXTNAME) that are no images of the sky."""

NAMES = ("BANDS", "BAND", "FILTER")
"""Keys of a header that name its bands."""

Planes = dict[str, list[tuple[Any, NDArray[Any]]]]


def read_fits(path: str | Path, reading: Reading | None = None) -> Cutout:
    """Read a FITS cutout of the Legacy Survey service, or another image, in nmgy per pixel.

    Args:
        path: the path of a file with an image (B, H, W) or, for one band, (H, W), or with an image per band in
            several units, with or without the planes INVVAR and MASKBITS.
        reading: facts that the file does not state.

    Raises:
        DataError: a file that is truncated, of another kind, without a band, its pixel scale or its unit, or with
            images that do not fit together.
        MissingExtraError: astropy is not installed.
    """
    path, reading = Path(path), reading or Reading()
    fits = import_extra("astropy.io.fits", "galaxy")
    check_file(path)
    with guarded(path, "truncated, or not a FITS file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path, memmap=False) as units:
            return _fits_cutout(path, units, reading)


def pixels_of(
    path: str | Path, sky: NDArray[np.float64], pixel_scale: float, reading: Reading | None = None
) -> NDArray[np.float64]:
    """Return rows and columns (k, 2) of positions on the sky, in a FITS image that is put on another grid.

    Args:
        path: the path of the file.
        sky: (k, 2) right ascension and declination, degrees.
        pixel_scale: of the grid, arcsec; its centre is that of the image.
        reading: facts that the file does not state.

    Raises:
        DataError: a file that cannot be read, or has no world coordinate system.
    """
    path, reading = Path(path), reading or Reading()
    fits, wcs = import_extra("astropy.io.fits", "galaxy"), import_extra("astropy.wcs", "galaxy")
    check_file(path)
    with guarded(path, "truncated, or not a FITS file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with fits.open(path, memmap=False) as units:
            planes = _planes(path, units)
            if "image" not in planes:
                raise DataError(f"{path}: contains no image")
            header, flux = planes["image"][0]
            system = wcs.WCS(header, naxis=2)
            if not system.has_celestial:
                raise DataError(
                    f"{path}: has no world coordinate system (CTYPE1, CD1_1): give positions in pixels"
                )
            scale, _, _ = _geometry(path, header, flux.shape[1:], reading)
            columns, rows = system.world_to_pixel_values(sky[:, 0], sky[:, 1])
    places = np.stack([rows, columns], axis=1)
    if math.isclose(scale, pixel_scale, rel_tol=1e-3):
        return places
    ratio, lengths = pixel_scale / scale, np.array(flux.shape[1:])
    count = (lengths / ratio + 1e-6).astype(int)
    return np.asarray((places + 0.5 - (lengths - count * ratio) / 2) / ratio - 0.5)


def _fits_cutout(path: Path, units: Sequence[Any], reading: Reading) -> Cutout:
    planes = _planes(path, units)
    if "image" not in planes:
        raise DataError(f"{path}: contains no image (an empty cutout lies outside the survey)")
    images = planes["image"]
    scale, ra, dec = _common_geometry(path, images, reading)
    header, shape = images[0][0], images[0][1].shape[1:]
    bands = _bands(path, [one for one, _ in images], sum(len(values) for _, values in images), reading)
    factors = [nmgy_of_one(path, one, reading.zero_point, scale) for one, _ in images]
    flux = np.concatenate([values * factor for (_, values), factor in zip(images, factors, strict=True)])
    weights = _matching(path, planes, "invvar", flux.shape)
    if weights is not None:
        of_bands = np.repeat(factors, [len(values) for _, values in images])
        weights = weights / (of_bands**2)[:, None, None]
    bits = _matching(path, planes, "maskbits", (1, *shape))
    bad = np.zeros(shape, bool)
    if weights is not None:
        bad |= (weights <= 0).any(axis=0)
    if bits is not None:
        bad |= bits[0].astype(np.int64) & BAD_BITS > 0
    cutout = Cutout(flux, bands, scale, object_name(path), False, weights, bad, ra, dec)
    return checked(path, cutout, reading.native_scale or _native_scale(path, header))


def _planes(path: Path, units: Sequence[Any]) -> Planes:
    """Return headers and values (B, H, W) of each kind of plane."""
    planes: Planes = {}
    for unit in units:
        if not unit.is_image or unit.header.get("NAXIS", 0) < 2:
            continue
        if "BRICK_X0" in unit.header:
            raise DataError(f"{path}: pieces of bricks (&subimage): fetch the cutout without &subimage")
        values = np.asarray(unit.data)
        if values.ndim > 3:
            raise DataError(f"{path}: an image of shape {values.shape}, expected (bands, rows, columns)")
        kind = str(unit.header.get("IMAGETYP", "")).strip().lower()
        kind = kind if kind in KINDS else OTHERS.get(str(unit.name).strip().upper(), "image")
        planes.setdefault(kind, []).append((unit.header, values[None] if values.ndim == 2 else values))
    return planes


def _common_geometry(
    path: Path, images: Sequence[tuple[Any, NDArray[Any]]], reading: Reading
) -> tuple[float, float, float]:
    """Return the `_geometry` of the images in the units of a file, which are the bands of one image.

    Raises:
        DataError: they differ in size or place.
    """
    sizes = {values.shape[1:] for _, values in images}
    if len(sizes) > 1:
        found = ", ".join(f"{height} x {width}" for height, width in sorted(sizes))
        raise DataError(f"{path}: has images of {found} pixels: keep one, or write each to a file of its own")
    (size,) = sizes
    places = [_geometry(path, header, size, reading) for header, _ in images]
    scale = places[0][0]
    if not np.allclose(places, places[0], rtol=0, atol=scale / 7200, equal_nan=True):  # half a pixel
        raise DataError(f"{path}: its images have other places on the sky: write each to a file of its own")
    return places[0]


def _matching(path: Path, planes: Planes, kind: str, shape: tuple[int, ...]) -> NDArray[Any] | None:
    if kind not in planes:
        return None
    values = np.concatenate([one for _, one in planes[kind]])
    if values.shape != shape:
        raise DataError(f"{path}: {kind.upper()} has shape {values.shape}, expected {shape} as the image")
    return values


def _bands(path: Path, headers: Sequence[Any], count: int, reading: Reading) -> tuple[str, ...]:
    named: tuple[str, ...] = ()
    if reading.bands_from == "files":
        each = [_named_bands(header, count if len(headers) == 1 else 1) for header in headers]
        named = tuple(name for names in each for name in names)
        if len(headers) > 1 and not all(each) and named:
            raise DataError(f"{path}: of {count} images some state no band (BAND, FILTER): give reading.bands")
    bands = named or reading.bands
    if len(bands) != count or len(set(bands)) != count:
        raise DataError(
            f"{path}: {count} planes, but the bands are {', '.join(bands)}: give reading.bands, and "
            "reading.bands_from: options where the file names them wrongly"
        )
    return bands


def _named_bands(header: Any, count: int) -> tuple[str, ...]:
    """Return the bands that a header names: one by one, or as a text such as `grz`, `g,r,z` or `F814W`."""
    named = [str(header[f"BAND{index}"]).strip() for index in range(count) if f"BAND{index}" in header]
    if named:
        return tuple(named)
    text = next((str(header[key]).strip() for key in NAMES if str(header.get(key, "")).strip()), "")
    names = [name for name in re.split(r"[,;\s]+", text) if name]
    return tuple(text) if len(names) == 1 and count > 1 else tuple(names)


def _geometry(path: Path, header: Any, shape: tuple[int, ...], reading: Reading) -> tuple[float, float, float]:
    """Return pixel scale (arcsec), right ascension and declination of the centre (degrees)."""
    wcs = import_extra("astropy.wcs", "galaxy")
    system = wcs.WCS(header, naxis=2)
    if not system.has_celestial:
        if reading.pixel_scale is None:
            raise DataError(f"{path}: has no world coordinate system (CTYPE1, CD1_1): give pixel_scale")
        return reading.pixel_scale, float("nan"), float("nan")
    sides = 3600 * np.asarray(wcs.utils.proj_plane_pixel_scales(system))
    if not np.allclose(sides, sides[0], rtol=0.01):
        raise DataError(f"{path}: pixels of {sides[0]:.4g} x {sides[1]:.4g} arcsec are not square")
    ra, dec = system.pixel_to_world_values((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    return float(np.sqrt(sides.prod())), float(ra), float(dec)


def _native_scale(path: Path, header: Any) -> float | None:
    """Return the side of the pixel to which the flux of a service cutout refers, arcsec; None for other files."""
    survey = str(header.get("SURVEY", "")).strip()
    if not survey or "BANDS" not in header:
        return None
    if survey not in LEGACY_SURVEYS:
        raise DataError(
            f"{path}: a cutout of the survey {survey!r}, expected {', '.join(LEGACY_SURVEYS)}: give native_scale"
        )
    return PIXEL_SCALE
