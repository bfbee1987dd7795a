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
