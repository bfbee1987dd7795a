"""Options: what fits is kept, what does not is named by its path."""

import copy
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from pydantic import Field, ValidationError, field_validator

from oasis.config.changes import changed
from oasis.config.schema import RunConfig
from oasis.errors import ConfigError
from oasis.inference.options import WindowOptions
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
        ({"gain": True}, "data.gain: expected a number, not true or false (found True)"),
        ({"noise": {"sigma": False}}, "data.noise.sigma: expected a number, not true or false (found False)"),
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


class Either(Options):
    limits: dict[str, float] | float = 0.0


def test_a_problem_in_one_of_several_types_is_named_by_its_keys_alone() -> None:
    with pytest.raises(ConfigError, match=r"^data\.limits(\.ER)?: expected a number") as caught:
        Either.parse({"limits": {"ER": True}}, where="data")
    assert "[" not in str(caught.value).split(":")[0]


class Mixed(Options):
    on: bool = False
    either: bool | int = 1
    free: Any = None
    numbers: list[int] = []
    by_name: dict[str, float] = {}
    pair: tuple[int, float] = (1, 1.0)


@pytest.mark.parametrize("values", [{"numbers": [1, True]}, {"by_name": {"a": False}}, {"pair": [1, True]}])
def test_truth_values_are_no_numbers_but_where_they_belong(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="expected a number, not true or false"):
        Mixed.parse(values)
    assert Mixed.parse({"on": True, "either": False, "free": [True], "numbers": [1]}).either is False


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


@pytest.mark.parametrize("changes", ["loss.class_weights={ER:5}", "training={epochs:3}"])
def test_a_colon_without_a_space_gets_the_hint_to_write_one(changes: str) -> None:
    values = changed({"adapter": "migdal", "run": "a"}, [changes])
    with pytest.raises(ConfigError, match=r"YAML needs a space after a colon: \{(ER: 5|epochs: 3)\}"):
        RunConfig.parse(values)


def test_a_path_that_is_no_text_gets_the_hint_to_rename_it() -> None:
    class Place(Options):
        run: str = Field("", min_length=1)

    with pytest.raises(ConfigError, match=r"a name has to be valid UTF-8: set PYTHONUTF8=1 .* or rename it"):
        Place.parse({"run": "caf\udce9"})


@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, [1] * 10**6, {"a": [[[[[[1]]]]]]}, 10**5000, object()],
    ids=["text", "list", "nested", "digits", "object"],
)
def test_no_message_shows_a_whole_value(value: Any) -> None:
    with pytest.raises(ConfigError, match="found") as caught:
        Noise.parse({"sigma": value})
    assert len(str(caught.value)) < 300


class Log(Options):
    name: Literal["log"] = "log"
    scale: float = 1.0
    table: dict[str, float] = {}
    taken_whole = frozenset({"table"})


class Root(Options):
    name: Literal["root"] = "root"
    power: float = 0.5
    scale: float = 1.0


class Device(Options):
    name: str = "camera"  # of the user's own: it chooses nothing
    gain: float = 1.0


class Everything(Options):
    taken_whole = frozenset({"weights"})
    taken_by_name = frozenset({"scaling", "model"})
    weights: dict[str, float] = {}
    device: Device = Device()
    scaling: Annotated[Log | Root, Field(discriminator="name")] = Log()
    model: dict[str, Any] = {"name": "unet"}
    free: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        ({"weights": {"a": 1}}, {"weights": {"b": 2}}, {"weights": {"b": 2}}),
        ({"weights": {"a": 1}}, {"weights": {}}, {"weights": {}}),
        ({"device": {"gain": 2}}, {"device": {"name": "mine"}}, {"device": {"gain": 2, "name": "mine"}}),
        ({"scaling": {"scale": 2}}, {"scaling": {"name": "log"}}, {"scaling": {"scale": 2, "name": "log"}}),
        ({"scaling": {"scale": 2}}, {"scaling": {"name": "root"}}, {"scaling": {"name": "root"}}),
        (
            {"scaling": {"name": "root", "power": 0.3}},
            {"scaling": {"scale": 5}},
            {"scaling": {"name": "root", "power": 0.3, "scale": 5}},
        ),
        ({"scaling": {"table": {"a": 1}}}, {"scaling": {"table": {"b": 1}}}, {"scaling": {"table": {"b": 1}}}),
        (
            {"model": {"depth": 3}},
            {"model": {"name": "unet", "norm": 1}},
            {"model": {"depth": 3, "name": "unet", "norm": 1}},
        ),
        ({"model": {"name": "a", "depth": 3}}, {"model": {"name": "unet"}}, {"model": {"name": "unet"}}),
        ({"free": {"a": {"b": 1}}}, {"free": {"a": {"name": "x"}}}, {"free": {"a": {"b": 1, "name": "x"}}}),
        ({"device": {"gain": 2}}, {"device": None}, {"device": None}),
        ({"device": None}, {"device": {"gain": 2}}, {"device": {"gain": 2}}),
        ({}, {"unknown": {"a": 1}}, {"unknown": {"a": 1}}),
    ],
)
def test_values_are_laid_over_defaults(below: Any, above: Any, expected: Any) -> None:
    kept = copy.deepcopy(below)
    assert Everything.merge(below, above) == expected
    assert below == kept


def test_every_table_of_a_run_says_how_it_is_merged() -> None:
    """A new table of names has to be declared, or tables of two kinds of weights would mix silently."""
    waiting: list[type[Options]] = [RunConfig]
    seen = set(waiting)
    while waiting:
        kind = waiting.pop()
        declared = kind.taken_whole | kind.taken_by_name
        assert declared <= set(kind.model_fields)
        for name, field in kind.model_fields.items():
            found = {part for part in flat(field.annotation) if isinstance(part, type)}
            if dict in found:
                assert name in declared | {"data", "grouping", "thresholds"}, f"{kind.__name__}.{name}"
            new = {part for part in found if issubclass(part, Options)} - seen
            seen |= new
            waiting += new
    assert len(seen) > 8


def flat(annotation: Any) -> Iterator[Any]:
    yield get_origin(annotation) or annotation
    for argument in get_args(annotation):
        yield from flat(argument)


def test_what_does_not_go_together_is_said_by_its_keys_alone():
    """Neither the name of a Python class nor all other keys stand around the message of several keys."""
    with pytest.raises(ConfigError) as caught:
        WindowOptions.parse({"kind": "whole", "regions": "a.csv"})
    assert str(caught.value) == "regions: a file of regions goes with the window regions, not whole"
