"""Images of another size than in training: what is measured once, kept in the run and decided from."""

import contextlib
import json
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from oasis.cli import run as command
from oasis.errors import DataError
from oasis.evaluation.surroundings import SizeCheck
from oasis.inference.choice import Choice
from oasis.run import Run

SAME = SizeCheck(
    trained=(24, 20), larger=(48, 40), samples=7, inside={"dot": 0.02, "bar": -0.01}, outside={"dot": 0, "bar": 0}
)
OTHER = SAME.model_copy(update={"inside": {"dot": -0.9, "bar": 0.0}})


@pytest.fixture
def run(toy_run, tmp_path):
    """A trained run whose files may be changed."""
    shutil.copytree(toy_run, tmp_path / "copy")
    return Run(tmp_path / "copy", trust_code=True)


@pytest.fixture
def larger(tmp_path):
    path = tmp_path / "larger.npy"
    np.save(path, np.random.default_rng(0).exponential(20, (2, 48, 40)).astype(np.float32))
    return path


def keep(run, check):
    run._measured_size(run.separator(), run.dataset("test")).model_copy(
        update={"inside": check.inside, "outside": check.outside}
    ).save(run.files.size_check)


def test_evaluation_measures_once_and_keeps_it(run, monkeypatch, capsys):
    assert run.size_check is None
    found = run.evaluate(workers=0)
    assert found.size == run.size_check
    assert found.size.trained == (24, 20)
    assert found.size.larger == (48, 40)
    monkeypatch.setattr("oasis.run.evaluation.check_size", lambda *args, **options: pytest.fail("measured again"))
    assert run.evaluate(workers=0).size == found.size
    assert found.size.text() in run.facts().text()
    assert command(["evaluate", str(run.folder), "--workers", "0", "--trust-code"]) == 0
    assert found.size.text() in capsys.readouterr().out


def test_a_check_of_other_weights_does_not_count(run):
    keep(run, SAME)
    assert run.size_check is not None
    with run.files.weights.open("ab") as file:
        file.write(b"\0")
    assert run.size_check is None


def test_a_damaged_check_is_named(run):
    run.files.size_check.write_text(json.dumps({"format": "other"}))
    with pytest.raises(DataError, match=r"size_check\.json: not a size check of oasis-seg"):
        run.size_check  # noqa: B018


def test_images_that_would_have_other_maps_are_refused_with_the_way_out(run, larger, tmp_path, capsys):
    keep(run, OTHER)
    assert command(["predict", str(run.folder), str(larger), "--out", str(tmp_path / "m.h5"), "--trust-code"]) == 2
    line = capsys.readouterr().err.strip()
    assert "larger.npy: images of 48 x 40 pixels, but the model was trained on 24 x 20 pixels" in line
    assert "dot -90.0 % inside" in line
    assert "\n" not in line


@pytest.mark.parametrize("repeat", [True, False])
def test_a_warning_is_given_once_for_images_of_a_size_unless_each_is_shown_alone(run, caplog, repeat):
    choice = Choice(run.separator(), lambda: OTHER, "whole", repeat=repeat)
    for number, size in enumerate([(48, 40), (48, 40), (24, 20), (50, 40)]):
        choice.check_size(size, Path(f"{number}.npy"))
    named = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert named == (["0.npy", "1.npy", "3.npy"] if repeat else ["0.npy", "3.npy"])


def test_images_that_have_the_same_maps_are_separated_whole(run, larger, tmp_path, caplog):
    keep(run, SAME)
    found = run.predict(larger, tmp_path / "m.h5")
    assert found.images == 2
    assert not caplog.text


def test_a_measurement_is_one_of_the_gates_with_which_it_was_made(run, monkeypatch):
    assert run._known_size(run.separator()) is not None
    assert run.size_check is not None
    head = run.config.head.model_copy(update={"present_from": 0.5})
    monkeypatch.setattr(run, "config", run.config.model_copy(update={"head": head}))
    assert run.size_check is None


def test_a_run_that_was_not_measured_is_measured_then(run, larger, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with contextlib.suppress(DataError):  # the network may turn out to have other maps
        run.predict(larger, tmp_path / "m.h5")
    assert "was not measured yet: measuring" in caplog.text
    assert run.size_check is not None


def test_a_run_that_cannot_be_measured_warns(run, larger, tmp_path, caplog, monkeypatch):
    def lost(split):
        raise DataError("samples.h5: no such file")

    monkeypatch.setattr(run, "dataset", lost)
    assert run.predict(larger, tmp_path / "m.h5").images == 2
    assert "larger images do to the maps is not known: samples.h5: no such file" in caplog.text
    assert "trained on 24 x 20 pixels and sees the whole frame" in caplog.text


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nobody is kept from writing")
def test_a_run_that_cannot_be_written_to_is_measured_all_the_same(run, larger, tmp_path):
    run.folder.chmod(0o500)
    try:
        run._known_size(run.separator())
    finally:
        run.folder.chmod(0o700)
    assert run.size_check is None


def test_images_of_the_size_in_training_need_no_measurement(run, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "_known_size", lambda separator: pytest.fail("measured"))
    np.save(tmp_path / "a.npy", np.ones((24, 20), np.float32))
    assert run.predict(tmp_path / "a.npy", tmp_path / "m.h5").images == 1
