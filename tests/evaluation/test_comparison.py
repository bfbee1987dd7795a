"""Paired differences against scipy, scikit-learn and closed forms; the text against the numbers of each run."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from oasis.adapters import Study
from oasis.errors import ConfigError, DataError
from oasis.evaluation.comparison import compare
from oasis.evaluation.identity import identified
from oasis.evaluation.pairing import mean_over_trainings, paired_difference
from oasis.evaluation.summary import summarise
from oasis.stats.roc import rank_auc

STUDY = Study("dot", "height", "height", (5, 12, 20), signal="kind == 'both'", background="kind == 'bar'")


def median(values):
    return np.median(values, axis=-1)


def mean(values):
    return np.mean(values, axis=-1)


def events(delta):
    return pd.DataFrame({"id": np.arange(len(delta)), "intensity_true": 1.0, "delta_percent": delta})


@pytest.fixture
def pair():
    """Two tables whose errors are mostly those of the event."""
    rng = np.random.default_rng(1)
    hard = rng.normal(0, 30, 250)
    return events(hard + rng.normal(0, 5, 250)), events(hard + 3 + rng.normal(0, 5, 250))


def test_interval_is_that_of_scipy(pair):
    a, b = (table["delta_percent"].to_numpy() for table in pair)
    oracle = stats.bootstrap(
        (a, b),
        lambda a, b, axis: np.median(b, axis) - np.median(a, axis),
        paired=True,
        method="percentile",
        n_resamples=4000,
        rng=0,
    ).confidence_interval
    found = paired_difference(*pair, median, resamples=4000)
    assert found.value == np.median(b) - np.median(a)
    width = oracle.high - oracle.low
    assert found[1:] == pytest.approx(oracle, abs=0.1 * width)


def test_interval_of_a_mean_is_the_closed_form_of_differences(pair):
    found = paired_difference(*pair, mean, resamples=20_000)
    differences = pair[1]["delta_percent"] - pair[0]["delta_percent"]
    error = stats.norm.ppf(0.975) * differences.std() / len(differences) ** 0.5
    assert found.value == pytest.approx(differences.mean())
    assert found[1:] == pytest.approx((found.value - error, found.value + error), abs=0.05 * error)


def testrank_auc_is_that_of_scikit_learn_with_ties():
    rng = np.random.default_rng(2)
    a, b = (study_table(rng.integers(0, 9, 60) + shift * (np.arange(60) % 2)) for shift in (0, 3))
    true = a["kind"].iloc[::2] == "both"
    areas = [roc_auc_score(true, table["intensity_predicted"].iloc[::2]) for table in (a, b)]
    line = compare({"a": a, "b": b}, STUDY).splitlines()[-4]
    assert [float(word) for word in line.split()[1:4]] == pytest.approx([*areas, areas[1] - areas[0]], abs=5e-4)


def test_order_of_rows_and_blocks_do_not_matter(pair, monkeypatch):
    found = paired_difference(*pair, median, resamples=100)
    assert paired_difference(pair[0], pair[1].sample(frac=1, random_state=0), median, resamples=100) == found
    monkeypatch.setattr("oasis.stats.intervals.BLOCK", 1)
    assert paired_difference(*pair, median, resamples=100).value == found.value
    assert paired_difference(pair[0], pair[0], median) == (0, 0, 0)


def test_the_mean_over_trainings_of_one_is_that_of_its_events_and_covers_several(pair):
    once = mean_over_trainings(pair[0], mean)
    value, low, high = once
    values = pair[0]["delta_percent"]
    assert value == pytest.approx(values.mean())
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(len(values)), rel=0.15)
    shifted = pair[0].assign(delta_percent=values + 10 * (high - low))
    several = mean_over_trainings([pair[0], shifted], mean)
    assert several.value == pytest.approx(value + 5 * (high - low))
    assert several.high - several.low > 5 * (high - low)


def test_several_seeds_are_averaged_and_drawn():
    a = [events(np.full(50, level)) for level in (0.0, 2.0, 7.0)]
    assert paired_difference(events(np.zeros(50)), a, mean, resamples=3000) == (3, 0, 7)
    means = paired_difference([a[0], a[0]], [a[1], a[1], a[1]], mean)
    assert means == (2, 2, 2)


@pytest.mark.parametrize("statistic", [lambda delta, _: np.nanmedian(delta, axis=-1), rank_auc])
def test_events_of_one_object_are_drawn_together(statistic):
    rng = np.random.default_rng(8)
    base = events(rng.normal(size=60)).assign(object=range(60), signal=rng.random(60) > 0.5)
    tables = base, base.assign(delta_percent=rng.normal(size=60))
    columns = ["delta_percent", "signal"]
    alone = paired_difference(*tables, statistic, columns, resamples=4000)
    repeated = [pd.concat([table] * 5).assign(id=range(300)) for table in tables]
    together = paired_difference(*repeated, statistic, columns, group="object", resamples=4000)
    apart = paired_difference(*repeated, statistic, columns, resamples=4000)
    assert together == pytest.approx(alone, abs=0.1 * (alone.high - alone.low))
    assert apart.high - apart.low < 0.8 * (alone.high - alone.low)


def test_groups_may_differ_in_size(pair):
    a, b = (table.assign(object=np.minimum(table["id"], 150)) for table in pair)
    found = paired_difference(a, b, lambda delta: np.nanmean(delta, axis=-1), group="object")
    wide = paired_difference(a, b, mean)
    assert found.value == pytest.approx(wide.value)
    assert np.isfinite(found).all()


def test_events_without_a_value_are_left_out(pair):
    a, b = pair[0].copy(), pair[1].copy()
    a.loc[3, "delta_percent"] = b.loc[9, "delta_percent"] = np.nan
    both = [table.drop(index=[3, 9]) for table in (a, b)]
    assert paired_difference(a, b, median) == paired_difference(*both, median)
    assert np.isnan(paired_difference(a, b.assign(delta_percent=np.nan), median)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda b: b.iloc[1:],
            "the tables contain different events: 1 are not in all of them, such as 0: measure all",
        ),
        (lambda b: pd.concat([b, b.iloc[:1]]), "event 0 has several rows: choose one class"),
        (
            lambda b: b.assign(intensity_true=np.where(b["id"] == 4, 55.0, 1.0)),
            "event 4 has the true intensity 1 in one table and 55 in another: measure all runs on the same data",
        ),
    ],
)
def test_tables_of_other_events_are_refused(pair, change, message):
    with pytest.raises(DataError, match=message):
        paired_difference(pair[0], change(pair[1]), median)


def study_table(predicted, error=0.0):
    """An event table of the toy domain: a dot in the first half of the events."""
    count = len(predicted)
    rng = np.random.default_rng(5)
    both = np.arange(count) < count // 2
    dots = pd.DataFrame(
        {
            "id": [f"test/{index}" for index in range(count)],
            "class": "dot",
            "kind": np.where(both, "both", "bar"),
            "height": np.where(both, np.linspace(5, 20, count, endpoint=False), np.nan),
            "intensity_true": np.where(both, 10.0, 0.0),
            "intensity_predicted": np.asarray(predicted, float),
            "delta_percent": np.where(both, rng.normal(0, 20, count) + error, np.nan),
            "iou": np.where(both, rng.uniform(0.5, 0.9, count), np.nan),
        }
    )
    bars = dots.assign(**{"class": "bar"})
    return pd.concat([dots, bars]).sort_index(kind="stable").reset_index(drop=True)


def test_tables_without_the_column_of_groups_are_compared_event_by_event():
    predicted = np.random.default_rng(7).normal(200, 50, 400)
    tables = {"one": study_table(predicted), "two": study_table(predicted + 5)}
    assert compare(tables, replace(STUDY, group="track")) == compare(tables, STUDY)


def test_the_text_gives_the_numbers_of_both_runs_and_marks_significant_ones():
    predicted = np.random.default_rng(6).normal(200, 50, 400)
    background = np.arange(400) >= 200
    tables = {"base": study_table(predicted), "far": study_table(predicted + 60 * background, error=-25)}
    text = compare(tables, STUDY, "counts").splitlines()
    assert text[0] == "dot of far against base on the same 400 events, by height"
    rows = {line[:22].strip(): line[22:].split() for line in text[2:-2]}
    assert list(rows)[::3] == ["bias 5-12 %", "bias 12-20 %", "AUC"]
    for column, table in enumerate(tables.values()):
        summary = summarise(table, STUDY)
        for name, row in zip(("5-12", "12-20"), summary.bins.itertuples(), strict=True):
            assert float(rows[f"bias {name} %"][column]) == pytest.approx(row.bias, abs=0.06)
            assert float(rows[f"spread {name} %"][column]) == pytest.approx(row.spread, abs=0.06)
            assert float(rows[f"IoU {name}"][column]) == pytest.approx(row.iou, abs=6e-4)
        assert float(rows["AUC"][column]) == pytest.approx(summary.auc.value, abs=6e-4)
        assert float(rows["in background, counts"][column]) == pytest.approx(
            summary.false_intensity.value, abs=0.6
        )
    assert rows["bias 5-12 %"][2:] == ["-25.0", "[-25.0,", "-25.0]", "*"]
    assert rows["in background, counts"][2:] == ["+60", "[+60,", "+60]", "*"]
    assert rows["IoU 5-12"][2:] == ["+0.000", "[+0.000,", "+0.000]"]
    assert rows["AUC"][-1] == "*"
    assert text[-2] == (
        "* The interval excludes 0. Of 8 differences that are zero, about 0 would be marked by chance."
    )
    assert "single seed" in text[-1]


def test_runs_of_several_seeds_need_no_warning():
    tables = [study_table(np.arange(40) + shift) for shift in range(3)]
    text = compare({"a": tables[:2], "b": tables[1:], "c": tables[::2]}, STUDY)
    assert "single seed" not in text
    assert text.count("on the same 40 events") == 2


def test_one_run_is_nothing_to_compare():
    with pytest.raises(ConfigError, match="expected two runs or more to compare, found a"):
        compare({"a": study_table(np.arange(4))}, STUDY)


def test_rows_of_several_runs_are_not_one_run():
    one, two = (identified(study_table(np.arange(40)), name * 12, "counts") for name in "ab")
    compare({"one": one, "two": two}, STUDY)
    compare({"seeds": [one, two], "baseline": study_table(np.arange(40))}, STUDY)
    mixed = pd.concat([one[:20], two[20:]])
    with pytest.raises(DataError, match=r"mixes rows of different configuration: 'aaaaaaaaaaaa', 'bbbbbbbbbbbb'"):
        compare({"one": one, "two": mixed}, STUDY)
