"""Overlap-aware segmentation of images: an intensity map for every class, also where objects overlap."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oasis.errors import OasisError
    from oasis.loss.overlap import OverlapLoss
    from oasis.models import create_model, list_models, load_reference
    from oasis.run import Run
    from oasis.scaling import AsinhScale, LogScale
    from oasis.separator.options import SeparatorOptions
    from oasis.separator.separator import Separator, load
    from oasis.training.fit import fit
    from oasis.training.options import TrainingOptions

__version__ = "0.1.0"

_HOME = {
    "OasisError": "errors",
    "OverlapLoss": "loss.overlap",
    "AsinhScale": "scaling",
    "LogScale": "scaling",
    "create_model": "models",
    "list_models": "models",
    "load_reference": "models",
    "Separator": "separator.separator",
    "SeparatorOptions": "separator.options",
    "load": "separator.separator",
    "TrainingOptions": "training.options",
    "fit": "training.fit",
    "Run": "run",
}

__all__ = [
    "AsinhScale",
    "LogScale",
    "OasisError",
    "OverlapLoss",
    "Run",
    "Separator",
    "SeparatorOptions",
    "TrainingOptions",
    "create_model",
    "fit",
    "list_models",
    "load",
    "load_reference",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first access."""
    if name not in _HOME:
        raise AttributeError(f"module 'oasis' has no attribute {name!r}")
    return getattr(importlib.import_module(f"oasis.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
