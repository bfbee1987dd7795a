"""The examples, in reduced size, as anyone would run them; about 40 s."""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from oasis.run import Run


@pytest.fixture
def run_example(example, monkeypatch, tmp_path):
    """Return a function that loads an example and runs its main function with arguments."""

    def run(name, *arguments):
        module = example(name)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        module.main()
        return module

    return run


def test_the_loss_trains_a_network_of_another_library(run_example, capsys, monkeypatch):
    pytest.importorskip("segmentation_models_pytorch")
    run_example("own_training_loop", "--steps", 10, "--encoder", "tu-test_resnet")
    lines = capsys.readouterr().out.splitlines()
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in lines]
    assert len(losses) == 5
    assert losses[-1] < losses[0]


def test_three_classes_have_seven_regions_under_every_rule(run_example, capsys, tmp_path):
    module = run_example("three_classes", "--epochs", 1, "--images", 32, "--run", tmp_path)
    printed = capsys.readouterr().out
    regions = ["nucleus&vesicle", "vesicle&membrane", "nucleus&membrane", "nucleus&vesicle&membrane"]
    rows = {line.split()[0]: line for line in printed.splitlines() if line.split()}
    for region in ["background", *module.BlobScene.classes, *regions]:
        cells = rows[region].split()[1:]
        assert len(cells) == 3 * len(module.RULES)
        assert all(float(mean) >= 0 for mean in cells[::3])
    weights = (tmp_path / "by_size_0" / "region_weights.csv").read_text().splitlines()
    assert weights[-1] == "nucleus&vesicle&membrane,3,6.0"


def test_images_of_three_classes_are_sums_of_their_maps(run_example, root):
    adapter = f"{root / 'examples/three_classes.py'}:BlobAdapter"
    dataset = Run.from_values({"adapter": adapter, "run": "x"}).dataset("test")
    noise = []
    for index in range(20):
        expected = dataset[index].target.sum(axis=0)
        noise.append((dataset[index].image - expected) / np.sqrt(expected + 3))
    assert abs(np.mean(noise)) < 5 / np.sqrt(np.size(noise))
    assert np.std(noise) == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("script", sorted(Path(__file__).parents[1].glob("examples/slurm/*.sbatch")), ids=str)
def test_batch_scripts_are_bash(script):
    subprocess.run(["bash", "-n", script], check=True)


def test_the_demonstration_compares_the_methods_on_the_same_events(example, monkeypatch, capsys, tmp_path):
    demo = example("migdal/demo")
    small = ["data.events={train: 32, val: 8, test: 120}", "training.epochs=1", "data.evaluation_size=[96,96]"]
    changes = [part for key in small for part in ("--set", key)]
    forks = multiprocessing.get_context("fork")  # which have imported everything
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: forks)
    demo.main(["--out", str(tmp_path), *changes])
    printed = capsys.readouterr().out
    for name in demo.METHODS:
        rows = [line for line in printed.splitlines() if line.split()[:1] == [name]]
        assert len(rows) == 5  # three bins, the detection and the false light
        assert (tmp_path / name / "model.safetensors").exists()
    events = [set(Run(tmp_path / name).events("test")["id"]) for name in demo.METHODS]
    assert events[0] == events[1] == events[2]
    assert len(list(tmp_path.glob("*.png"))) >= 3
