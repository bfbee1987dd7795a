"""Resuming: the last whole epoch is kept, and a checkpoint that cannot be used is one line. About 60 s."""

import csv
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from oasis.errors import DataError, ModelError, OasisError
from oasis.run import Run

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
WORSE = {"epochs": 5, "learning_rate": 0.5}  # the best epoch is the first


def checkpoint(run, name="last.ckpt"):
    return torch.load(run.folder / "checkpoints" / name, weights_only=True)


def log(run):
    with run.files.log.open() as file:
        return [{**row, "seconds": 0} for row in csv.DictReader(file)]


def tensors(value):
    """Return all tensors in a nested value."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return [tensor for part in parts for tensor in tensors(part)]


@pytest.fixture
def begun(toy_values):
    """A run of one epoch."""
    run = Run.from_values({**toy_values, "training": {"epochs": 1}})
    run.train()
    return run


def test_a_run_that_is_killed_while_nothing_improves_loses_no_whole_epoch(tmp_path, toy_values, processes):
    whole = Run.from_values({**toy_values, "run": str(tmp_path / "whole"), "training": WORSE})
    whole.train()
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**toy_values, "run": str(tmp_path / "killed"), "training": WORSE}))
    process = processes.train_and_kill(path, epoch=3)
    assert process.returncode == -signal.SIGKILL, process.stderr
    killed = Run(tmp_path / "killed", trust_code=True)
    assert checkpoint(killed, "best.ckpt")["epoch"] == 0
    assert checkpoint(killed)["epoch"] == 2
    killed.train(resume=True)
    assert log(killed) == log(whole)
    ours, theirs = (
        tensors([checkpoint(run)[key] for key in ("state_dict", "optimizer_states")]) for run in (killed, whole)
    )
    assert len(ours) == len(theirs) > 10
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_the_last_epoch_is_kept_when_training_ends_undisturbed(toy_values):
    run = Run.from_values({**toy_values, "training": WORSE})
    run.train()
    assert checkpoint(run, "best.ckpt")["epoch"] == 0
    assert checkpoint(run)["epoch"] == 4


def test_a_run_that_stopped_early_goes_on_only_with_more_patience(toy_values):
    training = {**WORSE, "patience": 2}
    Run.from_values({**toy_values, "training": training}).train()
    run = Run(toy_values["run"], trust_code=True)
    assert len(log(run)) == 3
    run.train(resume=True)
    assert len(log(run)) == 3
    Run(run.folder, ["training.patience=9"], trust_code=True).train(resume=True)
    assert len(log(run)) == 5


class Evil:
    """What runs a command where a pickle of it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def without(name):
    def change(path, _tmp):
        state = torch.load(path, weights_only=True)
        del state[name]
        torch.save(state, path)

    return change


def with_part(name, value):
    def change(path, _tmp):
        torch.save({**torch.load(path, weights_only=True), name: value}, path)

    return change


def changed(change):
    def damage(path, _tmp):
        state = torch.load(path, weights_only=True)
        change(state)
        torch.save(state, path)

    return damage


def hostile(path, tmp):
    path.write_bytes(pickle.dumps({"state_dict": Evil(tmp / "ran")}))


DAMAGES = {
    "empty": lambda path, _: path.write_bytes(b""),
    "truncated": lambda path, _: path.write_bytes(path.read_bytes()[:-2000]),
    "garbage": lambda path, _: path.write_bytes(os.urandom(5000)),
    "text": lambda path, _: path.write_text("weights"),
    "a list": lambda path, _: torch.save([1, 2], path),
    "a hostile pickle": hostile,
    **{
        f"without {name}": without(name)
        for name in ("state_dict", "optimizer_states", "callbacks", "loops", "epoch")
    },
    "without the loops' parts": with_part("loops", {}),
    "with the state of nothing": with_part("optimizer_states", [{}]),
    "with another epoch": with_part("epoch", 7),
    "with a negative epoch": with_part("epoch", -1),
    "with more epochs than were trained": changed(
        lambda state: state["loops"]["fit_loop"]["epoch_progress"]["current"].update(completed=999)
    ),
    "with text for weights": with_part("state_dict", "weights"),
    "with a list for callbacks": with_part("callbacks", [1]),
    "with callbacks of nothing": with_part("callbacks", {}),
    "without steps of the optimiser": with_part("optimizer_states", [{"state": {}, "param_groups": []}]),
    "with weights that are not finite": changed(
        lambda state: next(iter(state["state_dict"].values())).fill_(np.nan)
    ),
    "with an optimiser of other shapes": changed(
        lambda state: state["optimizer_states"][0]["state"][0].update(exp_avg=torch.zeros(7))
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_one_line_with_the_mend(begun, tmp_path, damage):
    path = begun.folder / "checkpoints" / "last.ckpt"
    before = begun.files.config.read_text()
    DAMAGES[damage](path, tmp_path)
    with pytest.raises(ModelError) as caught:
        Run(begun.folder, ["training.epochs=2"], trust_code=True).train(resume=True)
    message = str(caught.value)
    assert str(path) in message
    assert "copy best.ckpt over it" in message
    assert "\n" not in message
    assert len(message) < 600
    assert begun.files.config.read_text() == before
    assert not (tmp_path / "ran").exists()
    path.write_bytes((path.parent / "best.ckpt").read_bytes())  # the mend
    Run(begun.folder, ["training.epochs=2"], trust_code=True).train(resume=True)
    assert [row["epoch"] for row in log(begun)] == ["0", "1"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": {"name": "unet", "base_channels": 8}}, "model is .*'base_channels': 8.* expected .*4"),
        ({"head": {"name": "softplus"}}, "head is .*softplus.* expected .*fraction"),
    ],
)
def test_a_checkpoint_of_another_separator_is_one_line(begun, tmp_path, toy_values, change, reason):
    other = Run.from_values({**toy_values, **change, "run": str(tmp_path / "other"), "training": {"epochs": 1}})
    other.train()
    path = begun.folder / "checkpoints" / "last.ckpt"
    path.write_bytes((other.folder / "checkpoints" / "last.ckpt").read_bytes())
    with pytest.raises(ModelError, match=f"last.ckpt: of another separator: {reason}"):
        Run(begun.folder, ["training.epochs=2"], trust_code=True).train(resume=True)
    without("separator")(path, tmp_path)  # as an earlier version wrote it: then the weights tell
    if "model" in change:
        with pytest.raises(ModelError, match=r"of another separator: .*weight is \(8, .*expected \(4"):
            Run(begun.folder, ["training.epochs=2"], trust_code=True).train(resume=True)


def test_a_checkpoint_of_other_classes_is_one_line(begun):
    path = begun.folder / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=True)
    torch.save({**state, "separator": {**state["separator"], "classes": ["cat", "dog"]}}, path)
    with pytest.raises(ModelError, match=r"classes is \['cat', 'dog'\], expected \['dot', 'bar'\]"):
        Run(begun.folder, ["training.epochs=2"], trust_code=True).train(resume=True)


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(begun, tmp_path):
    without("separator")(begun.folder / "checkpoints" / "last.ckpt", tmp_path)
    Run(begun.folder, ["training.epochs=2"], trust_code=True).train(resume=True)
    assert len(log(begun)) == 2


def test_a_disk_that_is_full_leaves_the_checkpoint_before(begun, monkeypatch):
    path = begun.folder / "checkpoints" / "last.ckpt"
    before = path.read_bytes()

    def full(_state, path):
        path.write_bytes(b"half of it")
        raise RuntimeError("[enforce fail at inline_container.cc:1] . PytorchStreamWriter failed\nwriting file")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(
        DataError, match=r"cannot be written: is the disk full\? .*previous checkpoint is intact"
    ) as caught:
        Run(begun.folder, ["training.epochs=2"], trust_code=True).train(resume=True)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert not [file for file in path.parent.iterdir() if "part" in file.name]


LIMITED = """
import resource, sys
from oasis.cli import run
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(run(sys.argv[2:]))
"""


@pytest.mark.parametrize("limit", [30_000, 60_000, 120_000])
def test_files_that_cannot_grow_end_a_training_in_one_line(begun, limit):
    """At each limit another of the run's files is the first that does not fit."""
    before = checkpoint(begun)
    command = ["train", "--resume", str(begun.folder), "--trust-code", "--set", "training.epochs=2"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit), *command],
        env=ONE_THREAD, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "cannot be written" in done.stderr.splitlines()[-1]
    assert checkpoint(begun)["epoch"] == before["epoch"]


@pytest.mark.parametrize("name", ["log.csv", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"text", None])
def test_what_a_training_adds_to_is_read_before_an_epoch_is_trained(begun, name, content):
    path = begun.folder / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    elif name == "log.csv":
        path.mkdir()
    before = (begun.folder / "checkpoints/last.ckpt").stat().st_mtime_ns
    with pytest.raises(OasisError, match=name):
        Run(begun.folder, ["training.epochs=2"], trust_code=True).train(resume=True)
    assert (begun.folder / "checkpoints/last.ckpt").stat().st_mtime_ns == before


def test_a_run_that_was_moved_goes_on_in_silence_and_keeps_its_best_epoch(toy_values, tmp_path, recwarn):
    Run.from_values({**toy_values, "training": {**WORSE, "epochs": 2}}).train()
    Path(toy_values["run"]).rename(tmp_path / "moved")
    recwarn.clear()
    run = Run(tmp_path / "moved", ["training.epochs=3"], trust_code=True)
    run.train(resume=True)
    assert not [str(warning.message) for warning in recwarn]
    assert checkpoint(run, "best.ckpt")["epoch"] == 0
    assert checkpoint(run)["epoch"] == 2
