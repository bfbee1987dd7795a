"""Intensities: the pixels of a file that can be measured, and their noise."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.errors import DataError
from oasis.io.labelled import read_labelled
from oasis.io.png import PALETTE, PNG


def read_counts(path: Path) -> NDArray[Any]:
    """Return the numbers of a file as they are stored, of a picture with a palette its numbers."""
    return read_labelled(path, PALETTE if path.suffix.lower() == PNG else None)[0]


def intensities(path: Path) -> NDArray[np.float64]:
    """Return the finite pixels of an image or a map.

    Raises:
        DataError: there are none, or they are booleans.
    """
    values = read_counts(path)
    if values.dtype.kind == "b":
        raise DataError(f"{path}: found booleans, expected the intensities of an image: masks belong to a class")
    finite: NDArray[np.float64] = values[np.isfinite(values)].astype(float)
    if not finite.size:
        raise DataError(f"{path}: no pixel is finite: expected numbers, leave the file out")
    return finite


def noise_of(path: Path) -> float:
    """Return the rms of the noise, from the differences of neighbours; 0 if no two are finite."""
    values = read_counts(path).astype(float)
    steps = np.abs(np.diff(np.where(np.isfinite(values), values, np.nan), axis=-1))
    known = steps[np.isfinite(steps)]
    return float(np.median(known) / 0.6745 / np.sqrt(2)) if known.size else 0.0
