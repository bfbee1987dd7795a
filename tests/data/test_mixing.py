"""The mixer: pure in (seed, split, index, epoch), and a sum of placed components."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from oasis.data.mixing import Mixer, Placed, Scene, add_up, keyed_rng, samples_of, split_indices
from oasis.data.samples import Sample, Scalar, collate
from oasis.errors import ConfigError, OasisError

Map = NDArray[np.float32]


class Blobs(Scene):
    """Squares of two kinds, some across the edge."""

    classes = ("soft", "hard")
    shape = (2, 9, 7)

    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Scalar]]:
        blobs = [
            Placed(name, rng.random((2, 3, 3), np.float32), tuple(rng.integers(-2, 8, 2)))
            for name in rng.choice(self.classes, 4)
        ]
        return blobs, {"flux": float(sum(blob.values.sum() for blob in blobs))}


class Noisy(Blobs):
    def observe(
        self, target: Map, placed: Sequence[Placed], rng: np.random.Generator
    ) -> tuple[Map, NDArray[np.bool_]]:
        image, valid = super().observe(target, placed, rng)
        return image + rng.normal(size=image.shape).astype(np.float32), valid


def same(one: Sample, other: Sample) -> bool:
    arrays = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("image", "target", "valid"))
    return arrays and one.meta == other.meta


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("fixed", [True, False])
def test_a_sample_is_the_same_whoever_mixes_it_and_when(workers: int, fixed: bool) -> None:
    mixer = Mixer(Noisy(), 11, seed=3, split="val", fixed=fixed)
    keys = [
        (epoch, index) for epoch in (4, 0) for index in np.random.default_rng(workers).permutation(11).tolist()
    ]
    loader: DataLoader[Sample] = DataLoader(
        mixer, batch_size=3, sampler=keys, num_workers=workers, collate_fn=collate
    )
    mixed = [sample for batch in loader for sample in batch.samples()]
    assert len(mixed) == 22
    for (epoch, index), sample in zip(keys, mixed, strict=True):
        assert same(sample, Mixer(Noisy(), 11, seed=3, split="val", fixed=fixed)[epoch, index])


def test_a_sample_differs_by_seed_split_index_and_by_epoch_unless_fixed() -> None:
    changing = Mixer(Blobs(), 5, seed=0, split="train", fixed=False)
    fixed = Mixer(Blobs(), 5, seed=0, split="train", fixed=True)
    assert same(changing[0, 2], changing[2])
    assert same(fixed[0, 2], fixed[7, 2])
    others = [
        changing[1, 2],
        changing[0, 3],
        Mixer(Blobs(), 5, 1, "train", False)[2],
        Mixer(Blobs(), 5, 0, "val", False)[2],
    ]
    for other in others:
        assert not np.array_equal(other.target, changing[0, 2].target)


def test_the_image_is_the_sum_of_the_maps() -> None:
    mixer = Mixer(Blobs(), 20, 0, "train", fixed=True)
    for index in range(20):
        sample = mixer[index]
        np.testing.assert_array_equal(sample.image, sample.target[0] + sample.target[1])
        assert sample.image.dtype == sample.target.dtype == np.float32
        assert sample.valid.all()
        assert sample.meta["id"] == f"train/{index}"


def test_an_index_counts_from_either_end() -> None:
    mixer = Mixer(Blobs(), 5, 0, "train", fixed=True)
    assert same(mixer[-1], mixer[4])
    assert len(mixer) == 5
    for index in (5, -6):
        with pytest.raises(IndexError):
            mixer[index]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    boxes=st.integers(1, 3).flatmap(
        lambda dims: st.lists(
            st.tuples(
                st.lists(st.integers(-6, 8), min_size=dims, max_size=dims),
                st.lists(st.integers(1, 5), min_size=dims, max_size=dims),
                st.sampled_from("ab"),
            ),
            min_size=1,
            max_size=4,
        )
    ),
    bands=st.integers(1, 2),
)
def test_components_are_cropped_at_the_edges_and_added(
    boxes: list[tuple[list[int], list[int], str]], bands: int
) -> None:
    rng = np.random.default_rng(0)
    shape = (6, 4, 5)[: len(boxes[0][0])]
    placed = [
        Placed(name, rng.integers(1, 9, (bands, *size)).astype(np.float32), origin) for origin, size, name in boxes
    ]
    expected = np.zeros((2, bands, *shape), np.float32)
    for one in placed:
        for band, *pixel in product(range(bands), *map(range, one.values.shape[1:])):
            where = tuple(o + p for o, p in zip(one.origin, pixel, strict=True))
            if all(0 <= w < s for w, s in zip(where, shape, strict=True)):
                expected[("ab".index(one.name), band, *where)] += one.values[(band, *pixel)]
    np.testing.assert_array_equal(add_up(placed, ("a", "b"), (bands, *shape)), expected)


def test_a_component_of_an_unknown_class_is_refused_by_name() -> None:
    with pytest.raises(OasisError, match=r"'hrad'.*'hard'"):
        add_up([Placed("hrad", np.ones((1, 2), np.float32), (0,))], ("soft", "hard"), (1, 4))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    count=st.integers(20, 300),
    shares=st.lists(st.integers(10, 100), min_size=1, max_size=4),
    left_out=st.sampled_from([0, 7]),
    seed=st.integers(0, 9),
)
def test_splits_are_disjoint_and_complete(count: int, shares: list[int], left_out: int, seed: int) -> None:
    total = sum(shares) + left_out
    fractions = {f"split{i}": share / total for i, share in enumerate(shares)}
    parts = split_indices(count, fractions, seed)
    together = np.concatenate(list(parts.values()))
    assert len(set(together.tolist())) == len(together)
    assert set(together.tolist()) <= set(range(count))
    if not left_out:
        assert len(together) == count
    for name, part in parts.items():
        assert abs(len(part) - fractions[name] * count) <= 1
        np.testing.assert_array_equal(part, split_indices(count, fractions, seed)[name])


def test_splits_depend_on_the_seed() -> None:
    fractions = {"train": 0.5, "test": 0.5}
    assert not np.array_equal(split_indices(100, fractions, 0)["test"], split_indices(100, fractions, 1)["test"])


@pytest.mark.parametrize(
    ("count", "fractions", "words"),
    [(10, {"train": 0.9, "test": 0.2}, "more than 1"), (10, {"train": 0.99, "test": 0.01}, "'test' gets none")],
)
def test_splits_that_cannot_be_are_refused(count: int, fractions: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        split_indices(count, fractions)


def test_the_generator_depends_on_every_part_of_the_key() -> None:
    keys = [(0, "train", 1, 2), (1, "train", 1, 2), (0, "val", 1, 2), (0, "train", 2, 1), (0, "train", 1, 0)]
    draws = {keyed_rng(*key).integers(2**62) for key in keys}
    assert len(draws) == len(keys)
    assert keyed_rng(*keys[0]).integers(2**62) in draws


def test_a_method_for_one_sample_is_not_overridden_where_several_are_made_together():
    class Together(Scene):
        def place(self, index, rng):
            return self.place_all([index], [rng])[0]

        def place_all(self, indices, rngs):
            return [([], {"number": index}) for index in indices]

    class Both(Together):
        def place(self, index, rng):
            return [], {}

        def place_all(self, indices, rngs):
            return [self.place(*each) for each in zip(indices, rngs, strict=True)]

    with pytest.raises(TypeError, match="Wrong overrides place, but inherits place_all: override that instead"):

        class Wrong(Together):
            def place(self, index, rng):
                return [], {}


@pytest.mark.parametrize("name", ["sample", "__getitem__"])
def test_a_subclass_that_changes_single_samples_changes_those_of_batches(name):
    changed = {name: lambda self, *key: getattr(Mixer, name)(self, *key).replace(meta={"id": "changed"})}
    dataset = type("Changed", (Mixer,), changed)(Blobs(), 4, 0, "train", False)
    assert [sample.meta["id"] for sample in dataset.__getitems__([0, (1, 2)])] == ["changed"] * 2


def test_data_sets_of_single_samples_give_batches():
    class Plain:
        def __getitem__(self, key):
            return key

    assert samples_of(Plain(), [3, 1]) == [3, 1]
