"""Reading: raw images of CCDs in FITS files, and their conversion to electrons."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.ccd.options import ReadOptions
from oasis.adapters.reading import say_saturated
from oasis.data.images import Images
from oasis.errors import DataError, import_extra
from oasis.io.files import check_file, reading
from oasis.io.fits import BROKEN

Values = NDArray[np.floating]


def read_ccd(path: Path, key: str | None = None) -> Values:
    """Return the images (n, H, W) of all sensors of a FITS file, in its unit; blank pixels are NaN.

    Args:
        path: a file with an image in one or several units, compressed or not.
        key: name (EXTNAME) or number of one unit.

    Raises:
        DataError: the file is missing or damaged, has no image, one of more than two axes, or images that differ
            in size.
        MissingExtraError: astropy is not installed.
    """
    fits = import_extra("astropy.io.fits", "fits")
    check_file(path)
    with warnings.catch_warnings(), reading(path, BROKEN):
        warnings.simplefilter("ignore")
        with fits.open(path, memmap=False) as units:
            chosen = [
                (unit.name or str(number), np.asarray(unit.data))
                for number, unit in enumerate(units)
                if unit.is_image and len(unit.shape) > 0 and key in (None, str(number), unit.name)
            ]
    if not chosen:
        raise DataError(f"{path}: contains no image {key or ''}".rstrip())
    for name, values in chosen:
        if values.ndim != 2:
            raise DataError(
                f"{path}: the image {name} has {values.ndim} axes, expected rows and columns: give a key"
            )
    if len({values.shape for _, values in chosen}) > 1:
        sizes = ", ".join(f"{name} of {values.shape[0]} x {values.shape[1]}" for name, values in chosen)
        raise DataError(f"{path}: images differ in size ({sizes}): give the key of one")
    raw = np.stack([values for _, values in chosen])
    say_saturated(path, raw)
    return raw.astype(np.float64)


def calibrated(raw: Values, options: ReadOptions, path: Path, dark: NDArray[Any] | None = None) -> Images:
    """Return raw images (n, H, W) in e-, without offsets; saturated and blank pixels are masked.

    Raises:
        DataError: a dark image of another size, or an image that is no larger than its overscan.
    """
    values = raw.astype(np.float64)
    good = np.isfinite(values)
    if options.saturation_adu is not None:
        good &= values < options.saturation_adu
    values = np.where(np.isfinite(values), values, np.nan)
    if dark is not None:
        if np.shape(dark)[-2:] != values.shape[1:] or np.size(dark) != values[0].size:
            raise DataError(f"the dark image has shape {np.shape(dark)}, an image {values.shape[1:]}")
        values = values - np.reshape(dark, values.shape[1:])
    if options.overscan:
        if values.shape[2] <= options.overscan:
            raise DataError(
                f"{path}: images of {values.shape[2]} columns have no {options.overscan} columns of overscan: set "
                "data.read.overscan to another number"
            )
        values, extra = np.split(values, [values.shape[2] - options.overscan], axis=2)
        good = good[..., : -options.overscan]
        values = values - _median(extra, 2)
    if options.medians:
        values = values - _median(values, 2)
        values = values - _median(values, 1)
    image = values / options.adu_per_electron
    return Images(
        np.where(good, image, 0).astype(np.float32)[:, None],
        mask=good[:, None],
        axes=("y", "x"),
        source=str(path),
    )


def _median(values: Values, axis: int) -> Values:
    """Return the median along an axis without blank pixels; 0 where there are no others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nan_to_num(np.nanmedian(values, axis=axis, keepdims=True))
