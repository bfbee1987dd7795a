"""Re-mixing: the new image is the sum it claims to be, of maps that come from where it says; under 2 s."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oasis.data.mixing import SampleDataset
from oasis.data.remixing import Remix, Remixed
from oasis.data.samples import Sample
from oasis.errors import ConfigError, DataError


class Recorded(SampleDataset):
    """Random maps, a background and noise that can be told from each other."""

    def __init__(self, count: int = 6, classes: int = 2, shape: tuple[int, ...] = (2, 5, 4)) -> None:
        self.samples = []
        for index in range(count):
            rng = np.random.default_rng([index, classes])
            target = rng.exponential(10.0 ** rng.integers(0, 5), (classes, *shape)).astype(np.float32)
            image = target.sum(0) + rng.normal(3, 1, shape).astype(np.float32)
            valid = rng.random((1, *shape[1:])) > 0.1
            self.samples.append(Sample(image, target, valid, {"id": f"train/{index}", "energy": 5.0}))

    def __len__(self) -> int:
        return len(self.samples)

    def sample(self, index: int, epoch: int) -> Sample:
        one = self.samples[index]
        return one.replace(image=one.image + epoch, meta={**one.meta, "epoch": epoch})


def sources_of(sample: Sample) -> list[int]:
    return [int(part.removeprefix("train/")) for part in str(sample.meta["id"]).split("+")]


@given(
    st.integers(0, 2**32),
    st.integers(1, 5),
    st.sampled_from([(1, 7), (2, 5, 4), (1, 3, 2, 4)]),
    st.sampled_from([(1.0, 1.0), (0.5, 2.0), (1e-3, 1e3)]),
)
@settings(max_examples=40, deadline=None)
def test_the_image_is_the_sum_of_foreign_maps_and_its_own_residual(
    seed: int, classes: int, shape: tuple[int, ...], amplitudes: tuple[float, float]
) -> None:
    dataset = Recorded(4, classes, shape)
    remixed = Remixed(dataset, Remix(amplitudes=amplitudes), seed)
    for epoch, index in product((0, 3), range(4)):
        sample, own = remixed[epoch, index], dataset[epoch, index]
        first, *sources = sources_of(sample)
        assert first == index
        assert len(sources) == classes
        assert index not in sources
        for target, source, k in zip(sample.target, sources, range(classes), strict=True):
            factors = target / dataset[epoch, source].target[k]
            np.testing.assert_allclose(factors, factors.flat[0], rtol=1e-6)
            assert amplitudes[0] * (1 - 1e-6) <= factors.flat[0] <= amplitudes[1] * (1 + 1e-6)
        residual = own.image.astype(float) - own.target.astype(float).sum(0)
        rest = sample.image.astype(float) - sample.target.astype(float).sum(0)
        assert (np.abs(rest - residual) <= np.spacing(np.abs(sample.image))).all()
        expected = np.logical_and.reduce([dataset[source].valid for source in (index, *sources)])
        np.testing.assert_array_equal(sample.valid, expected)
        assert set(sample.meta) == {"id"}
        assert {array.dtype for array in (sample.image, sample.target)} == {np.dtype(np.float32)}


def test_every_class_draws_its_source_and_amplitude_apart() -> None:
    dataset = Recorded(5)
    remixed = Remixed(dataset, Remix(amplitudes=(0.5, 2)), seed=1)
    samples = [remixed[epoch, 2] for epoch in range(400)]
    pairs = [tuple(sources_of(sample)[1:]) for sample in samples]
    counts = {pair: pairs.count(pair) for pair in product((0, 1, 3, 4), repeat=2)}
    assert sum(counts.values()) == 400
    assert min(counts.values()) >= 10
    amplitudes = np.array(
        [
            [sample.target[k].sum() / dataset.samples[pair[k]].target[k].sum() for k in range(2)]
            for sample, pair in zip(samples, pairs, strict=True)
        ]
    )
    logs = np.log2(amplitudes)
    np.testing.assert_allclose(np.quantile(logs, [0, 0.5, 1], axis=0), [[-1, -1], [0, 0], [1, 1]], atol=0.15)
    assert abs(np.corrcoef(logs.T)[0, 1]) < 0.15


def test_a_sample_is_mixed_anew_in_every_epoch_and_the_same_when_asked_again() -> None:
    remixed, again = (Remixed(Recorded(), Remix(amplitudes=(0.5, 2)), seed=4) for _ in range(2))
    assert len(remixed) == 6
    keys = [(epoch, index) for epoch in range(3) for index in range(6)]
    images = {key: remixed[key].image for key in keys}
    assert len({(image - key[0]).tobytes() for key, image in images.items()}) == len(keys)
    for key in reversed(keys):
        np.testing.assert_array_equal(again[key].image, images[key])
    other = Remixed(Recorded(), Remix(amplitudes=(0.5, 2)), seed=5)
    assert not np.array_equal(other[0].image, images[0, 0])


def test_probability_leaves_the_others_as_they_are() -> None:
    dataset = Recorded()
    remixed = Remixed(dataset, Remix(probability=0.25), seed=0)
    samples = [remixed[epoch, 1] for epoch in range(200)]
    untouched = [sample for sample in samples if sample.meta["id"] == "train/1"]
    assert 125 <= len(untouched) <= 175
    assert all(sample.meta["energy"] == 5 for sample in untouched)
    np.testing.assert_array_equal(untouched[0].target, dataset[1].target)


def test_samples_without_identity_are_named_by_their_index() -> None:
    dataset = Recorded(2)
    dataset.samples = [sample.replace(meta={}) for sample in dataset.samples]
    assert Remixed(dataset, Remix(), seed=0)[1].meta == {"id": "1+0+0"}


def test_what_cannot_be_mixed_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError) as few:
        Remixed(Recorded(1), Remix(), seed=0)
    assert str(few.value) == "augmentation.remix: needs 2 samples or more, found 1: leave it out"
    uneven = Recorded(2)
    uneven.samples[1] = Recorded(2, shape=(2, 5, 5)).samples[1]
    with pytest.raises(DataError) as shapes:
        Remixed(uneven, Remix(), seed=0)[0]
    assert str(shapes.value) == (
        "augmentation.remix: samples train/0 and train/1 have targets of shapes (2, 2, 5, 4) and (2, 2, 5, 5), "
        "expected one shape: leave remix out"
    )
    known = Recorded(2)
    known.samples[0] = known.samples[0].replace(context=np.zeros((1, 5, 4), np.float32))
    with pytest.raises(DataError) as context:
        Remixed(known, Remix(probability=0), seed=0)[0]
    assert str(context.value) == (
        "augmentation.remix: sample train/0 has a context, which belongs to its own image: leave remix out"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"amplitudes": [2, 1]}, "remix.amplitudes: expected two factors [low, high] with 0 < low <= high"),
        ({"amplitude": [1, 2]}, "remix.amplitude: unknown key; did you mean 'amplitudes'?"),
        ({"probability": 2}, "remix.probability: Input should be less than or equal to 1"),
    ],
)
def test_options_say_what_does_not_fit(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Remix.parse(values, where="remix")
    assert str(caught.value).startswith(message)
