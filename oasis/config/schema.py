"""The schema of the configuration of a run in YAML."""

import hashlib
import json
from typing import Any

from pydantic import Field, field_validator

from oasis.data.augmentation import Augmentation
from oasis.evaluation.calibration import CalibrationOptions
from oasis.instances.grouping import Grouping
from oasis.loss.ratio import Reduction
from oasis.options import Options
from oasis.scaling import LogScale, Scaling
from oasis.separator.objects import ObjectOptions
from oasis.separator.options import HeadOptions, check_model
from oasis.training.options import TrainingOptions

LARGEST_SEED = 2**64 - 1  # that torch takes


class LossOptions(Options):
    """The arguments of `OverlapLoss` by name."""

    taken_whole = frozenset({"class_weights", "region_weights", "distance", "terms"})

    class_weights: dict[str, float] = {}
    region_weights: dict[str, Any] = {}
    regression: float = Field(1.0, ge=0)
    smoothness: float = Field(0.01, ge=0)
    reduction: Reduction = "batch"
    distance: str | dict[str, Any] = "absolute"
    terms: dict[str, float | dict[str, Any]] = {}


class RunConfig(Options):
    """The configuration of a run, as in its YAML file.

    Attributes:
        adapter: the domain: the name of an installed adapter, or `file.py:ClassName`.
        run: the folder for all outputs.
        seed: the seed of everything random.
        data_seed: the seed of the samples, if it is to differ from the run's seed.
        data: the options of the adapter.
        model: `name` of the backbone and its options.
        scaling: the scaling of intensity.
        head: the head that turns features into maps.
        objects: the head that predicts quantities of objects, such as their energy, or null.
        thresholds: intensity above which a class is present, one number or by class; by default the adapter's,
            null for no instances.
        grouping: how the maps of classes are grouped into instances, by class; by default the adapter's,
            null for no instances.
        loss: weights of classes and regions.
        augmentation: the augmentation of training samples, or null.
        training: the options of the training.
        calibration: the options of `oasis calibrate`.
    """

    taken_by_name = frozenset({"model", "scaling", "head"})

    adapter: str
    run: str = Field(min_length=1)
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    data_seed: int | None = Field(None, ge=0, le=LARGEST_SEED)
    data: dict[str, Any] = {}
    model: dict[str, Any] = {"name": "unet"}
    scaling: Scaling = LogScale()
    head: HeadOptions = HeadOptions()
    objects: ObjectOptions | None = None
    thresholds: dict[str, float] | float | None = None
    grouping: dict[str, Grouping] | None = {}
    loss: LossOptions = LossOptions()
    augmentation: Augmentation | None = None
    training: TrainingOptions = TrainingOptions()
    calibration: CalibrationOptions = CalibrationOptions()

    @field_validator("model")
    @classmethod
    def _options_of_the_model(cls, model: dict[str, Any]) -> dict[str, Any]:
        return check_model(model)

    @property
    def fingerprint(self) -> str:
        """Twelve digits that identify the settings on which the maps depend."""
        training = {"workers", *self._whole_batches}
        return self._digits({"run": True, "grouping": True, "training": training, "objects": self._plain_objects})

    @property
    def earlier_fingerprint(self) -> str:
        """The fingerprint in earlier versions, which included the number of processes that prepare samples."""
        training = self._whole_batches
        return self._digits({"run": True, "grouping": True, "training": training, "objects": self._plain_objects})

    @property
    def _whole_batches(self) -> set[str]:
        """The key `accumulate` where it says nothing, as in earlier versions, which did not have it."""
        return {"accumulate"} if self.training.accumulate == 1 else set()

    @property
    def _plain_objects(self) -> set[str]:
        """The keys of `objects` that say nothing, as in earlier versions, which did not have them."""
        if self.objects is None:
            return set()
        earlier = ObjectOptions()
        later = ("features", "counting", "decoder", "expansion", "dropout")
        return {name for name in later if getattr(self.objects, name) == getattr(earlier, name)}

    def _digits(self, exclude: dict[str, Any]) -> str:
        values = self.model_dump(mode="json", exclude=exclude)
        head = values["head"]  # as it was in earlier versions, where it says nothing that they could not
        if not head["false_presence"]:
            del head["false_presence"]
            head["present_from"] = head["present_from"] or 0.0
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]
