"""Rows of a table, collected batch by batch."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike


class Rows:
    """A collection of rows of a table, whose batches may differ in their columns.

    Values are kept as Python objects: small arrays between the large temporary ones of every batch would fragment
    the memory.

    Example:
        >>> rows = Rows()
        >>> rows.add({"class": ["ER", "NR"], "intensity": np.array([1.5, 2.5], np.float32)})
        >>> rows.add({"class": ["ER"], "intensity": np.array([3.5], np.float32), "ra": [7]})
        >>> rows.table()
          class  intensity   ra
        0    ER        1.5  NaN
        1    NR        2.5  NaN
        2    ER        3.5  7.0
        >>> late = Rows()
        >>> for names in ([], ["ER"]):
        ...     late.add({"class": names})
        >>> late.table()["class"].tolist()
        ['ER']
    """

    def __init__(self) -> None:
        self._batches: list[dict[str, list[Any]]] = []
        self._types: dict[str, np.dtype[Any]] = {}
        self._filled: set[str] = set()  # columns with a value

    def __bool__(self) -> bool:
        return bool(self._batches)

    def add(self, columns: Mapping[str, ArrayLike]) -> None:
        """Append rows, given by column."""
        arrays = {name: np.asarray(values) for name, values in columns.items()}
        self._batches.append({name: array.tolist() for name, array in arrays.items()})
        for name, array in arrays.items():
            self._learn(name, array.dtype, array.size > 0)

    def _learn(self, name: str, dtype: np.dtype[Any], filled: bool) -> None:
        """Note the type of a column: that of the first batch with a value in it, since an empty one has none."""
        if name not in self._types or (filled and name not in self._filled):
            self._types[name] = dtype
        if filled:
            self._filled.add(name)

    def plain(self) -> dict[str, Any]:
        """Return the rows as values that JSON can hold.

        Example:
            >>> rows = Rows()
            >>> rows.add({"intensity": np.array([1.5], np.float32)})
            >>> again = Rows()
            >>> again.extend(rows.plain())
            >>> again.table().dtypes.iloc[0]
            dtype('float32')
        """
        return {"batches": self._batches, "types": {name: dtype.str for name, dtype in self._types.items()}}

    def extend(self, plain: Mapping[str, Any]) -> None:
        """Append rows that `plain` gave."""
        self._batches += plain["batches"]
        filled = {name for batch in plain["batches"] for name, values in batch.items() if values}
        for name, dtype in plain["types"].items():
            self._learn(name, np.dtype(dtype), name in filled)

    def table(self) -> pd.DataFrame:
        """Return all rows; NaN if a batch lacks a column."""
        lengths = [len(next(iter(batch.values()))) for batch in self._batches]
        columns: dict[str, Any] = {}
        for name, dtype in self._types.items():
            whole = all(name in batch or not length for batch, length in zip(self._batches, lengths, strict=True))
            values = [
                value
                for batch, length in zip(self._batches, lengths, strict=True)
                for value in batch.get(name, [np.nan] * length)
            ]
            columns[name] = np.array(values, dtype) if whole and dtype.kind in "fiub" else values
        return pd.DataFrame(columns)
