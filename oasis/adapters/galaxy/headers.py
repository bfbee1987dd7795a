"""Headers of FITS images: what kind of plane a unit is, its bands, its pixels, its place on the sky."""

import re
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.galaxy.cutout import Reading
from oasis.adapters.galaxy.places import direction, places_of
from oasis.adapters.galaxy.survey import PIXEL_SCALE
from oasis.adapters.galaxy.units import MAGNITUDES
from oasis.errors import DataError
from oasis.io.fits import is_quality

LEGACY_SURVEYS: Final = ("DECaLS", "MzLS", "BASS", "LegacySurvey")
"""Values of the header key SURVEY for cutouts whose flux is per pixel of 0.262 arcsec."""

KINDS: Final = ("image", "invvar", "maskbits", "psfsize", "variance", "dq")
OTHERS: Final = ("CTX", "PSF", "MODEL", "CHI2", "NEXP", "WISEM1", "WISEM2")
"""Names of units (EXTNAME), beside those of planes of quality, that are no images of the sky."""
SCIENCE: Final = "SCI"
"""Name of the images in files of Hubble, Webb and others, in which all other units are about these."""

_NUMBERED: Final = ("BAND", "FILTER", "FILTNAM")
_NAMES: Final = (
    *("BANDS", "BAND", "FILTER", "FILTER1", "FILTER2", "FILTNAM", "FILTNAM1", "FILTNAM2", "FILTER01"),
    *("FILTERID", "FPA.FILTERID", "ESO INS FILT1 NAME"),
)
INHERITED: Final = (
    "BAND",
    *_NAMES[2:],
    *MAGNITUDES,
    "FLUXMAG0",
    "PHOTFLAM",
    "PHOTPLAM",
    "BUNIT",
    "EXPTIME",
    "TELESCOP",
)
"""Keys of a primary header without an image that hold for the images of its file, as the Hubble archive and the
pipelines of Rubin write them."""
MASK_PLANE: Final = "MP_"
"""Beginning of the keys that name the bits of a mask of Rubin's or HSC's pipelines."""


def kind_of(header: Any, name: str, default: str = "image") -> str:
    """Return the kind of a plane: one of `KINDS`, or `other`.

    Args:
        header: of the unit.
        name: of the unit (EXTNAME).
        default: where the unit does not say.
    """
    stated = str(header.get("IMAGETYP", header.get("IMTYPE", ""))).strip().lower()
    if stated in KINDS:
        return stated
    named = name.strip().upper()
    if named == "MASK" and any(str(key).startswith(MASK_PLANE) for key in header):
        return "mask"
    if named.lower() in KINDS:
        return named.lower()
    return "other" if named in OTHERS or is_quality(named) else default


def bands_of(
    path: Path, headers: Sequence[Any], counts: Sequence[int], reading: Reading, by_name: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the names of the bands of all planes.

    Args:
        path: the path of the file, for messages.
        headers: of every image.
        counts: the number of planes of every image.
        reading: facts that files do not state, or state wrongly.
        by_name: the bands that the names of files state, if they do.

    Raises:
        DataError: bands are not named, or not each once.
    """
    count, named = sum(counts), tuple[str, ...]()
    if reading.bands_from == "files":
        _check_names(path, headers, by_name, reading.bands)
        each = [named_in(header, planes) for header, planes in zip(headers, counts, strict=True)]
        if not any(each) and max(counts, default=0) == 1:
            each = _by_extension(headers, reading.bands)
        named = tuple(by_name) or tuple(name for names in each for name in names)
        if len(headers) > 1 and not by_name and not all(each) and named:
            raise DataError(f"{path}: of {count} images some state no band (BAND, FILTER): give reading.bands")
    bands = named or (tuple(by_name) or reading.bands)
    if len(bands) != count or len(set(bands)) != count:
        raise DataError(
            f"{path}: {count} planes, but the bands are {', '.join(bands)}: give reading.bands, and "
            "reading.bands_from: options where the file names them wrongly"
        )
    return bands


def _check_names(path: Path, headers: Sequence[Any], by_name: Sequence[str], known: Sequence[str]) -> None:
    """Check that no file has the name of one band and the header of another that is known.

    Raises:
        DataError: one has.
    """
    for header, name in zip(headers, by_name, strict=False):
        stated = named_in(header, 1)
        if stated and stated[0] != name and stated[0] in (*known, *by_name):
            raise DataError(
                f"{path}: the file of the band {name}, by its name, is of {stated[0]} by its header: rename it, "
                "or give reading.bands_from: options to go by the names of files"
            )


def _by_extension(headers: Sequence[Any], known: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the bands of the units of a file by their names (EXTNAME), if these differ and some are bands.

    Programs write such names in capitals.
    """
    by_capitals = {name.upper(): name for name in known}
    names = [str(header.get("EXTNAME", "")).strip() for header in headers]
    names = [by_capitals.get(name.upper(), name) for name in names]
    are_bands = all(names) and len(set(names)) == len(names) and any(name in known for name in names)
    return [(name,) for name in names] if are_bands else [()] * len(names)


def named_in(header: Any, count: int) -> tuple[str, ...]:
    """Return the bands that a header names: one by one, or as a text such as `grz`, `g,r,z` or `F814W`.

    The image of one band in a brick lists all bands of the brick (BANDS, BAND0, ...): its own is FILTERX.
    """
    short = str(header.get("FILTERX", "")).strip()
    if count == 1 and short:
        return (short,)
    if "BAND0" in header or count > 1:
        for key, first in product(_NUMBERED, (0, 1)):
            named = [str(header.get(f"{key}{index}", "")).strip() for index in range(first, first + count)]
            if all(named):
                return tuple(named)
    stated = {key: str(header.get(key, "")).strip() for key in _NAMES}
    stated = {key: text for key, text in stated.items() if text and not text.upper().startswith("CLEAR")}
    key, text = next(iter(stated.items()), ("", ""))
    names = [name for name in re.split(r"[,;\s]+", text) if name]
    if count == 1 and key != "BANDS":
        names = names[:1]  # as in "r DECam SDSS c0002 6415.0 1480.0"
    return tuple(text) if len(names) == 1 and count > 1 else tuple(names)


def geometry(path: Path, header: Any, shape: Sequence[int], reading: Reading) -> tuple[float, float, float]:
    """Return pixel scale (arcsec), right ascension and declination of the centre (degrees; NaN where unknown).

    Raises:
        DataError: the pixel scale is not known, or pixels are not square.
    """
    places = places_of(path, header)
    if places is None:
        if reading.pixel_scale is None:
            raise DataError(f"{path}: has no world coordinate system (CTYPE1, CD1_1): give reading.pixel_scale")
        return reading.pixel_scale, float("nan"), float("nan")
    sides = places.scales
    if not np.allclose(sides, sides[0], rtol=0.01):
        raise DataError(f"{path}: pixels of {sides[0]:.4g} x {sides[1]:.4g} arcsec are not square")
    ra, dec = places.to_sky((shape[1] - 1) / 2, (shape[0] - 1) / 2)
    return float(np.sqrt(sides.prod())), float(ra), float(dec)


def corners(path: Path, header: Any, shape: Sequence[int]) -> NDArray[np.float64]:
    """Return the directions (4, 3) of the pixels in the corners of an image, arcsec; NaN where unknown."""
    places = places_of(path, header)
    if places is None:
        return np.full((4, 3), np.nan)
    rows, columns = np.array(list(product((0, shape[0] - 1), (0, shape[1] - 1)))).T
    return np.array([direction(*one) for one in places.to_sky(columns, rows).tolist()])


def native_scale(path: Path, header: Any) -> float | None:
    """Return the side of the pixel to which the flux of a service cutout refers, arcsec; None for other files.

    Raises:
        DataError: a cutout of an unknown survey.
    """
    survey = str(header.get("SURVEY", "")).strip()
    if not survey or "BANDS" not in header or "BRICK" in header:  # of a brick
        return None
    if survey not in LEGACY_SURVEYS:
        raise DataError(
            f"{path}: a cutout of the survey {survey!r}, expected {', '.join(LEGACY_SURVEYS)}: give "
            "reading.native_scale"
        )
    return PIXEL_SCALE
