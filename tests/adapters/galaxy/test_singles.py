"""The single galaxies of a blend, and which of them a map shows, against scipy's least squares over all pixels."""

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from oasis.adapters.galaxy.singles import Singles, confused, contributions, single_galaxies
from oasis.data.instances import Instances
from oasis.data.samples import Sample
from oasis.errors import DataError


def blend(target, instances=None):
    return Sample(target.sum(axis=0), target, np.ones((1, 5, 5), bool), {"id": "a"}, instances=instances)


def test_galaxies_are_the_instances_of_a_sample():
    rng = np.random.default_rng(0)
    maps = rng.random((3, 2, 5, 5), dtype=np.float32) * (rng.random((3, 2, 5, 5)) > 0.5)
    lit = [np.flatnonzero(one) for one in maps]
    values = [one[one != 0] for one in maps]
    instances = Instances.pack((2, 5, 5), [0, 1, 1], lit, values)
    found = single_galaxies(blend(np.stack([maps[0], maps[1] + maps[2]]), instances), several=True)
    np.testing.assert_array_equal(found.maps, maps)
    assert found.labels.tolist() == [0, 1, 1]


def test_without_instances_a_map_with_light_is_one_galaxy():
    target = np.zeros((3, 1, 5, 5), np.float32)
    target[[0, 2], 0, 2, 2] = 1
    assert single_galaxies(blend(target)).labels.tolist() == [0, 2]
    with pytest.raises(DataError, match="a: its single galaxies"):
        single_galaxies(blend(target), several=True)


def test_contributions_are_a_least_squares_fit():
    rng = np.random.default_rng(0)
    singles, maps = rng.random((3, 6, 6)) ** 3, rng.normal(0, 1, (8, 6, 6))
    expected = [
        lsq_linear(singles.reshape(3, -1).T, one.ravel(), (0, np.inf), tol=1e-12).x * singles.sum(axis=(1, 2))
        for one in maps
    ]
    assert (np.array(expected) < 1e-6).any()
    np.testing.assert_allclose(contributions(maps, singles), expected, atol=1e-4)


def test_two_galaxies_of_one_profile_share_their_light_without_an_error():
    same = np.eye(4).reshape(4, 2, 2)[[0, 0]]
    assert contributions(same[:1], same).sum() == pytest.approx(1)
    assert confused(same[:, None], Singles(same[:, None], np.array([0, 1])), 0).shape == (2,)
