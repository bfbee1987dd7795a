"""Tables and figures of a report: facts of runs, results, weights and coverage."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from oasis.adapters.study import Study
from oasis.config.changes import leaves
from oasis.evaluation.comparison import by_chance, comparisons
from oasis.evaluation.event_table import as_predicted
from oasis.evaluation.figures import bias_figure, intensity_figure, iou_figure, roc_figure
from oasis.evaluation.summary import Summary, summarise
from oasis.instances.matching import COUNTED, MATCH
from oasis.report.evaluated import EvaluatedRun
from oasis.report.facts import MOST_REGIONS, gather
from oasis.report.words import Picture, Table, estimate, interval, number, picture, side_by_side, text
from oasis.stats.bins import binned
from oasis.stats.intervals import ENDS
from oasis.stats.roc import RATES

OBJECTS = 5  # single objects of an outcome that are listed
OBJECT = {
    "true intensity": "intensity_true",
    "predicted": "intensity_predicted",
    "IoU": "iou",
    "shared (true)": "shared_true",
    "shared (predicted)": "shared_predicted",
}
MEASURES = ("events", "bias (%)", "spread (%)", "IoU")  # columns of tables that `_cells` fills


def trained(runs: Sequence[EvaluatedRun]) -> list[Table]:
    """Return the facts of the runs, and the settings in which they differ."""
    facts = {
        each.name: gather(each.run, each.separator).rows()
        | {"evaluated on": f"{each.table['id'].nunique():,} events"}
        for each in runs
    }
    return [side_by_side("What was trained, on what", facts), _differing(runs)]


def _differing(runs: Sequence[EvaluatedRun]) -> Table:
    values = {each.name: each.run.config.model_dump(mode="json", exclude={"run"}) for each in runs}
    shown = {name: {key: str(value) for key, value in leaves(each).items()} for name, each in values.items()}
    table = side_by_side("Settings that differ", shown)
    return table._replace(rows=[row for row in table.rows if len(set(row[1:])) > 1])


def results(runs: Sequence[EvaluatedRun]) -> tuple[list[Table], list[Picture]]:
    """Return tables and figures of results, those of the study first."""
    adapter = runs[0].run.adapter
    tables = [_class_table(each) for each in runs]
    tables += [_quality_table(each.name, each.quality) for each in runs if each.quality is not None]
    tables += [_object_table(each.name, each.objects) for each in runs if each.objects is not None]
    figures = [figure for each in runs for figure in _run_figures(each)]
    if adapter.study is None:
        return tables, figures
    summaries = {each.name: summarise(each.table, adapter.study) for each in runs}
    of_study = _study_figures({each.name: each.table for each in runs}, summaries, adapter.study)
    compared = list(_comparisons(runs, adapter.study))
    return [*_study_tables(summaries, adapter.unit), *compared, *tables], [*of_study, *figures]


def _comparisons(runs: Sequence[EvaluatedRun], study: Study) -> Iterator[Table]:
    """Yield a table for every run except the first: its paired differences from the first one."""
    if len(runs) < 2:
        return
    tables = {each.name: each.table for each in runs}
    for name_a, name_b, events, rows in comparisons(tables, study, runs[0].run.adapter.unit):
        yield Table(
            f"{study.what} of {name_b} against {name_a} on the same {events:,} events. {by_chance(len(rows))}",
            ["", name_a, name_b, "difference"],
            [
                (
                    row.label,
                    text(row.first, row.spec),
                    text(row.second, row.spec),
                    estimate(f"+{row.spec}", *row.by) + " *" * row.significant,
                )
                for row in rows
            ],
        )


def _study_tables(summaries: Mapping[str, Summary], unit: str) -> Iterator[Table]:
    """Yield the bins of every run, then the detection of signal."""
    for name, summary in summaries.items():
        study = summary.study
        rows = [(f"{row['low']:g} to {row['high']:g}", *_cells(row)) for row in summary.bins.to_dict("records")]
        yield Table(f"{name}: {study.what} in bins", [study.label, *MEASURES], rows)
    caption = f"Telling {study.signal} from {study.background} by the predicted {study.name}"
    yield side_by_side(caption, {name: _detected(summary, unit) for name, summary in summaries.items()})


def _detected(summary: Summary, unit: str) -> dict[str, str]:
    if summary.auc is None or summary.points is None or summary.false_intensity is None:
        return {}
    facts = {"area under the ROC curve": estimate(".3f", *summary.auc)}
    for row in summary.points[summary.points["false_rate"].isin(RATES)].to_dict("records"):
        shares = [100 * row[f"true_rate{end}"] for end in ENDS]
        found = estimate(".1f", *shares) if row["enough"] else "too few background events"
        facts[f"detected at {100 * row['false_rate']:g} % false positives (%)"] = found
    if summary.equivalent is not None:
        limit, _, rate = summary.equivalent
        facts[f"false positives above {limit.value:,.0f} {unit} (%)"] = estimate(
            ".2f", *(100 * share for share in rate)
        )
    return facts | {f"median in background events ({unit})": estimate(",.0f", *summary.false_intensity)}


def _class_table(each: EvaluatedRun) -> Table:
    rows = []
    for name in each.run.adapter.classes:
        of_class = each.table[each.table["class"] == name]
        bins = binned(of_class, "intensity_true", (np.nextafter(0, 1), np.inf))
        rows += [(name, *_cells(row)) for row in bins.to_dict("records")]
    return Table(f"{each.name}: every class, over all events that contain it", ["class", *MEASURES], rows)


def _quality_table(name: str, quality: pd.DataFrame) -> Table:
    rows = [
        (
            row["class"],
            *(f"{row[column]:,.0f}" for column in COUNTED),
            *(estimate(".3f", *(row[f"{column}{end}"] for end in ENDS)) for column in ("pq", "sq", "rq")),
        )
        for row in quality.to_dict("records")
    ]
    caption = f"{name}: single objects, matched if their intersection over union is above {MATCH:g}"
    return Table(caption, ["class", *COUNTED, "panoptic quality", "mean IoU of pairs", "F1 score"], rows)


def _object_table(name: str, objects: pd.DataFrame) -> Table:
    """Return the brightest missed and false objects, and the matched ones with the largest error."""
    error = (objects["intensity_predicted"].fillna(0) - objects["intensity_true"].fillna(0)).abs()
    worst = objects.assign(error=error).sort_values("error", ascending=False, kind="stable")
    rows = [
        (
            *(str(row[column]) for column in ("outcome", "class", "id")),
            *(number(row[key]) for key in OBJECT.values()),
        )
        for outcome in ("missed", "false", "matched")
        for row in worst[worst["outcome"] == outcome].head(OBJECTS).to_dict("records")
    ]
    caption = f"{name}: the brightest missed and false single objects, and the matched ones with the largest error"
    return Table(caption, ["outcome", "class", "event", *OBJECT], rows)


def _cells(row: Mapping[Hashable, Any]) -> list[str]:
    """Return the cells below the headers `MEASURES`, from one row of `binned`."""
    estimates = (
        estimate(spec, *(row[f"{name}{end}"] for end in ENDS))
        for name, spec in (("bias", "+.1f"), ("spread", ".1f"), ("iou", ".2f"))
    )
    return [f"{row['events']:,}", *estimates]


def _study_figures(
    tables: Mapping[str, pd.DataFrame], summaries: Mapping[str, Summary], study: Study
) -> Iterator[Picture]:
    bins = f"against {study.label}, one line per run."
    alt = f"Median intensity error of {study.what} with its 25–75 % range {bins}"
    yield picture("Intensity error", alt, bias_figure(summaries))
    alt = f"Median IoU of true and predicted masks of {study.what} {bins}"
    yield picture("Overlap of masks", alt, iou_figure(summaries))
    if any(summary.auc is not None for summary in summaries.values()):
        alt = f"ROC curve of telling events with {study.name} from events without, one line per run."
        yield picture("Detection", alt, roc_figure(tables, summaries))


def _run_figures(each: EvaluatedRun) -> Iterator[Picture]:
    adapter = each.run.adapter
    alt = f"Predicted against true intensity of every event of {each.name}, one panel per class."
    yield picture(f"{each.name}: intensity", alt, intensity_figure(each.table, adapter.unit))
    for name, figure in adapter.figures(each.table).items():
        yield picture(f"{each.name}: {name}", f"Figure {name} of the adapter for {each.name}.", figure)


def weights(runs: Sequence[EvaluatedRun]) -> list[Table]:
    """Return the weights of classes and of overlap regions in the loss."""
    names = [each.name for each in runs]
    stated = [each.run.config.loss.class_weights for each in runs]
    of_class = [(name, *(number(own.get(name, 1.0)) for own in stated)) for name in runs[0].run.adapter.classes]
    regions = list(runs[0].weights)
    of_region = [
        (region, *(number(each.weights.get(region, np.nan)) for each in runs)) for region in regions[:MOST_REGIONS]
    ]
    left = len(regions) - MOST_REGIONS
    more = f"; {left:,} more are in region_weights.csv" if left > 0 else ""
    return [
        Table("Weight of each class", ["class", *names], of_class),
        Table(f"Weight of each overlap region{more}", ["region", *names], of_region),
    ]


def coverage(each: EvaluatedRun) -> Table:
    """Return the coverage of the intervals of a calibrated run."""
    calibration = each.calibration
    assert calibration is not None
    table = as_predicted(each.table)
    check = calibration.check(table.assign(**calibration.intervals(table)))
    rows = []
    for row in check.to_dict("records"):
        share = estimate(".2f", *(row[f"coverage{end}"] for end in ENDS))
        stratum = interval(row["low"], row["high"])
        name = f"{row['class']}: {row['quantity']}"
        rows.append((name, stratum, f"{row['events']:,}", share, number(row["width"])))
    return Table(
        f"{each.name}: share of events whose {calibration.options.coverage:.0%} interval covers the truth",
        ["quantity", calibration.options.strata or "stratum", "events", "coverage", "median width"],
        rows,
    )
