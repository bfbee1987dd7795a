"""Ablation: runs that differ in chosen keys, what each key does to a study's numbers, and a search for the best.

The folder of the runs is their journal. A trial is done when its `trial.json` holds its numbers, and whoever works
on it holds the lock of its folder, which the system takes back when the holder dies, however it dies. So any
number of workers share a folder, no trial runs twice, and one that was killed is taken up by whoever comes next.
"""

import copy
import json
import logging
import multiprocessing
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from pydantic import Field, field_validator, model_validator

from oasis.ablation.factors import factor_figure, factor_table, table_text
from oasis.adapters.study import Study
from oasis.config.changes import parse_change, set_key
from oasis.errors import BusyError, ConfigError, DataError, ModelError, OasisError, import_extra, nearest, shown
from oasis.evaluation.comparison import compare
from oasis.evaluation.event_table import write_table
from oasis.evaluation.figures import save_figure
from oasis.evaluation.summary import Summary, summarise
from oasis.io.tables import write_csv
from oasis.io.texts import read_json, write_text
from oasis.io.yaml_text import read_yaml, yaml_text
from oasis.options import Options
from oasis.plugins import is_code
from oasis.run import Run
from oasis.stats.bins import Bin, bins_of
from oasis.stats.intervals import Estimate

STUDY = "ablation.yaml"  # in a study's folder, with the base in it
STATE = "trial.json"  # in a trial's folder
PROPOSALS = "search.json"
POLL_SECONDS = 2.0
GRACE_SECONDS = 10.0  # for a worker to end its step after Ctrl-C

logger = logging.getLogger(__name__)


class Range(Options):
    """Where a search looks for a number.

    Attributes:
        low: the least value.
        high: the largest value.
        log: whether factors count rather than differences.
    """

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _increasing(self) -> "Range":
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError("expected low < high, and low > 0 with log")
        return self


class AblationOptions(Options):
    """A study, as its YAML file states it. Keys are those of a configuration, as `training.epochs`.

    Attributes:
        base: the configuration that is varied: its path, seen from this file, or itself.
        run: the folder that receives everything.
        changes: values of keys that all trials share.
        ratios: names for ratios of two weights, as `above.key / below.key`; a weight that is not there is 1. To
            give a ratio a value sets the weight above.
        grid: the values of each key or ratio, which may be whole tables; every combination is a campaign.
        seeds: of the trainings of a campaign, all on the same data; none for the seed of the base.
        split: the events that the grid is measured on.
        bin: of the domain's study, for tables and figures; none for the first one.
        search: for each key or ratio the range, or the choices, to search.
        objective: what a search makes small: weights of numbers such as `auc`, `spread_4-5` or, without its sign,
            `|bias_4-5|`.
        trials: of a search.
    """

    base: str | dict[str, Any]
    run: str
    changes: dict[str, Any] = {}
    ratios: dict[str, str] = {}
    grid: dict[str, list[Any]] = {}
    seeds: tuple[int, ...] = ()
    split: Literal["val", "test"] = "test"
    bin: tuple[float, float] | None = None
    search: dict[str, Range | list[Any]] = {}
    objective: dict[str, float] = {}
    trials: int = Field(30, ge=1)

    @field_validator("ratios")
    @classmethod
    def _two_keys(cls, ratios: dict[str, str]) -> dict[str, str]:
        for ratio in ratios.values():
            if len(ratio.split(" / ")) != 2:
                raise ValueError(f"expected 'above.key / below.key' instead of {ratio!r}")
        return ratios

    @field_validator("grid", "search")
    @classmethod
    def _not_empty(cls, values: dict[str, Any]) -> dict[str, Any]:
        for key, choices in values.items():
            if choices == []:
                raise ValueError(f"expected at least one value of {key}")
        return values


def _numbers(summary: Summary) -> dict[str, float]:
    """Return the numbers of a summary by name: `bias_4-5`, `bias_4-5_low`, `bias_4-5_high`, `auc` and so on."""
    found: dict[str, float] = {}
    for row in summary.bins.to_dict("records"):
        where = Bin(row["low"], row["high"]).name
        for name in ("bias", "spread", "iou"):
            found |= Estimate.of(row, name).columns(f"{name}_{where}")
    for name in ("auc", "false_intensity"):
        estimate = getattr(summary, name)
        if estimate is not None:
            found |= estimate.columns(name)
    return found


@dataclass(frozen=True)
class Trial:
    """One training of a study: a run, whose folder also says how far it got.

    Attributes:
        run: that is trained.
        study: whose numbers are measured.
        point: the values of what is varied.
    """

    run: Run
    study: Study
    point: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.run.folder

    @property
    def state(self) -> dict[str, Any]:
        """How far it got: whether it is `trained`, the `seconds` it took, and its `numbers` by split."""
        path = self.folder / STATE
        if not path.exists():
            return {"trained": False, "seconds": 0.0, "numbers": {}}
        found = read_json(path)
        if not (isinstance(found.get("numbers"), dict) and isinstance(found.get("seconds"), int | float)):
            raise DataError(f"{path}: not the state of a trial: remove it, and the trial is measured again")
        return found

    def numbers(self, split: str) -> dict[str, float] | None:
        """Return what was measured on a split, or None if that is still to be done."""
        found: dict[str, float] | None = self.state["numbers"].get(split)
        return found

    def attempt(self, split: str) -> bool:
        """Do what is still to be done, and return False if another process is at it."""
        try:
            with self.run.held():
                self._complete(split)
        except BusyError:
            return False
        return True

    def _complete(self, split: str) -> None:
        run, started = self.run, time.monotonic()
        if not self.state["trained"]:
            resume = run.files.last.exists()
            if not resume:
                run.clear()  # what a first epoch left that was not completed
            run.train(resume)
            self._add(trained=True)  # an evaluation that is killed must not train on
        state = self.state
        if split in state["numbers"]:  # another process was quicker
            return
        table = run.measure(run.dataset(split), workers=run.config.training.workers)
        write_table(table, run.files.events(split))
        numbers = {**state["numbers"], split: _numbers(summarise(table, self.study))}
        self._add(numbers=numbers, seconds=round(state["seconds"] + time.monotonic() - started, 1))

    def _add(self, **facts: Any) -> None:
        write_text(self.folder / STATE, json.dumps({**self.state, "point": self.point, **facts}, indent=1))


@dataclass(frozen=True)
class Ablation:
    """A study of what keys of a configuration do.

    Attributes:
        options: what is varied.
        base: the complete configuration, as plain values.
        study: the domain's.
        unit: of the intensities.
    """

    options: AblationOptions
    base: Mapping[str, Any]
    study: Study
    unit: str

    @property
    def folder(self) -> Path:
        """The folder that receives everything."""
        return Path(self.options.run)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the trainings of a campaign."""
        return self.options.seeds or (self.base["seed"],)

    @property
    def ratios(self) -> dict[str, list[str]]:
        """The key above and the key below of each ratio."""
        return {name: ratio.split(" / ") for name, ratio in self.options.ratios.items()}

    def trial(self, point: Mapping[str, Any], seed: int) -> Trial:
        """Return the training at a point; its folder is named by the fingerprint of its configuration.

        Raises:
            ConfigError: the configuration has no such key, or the value does not fit.
        """
        values = {**copy.deepcopy(dict(self.base)), "seed": seed}
        for key, value in point.items():
            if key not in self.ratios:
                set_key(values, key, copy.deepcopy(value))
        for name, (above, below) in self.ratios.items():
            if name in point:
                set_key(values, above, _number(point[name], name) * _weight(values, below))
        run = Run.from_values(values, _words(point) or "base")
        return Trial(run.moved_to(self.folder / "trials" / run.fingerprint), self.study, point)

    def row(self, trial: Trial, split: str) -> dict[str, Any]:
        """Return what a trial is and what was measured."""
        config = trial.run.config
        values = config.model_dump(mode="json")
        weights = {name: [_weight(values, key) for key in keys] for name, keys in self.ratios.items()}
        return {
            "run": trial.folder.name,
            **{key: value if np.isscalar(value) else json.dumps(value) for key, value in trial.point.items()},
            **{
                name: float(f"{above / below:.6g}") if below else np.nan
                for name, (above, below) in weights.items()
            },
            "seed": config.seed,
            "seconds": trial.state["seconds"],
            **(trial.numbers(split) or {}),
        }

    def run(self, workers: int = 1) -> str:
        """Train and measure what is left of the grid, and return what every factor does, for a terminal.

        Writes `ablation.csv` (a row per trial), `factors.csv` (a row per value of a factor) and a figure of each
        factor.

        Args:
            workers: processes on this machine; others may share the folder.

        Raises:
            ConfigError: a point that does not fit.
            ModelError: trials that failed; the results of the others are written.
        """
        grid = self.options.grid
        points = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
        jobs = _Listed(self, tuple(product(points, self.seeds)), self.options.split, "ablation.csv")
        trials = jobs.trials()  # names a point that does not fit before anything is trained
        _start(jobs, workers)
        rows = _write_rows(jobs, trials)
        text = _report(self, rows) if len(rows) else ""
        _check_done(trials, jobs.split)
        return text

    def search(self, workers: int = 1, trials: int | None = None) -> str:
        """Search for the point with the least objective on validation events, and return what it is worth.

        The best point and the base are trained from every seed and compared on test events. Writes `search.csv`
        and `search_test.csv` (a row per trial) and `search.txt` (what is returned).

        Args:
            workers: processes on this machine; others may share the folder.
            trials: how many, in the place of the options'.

        Raises:
            ConfigError: no search is stated, or the folder holds one of another space.
            ModelError: trials that failed.
        """
        if not self.options.search or not self.options.objective:
            raise ConfigError("a search needs the sections search and objective")
        import_extra("optuna", extra="ablate")
        jobs = _Searched(self, trials or self.options.trials)
        jobs.check()
        _start(jobs, workers)
        proposed = jobs.trials()
        _write_rows(jobs, proposed)
        objectives = np.array([jobs.objective(trial) for trial in proposed])
        if not np.isfinite(objectives).any():
            raise ModelError("search: no trial has an objective: are there validation events in its bins?")
        best = proposed[np.nanargmin(objectives)].point
        finals = _Listed(self, tuple(product(({}, best), self.seeds)), "test", "search_test.csv")
        _start(finals, workers)
        last = finals.trials()
        _write_rows(finals, last)
        _check_done(last, finals.split)
        tables = [trial.run.events(finals.split) for trial in last]
        half = len(self.seeds)
        text = f"best of {len(proposed)}: {_words(best)}; objective {np.nanmin(objectives):.4g}\n"
        text += compare({"base": tables[:half], "best": tables[half:]}, self.study, self.unit)
        write_text(self.folder / "search.txt", text + "\n")
        return text


@dataclass(frozen=True)
class _Listed:
    """Trials at given points and from given seeds."""

    ablation: Ablation
    points: tuple[tuple[Mapping[str, Any], int], ...]
    split: str
    csv: str

    @property
    def total(self) -> int:
        """How many trials there are to be."""
        return len(self.points)

    def trials(self) -> list[Trial]:
        """Return the trials there are."""
        return [self.ablation.trial(point, seed) for point, seed in self.points]

    def extend(self, known: int) -> bool:
        """Return whether there are more trials than those known, if need be after adding one."""
        return False


@dataclass(frozen=True)
class _Searched:
    """Trials that the tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011) proposes from the others.

    Proposals are kept in `search.json`, so that one that was killed is taken up again.
    """

    ablation: Ablation
    total: int
    split: str = "val"
    csv: str = "search.csv"

    def trials(self) -> list[Trial]:
        """Return the trials there are.

        Raises:
            ConfigError: the folder holds a search of another space.
        """
        seed = self.ablation.seeds[0]
        return [self.ablation.trial(self._point(params), seed) for params in self._proposals()[: self.total]]

    def extend(self, known: int) -> bool:
        """Return whether there are more trials than those known, if need be after adding one."""
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

    def check(self) -> None:
        """Check that the first values of all spaces fit.

        Raises:
            ConfigError: the configuration has no such key, or the value does not fit.
        """
        search = self.ablation.options.search.items()
        first = {key: space.low if isinstance(space, Range) else space[0] for key, space in search}
        self.ablation.trial(first, self.ablation.seeds[0])

    def objective(self, trial: Trial) -> float:
        """Return what the search makes small, NaN for a trial that is not measured yet."""
        numbers, total = trial.numbers(self.split), 0.0
        if numbers is None:
            return float("nan")
        for name, weight in self.ablation.options.objective.items():
            value = numbers[name.strip("|")]
            total += weight * (abs(value) if name.startswith("|") else value)
        return total

    def _proposals(self) -> list[dict[str, Any]]:
        """Return what was proposed: numbers, and the places of choices."""
        path = self.ablation.folder / PROPOSALS
        if not path.exists():
            return []
        found = read_json(path)
        if found.get("space") != self._space() or not isinstance(found.get("proposals"), list):
            raise ConfigError(f"{path}: holds a search of another space: choose another folder")
        return list(found["proposals"])

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
        # What is not measured yet counts as poor, so that workers look at different places.
        sampler = optuna.samplers.TPESampler(seed=len(proposals), multivariate=True, constant_liar=True)
        study = optuna.create_study(sampler=sampler)
        for params, trial in zip(proposals, self.trials(), strict=True):
            value = self.objective(trial)
            facts = {"value": value} if np.isfinite(value) else {"state": optuna.trial.TrialState.RUNNING}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=space, **facts))
        return dict(study.ask(space).params)


def load_ablation(
    path: str | Path,
    changes: Sequence[str] = (),
    folder: str | Path | None = None,
    trust_code: bool = False,
) -> Ablation:
    """Read a study from its YAML file or from its folder.

    Args:
        path: of the file or the folder.
        changes: `"training.epochs=20"` and the like, for all trials; the value is read as YAML.
        folder: in the place of the file's `run`.
        trust_code: run the Python files that the folder of a study or of the base names.

    Raises:
        ConfigError: not YAML, an unknown key or a value that does not fit, in the study or in its base.
    """
    path, sent = Path(path), Path(path).is_dir()
    if sent:
        path = path / STUDY
    stated = read_yaml(path)
    if sent and not trust_code:
        _check_no_code(stated, path)
    options = AblationOptions.parse(stated, where=str(path))
    if isinstance(options.base, str):
        base = _base(path.parent / options.base, sent, trust_code)
    else:
        base = Run.from_values(options.base, f"{path}: base")
    values = base.config.model_dump(mode="json")
    for key, value in {**options.changes, **dict(map(parse_change, changes))}.items():
        set_key(values, key, value)
    if options.seeds and values["data_seed"] is None:
        values["data_seed"] = values["seed"]
    run = Run.from_values(values, f"{path}: base")
    options = options.model_copy(update={"base": values, "changes": {}, "run": str(folder or options.run)})
    if run.adapter.study is None:
        raise ConfigError(f"{path}: the adapter {values['adapter']} states no study whose numbers can be measured")
    ablation = Ablation(options, values, run.adapter.study, run.adapter.unit)
    _check(ablation, str(path))
    return ablation


def _base(path: Path, sent: bool, trust_code: bool) -> Run:
    """Return the run that a study varies; code is run if the user named the file that names it, or said so."""
    if path.is_dir():
        return Run(path, trust_code=trust_code)
    if sent and not trust_code:
        _check_no_code(read_yaml(path), path)
    return Run.from_config(path)


def _check_no_code(values: Any, path: Path) -> None:
    if isinstance(values, Mapping):
        values = [*values, *values.values()]
    if isinstance(values, list):
        for value in values:
            _check_no_code(value, path)
    elif isinstance(values, str) and is_code(values):
        raise ConfigError(
            f"{path}: the study names code, {shown(values)}, which is not executed without permission: if you "
            "trust its author, pass --trust-code (in Python trust_code=True)"
        )


def _check(ablation: Ablation, where: str) -> None:
    """Check what only the base can tell."""
    options, base, study = ablation.options, ablation.base, ablation.study
    for name, keys in ablation.ratios.items():
        for key in keys:
            values = copy.deepcopy(dict(base))
            set_key(values, key, _weight(values, key))
            Run.from_values(values, f"{where}: ratios.{name}")
    bins = [one.name for one in bins_of(study.edges)]
    if options.bin is not None and Bin(*options.bin).name not in bins:
        raise ConfigError(f"{where}: bin: the study has no {Bin(*options.bin).name}; known: {', '.join(bins)}")
    known = [f"{name}_{bin_}" for name in ("bias", "spread", "iou") for bin_ in bins]
    known += ["auc", "false_intensity"] if study.signal is not None else []
    for name in options.objective:
        if name.strip("|") not in known:
            raise ConfigError(f"{where}: objective: unknown {name!r}; {nearest(name.strip('|'), known)}")
    if base["training"]["devices"] > 1:
        raise ConfigError(
            f"{where}: training.devices: a trial has one device, found {base['training']['devices']}: "
            "start the command once for each device"
        )


def _weight(values: Mapping[str, Any], key: str) -> float:
    """Return the number at `a.b` in nested values, or 1."""
    found: Any = values
    for part in key.split("."):
        found = found.get(part, 1) if isinstance(found, Mapping) else 1
    return _number(found, key)


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{where}: expected a number, as it is part of a ratio, found {value!r}")
    return float(value)


def _words(point: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in point.items()
    )


_Jobs = _Listed | _Searched


def _start(jobs: _Jobs, workers: int) -> None:
    """Work in this process, or in several that share its threads."""
    options = jobs.ablation.options
    write_text(jobs.ablation.folder / STUDY, yaml_text(options.model_dump(mode="json")))
    if workers == 1:
        _work(jobs)
        return
    spawn = multiprocessing.get_context("spawn")
    level = logger.getEffectiveLevel()
    processes = [
        spawn.Process(target=_worker, args=(jobs, number, workers, level)) for number in range(1, workers + 1)
    ]
    for process in processes:
        process.start()
    try:
        for number, process in enumerate(processes, start=1):
            process.join()
            if process.exitcode:
                logger.warning("worker %d ended with code %d", number, process.exitcode)
    except KeyboardInterrupt:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(GRACE_SECONDS)
            process.kill()
        raise


def _worker(jobs: _Jobs, number: int, workers: int, level: int) -> None:
    logging.basicConfig(level=level, format=f"worker {number}: %(message)s", force=True)
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))
    sys.stderr.isatty = lambda: False  # type: ignore[method-assign]  # bars of several trainings overwrite each other
    try:
        _work(jobs, workers)
    except KeyboardInterrupt:
        sys.exit(130)


def _work(jobs: _Jobs, workers: int = 1) -> None:
    """Do trials until all are done, those of workers that died included.

    Args:
        jobs: the trials.
        workers: how many processes work here, for the estimate of the time left.
    """
    parent = multiprocessing.parent_process()
    trials, failed = jobs.trials(), set[Path]()
    while parent is None or parent.is_alive():
        pending = [trial for trial in trials if trial.folder not in failed and trial.numbers(jobs.split) is None]
        for trial in pending:
            try:
                ours = trial.attempt(jobs.split)
            except Exception as error:  # a point that fails must not stop the others
                logger.warning("%s failed: %s", trial.folder, error, exc_info=not isinstance(error, OasisError))
                failed.add(trial.folder)
                break
            if ours:
                _tell(jobs, trials, trial, workers)
                break
        else:
            if jobs.extend(len(trials)):
                trials = jobs.trials()
            elif not pending:
                return
            else:
                time.sleep(POLL_SECONDS)


def _tell(jobs: _Jobs, trials: Sequence[Trial], trial: Trial, workers: int) -> None:
    """Log that a trial is done, and how long the others will take."""
    rows = _write_rows(jobs, trials)
    left = (jobs.total - len(rows)) * rows["seconds"].mean() / workers
    logger.info(
        "%s, seed %d (%s): done; %d of %d, about %s left with %d worker%s",
        _words(trial.point) or "base",
        trial.run.config.seed,
        trial.folder.name,
        len(rows),
        jobs.total,
        f"{left / 3600:.1f} h" if left > 5400 else f"{left / 60:.0f} min",
        workers,
        "s" if workers > 1 else "",
    )


def _check_done(trials: Sequence[Trial], split: str) -> None:
    left = [trial for trial in trials if trial.numbers(split) is None]
    if left:
        raise ModelError(
            f"{len(left)} of {len(trials)} trials are not done, first {left[0].folder}: "
            "see why above, and run the command again"
        )


def _write_rows(jobs: _Jobs, trials: Sequence[Trial]) -> pd.DataFrame:
    """Write a row for each trial that is done and return them, indexed by the trial's place."""
    done = {place: trial for place, trial in enumerate(trials) if trial.numbers(jobs.split) is not None}
    rows = pd.DataFrame([jobs.ablation.row(trial, jobs.split) for trial in done.values()], index=list(done))
    if isinstance(jobs, _Searched):
        rows["objective"] = [jobs.objective(trial) for trial in done.values()]
    write_csv(rows, jobs.ablation.folder / jobs.csv)
    return rows


def _report(ablation: Ablation, rows: pd.DataFrame) -> str:
    """Write tables and figures of all factors and return the tables as text."""
    options, study, folder = ablation.options, ablation.study, ablation.folder
    text = [f"{folder / 'ablation.csv'}: {len(rows)} trials"]
    keys = list({**options.grid, **options.ratios})
    factors = [key for key in keys if rows[key].nunique(dropna=False) > 1]
    if not factors:
        return text[0]
    campaigns = rows.groupby(keys, sort=False, dropna=False).mean(numeric_only=True).reset_index()
    shown = Bin(*(options.bin or study.edges[:2])).name
    names = [f"{name}_{shown}" for name in ("bias", "spread", "iou")]
    names += [name for name in ("auc", "false_intensity") if name in campaigns]
    tables = [factor_table(campaigns, factor, names) for factor in factors]
    write_csv(pd.concat(tables), folder / "factors.csv")
    for factor, table in zip(factors, tables, strict=True):
        figure = save_figure(factor_figure(campaigns, factor, study, shown), folder / f"{factor}.png")
        text += ["", table_text(table, names), f"figure: {figure}"]
    return "\n".join(text)
