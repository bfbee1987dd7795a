"""Files of waveforms, of templates of pulses and of power spectra; their content is data and never code."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oasis.errors import DataError
from oasis.io.arrays import read_array

Floats = NDArray[np.float64]

FEWEST_SAMPLES = 16  # of a waveform: with fewer, rows and columns have been mixed up


def read_waveforms(path: str | Path) -> Floats:
    """Read waveforms, one per row, (k, m), from `.npy`, `.npz`, HDF5 or `.csv`.

    A file with a single column, or an array with one axis, contains a single waveform.

    Raises:
        DataError: a file that cannot be read, or does not contain waveforms of at least 16 finite samples.
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
    """Read measured pulses (k, m) and scale each to a peak of 1; what is below their baseline of 0 becomes 0.

    Raises:
        DataError: a file that cannot be used, or a pulse without a peak above 0.
    """
    pulses = read_waveforms(path).clip(min=0)
    peaks = pulses.max(axis=1, keepdims=True)
    if not peaks.all():
        raise DataError(
            f"{path}: template {int(peaks[:, 0].argmin())} is nowhere above 0: expected pulses that point upwards "
            "from a baseline of 0"
        )
    return np.asarray(pulses / peaks)


def read_spectrum(source: str | Sequence[tuple[float, float]], where: str) -> tuple[Floats, Floats]:
    """Return frequencies in MHz, increasing, and power densities from pairs or a file with these two columns.

    Args:
        source: the pairs or the path.
        where: names the source in error messages.

    Raises:
        DataError: not two columns of at least two rows, frequencies that do not increase, or a negative density.
    """
    values = (read_array(source) if isinstance(source, str) else np.array(source)).astype(float)
    if values.ndim != 2 or values.shape[1] != 2 or len(values) < 2:
        raise DataError(
            f"{where}: a spectrum of shape {values.shape}, expected two columns: frequency in MHz, power density"
        )
    check_finite(values, where)
    frequency, density = values.T
    if (np.diff(frequency) <= 0).any() or frequency[0] < 0:
        raise DataError(f"{where}: the frequencies in the first column have to increase, from 0 MHz on at least")
    if (density < 0).any():
        raise DataError(f"{where}: row {int((density < 0).argmax())} has a power density below 0")
    return frequency, density


def check_finite(values: NDArray[np.floating], where: str) -> None:
    """Check waveforms (k, m), or any table, for numbers that are not finite.

    Raises:
        DataError: how many there are and where the first one is.
    """
    wrong = ~np.isfinite(values)
    if wrong.any():
        row, column = (int(place) for place in np.argwhere(wrong)[0])
        raise DataError(
            f"{where}: {int(wrong.sum())} values are NaN or infinite, the first in row {row}, column {column} "
            "(counted from 0): mend them or leave their rows out"
        )
