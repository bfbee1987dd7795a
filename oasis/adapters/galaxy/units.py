"""Units: how many nanomaggies per pixel the numbers of an image are, as its header states it or the user does.

References:
    Oke & Gunn (1983), ApJ 266, 713: AB magnitudes; 3631 Jy have magnitude 0.
    https://www.stsci.edu/hst/instrumentation/acs/data-analysis/zeropoints: that of PHOTFLAM and PHOTPLAM.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from oasis.adapters.galaxy.survey import ZERO_POINT, nanomaggies
from oasis.errors import DataError, import_extra

JY_PER_NMGY: Final = 3631e-9
_MAGGIES: Final = re.compile(r"(nano|micro|milli|n|u|µ|μ|m|)(?:maggy|maggies|maggie|mgy|mggy)(.*)")
_PREFIXES: Final = {
    "": 1e9,
    "milli": 1e6,
    "m": 1e6,
    "micro": 1e3,
    "u": 1e3,
    "µ": 1e3,
    "μ": 1e3,
    "nano": 1.0,
    "n": 1.0,
}
_PER_PIXEL: Final = re.compile(r"|(/|per)pix(el)?s?|pix(el)?s?\^?-1")
_PER_AREA: Final = re.compile(r"(/|per)(arcsec\^?[2²]|sq(uare)?\.?arcsec(ond)?|\(arcsec\^?2\))|arcsec\^?-2")
MAGNITUDES: Final = ("MAGZERO", "MAGZPT", "MAGZEROPOINT", "PHOTZP", "ZEROPNT")
"""Keys of a header that contain the AB magnitude of a flux of 1 in the image."""
COUNTS: Final = ("electron", "electrons", "e-", "e", "count", "counts", "ct", "cts", "dn", "adu")
"""Units of images that are counts of the whole exposure, in small letters."""


def nmgy_of_one(path: Path, header: Mapping[str, Any], zero_point: float | None, pixel_scale: float) -> float:
    """Return the flux in nmgy per pixel of a value of 1 in an image.

    Args:
        path: the path of the file, for messages.
        header: of the image; BUNIT, a zero point (MAGZERO, FLUXMAG0, PHOTFLAM with PHOTPLAM), or the keys of a
            cutout of the Legacy Survey service, which is in nmgy.
        zero_point: the AB magnitude of a value of 1, if the user states it; the header is then not looked at.
        pixel_scale: the pixel scale of the image, arcsec, for surface brightness.

    Raises:
        DataError: nothing is stated, or two statements differ.

    Example:
        >>> path = Path("a.fits")
        >>> nmgy_of_one(path, {"BUNIT": "nanomaggy"}, None, 0.2), nmgy_of_one(path, {}, 25.0, 0.2)
        (1.0, 0.1)
    """
    if zero_point is not None:
        return float(nanomaggies(zero_point))
    found = _stated(header, pixel_scale)
    if not found:
        unit = str(header.get("BUNIT", "")).strip()
        what = f"has the unit {unit!r} (BUNIT), and" if unit else "states no unit (BUNIT) and"
        raise DataError(
            f"{path}: {what} no zero point (MAGZERO): give reading.zero_point, the AB magnitude of a value of 1 "
            f"({ZERO_POINT:g} for nanomaggies), and reading.native_scale for cutouts of the Legacy Survey, whose "
            "flux is per pixel of 0.262 arcsec"
        )
    first, *others = found.items()
    for name, factor in others:
        if not math.isclose(factor, first[1], rel_tol=1e-2):
            raise DataError(
                f"{path}: by {first[0]} a value of 1 has {first[1]:.4g} nmgy, by {name} {factor:.4g}: give "
                "reading.zero_point, the AB magnitude of a value of 1"
            )
    return first[1]


def _stated(header: Mapping[str, Any], pixel_scale: float) -> dict[str, float]:
    """Return what every statement of a header makes of a value of 1, nmgy per pixel."""
    found: dict[str, float] = {}
    unit = _of_unit(str(header.get("BUNIT", "")).strip(), pixel_scale)
    if unit is not None:
        found["BUNIT"] = unit
    for key in MAGNITUDES:
        if _is_number(header, key):
            found[key] = float(nanomaggies(header[key]))
    if _positive(header, "FLUXMAG0"):
        found["FLUXMAG0"] = float(nanomaggies(0)) / header["FLUXMAG0"]
    seconds = _seconds(header)
    if _positive(header, "PHOTFLAM") and _positive(header, "PHOTPLAM") and seconds is not None:
        point = -2.5 * math.log10(header["PHOTFLAM"]) - 5 * math.log10(header["PHOTPLAM"]) - 2.408
        found["PHOTFLAM"] = float(nanomaggies(point)) / seconds
    if not found and "SURVEY" in header and "BANDS" in header:
        found["SURVEY"] = 1.0
    return found


def _seconds(header: Mapping[str, Any]) -> float | None:
    """Return the time over which a value was counted, 1 for rates, to which PHOTFLAM refers; None if unknown."""
    unit = str(header.get("BUNIT", "")).strip().lower().replace(" ", "")
    if unit not in COUNTS:
        return 1.0
    return float(header["EXPTIME"]) if _positive(header, "EXPTIME") else None


def _is_number(header: Mapping[str, Any], key: str) -> bool:
    value = header.get(key)
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _positive(header: Mapping[str, Any], key: str) -> bool:
    return _is_number(header, key) and header[key] > 0


def _of_unit(text: str, pixel_scale: float) -> float | None:
    """Return what a unit makes of a value of 1, nmgy per pixel; None if it has no absolute scale."""
    maggies = _of_maggies(text, pixel_scale)
    if maggies is not None or not text:
        return maggies
    units = import_extra("astropy.units", "galaxy")
    pixel = (pixel_scale * units.arcsec) ** 2
    try:
        unit = units.Unit(text)
    except (ValueError, TypeError):  # counts as every observatory spells them
        return None
    if not isinstance(unit, units.UnitBase):  # magnitudes
        return None
    for one, area in ((unit, 1), (unit * units.pix, 1), (unit, pixel)):
        value = 1 * one * area
        if value.unit.is_equivalent(units.Jy):
            return float(value.to_value(units.Jy)) / JY_PER_NMGY
    return None


def _of_maggies(text: str, pixel_scale: float) -> float | None:
    """Return what a unit of maggies, per pixel or per square arcsecond, makes of a value of 1; None for another.

    Example:
        >>> texts = ("nmgy", "Maggies", "nanomaggies / pixel", "nmgy/arcsec2", "nmgy arcsec-2", "Jy")
        >>> [_of_maggies(text, 0.5) for text in texts]
        [1.0, 1000000000.0, 1.0, 0.25, 0.25, None]
    """
    found = _MAGGIES.fullmatch(re.sub(r"[ _.*]+", lambda one: "^" if "**" in one[0] else "", text.lower()))
    if found is None:
        return None
    factor = _PREFIXES[found[1]]
    if _PER_PIXEL.fullmatch(found[2]):
        return factor
    return factor * pixel_scale**2 if _PER_AREA.fullmatch(found[2]) else None
