"""Detection, against scipy, scikit-learn, closed forms and loops written from the definitions."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from oasis.adapters import Study
from oasis.errors import DataError
from oasis.evaluation.detection import detection_groups, detection_scores, equivalent_false_positive_rate
from oasis.evaluation.summary import summarise
from oasis.stats.roc import auc, operating_points, rank_true_rate, rate, resample, roc

SCORES = arrays(np.float64, st.integers(1, 40), elements=st.integers(0, 9))  # with many ties


def normal_scores(signal, background, distance, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(distance, 1, signal), rng.normal(0, 1, background)


def clustered(groups, size, seed, within=0.5):
    """Events in groups that share most of what they are."""
    rng = np.random.default_rng(seed)
    shared = np.repeat(rng.normal(size=groups), size)
    return shared + within * rng.normal(size=groups * size), np.repeat(np.arange(groups), size)


def labels_of(signal, background):
    return np.repeat([1, 0], [len(signal), len(background)]), np.concatenate([signal, background])


# ROC and AUC


@given(SCORES, SCORES)
def test_roc_against_scikit_learn(signal, background):
    expected = roc_curve(*labels_of(signal, background), drop_intermediate=False)
    np.testing.assert_allclose(roc(signal, background), expected[:2], atol=1e-12)


@settings(max_examples=30)
@given(SCORES, SCORES)
def test_auc_against_scikit_learn(signal, background):
    found = auc(signal, background, resamples=20)
    assert found.value == pytest.approx(roc_auc_score(*labels_of(signal, background)))
    assert found.value == pytest.approx(np.trapezoid(*roc(signal, background)[::-1]))
    assert found.value == pytest.approx(1 - auc(background, signal, resamples=1).value)


@pytest.mark.parametrize("ties", [False, True])
def test_auc_interval_against_delong(ties):
    signal, background = normal_scores(300, 400, 1.0)
    if ties:
        signal, background = signal.round(), background.round()
    wins = (signal[:, None] > background) + 0.5 * (signal[:, None] == background)
    error = np.sqrt(wins.mean(axis=1).var(ddof=1) / 300 + wins.mean(axis=0).var(ddof=1) / 400)
    found = auc(signal, background, resamples=4000)
    assert found.value == pytest.approx(wins.mean())
    np.testing.assert_allclose(found[1:], wins.mean() + 1.96 * error * np.array([-1, 1]), atol=0.15 * error)


def test_auc_of_normal_scores_is_the_closed_form_and_its_interval_covers():
    expected = stats.norm.cdf(1.0 / np.sqrt(2))
    found = [auc(*normal_scores(80, 120, 1.0, trial), resamples=200, seed=trial) for trial in range(300)]
    assert np.mean([one.value for one in found]) == pytest.approx(expected, abs=5 * 0.033 / np.sqrt(300))
    assert 0.90 < np.mean([one.low <= expected <= one.high for one in found]) <= 0.99


def test_copies_of_events_add_nothing_to_the_auc():
    signal, background = normal_scores(100, 100, 1.0)
    groups = np.repeat(np.arange(100), 4)
    once = auc(signal, background, resamples=4000)
    copies = auc(np.repeat(signal, 4), np.repeat(background, 4), (groups, groups), resamples=4000)
    np.testing.assert_allclose(copies, once, atol=0.003)
    for sides in ((groups, None), (None, groups)):
        one_side = auc(np.repeat(signal, 4), np.repeat(background, 4), sides, resamples=1000)
        assert one_side.high - one_side.low < 0.9 * (once.high - once.low)


# Operating points


@settings(max_examples=40)
@given(SCORES, SCORES, st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_operating_points_against_scikit_learn(signal, background, rates):
    false, true, _ = roc_curve(*labels_of(signal, background), drop_intermediate=False)
    points = operating_points(signal, background, rates, resamples=10)
    for row in points.itertuples():
        assert row.true_rate == pytest.approx(true[false <= row.false_rate + 1e-9].max())
        assert np.mean(background > row.threshold) <= row.false_rate + 1e-9
        assert row.true_rate == np.mean(signal > row.threshold)
        assert row.threshold_low <= row.threshold <= row.threshold_high
        assert row.true_rate_low <= row.true_rate <= row.true_rate_high


def test_a_rate_that_is_a_little_less_in_binary_counts_as_written():
    background = np.arange(100.0)
    assert np.mean(background > operating_points(background, background, [0.29])["threshold"][0]) == 0.29


def test_resampled_curves_against_a_loop():
    signal, background = (scores.round(1) for scores in normal_scores(200, 300, 1.0))  # with ties
    groups = np.arange(200) // 7, np.arange(300) % 40  # of unequal sizes
    rates = np.array([0.02, 0.1, 0.5])
    rng = np.random.default_rng(3)
    drawn = zip(*(resample(codes, 500, rng) for codes in groups), strict=True)
    areas, true_rates = [], []
    for counts in drawn:
        one, other = (np.repeat(*pair) for pair in zip((signal, background), counts, strict=True))
        areas.append(roc_auc_score(*labels_of(one, other)))
        false, true, _ = roc_curve(*labels_of(one, other), drop_intermediate=False)
        true_rates.append([true[false <= wanted + 1e-12].max() for wanted in rates])
    points = operating_points(signal, background, rates, groups, resamples=500, seed=3)
    ends = ["true_rate_low", "true_rate_high"]
    at_threshold = np.array([rate(signal > one, groups[0])[1:] for one in points["threshold"]])
    low, high = np.quantile(true_rates, [0.025, 0.975], axis=0)
    assert (low < at_threshold[:, 0]).any()
    np.testing.assert_allclose(points[ends[0]], np.minimum(low, at_threshold[:, 0]))
    np.testing.assert_allclose(points[ends[1]], np.maximum(high, at_threshold[:, 1]))
    np.testing.assert_allclose(auc(signal, background, groups, 500, 3)[1:], np.quantile(areas, [0.025, 0.975]))


def test_pointwise_intervals_of_the_curve_cover():
    rates = np.array([0.05, 0.2, 0.6])
    thresholds = stats.norm.isf(rates)
    expected = {"threshold": thresholds, "true_rate": stats.norm.sf(thresholds - 2.0)}
    held = {name: np.zeros(3) for name in expected}
    for trial in range(300):
        points = operating_points(*normal_scores(100, 400, 2.0, trial), rates, resamples=200, seed=trial)
        for name, value in expected.items():
            held[name] += (points[f"{name}_low"] <= value) & (value <= points[f"{name}_high"])
    for inside in held.values():
        assert (inside / 300 > 0.92).all(), held


def test_threshold_interval_against_the_binomial_definition():
    background = np.random.default_rng(0).normal(size=500)
    row = operating_points(background, background, [0.02], resamples=1).iloc[0]
    ranks = np.arange(501)
    above, below = stats.binom.sf(ranks - 1, 500, 0.02), stats.binom.cdf(ranks, 500, 0.02)
    likely = ranks[(above > 0.025) & (below > 0.025)]  # how many events may lie above the true threshold
    falling = np.sort(background)[::-1]
    assert row["threshold_low"] == falling[likely[-1]]
    assert row["threshold_high"] == falling[likely[0] - 1]


def test_groups_widen_thresholds():
    background, groups = clustered(100, 20, 0)
    signal = background[:10]
    alone, grouped = (
        operating_points(signal, background, [0.02], (None, codes), resamples=1).iloc[0]
        for codes in (None, groups)
    )
    assert grouped["threshold_low"] < alone["threshold_low"] < alone["threshold_high"] < grouped["threshold_high"]
    assert alone["enough"]
    assert not grouped["enough"]


def test_too_few_background_events_are_stated():
    signal, background = normal_scores(50, 1000, 8.0)
    points = operating_points(signal, background, [1e-2, 1e-3])
    assert points["enough"].tolist() == [True, False]
    assert points["threshold_high"].map(np.isinf).tolist() == [False, True]
    perfect = points.iloc[0]
    assert perfect["true_rate"] == perfect["true_rate_high"] == 1
    assert perfect["true_rate_low"] == pytest.approx(0.025 ** (1 / 50))  # resamples alone would say 1


def test_ends_of_the_curve():
    points = operating_points(*normal_scores(50, 50, 1.0), [0.0, 1.0], resamples=50)
    assert points["true_rate"].iloc[1] == 1
    assert points["threshold"].iloc[1] == -np.inf
    assert points["threshold_high"].iloc[0] == np.inf
    assert points["enough"].tolist() == [False, True]


def test_without_events_of_one_kind_there_are_no_points():
    for scores in ((np.array([]), np.ones(3)), (np.ones(3), np.array([]))):
        points = operating_points(*scores)
        assert points.drop(columns=["false_rate", "enough"]).isna().all(axis=None)
        assert not points["enough"].any()
        assert np.isnan(auc(*scores)).all()


# Event tables


@dataclass(frozen=True)
class Grouped(Study):
    group: str | None = None
    background_group: str | None = None


STUDY = Grouped("ER", "energy", "energy (keV)", (3, 15), "kind == 'hybrid' and energy < 6", "kind == 'NR'")


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    hybrid = np.arange(2000) % 2 == 0
    energy = np.where(hybrid, rng.uniform(3, 15, 2000).round(1), np.nan).astype(np.float32)
    true = np.where(hybrid, 1900 * energy * rng.normal(1, 0.2, 2000), 0)
    electrons = pd.DataFrame(
        {
            "class": "ER",
            "kind": np.where(hybrid, "hybrid", "NR"),
            "energy": energy,
            "ER_track": np.where(hybrid, rng.integers(0, 200, 2000), np.nan),
            "NR_track": rng.integers(0, 100, 2000),
            "intensity_true": true,
            "intensity_predicted": np.where(hybrid, true * 0.9, rng.exponential(2000, 2000)),
        }
    )
    recoils = electrons.assign(**{"class": "NR", "intensity_predicted": 1e6, "intensity_true": 1e6})
    return pd.concat([electrons, recoils])  # indices repeat


def test_scores_are_those_of_the_study(table):
    signal, background = detection_scores(table, STUDY)
    electrons = table[table["class"] == "ER"]
    assert len(signal) == (electrons["energy"] < 6).sum()
    assert len(background) == 1000
    assert detection_scores(table, replace(STUDY, signal=None)) is None
    assert detection_groups(table, STUDY) == (None, None)
    assert detection_groups(table, replace(STUDY, signal=None, group="ER_track")) == (None, None)


def test_groups_are_those_of_the_study(table):
    study = replace(STUDY, group="ER_track", background_group="NR_track")
    signal, background = detection_groups(table, study)
    electrons = table[table["class"] == "ER"]
    np.testing.assert_array_equal(signal, electrons[electrons["energy"] < 6]["ER_track"])
    np.testing.assert_array_equal(background, electrons[electrons["kind"] == "NR"]["NR_track"])
    assert detection_groups(table.drop(columns="ER_track"), study)[0] is None


def test_equivalent_rate_is_that_of_the_notebook(table):
    found = equivalent_false_positive_rate(table, STUDY, 4.0)
    electrons = table[table["class"] == "ER"]
    energy = electrons["energy"].to_numpy(dtype=float).round(4)  # 3.6 in float32 is a little less
    near = (energy >= 3.6) & (energy <= 4.4)
    assert (energy == 3.6).any()
    assert equivalent_false_positive_rate(table.set_axis([0] * len(table)), STUDY, 4.0) == found
    threshold = electrons["intensity_true"].to_numpy()[near].mean()
    alone = electrons["intensity_predicted"].to_numpy()[electrons["kind"] == "NR"]
    assert found.events == near.sum()
    assert found.threshold.value == pytest.approx(threshold)
    assert found.rate == rate(alone > threshold)
    error = electrons["intensity_true"].to_numpy()[near].std() / np.sqrt(near.sum())
    width = found.threshold.high - found.threshold.low
    assert width == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_equivalent_rate_follows_groups(table):
    table = table[table["class"] == "ER"]
    copies = pd.concat([table.assign(ER_track=range(2000), NR_track=range(2000))] * 5)
    alone, grouped = (
        equivalent_false_positive_rate(copies, replace(STUDY, **names), 4.0)
        for names in ({}, {"group": "ER_track", "background_group": "NR_track"})
    )
    once = equivalent_false_positive_rate(table, STUDY, 4.0)
    np.testing.assert_allclose(grouped.rate, once.rate, rtol=0.01)
    np.testing.assert_allclose(grouped.threshold, once.threshold, rtol=0.01)
    assert alone.rate.high < once.rate.high


def test_background_events_with_a_quantity_are_no_signal(table):
    filled = table.assign(energy=4.0)
    found = equivalent_false_positive_rate(filled, STUDY, 4.0)
    assert found.events == 1000
    assert found.threshold.value > 1000


def test_a_value_that_no_signal_has_gives_no_rate(table):
    found = equivalent_false_positive_rate(table, STUDY, 100.0)
    assert found.events == 0
    assert np.isnan([found.threshold.value, found.rate.value]).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"background": None}, "the study of ER defines no background events"),
        ({"quantity": "enregy"}, "the event table has no column 'enregy'; did you mean 'energy'?"),
    ],
)
def test_questions_that_cannot_be_answered(table, changes, message):
    with pytest.raises(DataError) as caught:
        equivalent_false_positive_rate(table, replace(STUDY, **changes), 4.0)
    assert str(caught.value) == message


@settings(deadline=None, max_examples=30)
@given(SCORES, SCORES, st.floats(0, 1), st.integers(0, 3))
def test_the_true_rate_of_ranks_is_that_of_the_operating_point(signal, background, false_rate, ignored):
    expected = operating_points(signal, background, [false_rate], resamples=1)["true_rate"].item()
    labels, scores = labels_of(signal, background)
    padded = (np.pad(each.astype(float), (0, ignored), constant_values=np.nan) for each in (scores, labels))
    assert rank_true_rate(*padded, false_rate) == pytest.approx(expected)


def test_presence_is_the_score_where_it_was_predicted() -> None:
    rng = np.random.default_rng(0)
    signal = np.repeat([True, False], 200)
    presence = np.where(signal, 0.7, 0.3) + rng.normal(0, 0.1, 400)
    table = pd.DataFrame(
        {
            "class": "ER",
            "kind": np.where(signal, "hybrid", "NR"),
            "energy": np.where(signal, 5.0, np.nan),
            "intensity_true": np.where(signal, 9000.0, 0.0),
            "intensity_predicted": rng.permutation(400).astype(float),
            "delta_percent": np.where(signal, 0.0, np.nan),
            "iou": np.where(signal, 0.8, np.nan),
        }
    )
    study = Study("ER", "energy", "energy", (3, 15), signal="kind == 'hybrid'", background="kind == 'NR'")
    by_light, by_presence = summarise(table, study), summarise(table.assign(presence_predicted=presence), study)
    assert by_light.auc.value == pytest.approx(0.5, abs=0.1)
    assert by_presence.auc.value > 0.95
    assert by_presence.false_intensity == by_light.false_intensity  # a light, whatever the score
    assert "by intensity" in by_light.text("ADU")
    text = by_presence.text("ADU")
    assert "by presence" in text
    limit = by_presence.points.set_index("false_rate").loc[0.01, "threshold"]
    assert f"above {limit:.3f} [" in text
    partly = table.assign(presence_predicted=np.where(signal, presence, np.nan))
    assert summarise(partly, study).auc == by_light.auc
