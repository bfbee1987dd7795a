"""Matching against brute force and against the permutation-invariant training of torchmetrics. About 3 s."""

from itertools import permutations

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torchmetrics.functional.audio import permutation_invariant_training

from oasis.loss.distances import absolute, squared
from oasis.loss.matching import align, best_order, pairwise_cost


def draw(seed, members, shape=(5, 6), batch=4):
    generator = torch.Generator().manual_seed(seed)
    prediction, target = torch.rand(2, batch, members, *shape, generator=generator)
    weights = torch.rand(batch, *shape, generator=generator) * (
        torch.rand(batch, *shape, generator=generator) > 0.3
    )
    return prediction, target, weights


@pytest.mark.parametrize("distance", [absolute, squared])
def test_the_cost_is_the_weighted_sum_over_pixels(distance):
    prediction, target, weights = draw(0, 3)
    cost = pairwise_cost(prediction, target, weights, distance)
    for predicted in range(3):
        for true in range(3):
            expected = (weights * distance(prediction[:, predicted], target[:, true])).sum((1, 2))
            assert torch.allclose(cost[:, predicted, true], expected)


@pytest.mark.parametrize("members", [1, 2, 3, 4, 5, 6])
def test_the_order_is_the_best_of_all(members):
    cost = torch.rand(20, members, members, generator=torch.Generator().manual_seed(members))
    order = best_order(cost)
    assert (order.sort(dim=1).values == torch.arange(members)).all()
    for one, found in zip(cost, order, strict=True):
        least = min(sum(one[p, t] for t, p in enumerate(trial)) for trial in permutations(range(members)))
        assert sum(one[p, t] for t, p in enumerate(found)).item() == pytest.approx(least.item())


def test_beyond_all_orders_the_hungarian_method_is_used():
    cost = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(0))
    for one, found in zip(cost, best_order(cost), strict=True):
        rows, columns = linear_sum_assignment(one.numpy())
        assert one[found, torch.arange(12)].sum().item() == pytest.approx(one[rows, columns].sum().item())


@pytest.mark.parametrize("members", [2, 3, 5])
def test_the_best_error_is_that_of_torchmetrics(members):
    prediction, target, _ = draw(1, members)

    def error(one, other):
        return (one - other).abs().flatten(1).mean(1)

    expected, _ = permutation_invariant_training(prediction, target, error, eval_func="min")
    found = (align(prediction, target, [range(members)]) - target).abs().flatten(2).mean((1, 2))
    assert torch.allclose(found, expected)


def test_only_members_of_a_group_change_places():
    _, target, weights = draw(2, 6)
    shuffled = target[:, [1, 0, 2, 5, 4, 3]]
    assert torch.equal(align(shuffled, target, [(0, 1), (3, 4, 5)], weights), target)
    assert torch.equal(align(shuffled, target, [(0, 1)], weights)[:, 3], target[:, 5])
    assert align(shuffled, target, []) is shuffled


def test_the_gradient_reaches_every_map_in_its_place():
    _, target, _ = draw(3, 3)
    prediction = target[:, [2, 0, 1]].clone().requires_grad_()
    (align(prediction, target, [(0, 1, 2)])[:, 0]).sum().backward()
    assert prediction.grad[:, 1].eq(1).all()
    assert not prediction.grad[:, [0, 2]].any()


def test_pixels_of_weight_0_do_not_decide_even_if_they_hold_nan():
    _, target, _ = draw(4, 2)
    weights = torch.ones_like(target[:, 0])
    weights[:, 0] = 0
    shuffled, holed = target.flip(1), target.clone()
    holed[:, :, 0] = torch.nan
    found = align(shuffled, holed, [(0, 1)], weights)
    assert torch.equal(found, target)


def test_bands_belong_to_a_map():
    target = torch.rand(3, 2, 4, 5, 6)
    assert torch.equal(align(target.flip(1), target, [(0, 1)], torch.ones(3, 4, 5, 6)), target)
