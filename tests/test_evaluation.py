import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from oasis.errors import DataError, ModelError
from oasis.evaluation import (
    COLUMNS,
    auc,
    binned,
    bootstrap,
    evaluate,
    predictions,
    read_table,
    roc,
    summarise,
    write_table,
)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    energy = rng.uniform(3, 15, 3000)
    delta = rng.normal(-10, 40, 3000)
    return pd.DataFrame({"energy": energy, "delta_percent": delta, "iou": rng.uniform(0, 1, 3000)})


def test_event_table_against_numpy(toy, toy_separator):
    dataset = toy.adapter.dataset("test")
    table = evaluate(toy_separator, dataset, toy.adapter, {"bar": 1.0}, batch_size=3, workers=0)
    assert list(table.groupby("class").size()) == [7, 7]
    assert set(COLUMNS) <= set(table)
    for index in range(len(dataset)):
        sample = dataset[index]
        maps = toy_separator.separate(sample.image)
        for label, name in enumerate(toy.adapter.classes):
            row = table[(table["id"] == f"test/{index}") & (table["class"] == name)].iloc[0]
            true, predicted = sample.target[label], maps[name]
            present = [sample.target[0] > 0, sample.target[1] > 1]
            shared = present[0] & present[1]
            assert row["intensity_true"] == pytest.approx(true.sum(), rel=1e-5)
            assert row["intensity_predicted"] == pytest.approx(predicted.sum(), rel=2e-2)
            union = ((true >= 1) | (predicted >= 1)).sum()
            if union:
                assert row["iou"] == pytest.approx(((true >= 1) & (predicted >= 1)).sum() / union, abs=0.02)
            if true.sum():
                expected = (row["intensity_predicted"] / true.sum() - 1) * 100
                assert row["delta_percent"] == pytest.approx(expected, abs=0.01)
                assert row["overlap_fraction"] == pytest.approx((shared & (true > 0)).sum() / present[label].sum())
                assert row["overlap_intensity_true"] == pytest.approx(true[shared].sum(), abs=1e-3)
            else:
                assert np.isnan(row["delta_percent"])
    dots = table[table["class"] == "dot"]
    assert dots["peak_predicted"].notna().all()
    assert table[table["class"] == "bar"]["peak_predicted"].isna().all()


def test_every_sample_is_counted_once(toy, toy_separator):
    identities = [
        meta["id"]
        for event in predictions(toy_separator, toy.adapter.dataset("test"), batch_size=2, workers=0)
        for meta in event.batch.meta
    ]
    assert identities == [f"test/{index}" for index in range(7)]


def test_classes_of_separator_and_data_have_to_agree(toy, toy_separator):
    class Other(type(toy.adapter)):
        classes = ("dot", "bars")

    with pytest.raises(ModelError, match="knows the classes"):
        evaluate(toy_separator, toy.adapter.dataset("test"), Other())


def test_maps_of_one_kind_are_matched_before_they_are_measured(toy, toy_separator, monkeypatch):
    class OfOneKind(type(toy.adapter)):
        interchangeable = (("dot", "bar"),)

    dataset = toy.adapter.dataset("test")
    flipped = {float(dataset[index].image.sum()): dataset[index].target[::-1].copy() for index in range(7)}
    monkeypatch.setattr(
        toy_separator,
        "maps",
        lambda image, *_: torch.stack([torch.from_numpy(flipped[float(one.numpy().sum())]) for one in image]),
    )
    mistaken = evaluate(toy_separator, dataset, toy.adapter, workers=0)
    matched = evaluate(toy_separator, dataset, OfOneKind(), workers=0)
    np.testing.assert_allclose(matched["intensity_predicted"], matched["intensity_true"], rtol=1e-6)
    assert (mistaken["intensity_predicted"] - mistaken["intensity_true"]).abs().max() > 100


def test_table_round_trip(tmp_path, toy, toy_separator):
    table = evaluate(toy_separator, toy.adapter.dataset("test"), toy.adapter, workers=0)
    write_table(table, tmp_path / "events.parquet")
    back = read_table(tmp_path / "events.parquet")
    pd.testing.assert_frame_equal(back, table)
    assert back.attrs["unit"] == "counts"


def test_files_that_are_no_table(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "y.parquet")
    for name, message in (("z", "no such file"), ("x", "not a readable"), ("y", "no column 'id'")):
        with pytest.raises(DataError, match=message):
            read_table(tmp_path / f"{name}.parquet")


def test_binned_against_pandas(table):
    bins = binned(table, "energy", [3, 4, 5, 15])
    groups = table.groupby(pd.cut(table["energy"], [3, 4, 5, 15], right=False), observed=True)
    np.testing.assert_allclose(bins["bias"], groups["delta_percent"].median())
    quarters = groups["delta_percent"].quantile([0.25, 0.75]).unstack()
    np.testing.assert_allclose(bins["spread"], quarters[0.75] - quarters[0.25])
    np.testing.assert_allclose(bins["iou"], groups["iou"].median())
    assert (bins["bias_low"] < bins["bias"]).all()
    assert (bins["bias"] < bins["bias_high"]).all()
    assert bins["events"].sum() == len(table)


def test_an_empty_bin_is_nan(table):
    bins = binned(table, "energy", [20, 30])
    assert bins["events"].tolist() == [0]
    assert bins[["bias", "spread", "iou", "bias_low"]].isna().all(axis=None)


def test_bootstrap_against_scipy(table):
    values = table["delta_percent"].to_numpy()[:400]
    ours = bootstrap(values, lambda x: np.median(x, axis=-1), resamples=4000)
    theirs = stats.bootstrap((values,), np.median, n_resamples=4000, method="percentile", rng=1)
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=1.0)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=1.0)


def test_bootstrap_interval_covers():
    rng = np.random.default_rng(3)
    inside = 0
    for trial in range(200):
        interval = bootstrap(rng.normal(size=80), lambda x: np.median(x, axis=-1), resamples=300, seed=trial)
        inside += interval.low <= 0 <= interval.high
    assert 0.89 < inside / 200 <= 1.0


@pytest.mark.parametrize("ties", [False, True])
def test_auc_against_the_rank_sum(ties):
    rng = np.random.default_rng(1)
    signal, background = rng.normal(1, 1, 300), rng.normal(0, 1, 400)
    if ties:
        signal, background = signal.round(), background.round()
    expected = stats.mannwhitneyu(signal, background).statistic / (300 * 400)
    estimate = auc(signal, background)
    assert estimate.value == pytest.approx(expected)
    assert estimate.low < expected < estimate.high
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * 0.018, rel=0.35)  # Hanley and McNeil 1982
    assert np.trapezoid(*roc(signal, background)[::-1]) == pytest.approx(expected)


def test_summary_answers_the_study(toy, toy_separator):
    table = evaluate(toy_separator, toy.adapter.dataset("test"), toy.adapter, workers=0)
    summary = summarise(table, toy.adapter.study)
    dots = table[table["class"] == "dot"]
    assert summary.bins["events"].sum() == len(dots)
    signal = dots[dots["kind"] == "both"]["intensity_predicted"]
    background = dots[dots["kind"] == "bar"]["intensity_predicted"]
    wins = np.mean([[s > b for b in background] for s in signal])
    assert summary.auc.value == pytest.approx(wins)
    text = summary.text("counts")
    assert "5-12" in text
    assert "AUC" in text
