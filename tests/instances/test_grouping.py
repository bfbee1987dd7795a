import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from oasis.data.instances import Instances
from oasis.errors import ConfigError, DataError
from oasis.instances.grouping import Grouping, group


def blobs(centres, shape=(40, 48), sigma=2.0, height=50.0):
    grid = np.indices(shape)
    image = np.zeros(shape, np.float32)
    for centre in centres:
        square = sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=True))
        image += height * np.exp(-square / (2 * sigma**2))
    return image[None]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), dims=st.integers(1, 3), share=st.floats(0.02, 0.6))
def test_components_against_scipy(seed, dims, share):
    rng = np.random.default_rng(seed)
    shape = (23, 11, 7)[:dims]
    maps = np.where(rng.random((2, 1, *shape)) < share, rng.uniform(1.5, 9, (2, 1, *shape)), 0.5).astype(
        np.float32
    )
    found = group(maps, ["a", "b"], {"a": 1.0, "b": 2.0})
    for label, threshold in enumerate((1.0, 2.0)):
        groups, count = ndimage.label(maps[label, 0] > threshold, np.ones((3,) * dims))
        mine = np.flatnonzero(found.labels == label)
        assert len(mine) == count
        for number, one in enumerate(mine, start=1):
            expected = np.where(groups == number, maps[label, 0], 0)
            np.testing.assert_array_equal(found.dense(one)[0], expected)


def test_instances_have_the_pixels_of_all_their_bands():
    maps = np.zeros((1, 2, 6), np.float32)
    maps[0, 0, 1:3], maps[0, 1, 2:4] = 5, 7  # together one object
    found = group(maps, ["a"], {"a": 1.0})
    assert len(found) == 1
    np.testing.assert_array_equal(found.dense(0), maps[0])


@pytest.mark.parametrize("dims", [1, 2])
def test_gaps_are_bridged_as_far_as_stated(dims):
    line = np.zeros(20, np.float32)
    line[[1, 2, 5, 9, 14]] = 3
    maps = line.reshape(1, 1, *[1] * (dims - 1), 20)
    counts = [len(group(maps, ["a"], {"a": 1.0}, {"a": Grouping(method="gaps", gap=gap)})) for gap in (1, 2, 3, 4)]
    assert counts == [4, 3, 2, 1]


def test_gaps_against_distances_of_pixels():
    rng = np.random.default_rng(0)
    lit = rng.random((40, 40)) < 0.05
    found = group(lit[None, None] * 5.0, ["a"], {"a": 1.0}, {"a": Grouping(method="gaps", gap=2)})
    places = np.argwhere(lit)
    near = ((places[:, None] - places[None]) ** 2).sum(2) <= 9
    reached = np.linalg.matrix_power(near.astype(float), len(places)) > 0
    assert len(found) == len({tuple(row) for row in reached.tolist()})


def test_a_watershed_divides_objects_that_touch_at_their_valley():
    image = blobs([(15, 12), (15, 21), (30, 35)])
    assert len(group(image[None], ["a"], {"a": 1.0})) == 2
    found = group(image[None], ["a"], {"a": 1.0}, {"a": Grouping(method="watershed")})
    assert len(found) == 3
    np.testing.assert_allclose(found.sums(1)[0], np.where(image > 1, image, 0))
    left, right = (found.dense(index)[0] for index in (0, 1))
    assert left[15, 12] == image[0, 15, 12]
    assert right[15, 21] == image[0, 15, 21]
    assert left[:, 18:].sum() == right[:, :16].sum() == 0  # the valley lies between columns 16 and 17
    np.testing.assert_allclose(found.intensity[:, 0], found.intensity[2, 0], rtol=0.02)


def test_peaks_nearer_than_the_separation_are_one():
    image = blobs([(15, 12), (15, 21)])
    for separation, count in ((8, 2), (10, 1)):
        how = {"a": Grouping(method="watershed", separation=separation)}
        assert len(group(image[None], ["a"], {"a": 1.0}, how)) == count


def test_a_plateau_has_one_peak():
    flat = np.zeros((1, 1, 12, 12), np.float32)
    flat[..., 2:9, 3:10] = 4
    how = {"a": Grouping(method="watershed", smoothing=0, separation=0.1)}
    assert len(group(flat, ["a"], {"a": 1.0}, how)) == 1


def test_small_and_faint_instances_are_left_out():
    maps = np.array([[[9, 0, 5, 5, 0, 2, 2, 2]]], np.float32)
    found = group(maps, ["a"], {"a": 1.0}, {"a": Grouping(pixels=2, intensity=8)})
    assert found.intensity[:, 0].tolist() == [10]


def test_fragments_join_the_brightest_instance_that_they_touch():
    maps = np.zeros((2, 1, 6, 12), np.float32)
    maps[1, 0, 2, 0:5] = 50  # a track
    maps[1, 0, 2, 8:11] = 20  # a fainter one
    maps[0, 0, 3, 4:8] = 1.5  # a fragment that touches both
    maps[0, 0, 0, 0] = 1.5  # one that touches none
    maps[0, 0, 4, 11] = 30  # touches none
    how = {"dot": Grouping(joins=("track",))}
    found = group(maps, ["dot", "track"], {"dot": 1.0, "track": 1.0}, how)
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert sorted(found.intensity[:, 0].tolist()) == [1.5, 30, 60, 256]
    np.testing.assert_allclose(found.sums(2).sum(0), maps.sum(0))
    apart = group(maps, ["dot", "track"], {"dot": 1.0, "track": 1.0})
    assert len(apart) == 5


def test_a_fragment_has_at_most_a_share_and_an_amount_of_intensity():
    maps = np.zeros((2, 1, 12), np.float32)
    maps[1, 0, 0:6], maps[0, 0, 6:8], maps[0, 0, 9], maps[1, 0, 10:12] = 100, 20, 50, 40

    def counted(**options):
        how = {"dot": Grouping(joins=("track",), **options)}
        return group(maps, ["dot", "track"], {"dot": 1.0, "track": 1.0}, how).counts(2).tolist()

    assert counted(fragment=0.2) == [1, 2]  # 40 of 600, not 50 of 80
    assert counted(fragment=1) == [0, 2]
    assert counted(fragment=1, fragment_intensity=45) == [1, 2]
    assert counted(fragment=1, fragment_intensity=39) == [2, 2]
    # 11 of 12 pixels are lit
    assert counted(fragment=1, fragment_intensity=41, fragment_lit=11 / 12) == [1, 2]
    assert counted(fragment=1, fragment_intensity=21, fragment_lit=1) == [2, 2]
    assert counted(fragment=1, fragment_intensity=81, fragment_lit=0.25 * 11 / 12) == [1, 2]
    assert counted(fragment=1, fragment_intensity=79, fragment_lit=0.25 * 11 / 12) == [2, 2]
    with pytest.raises(ConfigError, match="fragment_lit: is for a fragment_intensity"):
        Grouping.parse({"fragment_lit": 0.01})


def test_the_largest_fragment_counts_a_pixel_that_objects_share_once():
    maps = np.zeros((2, 2, 10), np.float32)
    maps[0, 1, 2:4], maps[1, :, :4] = 10, 100  # 4 of 10 pixels are lit
    for most, count in ((21, 1), (19, 2)):
        how = {"dot": Grouping(joins=("track",), fragment_intensity=most, fragment_lit=0.4)}
        assert len(group(maps, ["dot", "track"], {"dot": 1.0, "track": 1.0}, how)) == count


def test_equal_instances_that_would_join_in_a_circle_are_one():
    maps = np.zeros((3, 1, 4), np.float32)
    maps[:, 0, 1:3] = 5
    ring = {name: Grouping(joins=(other,), fragment=1) for name, other in (("a", "b"), ("b", "c"), ("c", "a"))}
    found = group(maps, ["a", "b", "c"], {}, ring)
    assert found.labels.tolist() == [2]
    assert found.intensity.tolist() == [[30]]


def test_shared_pixels_add_up_when_a_fragment_joins():
    maps = np.zeros((2, 1, 8), np.float32)
    maps[1, 0, 1:5], maps[0, 0, 4:6] = 50, 2
    found = group(maps, ["dot", "track"], {"dot": 1.0, "track": 1.0}, {"dot": Grouping(joins=("track",))})
    assert found.dense(0)[0].tolist() == [0, 50, 50, 50, 52, 2, 0, 0]


@pytest.mark.parametrize("method", ["components", "gaps", "watershed"])
def test_empty_maps_have_no_instances(method):
    found = group(np.zeros((2, 1, 9, 9), np.float32), ["a", "b"], {}, {"a": Grouping(method=method, joins=("b",))})
    assert isinstance(found, Instances)
    assert len(found) == 0


def test_what_does_not_fit_is_refused():
    with pytest.raises(ConfigError, match="grouping: unknown class 'trak'; did you mean 'track'"):
        group(np.zeros((2, 1, 9), np.float32), ["dot", "track"], {}, {"dot": Grouping(joins=("trak",))})
    with pytest.raises(DataError, match="3 maps for the classes"):
        group(np.zeros((3, 1, 9), np.float32), ["dot", "track"], {})


def test_a_hundred_thousand_instances_of_a_frame():
    rng = np.random.default_rng(0)
    maps = np.zeros((1, 1, 1024, 1536), np.float32)
    maps[0, 0, ::4, ::4] = rng.uniform(2, 9, (256, 384))
    found = group(maps, ["a"], {"a": 1.0}, {"a": Grouping(method="gaps", gap=1)})
    assert len(found) == 256 * 384


def test_joining_takes_memory_for_lit_pixels_only():
    maps = np.zeros((2, 1, 1024, 1024), np.float32)
    maps[0, 0, 5, 5:8], maps[1, 0, 6, 5:30] = 1, 1
    tracemalloc.start()
    found = group(maps, ["a", "b"], {}, {"a": Grouping(joins=("b",), fragment=0.5)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.sizes.tolist() == [28]
    assert peak < 2.5 * maps[0].nbytes  # the components of one class, whose map is dense
