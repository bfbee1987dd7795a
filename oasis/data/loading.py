"""Loading: which sample every process reads in every epoch, and the workers that read it."""

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from types import TracebackType
from typing import Any, Generic, TypeVar
from zlib import crc32

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from oasis.data.mixing import SampleDataset
from oasis.data.samples import Batch, Sample, collate
from oasis.errors import DataError, OasisError
from oasis.io.files import one_line

OF_SAMPLE = "Caught "  # begins errors of the data set in a worker, as torch words them

Keys = Sampler[Any] | Sequence[Any]
B = TypeVar("B")

logger = logging.getLogger(__name__)


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


class Loader(Generic[B]):
    """Batches of the samples that a sampler names, prepared by worker processes where there are any.

    An error that is meant for the user arrives from a worker as it was raised. Where workers cannot share memory,
    or die, they are given up with a warning, and this process goes on from the batch that was due.

    Args:
        dataset: of samples.
        sampler: gives the key of each sample.
        batch_size: samples in a batch, of which the last one may have fewer.
        workers: processes.
        least: samples in the last batch; fewer are added to the batch before, if there is one.
        collate: what is made of the samples of a batch: `collate`, `collate_instances`, or yours.
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
                batch = _opened(self._collate([self._samples[key] for key in keys]))
                pins = isinstance(batch, Batch) and torch.cuda.is_available()
                yield batch.pin_memory() if pins else batch  # type: ignore[attr-defined]

    def _from_workers(self) -> Iterator[B]:
        if self._parallel is None:
            return
        try:
            torch.multiprocessing.Event()  # were it first tried by torch's loader, that would print a traceback
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
    """Return a loader of batches; the samples do not depend on the number of workers; see `Loader`.

    Raises:
        DataError: the data set is empty.
    """
    if not len(dataset):
        raise DataError("the data set is empty: it has no samples")
    return Loader(dataset, sampler, batch_size, workers, least, collate)


class _WithoutWorkersError(Exception):
    """Worker processes cannot go on."""


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
    """What a worker hands over in the place of a sample or a batch."""

    error: Exception


class _Samples:
    """Samples of a data set, or what went wrong with them."""

    def __init__(self, dataset: SampleDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: Any) -> Sample | _Failed:
        try:
            return self.dataset[key]
        except OasisError as error:
            return _Failed(error)
        except SystemExit as error:
            return _Failed(DataError(f"the data set ends the program (exit {error.code}) at sample {key}"))


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
    """Return a batch in memory that processes share; were it shared later, by a thread, a failure would hang."""
    batch = collate(samples)
    if not isinstance(batch, Batch):
        return batch
    try:
        return batch.share_memory()
    except (OSError, RuntimeError) as error:
        return _Failed(_WithoutWorkersError(f"they cannot share memory: {one_line(error)}"))


def _opened(batch: B | _Failed) -> B:
    if isinstance(batch, _Failed):
        raise batch.error
    return batch


@cache
def _warn(reason: str) -> None:
    """Say once that workers are given up."""
    logger.warning("samples are prepared without worker processes from now on (%s)", reason)
