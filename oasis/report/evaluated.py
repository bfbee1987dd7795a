"""Evaluated runs: read for a report or a comparison, after a check that they are comparable."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from oasis.device import best_device
from oasis.errors import ConfigError, DataError
from oasis.evaluation.calibration import Calibration
from oasis.evaluation.comparison import compare
from oasis.evaluation.event_table import check_same_classes
from oasis.evaluation.identity import CONFIGURATION, check_identity
from oasis.separator.separator import Separator

if TYPE_CHECKING:
    from oasis.run.base import RunBase

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluatedRun:
    """A run with its results for a report.

    Attributes:
        name: its name in the report, unlike those of the other runs.
        run: the run.
        table: its event table.
        log: the log of its training, one row per epoch.
        weights: the resolved weight of every region, by its name.
        separator: the trained separator.
        calibration: the calibration of its intensities, or None.
        quality: the panoptic quality of its single objects, or None.
        objects: its instance table, or None.
    """

    name: str
    run: "RunBase"
    table: pd.DataFrame
    log: pd.DataFrame
    weights: Mapping[str, float]
    separator: Separator
    calibration: Calibration | None
    quality: pd.DataFrame | None
    objects: pd.DataFrame | None


def named(runs: Sequence["RunBase"]) -> dict[str, "RunBase"]:
    """Return runs by the names of their folders, or by their paths if two names are the same.

    Raises:
        ConfigError: a run is named twice.
    """
    names = [run.folder.resolve().name for run in runs]
    if len(set(names)) < len(names):
        names = [str(run.folder) for run in runs]
    if len(set(names)) < len(names):
        raise ConfigError(f"a run is named twice: {', '.join(names)}")
    return dict(zip(names, runs, strict=True))


def read_evaluated(runs: Sequence["RunBase"]) -> list[EvaluatedRun]:
    """Return evaluated runs of the same events.

    Raises:
        ConfigError: a run is named twice, or has other classes or units than the first one.
        DataError: a run has no event table, or runs were evaluated on different events.
        ModelError: a run has no separator, or one with other classes.
    """
    found = [_read(name, run) for name, run in named(runs).items()]
    for other in found[1:]:
        check_comparable(found[0].run, other.run)
        _check_same_events(found[0], other)
    return found


def check_comparable(first: "RunBase", other: "RunBase") -> None:
    """Check that two runs have the same classes and unit; a difference in adapters is logged.

    Raises:
        ConfigError: they differ.
    """
    found, expected = (f"{', '.join(run.adapter.classes)} in {run.adapter.unit!r}" for run in (other, first))
    if found != expected:
        raise ConfigError(
            f"{other.folder}: separates {found}, but {first.folder} {expected}: compare runs of the same classes "
            "and unit"
        )
    note = adapters_note([first, other])
    if note:
        logger.warning("%s: %s", other.folder, note)


def adapters_note(runs: Sequence["RunBase"]) -> str:
    """Return a note on the adapters of runs, or "" if they have the same one."""
    names = list(dict.fromkeys(run.config.adapter for run in runs))
    return f"the runs have different adapters: {', '.join(names)}" if len(names) > 1 else ""


def compare_runs(runs: Sequence["RunBase"]) -> str:
    """Return a text table of the differences of runs from the first one in the metrics of its adapter's study.

    Raises:
        ConfigError: there is a single run, a run named twice, an adapter without a study, or other classes or
            units.
        DataError: a run has no event table, or the tables contain different events.
    """
    study = runs[0].adapter.study if runs else None
    if len(runs) < 2 or study is None:
        raise ConfigError("compare: give two or more runs of an adapter with a study")
    for other in runs[1:]:
        check_comparable(runs[0], other)
    tables = {name: run.events() for name, run in named(runs).items()}
    return compare(tables, study, runs[0].adapter.unit)


def close(one: Any, other: Any) -> bool:
    """Return whether true intensities are equal up to rounding."""
    return bool(np.allclose(one, other, rtol=1e-3, equal_nan=True))


def _read(name: str, run: "RunBase") -> EvaluatedRun:
    table = run.events()
    separator = run.separator(best_device())
    check_same_classes(separator, run.adapter)
    check_identity(table, separator.options.identity.get(CONFIGURATION, ""), f"{run.folder}: the separator has")
    log, weights, calibration = run.log, run.region_weights, run.calibration
    return EvaluatedRun(name, run, table, log, weights, separator, calibration, run.quality(), run.instances())


def _check_same_events(first: EvaluatedRun, other: EvaluatedRun) -> None:
    keys = [each.table[["id", "class"]].to_numpy().tolist() for each in (first, other)]
    if keys[0] != keys[1] or not close(*(each.table["intensity_true"] for each in (first, other))):
        raise DataError(
            f"{other.run.folder}: evaluated on other events than {first.run.folder}: evaluate both on the same "
            "samples, with the same section data"
        )
