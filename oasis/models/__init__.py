"""Models: backbones by name, networks that turn an image into feature maps of the same size.

A model of this package has a plain name (`unet`, `tokens`). A name with a slash (`family/...`) is built by another
library, which is imported only when its family is requested. `path/to/file.py:build` is the user's own model.
"""

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from inspect import signature
from typing import Any, NamedTuple

from oasis.errors import ConfigError, ModelError, OasisError, nearest
from oasis.models import from_monai, from_smp, from_timm
from oasis.models.backbone import (
    COMMON,
    DIMENSIONS,
    Backbone,
    check_dimension,
    check_options,
    own_backbone,
    reason,
)
from oasis.models.reference import load_reference
from oasis.models.sparse import SparseTransformer
from oasis.models.unet import UNet
from oasis.plugins import from_file, is_code

__all__ = [
    "Backbone",
    "Family",
    "SparseTransformer",
    "UNet",
    "create_model",
    "list_models",
    "load_reference",
    "own_backbone",
]

OURS: dict[str, Callable[..., Backbone]] = {"unet": UNet, "tokens": SparseTransformer}
KINDS = (*OURS, "smp/<architecture>-<encoder>", "timm/<encoder>", "monai/<Network>", "<file>.py:<builder>")


class Family(NamedTuple):
    """A family of models that are built in the same way.

    Attributes:
        names: returns the full names of the models, given the requested pattern.
        dimensions: returns the numbers of spatial axes that a model supports, given its name.
        build: builds a model from its name, `in_channels`, `out_channels`, `spatial_dims` and its own options.
    """

    names: Callable[[str], list[str]]
    dimensions: Callable[[str], tuple[int, ...]]
    build: Callable[..., Backbone]


def _ours(name: str, in_channels: int, out_channels: int, spatial_dims: int, **options: Any) -> Backbone:
    if name not in OURS:
        raise ModelError(f"unknown; {nearest(name, KINDS)}")
    check_options(options, [option for option in signature(OURS[name]).parameters if option not in COMMON])
    return OURS[name](in_channels, out_channels, spatial_dims, **options)


def _own(name: str, in_channels: int, out_channels: int, spatial_dims: int, **options: Any) -> Backbone:
    """Return the model built by a function or class in the user's file."""
    facts = {"in_channels": in_channels, "out_channels": out_channels, "spatial_dims": spatial_dims}
    try:
        build = from_file(name)
    except ConfigError as error:
        raise ModelError(str(error)) from None
    return own_backbone(build(**facts, **options), **facts)


FAMILIES = {
    "": Family(lambda pattern: list(OURS), lambda name: DIMENSIONS, _ours),
    "smp": Family(from_smp.names, from_smp.dimensions, from_smp.build),
    "timm": Family(from_timm.names, from_timm.dimensions, from_timm.build),
    "monai": Family(from_monai.names, from_monai.dimensions, from_monai.build),
}
FILES = Family(lambda pattern: [], lambda name: DIMENSIONS, _own)


def create_model(
    name: str, in_channels: int, out_channels: int, spatial_dims: int = 2, **options: Any
) -> Backbone:
    """Return a backbone by name, with new random weights.

    Args:
        name: one of `list_models()`, or `path/to/file.py:build`, whose code is then run.
        in_channels: channels of the input.
        out_channels: channels of the output, which has the spatial size of the input.
        spatial_dims: 1, 2 or 3.
        **options: the options of the model.

    Raises:
        ModelError: the name or an option is unknown, the options are invalid, or the model does not support the
            number of spatial axes.
        MissingExtraError: the library of the model is not installed.

    Example:
        >>> create_model("unet", in_channels=1, out_channels=2, base_channels=8).spatial_dims
        2
    """
    try:
        check_dimension(spatial_dims)
        family = _family(name)
        able = family.dimensions(name)
        if spatial_dims not in able:
            made = " and ".join(f"{number}D" for number in able)
            raise ModelError(f"made for {made}; in {spatial_dims}D: {', '.join(_names_in(spatial_dims))}")
        return family.build(name, in_channels, out_channels, spatial_dims, **options)
    except ModelError as error:
        raise ModelError(f"model {name}: {error}") from error.__cause__
    except OasisError:
        raise
    except Exception as error:  # from another library, or from the user's file
        raise ModelError(f"model {name}: {type(error).__name__}: {reason(error)}") from error


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the models that match a shell pattern.

    Only libraries whose models can match are imported; models of a library that is not installed are not listed.
    Models with timm encoders and smp decoders are listed if the pattern contains their prefix, as in
    `smp/unet-tu-res*`.

    Example:
        >>> list_models("u*")
        ['unet']
    """
    start = re.split(r"[*?[]", pattern, maxsplit=1)[0]
    found: list[str] = []
    for key, family in FAMILIES.items():
        prefix = f"{key}/" if key else ""
        if start.startswith(prefix) or prefix.startswith(start):
            found += [name for name in family.names(pattern) if fnmatchcase(name, pattern)]
    return sorted(found)


def _family(name: str) -> Family:
    if is_code(name):
        return FILES
    key = name.split("/")[0] if "/" in name else ""
    if key not in FAMILIES:
        raise ModelError(f"unknown family {key!r}; {nearest(key, filter(None, FAMILIES))}")
    return FAMILIES[key]


def _names_in(spatial_dims: int) -> list[str]:
    monai = [from_monai.PREFIX + network for network in from_monai.NETWORKS]
    return [*OURS, *(name for name in monai if spatial_dims in from_monai.dimensions(name))]
