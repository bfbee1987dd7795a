"""The comparison of the paper's method with the quickstart's: its metrics on event tables, and the goals."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from oasis.adapters.migdal.frames import find_tracks, read_frames, recoil_components
from oasis.adapters.migdal.scene import ER, NR
from oasis.run import Run


@pytest.fixture
def compare(example):
    return example("migdal/compare")


def event_table(bias, false_light, seed):
    """Return electrons with a given bias, and recoils alone with about that light."""
    rng = np.random.default_rng(seed)
    energy, recoil = np.tile(np.arange(3.0, 15, 0.25), 8), np.tile(np.arange(10.0, 660, 10), 6)
    hybrid = np.arange(len(energy) + len(recoil)) < len(energy)
    true = np.where(hybrid, 2000 * np.append(energy, recoil), 0)
    delta = np.where(hybrid, bias + rng.normal(0, 0.1, len(true)), np.nan)
    scores = np.where(hybrid, true * (1 + delta / 100), rng.uniform(0.9, 1.1, len(true)) * false_light)
    return pd.DataFrame(
        {
            "id": np.arange(len(true)),
            "class": ER,
            "kind": np.where(hybrid, "hybrid", NR),
            "ER_energy": np.where(hybrid, np.append(energy, recoil), np.nan),
            "ER_outside": np.where(hybrid, 0.0, np.nan),
            "NR_energy": np.append(np.full(len(energy), 100.0), recoil),
            "ER_track": np.where(hybrid, np.arange(len(true)) // 2, np.nan),
            "NR_track": np.arange(len(true)) // 3,
            "intensity_true": true,
            "intensity_predicted": scores,
            "delta_percent": delta,
            "calibrated_percent": delta / 2,
            "iou": np.where(hybrid, 0.7 + bias / 1000, np.nan),
            "axis_angle_map": np.where(hybrid, 20 + bias / 10, np.nan),
            "far": 10.0,
        }
    )


@pytest.fixture
def tables(compare, monkeypatch):
    monkeypatch.setattr(compare, "RESAMPLES", 20)
    sides = {"unweighted": (-60, 10), "weighted": (-20, 9000), "ours": (2, 150)}
    return {name: [compare.prepared(event_table(*side, seed)) for seed in (0, 1)] for name, side in sides.items()}


def test_metrics_and_goals_are_those_of_the_events_they_name(compare, tables):
    text, found = compare.table_of(tables)
    values = {metric.label: (one, by) for metric, one, by in found}
    of_bias, by = values["bias %, 4-5 keV"]
    assert of_bias["ours"].value == pytest.approx(2, abs=0.1)
    assert by.low < by.value == pytest.approx(22, abs=0.2)
    assert values["AUC, 3-6 keV"][0]["ours"].value == 1
    assert values["AUC, 3-6 keV"][0]["weighted"].value < 0.9
    assert values["TPR at FPR 0.01"][0]["ours"].value == 1
    assert values["recoils alone with ER light, %"][0]["ours"].value == 100
    assert 8000 < values["the same, 60-120 keVee"][0]["weighted"].value < 10_000
    assert list(text["metric"]) == [metric.label for metric in compare.metrics()]
    assert text.set_index("metric").loc["bias %, 4-5 keV", "ours - weighted"].endswith("*")
    assert compare.goals(found).set_index("quantity")["met"].to_dict() == {
        "bias, 4-5 keV": True,
        "bias, worst bin": True,
        "calibrated bias %, 4-5 keV": True,
        "calibrated bias, worst bin": True,
        "spread %, 4-5 keV": False,
        "calibrated spread %, 4-5 keV": False,
        "IoU, 4-5 keV": False,
        "AUC, 3-6 keV": True,
        "TPR at FPR 0.001": True,
        "ER light in recoils alone, ADU": True,
        "angle, 4-5 keV, degrees": False,
    }
    assert [len(axes.containers) for axes in compare.comparison_figure(found).axes] == [3] * 4


def test_the_share_with_light_is_that_of_events(compare):
    resamples = np.array([[0, 1, np.nan, np.nan], [2, 0, 0, 3]])
    assert compare.share_lit(resamples).tolist() == [50, 50]


def test_an_energy_of_its_own_is_compared_where_there_is_one(compare, tables, monkeypatch):
    of_all = compare.metrics
    monkeypatch.setattr(compare, "metrics", lambda own: [one for one in of_all(own) if "energy" in one.label][:2])
    assert compare.table_of(tables)[1] == []
    known = [side.assign(energy_predicted=1.1 * side["ER_energy"]) for side in tables["ours"]]
    _, found = compare.table_of(tables | {"ours": [compare.prepared(each) for each in known]})
    assert [metric.label for metric, *_ in found] == ["energy bias %, 3-4 keV", "energy bias %, 4-5 keV"]
    for _, values, _ in found:
        assert values["ours"].value == pytest.approx(10)
        assert np.isnan(values["weighted"].value)


def test_a_cut_electron_is_in_no_bin(compare, tables):
    whole = tables["ours"][0]
    cut = whole.assign(ER_outside=np.where(whole["signal"] == 1, 0.5, np.nan))
    metric = next(one for one in compare.metrics() if one.label.startswith("bias"))
    assert np.isnan(metric.of([cut]).value)
    assert np.isfinite(metric.of([whole]).value)


def test_recoils_of_ones_own_are_frames_of_training_tracks_that_train(example, tmp_path, monkeypatch, capsys):
    own = example("migdal/own_recoils")
    small = ["data.events={train: 16, val: 4, test: 64}", "training.epochs=1", "model.base_channels=4"]
    arguments = [
        "--counts",
        "12",
        "--turned",
        "--out",
        str(tmp_path),
        *(part for key in small for part in ("--set", key)),
    ]
    monkeypatch.setattr("sys.argv", ["own_recoils", *arguments])
    own.main()
    frames = recoil_components(read_frames(tmp_path / "recoils_12.npy"))
    assert len(frames) >= 12
    printed = capsys.readouterr().out
    assert [line.split("  ")[0].strip() for line in printed.splitlines()[2:5]] == ["12", "12, turned", "simulated"]


def test_what_the_overlap_weight_does_is_drawn_for_typical_events(example, tmp_path):
    example("migdal/overlap_weight").main(
        [
            "--out",
            str(tmp_path),
            "--set",
            "training.epochs=1",
            "--set",
            "data.events={train: 16, val: 4, test: 100}",
        ]
    )
    weights = [Run(folder).loss().table.tolist() for folder in sorted(tmp_path.glob("weight_*"))]
    assert sorted(table[3] for table in weights) == [1, 3, 10, 30]
    assert all(table[:3] == [1, 1, 1] for table in weights)
    assert (tmp_path / "overlap_weight.png").stat().st_size > 20_000


class HalfElectron:
    """A separator that takes half of all light for the electron's."""

    def separate(self, image):
        return {ER: image / 2, NR: image / 2}


def test_light_of_whole_frames_is_told_apart_by_tracks(example):
    frames = np.full((2, 120, 120), 2.0, np.float32)
    rows, cols = np.indices(frames.shape[1:])
    for frame, row, peak in ((0, 40, 2000), (1, 40, 1000), (1, 90, 100)):
        frames[frame] += peak * np.exp(-((rows - row) ** 2 + (cols - 60) ** 2) / 32)
    found = find_tracks(frames)
    assert found["recoil"].tolist() == [True, True, False]
    run = SimpleNamespace(separator=HalfElectron)
    light, share, beside = example("migdal/real").in_frames(frames, found, run)
    assert light == pytest.approx(np.median(found["adu"][:2]) / 2, rel=0.01)  # boxes are larger than tracks
    assert share == 0.5
    assert beside == pytest.approx(96 * 96, rel=0.01)  # 1 ADU in each pixel, and the rims of tracks


def test_widths_are_compared_with_simulated_recoils_of_the_same_light(example, monkeypatch):
    real = example("migdal/real")
    monkeypatch.setattr(
        real, "Run", lambda _, changes: Run.from_config(Path(real.__file__).with_name("quickstart.yaml"), changes)
    )
    table = real.widths(pd.DataFrame({"adu": [1e5, 6e5], "minor": [3.0, 4.0]}), SimpleNamespace(folder=None), 80)
    assert table["width (px)"].tolist() == [3, 4]
    assert (table["recoils"] > 1).all()
    short, long = table["simulated (px)"]
    assert 3 < short < long < 4.5
    assert (table["5 %"] < table["simulated (px)"]).all()
    assert (table["simulated (px)"] < table["95 %"]).all()
