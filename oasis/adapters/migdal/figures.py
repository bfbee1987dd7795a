"""Figures of the detection of electrons: ROC curves by energy, and the light found in recoils alone."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.integrate import trapezoid

from oasis.adapters.migdal.scene import ER, NR
from oasis.adapters.study import INTENSITY, score_column
from oasis.drawing import BLUE, COLOURS, add_legend
from oasis.stats.bins import bins_of
from oasis.stats.intervals import Floats
from oasis.stats.roc import roc

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EDGES = (3, 4, 5, 6)  # keV
FALSE_RATES = np.linspace(0, 1, 201)  # at which curves are averaged
EQUIVALENT = (3.6, 4.4)  # keV: electrons whose mean true light is marked
FAINTEST, BRIGHTEST = 1.0, 1e9  # ADU: less and more light is drawn as much


def detection_figure(table: pd.DataFrame, unit: str) -> "Figure":
    """Draw ROC curves in bins of electron energy with their mean, and electron light in nuclear recoils alone.

    The mean is that of the true positive rates at each false positive rate (Figure 3d of the paper). The histogram
    is the left of Figure 5; the line is the mean true light of electrons of 3.6 to 4.4 keV.

    Args:
        table: an event table.
        unit: the unit of intensities.
    """
    from matplotlib.figure import Figure

    rows = table[table["class"] == ER]
    alone, hybrids = rows[rows["kind"] == NR], rows[rows["kind"] == "hybrid"]
    light, score = alone[INTENSITY].dropna().to_numpy(float), score_column(rows)
    background = alone[score].dropna().to_numpy(float)
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    curves, histogram = figure.subplots(1, 2)
    found = []
    for colour, one in zip(COLOURS, bins_of(EDGES), strict=False):
        signal = hybrids.loc[one.contains(hybrids["ER_energy"]), score].dropna().to_numpy(float)
        if len(signal) and len(background):
            false, true = roc(signal, background)
            curves.plot(
                false, true, color=colour, linewidth=1, label=f"{one.name} keV, AUC {trapezoid(true, false):.3f}"
            )
            found.append(np.interp(FALSE_RATES, false, true))
    if found:
        mean = np.mean(found, axis=0)
        curves.plot(FALSE_RATES, mean, "k-", label=f"mean, AUC {trapezoid(mean, FALSE_RATES):.3f}")
    curves.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1))
    add_legend(curves, loc="lower right")
    if len(light):
        _histogram(histogram, light, hybrids, unit)
    histogram.set(xlabel=f"ER light in recoils alone ({unit})", ylabel="recoils")
    return figure


def _histogram(axes: "Axes", light: Floats, hybrids: pd.DataFrame, unit: str) -> None:
    clipped = light.clip(FAINTEST, BRIGHTEST)
    edges = np.geomspace(FAINTEST, max(clipped.max(), 10 * FAINTEST) * 1.01, 50)
    axes.hist(clipped, list(edges), color=BLUE, alpha=0.6)
    axes.axvline(np.median(clipped), color=BLUE, label=f"median {np.median(light):.4g} {unit}")
    of_4_kev = hybrids.loc[hybrids["ER_energy"].between(*EQUIVALENT), "intensity_true"].mean()
    if np.isfinite(of_4_kev):
        label = f"true light of 4 keV: {np.mean(light > of_4_kev):.1%} above"
        axes.axvline(
            min(of_4_kev, BRIGHTEST),
            color="black",
            linestyle="--",
            label=label,
        )
    axes.set_xscale("log")
    add_legend(axes)
