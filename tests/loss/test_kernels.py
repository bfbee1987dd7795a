"""The fast sums against the terms of the loss in plain torch, values and gradients. About 2 s."""

import pytest
import torch

from oasis.loss import kernels
from oasis.loss.kernels import error_and_step_sums
from oasis.loss.regression import region_weighted_error, regression_and_smoothness, total_variation

SHAPES = [(1, 1, 1), (3, 2, 17), (2, 5, 6, 7), (2, 3, 4, 5, 6), (2, 1, 1, 9)]


def draw(shape):
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    weights = torch.rand(shape[0], *shape[2:], generator=generator, dtype=torch.float64).sub(0.3).clamp_min(0)
    return prediction, target, weights, (weights > 0).unsqueeze(1)


def with_gradient(terms, prediction):
    """The ratios of both terms, and the gradient of what mixes them."""
    leaf = prediction.detach().clone().requires_grad_()
    pair = terms(leaf)
    (pair[0].numerator * torch.arange(1, len(leaf) + 1) + 0.3 * pair[1].numerator).sum().backward()
    return [values.detach() for ratio in pair for values in ratio], leaf.grad


def both_ways(prediction, target, weights, valid, dims=None):
    class_weights = torch.arange(1.0, 1 + prediction.shape[1], dtype=torch.float64)
    plain = with_gradient(
        lambda maps: (
            region_weighted_error(maps, target, weights, class_weights),
            total_variation(maps, valid, dims),
        ),
        prediction,
    )
    fast = with_gradient(
        lambda maps: regression_and_smoothness(maps, target, weights, class_weights, valid, dims), prediction
    )
    return fast, plain


@pytest.mark.parametrize("part", [1, 8, 2**19])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_both_ways_give_the_same(shape, masked, part, monkeypatch):
    monkeypatch.setattr(kernels, "PART", part)
    prediction, target, weights, valid = draw(shape)
    torch.testing.assert_close(*both_ways(prediction, target, weights, valid if masked else None))


@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
@pytest.mark.parametrize("shape", SHAPES[1:])
def test_what_does_not_count_may_hold_anything(shape, poison):
    prediction, target, weights, valid = draw(shape)
    clean, _ = both_ways(prediction, target, weights, valid)
    fast, plain = both_ways(
        prediction.masked_fill(~valid, poison), target.masked_fill(~valid, -poison), weights, valid
    )
    torch.testing.assert_close(fast, plain)
    torch.testing.assert_close(fast, clean)


def test_edges_do_not_cross_bands():
    prediction, target, weights, _ = draw((2, 3, 4, 5, 6))
    valid = torch.rand(2, 1, 1, 5, 6) > 0.3
    torch.testing.assert_close(*both_ways(prediction, target, weights, valid, dims=2))
    _, steps = error_and_step_sums(prediction, target, weights, None, dims=2)
    by_band = sum(
        error_and_step_sums(prediction[:, :, band], target[:, :, band], weights[:, band], None, 2)[1]
        for band in range(4)
    )
    torch.testing.assert_close(steps, by_band)


def test_the_gradient_is_that_of_finite_differences():
    prediction, target, weights, valid = draw((2, 2, 4, 3))
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda maps: error_and_step_sums(maps, target, weights, valid, 2), prediction)


def test_a_target_or_weights_that_are_learned_have_their_gradient():
    prediction, target, weights, _ = draw((2, 2, 4, 3))
    for leaf in (target, weights):
        leaf.requires_grad_()
        regression_and_smoothness(prediction, target, weights, torch.ones(2))[0].numerator.sum().backward()
        assert leaf.grad.abs().sum() > 0
        leaf.requires_grad_(False)


def test_maps_in_any_memory_format():
    prediction, target, weights, _ = draw((2, 3, 4, 5))
    other = prediction.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        both_ways(other, target, weights, None)[0], both_ways(prediction, target, weights, None)[1]
    )
