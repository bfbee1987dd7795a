"""Registry: adapters by their installed name or in a file."""

from importlib.metadata import entry_points
from inspect import isabstract
from typing import Any

from oasis.adapters.base import Adapter
from oasis.errors import ConfigError, nearest
from oasis.plugins import from_file, is_code

GROUP = "oasis.adapters"


def adapter_names() -> dict[str, str]:
    """Return the installed adapters by name, with the location of each definition."""
    return {point.name: point.value for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def find_adapter(name: str) -> type[Adapter]:
    """Return an adapter class by its installed name, or from a file as `path/to/file.py:ClassName`.

    Raises:
        ConfigError: there is no such adapter, file or class.
    """
    if is_code(name):
        try:
            return _checked(from_file(name), name)
        except ConfigError as error:
            raise ConfigError(f"adapter: {error}") from None
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise ConfigError(f"adapter: unknown {name!r}; {nearest(name, points)}, or give file.py:ClassName")
    return _checked(points[name].load(), name)


def _checked(adapter: Any, name: str) -> type[Adapter]:
    if not (isinstance(adapter, type) and issubclass(adapter, Adapter)):
        raise ConfigError(f"{name} is not a subclass of oasis.adapters.Adapter")
    if isabstract(adapter):
        raise ConfigError(f"{name} does not define {', '.join(sorted(adapter.__abstractmethods__))}")
    return adapter
