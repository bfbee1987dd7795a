"""Intensities: the pixels of files as they are stored, what of them can be measured, and their noise."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.folder.stock import Stock
from oasis.errors import DataError
from oasis.io.axes import AxisFacts
from oasis.io.labelled import read_labelled
from oasis.io.png import PALETTE, PNG


class Counts:
    """The numbers of files as they are stored, read once as long as they fit into memory."""

    def __init__(self) -> None:
        self._facts: dict[Path, AxisFacts] = {}
        self._numbers, self._indices = Stock(self._read), Stock(_read_indices)

    def _read(self, path: Path) -> NDArray[Any]:
        values, self._facts[path] = read_labelled(path)
        return values

    def labelled(self, path: Path) -> tuple[NDArray[Any], AxisFacts]:
        """Return the numbers of a file and its facts; those of a picture with a palette are its colours."""
        values = self._numbers[path]
        return values, self._facts[path]

    def facts(self, path: Path) -> AxisFacts:
        """Return what a file states of its axes; it is not read again for these."""
        return self._facts[path] if path in self._facts else self.labelled(path)[1]

    def __call__(self, path: Path) -> NDArray[Any]:
        """Return the numbers of a file as they are stored; of a picture with a palette they are its indices."""
        return self._indices[path] if path.suffix.lower() == PNG else self._numbers[path]

    def intensities(self, path: Path) -> NDArray[np.float64]:
        """Return the finite pixels of an image or a map.

        Raises:
            DataError: there are none, or they are booleans.
        """
        values = self(path)
        if values.dtype.kind == "b":
            raise DataError(
                f"{path}: found booleans, expected the intensities of an image: masks belong to a class"
            )
        finite: NDArray[np.float64] = values[np.isfinite(values)].astype(float)
        if not finite.size:
            raise DataError(f"{path}: no pixel is finite: expected numbers, leave the file out")
        return finite

    def noise_of(self, path: Path) -> float:
        """Return the rms of the noise, from the differences of neighbours; 0 if no two are finite."""
        values = self(path).astype(float)
        steps = np.abs(np.diff(np.where(np.isfinite(values), values, np.nan), axis=-1))
        known = steps[np.isfinite(steps)]
        return float(np.median(known) / 0.6745 / np.sqrt(2)) if known.size else 0.0


def _read_indices(path: Path) -> NDArray[Any]:
    return read_labelled(path, PALETTE)[0]
