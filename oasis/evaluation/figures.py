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
from oasis.drawing import COLOURS
from oasis.evaluation.detection import detection_scores
from oasis.evaluation.gallery import gallery_figure, gallery_indices
from oasis.evaluation.summary import Summary
from oasis.io.files import replace_when_whole
from oasis.separator.separator import Separator
from oasis.stats.roc import roc


def training_figure(logs: Mapping[str, pd.DataFrame]) -> Figure:
    """Draw the loss of training (dashed) and validation by epoch, its lowest value marked, one colour per run."""
    figure, axes = _axes()
    for colour, (name, log) in zip(COLOURS, logs.items(), strict=False):
        epoch, loss = log["epoch"] + 1, log["val/total"]
        axes.plot(epoch, log["train/total"], color=colour, linestyle="--", label=f"{name}: training")
        axes.plot(epoch, loss, color=colour, label=f"{name}: validation")
        best = int(np.nanargmin(loss))
        axes.plot(epoch[best], loss[best], color=colour, marker="o")
    axes.set(xlabel="epoch", ylabel="loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return figure


def bias_figure(summaries: Mapping[str, Summary]) -> Figure:
    """Draw the median intensity error with its 25-75 % range in bins, one line per run.

    The band is the spread of events, the bar at each point the 95 % interval of the median.
    """
    figure, axes = _axes()
    for colour, (name, summary) in zip(COLOURS, summaries.items(), strict=False):
        bins = summary.bins.dropna(subset="bias")
        centre = (bins["low"] + bins["high"]) / 2
        axes.fill_between(centre, bins["quarter"], bins["three_quarters"], color=colour, alpha=0.15, linewidth=0)
        error = [bins["bias"] - bins["bias_low"], bins["bias_high"] - bins["bias"]]
        axes.errorbar(centre, bins["bias"], error, color=colour, marker="o", capsize=3, label=name)
    axes.axhline(0, color="black", linewidth=0.8)
    study = next(iter(summaries.values())).study
    axes.set(xlabel=study.label, ylabel=f"{study.what}:\nmedian (predicted − true) / true (%)")
    axes.legend(frameon=False)
    return figure


def iou_figure(summaries: Mapping[str, Summary]) -> Figure:
    """Draw the median IoU with its 95 % interval in bins, one line per run."""
    figure, axes = _axes()
    for colour, (name, summary) in zip(COLOURS, summaries.items(), strict=False):
        bins = summary.bins.dropna(subset="iou")
        error = [bins["iou"] - bins["iou_low"], bins["iou_high"] - bins["iou"]]
        axes.errorbar(
            (bins["low"] + bins["high"]) / 2, bins["iou"], error, color=colour, marker="o", capsize=3, label=name
        )
    study = next(iter(summaries.values())).study
    axes.set(xlabel=study.label, ylabel=f"{study.what}: median IoU", ylim=(0, 1))
    axes.legend(frameon=False, loc="lower right")
    return figure


def roc_figure(tables: Mapping[str, pd.DataFrame], summaries: Mapping[str, Summary]) -> Figure:
    """Draw the ROC of telling signal from background events by predicted intensity, one line per run.

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
    axes.legend(frameon=False, loc="lower right", title=f"{study.signal}\nagainst {study.background}")
    return figure


def intensity_figure(table: pd.DataFrame, unit: str) -> Figure:
    """Draw predicted against true intensity of every event, one panel per class."""
    classes = list(table["class"].unique())
    figure = Figure(figsize=(4.2 * len(classes), 4), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(classes))), classes, strict=True):
        rows = table[(table["class"] == name) & (table["intensity_true"] > 0)]
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
    """Return where the logarithmic axis of predictions ends: a hundredth of the faintest true event."""
    return float(rows["intensity_true"].min()) / 100 if len(rows) else 1.0


def write_figures(
    folder: Path,
    separator: Separator,
    dataset: SampleDataset,
    adapter: Adapter,
    table: pd.DataFrame,
    name: str,
    summary: Summary | None,
) -> list[Path]:
    """Draw all figures of one run's event table, and of its study if there is one, and return their paths."""
    figures = {"intensity": intensity_figure(table, adapter.unit)}
    if summary is not None:
        figures |= comparison_figures({name: table}, {name: summary})
        events = gallery_indices(table, summary.study)
        if adapter.spatial_dims > 1 and events:
            figures["gallery"] = gallery_figure(separator, dataset, events, adapter, summary.study.name)
    figures |= adapter.figures(table)
    return [save_figure(figure, folder / f"{title}.png") for title, figure in figures.items()]


def comparison_figures(tables: Mapping[str, pd.DataFrame], summaries: Mapping[str, Summary]) -> dict[str, Figure]:
    """Return the figures of a study with one line per run."""
    figures = {"bias": bias_figure(summaries), "iou": iou_figure(summaries)}
    if any(summary.auc is not None for summary in summaries.values()):
        figures["roc"] = roc_figure(tables, summaries)
    return figures


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
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
