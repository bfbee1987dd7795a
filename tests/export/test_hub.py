"""Runs on the hub: pushed to a hub on this machine and loaded from it, over HTTP, and the card."""

import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from hub_stub import hub

from oasis.cli import run as command
from oasis.errors import ConfigError
from oasis.export.hub import hub_card
from oasis.run import Run
from oasis.zoo.folders import copy_model

pytest.importorskip("huggingface_hub")

LOAD = """
import numpy, oasis
separator = oasis.load("me/pulses")
image = numpy.random.default_rng(0).normal(size=1024).astype("float32")
numpy.savez("maps.npz", **separator.separate(image, precision="float32"))
"""


def on_the_hub(server, folder, words, token="hf_right"):
    """Run Python with this hub, whose address is read when the package of the public one is imported."""
    where = {**os.environ, "HF_ENDPOINT": server.address, "HF_HOME": str(folder / "home"), "HF_TOKEN": token}
    where |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=where, capture_output=True, text=True, timeout=120
    )


def test_a_run_is_pushed_with_its_card_and_loaded(tmp_path):
    run = Run(copy_model("waveform", tmp_path / "run"))
    with hub() as server:
        push = ["-m", "oasis", "push", "run", "me/pulses", "--licence", "mit"]
        done = on_the_hub(server, tmp_path, push)
        assert done.returncode == 0, done.stderr
        assert 'oasis.load("me/pulses")' in done.stdout
        kept = server.store["me/pulses"]
        assert kept["model.safetensors"] == run.files.weights.read_bytes()
        assert {"README.md", "config.yaml", "log.csv", "region_weights.csv"} <= {*kept}
        asked = [body for path, body, _ in server.asked if path == "/api/repos/create"]
        assert asked
        assert "private" in asked[0]
        assert '"private":false' not in asked[0]
        done = on_the_hub(server, tmp_path, ["-c", LOAD])
        assert done.returncode == 0, done.stderr
    image = np.random.default_rng(0).normal(size=1024).astype(np.float32)
    expected = run.separator("cpu").separate(image, precision="float32")
    with np.load(tmp_path / "maps.npz") as found:
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, atol=1e-5)
    head = yaml.safe_load(kept["README.md"].decode().split("---")[1])
    assert (head["library_name"], head["license"]) == ("oasis-seg", "mit")


def test_what_the_hub_refuses_is_one_line(tmp_path):
    copy_model("waveform", tmp_path / "run")
    with hub() as server:
        done = on_the_hub(server, tmp_path, ["-m", "oasis", "push", "run", "me/pulses"], token="hf_wrong")
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "me/pulses: cannot be pushed to the hub" in done.stderr
        done = on_the_hub(server, tmp_path, ["-c", LOAD])
    assert "me/pulses: no such file or folder, and not found on the hub" in done.stderr
    assert not server.store


def test_a_name_that_is_none_of_a_repository_is_refused(tmp_path, capsys):
    copy_model("waveform", tmp_path / "run")
    for name in ("pulses", "a/b/c", "../x y"):
        assert command(["push", str(tmp_path / "run"), name]) == 2
        assert "such as owner/name" in capsys.readouterr().err
        with pytest.raises(ConfigError):
            Run(tmp_path / "run").push_to_hub(name)


def test_a_card_has_the_measured_errors_if_there_are_any():
    facts = {"model": "unet", "larger images": "the same | measured"}
    card = hub_card("me/cells", ("a", "b"), "photons", facts, "median  -2 %", None)
    assert 'separator = oasis.load("me/cells")' in card
    assert "| larger images | the same \\| measured |" in card
    assert "median  -2 %" in card
    assert "license" not in card.split("---")[1]
    assert "Not measured" in hub_card("me/cells", ("a",), "", facts, None, None)
