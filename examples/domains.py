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

SHOWN = {
    "migdal": ("ER", "an electron recoil under\na nuclear recoil (MIGDAL)"),
    "galaxy": ("target", "the central one of\nblended galaxies (DECaLS)"),
    "waveform": ("signal", "a pulse under slow pulses\nand noise"),
    "cells": ("vesicle", "vesicles on nuclei and\nfilaments (cells)"),
}
FIRST = ("migdal", "galaxy", "waveform")
TITLES = ("input", "truth", "prediction", "difference")
EVENTS = 60
OVERLAP = 0.5  # share of the pixels of the class


def typical_event(name, label):
    """Return the input, truth and prediction of a class in a typical event of a domain."""
    run = Run(zoo_folder(name), [f"data.events.{split}={EVENTS}" for split in ("train", "val", "test")])
    separator, dataset, adapter = run.separator("cpu"), run.dataset("test"), run.adapter
    table = run.measure(dataset, separator, workers=0)
    found = (table["class"] == label) & (table["intensity_predicted"] > 0)
    rows = table[found & (table["overlap_fraction"] >= OVERLAP)]
    errors = rows["delta_percent"].abs()
    sample = dataset[int((errors - errors.median()).abs().idxmin()) // len(adapter.classes)]
    place, part = adapter.classes.index(label), window(sample.valid[0])
    maps = predicted_maps(separator, sample, adapter)
    return [view(one, part) for one in (sample.image, sample.target[place], maps[place])]


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
    figure = Figure(figsize=(8.5, 0.2 + 1.87 * len(options.names)), layout="constrained")
    grid = figure.subplots(len(options.names), len(TITLES), squeeze=False)
    for axes, name in zip(grid, options.names, strict=True):
        label, text = SHOWN[name]
        parts = typical_event(name, label)
        (draw_lines if parts[0].ndim == 1 else draw_pictures)(axes, *parts)
        axes[0].set_ylabel(text, fontsize=9)
    for axes, title in zip(grid[0], TITLES, strict=True):
        axes.set_title(title, fontsize=10)
    save_figure(figure, options.out)
    print(options.out)


if __name__ == "__main__":
    sys.exit(run_script(lambda: main(sys.argv[1:])))
