"""A loss or a gradient that is not finite: the step is left out and the samples are named. About 10 s."""

import csv

import numpy as np
import pytest
import torch

from oasis.errors import DataError
from oasis.run import Run
from oasis.separator.separator import Separator
from oasis.training.module import SeparatorTraining


def test_a_step_whose_gradient_is_infinite_is_skipped_and_its_samples_are_named_once(
    toy_values, monkeypatch, caplog
):
    run = Run.from_values({**toy_values, "training": {"epochs": 2}})
    step, seen = SeparatorTraining.training_step, []

    def explode(self, batch, index):
        value = step(self, batch, index)
        seen.append([meta["id"] for meta in batch.meta])
        return value * float("inf") if index in (1, 2) else value

    monkeypatch.setattr(SeparatorTraining, "training_step", explode)
    run.train()
    messages = [record.getMessage() for record in caplog.records if "not finite" in record.getMessage()]
    assert len(messages) == 1
    assert ", ".join(seen[1]) in messages[0]
    assert all(value.isfinite().all() for value in Separator.load(run.folder).state_dict().values())
    with (run.folder / "log.csv").open() as file:
        assert [float(row["val/total"]) for row in csv.DictReader(file)][1] < np.inf


class Broken:
    """A data set in which one image has a pixel of NaN."""

    def __init__(self, dataset, wrong):
        self.dataset, self.wrong = dataset, wrong

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, key):
        sample = self.dataset[key]
        if (key if isinstance(key, int) else key[1]) == self.wrong:
            sample.image[0, 3, 4] = np.nan
        return sample


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_valid_pixel_that_is_not_finite_is_named_where_a_term_reads_the_image(toy_values, monkeypatch, split):
    run = Run.from_values(
        {**toy_values, "loss": {"terms": {"poisson": {"weight": 0.1}}}, "training": {"epochs": 1}}
    )
    dataset = type(run).dataset
    monkeypatch.setattr(
        type(run), "dataset", lambda self, name: Broken(dataset(self, name), 3 if name == split else None)
    )
    with pytest.raises(DataError, match=rf"sample {split}/3: 1 pixels .* mark them as not valid"):
        run.train()


def test_bad_pixels_that_are_not_valid_do_no_harm(toy_values, monkeypatch):
    run = Run.from_values(
        {**toy_values, "loss": {"terms": {"poisson": {"weight": 0.1}}}, "training": {"epochs": 1}}
    )
    dataset = type(run).dataset

    class Masked(Broken):
        def __getitem__(self, key):
            sample = super().__getitem__(key)
            return sample.replace(valid=sample.valid & np.isfinite(sample.image))

    monkeypatch.setattr(type(run), "dataset", lambda self, name: Masked(dataset(self, name), 3))
    run.train()
    assert all(torch.isfinite(value).all() for value in Separator.load(run.folder).state_dict().values())
