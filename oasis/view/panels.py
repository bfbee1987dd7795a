"""Panels: what the viewer draws of an inspected image, as arrays with their scales, and its tables as texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from oasis.data.instances import Instances
from oasis.data.pictures import FAINTEST, top_of
from oasis.data.samples import Array
from oasis.data.views import view
from oasis.evaluation.event_table import VISIBLE
from oasis.evaluation.outlines import Segments, outlines
from oasis.evaluation.pictures import difference
from oasis.instances.table import predicted_table
from oasis.io.signal_tables import Abscissa
from oasis.run.inspection import Inspection

SIDE = 1024  # longest side of a panel in pixels; larger images are reduced to means of blocks
MOST_ROWS = 500  # single objects that are listed
FIRST = (
    "class",
    "intensity_predicted",
    "intensity_calibrated",
    "intensity_low",
    "intensity_high",
    "intensity_spread",
    "intensity_true",
    "delta_percent",
    "iou",
    "presence_predicted",
    "overlap_fraction_predicted",
)
FURTHER = ("_predicted", "_calibrated", "_low", "_high")  # ends of the names of further columns that are shown


@dataclass(frozen=True)
class Panel:
    """One picture, or in one dimension one graph.

    Attributes:
        title: what it shows.
        values: (h, w), or (n,) in one dimension.
        top: the top of its scale at full range, in the units of the values.
        signed: whether the scale is symmetric around 0.
        fixed: whether the scale stays as it is.
        behind: the truth of a graph, or None.
        outlines: those of single objects, (n, 2, 2) in corners of pixels.
        abscissa: what a graph is drawn over, or None for the numbers of its samples.
    """

    title: str
    values: Array
    top: float
    signed: bool = False
    fixed: bool = False
    behind: Array | None = None
    outlines: Segments = field(default_factory=lambda: np.empty((0, 2, 2)))
    abscissa: Abscissa | None = None


def panels(shown: Inspection, classes: Sequence[str], unit: str = "") -> list[list[Panel]]:
    """Return the rows of panels of an image: input and residual, then maps, truth, errors and presence by class.

    In one dimension the truth is in the graphs of the maps.

    Args:
        shown: the image.
        classes: the N class names.
        unit: of the intensities.
    """
    known = shown.target is not None
    lines = shown.image.ndim == 2
    rows = [_of_image(shown, unit)]
    tops = _tops(shown)
    truth = shown.target if known else shown.maps
    assert truth is not None
    rows.append(
        [
            Panel(
                f"{name}: map",
                _view(shown.maps[label]),
                tops[label],
                behind=_view(truth[label]) if lines and known else None,
                outlines=_outlines(shown.instances, label, shown.image),
            )
            for label, name in enumerate(classes)
        ]
    )
    if known and not lines:
        rows.append(
            [
                Panel(
                    f"{name}: truth",
                    _view(truth[label]),
                    tops[label],
                    outlines=_outlines(shown.true_instances, label, shown.image),
                )
                for label, name in enumerate(classes)
            ]
        )
    if known:
        missed = [difference(found, true) for found, true in zip(shown.maps, truth, strict=True)]
        rows.append([_signed(f"{name}: map − truth", one) for name, one in zip(classes, missed, strict=True)])
    if shown.presence is not None:
        likely = [one.max(axis=0, keepdims=True) for one in shown.presence]
        named = zip(classes, likely, strict=True)
        rows.append([Panel(f"{name}: presence", _view(one), 1.0, fixed=True) for name, one in named])
    if lines and shown.abscissa is not None and len(shown.abscissa.values) == shown.image.shape[-1]:
        rows = [[replace(panel, abscissa=shown.abscissa) for panel in row] for row in rows]
    return rows


def intensities(shown: Inspection) -> dict[str, list[str]]:
    """Return the table of intensities by column, as texts."""
    table = shown.table
    others = [
        name
        for name in map(str, table)
        if name.endswith(FURTHER) and name not in FIRST and not name.startswith((VISIBLE, "overlap_"))
    ]
    return texts(table[[name for name in (*FIRST, *others) if name in table]])


def objects(shown: Inspection, classes: Sequence[str]) -> dict[str, list[str]]:
    """Return the table of single objects by column as texts, the brightest first; empty if there are none."""
    if shown.instances is None or not len(shown.instances):
        return {}
    table = predicted_table([shown.instances], classes).drop(columns="image")
    table = table.sort_values("intensity_predicted", ascending=False, kind="stable").head(MOST_ROWS)
    return texts(table)


def texts(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return the columns of a table as texts of four digits, a dash where a value is missing.

    Example:
        >>> texts(pd.DataFrame({"class": ["a"], "x": [12345.6], "y": [np.nan], "z": [np.inf], "n": [3]}))
        {'class': ['a'], 'x': ['12,346'], 'y': ['–'], 'z': ['∞'], 'n': ['3']}
    """
    return {str(name): [_text(value) for value in table[name]] for name in table}


def scaled(tops: Mapping[str, float], fraction: float) -> dict[str, float]:
    """Return the tops of scales at a fraction of their full range.

    Example:
        >>> scaled({"input": 50.0}, 0.1)
        {'input': 5.0}
    """
    return {name: top * fraction for name, top in tops.items()}


def _of_image(shown: Inspection, unit: str) -> list[Panel]:
    image = _view(shown.image)
    left = difference(shown.image, shown.maps.sum(axis=0))
    title = f"input ({unit})" if unit else "input"
    return [Panel(title, image, top_of(np.abs(image)) or 1.0), _signed("input − sum of maps", left)]


def _signed(title: str, values: Array) -> Panel:
    drawn = _view(values)
    return Panel(title, drawn, top_of(np.abs(drawn)) or 1.0, signed=True)


def _tops(shown: Inspection) -> list[float]:
    """Return the top of the scale of every class, common to its map and its truth."""
    least = FAINTEST * (top_of(_view(shown.image)) or 1.0)
    found = [top_of(_view(one)) for one in shown.maps]
    true = found if shown.target is None else [top_of(_view(one)) for one in shown.target]
    return [max(*pair, least) for pair in zip(found, true, strict=True)]


def _outlines(instances: Instances | None, label: int, image: Array) -> Segments:
    return outlines(instances, label, _whole(image), SIDE)


def _whole(image: Array) -> tuple[slice, ...]:
    return (slice(None),) * (image.ndim - 1)


def _view(values: Array) -> Array:
    """Return what is drawn of (B, *S): a signal as it is, a picture of limited size."""
    return view(values, _whole(values), None if values.ndim == 2 else SIDE)


def _text(value: object) -> str:
    if not isinstance(value, float | np.floating):
        return str(value)
    value = float(value)
    if np.isnan(value):
        return "–"
    if np.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
