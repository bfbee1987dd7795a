"""The configuration of a run: one YAML file, checked against the options of what it configures."""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from oasis.adapters.base import Adapter
from oasis.adapters.options import SPLITS
from oasis.adapters.registry import find_adapter
from oasis.config.changes import _merged, changed
from oasis.config.schema import RunConfig
from oasis.data.augmentation import Augmented
from oasis.data.mixing import SampleDataset
from oasis.data.quantities import Quantities
from oasis.data.statistics import RegionStatistics, region_statistics
from oasis.errors import ConfigError, DataError, OasisError, nearest
from oasis.evaluation.event_table import SPREAD, evaluate
from oasis.evaluation.summary import check_study
from oasis.io.texts import write_text
from oasis.io.yaml_text import read_yaml, yaml_text
from oasis.loss.overlap import OverlapLoss
from oasis.loss.weights import parse_rule
from oasis.separator.separator import Separator, SeparatorOptions
from oasis.training.fit import fit
from oasis.training.journal import LOG, REGION_WEIGHTS

CONFIG = "config.yaml"
OF_ADAPTER = ("adapter", "run", "seed", "data_seed", "data")  # keys that an adapter is built of
MOST_REGIONS = 40  # that a description lists


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
                objects=config.objects,
                quantities=adapter.quantities if config.objects else Quantities(),
                interchangeable=tuple(map(tuple, adapter.interchangeable)),
                trained_size=trained_size,
                adapter=config.adapter,
                identity={"run": config.run, "configuration": self.fingerprint},
            )
        )

    def loss(self, region_counts: Mapping[int, float] | None = None) -> OverlapLoss:
        """Return the loss.

        Args:
            region_counts: pixels by region code; where weights are to be balanced and these are not given, they
                are counted in training samples.
        """
        options, adapter = self.config.loss.model_dump(), self.adapter
        balanced = parse_rule(options["region_weights"]).balanced
        if balanced is None:
            region_counts = None
        elif region_counts is None:
            region_counts = self.region_statistics("train", balanced.samples).counts
        return OverlapLoss(
            adapter.classes,
            **options,
            thresholds=adapter.limits,
            spatial_dims=adapter.spatial_dims,
            interchangeable=adapter.interchangeable,
            region_counts=region_counts,
        )

    def region_statistics(self, split: str = "train", samples: int | None = None) -> RegionStatistics:
        """Return how many pixels and how much intensity of a split lie in every region."""
        return region_statistics(self.dataset(split), self.adapter.classes, self.adapter.limits, samples)

    @property
    def fingerprint(self) -> str:
        """Twelve digits that tell configurations apart."""
        text = json.dumps(self.config.model_dump(mode="json", exclude={"run"}), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def save(self) -> None:
        """Write the resolved configuration into the run's folder."""
        write_text(self.folder / CONFIG, yaml_text(self.config.model_dump(mode="json")))

    def train(self, resume: bool = False) -> Separator:
        """Train in the run's folder, or go on with what was begun there, and return the best separator.

        Raises:
            ConfigError: `resume` with another number of epochs than a `onecycle` schedule was made for.
        """
        config = self.config
        train, val = self.dataset("train"), self.dataset("val")
        if resume:
            self._check_schedule()
        check_study(self.adapter)
        separator = self.separator(trained_size=train[0].image.shape[1:])
        if config.augmentation is not None:
            train = Augmented(train, config.augmentation, config.seed)
        self.save()
        return fit(separator, self.loss(), train, val, self.folder, config.training, config.seed, resume)

    def describe(self) -> str:
        """Return what a trained run is, for a terminal: its parts, how far it got and its resolved weights.

        Raises:
            ModelError: the run holds no separator yet.
        """
        config, separator = self.config, self.trained()
        parameters = sum(parameter.numel() for parameter in separator.parameters())
        facts = {
            "adapter": f"{config.adapter}: {', '.join(self.adapter.classes)} in {self.adapter.unit or 'no unit'}",
            "model": f"{_inline(config.model)}; {parameters:,} parameters",
            "head": _inline(config.head.model_dump()),
            "objects": "none" if config.objects is None else _inline(config.objects.model_dump()),
            "scaling": _inline(config.scaling.model_dump()),
            "loss": _inline(config.loss.model_dump(exclude={"region_weights", "class_weights"})),
            "training": _inline(config.training.model_dump()),
            "configuration": f"{self.fingerprint}, seed {config.seed}",
            "progress": self._progress(),
            "class weights": _inline(config.loss.class_weights) or "all 1",
            "region weights": _inline(config.loss.region_weights) or "all 1",
        }
        lines = [f"{name:<15} {fact}" for name, fact in facts.items()]
        weights = self.region_weights()
        shown = list(weights.items())[:MOST_REGIONS]
        width = max(len(region) for region, _ in shown)
        lines += [f"  {region:<{width}}  {weight:.4g}" for region, weight in shown]
        if len(weights) > len(shown):
            lines.append(f"  {len(weights) - len(shown):,} more are in {self.folder / REGION_WEIGHTS}")
        return "\n".join(lines)

    def log(self) -> list[dict[str, str]]:
        """Return what was logged of each epoch.

        Raises:
            DataError: the run has no log.
        """
        return _read_csv(self.folder / LOG)

    def region_weights(self) -> dict[str, float]:
        """Return the resolved weight of every region, by its name.

        Raises:
            DataError: they are not in the run.
        """
        return {row["region"]: float(row["weight"]) for row in _read_csv(self.folder / REGION_WEIGHTS)}

    def _progress(self) -> str:
        rows = self.log()
        best = min(rows, key=lambda row: float(row["val/total"]))
        return (
            f"{len(rows)} of at most {self.config.training.epochs} epochs, best validation loss "
            f"{float(best['val/total']):.5g} in epoch {int(best['epoch']) + 1}"
        )

    def trained(self, device: torch.device | str = "cpu") -> Separator:
        """Return the run's separator; a backbone that the configuration takes from a file is run.

        Raises:
            ModelError: the run holds no separator yet.
        """
        return Separator.load(self.folder, device, trust_code=True)

    def evaluate(
        self,
        separator: Separator,
        dataset: SampleDataset,
        workers: int = 1,
        calibrate: bool = False,
        refine: bool = False,
    ) -> pd.DataFrame:
        """Return the event table of a data set, if need be with what a calibration reads or a fit gives."""
        return evaluate(
            separator,
            dataset,
            self.adapter,
            workers=workers,
            visible=calibrate,
            spread=calibrate and self.spread,
            refine=refine,
        )

    @property
    def spread(self) -> bool:
        """Whether the calibration asks for the spread over symmetries."""
        return self.config.calibration.width_by == SPREAD

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
        path: of a YAML file, or of a run's folder, wherever that lies by now.
        changes: `"training.epochs=20"` and the like; the value is read as YAML.

    Raises:
        ConfigError: not YAML, an unknown key (with the nearest known one) or a value that does not fit.
    """
    path = Path(path)
    moved = {"run": str(path)} if path.is_dir() else {}  # wherever it was trained
    values = read_yaml(path / CONFIG if moved else path) | moved
    return build(changed(values, changes), str(path))


def build(values: Mapping[str, Any], where: str = "configuration") -> Setup:
    """Check plain values and build what they stand for; see `load_config`."""
    if not isinstance(values.get("adapter"), str):
        raise ConfigError(f"{where}: adapter: expected the name of an adapter, found {values.get('adapter')!r}")
    try:
        kind = find_adapter(values["adapter"])
        own = RunConfig.parse({key: values[key] for key in OF_ADAPTER if key in values})
        adapter = kind(own.data, own.seed if own.data_seed is None else own.data_seed)
        config = RunConfig.parse(_merged(adapter.defaults, _with_one_threshold(values)))
        adapter.chosen_thresholds = config.thresholds
        resolved = {"data": adapter.options.model_dump(mode="json"), "thresholds": adapter.limits}
        setup = Setup(config.model_copy(update=resolved), adapter)
        setup.loss(region_counts={0: 1})
        if config.augmentation is not None and adapter.oriented:
            raise ConfigError(
                "augmentation: what is known of these samples states directions and places, which do not turn "
                "with the image: leave the section out"
            )
    except OasisError as error:
        raise type(error)(f"{where}: {error}") from None
    return setup


def _with_one_threshold(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return settings with the thresholds that earlier versions kept in the section `loss` at their place.

    They stated 0 where the loss took every pixel with intensity, which the adapter's thresholds do as well.
    """
    loss = values.get("loss")
    if not isinstance(loss, Mapping) or "thresholds" not in loss:
        return values
    moved = {"loss": {key: value for key, value in loss.items() if key != "thresholds"}}
    return {**({"thresholds": loss["thresholds"]} if loss["thresholds"] else {}), **values, **moved}


def _read_csv(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"{path}: cannot be read, though training writes it: {error.strerror}") from None


def _inline(values: Mapping[str, Any]) -> str:
    """Write settings as `key value` pairs on one line."""
    return ", ".join(f"{key} {value}" for key, value in values.items())
