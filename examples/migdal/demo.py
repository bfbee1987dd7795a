"""Train the same small network by the paper's method and by the quickstart's; compare them on the same events.

`unweighted` and `weighted` are the method of the paper (softplus head, GroupNorm, its scaling) without
and with its overlap weights, `ours` is the quickstart. All are trained at the same time and share the cores.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from oasis.command import at_least, run_script
from oasis.processes import children_end_too, end_with_parent, sheltered

if TYPE_CHECKING:  # the functions import what takes seconds, so that Ctrl-C ends the demonstration at any moment
    import pandas as pd

    from oasis.evaluation.summary import Summary
    from oasis.run import Run

QUICKSTART = Path(__file__).with_name("quickstart.yaml")
PAPER = ["head={name: softplus}", "scaling={percentile: 99, scale: null, peak: true}", "model.norm=group"]
METHODS = {
    "unweighted": [*PAPER, "loss.class_weights={}", "loss.region_weights={}"],
    "weighted": [*PAPER, 'loss.region_weights={ER: 3, NR: 1, "ER&NR": 6}'],
    "ours": [],
}
SHORT = ["training.epochs=5", "data.events.test=3000"]  # so that all end within a quarter of an hour
NOISE = (12, 288, 512)  # whole frames of noise
AREA = 96 * 96  # pixels to which light in them refers


def train_and_measure(name: str, changes: list[str], threads: int) -> pd.DataFrame:
    """Train one of the models in this process and return its event table."""
    import torch

    from oasis.run import Run

    logging.basicConfig(level=logging.INFO, format=f"{name:>16}: %(message)s", force=True)
    torch.set_num_threads(threads)
    run = Run.from_config(QUICKSTART, changes)
    run.train(resume=run.files.last.exists())
    return run.evaluate(workers=0).table


def print_comparison(summaries: dict[str, Summary], unit: str) -> None:
    """Print bias, spread and IoU of all methods at the lowest energies, and how they detect electrons."""
    print(f"\n{'':>16} {'energy':>8} {'median ΔI %':>24} {'25-75 % spread':>15} {'median IoU':>22}")
    for name, summary in summaries.items():
        for row in summary.bins.head(3).itertuples():
            bias = f"{row.bias:+.1f} [{row.bias_low:+.1f}, {row.bias_high:+.1f}]"
            iou = f"{row.iou:.3f} [{row.iou_low:.3f}, {row.iou_high:.3f}]"
            print(f"{name:>16} {row.low:g}-{row.high:g} keV {bias:>24} {row.spread:>15.1f} {iou:>22}")
    print(
        "\n3-6 keV hybrids against recoils alone: ROC AUC, found at 1 % false positives; median ER light in these"
    )
    for name, summary in summaries.items():
        row = summary.points[summary.points["false_rate"] == 0.01].iloc[0]
        true = f"{100 * row.true_rate:.0f} [{100 * row.true_rate_low:.0f}, {100 * row.true_rate_high:.0f}] %"
        print(f"{name:>16} {summary.auc:.3f}  {true:>17}  {summary.false_intensity:.0f} {unit}")


def print_false_light(tables: dict[str, pd.DataFrame], folder: Path, unit: str) -> None:
    """Print how often recoils alone have electron light, and how much is found in whole frames of noise."""
    import numpy as np

    from oasis.adapters.migdal.frames import restore_noise
    from oasis.run import Run

    noise = restore_noise(np.zeros(NOISE, np.float32), np.random.default_rng(0), floor=np.inf)
    print(f"\nER light where there is none: recoils alone with any; frames of noise, {unit} per 96 x 96 pixels")
    for name, table in tables.items():
        alone = table.query("`class` == 'ER' and kind == 'NR'")["intensity_predicted"] > 0
        separator = Run(folder / name).separator()
        light = np.array([separator.separate(frame)["ER"].mean() for frame in noise]) * AREA
        print(f"{name:>16} {alone.mean():>6.1%}  median {np.median(light):.0f}, largest {light.max():.0f}")


def draw(tables: dict[str, pd.DataFrame], summaries: dict[str, Summary], run: Run, out: Path) -> None:
    """Draw the comparison and a gallery of events separated by the quickstart."""
    from oasis.evaluation.figures import comparison_figures, save_figure
    from oasis.evaluation.gallery import gallery_figure, gallery_indices, typical_background

    figures = comparison_figures(tables, summaries)
    study = summaries["ours"].study
    events = gallery_indices(tables["ours"], study) | typical_background(tables["ours"], study)
    figures["gallery"] = gallery_figure(run.separator(), run.dataset("test"), events, run.adapter, study.name)
    for title, figure in figures.items():
        print(f"figure: {save_figure(figure, out / f'{title}.png')}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=at_least(0), default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/demo"))
    parser.add_argument("--set", action="append", default=[], help="change a key of all: training.epochs=10")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    changes = {
        name: [*SHORT, f"seed={options.seed}", f"run={options.out / name}", *method, *options.set]
        for name, method in METHODS.items()
    }
    threads = max(1, (os.cpu_count() or 1) // len(METHODS))
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(METHODS), spawn, initializer=end_with_parent) as pool, children_end_too():
        with sheltered():
            jobs = {name: pool.submit(train_and_measure, name, changes[name], threads) for name in METHODS}
        tables = {name: jobs[name].result() for name in METHODS}
    from oasis.evaluation.summary import summarise
    from oasis.run import Run

    run = Run.from_config(QUICKSTART, changes["ours"])
    summaries = {name: summarise(table, run.adapter.study) for name, table in tables.items()}
    print_comparison(summaries, run.adapter.unit)
    print_false_light(tables, options.out, run.adapter.unit)
    draw(tables, summaries, run, options.out)
    print(f"{(time.monotonic() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    sys.exit(run_script(lambda: main(sys.argv[1:])))
