"""Instances against dense maps: every operation gives what the same operation on the maps gives."""

import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from oasis.data.augmentation import Augmentation
from oasis.data.instances import Instances
from oasis.data.mixing import Mixer, Placed, SampleDataset, Scene, add_up, gather
from oasis.data.remixing import Remix, Remixed
from oasis.data.samples import Batch, Sample, collate, collate_instances
from oasis.data.warping import Affine, Elastic, warp
from oasis.errors import DataError

CLASSES = ("a", "b", "c")
Shape = tuple[int, ...]


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Shape, list[Placed]]:
    """An image of one to three axes, and components in it, across its edges and outside."""
    dims = draw(st.integers(1, 3))
    bands = draw(st.integers(1, 2))
    shape = (bands, *draw(st.lists(st.integers(1, 6), min_size=dims, max_size=dims)))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    placed = []
    for number in range(draw(st.integers(0, 5))):
        size = rng.integers(1, 6, dims)
        values = rng.random((bands, *size), np.float32) * (rng.random((bands, *size)) < 0.6)
        meta = {"energy": float(number)} | ({"angle": 0.5} if number % 2 else {})
        placed.append(Placed(str(rng.choice(CLASSES)), values, rng.integers(-6, 7, dims).tolist(), meta))
    return shape, placed


def maps_of(instances: Instances) -> NDArray[np.float32]:
    maps = [instances.dense(index) for index in range(len(instances))]
    return np.array(maps, np.float32).reshape(-1, *instances.shape)


def alone(placed: list[Placed], shape: Shape) -> list[NDArray[np.float32]]:
    """The map of each component that lights a pixel."""
    maps = [add_up([one], CLASSES, shape).sum(axis=0) for one in placed]
    return [one for one in maps if one.any()]


def assert_equal(one: Instances, other: Instances) -> None:
    assert one.shape == other.shape
    for name in ("labels", "offsets", "pixels", "values"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert list(one.table) == list(other.table)
    for name, column in one.table.items():
        np.testing.assert_array_equal(column, other.table[name])


everywhere = settings(max_examples=80, deadline=None, derandomize=True)


@everywhere
@given(scenes())
def test_placed_components_become_instances_that_add_up_to_the_target(scene: tuple[Shape, list[Placed]]) -> None:
    shape, placed = scene
    found = gather(placed, CLASSES, shape)
    np.testing.assert_array_equal(found.sums(3), add_up(placed, CLASSES, shape))  # to the last bit
    expected = alone(placed, shape)
    assert len(found) == len(expected)
    np.testing.assert_array_equal(maps_of(found), np.array(expected, np.float32).reshape(-1, *shape))
    kept = [one for one in placed if add_up([one], CLASSES, shape).any()]
    assert [CLASSES[label] for label in found.labels] == [one.name for one in kept]
    for name in found.table:
        np.testing.assert_array_equal(found.table[name], [one.meta.get(name, np.nan) for one in kept])
    assert set(found.table) == {name for one in kept for name in one.meta}


@everywhere
@given(scenes())
def test_counts_boxes_and_intensities(scene: tuple[Shape, list[Placed]]) -> None:
    found = gather(scene[1], CLASSES, scene[0])
    maps = maps_of(found)
    np.testing.assert_array_equal(found.counts(3), [int((found.labels == label).sum()) for label in range(3)])
    np.testing.assert_allclose(found.intensity, maps.sum(axis=tuple(range(2, maps.ndim)), dtype=float), rtol=1e-6)
    np.testing.assert_array_equal(found.sizes, [np.count_nonzero(one) for one in maps])
    for box, one in zip(found.boxes, maps, strict=True):
        for axis, (low, high) in enumerate(box):
            places = np.nonzero(one)[1 + axis]
            assert (low, high) == (places.min(), places.max() + 1)


@everywhere
@given(scenes(), st.data())
def test_cropping_commutes_with_maps(scene: tuple[Shape, list[Placed]], data: st.DataObject) -> None:
    shape, placed = scene
    found = gather(placed, CLASSES, shape)
    origin = [data.draw(st.integers(-3, length)) for length in shape[1:]]
    size = [data.draw(st.integers(1, length + 2)) for length in shape[1:]]
    wide = [(0, 0), *((3, 8) for _ in size)]
    window = tuple(slice(3 + first, 3 + first + length) for first, length in zip(origin, size, strict=True))
    expected = [np.pad(one, wide)[:, *window] for one in maps_of(found)]
    cropped = found.crop(origin, size)
    lit = [number for number, one in enumerate(expected) if one.any()]
    np.testing.assert_array_equal(
        maps_of(cropped), np.array([expected[number] for number in lit]).reshape(-1, shape[0], *size)
    )
    np.testing.assert_array_equal(cropped.labels, found.labels[lit])
    for name, column in found.table.items():
        np.testing.assert_array_equal(cropped.table[name], column[lit])


@everywhere
@given(scenes(), st.data())
def test_flips_permutations_and_rotations_commute_with_maps(
    scene: tuple[Shape, list[Placed]], data: st.DataObject
) -> None:
    shape, placed = scene
    found, dims = gather(placed, CLASSES, shape), len(shape) - 1
    maps = maps_of(found)
    order = data.draw(st.permutations(range(dims)))
    axes = data.draw(st.sets(st.integers(-dims, dims - 1)))
    lead = maps.transpose(0, 1, *(2 + axis for axis in order))
    np.testing.assert_array_equal(maps_of(found.permute(order)), lead)
    behind = sorted({2 + axis % dims for axis in axes})
    np.testing.assert_array_equal(maps_of(found.flip(sorted(axes))), np.flip(maps, behind))
    if dims > 1:
        first, second, *_ = order
        turns = data.draw(st.integers(-5, 5))
        np.testing.assert_array_equal(
            maps_of(found.rotate(turns, (first, second))), np.rot90(maps, turns, (2 + first, 2 + second))
        )
    assert_equal(found.flip(sorted(axes)).flip(sorted(axes)), found)


@everywhere
@given(scenes(), st.data())
def test_selecting_and_joining(scene: tuple[Shape, list[Placed]], data: st.DataObject) -> None:
    shape, placed = scene
    found = gather(placed, CLASSES, shape)
    rows = data.draw(st.lists(st.integers(0, len(found) - 1)) if len(found) else st.just([]))
    np.testing.assert_array_equal(maps_of(found.select(rows)), maps_of(found)[np.array(rows, int)])
    mask = np.array([data.draw(st.booleans()) for _ in range(len(found))], bool)
    assert_equal(found.select(mask), found.select(np.flatnonzero(mask)))
    together = Instances.concatenate([found.select(mask), found.select(~mask)])
    assert len(together) == len(found)
    np.testing.assert_array_equal(together.sums(3) > 0, found.sums(3) > 0)
    assert set(together.table) == set(found.table)
    np.testing.assert_array_equal(maps_of(found.scale(2.0)), 2 * maps_of(found))


def test_memory_is_linear_in_lit_pixels() -> None:
    """A thousand dots in an image of 2^28 values, a gigabyte as a map."""
    shape, count = (1, 2**14, 2**14), 1000
    pixels = np.random.default_rng(0).permutation(2**20)[:count] * 256
    tracemalloc.start()
    found = Instances.pack(shape, [0] * count, [[pixel] for pixel in pixels], [[1.0]] * count)
    turned = found.turn((1, 0), (True, False)).select(np.arange(0, count, 2)).crop((0, 0), (2**13, 2**14))
    assert turned.boxes.shape == (len(turned), 2, 2)
    assert found.intensity.sum() == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6


def test_columns_that_an_instance_lacks_read_nan() -> None:
    one = Instances.pack((1, 3), [0], [[0]], [[1]], [{"energy": 1.0}])
    other = Instances.pack((1, 3), [1], [[2]], [[1]], [{"angle": 2.0}])
    np.testing.assert_array_equal(Instances.concatenate([one, other]).table["energy"], [1, np.nan])
    np.testing.assert_array_equal(Instances.concatenate([one, other]).table["angle"], [np.nan, 2])


GOOD: dict[str, Any] = {
    "shape": (2, 3),
    "labels": np.array([0, 1]),
    "offsets": np.array([0, 2, 3]),
    "pixels": np.array([0, 4, 4]),
    "values": np.ones(3, np.float32),
    "table": {"energy": np.array([1.0, np.nan])},
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": (3,)}, "shape"),
        ({"shape": (0, 3)}, "shape"),
        ({"labels": np.array([0, -1])}, "class -1"),
        ({"labels": np.array([0.0, 1.0])}, "labels"),
        ({"labels": np.array([0])}, "offsets"),
        ({"offsets": np.array([0, 2])}, "offsets"),
        ({"offsets": np.array([1, 2, 3])}, "offsets"),
        ({"offsets": np.array([0, 3, 2])}, "offsets"),
        ({"offsets": np.array([0, 2, 4])}, "offsets end at 4"),
        ({"offsets": np.array([], int)}, "offsets"),
        ({"pixels": np.array([0, 6, 4])}, "6"),
        ({"pixels": np.array([-1, 4, 4])}, "-1"),
        ({"pixels": np.array([4, 0, 4])}, "increasing"),
        ({"pixels": np.array([4, 4, 5])}, "increasing"),
        ({"pixels": np.array([0.0, 4.0, 4.0])}, "pixels"),
        ({"pixels": np.array([[0, 4, 4]])}, "pixels"),
        ({"values": np.array([1, np.nan, 1], np.float32)}, "NaN"),
        ({"values": np.array([1, np.inf, 1], np.float32)}, "infinite"),
        ({"values": np.ones(3, complex)}, "values"),
        ({"values": np.ones(2, np.float32)}, "2 values"),
        ({"table": {"energy": np.ones(3)}}, "energy"),
        ({"table": {"energy": np.array(["x", "y"])}}, "energy"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    Instances(**GOOD)
    with pytest.raises(DataError, match=words) as caught:
        Instances(**GOOD | changes)
    assert "\n" not in str(caught.value)


def test_records_of_other_shapes_are_not_joined() -> None:
    parts = [Instances(**GOOD), Instances(**GOOD | {"shape": (2, 4)})]
    for records in (parts, []):
        with pytest.raises(DataError, match="shape"):
            Instances.concatenate(records)


class Squares(Scene):
    """Squares of two kinds, some across the edge."""

    classes = ("soft", "hard")

    def __init__(self, *size: int) -> None:
        self.shape = (2, *size)

    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Any]]:
        dims = len(self.shape) - 1
        names = rng.choice(self.classes, 5)
        origins = rng.integers(-2, 9, (5, dims)).tolist()
        values = rng.random((5, 2, *[4] * dims), np.float32)
        squares = [Placed(*each, {"rank": i}) for i, each in enumerate(zip(names, values, origins, strict=True))]
        return squares, {}


def mixer(*size: int) -> Mixer:
    return Mixer(Squares(*size), 6, 0, "train", fixed=False)


def instances_of(sample: Sample) -> Instances:
    found = sample.instances
    assert found is not None
    return found


@pytest.mark.parametrize("size", [(11,), (9, 9), (7, 7, 7)])
def test_turned_samples_keep_their_instances_exactly(size: Shape) -> None:
    dataset = mixer(*size)
    for index in range(6):
        turned = Augmentation().apply(dataset[index], np.random.default_rng(index))
        np.testing.assert_array_equal(instances_of(turned).sums(2), turned.target)
        np.testing.assert_array_equal(
            instances_of(turned).table["rank"], instances_of(dataset[index]).table["rank"]
        )


@pytest.mark.parametrize("conserve", ["intensity", "brightness"])
@pytest.mark.parametrize("size", [(24,), (24, 20), (12, 12, 12)])
def test_warped_instances_add_up_to_the_warped_target(size: Shape, conserve: Any) -> None:
    pytest.importorskip({1: "numpy", 2: "albumentations", 3: "monai"}[len(size)])
    affine = Affine(scale=(1.2, 1.3), shift=2) if len(size) == 1 else Affine(rotate=30, scale=(0.8, 1.2), shift=2)
    sample = mixer(*size)[0]
    warped = warp(sample, np.random.default_rng(1), affine, Elastic(size=0.5, length=6), conserve)
    assert not np.array_equal(warped.target, sample.target)
    np.testing.assert_allclose(instances_of(warped).sums(2), warped.target, atol=1e-5)
    assert set(instances_of(warped).table["rank"]) <= set(instances_of(sample).table["rank"])
    far = warp(sample, np.random.default_rng(3), Affine(shift=1e4))
    assert len(instances_of(far)) == 0


def test_remixed_instances_come_from_the_sample_of_their_class() -> None:
    remixed = Remixed(mixer(9, 9), Remix(amplitudes=(0.5, 2.0)), seed=0)
    for index in range(4):
        sample = remixed[index]
        np.testing.assert_allclose(instances_of(sample).sums(2), sample.target, rtol=1e-5)
    without = Remixed(Bare(mixer(9, 9)), Remix(), seed=0)
    assert without[0].instances is None


class Bare(SampleDataset):
    """Samples of another data set without their instances."""

    def __init__(self, dataset: SampleDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, index: int, epoch: int) -> Sample:
        return self.dataset.sample(index, epoch).replace(instances=None)


def test_instances_are_made_when_they_are_first_read() -> None:
    calls: list[int] = []
    image = np.ones((2, 3), np.float32)

    def make() -> Instances:
        calls.append(1)
        return Instances(**GOOD)

    sample = Sample(image, image[None], np.ones((1, 3), bool), instances=make)
    renamed = sample.replace(meta={"id": "new"})
    flipped = sample.replace(instances=sample.changed_instances(lambda found: found.flip([0])))
    assert sample.has_instances
    assert not calls
    assert sample.instances is sample.instances
    assert len(calls) == 1
    assert_equal(instances_of(renamed), instances_of(sample))
    assert_equal(instances_of(flipped), instances_of(sample).flip([0]))
    assert_equal(instances_of(pickle.loads(pickle.dumps(mixer(5)[0]))), instances_of(mixer(5)[0]))


def test_a_sample_without_instances_has_none() -> None:
    image = np.ones((2, 3), np.float32)
    sample = Sample(image, image[None], np.ones((1, 3), bool))
    assert not sample.has_instances
    assert sample.instances is None
    assert sample.changed_instances(lambda found: found) is None


def test_instances_of_another_image_are_refused() -> None:
    image = np.ones((2, 4), np.float32)
    with pytest.raises(DataError, match=r"\(2, 3\), expected \(2, 4\)"):
        Sample(image, image[None], np.ones((1, 4), bool), instances=Instances(**GOOD))


def test_a_batch_has_instances_where_they_are_asked_for() -> None:
    samples = [mixer(9, 9)[index] for index in range(3)]
    assert collate(samples).instances is None
    batch = collate_instances(samples)
    assert isinstance(batch, Batch)
    assert batch.instances is not None
    for one, other in zip(batch.to("cpu").samples(), samples, strict=True):
        assert_equal(instances_of(one), instances_of(other))
    assert collate_instances([*samples[1:], samples[0].replace(instances=None)]).instances is None
