"""Scenes of scarlet: `.npz` files with images in several bands, their weights or variances, and their PSFs.

Such a file has `images` (B, H, W), and of `filters` (B,), `variance` or `weights` (B, H, W), `psfs` (B, h, w) and
`mask` (True for bad pixels) those that are known, as the files of https://github.com/pmelchior/scarlet. It states
neither a unit nor a pixel scale.
"""

import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from oasis.adapters.galaxy.cutout import Cutout, Reading, checked
from oasis.adapters.galaxy.survey import nanomaggies
from oasis.errors import DataError
from oasis.io.files import reading as guarded

BESIDE: Final = ("psfs", "variance", "weights")
"""Arrays of which one makes an `.npz` file with `images` a scene."""

FINER: Final = 5  # times, before the pixels above half of the peak are counted


def is_scene(path: Path) -> bool:
    """Return whether a file is a scene of scarlet, by the names of its arrays."""
    if path.suffix.lower() != ".npz" or not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist()}
    return "images" in names and bool(names & {*BESIDE})


def read_scene(path: Path, reading: Reading) -> Cutout:
    """Read a scene in nmgy per pixel.

    Args:
        path: the path of the file.
        reading: facts that it does not state: pixel scale and zero points, and bands where it has no `filters`.

    Raises:
        DataError: an array is damaged or has another shape, or a fact is not given.
    """
    with guarded(path), np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files if name in ("images", "filters", "mask", *BESIDE)}
    images = np.asarray(arrays["images"], np.float32)
    if images.ndim != 3:
        raise DataError(f"{path}: images of shape {images.shape}, expected (bands, rows, columns)")
    bands = _bands(path, arrays, len(images), reading)
    scale = reading.pixel_scale
    if scale is None:
        raise DataError(f"{path}: a scene does not state its pixel scale: give reading.pixel_scale")
    points = [reading.zero_points.get(band, reading.zero_point) for band in bands]
    missing = [band for band, one in zip(bands, points, strict=True) if one is None]
    if missing:
        raise DataError(
            f"{path}: a scene does not state its unit: give reading.zero_point, the AB magnitude of a value of 1, "
            f"or reading.zero_points of {', '.join(missing)}"
        )
    factors = nanomaggies(np.array(points, float))[:, None, None].astype(np.float32)
    weights = _weights(path, arrays, images.shape)
    bad = _bad(arrays.get("mask"), weights, images.shape)
    psfs = arrays.get("psfs")
    if psfs is not None and (psfs.ndim != 3 or len(psfs) != len(images)):
        raise DataError(f"{path}: psfs of shape {psfs.shape}, expected one image for each of {len(images)} bands")
    widths = None if psfs is None else tuple(width_of(one) * scale for one in psfs)
    widths = (
        widths
        if not reading.psf_fwhm
        else tuple(
            reading.psf_fwhm.get(band, np.nan if widths is None else widths[at]) for at, band in enumerate(bands)
        )
    )
    inverse = None if weights is None else weights / factors**2
    flags = {"no_exposure": bad} if bad.any() else {}
    cutout = Cutout(images * factors, bands, scale, path.stem, False, inverse, bad, flags=flags, psf_fwhm=widths)
    return checked(path, cutout, reading.native_scale, reading.missing)


def width_of(psf: NDArray[np.floating]) -> float:
    """Return the full width at half maximum of a point-spread function (h, w), pixels, from the area above half.

    Example:
        >>> y, x = np.mgrid[:31, :31] - 15
        >>> round(width_of(np.exp(-(x**2 + y**2) / (2 * 2.0**2))), 1)  # 2.355 times 2
        4.7
    """
    fine = ndimage.zoom(psf.astype(float), FINER, order=3, grid_mode=True, mode="grid-constant")
    area = (fine > fine.max() / 2).sum() / FINER**2
    return float(2 * np.sqrt(area / np.pi))


def _bands(path: Path, arrays: dict[str, NDArray[Any]], count: int, reading: Reading) -> tuple[str, ...]:
    named = "filters" in arrays and reading.bands_from == "files"
    bands = tuple(map(str, arrays["filters"].ravel().tolist())) if named else reading.bands
    if len(bands) != count or len(set(bands)) != count:
        raise DataError(
            f"{path}: {count} images, but the bands are {', '.join(bands)}: give reading.bands, and "
            "reading.bands_from: options where the file names them wrongly"
        )
    return bands


def _bad(
    mask: NDArray[Any] | None, weights: NDArray[np.float32] | None, shape: tuple[int, ...]
) -> NDArray[np.bool_]:
    """Return the pixels (H, W) that are bad in any band; the meaning of a mask of bits is not known."""
    bad = np.zeros(shape, bool) if weights is None else weights <= 0
    if mask is not None and mask.dtype == bool:
        bad = bad | mask
    return np.asarray(bad.any(axis=0), bool)


def _weights(path: Path, arrays: dict[str, NDArray[Any]], shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """Return inverse variances (B, H, W), 0 where unknown, or None."""
    name = next((name for name in ("weights", "variance") if name in arrays), None)
    if name is None:
        return None
    values = np.asarray(arrays[name], np.float32)
    if values.shape != shape:
        raise DataError(f"{path}: {name} of shape {values.shape}, expected {shape} as the images")
    known = np.isfinite(values) & (values > 0)
    found = np.zeros(shape, np.float32)
    if name == "weights":
        found[known] = values[known]
    else:
        found[known] = 1 / values[known]
    return found
