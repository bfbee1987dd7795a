"""Changes of keys, from the command line and in a study."""

import pytest

from oasis.config.changes import changed, parse_change, set_key
from oasis.errors import ConfigError


@pytest.mark.parametrize("section", [None, {}, {"flips": False}])
def test_a_section_that_is_null_is_begun(section: dict[str, bool] | None) -> None:
    assert changed({"augmentation": section}, ["augmentation.flips=true"]) == {"augmentation": {"flips": True}}
    assert changed({}, ["augmentation.flips=true"]) == {"augmentation": {"flips": True}}


def test_the_values_that_are_changed_stay_as_they_are() -> None:
    values = {"a": {"b": [1]}}
    assert changed(values, ["a.b=2"]) == {"a": {"b": 2}}
    assert values == {"a": {"b": [1]}}


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("run=runs/a #1", "runs/a #1"),
        ("run='runs/a #1'", "runs/a #1"),
        ('run="a" # said', "a"),
        ("run=  spaces  ", "spaces"),
        ("run=a=b", "a=b"),
        ("run=", None),
        ("run=null", None),
        ("run=007", 7),
        ("run={a: [1, x]}", {"a": [1, "x"]}),
        ("run=2001-99-99", "2001-99-99"),
        ("run=5 #1", "5 #1"),
    ],
)
def test_a_value_is_yaml_and_keeps_its_end(change: str, value: object) -> None:
    assert parse_change(change) == ("run", value)


@pytest.mark.parametrize(
    "change",
    [
        "epochs",
        "=3",
        ".a=3",
        "a..b=3",
        "a.=3",
        "seed=[",
        "seed=" + "9" * 5000,
        "seed=!!int abc",
        "seed=" + "[" * 5000,
        "a={b: 1, b: 2}",
        "a=&a [*a]",
        "x" * 5000,
        "adapter.x=3",
    ],
)
def test_what_cannot_be_read_is_one_short_line(change: str) -> None:
    with pytest.raises(ConfigError, match=r"^--set ") as caught:
        changed({"adapter": "migdal"}, [change])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_key_below_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match="a is not a section"):
        set_key({"a": 1}, "a.b", 2)
