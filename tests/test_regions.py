"""Region codes, names and weight tables, against sets of class names."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oasis.errors import ConfigError
from oasis.regions import (
    MAX_CLASSES,
    check_classes,
    check_weight,
    per_class,
    region_code,
    region_codes,
    region_name,
    weight_table,
)

CLASSES = ("electron", "nucleus", "muon", "pion")


@pytest.mark.parametrize("size", range(5))
def test_a_name_in_any_order_gives_the_code_of_its_classes(size: int) -> None:
    for subset in itertools.combinations(range(4), size):
        code = sum(2**i for i in subset)
        assert region_name(code, CLASSES) == ("&".join(CLASSES[i] for i in subset) or "background")
        for order in itertools.permutations(subset):
            assert region_code(" & ".join(CLASSES[i] for i in order) or "background", CLASSES) == code


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    classes=st.integers(1, MAX_CLASSES),
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_codes_have_a_bit_per_present_class(classes: int, shape: list[int], seed: int) -> None:
    present = np.random.default_rng(seed).random((2, classes, *shape)) < 0.5
    codes = region_codes(torch.from_numpy(present))
    powers = 2 ** np.arange(classes).reshape(1, -1, *[1] * len(shape))
    np.testing.assert_array_equal(codes.numpy(), (present * powers).sum(1))
    assert codes.dtype == torch.int32


def test_a_table_holds_the_named_weights_and_one_elsewhere() -> None:
    table = weight_table(CLASSES[:3], {"nucleus&electron": 6, "muon": 0.5, "background": 0})
    assert table.tolist() == [0, 1, 1, 6, 0.5, 1, 1, 1]
    assert weight_table(("a",)).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("values", "expected"), [(None, [1, 1]), (2, [2, 2]), ({"nucleus": 0}, [1, 0]), ({"electron": 5}, [5, 1])]
)
def test_numbers_per_class(values: dict[str, float] | float | None, expected: list[float]) -> None:
    assert per_class(CLASSES[:2], values, 1.0, "weights").tolist() == expected


@pytest.mark.parametrize(
    "classes",
    [
        (),
        "ER",
        ("ER", "ER"),
        ("ER", ""),
        (" ",),
        ("ER&NR",),
        ("background",),
        ("ER", 3),
        tuple(map(str, range(MAX_CLASSES + 1))),
        (" ER", "NR"),  # region names are stripped, so that no region could be named by it
        ("ER", "NR\n"),
        ("a/b", "NR"),  # paths in files are made of them
        ("..", "NR"),
    ],
)
def test_names_that_no_region_could_be_named_by_are_refused(classes: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"^classes: .*\Z"):
        check_classes(classes)


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ("electon", ["'electon'", "did you mean 'electron'?"]),
        ("electron&nucleos", ["'electron&nucleos'", "did you mean 'nucleus'?"]),
        ("x", ["background", *CLASSES]),
        ("electron&", ["electron&", "''"]),
        (3, ["3", *CLASSES]),
    ],
)
def test_an_unknown_region_is_refused_with_a_hint(region: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        weight_table(CLASSES, {region: 2})
    assert all(word in str(caught.value) for word in words), caught.value


def test_background_is_never_suggested_for_itself() -> None:
    with pytest.raises(ConfigError) as caught:
        region_code("electron&background", CLASSES)
    assert "did you mean 'background'" not in str(caught.value)


def test_a_region_that_is_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="'electron&nucleus' and 'nucleus&electron' are the same region"):
        weight_table(CLASSES, {"electron&nucleus": 2, "nucleus&electron": 3})


@pytest.mark.parametrize("name", ["nucleos", 0])
def test_an_unknown_class_is_refused_with_a_hint(name: str) -> None:
    with pytest.raises(ConfigError, match=r"weights: unknown class .*nucleus"):
        per_class(CLASSES[:2], {name: 2}, 1.0, "weights")


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "many", None, [1, 2]])
def test_a_weight_is_a_finite_number_of_at_least_0(value: float) -> None:
    with pytest.raises(ConfigError, match=r"^somewhere: expected .*number.* found "):
        check_weight(value, "somewhere")
