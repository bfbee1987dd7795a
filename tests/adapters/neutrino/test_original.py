"""The original's transformer from our parts: its size, one step, and that quickstart and original are read."""

import pytest
import torch

from oasis.data.samples import collate
from oasis.errors import DataError
from oasis.loss.ratio import mean_of
from oasis.run import Run
from oasis.training.module import SeparatorTraining

ORIGINAL = 10_393_164  # parameters, counted in the authors' code
SIMULATED = ["data.release=null", "data.events.train=4", "data.events.val=2", "training.workers=0"]


@pytest.fixture
def run(root):
    return Run.from_config(root / "examples/neutrino/original.yaml", SIMULATED)


def test_it_has_the_originals_size(run):
    separator = run.new_separator((7, 7, 7))
    number = sum(parameter.numel() for parameter in separator.parameters())
    assert number == pytest.approx(ORIGINAL, rel=0.03)
    assert len(separator.backbone.layers) == len(separator.object_head.sequence.attention.layers) == 10


def test_one_step_lowers_the_loss_of_its_batch(run):
    batch = collate([run.dataset("train")[index] for index in range(3)])
    separator = run.new_separator((7, 7, 7)).train()
    for part in separator.modules():  # no dropout, so that the loss before and after can be compared
        for name in ("p", "dropout"):
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, 0.0)
    module = SeparatorTraining(separator, run.loss(), None, None, run.config.training, 0)

    def loss():
        ratios, _ = module._ratios(batch)
        return module._total({name: mean_of(ratio.totals("batch")) for name, ratio in ratios.items()})

    before = loss()
    before.backward()
    norm = torch.nn.utils.clip_grad_norm_(separator.parameters(), 1.0)
    assert norm.isfinite()
    with torch.no_grad():
        for parameter in separator.parameters():
            parameter -= 0.01 * parameter.grad
        assert loss() < before
        columns = separator.columns(separator.eval()(batch.image, batch.valid, batch.context))
    assert columns["exists_predicted"].shape == (3, 6)


def test_it_is_for_the_public_data_set(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="datasets"):
        Run.from_config(root / "examples/neutrino/original.yaml").dataset("train")
