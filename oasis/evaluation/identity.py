"""Identity: which run predicted the rows of an event table, as columns, which survive whatever is done to rows."""

from typing import Any, NamedTuple

import pandas as pd

from oasis.errors import DataError

CONFIGURATION = "configuration"
UNIT = "intensity_unit"
IDENTITY = {
    CONFIGURATION: "twelve digits that identify the configuration of the run whose separator predicted; empty for "
    "another method",
    UNIT: "unit of the intensities",
}


class Identity(NamedTuple):
    """Where an event table is from.

    Attributes:
        configuration: fingerprint of the run's configuration, or "" for a method that is not of a run.
        unit: of the intensities.
    """

    configuration: str
    unit: str


def identified(table: pd.DataFrame, configuration: Any = "", unit: str = "") -> pd.DataFrame:
    """Return a table with its identity in every row.

    Example:
        >>> identified(pd.DataFrame({"class": ["ER"]}), "0123456789ab", "ADU")
          class configuration intensity_unit
        0    ER  0123456789ab            ADU
    """
    return table.assign(**{CONFIGURATION: str(configuration or ""), UNIT: unit})


def identity_of(table: pd.DataFrame) -> Identity | None:
    """Return where an event table is from, or None if it does not say so or has no rows.

    Raises:
        DataError: the rows are from several runs, or in several units, or some of them do not say so.

    Example:
        >>> identity_of(identified(pd.DataFrame({"class": ["ER"]}), "0123456789ab", "ADU"))
        Identity(configuration='0123456789ab', unit='ADU')
    """
    if not len(table) or CONFIGURATION not in table or UNIT not in table:
        return None
    found = []
    for name in IDENTITY:
        values = table[name].unique()
        if len(values) > 1:
            several = ", ".join("none" if pd.isna(value) else repr(value) for value in values[:3])
            raise DataError(f"the event table mixes rows of different {name}: {several}: use rows of one run only")
        found.append(values[0])
    return None if any(map(pd.isna, found)) else Identity(*found)


def check_identity(table: pd.DataFrame, configuration: str, what: str) -> None:
    """Check that the rows of an event table are of the run with which they are used.

    Args:
        table: the event table.
        configuration: of the run; anything goes with "".
        what: it is used with, at the start of the error message.

    Raises:
        DataError: the rows are of another run, or do not say of which.
    """
    found = identity_of(table)
    if not configuration or not len(table):
        return
    if found is None:
        raise DataError(
            f"{what} the configuration {configuration}, but the event table does not say of which run it is: "
            f"keep its columns {' and '.join(IDENTITY)}, as read_table returns them"
        )
    if found.configuration != configuration:
        raise DataError(
            f"{what} the configuration {configuration}, the event table is of {found.configuration or 'no run'}: "
            "evaluate or calibrate this run again"
        )


def with_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table that was just read; an identity in its metadata, as older versions wrote, becomes columns."""
    if CONFIGURATION not in table and "unit" in table.attrs:
        table = identified(table, table.attrs.get(CONFIGURATION), str(table.attrs["unit"]))
    table.attrs = {}
    return table
