"""Comparison: which differences between runs are statistically significant, tested on the events they share."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from oasis.adapters.study import Study, chosen, score_column
from oasis.errors import ConfigError
from oasis.evaluation.identity import identity_of
from oasis.evaluation.pairing import Statistic, Tables, aligned_tables, as_list, compare_pair
from oasis.stats.bins import bins_of, median, spread
from oasis.stats.intervals import Estimate
from oasis.stats.roc import rank_auc


class _Metric(NamedTuple):
    """One metric of a study: a statistic of the columns of chosen events."""

    label: str
    chosen: NDArray[np.bool_]
    statistic: Statistic
    columns: Sequence[str]
    spec: str


class Difference(NamedTuple):
    """The difference of one metric of a study between two runs.

    Attributes:
        label: name of the metric.
        first: its value for the first run.
        second: its value for the second run.
        by: the second value minus the first, with its interval.
        spec: number format.
    """

    label: str
    first: float
    second: float
    by: Estimate
    spec: str

    @property
    def significant(self) -> bool:
        """Whether the 95 % interval excludes 0."""
        return self.by.low > 0 or self.by.high < 0


class RunComparison(NamedTuple):
    """The comparison of two runs on the same events.

    Attributes:
        first: name of the first run.
        second: name of the second one.
        events: number of events.
        differences: the differences in all metrics of the study.
    """

    first: str
    second: str
    events: int
    differences: Sequence[Difference]


def comparisons(tables: Mapping[str, Tables], study: Study, unit: str = "") -> list[RunComparison]:
    """Return the comparisons of each run with the first one.

    Args:
        tables: event tables of the same events, by name of the run; several for a run with several seeds.
        study: the study whose metrics are compared.
        unit: the unit of the intensities.

    Raises:
        ConfigError: there are fewer than two runs.
        DataError: the tables contain different events.
    """
    if len(tables) < 2:
        raise ConfigError(f"expected two runs or more to compare, found {', '.join(tables) or 'none'}")
    (name_a, *names), (side_a, *sides) = list(tables), [_prepared(side, study) for side in tables.values()]
    found = []
    for name, side_b in zip(names, sides, strict=True):
        aligned = aligned_tables([*side_a, *side_b])
        group = study.group if study.group in aligned[0] else None
        rows = []
        for metric in _metrics(aligned[0], study, unit):
            chosen = [table[metric.chosen] for table in aligned]
            pair = compare_pair(chosen, len(side_a), metric.statistic, metric.columns, group)
            rows.append(Difference(metric.label, pair.a, pair.b, pair.difference, metric.spec))
        found.append(RunComparison(name_a, name, len(aligned[0]) // (1 + len(study.interchangeable)), rows))
    return found


def compare(tables: Mapping[str, Tables], study: Study, unit: str = "") -> str:
    """Return a text table of the differences of runs from the first one, marking significant ones.

    The arguments and errors are those of `comparisons`.
    """
    lines = []
    for name_a, name, events, rows in comparisons(tables, study, unit):
        lines.append(f"{study.what} of {name} against {name_a} on the same {events:,} events, by {study.label}")
        lines.append(f"{'':>22} {name_a[-16:]:>16} {name[-16:]:>16}   difference with 95 % interval")
        lines += map(_line, rows)
    lines.append(by_chance(len(rows)))
    if min(len(as_list(side)) for side in tables.values()) == 1:
        lines.append("Intervals are over events: a run with a single seed does not show the scatter of trainings.")
    return "\n".join(lines)


def _line(row: Difference) -> str:
    spec = row.spec
    return (
        f"{row.label:>22} {row.first:>16{spec}} {row.second:>16{spec}}   {row.by:+{spec}}{' *' * row.significant}"
    )


def by_chance(count: int) -> str:
    """Return the note on multiple testing for a number of differences."""
    return (
        f"* The interval excludes 0. Of {count} differences that are zero, about {0.05 * count:.0f} would be "
        "marked by chance."
    )


def _prepared(side: Tables, study: Study) -> list[pd.DataFrame]:
    """Return the rows of the study's class, with columns `signal` and `background` if the study defines them."""
    prepared = []
    for table in as_list(side):
        identity_of(table)  # raises for rows of several runs
        rows = study.rows(table).reset_index(drop=True)
        if study.signal is not None and study.background is not None:
            queries = {"signal": study.signal, "background": study.background}
            rows = rows.assign(**{name: chosen(rows, query) for name, query in queries.items()})
            rows = rows.assign(score=rows[score_column(rows)])
        prepared.append(rows)
    return prepared


def _metrics(rows: pd.DataFrame, study: Study, unit: str) -> Iterator[_Metric]:
    """Yield bias, spread and IoU in every bin, then the AUC and the intensity in background events."""
    for one in bins_of(study.edges):
        inside = one.contains(rows[study.quantity])
        yield _Metric(f"bias {one.name} %", inside, median, ["delta_percent"], ".1f")
        yield _Metric(f"spread {one.name} %", inside, spread, ["delta_percent"], ".1f")
        yield _Metric(f"IoU {one.name}", inside, median, ["iou"], ".3f")
    if "signal" in rows:
        signal, background = (rows[name].to_numpy() for name in ("signal", "background"))
        yield _Metric("AUC", signal | background, rank_auc, ["score", "signal"], ".3f")
        yield _Metric(f"in background, {unit or 'no unit'}", background, median, ["intensity_predicted"], ".0f")
