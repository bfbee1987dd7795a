"""Compare networks with triggers on held-out waveforms: their efficiency at equal false-positive rates.

The triggers are a threshold on the waveform and two matched filters. One uses the true spectrum of the noise. The
other uses, as in an experiment, the covariance of measured waveforms: those of the training split without a pulse,
so that it includes the correlations of the structured background.
"""

import argparse
import sys
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from oasis.adapters.waveform.noise import measured_autocovariance
from oasis.adapters.waveform.scene import INTERFERENCE, SIGNAL
from oasis.adapters.waveform.trigger import Found, MatchedFilter, efficiency, threshold_trigger
from oasis.command import run_script
from oasis.drawing import COLOURS
from oasis.evaluation.figures import save_figure
from oasis.evaluation.gallery import predicted_maps
from oasis.run import Run
from oasis.run.comparable import comparable_runs
from oasis.stats.bins import bins_of

EDGES = (0.5, 1, 2, 3, 4, 6, 10, 20, 50)  # of the signal-to-noise ratio
MEASURED_ON = 2000  # waveforms without a pulse, for the second matched filter
TRIGGERS = {"threshold": ":", "matched filter": "--", "measured filter": "-."}  # how they are drawn
SHOWN = (1.5, 3, 6, 15)  # signal-to-noise ratios of the waveforms that are drawn

Trigger = Callable[[NDArray[np.float64]], Found]


def load_runs(folders: list[Path], changes: list[str]) -> dict[str, Run]:
    """Read runs that were trained on the same waveforms."""
    return comparable_runs(folders, "waveform", lambda run: run.adapter.classes == (SIGNAL, INTERFERENCE), changes)


def triggers_of(run: Run) -> dict[str, Trigger]:
    """Return the triggers by name."""
    adapter, train = run.adapter, run.dataset("train")
    samples = (train[index] for index in range(len(train)))
    without = [sample.image[0] for sample in samples if not sample.target[0].any()][:MEASURED_ON]
    pulse = adapter.scene("train").signal.mean(adapter.times)
    return {
        "threshold": threshold_trigger,
        "matched filter": MatchedFilter(pulse, adapter.noise().autocovariance),
        "measured filter": MatchedFilter(pulse, measured_autocovariance(np.array(without, dtype=float))),
    }


def columns_of_triggers(run: Run, table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the results of each trigger for every test waveform, with the truth from an event table."""
    test = run.dataset("test")
    waveforms = np.stack([test[index].image[0] for index in range(len(test))]).astype(float)
    columns = {}
    for name, trigger in triggers_of(run).items():
        found = trigger(waveforms)
        error = run.config.data["sampling_ns"] * found.arrival - table["arrival_true"]
        percent = 100 * (found.amplitude / table["amplitude_true"].where(table["amplitude_true"] > 0) - 1)
        columns[name] = table[["snr", "amplitude_true"]].assign(
            score=found.score, amplitude_percent=percent, arrival_error=error, delta_percent=np.nan
        )
    return columns


def columns_of_networks(runs: dict[str, Run]) -> dict[str, pd.DataFrame]:
    """Return the rows of signal pulses of the event table of every run; its score is the predicted charge."""
    columns = {}
    for name, run in runs.items():
        table = run.measure(run.dataset("test"), workers=0)
        rows = table[table["class"] == SIGNAL].reset_index(drop=True)
        columns[name] = rows.assign(score=rows["intensity_predicted"])
    return columns


def efficiencies(columns: dict[str, pd.DataFrame], false_rate: float) -> dict[str, pd.DataFrame]:
    """Return the efficiency of every method in bins of the signal-to-noise ratio."""
    tables = {}
    for name, rows in columns.items():
        there = rows["amplitude_true"] > 0
        score, snr = (rows.loc[there, column].to_numpy() for column in ("score", "snr"))
        tables[name] = efficiency(score, snr, rows.loc[~there, "score"].to_numpy(), EDGES, false_rate)
    return tables


def print_efficiencies(tables: dict[str, pd.DataFrame]) -> None:
    """Print one line per method and bin."""
    print(f"{'':>24}" + "".join(f"{one.name:>18}" for one in bins_of(EDGES)))
    for name, table in tables.items():
        cells = [
            f"{row.efficiency:.1%} [{100 * row.efficiency_low:.0f}, {100 * row.efficiency_high:.0f}]"
            for row in table.itertuples()
        ]
        print(f"{name:>24}" + "".join(f"{cell:>18}" for cell in cells))


def print_errors(columns: dict[str, pd.DataFrame], tables: dict[str, pd.DataFrame]) -> None:
    """Print median and 25-75 % range of the errors of the pulses that each method finds."""
    for column, title in (
        ("delta_percent", "charge (%)"),
        ("amplitude_percent", "amplitude (%)"),
        ("arrival_error", "arrival (ns)"),
    ):
        print(f"\nerror of the {title} of pulses that are found: median, 25-75 % range")
        for name, rows in columns.items():
            found = rows[rows["score"] > tables[name].attrs["threshold"]]
            bins = [found.loc[one.contains(found["snr"]), column] for one in bins_of(EDGES)]
            values = [part.dropna().to_numpy() for part in bins]
            quartiles = [np.quantile(one, [0.25, 0.5, 0.75]) if len(one) > 9 else None for one in values]
            cells = ["" if one is None else f"{one[1]:+.1f}, {one[2] - one[0]:.1f}" for one in quartiles]
            if any(cells):
                print(f"{name:>24}" + "".join(f"{cell:>18}" for cell in cells))


def efficiency_figure(tables: dict[str, pd.DataFrame], false_rate: float) -> Figure:
    """Draw the fraction of pulses found against the signal-to-noise ratio."""
    figure = Figure(figsize=(7, 4.4), layout="constrained")
    axes = figure.subplots()
    colours = cycle(COLOURS)
    for name, table in tables.items():
        colour, style = ("0.35", TRIGGERS[name]) if name in TRIGGERS else (next(colours), "-")
        error = [table["efficiency"] - table["efficiency_low"], table["efficiency_high"] - table["efficiency"]]
        centre = np.sqrt(table["low"] * table["high"])
        axes.errorbar(
            centre, table["efficiency"], error, color=colour, marker="o", linestyle=style, capsize=3, label=name
        )
    axes.axhline(false_rate, color="grey", linewidth=0.8, linestyle=":")
    axes.set(
        xscale="log",
        xlabel="signal amplitude / rms of the noise",
        ylabel=f"fraction found at {100 * false_rate:g} % false positives",
    )
    axes.set(ylim=(0, 1.02), xticks=EDGES[1:], xticklabels=[f"{edge:g}" for edge in EDGES[1:]])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def waveform_figure(run: Run, rows: pd.DataFrame) -> Figure:
    """Draw waveforms of growing signal-to-noise ratio with true and predicted signal."""
    separator, test, times = run.separator(), run.dataset("test"), run.adapter.times / 1000
    figure = Figure(figsize=(10, 6), layout="constrained")
    for axes, snr in zip(figure.subplots(2, 2).flat, SHOWN, strict=True):
        sample = test[int((rows["snr"] - snr).abs().idxmin())]
        maps = predicted_maps(separator, sample, run.adapter)
        axes.plot(times, sample.image[0], color="#bbbbbb", linewidth=0.6, label="waveform")
        axes.plot(times, sample.target[1, 0], color=COLOURS[2], linewidth=1, label="true interference")
        axes.plot(times, sample.target[0, 0], color="black", linewidth=1.2, label="true signal")
        axes.plot(times, maps[0, 0], color=COLOURS[1], linewidth=1.2, linestyle="--", label="predicted signal")
        axes.set(xlabel="time (µs)", ylabel="mV", title=f"amplitude / noise = {snr:g}")
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="folders of trained runs")
    parser.add_argument(
        "--false-rate",
        type=float,
        default=0.01,
        help="false-positive rate: fraction of waveforms without a pulse that are accepted",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/waveform_comparison"), help="folder of the figures")
    parser.add_argument(
        "--set", action="append", default=[], help="change a key of all: data.background={pulses: 0, pickup: 0}"
    )
    options = parser.parse_args()
    runs = load_runs(options.runs, options.set)
    columns = columns_of_networks(runs)
    first = next(iter(columns))
    columns |= columns_of_triggers(runs[first], columns[first])
    tables = efficiencies(columns, options.false_rate)
    print(f"pulses found at {options.false_rate:.2%} false positives [95 % interval], by amplitude / noise")
    print_efficiencies(tables)
    print_errors(columns, tables)
    figures = {
        "efficiency": efficiency_figure(tables, options.false_rate),
        "waveforms": waveform_figure(runs[first], columns[first]),
    }
    for title, figure in figures.items():
        print(f"figure: {save_figure(figure, options.out / f'{title}.png')}")


if __name__ == "__main__":
    sys.exit(run_script(main))
