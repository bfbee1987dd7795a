"""FITS: the image of a file, read whole or part by part; tiles of compressed images are decoded where needed."""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oasis.errors import DataError, import_extra
from oasis.io.files import check_file, reading

FITS: Final = (".fits", ".fit", ".fits.fz", ".fits.gz")
BROKEN: Final = "truncated, or not a FITS file"

_QUALITY: Final = (
    *("MASK", "MASKS", "MSK", "DQ", "BPM", "FLAG", "FLAGS", "QUALITY", "BADPIX", "MASKBITS"),
    *("VAR", "VARIANCE", "IVAR", "INVVAR", "ERR", "ERROR", "UNCERT", "WHT", "WGT", "WEIGHT"),
)


def is_quality(name: str) -> bool:
    """Return whether the name of a unit (EXTNAME) is that of a plane about the pixels of another one.

    Example:
        >>> [is_quality(name) for name in ("MASK", "ccd_dq_2", "BPM1", "CCD_A", "UNMASKED")]
        [True, True, True, False, False]
    """
    return any(word in _QUALITY for word in re.split(r"[^A-Z]+", name.upper()))


class FitsImage:
    """The image of one unit of a file, whose scaling (BZERO, BSCALE) is applied to what is read.

    Args:
        path: of the file, for messages.
        unit: of astropy, open.
    """

    def __init__(self, path: Path, unit: Any) -> None:
        self._path, self._unit = path, unit
        self.shape: tuple[int, ...] = tuple(unit.shape)
        first = unit.section[(slice(0, 1),) * len(self.shape)]
        self.dtype: np.dtype[Any] = np.dtype(first.dtype).newbyteorder("=")

    def __getitem__(self, index: tuple[int | slice, ...], /) -> NDArray[Any]:
        with reading(self._path, BROKEN):
            return np.asarray(self._unit.section[index]).astype(self.dtype, copy=False)


@contextmanager
def open_fits(path: Path, key: str | None = None) -> Iterator[FitsImage]:
    """Open the image of a file to read it part by part.

    Args:
        path: of the file.
        key: name (EXTNAME) or number of the unit; by default the first with an image, one of the quality of
            pixels (such as MASK, DQ) only where there is no other.

    Raises:
        DataError: the file is missing or damaged, or contains no such image.
        MissingExtraError: astropy is not installed.
    """
    fits = import_extra("astropy.io.fits", "fits")
    check_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with reading(path, BROKEN):
            units = fits.open(path, memmap=False)  # a section of scaled integers cannot be mapped
        with units:
            with reading(path, BROKEN):
                image = FitsImage(path, _chosen(path, units, key))
            yield image


def read_fits(path: Path, key: str | None = None) -> NDArray[Any]:
    """Return the whole image of `open_fits`."""
    with open_fits(path, key) as image:
        return image[(slice(None),) * len(image.shape)]


def _chosen(path: Path, units: Any, key: str | None) -> Any:
    found = {number: unit for number, unit in enumerate(units) if unit.is_image and len(unit.shape) > 1}
    for number, unit in sorted(found.items(), key=lambda one: is_quality(one[1].name)):
        if key is None or key in (str(number), unit.name):
            return unit
    names = ", ".join(unit.name or str(number) for number, unit in found.items())
    raise DataError(f"{path}: contains no image {key or ''}".rstrip() + (f", found {names}" if names else ""))
