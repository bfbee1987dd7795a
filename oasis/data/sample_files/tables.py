"""Tables in a file: a data set with a row of named values per sample or instance, read row by row."""

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from oasis.errors import DataError
from oasis.io.hdf5 import append_rows

COMPRESSION: Mapping[str, Any] = {"compression": "lzf", "shuffle": True}
AT_ONCE = 2**14  # rows written at a time


class TableWriter:
    """A writer that gathers columns in parts and writes them at the end: texts may grow, and names be added."""

    def __init__(self) -> None:
        self.count = 0
        self._parts: dict[str, list[NDArray[Any]]] = {}

    def extend(self, columns: Mapping[str, NDArray[Any]], count: int) -> None:
        """Add `count` rows; missing values of a column become NaN.

        Raises:
            DataError: a column contains both text and numbers.
        """
        for name in columns:
            if name not in self._parts:
                self._parts[name] = [np.full(self.count, np.nan)] if self.count else []
        for name, parts in self._parts.items():
            part = columns.get(name, np.full(count, np.nan))
            if parts and (parts[0].dtype.kind == "U") != (part.dtype.kind == "U"):
                raise DataError(f"{name!r}: text in some rows and numbers in others")
            parts.append(part)
        self.count += count

    def write(self, group: h5py.Group, name: str) -> None:
        """Write the table, if it has columns, with texts in UTF-8."""
        columns = {key: _encoded(np.concatenate(parts)) for key, parts in self._parts.items()}
        self._parts.clear()
        kinds = [(key, column.dtype) for key, column in columns.items()]
        for first in range(0, self.count if kinds else 0, AT_ONCE):
            rows = np.empty(min(AT_ONCE, self.count - first), kinds)
            for key, column in columns.items():
                rows[key] = column[first : first + AT_ONCE]
            append_rows(group, name, rows, **COMPRESSION)


def _encoded(column: NDArray[Any]) -> NDArray[Any]:
    if column.dtype.kind != "U":
        return column
    encoded = np.char.encode(column, "utf-8")
    return encoded.astype(f"S{max(encoded.dtype.itemsize, 1)}")
