"""Random numbers of several samples at once."""

import numpy as np
import pytest

from oasis.data.draws import Draws, of_rows

OF = np.array([0, 0, 0, 2, 2])  # no row of sample 1
PARTS = {0: slice(0, 3), 2: slice(3, 5)}
MEAN, SIGMA = np.array([1.0, 2.0, 3.0, 4.0, 50.0]), np.array([0.1, 1.0, 2.0, 0.5, 7.0])


def generators() -> list[np.random.Generator]:
    return [np.random.default_rng([5, seed]) for seed in range(3)]


@pytest.mark.parametrize(
    ("together", "alone"),
    [
        (lambda rng: rng.random(5), lambda rng, part: rng.random(part.stop - part.start)),
        (lambda rng: rng.random((5, 2)), lambda rng, part: rng.random((part.stop - part.start, 2))),
        (lambda rng: rng.uniform(-2, 3, 5), lambda rng, part: rng.uniform(-2, 3, part.stop - part.start)),
        (lambda rng: rng.uniform(MEAN, 60), lambda rng, part: rng.uniform(MEAN[part], 60)),
        (
            lambda rng: rng.uniform(-1, np.array([2.0, 3.0]), (5, 2)),
            lambda rng, part: rng.uniform(-1, np.array([2.0, 3.0]), (part.stop - part.start, 2)),
        ),
        (lambda rng: rng.integers(7, size=5), lambda rng, part: rng.integers(7, size=part.stop - part.start)),
        (lambda rng: rng.poisson(MEAN), lambda rng, part: rng.poisson(MEAN[part])),
        (lambda rng: rng.normal(MEAN, SIGMA), lambda rng, part: rng.normal(MEAN[part], SIGMA[part])),
        (lambda rng: rng.gamma(MEAN, SIGMA), lambda rng, part: rng.gamma(MEAN[part], SIGMA[part])),
    ],
)
def test_rows_get_what_the_generator_of_their_sample_gives_alone(together, alone):
    rngs = generators()
    found = together(Draws(rngs, OF))
    single = generators()
    np.testing.assert_allclose(found, np.concatenate([alone(single[k], part) for k, part in PARTS.items()]))
    assert [rng.random() for rng in rngs] == [rng.random() for rng in single]  # and as many numbers are used up


def test_some_of_the_rows_keep_their_samples():
    draws = of_rows(Draws(generators(), OF), np.array([2, 3, 3]))
    assert draws.of.tolist() == [0, 2, 2]
    expected = generators()
    np.testing.assert_array_equal(draws.random(3), [expected[0].random(), *expected[2].random(2)])
    alone = np.random.default_rng(0)
    assert of_rows(alone, OF > 0) is alone


def test_one_row_per_sample_by_default_and_none_at_all():
    assert Draws(generators()).of.tolist() == [0, 1, 2]
    assert Draws(generators(), np.empty(0, int)).standard_normal((0, 2)).shape == (0, 2)


def test_a_wrong_number_of_rows_is_refused():
    with pytest.raises(ValueError, match="numbers for 4 rows"):
        Draws(generators(), OF).random(4)
