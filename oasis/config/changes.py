"""Changes: nested settings that are set by key."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from oasis.errors import ConfigError, shown
from oasis.io.yaml_text import is_whole, parse_yaml


def set_key(values: dict[str, Any], key: str, value: Any) -> None:
    """Set a key such as `a.b` of nested values in place; a section that is missing or null is created.

    Raises:
        ConfigError: the key is below a value that is not a section.

    Example:
        >>> values = {"augmentation": None}
        >>> set_key(values, "augmentation.flips", True)
        >>> values
        {'augmentation': {'flips': True}}
    """
    *sections, last = key.split(".")
    for section in sections:
        if values.get(section) is None:
            values[section] = {}
        values = values[section]
        if not isinstance(values, dict):
            raise ConfigError(f"{shown(key)[1:-1]}: {section} is not a section")
    values[last] = value


def parse_change(change: str) -> tuple[str, Any]:
    """Split `a.b=c` into its key and its value, which is read as YAML without comments.

    Raises:
        ConfigError: the text has not this form.

    Example:
        >>> parse_change("training.epochs=20"), parse_change("run=runs/a #1")
        (('training.epochs', 20), ('run', 'runs/a #1'))
    """
    key, equals, text = change.partition("=")
    where = f"--set {shown(change)[1:-1]}"
    if not equals or not all(key.split(".")):
        raise ConfigError(f"{where}: expected key=value, as in training.epochs=20")
    value = parse_yaml(text, where)
    return key, value if is_whole(text) else text.strip()


def changed(values: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return nested values after changes such as `a.b=c`.

    Raises:
        ConfigError: a text has not this form, or its key is below a value that is not a section.

    Example:
        >>> changed({"a": {"b": 1}}, ["a.c=2", "d=[x]"])
        {'a': {'b': 1, 'c': 2}, 'd': ['x']}
    """
    result = copy.deepcopy(dict(values))
    for change in changes:
        key, value = parse_change(change)
        try:
            set_key(result, key, value)
        except ConfigError as error:
            raise ConfigError(f"--set {error}") from None
    return result


def leaves(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return every value of nested settings by its full key.

    Example:
        >>> leaves({"a": {"b": 1, "c": {}}, "d": [2]})
        {'a.b': 1, 'd': [2]}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
