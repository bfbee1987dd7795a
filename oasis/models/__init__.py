"""Backbones: networks that turn an image into feature maps of the same size, by name.

A model of this package has a plain name (`unet`). A name with a slash (`family/...`) is built by another library,
which is imported only when its family is asked for.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from torch import nn

from oasis.errors import ModelError, nearest
from oasis.models.reference import load_reference
from oasis.models.unet import UNet

__all__ = ["Family", "UNet", "create_model", "list_models", "load_reference"]

COMMON = ("in_channels", "out_channels", "spatial_dims")


@dataclass(frozen=True)
class Family:
    """Models that are built in the same way.

    Attributes:
        names: returns the full names of the models.
        builder: returns what builds the model of a name, a callable of `in_channels`, `out_channels`,
            `spatial_dims` and the model's own options.
    """

    names: Callable[[], Sequence[str]]
    builder: Callable[[str], Callable[..., nn.Module]]


FAMILIES = {"": Family(names=lambda: ["unet"], builder=lambda name: UNet)}


def create_model(
    name: str, in_channels: int, out_channels: int, spatial_dims: int = 2, **options: Any
) -> nn.Module:
    """Return a backbone by name, with its weights drawn anew.

    Args:
        name: one of `list_models()`.
        in_channels: channels of the input.
        out_channels: channels of the output, which has the spatial size of the input.
        spatial_dims: 1, 2 or 3.
        **options: the model's own.

    Raises:
        ModelError: an unknown name or option, or options that do not fit the model.

    Example:
        >>> create_model("unet", in_channels=1, out_channels=2, base_channels=8).spatial_dims
        2
    """
    family = FAMILIES.get(name.split("/")[0] if "/" in name else "")
    if family is None or name not in family.names():
        raise ModelError(f"model: unknown {name!r}; {nearest(name, list_models())}")
    build = family.builder(name)
    known = [option for option in inspect.signature(build).parameters if option not in COMMON]
    for option in options:
        if option not in known:
            raise ModelError(f"model {name}: unknown option {option!r}; known: {', '.join(known)}")
    return build(in_channels=in_channels, out_channels=out_channels, spatial_dims=spatial_dims, **options)


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the models that match a shell pattern.

    Example:
        >>> list_models("u*")
        ['unet']
    """
    names = [name for family in FAMILIES.values() for name in family.names()]
    return sorted(name for name in names if fnmatchcase(name, pattern))
