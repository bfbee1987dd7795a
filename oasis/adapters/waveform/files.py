"""Files of waveforms, pulse templates and power spectra, read as data and never as code."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oasis.errors import DataError
from oasis.io.arrays import read_array

Floats = NDArray[np.float64]

FEWEST_SAMPLES = 16  # minimum for a waveform; with fewer, rows and columns are probably swapped


def read_waveforms(path: str | Path) -> Floats:
    """Read waveforms, one per row, (k, m), from `.npy`, `.npz`, HDF5 or `.csv`.

    A file with a single column, or an array with one axis, contains a single waveform.

    Raises:
        DataError: the file cannot be read, or does not contain waveforms of at least 16 finite samples.
    """
    values = np.atleast_2d(read_array(path).astype(float))
    if values.ndim == 3 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 2 or values.shape[1] < FEWEST_SAMPLES:
        raise DataError(
            f"{path}: an array of shape {values.shape} does not contain waveforms: expected one per row, of at "
            f"least {FEWEST_SAMPLES} samples"
        )
    check_finite(values, str(path))
    return values


def read_templates(path: str | Path) -> Floats:
    """Read measured pulses (k, m), scaled to a peak of 1; values below their baseline of 0 become 0.

    Raises:
        DataError: the file is invalid, or a pulse has no peak above 0.
    """
    pulses = read_waveforms(path).clip(min=0)
    peaks = pulses.max(axis=1, keepdims=True)
    if not peaks.all():
        raise DataError(
            f"{path}: template {int(peaks[:, 0].argmin())} is nowhere above 0: expected positive pulses on a "
            "baseline of 0"
        )
    return np.asarray(pulses / peaks)


def read_spectrum(source: str | Sequence[tuple[float, float]], where: str) -> tuple[Floats, Floats]:
    """Return increasing frequencies in MHz and power densities from pairs or from a file with these two columns.

    Args:
        source: the pairs or the path.
        where: where they are from, for messages.

    Raises:
        DataError: there are not two columns of at least two rows, frequencies do not increase, or a density is
            negative.
    """
    values = (read_array(source) if isinstance(source, str) else np.array(source)).astype(float)
    if values.ndim != 2 or values.shape[1] != 2 or len(values) < 2:
        raise DataError(
            f"{where}: a spectrum of shape {values.shape}, expected two columns: frequency in MHz, power density"
        )
    check_finite(values, where)
    frequency, density = values.T
    if (np.diff(frequency) <= 0).any() or frequency[0] < 0:
        raise DataError(f"{where}: the frequencies in the first column must increase and not be negative")
    if (density < 0).any():
        raise DataError(f"{where}: row {int((density < 0).argmax())} has a power density below 0")
    return frequency, density


def check_finite(values: NDArray[np.floating], where: str) -> None:
    """Check that waveforms (k, m), or any table, are finite.

    Raises:
        DataError: they are not; the message has the number and position of the wrong values.
    """
    wrong = ~np.isfinite(values)
    if wrong.any():
        row, column = (int(place) for place in np.argwhere(wrong)[0])
        raise DataError(
            f"{where}: {int(wrong.sum())} values are NaN or infinite, the first in row {row}, column {column} "
            "(counted from 0): replace them or leave their rows out"
        )
