"""The comparison of networks and cuts, in small, as anyone would run it."""

import sys

import pytest

from oasis.errors import ConfigError
from oasis.run import Run

DATA = {"size": [48, 48], "events": {"train": 8, "val": 4, "test": 6}, "rate": 20}


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    def trained(name, **data):
        setup = Run.from_values(
            {
                "adapter": "ccd",
                "run": str(tmp_path_factory.mktemp("runs") / name),
                "data": {**DATA, **data},
                "model": {"base_channels": 4, "depth": 2},
                "training": {"epochs": 1, "batch_size": 4, "workers": 0},
            }
        )
        setup.train()
        return setup.folder

    return trained


@pytest.fixture(scope="module")
def merged(train):
    return train("one", merge_electrons=True)


@pytest.fixture
def compare(example):
    return example("ccd/compare")


def test_networks_and_cuts_stand_in_the_same_tables(compare, merged, monkeypatch, capsys, tmp_path):
    out = tmp_path / "figures"
    monkeypatch.setattr(
        sys, "argv", ["compare", str(merged), "--rates", "10", "40", "--images", "4", "--out", str(out)]
    )
    compare.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("==")] == ["== rate x10", "== rate x40"]
    for name in ("one", "components", "true maps"):
        assert len([line for line in lines if line.strip().startswith(f"{name}  ")]) == 2 * 8
    perfect = [line for line in lines if "true maps" in line and "any class" in line]
    assert all(float(line.split("any class")[1].split()[0]) > 0.6 for line in perfect)
    assert len([line for line in lines if "found boxes" in line]) == 2 * 2
    assert sorted(path.name for path in out.iterdir()) == ["image_x10.png", "image_x40.png", "rates.png"]


def test_the_diagnostic_sample_is_counted_without_cuts(compare, train, monkeypatch, capsys, tmp_path):
    folder = train("diagnostic", sample="diagnostic")
    monkeypatch.setattr(
        sys, "argv", ["compare", str(folder), "--rates", "20", "--images", "4", "--out", str(tmp_path / "figures")]
    )
    compare.main()
    printed = capsys.readouterr().out
    assert "front" in printed
    assert "components" not in printed


def test_runs_of_other_data_are_refused(compare, merged, train):
    other = train("other")
    with pytest.raises(ConfigError, match="other: its data differ from those of one"):
        compare.load_runs([merged, other])
    with pytest.raises(ConfigError, match="same name"):
        compare.load_runs([merged, merged])
