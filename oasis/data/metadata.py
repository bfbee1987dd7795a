"""Metadata of a sample: its identity and truth quantities, one plain value each."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.errors import DataError

# Columns of event tables besides the metadata; metadata cannot have their names.
RESERVED = frozenset(
    {
        "above_predicted",
        "class",
        "configuration",
        "delta_percent",
        "exists_predicted",
        "intensity_calibrated",
        "intensity_high",
        "intensity_low",
        "intensity_predicted",
        "intensity_spread",
        "intensity_true",
        "intensity_unit",
        "iou",
        "overlap_fraction",
        "overlap_fraction_predicted",
        "overlap_intensity_predicted",
        "overlap_intensity_true",
        "presence_predicted",
        "visible_intensity_predicted",
        "visible_overlap_fraction_predicted",
    }
)
_PLAIN = frozenset({float, int, str, bool})
LARGEST = 2**63  # the smallest integer that is too large for a file


def check_metadata(meta: Mapping[str, Any]) -> None:
    """Check that every value is a number, text or truth value, under a name that is free in event tables.

    Raises:
        DataError: the first value that is not.

    Example:
        >>> check_metadata({"id": "val/3", "energy": np.float32(5.5)})
        >>> check_metadata({"iou": 0.5})
        Traceback (most recent call last):
            ...
        oasis.errors.DataError: metadata 'iou': the name of a column of event tables; choose another
    """
    for name, value in meta.items():
        if name in RESERVED:
            raise DataError(f"metadata {name!r}: the name of a column of event tables; choose another")
        if type(value) not in _PLAIN and type(_plain(value)) not in _PLAIN:
            raise DataError(
                f"metadata {name!r}: {_shortened(value)} is of type {type(value).__name__}, expected a number, "
                "text or truth value; use nan or an empty text for an unknown value"
            )


class Ids:
    """The ids of samples so far: every sample needs one of its own.

    Example:
        >>> ids = Ids()
        >>> ids.add({"id": "val/3"})
        >>> ids.add({"id": "val/3"})
        Traceback (most recent call last):
            ...
        oasis.errors.DataError: samples 0 and 1 both have the id 'val/3': give every sample an id of its own
    """

    def __init__(self) -> None:
        self._places: dict[Any, int] = {}

    def add(self, meta: Mapping[str, Any]) -> None:
        """Note the id of the next sample.

        Raises:
            DataError: it has none, or that of an earlier sample.
        """
        place = len(self._places)
        if "id" not in meta:
            raise DataError(f"sample {place}: no 'id' in its metadata: give every sample an id")
        earlier = self._places.setdefault(_plain(meta["id"]), place)
        if earlier != place:
            found = _shortened(meta["id"])
            raise DataError(
                f"samples {earlier} and {place} both have the id {found}: give every sample an id of its own"
            )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _check_storable(name: Any, value: Any) -> None:
    if not isinstance(name, str) or not name or "\0" in name or not _is_text(name):
        raise DataError(f"metadata {name!r}: expected a non-empty text as name")
    if isinstance(value, str) and ("\0" in value or not _is_text(value)):
        raise DataError(f"metadata {name!r}: {_shortened(value)} contains characters that cannot be stored")
    if type(value) is int and not -LARGEST <= value < LARGEST:
        raise DataError(f"metadata {name!r}: an integer of {value.bit_length()} bits, expected 64 at most")


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def metadata_columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """Return the metadata of samples as columns by name; all samples need the same names.

    Raises:
        DataError: a column contains both text and numbers, or a value that cannot be stored.

    Example:
        >>> metadata_columns([{"id": "a", "energy": 5}, {"id": "b", "energy": 5.5}])
        {'id': array(['a', 'b'], dtype='<U1'), 'energy': array([5. , 5.5])}
    """
    columns = {}
    for name in rows[0]:
        values = [_plain(row[name]) for row in rows]
        for value in values:
            _check_storable(name, value)
        if len({isinstance(value, str) for value in values}) > 1:
            raise DataError(f"metadata {name!r}: text in some samples and numbers in others")
        columns[name] = np.array(values)
    return columns
