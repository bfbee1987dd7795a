"""Backbones of the user's own, from a file: `path/to/file.py:build`."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from oasis.errors import ModelError, nearest
from oasis.models.backbone import Backbone, own_backbone


def is_code(name: str) -> bool:
    """Return whether the name of a model is that of code in a file.

    Example:
        >>> is_code("models/mine.py:build"), is_code("unet")
        (True, False)
    """
    return ".py:" in name


def build(name: str, in_channels: int, out_channels: int, spatial_dims: int, **options: Any) -> Backbone:
    """Run a file and return what the function or class that is named behind the colon makes.

    Args:
        name: `path/to/file.py:build`.
        in_channels: channels of the input, handed on by name.
        out_channels: channels of the output, handed on by name.
        spatial_dims: 1, 2 or 3, handed on by name.
        **options: handed on by name.

    Raises:
        ModelError: no such file or function, or no module comes out.
    """
    file, _, key = name.rpartition(":")
    module = _run(Path(file))
    if not callable(getattr(module, key, None)):
        names = [name for name, value in vars(module).items() if callable(value)]
        raise ModelError(f"{file} defines no {key!r}; {nearest(key, names)}")
    facts = {"in_channels": in_channels, "out_channels": out_channels, "spatial_dims": spatial_dims}
    return own_backbone(getattr(module, key)(**facts, **options), **facts)


def _run(path: Path) -> ModuleType:
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    name = f"oasis_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that worker processes can pickle what it defines
    spec.loader.exec_module(module)
    return module
