"""Resampling and rates, against scipy and loops written from the definitions."""

import numpy as np
import pytest
from scipy import stats

from oasis.stats import intervals
from oasis.stats.intervals import bootstrap, group_codes, rate, resample


def median(values):
    return np.nanmedian(values, axis=-1)


def clustered(groups, size, seed, within=0.5):
    """Events in groups that share most of what they are."""
    rng = np.random.default_rng(seed)
    shared = np.repeat(rng.normal(size=groups), size)
    return shared + within * rng.normal(size=groups * size), np.repeat(np.arange(groups), size)


def test_groups_are_numbered_and_events_without_one_stand_alone():
    assert group_codes(3).tolist() == [0, 1, 2]
    assert group_codes(5, ["b", None, "a", "b", None]).tolist() == [0, 2, 1, 0, 3]


def test_whole_groups_are_drawn():
    codes = group_codes(6, [3, 3, 1, np.nan, 1, 3])
    counts = resample(codes, 2000, np.random.default_rng(0))
    of_groups = counts[:, [0, 2, 3]]
    np.testing.assert_array_equal(counts, of_groups[:, codes])
    assert (of_groups.sum(axis=1) == 3).all()
    np.testing.assert_allclose(of_groups.mean(axis=0), 1, atol=5 * np.sqrt(2 / 3 / 2000))
    np.testing.assert_allclose(of_groups.var(axis=0), 2 / 3, atol=0.1)  # multinomial


def test_bootstrap_against_scipy():
    values = np.random.default_rng(0).normal(-10, 40, 400)
    ours = bootstrap(values, median, resamples=4000)
    theirs = stats.bootstrap((values,), np.median, n_resamples=4000, method="percentile", rng=1)
    assert ours.value == np.median(values)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=1.0)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=1.0)


def test_bootstrap_interval_covers():
    inside = 0
    for trial in range(200):
        values = np.random.default_rng(trial).normal(size=80)
        interval = bootstrap(values, median, resamples=300, seed=trial)
        inside += interval.low <= 0 <= interval.high
    assert 0.89 < inside / 200 <= 1.0


def test_grouped_bootstrap_against_a_loop():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 30, 200)
    values = rng.normal(size=200) + groups / 10
    members = [values[groups == name] for name in np.unique(groups)]
    drawn = [np.median(np.concatenate([members[one] for one in rng.integers(30, size=30)])) for _ in range(4000)]
    found = bootstrap(values, median, resamples=4000, groups=groups)
    np.testing.assert_allclose(found[1:], np.quantile(drawn, [0.025, 0.975]), atol=0.04)


def test_blocks_change_nothing(monkeypatch):
    values, groups = clustered(20, 3, 0)
    whole = bootstrap(values, median, groups=groups), bootstrap(values, median)
    monkeypatch.setattr(intervals, "BLOCK", 1000)
    assert whole == (bootstrap(values, median, groups=groups), bootstrap(values, median))


def test_events_that_repeat_need_groups():
    held = {True: 0, False: 0}
    for trial in range(200):
        values, groups = clustered(40, 5, trial)
        for grouped in held:
            interval = bootstrap(values, median, 300, trial, groups if grouped else None)
            held[grouped] += interval.low <= 0 <= interval.high
    assert held[False] / 200 < 0.75
    assert held[True] / 200 > 0.88


@pytest.mark.parametrize(("hits", "events"), [(0, 9), (9, 9), (1, 500), (6, 500), (250, 500)])
def test_rate_against_scipy(hits, events):
    found = rate(np.arange(events) < hits, groups=np.arange(events))
    expected = stats.binomtest(hits, events).proportion_ci(method="exact")
    np.testing.assert_allclose(found, [hits / events, *expected], rtol=1e-9)


def test_rate_of_groups_counts_effective_events():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, 300)
    hits = rng.random(300) < np.where(groups < 20, 0.7, 0.1)
    share = hits.mean()
    residuals = [(hits[groups == name] - share).sum() for name in np.unique(groups)]
    variance = 60 / 59 * np.square(residuals).sum() / 300**2
    effective = share * (1 - share) / variance * (stats.t.ppf(0.975, 299) / stats.t.ppf(0.975, 59)) ** 2
    expected = (
        stats.beta.ppf(0.025, share * effective, (1 - share) * effective + 1),
        stats.beta.ppf(0.975, share * effective + 1, (1 - share) * effective),
    )
    assert effective < 200
    np.testing.assert_allclose(rate(hits, groups)[1:], expected, rtol=1e-9)
    assert rate(np.zeros(300), groups) == rate(np.zeros(60))


def test_groups_that_balance_out_count_no_more_than_their_events():
    hits = np.tile([True, False], 50)
    assert rate(hits, np.arange(100) // 2) == rate(hits)


def test_rate_of_groups_covers():
    held = {True: 0, False: 0}
    for trial in range(400):
        values, groups = clustered(60, 5, trial, within=0.2)
        for grouped in held:
            interval = rate(values > 1, groups if grouped else None)
            held[grouped] += interval.low <= stats.norm.sf(1 / np.hypot(1, 0.2)) <= interval.high
    assert held[False] / 400 < 0.75
    assert held[True] / 400 > 0.92


def test_no_events_have_no_rate():
    assert np.isnan(rate([])).all()
