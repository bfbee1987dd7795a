"""Figures: panels as linked figures of Bokeh, whose zoom stays from one image to the next of its size."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from oasis.drawing import BLUE
from oasis.view.panels import Panel

WIDTH = 250  # of the frame of a figure in pixels
MOST_IN_A_ROW = 4
DECADES = 1e-3  # the bottom of a logarithmic scale relative to its top
TOOLS = "pan,wheel_zoom,box_zoom,reset,hover,save"


class Figures:
    """A grid of figures, one for every panel."""

    def __init__(self) -> None:
        self._key: Any = None
        self._figures: list[Any] = []
        self._panels: list[Panel] = []
        self._mappers: list[Any] = []  # as long as their figures live: a new one would leave its colour bar behind
        self._grid: Any = None

    def draw(self, rows: Sequence[Sequence[Panel]], fraction: float, logarithmic: bool) -> Any:
        """Draw panels and return the grid: the earlier one if titles and sizes are those of the earlier panels.

        Args:
            rows: the panels.
            fraction: the top of every scale, as a fraction of its full range.
            logarithmic: whether scales that begin at 0 are logarithmic.
        """
        self._panels = [panel for row in rows for panel in row]
        key = logarithmic, [(panel.title, panel.values.shape, *_ends(panel)) for panel in self._panels]
        if key != self._key:
            self._key = key
            self._build(rows, logarithmic)
        self.rescale(fraction)
        for panel, figure, mapper in zip(self._panels, self._figures, self._mappers, strict=True):
            figure.renderers = []  # of an earlier image
            if mapper is None:
                _draw_lines(figure, panel)
            else:
                _draw_picture(figure, panel, mapper)
        return self._grid

    def rescale(self, fraction: float) -> None:
        """Set the top of every scale, as a fraction of its full range."""
        for panel, figure, mapper in zip(self._panels, self._figures, self._mappers, strict=True):
            part = 1.0 if panel.fixed else fraction
            if mapper is None:
                figure.y_range.update(**_limits(panel, part))
                continue
            top = panel.top * part
            low = -top if panel.signed else 0.0
            mapper.update(low=top * DECADES if "Log" in type(mapper).__name__ else low, high=top)

    def _build(self, rows: Sequence[Sequence[Panel]], logarithmic: bool) -> None:
        from bokeh.layouts import gridplot
        from bokeh.models import ColorBar, Range1d, WheelZoomTool
        from bokeh.plotting import figure

        first = rows[0][0].values
        lines, width = first.ndim == 1, first.shape[-1]
        name, *ends = _ends(rows[0][0])
        x = Range1d(*ends)
        y = None if lines else Range1d(first.shape[0], 0)  # row 0 at the top
        height = 150 if lines else int(np.clip(WIDTH * first.shape[0] / width, 100, 420))
        self._figures, self._mappers, grid = [], [], []
        tips = [("x, y", "$x{0}, $y{0}"), ("value", "@image{0.000}")]
        for row in _lines_of(rows):
            made = []
            for panel in row:
                ranges = {"x_range": x, "y_range": Range1d(0, 1) if y is None else y}
                one = figure(title=panel.title, frame_width=WIDTH, frame_height=height, tools=TOOLS, **ranges)
                one.toolbar.active_scroll = one.select_one(WheelZoomTool)
                if lines:
                    one.xaxis.axis_label = name
                mapper = None if lines else _mapper(panel, logarithmic)
                if mapper is not None:
                    one.hover.tooltips = tips
                    one.add_layout(ColorBar(color_mapper=mapper), "right")
                self._mappers.append(mapper)
                made.append(one)
            self._figures += made
            grid += [made[at : at + MOST_IN_A_ROW] for at in range(0, len(made), MOST_IN_A_ROW)]
        self._grid = gridplot(grid)


def _lines_of(rows: Sequence[Sequence[Panel]]) -> list[list[Panel]]:
    """Return rows with those joined that fit into one line."""
    joined: list[list[Panel]] = []
    for row in rows:
        if joined and len(joined[-1]) + len(row) <= MOST_IN_A_ROW:
            joined[-1] += row
        else:
            joined.append(list(row))
    return joined


def _ends(panel: Panel) -> tuple[str, float, float]:
    """Return the name of the horizontal axis of a panel, and where it begins and ends."""
    if panel.abscissa is None:
        return "sample" if panel.values.ndim == 1 else "", 0, panel.values.shape[-1]
    return panel.abscissa.name, float(panel.abscissa.values[0]), float(panel.abscissa.values[-1])


def _draw_lines(figure: Any, panel: Panel) -> None:
    places = np.arange(len(panel.values)) + 0.5 if panel.abscissa is None else panel.abscissa.values
    if panel.behind is not None:
        figure.line(places, panel.behind, color="#999999", line_width=3)
    figure.line(places, panel.values, color=BLUE)


def _limits(panel: Panel, fraction: float) -> dict[str, float]:
    """Return the ends of the vertical axis of a graph."""
    lowest = float(np.nanmin(np.where(np.isfinite(panel.values), panel.values, np.nan), initial=0.0))
    top = panel.top * fraction * 1.05
    return {"start": -top if panel.signed else min(lowest * fraction * 1.05, -0.02 * top), "end": top}


def _mapper(panel: Panel, logarithmic: bool) -> Any:
    """Return the mapper of the colours of a panel."""
    from bokeh.models import LinearColorMapper, LogColorMapper
    from bokeh.palettes import RdBu11, interp_palette

    if panel.signed:
        return LinearColorMapper(interp_palette(RdBu11, 255), low=-panel.top, high=panel.top)
    if logarithmic and not panel.fixed:
        return LogColorMapper("Viridis256", low=panel.top * DECADES, high=panel.top)
    return LinearColorMapper("Viridis256", low=0.0, high=panel.top)


def _draw_picture(figure: Any, panel: Panel, mapper: Any) -> None:
    """Draw a picture with its outlines."""
    height, width = panel.values.shape
    values = np.where(np.isfinite(panel.values), panel.values, np.nan)
    figure.image([values], x=0, y=0, dw=width, dh=height, color_mapper=mapper)
    if len(panel.outlines):
        xs, ys = panel.outlines[..., 0], panel.outlines[..., 1]
        figure.multi_line(list(map(list, xs)), list(map(list, ys)), color="white", line_width=1)
