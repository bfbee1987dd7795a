"""Event tables and summaries, against numpy, pandas and texts written out."""

import weakref
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch

from oasis.adapters import Adapter, Study
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Sample
from oasis.errors import ConfigError, DataError, ModelError
from oasis.evaluation import batches
from oasis.evaluation.batches import predictions
from oasis.evaluation.event_table import (
    COLUMNS,
    SPREAD,
    as_predicted,
    evaluate,
    evaluate_maps,
    read_table,
    write_table,
)
from oasis.evaluation.gallery import gallery_indices
from oasis.evaluation.identity import IDENTITY, identity_of
from oasis.evaluation.summary import summarise
from oasis.evaluation.symmetry import symmetry_spread
from oasis.separator.prediction import Maps, Prediction
from oasis.stats import bins as bins_module
from oasis.stats.bins import binned
from oasis.stats.roc import ROC_RATES, operating_points


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    energy = rng.uniform(3, 15, 3000)
    delta = rng.normal(-10, 40, 3000)
    return pd.DataFrame({"energy": energy, "delta_percent": delta, "iou": rng.uniform(0, 1, 3000)})


def test_event_table_against_numpy(toy, toy_separator):
    dataset = toy.adapter.dataset("test")
    table = evaluate(toy_separator, dataset, toy.adapter, batch_size=3, workers=0)
    assert list(table.groupby("class").size()) == [7, 7]
    assert set(COLUMNS) <= set(table)
    for index in range(len(dataset)):
        sample = dataset[index]
        maps = toy_separator.separate(sample.image)
        for label, name in enumerate(toy.adapter.classes):
            row = table[(table["id"] == f"test/{index}") & (table["class"] == name)].iloc[0]
            true, predicted = sample.target[label], maps[name]
            present = [sample.target[0] > 1, sample.target[1] > 1]
            shared = present[0] & present[1]
            assert row["intensity_true"] == pytest.approx(true.sum(), rel=1e-5)
            assert row["intensity_predicted"] == pytest.approx(predicted.sum(), rel=2e-2)
            union = ((true > 1) | (predicted > 1)).sum()
            if union:
                assert row["iou"] == pytest.approx(((true > 1) & (predicted > 1)).sum() / union, abs=0.02)
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

    with pytest.raises(ModelError, match="has the classes"):
        evaluate(toy_separator, toy.adapter.dataset("test"), Other())


def test_maps_of_one_kind_are_matched_before_they_are_measured(toy, toy_separator, monkeypatch):
    class OfOneKind(type(toy.adapter)):
        interchangeable = (("dot", "bar"),)

    dataset = toy.adapter.dataset("test")
    swapped = {float(dataset[index].image.sum()): dataset[index].target[::-1].copy() for index in range(7)}
    monkeypatch.setattr(
        type(toy_separator),
        "forward",
        lambda self, image, *_: Prediction(
            Maps(torch.stack([torch.from_numpy(swapped[float(one.numpy().sum())]) for one in image]), None, False)
        ),
    )
    mistaken = evaluate(toy_separator, dataset, toy.adapter, workers=0)
    matched = evaluate(toy_separator, dataset, OfOneKind(), workers=0)
    np.testing.assert_allclose(matched["intensity_predicted"], matched["intensity_true"], rtol=1e-6)
    assert (mistaken["intensity_predicted"] - mistaken["intensity_true"]).abs().max() > 100


def test_a_method_that_is_no_separator_is_measured_in_the_same_way(toy, toy_separator):
    class OfOneKind(type(toy.adapter)):
        interchangeable = (("dot", "bar"),)

    dataset = toy.adapter.dataset("test")
    table = evaluate_maps(lambda batch: 0.8 * batch.target, dataset, toy.adapter, 3, workers=0)
    separated = evaluate(toy_separator, dataset, toy.adapter, workers=0)
    true = [name for name in separated if not name.endswith("predicted") and name not in ("delta_percent", "iou")]
    true.remove("configuration")
    assert identity_of(table) == ("", "counts")
    pd.testing.assert_frame_equal(table[true], separated[true])
    assert list(table) == list(separated)
    np.testing.assert_allclose(table["delta_percent"].dropna(), -20, rtol=1e-4)
    flipped = evaluate_maps(lambda batch: batch.target.flip(1), dataset, OfOneKind(), workers=0)
    np.testing.assert_allclose(flipped["intensity_predicted"], flipped["intensity_true"], rtol=1e-6)


class Frames(SampleDataset):
    """Two faint dots in the brightest of frames."""

    def __len__(self):
        return 6

    def sample(self, index, epoch):
        target = np.zeros((2, 1, 288, 512), np.float32)
        target[1] = np.random.default_rng(index).exponential(3e4, (1, 288, 512))
        target[0, 0, 100:102, 50:60] = 0.37
        valid = np.ones((1, 288, 512), bool)
        valid[:, :7] = False
        target[:, :, :7] = np.nan
        return Sample(np.nan_to_num(target).sum(0), target, valid, {"id": str(index), "kind": "both"})


class Plain(Adapter):
    classes = ("dot", "bar")

    def dataset(self, split):
        return Frames()


def test_sums_are_exact_and_invalid_pixels_do_not_count(toy_separator):
    table = evaluate(toy_separator, Frames(), Plain(), batch_size=4, workers=0)
    assert list(table) == ["id", "class", "kind", *list(COLUMNS)[2:], *IDENTITY]
    for index in range(6):
        target = Frames()[index].target[:, 0, 7:].astype(np.float64)
        rows = table[table["id"] == str(index)]
        np.testing.assert_allclose(rows["intensity_true"], target.sum(axis=(1, 2)), rtol=1e-6)
        np.testing.assert_allclose(rows["overlap_intensity_true"], target[:, target[0] > 0].sum(axis=1), rtol=1e-6)
        np.testing.assert_allclose(rows["overlap_fraction"], [1, 20 / (281 * 512)], rtol=1e-12)


def test_nothing_of_a_batch_is_kept_but_its_rows(toy_separator, monkeypatch):
    seen, alive = [], []
    predict = batches.predict_batch

    def watched(*arguments):
        alive.append(sum(maps() is not None for maps in seen))
        event = predict(*arguments)
        seen.append(weakref.ref(event.maps))
        return event

    monkeypatch.setattr(batches, "predict_batch", watched)
    evaluate(toy_separator, Frames(), Plain(), batch_size=1, workers=0)
    assert len(alive) == 6
    assert max(alive) <= 1


def test_large_images_are_separated_a_few_at_a_time(toy, toy_separator, monkeypatch):
    dataset = toy.adapter.dataset("test")
    whole = evaluate(toy_separator, dataset, toy.adapter, batch_size=4, workers=0)
    sizes, predict = [], batches.predict_batch
    monkeypatch.setattr(batches, "AT_ONCE", 1)
    monkeypatch.setattr(batches, "predict_batch", lambda *given: [sizes.append(len(given[1])), predict(*given)][1])
    parts = evaluate(toy_separator, dataset, toy.adapter, batch_size=4, workers=0)
    assert set(sizes) == {1}
    pd.testing.assert_frame_equal(parts, whole, rtol=1e-2)


def test_table_round_trip(tmp_path, toy, toy_separator):
    table = evaluate(toy_separator, toy.adapter.dataset("test"), toy.adapter, workers=0)
    write_table(table, tmp_path / "events.parquet")
    back = read_table(tmp_path / "events.parquet")
    pd.testing.assert_frame_equal(back, table)
    assert identity_of(pd.concat([back, back])) == (toy.fingerprint, "counts")


def test_tables_of_earlier_versions_keep_their_identity(tmp_path, toy, toy_separator):
    table = evaluate(toy_separator, toy.adapter.dataset("test"), toy.adapter, workers=0)
    old = table.drop(columns=list(IDENTITY))
    old.attrs = {"unit": "counts", "classes": ["dot", "bar"], "run": "runs/toy", "configuration": toy.fingerprint}
    old.to_parquet(tmp_path / "events.parquet", index=False)
    back = read_table(tmp_path / "events.parquet")
    pd.testing.assert_frame_equal(back, table)
    assert identity_of(back) == (toy.fingerprint, "counts")
    old.attrs = {}
    old.to_parquet(tmp_path / "events.parquet", index=False)
    assert identity_of(read_table(tmp_path / "events.parquet")) is None


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


def test_quantiles_of_resamples_leave_filling_out():
    rng = np.random.default_rng(0)
    values = np.where(rng.random((50, 9)) < 0.3, np.nan, rng.normal(size=(50, 9)))
    values[:, 0] = 1.0
    for share in (0.25, 0.5, 0.75, 1.0):
        np.testing.assert_allclose(bins_module._quantile(values, share), np.nanquantile(values, share, axis=1))


def test_bins_follow_groups(table):
    table = table[:400].assign(track=range(400))
    table.loc[::5, "iou"] = np.nan
    copies = pd.concat([table] * 4, ignore_index=True)
    edges = [3, 9, 15]
    once, alone, grouped = (
        binned(rows, "energy", edges, group) for rows, group in ((table, None), (copies, None), (copies, "track"))
    )
    for name in ("bias", "spread", "iou"):
        width = {
            which: (bins[f"{name}_high"] - bins[f"{name}_low"]).to_numpy()
            for which, bins in (("once", once), ("alone", alone), ("grouped", grouped))
        }
        np.testing.assert_allclose(width["grouped"], width["once"], rtol=0.25)
        assert (width["alone"] < 0.7 * width["once"]).all()
    pd.testing.assert_frame_equal(binned(copies, "energy", edges, "no such column"), alone)


@dataclass(frozen=True)
class Grouped(Study):
    group: str | None = None
    background_group: str | None = None
    equivalent: float | None = None


def test_summary_as_text():
    count = 1200
    signal = np.arange(count) < 200
    table = pd.DataFrame(
        {
            "class": "dot",
            "kind": np.where(signal, "both", "bar"),
            "height": np.where(signal, 10.0, np.nan),
            "track": np.where(signal, np.arange(count) % 100, np.nan),
            "intensity_true": np.where(signal, 500.0, 0),
            "intensity_predicted": np.where(signal, 505.0, np.arange(count) - 199),
            "delta_percent": np.where(signal, 1.0, np.nan),
            "iou": np.where(signal, 0.5, np.nan),
        }
    )
    study = Grouped("dot", "height", "height (counts)", (5, 20), "kind == 'both'", "kind == 'bar'")
    lines = summarise(table, study).text("counts").splitlines()
    assert lines[0] == "dot against height (counts), median with 95 % bootstrap interval"
    assert " ".join(lines[2].split()) == "5-20 200 +1.0 [+1.0, +1.0] 0.0 [0.0, 0.0] 0.50 [0.50, 0.50]"
    assert lines[3].startswith("ROC AUC (kind == 'both' against kind == 'bar', by intensity): 0.504 [0.4")
    assert lines[4].startswith("at 0.1 % false positives: 0.0% [0.0%, 1.8%] above 999 [")
    assert lines[4].endswith("inf] counts (too few background events: 10,000 are needed)")
    assert lines[5].startswith("at 1 % false positives: 0.0% [0.0%, 1.8%] above 990 [9")
    assert lines[5].endswith("] counts")
    assert lines[6].startswith("median dot in background events: 500 [4")
    assert len(lines) == 7
    edges = (5, 10 - 1 / 3, 20 - 1 / 3)
    head, *rows = summarise(table, Study("dot", "height", "height", edges)).text().splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["5-9.667", "9.667-19.67"]
    assert {len(head)} == {*map(len, rows)}
    full = Grouped(**vars(study) | {"group": "track", "background_group": "track", "equivalent": 10.0})
    lines = summarise(table, full).text("counts").splitlines()
    assert lines[0].endswith("interval over track")
    assert lines[4].startswith("at 0.1 % false positives: 0.0% [0.0%, 3.6%] above 999 [")  # 100 tracks
    assert lines[6].startswith("false positives as bright as dot of height 10: 50.00% [4")
    assert lines[6].endswith("%] above 500 [500, 500] counts")
    assert len(lines) == 8
    assert summarise(table.drop(columns="track"), full).group is None


def test_a_study_without_background_has_no_detection(table):
    summary = summarise(table.assign(**{"class": "dot"}), Study("dot", "energy", "energy", (3, 15)))
    assert summary[2:-1] == (None,) * 5
    assert len(summary.text().splitlines()) == 3


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
    pd.testing.assert_frame_equal(
        summary.points, operating_points(signal.to_numpy(), background.to_numpy(), ROC_RATES)
    )


def test_the_spread_over_symmetries_is_measured_where_it_is_asked_for(toy, toy_separator):
    dataset = toy.adapter.dataset("test")
    plain = evaluate(toy_separator, dataset, toy.adapter, workers=0)
    table = evaluate(toy_separator, dataset, toy.adapter, workers=0, spread=True)
    pd.testing.assert_frame_equal(as_predicted(plain), plain)
    assert set(table) - set(plain) == {SPREAD}
    image = torch.from_numpy(np.stack([dataset[index].image for index in range(7)]))
    expected = symmetry_spread(toy_separator, image).intensity_std.numpy().ravel()
    np.testing.assert_allclose(table[SPREAD], expected, rtol=1e-4)
    assert (table[SPREAD] > 0).all()

    class OfOneKind(type(toy.adapter)):
        interchangeable = (("dot", "bar"),)

    with pytest.raises(ConfigError, match="undefined for interchangeable classes"):
        evaluate(toy_separator, dataset, OfOneKind(), workers=0, spread=True)


def test_what_predict_would_give_stands_beside_what_the_truth_makes_valid(toy_separator):
    class Half(Plain):
        def visible(self, images):
            seen = super().visible(images)
            seen[:, :, 144:] = False
            return seen

    table = evaluate(toy_separator, Frames(), Half(), batch_size=4, workers=0, visible=True)
    seen = as_predicted(table)
    for index in range(6):
        maps = toy_separator.separate(Frames()[index].image)
        rows = table["id"] == str(index)
        valid, visible = (
            [maps[name][0, part].sum(dtype=float) for name in maps] for part in (slice(7, None), slice(144))
        )
        np.testing.assert_allclose(table[rows]["intensity_predicted"], valid, rtol=2e-2)
        np.testing.assert_allclose(seen[rows]["intensity_predicted"], visible, rtol=2e-2)
    assert seen["intensity_true"].equals(table["intensity_true"])


def test_a_study_of_classes_of_one_kind_counts_the_objects_of_all():
    rng = np.random.default_rng(0)
    error = rng.normal(0, 10, 60)
    table = pd.DataFrame(
        {
            "id": np.repeat(np.arange(20), 3),
            "class": ["a", "b", "other"] * 20,
            "size": np.tile([1.0, 3.0, 2.0], 20),
            "delta_percent": error,
            "iou": 0.5,
        }
    )
    study = Study("a", "size", "size", (0, 2, 4), group="id", interchangeable=("b",))
    bins = summarise(table, study).bins
    assert bins["events"].tolist() == [20, 20]
    assert bins["bias"].tolist() == pytest.approx([np.median(error[::3]), np.median(error[1::3])])
    assert study.what == "a to b"
    assert set(gallery_indices(table, study, 40)) == set(range(20))


def test_without_a_study_classes_are_summarised_by_their_overlap(toy, toy_separator):
    table = evaluate(toy_separator, toy.adapter.dataset("test"), toy.adapter, workers=0)
    found = summarise(table, None)
    rows = found.classes.set_index(["class", "overlap"])
    present = table[(table["class"] == "dot") & (table["intensity_true"] > 0)]
    shared = {
        "any": present,
        "none": present[present["overlap_fraction"] == 0],
        "below 0.5": present[present["overlap_fraction"].between(1e-9, 0.5, inclusive="left")],
        "0.5 and above": present[present["overlap_fraction"] >= 0.5],
    }
    for name, part in shared.items():
        row = rows.loc["dot", name]
        assert row["events"] == len(part)
        assert row["bias"] == pytest.approx(part["delta_percent"].median(), nan_ok=True)
        assert row["iou"] == pytest.approx(part["iou"].median(), nan_ok=True)
    lines = found.text("counts").splitlines()
    assert (
        lines[0] == "by class and by the overlapping fraction of its pixels, median with 95 % bootstrap interval"
    )
    assert [line.split()[0] for line in lines[2:]] == ["dot"] * 4 + ["bar"] * 4
    assert summarise(table[:0], None).text().count("\n") == 1


def test_a_study_that_does_not_fit_the_table_is_named_in_one_line(toy, toy_separator):
    table = evaluate(toy_separator, toy.adapter.dataset("test"), toy.adapter, workers=0)
    with pytest.raises(ConfigError, match=r"^study: the event table has no column 'heigth' \(quantity\); did you"):
        summarise(table, replace(toy.adapter.study, quantity="heigth"))


@pytest.mark.parametrize(("meta", "words"), [({}, "sample 0: no 'id'"), ({"id": "same"}, "samples 0 and 1 both")])
def test_samples_without_an_id_of_their_own_are_refused(toy, toy_separator, meta, words):
    dataset = toy.adapter.dataset("test")

    class Unnamed(type(dataset)):
        def sample(self, index, epoch):
            return super().sample(index, epoch).replace(meta=meta)

    dataset.__class__ = Unnamed
    with pytest.raises(DataError, match=words):
        evaluate(toy_separator, dataset, toy.adapter, workers=0)
