"""The separator: scaling, backbone, heads and class names in one module that is trained, saved and loaded."""

import copy
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from oasis.data.nddata import unwrapped
from oasis.device import autocast, find_device
from oasis.errors import ConfigError, DataError, ModelError
from oasis.html import facts_html
from oasis.io.arrays import as_image_array
from oasis.io.yaml_text import flow
from oasis.models import create_model, own_backbone
from oasis.models.tokens import Tokens, occupied
from oasis.scaling import FittedScale
from oasis.separator.files import (
    check_buildable,
    find_weights,
    load_weights,
    opened,
    save_separator,
    stated_options,
    without_fetching,
)
from oasis.separator.objects import PREDICTED, PRESENCE, ObjectHead
from oasis.separator.options import OWN, HeadOptions, SeparatorOptions
from oasis.separator.prediction import Maps, Prediction
from oasis.separator.presence import PresenceHead

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Separator(nn.Module):
    """A model that separates an image into one intensity map per class, in the units of the image.

    Args:
        options: what to build.
        backbone: the user's own module instead of `options.model`, from `(b, B + C, *S)` to `(b, channels of the
            head, *S)`. Its class is recorded as the model, and loading requires it again.

    Example:
        >>> options = SeparatorOptions(classes=("ER", "NR"), model={"name": "unet", "base_channels": 4})
        >>> separator = Separator(options)
        >>> maps = separator.separate(np.ones((20, 30), np.float32))
        >>> {name: values.shape for name, values in maps.items()}
        {'ER': (20, 30), 'NR': (20, 30)}
    """

    def __init__(self, options: SeparatorOptions, backbone: nn.Module | None = None) -> None:
        super().__init__()
        options.head.least(options.classes)  # refuses unknown classes
        self.head = options.head.build(len(options.classes), options.bands)
        of_presence = len(options.classes) * options.bands if options.head.presence else 0
        of_cells = 0 if options.objects is None else options.objects.cell_channels
        outputs = self.head.channels + of_presence + of_cells
        facts = (options.bands + options.context, outputs, options.spatial_dims)
        self.cuts = (self.head.channels, self.head.channels + of_presence)
        if backbone is None:
            model = dict(options.model)
            self.backbone = create_model(str(model.pop("name", "unet")), *facts, **model)
        else:
            self.backbone = own_backbone(backbone, *facts)
            options = options.model_copy(update={"model": {"name": f"{OWN}{type(backbone).__name__}"}})
        self.backbone.bands = options.bands
        self.options = options
        self.object_head = self._object_head()
        self.presence_head = self._presence_head()

    def _object_head(self) -> ObjectHead | None:
        options = self.options
        if options.objects is None:
            return None
        features = self.backbone.encoder_channels
        if features is None and options.objects.needs_encoder:
            raise ModelError(
                f"objects: the model {options.model.get('name')} provides no encoder features; unet, timm/* "
                "and smp/* do: choose one of them, or set objects.features to cells"
            )
        facts = (options.bands, options.spatial_dims, options.quantities, options.objects, options.interchangeable)
        return ObjectHead(options.classes, features or 0, *facts)

    def _presence_head(self) -> PresenceHead | None:
        options, features = self.options, self.backbone.encoder_channels or 0
        if not options.head.presence:
            return None
        weight = options.head.presence_weight
        return PresenceHead(options.classes, features, self.backbone.grid, options.interchangeable, weight)

    def with_gates(self, head: HeadOptions) -> "Separator":
        """Return this separator with the gates of other options of its head, which nothing is trained for.

        Raises:
            ConfigError: the options differ in more than that.
        """
        gates = head.gates_over(self.options.head)
        for name in sorted(set(HeadOptions.model_fields) - set(gates)):
            trained, wanted = getattr(self.options.head, name), getattr(head, name)
            if trained != wanted and name != "presence_weight":
                raise ConfigError(
                    f"head.{name}: the separator was trained with {trained}, not {wanted}: after training only "
                    f"{' and '.join(gates)} can be changed"
                )
        self.options = self.options.model_copy(update={"head": self.options.head.model_copy(update=gates)})
        return self

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the maps."""
        return self.options.classes

    @property
    def sees_whole_frame(self) -> bool:
        """Whether the result in a pixel depends on the whole frame, by the backbone or by `head.present_from`."""
        return self.backbone.sees_whole_frame or self.options.head.decides

    def forward(
        self,
        image: Tensor,
        valid: Tensor | None = None,
        context: Tensor | None = None,
        scale: FittedScale | None = None,
    ) -> Prediction:
        """Return the prediction for a batch, in float32 and on the device of the separator.

        Args:
            image: (b, B, *S) in physical units; pixels that are not finite count as 0.
            valid: (b, 1, *S) bool, for a scaling that is fitted over valid pixels.
            context: (b, C, *S) further inputs.
            scale: a fitted scaling to use instead of fitting to `image`, for parts of larger images.
        """
        image = torch.where(image.isfinite(), image, 0)  # bad pixels must not spread through the network
        scale = self.options.scaling.fit(image, valid) if scale is None else scale
        features, encoded = self.backbone.forward_encoded(self._inputs(scale.forward(image), context))
        of_maps, of_presence, of_cells = features.float().tensor_split(self.cuts, dim=1)
        intensity: Maps = self.head(of_maps, image, scale)
        presence = objects = None
        if self.presence_head is not None:
            shape = (image.shape[0], len(self.classes), self.options.bands, *image.shape[2:])
            presence = self.presence_head(of_presence.reshape(shape), encoded)
        if self.object_head is not None:
            cells = _cells(of_cells, image, scale) if of_cells.shape[1] else None
            objects = self.object_head(intensity.detach().in_physical_units, image, encoded, scale, cells)
        prediction = Prediction(intensity, presence, objects)
        return prediction if self.training else self._gated(prediction)

    def _gated(self, prediction: Prediction) -> Prediction:
        head = self.options.head
        return (prediction.gated() if head.gate else prediction).decided(head.least(self.classes))

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
            image: (*S) with one band, (B, *S), or (b, B, *S) for several images at once; an array of any library,
                NDData, Cutout2D or Quantity of astropy, or an exposure of Rubin's pipelines, converted to the unit
                of the separator.
            context: (C, *S) or (b, C, *S), if the separator was trained with one.
            precision: `auto` runs the backbone in bfloat16 if the processor supports it.

        Returns:
            The maps by class name, with the shape and units of `image`; those of a blank image are blank.

        Raises:
            DataError: the image has another shape, or NaN or infinite pixels.
        """
        image = unwrapped(image, self.options.unit)
        maps = self.predict(image, context, precision).maps.cpu().numpy()
        return {name: maps[:, label].reshape(np.shape(image)) for label, name in enumerate(self.classes)}

    def predict(
        self,
        image: np.ndarray[Any, Any] | Tensor,
        context: np.ndarray[Any, Any] | Tensor | None = None,
        precision: Literal["auto", "float32"] = "auto",
    ) -> Prediction:
        """Return the complete prediction for images, without gradients; the arguments are those of `separate`."""
        device = next(self.parameters()).device
        batch = self._batched(image, self.options.bands, "image")
        check_image(batch)
        extra = None
        if context is not None:
            extra = self._batched(context, self.options.context, "context").to(device)
        with torch.inference_mode(), autocast(device, precision):
            prediction: Prediction = evaluating(self)(batch.to(device), context=extra)
            blank = (batch == 0).flatten(1).all(1)
            return prediction.blank_where(blank) if blank.any() else prediction

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
        unit = self.options.unit if what == "image" else ""
        array = as_image_array(unwrapped(values, unit, what), what)
        batch, shape = torch.from_numpy(array), array.shape
        if batch.ndim == dims and channels == 1:
            batch = batch[None]
        if batch.ndim == dims + 1:
            batch = batch[None]
        if batch.ndim != dims + 2 or batch.shape[1] != channels:
            raise DataError(
                f"{what} of shape {shape}: expected {dims} spatial axes after an axis of {channels} "
                "channels, and for several images a batch axis before it; the options of the separator have "
                f"spatial_dims {dims}"
            )
        if 0 in batch.shape[2:]:
            raise DataError(f"{what} of shape {shape}: has no pixels")
        return batch

    def _repr_html_(self) -> str:
        """Return the separator as a notebook shows it."""
        options = self.options
        size = "unknown" if options.trained_size is None else " × ".join(map(str, options.trained_size))
        of_objects = [one.name for one in (*options.quantities.of_object, *options.quantities.of_image)]
        facts = {
            "classes": f"{', '.join(options.classes)} in {options.unit or 'no unit'}",
            "images": f"{options.spatial_dims} spatial axes, bands: {options.bands}, context: {options.context}",
            "trained on": size,
            "adapter": options.adapter or "none",
            "model": flow(options.model)[1:-1],
            "parameters": f"{sum(one.numel() for one in self.parameters()):,}",
            "scaling": flow(options.scaling.model_dump(mode="json"))[1:-1],
            "head": flow(options.head.model_dump(mode="json"))[1:-1],
            "quantities": ", ".join(of_objects) if options.objects is not None else "none",
            "device": str(next(self.parameters()).device),
        }
        return facts_html("Separator", facts)

    def save(self, folder: str | Path) -> Path:
        """Write `model.safetensors`, which includes the options, and `config.json` for readers and model hubs.

        Raises:
            DataError: the folder cannot be written to, or the disk is full.
        """
        save_separator(self, self.options, Path(folder))
        return Path(folder)

    @classmethod
    def load(
        cls,
        source: str | Path,
        device: torch.device | str = "cpu",
        backbone: nn.Module | None = None,
        trust_code: bool = False,
    ) -> "Separator":
        """Read a separator from a run, a folder, a `.safetensors` file, the zoo or a hub id `owner/name`.

        Only the file itself is fetched: it contains all weights, including those that were once pretrained.

        Args:
            source: a path, the name of a model that the package contains (`zoo:migdal`), or a hub id.
            device: the device to load it on.
            backbone: the user's own module, into which the weights of the backbone are loaded.
            trust_code: run the Python file that the separator names as its backbone, if it does.

        Raises:
            ModelError: there is no separator, it is damaged or of another kind, or it requires running code.
            MissingExtraError: the package for hub ids, or the library of the backbone, is not installed.
        """
        path = find_weights(source)
        with opened(path) as file:
            options = stated_options(file, path)
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if backbone is None:
            check_buildable(options, trust_code, path)
        separator = cls(without_fetching(options, path), backbone)
        separator.options = options
        load_weights(separator, weights, str(path))
        return separator.to(find_device(device)).eval()


def _cells(features: Tensor, image: Tensor, scale: FittedScale) -> Tokens:
    """Return the cells of images above 0 as tokens: features (b, F, *S) and their scaled intensity."""
    cells = occupied(image, where="objects.features")
    with_intensity = torch.cat([features, scale.forward(image)], dim=1)
    return Tokens(cells.gather(with_intensity), cells.places(), cells.mask)


def evaluating(module: ModuleT) -> ModuleT:
    """Return a module in evaluation mode: itself or, if it is in training mode, a view that shares its weights.

    The mode of the module itself is never changed.
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
    """Read a separator from a run, a folder, a `.safetensors` file, the zoo or a hub id; see `Separator.load`.

    Example:
        >>> load("zoo:migdal").classes
        ('ER', 'NR')
    """
    return Separator.load(source, device, backbone, trust_code)


def check_image(image: Tensor, where: str = "image") -> None:
    """Check a batch of images (b, B, *S).

    Raises:
        DataError: it contains NaN or infinite pixels.
    """
    wrong = ~torch.isfinite(image)
    if wrong.any():
        first = tuple(int(position) for position in wrong.nonzero()[0])
        count = int(wrong.sum())
        raise DataError(
            f"{where}: {count} pixel{'s are' if count != 1 else ' is'} NaN or infinite, the first at {first}: "
            "replace them with finite values, such as 0"
        )
