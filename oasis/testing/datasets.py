"""Checks of data sets: the same samples in any order, epoch, process and file."""

import pickle

import numpy as np

from oasis.data.loading import EpochSampler, make_loader
from oasis.data.mixing import Mixer
from oasis.data.sample_files import write_samples
from oasis.testing.case import Case, ContractError, same


def reproducible(case: Case) -> None:
    """Check that a sample depends only on seed, split, index and epoch."""
    require = case.require
    for split, dataset in case.datasets.items():
        last = len(case.samples[split]) - 1
        again = case.again().dataset(split)
        require(
            same(again[last], case.samples[split][last]),
            f"{split}[{last}] differs when it is made alone: draw from the generator that place and observe are "
            "given, and keep nothing between them",
        )
        if split != "train":
            require(
                same(dataset[(1, 0)], dataset[(0, 0)]),
                f"{split}[0] differs between epochs: samples that are not trained on have to stay the same",
            )
    val, test = (case.samples[split][0] for split in ("val", "test"))
    require(
        not np.array_equal(val.image, test.image),
        "val[0] and test[0] are the same image: keep the splits separate",
    )
    mixed = case.datasets["train"]
    if isinstance(mixed, Mixer):
        require(not same(mixed[(1, 0)], mixed[(0, 0)]), "train[0] is the same in every epoch: use the generator")
        other = case.again(case.adapter.seed + 1).dataset("train")
        require(not same(other[0], mixed[0]), "train[0] is the same for every seed: use the generator")


def workers(case: Case) -> None:
    """Check that worker processes make the same samples, whether they are forked or spawned."""
    dataset = case.datasets["val"]
    try:
        copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    except Exception as error:
        raise ContractError(
            f"{type(case.adapter).__name__}: its data set cannot be handed to worker processes ({error}): define "
            "the scene at the top level of a module, and keep no lambda, lock or open file in it"
        ) from error
    case.require(same(copy[0], dataset[0]), "val[0] differs in a worker process: keep no state outside the scene")
    count = len(case.samples["val"])
    batch = next(iter(make_loader(dataset, EpochSampler(len(dataset), shuffle=False), count, workers=1)))
    for index, (found, expected) in enumerate(zip(batch.samples(), case.samples["val"], strict=True)):
        case.require(same(found, expected), f"val[{index}] differs in a worker process")


def storage(case: Case) -> None:
    """Check that samples can be written to a file and read back."""
    path = case.folder / "samples.h5"
    write_samples(path, case.samples["test"], case.adapter.classes, case.adapter.unit)
    stored = case.adapter.samples(path, "test")
    for index, sample in enumerate(case.samples["test"]):
        case.require(same(stored[index], sample), f"test[{index}] differs when it is stored and read back")
