"""Identity: the run that predicted the rows of an event table, as columns, which survive any operation on rows."""

from typing import Any, NamedTuple

import pandas as pd

from oasis.errors import DataError

CONFIGURATION = "configuration"
UNIT = "intensity_unit"
IDENTITY = {
    CONFIGURATION: "twelve digits that identify the configuration of the run that made the prediction; empty for "
    "another method",
    UNIT: "unit of the intensities",
}

WEIGHTS_OF = "weights"
OF_RUNS = {
    WEIGHTS_OF: "digest of the weights that predicted, and the gates of the head that were changed since their "
    "training; of `oasis evaluate`"
}


class Identity(NamedTuple):
    """The origin of an event table.

    Attributes:
        configuration: fingerprint of the run's configuration, or "" for another method.
        unit: the unit of the intensities.
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
    """Return the origin of an event table, or None if it is not stated or there are no rows.

    Raises:
        DataError: the rows are from several runs or in several units, or some do not state their origin.

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
    """Check that the rows of an event table are from the run with which they are used.

    Args:
        table: the event table.
        configuration: fingerprint of the run's configuration; "" matches everything.
        what: the beginning of the error message: what the table is used with.

    Raises:
        DataError: the rows are from another run, or do not state their run.
    """
    found = identity_of(table)
    if not configuration or not len(table):
        return
    if found is None:
        raise DataError(
            f"{what} the configuration {configuration}, but the event table does not say which run it is from: "
            f"keep its columns {' and '.join(IDENTITY)}, as read_table returns them"
        )
    if found.configuration != configuration:
        raise DataError(
            f"{what} the configuration {configuration}, the event table has "
            f"{found.configuration or 'none'}: evaluate or calibrate this run again"
        )


def with_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table that was just read, with an identity in its metadata, as in older versions, as columns."""
    if CONFIGURATION not in table and "unit" in table.attrs:
        table = identified(table, table.attrs.get(CONFIGURATION), str(table.attrs["unit"]))
    table.attrs = {}
    return table
