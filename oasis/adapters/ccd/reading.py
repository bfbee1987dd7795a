"""Reading: raw images of CCDs in FITS files, and their conversion to electrons."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.ccd.headers import Stated, stated
from oasis.adapters.ccd.options import ReadOptions
from oasis.adapters.ccd.overscan import find_overscan
from oasis.adapters.reading import say_saturated
from oasis.data.images import Images
from oasis.errors import DataError, import_extra
from oasis.io.files import check_file, reading
from oasis.io.fits import BROKEN, is_quality

logger = logging.getLogger(__name__)

Values = NDArray[np.floating]


def read_ccd(path: Path, key: str | None = None) -> tuple[Values, list[Any]]:
    """Return the images (n, H, W) of all sensors of a FITS file, in its unit, and their headers.

    Blank pixels are NaN. Planes about pixels (such as MASK, DQ) are no sensors, unless `key` names one.

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
    left_out = list[str]()
    with warnings.catch_warnings(), reading(path, BROKEN):
        warnings.simplefilter("ignore")
        with fits.open(path, memmap=False) as units:
            chosen = []
            for number, unit in enumerate(units):
                if not (unit.is_image and len(unit.shape) > 0 and key in (None, str(number), unit.name)):
                    continue
                if key is None and is_quality(unit.name):
                    left_out.append(unit.name)
                    continue
                chosen.append((unit.name or str(number), np.asarray(unit.data), _inherited(unit, units[0])))
    if not chosen:
        other = f" but {', '.join(left_out)}: give a key" if left_out else ""
        raise DataError(f"{path}: contains no image {key or ''}".rstrip() + other)
    if left_out:
        logger.info("%s: left out %s, which by the name is no image of a sensor", path, ", ".join(left_out))
    for name, values, _ in chosen:
        if values.ndim != 2:
            raise DataError(
                f"{path}: the image {name} has {values.ndim} axes, expected rows and columns: give a key"
            )
    if len({values.shape for _, values, _ in chosen}) > 1:
        sizes = ", ".join(f"{name} of {values.shape[0]} x {values.shape[1]}" for name, values, _ in chosen)
        raise DataError(f"{path}: images differ in size ({sizes}): give the key of one")
    raw = np.stack([values for _, values, _ in chosen])
    say_saturated(path, raw)
    return raw.astype(np.float64), [header for _, _, header in chosen]


def _inherited(unit: Any, primary: Any) -> Any:
    """Return the header of a unit with the keys of the file's own header that it lacks."""
    header = unit.header.copy()
    header.extend(primary.header, unique=True)
    return header


def calibrated(
    raw: Values, options: ReadOptions, path: Path, dark: NDArray[Any] | None = None, headers: Sequence[Any] = ()
) -> Images:
    """Return raw images (n, H, W) in e-, without offsets; saturated and blank pixels are masked.

    Args:
        raw: the images.
        options: how they are read.
        path: of the file, for messages.
        dark: a dark image of the whole sensor, in the same unit.
        headers: of every image, for what the options do not state.

    Raises:
        DataError: a dark image of another size, an image that is no larger than its overscan, or a header that
            states sections outside it.
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
    facts = _facts(path, options, headers, values.shape)
    parts = [_trimmed(*one) for one in zip(values, good, facts, strict=True)]
    if len({part.shape for part, _ in parts}) > 1:
        raise DataError(f"{path}: the sections of pixels of its images differ in size: give the key of one")
    values, good = np.stack([part for part, _ in parts]), np.stack([mask for _, mask in parts])
    if options.overscan is None and not any(one.pixels for one in facts):
        _say_overscan(path, values)
    if options.medians:
        values = values - _median(values, 2)
        values = values - _median(values, 1)
    image = values / np.array([one.adu_per_electron or 1.0 for one in facts])[:, None, None]
    return Images(
        np.where(good, image, 0).astype(np.float32)[:, None],
        mask=good[:, None],
        axes=("y", "x"),
        source=str(path),
    )


def _facts(path: Path, options: ReadOptions, headers: Sequence[Any], shape: tuple[int, ...]) -> list[Stated]:
    """Return gain and sections of every image: those of the options, else those of the headers.

    Raises:
        DataError: an image is no larger than its overscan, or a header states sections outside it.
    """
    count, rows, columns = shape
    gain, pixels, extra = options.adu_per_electron, None, None
    if options.overscan:
        if columns <= options.overscan:
            raise DataError(
                f"{path}: images of {columns} columns have no {options.overscan} columns of overscan: set "
                "data.read.overscan to another number"
            )
        cut = columns - options.overscan
        pixels, extra = (slice(0, rows), slice(0, cut)), (slice(0, rows), slice(cut, columns))
    if not headers:
        return [Stated(gain, pixels, extra)] * count
    use = options.overscan is None
    found = [stated(path, header, (rows, columns), gain=gain is None, sections=use) for header in headers]
    if found[0] != Stated():
        logger.info("%s: the header states %s", path, found[0].text())
    if gain is not None:
        found = [one._replace(adu_per_electron=gain) for one in found]
    elif any(one.adu_per_electron is None for one in found):
        logger.warning("%s: no gain is stated, 1 ADU per e- is assumed: set data.read.adu_per_electron", path)
    return found if use else [one._replace(pixels=pixels, overscan=extra) for one in found]


def _trimmed(values: Values, good: NDArray[np.bool_], facts: Stated) -> tuple[Values, NDArray[np.bool_]]:
    """Return the pixels of an image (H, W) minus the median of the overscan in their row."""
    if facts.pixels is None:
        return values, good
    rows, columns = facts.pixels
    if facts.overscan is not None:
        beside, extra = facts.overscan
        if beside.start <= rows.start and beside.stop >= rows.stop:
            values = values - _median(values[:, extra], 1)
    return values[rows, columns], good[rows, columns]


def _say_overscan(path: Path, values: Values) -> None:
    """Warn of columns at an edge of images that seem to have no pixels."""
    for number, image in enumerate(values):
        found = find_overscan(image)
        if found is not None:
            logger.warning(
                "%s: the %s of image %d differ from the others in level or noise, as an overscan does: set "
                "data.read.overscan to the number of columns without pixels at the end of each row, 0 for none",
                path,
                found,
                number,
            )
            return


def _median(values: Values, axis: int) -> Values:
    """Return the median along an axis without blank pixels; 0 where there are no others."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nan_to_num(np.nanmedian(values, axis=axis, keepdims=True))
