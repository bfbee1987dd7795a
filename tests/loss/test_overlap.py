"""The loss against Eq. 1 to 3 of arXiv 2510.06194, written out in numpy with loops over regions and pixels."""

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from oasis.errors import ConfigError, DataError
from oasis.loss import overlap
from oasis.loss.overlap import OverlapLoss
from oasis.loss.ratio import Ratio, Reduction, mean_of
from oasis.loss.regression import pixel_weights, region_weighted_error, total_variation
from oasis.loss.terms import MapPair
from oasis.regions import region_codes
from oasis.scaling import LogScale

Array = NDArray[np.floating]
NAMES = ("a", "b", "c", "d")
EPSILON = 1e-6


def draw(seed: int, classes: int, shape: Sequence[int], batch: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Return predictions, targets with many zeros, and a random mask."""
    rng = np.random.default_rng(seed)
    prediction = rng.exponential(size=(batch, classes, *shape))
    target = rng.exponential(size=prediction.shape) * (rng.random(prediction.shape) < 0.5)
    valid = rng.random((batch, 1, *shape)) < 0.7
    return torch.tensor(prediction), torch.tensor(target), torch.tensor(valid)


def two_class_loss(
    prediction: Array,
    target: Array,
    valid: NDArray[np.bool_],
    w: Sequence[float],
    W: Sequence[float],
    alpha: float,
) -> float:
    """Return the loss of the paper's two classes: `w` of ER, NR; `W` of ER-only, NR-only, overlap."""
    er, nr, inside = target[:, 0] > 0, target[:, 1] > 0, valid[:, 0]
    weights = np.ones(er.shape)
    weights[er & ~nr], weights[~er & nr], weights[er & nr] = W
    weights[~inside] = 0
    error = np.abs(prediction - target)
    numerator = (w[0] * weights * error[:, 0]).sum() + (w[1] * weights * error[:, 1]).sum()
    regression = numerator / ((w[0] + w[1]) * weights.sum() + EPSILON)
    down, right = inside[:, 1:] & inside[:, :-1], inside[:, :, 1:] & inside[:, :, :-1]
    variation = sum(
        (np.abs(np.diff(prediction[:, c], axis=1)) * down).sum()
        + (np.abs(np.diff(prediction[:, c], axis=2)) * right).sum()
        for c in (0, 1)
    )
    return float(regression + alpha * variation / (down.sum() + right.sum() + EPSILON))


def slow_ratios(
    prediction: Array,
    present: NDArray[np.bool_],
    target: Array,
    valid: NDArray[np.bool_],
    class_weights: Sequence[float],
    region_weights: Mapping[frozenset[int], float],
) -> Array:
    """Return (4, b): numerators and denominators of Eq. 2 and of Eq. 3, one region and one edge at a time."""
    batch, classes, *shape = prediction.shape
    sums = np.zeros((4, batch))
    for bits in product([False, True], repeat=classes):
        weight = region_weights.get(frozenset(c for c in range(classes) if bits[c]), 1.0)
        mask = valid[:, 0] & (present == np.array(bits).reshape(1, -1, *[1] * len(shape))).all(1)
        for c, b in product(range(classes), range(batch)):
            sums[0, b] += class_weights[c] * weight * np.abs(prediction - target)[b, c][mask[b]].sum()
            sums[1, b] += class_weights[c] * weight * mask[b].sum()
    for b, pixel in product(range(batch), np.ndindex(*shape)):
        maps, inside = np.moveaxis(prediction[b], 0, -1), valid[b, 0]
        for axis in range(len(shape)):
            neighbour = tuple(p + (k == axis) for k, p in enumerate(pixel))
            if neighbour[axis] < shape[axis] and inside[pixel] and inside[neighbour]:
                sums[2:, b] += np.abs(maps[neighbour] - maps[pixel]).sum(), 1
    return sums


def reduced(sums: Array, reduction: Reduction) -> tuple[float, float]:
    """Return regression and smoothness from the sums per sample."""
    if reduction == "batch":
        pooled = sums.sum(1)
        return pooled[0] / (pooled[1] + EPSILON), pooled[2] / (pooled[3] + EPSILON)
    regression, smoothness = (
        np.array([n / d for n, d in zip(*sums[k : k + 2], strict=True) if d]) for k in (0, 2)
    )
    return regression.mean(), smoothness.mean()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    weights=st.lists(st.floats(0.1, 10), min_size=5, max_size=5),
)
def test_two_classes_equal_the_formula_of_the_paper(
    seed: int, shape: tuple[int, int], weights: list[float]
) -> None:
    prediction, target, valid = draw(seed, 2, shape)
    w, W = weights[:2], weights[2:]
    loss = OverlapLoss(
        ("ER", "NR"), dict(zip(("ER", "NR"), w, strict=True)), dict(zip(("ER", "NR", "ER&NR"), W, strict=True))
    )
    expected = two_class_loss(prediction.numpy(), target.numpy(), valid.numpy(), w, W, alpha=0.01)
    assert loss(prediction, target, valid).item() == pytest.approx(expected, rel=1e-6)
    assert loss(prediction.float(), target.float(), valid).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("reduction", ["batch", "sample"])
@pytest.mark.parametrize("shape", [(11,), (5, 6), (3, 4, 2)])
@pytest.mark.parametrize("classes", [1, 3, 4])
def test_any_classes_and_dimensions_equal_a_loop_over_regions(
    classes: int, shape: tuple[int, ...], reduction: Reduction
) -> None:
    prediction, target, valid = draw(classes, classes, shape)
    limits = [0.0, 0.5, 0.2, 0.1][:classes]
    class_weights = [5.0, 1.0, 0.5, 2.0][:classes]
    by_name = {"background": 0.25, "a": 3.0, "b&a": 6.0, "c&a&b": 7.5, "d&b": 2.5}
    region_weights = {
        name: weight
        for name, weight in by_name.items()
        if set(name.split("&")) <= {"background", *NAMES[:classes]}
    }
    by_set = {
        frozenset(NAMES.index(part) for part in name.split("&") if part in NAMES): weight
        for name, weight in region_weights.items()
    }
    names = NAMES[:classes]
    loss = OverlapLoss(
        names,
        dict(zip(names, class_weights, strict=True)),
        region_weights,
        smoothness=0.3,
        reduction=reduction,
        thresholds=dict(zip(names, limits, strict=True)),
    )
    present = target.numpy() > np.array(limits).reshape(1, -1, *[1] * len(shape))
    sums = slow_ratios(prediction.numpy(), present, target.numpy(), valid.numpy(), class_weights, by_set)
    regression, smoothness = reduced(sums, reduction)
    terms = loss.terms(prediction, target, valid)
    assert terms["regression"].item() == pytest.approx(regression, rel=1e-5)
    assert terms["smoothness"].item() == pytest.approx(smoothness, rel=1e-5)
    assert terms["total"].item() == pytest.approx(regression + 0.3 * smoothness, rel=1e-5)
    everywhere = torch.ones_like(valid)
    assert torch.equal(loss(prediction, target), loss(prediction, target, everywhere))
    assert torch.equal(loss(prediction, target, valid.float() * 7), loss(prediction, target, valid))


@pytest.mark.parametrize("shape", [(7,), (4, 5)])
def test_maps_in_bands_weight_every_band_and_have_no_edges_across_bands(shape: tuple[int, ...]) -> None:
    dims = len(shape)
    prediction, target, _ = draw(5, 2, (3, *shape))
    valid = draw(6, 1, shape)[2]
    loss = OverlapLoss(("a", "b"), {"a": 5}, {"a": 3, "a&b": 6}, spatial_dims=dims)
    by_set = {frozenset({0}): 3.0, frozenset({0, 1}): 6.0}
    sums = sum(
        slow_ratios(
            prediction[:, :, band].numpy(),
            target[:, :, band].numpy() > 0,
            target[:, :, band].numpy(),
            valid.numpy(),
            [5, 1],
            by_set,
        )
        for band in range(3)
    )
    terms = loss.terms(prediction, target, valid)
    assert (terms["regression"].item(), terms["smoothness"].item()) == pytest.approx(
        reduced(np.asarray(sums), "batch"), rel=1e-5
    )


def test_given_codes_take_the_place_of_the_targets() -> None:
    prediction, target, valid = draw(7, 2, (5, 6))
    loss = OverlapLoss(("a", "b"), {"a": 5}, {"a": 3, "a&b": 6})
    scaled = target - 0.5  # the sign says no longer where a class is present
    given_codes = loss(prediction, scaled, valid, region_codes(target > 0))
    sums = slow_ratios(
        prediction.numpy(),
        target.numpy() > 0,
        scaled.numpy(),
        valid.numpy(),
        [5, 1],
        {frozenset({0}): 3, frozenset({0, 1}): 6},
    )
    regression, smoothness = reduced(sums, "batch")
    assert given_codes.item() == pytest.approx(regression + 0.01 * smoothness, rel=1e-6)
    assert torch.equal(loss(prediction, target, valid, loss.regions(target)), loss(prediction, target, valid))


@pytest.mark.parametrize("reduction", ["batch", "sample"])
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_what_is_not_valid_does_not_count_whatever_it_holds(poison: float, reduction: Reduction) -> None:
    prediction, target, valid = draw(8, 2, (5, 6))
    loss = OverlapLoss(("a", "b"), {"a": 5}, {"a": 3, "a&b": 6}, smoothness=0.3, reduction=reduction)
    clean, dirty = prediction.clone().requires_grad_(), prediction.masked_fill(~valid, poison).requires_grad_()
    value = loss(dirty, target.masked_fill(~valid, poison), valid)
    expected = loss(clean, target, valid)
    assert torch.equal(value, expected)
    for result in (value, expected):
        result.backward()
    assert clean.grad is not None
    assert dirty.grad is not None
    assert torch.equal(clean.grad, dirty.grad)
    assert not dirty.grad.masked_select(~valid).any()
    assert dirty.grad.masked_select(valid).all()


@pytest.mark.parametrize("reduction", ["batch", "sample"])
def test_without_valid_pixels_the_loss_is_exactly_0_without_gradient(reduction: Reduction) -> None:
    prediction = torch.full((2, 2, 4, 4), torch.nan, requires_grad=True)
    value = OverlapLoss(("a", "b"), reduction=reduction)(
        prediction, torch.rand(2, 2, 4, 4), torch.zeros(2, 1, 4, 4)
    )
    value.backward()
    assert value.item() == 0
    assert prediction.grad is not None
    assert not prediction.grad.any()


@pytest.mark.parametrize("reduction", ["batch", "sample"])
def test_the_gradient_is_that_of_finite_differences(reduction: Reduction) -> None:
    prediction, target, valid = draw(9, 3, (4, 3), batch=2)
    loss = OverlapLoss(NAMES[:3], {"a": 5}, {"a": 3, "a&b&c": 6}, smoothness=0.3, reduction=reduction)
    check: Callable[[Tensor], Tensor] = lambda maps: loss(maps, target, valid)  # noqa: E731
    assert torch.autograd.gradcheck(check, prediction.requires_grad_(), eps=1e-7, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("autocast", [None, torch.bfloat16, torch.float16])
def test_it_computes_in_float32_under_any_autocast(dtype: torch.dtype, autocast: torch.dtype | None) -> None:
    prediction, target, valid = draw(10, 3, (40, 40))
    prediction, target = (1000 * prediction).to(dtype), (1000 * target).to(dtype)  # sums leave float16's range
    loss = OverlapLoss(NAMES[:3], {"a": 1 / 3}, {"a": 0.7})
    expected = loss(prediction.double(), target.double(), valid).item()
    with torch.autocast("cpu", dtype=autocast or torch.bfloat16, enabled=autocast is not None):
        value = loss(prediction, target, valid)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16])
def test_the_functions_themselves_do_not_heed_autocast(autocast: torch.dtype) -> None:
    prediction, target, valid = (values.float() for values in draw(10, 3, (40, 40)))
    weights = pixel_weights(region_codes(target > 0), torch.ones(8), valid[:, 0] > 0)
    arguments = (1000 * prediction, 1000 * target, weights, torch.tensor([1 / 3, 1, 1]))
    expected = region_weighted_error(*arguments).mean().item()
    with torch.autocast("cpu", dtype=autocast):
        assert region_weighted_error(*arguments).mean().item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("reduction", ["batch", "sample"])
@pytest.mark.parametrize("term", ["regression", "smoothness"])
def test_totals_add_up_over_batches(term: str, reduction: Reduction) -> None:
    prediction, target, valid = draw(11, 2, (5, 6), batch=7)
    valid[2] = False
    loss = OverlapLoss(("a", "b"), {"a": 5}, {"a": 3, "a&b": 6})
    pooled = loss.compare(prediction, target, valid).ratios()[term].mean(reduction)
    parts = [slice(0, 3), slice(3, 6), slice(6, 7)]
    ratios = [loss.compare(prediction[part], target[part], valid[part]).ratios()[term] for part in parts]
    totals = torch.stack([ratio.totals(reduction) for ratio in ratios]).sum(0)
    assert mean_of(totals).item() == pytest.approx(pooled.item(), rel=1e-6)


def test_a_sample_that_counts_nowhere_does_not_lower_the_mean_over_samples() -> None:
    ratio = Ratio(torch.tensor([6.0, 0.0, 4.0]), torch.tensor([2.0, 0.0, 4.0]))
    assert ratio.mean("sample").item() == pytest.approx(2, rel=1e-5)
    assert ratio.mean("batch").item() == pytest.approx(10 / 6, rel=1e-5)


def test_the_order_in_a_region_name_is_irrelevant() -> None:
    prediction, target, valid = draw(12, 3, (5, 6))
    one, other = (OverlapLoss(NAMES[:3], region_weights={name: 6}) for name in ("a&b&c", "c & a & b"))
    assert torch.equal(one(prediction, target, valid), other(prediction, target, valid))


def test_a_background_of_weight_0_takes_the_background_out() -> None:
    prediction, target, _ = draw(13, 2, (5, 6))
    background = (target <= 0).all(1, keepdim=True)
    silent = OverlapLoss(("a", "b"), region_weights={"background": 0}, smoothness=0)
    assert silent(prediction, target).item() == pytest.approx(
        OverlapLoss(("a", "b"), smoothness=0)(prediction, target, ~background).item(), rel=1e-6
    )


def test_total_variation_of_one_pixel_and_of_given_steps() -> None:
    assert total_variation(torch.ones(1, 2, 1, 1)).mean().item() == 0
    steps = total_variation(torch.tensor([[[[0.0, 1.0], [3.0, 7.0]]]]))
    assert (steps.numerator.item(), steps.denominator.item()) == (1 + 4 + 3 + 6, 4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"class_weights": {"electon": 2}}, ["class_weights", "'electon'", "did you mean 'electron'?"]),
        ({"class_weights": {"x": 2}}, ["class_weights", "known: electron, nucleus"]),
        ({"class_weights": {"electron": -1}}, ["class_weights.electron", "-1"]),
        ({"class_weights": {"electron": float("nan")}}, ["class_weights.electron", "nan"]),
        ({"region_weights": {"electron&nucleos": 2}}, ["'electron&nucleos'", "did you mean 'nucleus'?"]),
        ({"region_weights": {"x": 2}}, ["known: background, electron, nucleus"]),
        ({"region_weights": {"electron": -2}}, ["region_weights.electron", "-2"]),
        ({"region_weights": {"electron": float("nan")}}, ["region_weights.electron", "nan"]),
        ({"thresholds": {"nucleos": 2}}, ["thresholds", "did you mean 'nucleus'?"]),
        ({"smoothness": -0.1}, ["smoothness", "-0.1"]),
        ({"reduction": "smaple"}, ["reduction", "'smaple'", "did you mean 'sample'?"]),
    ],
)
def test_what_does_not_fit_is_refused_by_name(arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        OverlapLoss(("electron", "nucleus"), **arguments)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("shapes", "spatial_dims", "words"),
    [
        ({"target": (2, 2, 4, 6)}, None, ["prediction", "(2, 2, 4, 5)", "target", "(2, 2, 4, 6)"]),
        ({"prediction": (2, 3, 4, 5), "target": (2, 3, 4, 5)}, None, ["2 classes", "(2, 3, 4, 5)"]),
        ({"prediction": (2, 2), "target": (2, 2)}, None, ["2 classes", "(2, 2)"]),
        ({"valid": (2, 4, 5)}, None, ["valid", "(2, 4, 5)", "(2, 1, 4, 5)"]),
        ({"valid": (1, 1, 4, 5)}, None, ["valid", "(1, 1, 4, 5)", "(2, 1, 4, 5)"]),
        ({"codes": (1, 4, 5)}, None, ["codes", "(1, 4, 5)", "(2, 4, 5)"]),
        ({"codes": (2, 4, 6)}, None, ["codes", "(2, 4, 6)", "(2, 4, 5)"]),
        ({}, 3, ["(2, 2, 4, 5)", "3"]),
        ({"prediction": (2, 2, 0, 5), "target": (2, 2, 0, 5)}, None, ["without pixels", "(2, 2, 0, 5)"]),
    ],
)
def test_shapes_that_do_not_fit_are_named(
    shapes: dict[str, tuple[int, ...]], spatial_dims: int | None, words: list[str]
) -> None:
    tensors = {"prediction": torch.ones(2, 2, 4, 5), "target": torch.ones(2, 2, 4, 5)}
    tensors |= {
        name: torch.ones(shape, dtype=torch.int32 if name == "codes" else None) for name, shape in shapes.items()
    }
    with pytest.raises(DataError) as caught:
        OverlapLoss(("a", "b"), spatial_dims=spatial_dims)(**tensors)
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_target_that_is_not_finite_where_valid_is_located() -> None:
    prediction, target, _ = draw(14, 2, (5, 6))
    valid = torch.ones(3, 1, 5, 6, dtype=torch.bool)
    valid[0] = False
    target[0, 0, 0, 0] = torch.nan
    target[1, 1, 2, 3], target[2, 0, 4, 5] = torch.nan, torch.inf
    with pytest.raises(DataError) as caught:
        OverlapLoss(("a", "b"))(prediction, target, valid)
    assert str(caught.value) == (
        "target: 2 values are NaN or infinite where valid, the first in sample 1, class b, at (2, 3): correct "
        "them or mark them as not valid"
    )
    prediction[:] = torch.nan  # a training that diverges is the trainer's business
    assert OverlapLoss(("a", "b"))(prediction, torch.ones_like(target)).isnan()


def test_any_distance_weights_the_same_pixels() -> None:
    prediction, target, valid = draw(15, 2, (5, 6))
    squared = OverlapLoss(("a", "b"), {"a": 5}, {"a": 3, "a&b": 6}, smoothness=0, distance="squared")
    table = torch.tensor([1.0, 3.0, 1.0, 6.0])
    weights = table[squared.regions(target).long()] * valid[:, 0]
    errors = (prediction - target) ** 2
    expected = ((5 * errors[:, 0] + errors[:, 1]) * weights).sum() / (6 * weights.sum())
    assert squared(prediction, target, valid).item() == pytest.approx(expected.item(), rel=1e-5)


def test_further_terms_are_added_with_their_weights_in_physical_units() -> None:
    image = torch.rand(3, 1, 5, 6, dtype=torch.float64) * 100
    prediction, target, valid = draw(16, 2, (5, 6))
    scale = LogScale(scale=2.0, peak=False).fit(image)
    terms = {"intensity": {"weight": 0.5, "floor": 3.0}, "focal": 0.25, "poisson": {"weight": 2.0, "gain": 4.0}}
    loss = OverlapLoss(("a", "b"), {"a": 5}, {"a": 3, "a&b": 6}, thresholds=0.1, terms=terms)
    plain = OverlapLoss(("a", "b"), {"a": 5}, {"a": 3, "a&b": 6}, thresholds=0.1)
    codes = loss.regions(target)
    scaled = scale.forward(prediction), scale.forward(target)
    found = loss.terms(*scaled, valid, codes, scale, image)
    weights = pixel_weights(codes, loss.table.double(), valid[:, 0] > 0)
    compared = MapPair(
        prediction, target, weights, torch.tensor([5.0, 1.0]).double(), torch.tensor([0.1, 0.1]), image
    )
    for name, term in loss.further.items():
        assert found[name].item() == pytest.approx(term(compared).mean().item(), rel=1e-5)
    expected = (
        plain(*scaled, valid, codes) + 0.5 * found["intensity"] + 0.25 * found["focal"] + 2 * found["poisson"]
    )
    assert found["total"].item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("reduction", ["batch", "sample"])
def test_interchangeable_classes_may_come_in_any_order(reduction: Reduction) -> None:
    names = ("star", "galaxy_1", "galaxy_2", "galaxy_3")
    prediction, target, valid = draw(17, 4, (5, 6))
    rule = {"rule": "size", "weights": {2: 3, 3: 6, 4: 9}}
    options: dict[str, Any] = {"class_weights": {"star": 2}, "region_weights": rule, "reduction": reduction}
    loss = OverlapLoss(names, **options, smoothness=0.3, interchangeable=[names[1:]])
    orders = [(0, *order) for order in permutations((1, 2, 3))]
    values = [loss(prediction[:, order], target, valid).item() for order in orders]
    assert values == pytest.approx([values[0]] * 6, rel=1e-6)
    ordered = OverlapLoss(names, **options, smoothness=0.3)
    if reduction == "sample":
        least = [
            min(
                ordered(prediction[b : b + 1, order], target[b : b + 1], valid[b : b + 1]).item()
                for order in orders
            )
            for b in range(3)
        ]
        assert values[0] == pytest.approx(np.mean(least), rel=1e-5)
    assert values[0] < ordered(prediction, target, valid).item()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"region_weights": {"b": 2}},
            "region_weights: 'b' weighs 2 but 'c' weighs 1, and they are interchangeable: give both the same "
            "weight, or use rule size",
        ),
        (
            {"class_weights": {"b": 2}},
            "class_weights: {'b': 2.0, 'c': 1.0} are interchangeable: give them the same value",
        ),
        (
            {"thresholds": {"c": 2}},
            "thresholds: {'b': 0.0, 'c': 2.0} are interchangeable: give them the same value",
        ),
        ({"interchangeable": [("b", "d")]}, "interchangeable: unknown class 'd'; known: a, b, c"),
    ],
)
def test_what_tells_interchangeable_classes_apart_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        OverlapLoss(("a", "b", "c"), **{"interchangeable": [("b", "c")], **arguments})
    assert str(caught.value) == message


def test_learned_weights_count_in_training_and_those_they_began_with_in_evaluation() -> None:
    prediction, target, valid = draw(18, 2, (5, 6))
    loss = OverlapLoss(("a", "b"), {"a": 5}, {"rule": "learned", "rate": 0.5, "start": {"a&b": 2}})
    codes, wrong = loss.regions(target), target.clone()
    wrong[:, 0] += 0.5 * (codes == 3)
    errors, pixels = loss.compare(wrong, target, valid).region_sums()
    inside = [(codes == code) & (valid[:, 0] > 0) for code in range(4)]
    assert pixels.tolist() == [int(mask.sum()) for mask in inside]
    assert errors.tolist() == pytest.approx([0, 0, 0, 5 * 0.5 * int(inside[3].sum())])
    begun = loss(prediction, target, valid).item()
    assert loss.learned is not None
    loss.learned.update(errors, pixels)
    assert loss.table[3] > 2
    assert loss(prediction, target, valid).item() != begun
    assert loss.eval()(prediction, target, valid).item() == begun
    other = OverlapLoss(("a", "b"), {"a": 5}, {"rule": "learned", "rate": 0.5, "start": {"a&b": 2}})
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.table, loss.train().table)


def test_the_order_that_a_loss_names_is_the_one_it_counts():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(4, 3, 1, 6, 6, generator=generator)
    valid = torch.rand(4, 1, 6, 6, generator=generator) > 0.3
    prediction = target[:, [1, 0, 2]] + 0.1 * torch.rand(4, 3, 1, 6, 6, generator=generator)
    prediction[0] = prediction[0, [1, 0, 2]]
    free = OverlapLoss(("a", "b", "c"), interchangeable=[("a", "b")], spatial_dims=2)
    fixed = OverlapLoss(("a", "b", "c"), spatial_dims=2)
    order = free.compare(prediction, target, valid).order
    assert order.tolist() == [[0, 1, 2], *[[1, 0, 2]] * 3]
    ordered = prediction[torch.arange(4).unsqueeze(1), order]
    torch.testing.assert_close(free(prediction, target, valid), fixed(ordered, target, valid))
    assert fixed.compare(prediction, target, valid).order is None


def test_terms_of_weight_0_are_left_out():
    target = torch.zeros(1, 2, 6, 6)
    target[:, :, 2:4, 2:4] = 3
    prediction = (target + torch.rand(1, 2, 6, 6)).requires_grad_()
    only = OverlapLoss(("a", "b"), regression=0, smoothness=0, terms={"focal": 2.0}, thresholds=1.0)
    terms = only.terms(prediction, target)
    assert set(terms) == {"total", "focal"}
    assert terms["total"] == 2 * terms["focal"]
    terms["total"].backward()
    assert prediction.grad.isfinite().all()
    assert set(OverlapLoss(("a", "b"), smoothness=0).terms(prediction, target)) == {"total", "regression"}
    smooth = OverlapLoss(("a", "b"), regression=0, smoothness=0.5)
    full = OverlapLoss(("a", "b"), smoothness=0.5).terms(prediction, target)
    torch.testing.assert_close(smooth(prediction, target), 0.5 * full["smoothness"])


def test_a_loss_without_terms_is_refused():
    with pytest.raises(ConfigError, match="all terms have weight 0"):
        OverlapLoss(("a", "b"), regression=0, smoothness=0)


def test_matching_is_done_once_per_comparison(monkeypatch):
    calls = []
    order = overlap.matching_order

    def counted(*args):
        calls.append(1)
        return order(*args)

    monkeypatch.setattr(overlap, "matching_order", counted)
    loss = OverlapLoss(
        ("a", "b"), region_weights={"rule": "learned"}, interchangeable=[("a", "b")], spatial_dims=2
    )
    compared = loss.compare(torch.rand(2, 2, 1, 6, 6), torch.rand(2, 2, 1, 6, 6))
    loss.learned.update(*compared.region_sums())
    compared.ratios()
    assert compared.order.shape == (2, 2)
    assert len(calls) == 1


@pytest.mark.parametrize("dims", [0, 4, 5, -1])
def test_dimensions_that_there_are_not_are_refused(dims):
    with pytest.raises(ConfigError, match="spatial_dims: expected 1, 2 or 3"):
        OverlapLoss(("a", "b"), spatial_dims=dims)


def test_a_region_that_names_a_class_twice_is_refused():
    with pytest.raises(ConfigError, match="class 'a' appears twice"):
        OverlapLoss(("a", "b"), region_weights={"a&a": 3})


@pytest.mark.parametrize("values", [torch.ones(1, 1, 4, dtype=torch.complex64), np.ones((1, 1, 4))])
def test_only_tensors_of_real_numbers_are_compared(values):
    for pair in ((values, torch.ones(1, 1, 4)), (torch.ones(1, 1, 4), values)):
        with pytest.raises(DataError, match=r"(prediction|target): expected a tensor of real numbers"):
            OverlapLoss(("a",))(*pair)


def test_whole_numbers_and_empty_batches_have_a_loss():
    loss = OverlapLoss(("a", "b"))
    whole = torch.tensor([[[3, 0], [0, 1]]])
    assert loss(whole, whole + 1) == loss(whole.float(), whole.float() + 1)
    empty = torch.zeros(0, 2, 5, 5, requires_grad=True)
    value = loss(empty, torch.zeros(0, 2, 5, 5))
    value.backward()
    assert value == 0


class Annotated(torch.Tensor):
    """A tensor that carries metadata, as those of other libraries do."""


def test_subclasses_of_tensors_are_compared_as_tensors():
    loss = OverlapLoss(("a", "b"), class_weights={"a": 5})
    prediction, target = torch.rand(2, 2, 6, 6), torch.rand(2, 2, 6, 6)
    plain = prediction.clone().requires_grad_()
    loss(plain, target).backward()
    annotated = prediction.clone().as_subclass(Annotated).requires_grad_()
    value = loss(annotated, target.as_subclass(Annotated))
    value.backward()
    torch.testing.assert_close(annotated.grad.as_subclass(torch.Tensor), plain.grad)


def test_weights_of_classes_can_be_given_in_their_order():
    assert OverlapLoss(("a", "b"), class_weights=[1, 5]).class_weights.tolist() == [1, 5]
    with pytest.raises(
        ConfigError, match=r"class_weights: expected a number for each of \['a', 'b'\], found \[1\]"
    ):
        OverlapLoss(("a", "b"), class_weights=[1])


def test_a_number_of_classes_is_refused():
    with pytest.raises(ConfigError, match=r"classes: expected 1 to 20 names, such as .* found 2"):
        OverlapLoss(2)


def test_negative_predictions_are_named_once(caplog):
    loss, target = OverlapLoss(("a", "b")), torch.rand(1, 2, 5)
    loss(target - 1, target)
    loss(target - 1, target)
    (message,) = caplog.messages
    assert "negative predictions" in message
    assert "softplus" in message
    caplog.clear()
    OverlapLoss(("a", "b"))(target, target)
    assert not caplog.messages


@pytest.mark.parametrize("reduction", ["batch", "sample"])
def test_shares_of_uneven_parts_add_up_to_the_loss_and_gradient_of_the_batch(reduction):
    options = {"class_weights": {"a": 5}, "region_weights": {"a&b": 9}, "interchangeable": [], "thresholds": 0.5}
    terms = {"intensity": {"weight": 0.3, "floor": 1.0}}
    loss = OverlapLoss(("a", "b"), reduction=reduction, smoothness=0.1, terms=terms, **options)
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(6, 2, 9, 8, generator=generator, dtype=torch.float64)
    target[3:] *= 0.1
    valid = torch.rand(6, 1, 9, 8, generator=generator) < 0.8
    valid[5] = False
    prediction = torch.rand(6, 2, 9, 8, generator=generator, dtype=torch.float64).requires_grad_()
    whole = loss(prediction, target, valid)
    (expected,) = torch.autograd.grad(whole, prediction)
    parts = [slice(0, 1), slice(1, 5), slice(5, 6)]
    known = [loss.denominators(target[part], valid[part]) for part in parts]
    sums = {name: sum(one[name] for one in known) for name in known[0]}
    shares = [loss.share(prediction[part], target[part], sums, valid[part]) for part in parts]
    (gradient,) = torch.autograd.grad(sum(shares), prediction)
    torch.testing.assert_close(sum(shares), whole)
    torch.testing.assert_close(gradient, expected)
    mean = sum(loss(prediction[part], target[part], valid[part]) for part in parts) / len(parts)
    assert abs(mean.item() / whole.item() - 1) > 0.01


def test_weights_with_which_nothing_is_learned_are_refused():
    with pytest.raises(ConfigError, match="class_weights: all are 0"):
        OverlapLoss(("a", "b"), class_weights={"a": 0, "b": 0})
