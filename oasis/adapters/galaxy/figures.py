"""Figures of flux errors against blendedness."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from oasis.adapters.galaxy.flux_tables import EDGES, flux_error_table
from oasis.drawing import COLOURS, add_legend, error_bars
from oasis.stats.bins import bins_of
from oasis.stats.intervals import ENDS

PANELS = {
    "median": "median flux error in r (%)",
    "capped": "mean |flux error| in r, each capped at 100 (%)",
    "missed": "share missed",
    "confused": "share confused with another galaxy",
}


def flux_figure(tables: Mapping[str, pd.DataFrame], group: str | None = None) -> Figure:
    """Draw flux errors and the fractions missed and confused by blendedness, with 95 % intervals.

    The errors are the median, and the mean absolute value with each error capped at 100 %.

    Args:
        tables: rows of one class of an event table, by the name of the method.
        group: the column that identifies the galaxy, if a galaxy can appear in several rows.
    """
    figure = Figure(figsize=(14, 4), layout="constrained")
    panels = figure.subplots(1, len(PANELS))
    shift = np.linspace(-0.2, 0.2, len(tables)) if len(tables) > 1 else [0.0]
    for colour, offset, (name, rows) in zip(COLOURS, shift, tables.items(), strict=False):
        bins = flux_error_table(rows, group=group).iloc[:-1]
        place = np.arange(len(bins)) + offset
        for axes, column in zip(panels, PANELS, strict=True):
            value = bins[column].to_numpy()
            error = error_bars(*(bins[f"{column}{end}"] for end in ENDS))
            axes.errorbar(place, value, error, color=colour, marker="o", linestyle="", capsize=3, label=name)
    labels = [one.name for one in bins_of(EDGES)]
    for axes, (column, label) in zip(panels, PANELS.items(), strict=True):
        axes.set(xlabel="blendedness", ylabel=label, xticks=range(len(labels)), xticklabels=labels)
        axes.spines[["top", "right"]].set_visible(False)
        if column == "median":
            axes.axhline(0, color="black", linewidth=0.8)
        else:
            axes.set_ylim(bottom=0)
    if len(tables) > 1:
        add_legend(panels[0])
    return figure
