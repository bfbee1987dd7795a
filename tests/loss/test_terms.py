"""The further terms of the loss against numpy written from their equations, and against monai. About 3 s."""

import numpy as np
import pytest
import torch
from scipy import stats

from oasis.errors import ConfigError, DataError
from oasis.loss.regression import pixel_weights, region_weighted_error
from oasis.loss.terms import TERMS, Consistency, Contrast, Dice, Focal, Intensity, MapPair, Poisson, find_terms

LIMITS = torch.tensor([0.3, 0.6, 0.5], dtype=torch.float64)
WEIGHTS = torch.tensor([5.0, 1.0, 2.0], dtype=torch.float64)
EXAMPLES = {
    "intensity": Intensity(floor=2.0),
    "consistency": Consistency(floor=0.5),
    "contrast": Contrast(floor=0.5),
    "poisson": Poisson(gain=0.25, background=0.5),
    "dice": Dice(),
    "focal": Focal(gamma=1.5),
}


def draw(seed, shape=(4, 5), batch=3):
    rng = np.random.default_rng(seed)
    target = rng.exponential(size=(batch, 3, *shape)) * (rng.random((batch, 3, *shape)) < 0.5)
    weights = rng.uniform(0.5, 4, (batch, *shape)) * (rng.random((batch, *shape)) < 0.7)
    image = rng.poisson(4 * target.sum(1, keepdims=True)) / 4.0
    return [torch.tensor(x) for x in (rng.exponential(size=target.shape), target, weights, image)]


def comparison(seed=0, **changes):
    prediction, target, weights, image = draw(seed)
    parts = {"prediction": prediction, "target": target, "weights": weights, "image": image}
    return MapPair(**{**parts, "class_weights": WEIGHTS, "thresholds": LIMITS, **changes})


def expected(name, seed=0):
    """The term from its equation, a mean over each sample."""
    prediction, target, weights, image = (x.numpy() for x in draw(seed))
    w, W = WEIGHTS.numpy(), weights[:, None]
    limits = LIMITS.numpy().reshape(1, 3, 1, 1)
    present, m = target > limits, (prediction / limits + 1e-6) / (1 + prediction / limits + 1e-6)
    total = lambda x: (W * x).sum((2, 3))  # noqa: E731
    if name == "intensity":
        return (np.abs(np.log((total(prediction) + 2) / (total(target) + 2))) * w).sum(1) / w.sum()
    if name == "dice":
        both, either = total(m * present), total(m) + total(present)
        return ((1 - (2 * both + 1) / (either + 1)) * w).sum(1) / w.sum()
    if name == "contrast":
        k = present * (1 - target / np.maximum(target.sum(1, keepdims=True), 1e-12)) * W * w.reshape(1, 3, 1, 1)
        return (k * np.abs(np.log((prediction + 0.5) / (target + 0.5)))).sum((1, 2, 3)) / k.sum((1, 2, 3))
    if name == "consistency":
        error = np.abs(np.log((prediction.sum(1) + 0.5) / (target.sum(1) + 0.5)))
    elif name == "poisson":
        rate, counts = (prediction.sum(1) + 0.5) / 0.25, np.round((image[:, 0] + 0.5) / 0.25)
        error = stats.poisson.logpmf(counts, np.maximum(counts, 1e-12)) - stats.poisson.logpmf(counts, rate)
    else:
        q = np.where(present, m, 1 - m)
        loss = -((1 - q) ** 1.5) * np.log(q) * w.reshape(1, 3, 1, 1)
        return (loss * W).sum((1, 2, 3)) / (w.sum() * W.sum((1, 2, 3)))
    return (error * weights).sum((1, 2)) / weights.sum((1, 2))


@pytest.mark.parametrize("name", TERMS)
def test_a_term_is_its_equation(name):
    ratio = EXAMPLES[name](comparison())
    np.testing.assert_allclose((ratio.numerator / ratio.denominator).numpy(), expected(name), rtol=1e-5)


@pytest.mark.parametrize("name", TERMS)
def test_a_term_does_not_see_pixels_of_weight_0(name):
    prediction, target, weights, image = draw(1)
    hidden = (weights == 0).unsqueeze(1)
    clean = prediction.clone().requires_grad_()
    dirty = prediction.masked_fill(hidden, torch.nan).requires_grad_()
    values = [
        EXAMPLES[name](comparison(1, prediction=maps, **others)).mean()
        for maps, others in (
            (clean, {}),
            (
                dirty,
                {"target": target.masked_fill(hidden, torch.inf), "image": image.masked_fill(hidden, torch.nan)},
            ),
        )
    ]
    assert torch.equal(*values)
    for value in values:
        value.backward()
    assert torch.equal(clean.grad, dirty.grad)
    assert clean.grad.masked_select(~hidden).any()
    assert not clean.grad.masked_select(hidden).any()


@pytest.mark.parametrize("name", TERMS)
def test_a_sample_without_weights_counts_for_nothing(name):
    weights = draw(2)[2]
    weights[1] = 0
    ratio = EXAMPLES[name](comparison(2, weights=weights))
    assert (ratio.numerator[1], ratio.denominator[1]) == (0, 0)


@pytest.mark.parametrize("name", TERMS)
def test_the_gradient_is_that_of_finite_differences(name):
    def value(maps):
        return EXAMPLES[name](comparison(3, prediction=maps)).mean()

    assert torch.autograd.gradcheck(value, draw(3)[0].requires_grad_(), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("name", TERMS)
def test_heavier_pixels_count_more(name):
    """Weights of regions reach every term: a weight of 2 is the same pixel twice."""
    prediction, target, _, _ = draw(4)
    once = comparison(4, weights=torch.full_like(target[:, 0], 2.0))
    if name in ("intensity", "dice"):  # whose constants are not multiplied
        twice = [torch.cat([x, x], dim=-1) for x in (prediction, target)]
        other = comparison(4, prediction=twice[0], target=twice[1], weights=torch.ones_like(twice[1][:, 0]))
    else:
        other = comparison(4, weights=torch.ones_like(target[:, 0]))
    assert EXAMPLES[name](once).mean().item() == pytest.approx(EXAMPLES[name](other).mean().item())


def test_a_perfect_prediction_costs_nothing_but_what_presence_cannot_know():
    target = draw(5)[1]
    for term in (Intensity(floor=1.0), Consistency(floor=1.0)):
        assert term(comparison(5, prediction=target)).mean().item() == 0
    assert Poisson()(comparison(5, prediction=target, image=target.sum(1, keepdim=True))).mean().item() < 1e-5
    bright = 1e6 * (target > LIMITS.view(1, 3, 1, 1))
    assert Dice()(comparison(5, prediction=bright)).mean().item() < 1e-5
    assert Focal()(comparison(5, prediction=bright)).mean().item() < 1e-5


def test_bands_have_totals_of_their_own():
    rng = torch.Generator().manual_seed(0)
    prediction, target = torch.rand(2, 2, 3, 4, 5, 6, generator=rng)
    found = Intensity(floor=1.0)(MapPair(prediction, target, spatial_dims=2)).mean()
    by_band = [Intensity(floor=1.0)(MapPair(prediction[:, :, b], target[:, :, b])).mean() for b in range(4)]
    assert found.item() == pytest.approx(np.mean([value.item() for value in by_band]), rel=1e-5)


def test_presence_is_that_of_monai():
    losses = pytest.importorskip("monai.losses")
    prediction, target, _, _ = (x.float() for x in draw(6))
    limits = LIMITS.float()
    maps = MapPair(prediction, target, thresholds=limits)
    presence = prediction / limits.view(1, 3, 1, 1) + 1e-6
    presence = presence / (1 + presence)
    present = (target > limits.view(1, 3, 1, 1)).float()
    dice = losses.DiceLoss(smooth_nr=1.0, smooth_dr=1.0)(presence, present)
    focal = losses.FocalLoss(gamma=2.0)(torch.logit(presence), present)
    assert Dice()(maps).mean().item() == pytest.approx(dice.item(), rel=1e-5)
    assert Focal()(maps).mean().item() == pytest.approx(focal.item(), rel=1e-4)
    balanced = losses.FocalLoss(gamma=2.0, alpha=0.8)(torch.logit(presence), present)  # 0.8 and 0.2
    assert Focal(alpha=4.0)(maps).mean().item() == pytest.approx(balanced.item() / 0.2, rel=1e-4)


def test_weights_of_pixels_are_looked_up_and_0_where_not_valid():
    codes = torch.tensor([[[0, 1], [3, 2]]], dtype=torch.int32)
    table = torch.tensor([1.0, 3.0, 2.0, 6.0])
    valid = torch.tensor([[[True, False], [True, True]]])
    assert pixel_weights(codes, table, valid).tolist() == [[[1, 0], [6, 2]]]
    assert pixel_weights(codes, table).tolist() == [[[1, 3], [6, 2]]]


def test_any_distance_takes_the_place_of_the_absolute_one():
    prediction, target, weights, _ = draw(7)
    ratio = region_weighted_error(prediction, target, weights, WEIGHTS, lambda p, t: (p - t) ** 4)
    w, W = WEIGHTS.view(1, 3, 1, 1), weights[:, None]
    assert ratio.mean().item() == pytest.approx(
        ((w * W * (prediction - target) ** 4).sum() / (w * W.expand_as(target)).sum()).item(), rel=1e-5
    )


@pytest.mark.parametrize(
    ("choice", "limits", "message"),
    [
        ({"intensty": 1}, LIMITS, "terms: unknown 'intensty'; did you mean 'intensity'?"),
        ({"intensity": 0.1}, LIMITS, "terms.intensity.floor: Field required (found {'weight': 0.1})"),
        (
            {"intensity": {"floor": -1}},
            LIMITS,
            "terms.intensity.floor: Input should be greater than 0 (found -1)",
        ),
        ({"focal": {"gama": 1}}, LIMITS, "terms.focal.gama: unknown key; did you mean 'gamma'?"),
        ({"focal": {"alpha": 0}}, LIMITS, "terms.focal.alpha: Input should be greater than 0 (found 0)"),
        ({"dice": -1}, LIMITS, "terms.dice.weight: Input should be greater than or equal to 0 (found -1)"),
        (
            {"dice": 1},
            LIMITS * torch.tensor([1, 0, 1]),
            "terms: presence (dice, focal) needs a threshold above 0 for every class: set thresholds.b",
        ),
    ],
)
def test_terms_that_do_not_fit_are_refused(choice, limits, message):
    with pytest.raises(ConfigError) as error:
        find_terms(choice, ("a", "b", "c"), limits)
    assert str(error.value) == message


def test_terms_are_found_by_weight_by_options_and_as_they_are():
    terms = find_terms({"dice": 0.5, "intensity": {"weight": 0.1, "floor": 3}, "mine": Focal()}, "ab", LIMITS[:2])
    assert terms == {"dice": Dice(weight=0.5), "intensity": Intensity(weight=0.1, floor=3), "mine": Focal()}


@pytest.mark.parametrize(("image", "found"), [(None, "none"), (torch.ones(3, 1, 4, 4), "(3, 1, 4, 4)")])
def test_poisson_wants_the_image(image, found):
    with pytest.raises(DataError) as error:
        Poisson()(comparison(image=image))
    assert str(error.value) == f"the term poisson needs an image of shape (3, 4, 5), found {found}"
