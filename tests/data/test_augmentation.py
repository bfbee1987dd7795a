"""Flips and right-angle turns: which are drawn, that nothing is lost; re-mixing before and warps after them."""

import sys
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from oasis.data.augmentation import Augmentation, Augmented
from oasis.data.mixing import SampleDataset, keyed_rng
from oasis.data.remixing import Remix, Remixed
from oasis.data.samples import Sample, collate
from oasis.data.warping import Affine, Elastic, warp
from oasis.errors import ConfigError, DataError, MissingExtraError, OasisError


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


class Ramp(Counting):
    """Images whose pixels are counted."""

    def sample(self, index: int, epoch: int) -> Sample:
        image = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
        return Sample(image, image[None], np.ones((1, 4, 4), bool))


@pytest.mark.parametrize("further", [{}, {"elastic": Elastic(size=1e-6, length=8)}])
def test_the_turns_of_a_seed_are_fixed(further: dict[str, Any]) -> None:
    """Of version 0.1.0, so that runs reproduce; warps draw after them."""
    augmented = Augmented(Ramp(), Augmentation(**further), seed=5)
    corners = np.array([augmented[epoch, index].image[0, 0, :2] for epoch in range(3) for index in range(4)])
    assert np.round(corners[:, 0]).tolist() == [15, 12, 0, 15, 0, 0, 15, 15, 3, 15, 3, 0]
    assert np.round(corners[:, 1]).tolist() == [14, 8, 4, 14, 1, 1, 14, 11, 2, 14, 7, 1]


def test_everything_is_one_section() -> None:
    values = {
        "flips": True,
        "rotations": True,
        "affine": {"rotate": 180, "scale": [0.9, 1.1]},
        "elastic": {"size": 2, "length": 30},
        "remix": {"amplitudes": [0.5, 2]},
    }
    augmentation = Augmentation.parse(values)
    assert augmentation.affine == Affine(rotate=180, scale=(0.9, 1.1))
    assert augmentation.elastic == Elastic(size=2, length=30)
    assert augmentation.remix == Remix(amplitudes=(0.5, 2))
    assert augmentation == Augmentation.parse(augmentation.model_dump(mode="json"))
    off = Augmentation.parse({})
    assert (off.flips, off.rotations, off.affine, off.elastic, off.remix) == (True, True, None, None, None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"afine": {}}, "augmentation.afine: unknown key; did you mean 'affine'?"),
        ({"affine": {"rotation": 5}}, "augmentation.affine.rotation: unknown key; did you mean 'rotate'?"),
        (
            {"conserve": "flux"},
            "augmentation.conserve: Input should be 'intensity' or 'brightness' (found 'flux')",
        ),
        (
            {"elastic": {"size": 4, "length": 8}},
            "augmentation.elastic: size must be at most length / 8, or the warp folds the image "
            "(found {'length': 8, 'size': 4})",
        ),
    ],
)
def test_a_section_says_what_does_not_fit(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Augmentation.parse(values, where="augmentation")
    assert str(caught.value) == message


class Recorded(SampleDataset):
    """Smooth random maps on noise, in as many dimensions as asked for."""

    def __init__(self, shape: tuple[int, ...], context: bool = False, count: int = 4) -> None:
        self.shape = shape
        self.context = np.zeros((1, *shape), np.float32) if context else None
        self.count = count

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int, epoch: int) -> Sample:
        rng = np.random.default_rng([index, epoch])
        target = rng.random((2, 1, *self.shape), np.float32)
        return Sample(target.sum(0) + 1, target, np.ones((1, *self.shape), bool), {"id": index}, self.context)


@pytest.mark.parametrize("shape", [(30,), (20, 20)])
@pytest.mark.parametrize("conserve", ["intensity", "brightness"])
def test_remixed_then_turned_then_warped(shape: tuple[int, ...], conserve: Any) -> None:
    augmentation = Augmentation(
        affine=Affine(scale=(0.8, 1.2), shift=1),
        elastic=Elastic(size=1, length=10),
        remix=Remix(amplitudes=(0.5, 2)),
        conserve=conserve,
    )
    augmented = Augmented(Recorded(shape), augmentation, seed=3)
    for epoch, index in product(range(3), range(4)):
        sample = augmented[epoch, index]
        rng = keyed_rng(3, "augmentation", index, epoch)
        turned = Augmentation().apply(Remixed(Recorded(shape), augmentation.remix, 3)[epoch, index], rng)  # type: ignore[arg-type]
        expected = warp(turned, rng, augmentation.affine, augmentation.elastic, conserve)
        for name in ("image", "target", "valid"):
            np.testing.assert_array_equal(getattr(sample, name), getattr(expected, name))
        assert sample.meta == expected.meta
        assert len(str(sample.meta["id"]).split("+")) == 3
        if conserve == "brightness":
            rest = (sample.image - sample.target.sum(0))[sample.valid]
            np.testing.assert_allclose(rest, 1, atol=1e-3)


@pytest.mark.parametrize(
    ("dataset", "options", "error", "message"),
    [
        (
            Recorded((8,)),
            {"affine": Affine(rotate=1)},
            ConfigError,
            "augmentation.affine: images with one spatial axis can be scaled and shifted, not rotated or sheared: "
            "leave out rotate and shear",
        ),
        (
            Recorded((8, 8), context=True),
            {"remix": Remix()},
            DataError,
            "augmentation.remix: sample 0 has a context, which belongs to its own image: leave remix out",
        ),
        (
            Recorded((8, 8), count=1),
            {"remix": Remix()},
            ConfigError,
            "augmentation.remix: needs 2 samples or more, found 1: leave it out",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_an_epoch_begins(
    dataset: SampleDataset, options: dict[str, Any], error: type[OasisError], message: str
) -> None:
    with pytest.raises(error) as caught:
        Augmented(dataset, Augmentation(**options), seed=0)
    assert str(caught.value) == message


@pytest.mark.parametrize(("shape", "module"), [((8, 8), "albumentations"), ((8, 8, 8), "monai")])
def test_a_missing_package_is_named_before_an_epoch_begins(
    shape: tuple[int, ...], module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert Augmented(Recorded(shape), Augmentation(remix=Remix()), seed=0)[0].image.shape == (1, *shape)
    with pytest.raises(MissingExtraError) as caught:
        Augmented(Recorded(shape), Augmentation(elastic=Elastic(size=1, length=8)), seed=0)
    assert str(caught.value) == f"{module} is not installed: run  pip install 'oasis-seg[augment]'"


@pytest.mark.parametrize("shape", [(30,), (20, 20)])
def test_workers_draw_the_same_samples(shape: tuple[int, ...]) -> None:
    augmentation = Augmentation(elastic=Elastic(size=1, length=10), remix=Remix(amplitudes=(0.5, 2)))
    augmented = Augmented(Recorded(shape), augmentation, seed=3)
    expected = [augmented[index].image for index in range(4)]
    loader: DataLoader[Sample] = DataLoader(augmented, num_workers=2, collate_fn=collate, timeout=100)
    for batch, image in zip(loader, expected, strict=True):
        np.testing.assert_array_equal(batch.image[0].numpy(), image)
