"""U-Nets with encoders of timm: `timm/<encoder>`, in two dimensions."""

from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from math import ceil, lcm, log2
from types import ModuleType
from typing import Any, TypeVar

from torch import Tensor, nn

from oasis.errors import MissingExtraError, ModelError, import_extra, nearest
from oasis.models.backbone import COMMON, Backbone, check_counts, check_options, fetching, hint, settle
from oasis.models.kernels import memory_format
from oasis.models.unet import Style, Up, initialise, levels

PREFIX = "timm/"
ENCODER_OPTIONS = (
    "img_size",
    "patch_size",
    "window_size",
    "output_stride",
    "norm_layer",
    "act_layer",
    "drop_rate",
    "drop_path_rate",
)
ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False})

T = TypeVar("T")


class TimmUNet(Backbone):
    """A U-Net whose contracting path is an encoder of timm.

    Levels like those of `UNet` provide the maps that the encoder lacks: at full resolution and, if its first
    stride is 4, at half resolution. The expanding path is that of `UNet`; a level has `base_channels` times its
    stride as channels.

    Args:
        encoder: an encoder built with `features_only=True`.
        in_channels: channels of the input.
        out_channels: channels of the output.
        base_channels: channels at full resolution.
        style: the style of the levels.
        padding: how images are padded to a multiple of the encoder's strides: `"reflect"` or `"zero"`.
        image_size: the size of an encoder that accepts only one.
    """

    def __init__(
        self,
        encoder: nn.Module,
        in_channels: int,
        out_channels: int,
        base_channels: int,
        style: Style,
        padding: str = "reflect",
        image_size: Any = None,
    ) -> None:
        check_counts(base_channels=base_channels)
        information: Any = encoder.feature_info
        strides: list[int] = information.reduction()
        channels: list[int] = information.channels()
        super().__init__(in_channels, out_channels, 2, lcm(*strides), 1, padding, image_size)
        self.encoder = encoder
        self.channels_last = getattr(encoder, "output_fmt", None) == "NHWC"
        own = [base_channels * 2**level for level in range(ceil(log2(strides[0])))]
        self.stem = levels(in_channels, own, style)
        widths = [*own, *(base_channels * stride for stride in strides[:-1])]
        skips = [*own, *channels[:-1]]
        inputs = [*widths[1:], channels[-1]]
        sizes = zip(inputs, widths, skips, strict=True)
        self.decoder = nn.ModuleList([Up(*size, style) for size in sizes][::-1])
        self.output = nn.Conv2d(widths[0] if widths else channels[-1], out_channels, 1)
        self.encoder_channels, self.width = channels[-1], channels[0]
        for module in (self.stem, self.decoder, self.output):
            module.apply(initialise)

    def compute(self, image: Tensor) -> Tensor:
        """Return (b, out_channels, H, W) for `image` (b, in_channels, H, W)."""
        return self.compute_encoded(image)[0]

    def compute_encoded(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return (b, out_channels, H, W) and the last map of the encoder."""
        wanted = memory_format(image, self.width)
        image = image.to(memory_format=wanted)
        x, skips = image, []
        for level in self.stem:
            x = level(x)
            skips.append(x)
        features = self.encoder(image)
        if self.channels_last:
            features = [feature.permute(0, 3, 1, 2) for feature in features]
        skips.extend(features)
        x = encoded = skips.pop()
        for up, skip in zip(self.decoder, reversed(skips), strict=True):
            x = up(x, skip, wanted)
        return self.output(x), encoded


def names(pattern: str) -> list[str]:
    """Return the names of the models, for any pattern; none without timm."""
    try:
        return [PREFIX + encoder for encoder in _library().list_models()]
    except MissingExtraError:
        return []


def dimensions(name: str) -> tuple[int, ...]:
    """Return the numbers of spatial axes that a model supports."""
    return (2,)


def build(name: str, in_channels: int, out_channels: int, spatial_dims: int, **options: Any) -> Backbone:
    """Return the model `timm/<encoder>`; for its options see `decoded`.

    Raises:
        ModelError: the encoder or an option is unknown, or weights are not available.
        MissingExtraError: timm is not installed.
    """
    encoder = name.removeprefix(PREFIX)
    check_encoder(encoder)
    known = [option for option in signature(decoded).parameters if option not in ("encoder", "more", *COMMON)]
    check_options(options, (*known, *ENCODER_OPTIONS))
    return settle(decoded(encoder, in_channels, out_channels, **options), usual_size(encoder))


def decoded(
    encoder: str,
    in_channels: int,
    out_channels: int,
    base_channels: int = 16,
    depth: int | None = None,
    norm: str = "group",
    dropout: float = 0.0,
    residual: bool = False,
    attention: bool = False,
    padding: str = "reflect",
    encoder_weights: str | None = None,
    **more: Any,
) -> TimmUNet:
    """Return an encoder of timm with the decoder of the U-Net.

    Args:
        encoder: its name in timm.
        in_channels: channels of the input.
        out_channels: channels of the output.
        base_channels: channels at full resolution.
        depth: number of maps of the encoder that are used, beginning with the finest; all by default.
        norm: the normalisation of the decoder, as for `UNet`.
        dropout: the dropout of the decoder.
        residual: whether the blocks of the decoder are residual.
        attention: whether the decoder has attention gates.
        padding: `"reflect"` or `"zero"`.
        encoder_weights: pretrained weights to fetch: a tag of timm or `"default"`; None draws random ones.
        **more: `ENCODER_OPTIONS` for the encoder.
    """
    style = Style(2, norm, dropout, residual, attention)
    arguments = {"in_chans": in_channels, "features_only": True, **pretrained(encoder, encoder_weights)}
    if depth is not None:
        check_counts(depth=depth)
        arguments["out_indices"] = tuple(range(depth))
    try:
        with fetching(encoder_weights):
            network, image_size = of_any_size(partial(_library().create_model, **arguments), more)
    except IndexError:
        raise ModelError(f"depth: the encoder gives fewer than {depth} maps") from None
    return TimmUNet(network, in_channels, out_channels, base_channels, style, padding, image_size)


def check_encoder(encoder: str) -> None:
    """Check the name of an encoder, which may end with a tag.

    Raises:
        ModelError: timm has no such encoder.
        MissingExtraError: timm is not installed.
    """
    if not _library().is_model(encoder):
        raise ModelError(f"unknown encoder {encoder!r}; {hint(encoder, _library().list_models(), 'timm/*')}")


def usual_size(encoder: str) -> tuple[int, ...] | None:
    """Return the image size that an encoder was designed for, if timm states it."""
    facts = _library().get_pretrained_cfg(encoder, allow_unregistered=True)
    return tuple(facts.input_size[1:]) if facts is not None and facts.input_size else None


def pretrained(encoder: str, weights: str | None) -> dict[str, Any]:
    """Return timm's arguments for an encoder with these weights.

    Raises:
        ModelError: the encoder has no weights of that tag.
    """
    if weights in (None, "default"):
        return {"model_name": encoder, "pretrained": weights is not None}
    tags = [tagged.partition(".")[2] for tagged in _library().list_pretrained(f"{encoder}.*")]
    if weights not in tags:
        raise ModelError(f"unknown encoder_weights {weights!r}; {nearest(str(weights), ['default', *tags])}")
    return {"model_name": f"{encoder}.{weights}", "pretrained": True}


def of_any_size(build: Callable[..., T], options: Mapping[str, Any]) -> tuple[T, Any]:
    """Build an encoder that accepts images of any size, or of `img_size` if that is given.

    Args:
        build: takes the encoder's options and raises `TypeError` for an unknown one.
        options: the options of the encoder.

    Returns:
        The encoder, and its size if it accepts only one, else None.
    """
    options = dict(options)
    size = options.pop("img_size", None)
    for extra in ANY_SIZE if size is None else ({"img_size": size},):
        try:
            return build(**options, **extra), size
        except TypeError as error:
            if not any(name in str(error) for name in extra):
                raise
    return build(**options), size


def _library() -> ModuleType:
    return import_extra("timm", extra="backbones")
