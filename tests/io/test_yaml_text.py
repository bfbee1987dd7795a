"""YAML: what a configuration needs, and one line for everything else."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oasis.errors import ConfigError
from oasis.io.yaml_text import parse_yaml, read_yaml, yaml_text

BOMB = "a: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"b{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
)
MERGED = "a0: &a0 {x: 1}\n" + "".join(
    f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}\n" for level in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!timestamp 2001-99-99", "line 1, column 4: '2001-99-99' is not a valid timestamp"),
        ("a: !!int abc", "line 1, column 4: 'abc' is not a valid int"),
        ("a: !!float abc", "'abc' is not a valid float"),
        ("a: !!bool abc", "'abc' is not a valid bool"),
        ("a: " + "9" * 5000, "is not a valid int"),
        ("a: =", "not YAML"),
        ("[" * 5000, "nested too deeply"),
        ("{a: " * 5000, "nested too deeply"),
        ("- " * 5000, "nested too deeply"),
        ("a: " + "[" * 60 + "]" * 60, "nested more than 50 levels deep"),
        ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' appears twice"),
        ("b: {a: 1, c: {d: 1, d: 1}}", "the key 'd' appears twice"),
        ("? [a, b]\n: 1", "a key must be a name or a number"),
        ("a: &a [*a]", "an alias refers to a value that contains it"),
        ("a: &a {b: {c: *a}}", "an alias refers to a value that contains it"),
        ("a: &a\n  <<: *a", "an alias refers to a value that contains it"),
        (BOMB, "values once its aliases are followed"),
        (MERGED, "values once its aliases are followed"),
        ("a: *nobody", "undefined alias"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: 1\n---\nb: 2", "expected a single document"),
        ('a: "\\UFFFFFFFF"', "not YAML"),
        ("a: \x00", "not YAML"),
        ("a: [", "not YAML"),
    ],
)
def test_what_cannot_be_read_is_one_short_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"^here: ") as caught:
        parse_yaml(text, "here")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@given(st.text(alphabet="ab:[]{}&*!<>|-?,'\"#=%@\n 019.\\Ux") | st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse_yaml(text, "here")


def test_anchors_and_merges_are_followed() -> None:
    text = "base: &base {a: 1, b: 2}\nother: {<<: *base, b: 3}\nlist: [*base, *base]"
    assert parse_yaml(text, "x") == {
        "base": {"a": 1, "b": 2},
        "other": {"a": 1, "b": 3},
        "list": [{"a": 1, "b": 2}] * 2,
    }


def test_a_date_stays_text() -> None:
    assert parse_yaml("run: 2024-05-01", "x") == {"run": "2024-05-01"}


@pytest.mark.parametrize("text", ["just words", "", "[1, 2]", "# nothing", "5"])
def test_a_file_needs_sections(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match="expected sections"):
        read_yaml(tmp_path / "a.yaml")


@given(st.dictionaries(st.text(), st.text() | st.booleans() | st.integers() | st.none()))
def test_values_are_written_so_that_they_read_back(values: dict[str, object]) -> None:
    assert parse_yaml(yaml_text(values), "x") == values
