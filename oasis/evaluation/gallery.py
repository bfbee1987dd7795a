"""Gallery: the choice of events to show, and a figure of them in two or three dimensions."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.adapters.prediction import EventPrediction
from oasis.adapters.study import Study, chosen
from oasis.data.mixing import SampleDataset
from oasis.data.pictures import INPUT_DEPTH, MAP_DEPTH, top_of
from oasis.data.samples import Array, Sample, collate
from oasis.data.views import view, widened, window
from oasis.drawing import RED, plain, say_no_data
from oasis.evaluation.batches import predict_batch
from oasis.evaluation.outlines import Segments, ShownObjects, objects_of, outlines
from oasis.evaluation.pictures import difference
from oasis.instances.grouping import Grouping
from oasis.io.signal_tables import fitting
from oasis.separator.separator import Separator

SHOWN = 8  # events of a gallery
SIDE = 1.8  # of a square panel, inches


def gallery_indices(table: pd.DataFrame, study: Study, count: int = SHOWN) -> dict[int, float]:
    """Return indices of events that cover the range of the study's quantity evenly, with its value in each."""
    rows = study.rows(table.reset_index(drop=True))
    rows = rows.set_axis(rows.index // table["class"].nunique())
    rows = rows[rows["delta_percent"].notna()].sort_values(study.quantity)
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)
    return {int(rows.index[place]): float(rows[study.quantity].iloc[place]) for place in places}


def typical_background(table: pd.DataFrame, study: Study) -> dict[int, float]:
    """Return the index of the background event of median predicted intensity, with NaN; nothing without any.

    Example:
        >>> table = pd.DataFrame({"class": "ER", "kind": ["NR", "hybrid", "NR", "NR"]})
        >>> study = Study("ER", "energy", "energy", (0, 1), background="kind == 'NR'")
        >>> typical_background(table.assign(intensity_predicted=[1.0, 9, 7, 3]), study)
        {3: nan}
    """
    if study.background is None:
        return {}
    rows = study.rows(table.reset_index(drop=True))
    rows = rows[chosen(rows, study.background)].sort_values("intensity_predicted")
    middle = rows.index[len(rows) // 2 : len(rows) // 2 + 1] // table["class"].nunique()
    return {int(index): np.nan for index in middle}


def chosen_events(table: pd.DataFrame, study: Study | None, count: int) -> dict[int, str]:
    """Return the indices of the worst, typical and best events in the data set, each with its category.

    The error is that of the study's class. Without a study it is the largest of all classes, as a share of the
    light of the event, so that light of a class that is absent counts and a sliver at the border does not. Up to a
    quarter are events without the class, beginning with those with the highest prediction.

    Args:
        table: the event table.
        study: the study of the domain.
        count: number of events to choose.

    Example:
        >>> table = pd.DataFrame({"class": "ER", "delta_percent": [-90.0, 1.0, 30.0, 2.0, np.nan]})
        >>> table["intensity_predicted"] = 9.0
        >>> chosen_events(table, Study("ER", "energy", "energy", (0, 1)), 4)
        {0: 'worst', 2: 'typical', 1: 'best', 4: 'without ER'}
    """
    rows = table if study is None else study.rows(table)
    place = np.arange(len(rows)) // max(rows["class"].nunique(), 1)
    if study is None:
        light = rows["intensity_true"].groupby(place).transform("sum").to_numpy()
        missed = (rows["intensity_predicted"] - rows["intensity_true"]).abs()
        rows = rows.assign(error=missed / np.where(light > 0, light, np.nan))
    else:
        rows = rows.assign(error=rows["delta_percent"].abs())
    events = rows.groupby(place)[["error", "intensity_predicted"]].max()
    known, absent = (
        events[there].sort_values(by, ascending=False, kind="stable").index
        for there, by in ((events["error"].notna(), "error"), (events["error"].isna(), "intensity_predicted"))
    )
    present = min(len(known), count - min(len(absent), count // 4))
    worst, typical, best = (len(part) for part in np.array_split(np.arange(present), 3))
    middle = worst + (len(known) - present) // 2
    groups = {
        "worst": known[:worst],
        "typical": known[middle : middle + typical],
        "best": known[len(known) - best :],
        f"without {study.name}" if study else "empty": absent[: count - present],
    }
    return {int(index): group for group, chosen in groups.items() for index in chosen}


def predicted_maps(separator: Separator, sample: Sample, adapter: Adapter) -> Array:
    """Return the predicted maps (N, B, *S) of one sample, interchangeable classes in the order of the truth."""
    separator.eval()
    maps = predict_batch(separator, collate([sample]), adapter.interchangeable).maps
    return np.asarray(maps[0].float().cpu().numpy())


def gallery_figure(
    separator: Separator,
    dataset: SampleDataset,
    events: Mapping[int, float],
    adapter: Adapter,
    name: str,
    grouping: Mapping[str, Grouping] | None = None,
) -> Figure:
    """Draw events of two or three dimensions: input, and of one class truth, prediction and residual.

    Args:
        separator: the separator to be shown.
        dataset: the data set of the events.
        events: indices of the events, with the value of the study's quantity; NaN for events without the class.
        adapter: the adapter of the domain.
        name: the class.
        grouping: how maps are grouped into the objects that are outlined; none are by default.
    """
    label = adapter.classes.index(name)
    if not events:
        figure = Figure(figsize=(10, 2.3))
        say_no_data(figure.subplots(), "no events")
        return figure
    figure, grid = _squares(len(events), 4, across=2.45)
    for axes, (index, quantity) in zip(grid, events.items(), strict=True):
        sample = dataset[index]
        part = widened(window(sample.valid[0]), sample.valid.shape[1:])
        maps = predicted_maps(separator, sample, adapter)
        image, true, predicted = (view(one, part) for one in (sample.image, sample.target[label], maps[label]))
        called = _called(name, quantity, adapter.study)
        axes[0].set_title(f"{called}: {_caption(sample, maps, label, adapter)}", loc="left", fontsize=9)
        _event_row(axes, image, true, predicted, max(adapter.limits[name], 1e-6), adapter.unit)
        objects = objects_of(sample, maps, adapter, grouping) if grouping else None
        _outline(axes[1:3], objects, label, part)
    _head(grid[0], ("input", f"{name}: truth", f"{name}: prediction", "prediction − truth"))
    return figure


def _squares(rows: int, columns: int, across: float, left: float = 0.1) -> tuple[Figure, NDArray[np.object_]]:
    """Return a figure of square panels without ticks, all of one size whatever is written beside them.

    Args:
        rows: number of rows, each with space for a title.
        columns: number of columns.
        across: inches from one column to the next.
        left: inches beside the first column.
    """
    width, height = left + columns * across + 0.1, rows * (SIDE + 0.35) + 0.3
    figure = Figure(figsize=(width, height))
    grid = np.empty((rows, columns), dtype=object)
    for row, column in np.ndindex(rows, columns):
        bottom = (rows - 1 - row) * (SIDE + 0.35) + 0.1
        corner = (left + column * across) / width, bottom / height
        one = grid[row, column] = figure.add_axes((*corner, SIDE / width, SIDE / height))
        one.set(xticks=[], yticks=[], facecolor="0.9")
        one.set_aspect("equal", adjustable="datalim")
    return figure, grid


def _head(axes: NDArray[np.object_], titles: Sequence[str]) -> None:
    """Write the titles of columns, a line above those of the first row."""
    for one, title in zip(axes, titles, strict=True):
        one.set_title(f"{title}\n", fontsize=10, linespacing=1.5)


def _called(name: str, quantity: float, study: Study | None) -> str:
    """Return what an event shows: the class, and the quantity of the study with its unit."""
    if not np.isfinite(quantity):
        return f"no {name}"
    what, _, unit = (study.label if study else "").removesuffix(")").partition(" (")
    return f"{name}, {' '.join(filter(None, (what, f'{quantity:.3g}', unit)))}"


def _error(sample: Sample, maps: Array, label: int, unit: str) -> str:
    """Return the error of the intensity of a class, or the intensity where there is none."""
    true, predicted = (float(one[label][:, sample.valid[0]].sum()) for one in (sample.target, maps))
    return f"ΔI {100 * (predicted / true - 1):+.0f} %" if true > 0 else f"{predicted:,.0f} {unit}".rstrip()


def _caption(sample: Sample, maps: Array, label: int, adapter: Adapter) -> str:
    """Return the error of the intensity, or the intensity where there is none, and what the adapter adds."""
    text = _error(sample, maps, label, adapter.unit)
    return ", ".join(filter(None, [text, adapter.caption(EventPrediction(maps), sample)]))


def _event_row(
    axes: NDArray[np.object_],
    image: NDArray[np.float32],
    true: NDArray[np.float32],
    predicted: NDArray[np.float32],
    least: float,
    unit: str,
) -> None:
    top = max(top_of(true), top_of(predicted), least)
    missed = difference(predicted, true)
    limit = max(top_of(np.abs(missed)), least)
    stretch = _stretch(top_of(image), INPUT_DEPTH)
    width = stretch.linear_width
    image, true, predicted, missed = (
        np.where(np.isfinite(one), one, np.nan) for one in (image, true, predicted, missed)
    )
    shown = [
        axes[0].imshow(image, norm=stretch, cmap="viridis"),
        axes[1].imshow(true, vmin=0, vmax=top, cmap="viridis"),
        axes[2].imshow(predicted, vmin=0, vmax=top, cmap="viridis"),
        axes[3].imshow(missed, vmin=-limit, vmax=limit, cmap="RdBu_r"),
    ]
    for one, picture in zip(axes, shown, strict=True):
        bar = one.figure.colorbar(picture, cax=one.inset_axes((1.03, 0, 0.05, 1)))
        bar.ax.tick_params(labelsize=6)
        if one is axes[0]:
            decades = np.arange(np.ceil(np.log10(width)), np.log10(300 * width) + 1e-9)
            bar.set_ticks([0, *(10.0**decades)])
            bar.minorticks_off()
    bar.set_label(unit, fontsize=7)


def class_gallery(
    separator: Separator,
    dataset: SampleDataset,
    events: Mapping[int, str],
    adapter: Adapter,
    label: str = "",
    grouping: Mapping[str, Grouping] | None = None,
) -> Figure:
    """Draw events of any dimension: input, and of every class truth and prediction; lines in one dimension.

    Args:
        separator: the separator to be shown.
        dataset: the data set of the events.
        events: indices of the events, with what to call them.
        adapter: the adapter of the domain.
        label: what they are called by.
        grouping: how maps are grouped into the objects that are outlined; none are by default.
    """
    lines = adapter.spatial_dims == 1
    stride = 1 if lines else 2  # panels of a class
    pictures = 1 + len(adapter.classes) * stride
    if lines:
        figure = Figure(figsize=(2.6 * pictures, 2.1 * len(events)), layout="constrained")
        grid = figure.subplots(len(events), pictures, squeeze=False)
    else:
        figure, grid = _squares(len(events), pictures, across=2.0, left=0.5)
    for axes, (index, name) in zip(grid, events.items(), strict=True):
        sample = dataset[index]
        part = widened(window(sample.valid[0]), sample.valid.shape[1:])
        maps = predicted_maps(separator, sample, adapter)
        pairs = zip(sample.target, maps, strict=True)
        shown = [(view(true, part), view(predicted, part)) for true, predicted in pairs]
        axes[0].set_ylabel(name, fontsize=9)
        for place, one in enumerate(axes[stride::stride]):
            text = f"{adapter.classes[place]}: {_error(sample, maps, place, adapter.unit)}"
            one.set_title(text, loc="right", fontsize=8)
        if lines:
            over, places = fitting(adapter.abscissa(sample), sample.image.shape[-1], "sample")
            _lines(axes, view(sample.image, part), shown, over, places[part])
            continue
        _pictures(axes, view(sample.image, part), shown)
        objects = objects_of(sample, maps, adapter, grouping) if grouping else None
        for place in range(len(adapter.classes)):
            _outline(axes[1 + 2 * place : 3 + 2 * place], objects, place, part)
    titles = ["input"]
    for name in adapter.classes:
        titles += [name] if lines else [f"{name}: truth", f"{name}: prediction"]
    _head(grid[0], titles)
    if lines:
        grid[0, -1].legend(["truth", "prediction"], fontsize=7)
    unit = f"intensity ({adapter.unit})" if adapter.unit and lines else ""
    figure.supylabel(", ".join(filter(None, [label, unit])), fontsize=10)
    return figure


def _lines(
    axes: NDArray[np.object_], image: Array, maps: Sequence[tuple[Array, Array]], name: str, places: NDArray[Any]
) -> None:
    """Draw the row of one event as lines over named places; infinite values leave a gap."""
    axes[0].plot(places, _finite(image), color="grey", linewidth=0.7)
    for one, (true, predicted) in zip(axes[1:], maps, strict=True):
        one.plot(places, _finite(true), color="black", linewidth=1.2)
        one.plot(places, _finite(predicted), color=RED, linewidth=0.8)
    for one in axes:
        one.tick_params(labelsize=6)
        one.set_xlabel(plain(name), fontsize=6)


def _pictures(axes: NDArray[np.object_], image: Array, maps: Sequence[tuple[Array, Array]]) -> None:
    """Draw the row of one event as pictures, truth and prediction on one scale."""
    axes[0].imshow(_finite(image), norm=_stretch(top_of(image), INPUT_DEPTH), cmap="viridis")
    for place, (true, predicted) in enumerate(maps):
        scale = _stretch(max(top_of(true), top_of(predicted)), MAP_DEPTH)
        for one, values in zip(axes[1 + 2 * place : 3 + 2 * place], (true, predicted), strict=True):
            one.imshow(_finite(values), norm=scale, cmap="viridis")


def _stretch(top: float, depth: float) -> "matplotlib.colors.AsinhNorm":
    """Return a scale that is linear up to top / depth and logarithmic beyond."""
    width = max(top / depth, 1e-6)
    return matplotlib.colors.AsinhNorm(linear_width=width, vmin=0, vmax=max(top, width))


def _finite(values: Array) -> Array:
    return np.where(np.isfinite(values), values, np.nan)


def _outline(axes: NDArray[np.object_], objects: ShownObjects | None, label: int, part: tuple[slice, ...]) -> None:
    """Draw the outlines of the objects of a class over its truth and its prediction."""
    if objects is None:
        return
    for one, instances in zip(axes, objects, strict=True):
        lines: Segments = outlines(instances, label, part) - 0.5  # pixels are centred on whole numbers
        one.add_collection(LineCollection(list(lines), colors="white", linewidths=0.6), autolim=False)
