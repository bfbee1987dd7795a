"""Figures: training, bias and IoU against a quantity, ROC, predicted against true intensity."""

import io
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oasis.adapters.base import Adapter
from oasis.data.mixing import SampleDataset
from oasis.drawing import COLOURS, add_legend, error_bars, note_empty_panels, say_no_data
from oasis.evaluation.class_summary import ClassSummary
from oasis.evaluation.detection import detection_scores
from oasis.evaluation.gallery import (
    SHOWN,
    chosen_events,
    class_gallery,
    gallery_figure,
    gallery_indices,
    typical_background,
)
from oasis.evaluation.summary import Summary
from oasis.instances.grouping import Grouping
from oasis.io.files import replace_when_whole
from oasis.separator.separator import Separator
from oasis.stats.intervals import ENDS
from oasis.stats.roc import roc


def training_figure(logs: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw training (dashed) and validation loss by epoch with its minimum marked, one colour per run."""
    figure, axes = _axes()
    for colour, (name, log) in zip(COLOURS, logs.items(), strict=False):
        epoch, loss = log["epoch"] + 1, log["val/total"]
        axes.plot(epoch, log["train/total"], color=colour, linestyle="--", label=f"{name}: training")
        axes.plot(epoch, loss, color=colour, label=f"{name}: validation")
        known = loss[np.isfinite(loss)]
        if len(known):
            axes.plot(epoch[known.idxmin()], known.min(), color=colour, marker="o")
    axes.set(xlabel="epoch", ylabel="loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    add_legend(axes)
    return figure


def bias_figure(summaries: Mapping[str, Summary]) -> Figure:
    """Draw the median intensity error with its 25-75 % range in bins, one line per run.

    The band is the spread of the events, the error bar the 95 % interval of the median.
    """
    figure, axes = _axes()
    for colour, (name, summary) in zip(COLOURS, summaries.items(), strict=False):
        bins = summary.bins.dropna(subset="bias")
        centre = (bins["low"] + bins["high"]) / 2
        axes.fill_between(centre, bins["quarter"], bins["three_quarters"], color=colour, alpha=0.15, linewidth=0)
        error = error_bars(*(bins[f"bias{end}"] for end in ENDS))
        axes.errorbar(centre, bins["bias"], error, color=colour, marker="o", capsize=3, label=name)
    axes.axhline(0, color="black", linewidth=0.8)
    study = next(iter(summaries.values())).study
    axes.set(xlabel=study.label, ylabel=f"{study.what}:\nmedian (predicted − true) / true (%)")
    add_legend(axes)
    return figure


def iou_figure(summaries: Mapping[str, Summary]) -> Figure:
    """Draw the median IoU with its 95 % interval in bins, one line per run."""
    figure, axes = _axes()
    for colour, (name, summary) in zip(COLOURS, summaries.items(), strict=False):
        bins = summary.bins.dropna(subset="iou")
        error = error_bars(*(bins[f"iou{end}"] for end in ENDS))
        axes.errorbar(
            (bins["low"] + bins["high"]) / 2, bins["iou"], error, color=colour, marker="o", capsize=3, label=name
        )
    study = next(iter(summaries.values())).study
    axes.set(xlabel=study.label, ylabel=f"{study.what}: median IoU", ylim=(0, 1))
    add_legend(axes, loc="lower right")
    return figure


def roc_figure(tables: Mapping[str, pd.DataFrame], summaries: Mapping[str, Summary]) -> Figure:
    """Draw the ROC curve of separating signal from background by their score, one line per run.

    The band is the 95 % interval of the true positive rate.
    """
    figure, axes = _axes()
    study = next(iter(summaries.values())).study
    for colour, (name, summary) in zip(COLOURS, summaries.items(), strict=False):
        scores = detection_scores(tables[name], study)
        if scores is None or summary.points is None or not len(scores[0]) or not len(scores[1]):
            continue
        axes.plot(*roc(*scores), color=colour, label=f"{name}: AUC {summary.auc:.3f}")
        band = summary.points[["false_rate", "true_rate_low", "true_rate_high"]].to_numpy().T
        axes.fill_between(*band, color=colour, alpha=0.15, linewidth=0)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1))
    add_legend(axes, loc="lower right", title=f"{study.signal}\nagainst {study.background}")
    if len(axes.lines) == 1:
        say_no_data(axes, f"no events of {study.signal}\nor none of {study.background}")
    return figure


def intensity_figure(table: pd.DataFrame, unit: str) -> Figure:
    """Draw predicted against true intensity of every event, one panel per class."""
    classes = list(table["class"].unique()) or ["no class"]
    figure = Figure(figsize=(4.2 * len(classes), 4), layout="constrained")
    known = np.isfinite(table[["intensity_true", "intensity_predicted"]].astype(float)).all(axis=1)
    for axes, name in zip(figure.subplots(1, len(classes), squeeze=False)[0], classes, strict=True):
        rows = table[known & (table["class"] == name) & (table["intensity_true"] > 0)]
        true, predicted = rows["intensity_true"], rows["intensity_predicted"].clip(lower=_log_floor(rows))
        axes.scatter(true, predicted, s=4, alpha=0.4, linewidth=0, color=COLOURS[0], rasterized=True)
        if len(rows):
            ends = [float(true.min()), float(true.max())]
            axes.plot(ends, ends, color="black", linewidth=0.8)
        axes.set(
            title=name, xlabel=f"true intensity ({unit})", ylabel=f"predicted ({unit})", xscale="log", yscale="log"
        )
        axes.tick_params(axis="x", which="both", labelrotation=45)
    return figure


def _log_floor(rows: pd.DataFrame) -> float:
    """Return the lower end of the logarithmic axis of predictions: a hundredth of the faintest true event."""
    return float(rows["intensity_true"].min()) / 100 if len(rows) else 1.0


def write_figures(
    folder: Path,
    separator: Separator,
    dataset: SampleDataset,
    adapter: Adapter,
    table: pd.DataFrame,
    name: str,
    summary: Summary | ClassSummary,
    grouping: Mapping[str, Grouping] | None = None,
) -> list[Path]:
    """Write all figures of a run's event table, including those of a study, and return their paths."""
    figures = {"intensity": intensity_figure(table, adapter.unit)}
    if isinstance(summary, Summary):
        figures |= comparison_figures({name: table}, {name: summary})
        events = gallery_indices(table, summary.study, SHOWN)
        if adapter.spatial_dims > 1 and events:
            shown = events | typical_background(table, summary.study)
            figures["gallery"] = gallery_figure(separator, dataset, shown, adapter, summary.study.name, grouping)
        elif events:
            labels = {index: f"{quantity:.3g}" for index, quantity in events.items()}
            figures["gallery"] = class_gallery(separator, dataset, labels, adapter, summary.study.label, grouping)
    elif len(table):
        figures["gallery"] = class_gallery(
            separator, dataset, chosen_events(table, None, SHOWN), adapter, grouping=grouping
        )
    figures |= adapter.figures(table)
    return [save_figure(figure, folder / f"{title}.png") for title, figure in figures.items()]


def comparison_figures(tables: Mapping[str, pd.DataFrame], summaries: Mapping[str, Summary]) -> dict[str, Figure]:
    """Return the figures of a study with one line per run."""
    figures = {"bias": bias_figure(summaries), "iou": iou_figure(summaries)}
    if any(summary.auc is not None for summary in summaries.values()):
        figures["roc"] = roc_figure(tables, summaries)
    return figures


def png(figure: Figure, dpi: int = 150) -> bytes:
    """Return a figure as the bytes of a PNG file; panels without data say so."""
    note_empty_panels(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi)
    return content.getvalue()


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG."""
    with replace_when_whole(path) as temporary:
        temporary.write_bytes(png(figure))
    return path


def _axes() -> tuple[Figure, matplotlib.axes.Axes]:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
