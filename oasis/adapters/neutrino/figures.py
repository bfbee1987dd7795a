"""Figures: number of nuclei, visible energy and energy of each from an event table; an event in 3D."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from oasis.adapters.neutrino.physics import csda_range
from oasis.adapters.neutrino.scene import AXES
from oasis.adapters.neutrino.simulation import CUBE, CUBES
from oasis.adapters.prediction import present_objects
from oasis.data.samples import Array, Sample
from oasis.drawing import BLUE, GREEN, RED, add_legend, say_no_data
from oasis.stats.bins import bins_of, quartiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENERGY_EDGES: Final = tuple(range(0, 61, 5))  # MeV
BINS: Final = 60
MOST: Final = 99  # largest number of nuclei in figures; larger numbers are drawn as this one
FAINT: Final = 2.0  # p.e. below which a cube is not drawn
WIDE: Final = 3  # panels beside each other
TOP: Final = 1000.0  # p.e. of the darkest cubes


class Source(NamedTuple):
    """A source of particles: its name, its colour in figures, and its columns in an event table."""

    name: str
    colour: str
    found: str
    energy: str
    angle: str
    number: str
    visible_energy: str
    vertex: str


_COLUMNS = ("found_{}", "ke_{}", "angle_{}", "nuclei_{}", "visible_energy_{}", "vertex_error_{}")
SOURCES: Final = (
    Source("maps", BLUE, "found", "ke_charge", "angle", "nuclei_found", "visible_energy", "vertex_error"),
    Source("set head", GREEN, *(name.format("predicted") for name in _COLUMNS)),
    Source("fit", RED, *(name.format("refined") for name in _COLUMNS)),
)


def sources_of(table: pd.DataFrame) -> list[Source]:
    """Return the sources whose columns a table has."""
    return [source for source in SOURCES if source.found in table]


def counting_sources(table: pd.DataFrame) -> list[Source]:
    """Return the sources with their own number of nuclei: all but the fit, which keeps that of the set head."""
    return [source for source in sources_of(table) if source.name != "fit"]


def multiplicity_matrix(table: pd.DataFrame, found: str = "nuclei_found") -> pd.DataFrame:
    """Return the number of events by the true number of nuclei (rows) and the number found (columns).

    Events below the diagonal have missed nuclei, those above it false ones; an event with both can lie on it.

    Example:
        >>> muons = pd.DataFrame({"nuclei_true": [1, 2, 2], "nuclei_found": [1, 1, 3]})
        >>> multiplicity_matrix(muons).to_numpy()
        array([[0, 0, 0, 0],
               [0, 1, 0, 0],
               [0, 1, 0, 1],
               [0, 0, 0, 0]])
    """
    counts = table[["nuclei_true", found]].astype(float)
    true, number = counts[np.isfinite(counts).all(axis=1)].clip(0, MOST).to_numpy(int).T
    numbers = range(max(true.max(initial=-1), number.max(initial=-1)) + 1)
    counts = pd.crosstab(true, number)
    return counts.reindex(index=numbers, columns=numbers, fill_value=0).rename_axis(index="true", columns="found")


def multiplicity_figure(table: pd.DataFrame, found: str = "nuclei_found") -> "Figure":
    """Draw `multiplicity_matrix` as fractions of each true number, with the precision of each number found.

    Args:
        table: an event table.
        found: the column with the number found.
    """
    from matplotlib.figure import Figure

    counts = multiplicity_matrix(table, found)
    shares = counts.div(counts.sum(axis=1).where(lambda rows: rows > 0), axis=0)
    precision = pd.Series(np.diag(counts), counts.columns) / counts.sum().where(lambda columns: columns > 0)
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axes = figure.subplots()
    if not len(counts):
        say_no_data(axes)
        return figure
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, origin="lower")
    for (true, number), share in np.ndenumerate(shares.to_numpy()):
        if share > 0:
            axes.text(number, true, f"{share:.2f}", ha="center", va="center", color="w" if share > 0.5 else "k")
    axes.set(xlabel="nuclei found (below: fraction that is right)", ylabel="true nuclei")
    right = ["" if np.isnan(share) else f"{share:.2f}" for share in precision]
    axes.set_xticks(range(len(counts)), [f"{number}\n{share}" for number, share in enumerate(right)])
    axes.set_yticks(range(len(counts)))
    return figure


def visible_energy_figure(table: pd.DataFrame) -> "Figure":
    """Draw the error of the summed kinetic energy of nuclei, from each source and from the image's charge alone.

    Args:
        table: an event table.
    """
    from matplotlib.figure import Figure

    events = table.dropna(subset="visible_energy_true")
    figure = Figure(figsize=(5.6, 4), layout="constrained")
    axes = figure.subplots()
    columns = {"visible_energy_sum": ("sum of charge", "0.4")}
    columns |= {source.visible_energy: (source.name, source.colour) for source in sources_of(events)}
    errors = events[list(columns)].sub(events["visible_energy_true"], axis=0)
    errors = errors.where(np.isfinite(errors.astype(float)))
    limit = float(np.nan_to_num(errors.abs().quantile(0.99).max())) or 1.0
    for column, (label, colour) in columns.items():
        known = errors[column].dropna()
        low, middle, high = known.quantile([0.16, 0.5, 0.84])
        text = f"{label}: median {middle:+.1f}, half of the middle 68 % {(high - low) / 2:.1f} MeV"
        if len(known):
            axes.hist(known, bins=BINS, range=(-limit, limit), histtype="step", color=colour, label=text)
    axes.set(xlabel="error of the visible energy (MeV)", ylabel="events")
    add_legend(axes, figure, loc="outside upper center", fontsize="small")
    return figure


def nuclei_figure(table: pd.DataFrame) -> "Figure":
    """Draw energy error, angular error and detected fraction of contained nuclei.

    For each source, lines are medians and bands contain the middle half.

    Args:
        table: an event table.
    """
    from matplotlib.figure import Figure

    nuclei = table[(table["contained"] == 1) & table["ke_true"].notna()]
    figure = Figure(figsize=(5.6, 7), layout="constrained")
    panels = figure.subplots(3, sharex=True)
    bins = [nuclei[one.contains(nuclei["ke_true"])] for one in bins_of(ENERGY_EDGES)]
    centre = [one.centre for one in bins_of(ENERGY_EDGES)]
    for source in sources_of(nuclei):
        known = [part[part[source.found] == 1] for part in bins]
        errors = [part[source.energy] - part["ke_true"] for part in known]
        for axes, values in zip(panels, (errors, [part[source.angle] for part in known]), strict=False):
            low, middle, high = np.array([quartiles(value) for value in values]).T
            axes.fill_between(centre, low, high, color=source.colour, alpha=0.15, linewidth=0)
            axes.plot(centre, middle, color=source.colour, marker="o", label=source.name)
        found = [(part[source.found] == 1).mean() for part in bins]
        panels[2].plot(centre, found, color=source.colour, marker="o")
    add_legend(panels[0])
    panels[0].set_ylabel("energy error (MeV)")
    panels[1].set_ylabel("angle (°)")
    panels[2].set(xlabel="true kinetic energy (MeV)", ylabel="share found", ylim=(0, 1.05))
    return figure


def event_figure(
    sample: Sample,
    maps: Array,
    classes: Sequence[str],
    quantities: Mapping[str, NDArray[Any]] | None = None,
    cube: float = CUBE,
) -> "Figure":
    """Draw an event in 3D: the image and each true particle, below each of them the prediction.

    Arrows lead from the vertex along the directions to the end of each nucleus' track (true ones black, fitted or
    else predicted ones red); a cross marks the exit of the muon.

    Args:
        sample: the event.
        maps: (N, 7, 7, 7) predicted, p.e.
        classes: the N class names.
        quantities: by column (N,), the predicted or fitted quantities of the particles.
        cube: edge of a cube, mm.
    """
    from matplotlib.figure import Figure

    true = sample.target[:, 0]
    shown = [label for label in range(len(classes)) if max(true[label].max(), maps[label].max()) >= FAINT]
    width = min(len(shown) + 1, WIDE)
    rows = 2 * -(-(len(shown) + 1) // width)
    figure = Figure(figsize=(2.9 * width, 2.8 * rows), layout="constrained")
    grid = figure.subplots(rows, width, subplot_kw={"projection": "3d"}, squeeze=False)
    panels = np.concatenate([grid[row : row + 2] for row in range(0, rows, 2)], axis=1)
    for axes in panels[:, len(shown) + 1 :].flat:
        axes.remove()
    panels = panels[:, : len(shown) + 1]
    columns = [(sample.image[0], maps.sum(axis=0), "image", "sum of maps")]
    columns += [(true[label], maps[label], f"true {classes[label]}", "predicted") for label in shown]
    for place, (above, below, *titles) in enumerate(columns):
        for axes, charge, title in zip(panels[:, place], (above, below), titles, strict=True):
            _cubes(axes, charge, cube)
            axes.set_title(f"{title.replace('_', ' ')}: {charge.sum():,.0f} p.e.", fontsize="medium", y=0.97)
    truth = {name: float(value) for name, value in sample.meta.items() if isinstance(value, int | float)}
    vertex = np.array([truth[f"vertex_{axis}"] for axis in AXES])
    for place, label in enumerate(shown, start=1):
        name = classes[label]
        direction = np.array([truth[f"{name}_d{axis}"] for axis in AXES])
        _arrow(panels[0, place], vertex, direction * truth[f"{name}_length"], "black")
        found = _found(quantities or {}, label)
        if found is not None:
            _arrow(panels[1, place], *found, RED)
    for axes in panels.flat:
        axes.scatter(*([truth[f"exit_{axis}"]] for axis in AXES), color="black", marker="x", s=20)
    return figure


def _found(quantities: Mapping[str, NDArray[Any]], label: int) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return vertex and track of a fitted or else a predicted nucleus, or None if there is none."""
    kind = "refined" if "ke_refined" in quantities else "predicted"
    if f"ke_{kind}" not in quantities or not present_objects(quantities)[label]:
        return None
    energy = max(float(quantities[f"ke_{kind}"][label]), 1.0)
    direction = np.array([quantities[f"d{axis}_{kind}"][label] for axis in AXES])
    vertex = np.array([quantities[f"vertex_{axis}_{kind}"][label] for axis in AXES])
    return vertex, direction / np.linalg.norm(direction) * float(csda_range(energy))


def _cubes(axes: Any, charge: NDArray[Any], cube: float) -> None:
    """Draw the cubes with charge: more charge is darker and more opaque."""
    import matplotlib

    half = cube * CUBES / 2
    edges = np.indices([side + 1 for side in charge.shape]) * cube - half
    filled = charge >= FAINT
    depth = np.clip(np.log(np.maximum(charge, FAINT) / FAINT) / np.log(TOP / FAINT), 0, 1)
    colours = matplotlib.colormaps["Blues"](0.2 + 0.8 * depth)
    colours[..., 3] = 0.15 + 0.55 * depth
    axes.voxels(*edges, filled, facecolors=colours, edgecolors=(0, 0, 0, 0.08), linewidth=0.3, shade=False)
    ends, ticks = (-half, half), [-cube * (CUBES // 2), 0, cube * (CUBES // 2)]
    axes.set(xlim=ends, ylim=ends, zlim=ends, xticks=ticks, yticks=ticks, zticks=ticks)
    axes.set_box_aspect((1, 1, 1), zoom=0.95)
    axes.tick_params(labelsize=5, pad=-4)
    for axis in AXES:
        axes.set(**{f"{axis}label": f"{axis} (mm)"})
        getattr(axes, f"{axis}axis").label.set_size(6)
        getattr(axes, f"{axis}axis").labelpad = -9


def _arrow(axes: Any, vertex: NDArray[Any], way: NDArray[Any], colour: str) -> None:
    axes.quiver(*vertex, *way, color=colour, linewidth=1.4, arrow_length_ratio=0.15)
