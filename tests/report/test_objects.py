"""The table of single objects in a report. About 3 s."""

import numpy as np
import pandas as pd
import pytest

from oasis.errors import DataError
from oasis.evaluation.event_table import read_columns
from oasis.instances.table import COLUMNS
from oasis.report.tables import OBJECTS
from oasis.report.tables import _object_table as object_table

NAN = np.nan


def objects(outcomes, true, predicted):
    count = len(outcomes)
    return pd.DataFrame(
        {
            "id": [f"test/{place}" for place in range(count)],
            "class": ["a"] * count,
            "outcome": outcomes,
            "iou": [0.6 if outcome == "matched" else NAN for outcome in outcomes],
            "intensity_true": true,
            "intensity_predicted": predicted,
            "pixels_true": 4.0,
            "pixels_predicted": 4.0,
            "shared_true": 0.5,
            "shared_predicted": 0.25,
        }
    )


def test_the_worst_objects_of_every_outcome_are_listed():
    outcomes = ["matched", "matched", "missed", "false", "false", *["missed"] * OBJECTS]
    true = [10, 100, 50, NAN, NAN, *range(1, OBJECTS + 1)]
    predicted = [11, 60, NAN, 7, 9, *[NAN] * OBJECTS]
    table = object_table("run", objects(outcomes, true, predicted))
    assert [row[2] for row in table.rows if row[0] == "matched"] == ["test/1", "test/0"]
    assert [row[2] for row in table.rows if row[0] == "false"] == ["test/4", "test/3"]
    missed = [row[2] for row in table.rows if row[0] == "missed"]
    assert missed[0] == "test/2"
    assert len(missed) == OBJECTS
    assert table.rows[0] == ("missed", "a", "test/2", "50", "–", "–", "0.5", "0.25")


def test_a_damaged_instance_table_is_said(tmp_path):
    path = tmp_path / "instances.parquet"
    table = objects(["false"], [NAN], [1.0])
    table.to_parquet(path)
    assert len(read_columns(path, ["id", *COLUMNS], "an instance table")) == 1
    table.drop(columns="iou").to_parquet(path)
    with pytest.raises(DataError, match="not an instance table, there is no column 'iou'"):
        read_columns(path, ["id", *COLUMNS], "an instance table")
    table.assign(outcome=1).to_parquet(path)
    with pytest.raises(DataError, match="outcome: expected names"):
        read_columns(path, ["id", *COLUMNS], "an instance table")
