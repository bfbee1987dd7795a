"""The options of a separator: all that it consists of, except its weights."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from oasis.data.brightness import Brightness
from oasis.data.quantities import Quantities
from oasis.errors import ConfigError, nearest
from oasis.options import Options
from oasis.regions import check_classes
from oasis.scaling import LogScale, Scaling
from oasis.separator.heads import HEADS, FractionHead, Head
from oasis.separator.objects import ObjectOptions

OWN = "own:"  # prefix of the recorded name of a backbone that was passed as a module


FACTS = ("in_channels", "out_channels", "spatial_dims")  # arguments of `create_model` that follow from the domain


def check_model(model: dict[str, Any]) -> dict[str, Any]:
    """Return the section `model`, which must not state what follows from the domain.

    Raises:
        ValueError: it does.
    """
    stated = [name for name in FACTS if name in model]
    if stated:
        raise ValueError(f"{stated[0]} follows from the domain: leave it out")
    return model


GATES = ("gate", "present_from")  # options of a head that nothing is trained for
Probability = Annotated[float, Field(ge=0, lt=1)]


class HeadOptions(Options):
    """The options of the head that turns features into maps.

    Attributes:
        name: `fraction`, `softplus` (the paper's), or `denoised` for images with noise around zero.
        background: for `fraction`: assign a share to the background too.
        presence: also predict the probability that each class is present, in every pixel and in the image.
        presence_weight: the weight of the loss of `presence` relative to that of the maps.
        gate: multiply maps by the probability of presence in each pixel, except during training.
        present_from: the map of a class is empty where the probability that it is present in the image is less,
            except during training: one number, or one by class (unnamed: 0). The image is the window that is
            separated at once. By default it is what `false_presence` chose, or 0.
        false_presence: choose `present_from` for each class in every epoch, such that this share of the
            validation images without the class has a higher probability; 0 chooses nothing.
    """

    taken_whole = frozenset({"present_from"})

    name: Literal["fraction", "softplus", "denoised"] = "fraction"
    background: bool = True
    presence: bool = False
    presence_weight: float = Field(1.0, gt=0)
    gate: bool = False
    present_from: Probability | dict[str, Probability] | None = None
    false_presence: float = Field(0.0, ge=0, lt=1)

    @field_validator("gate", "present_from", "false_presence")
    @classmethod
    def _gated_by_presence(cls, gate: Any, info: ValidationInfo) -> Any:
        if gate and not info.data.get("presence"):
            raise ValueError("maps can be gated only by presence: set head.presence to true")
        return gate

    def least(self, classes: Sequence[str]) -> list[float]:
        """Return for each class the probability of presence below which its map is empty.

        Raises:
            ConfigError: `present_from` names an unknown class.
        """
        given = self.present_from
        if not isinstance(given, dict):
            return [given or 0.0] * len(classes)
        for name in given:
            if name not in classes:
                raise ConfigError(f"head.present_from: unknown class {name!r}; {nearest(name, classes)}")
        return [given.get(name, 0.0) for name in classes]

    def gates_over(self, trained: "HeadOptions") -> dict[str, Any]:
        """Return the gates of a separator that was trained with other options, whose choice of limits is kept."""
        gates = {name: getattr(self, name) for name in GATES}
        if self.present_from is None:
            gates["present_from"] = trained.present_from if self.false_presence or not trained.decides else 0.0
        return gates

    @property
    def decides(self) -> bool:
        """Whether maps of classes that are improbable in the image are empty."""
        given = self.present_from
        return any(given.values()) if isinstance(given, dict) else bool(given)

    def build(self, classes: int, bands: int) -> Head:
        """Return the head for a number of classes and bands."""
        if self.name == "fraction":
            return FractionHead(classes, bands, self.background)
        return HEADS[self.name](classes, bands)


class SeparatorOptions(Options):
    """All that a separator consists of, except its weights.

    Attributes:
        classes: the N class names.
        spatial_dims: 1, 2 or 3.
        bands: number B of bands of the image and of every map.
        context: number C of further input channels.
        unit: the unit of the intensities.
        model: `name` of the backbone and its options, as `create_model` takes them, or the class of a module that
            was passed in.
        scaling: how intensity is scaled for the backbone and the loss.
        head: how the output of the backbone becomes maps.
        objects: the head that predicts quantities of objects, or None.
        quantities: the predicted quantities.
        interchangeable: groups of interchangeable classes.
        trained_size: the spatial size of the images it was trained on, or None.
        brightness: how bright the images were that it was trained on, or None where that is not known.
        adapter: the domain it was trained for.
        identity: identifies the run that trained it.
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
    brightness: Brightness | None = None
    adapter: str = ""
    identity: dict[str, Any] = {}

    @field_validator("model")
    @classmethod
    def _options_of_the_model(cls, model: dict[str, Any]) -> dict[str, Any]:
        return check_model(model)

    @field_validator("classes")
    @classmethod
    def _names(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        return check_classes(classes)
