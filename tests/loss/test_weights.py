"""Rules for region weights against explicit sums over subsets, learned ones against a root finder; 8 s."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from torch import Tensor, nn

from oasis.errors import ConfigError
from oasis.loss.learned import LearnedTable
from oasis.loss.symmetry import check_interchangeable, representatives, share_counts
from oasis.loss.weights import (
    BalancedWeights,
    LearnedWeights,
    NamedWeights,
    ProductWeights,
    Rule,
    SizeWeights,
    parse_rule,
    region_table,
)
from oasis.regions import region_code, weight_table

NAMES = ("ER", "NR", "muon", "pion", "kaon")
Array = NDArray[np.float64]


def subsets(count: int) -> list[tuple[int, ...]]:
    """Return the classes of every region, by code."""
    found = itertools.chain(*(itertools.combinations(range(count), size) for size in range(count + 1)))
    return sorted(found, key=lambda classes: sum(2**bit for bit in classes))


def table_of(values: dict[str, Any] | None, count: int = 3, counts: Mapping[int, float] | None = None) -> Tensor:
    return parse_rule(values).table(NAMES[:count], counts)


@pytest.mark.parametrize("values", [None, {}, {"ER": 3, "NR&ER": 6}, {"background": 0, "muon": 0.5}])
def test_a_plain_mapping_gives_weights_by_name(values: dict[str, float] | None) -> None:
    torch.testing.assert_close(table_of(values), weight_table(NAMES[:3], values), rtol=0, atol=0)
    assert parse_rule(values).model_dump(mode="json") == (values or {})


def test_a_class_may_be_called_rule() -> None:
    assert parse_rule({"rule": 3}).table(("rule",)).tolist() == [1, 3]


@pytest.mark.parametrize("count", [1, 3, 5])
def test_sizes_weigh_by_the_number_of_classes(count: int) -> None:
    expected = [{1: 2, 3: 8}.get(len(classes), 1) for classes in subsets(count)]
    sizes = {size: weight for size, weight in {1: 2, 3: 8}.items() if size <= count}
    assert table_of({"rule": "size", "weights": sizes}, count).tolist() == expected
    assert table_of({"rule": "size", "weights": {0: 0.25}}, count).tolist() == [0.25] + [1] * (2**count - 1)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(factors=st.lists(st.floats(0, 100), min_size=1, max_size=5), background=st.floats(0, 10))
def test_a_product_multiplies_the_factors_of_the_classes_present(factors: list[float], background: float) -> None:
    weights = dict(zip(NAMES, factors, strict=False))
    table = table_of({"rule": "product", "weights": weights, "background": background}, len(factors))
    expected = [math.prod(factors[bit] for bit in classes) for classes in subsets(len(factors))]
    np.testing.assert_allclose(table, [background, *expected[1:]], rtol=1e-6, atol=1e-37)


def test_classes_without_a_factor_change_nothing() -> None:
    table = table_of({"rule": "product", "weights": {"NR": 4}})
    assert table.tolist() == [4 if 1 in classes else 1 for classes in subsets(3)]


frequencies = st.dictionaries(st.integers(0, 7), st.integers(0, 10**9), min_size=1).filter(
    lambda counts: any(counts.values())
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(counts=frequencies, power=st.floats(0, 3), limit=st.floats(1, 1e4))
def test_balanced_weights_have_a_mean_of_one_over_pixels_and_obey_their_limit(
    counts: dict[int, int], power: float, limit: float
) -> None:
    table = table_of({"rule": "balanced", "power": power, "limit": limit}, 3, counts).double()
    pixels = torch.tensor([counts.get(code, 0) for code in range(8)], dtype=torch.float64)
    assert (table @ pixels / pixels.sum()).item() == pytest.approx(1, rel=1e-6)
    assert (table.max() / table.min()).item() <= limit * (1 + 1e-6)
    seen = pixels > 0
    assert (table[~seen] == table.max()).all()
    order = pixels[seen].argsort()
    assert (table[seen][order].diff() <= 0).all()  # the rarer, the heavier


def test_balanced_weights_follow_the_power_law_and_clip_what_is_rarest() -> None:
    table = table_of({"rule": "balanced", "power": 0.5, "limit": 5}, 2, {0: 10_000, 1: 2500, 2: 1}).double()
    assert (table[1] / table[0]).item() == pytest.approx(2)
    assert (table[2] / table[0]).item() == pytest.approx(5)
    assert table[3] == table[2]


def stepped(growth: Array, start: Array, means: Array, pixels: Array, rate: float, limit: float) -> Array:
    """Return the log of weights over their start after a step, region by region and with a root finder."""
    seen = [region for region in range(len(start)) if pixels[region] > 0 and start[region] > 0]
    average = sum(means[region] for region in seen) / len(seen)
    bound = math.log(limit)
    grown = {region: growth[region] + min(rate * (means[region] / average - 1), 1) for region in seen}

    def weight(region: int, shift: float) -> float:
        return float(start[region] * math.exp(min(max(grown[region] + shift, -bound), bound)))

    def excess(shift: float) -> float:
        return float(sum(pixels[r] * (weight(r, shift) - start[r] * math.exp(growth[r])) for r in seen))

    shift = brentq(excess, -3 * bound - 9, 3 * bound + 9, xtol=1e-14)
    result = growth.copy()
    for region in seen:
        result[region] = math.log(weight(region, shift) / start[region])
    return result


def learned(start: Tensor | None = None, **changes: float) -> LearnedTable:
    rule = LearnedWeights.parse({"rule": "learned", **changes})
    return LearnedTable(rule, torch.ones(8) if start is None else start)


@pytest.mark.parametrize("limit", [1.5, 10])
@pytest.mark.parametrize("rate", [0.05, 1])
def test_learned_weights_step_as_a_root_finder_says(rate: float, limit: float) -> None:
    rng = np.random.default_rng(0)
    start = np.array([1, 3, 0, 6, 1, 0.5, 2, 1.0])
    ours = learned(torch.from_numpy(start), rate=rate, limit=limit)
    expected = np.zeros(8)
    for _ in range(60):
        means, pixels = rng.exponential(size=8), rng.integers(0, 50, 8) * rng.integers(0, 2, 8).astype(float)
        pixels[rng.integers(3, 8)] += 1
        expected = stepped(expected, start, means, pixels, rate, limit)
        ours.update(torch.from_numpy(means * pixels), torch.from_numpy(pixels))
        np.testing.assert_allclose(ours.table, start * np.exp(expected), rtol=1e-5)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    rate=st.floats(1e-4, 1),
    limit=st.floats(1, 1000),
    zeros=st.booleans(),
)
def test_learned_weights_stay_within_their_bounds_and_keep_their_mean_for_ever(
    seed: int, rate: float, limit: float, zeros: bool
) -> None:
    rng = np.random.default_rng(seed)
    start = torch.from_numpy(rng.uniform(0.1, 10, 8))
    ours = learned(start, rate=rate, limit=limit)
    for _ in range(30):
        pixels = torch.from_numpy(rng.integers(0, 10 ** rng.integers(1, 8), 8) * rng.integers(0, 2, 8)).double()
        errors = torch.from_numpy(rng.lognormal(0, 5, 8)) * pixels * (0 if zeros else 1)
        before = ours.table.double()
        ours.update(errors, pixels)
        after = ours.table.double()
        assert (after >= start / limit * (1 - 1e-6)).all()
        assert (after <= start * limit * (1 + 1e-6)).all()
        assert (after[pixels == 0] == before[pixels == 0]).all()
        torch.testing.assert_close(after @ pixels, before @ pixels, rtol=1e-5, atol=0)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    means=st.lists(st.floats(0.01, 100), min_size=3, max_size=8, unique=True),
    pixels=st.lists(st.integers(1, 10**6), min_size=8, max_size=8),
)
def test_the_hardest_region_gains_until_its_bound_and_the_easiest_loses(
    means: list[float], pixels: list[int]
) -> None:
    counts = torch.tensor(pixels[: len(means)] + [0] * (8 - len(means)), dtype=torch.float64)
    errors = torch.tensor(means + [0] * (8 - len(means)), dtype=torch.float64) * counts
    ours = learned(rate=0.1, limit=4)
    hardest, easiest = means.index(max(means)), means.index(min(means))
    for _ in range(40):
        before = ours.table
        ours.update(errors, counts)
        assert ours.table[hardest] >= before[hardest] * (1 - 1e-6)
        assert ours.table[easiest] <= before[easiest] * (1 + 1e-6)
        order = torch.tensor(means).argsort()
        assert (ours.table[order].diff() >= -1e-6).all()
    assert ours.table[hardest] > ours.table[easiest]


def test_two_regions_of_equal_size_end_where_bounds_and_mean_allow() -> None:
    ours = learned(limit=4, rate=0.5)
    for _ in range(100):
        ours.update(torch.tensor([1.0, 3, 0, 0, 0, 0, 0, 0]), torch.tensor([5.0, 5, 0, 0, 0, 0, 0, 0]))
    np.testing.assert_allclose(ours.table[:3], [0.25, 1.75, 1], rtol=1e-6)  # the lower bound holds the upper one


@pytest.mark.parametrize(
    ("errors", "pixels"),
    [
        ([2, 4, 6, 8, 2, 2, 2, 2], [1, 2, 3, 4, 1, 1, 1, 1]),  # the same error everywhere
        ([0] * 8, [3] * 8),
        ([0] * 8, [0] * 8),
        ([5] + [0] * 7, [3] + [0] * 7),
        ([1, math.nan, 1, 1, 1, 1, 1, 1], [3] * 8),
        ([1, math.inf, 1, 1, 1, 1, 1, 1], [3] * 8),
    ],
)
def test_nothing_to_learn_from_leaves_the_table_as_it_is(errors: list[float], pixels: list[float]) -> None:
    ours = learned(torch.arange(8.0))
    ours.update(torch.arange(1.0, 9), torch.ones(8))
    before = ours.table
    ours.update(torch.tensor(errors), torch.tensor(pixels))
    torch.testing.assert_close(ours.table, before, rtol=2e-7, atol=0)


def test_descent_by_the_weights_ends_with_all_weight_on_the_easiest_region() -> None:
    """Why learned weights ascend: the trivial solution of the loss as a function of its weights."""
    means, pixels = torch.tensor([0.1, 0.5, 0.9, 2.0]), torch.tensor([100.0, 10, 5, 1])
    logs = nn.Parameter(torch.zeros(4))
    descent = torch.optim.SGD([logs], lr=8.0)
    for _ in range(500):
        weights = logs.exp() * pixels
        loss = (weights * means).sum() / weights.sum()
        descent.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        descent.step()
    share = (logs.exp() * pixels / (logs.exp() * pixels).sum()).detach()
    assert share[0] > 0.999
    assert loss.item() == pytest.approx(0.1, rel=1e-2)  # as if the other regions were not there
    ours = LearnedTable(LearnedWeights(rule="learned"), torch.ones(4))
    for _ in range(300):
        ours.update(means * pixels, pixels)
    assert ours.table[0] < 1 < ours.table[3]
    shares = ours.table * pixels / (ours.table * pixels).sum()
    assert (means @ shares).item() > (means @ pixels / pixels.sum()).item()
    assert shares[3] < 10 / 116 * (1 + 1e-6)  # its limit times what it had


def test_a_state_dict_resumes_exactly() -> None:
    rng = torch.Generator().manual_seed(0)
    steps = [(torch.rand(8, generator=rng), torch.randint(1, 9, (8,), generator=rng)) for _ in range(6)]
    whole = learned(torch.arange(1.0, 9))
    stopped = learned(torch.arange(1.0, 9))
    for errors, pixels in steps:
        whole.update(errors, pixels)
    for errors, pixels in steps[:3]:
        stopped.update(errors, pixels)
    resumed = learned()
    resumed.load_state_dict(stopped.state_dict())
    for errors, pixels in steps[3:]:
        resumed.update(errors, pixels)
    assert torch.equal(resumed.table, whole.table)
    assert not torch.equal(whole.table, torch.arange(1.0, 9))


def test_learning_between_forward_and_backward_does_no_harm() -> None:
    ours = learned()
    prediction = torch.ones(8, requires_grad=True)
    loss = (prediction * ours.table).sum()
    ours.update(torch.arange(8.0, requires_grad=True), torch.ones(8))
    loss.backward()  # type: ignore[no-untyped-call]
    assert prediction.grad is not None
    assert prediction.grad.tolist() == [1] * 8
    assert not ours.table.requires_grad


def brute_representatives(count: int, groups: list[list[int]]) -> list[int]:
    """Return the smallest code that permutations within groups lead to."""
    orders = [dict(zip(itertools.chain(*groups), itertools.chain(*order), strict=True))
              for order in itertools.product(*(itertools.permutations(group) for group in groups))]  # fmt: skip
    return [
        min(sum(2 ** order.get(bit, bit) for bit in classes) for order in orders) for classes in subsets(count)
    ]


@pytest.mark.parametrize("groups", [[], [[0, 1]], [[4, 0, 2]], [[3, 1], [4, 0]], [[0, 1, 2, 3, 4]]])
def test_representatives_are_the_least_of_all_permutations(groups: list[list[int]]) -> None:
    named = [[NAMES[member] for member in group] for group in groups]
    assert representatives(NAMES, named).tolist() == brute_representatives(5, groups)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), group=st.permutations(range(5)).flatmap(lambda p: st.just(p[:3])))
def test_a_table_is_refused_when_a_swap_changes_it(seed: int, group: list[int]) -> None:
    members = [NAMES[member] for member in group]
    representative = representatives(NAMES, [members])
    table = torch.from_numpy(np.random.default_rng(seed).uniform(1, 2, 32))[representative]
    check_interchangeable(table, NAMES, [members])
    changed = next(code for code in range(31, -1, -1) if representative[code] != code)
    table[changed] *= 1.001
    with pytest.raises(ConfigError, match="are interchangeable"):
        check_interchangeable(table, NAMES, [members])


@pytest.mark.parametrize(
    "values",
    [
        {"rule": "size", "weights": {1: 3, 2: 7.3}},
        {"rule": "product", "weights": {"ER": 3.3, "muon": 0.7, "kaon": 3.3, "NR": 1.1}},
    ],
)
def test_rules_that_treat_classes_alike_pass(values: dict[str, Any]) -> None:
    check_interchangeable(table_of(values, 5), NAMES, [["kaon", "ER"]])


def test_interchangeable_classes_learn_together() -> None:
    representative = representatives(NAMES[:3], [["ER", "muon"]])
    ours = LearnedTable(LearnedWeights(rule="learned", rate=0.3), torch.ones(8), representative)
    rng = np.random.default_rng(0)
    for _ in range(50):
        pixels = torch.from_numpy(rng.integers(0, 30, 8) * rng.integers(0, 2, 8))
        before = ours.table @ pixels.float()
        ours.update(torch.from_numpy(rng.exponential(size=8)) * pixels, pixels)
        check_interchangeable(ours.table, NAMES[:3], [["ER", "muon"]])
        torch.testing.assert_close(ours.table @ pixels.float(), before, rtol=1e-6, atol=0)
    assert ours.table.std() > 0.1


def test_interchangeable_classes_are_balanced_together() -> None:
    counts = {0: 900, 1: 30, 2: 50, 4: 34, 3: 2}  # ER 30, muon 34, ER&NR 2, NR&muon 0
    shared = share_counts(counts, NAMES[:3], [["ER", "muon"]])
    assert shared == {0: 900, 1: 32, 2: 50, 4: 32, 3: 1, 6: 1}
    check_interchangeable(table_of({"rule": "balanced"}, 3, shared), NAMES[:3], [["ER", "muon"]])


def test_twenty_classes_are_no_trouble() -> None:
    names = [f"galaxy_{number}" for number in range(20)]
    table = SizeWeights(rule="size", weights={2: 3}).table(names)
    check_interchangeable(table, names, [names])
    assert table.sum().item() == 2**20 + 2 * math.comb(20, 2)
    table[region_code("galaxy_3&galaxy_7", names)] = 4
    with pytest.raises(ConfigError, match="'galaxy_0&galaxy_1' weighs 3 but 'galaxy_3&galaxy_7' weighs 4"):
        check_interchangeable(table, names, [names])


def test_a_table_of_regions_is_ordered_by_their_size() -> None:
    rows = region_table(("a", "b", "c"), torch.arange(8.0))
    assert [row.region for row in rows] == ["background", "a", "b", "c", "a&b", "a&c", "b&c", "a&b&c"]
    assert [row.weight for row in rows] == [0, 1, 2, 4, 3, 5, 6, 7]
    assert [row.classes for row in rows] == [0, 1, 1, 1, 2, 2, 2, 3]


@pytest.mark.parametrize(
    "rule",
    [
        NamedWeights(weights={"ER": 3, "rule&NR": 2}),
        SizeWeights(rule="size", weights={1: 3, 2: 5}),
        ProductWeights(rule="product", weights={"ER": 3}, background=0.5),
        BalancedWeights(rule="balanced", power=0.3),
        LearnedWeights(rule="learned", rate=0.02, start=SizeWeights(rule="size", weights={2: 5})),
        LearnedWeights(rule="learned", start=NamedWeights(weights={"ER": 3})),
    ],
)
def test_a_rule_comes_back_from_yaml(rule: Rule) -> None:
    text = yaml.safe_dump(rule.model_dump(mode="json"))
    assert parse_rule(yaml.safe_load(text)) == rule
    assert parse_rule(rule) is rule


def test_learned_weights_begin_with_those_of_another_rule() -> None:
    counts = {0: 900, 1: 100}
    rule = parse_rule({"rule": "learned", "start": {"rule": "balanced"}})
    assert torch.equal(rule.table(NAMES[:2], counts), table_of({"rule": "balanced"}, 2, counts))
    assert table_of({"rule": "learned"}).tolist() == [1] * 8


def test_a_rule_says_whether_pixels_have_to_be_counted() -> None:
    balanced = BalancedWeights(rule="balanced", samples=7)
    assert balanced.balanced is LearnedWeights(rule="learned", start=balanced).balanced is balanced
    for values in ({}, {"rule": "size"}, {"rule": "product"}, {"rule": "learned"}):
        assert parse_rule(values).balanced is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (3, "region_weights: expected weights by region name, or a rule, found 3"),
        ({"ER": "x"}, "region_weights.ER: expected a number, found 'x'"),
        ({"ER": -1}, "region_weights.ER: expected a finite number of at least 0, found -1"),
        ({"E": 1}, "region 'E': unknown class 'E'; did you mean 'ER'?"),
        ({"rule": "siz"}, "region_weights.rule: unknown 'siz'; did you mean 'size'?"),
        ({"rule": "size", "wights": {}}, "region_weights.wights: unknown key; did you mean 'weights'?"),
        (
            {"rule": "size", "weights": {2: -1}},
            "region_weights.weights.2: expected a finite number of at least 0, found -1.0",
        ),
        (
            {"rule": "size", "weights": {3: 1}},
            "region_weights.weights.3: a region of ['ER', 'NR'] has 0 to 2 classes",
        ),
        (
            {"rule": "product", "weights": {"ERR": 2}},
            "region_weights.weights: unknown class 'ERR'; did you mean 'ER'?",
        ),
        (
            {"rule": "product", "background": -2},
            "region_weights.background: expected a finite number of at least 0, found -2.0",
        ),
        (
            {"rule": "product", "weights": {"ER": 1e30, "NR": 1e30}},
            "region_weights.weights: the product of {'ER': 1e+30, 'NR': 1e+30} is too large for float32",
        ),
        (
            {"rule": "balanced", "limit": 0.5},
            "region_weights.limit: Input should be greater than or equal to 1 (found 0.5)",
        ),
        (
            {"rule": "balanced"},
            "region_weights: rule balanced needs the pixels of each region: "
            "give the counts of region_statistics(dataset, classes)",
        ),
        (
            {"rule": "learned", "start": {"rule": "balanced"}},
            "region_weights.start: rule balanced needs the pixels of each region: "
            "give the counts of region_statistics(dataset, classes)",
        ),
        ({"rule": "learned", "rate": 0}, "region_weights.rate: Input should be greater than 0 (found 0)"),
        (
            {"rule": "learned", "start": {"rule": "learned"}},
            "region_weights.start: the initial weights cannot be learned themselves",
        ),
        (
            {"rule": "learned", "start": {"rule": "size", "weights": {7: 1}}},
            "region_weights.start.weights.7: a region of ['ER', 'NR'] has 0 to 2 classes",
        ),
        (
            {"rule": "learned", "start": {"NR": "x"}},
            "region_weights.start.NR: expected a number, found 'x'",
        ),
    ],
)
def test_what_does_not_fit_is_named(values: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_rule(values).table(("ER", "NR"))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({}, "needs the pixels of each region"),
        ({0: 0}, "needs the pixels of each region"),
        ({0: 1, 4: 3}, r"^region_weights: a count of region 4, but \['ER', 'NR'\] have 4 regions$"),
        ({-1: 3}, "a count of region -1"),
    ],
)
def test_counts_of_no_or_other_regions_are_refused(counts: dict[int, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        table_of({"rule": "balanced"}, 2, counts)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([["a"]], "interchangeable: ['a'] has fewer than two classes"),
        ([["a", "x"]], "interchangeable: unknown class 'x'; known: a, b, c"),
        ([["a", "b"], ["b", "c"]], "interchangeable: class 'b' appears in two groups"),
        ([["a", "a"]], "interchangeable: class 'a' appears in two groups"),
        (
            [["b", "c"]],
            "region_weights: 'b' weighs 3 but 'c' weighs 1, and they are interchangeable: "
            "give both the same weight, or use rule size",
        ),
    ],
)
def test_groups_that_do_not_fit_are_named(groups: list[list[str]], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_interchangeable(weight_table(("a", "b", "c"), {"b": 3}), ("a", "b", "c"), groups)
    assert str(caught.value) == message
