"""A study that cannot be answered is refused in one line before anything is trained."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from oasis.adapters import Study
from oasis.adapters.study import chosen
from oasis.errors import ConfigError, DataError
from oasis.evaluation.detection import detection_scores
from oasis.evaluation.summary import check_study

WRONG = {
    "class": ({"name": "dott"}, r"study: unknown class 'dott'; did you mean 'dot'\?"),
    "further class": ({"interchangeable": ("pub",)}, r"study: unknown class 'pub'; known: bar, dot"),
    "column": (
        {"quantity": "heigth"},
        r"study: the event table has no column 'heigth' \(quantity\); did you mean 'height'\?",
    ),
    "text": ({"quantity": "kind"}, r"study: expected numbers in the column 'kind' \(quantity\), found 'both'"),
    "edges": ({"edges": (5, 5)}, r"study: expected two or more increasing edges of bins, found \[5, 5\]"),
    "one edge": ({"edges": (5,)}, r"study: expected two or more increasing edges of bins, found \[5\]"),
    "name in a query": (
        {"signal": "knd == 'both'"},
        r"study: the query \"knd == 'both'\" cannot be evaluated on the event table: name 'knd' is not defined",
    ),
    "syntax": (
        {"background": "kind = 'both' and"},
        r"study: the query \"kind = 'both' and\" cannot be evaluated on the event table: invalid syntax",
    ),
    "types": (
        {"signal": "height > 'low'"},
        r"study: the query \"height > 'low'\" cannot be evaluated on the event table: Invalid comparison",
    ),
    "number": (
        {"signal": "height + 1"},
        r"study: the query 'height \+ 1' is not true or false for each event: compare with a value",
    ),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_a_study_that_cannot_be_answered(toy, monkeypatch, change, message):
    monkeypatch.setattr(type(toy.adapter), "study", replace(toy.adapter.study, **change))
    with pytest.raises(ConfigError, match=f"^{message}"):
        toy.train()
    assert not toy.folder.exists()


def test_columns_that_the_domain_adds_or_a_separator_learns_are_known(toy, monkeypatch):
    for quantity in ("peak_predicted", "height_predicted", "overlap_fraction", "intensity_true"):
        study = replace(toy.adapter.study, quantity=quantity, signal=f"{quantity} > 3")
        monkeypatch.setattr(type(toy.adapter), "study", study)
        check_study(toy.adapter)
    monkeypatch.setattr(type(toy.adapter), "study", None)
    check_study(toy.adapter)


def test_a_query_chooses_the_rows_that_pandas_would():
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"kind": rng.choice(["a", "b"], 50), "size": np.where(rng.random(50) < 0.3, np.nan, 4.0)})
    for query in ("kind == 'a' and size < 5", "size.isna()", "kind in ['b', 'c']"):
        pd.testing.assert_frame_equal(rows[chosen(rows, query)], rows.query(query))
    assert not len(chosen(rows[:0], "kind == 'a' and size < 5"))


def test_a_query_that_fails_after_training_is_one_line_too():
    table = pd.DataFrame({"class": ["dot"], "kind": ["both"], "intensity_predicted": [1.0]})
    study = Study("dot", "height", "height", (0, 1), signal="kind == 'both'", background="kin == 'bar'")
    with pytest.raises(ConfigError, match=r"name 'kin' is not defined$"):
        detection_scores(table, study)


def test_samples_that_cannot_be_read_yet_are_no_obstacle_to_training(toy, monkeypatch, caplog):
    def missing(split):
        raise DataError("test.h5: no such file")

    monkeypatch.setattr(toy.adapter, "dataset", missing)
    check_study(toy.adapter)
    assert caplog.messages == [
        "the study of the test samples is not checked, because they cannot be read: test.h5: no such file"
    ]


def test_no_samples_are_nothing_to_check(toy, monkeypatch):
    monkeypatch.setattr(type(toy.adapter), "study", replace(toy.adapter.study, quantity="heigth"))
    check_study(type(toy.adapter)({"test": 0}))


def test_a_misspelt_column_of_groups_is_said_before_training(toy, monkeypatch, caplog):
    for group, said in (("kind", False), ("track", False), ("knd", True)):
        monkeypatch.setattr(type(toy.adapter), "study", replace(toy.adapter.study, group=group))
        caplog.clear()
        check_study(toy.adapter)
        text = "study: the event table has no column 'knd' (group); did you mean 'kind'?"
        assert caplog.messages == [text] * said
