import numpy as np
import pytest

from oasis.adapters import SimulatedAdapter
from oasis.data.mixing import Placed
from oasis.errors import ConfigError, DataError
from oasis.testing import check_adapter


class Steps(SimulatedAdapter):
    classes = ("low", "high")
    shape = (2, 6, 5)

    def place(self, rng):
        for _ in range(rng.integers(1, 4)):
            yield Placed("low", rng.uniform(1, 2, (2, 6, 5)))
        yield Placed("high", np.full((2, 9, 1), 5.0, np.float32), (-1, rng.integers(0, 5)))

    def observe(self, image, rng):
        return image + rng.normal(0, 0.1, image.shape)


def test_an_adapter_that_simulates_keeps_the_contract():
    check_adapter(Steps, count=3)


def test_facts_and_samples_follow_from_its_shape_and_objects():
    adapter = Steps({"size": [3, 4]})
    assert (adapter.bands, adapter.spatial_dims, adapter.shape, Steps.shape) == (2, 2, (2, 3, 4), (2, 6, 5))
    sample = adapter.dataset("test")[0]
    assert (sample.image.shape, sample.image.dtype, sample.valid.all()) == ((2, 3, 4), np.float32, True)
    assert sample.meta["number_high"] == 1
    assert sorted(sample.instances.labels) == [0] * sample.meta["number_low"] + [1]
    noise = sample.image - sample.target.sum(axis=0)
    assert 0 < np.abs(noise).max() < 1


def test_without_observation_the_image_is_the_sum_of_its_maps():
    class Clean(Steps):
        observe = SimulatedAdapter.observe

    sample = Clean().dataset("val")[1]
    np.testing.assert_array_equal(sample.image, sample.target.sum(axis=0))


@pytest.mark.parametrize("shape", [(), (4,), (1, 2, 3, 4, 5), 48, (1, 4.0, 5), (1, -4, 5), (0, 4, 5)])
def test_a_shape_that_no_image_has_is_refused(shape):
    with pytest.raises(ConfigError, match="expected bands and one to three spatial axes"):
        type("Wrong", (Steps,), {"shape": shape})()


@pytest.mark.parametrize("size", [[4], [4, 4, 4], [4, 0]])
def test_a_size_with_other_axes_is_refused(size):
    with pytest.raises(ConfigError, match=r"data\.size: expected 2 lengths of at least 1"):
        Steps({"size": size})


@pytest.mark.parametrize(
    "placed",
    [
        Placed("low", np.ones((6, 5))),
        Placed("low", np.ones((1, 6, 5))),
        Placed("low", np.ones((2, 6, 5)), (0,)),
    ],
    ids=["no bands", "other bands", "an axis of the origin is missing"],
)
def test_objects_with_other_axes_than_the_image_are_refused(placed):
    class Wrong(Steps):
        def place(self, rng):
            return [placed]

    with pytest.raises(DataError, match=r"placed component 'low': .* expected \(2, \*s\) with 2 spatial axes"):
        Wrong().dataset("test")[0]


@pytest.mark.parametrize(
    ("placed", "message"),
    [
        (None, r"Wrong\.place: expected a list of Placed, found NoneType"),
        (Placed("low", np.ones((2, 6, 5))), r"Wrong\.place: expected a list of Placed, found Placed"),
        ([("low", np.ones((2, 6, 5)))], "expected a Placed.* found tuple"),
        ([Placed("low", [[[1.0]]])], "array of real numbers, found list"),
        ([Placed("low", np.ones((2, 6, 5), complex))], "array of real numbers, found complex128"),
        ([Placed("low", np.ones((2, 2, 2)), (1.5, 1))], r"an origin of integers, .* found \(1\.5, 1\)"),
        ([Placed("low", np.ones((2, 2, 2)), 3)], "an origin of integers, .* found 3"),
    ],
)
def test_what_is_no_object_is_refused_by_a_line(placed, message):
    class Wrong(Steps):
        def place(self, rng):
            return placed

    with pytest.raises(DataError, match=message):
        Wrong().dataset("test")[0]
