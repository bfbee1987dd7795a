"""Which process reads which sample, and loaders of batches."""

import logging
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oasis.data.loading import EpochSampler, make_loader
from oasis.data.loading import _reasons as reasons
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Sample
from oasis.errors import DataError

lengths = st.integers(0, 60)
processes = st.integers(1, 5)
epochs = st.integers(0, 5)


def keys(
    length: int, count: int, epoch: int, shuffle: bool, seed: int = 0
) -> tuple[list[EpochSampler], list[list[tuple[int, int]]]]:
    samplers = [EpochSampler(length, seed, shuffle, rank, count) for rank in range(count)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    return samplers, [list(sampler) for sampler in samplers]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(length=lengths, count=processes, epoch=epochs)
def test_in_order_every_sample_is_read_once(length: int, count: int, epoch: int) -> None:
    samplers, shares = keys(length, count, epoch, shuffle=False)
    assert sorted(key for share in shares for key in share) == [(epoch, index) for index in range(length)]
    assert [len(sampler) for sampler in samplers] == [len(share) for share in shares]
    assert all(share == sorted(share) for share in shares)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(length=lengths, count=processes, epoch=epochs, seed=st.integers(0, 9))
def test_shuffled_shares_are_equal_disjoint_and_reproducible(
    length: int, count: int, epoch: int, seed: int
) -> None:
    samplers, shares = keys(length, count, epoch, shuffle=True, seed=seed)
    together = [key for share in shares for key in share]
    assert {len(share) for share in shares} == {length // count} == {len(sampler) for sampler in samplers}
    assert len(set(together)) == len(together)
    assert set(together) <= {(epoch, index) for index in range(length)}
    assert (
        shares == keys(length, count, epoch, shuffle=True, seed=seed)[1] == [list(sampler) for sampler in samplers]
    )


def test_the_order_differs_by_epoch_and_seed() -> None:
    orders = {
        tuple(index for _, index in keys(50, 1, epoch, shuffle=True, seed=seed)[1][0])
        for epoch in range(3)
        for seed in range(3)
    }
    assert len(orders) == 9
    assert tuple(range(50)) not in orders


class Counting(SampleDataset):
    """Sample i of epoch e holds the number 100 e + i."""

    def __init__(self, length: int = 11) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int, epoch: int) -> Sample:
        image = np.full((1, 2), 100 * epoch + index, np.float32)
        return Sample(image, image[None], np.ones((1, 2), bool), {"id": index})


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_loader_gives_the_sampler_s_samples_of_every_epoch(workers: int, shuffle: bool) -> None:
    sampler = EpochSampler(11, seed=2, shuffle=shuffle)
    loader = make_loader(Counting(), sampler, batch_size=4, workers=workers)
    for epoch in (0, 1, 5):
        sampler.set_epoch(epoch)
        batches = list(loader)
        assert [len(batch) for batch in batches] == [4, 4, 3] == [len(batch.meta) for batch in batches]
        numbers = [int(number) for batch in batches for number in batch.image[:, 0, 0]]
        assert numbers == [100 * epoch + index for _, index in sampler]
        assert sorted(numbers) == [100 * epoch + index for index in range(11)]


@pytest.mark.parametrize(
    ("length", "size", "least", "expected"),
    [(9, 4, 1, [4, 4, 1]), (9, 4, 2, [4, 5]), (8, 4, 2, [4, 4]), (1, 4, 2, [1]), (3, 1, 2, [1, 1, 1])],
)
def test_a_last_batch_that_is_too_small_joins_the_one_before(
    length: int, size: int, least: int, expected: list[int]
) -> None:
    loader = make_loader(Counting(length), EpochSampler(length, shuffle=False), size, least=least)
    batches = list(loader)
    assert [len(batch) for batch in batches] == expected
    assert len(loader) == len(expected)
    assert [meta["id"] for batch in batches for meta in batch.meta] == list(range(length))


class Failing(Counting):
    """Fails at sample 6."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error

    def sample(self, index: int, epoch: int) -> Sample:
        if index == 6:
            raise self.error
        return super().sample(index, epoch)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("error", "found"),
    [
        (DataError("a: b\nc"), "a: b\nc"),
        (SystemExit(0), "the data set ends the program (exit 0) at sample (0, 6)"),
    ],
)
def test_errors_for_the_user_arrive_as_they_were_raised(workers: int, error: BaseException, found: str) -> None:
    loader = make_loader(Failing(error), EpochSampler(11, shuffle=False), 4, workers)
    with pytest.raises(DataError) as caught:
        list(loader)
    assert str(caught.value) == found


@pytest.mark.parametrize("workers", [0, 1])
def test_faults_of_a_data_set_keep_their_traceback(workers: int) -> None:
    with pytest.raises(KeyError, match="broken"):
        list(make_loader(Failing(KeyError("broken")), EpochSampler(11, shuffle=False), 4, workers))


class Dying(Counting):
    """Kills a worker process that is to make sample 6."""

    def __init__(self) -> None:
        super().__init__()
        self.parent = os.getpid()

    def sample(self, index: int, epoch: int) -> Sample:
        if index == 6 and os.getpid() != self.parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample(index, epoch)


def test_workers_that_die_are_given_up_and_no_sample_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    reasons.cache_clear()
    with caplog.at_level(logging.WARNING):
        loader = make_loader(Dying(), EpochSampler(11, shuffle=False), 2, workers=2)
        found = [meta["id"] for batch in loader for meta in batch.meta]
        again = [meta["id"] for batch in loader for meta in batch.meta]
    assert found == again == list(range(11))
    assert [record.getMessage() for record in caplog.records if "without worker" in record.getMessage()]


@pytest.mark.parametrize("what", ["share_memory_", "Event"])
def test_a_machine_without_shared_memory_has_its_samples_prepared_by_one_process(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    if what == "share_memory_" and torch.multiprocessing.get_start_method() != "fork":
        pytest.skip("only forked workers have the patch")

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    reasons.cache_clear()
    monkeypatch.setattr(torch.Tensor if what == "share_memory_" else torch.multiprocessing, what, full)
    with caplog.at_level(logging.WARNING):
        loader = make_loader(Counting(), EpochSampler(11, shuffle=False), 2, workers=2)
        assert [meta["id"] for batch in loader for meta in batch.meta] == list(range(11))
        assert [meta["id"] for batch in loader for meta in batch.meta] == list(range(11))
    assert [record.getMessage() for record in caplog.records if "without worker" in record.getMessage()] == [
        record.getMessage() for record in caplog.records[:1]
    ]
    assert "No space left" in caplog.text


class Cramped(Counting):
    """Lets worker processes write no files, and notes who they are."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.parent = folder, os.getpid()

    def sample(self, index: int, epoch: int) -> Sample:
        if os.getpid() != self.parent:
            (self.folder / str(os.getpid())).mkdir(exist_ok=True)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        return super().sample(index, epoch)


@pytest.mark.skipif(sys.platform != "linux", reason="lists /dev/shm")
def test_two_loaders_without_shared_memory_warn_once_and_leave_nothing_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reasons.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            loader = make_loader(Cramped(tmp_path), EpochSampler(11, shuffle=False), 2, workers=2)
            assert [meta["id"] for batch in loader for meta in batch.meta] == list(range(11))
    workers = os.listdir(tmp_path)
    assert workers
    for _ in range(300):  # torch removes what a worker left when it has noticed that it ended
        left = [name for name in os.listdir("/dev/shm") if name.split("_")[1:2] in [[pid] for pid in workers]]
        if not left:
            break
        time.sleep(0.1)
    assert not left
    assert [record.getMessage() for record in caplog.records if "without worker" in record.getMessage()] == [
        caplog.records[0].getMessage()
    ]
