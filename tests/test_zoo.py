"""The small models of the package: each is a run of its domain, and a command shows it."""

import pytest

import oasis
from oasis.cli import run as command
from oasis.errors import ModelError
from oasis.run import Run
from oasis.zoo.folders import MODELS, copy_model, zoo_folder, zoo_names

LARGEST = 10**6  # bytes


def test_there_is_a_model_of_every_domain_that_is_simulated():
    assert zoo_names() == ["ccd", "cells", "cygno", "galaxy", "migdal", "neutrino", "waveform"]


@pytest.mark.parametrize("name", zoo_names())
def test_models_are_small_runs_with_a_card(name):
    run, card = Run(zoo_folder(name)), (MODELS / name / "README.md").read_text()
    assert run.config.adapter == name
    assert run.files.weights.stat().st_size <= LARGEST
    assert oasis.load(f"zoo:{name}").classes == run.adapter.classes
    assert f"python examples/zoo.py {name}" in card
    assert ", ".join(run.adapter.classes) in card
    assert len(run.log) == run.config.training.epochs


def test_unknown_models_are_refused_with_the_nearest_name(capsys):
    with pytest.raises(ModelError, match="zoo:migdle: no such model; did you mean 'migdal'"):
        oasis.load("zoo:migdle")
    assert command(["demo", "migdle"]) == 2
    assert "did you mean 'migdal'" in capsys.readouterr().err
    assert command(["demo"]) == 2
    assert "choose a domain: ccd, cells, cygno" in capsys.readouterr().err


def test_the_demonstration_is_a_run_with_a_table_and_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # also when it is repeated
        assert command(["demo", "waveform", "--events", "12"]) == 0
    printed = capsys.readouterr().out
    assert "signal against signal amplitude" in printed
    assert "oasis predict runs/demo-waveform" in printed
    run = Run("runs/demo-waveform")
    assert len(run.events("test")) == 24
    assert (run.files.figures("test") / "gallery.png").exists()


def test_a_folder_with_anything_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert command(["demo", "waveform", "--out", str(tmp_path)]) == 2
    assert "contains something else than the model waveform" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    copy_model("waveform", tmp_path / "copy")
    (tmp_path / "copy/config.yaml").write_text("mine")
    copy_model("waveform", tmp_path / "copy")
    assert (tmp_path / "copy/config.yaml").read_text() == "mine"
    assert command(["demo", "ccd", "--out", str(tmp_path / "copy")]) == 2
