"""Networks of MONAI by their names there: `monai/<Network>`, in one to three dimensions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter, signature
from math import prod
from types import ModuleType
from typing import Any

from oasis.errors import MissingExtraError, ModelError, import_extra, nearest
from oasis.models.backbone import COMMON, Backbone, Wrapped, check_options, fetching, settle

PREFIX = "monai/"
OURS = ("self", "pretrained", "deep_supervision", "deep_supr_num", "dsdepth", *COMMON)

Options = Mapping[str, Any]


@dataclass(frozen=True)
class Network:
    """Facts about a network that MONAI does not state.

    Attributes:
        dimensions: the supported numbers of spatial axes.
        divisor: returns, for its options, the number that sizes must be multiples of.
        minimum_size: the smallest number of pixels along an axis; it is increased if it turns out too small.
        defaults: defaults of options that MONAI does not set.
    """

    dimensions: tuple[int, ...]
    divisor: Callable[[Options], int] = lambda options: 1
    minimum_size: int = 1
    defaults: Options = field(default_factory=dict)


def _strides(options: Options) -> int:
    return prod(max(stride) if isinstance(stride, Sequence) else stride for stride in options["strides"])


ENCODED: Options = {"channels": (16, 32, 64, 128, 256), "strides": (2, 2, 2, 2)}
NETWORKS = {
    "AttentionUnet": Network((1, 2, 3), _strides, defaults=ENCODED),
    "BasicUNet": Network((1, 2, 3), minimum_size=16),
    "BasicUNetPlusPlus": Network((1, 2, 3), minimum_size=16),
    "DynUNet": Network((1, 2, 3), _strides, defaults={"strides": (1, 2, 2, 2, 2)}),
    "FlexibleUNet": Network((2, 3), lambda options: 32, defaults={"backbone": "resnet18"}),
    "HighResNet": Network((1, 2, 3)),
    "MedNeXt": Network((2, 3), lambda options: 2 ** len(options["blocks_down"])),
    "SegResNet": Network((2, 3), lambda options: 2 ** (len(options["blocks_down"]) - 1)),
    "SegResNetDS": Network((1, 2, 3), lambda options: 2 ** (len(options["blocks_down"]) - 1)),
    "SwinUNETR": Network((2, 3), lambda options: options["patch_size"] ** 5),
    "UNETR": Network((1, 2, 3)),
    "UNet": Network((1, 2, 3), _strides, defaults={**ENCODED, "num_res_units": 2}),
    "VNet": Network((2, 3), lambda options: 16),
}


def names(pattern: str) -> list[str]:
    """Return the names of the models of the installed MONAI, for any pattern; none without MONAI."""
    try:
        library = _library()
    except MissingExtraError:
        return []
    return [PREFIX + network for network in NETWORKS if hasattr(library, network)]


def dimensions(name: str) -> tuple[int, ...]:
    """Return the numbers of spatial axes that a model supports.

    Raises:
        ModelError: an unknown name.
    """
    network = name.removeprefix(PREFIX)
    if network not in NETWORKS:
        raise ModelError(f"unknown; {nearest(name, [PREFIX + network for network in NETWORKS])}")
    return NETWORKS[network].dimensions


def build(
    name: str,
    in_channels: int,
    out_channels: int,
    spatial_dims: int,
    padding: str = "reflect",
    encoder_weights: str | None = None,
    **options: Any,
) -> Backbone:
    """Return the model `monai/<Network>`.

    Args:
        name: the name of the model.
        in_channels: channels of the input.
        out_channels: channels of the output.
        spatial_dims: one of its `dimensions`.
        padding: `"reflect"` or `"zero"`.
        encoder_weights: `"default"`, to be fetched, for `FlexibleUNet`; None draws them.
        **options: the options of the network, except deep supervision.

    Raises:
        ModelError: an option is unknown or invalid.
        MissingExtraError: MONAI is not installed.
    """
    key = name.removeprefix(PREFIX)
    kind = getattr(_library(), key, None)
    if kind is None:
        raise ModelError("the installed MONAI has no such network: install a newer version")
    network, parameters = NETWORKS[key], signature(kind.__init__).parameters
    known = [option for option in parameters if option not in OURS]
    can_fetch = "pretrained" in parameters
    if encoder_weights is not None and not can_fetch:
        raise ModelError("this network has no encoder_weights: leave them out")
    check_options(options, [*known, "padding", *["encoder_weights"] * can_fetch])
    given = {option: parameters[option].default for option in known}
    given = {option: default for option, default in given.items() if default is not Parameter.empty}
    options = {**given, **network.defaults, **options}
    if key == "DynUNet":
        strides = list(options["strides"])
        options = {"kernel_size": [3] * len(strides), "upsample_kernel_size": strides[1:], **options}
    missing = [option for option in known if option not in options]
    if missing:
        raise ModelError(f"needs the option {missing[0]}")
    facts = {"in_channels": in_channels, "out_channels": out_channels, "spatial_dims": spatial_dims}
    with fetching(encoder_weights):
        built = kind(**facts, **options, **{"pretrained": encoder_weights is not None} if can_fetch else {})
    sizes = (network.divisor(options), network.minimum_size, padding, options.get("img_size"))
    return settle(Wrapped(built, in_channels, out_channels, spatial_dims, *sizes))


def _library() -> ModuleType:
    return import_extra("monai", extra="backbones").networks.nets  # type: ignore[no-any-return]
