"""Gallery: which events are looked at, and small pictures of them in one, two or three dimensions."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from oasis.adapters.base import Adapter
from oasis.adapters.study import Study
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Array, Sample, collate
from oasis.drawing import BLUE, RED
from oasis.evaluation.batches import predict_batch
from oasis.separator.separator import Separator

BORDER = 8  # pixels around the valid ones that are shown too
INPUT_DEPTH, MAP_DEPTH = 300, 10  # how far below the top of the colour scale its linear part ends
FAINTEST = 0.01  # of the input's top: the lowest top of a class's scale, so that noise does not shine
LEVELS = 254  # of a colour scale; one further colour is transparent, for what is not there


def gallery_indices(table: pd.DataFrame, study: Study, count: int = 8) -> dict[int, float]:
    """Return positions in the data set of events spread evenly by the study's quantity, and its value in each."""
    rows = study.rows(table.reset_index(drop=True))
    rows = rows.set_axis(rows.index // table["class"].nunique())
    rows = rows[rows["delta_percent"].notna()].sort_values(study.quantity)
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)
    return {int(rows.index[place]): float(rows[study.quantity].iloc[place]) for place in places}


def chosen_events(table: pd.DataFrame, study: Study | None, count: int) -> dict[int, str]:
    """Return the positions in the data set of the worst, typical and best events, each with the group it is of.

    The error is that of the study's class, or without a study the largest of all classes. Up to a quarter are
    events without the class, those first in which most of it is predicted.

    Args:
        table: the event table.
        study: of the domain.
        count: how many events to choose.

    Example:
        >>> table = pd.DataFrame({"class": "ER", "delta_percent": [-90.0, 1.0, 30.0, 2.0, np.nan]})
        >>> table["intensity_predicted"] = 9.0
        >>> chosen_events(table, Study("ER", "energy", "energy", (0, 1)), 4)
        {0: 'worst', 2: 'typical', 1: 'best', 4: 'without ER'}
    """
    rows = table if study is None else study.rows(table)
    rows = rows.assign(error=rows["delta_percent"].abs())
    place = np.arange(len(rows)) // max(rows["class"].nunique(), 1)
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


def window(valid: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the part of an image (*S) that holds its valid pixels and a border around them.

    Example:
        >>> window(np.arange(100) == 50)
        (slice(42, 59, None),)
    """
    if not valid.any():
        return (slice(None),) * valid.ndim
    return tuple(slice(max(int(at.min()) - BORDER, 0), int(at.max()) + BORDER + 1) for at in np.nonzero(valid))


def view(values: Array, part: tuple[slice, ...], side: int | None = None) -> Array:
    """Return what is drawn of an image or a map: a line (n,), or a picture (h, w).

    Bands are added up. Of three dimensions it is the values of largest magnitude along each axis, laid out as in a
    technical drawing: along the first axis on the top left, along the second below, along the third on the right.

    Args:
        values: (B, *S).
        part: of the spatial axes.
        side: the longest side of the result in pixels; means of blocks are shown where it would be longer.

    Example:
        >>> volume = np.zeros((1, 2, 3, 4), dtype=np.float32)
        >>> volume[0, 1, 2, 3] = 5
        >>> view(volume, (slice(None),) * 3)
        array([[ 0.,  0.,  0.,  0., nan,  0.,  0.],
               [ 0.,  0.,  0.,  0., nan,  0.,  0.],
               [ 0.,  0.,  0.,  5., nan,  0.,  5.],
               [nan, nan, nan, nan, nan, nan, nan],
               [ 0.,  0.,  0.,  0., nan, nan, nan],
               [ 0.,  0.,  0.,  5., nan, nan, nan]], dtype=float32)
    """
    flat = values.sum(axis=0)[part]
    if flat.ndim < 3:
        return _reduced(flat, math.ceil(max(flat.shape) / side) if side else 1)
    depth, height, width = flat.shape
    factor = math.ceil((depth + max(height, width)) / (side - 2)) if side else 1
    front, below, right = (_reduced(_largest(np.nan_to_num(flat), axis), factor) for axis in range(3))
    height, width, depth = *front.shape, len(below)
    sheet = np.full((height + 1 + depth, width + 1 + depth), np.nan, dtype=np.float32)
    sheet[:height, :width] = front
    sheet[height + 1 :, :width] = below
    sheet[:height, width + 1 :] = right.T
    return sheet


def _largest(volume: Array, axis: int) -> Array:
    """Return the values of largest magnitude along an axis."""
    return np.take_along_axis(volume, np.abs(volume).argmax(axis, keepdims=True), axis).squeeze(axis)


def _reduced(values: Array, factor: int) -> Array:
    """Return the means of blocks of `factor` pixels along every axis; the last ones may be smaller."""
    for axis, length in enumerate(values.shape):
        starts = np.arange(0, length, factor)
        sizes = np.diff([*starts, length]).reshape(-1, *[1] * (values.ndim - axis - 1))
        values = (np.add.reduceat(values, starts, axis) / sizes).astype(np.float32)
    return values


class ClassPictures(NamedTuple):
    """One class of an event, drawn on one scale.

    Attributes:
        top: of the scale, in physical units: truth and predictions from 0, residuals from minus it.
        truth: the true map.
        predictions: one per run.
        residuals: prediction minus truth, one per run.
    """

    top: float
    truth: str
    predictions: list[str]
    residuals: list[str]


class EventPictures(NamedTuple):
    """Pictures of an event, as data URIs.

    Attributes:
        top: of the scale of the input, in physical units.
        image: the input.
        classes: the N classes.
    """

    top: float
    image: str
    classes: list[ClassPictures]


def event_pictures(sample: Sample, predictions: Sequence[Array], side: int) -> EventPictures:
    """Draw a sample and what runs make of it: PNG images, or SVG lines in one dimension.

    Args:
        sample: with truth.
        predictions: (N, B, *S) of each run.
        side: the longest side of a picture, in pixels.
    """
    part = window(sample.valid[0])
    draw = _lines if sample.valid.ndim == 2 else _image
    image = view(sample.image, part, side)
    brightest = _top(image) or 1.0
    classes = []
    for label, target in enumerate(sample.target):
        true = view(target, part, side)
        found = [view(maps[label], part, side) for maps in predictions]
        missed = [view(maps[label] - target, part, side) for maps in predictions]
        top = max(*(_top(values) for values in (true, *found)), FAINTEST * brightest)
        classes.append(
            ClassPictures(
                top,
                draw(true, top, behind=true),
                [draw(values, top, behind=true) for values in found],
                [draw(values, top, signed=True) for values in missed],
            )
        )
    return EventPictures(brightest, draw(image, brightest, INPUT_DEPTH), classes)


def colour_scale(signed: bool = False, depth: float = MAP_DEPTH) -> str:
    """Return the colours of pictures from 0, or from minus the top, to the top of their scale, as a data URI."""
    return _image(np.linspace(-1.0 if signed else 0.0, 1, 256, dtype=np.float32)[None], 1.0, depth, signed)


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """Return a file as an address that holds all of it.

    Example:
        >>> data_uri(b"x", "text/plain")
        'data:text/plain;base64,eA=='
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _top(values: Array) -> float:
    return max(float(np.nan_to_num(values, posinf=0).max()), 0.0)


def _image(
    values: Array, top: float, depth: float = MAP_DEPTH, signed: bool = False, behind: Array | None = None
) -> str:
    """Return a PNG of values on a scale that is linear up to top / depth and logarithmic beyond."""
    place = np.arcsinh(depth * values / top) / np.arcsinh(depth)
    place = (place.clip(-1, 1) + 1) / 2 if signed else place.clip(0, 1)
    codes = np.where(np.isnan(place), LEVELS + 1, np.nan_to_num(place) * LEVELS + 0.5).astype(np.uint8)
    picture = Image.fromarray(codes)
    colours = matplotlib.colormaps["RdBu_r" if signed else "viridis"](np.linspace(0, 1, LEVELS + 1))
    picture.putpalette((colours[:, :3] * 255).round().astype(np.uint8).tobytes() + bytes(3))
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True, transparency=LEVELS + 1)
    return data_uri(content.getvalue())


def _lines(
    values: Array, top: float, depth: float = MAP_DEPTH, signed: bool = False, behind: Array | None = None
) -> str:
    """Return an SVG of values as a line, with others as a filled area behind it; the vertical scale is linear."""
    low = -top if signed else min(float(np.nan_to_num(values).min()), 0.0)

    def points(line: Array) -> str:
        heights = 60 * (1 - (np.nan_to_num(line) - low) / (top - low)).clip(0, 1)
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(np.linspace(0, 120, len(line)), heights, strict=True))

    zero = points(np.zeros(2, dtype=np.float32))
    area = "" if behind is None else f'<polygon fill="#bbb" points="0,60 {points(behind)} 120,60"/>'
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-2 -2 124 64" fill="none">'
        f'<rect x="-2" y="-2" width="124" height="64" fill="#fff"/>{area}<polyline stroke="#888" '
        f'stroke-width=".5" points="{zero}"/><polyline stroke="{RED if signed else BLUE}" '
        f'stroke-linejoin="round" points="{points(values)}"/></svg>'
    )
    return data_uri(svg.encode(), "image/svg+xml")


def gallery_figure(
    separator: Separator, dataset: SampleDataset, events: Mapping[int, float], adapter: Adapter, name: str
) -> Figure:
    """Draw events of two or three dimensions: input, and of one class truth, prediction and residual.

    Args:
        separator: to be shown.
        dataset: of the events.
        events: which of them, with the value of the study's quantity.
        adapter: of the domain.
        name: the class.
    """
    label = adapter.classes.index(name)
    figure = Figure(figsize=(10, 2.3 * len(events)), layout="constrained")
    grid = figure.subplots(len(events), 4, squeeze=False)
    for axes, (index, quantity) in zip(grid, events.items(), strict=True):
        sample = dataset[index]
        part = window(sample.valid[0])
        predicted = predicted_maps(separator, sample, adapter)[label]
        image, true, predicted = (view(values, part) for values in (sample.image, sample.target[label], predicted))
        axes[0].set_ylabel(f"{quantity:.3g}", fontsize=9)
        _event_row(axes, image, true, predicted, max(adapter.limits[name], 1e-6), adapter.unit)
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
    least: float,
    unit: str,
) -> None:
    top = max(_top(true), _top(predicted), least)
    limit = max(_top(np.abs(predicted - true)), least)
    width = max(_top(image) / 300, 1e-6)
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
