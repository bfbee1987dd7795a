"""Delimited text: tables of numbers as spreadsheets and instruments export them, with or without a header."""

import codecs
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oasis.errors import DataError, shown
from oasis.io.containers import chosen_name
from oasis.io.tables import is_number

UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Delimited:
    """A table of numbers.

    Attributes:
        names: of the columns; empty without a header.
        rows: (rows, columns).
    """

    names: tuple[str, ...]
    rows: NDArray[np.float64]


def read_delimited(path: Path, column: str | None = None) -> Delimited:
    """Read a table whose columns are separated by commas, semicolons or tabs.

    Semicolons and tabs leave the comma to decimal numbers, as in German or French exports. Empty lines and lines
    that begin with `#` are skipped. The text is UTF-8, UTF-16 with its mark, or Latin-1.

    Args:
        path: the path of the file.
        column: the name of the only column to read; others may then contain text.

    Raises:
        DataError: there is no such column, a row below the header contains something other than numbers, or rows
            differ in length.
    """
    numbered = [
        (number, line)
        for number, line in enumerate(_text(path).splitlines(), start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if not numbered:
        return Delimited((), np.empty((0, 0)))
    separator = next((sign for sign in (";", "\t") if sign in numbered[-1][1].strip()), ",")
    decimal = separator != ","  # whether a comma is one of a decimal number
    first = _cells(numbered[0][1], separator, decimal)
    names = () if all(map(is_number, first)) else tuple(_cells(numbered[0][1], separator))
    place = None if column is None else names.index(chosen_name(path, list(names), column))
    below = numbered[bool(names) :]
    if not below:
        return Delimited(names, np.empty((0, len(names))))
    lines = [line.replace(",", ".") if decimal else line for _, line in below]
    try:
        rows = np.loadtxt(lines, delimiter=separator, quotechar='"', comments=None, usecols=place, ndmin=2)
    except ValueError:
        for number, line in below:
            _check(path, number, _cells(line, separator, decimal), len(_cells(below[0][1], separator)), place)
        raise
    return Delimited(names if column is None else (column,), rows)


def _text(path: Path) -> str:
    content = path.read_bytes()
    if content.startswith(UTF16):
        return content.decode("utf-16")
    if b"\0" in content:
        raise ValueError("not a text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _cells(line: str, separator: str, decimal: bool = False) -> list[str]:
    cells = [
        cell.strip() for cell in next(csv.reader([line.strip("\r\n")], delimiter=separator, skipinitialspace=True))
    ]
    return [cell.replace(",", ".") for cell in cells] if decimal else cells


def _check(path: Path, number: int, cells: list[str], width: int, place: int | None) -> None:
    """Refuse a line that is not a row of numbers."""
    wrong = next(
        (cell for cell in (cells if place is None else cells[place : place + 1]) if not is_number(cell)), None
    )
    if wrong is not None:
        raise DataError(
            f"{path}: line {number}: expected numbers, found {shown(wrong)}: above them there may be one "
            "line with the names of the columns, and lines that begin with #"
        )
    if len(cells) != width:
        raise DataError(f"{path}: line {number}: {len(cells)} columns, where lines before have {width}")
