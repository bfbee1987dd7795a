"""FITS: cutouts and bricks of the Legacy Surveys, and other images whose unit or zero point is known."""

import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.galaxy.bricks import Part, together
from oasis.adapters.galaxy.cutout import Cutout, Reading, checked, object_name
from oasis.adapters.galaxy.headers import (
    INHERITED,
    KINDS,
    MASK_PLANE,
    SCIENCE,
    bands_of,
    corners,
    geometry,
    kind_of,
    named_in,
    native_scale,
)
from oasis.adapters.galaxy.units import nmgy_of_one
from oasis.errors import DataError, import_extra
from oasis.io.files import check_file
from oasis.io.files import reading as guarded

MASKBITS: Final[Mapping[str, tuple[int, ...]]] = {
    "star": (1, 11),
    "saturated": (2, 3, 4),
    "no_exposure": (5, 6, 7),
}
"""Bits of MASKBITS that make a pixel bad, by reason: bright stars, saturation, bad in all exposures.

The others mark brick borders, infrared masks and large galaxies (https://www.legacysurvey.org/dr9/bitmasks/).
"""


MASK_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "star": ("BRIGHT_OBJECT",),
    "saturated": ("SAT",),
    "no_exposure": ("BAD", "NO_DATA", "UNMASKEDNAN"),
}
"""Planes of the masks of Rubin's and HSC's pipelines that make a pixel bad, by reason."""


ASINH: Final = 2.5 / math.log(10)  # the unit of magnitudes in which Pan-STARRS compresses fluxes
MASKS: Final = frozenset({"MASK", "MSK", "BPM", "BADPIX"})
"""Names of units with bad pixels, which are 1 in some and 0 in others."""
ABOUT: Final = ("invvar", "maskbits", "mask", "dq")
"""Kinds of planes about the pixels of images, which lie where these do if they state a place."""


class Plane(NamedTuple):
    """A plane of an image: header, values (B, H, W) or None if only the header is read, shape, file and band."""

    header: Any
    values: NDArray[Any] | None
    shape: tuple[int, ...]
    path: Path
    band: str


logger = logging.getLogger(__name__)

Planes = dict[str, list[Plane]]


def read_fits(path: str | Path, reading: Reading | None = None, bands: Sequence[str] = ()) -> Cutout:
    """Read a FITS image in nmgy per pixel: a cutout or brick of the Legacy Surveys, or one whose unit is known.

    Args:
        path: the path of a file with an image (B, H, W) or, for one band, (H, W), or with an image per band in
            several units, with or without the planes INVVAR and MASKBITS; or of one of several files of one band
            each, whose names say that they belong together (`oasis.adapters.galaxy.bricks`).
        reading: facts that the file does not state.
        bands: the wanted bands, of which each may be in a file of its own.

    Raises:
        DataError: a file that is truncated, of another kind, without a band, its pixel scale or its unit, or with
            images that do not fit together.
        MissingExtraError: astropy is not installed.
    """
    path, reading = Path(path), reading or Reading()
    with planes_of(path, bands or reading.bands) as planes:
        say_unread(path, planes)
        return cutout_of(path, planes, reading)


@contextmanager
def planes_of(
    path: Path, bands: Sequence[str] = (), headers: bool = False, place: Sequence[slice] | None = None
) -> Iterator[Planes]:
    """Open an image and what belongs to it, and give its planes by kind.

    Args:
        path: the path of one of the files.
        bands: the wanted bands.
        headers: read the headers alone.
        place: the rows and columns to read; by default all.

    Raises:
        DataError: a file that is truncated or of another kind, or without an image.
    """
    fits = import_extra("astropy.io.fits", "galaxy")
    check_file(path)
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        planes: Planes = {}
        for one, part in together(path, bands):
            with guarded(one, "truncated, or not a FITS file"):
                units = stack.enter_context(fits.open(one, memmap=False))
                for kind, plane in _planes(one, units, part, headers, place):
                    planes.setdefault(kind, []).append(plane)
        if "image" not in planes:
            raise DataError(f"{path}: contains no image (an empty cutout lies outside the survey)")
        with guarded(path, "truncated, or not a FITS file"):
            yield planes


def _planes(
    path: Path, units: Any, part: Part | None, headers: bool, place: Sequence[slice] | None
) -> Iterator[tuple[str, Plane]]:
    default, primary = "image" if part is None else part.kind, units[0]
    science = any(unit.is_image and unit.name.strip().upper() == SCIENCE for unit in units)
    for unit in units:
        if not unit.is_image or unit.header.get("NAXIS", 0) < 2:
            continue
        named = str(unit.name).strip().upper()
        if science and named != SCIENCE and named.lower() not in (*KINDS, "mask"):
            continue
        if "BRICK_X0" in unit.header:
            raise DataError(f"{path}: pieces of bricks (&subimage): fetch the cutout without &subimage")
        header = unit.header if unit is primary else _with_inherited(unit.header, primary)
        shape = tuple(unit.shape)
        if len(shape) > 3:
            raise DataError(f"{path}: an image of shape {shape}, expected (bands, rows, columns)")
        shape = (1, *shape) if len(shape) == 2 else shape
        values = None
        if not headers:
            values = _linear(header, np.asarray(unit.data if place is None else unit.section[..., *place]))
            shape = (*shape[:1], *values.shape[-2:])
            values = values.reshape(shape)
        band = "" if part is None else part.band
        kind = kind_of(header, str(unit.name), default)
        if kind == "variance":
            kind, values = "invvar", None if values is None else _inverse(values)
        yield kind, Plane(header, values, shape, path, band)


def say_unread(path: Path, planes: Planes) -> None:
    """Warn of a mask that is not read, since it does not say what its values mean."""
    names = [str(one.header.get("EXTNAME", "")).strip().upper() for one in planes.get("other", ())]
    for name in sorted({*names} & MASKS):
        logger.warning("%s: %s names no bits (%s...) and is not read: bad pixels count", path, name, MASK_PLANE)


def _with_inherited(header: Any, primary: Any) -> Any:
    """Return a header with what that of the file says of all of its images."""
    missing = [key for key in INHERITED if key in primary.header and key not in header]
    if not missing or primary.header.get("NAXIS", 0):
        return header
    whole = header.copy()
    whole.update({key: primary.header[key] for key in missing})
    return whole


def _linear(header: Any, values: NDArray[Any]) -> NDArray[Any]:
    r"""Return the fluxes of an image, where stacks of Pan-STARRS have their inverse hyperbolic sine.

    .. math:: f = o + 2 s \sinh(v / a), \quad a = 2.5 / \ln 10

    with the offset :math:`o` of BOFFSET and the softening :math:`s` of BSOFTEN. Source:
    http://svn.pan-starrs.ifa.hawaii.edu/trac/ipp/wiki/asinh_compression
    """
    if "BSOFTEN" not in header or "BOFFSET" not in header:
        return values
    with np.errstate(over="ignore"):  # infinite pixels are missing ones
        return np.asarray(header["BOFFSET"] + 2 * header["BSOFTEN"] * np.sinh(values / ASINH))


def _inverse(variance: NDArray[Any]) -> NDArray[np.float32]:
    """Return inverse variances, 0 where the variance is unknown."""
    known = np.isfinite(variance) & (variance > 0)
    found = np.zeros(variance.shape, np.float32)
    np.divide(1, variance, out=found, where=known, casting="same_kind")
    return found


def cutout_of(path: Path, planes: Planes, reading: Reading) -> Cutout:
    """Return the image that planes make up.

    Raises:
        DataError: they do not fit together, or do not state what is needed.
    """
    images = planes["image"]
    scale, ra, dec = common_geometry(path, images, reading)
    shape, counts = images[0].shape[1:], [one.shape[0] for one in images]
    by_name = [one.band for one in images] if all(one.band for one in images) else []
    bands = bands_of(path, [one.header for one in images], counts, reading, by_name if max(counts) == 1 else [])
    factors = _factors(images, bands, reading, scale)
    flux = _joined(images, factors)
    weights = _matching(path, planes, "invvar", flux.shape, factors**-2)
    flags = _flags(path, planes, shape)
    if "dq" in planes:
        flags["no_exposure"] = _of_quality(path, planes["dq"], shape) | flags.get(
            "no_exposure", np.zeros(shape, bool)
        )
    if weights is not None:
        flags["no_exposure"] = (weights <= 0).any(axis=0) | flags.get("no_exposure", np.zeros(shape, bool))
    _check_places(path, [one for kind in ABOUT for one in planes.get(kind, ())], images[0], scale, unknown=True)
    bad = np.logical_or.reduce([np.zeros(shape, bool), *flags.values()])
    widths = _psf_widths(planes, bands, reading)
    cutout = Cutout(flux, bands, scale, object_name(path), False, weights, bad, ra, dec, flags, widths)
    native = reading.native_scale or native_scale(path, images[0].header)
    return checked(path, cutout, native, reading.missing)


def common_geometry(path: Path, images: Sequence[Plane], reading: Reading) -> tuple[float, float, float]:
    """Return the `geometry` of images that are the bands of one.

    Raises:
        DataError: they differ in size or place.
    """
    sizes = {one.shape[1:] for one in images}
    if len(sizes) > 1:
        found = ", ".join(f"{height} x {width}" for height, width in sorted(sizes))
        raise DataError(f"{path}: has images of {found} pixels: keep one, or write each to a file of its own")
    (size,) = sizes
    places = [geometry(one.path, one.header, size, reading) for one in images]
    _check_places(path, images, images[0], places[0][0])
    return places[0]


def _check_places(path: Path, planes: Sequence[Plane], image: Plane, scale: float, unknown: bool = False) -> None:
    """Check that planes show the part of the sky that an image shows, in the same orientation.

    Args:
        path: the path of the file, for messages.
        planes: of the size of the image.
        image: the image.
        scale: its pixel scale, arcsec.
        unknown: whether planes may state no place.

    Raises:
        DataError: one is elsewhere by half a pixel in one of its corners.
    """
    first = corners(image.path, image.header, image.shape[1:])
    for one in planes:
        found = corners(one.path, one.header, image.shape[1:])
        if unknown and (np.isnan(found) | np.isnan(first)).any():
            continue
        if not np.allclose(found, first, rtol=0, atol=scale / 2, equal_nan=True):
            what = "" if one.path == path else f" ({one.path.name})"
            raise DataError(
                f"{path}: its planes{what} have other places on the sky, or are rotated or mirrored: put them on "
                "one grid, or write each to a file of its own"
            )


def _factors(images: Sequence[Plane], bands: Sequence[str], reading: Reading, scale: float) -> NDArray[np.float32]:
    """Return the flux in nmgy of a value of 1 in each band (B,)."""
    found: list[float] = []
    for one in images:
        names = bands[len(found) : len(found) + one.shape[0]]
        points = [reading.zero_points.get(name, reading.zero_point) for name in names]
        found += [nmgy_of_one(one.path, one.header, point, scale) for point in points]
    return np.array(found, np.float32)


def _joined(planes: Sequence[Plane], factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the values (B, H, W) of planes, each times the factor (B,) of its band, without needless copies."""
    whole = np.empty((sum(one.shape[0] for one in planes), *planes[0].shape[1:]), np.float32)
    start = 0
    for one in planes:
        factor = factors[start : start + one.shape[0], None, None]
        np.multiply(np.asarray(one.values), factor, out=whole[start : start + one.shape[0]], casting="same_kind")
        start += one.shape[0]
    return whole


def _matching(
    path: Path,
    planes: Planes,
    kind: str,
    shape: tuple[int, ...],
    factors: NDArray[np.float32],
) -> NDArray[np.float32] | None:
    """Return planes that go with the images, each times the factor (B,) of its band, or None if there are none."""
    found = planes.get(kind)
    if not found:
        return None
    sizes = {one.shape[1:] for one in found}
    joined = (sum(one.shape[0] for one in found), *next(iter(sizes)))
    if len(sizes) > 1 or joined != shape:
        raise DataError(f"{path}: {kind.upper()} has shape {joined}, expected {shape} as the image")
    values, (own, wanted) = _joined(found, np.ones_like(factors)), map(_stated_bands, (found, planes["image"]))
    if own and wanted and own != wanted:
        if sorted(own) != sorted(wanted):
            raise DataError(
                f"{path}: {kind.upper()} is of the bands {', '.join(own)}, the image of {', '.join(wanted)}"
            )
        values = values[[own.index(band) for band in wanted]]
    values *= factors[:, None, None]
    return values


def _stated_bands(planes: Sequence[Plane]) -> list[str]:
    """Return the bands of planes by their headers and names of files, empty where one does not state its own."""
    each = [(one.band,) if one.band else named_in(one.header, one.shape[0]) for one in planes]
    names = [name for names in each for name in names]
    return names if all(each) and len(set(names)) == sum(one.shape[0] for one in planes) else []


def _of_quality(path: Path, planes: Sequence[Plane], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the pixels (H, W) of which planes of data quality (DQ) say that they are bad in any band.

    Only the first bit of Webb's says so (DO_NOT_USE); those of others are 0 for good pixels.
    """
    bad = np.zeros(shape, bool)
    for one in planes:
        if one.shape[1:] != shape:
            raise DataError(f"{path}: DQ has shape {one.shape[1:]}, expected {shape} as the image")
        values = np.asarray(one.values).astype(np.int64)
        webb = str(one.header.get("TELESCOP", "")).strip() == "JWST"
        bad |= ((values & 1 if webb else values) != 0).any(axis=0)
    return bad


def _flags(path: Path, planes: Planes, shape: tuple[int, ...]) -> dict[str, NDArray[np.bool_]]:
    """Return the pixels (H, W) that MASKBITS marks as bad, by reason."""
    if "mask" in planes:
        return _mask_planes(path, planes["mask"], shape)
    found = planes.get("maskbits")
    if not found:
        return {}
    if len(found) > 1 or found[0].shape != (1, *shape):
        expected = (1, *shape)
        raise DataError(f"{path}: MASKBITS has shape {found[0].shape}, expected {expected} as the image")
    bits = np.asarray(found[0].values)[0].astype(np.int64)
    return {reason: bits & sum(1 << bit for bit in marks) > 0 for reason, marks in MASKBITS.items()}


def _mask_planes(path: Path, masks: Sequence[Plane], shape: tuple[int, ...]) -> dict[str, NDArray[np.bool_]]:
    """Return the pixels (H, W) that masks of Rubin's or HSC's pipelines mark as bad in any band, by reason."""
    found = {reason: np.zeros(shape, bool) for reason in MASK_NAMES}
    for one in masks:
        if one.shape[1:] != shape:
            raise DataError(f"{path}: MASK has shape {one.shape[1:]}, expected {shape} as the image")
        values = np.asarray(one.values).astype(np.int64)
        for reason, names in MASK_NAMES.items():
            bits = sum(1 << int(one.header[key]) for name in names if (key := f"{MASK_PLANE}{name}") in one.header)
            found[reason] |= (values & bits > 0).any(axis=0)
    return found


def _psf_widths(planes: Planes, bands: Sequence[str], reading: Reading) -> tuple[float, ...] | None:
    """Return the median width of the point-spread function by band, arcsec, NaN where unknown."""
    known: dict[str, float] = {}
    for one in planes.get("psfsize", ()):
        values = np.asarray(one.values)
        known[one.band] = float(np.median(values[values > 0])) if (values > 0).any() else float("nan")
    known |= reading.psf_fwhm
    return tuple(known.get(band, float("nan")) for band in bands) if known else None
