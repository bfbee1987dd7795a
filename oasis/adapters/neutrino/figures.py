"""Figures of an event table with the columns of `metrics`: number of nuclei, visible energy, energy of each."""

from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, RED = "#0072b2", "#d55e00"  # Okabe and Ito, colour-blind safe
ENERGY_EDGES: Final = tuple(range(0, 61, 5))  # MeV
BINS: Final = 60


def multiplicity_matrix(table: pd.DataFrame) -> pd.DataFrame:
    """Return how many events there are by their true number of nuclei (rows) and the number found (columns).

    What lies below the diagonal has misses, what lies above it inventions; an event with both can lie on it.

    Example:
        >>> muons = pd.DataFrame({"nuclei_true": [1, 2, 2], "nuclei_found": [1, 1, 3]})
        >>> multiplicity_matrix(muons).to_numpy()
        array([[0, 0, 0, 0],
               [0, 1, 0, 0],
               [0, 1, 0, 1],
               [0, 0, 0, 0]])
    """
    events = table.dropna(subset="nuclei_found")
    true, found = (events[name].astype(int) for name in ("nuclei_true", "nuclei_found"))
    numbers = range(max(true.max(), found.max()) + 1)
    counts = pd.crosstab(true, found)
    return counts.reindex(index=numbers, columns=numbers, fill_value=0).rename_axis(index="true", columns="found")


def multiplicity_figure(table: pd.DataFrame) -> "Figure":
    """Draw `multiplicity_matrix` as shares of each true number, with the share of each number found that is right.

    Args:
        table: an event table.
    """
    from matplotlib.figure import Figure

    counts = multiplicity_matrix(table)
    shares = counts.div(counts.sum(axis=1).where(lambda rows: rows > 0), axis=0)
    precision = pd.Series(np.diag(counts), counts.columns) / counts.sum().where(lambda columns: columns > 0)
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, origin="lower")
    for (true, found), share in np.ndenumerate(shares.to_numpy()):
        if share > 0:
            axes.text(found, true, f"{share:.2f}", ha="center", va="center", color="w" if share > 0.5 else "k")
    axes.set(xlabel="nuclei found (below: share that is right)", ylabel="true nuclei")
    right = ["" if np.isnan(share) else f"{share:.2f}" for share in precision]
    axes.set_xticks(range(len(counts)), [f"{number}\n{share}" for number, share in enumerate(right)])
    axes.set_yticks(range(len(counts)))
    return figure


def visible_energy_figure(table: pd.DataFrame) -> "Figure":
    """Draw the error of the summed kinetic energy of the nuclei, from the maps and from the image's charge alone.

    Args:
        table: an event table.
    """
    from matplotlib.figure import Figure

    events = table.dropna(subset="visible_energy_true")
    figure = Figure(figsize=(5.6, 4), layout="constrained")
    axes = figure.subplots()
    columns = {"visible_energy": ("maps", BLUE), "visible_energy_sum": ("sum of charge", RED)}
    errors = events[list(columns)].sub(events["visible_energy_true"], axis=0)
    limit = float(errors.abs().quantile(0.99).max()) or 1.0
    for column, (label, colour) in columns.items():
        low, middle, high = errors[column].quantile([0.16, 0.5, 0.84])
        text = f"{label}: median {middle:+.1f}, half of the middle 68 % {(high - low) / 2:.1f} MeV"
        axes.hist(errors[column], bins=BINS, range=(-limit, limit), histtype="step", color=colour, label=text)
    axes.set(xlabel="error of the visible energy (MeV)", ylabel="events")
    figure.legend(loc="outside upper center", frameon=False, fontsize="small")
    return figure


def nuclei_figure(table: pd.DataFrame) -> "Figure":
    """Draw the energy error of contained nuclei and the angle to their direction, and how many are found.

    Lines are medians, bands hold the middle half.

    Args:
        table: an event table.
    """
    from matplotlib.figure import Figure

    nuclei = table[(table["contained"] == 1) & table["ke_true"].notna()]
    nuclei = nuclei.assign(error=nuclei["ke_charge"] - nuclei["ke_true"])
    figure = Figure(figsize=(5.6, 7), layout="constrained")
    panels = figure.subplots(3, sharex=True)
    bins = [nuclei[nuclei["ke_true"].between(low, high, inclusive="left")] for low, high in pairwise(ENERGY_EDGES)]
    centre = np.add(ENERGY_EDGES[1:], ENERGY_EDGES[:-1]) / 2
    for axes, column, label in zip(panels, ("error", "angle"), ("energy error (MeV)", "angle (°)"), strict=False):
        low, middle, high = np.array([part[column].quantile([0.25, 0.5, 0.75]) for part in bins]).T
        axes.fill_between(centre, low, high, color=BLUE, alpha=0.15, linewidth=0)
        axes.plot(centre, middle, color=BLUE, marker="o")
        axes.set_ylabel(label)
    panels[2].plot(centre, [part["found"].mean() for part in bins], color=BLUE, marker="o")
    panels[2].set(xlabel="true kinetic energy (MeV)", ylabel="share found", ylim=(0, 1.05))
    return figure
