"""Options: what fits is kept, what does not is named by its path."""

from typing import Any, Literal

import pytest
from pydantic import Field, ValidationError, field_validator

from oasis.errors import ConfigError
from oasis.options import Options


class Noise(Options):
    sigma: float = Field(1.0, ge=0)
    kind: Literal["white", "pink"] = "white"

    @field_validator("sigma")
    @classmethod
    def not_seven(cls, value: float) -> float:
        if value == 7:
            raise ValueError("seven is taken")
        return value


class Detector(Options):
    gain: float
    noise: Noise = Noise()
    dark: Noise | None = None
    planes: list[Noise] = []
    by_name: dict[str, Noise] = {}


def test_values_and_defaults() -> None:
    detector = Detector.parse({"gain": 2, "noise": {"sigma": 3}, "planes": [{"kind": "pink"}]})
    assert detector == Detector(gain=2.0, noise=Noise(sigma=3.0), planes=[Noise(kind="pink")])
    assert detector.noise.kind == "white"


def test_options_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Noise().sigma = 2.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gian": 1}, "data.gian: unknown key; did you mean 'gain'?"),
        ({"noise": {"sigmo": 1}}, "data.noise.sigmo: unknown key; did you mean 'sigma'?"),
        ({"noise": {"zzz": 1}}, "data.noise.zzz: unknown key; known: kind, sigma"),
        ({"dark": {"sigmo": 1}}, "data.dark.sigmo: unknown key; did you mean 'sigma'?"),
        ({"planes": [{}, {"sigmo": 1}]}, "data.planes.1.sigmo: unknown key; did you mean 'sigma'?"),
        ({"by_name": {"left": {"sigmo": 1}}}, "data.by_name.left.sigmo: unknown key; did you mean 'sigma'?"),
        ({"noise": {"sigma": 7}}, "data.noise.sigma: seven is taken (found 7)"),
        ({"noise": {"sigma": -1}}, "data.noise.sigma: "),
        ({"noise": {"sigma": float("nan")}}, "data.noise.sigma: "),
        ({"gain": float("inf")}, "data.gain: Input should be a finite number (found inf)"),
        ({"noise": {"kind": "blue"}}, "data.noise.kind: Input should be 'white' or 'pink' (found 'blue')"),
        ({"noise": None}, "data.noise: "),
        ({"gain": "much"}, "data.gain: "),
    ],
)
def test_the_first_problem_is_one_line_with_its_path(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Detector.parse({"gain": 1.0} | values, where="data")
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_missing_value_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^gain: Field required"):
        Detector.parse({})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "Detector.gain: Field required"),
        ({"gian": 1, "gain": 1}, "Detector.gian: unknown key; did you mean 'gain'?"),
        ({"gain": 1, "noise": {"sigmo": 1}}, "Detector.noise.sigmo: unknown key; did you mean 'sigma'?"),
        ({"gain": "much"}, "Detector.gain: "),
    ],
)
def test_a_constructor_says_what_parsing_says(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Detector(**values)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)


class Named(Options):
    classes: list[str] = []
    weights: dict[str, float] = {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"classes": ["ER", False]}, "YAML reads NO, off and the like as false; put a name in quotes"),
        ({"classes": [True]}, "YAML reads YES, on and the like as true; put a name in quotes"),
        ({"weights": {False: 3}}, "YAML reads NO"),
        ({"weights": {3: 3}}, "put a name in quotes"),
    ],
)
def test_a_class_called_no_gets_the_hint_to_quote_it(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Named.parse(values)


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, [1] * 10**6, {"a": [[[[[[1]]]]]]}, 10**5000, object()],
    ids=["text", "list", "nested", "digits", "object"],
)
def test_no_message_shows_a_whole_value(value: Any) -> None:
    with pytest.raises(ConfigError, match="found") as caught:
        Noise.parse({"sigma": value})
    assert len(str(caught.value)) < 300
