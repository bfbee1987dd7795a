"""Ablation: trainings that differ in chosen keys of a configuration.

The folder of the runs is their journal. A trial is done when its `trial.json` contains its metrics. The process
that works on it holds the lock of its folder, which the operating system releases when the process ends, even if
it is killed. So any number of workers can share a folder, no trial runs twice, and the next worker resumes a
killed trial.
"""

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oasis.ablation.options import AblationOptions
from oasis.ablation.trial import Trial, metric_names
from oasis.adapters.study import Study
from oasis.config.changes import set_key
from oasis.errors import ConfigError
from oasis.run import Run

ABLATION = "ablation.yaml"  # its name in the folder of an ablation; it includes the base


@dataclass(frozen=True)
class Ablation:
    """An ablation: the varied keys and the configuration they belong to.

    Attributes:
        options: the options of the ablation.
        base: the complete configuration, as plain values.
        study: the study of the domain.
        unit: the unit of the intensities.
    """

    options: AblationOptions
    base: Mapping[str, Any]
    study: Study
    unit: str

    @property
    def folder(self) -> Path:
        """The folder for all outputs."""
        return Path(self.options.run)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the trainings of a campaign."""
        return self.options.seeds or (self.base["seed"],)

    @property
    def ratios(self) -> dict[str, list[str]]:
        """The keys of numerator and denominator of each ratio."""
        return {name: ratio.split(" / ") for name, ratio in self.options.ratios.items()}

    def trial(self, point: Mapping[str, Any], seed: int) -> Trial:
        """Return the training at a point; its folder is named by the fingerprint of its configuration.

        A folder of an earlier version keeps its name.

        Raises:
            ConfigError: the configuration has no such key, or the value is invalid.
        """
        values = {**copy.deepcopy(dict(self.base)), "seed": seed}
        for key, value in point.items():
            if key not in self.ratios:
                set_key(values, key, copy.deepcopy(value))
        for name, (above, below) in self.ratios.items():
            if name in point:
                set_key(values, above, _number(point[name], name) * weight_at(values, below))
        run = Run.from_values(values, in_words(point) or "base")
        folder, earlier = (
            self.folder / "trials" / name for name in (run.fingerprint, run.config.earlier_fingerprint)
        )
        return Trial(run.moved_to(earlier if earlier.is_dir() else folder), self.study, point)

    def row(self, trial: Trial, split: str) -> dict[str, Any]:
        """Return the row of a trial: its varied values and its metrics."""
        config = trial.run.config
        values = config.model_dump(mode="json")
        weights = {name: [weight_at(values, key) for key in keys] for name, keys in self.ratios.items()}
        row = {
            "run": trial.folder.name,
            **{key: value if np.isscalar(value) else json.dumps(value) for key, value in trial.point.items()},
            **{
                name: float(f"{above / below:.6g}") if below else np.nan
                for name, (above, below) in weights.items()
            },
            "seed": config.seed,
            "seconds": trial.state["seconds"],
            **(trial.metrics(split) or {}),
        }
        return {**row, **{name: np.nan for name in metric_names(self.study) if name not in row}}


def in_words(point: Mapping[str, Any]) -> str:
    """Return the varied values of a point as one line.

    Example:
        >>> in_words({"overlap": 2.0, "training.epochs": 7})
        'overlap 2, training.epochs 7'
    """
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in point.items()
    )


def weight_at(values: Mapping[str, Any], key: str) -> float:
    """Return the number at `a.b` in nested values, or 1."""
    found: Any = values
    for part in key.split("."):
        found = found.get(part, 1) if isinstance(found, Mapping) else 1
    return _number(found, key)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{where}: expected a number, as it is part of a ratio, found {value!r}")
    return float(value)
