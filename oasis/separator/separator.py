"""The separator: scaling, backbone, head and class names; the thing that is trained, saved, loaded and called."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field, field_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor, nn

from oasis.data.quantities import Quantities
from oasis.device import autocast
from oasis.errors import DataError, ModelError, import_extra, nearest
from oasis.io.arrays import as_image_array
from oasis.io.files import replace_when_whole
from oasis.io.texts import parse_json, write_text
from oasis.models import create_model, own_backbone
from oasis.options import Options
from oasis.plugins import is_code
from oasis.regions import check_classes
from oasis.scaling import FittedScale, LogScale, Scaling
from oasis.separator.heads import HEADS, FractionHead, Head
from oasis.separator.objects import ObjectHead, ObjectOptions, Objects

FORMAT = "oasis-separator-1"
WEIGHTS = "model.safetensors"
CONFIG = "config.json"
OWN = "own:"  # begins the recorded name of a backbone that was handed over as a module


class HeadOptions(Options):
    """Which head turns features into maps.

    Attributes:
        name: `fraction`, `softplus` (the paper's), or `denoised` for images with noise around zero.
        background: for `fraction`: give a share to the background too.
    """

    name: Literal["fraction", "softplus", "denoised"] = "fraction"
    background: bool = True

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
        objects: the head that predicts numbers of objects, or None.
        quantities: which numbers.
        interchangeable: groups of classes that are of one kind.
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
        facts = (options.bands + options.context, self.head.channels, options.spatial_dims)
        if backbone is None:
            model = dict(options.model)
            self.backbone = create_model(str(model.pop("name", "unet")), *facts, **model)
        else:
            self.backbone = own_backbone(backbone, *facts)
            options = options.model_copy(update={"model": {"name": f"{OWN}{type(backbone).__name__}"}})
        self.options = options
        self.object_head = self._object_head()

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

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the maps."""
        return self.options.classes

    @property
    def sees_whole_frame(self) -> bool:
        """Whether a pixel's result depends on the whole frame; see `Backbone.sees_whole_frame`."""
        return self.backbone.sees_whole_frame

    def forward(
        self, image: Tensor, valid: Tensor | None = None, context: Tensor | None = None
    ) -> tuple[Tensor, FittedScale]:
        """Return the maps in scaled units, as the loss wants them, and the scaling that was fitted.

        Args:
            image: (b, B, *S) in physical units; pixels that are not finite read as 0.
            valid: (b, 1, *S) bool, for a scaling that is fitted over valid pixels.
            context: (b, C, *S).

        Returns:
            (b, N, B, *S) and the fitted scaling.
        """
        scaled, scale, _ = self.forward_objects(image, valid, context)
        return scaled, scale

    def forward_objects(
        self, image: Tensor, valid: Tensor | None = None, context: Tensor | None = None
    ) -> tuple[Tensor, FittedScale, Objects | None]:
        """Return what `forward` does, and the numbers of objects, if any are predicted."""
        image, features, scale, encoded = self._features(image, valid, context)
        scaled = self.head.scaled(features, image, scale)
        if self.object_head is None:
            return scaled, scale, None
        maps = self.head.maps(features.detach(), image, scale)
        return scaled, scale, self._objects(maps, image, encoded, scale)

    def maps(self, image: Tensor, valid: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """Return the maps (b, N, B, *S) in physical units; the arguments are those of `forward`."""
        return self.maps_objects(image, valid, context)[0]

    def maps_objects(
        self, image: Tensor, valid: Tensor | None = None, context: Tensor | None = None
    ) -> tuple[Tensor, Objects | None]:
        """Return the maps in physical units, and the numbers of objects, if any are predicted."""
        image, features, scale, encoded = self._features(image, valid, context)
        maps = self.head.maps(features, image, scale)
        return maps, self._objects(maps, image, encoded, scale)

    def _objects(self, maps: Tensor, image: Tensor, encoded: Tensor | None, scale: FittedScale) -> Objects | None:
        if self.object_head is None or encoded is None:
            return None
        found: Objects = self.object_head(maps, image, encoded, scale)
        return found

    def _features(
        self, image: Tensor, valid: Tensor | None, context: Tensor | None
    ) -> tuple[Tensor, Tensor, FittedScale, Tensor | None]:
        image = torch.where(image.isfinite(), image, 0)  # bad pixels must not spread through the network
        scale = self.options.scaling.fit(image, valid)
        inputs = scale.forward(image)
        if self.options.context:
            if context is None or context.shape[1] != self.options.context:
                found = "none" if context is None else tuple(context.shape)
                raise DataError(f"context: expected (batch, {self.options.context}, *spatial), found {found}")
            inputs = torch.cat([inputs, context], dim=1)
        features, encoded = self.backbone.forward_encoded(inputs)
        return image, features.float(), scale, encoded

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
        maps = self.separate_objects(image, context, precision)[0]
        return {name: maps[:, label].reshape(np.shape(image)) for label, name in enumerate(self.classes)}

    def separate_objects(
        self,
        image: np.ndarray[Any, Any] | Tensor,
        context: np.ndarray[Any, Any] | Tensor | None = None,
        precision: Literal["auto", "float32"] = "auto",
    ) -> tuple[np.ndarray[Any, Any], dict[str, np.ndarray[Any, Any]]]:
        """Return all maps (b, N, B, *S), and by column the numbers of objects (b, N), if any are predicted.

        The arguments are those of `separate`.
        """
        device = next(self.parameters()).device
        batch = self._batched(image, self.options.bands, "image")
        check_image(batch)
        extra = None
        if context is not None:
            extra = self._batched(context, self.options.context, "context").to(device)
        training = self.training
        self.eval()
        with torch.inference_mode(), autocast(device, precision):
            maps, objects = self.maps_objects(batch.to(device), context=extra)
            columns = self.columns(objects)
        self.train(training)
        return maps.cpu().numpy(), {name: values.cpu().numpy() for name, values in columns.items()}

    def columns(self, objects: Objects | None) -> dict[str, Tensor]:
        """Return numbers of objects as columns of an event table, (b, N) each; see `ObjectHead.columns`."""
        return {} if self.object_head is None or objects is None else self.object_head.columns(objects)

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
        try:
            with safe_open(path, framework="pt", device="cpu") as file:
                metadata = file.metadata() or {}
                weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path}: not a readable safetensors file (truncated?): {error}") from None
        if metadata.get("format") != FORMAT:
            raise ModelError(f"{path}: not a separator of oasis-seg (format {metadata.get('format')!r})")
        described = parse_json(metadata.get("options", ""), f"{path}: options", ModelError)
        options = SeparatorOptions.parse(described, where=str(path))
        if backbone is None:
            _check_buildable(options, trust_code, path)
        separator = cls(_without_fetching(options), backbone)
        separator.options = options
        load_weights(separator, weights, str(path))
        return separator.to(device).eval()


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
            f"{path}: its backbone is code in {name.rpartition(':')[0]}, which is not run unasked: "
            "pass trust_code=True, or the module itself as backbone="
        )
    if name.startswith(OWN):
        raise ModelError(
            f"{path}: its backbone is a module {name.removeprefix(OWN)} of its author's own: pass it as backbone="
        )


def _without_fetching(options: SeparatorOptions) -> SeparatorOptions:
    """Return options that draw the weights of the backbone, since the file holds them all."""
    drawn = {key: None if key == "encoder_weights" else value for key, value in options.model.items()}
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
