"""The comparison of runs, in small, as anyone would run it, and the figure of an event."""

import sys

import numpy as np
import pandas as pd
import pytest

from oasis.adapters.neutrino import NeutrinoAdapter, NeutrinoIonsAdapter
from oasis.adapters.neutrino.figures import event_figure
from oasis.errors import ConfigError
from oasis.evaluation.event_table import evaluate_maps
from oasis.run import Run


@pytest.fixture
def compare(example):
    return example("neutrino/compare")


@pytest.fixture
def train(tmp_path):
    def trained(name, **sections):
        setup = Run.from_values(
            {
                "adapter": "neutrino",
                "run": str(tmp_path / name),
                "data": {
                    "events": {"train": 32, "val": 8, "test": 40},
                    "refinement": {"steps": 3, "starts": 1, "restarts": 0, "add": False},
                },
                "model": {"base_channels": 4, "depth": 2},
                "training": {"epochs": 1, "workers": 0},
                **sections,
            }
        )
        setup.train()
        return setup.folder

    return trained


def test_maps_set_head_and_fit_stand_in_one_table(compare, train, monkeypatch, capsys, tmp_path):
    out = tmp_path / "out"
    arguments = [str(train("one")), str(train("softplus", head={"name": "softplus"}))]
    monkeypatch.setattr(sys, "argv", ["compare", *arguments, "--refine", "--events", "1", "--out", str(out)])
    compare.main()
    printed = capsys.readouterr().out
    for run in ("one", "softplus"):
        block = printed.split(f"{run}: all nuclei")[1].split(": bias of")[0]
        for source in ("sum of charge", "maps", "set head", "fit"):
            assert source in block
        assert "fits: stuck" in printed.split(f"{run}: how the fits went")[1]
        table = pd.read_parquet(out / f"{run}.parquet")
        muons = table[table["class"] == "muon"]
        assert (muons["deviance_refined"] <= muons["deviance_predicted"] + 1e-3).all()
        assert muons["nuclei_refined"].equals(muons["nuclei_predicted"])
    assert (out / "event_1.png").stat().st_size > 10_000


def test_statistics_are_those_of_numpy(compare):
    values = np.random.default_rng(0).normal(3, 2, 10_000)
    rows = pd.DataFrame({"id": np.arange(10_000)})
    found = compare.estimate(rows, pd.Series(values))
    assert found.low < 3 < found.high
    assert compare.estimate(rows, pd.Series(values), compare.half_width).value == pytest.approx(2, rel=0.03)
    values[::2] = np.nan
    assert compare.estimate(rows, pd.Series(values)).value == np.nanmedian(values)


def test_pulls_and_tails_are_those_of_known_distributions(compare):
    """Errors drawn with their standard errors have pulls of 1; half of the events have another number."""
    rng, count = np.random.default_rng(0), 4000
    shared = {
        "id": np.arange(count),
        "nuclei_true": 1.0,
        "nuclei_refined": 1.0 + np.arange(count) % 2,
        "class": "muon",
    }
    scale = np.where(shared["nuclei_refined"] == 1, 1.0, 3.0)
    pulls = {f"vertex_pull_{axis}_refined": rng.normal(0, scale) for axis in "xyz"}
    pulls |= {"ke_pull_refined": rng.normal(0, scale), "angle_pull_refined": rng.rayleigh(scale)}
    rows = compare.pulls(pd.DataFrame(shared | pulls))
    for one in rows.values():
        assert float(one[1].split()[0]) == pytest.approx(1, abs=0.06)
        assert float(one[0].split()[0]) > 1.3
    values = rng.exponential(1, 20_000)
    assert compare.tail(values) == pytest.approx(np.log(10), rel=0.03)


def test_the_same_run_twice_or_another_domain_is_refused(compare, train):
    one = train("one")
    with pytest.raises(ConfigError, match="same name"):
        compare.load_runs([one, one])


def test_an_event_is_drawn_with_what_is_true_and_what_is_found():
    adapter = NeutrinoAdapter()
    sample = next(one for one in adapter.dataset("val") if one.meta["nuclei"] == 2)
    exists = np.array([np.nan, 0.9, 0.2, 0.1, 0.1, 0.1])
    numbers = {"ke_predicted": np.full(6, 30.0), "presence_predicted": exists}
    numbers |= {f"d{axis}_predicted": np.full(6, 1.0) for axis in "xyz"}
    numbers |= {f"vertex_{axis}_predicted": np.zeros(6) for axis in "xyz"}
    figure = event_figure(sample, sample.target[:, 0], adapter.classes, numbers)
    titles = [axes.get_title() for axes in figure.axes]
    assert len(titles) == 2 * 4  # the image, the muon and two protons, true and predicted
    assert titles[1] == f"true muon: {sample.target[0].sum():,.0f} p.e."
    arrows = [sum(type(one).__name__ == "Line3DCollection" for one in axes.collections) for axes in figure.axes]
    assert arrows == [0, 1, 1, 0, 0, 1, 1, 0]  # three beside each other, the second proton below
    figure.canvas.draw()


def test_counting_is_that_of_the_rows_one_by_one(compare):
    adapter = NeutrinoAdapter({"events": {"val": 60}})
    glow = 0.3 * np.eye(6, dtype=np.float32)[4].reshape(6, 1, 1, 1, 1)  # makes a particle of proton_4
    table = evaluate_maps(lambda batch: batch.target * 0.9 + glow, adapter.dataset("val"), adapter, workers=0)
    right = right_above = 0
    too_many = []
    for _, rows in table[table["class"] != "muon"].groupby("id"):
        true = [ke for ke in rows["ke_true"] if ke > 0]
        found = [ke for ke, one in zip(rows["ke_charge"], rows["found"], strict=True) if one]
        right += len(true) == len(found)
        right_above += sum(ke > 10 for ke in true) == sum(ke > 10 for ke in found)
        if min(true) > 20:
            too_many.append(len(found) > len(true))
    shares = (right / 60, right_above / 60, np.mean(too_many))
    cells = compare.counting(table)["maps"]
    assert [cell.split(" ")[0] for cell in cells] == [f"{100 * share:.1f}%" for share in shares]
    assert 0 < np.mean(too_many) < 1


def test_the_number_above_a_limit_has_a_row_of_its_own(compare, train):
    objects = {"counting": "categorical", "count_above": 10, "features": "cells"}
    model = {"name": "tokens", "width": 16, "layers": 1, "heads": 2, "extent": 7}
    run = Run(train("above", model=model, objects=objects))
    table = run.measure(run.dataset("test"))
    nuclei = table[table["class"] != "muon"]
    assert set(nuclei["above_predicted"]) <= {0.0, 1.0}
    rng = np.random.default_rng(0)
    table.loc[nuclei.index, "above_predicted"] = rng.integers(0, 2, len(nuclei)).astype(float)
    right, too_many = [], []
    for _, rows in table[table["class"] != "muon"].groupby("id"):
        true = rows["ke_true"].dropna()
        right.append(rows["above_predicted"].sum() == (true > 10).sum())
        if true.min() > 20:
            too_many.append(rows["above_predicted"].sum() > len(true))
    rows = compare.counting(table)
    assert list(rows) == ["maps", "set head", "set head, number above"]
    cells = [cell.split(" ")[0] for cell in rows["set head, number above"]]
    assert cells == ["", f"{100 * np.mean(right):.1f}%", f"{100 * np.mean(too_many):.1f}%"]
    assert 0 < np.mean(too_many) < 1


def test_species_are_counted_each_by_itself(compare):
    adapter = NeutrinoIonsAdapter({"events": {"val": 40}})
    table = evaluate_maps(lambda batch: batch.target, adapter.dataset("val"), adapter, workers=0)
    nuclei = table.index[table["class"] != "muon"]
    table.loc[nuclei, "found"] = np.random.default_rng(0).integers(0, 2, len(nuclei)).astype(float)
    expected = {"proton": [], "deuteron": [], "triton": [], "all": []}
    for _, rows in table[table["class"] != "muon"].groupby("id"):
        right = []
        for name in ("proton", "deuteron", "triton"):
            own = rows[rows["class"].str.startswith(name)]
            right.append(own["found"].sum() == own["ke_true"].notna().sum())
            expected[name].append(right[-1])
        expected["all"].append(all(right))
    found = [cell.split(" ")[0] for cell in compare.species(table)["maps"]]
    assert found == [f"{100 * np.mean(one):.1f}%" for one in expected.values()]
    assert 0 < np.mean(expected["all"]) < np.mean(expected["deuteron"]) < 1
