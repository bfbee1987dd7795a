"""Trial: one training of an ablation, its metrics, and the lock of the process that works on it."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oasis.adapters.study import Study
from oasis.errors import BusyError, DataError
from oasis.evaluation.event_table import write_table
from oasis.evaluation.summary import Summary, summarise
from oasis.io.texts import read_json, write_text
from oasis.run import Run
from oasis.stats.bins import Bin, bins_of
from oasis.stats.intervals import Estimate

STATE = "trial.json"  # its name in the folder of a trial
OF_BINS = ("bias", "spread", "iou")  # metrics in every bin of the study
OF_DETECTION = ("auc", "false_intensity")


@dataclass(frozen=True)
class Trial:
    """One training of an ablation: a run, whose folder also contains the state of the trial.

    Attributes:
        run: the run that is trained.
        study: the study whose metrics are measured.
        point: the varied values.
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
        """Its state: whether it is `trained`, the `seconds` it took, and its `metrics` by split.

        Raises:
            DataError: the file of the state is damaged.
        """
        path = self.folder / STATE
        if not path.exists():
            return {"trained": False, "seconds": 0.0, "metrics": {}}
        found = read_json(path)
        found["metrics"] = found.get("metrics", found.pop("numbers", None))  # as it used to be called
        if not _is_state(found):
            raise DataError(f"{path}: not the state of a trial: remove it, and the trial is evaluated again")
        return found

    def metrics(self, split: str) -> dict[str, float] | None:
        """Return the metrics on a split, or None if they are still to be measured."""
        found: dict[str, float] | None = self.state["metrics"].get(split)
        return found

    def attempt(self, split: str) -> bool:
        """Do the remaining work, and return False if another process is already working on it."""
        try:
            with self.run.locked():
                self._complete(split)
        except BusyError:
            return False
        return True

    def _complete(self, split: str) -> None:
        run, started = self.run, time.monotonic()
        if not self.state["trained"]:
            resume = run.files.last.exists()
            if not resume:
                run.clear()  # files of an incomplete first epoch
            run.train(resume)
            self.record(trained=True)  # after a killed evaluation the training must not continue
        state = self.state
        if split in state["metrics"]:  # another process was quicker
            return
        table = run.measure(run.dataset(split), workers=run.config.training.workers)
        write_table(table, run.files.events(split))
        metrics = {**state["metrics"], split: metrics_of(summarise(table, self.study))}
        self.record(metrics=metrics, seconds=round(state["seconds"] + time.monotonic() - started, 1))

    def record(self, **facts: Any) -> None:
        """Write facts into the trial's state."""
        write_text(self.folder / STATE, json.dumps({**self.state, "point": self.point, **facts}, indent=1))


def _is_state(found: Mapping[str, Any]) -> bool:
    metrics = found["metrics"]
    return (
        isinstance(found.get("trained"), bool)
        and _is_number(found.get("seconds"))
        and isinstance(metrics, dict)
        and all(isinstance(of_split, dict) for of_split in metrics.values())
        and all(_is_number(value) for of_split in metrics.values() for value in of_split.values())
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def metrics_of(summary: Summary) -> dict[str, float]:
    """Return the metrics of a summary by name: `bias_4-5`, `bias_4-5_low`, `bias_4-5_high`, `auc` and so on."""
    found: dict[str, float] = {}
    for row in summary.bins.to_dict("records"):
        where = Bin(row["low"], row["high"]).name
        for name in OF_BINS:
            found |= Estimate.of(row, name).columns(f"{name}_{where}")
    for name in OF_DETECTION:
        estimate = getattr(summary, name)
        if estimate is not None:
            found |= estimate.columns(name)
    return found


def metric_names(study: Study) -> Sequence[str]:
    """Return the names of a study's metrics, without their intervals."""
    names = [f"{name}_{one.name}" for name in OF_BINS for one in bins_of(study.edges)]
    return [*names, *(OF_DETECTION if study.signal is not None else ())]
