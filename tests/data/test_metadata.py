"""Metadata of samples: which names and values they may have."""

from typing import Any

import numpy as np
import pytest

from oasis.data.metadata import RESERVED, check_metadata, metadata_columns
from oasis.data.samples import Sample
from oasis.errors import DataError


def test_the_columns_of_event_tables_are_reserved() -> None:
    from oasis.evaluation.calibration.columns import interval_names
    from oasis.evaluation.event_table import COLUMNS, SPREAD, VISIBLE, WITHOUT_TRUTH
    from oasis.evaluation.identity import IDENTITY

    columns = {*COLUMNS, SPREAD, *IDENTITY, *interval_names("intensity_true")}
    columns |= {VISIBLE + name for name in WITHOUT_TRUTH}
    assert columns - {"id"} <= RESERVED


PLAIN = [1, 1.5, "é", True, np.float32(2), np.int64(3), np.bool_(True), np.str_("x"), np.nan]
OTHER = [None, [1], (1,), {}, np.ones(1), np.array(1.0), 1j, b"x", np.datetime64("2020"), ...]


@pytest.mark.parametrize("value", PLAIN)
def test_plain_values_may_be_metadata(value: Any) -> None:
    check_metadata({"id": "a", "of it": value})
    assert metadata_columns([{"a": value}, {"a": value}])["a"].shape == (2,)


@pytest.mark.parametrize("value", OTHER)
def test_other_values_are_refused_where_a_sample_is_made(value: Any) -> None:
    image = np.ones((1, 4), np.float32)
    with pytest.raises(DataError, match=r"'energy': .* expected a number, text or truth value") as caught:
        Sample(image, image[None], np.ones((1, 4), bool), {"id": "a", "energy": value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_reserved_names_are_refused_where_a_sample_is_made(name: str) -> None:
    image = np.ones((1, 4), np.float32)
    with pytest.raises(DataError, match=f"'{name}': the name of a column of event tables"):
        Sample(image, image[None], np.ones((1, 4), bool), {"id": "a", name: 1.0})
