"""The configuration of a run: one YAML file, checked against the options of what it configures."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import Field

from oasis.adapters.base import SPLITS, Adapter, find_adapter
from oasis.data.augmentation import Augmentation, Augmented
from oasis.data.mixing import SampleDataset
from oasis.data.storage import replace_when_whole
from oasis.errors import ConfigError, OasisError, nearest
from oasis.losses import OverlapLoss, Reduction
from oasis.options import Options
from oasis.scaling import LogScale
from oasis.separator import HeadOptions, Separator, SeparatorOptions
from oasis.training import TrainingOptions, fit

CONFIG = "config.yaml"


class LossOptions(Options):
    """The arguments of `OverlapLoss`, by their names there."""

    class_weights: dict[str, float] = {}
    region_weights: dict[str, float] = {}
    smoothness: float = Field(0.01, ge=0)
    reduction: Reduction = "batch"
    thresholds: dict[str, float] | float = 0.0


class RunConfig(Options):
    """A run, as its YAML file states it.

    Attributes:
        adapter: the domain: an installed adapter's name, or `file.py:ClassName`.
        run: the folder that receives everything.
        seed: of everything random.
        data: the adapter's own options.
        model: `name` of the backbone and its options.
        scaling: of intensity.
        head: from features to maps.
        loss: weights of classes and regions.
        augmentation: exact flips and rotations of training samples, or null.
        training: how to train.
    """

    adapter: str
    run: str
    seed: int = Field(0, ge=0)
    data: dict[str, Any] = {}
    model: dict[str, Any] = {"name": "unet"}
    scaling: LogScale = LogScale()
    head: HeadOptions = HeadOptions()
    loss: LossOptions = LossOptions()
    augmentation: Augmentation | None = None
    training: TrainingOptions = TrainingOptions()


@dataclass(frozen=True)
class Setup:
    """What a configuration stands for."""

    config: RunConfig
    adapter: Adapter

    def dataset(self, split: str) -> SampleDataset:
        """Return the samples of a split.

        Raises:
            ConfigError: no such split.
        """
        if split not in SPLITS:
            raise ConfigError(f"split: unknown {split!r}; {nearest(split, SPLITS)}")
        return self.adapter.dataset(split)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Path(self.config.run)

    def separator(self, trained_size: tuple[int, ...] | None = None) -> Separator:
        """Return a new separator, its weights drawn from the run's seed."""
        config, adapter = self.config, self.adapter
        torch.manual_seed(config.seed)
        return Separator(
            SeparatorOptions(
                classes=adapter.classes,
                spatial_dims=adapter.spatial_dims,
                bands=adapter.bands,
                context=adapter.context,
                unit=adapter.unit,
                model=config.model,
                scaling=config.scaling,
                head=config.head,
                trained_size=trained_size,
                adapter=config.adapter,
                identity={"run": config.run, "configuration": self.fingerprint},
            )
        )

    def loss(self) -> OverlapLoss:
        """Return the loss."""
        options = self.config.loss.model_dump()
        return OverlapLoss(self.adapter.classes, **options, spatial_dims=self.adapter.spatial_dims)

    @property
    def fingerprint(self) -> str:
        """Twelve digits that tell configurations apart."""
        text = json.dumps(self.config.model_dump(mode="json", exclude={"run"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def save(self) -> None:
        """Write the resolved configuration into the run's folder."""
        text = yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False)
        with replace_when_whole(self.folder / CONFIG) as temporary:
            temporary.write_text(text)

    def train(self, resume: bool = False) -> Separator:
        """Train in the run's folder, or go on with what was begun there, and return the best separator.

        Raises:
            ConfigError: `resume` with another number of epochs than a `onecycle` schedule was made for.
        """
        config = self.config
        train, val = self.dataset("train"), self.dataset("val")
        if resume:
            self._check_schedule()
        separator = self.separator(trained_size=train[0].image.shape[1:])
        if config.augmentation is not None:
            train = Augmented(train, config.augmentation, config.seed)
        self.save()
        return fit(separator, self.loss(), train, val, self.folder, config.training, config.seed, resume)

    def _check_schedule(self) -> None:
        begun = load_config(self.folder).config.training if (self.folder / CONFIG).exists() else None
        now = self.config.training
        if begun is not None and now.schedule == "onecycle" and now.epochs != begun.epochs:
            raise ConfigError(
                f"training.epochs: the run's onecycle schedule was made for {begun.epochs} epochs, found "
                f"{now.epochs}: leave them as they are, or begin a new run"
            )


def load_config(path: str | Path, changes: Sequence[str] = ()) -> Setup:
    """Read a configuration, with the adapter's defaults below it and changes on top of it.

    Args:
        path: of a YAML file, or of a run's folder.
        changes: `"training.epochs=20"` and the like; the value is read as YAML.

    Raises:
        ConfigError: not YAML, an unknown key (with the nearest known one) or a value that does not fit.
    """
    path = Path(path)
    if path.is_dir():
        path = path / CONFIG
    values = _read_yaml(path)
    for change in changes:
        _change(values, change)
    return build(values, str(path))


def build(values: Mapping[str, Any], where: str = "configuration") -> Setup:
    """Check plain values and build what they stand for; see `load_config`."""
    if not isinstance(values.get("adapter"), str):
        raise ConfigError(f"{where}: adapter: expected the name of an adapter, found {values.get('adapter')!r}")
    try:
        kind = find_adapter(values["adapter"])
        config = RunConfig.parse(_merged(kind.defaults, values))
        adapter = kind(config.data, config.seed)
        setup = Setup(config.model_copy(update={"data": adapter.options.model_dump(mode="json")}), adapter)
        setup.loss()
    except OasisError as error:
        raise type(error)(f"{where}: {error}") from None
    return setup


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected sections such as adapter, data and training, found {values!r}")
    return values


def _change(values: dict[str, Any], change: str) -> None:
    """Set `a.b=c` in nested values."""
    key, equals, text = change.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {change}: expected key=value, as in training.epochs=20")
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {change}: {section} is not a section")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--set {change}: {text!r} is not YAML") from None


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another; tables of weights and thresholds are taken whole."""
    merged = dict(below)
    for key, value in above.items():
        nested = isinstance(value, Mapping) and isinstance(below.get(key), Mapping)
        whole = key in ("class_weights", "region_weights", "thresholds")
        merged[key] = _merged(below[key], value) if nested and not whole else value
    return merged
