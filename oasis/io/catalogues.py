"""Catalogues: tables with units as FITS, ECSV or Parquet, written whole; these and Feather are read."""

import json
import warnings
from collections.abc import Mapping
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


def is_catalogue(path: Path) -> bool:
    """Return whether the suffix of a path is that of a catalogue."""
    return path.suffix.lower() in CATALOGUES


def is_table(path: Path) -> bool:
    """Return whether `read_catalogue` reads files with the suffix of a path."""
    return is_catalogue(path) or path.suffix.lower() == FEATHER


def write_catalogue(
    table: pd.DataFrame,
    path: Path,
    units: Mapping[str, str],
    descriptions: Mapping[str, str],
    facts: Mapping[str, Any],
) -> None:
    """Write a table whose columns have units and descriptions, in the format of the suffix.

    Args:
        table: columns of numbers, truth values and texts.
        path: `.fits` (a table in the first extension), `.ecsv` or `.parquet`.
        units: units by column, as astropy spells them.
        descriptions: descriptions by column.
        facts: what made it, which the file states.

    Raises:
        DataError: the path cannot be written to.
        MissingExtraError: astropy is not installed, which FITS and ECSV need.
    """
    stated = json.dumps(dict(facts))
    with replace_when_whole(path) as temporary:
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
        one = _as_astropy(table, units, descriptions)
        one.meta[OURS] = stated
        kind = "ascii.ecsv" if path.suffix.lower() == ".ecsv" else "fits"
        if kind == "fits":
            one.meta = {OURS: "catalogue", "FACTS": stated}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # long cards
            one.write(str(temporary), format=kind, overwrite=True)


def _as_astropy(table: pd.DataFrame, units: Mapping[str, str], descriptions: Mapping[str, str]) -> Any:
    astropy = import_extra("astropy.table", "fits")
    one = astropy.Table()
    for name in map(str, table):
        values = table[name].to_numpy()
        values = values.astype(str) if values.dtype.kind == "O" else values
        one[name] = astropy.Column(values, unit=units.get(name) or None, description=descriptions.get(name))
    return one


def read_catalogue(path: Path) -> pd.DataFrame:
    """Read the scalar columns of a catalogue or Feather file; texts are decoded, and masked values are NaN.

    Raises:
        DataError: the file is missing, or not such a table.
        MissingExtraError: astropy is not installed, which FITS and ECSV need.
    """
    check_file(path)
    if path.suffix.lower() in (".parquet", FEATHER):
        with reading(path, "not a Parquet or Feather table"):
            return pd.read_feather(path) if path.suffix.lower() == FEATHER else pd.read_parquet(path)
    astropy = import_extra("astropy.table", "fits")
    kind = "ascii.ecsv" if path.suffix.lower() == ".ecsv" else "fits"
    with reading(path, "not a table"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = astropy.Table.read(str(path), format=kind)
    table = table[[name for name in table.colnames if table[name].ndim == 1]]
    for name in table.colnames:
        if table[name].dtype.kind == "S":
            table[name] = np.char.decode(
                np.asarray(table[name].filled("") if table.masked else table[name]), "utf-8"
            )
    found = table.to_pandas()
    if not isinstance(found, pd.DataFrame):
        raise DataError(f"{path}: not a table")
    return found


def is_our_catalogue(path: Path) -> bool:
    """Return whether a file is a catalogue that `write_catalogue` wrote."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return OURS.encode() in (pq.read_schema(path).metadata or {})
    with path.open("rb") as file:
        start = file.read(2**15)
    return (b"%ECSV" in start if suffix == ".ecsv" else start.startswith(b"SIMPLE")) and b"oasis" in start.lower()
