"""Distances against numpy and scipy, and against what they are smallest for. About 1 s."""

import numpy as np
import pytest
import torch
from scipy import optimize, special, stats

from oasis.errors import ConfigError
from oasis.loss.distances import DISTANCES, charbonnier, find_distance, huber, pinball, poisson_deviance


def best_constant(distance, sample):
    """The number whose summed distance to a sample is least."""
    values = torch.tensor(sample)
    cost = lambda number: float(distance(torch.full_like(values, number), values).sum())  # noqa: E731
    return optimize.minimize_scalar(cost, bounds=(sample.min(), sample.max()), method="bounded").x


@pytest.mark.parametrize(
    ("choice", "statistic"),
    [
        ("absolute", np.median),
        ("squared", np.mean),
        ({"name": "charbonnier", "epsilon": 1e-6}, np.median),
        ({"name": "huber", "delta": 1e3}, np.mean),
        ({"name": "pinball", "quantile": 0.05}, lambda x: np.quantile(x, 0.05)),
        ({"name": "pinball", "quantile": 0.9}, lambda x: np.quantile(x, 0.9)),
        (poisson_deviance, np.mean),
    ],
)
def test_the_best_constant_is_the_statistic_that_the_distance_stands_for(choice, statistic):
    sample = np.random.default_rng(0).gamma(2, 3, 4001)
    assert best_constant(find_distance(choice), sample) == pytest.approx(statistic(sample), abs=0.02)


@pytest.mark.parametrize("name", DISTANCES)
def test_a_distance_is_0_only_where_both_are_equal(name):
    prediction, target = torch.tensor([3.0, 2.0, 4.0]), torch.tensor([3.0, 3.0, 3.0])
    zero, low, high = DISTANCES[name](prediction, target).tolist()
    assert zero == 0
    assert low > 0
    assert high > 0


def test_charbonnier_and_huber_lie_between_square_and_absolute():
    far = torch.tensor([100.0])
    assert charbonnier(far, torch.zeros(1)).item() == pytest.approx(100, rel=1e-4)
    assert huber(far, torch.zeros(1), delta=2).item() == pytest.approx(2 * (100 - 1))
    assert huber(far / 100, torch.zeros(1), delta=2).item() == pytest.approx(0.5)


def test_the_deviance_is_the_likelihood_of_scipy():
    expected, counts = np.array([0.5, 3.0, 7.0, 2.0]), np.array([0.0, 3.0, 2.0, 9.0])
    found = poisson_deviance(torch.tensor(expected), torch.tensor(counts)).numpy()
    best = stats.poisson.logpmf(counts, np.where(counts > 0, counts, 1e-300))
    np.testing.assert_allclose(found, 2 * (best - stats.poisson.logpmf(counts, expected)), rtol=1e-9)


@pytest.mark.parametrize("floor", [1e-6, 0.01])
def test_the_floor_of_the_deviance_counts_where_there_are_counts(floor):
    rate = torch.tensor([0.0, 0.0, -1.0, floor / 2, floor / 2], dtype=torch.float64, requires_grad=True)
    counts = torch.tensor([3.0, 0.0, 0.0, 0.0, 2.0], dtype=torch.float64)
    found = poisson_deviance(rate, counts, floor)
    floored = [2 * special.kl_div(count, floor) for count in (3.0, 2.0)]
    np.testing.assert_allclose(found.detach(), [floored[0], 0, 0, floor, floored[1]], rtol=1e-9)
    found.sum().backward()
    assert rate.grad.isfinite().all()


def test_pinball_of_one_half_is_half_the_absolute_distance():
    prediction, target = torch.rand(2, 50)
    assert torch.allclose(2 * pinball(prediction, target), (prediction - target).abs())


def test_any_function_is_taken_as_it_is():
    assert find_distance(torch.maximum) is torch.maximum


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("absolut", "distance: unknown 'absolut'; did you mean 'absolute'?"),
        ({"quantile": 0.5}, "distance: unknown None; known: absolute, charbonnier, huber, pinball, squared"),
        ({"name": "pinball", "q": 0.5}, "distance pinball: unknown 'q'; known: quantile"),
        ({"name": "squared", "delta": 1}, "distance squared: unknown 'delta'; it has no parameters"),
        (
            {"name": "pinball", "quantile": 1.5},
            "distance pinball: quantile must lie between 0 and 1, found 1.5",
        ),
        ({"name": "huber", "delta": "x"}, "distance huber: delta must be a number above 0, found 'x'"),
    ],
)
def test_what_does_not_fit_is_refused(choice, message):
    with pytest.raises(ConfigError) as error:
        find_distance(choice)
    assert str(error.value) == message
