"""Code of the user's own: a name in a file, as `path/to/file.py:name`."""

import importlib.util
import sys
from pathlib import Path
from typing import Any
from zlib import crc32

from oasis.errors import ConfigError, nearest


def is_code(name: str) -> bool:
    """Return whether a name is that of code in a file.

    Example:
        >>> is_code("models/mine.py:build"), is_code("unet")
        (True, False)
    """
    return ".py:" in name


def from_file(name: str) -> Any:
    """Run a file and return what it calls by the name behind the colon.

    Raises:
        ConfigError: no such file, or no such name in it.
    """
    file, _, key = name.rpartition(":")
    path = Path(file).resolve()
    if not path.is_file():
        raise ConfigError(f"{file}: no such file")
    module_name = f"oasis_code_{path.stem}_{crc32(str(path).encode()):08x}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # so that worker processes can pickle what it defines
    spec.loader.exec_module(module)
    if not hasattr(module, key):
        names = [name for name, value in vars(module).items() if callable(value)]
        raise ConfigError(f"{file} defines no {key!r}; {nearest(key, names)}")
    return getattr(module, key)
