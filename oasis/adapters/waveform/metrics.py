"""Metrics of a pulse: its peak, its arrival and its significance; and a figure of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from oasis.drawing import BLUE, RED, add_legend, error_bars
from oasis.stats.bins import bins_of, quartiles
from oasis.stats.intervals import ENDS, rate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = {
    "amplitude_true": "peak of the true map, mV; 0 without a pulse",
    "amplitude_predicted": "peak of the predicted map, mV",
    "amplitude_percent": "(predicted - true) / true x 100 of the peak; NaN without a pulse",
    "snr": "true peak over the rms of the noise; NaN without a pulse",
    "matched_snr": "signal-to-noise ratio of the true pulse after the optimal linear filter; NaN without a pulse",
    "detected": "1 if the predicted peak is at least `data.detect` times the rms of the noise, else 0",
    "arrival_true": "when the leading edge of the true pulse crosses half of its peak, ns; NaN without a pulse",
    "arrival_error": "predicted minus true arrival, ns; NaN without a pulse or if it is not detected",
    "separation": "for `pulses`: time to the nearest other true pulse, ns; NaN without one",
}

FRACTION = 0.5  # fraction of the peak that defines the arrival
FEWEST = 10  # values required for quartiles
QUARTILES = ("quarter", "median", "three_quarters")


def arrival(pulse: NDArray[np.floating], fraction: float = FRACTION) -> float:
    """Return the time at which the leading edge of a pulse crosses a fraction of its peak, in samples.

    It is the last crossing before the peak, interpolated linearly between samples; NaN if the pulse is nowhere
    above 0 or begins above that level.

    Args:
        pulse: (n,) the waveform of the pulse.
        fraction: the fraction of the peak.

    Example:
        >>> arrival(np.array([0.0, 0.0, 1.0, 4.0, 3.0]))
        2.3333333333333335
    """
    peak = int(pulse.argmax())
    level = fraction * float(pulse[peak])
    below = np.flatnonzero(pulse[:peak] < level)
    if not level > 0 or not len(below):
        return np.nan
    before = int(below[-1])
    low, high = float(pulse[before]), float(pulse[before + 1])
    return before + (level - low) / (high - low)


def pulse_columns(
    predicted: NDArray[np.floating], true: NDArray[np.floating], sampling_ns: float, rms: float, threshold: float
) -> dict[str, float]:
    """Return the columns of one pulse from its two maps: those of `COLUMNS` except `matched_snr` and `separation`.

    Args:
        predicted: (n,) predicted map, mV.
        true: (n,) true map, mV; 0 if there is no pulse.
        sampling_ns: sampling period.
        rms: the rms of the noise, mV.
        threshold: minimum predicted peak of a detected pulse, in units of `rms`.

    Example:
        >>> pulse = np.array([0.0, 0.0, 2.0, 8.0, 6.0])
        >>> columns = pulse_columns(pulse * 0.75, pulse, sampling_ns=3.0, rms=2.0, threshold=3.0)
        >>> columns["amplitude_percent"], columns["snr"], columns["arrival_true"], columns["arrival_error"]
        (-25.0, 4.0, 7.0, 0.0)
    """
    peak_true, peak_predicted = float(true.max()), float(predicted.max())
    there, detected = peak_true > 0, peak_predicted >= threshold * rms
    arrived = sampling_ns * arrival(true)
    return {
        "amplitude_true": peak_true,
        "amplitude_predicted": peak_predicted,
        "amplitude_percent": 100 * (peak_predicted - peak_true) / peak_true if there else np.nan,
        "snr": peak_true / rms if there else np.nan,
        "detected": float(detected),
        "arrival_true": arrived,
        "arrival_error": sampling_ns * arrival(predicted) - arrived if there and detected else np.nan,
    }


def separations(arrivals: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the time from each pulse to the nearest other pulse; NaN if there is none.

    Args:
        arrivals: (N,) arrival times of the pulses; NaN for a missing pulse.

    Example:
        >>> separations(np.array([10.0, 30.0, 35.0, np.nan]))
        array([20.,  5.,  5., nan])
    """
    distance = np.abs(arrivals[:, None] - arrivals)
    np.fill_diagonal(distance, np.inf)
    nearest = np.where(np.isnan(distance), np.inf, distance).min(axis=1)
    return np.where(np.isinf(nearest) | np.isnan(arrivals), np.nan, nearest)


def binned_pulses(table: pd.DataFrame, quantity: str, edges: Sequence[float]) -> pd.DataFrame:
    """Return errors of amplitude and arrival, and the fraction of detected pulses, in bins of a quantity.

    Args:
        table: rows of an event table with `pulse_columns`.
        quantity: the column to bin by.
        edges: the edges of the bins.

    Returns:
        One row per bin: `low`, `high`, `events`; for `amplitude_percent` and `arrival_error` (ns, of detected
        pulses) the quartiles `_quarter`, `_median` and `_three_quarters`, NaN for fewer than 10 values; and the
        fraction `detected` with its exact 95 % interval `detected_low` and `detected_high`.
    """
    rows = []
    for one in bins_of(edges):
        events = table[one.contains(table[quantity])]
        row: dict[str, Any] = {**one._asdict(), "events": len(events)}
        for column in ("amplitude_percent", "arrival_error"):
            values = events[column].dropna().to_numpy(float)
            found = quartiles(values) if len(values) >= FEWEST else (np.nan,) * 3
            row |= {f"{column}_{part}": value for part, value in zip(QUARTILES, found, strict=True)}
        rows.append(row | rate(events["detected"] == 1).columns("detected"))
    return pd.DataFrame(rows)


def pulse_figure(table: pd.DataFrame, quantity: str, edges: Sequence[float], label: str) -> "Figure":
    """Draw the errors of amplitude and arrival and the fraction of detected pulses against a quantity.

    Bands contain the middle half of the pulses, error bars are 95 % intervals. The dashed line is the fraction of
    maps without a true pulse in which one is detected.

    Args:
        table: rows of an event table with `pulse_columns`.
        quantity: the column on the horizontal axis.
        edges: the edges of its bins.
        label: the label of the axis.
    """
    from matplotlib.figure import Figure

    bins = binned_pulses(table, quantity, edges)
    centre = np.sqrt(np.maximum(bins["low"], bins["high"] / 4) * bins["high"])
    figure = Figure(figsize=(9, 3), layout="constrained")
    amplitude, time, share = figure.subplots(1, 3)
    panels = (
        (amplitude, "amplitude_percent", "error of the amplitude (%)"),
        (time, "arrival_error", "error of the arrival (ns)"),
    )
    for axes, column, name in panels:
        axes.fill_between(
            centre,
            bins[f"{column}_quarter"],
            bins[f"{column}_three_quarters"],
            color=BLUE,
            alpha=0.15,
            linewidth=0,
        )
        axes.plot(centre, bins[f"{column}_median"], color=BLUE, marker="o")
        axes.axhline(0, color="black", linewidth=0.8)
        axes.set(ylabel=name)
    error = error_bars(*(bins[f"detected{end}"] for end in ENDS))
    share.errorbar(centre, bins["detected"], error, color=BLUE, marker="o", capsize=3)
    empty = table.loc[table["amplitude_true"] == 0, "detected"]
    if len(empty):
        share.axhline((empty == 1).mean(), color=RED, linestyle="--", label="without a pulse")
        add_legend(share)
    share.set(ylabel="detected", ylim=(0, 1.02))
    for axes in (amplitude, time, share):
        ticks = [edge for edge in edges if edge > 0]
        axes.set(xscale="log", xlabel=label, xticks=ticks, xticklabels=[f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    return figure
