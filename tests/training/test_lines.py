import io
import logging
import sys
from types import SimpleNamespace

import pytest
import torch

from oasis.training.checkpoints import Checkpoints
from oasis.training.lines import EpochLines
from oasis.training.log import VALIDATION


@pytest.fixture
def trainer():
    return SimpleNamespace(
        is_global_zero=True,
        world_size=1,
        current_epoch=1,
        max_epochs=3,
        num_training_batches=4,
        sanity_checking=False,
    )


def test_a_long_epoch_tells_the_loss_and_the_time_of_the_whole_training(trainer, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    callback = EpochLines(SimpleNamespace(rows=[]), iter([0, 0, 400, 400]).__next__)
    callback.on_train_epoch_start(trainer, None)
    batch = SimpleNamespace(image=torch.zeros(2, 1, 4))
    callback.on_train_batch_end(trainer, None, {"loss": torch.tensor(0.25)}, batch, 0)
    callback.close()
    assert sys.stderr.getvalue().splitlines() == [
        "epoch 2 of 3: 1 of 4 batches, 0.0025 batches/s, 20 min left; loss 0.25, training: at most 47 min left"
    ]


def test_the_line_of_an_epoch_comes_when_it_can_be_resumed(trainer, tmp_path, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    row = {"epoch": 1, "train/total": 0.2, VALIDATION: 0.1, "seconds": 4.0}
    journal, seen = SimpleNamespace(rows=[row], better=True), []
    trainer.save_checkpoint = lambda path: seen.append((path.name, sys.stderr.getvalue()))
    Checkpoints(tmp_path, journal, EpochLines(journal).tell_epoch).on_train_epoch_end(trainer, None)
    assert seen == [("best.ckpt", ""), ("last.ckpt", "")]
    assert sys.stderr.getvalue().startswith("epoch 2 of 3: loss 0.2, validation 0.1 (best)")
