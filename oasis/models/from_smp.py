"""Models of segmentation-models-pytorch: `smp/<architecture>-<encoder>`, in two dimensions."""

from functools import partial
from inspect import signature
from types import ModuleType
from typing import Any

from torch import Tensor

from oasis.errors import MissingExtraError, ModelError, import_extra, nearest
from oasis.models import from_timm
from oasis.models.backbone import Backbone, Wrapped, check_options, fetching, hint, settle
from oasis.models.from_timm import ENCODER_OPTIONS, of_any_size

PREFIX = "smp/"
TIMM = "tu-"  # prefix of timm encoders in smp
OURS = ("self", "encoder_name", "in_channels", "classes", "activation", "aux_params", "kwargs")
UNDILATED = ("vgg", "densenet", "inception", "xception")
REFUSED: dict[str, tuple[str, ...]] = {
    "deeplabv3": UNDILATED,
    "deeplabv3plus": UNDILATED,
    "pan": UNDILATED,
    "linknet": ("mit_",),
    "unetplusplus": ("mit_",),
}


class Encoded(Wrapped):
    """A network of smp that also returns the last map of its encoder; all but dpt work like this."""

    def __init__(self, network: Any, *args: Any) -> None:
        super().__init__(network, *args)
        self.encoder_channels = network.encoder.out_channels[-1]

    def compute(self, image: Tensor) -> Tensor:
        """Return (b, out_channels, H, W) for `image` (b, in_channels, H, W)."""
        return self.compute_encoded(image)[0]

    def compute_encoded(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return (b, out_channels, H, W) and the last map of the encoder."""
        network: Any = self.network
        features = network.encoder(image)
        return network.segmentation_head(network.decoder(features)), features[-1]


def names(pattern: str) -> list[str]:
    """Return the architectures with smp's encoders, and with timm's if the pattern contains `tu-` or `dpt`.

    Without smp there are none.
    """
    try:
        smp = _library()
    except MissingExtraError:
        return []
    native = smp.encoders.get_encoder_names()
    universal = [TIMM + encoder for encoder in import_extra("timm", extra="backbones").list_models()]
    found = []
    for architecture in smp.MODEL_ARCHITECTURES_MAPPING:
        encoders = [] if architecture == "dpt" else native
        if TIMM in pattern or pattern.startswith(f"{PREFIX}dpt"):
            encoders = encoders + universal
        found += [
            f"{PREFIX}{architecture}-{encoder}"
            for encoder in encoders
            if not encoder.startswith(REFUSED.get(architecture, ()))
        ]
    return found


def dimensions(name: str) -> tuple[int, ...]:
    """Return the numbers of spatial axes that a model supports."""
    return (2,)


def build(
    name: str,
    in_channels: int,
    out_channels: int,
    spatial_dims: int,
    padding: str = "reflect",
    encoder_weights: str | None = None,
    **options: Any,
) -> Backbone:
    """Return the model `smp/<architecture>-<encoder>`.

    Args:
        name: the name of the model.
        in_channels: channels of the input.
        out_channels: channels of the output.
        spatial_dims: 2.
        padding: `"reflect"` or `"zero"`.
        encoder_weights: pretrained weights to fetch: a name of smp, for an encoder of timm a tag of timm, or
            `"default"`; None draws random ones.
        **options: the options of the architecture, and `ENCODER_OPTIONS` for an encoder of timm.

    Raises:
        ModelError: an architecture, encoder or option is unknown, they are incompatible, or weights are not
            available.
        MissingExtraError: smp is not installed.
    """
    smp = _library()
    architecture, _, encoder = name.removeprefix(PREFIX).partition("-")
    kinds = smp.MODEL_ARCHITECTURES_MAPPING
    if architecture not in kinds:
        raise ModelError(f"unknown architecture {architecture!r}; {nearest(architecture, kinds)}")
    encoder, weights = _encoder(smp, encoder, encoder_weights)
    own = [option for option in signature(kinds[architecture].__init__).parameters if option not in OURS]
    universal = encoder.startswith(TIMM)
    check_options(options, [*own, "padding", *(ENCODER_OPTIONS if universal else ())])
    make = partial(
        kinds[architecture],
        encoder_name=encoder,
        encoder_weights=weights,
        in_channels=in_channels,
        classes=out_channels,
    )
    with fetching(encoder_weights):
        network, image_size = of_any_size(make, options) if universal else (make(**options), None)
    stride = network.encoder.output_stride
    free = not universal and not network.requires_divisible_input_shape
    divisor = 1 if free else 2 * stride if architecture == "dpt" else stride
    usual = from_timm.usual_size(encoder.removeprefix(TIMM)) if universal else None
    kind = Wrapped if architecture == "dpt" else Encoded
    return settle(kind(network, in_channels, out_channels, 2, divisor, stride, padding, image_size), usual)


def _encoder(smp: ModuleType, encoder: str, weights: str | None) -> tuple[str, str | bool | None]:
    """Check an encoder and its weights, and return both in the form that smp expects."""
    if encoder.startswith(TIMM):
        from_timm.check_encoder(encoder.removeprefix(TIMM))
        found = from_timm.pretrained(encoder.removeprefix(TIMM), weights)
        return TIMM + found["model_name"], found["pretrained"] or None
    known = smp.encoders.encoders
    if encoder not in known:
        marked = [TIMM + encoder] * import_extra("timm", extra="backbones").is_model(encoder)
        raise ModelError(f"unknown encoder {encoder!r}; {hint(encoder, [*known, *marked], 'smp/unet-*')}")
    settings = known[encoder]["pretrained_settings"]
    if weights is not None and weights not in ("default", *settings):
        raise ModelError(f"unknown encoder_weights {weights!r}; {nearest(str(weights), ['default', *settings])}")
    return encoder, next(iter(settings)) if weights == "default" else weights


def _library() -> ModuleType:
    return import_extra("segmentation_models_pytorch", extra="backbones")
