"""The comparison of networks and triggers, in small, as anyone would run it."""

import sys

import pytest

from oasis.errors import ConfigError
from oasis.run import Run

DATA = {"samples": 128, "events": {"train": 60, "val": 8, "test": 80}, "signal": {"amplitude": [1, 20]}}


@pytest.fixture
def compare(example):
    return example("waveform/compare")


@pytest.fixture
def train(tmp_path):
    def trained(name, **data):
        setup = Run.from_values(
            {
                "adapter": "waveform",
                "run": str(tmp_path / name),
                "data": {**DATA, **data},
                "model": {"base_channels": 4, "depth": 3},
                "training": {"epochs": 1, "workers": 0},
            }
        )
        setup.train()
        return setup.folder

    return trained


def test_networks_and_triggers_stand_in_one_table(compare, train, monkeypatch, capsys, tmp_path):
    out = tmp_path / "figures"
    monkeypatch.setattr(sys, "argv", ["compare", str(train("one")), "--false-rate", "0.1", "--out", str(out)])
    compare.main()
    printed = capsys.readouterr().out
    rows = [line.split("  ")[0].strip() or line.strip() for line in printed.splitlines()]
    for name in ("one", "threshold", "matched filter", "measured filter"):
        lines = [line for line in printed.splitlines() if line.strip().startswith(f"{name} ")]
        assert len(lines) >= 1, rows
        assert lines[0].count("%") == 8
    assert sorted(path.name for path in out.iterdir()) == ["efficiency.png", "waveforms.png"]


def test_runs_of_other_data_are_refused(compare, train):
    one, other = train("one"), train("other", sampling_ns=2.0)
    with pytest.raises(ConfigError, match="other: its data differ from those of one"):
        compare.load_runs([one, other], [])
    with pytest.raises(ConfigError, match="same name"):
        compare.load_runs([one, one], [])
