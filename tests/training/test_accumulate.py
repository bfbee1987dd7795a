"""Accumulation: a batch in parts has the gradient of the whole batch, with every head and term."""

import pytest
import torch

from oasis.errors import ConfigError
from oasis.run import Run
from oasis.training.module import SeparatorTraining

HEADS = {
    "plain": {},
    "presence": {"head": {"name": "softplus", "presence": True}},
    "terms": {"loss": {"terms": {"dice": 0.1, "intensity": {"weight": 0.1, "floor": 1.0}}, "smoothness": 0.1}},
    "by sample": {"loss": {"reduction": "sample"}},
}


def gradients(values, monkeypatch, accumulate, folder, batch_size=7):
    """Return the gradient of every step of an epoch, as one vector each."""
    found = []

    def keep(module, optimizer, **_):
        found.append(torch.cat([one.grad.flatten().clone() for one in module.separator.parameters()]))

    training = {"epochs": 1, "batch_size": batch_size, "accumulate": accumulate, "precision": "float32"}
    model = {"name": "unet", "base_channels": 4, "depth": 2, "norm": "group"}
    with monkeypatch.context() as patch:
        patch.setattr(SeparatorTraining, "configure_gradient_clipping", keep)
        run = Run.from_values({**values, "run": str(folder), "training": training, "model": model})
        run.train()
    return found, run.log


@pytest.mark.parametrize("name", HEADS)
def test_the_gradient_is_that_of_the_whole_batch(toy_values, monkeypatch, tmp_path, name):
    values = {**toy_values, **HEADS[name]}
    whole, log = gradients(values, monkeypatch, 1, tmp_path / "whole")
    parts, other = gradients(values, monkeypatch, 3, tmp_path / "parts")
    assert len(whole) == len(parts) > 1
    error = [float((a - b).norm() / a.norm()) for a, b in zip(whole[:1], parts, strict=False)]
    assert max(error) < 1e-5
    assert abs(log["train/total"][0] / other["train/total"][0] - 1) < 1e-3


def test_the_mean_of_the_parts_would_be_another_gradient(toy_values, monkeypatch, tmp_path):
    whole, _ = gradients(toy_values, monkeypatch, 1, tmp_path / "whole")

    def of_its_own(module, part, sums):
        ratios, _ = module._ratios(part)
        return module._total({name: ratio.mean("batch") for name, ratio in ratios.items()}) / 3

    monkeypatch.setattr(SeparatorTraining, "_share", of_its_own)
    parts, _ = gradients(toy_values, monkeypatch, 3, tmp_path / "parts")
    assert float((whole[0] - parts[0]).norm() / whole[0].norm()) > 1e-3


def test_what_cannot_be_accumulated_is_refused(toy_values):
    training = {"epochs": 1, "accumulate": 2}
    learned = {"region_weights": {"rule": "learned"}}
    with pytest.raises(ConfigError, match="accumulate: not with several devices"):
        Run.from_values({**toy_values, "training": {**training, "devices": 2}}).train()
    with pytest.raises(ConfigError, match="not with learned region weights"):
        Run.from_values({**toy_values, "training": training, "loss": learned}).train()


def test_whole_batches_have_the_fingerprint_of_earlier_versions(toy_values):
    one = Run.from_values({**toy_values, "training": {"accumulate": 1}})
    assert one.fingerprint == Run.from_values(toy_values).fingerprint
    assert one.fingerprint != Run.from_values({**toy_values, "training": {"accumulate": 2}}).fingerprint
