"""Show what the overlap weight does: the same small network, trained with several, on the same held-out events.

    python examples/migdal/overlap_weight.py --out runs/overlap_weight

Only the weight of the region ER&NR differs: all other weights are 1, and no presence head decides. The rows are
the electrons of 4 to 5 keV, half of them or more under the recoil, whose errors are nearest to the median with
every weight. Below: what the weights do to all of 3 to 6 keV, and to recoils alone.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure

from oasis.adapters.migdal.scene import ER, NR
from oasis.command import run_script
from oasis.drawing import BLUE, RED, error_bars
from oasis.evaluation.event_table import read_table, write_table
from oasis.evaluation.figures import save_figure
from oasis.run import Run
from oasis.stats.bins import median
from oasis.stats.intervals import bootstrap

QUICKSTART = Path(__file__).with_name("quickstart.yaml")
SMALL = [
    "head.presence=false",
    "head.false_presence=0",
    "loss.class_weights={}",
    "model.base_channels=8",
    "data.evaluation_size=[96,96]",
    "data.events={train: 4000, val: 500, test: 2000}",
    "training.epochs=3",
]
WEIGHTS = (1, 3, 10, 30)
ROWS = 3
FAINT = "kind == 'hybrid' and ER_energy >= 3 and ER_energy < 6"


def measured(run: Run) -> pd.DataFrame:
    """Return the electrons' rows of the event table of a run, trained and measured if it was not."""
    path = run.folder / "electrons.parquet"
    if not path.exists():
        run.train(resume=run.files.last.exists())
        table = run.measure(run.dataset("test"), workers=0)
        write_table(table[table["class"] == ER].reset_index(drop=True), path)
    return read_table(path)


def typical(tables: dict[int, pd.DataFrame]) -> list[int]:
    """Return the numbers of the events whose errors are nearest to the median with every weight."""
    errors = pd.DataFrame({weight: table["delta_percent"] for weight, table in tables.items()})
    first = next(iter(tables.values()))
    errors = errors[first.eval("kind == 'hybrid' and 4 <= ER_energy < 5 and overlap_fraction >= 0.5")]
    distance = (errors - errors.median()).abs().sum(axis=1)
    return distance.nsmallest(ROWS).index.tolist()


def draw(runs: dict[int, Run], tables: dict[int, pd.DataFrame]) -> Figure:
    """Draw the maps of typical events, and errors and false intensities against the weight."""
    first = next(iter(runs.values()))
    dataset, electron = first.dataset("test"), first.adapter.classes.index(ER)
    figure = Figure(figsize=(10, 8), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=(2.2, 1))
    grid = upper.subplots(ROWS, 2 + len(runs))
    for axes, index in zip(grid, typical(tables), strict=True):
        sample = dataset[index]
        true = sample.target[electron, 0]
        norm = AsinhNorm(linear_width=30, vmin=0, vmax=true.max())
        axes[0].imshow(sample.image[0], norm=AsinhNorm(linear_width=30, vmin=0, vmax=sample.image.max()))
        axes[0].set_ylabel(f"{sample.meta['ER_energy']:.1f} keV", fontsize=9)
        axes[1].imshow(true, norm=norm)
        for one, (weight, run) in zip(axes[2:], runs.items(), strict=True):
            one.imshow(run.separator().separate(sample.image)[ER][0], norm=norm)
            one.set_title(f"ΔI {tables[weight]['delta_percent'][index]:+.0f} %", fontsize=9)
        for one in axes:
            one.set(xticks=[], yticks=[])
    for one, title in zip(grid[0], ("input", "true ER", *(f"weight {weight}" for weight in runs)), strict=True):
        one.set_title(f"{title}\n{one.get_title()}".strip(), fontsize=10)
    panels = (
        ("median ΔI of ER, 3-6 keV (%)", FAINT, "delta_percent", "ER_track", BLUE),
        (
            f"ER light in recoils alone ({first.adapter.unit})",
            f"kind == '{NR}'",
            "intensity_predicted",
            "NR_track",
            RED,
        ),
    )
    for axes, (label, query, column, track, colour) in zip(lower.subplots(1, 2), panels, strict=True):
        rows = [table.query(query)[[column, track]].to_numpy().T for table in tables.values()]
        value, low, high = np.transpose([bootstrap(one, median, groups=tracks) for one, tracks in rows])
        axes.errorbar(list(tables), value, error_bars(value, low, high), marker="o", capsize=3, color=colour)
        axes.set(xscale="log", xlabel="weight of the region ER&NR", ylabel=label)
        axes.set_xticks(list(tables), [f"{weight}" for weight in tables], minor=False)
        axes.minorticks_off()
        axes.axhline(0, color="black", linewidth=0.8)
    return figure


def main(arguments):
    """Train, measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/overlap_weight"), help="folder of all files")
    parser.add_argument("--set", action="append", default=[], help="change a key of all: training.epochs=10")
    options = parser.parse_args(arguments)
    runs = {}
    for weight in WEIGHTS:
        region = f"loss.region_weights={{'ER&NR': {weight}}}"
        folder = f"run={options.out / f'weight_{weight}'}"
        runs[weight] = Run.from_config(QUICKSTART, [*SMALL, region, *options.set, folder])
    tables = {weight: measured(run) for weight, run in runs.items()}
    print(f"figure: {save_figure(draw(runs, tables), options.out / 'overlap_weight.png')}")


if __name__ == "__main__":
    sys.exit(run_script(lambda: main(sys.argv[1:])))
