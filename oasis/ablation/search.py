"""Search for the values with the smallest objective, proposed from earlier trials and compared with the base."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from filelock import FileLock

from oasis.ablation.ablation import Ablation, in_words
from oasis.ablation.jobs import Jobs, Listed, check_done, write_rows
from oasis.ablation.options import Range
from oasis.ablation.trial import Trial
from oasis.ablation.workers import do_all
from oasis.errors import ConfigError, ModelError, import_extra, shown
from oasis.evaluation.comparison import compare
from oasis.io.texts import read_json, write_text

PROPOSALS = "search.json"


def run_search(ablation: Ablation, workers: int = 1, trials: int | None = None) -> str:
    """Search for the point with the smallest objective on validation events, and return its comparison as text.

    The best point and the base are trained from every seed and compared on test events. Writes `search.csv` and
    `search_test.csv` (a row per trial) and `search.txt` (the returned text).

    Args:
        ablation: an ablation with the section `search`.
        workers: processes on this machine; others may share the folder.
        trials: number of trials, instead of that in the options.

    Raises:
        ConfigError: no search is stated, or the folder contains one of another space.
        ModelError: trials failed.
    """
    if not ablation.options.search or not ablation.options.objective:
        raise ConfigError("a search needs the sections search and objective")
    import_extra("optuna", extra="ablate")
    jobs = Searched(ablation=ablation, total=trials or ablation.options.trials)
    jobs.check()
    do_all(jobs, workers)
    proposed = jobs.trials()
    write_rows(jobs, proposed)
    objectives = np.array([jobs.objective(trial) for trial in proposed])
    if not np.isfinite(objectives).any():
        raise ModelError("search: no trial has an objective: are there validation events in its bins?")
    best = proposed[np.nanargmin(objectives)]
    text = f"best of {len(proposed)}: {in_words(best.point)}; objective {np.nanmin(objectives):.4g}\n"
    text += f"on validation events: {jobs.measured(best)}\n"
    text += _compare_with_base(ablation, best.point, workers)
    write_text(ablation.folder / "search.txt", text + "\n")
    return text


def _compare_with_base(ablation: Ablation, best: Mapping[str, Any], workers: int) -> str:
    points = tuple(product(({}, best), ablation.seeds))
    jobs = Listed(ablation=ablation, split="test", csv="search_test.csv", points=points)
    do_all(jobs, workers)
    trials = jobs.trials()
    write_rows(jobs, trials)
    check_done(trials, jobs.split)
    tables = [trial.run.events(jobs.split) for trial in trials]
    half = len(ablation.seeds)
    return compare({"base": tables[:half], "best": tables[half:]}, ablation.study, ablation.unit)


# Optuna's journal storage (5.0) leaves the trial of a killed worker in the state "running" forever, lets workers
# start more trials than requested, and fails after a truncated write; proposals are one file, replaced as a whole.
@dataclass(frozen=True, kw_only=True)
class Searched(Jobs):
    """Trials that the tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) proposes from the others.

    Proposals are stored in `search.json`, so that a killed trial is resumed.

    Attributes:
        total: number of trials to run.
    """

    total: int
    split: str = "val"
    csv: str = "search.csv"

    @property
    def count(self) -> int:
        """How many trials there are to be."""
        return self.total

    def trials(self) -> list[Trial]:
        """Return the existing trials.

        Raises:
            ConfigError: the folder contains a search of another space.
        """
        seed = self.ablation.seeds[0]
        return [self.ablation.trial(self._point(params), seed) for params in self._proposals()[: self.total]]

    def extend(self, known: int) -> bool:
        """Return whether there are more trials than `known`, after adding one if necessary."""
        if known >= self.total:
            return False
        folder = self.ablation.folder
        with FileLock(folder / ".search.lock"):
            proposals = self._proposals()
            if len(proposals) == known:
                proposals.append(self._propose(proposals))
                text = json.dumps({"space": self._space(), "proposals": proposals}, indent=1)
                write_text(folder / PROPOSALS, text)
        return True

    def row(self, trial: Trial) -> dict[str, Any]:
        """Return the row of a trial in the table, with its objective."""
        return {**super().row(trial), "objective": self.objective(trial)}

    def check(self) -> None:
        """Check that the first values of all spaces are valid.

        Raises:
            ConfigError: the configuration has no such key, or the value is invalid.
        """
        search = self.ablation.options.search.items()
        first = {key: space.low if isinstance(space, Range) else space[0] for key, space in search}
        self.ablation.trial(first, self.ablation.seeds[0])

    def objective(self, trial: Trial) -> float:
        """Return the objective to minimise, NaN for a trial that is not evaluated yet."""
        metrics, total = trial.metrics(self.split), 0.0
        if metrics is None:
            return float("nan")
        for name, weight in self.ablation.options.objective.items():
            value = metrics.get(name.strip("|"), float("nan"))
            total += weight * (abs(value) if name.startswith("|") else value)
        return total

    def measured(self, trial: Trial) -> str:
        """Return the metrics in the objective of a trial with their intervals, as text."""
        metrics = trial.metrics(self.split) or {}
        texts = []
        for name in dict.fromkeys(name.strip("|") for name in self.ablation.options.objective):
            value, low, high = (metrics.get(f"{name}{end}", float("nan")) for end in ("", "_low", "_high"))
            texts.append(f"{name} {value:.4g} [{low:.4g}, {high:.4g}]")
        return ", ".join(texts)

    def _proposals(self) -> list[dict[str, Any]]:
        """Return the proposals: numbers, and the indices of choices."""
        path = self.ablation.folder / PROPOSALS
        if not path.exists():
            return []
        found = read_json(path)
        proposals = found.get("proposals")
        if found.get("space") != self._space() or not isinstance(proposals, list):
            raise ConfigError(f"{path}: contains a search of another space: choose another folder")
        for number, params in enumerate(proposals):
            if not self._is_point(params):
                raise ConfigError(
                    f"{path}: proposal {number} is {shown(params)}, which is not a point in the space of this "
                    "search: choose another folder"
                )
        return proposals

    def _is_point(self, params: Any) -> bool:
        """Return whether a proposal has a number within each range, and the index of one of the choices."""
        search = self.ablation.options.search
        if not isinstance(params, Mapping) or params.keys() != search.keys():
            return False
        return all(_is_within(params[key], space) for key, space in search.items())

    def _point(self, params: Mapping[str, Any]) -> dict[str, Any]:
        search = self.ablation.options.search.items()
        return {key: params[key] if isinstance(space, Range) else space[params[key]] for key, space in search}

    def _space(self) -> Any:
        return json.loads(json.dumps(self.ablation.options.model_dump(mode="json")["search"]))

    def _propose(self, proposals: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        optuna = import_extra("optuna", extra="ablate")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        number, choice = optuna.distributions.FloatDistribution, optuna.distributions.CategoricalDistribution
        space = {
            key: number(values.low, values.high, log=values.log)
            if isinstance(values, Range)
            else choice(range(len(values)))
            for key, values in self.ablation.options.search.items()
        }
        # Trials that are not evaluated yet count as poor, so that workers propose different points.
        sampler = optuna.samplers.TPESampler(seed=len(proposals), multivariate=True, constant_liar=True)
        study = optuna.create_study(sampler=sampler)
        for params, trial in zip(proposals, self.trials(), strict=True):
            value = self.objective(trial)
            facts = {"value": value} if np.isfinite(value) else {"state": optuna.trial.TrialState.RUNNING}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=space, **facts))
        return dict(study.ask(space).params)


def _is_within(value: Any, space: Range | Sequence[Any]) -> bool:
    if isinstance(space, Range):
        return type(value) in (int, float) and space.low <= value <= space.high
    return type(value) is int and 0 <= value < len(space)
