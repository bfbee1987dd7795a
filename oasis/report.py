"""Figures: bias and IoU against a quantity, ROC, predicted against true intensity, and a gallery of events."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from oasis.adapters.base import Adapter, Study
from oasis.data.mixing import SampleDataset
from oasis.data.samples import collate
from oasis.data.storage import replace_when_whole
from oasis.evaluation import Summary, auc, detection_scores, predict_batch, roc, summarise
from oasis.separator import Separator

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe and Ito, colour-blind safe


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
    axes.set(xlabel=study.label, ylabel=f"{study.name}: median (predicted − true) / true (%)")
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
    axes.set(xlabel=study.label, ylabel=f"{study.name}: median IoU", ylim=(0, 1))
    axes.legend(frameon=False, loc="lower right")
    return figure


def roc_figure(tables: Mapping[str, pd.DataFrame], study: Study) -> Figure:
    """Draw the ROC of telling signal from background events by predicted intensity, one line per run."""
    figure, axes = _axes()
    for colour, (name, table) in zip(COLOURS, tables.items(), strict=False):
        scores = detection_scores(table, study)
        if scores is not None and len(scores[0]) and len(scores[1]):
            axes.plot(*roc(*scores), color=colour, label=f"{name}: AUC {auc(*scores):.3f}")
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
    return figure


def _log_floor(rows: pd.DataFrame) -> float:
    """Return where the logarithmic axis of predictions ends: a hundredth of the faintest true event."""
    return float(rows["intensity_true"].min()) / 100 if len(rows) else 1.0


def gallery_figure(
    separator: Separator, dataset: SampleDataset, indices: Sequence[int], adapter: Adapter, name: str
) -> Figure:
    """Draw events of a two-dimensional domain: input, and of one class truth, prediction and residual.

    Args:
        separator: to be shown.
        dataset: of the events.
        indices: which of them.
        adapter: of the domain.
        name: the class.
    """
    separator.eval()
    label = adapter.classes.index(name)
    figure = Figure(figsize=(10, 2.3 * len(indices)), layout="constrained")
    grid = figure.subplots(len(indices), 4, squeeze=False)
    for axes, index in zip(grid, indices, strict=True):
        sample = dataset[index]
        maps = predict_batch(separator, collate([sample]), adapter.interchangeable).maps
        predicted = maps[0, label, 0].cpu().numpy()
        true = sample.target[label, 0]
        window = _window(sample.valid[0])
        energy = sample.meta.get(adapter.study.quantity) if adapter.study else None
        row = "" if energy is None or np.isnan(float(energy)) else f"{float(energy):.1f}"
        _event_row(axes, sample.image[0][window], true[window], predicted[window], row, adapter.unit)
    if adapter.study is not None:
        figure.supylabel(adapter.study.label, fontsize=10)
    for axes, title in zip(
        grid[0], ("input", f"{name}: truth", f"{name}: prediction", "prediction − truth"), strict=True
    ):
        axes.set_title(title, fontsize=10)
    return figure


def _event_row(
    axes: NDArray[np.object_],
    image: NDArray[np.float32],
    true: NDArray[np.float32],
    predicted: NDArray[np.float32],
    row: str,
    unit: str,
) -> None:
    top = max(float(true.max()), float(predicted.max()), 1.0)
    limit = max(float(np.abs(predicted - true).max()), 1.0)
    width = max(float(image.max()) / 300, 1e-6)
    stretch = matplotlib.colors.AsinhNorm(linear_width=width, vmin=0)
    shown = [
        axes[0].imshow(image, norm=stretch, cmap="viridis"),
        axes[1].imshow(true, vmin=0, vmax=top, cmap="viridis"),
        axes[2].imshow(predicted, vmin=0, vmax=top, cmap="viridis"),
        axes[3].imshow(predicted - true, vmin=-limit, vmax=limit, cmap="RdBu_r"),
    ]
    for one, picture in zip(axes, shown, strict=True):
        one.set(xticks=[], yticks=[])
        bar = one.figure.colorbar(picture, ax=one, fraction=0.046)
        bar.ax.tick_params(labelsize=6)
        if one is axes[0]:
            decades = np.arange(np.ceil(np.log10(width)), np.log10(300 * width) + 1e-9)
            bar.set_ticks([0, *(10.0**decades)])
            bar.minorticks_off()
    bar.set_label(unit, fontsize=7)
    axes[0].set_ylabel(row, fontsize=9)


def _window(valid: NDArray[np.bool_], border: int = 8) -> tuple[slice, slice]:
    """Return the part of an image that shows its valid pixels and a little around."""
    rows, cols = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    if not len(rows):
        return slice(None), slice(None)
    return (
        slice(max(int(rows[0]) - border, 0), int(rows[-1]) + border + 1),
        slice(max(int(cols[0]) - border, 0), int(cols[-1]) + border + 1),
    )


def gallery_indices(table: pd.DataFrame, study: Study, count: int = 8) -> list[int]:
    """Return the positions in the data set of events spread evenly over the study's bins, hard and easy ones."""
    rows = table[table["class"] == study.name].reset_index(drop=True)
    rows = rows[rows["delta_percent"].notna()].sort_values(study.quantity)
    if not len(rows):
        return []
    return [int(rows.index[place]) for place in np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]


def write_figures(
    folder: Path, separator: Separator, dataset: SampleDataset, adapter: Adapter, table: pd.DataFrame, name: str
) -> list[Path]:
    """Draw all figures of one run's event table as PNG files and return their paths."""
    figures = {"intensity": intensity_figure(table, adapter.unit)}
    study = adapter.study
    if study is not None:
        figures |= comparison_figures({name: table}, study)
        indices = gallery_indices(table, study)
        if adapter.spatial_dims == 2 and indices:
            figures["gallery"] = gallery_figure(separator, dataset, indices, adapter, study.name)
    figures |= adapter.figures(table)
    return [save_figure(figure, folder / f"{title}.png") for title, figure in figures.items()]


def comparison_figures(tables: Mapping[str, pd.DataFrame], study: Study) -> dict[str, Figure]:
    """Return the figures of a study with one line per run."""
    summaries = {name: summarise(table, study) for name, table in tables.items()}
    figures = {"bias": bias_figure(summaries), "iou": iou_figure(summaries)}
    if study.signal is not None:
        figures["roc"] = roc_figure(tables, study)
    return figures


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG."""
    with replace_when_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    return path


def _axes() -> tuple[Figure, matplotlib.axes.Axes]:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
