"""Jobs: the trials to do, known from the start or proposed one after another, and their table."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from oasis.ablation.ablation import Ablation
from oasis.ablation.trial import Trial
from oasis.errors import ModelError
from oasis.io.tables import write_csv


@dataclass(frozen=True, kw_only=True)
class Jobs(ABC):
    """The trials to do.

    Attributes:
        ablation: the ablation that they belong to.
        split: the split on which they are evaluated.
        csv: the file of their table.
    """

    ablation: Ablation
    split: str
    csv: str

    @property
    @abstractmethod
    def count(self) -> int:
        """How many trials there are to be."""

    @abstractmethod
    def trials(self) -> list[Trial]:
        """Return the existing trials."""

    def extend(self, known: int) -> bool:
        """Return whether there are more trials than `known`, after adding one if necessary."""
        return False

    def row(self, trial: Trial) -> dict[str, Any]:
        """Return the row of a trial in the table."""
        return self.ablation.row(trial, self.split)


@dataclass(frozen=True, kw_only=True)
class Listed(Jobs):
    """Trials at given points and from given seeds.

    Attributes:
        points: the varied values and the seed of each trial.
    """

    points: tuple[tuple[Mapping[str, Any], int], ...]

    @property
    def count(self) -> int:
        """How many trials there are to be."""
        return len(self.points)

    def trials(self) -> list[Trial]:
        """Return all trials."""
        return [self.ablation.trial(point, seed) for point, seed in self.points]


def write_rows(jobs: Jobs, trials: Sequence[Trial]) -> pd.DataFrame:
    """Write a row for each trial that is done and return them, indexed by the number of the trial."""
    done = {place: trial for place, trial in enumerate(trials) if trial.metrics(jobs.split) is not None}
    rows = pd.DataFrame([jobs.row(trial) for trial in done.values()], index=list(done))
    write_csv(rows, jobs.ablation.folder / jobs.csv)
    return rows


def check_done(trials: Sequence[Trial], split: str) -> None:
    """Check that all trials are done.

    Raises:
        ModelError: some are not.
    """
    left = [trial for trial in trials if trial.metrics(split) is None]
    if left:
        raise ModelError(
            f"{len(left)} of {len(trials)} trials are not done, first {left[0].folder}: "
            "see why above, and run the command again"
        )
