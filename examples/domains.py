"""Draws typical events of several domains, separated by the small models of the package: the figure of the README.

    python examples/domains.py --out docs/figures/domains.png
    python examples/domains.py cells --out docs/figures/cells.png

A typical event has the median error among those in which the class shares half of its pixels with others or more
and is found at all.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure

from oasis.command import run_script
from oasis.data.pictures import top_of
from oasis.data.views import view, window
from oasis.drawing import RED
from oasis.evaluation.figures import save_figure
from oasis.evaluation.gallery import predicted_maps
from oasis.evaluation.pictures import difference
from oasis.run import Run
from oasis.zoo.folders import zoo_folder

SHOWN = {  # the class, what is shown, and what of the event table the title states
    "migdal": ("ER", "electron under a\nnuclear recoil", "{ER_energy:.1f} keV"),
    "galaxy": ("target", "blended galaxies\n(DECaLS)", "{intensity_true:.0f} nmgy"),
    "waveform": ("signal", "pulse on slow pulses\nand noise", "{amplitude_true:.0f} mV"),
    "cells": ("vesicle", "vesicles on nuclei\nand filaments", "{intensity_true:,.0f} photoelectrons"),
}
FIRST = ("migdal", "galaxy", "waveform")
TITLES = ("input", "truth", "prediction", "prediction − truth")
EVENTS = 60
OVERLAP = 0.5  # share of the pixels of the class
LINES = 0.6  # height of panels of lines, in their width


def typical_event(name, label):
    """Return the input, truth and prediction of a class in a typical event, and its row of the event table."""
    run = Run(zoo_folder(name), [f"data.events.{split}={EVENTS}" for split in ("train", "val", "test")])
    separator, dataset, adapter = run.separator("cpu"), run.dataset("test"), run.adapter
    table = run.measure(dataset, separator, workers=0)
    found = (table["class"] == label) & (table["intensity_predicted"] > 0)
    rows = table[found & (table["overlap_fraction"] >= OVERLAP)]
    errors = rows["delta_percent"].abs()
    row = table.loc[(errors - errors.median()).abs().idxmin()]
    sample = dataset[int(row.name) // len(adapter.classes)]
    place, part = adapter.classes.index(label), window(sample.valid[0])
    maps = predicted_maps(separator, sample, adapter)
    return [view(one, part) for one in (sample.image, sample.target[place], maps[place])], row


def draw_pictures(axes, image, true, predicted):
    """Draw a row of pictures: the input on a scale of its own, the others on one of theirs."""
    missed, top = difference(predicted, true), max(top_of(true), top_of(predicted))
    stretch = AsinhNorm(linear_width=top / 3, vmin=0, vmax=top_of(image))
    axes[0].imshow(image, norm=stretch, cmap="viridis")
    for one, values in zip(axes[1:3], (true, predicted), strict=True):
        one.imshow(values, vmin=0, vmax=top, cmap="viridis")
    axes[3].imshow(missed, vmin=-top, vmax=top, cmap="RdBu_r")
    for one in axes:
        one.set(xticks=[], yticks=[])


def draw_lines(axes, image, true, predicted):
    """Draw a row of lines, all but the input on one scale."""
    lines = (image, true, predicted, difference(predicted, true))
    for one, values, colour in zip(axes, lines, ("grey", "black", RED, "black"), strict=True):
        one.plot(values, color=colour, linewidth=0.8)
        one.set(xticks=[], yticks=[])
    low, high = min(map(np.min, lines[1:])), max(map(np.max, lines[1:]))
    for one in axes[1:]:
        one.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))


def main(arguments):
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=FIRST, metavar="NAME", help=", ".join(SHOWN))
    parser.add_argument("--out", type=Path, default=Path("domains.png"))
    options = parser.parse_args(arguments)
    events = {name: typical_event(name, SHOWN[name][0]) for name in options.names}
    shapes = [parts[0].shape for parts, _ in events.values()]
    heights = [LINES if len(shape) == 1 else shape[0] / shape[1] for shape in shapes]  # in widths of a panel
    figure = Figure(figsize=(8.5, 0.3 + 0.3 * len(events) + 2 * sum(heights)), layout="constrained")
    grid = figure.subplots(len(events), len(TITLES), squeeze=False, height_ratios=heights)
    for axes, (name, (parts, row)) in zip(grid, events.items(), strict=True):
        label, text, quantity = SHOWN[name]
        (draw_lines if parts[0].ndim == 1 else draw_pictures)(axes, *parts)
        axes[0].set_ylabel(text, fontsize=9)
        title = f"{label}, {quantity.format(**row)}: ΔI {row['delta_percent']:+.0f} %"
        axes[0].set_title(title, loc="left", fontsize=9)
    for axes, title in zip(grid[0], TITLES, strict=True):
        axes.set_title(f"{title}\n", fontsize=10)
    save_figure(figure, options.out)
    print(options.out)


if __name__ == "__main__":
    sys.exit(run_script(lambda: main(sys.argv[1:])))
