"""Changes: nested settings read from YAML, laid over each other and set by key."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from oasis.errors import ConfigError


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file of sections.

    Raises:
        ConfigError: no such file, not YAML, or no sections in it.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected sections such as adapter, data and training, found {values!r}")
    return values


def parse_change(change: str) -> tuple[str, Any]:
    """Take `a.b=c` apart into its key and its value, which is read as YAML.

    Raises:
        ConfigError: no such text.
    """
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {change}: expected key=value, as in training.epochs=20")
    try:
        return key, yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {change}: {text!r} is not YAML") from None


def changed(values: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Return nested values after changes such as `a.b=c`.

    Raises:
        ConfigError: no such text, or a key below one that is no section.

    Example:
        >>> changed({"a": {"b": 1}}, ["a.c=2", "d=[x]"])
        {'a': {'b': 1, 'c': 2}, 'd': ['x']}
    """
    result = copy.deepcopy(dict(values))
    for change in changes:
        key, value = parse_change(change)
        *sections, last = key.split(".")
        within = result
        for section in sections:
            within = within.setdefault(section, {})
            if not isinstance(within, dict):
                raise ConfigError(f"--set {change}: {section} is not a section")
        within[last] = value
    return result


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another; tables that are one choice, and options of another name, are taken whole."""
    if "name" in above and above["name"] != below.get("name"):
        return dict(above)
    merged = dict(below)
    for key, value in above.items():
        nested = isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        whole = key in ("class_weights", "region_weights", "distance", "terms", "quantities")
        merged[key] = _merged(below[key], value) if nested and not whole else value
    return merged
