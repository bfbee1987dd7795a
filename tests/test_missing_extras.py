"""A library that is not installed is known before a command writes anything: the same command works later."""

import sys

import numpy as np
import pytest

from oasis.cli import run as command
from oasis.zoo.folders import copy_model

SMALL = ["data.events.train=8", "data.events.val=8", "training.epochs=1", "training.workers=0"]
TRAIN = ["train", "waveform.yaml", *(word for change in SMALL for word in ("--set", change))]
ABLATION = """
base: waveform.yaml
run: runs/search
search:
  training.learning_rate: [0.001, 0.01]
objective: {auc: -1}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a run, its configuration and an image."""
    monkeypatch.chdir(tmp_path)
    copy_model("waveform", "run")
    assert command(["init", "waveform"]) == 0
    np.save("image.npy", np.ones(1024, np.float32))
    (tmp_path / "ablation.yaml").write_text(ABLATION)
    return tmp_path


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("galsim", ["demo", "galaxy"]),
        ("galsim", ["train", "galaxy.yaml"]),
        ("galsim", ["simulate", "galaxy.yaml", "--out", "galaxy.h5"]),
        ("tensorboard", [*TRAIN, "--set", "training.tensorboard=true"]),
        ("monai", [*TRAIN, "--set", "model={name: monai/BasicUNet}"]),
        ("optuna", ["ablate", "ablation.yaml", "--search", "--trials", "1"]),
        ("zarr", ["predict", "run", "image.npy", "--out", "maps.zarr"]),
        ("distributed", ["predict", "run", "image.npy", "--out", "maps.zarr", "--cluster", "local"]),
        ("onnx", ["export", "run"]),
        ("huggingface_hub", ["push", "run", "owner/name"]),
        ("bokeh.server.server", ["view", "run", "--no-browser"]),
    ],
    ids=lambda one: one if isinstance(one, str) else " ".join(one[:2]),
)
def test_nothing_is_written_where_a_library_is_missing(folder, monkeypatch, capsys, module, arguments):
    command(["init", "galaxy"])
    monkeypatch.setitem(sys.modules, module, None)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert command(arguments) == 2
    assert "pip install" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
