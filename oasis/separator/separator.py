"""The separator: scaling, backbone, head and class names; the thing that is trained, saved, loaded and called."""

import copy
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from pydantic import Field, ValidationInfo, field_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from oasis.data.quantities import Quantities
from oasis.device import autocast, find_device
from oasis.errors import DataError, ModelError, import_extra, nearest, shown
from oasis.io.arrays import as_image_array
from oasis.io.files import replace_when_whole
from oasis.io.kept_code import KeptCode
from oasis.io.run_files import WEIGHTS, RunFiles
from oasis.io.texts import parse_json, write_text
from oasis.models import create_model, own_backbone
from oasis.options import Options
from oasis.plugins import is_code
from oasis.regions import check_classes
from oasis.scaling import FittedScale, LogScale, Scaling
from oasis.separator.heads import HEADS, FractionHead, Head
from oasis.separator.objects import PREDICTED, PRESENCE, ObjectHead, ObjectOptions
from oasis.separator.prediction import Maps, Prediction
from oasis.separator.presence import PresenceHead

ModuleT = TypeVar("ModuleT", bound=nn.Module)

FORMAT = "oasis-separator-1"
CONFIG = "config.json"
OWN = "own:"  # begins the recorded name of a backbone that was handed over as a module


class HeadOptions(Options):
    """Which head turns features into maps.

    Attributes:
        name: `fraction`, `softplus` (the paper's), or `denoised` for images with noise around zero.
        background: for `fraction`: give a share to the background too.
        presence: also predict the probability that each class is present, in every pixel and in the image.
        presence_weight: of its loss, beside that of the maps.
        gate: multiply maps by the probability of presence in the pixel, except while training.
    """

    name: Literal["fraction", "softplus", "denoised"] = "fraction"
    background: bool = True
    presence: bool = False
    presence_weight: float = Field(1.0, gt=0)
    gate: bool = False

    @field_validator("gate")
    @classmethod
    def _gated_by_presence(cls, gate: bool, info: ValidationInfo) -> bool:
        if gate and not info.data.get("presence"):
            raise ValueError("maps can be gated only by presence: set head.presence to true")
        return gate

    def build(self, classes: int, bands: int) -> Head:
        """Return the head for so many classes and bands."""
        if self.name == "fraction":
            return FractionHead(classes, bands, self.background)
        return HEADS[self.name](classes, bands)


class SeparatorOptions(Options):
    """All that a separator is, but for its weights.

    Attributes:
        classes: the N class names.
        spatial_dims: 1, 2 or 3.
        bands: B, how many bands the image and every map have.
        context: C, how many further input channels there are.
        unit: of the intensities.
        model: `name` of the backbone and its options, as `create_model` takes them, or the class of a module that
            was handed over.
        scaling: how intensity is scaled for the backbone and the loss.
        head: how its output becomes maps.
        objects: the head that predicts quantities of objects, or None.
        quantities: which ones.
        interchangeable: groups of interchangeable classes.
        trained_size: the spatial size of the images it was trained on, or None.
        adapter: the domain it was trained for.
        identity: what distinguishes the run that trained it.
    """

    classes: tuple[str, ...]
    spatial_dims: Literal[1, 2, 3] = 2
    bands: int = Field(1, ge=1)
    context: int = Field(0, ge=0)
    unit: str = ""
    model: dict[str, Any] = {"name": "unet"}
    scaling: Scaling = LogScale()
    head: HeadOptions = HeadOptions()
    objects: ObjectOptions | None = None
    quantities: Quantities = Quantities()
    interchangeable: tuple[tuple[str, ...], ...] = ()
    trained_size: tuple[int, ...] | None = None
    adapter: str = ""
    identity: dict[str, Any] = {}

    @field_validator("classes")
    @classmethod
    def _names(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        return check_classes(classes)


class Separator(nn.Module):
    """Takes an image apart into one intensity map per class, in the image's own units.

    Args:
        options: what to build.
        backbone: a module of the user's own in place of `options.model`, from (b, B + C, *S) to
            (b, channels of the head, *S). Its class is recorded as the model, and loading asks for it again.

    Example:
        >>> options = SeparatorOptions(classes=("ER", "NR"), model={"name": "unet", "base_channels": 4})
        >>> separator = Separator(options)
        >>> maps = separator.separate(np.ones((20, 30), np.float32))
        >>> {name: values.shape for name, values in maps.items()}
        {'ER': (20, 30), 'NR': (20, 30)}
    """

    def __init__(self, options: SeparatorOptions, backbone: nn.Module | None = None) -> None:
        super().__init__()
        self.head = options.head.build(len(options.classes), options.bands)
        of_presence = len(options.classes) * options.bands if options.head.presence else 0
        facts = (options.bands + options.context, self.head.channels + of_presence, options.spatial_dims)
        if backbone is None:
            model = dict(options.model)
            self.backbone = create_model(str(model.pop("name", "unet")), *facts, **model)
        else:
            self.backbone = own_backbone(backbone, *facts)
            options = options.model_copy(update={"model": {"name": f"{OWN}{type(backbone).__name__}"}})
        self.options = options
        self.object_head = self._object_head()
        self.presence_head = self._presence_head()

    def _object_head(self) -> ObjectHead | None:
        options = self.options
        if options.objects is None:
            return None
        features = self.backbone.encoder_channels
        if features is None:
            raise ModelError(
                f"objects: the model {options.model.get('name')} hands out no features of an encoder; unet, "
                "timm/* and smp/* do"
            )
        facts = (options.bands, options.spatial_dims, options.quantities, options.objects, options.interchangeable)
        return ObjectHead(options.classes, features, *facts)

    def _presence_head(self) -> PresenceHead | None:
        options, features = self.options, self.backbone.encoder_channels or 0
        if not options.head.presence:
            return None
        return PresenceHead(options.classes, features, options.interchangeable, options.head.presence_weight)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the maps."""
        return self.options.classes

    @property
    def sees_whole_frame(self) -> bool:
        """Whether a pixel's result depends on the whole frame; see `Backbone.sees_whole_frame`."""
        return self.backbone.sees_whole_frame

    def forward(
        self,
        image: Tensor,
        valid: Tensor | None = None,
        context: Tensor | None = None,
        scale: FittedScale | None = None,
    ) -> Prediction:
        """Return what the separator says of a batch, in float32 and on its device.

        Args:
            image: (b, B, *S) in physical units; pixels that are not finite read as 0.
            valid: (b, 1, *S) bool, for a scaling that is fitted over valid pixels.
            context: (b, C, *S).
            scale: in place of one that is fitted to `image`, for images that are parts of larger ones.
        """
        image = torch.where(image.isfinite(), image, 0)  # bad pixels must not spread through the network
        scale = self.options.scaling.fit(image, valid) if scale is None else scale
        features, encoded = self.backbone.forward_encoded(self._inputs(scale.forward(image), context))
        of_maps, of_presence = features.float().tensor_split([self.head.channels], dim=1)
        intensity: Maps = self.head(of_maps, image, scale)
        presence = objects = None
        if self.presence_head is not None:
            shape = (len(image), len(self.classes), self.options.bands, *image.shape[2:])
            presence = self.presence_head(of_presence.reshape(shape), encoded)
        if self.object_head is not None and encoded is not None:
            objects = self.object_head(intensity.detach().in_physical_units, image, encoded, scale)
        prediction = Prediction(intensity, presence, objects)
        return prediction.gated() if self.options.head.gate and not self.training else prediction

    def _inputs(self, scaled: Tensor, context: Tensor | None) -> Tensor:
        if not self.options.context:
            return scaled
        if context is None or context.shape[1] != self.options.context:
            found = "none" if context is None else tuple(context.shape)
            raise DataError(f"context: expected (batch, {self.options.context}, *spatial), found {found}")
        return torch.cat([scaled, context], dim=1)

    def separate(
        self,
        image: np.ndarray[Any, Any] | Tensor,
        context: np.ndarray[Any, Any] | Tensor | None = None,
        precision: Literal["auto", "float32"] = "auto",
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Return the map of each class.

        Args:
            image: (*S) with one band, (B, *S), or (b, B, *S) for several images at once.
            context: (C, *S) or (b, C, *S), where the separator was trained with one.
            precision: `auto` runs the backbone in bfloat16 where the processor computes in it.

        Returns:
            The maps by class name, each of the shape and the units of `image`.

        Raises:
            DataError: an image of another shape, with NaN or infinite pixels, or all zero.
        """
        maps = self.predict(image, context, precision).maps.cpu().numpy()
        return {name: maps[:, label].reshape(np.shape(image)) for label, name in enumerate(self.classes)}

    def predict(
        self,
        image: np.ndarray[Any, Any] | Tensor,
        context: np.ndarray[Any, Any] | Tensor | None = None,
        precision: Literal["auto", "float32"] = "auto",
    ) -> Prediction:
        """Return all that the separator says of images, without gradients; see `separate` for the arguments."""
        device = next(self.parameters()).device
        batch = self._batched(image, self.options.bands, "image")
        check_image(batch)
        extra = None
        if context is not None:
            extra = self._batched(context, self.options.context, "context").to(device)
        with torch.inference_mode(), autocast(device, precision):
            prediction: Prediction = evaluating(self)(batch.to(device), context=extra)
        return prediction

    def columns(self, prediction: Prediction) -> dict[str, Tensor]:
        """Return predicted quantities of objects as columns of an event table, (b, N) each, in physical units.

        `presence_predicted` is the probability that the object of a class is present: that of the object head
        if there is one, else that of the presence head.
        """
        columns: dict[str, Tensor] = {}
        if prediction.presence is not None:
            columns[PRESENCE + PREDICTED] = prediction.presence.image.sigmoid()
        if self.object_head is not None and prediction.objects is not None:
            columns |= self.object_head.columns(prediction.objects)
        return columns

    def _batched(self, values: np.ndarray[Any, Any] | Tensor, channels: int, what: str) -> Tensor:
        dims = self.options.spatial_dims
        array = as_image_array(values, what)
        batch, shape = torch.from_numpy(array), array.shape
        if batch.ndim == dims and channels == 1:
            batch = batch[None]
        if batch.ndim == dims + 1:
            batch = batch[None]
        if batch.ndim != dims + 2 or batch.shape[1] != channels:
            raise DataError(
                f"{what} of shape {shape} does not fit: expected {dims} spatial axes behind an axis "
                f"of {channels} channels, and for several images a batch axis in front"
            )
        return batch

    def save(self, folder: str | Path) -> Path:
        """Write `model.safetensors`, which holds the options too, and `config.json` for people and hubs.

        Raises:
            DataError: the folder cannot be written to, or the disk is full.
        """
        folder = Path(folder)
        text = self.options.model_dump_json(indent=2)
        weights = {name: value.detach().cpu().contiguous() for name, value in own_weights(self).items()}
        blob = safetensors_bytes(weights, metadata={"format": FORMAT, "options": text})
        with replace_when_whole(folder / WEIGHTS) as temporary:
            temporary.write_bytes(blob)
        write_text(folder / CONFIG, text + "\n")
        return folder

    @classmethod
    def load(
        cls,
        source: str | Path,
        device: torch.device | str = "cpu",
        backbone: nn.Module | None = None,
        trust_code: bool = False,
    ) -> "Separator":
        """Read a separator from a run, a folder, a `.safetensors` file or a hub id `owner/name`.

        Nothing is fetched but the file itself: it holds all weights, those that began as pretrained ones too.

        Args:
            source: where it is.
            device: where to put it.
            backbone: the module to load the weights of the backbone into, for one of the user's own.
            trust_code: run the Python file that the separator names as its backbone, if it does.

        Raises:
            ModelError: there is none at that place, it is broken or of another kind, or it needs code to be run.
            MissingExtraError: a hub id without the package that fetches it, or a backbone without its library.
        """
        path = _find_weights(source)
        with _opened(path) as file:
            options = _stated_options(file, path)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if backbone is None:
            _check_buildable(options, trust_code, path)
        separator = cls(_without_fetching(options, path), backbone)
        separator.options = options
        load_weights(separator, weights, str(path))
        return separator.to(find_device(device)).eval()


def read_options(source: str | Path) -> SeparatorOptions:
    """Return what a saved separator is; nothing is built and no code is run.

    Args:
        source: a run, a folder, a `.safetensors` file or a hub id, as for `load`.

    Raises:
        ModelError: there is none at that place, or it is broken or of another kind.
    """
    path = _find_weights(source)
    with _opened(path) as file:
        return _stated_options(file, path)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not a readable safetensors file (truncated?): {error}") from None


def _stated_options(file: Any, path: Path) -> SeparatorOptions:
    metadata = file.metadata() or {}
    if metadata.get("format") != FORMAT:
        raise ModelError(f"{path}: not a separator of oasis-seg (format {shown(metadata.get('format'))})")
    described = parse_json(metadata.get("options", ""), f"{path}: options", ModelError)
    return SeparatorOptions.parse(described, where=str(path))


def evaluating(module: ModuleT) -> ModuleT:
    """Return a module in evaluation mode: itself, or while it is trained a view of it that shares its weights.

    The mode of a module that others use meanwhile is thus never changed.
    """
    if not any(part.training for part in module.modules()):
        return module
    shared = {id(tensor): tensor for tensor in chain(module.parameters(), module.buffers())}
    return copy.deepcopy(module, shared).eval()


def load(
    source: str | Path,
    device: torch.device | str = "cpu",
    backbone: nn.Module | None = None,
    trust_code: bool = False,
) -> Separator:
    """Read a separator from a run, a folder, a `.safetensors` file or a hub id; see `Separator.load`."""
    return Separator.load(source, device, backbone, trust_code)


def own_weights(module: nn.Module) -> dict[str, Tensor]:
    """Return the state of a module; a tensor that has several names, as in MONAI's DynUNet, is there once."""
    named: dict[int, tuple[str, Tensor]] = {}
    for name, value in module.state_dict(keep_vars=True).items():
        named.setdefault(id(value), (name, value))
    return dict(named.values())


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load weights that have to fit exactly.

    Raises:
        ModelError: names that are missing or left over, or shapes that differ.
    """
    expected = {name: tuple(value.shape) for name, value in own_weights(module).items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    differing = [name for name in expected if found.get(name) != expected[name]]
    differing += [name for name in found if name not in expected]
    if differing:
        name = differing[0]
        raise ModelError(
            f"{where}: {len(differing)} weights do not fit, first {name!r}: "
            f"expected {expected.get(name, 'none')}, found {found.get(name, 'none')}"
        )
    module.load_state_dict(dict(weights), strict=False)  # second names of shared tensors are missing


def check_image(image: Tensor, where: str = "image") -> None:
    """Check a batch of images (b, B, *S).

    Raises:
        DataError: NaN or infinite pixels (how many, where the first is), or an image that is all zero.
    """
    wrong = ~torch.isfinite(image)
    if wrong.any():
        first = tuple(int(position) for position in wrong.nonzero()[0])
        raise DataError(
            f"{where}: {int(wrong.sum())} pixels are NaN or infinite, the first at {first}: mask or mend them"
        )
    empty = (image == 0).flatten(1).all(1)
    if empty.any():
        number = int(empty.nonzero()[0])
        raise DataError(f"{where}: image {number} is all zero: there is nothing to separate")


def _check_buildable(options: SeparatorOptions, trust_code: bool, path: Path) -> None:
    name = str(options.model.get("name"))
    if is_code(name) and not trust_code:
        raise ModelError(
            f"{path}: its backbone is code in {name.rpartition(':')[0]}, which is not executed without "
            "permission: pass trust_code=True (--trust-code), or the module itself as backbone="
        )
    if name.startswith(OWN):
        raise ModelError(
            f"{path}: its backbone is a module {name.removeprefix(OWN)} of its author's own: pass it as backbone="
        )


def _without_fetching(options: SeparatorOptions, path: Path) -> SeparatorOptions:
    """Return options that draw the weights of the backbone, which are all in the file; code is the run's copy."""
    drawn = {key: None if key == "encoder_weights" else value for key, value in options.model.items()}
    name = str(drawn.get("name"))
    if is_code(name):
        drawn["name"] = KeptCode(RunFiles(path.parent).code).located(name)
    return options.model_copy(update={"model": drawn})


def _find_weights(source: str | Path) -> Path:
    path = Path(source)
    if path.is_file():
        return path
    if path.is_dir():
        if (path / WEIGHTS).is_file():
            return path / WEIGHTS
        raise ModelError(
            f"{path}: holds no {WEIGHTS}: is it a run, and did its training reach the end of an epoch?"
        )
    if isinstance(source, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        parent = path.parent
        if parent.is_dir():
            names = [entry.name for entry in parent.iterdir()]
            raise ModelError(
                f"{source}: no such run; {nearest(path.name, names) if names else 'the folder is empty'}"
            )
        hub = import_extra("huggingface_hub", extra="hub")
        try:
            return Path(hub.hf_hub_download(source, WEIGHTS))
        except Exception as error:
            raise ModelError(f"{source}: no such file or folder, and not found on the hub: {error}") from None
    raise ModelError(f"{source}: no such file or folder")
