"""The comparison of a network with the chain and the filter, in small, as anyone would run it."""

import sys

import h5py
import numpy as np
import pandas as pd
import pytest

from oasis.adapters.cygno.figures import curve_figure
from oasis.errors import ConfigError
from oasis.run import Run

DATA = {"size": [64, 64], "events": {"train": 16, "val": 6, "test": 6}, "energies": [0.5, 2.0], "recoils": [1, 2]}


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    def trained(name, **data):
        folder = tmp_path_factory.mktemp("cygno") / name
        values = {
            "adapter": "cygno",
            "run": str(folder),
            "data": {**DATA, **data},
            "model": {"base_channels": 4, "depth": 2},
            "training": {"epochs": 1, "workers": 0},
        }
        Run.from_values(values).train()
        return folder

    return trained


@pytest.fixture(scope="module")
def run(train):
    return train("one")


def test_methods_stand_in_one_table(example, run, monkeypatch, capsys, tmp_path):
    compare = example("cygno/compare")
    words = "--events 6 --empty 1 --side 128 --cut -20 --maps"
    arguments = [str(run), *words.split(), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["compare", *arguments])
    compare.main()
    printed = capsys.readouterr().out
    for name in ("one", "one, map", "matched filter", "chain 0.9 sigma", "chain 0.2 sigma"):
        lines = [line for line in printed.splitlines() if line.strip().startswith(f"{name} ")]
        assert len(lines) == (7 if name.startswith("chain") else 8)
        assert lines[0].count("[") == 2  # an efficiency with its interval for both energies
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "efficiency.png", "pictures.png"]


def test_a_run_is_evaluated_with_the_columns_of_the_selection(run):
    table = Run(run).evaluate("test", workers=0).table
    assert {"found", "fakes", "selected", "precision", "recall", "integral_ratio"} <= set(table)
    figures = {path.stem for path in run.rglob("*.png")}
    assert "selection" in figures


def test_pictures_of_a_run_are_predicted_with_their_pedestal(run, tmp_path):
    uproot = pytest.importorskip("uproot")
    rng = np.random.default_rng(0)
    frames = rng.normal(100, 2, (30, 80, 96)).round()
    np.save(tmp_path / "pedestal.npy", frames)
    with uproot.recreate(tmp_path / "histograms_Run00001.root") as file:
        for number in range(2):
            file[f"pic_run1_ev{number}"] = (frames[number].T, np.arange(97.0), np.arange(81.0))
    setup = Run(run, [f"data.pedestal={tmp_path / 'pedestal.npy'}"])
    setup.predict(tmp_path / "histograms_Run00001.root", out=tmp_path / "maps.h5")
    with h5py.File(tmp_path / "maps.h5") as file:
        assert file["maps/recoil"].shape[-2:] == (80, 96)
        assert len(file["maps/recoil"]) == 2


def test_runs_of_other_images_are_refused(example, run, train):
    compare = example("cygno/compare")
    other = train("other", energies=[1.0])
    with pytest.raises(ConfigError, match="other: its data differ from those of one"):
        compare.load_runs([run, other], [])
    with pytest.raises(ConfigError, match="same name"):
        compare.load_runs([run, run], [])


def test_no_two_curves_of_a_figure_look_the_same():
    curves = {str(number): pd.DataFrame({"recall": [0, 1], "precision": [1, 0]}) for number in range(14)}
    lines = curve_figure(curves).axes[0].lines
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 14
