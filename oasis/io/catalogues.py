"""Catalogues: tables with units as FITS, ECSV or Parquet, written whole; these and Feather are read."""

import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from itertools import takewhile
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from oasis.errors import DataError, import_extra
from oasis.io.files import check_file, reading, replace_when_whole

CATALOGUES: Final = (".fits", ".ecsv", ".parquet")
FEATHER: Final = ".feather"
OURS: Final = "oasis"  # the key under which a catalogue states what made it
CATALOGUE: Final = "catalogue"  # of the card OASIS in the header of a table
SKY: Final = ("ra", "dec")
ASTROPY: Final = b"table_meta_yaml"  # the key under which astropy states the units of a Parquet table
ANGLES: Final = {
    "deg": ("deg", "degs", "degree", "degrees"),
    "hourangle": ("h", "hr", "hrs", "hour", "hours", "hourangle"),
    "rad": ("rad", "radian", "radians"),
}
"""Units of angles by the names that catalogues give them, in small letters."""
CARD: Final = 80  # bytes of a card of a FITS header
CARDS: Final = 36  # in a block
END: Final = b"END"


def is_catalogue(path: Path) -> bool:
    """Return whether the suffix of a path is that of a catalogue."""
    return path.suffix.lower() in CATALOGUES


def is_table(path: Path) -> bool:
    """Return whether `read_catalogue` reads files with the suffix of a path."""
    return is_catalogue(path) or path.suffix.lower() == FEATHER


def check_writable(path: Path) -> None:
    """Check that a catalogue can be written in the format of a suffix.

    Raises:
        MissingExtraError: astropy is not installed, which FITS and ECSV need.
    """
    if path.suffix.lower() != ".parquet":
        import_extra("astropy.table", "fits")


def write_catalogue(
    table: pd.DataFrame,
    path: Path,
    units: Mapping[str, str],
    descriptions: Mapping[str, str],
    facts: Mapping[str, Any],
    temporary: Path | None = None,
) -> None:
    """Write a table whose columns have units and descriptions, in the format of the suffix.

    Args:
        table: columns of numbers, truth values and texts.
        path: `.fits` (a table in the first extension), `.ecsv` or `.parquet`.
        units: units by column, as astropy spells them.
        descriptions: descriptions by column.
        facts: what made it, which the file states.
        temporary: where it is written for the time being, by a caller who replaces several files together.

    Raises:
        DataError: the path cannot be written to.
        MissingExtraError: astropy is not installed, which FITS and ECSV need.
    """
    stated = json.dumps(dict(facts))
    with nullcontext(temporary) if temporary is not None else replace_when_whole(path) as temporary:
        if path.suffix.lower() == ".parquet":
            whole = pa.Table.from_pandas(table, preserve_index=False)
            fields = [
                field.with_metadata(
                    {"unit": units.get(field.name, ""), "description": descriptions.get(field.name, "")}
                )
                for field in whole.schema
            ]
            schema = pa.schema(fields, {**(whole.schema.metadata or {}), OURS.encode(): stated.encode()})
            pq.write_table(whole.cast(schema), temporary)
            return
        kind = "ascii.ecsv" if path.suffix.lower() == ".ecsv" else "fits"
        one = _as_astropy(_each_text(table, as_ascii) if kind == "fits" else table, units, descriptions)
        one.meta[OURS] = stated
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # long cards, and units that the standard does not have
            if kind == "fits":
                one.meta = {OURS: CATALOGUE, "FACTS": stated}
            one.write(str(temporary), format=kind, overwrite=True)
            if kind == "fits":
                _describe(temporary, units, descriptions)


def _describe(path: Path, units: Mapping[str, str], descriptions: Mapping[str, str]) -> None:
    """State units and descriptions of columns: astropy leaves out units that FITS does not have, such as nmgy."""
    fits = import_extra("astropy.io.fits", "fits")
    with fits.open(path, mode="update", memmap=False) as file:
        header = file[1].header
        for number in range(1, header["TFIELDS"] + 1):
            name = header[f"TTYPE{number}"]
            for key, text in (("TCOMM", descriptions.get(name)), ("TUNIT", units.get(name))):
                if text:
                    header.set(f"{key}{number}", text, after=f"TFORM{number}")


def as_ascii(text: str) -> str:
    r"""Return a text as FITS can hold it: a backslash and what is not printable ASCII are escaped.

    Example:
        >>> as_ascii("galaxy_é.fits"), from_ascii(as_ascii("galaxy_é.fits"))
        ('galaxy_\\xe9.fits', 'galaxy_é.fits')
    """
    return text.encode("unicode_escape").decode("ascii")


def from_ascii(text: str) -> str:
    """Return a text that `as_ascii` escaped."""
    return text.encode("ascii").decode("unicode_escape")


def _each_text(table: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """Return a table in which texts are changed."""
    changed = table.copy()
    for name in table:
        if pd.api.types.is_string_dtype(table[name].dropna()):
            changed[name] = table[name].map(change, na_action="ignore")
    return changed


def _as_astropy(table: pd.DataFrame, units: Mapping[str, str], descriptions: Mapping[str, str]) -> Any:
    astropy = import_extra("astropy.table", "fits")
    one = astropy.Table()
    for name in map(str, table):
        values = table[name].to_numpy()
        if values.dtype.kind == "O":
            values = np.where(pd.isna(values), "", values).astype(str)
        one[name] = astropy.Column(values, unit=units.get(name) or None, description=descriptions.get(name))
    return one


def read_catalogue(path: Path) -> pd.DataFrame:
    """Read the scalar columns of a catalogue or Feather file; texts are decoded, and masked values are NaN.

    Positions on the sky, columns `ra` and `dec` in any case, are converted to degrees from the unit stated.

    Raises:
        DataError: the file is missing, or not such a table.
        MissingExtraError: astropy is not installed, which FITS and ECSV need.
    """
    check_file(path)
    if path.suffix.lower() in (".parquet", FEATHER):
        with reading(path, "not a Parquet or Feather table"):
            if path.suffix.lower() == ".parquet" and ASTROPY in (pq.read_schema(path).metadata or {}):
                return _as_pandas(
                    path, import_extra("astropy.table", "fits").Table.read(str(path), format="parquet")
                )
            table = pd.read_feather(path) if path.suffix.lower() == FEATHER else pd.read_parquet(path)
            return _with_nan(table)
    astropy = import_extra("astropy.table", "fits")
    kind = "ascii.ecsv" if path.suffix.lower() == ".ecsv" else "fits"
    with reading(path, "not a table"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = astropy.Table.read(str(path), format=kind)
        ours = table.meta.get(OURS.upper()) == CATALOGUE
        found = _as_pandas(path, table)
        return _each_text(found, from_ascii) if ours else found


def _as_pandas(path: Path, table: Any) -> pd.DataFrame:
    """Return the columns of an astropy table that have one number or text in a row, unlike times."""
    columns = {name: table[name] for name in table.colnames if hasattr(table[name], "dtype")}
    found = type(table)({name: _in_degrees(path, name, one) for name, one in columns.items() if one.ndim == 1})
    for name in found.colnames:
        if found[name].dtype.kind == "S":
            texts = np.asarray(found[name].filled("") if found.masked else found[name])
            found[name] = np.char.decode(texts, "utf-8", "backslashreplace")
    return _with_nan(found.to_pandas())


def _with_nan(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which a missing number is NaN, also among integers."""
    for name in table.columns[table.isna().any()]:
        if pd.api.types.is_extension_array_dtype(table[name]) and pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].to_numpy(float, na_value=np.nan)
    return table


def _in_degrees(path: Path, name: str, column: Any) -> Any:
    """Return a column; positions on the sky that state another unit of angle are converted."""
    unit = str(column.unit or "").strip() if name.lower() in SKY else ""
    if unit in ("", "deg"):
        return column
    units = import_extra("astropy.units", "fits")
    known = next((one for one, names in ANGLES.items() if unit.lower() in names), unit)
    try:
        converted = column * units.Unit(known).to(units.deg)
    except (ValueError, TypeError, units.UnitConversionError):
        raise DataError(f"{path}: {name}: unknown unit {unit!r}: write degrees (deg)") from None
    converted.unit = units.deg
    return converted


def is_our_catalogue(path: Path) -> bool:
    """Return whether a file is a catalogue that `write_catalogue` wrote."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return OURS.encode() in (pq.read_schema(path).metadata or {})
    if suffix == ".ecsv":
        return any(re.match(rf"# - \{{{OURS}: '\{{", line) for line in _comments(path))
    return f"{OURS.upper():8}= '{CATALOGUE}'".encode() in _cards(path)


def _comments(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from takewhile(lambda line: line.startswith("#"), file)


def _cards(path: Path) -> list[bytes]:
    """Return the cards of the header of the table in the first extension of a FITS file, behind an empty image."""
    headers: list[list[bytes]] = []
    with path.open("rb") as file:
        for start in (b"SIMPLE  =", b"XTENSION= 'BINTABLE'"):
            headers.append([])
            while END not in headers[-1]:
                block = file.read(CARD * CARDS)
                if not block or not (headers[-1] or block.startswith(start)):
                    return []
                headers[-1] += [block[at : at + CARD].rstrip() for at in range(0, len(block), CARD)]
    return headers[-1]
