"""Reading what users have, image by image: survey cutouts in FITS, pictures, HDF5 collections.

Cutouts of the DESI Legacy Imaging Surveys hold flux per pixel of 0.262 arcsec whatever their own pixel scale is,
because the service interpolates; they are multiplied by (pixel scale / 0.262)^2, so that fluxes add up.
"""

import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import PositiveFloat

from oasis.data.samples import Array
from oasis.errors import DataError, import_extra
from oasis.io.hdf5 import open_hdf5
from oasis.options import Options

NATIVE_SCALE = 0.262
"""Pixel scale of the DESI Legacy Imaging Surveys, arcsec."""

LEGACY_SURVEYS = ("DECaLS", "MzLS", "BASS", "LegacySurvey")
"""What the header of a cutout says in SURVEY where its flux is per pixel of `NATIVE_SCALE`."""

MISSING = 0.2
"""Share of a band's pixels that may be 0 or NaN; Galaxy Zoo discards what has more (arXiv 2102.08414)."""

BAD_BITS = sum(1 << bit for bit in (1, 2, 3, 4, 5, 6, 7, 11))
"""Bits of MASKBITS that make a pixel bad: stars (1, 11), saturation (2-4), bad in all exposures (5-7).

The others mark brick borders, infrared masks and large galaxies (https://www.legacysurvey.org/dr9/bitmasks/).
"""

FITS = (".fits", ".fits.gz", ".fits.fz", ".fit")
PICTURES = (".png", ".jpg", ".jpeg")
HDF5 = (".h5", ".hdf5")
SUFFIXES = (*FITS, *PICTURES, *HDF5)

_DAMAGED = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, SyntaxError, RuntimeError),
    *(zlib.error, Image.DecompressionBombError),
)


@dataclass(frozen=True)
class Cutout:
    """One image of the sky as read, with a galaxy in its centre.

    Attributes:
        flux: (B, H, W) float32 nmgy per pixel of the image's own grid.
        bands: the B band names.
        pixel_scale: arcsec.
        name: of the object or the file.
        approximate: whether the flux was recovered from a picture whose intensities are stretched.
        inverse_variance: (B, H, W) 1/nmgy^2, or None.
        bad: (H, W) pixels that must not be used, or None.
        ra, dec: of the centre, degrees; NaN where unknown.
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


@dataclass(frozen=True)
class Entry:
    """An image that can be read: `read()` gives its `Cutout`, or raises `DataError`."""

    name: str
    path: Path
    read: Callable[[], Cutout]


class Reading(Options):
    """What files do not say of themselves.

    Attributes:
        bands: the names of the bands, in their order.
        pixel_scale: of the images, arcsec.
        native_scale: side of the pixel that the values are the flux of, arcsec, where it is not the image's own.
        stretch: how the intensities of pictures were mapped: `galaxy_zoo` as for the Galaxy Zoo DECaLS release,
            `viewer` as in the Legacy Survey viewer and its JPEG cutouts.
    """

    bands: tuple[str, ...] = ("g", "r", "z")
    pixel_scale: PositiveFloat | None = None
    native_scale: PositiveFloat | None = None
    stretch: Literal["galaxy_zoo", "viewer"] = "galaxy_zoo"


def read_cutouts(
    source: str | Path, reading: Reading | None = None, pixel_scales: Mapping[str, float] | None = None
) -> Iterator[Cutout]:
    """Read the images of a file or of a folder and the folders below it, one after another.

    Args:
        source: FITS (`.fits`, `.fits.gz`, `.fits.fz`), a picture (`.png`, `.jpg`), HDF5, or a folder of these.
            HDF5 holds `images`: flux (n, B, H, W) in pixels of 0.262 arcsec if `reading` does not say otherwise,
            or pictures of the viewer (n, H, W, 3) with `pxscale`, as Galaxy10 DECaLS does; and `ra` and `dec`.
        reading: what the files do not say.
        pixel_scales: of pictures, arcsec, by name, as `oasis.adapters.galaxy.catalogue.pixel_scales` gives.

    Raises:
        DataError: a file that cannot be used.
    """
    for entry in entries(find_files(source), reading, pixel_scales):
        yield entry.read()


def find_files(source: str | Path) -> list[Path]:
    """Return the files of a folder and the folders below it that may hold images, or the one file.

    Raises:
        DataError: there is no such place, or nothing in it.
    """
    source = Path(source)
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise DataError(f"{source}: no such file or folder")
    found = [path for path in sorted(source.rglob("[!.]*")) if path.name.lower().endswith(SUFFIXES)]
    if not found:
        raise DataError(f"{source}: holds no images; expected {', '.join(SUFFIXES)}")
    return found


def entries(
    paths: Sequence[Path], reading: Reading | None = None, pixel_scales: Mapping[str, float] | None = None
) -> Iterator[Entry]:
    """List the images of files without reading them; what is wrong with one shows when it is read."""
    reading, pixel_scales = reading or Reading(), pixel_scales or {}
    for path in paths:
        name = object_name(path)
        suffix = path.name[len(name) :].lower()
        if suffix in HDF5:
            yield from _hdf5_entries(path, reading)
        elif suffix in FITS:
            yield Entry(name, path, partial(read_fits, path, reading))
        elif suffix in PICTURES:
            scale = pixel_scales.get(name, reading.pixel_scale)
            yield Entry(name, path, partial(_read_picture, path, reading, scale))
        else:
            reason = DataError(f"{path}: unknown kind of file; expected {', '.join(SUFFIXES)}")
            yield Entry(name, path, partial(_refuse, reason))


def object_name(path: Path) -> str:
    """Return a file's name without the suffix of an image.

    Example:
        >>> object_name(Path("J002/J002658.19-014709.9.fits.gz"))
        'J002658.19-014709.9'
    """
    suffix = max((each for each in SUFFIXES if path.name.lower().endswith(each)), key=len, default="")
    return path.name[: len(path.name) - len(suffix)]


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _refuse(reason: DataError) -> Cutout:
    raise reason


def _checked(where: Path | str, cutout: Cutout, native_scale: float | None) -> Cutout:
    """Refuse missing bands, mark missing pixels as bad, and count the flux in the image's own pixels."""
    missing = (cutout.flux == 0) | ~np.isfinite(cutout.flux)
    for band, share in zip(cutout.bands, missing.mean(axis=(1, 2)), strict=True):
        if share > MISSING:
            raise DataError(
                f"{where}: band {band} is missing (0 or NaN) in {share:.0%} of the pixels, at most {MISSING:.0%} "
                "may be"
            )
    bad = missing.any(axis=0) if cutout.bad is None else missing.any(axis=0) | cutout.bad
    factor = np.float32((cutout.pixel_scale / native_scale) ** 2 if native_scale else 1)
    flux = np.where(np.isfinite(cutout.flux), cutout.flux, 0).astype(np.float32)  # in the machine's byte order
    inverse_variance = None if cutout.inverse_variance is None else cutout.inverse_variance / factor**2
    return replace(cutout, flux=flux * factor, inverse_variance=inverse_variance, bad=bad if bad.any() else None)


# FITS


def read_fits(path: str | Path, reading: Reading | None = None) -> Cutout:
    """Read a FITS cutout of the Legacy Survey service, or another image in nmgy per pixel.

    Args:
        path: of the file: (B, H, W) or, for one band, (H, W), with the planes INVVAR and MASKBITS if it has them.
        reading: what the file does not say.

    Raises:
        DataError: a file that is truncated or of another kind, lacks bands, or does not say its pixel scale.
        MissingExtraError: astropy is not installed.
    """
    path, reading = Path(path), reading or Reading()
    fits, wcs = import_extra("astropy.io.fits", "galaxy"), import_extra("astropy.wcs", "galaxy")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with fits.open(path, memmap=False) as units:
                return _fits_cutout(path, units, reading)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except (*_DAMAGED, fits.VerifyError, wcs.WcsError) as error:
        raise DataError(f"{path}: truncated, or not a FITS file: {_first_line(error)}") from None


def _fits_cutout(path: Path, units: Sequence[Any], reading: Reading) -> Cutout:
    planes = _planes(path, units)
    if "image" not in planes:
        raise DataError(f"{path}: holds no image (an empty cutout lies outside the survey)")
    header, flux = planes["image"]
    bands = _bands(path, header, len(flux), reading)
    scale, ra, dec = _geometry(path, header, flux.shape[1:], reading)
    inverse_variance = _matching(path, planes, "invvar", flux.shape)
    bits = _matching(path, planes, "maskbits", (1, *flux.shape[1:]))
    bad = np.zeros(flux.shape[1:], bool)
    if inverse_variance is not None:
        bad |= (inverse_variance <= 0).any(axis=0)
    if bits is not None:
        bad |= bits[0].astype(np.int64) & BAD_BITS > 0
    cutout = Cutout(flux, bands, scale, object_name(path), False, inverse_variance, bad, ra, dec)
    return _checked(path, cutout, reading.native_scale or _native_scale(path, header))


def _planes(path: Path, units: Sequence[Any]) -> dict[str, tuple[Any, NDArray[Any]]]:
    """Return header and values (B, H, W) of each kind of plane."""
    planes: dict[str, tuple[Any, NDArray[Any]]] = {}
    for unit in units:
        if not unit.is_image or unit.header.get("NAXIS", 0) < 2:
            continue
        if "BRICK_X0" in unit.header:
            raise DataError(f"{path}: pieces of bricks (&subimage): fetch the cutout without &subimage")
        values = np.asarray(unit.data)
        if values.ndim > 3:
            raise DataError(f"{path}: an image of shape {values.shape}, expected (bands, rows, columns)")
        kind = str(unit.header.get("IMAGETYP", "image")).strip().lower()
        planes.setdefault(kind, (unit.header, values[None] if values.ndim == 2 else values))
    return planes


def _matching(
    path: Path, planes: Mapping[str, tuple[Any, NDArray[Any]]], kind: str, shape: tuple[int, ...]
) -> NDArray[Any] | None:
    if kind not in planes:
        return None
    values = planes[kind][1]
    if values.shape != shape:
        raise DataError(f"{path}: {kind.upper()} has shape {values.shape}, expected {shape} as the image")
    return values


def _bands(path: Path, header: Any, count: int, reading: Reading) -> tuple[str, ...]:
    named = [str(header[f"BAND{index}"]).strip() for index in range(count) if f"BAND{index}" in header]
    text = str(header.get("BANDS", header.get("BAND", ""))).strip()
    bands = tuple(named or (text.split(",") if "," in text else text) or reading.bands)
    if len(bands) != count or len(set(bands)) != count:
        raise DataError(f"{path}: {count} planes, but the bands are {', '.join(bands)}")
    return bands


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
    """Return the pixel that the flux of a cutout from the service is counted in; None for other files."""
    survey = str(header.get("SURVEY", "")).strip()
    if not survey or "BANDS" not in header:
        return None
    if survey not in LEGACY_SURVEYS:
        raise DataError(
            f"{path}: a cutout of the survey {survey!r}, expected {', '.join(LEGACY_SURVEYS)}: give native_scale"
        )
    return NATIVE_SCALE


# pictures


def galaxy_zoo_flux(picture: NDArray[np.uint8]) -> Array:
    r"""Undo the stretch of the Galaxy Zoo DECaLS pictures, approximately.

    .. math:: v_b = \frac{A(f_b/s_b) - A(-0.5)}{A(300) - A(-0.5)}, \qquad A = \mathrm{arcsinh}

    with :math:`s` = 0.008, 0.014, 0.019 nmgy in g, r, z, in blue, green, red. Brighter pixels are clipped, and the
    published pictures have faint pixels of lower colour contrast, which is not undone. Source: arXiv 2102.08414,
    sec. 2.3, and https://github.com/zooniverse/decals.

    Args:
        picture: (H, W, 3) red, green, blue.

    Returns:
        (3, H, W) in g, r, z: nmgy per pixel of 0.262 arcsec.

    Example:
        >>> galaxy_zoo_flux(np.full((1, 1, 3), 255, np.uint8)).ravel().round(1)
        array([2.4, 4.3, 5.8], dtype=float32)
    """
    low, high = np.arcsinh(-0.5), np.arcsinh(300.0)
    value = (picture.transpose(2, 0, 1)[::-1] + 0.5) / 255
    scales = np.array([0.008, 0.014, 0.019])[:, None, None]
    return np.asarray(scales * np.sinh(low + value * (high - low)), np.float32)


def viewer_flux(picture: NDArray[np.uint8]) -> Array:
    r"""Undo the stretch of the Legacy Survey viewer for g, r, z, approximately.

    .. math:: v_b = x_b \, \frac{\mathrm{arcsinh}(Q I)}{\sqrt{Q} \, I}, \qquad x_b = s_b f_b + m, \qquad
              I = \tfrac{1}{3} \sum_b \max(x_b, 0)

    with :math:`s` = 6, 3.4, 2.2 per nmgy in g, r, z, in blue, green, red, :math:`m` = 0.03 and :math:`Q` = 20.
    Pixels clipped at 1 come out too faint. Source: `dr2_rgb` in https://github.com/legacysurvey/imagine, which
    serves the layers of DR2 to DR9.

    Args:
        picture: (H, W, 3) red, green, blue.

    Returns:
        (3, H, W) in g, r, z: nmgy per pixel of 0.262 arcsec.
    """
    value = (picture.transpose(2, 0, 1)[::-1] + 0.5) / 255
    mean = value.mean(axis=0)
    intensity = np.sinh(np.sqrt(20.0) * mean) / 20
    scales = np.array([6.0, 3.4, 2.2])[:, None, None]
    return np.asarray((value * intensity / mean - 0.03) / scales, np.float32)


_FLUX = {"galaxy_zoo": galaxy_zoo_flux, "viewer": viewer_flux}


def _read_picture(path: Path, reading: Reading, pixel_scale: float | None) -> Cutout:
    try:
        with Image.open(path) as image:
            mode, picture = image.mode, np.asarray(image)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except _DAMAGED as error:
        raise DataError(f"{path}: damaged, or not a picture: {_first_line(error)}") from None
    if mode != "RGB":
        raise DataError(f"{path}: a picture of mode {mode}, expected RGB with 8 bits each")
    if pixel_scale is None:
        raise DataError(
            f"{path}: a picture does not say its pixel scale: give pixel_scale, or a catalogue with its "
            "petro_th50 and petro_th90"
        )
    return _from_picture(path, picture, reading.stretch, pixel_scale, object_name(path))


def _from_picture(
    where: Path | str,
    picture: NDArray[np.uint8],
    stretch: str,
    pixel_scale: float,
    name: str,
    ra: float = float("nan"),
    dec: float = float("nan"),
) -> Cutout:
    """Make a cutout of a picture (H, W, 3) whose first row is the northern one."""
    flux = _FLUX[stretch](picture)[:, ::-1]
    cutout = Cutout(flux, ("g", "r", "z"), pixel_scale, name, approximate=True, ra=ra, dec=dec)
    return _checked(where, cutout, NATIVE_SCALE)


# HDF5


def _hdf5_entries(path: Path, reading: Reading) -> Iterator[Entry]:
    try:
        with open_hdf5(path) as file:
            images = file.get("images")
            if not isinstance(images, h5py.Dataset) or images.ndim != 4:
                raise DataError(
                    f"{path}: expected a data set 'images' of (n, bands, rows, columns) or (n, rows, columns, 3), "
                    f"found {', '.join(map(str, file)) or 'nothing'}"
                )
            count = len(images)
    except (DataError, *_DAMAGED) as error:
        reason = error if isinstance(error, DataError) else DataError(f"{path}: damaged: {_first_line(error)}")
        yield Entry(path.stem, path, partial(_refuse, reason))
        return
    for index in range(count):
        yield Entry(f"{path.stem}/{index}", path, partial(_read_hdf5, path, index, reading))


def _read_hdf5(path: Path, index: int, reading: Reading) -> Cutout:
    """Read image `index`: flux in nmgy (n, B, H, W), or pictures of the viewer (n, H, W, 3) with `pxscale`."""
    with open_hdf5(path) as file:
        try:
            values = file["images"][index]
            ra, dec = (float(file[key][index]) if key in file else np.nan for key in ("ra", "dec"))
            scale = float(file["pxscale"][index]) if "pxscale" in file else reading.pixel_scale
        except _DAMAGED as error:
            raise DataError(f"{path}: image {index} is damaged: {_first_line(error)}") from None
    where, name, bands = f"{path}: image {index}", f"{path.stem}/{index}", reading.bands
    if values.dtype == np.uint8 and values.shape[-1] == 3:
        if scale is None:
            raise DataError(f"{path}: pictures without a data set 'pxscale': give pixel_scale")
        return _from_picture(where, values, "viewer", scale, name, ra, dec)
    if values.dtype.kind != "f" or len(values) != len(bands):
        raise DataError(
            f"{where} is {values.dtype} of shape {values.shape}, expected flux in the {len(bands)} bands "
            f"{', '.join(bands)}, or a picture of 8 bits in 3 colours"
        )
    cutout = Cutout(values, bands, scale or NATIVE_SCALE, name, ra=ra, dec=dec)
    return _checked(where, cutout, reading.native_scale)
