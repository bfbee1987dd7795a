"""Tables as files: CSV whose texts a spreadsheet does not run as formulas, and readers that check the columns."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from oasis.errors import DataError, nearest, shown
from oasis.io.files import check_file, reading, replace_when_whole

FORMULA = ("=", "+", "-", "@", "\t")  # first characters of a cell that a spreadsheet computes

TEXTS: Final[Any] = {"dtype": str, "encoding": "utf-8-sig", "skipinitialspace": True}  # how `read_csv` reads


def write_csv(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table without its index to a CSV file in UTF-8; texts and names of columns are `quoted`.

    Raises:
        DataError: the path cannot be written to.
    """
    shown = table.rename(columns=_quoted_text)
    for place, (_, column) in enumerate(table.items()):
        if not pd.api.types.is_numeric_dtype(column):
            shown.isetitem(place, np.array([*map(_quoted_text, column)], object))
    with replace_when_whole(Path(path)) as temporary:
        shown.to_csv(temporary, index=False, encoding="utf-8")


def read_csv(path: str | Path, numbers: Sequence[str], texts: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV file in UTF-8 with at least one row; all columns are numbers except `texts`.

    Args:
        path: the path of the file.
        numbers: required columns of numbers; each needs a finite value in at least one row.
        texts: required columns of text.

    Raises:
        DataError: the file is missing, is not such a table, or lacks a column or rows.
    """
    check_file(path)
    with reading(path, "not a table of comma-separated values"), warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
        table = pd.read_csv(path, keep_default_na=False, index_col=False, **TEXTS)
    for name in table.columns.difference(list(texts)):
        table[name] = as_numbers(table[name], path)
    return checked(table, path, numbers, texts)


def checked(
    table: pd.DataFrame, path: str | Path, numbers: Sequence[str], texts: Sequence[str] = ()
) -> pd.DataFrame:
    """Check the columns of a table that was read, and return it.

    Args:
        table: the table to be checked.
        path: the file it was read from, for messages.
        numbers: required numeric columns; each needs a finite value in at least one row.
        texts: further required columns.

    Raises:
        DataError: a column is missing or not numeric, or there are no rows.
    """
    for name in (*texts, *numbers):
        if name not in table:
            raise DataError(f"{path}: there is no column {name!r}; {nearest(name, map(str, table))}")
    if not len(table):
        raise DataError(f"{path}: no rows below the header")
    check_numeric(table, numbers, path)
    for name in numbers:
        column = table[name]
        if not np.isfinite(column.to_numpy(float)).any():
            raise DataError(f"{path}: {name}: none of the {len(column):,} values is a finite number")
    return table


def check_numeric(table: pd.DataFrame, names: Sequence[str], path: str | Path) -> None:
    """Check that columns of a table that was read are numeric.

    Raises:
        DataError: a column is not.
    """
    for name in names:
        column = table[name]
        if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_complex_dtype(column):
            raise DataError(f"{path}: {name}: expected numbers, found {column.dtype}")


def as_numbers(column: "pd.Series[str]", path: str | Path) -> "pd.Series[float]":
    """Return texts as numbers; an empty cell is NaN.

    Raises:
        DataError: a text is no number.
    """
    found = pd.to_numeric(column, errors="coerce")
    wrong = found.isna() & ~column.str.strip().str.lower().isin(("", "nan"))
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        cell = shown(column.iloc[row])
        raise DataError(f"{path}: row {row + 1}: {column.name}: expected a number, found {cell}")
    return found


def quoted(text: str) -> str:
    """Return a text as a cell that stays text in a spreadsheet: with a leading `'` if it could be a formula.

    Numbers are unchanged.

    Example:
        >>> quoted("=1+1.npy"), quoted("-3.5"), quoted("a=b")
        ("'=1+1.npy", '-3.5', 'a=b')
    """
    text = text.replace("\r", "\\r")  # which would end the row
    return f"'{text}" if text.startswith(FORMULA) and not is_number(text) else text


def _quoted_text(cell: object) -> object:
    return quoted(cell) if isinstance(cell, str) else cell


def is_number(text: str) -> bool:
    """Return whether a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
