"""Flips and right-angle turns: which ones are drawn, and that nothing is lost on the way."""

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from oasis.data.augmentation import Augmentation, Augmented
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Sample


def make_sample(shape: tuple[int, ...], bands: int = 2) -> Sample:
    """Return random maps; mask and context follow from the first band of the image."""
    target = np.random.default_rng(0).random((3, bands, *shape), np.float32)
    image = target.sum(0)
    return Sample(image, target, image[:1] > np.median(image[0]), {"id": "a"}, np.stack([image[0], -image[0]]))


def operations(shape: tuple[int, ...], flips: bool, rotations: bool) -> set[bytes]:
    """Return every array that permuting equal axes and reversing axes can make of counted pixels."""
    pixels: NDArray[Any] = np.arange(np.prod(shape)).reshape(shape)
    orders = permutations(range(len(shape))) if rotations else [tuple(range(len(shape)))]
    turned = [pixels.transpose(order) for order in orders if tuple(shape[axis] for axis in order) == shape]
    signs = product([1, -1] if flips else [1], repeat=len(shape))
    steps = [tuple(slice(None, None, sign) for sign in each) for each in signs]
    return {one[each].tobytes() for one in turned for each in steps}


@pytest.mark.parametrize(
    ("shape", "count"), [((5,), 2), ((4, 4), 8), ((4, 5), 4), ((3, 3, 3), 48), ((3, 4, 3), 16), ((2, 3, 4), 8)]
)
@pytest.mark.parametrize(("flips", "rotations"), [(True, True), (True, False), (False, True), (False, False)])
def test_all_operations_occur_and_no_other(
    shape: tuple[int, ...], count: int, flips: bool, rotations: bool
) -> None:
    pixels = np.arange(np.prod(shape), dtype=np.int64).reshape(1, *shape)
    sample = Sample(pixels, pixels[None], np.ones((1, *shape), bool))  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    augmentation = Augmentation(flips=flips, rotations=rotations)
    possible = operations(shape, flips, rotations)
    drawn = {augmentation.apply(sample, rng).image[0].tobytes() for _ in range(12 * len(possible))}
    assert drawn == possible
    if flips and rotations:
        assert len(possible) == count


@pytest.mark.parametrize("shape", [(7,), (4, 4), (4, 6), (3, 3, 3), (2, 5, 5)])
def test_everything_turns_together_and_the_sum_stays_exact(shape: tuple[int, ...]) -> None:
    sample = make_sample(shape)
    rng = np.random.default_rng(1)
    for _ in range(50):
        turned = Augmentation().apply(sample, rng)
        assert turned.image.shape == sample.image.shape
        np.testing.assert_array_equal(turned.image, turned.target.sum(0))
        np.testing.assert_array_equal(turned.valid, turned.image[:1] > np.median(sample.image[0]))
        np.testing.assert_array_equal(turned.context, np.stack([turned.image[0], -turned.image[0]]))
        np.testing.assert_array_equal(np.sort(turned.target, axis=None), np.sort(sample.target, axis=None))
        assert turned.meta == sample.meta
        assert turned.image.flags.c_contiguous


def test_a_sample_without_context_stays_without() -> None:
    assert (
        Augmentation().apply(make_sample((4, 4)).replace(context=None), np.random.default_rng(0)).context is None
    )


class Counting(SampleDataset):
    """Sample i of epoch e is the number 10 e + i, and more pixels."""

    def __len__(self) -> int:
        return 4

    def sample(self, index: int, epoch: int) -> Sample:
        image = (np.arange(16).reshape(1, 4, 4) / 100 + 10 * epoch + index).astype(np.float32)
        return Sample(image, image[None], np.ones((1, 4, 4), bool))


def test_a_data_set_is_turned_anew_in_every_epoch_and_the_same_when_asked_again() -> None:
    augmented = Augmented(Counting(), Augmentation(), seed=5)
    assert len(augmented) == 4
    turns: dict[int, set[bytes]] = {}
    for epoch, index in product(range(6), range(4)):
        image = augmented[epoch, index].image
        number = 10 * epoch + index
        assert image.min() == number
        turns.setdefault(epoch, set()).add(np.round((image - number) * 100).tobytes())
        np.testing.assert_array_equal(image, Augmented(Counting(), Augmentation(), seed=5)[epoch, index].image)
    assert len(set().union(*turns.values())) > 4
    assert any(len(each) > 1 for each in turns.values())
    others = [Augmented(Counting(), Augmentation(), seed=6)[0, index].image for index in range(4)]
    assert any(not np.array_equal(augmented[0, index].image, other) for index, other in enumerate(others))
