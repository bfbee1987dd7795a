"""CSV files whose texts no spreadsheet takes for formulas."""

from pathlib import Path

import numpy as np
import pandas as pd

from oasis.io.files import replace_when_whole

FORMULA = ("=", "+", "-", "@", "\t")  # with which a cell begins that a spreadsheet computes


def write_csv(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table without its index to a CSV file in UTF-8; texts and names of columns are `quoted`.

    Raises:
        DataError: a place that cannot be written to.
    """
    shown = table.rename(columns=_quoted_text)
    for place, (_, column) in enumerate(table.items()):
        if not pd.api.types.is_numeric_dtype(column):
            shown.isetitem(place, np.array([*map(_quoted_text, column)], object))
    with replace_when_whole(Path(path)) as temporary:
        shown.to_csv(temporary, index=False, encoding="utf-8")


def quoted(text: str) -> str:
    """Return a text as a cell that stays a text in a spreadsheet: behind `'` if it could be a formula.

    Numbers stay as they are.

    Example:
        >>> quoted("=1+1.npy"), quoted("-3.5"), quoted("a=b")
        ("'=1+1.npy", '-3.5', 'a=b')
    """
    text = text.replace("\r", "\\r")  # which would end the row
    return f"'{text}" if text.startswith(FORMULA) and not is_number(text) else text


def _quoted_text(cell: object) -> object:
    return quoted(cell) if isinstance(cell, str) else cell


def is_number(text: str) -> bool:
    """Return whether a text is that of a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
