"""Loading: which sample every process reads in every epoch, and the workers that read it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from oasis.data.mixing import SampleDataset
from oasis.data.samples import Batch, Sample, collate
from oasis.errors import OasisError


class EpochSampler(Sampler[tuple[int, int]]):
    """Gives the keys (epoch, index) of one process's share of an epoch.

    With `shuffle` every process gets equally many (a remainder of the epoch's order is left out); without, every
    sample is given exactly once over all processes.

    Args:
        length: of the data set.
        seed: of the order, which is a pure function of (seed, epoch).
        shuffle: a new order in every epoch.
        rank: this process.
        processes: how many there are.

    Example:
        >>> list(EpochSampler(5, shuffle=False, rank=1, processes=2))
        [(0, 1), (0, 3)]
    """

    def __init__(
        self, length: int, seed: int = 0, shuffle: bool = True, rank: int = 0, processes: int = 1
    ) -> None:
        self.length = length
        self.seed = seed
        self.shuffle = shuffle
        self.rank = rank
        self.processes = processes
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through."""
        self.epoch = epoch

    def __len__(self) -> int:
        if self.shuffle:
            return self.length // self.processes
        return len(range(self.rank, self.length, self.processes))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.length)
        if self.shuffle:
            order = np.random.default_rng([self.seed, crc32(b"order"), self.epoch]).permutation(order)
        mine = order[self.rank :: self.processes][: len(self)]
        return ((self.epoch, int(index)) for index in mine)


class Loader(DataLoader[Any]):
    """A loader whose worker processes report errors of the user's as this process does: in one line."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        try:
            yield from super().__iter__()
        except OasisError as error:
            last = str(error).splitlines()[-1]  # of the worker's traceback, in which "module.Kind: " comes first
            raise type(error)(last.removeprefix(f"{type(error).__module__}.{type(error).__name__}: ")) from None


def make_loader(
    dataset: SampleDataset,
    sampler: EpochSampler,
    batch_size: int,
    workers: int = 0,
    collate: Callable[[Sequence[Sample]], Batch] = collate,
) -> DataLoader[Batch]:
    """Return a loader of batches; the samples do not depend on the number of workers.

    Args:
        dataset: of the samples.
        sampler: which of them, in which order.
        batch_size: samples per batch; the last one may have fewer.
        workers: processes that prepare batches; 0 for this one.
        collate: makes a batch of samples: `collate`, or `collate_instances` for batches with instances.
    """
    return Loader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )
