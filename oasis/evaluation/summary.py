"""Summary: the answer of an event table to the study of a domain."""

import logging
from collections.abc import Iterator
from typing import NamedTuple, overload

import pandas as pd

from oasis.adapters.base import Adapter
from oasis.adapters.study import INTENSITY, PRESENCE, Study, score_column
from oasis.data.choosing import Chosen
from oasis.errors import DataError
from oasis.evaluation.class_summary import ClassSummary, metrics_header, metrics_line, summarise_classes
from oasis.evaluation.detection import (
    EquivalentRate,
    detection_groups,
    detection_scores,
    equivalent_false_positive_rate,
    signal_and_background,
)
from oasis.evaluation.event_table import evaluate_maps
from oasis.html import text_html
from oasis.stats.bins import Bin, binned, median
from oasis.stats.intervals import Estimate, bootstrap
from oasis.stats.roc import FEWEST, RATES, ROC_RATES, auc, operating_points

logger = logging.getLogger(__name__)


class Summary(NamedTuple):
    """The answer to a domain's study; the parts about detection are None if the study does not include it.

    Attributes:
        study: the question.
        bins: bias, spread and IoU in bins, from `binned`.
        group: the column whose groups of events were resampled for the intervals.
        auc: area under the ROC curve of separating signal from background events by their score.
        points: true positive rates at false positive rates from 0 to 1, from `operating_points`.
        equivalent: rate of false positives as bright as a true object of the study's `equivalent`, if it has one.
        false_intensity: median predicted intensity of the class in background events.
        score: the column of the score, from `score_column`.
    """

    study: Study
    bins: pd.DataFrame
    group: str | None = None
    auc: Estimate | None = None
    points: pd.DataFrame | None = None
    equivalent: EquivalentRate | None = None
    false_intensity: Estimate | None = None
    score: str = INTENSITY

    def text(self, unit: str = "") -> str:
        """Return the summary as a text table."""
        over = f" over {self.group}" if self.group else ""
        rows = {Bin(row["low"], row["high"]).name: row for row in self.bins.to_dict("records")}
        width = max(9, *map(len, rows))
        lines = [
            f"{self.study.what} against {self.study.label}, median with 95 % bootstrap interval{over}",
            f"{'bin':>{width}} {metrics_header()}",
            *(f"{name:>{width}} {metrics_line(row)}" for name, row in rows.items()),
        ]
        return "\n".join([*lines, *self._detection(unit)])

    def _repr_html_(self) -> str:
        """Return the summary as a notebook shows it."""
        return text_html("Summary", self.text())

    def _detection(self, unit: str) -> Iterator[str]:
        study = self.study
        if self.auc is None or self.points is None or self.false_intensity is None:
            return
        by, limit = ("presence", ".3f") if self.score == PRESENCE else ("intensity", ".0f")
        unit_of_limit = "" if self.score == PRESENCE else f" {unit}"
        yield f"ROC AUC ({study.signal} against {study.background}, by {by}): {self.auc:.3f}"
        for row in self.points[self.points["false_rate"].isin(RATES)].to_dict("records"):
            wanted = FEWEST / row["false_rate"]
            few = "" if row["enough"] else f" (too few background events: {wanted:,.0f} are needed)"
            yield (
                f"at {100 * row['false_rate']:g} % false positives: {Estimate.of(row, 'true_rate'):.1%} "
                f"above {Estimate.of(row, 'threshold'):{limit}}{unit_of_limit}{few}"
            )
        if self.equivalent is not None:
            what = f"{study.name} of {study.quantity} {study.equivalent:g}"
            threshold, _, rate = self.equivalent
            yield f"false positives as bright as {what}: {rate:.2%} above {threshold:.0f} {unit}"
        yield f"median {study.name} in background events: {self.false_intensity:.0f} {unit}"


@overload
def summarise(table: pd.DataFrame, study: Study) -> Summary: ...
@overload
def summarise(table: pd.DataFrame, study: Study | None) -> "Summary | ClassSummary": ...
def summarise(table: pd.DataFrame, study: Study | None = None) -> "Summary | ClassSummary":
    """Return the answer to a domain's study from its event table, or without a study a summary of the classes.

    Raises:
        ConfigError: the study refers to something that is not in the table.
    """
    if study is None:
        return summarise_classes(table)
    if len(table):
        study.check(list(table["class"].unique()), table)
    rows = study.rows(table)
    group = study.group
    group = group if group in rows else None
    bins = binned(rows, study.quantity, study.edges, group)
    scores, groups = detection_scores(table, study), detection_groups(table, study)
    events = signal_and_background(table, study)
    if scores is None or events is None:
        return Summary(study, bins, group)
    size = study.equivalent
    return Summary(
        study,
        bins,
        group,
        auc(*scores, groups),
        operating_points(*scores, ROC_RATES, groups),
        None if size is None else equivalent_false_positive_rate(table, study, size),
        bootstrap(events[1][INTENSITY].to_numpy(float), median, groups=groups[1]),
        score_column(rows),
    )


def check_study(adapter: Adapter, split: str = "test") -> None:
    """Check that an adapter's study can be answered from the event table of a split, before any training.

    The table is that of the first sample, with its truth as the prediction. If the samples cannot be read yet,
    nothing is checked.

    Raises:
        ConfigError: as for `Study.check`.
    """
    if adapter.study is None:
        return
    try:
        dataset = adapter.dataset(split)
        if not len(dataset):
            return
        table = evaluate_maps(lambda batch: batch.target, Chosen(dataset, [0]), adapter, batch_size=1, workers=0)
    except DataError as error:
        logger.warning("the study of the %s samples is not checked, because they cannot be read: %s", split, error)
        return
    quantities = (*adapter.quantities.of_object, *adapter.quantities.of_image)
    learned = {f"{quantity.name}_predicted": float("nan") for quantity in quantities}
    table = table.assign(**learned)
    adapter.study.check(adapter.classes, table)
    doubt = adapter.study.doubt(table)
    if doubt:
        logger.warning("%s", doubt)
