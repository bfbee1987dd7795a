"""Topology: the axis of an electron track at its vertex from a principal curve, in predicted and true maps."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from oasis.drawing import BLUE, RED, add_legend, error_bars
from oasis.stats.bins import bins_of, quartiles
from oasis.stats.curves import CurveError, axial_angle, axis_at, principal_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

THRESHOLD_ADU = 1.0  # pixels of at least this count, as for the IoU
SCALE_ADU = 23.0  # scale of the logarithmic pixel weights: that of the adapter's scaling
TOLERANCE = 0.25  # relative change of the distance at which a curve has converged (the paper's)
ENERGY_EDGES = tuple(range(4, 16))  # keV
DELTA_EDGES = (0, 5, 10, 15, 20, 30, 40, 60, 80, 120)  # %; empty maps have 100


def track_axis(
    image: NDArray[np.floating],
    vertex: ArrayLike,
    threshold_adu: float = THRESHOLD_ADU,
    scale_adu: float = SCALE_ADU,
) -> NDArray[np.float64]:
    """Return the unit vector (rows, columns) along a track at its vertex; its sign is arbitrary.

    It is the tangent of the principal curve of the pixels, weighted by `log(1 + I / scale_adu)`, at the point of
    the curve nearest to the vertex.

    Args:
        image: (H, W) ADU.
        vertex: row and column of the start of the track, pixels; the centre of the first pixel is (0, 0).
        threshold_adu: pixels below it are ignored, and those of 0 always.
        scale_adu: the scale of the logarithm, ADU.

    Raises:
        CurveError: no curve can be fitted to the pixels, or the fit does not converge.

    Example:
        >>> track_axis(np.eye(9) * 100, (1, 1)).round(3).tolist()
        [0.707, 0.707]
    """
    pixels = np.argwhere((image >= threshold_adu) & (image > 0))
    light = image[tuple(pixels.T)].astype(np.float64)
    curve = principal_curve(pixels, np.log1p(light / scale_adu), threshold=TOLERANCE)
    if not curve.converged:
        raise CurveError(f"no curve: no convergence in {curve.iterations} iterations")
    return axis_at(curve, vertex)


def axis_columns(
    predicted: NDArray[np.floating], true: NDArray[np.floating], meta: Mapping[str, Any]
) -> dict[str, float]:
    """Return the columns of one hybrid event; none for other events and files without a true vertex.

    Angles are between axes in the plane of the image, 0 to 90 degrees; NaN if a fit failed.

    Args:
        predicted: (H, W) the predicted electron map, ADU.
        true: (H, W) the true electron map, ADU.
        meta: metadata of the sample: `kind`, `vertex_row` and `vertex_col` (pixels), `ER_dx` and `ER_dy`.

    Returns:
        `axis_angle_map`: between predicted and true map, degrees.
        `axis_angle_predicted`: between predicted map and the initial direction of the electron, degrees.
        `axis_angle_true`: between true map and that direction, degrees: the result of a perfect map.
        `curve_failed`: 1 if the fit failed for the predicted or the true map, else 0.

    Example:
        >>> track = np.eye(9) * 100
        >>> meta = {"kind": "hybrid", "vertex_row": 1, "vertex_col": 1, "ER_dx": 0.0, "ER_dy": 1.0}
        >>> {name: round(value, 3) for name, value in axis_columns(track[::-1], track, meta).items()}
        {'axis_angle_map': 90.0, 'axis_angle_predicted': 45.0, 'axis_angle_true': 45.0, 'curve_failed': 0.0}
    """
    vertex = np.array([meta.get("vertex_row", np.nan), meta.get("vertex_col", np.nan)])
    if meta.get("kind") != "hybrid" or not np.isfinite(vertex).all():
        return {}
    direction = np.array([meta.get("ER_dy", np.nan), meta.get("ER_dx", np.nan)])
    axes = [_axis_or_nan(image, vertex) for image in (predicted, true)]
    return {
        "axis_angle_map": axial_angle(*axes),
        "axis_angle_predicted": axial_angle(axes[0], direction),
        "axis_angle_true": axial_angle(axes[1], direction),
        "curve_failed": float(np.isnan(axes).any()),
    }


def _axis_or_nan(image: NDArray[np.floating], vertex: ArrayLike) -> NDArray[np.float64]:
    try:
        return track_axis(image, vertex)
    except CurveError:
        return np.full(2, np.nan)


def binned_angles(table: pd.DataFrame, angle: str, quantity: str, edges: Sequence[float]) -> pd.DataFrame:
    """Return median and quartiles of an angle in bins of a quantity, and the number of failed fits.

    Args:
        table: an event table with `axis_columns`.
        angle: the column of the angle.
        quantity: the column to bin by.
        edges: the edges of the bins.

    Returns:
        One row per bin: `low`, `high`, `events`, `failed`, and of the fitted events `quarter`, `median` and
        `three_quarters` in degrees, and `median_low` and `median_high`, the 95 % interval of the median from order
        statistics (NaN for few events).
    """
    from scipy.stats import quantile_test

    rows = []
    for one in bins_of(edges):
        events = table[one.contains(table[quantity]) & table["curve_failed"].notna()]
        angles = events[angle].dropna().to_numpy(float)
        row: dict[str, Any] = {
            **one._asdict(),
            "events": len(events),
            "failed": int((events["curve_failed"] == 1).sum()),
        }
        names = ("quarter", "median", "three_quarters", "median_low", "median_high")
        row |= dict.fromkeys(names, np.nan)
        if len(angles):
            interval = quantile_test(angles, p=0.5).confidence_interval(0.95)
            row |= dict(zip(names, [*quartiles(angles), *interval], strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def topology_figure(table: pd.DataFrame) -> "Figure":
    """Draw the angle between predicted and true axis, and the failed fits, against energy and intensity error.

    Electrons of 4 keV and more count, as in the paper.
    The band contains the middle half of the events, the error bar is the 95 % interval of the median. The dashed
    line is the angle between the true map and the initial direction of the electron.

    Args:
        table: an event table with `axis_columns`.
    """
    from matplotlib.figure import Figure

    table = table[table["ER_energy"] >= ENERGY_EDGES[0]]
    table = table.assign(error=table["delta_percent"].abs())
    panels = (("ER_energy", ENERGY_EDGES, "electron energy (keV)"), ("error", DELTA_EDGES, "|ΔI| (%)"))
    figure = Figure(figsize=(9.6, 5), layout="constrained")
    grid = figure.subplots(2, 2, sharex="col", sharey="row", height_ratios=(4, 1))
    for (upper, lower), (quantity, edges, label) in zip(grid.T, panels, strict=True):
        bins, best = (
            binned_angles(table, angle, quantity, edges) for angle in ("axis_angle_map", "axis_angle_true")
        )
        centre = (bins["low"] + bins["high"]) / 2
        upper.fill_between(centre, bins["quarter"], bins["three_quarters"], color=BLUE, alpha=0.15, linewidth=0)
        error = error_bars(bins["median"], bins["median_low"], bins["median_high"])
        upper.errorbar(
            centre, bins["median"], error, color=BLUE, marker="o", capsize=3, label="predicted, true map"
        )
        upper.plot(centre, best["median"], "k--", label="true map, start of the electron")
        share = 100 * bins["failed"] / bins["events"]
        lower.bar(bins["low"], share, bins["high"] - bins["low"], align="edge", color=RED, alpha=0.6)
        lower.set_xlabel(label)
        lower.set_ylim(0, max(1.0, lower.get_ylim()[1]))
    grid[0, 0].set(ylabel="angle between axes (°)", ylim=(0, 90))
    add_legend(grid[0, 1])
    grid[1, 0].set_ylabel("failed (%)")
    return figure
