"""Loading: the samples that each process reads in every epoch, and the workers that read them."""

import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar
from zlib import crc32

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from oasis.data.mixing import SampleDataset, samples_of
from oasis.data.samples import Batch, Sample, collate
from oasis.errors import DataError, OasisError
from oasis.io.files import one_line

OF_SAMPLE = "Caught "  # the first word of torch's message of an error of the data set in a worker

Keys = Sampler[Any] | Sequence[Any]
B = TypeVar("B")

logger = logging.getLogger(__name__)


class EpochSampler(Sampler[tuple[int, int]]):
    """A sampler of the keys (epoch, index) of one process's share of an epoch.

    With `shuffle` every process gets the same number of samples (a remainder of the epoch is left out); without,
    every sample is read exactly once over all processes.

    Args:
        length: the length of the data set.
        seed: the seed of the order, which is a pure function of (seed, epoch).
        shuffle: a new order in every epoch.
        rank: the rank of this process.
        processes: number of processes.

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
        """Set the epoch of the next iteration."""
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


class Loader(Generic[B]):
    """A loader of batches, prepared by worker processes if there are any.

    An `OasisError` in a worker is raised here unchanged. If workers cannot share memory, or die, they are
    abandoned with a warning, and this process continues with the next batch itself.

    Args:
        dataset: the samples.
        sampler: the sampler of their keys.
        batch_size: samples in a batch; the last one may have fewer.
        workers: number of worker processes.
        least: minimum number of samples in the last batch; fewer are added to the previous batch, if there is one.
        collate: makes a batch from samples: `collate`, `collate_instances`, or your own function.
    """

    def __init__(
        self,
        dataset: SampleDataset,
        sampler: Keys,
        batch_size: int,
        workers: int,
        least: int,
        collate: Callable[[Sequence[Sample]], B],
    ) -> None:
        self.batch_sampler = _Batches(sampler, batch_size, least)
        self._samples = _Samples(dataset)
        self._collate = partial(_collated, collate=collate)
        self._parallel = None if workers == 0 else self._with_workers(workers)

    def _with_workers(self, workers: int) -> DataLoader[Any]:
        return DataLoader(
            self._samples,  # type: ignore[arg-type]
            batch_sampler=self.batch_sampler,
            num_workers=workers,
            collate_fn=partial(_shared, collate=self._collate),
            pin_memory=torch.cuda.is_available(),
            persistent_workers=True,
            worker_init_fn=_begin_worker,
        )

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[B]:
        given = 0
        try:
            for batch in self._from_workers():
                yield batch
                given += 1
        except _WithoutWorkersError as error:
            _warn(str(error))
            self._parallel = None
        if self._parallel is None:
            for keys in islice(self.batch_sampler, given, None):
                batch = _opened(self._collate(self._samples.__getitems__(keys)))
                pins = isinstance(batch, Batch) and torch.cuda.is_available()
                yield batch.pin_memory() if pins else batch  # type: ignore[attr-defined]

    def _from_workers(self) -> Iterator[B]:
        if self._parallel is None:
            return
        try:
            torch.multiprocessing.Event()  # fails here, quietly, rather than with a traceback in torch's loader
            batches = iter(self._parallel)
        except OSError as error:
            raise _WithoutWorkersError(one_line(error)) from error
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (OSError, EOFError, RuntimeError) as error:
                if str(error).startswith(OF_SAMPLE):
                    raise
                raise _WithoutWorkersError(one_line(error)) from error
            yield _opened(batch)


def make_loader(
    dataset: SampleDataset,
    sampler: Keys,
    batch_size: int,
    workers: int = 0,
    least: int = 1,
    collate: Callable[[Sequence[Sample]], Batch] = collate,
) -> Loader[Batch]:
    """Return a `Loader` of batches; the samples do not depend on the number of workers.

    Raises:
        DataError: the data set is empty.
    """
    if not len(dataset):
        raise DataError("the data set is empty: it has no samples")
    return Loader(dataset, sampler, batch_size, workers, least, collate)


class _WithoutWorkersError(Exception):
    """Worker processes cannot continue."""


class _Batches(Sampler[list[Any]]):
    """The keys of each batch."""

    def __init__(self, sampler: Keys, size: int, least: int) -> None:
        self.sampler, self.size, self.least = sampler, size, least

    def __len__(self) -> int:
        whole, rest = divmod(len(self.sampler), self.size)  # type: ignore[arg-type]
        return whole + (rest > 0) - self._merges

    @property
    def _merges(self) -> bool:
        whole, rest = divmod(len(self.sampler), self.size)  # type: ignore[arg-type]
        return whole > 0 and 0 < rest < self.least

    def __iter__(self) -> Iterator[list[Any]]:
        keys, count = list(self.sampler), len(self)
        for number in range(count):
            end = None if number == count - 1 else (number + 1) * self.size
            yield keys[number * self.size : end]


@dataclass(frozen=True)
class _Failed:
    """An error that a worker returns instead of a sample or a batch."""

    error: Exception


class _Samples:
    """The samples of a data set, or the errors in their place."""

    def __init__(self, dataset: SampleDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Any) -> Sample | _Failed:
        try:
            return self.dataset[key]
        except OasisError as error:
            return _Failed(error)
        except SystemExit as error:
            return _Failed(DataError(f"the data set ends the program (exit {error.code}) at sample {key}"))

    def __getitems__(self, keys: Sequence[Any]) -> Sequence[Sample | _Failed]:
        try:
            return samples_of(self.dataset, keys)
        except (OasisError, SystemExit):
            return [self[key] for key in keys]  # says which of them it is


def _collated(samples: Sequence[Sample | _Failed], collate: Callable[[Sequence[Sample]], B]) -> B | _Failed:
    for sample in samples:
        if isinstance(sample, _Failed):
            return sample
    try:
        return collate(samples)  # type: ignore[arg-type]
    except OasisError as error:
        return _Failed(error)


def _begin_worker(number: int) -> None:
    """Say nothing where the process that takes the batches is interrupted on the way, which says so itself."""
    show = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, ConnectionError | EOFError):
            show(kind, error, trace)

    sys.excepthook = excepthook


def _shared(samples: Sequence[Sample | _Failed], collate: Callable[..., Any]) -> Any:
    """Return a batch in shared memory; if a thread shared it later, a failure would hang."""
    batch = collate(samples)
    if not isinstance(batch, Batch):
        return batch
    try:
        return batch.share_memory()
    except (OSError, RuntimeError) as error:
        _remove_unshared()
        return _Failed(_WithoutWorkersError(f"they cannot share memory: {one_line(error)}"))


def _remove_unshared() -> None:
    """Remove the files that torch has created in shared memory and could not fill, which nothing else removes."""
    strategy = torch.multiprocessing.get_sharing_strategy()  # type: ignore[no-untyped-call]
    if strategy == "file_descriptor":  # files in use have no name
        for path in Path("/dev/shm").glob(f"torch_{os.getpid()}_*"):
            path.unlink(missing_ok=True)


def _opened(batch: B | _Failed) -> B:
    if isinstance(batch, _Failed):
        raise batch.error
    return batch


def _warn(reason: str) -> None:
    """Log that workers are abandoned, once for all loaders of this process."""
    if not _reasons():
        logger.warning("samples are prepared without worker processes from now on (%s)", reason)
    _reasons().append(reason)


@cache
def _reasons() -> list[str]:
    """Return why workers were abandoned in this process."""
    return []
