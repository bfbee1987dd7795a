"""Train on few measured nuclear recoils: what is to be had from 20, 200 and 2,000 of them.

The recoils are simulated, imaged in whole frames like measured ones, and given to the adapter as a file of
frames (`data.recoils`), which knows neither their vertex nor their direction. All models have the quickstart's
network, see equally many samples, and are measured on the same held-out events of tracks that no model has seen.
`simulated` is trained on the simulation itself. Intervals are 95 %, from resampling tracks.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from compare import Metric, measured, metrics, prepared
from demo import QUICKSTART
from matplotlib.figure import Figure

from oasis.adapters.migdal.frames import find_tracks
from oasis.command import at_least, run_script
from oasis.drawing import COLOURS, error_bars
from oasis.errors import DataError
from oasis.evaluation.figures import save_figure
from oasis.run import Run
from oasis.stats.intervals import Estimate

COUNTS = (20, 200, 2000)
TURNED = "turned"
SHOWN = (
    "bias %, 4-5 keV",
    "spread %, 4-5 keV",
    "IoU, 4-5 keV",
    "AUC, 3-6 keV",
    "TPR at FPR 0.01",
    "ER light in recoils alone, ADU",
)
TEST = "data.events={train: 4000, val: 500, test: 4096}"
COMMON = ["data.evaluation_size=[96,96]", TEST, "training.epochs=3"]
FRAMES = ["data.size=[288,512]", "data.evaluation_size=[288,512]", "data.empty=0", "data.alone=0"]


def take_frames(path: Path, count: int) -> None:
    """Write frames with `count` complete recoils of training tracks, imaged like measured ones, in whole ADU."""
    dataset = Run.from_config(QUICKSTART, [*FRAMES, f"data.events.train={8 * count}"]).dataset("train")
    frames, found = [], 0
    for index in range(1, len(dataset), 2):  # every other event is a recoil alone
        frame = np.rint(dataset[index].image[0]).astype(np.uint16)
        recoils = int(find_tracks(frame[None].astype(np.float32))["recoil"].sum())
        if recoils:
            frames.append(frame)
            found += recoils
        if found >= count:
            np.save(path, np.stack(frames))
            return
    raise DataError(f"{len(dataset) // 2} frames have {found} complete recoils, fewer than {count}")


def trainings(out: Path, counts: Sequence[int], turned: bool) -> dict[str, list[str]]:
    """Return the changes of the configuration of every training, by name."""
    found = {}
    for count in counts:
        path = out / f"recoils_{count}.npy"
        if not path.exists():
            take_frames(path, count)
        own = [f"data.recoils={path}"]
        found[f"{count:,}"] = own
        if turned:
            found[f"{count:,}, {TURNED}"] = [*own, "augmentation={flips: true, rotations: true}"]
    return {**found, "simulated": []}


def learning_curve(values: Mapping[str, Mapping[str, Estimate]], counts: Sequence[int]) -> Figure:
    """Draw every metric against the number of recoils, with the level of the simulation."""
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    for axes, label in zip(figure.subplots(2, 3).flat, SHOWN, strict=True):
        for colour, suffix in zip(COLOURS, ("", f", {TURNED}"), strict=False):
            if f"{counts[0]:,}{suffix}" not in values:
                continue
            value, low, high = np.transpose([values[f"{count:,}{suffix}"][label] for count in counts])
            name = suffix.removeprefix(", ") or "as measured"
            axes.errorbar(
                counts, value, error_bars(value, low, high), color=colour, marker="o", capsize=3, label=name
            )
        axes.axhline(values["simulated"][label].value, color="grey", linestyle="--", label="the simulation itself")
        axes.set(xscale="log", xlabel="recoils", title=label)
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.minorticks_off()
    figure.axes[0].legend()
    return figure


def main() -> None:
    """Run all trainings that were not run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=at_least(1), nargs="+", default=COUNTS)
    parser.add_argument("--turned", action="store_true", help="also with flips and rotations by right angles")
    parser.add_argument("--out", type=Path, default=Path("runs/own_recoils"), help="folder of all files")
    parser.add_argument("--set", action="append", default=[], help="change a key of all: training.epochs=10")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    test = options.out / "test.h5"
    if not test.exists():
        Run.from_config(QUICKSTART, [*COMMON, *options.set]).simulate(test, "test")
    shown: list[Metric] = [metric for metric in metrics() if metric.label in SHOWN]
    values = {}
    for name, changes in trainings(options.out, options.counts, options.turned).items():
        folder = options.out / name.replace(", ", "_").replace(",", "")
        run = Run.from_config(
            QUICKSTART, [*COMMON, f"data.files.test={test}", *changes, *options.set, f"run={folder}"]
        )
        table = prepared(measured(run, folder.with_suffix(".parquet")))
        values[name] = {metric.label: metric.of([table]) for metric in shown}
    rows = {
        name: {metric.label: format(each[metric.label], metric.spec) for metric in shown}
        for name, each in values.items()
    }
    print(pd.DataFrame(rows).T.rename_axis("recoils").to_string())
    print(f"figure: {save_figure(learning_curve(values, options.counts), options.out / 'own_recoils.png')}")


if __name__ == "__main__":
    sys.exit(run_script(main))
