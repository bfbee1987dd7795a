"""Which process reads which sample, and loaders of batches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oasis.data.loading import EpochSampler, make_loader
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Sample

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

    def __len__(self) -> int:
        return 11

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
