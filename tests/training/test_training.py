import csv
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml

from oasis.data.samples import collate
from oasis.errors import ConfigError, DataError, MissingExtraError, ModelError
from oasis.run import Run
from oasis.separator.separator import Separator
from oasis.training.fit import fit
from oasis.training.module import SeparatorTraining
from oasis.training.options import TrainingOptions

ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def weights(folder):
    return Separator.load(folder).state_dict()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def log(folder):
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_holds_what_it_should_and_the_loss_falls(toy_values):
    setup = Run.from_values({**toy_values, "training": {"epochs": 6}})
    before = setup.new_separator().state_dict()
    setup.train()
    rows = log(setup.folder)
    assert [int(row["epoch"]) for row in rows] == list(range(6))
    assert float(rows[-1]["val/total"]) < 0.7 * float(rows[0]["val/total"])
    assert not same(weights(setup.folder), before)
    names = {path.name for path in setup.folder.iterdir() if not path.name.startswith(".")}
    files = {"config.yaml", "model.safetensors", "config.json", "log.csv", "region_weights.csv"}
    assert names == files | {"checkpoints", "code"}
    assert (setup.folder / "region_weights.csv").read_text().splitlines() == [
        "region,classes,weight",
        "background,0,1.0",
        "dot,1,1.0",
        "bar,1,1.0",
        "dot&bar,2,4.0",
    ]
    assert {path.name for path in (setup.folder / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_a_training_that_diverges_at_once_is_one_line(toy_values, monkeypatch):
    setup = Run.from_values({**toy_values, "training": {"epochs": 1}})
    monkeypatch.setattr(SeparatorTraining, "_total", lambda *_: torch.tensor(torch.nan, requires_grad=True))
    with pytest.raises(ModelError, match=r"loss was not finite in any epoch.*training.learning_rate"):
        setup.train()


def test_learned_weights_are_learned_stored_and_resumed(tmp_path, toy_values):
    loss = {"region_weights": {"rule": "learned", "rate": 0.1, "limit": 3, "start": {"dot&bar": 4}}}
    tables = []
    for epochs in ([4], [2, 4]):
        for count in epochs:
            values = {**toy_values, "run": str(tmp_path / f"r{len(epochs)}"), "loss": loss}
            setup = Run.from_values({**values, "training": {"epochs": count}})
            setup.train(resume=count == 4 and len(epochs) == 2)
        checkpoint = torch.load(setup.folder / "checkpoints" / "last.ckpt", weights_only=True)
        tables.append(checkpoint["state_dict"]["loss.learned.growth"])
    assert torch.equal(*tables)
    assert tables[0].abs().max() > 0.05
    with (setup.folder / "region_weights.csv").open() as file:
        weights_of = {row["region"]: float(row["weight"]) for row in csv.DictReader(file)}
    assert weights_of["background"] < 1
    assert 4 / 3 <= weights_of["dot&bar"] <= 12


WITHOUT_EXTRAS = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("segmentation_models_pytorch", "timm", "monai", "albumentations", "cv2"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
from oasis.cli import run
for arguments in (["train", sys.argv[1]], ["evaluate", sys.argv[2]], ["info", sys.argv[2]]):
    assert run([*arguments, "--trust-code"]) == 0, arguments
assert run(["train", sys.argv[1], "--run", "other", "--set", "model={name: smp/unet-resnet18}"]) == 2
assert run(["train", sys.argv[1], "--run", "other", "--set", "augmentation={affine: {rotate: 20}}"]) == 2
"""


def test_the_core_trains_without_the_extras(tmp_path, toy_values):
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump({**toy_values, "augmentation": {"flips": True}, "training": {"epochs": 1}}))
    command = [sys.executable, "-c", WITHOUT_EXTRAS, str(path), toy_values["run"]]
    done = subprocess.run(command, env=ONE_THREAD, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pip install 'oasis-seg[backbones]'" in done.stderr
    assert "pip install 'oasis-seg[augment]'" in done.stderr


def test_further_terms_are_trained_on_and_logged(toy_values):
    terms = {"intensity": {"weight": 0.2, "floor": 5}, "consistency": {"weight": 0.1, "floor": 1}, "dice": 0.3}
    loss = {"terms": terms, "thresholds": {"dot": 1, "bar": 1}}
    setup = Run.from_values({**toy_values, "loss": loss, "training": {"epochs": 4}})
    setup.train()
    rows = log(setup.folder)
    for row in rows:
        parts = {name: float(row[f"val/{name}"]) for name in ("regression", "smoothness", *terms)}
        weights_of = {"regression": 1, "smoothness": 0.01, "intensity": 0.2, "consistency": 0.1, "dice": 0.3}
        total = sum(weights_of[name] * value for name, value in parts.items())
        assert float(row["val/total"]) == pytest.approx(total, rel=1e-5)
    assert float(rows[-1]["val/intensity"]) < float(rows[0]["val/intensity"])


def test_training_is_deterministic_whatever_the_workers(tmp_path, toy_values):
    runs = []
    for workers in (0, 2):
        setup = Run.from_values(
            {**toy_values, "run": str(tmp_path / f"w{workers}"), "training": {"workers": workers}}
        )
        setup.train()
        runs.append(weights(setup.folder))
    assert same(*runs)


def test_validation_loss_counts_every_sample_once_whatever_the_batches(tmp_path, toy_values):
    values = []
    for batch_size in (2, 6):
        setup = Run.from_values({**toy_values, "run": str(tmp_path / f"b{batch_size}")})
        separator, loss = setup.new_separator(), setup.loss()
        options = TrainingOptions(
            epochs=1, batch_size=batch_size, learning_rate=1e-12, workers=0, precision="float32"
        )
        dataset = setup.adapter.dataset("val")
        fit(separator, loss, setup.adapter.dataset("train"), dataset, setup.folder, options)
        values.append(float(log(setup.folder)[0]["val/total"]))
    batch = collate([dataset[index] for index in range(len(dataset))])
    prediction = separator(batch.image)
    target, codes = prediction.scale.forward(batch.target), loss.regions(batch.target)
    pooled = loss(prediction.scaled, target, batch.valid, codes).item()
    assert values == pytest.approx([pooled, pooled], rel=1e-5)


def test_a_killed_run_resumes_to_the_result_of_one_that_was_not(tmp_path, toy_values, processes):
    training = {"epochs": 5, "schedule": "onecycle"}
    model = {"name": "unet", "base_channels": 4, "dropout": 0.1}
    whole = Run.from_values({**toy_values, "run": str(tmp_path / "whole"), "training": training, "model": model})
    whole.train()
    path = tmp_path / "run.yaml"
    path.write_text(
        yaml.safe_dump({**toy_values, "run": str(tmp_path / "killed"), "training": training, "model": model})
    )
    process = processes.train_and_kill(path, epoch=2)
    assert process.returncode == -signal.SIGKILL
    killed = Run.from_values(yaml.safe_load((tmp_path / "killed" / "config.yaml").read_text()))
    assert len(log(killed.folder)) == 3
    killed.train(resume=True)
    assert same(weights(killed.folder), weights(whole.folder))
    rows, rows_of_whole = ([{**row, "seconds": 0} for row in log(setup.folder)] for setup in (killed, whole))
    assert rows == rows_of_whole


def test_early_stopping(tmp_path, toy_values):
    setup = Run.from_values({**toy_values, "training": {"epochs": 30, "patience": 2, "learning_rate": 1e-12}})
    setup.train()
    assert len(log(setup.folder)) == 3


def test_a_collapsed_class_is_warned_of(toy_values, caplog):
    setup = Run.from_values(
        {**toy_values, "head": {"name": "softplus"}, "training": {"epochs": 1, "learning_rate": 1e-12}}
    )
    separator = setup.new_separator()
    torch.nn.init.constant_(separator.backbone.output.bias, -30)
    torch.nn.init.zeros_(separator.backbone.output.weight)
    fit(
        separator,
        setup.loss(),
        setup.adapter.dataset("train"),
        setup.adapter.dataset("val"),
        setup.folder,
        setup.config.training,
    )
    assert "class dot have collapsed to zero" in caplog.text
    assert "class bar have collapsed to zero" in caplog.text


def test_a_training_in_which_no_pixel_counts_says_so(toy_values, caplog):
    setup = Run.from_values({**toy_values, "training": {"epochs": 1, "workers": 0}})

    class Nothing(type(setup.adapter.dataset("train"))):
        def sample(self, index, epoch):
            found = super().sample(index, epoch)
            return found.replace(valid=np.zeros_like(found.valid))

    nothing = setup.adapter.dataset("train")
    nothing.__class__ = Nothing
    val = setup.adapter.dataset("val")
    fit(setup.new_separator(), setup.loss(), nothing, val, setup.folder, setup.config.training)
    assert "the training loss is exactly 0" in caplog.text


def test_two_processes_train_and_validate_each_sample_once(tmp_path, toy_values):
    """The first validation loss, after one epoch of no learning, is that of one process."""
    losses = []
    for devices in (1, 2):
        run = tmp_path / f"d{devices}"
        path = tmp_path / f"{devices}.yaml"
        training = {"epochs": 1, "learning_rate": 1e-12, "accelerator": "cpu"}
        path.write_text(yaml.safe_dump({**toy_values, "run": str(run), "training": training}))
        command = [sys.executable, "-m", "oasis", "train", str(path), "--devices", str(devices)]
        done = subprocess.run(command, env=ONE_THREAD, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stderr
        losses.append(float(log(run)[0]["val/total"]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_two_nodes_train_like_one_process_with_the_batches_of_both(tmp_path, toy_values):
    """Also with pooled pixels, where the loss of a step is one ratio over the samples of all processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    running = []
    for name, node, changes in (
        ("one", {}, {"batch_size": 8}),
        ("two", {**address, "NODE_RANK": "0"}, {"batch_size": 4, "nodes": 2}),
        ("two", {**address, "NODE_RANK": "1"}, {"batch_size": 4, "nodes": 2}),
    ):
        training = {"epochs": 2, "accelerator": "cpu", "precision": "float32", **changes}
        values = {**toy_values, "run": str(tmp_path / name), "training": training}
        values["model"] = {"name": "unet", "base_channels": 4, "depth": 2, "norm": "group"}
        values["loss"] = {"reduction": "batch", "region_weights": {"dot&bar": 20}}
        path = tmp_path / f"{name}{node.get('NODE_RANK', '')}.yaml"
        path.write_text(yaml.safe_dump(values))
        command = [sys.executable, "-m", "oasis", "train", str(path), "--quiet"]
        running.append(subprocess.Popen(command, env=ONE_THREAD | node, stderr=subprocess.PIPE, text=True))
    for process in running:
        _, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors
    one, two = (log(tmp_path / name) for name in ("one", "two"))
    for row, other in zip(one, two, strict=True):
        for name in ("train/total", "train/regression", "val/total"):
            assert float(other[name]) == pytest.approx(float(row[name]), rel=1e-4)
    image = Run.from_values(toy_values).dataset("test")[0].image
    expected, found = (
        Separator.load(tmp_path / name).separate(image, precision="float32") for name in ("one", "two")
    )
    for name, maps in found.items():
        np.testing.assert_allclose(maps, expected[name], atol=1e-3 * image.max())


def test_other_processes_than_configured_are_refused(toy, monkeypatch):
    for name, value in {"TORCHELASTIC_RUN_ID": "a", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="torchrun started 2 of 2 processes on this machine"):
        toy.train()


def test_interrupting_keeps_the_last_whole_epoch(tmp_path, toy_values):
    path = tmp_path / "run.yaml"
    values = {**toy_values, "training": {"epochs": 500, "patience": 500}}
    path.write_text(yaml.safe_dump(values))
    process = subprocess.Popen(
        [sys.executable, "-m", "oasis", "train", str(path)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # which background jobs ignore
    )
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    for _ in range(600):
        time.sleep(0.1)
        if last.exists():
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "oasis train --resume" in errors
    Separator.load(tmp_path / "run")
    torch.load(last, weights_only=True)


def test_resume_needs_a_checkpoint(toy):
    with pytest.raises(ModelError, match="resume"):
        toy.train(resume=True)


def test_too_few_samples(toy_values):
    with pytest.raises(DataError, match="the data set of val is empty"):
        Run.from_values({**toy_values, "data": {"val": 0}}).train()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(toy_values):
    with pytest.raises(ConfigError, match="no GPU"):
        Run.from_values({**toy_values, "training": {"accelerator": "gpu"}}).train()


def test_tensorboard_is_an_extra(toy_values, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"oasis-seg\[track\]"):
        Run.from_values({**toy_values, "training": {"tensorboard": True}}).train()


def test_a_onecycle_run_keeps_its_epochs(toy_values):
    training = {"epochs": 2, "schedule": "onecycle"}
    Run.from_values({**toy_values, "training": training}).train()
    with pytest.raises(ConfigError, match="schedule onecycle: it has 2, found 3"):
        Run.from_values({**toy_values, "training": {**training, "epochs": 3}}).train(resume=True)
