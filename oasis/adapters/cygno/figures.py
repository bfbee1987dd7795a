"""Figures of the CYGNO adapter: found recoils and their light, and curves of methods that select pixels."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from oasis.drawing import BLUE, RED, add_legend, line_style
from oasis.stats.intervals import rate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def selection_figure(rows: pd.DataFrame) -> "Figure":
    """Draw the fraction of recoils that are found, and the light of their clusters, against their energy."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    there = rows[(rows["recoil_electrons"] > 0) & rows["found"].notna()]
    groups = list(there.groupby("recoil_energy"))
    energies = sorted(there["recoil_energy"].unique().tolist())
    found = [rate(part["found"].to_numpy() > 0) for _, part in groups]
    if groups:
        values = np.array([one.value for one in found])
        spread = [values - [one.low for one in found], [one.high for one in found] - values]
        left.errorbar(energies, values, spread, fmt="o", color=BLUE, capsize=3)
        quartiles = np.array([part["integral_ratio"].quantile([0.25, 0.5, 0.75]).to_numpy() for _, part in groups])
        middle = quartiles[:, 1]
        right.errorbar(
            energies, middle, [middle - quartiles[:, 0], quartiles[:, 2] - middle], fmt="o", color=RED, capsize=3
        )
    right.axhline(1, color="grey", linewidth=0.8, linestyle=":")
    left.set(xlabel="energy of the recoil (keV)", ylabel="fraction found", ylim=(0, 1.05))
    right.set(xlabel="energy of the recoil (keV)", ylabel="integral / true light (median, 25-75 %)")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def curve_figure(curves: Mapping[str, pd.DataFrame]) -> "Figure":
    """Draw precision against recall of pixels, one curve by `pixel_curve` for each method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 4.4), layout="constrained")
    axes = figure.subplots()
    for place, (name, curve) in enumerate(curves.items()):
        axes.plot(curve["recall"], curve["precision"], label=name, **line_style(place))
    axes.set(xlabel="recall of pixels", ylabel="precision of pixels", xlim=(0, 1), ylim=(0, 1.02))
    axes.spines[["top", "right"]].set_visible(False)
    add_legend(axes)
    return figure


def efficiency_figure(tables: Mapping[str, pd.DataFrame], energy: float) -> "Figure":
    """Draw the fraction of recoils of an energy that methods find against their fakes.

    Args:
        tables: by method, with columns `fakes` (per full frame) and `efficiency`.
        energy: keV, for the label.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 4.4), layout="constrained")
    axes = figure.subplots()
    for place, (name, table) in enumerate(tables.items()):
        style = line_style(place) | ({"linestyle": "", "marker": "o"} if len(table) == 1 else {})
        axes.plot(table["fakes"], table["efficiency"], label=name, **style)
    axes.set(xscale="log", yscale="log", xlabel="fakes per full frame", ylabel=f"fraction found at {energy:g} keV")
    axes.set(ylim=(0.2, 1.05), yticks=(0.2, 0.3, 0.5, 0.7, 1.0), yticklabels=("0.2", "0.3", "0.5", "0.7", "1"))
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    add_legend(axes, figure, loc="outside lower center", ncols=3)
    return figure
