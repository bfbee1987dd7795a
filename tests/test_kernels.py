"""The fast sums against the same in plain torch, values and gradients. About 2 s."""

import pytest
import torch

from oasis import kernels
from oasis.kernels import absolute_sums, step_sums

SHAPES = [(1, 1, 1), (3, 2, 17), (2, 5, 6, 7), (2, 3, 4, 5, 6), (2, 1, 1, 9)]


def draw(shape):
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    weights = torch.rand(shape[0], *shape[2:], generator=generator, dtype=torch.float64).sub(0.3).clamp_min(0)
    valid = torch.rand(shape[0], 1, *shape[2:], generator=generator) > 0.3
    return prediction, target, weights, valid


def gradient(function, prediction):
    leaf = prediction.detach().clone().requires_grad_()
    value = function(leaf)
    (value * torch.arange(1, value.numel() + 1).view(value.shape)).sum().backward()
    return value.detach(), leaf.grad


@pytest.fixture(params=[1, 8, 2**19], ids=lambda part: f"parts of {part}")
def parts(request, monkeypatch):
    """Work on so many numbers together."""
    monkeypatch.setattr(kernels, "PART", request.param)


@pytest.mark.usefixtures("parts")
@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_both_ways_give_the_same(shape, holes, monkeypatch):
    prediction, target, weights, valid = draw(shape)
    if holes:
        prediction = prediction.masked_fill((weights == 0).unsqueeze(1), torch.nan)
        target = target.masked_fill((weights == 0).unsqueeze(1), torch.inf)
    stepped = prediction.masked_fill(~valid, torch.inf) if holes else prediction
    dims = len(shape) - 2
    functions = [
        (lambda maps: absolute_sums(maps, target, weights), prediction),
        (lambda maps: step_sums(maps, valid, dims), stepped.nan_to_num(0) if holes else stepped),
        (lambda maps: step_sums(maps, None, dims), draw(shape)[0]),
    ]
    fast = [gradient(*pair) for pair in functions]
    monkeypatch.setattr(kernels, "_is_plain", lambda _: True)
    for found, expected in zip(fast, (gradient(*pair) for pair in functions), strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dims", [1, 2])
def test_edges_do_not_cross_bands(dims):
    maps = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)[..., : 6 if dims == 2 else 1]
    maps = maps if dims == 2 else maps[..., 0]
    by_band = sum(step_sums(maps[:, :, band], None, dims) for band in range(4))
    torch.testing.assert_close(step_sums(maps, None, dims), by_band)


def test_gradients_are_those_of_finite_differences():
    prediction, target, weights, valid = draw((2, 2, 4, 3))
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda maps: absolute_sums(maps, target, weights), prediction)
    assert torch.autograd.gradcheck(lambda maps: step_sums(maps, valid, 2), prediction)


def test_a_target_or_weights_that_are_learned_have_their_gradient():
    prediction, target, weights, _ = draw((2, 2, 4, 3))
    for leaf in (target, weights):
        leaf.requires_grad_()
        absolute_sums(prediction, target, weights).sum().backward()
        assert leaf.grad.abs().sum() > 0
        leaf.requires_grad_(False)


def test_maps_in_any_memory_format():
    prediction, target, weights, _ = draw((2, 3, 4, 5))
    other = prediction.contiguous(memory_format=torch.channels_last)

    def both(maps):
        return absolute_sums(maps, target, weights) + step_sums(maps, None, 2)[:, None]

    torch.testing.assert_close(gradient(both, other), gradient(both, prediction))
