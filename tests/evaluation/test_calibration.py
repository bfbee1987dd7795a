"""Calibrated intensities: coverage by stratum, crepes as oracle, files; about 7 s."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from oasis.errors import ConfigError, DataError
from oasis.evaluation.calibration import Calibration, CalibrationOptions, conformal_quantile, coverage_table
from oasis.evaluation.calibration.curves import classical_curve
from oasis.evaluation.identity import identified

OVERLAP = "overlap_fraction_predicted"
PLAIN = CalibrationOptions(correct=False, width_by=None, strata=None)
EDGES = (0.1, 0.5)
STRATA = [0, *EDGES, 1]


def events(count, seed=0):
    """Predictions that are 20 % low and noisier the larger the overlap; a fifth of the objects is absent."""
    rng = np.random.default_rng(seed)
    overlap = np.where(rng.random(count) < 0.5, 0, rng.uniform(0.1, 1, count))
    true = np.where(rng.random(count) < 0.2, 0, rng.lognormal(7, 0.7, count))
    predicted = 0.8 * true * (1 + (0.05 + 0.4 * overlap) * rng.normal(size=count))
    predicted += 100 * overlap * rng.exponential(size=count)
    return pd.DataFrame(
        {
            "class": "ER",
            "intensity_true": true,
            "intensity_predicted": np.maximum(predicted, 0),
            OVERLAP: overlap,
            "ER_energy": np.where(true > 0, true / 500 * rng.normal(1, 0.05, count), np.nan),
        }
    )


@pytest.fixture(scope="module")
def table():
    return events(1000)


def with_intervals(calibration, table):
    return table.join(calibration.intervals(table))


def coverages(options, splits=80, fitted=400, tested=400):
    """Coverage in every stratum, one row per independent pair of a calibration and a test set."""
    rows = []
    for seed in range(splits):
        calibration = Calibration.fit(events(fitted, 2 * seed), ["ER"], options)
        held_out = with_intervals(calibration, events(tested, 2 * seed + 1))
        rows.append(coverage_table(held_out, OVERLAP, STRATA)["coverage"])
    return np.array(rows)


@pytest.mark.parametrize("width_by", [None, "intensity_predicted"])
def test_coverage_holds_in_every_stratum(width_by):
    found = coverages(CalibrationOptions(width_by=width_by, edges=EDGES))
    error = found.std(axis=0) / np.sqrt(len(found))
    assert (found.mean(axis=0) > 0.9 - 4 * error).all()
    assert (found.mean(axis=0) < 0.9 + 1 / 40 + 4 * error).all()  # 1 / (n + 1) above at most, with 40 in a stratum


@pytest.mark.parametrize("options", [PLAIN, CalibrationOptions(strata=None)])
def test_without_strata_coverage_holds_on_the_whole_but_not_where_objects_overlap(options):
    found = coverages(options, splits=30)
    share = [0.5, 0.5 * 4 / 9, 0.5 * 5 / 9]
    assert found.mean(axis=0) @ share == pytest.approx(0.9, abs=0.015)
    assert found.mean(axis=0)[0] > 0.92
    assert found.mean(axis=0)[2] < 0.88


def test_coverage_holds_for_a_quantity_of_the_objects_that_are_there():
    options = CalibrationOptions(quantities={"ER": "ER_energy"})
    shares = []
    for seed in range(40):
        calibration = Calibration.fit(events(400, 2 * seed), ["ER"], options)
        held_out = with_intervals(calibration, events(400, 2 * seed + 1))
        shares.append(coverage_table(held_out, "ER_energy", [0, np.inf], truth="ER_energy")["coverage"][0])
    assert np.mean(shares) == pytest.approx(0.91, abs=4 * np.std(shares) / np.sqrt(40) + 0.01)
    present = held_out["intensity_true"] > 0
    assert held_out.loc[present, "ER_energy_calibrated"].corr(held_out.loc[present, "ER_energy"]) > 0.9


def halves(table, seed=0):
    order = np.random.default_rng(seed).permutation(len(table))
    return table.iloc[order[: len(table) // 2]], table.iloc[order[len(table) // 2 :]]


@pytest.mark.parametrize("coverage", [0.5, 0.683, 0.9, 0.95])
@pytest.mark.parametrize("width_by", [None, "intensity_predicted"])
@pytest.mark.parametrize("strata", [None, OVERLAP])
def test_intervals_against_crepes(table, coverage, width_by, strata):
    crepes = pytest.importorskip("crepes", reason="crepes needs scikit-learn, which it does not declare")
    options = CalibrationOptions(coverage=coverage, correct=False, width_by=width_by, strata=strata, edges=EDGES)
    calibration = Calibration.fit(table, ["ER"], options)
    fitted_on, test = (halves(table)[1] if width_by else table), events(500, 7)

    def sigmas_and_bins(rows):
        sigmas = calibration.classes["ER"]["intensity_true"].width(rows[width_by].to_numpy()) if width_by else None
        return sigmas, np.digitize(rows[strata], EDGES) if strata else None

    sigmas, bins = sigmas_and_bins(fitted_on)
    oracle = crepes.ConformalRegressor()
    oracle.fit(fitted_on["intensity_true"] - fitted_on["intensity_predicted"].to_numpy(), sigmas=sigmas, bins=bins)
    sigmas, bins = sigmas_and_bins(test)
    predicted = test["intensity_predicted"].to_numpy()
    expected = oracle.predict_int(predicted, sigmas=sigmas, bins=bins, confidence=coverage, y_min=0)
    found = calibration.intervals(test)[["intensity_low", "intensity_high"]]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@given(st.integers(1, 60), st.floats(0.01, 0.99))
def test_quantile_is_the_least_score_with_enough_scores_below(count, coverage):
    scores = np.random.default_rng(count).permutation(count) + 1.0
    quantile = conformal_quantile(scores, coverage)
    assert quantile + 1e-6 >= (count + 1) * coverage
    assert quantile - 1 < (count + 1) * coverage or np.isinf(quantile)
    assert np.isinf(quantile) == ((count + 1) * coverage > count + 1e-6)


@pytest.mark.parametrize(
    ("count", "coverage", "rank"), [(99, 0.07, 7), (19, 0.55, 11), (9, 0.9, 9), (5, 1e-12, 1)]
)
def test_rank_is_not_rounded_up_twice(count, coverage, rank):
    assert conformal_quantile(np.arange(1.0, count + 1), coverage) == rank


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(50, 300),
    st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)).map(sorted),
    st.sampled_from([True, False, "classical"]),
    st.sampled_from([None, "intensity_predicted", OVERLAP]),
    st.sampled_from([None, OVERLAP, "intensity_predicted"]),
)
def test_intervals_hold_their_estimate_and_grow_with_coverage(seed, count, coverage, correct, width_by, strata):
    table, test = events(count, seed), events(50, seed + 1)
    low, high = (
        Calibration.fit(
            table, ["ER"], CalibrationOptions(coverage=share, correct=correct, width_by=width_by, strata=strata)
        ).intervals(test)
        for share in coverage
    )
    for found in (low, high):
        assert (found["intensity_low"] >= 0).all()
        assert (found["intensity_low"] <= found["intensity_calibrated"]).all()
        assert (found["intensity_calibrated"] <= found["intensity_high"]).all()
    assert (low["intensity_low"] >= high["intensity_low"]).all()
    assert (low["intensity_high"] <= high["intensity_high"]).all()
    order = test["intensity_predicted"].argsort()
    assert (np.diff(low["intensity_calibrated"].iloc[order]) >= 0).all()


def test_correction_undoes_a_bias_on_events_it_was_not_fitted_to(table):
    rows = with_intervals(Calibration.fit(table, ["ER"]), events(2000, 9))
    bright = rows[rows["intensity_true"] > 500]
    assert (bright["intensity_predicted"] / bright["intensity_true"]).median() == pytest.approx(0.82, abs=0.02)
    assert (bright["intensity_calibrated"] / bright["intensity_true"]).median() == pytest.approx(1, abs=0.03)


def faint_ones_lost(count, seed, exponent):
    """Predictions that lose more of an object the fainter it is; their spectrum is a power law from 1 to 10."""
    rng = np.random.default_rng(seed)
    share, power = rng.random(count), 1 - exponent
    true = (1 + share * (10**power - 1)) ** (1 / power)
    predicted = true**2 / (true + 2) * rng.lognormal(0, 0.4, count)
    return pd.DataFrame({"class": "ER", "intensity_true": true, "intensity_predicted": predicted, OVERLAP: 0.0})


@pytest.mark.parametrize("exponent", [0, 3])
def test_classical_calibration_has_no_median_error_at_any_intensity_whatever_the_spectrum(exponent):
    fitted, other = faint_ones_lost(20_000, 1, 2), faint_ones_lost(40_000, 2, exponent)

    def errors(correct):
        rows = with_intervals(Calibration.fit(fitted, ["ER"], CalibrationOptions(correct=correct)), other)
        ratio = rows["intensity_calibrated"] / rows["intensity_true"] - 1
        return ratio.groupby(pd.cut(rows["intensity_true"], [1.2, 1.6, 2.5, 4, 6, 9])).median()

    assert (errors("classical").abs() < 0.07).all()
    assert errors(True).iloc[-1] < -0.13


def test_classical_calibration_inverts_the_response_and_joins_intensities_that_it_cannot_tell_apart(table):
    dead = table.assign(intensity_predicted=(table["intensity_true"] - 400).clip(lower=0) / 2)
    fit = Calibration.fit(dead, ["ER"], CalibrationOptions(correct="classical"))
    at, value = np.array(fit.classes["ER"]["intensity_true"].correction.knots).T
    assert at[0] == 0
    assert 0 < value[0] < 400
    np.testing.assert_allclose(value[1:], 400 + 2 * at[1:], rtol=1e-9)


def test_classical_calibration_of_objects_that_have_another_quantity_in_common():
    rng = np.random.default_rng(0)
    energy, gain = rng.uniform(3, 15, 20_000), rng.lognormal(0, 0.3, 20_000)
    true = energy * gain
    predicted = true * (1 - 2.5 / energy) * rng.lognormal(0, 0.2, len(true))  # what is lost depends on the energy
    curve = classical_curve(predicted, true, by=energy)
    low = energy < 4
    assert np.median(curve(predicted[low]) / true[low]) == pytest.approx(1, abs=0.08)
    assert np.median(classical_curve(predicted, true)(predicted[low]) / true[low]) < 0.85


def test_correction_goes_through_the_medians_of_groups(table):
    exact = table.assign(intensity_predicted=np.sqrt(table["intensity_true"] / 2))
    correction = Calibration.fit(exact, ["ER"]).classes["ER"]["intensity_true"].correction
    at, value = np.array(correction.knots).T
    np.testing.assert_allclose(value, 2 * at**2, rtol=0.02)
    assert at[0] == 0
    assert (np.diff(at) > 0).all()


def test_a_correction_learned_from_noise_does_not_fall(table):
    noise = table.assign(intensity_predicted=np.random.default_rng(0).random(len(table)) + 1)
    knots = Calibration.fit(noise, ["ER"]).classes["ER"]["intensity_true"].correction.knots
    assert len(knots) == 21
    assert (np.diff([value for _, value in knots]) >= 0).all()
    assert knots[-1][1] < 3 * noise["intensity_true"].median()


def test_a_quantity_of_zero_without_an_object_does_not_count(table):
    options = CalibrationOptions(quantities={"ER": "ER_energy"})
    expected = Calibration.fit(table, ["ER"], options)
    assert Calibration.fit(table.fillna({"ER_energy": 0}), ["ER"], options) == expected


def test_absent_events_need_not_count(table):
    present = table[table["intensity_true"] > 0]
    options = CalibrationOptions(absent=False)
    calibration = Calibration.fit(table, ["ER"], options)
    assert calibration == Calibration.fit(present, ["ER"], options)
    assert calibration.check(with_intervals(calibration, table))["events"].sum() == len(present)


def test_absent_objects_have_intervals_that_hold_zero(table):
    rows = with_intervals(Calibration.fit(table, ["ER"]), events(2000, 3))
    absent = rows[(rows["intensity_true"] == 0) & (rows[OVERLAP] == 0)]
    assert (absent["intensity_predicted"] == 0).all()
    assert (absent["intensity_low"] == 0).all()


def test_another_column_can_scale_the_width(table):
    rng = np.random.default_rng(0)
    noisy = table.assign(ensemble_std=rng.exponential(1, len(table)))
    noisy["intensity_true"] = np.maximum(
        noisy["intensity_true"] + noisy["ensemble_std"] * rng.normal(0, 50, 1000), 0
    )
    calibration = Calibration.fit(noisy, ["ER"], CalibrationOptions(width_by="ensemble_std", strata=None))
    two = noisy.iloc[[0, 0]].assign(ensemble_std=[0.1, 3.0])
    width = np.ptp(calibration.intervals(two)[["intensity_low", "intensity_high"]].to_numpy(), axis=1)
    assert width[1] > 1.2 * width[0]


def test_predictions_without_error_have_intervals_without_width(table):
    exact = table.assign(intensity_predicted=table["intensity_true"])
    found = Calibration.fit(exact, ["ER"], CalibrationOptions(correct=False)).intervals(exact)
    pd.testing.assert_series_equal(found["intensity_low"], found["intensity_high"], check_names=False)


def test_a_stratum_with_too_few_events_is_infinite_and_says_so(table, caplog):
    first, second = halves(table)
    sparse = pd.concat([first, second]).sort_index()
    sparse.loc[second.index[8:], OVERLAP] = 0.0
    sparse.loc[second.index[:8], OVERLAP] = 0.9
    calibration = Calibration.fit(sparse, ["ER"], CalibrationOptions(edges=EDGES))
    fitted = calibration.classes["ER"]["intensity_true"]
    assert fitted.events == (492, 0, 8, 0)
    test = sparse.iloc[[0, 0, 0, 0]].assign(**{OVERLAP: [0, 0.1, 0.5, np.nan]})  # on the edges
    with caplog.at_level(logging.WARNING):
        found = calibration.intervals(test)
    assert np.isinf(found["intensity_high"]).tolist() == [False, True, True, True]
    assert (found["intensity_low"].iloc[1:] == 0).all()
    assert caplog.messages == [
        "ER: 3 of 4 intervals are infinite: there were fewer than 9 events in their stratum"
    ]


@pytest.mark.parametrize(
    ("values", "edges"),
    [
        (np.linspace(0, 1, 500), (0.25, 0.5, 0.75)),
        (np.repeat([0, 0.2, 0.4, 1], [300, 100, 50, 50]), (0.2,)),  # three quarters 0 or 0.2, quantiles 0, 0, 0.2
        (np.repeat([0.5, 1], [100, 400]), (1.0,)),
        (np.full(500, 0.5), ()),
        (np.full(500, np.nan), ()),
    ],
)
@pytest.mark.parametrize("options", [{}, {"correct": False, "width_by": None}])
def test_strata_of_equal_size(table, values, edges, options):
    rows = table[:500].assign(**{OVERLAP: values})
    fitted = Calibration.fit(rows, ["ER"], CalibrationOptions(edges=4, **options)).classes["ER"]["intensity_true"]
    assert fitted.edges == pytest.approx(edges, abs=0.03)
    assert sum(fitted.events) == 250
    assert all(fitted.events[:-1]) or np.isnan(values).all()
    assert fitted.events[-1] == np.isnan(values).sum() / 2


def test_each_class_has_its_own_calibration_and_its_own_quantities(table):
    both = pd.concat([table, table.assign(**{"class": "NR", "intensity_predicted": table["intensity_true"] * 2})])
    both = both.sample(frac=1, random_state=1)
    options = CalibrationOptions(strata=None, quantities={"ER": "ER_energy"})
    found = Calibration.fit(both, ["ER", "NR"], options).intervals(both)
    alone = Calibration.fit(both[both["class"] == "NR"], ["NR"], CalibrationOptions(strata=None))
    is_er = both["class"].to_numpy() == "ER"
    assert list(found) == [
        f"{name}_{end}" for name in ("intensity", "ER_energy") for end in ("calibrated", "low", "high")
    ]
    assert found[is_er].notna().all(axis=None)
    assert found[~is_er].filter(like="ER_energy").isna().all(axis=None)
    pd.testing.assert_frame_equal(found[~is_er].iloc[:, :3], alone.intervals(both)[~is_er])
    assert alone.intervals(both)[is_er].isna().all(axis=None)


def test_no_truth_is_needed_to_predict(table):
    calibration = Calibration.fit(table, ["ER"], CalibrationOptions(quantities={"ER": "ER_energy"}))
    known = table[["class", "intensity_predicted", OVERLAP]]
    pd.testing.assert_frame_equal(calibration.intervals(known), calibration.intervals(table))
    assert calibration.intervals(known[:0]).empty


def test_coverage_table_against_counting(table):
    rows = with_intervals(Calibration.fit(table, ["ER"], PLAIN), table)
    rows.loc[:9, OVERLAP] = np.nan
    found = coverage_table(rows, OVERLAP, [0, 0.1, 0.5, 1, 2])
    held = rows["intensity_true"].between(rows["intensity_low"], rows["intensity_high"])
    width = rows["intensity_high"] - rows["intensity_low"]
    groups = [rows[OVERLAP] < 0.1, rows[OVERLAP].between(0.1, 0.5), rows[OVERLAP] > 0.5, rows[OVERLAP].isna()]
    for row, chosen in zip(found.drop(index=3).itertuples(), groups, strict=True):
        hits, count = held[chosen].sum(), chosen.sum()
        assert row.events == count
        assert row.coverage == hits / count
        assert row.coverage_low == pytest.approx(stats.beta.ppf(0.025, hits, count - hits + 1), abs=1e-9)
        assert row.coverage_high == pytest.approx(
            stats.beta.ppf(0.975, hits + 1, count - hits) if hits < count else 1, abs=1e-9
        )
        assert row.width == width[chosen].median()
    assert found.loc[3, "events"] == 0
    assert np.isnan(found.loc[3, "coverage"])


def test_check_has_the_coverage_of_every_class_quantity_and_stratum(table):
    both = pd.concat([table, table.assign(**{"class": "NR"})], ignore_index=True)
    options = CalibrationOptions(quantities={"ER": "ER_energy"}, edges=EDGES)
    calibration = Calibration.fit(both, ["ER", "NR"], options)
    rows = with_intervals(calibration, both)
    found = calibration.check(rows)
    assert found["class"].tolist() == ["ER"] * 6 + ["NR"] * 3
    assert found["quantity"].tolist() == ["intensity_true"] * 3 + ["ER_energy"] * 3 + ["intensity_true"] * 3
    expected = coverage_table(rows[rows["class"] == "ER"], OVERLAP, [-np.inf, 0.1, 0.5, np.inf], "ER_energy")
    pd.testing.assert_frame_equal(found.iloc[3:6, 2:].reset_index(drop=True), expected)
    plain = Calibration.fit(both, ["NR"], PLAIN)
    assert plain.check(with_intervals(plain, both))["events"].tolist() == [1000]


def test_round_trip(tmp_path, table):
    table = identified(table, "0123456789ab", "ADU")
    calibration = Calibration.fit(table, ["ER"], CalibrationOptions(edges=(0.1, 0.5, 0.9999)))
    calibration.save(tmp_path / "new" / "calibration.json")
    back = Calibration.load(tmp_path / "new" / "calibration.json")
    assert back == calibration
    assert back.classes["ER"]["intensity_true"].quantiles[-1] is None
    assert (back.unit, back.configuration) == ("ADU", "0123456789ab")
    pd.testing.assert_frame_equal(back.intervals(table), calibration.intervals(table))


def test_rows_of_another_run_are_refused_whatever_was_done_to_them(table):
    ours, other = identified(table, "0123456789ab", "ADU"), identified(table, "ba9876543210", "ADU")
    calibration = Calibration.fit(ours, ["ER"])
    assert len(calibration.intervals(pd.concat([ours[:9], ours[30:]]))) == 979
    assert calibration.intervals(ours[:0]).empty
    of_another = (
        "^the calibration was fitted to the configuration 0123456789ab, the event table has ba9876543210: "
    )
    for rows in (other, pd.concat([other, other]), other.merge(other), other.reset_index()):
        with pytest.raises(DataError, match=of_another):
            calibration.intervals(rows)
    with pytest.raises(DataError, match=r"mixes rows of different configuration: '0123456789ab', 'ba98"):
        calibration.intervals(pd.concat([ours, other]))
    with pytest.raises(DataError, match=r"mixes rows of different configuration: '0123456789ab', none: use"):
        calibration.intervals(pd.concat([ours, table]))
    with pytest.raises(
        DataError, match="the event table does not say which run it is from: keep its columns conf"
    ):
        calibration.intervals(table)
    with pytest.raises(DataError, match="the event table has none: "):
        calibration.intervals(identified(table, "", "ADU"))
    with pytest.raises(DataError, match="mixes rows of different intensity_unit: 'ADU', 'keV'"):
        Calibration.fit(pd.concat([ours, identified(table, "0123456789ab", "keV")]), ["ER"])


def test_files_and_settings_of_earlier_versions(tmp_path, table):
    calibration = Calibration.fit(table, ["ER"])
    calibration.save(tmp_path / "calibration.json")
    text = (tmp_path / "calibration.json").read_text()
    old = text.replace('"width_by"', '"spread"').replace('"width"', '"spread"')
    assert old.count('"spread"') == 2
    (tmp_path / "calibration.json").write_text(old)
    assert Calibration.load(tmp_path / "calibration.json") == calibration
    assert CalibrationOptions.parse({"spread": None}) == CalibrationOptions(width_by=None)
    with pytest.raises(ConfigError, match=r"spread is an older name of width_by: leave it out"):
        CalibrationOptions.parse({"spread": None, "width_by": None})


def broken(change):
    def write(path):
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    return write


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_text(path.read_text()[:300]), "not readable JSON (truncated?): "),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not a text file in UTF-8"),
        (lambda path: path.write_text("[1]"), "expected a JSON object, found list"),
        (broken(lambda v: v.update(format="x")), "not a calibration of oasis-seg (expected the format"),
        (broken(lambda v: v.update(clases={})), "clases: unknown key; did you mean 'classes'?"),
        (broken(lambda v: v["options"].update(coverage=1.5)), "options.coverage: Input should be less than 1"),
        (
            broken(lambda v: v["classes"]["ER"]["intensity_true"].update(quantiles=[1.0])),
            "classes.ER.intensity_true.quantiles: expected one value for each stratum",
        ),
        (
            broken(lambda v: v["classes"]["ER"]["intensity_true"]["width"].update(knots=[])),
            "classes.ER.intensity_true.width.knots: ",
        ),
    ],
)
def test_broken_files(tmp_path, table, damage, message):
    path = tmp_path / "calibration.json"
    Calibration.fit(table, ["ER"]).save(path)
    damage(path)
    with pytest.raises((DataError, ConfigError)) as error:
        Calibration.load(path)
    text = str(error.value)
    assert message in text
    assert str(path) in text
    assert "\n" not in text


def test_tables_that_do_not_fit(table):
    def fit(table=table, classes=("ER",), **options):
        return Calibration.fit(table, classes, CalibrationOptions(**options))

    with pytest.raises(DataError, match=r"^the event table has no class 'muon'; known: ER$"):
        fit(classes=["muon"])
    with pytest.raises(DataError, match=r"^the event table has no column 'class'; known: ER_energy, intensity_"):
        fit(table.drop(columns="class"))
    with pytest.raises(
        DataError, match=r"no column 'overlap_fraction'; did you mean 'overlap_fraction_predicted'\?$"
    ):
        fit(strata="overlap_fraction")
    with pytest.raises(DataError, match=r"^quantities: 'NR' is not calibrated; known: ER$"):
        fit(quantities={"NR": "NR_energy"})
    with pytest.raises(
        DataError,
        match=r"^ER: 49 events with intensity_true are too few to calibrate: give 50 \(data.events, files\)$",
    ):
        fit(table[:49])
    with pytest.raises(DataError, match=r"^intensity_predicted: \d+ of \d+ values are not finite$"):
        fit(table.assign(intensity_predicted=np.nan))
    with pytest.raises(DataError, match="no column 'overlap_fraction_predicted'"):
        fit().intervals(table.drop(columns=OVERLAP))
    with pytest.raises(ConfigError, match=r"^edges: edges must increase \(found \[0.5, 0.1\]\)$"):
        CalibrationOptions.parse({"edges": [0.5, 0.1]})
    with pytest.raises(ConfigError, match=r"^edges: expected at least 1 stratum \(found 0\)$"):
        CalibrationOptions.parse({"edges": 0})
