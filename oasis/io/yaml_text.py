"""YAML of configurations: one line of error for every way of being broken, and bounded memory."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from oasis.errors import ConfigError, shown
from oasis.io.texts import read_text

DEEPEST = 50  # levels of nesting
MOST_VALUES = 500_000  # after aliases are followed
LONGEST = 8_000_000  # characters


class _Loader(yaml.SafeLoader):
    """The safe loader, except that dates stay text and an error says where the invalid value is."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError):
            kind = node.tag.rpartition(":")[2]
            raise _problem(f"{shown(node.value)} is not a valid {kind}", node) from None


_Loader.yaml_implicit_resolvers = {
    start: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
    for start, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_yaml(text: str, where: str) -> Any:
    """Return the values of a YAML text; dates stay text.

    Args:
        text: the text to be read.
        where: where it is from, for messages.

    Raises:
        ConfigError: not YAML, an invalid value, a duplicate key, nested too deeply, or too large.

    Example:
        >>> parse_yaml("a: {b: [1, 2001-99-99]}", "settings")
        {'a': {'b': [1, '2001-99-99']}}
    """
    if len(text) > LONGEST:
        raise ConfigError(f"{where}: {len(text):,} characters are too many for a configuration")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, {})
        return loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise ConfigError(f"{where}: not a configuration: nested too deeply") from None
    except (ValueError, OverflowError) as error:  # an escape sequence that is not a character
        raise ConfigError(f"{where}: not YAML: {error}") from None


def is_whole(text: str) -> bool:
    """Return whether YAML reads all of a text, rather than dropping the end as a comment.

    Example:
        >>> is_whole("runs/a"), is_whole("runs/a #1"), is_whole("'runs/a #1'")
        (True, False, True)
    """
    node = yaml.compose(text, _Loader)
    return not (isinstance(node, yaml.ScalarNode) and node.style is None and node.value != text.strip())


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file of sections.

    Raises:
        ConfigError: the file does not exist, is not YAML, or contains no sections.
    """
    values = parse_yaml(read_text(path, ConfigError), str(path))
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected sections such as adapter, data and training, found {shown(values)}")
    return values


def yaml_text(values: Any) -> str:
    """Return plain values as YAML text, keys in their order.

    Example:
        >>> print(yaml_text({"unit": "mV", "weights": {"NO": 3}}), end="")
        unit: mV
        weights:
          'NO': 3
    """
    text: str = yaml.safe_dump(values, sort_keys=False)
    return text


def flow(values: Any) -> str:
    """Return plain values as YAML on one line.

    Example:
        >>> flow({"name": "unet", "depth": 4})
        '{name: unet, depth: 4}'
    """
    text: str = yaml.safe_dump(values, default_flow_style=True, sort_keys=False, width=10**6, allow_unicode=True)
    return text.strip()


def _count(node: yaml.Node, known: dict[int, int], depth: int = 0) -> int:
    """Return the number of values of a node with its aliases followed, and check the node on the way."""
    if known.get(id(node)) == 0:
        raise _problem("an alias refers to a value that contains it", node)
    if id(node) in known:
        return known[id(node)]
    if depth > DEEPEST:
        raise _problem(f"nested more than {DEEPEST} levels deep", node)
    known[id(node)] = 0
    parts: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        _check_keys(node)
        parts = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        parts = node.value
    count = 1 + sum(_count(part, known, depth + 1) for part in parts)
    if count > MOST_VALUES:
        raise _problem(f"more than {MOST_VALUES:,} values once its aliases are followed", node)
    known[id(node)] = count
    return count


def _check_keys(node: yaml.MappingNode) -> None:
    found: set[Hashable] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _problem("a key must be a name or a number", key)
        if (key.tag, key.value) in found:
            raise _problem(f"the key {shown(key.value)} appears twice", key)
        found.add((key.tag, key.value))


def _problem(text: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    mark = node.start_mark
    return yaml.MarkedYAMLError(problem=f"line {mark.line + 1}, column {mark.column + 1}: {text}")
