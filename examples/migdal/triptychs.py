"""Draw simulated hybrids with their true maps and the regions that the loss weights.

    python examples/migdal/triptychs.py --out docs/figures/migdal_regions.png

Each row is the first event of the test split whose electron has about an energy and lies partly under the recoil.
`--scheme method.png` also draws the way from an image to maps and to the loss, with the package's small model.
"""

import argparse
import sys
from pathlib import Path

import torch
from matplotlib.colors import AsinhNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Patch

import oasis
from oasis.command import run_script
from oasis.drawing import BLUE, GREEN, RED
from oasis.evaluation.figures import save_figure
from oasis.regions import present, region_codes, region_name
from oasis.run import Run

QUICKSTART = Path(__file__).with_name("quickstart.yaml")
ENERGIES = (4, 8, 14)  # keV
NEAR = 0.3  # keV
SHARED = (0.3, 0.9)  # share of the electron's pixels under the recoil
COLOURS = ("0.93", BLUE, RED, GREEN)  # of the regions, by code


def regions_of(sample, thresholds):
    """Return the region code of every pixel of a sample (*S)."""
    return region_codes(present(torch.from_numpy(sample.target)[None], thresholds))[0, 0].numpy()


def first_hybrid(dataset, thresholds, energy):
    """Return the first sample with an electron of about an energy that lies partly under the recoil."""
    for sample in dataset:
        if abs(sample.meta.get("ER_energy", 0) - energy) < NEAR:
            codes = regions_of(sample, thresholds)
            if SHARED[0] < (codes == 3).sum() / ((codes & 1) > 0).sum() < SHARED[1]:
                return sample
    raise ValueError(f"no such electron of {energy} keV in {len(dataset)} events")


def shown(values):
    """Return how a map is drawn: bright and faint light side by side."""
    return {"cmap": "viridis", "norm": AsinhNorm(linear_width=30, vmin=0, vmax=max(values.max(), 1))}


def scheme(sample, thresholds):
    """Draw the method: an image becomes a map of each class, which the loss compares with the true ones."""
    maps = oasis.load("zoo:migdal").separate(sample.image[0])
    figure = Figure(figsize=(11, 4.4))
    panels = {  # left and lower edge, title, image and how it is drawn
        "input": (0.01, 0.33, "image", sample.image[0], shown(sample.image[0])),
        "ER": (0.42, 0.54, "map of ER", maps["ER"], shown(sample.target[0, 0])),
        "NR": (0.42, 0.06, "map of NR", maps["NR"], shown(sample.target[1, 0])),
        "true ER": (0.84, 0.54, "true ER", sample.target[0, 0], shown(sample.target[0, 0])),
        "true NR": (0.84, 0.06, "true NR", sample.target[1, 0], shown(sample.target[1, 0])),
        "regions": (0.63, 0.06, "weights of regions", regions_of(sample, thresholds), None),
    }
    for left, low, title, values, how in panels.values():
        axes = figure.add_axes((left, low, 0.15, 0.375))
        axes.imshow(values, **(how or {"cmap": ListedColormap(COLOURS), "vmin": 0, "vmax": 3}))
        axes.set(xticks=[], yticks=[], title=title)
    boxes = {
        (0.29, 0.52): "scaling\nU-Net\nhead",
        (0.705, 0.72): "loss: |map − truth|,\nweighted by\nclass and region",
    }
    for (x, y), text in boxes.items():
        figure.text(x, y, text, ha="center", va="center", bbox={"boxstyle": "round,pad=0.7", "fc": "0.93"})
    for start, end in (
        ((0.16, 0.52), (0.245, 0.52)),
        ((0.335, 0.56), (0.415, 0.70)),
        ((0.335, 0.48), (0.415, 0.28)),
        ((0.575, 0.72), (0.615, 0.72)),
        ((0.575, 0.35), (0.64, 0.62)),
        ((0.835, 0.72), (0.795, 0.72)),
        ((0.83, 0.40), (0.77, 0.60)),
        ((0.705, 0.50), (0.705, 0.60)),
    ):
        figure.add_artist(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=14, color="0.3"))
    return figure


def main(arguments):
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("migdal_regions.png"))
    parser.add_argument("--scheme", type=Path, help="also draw the method, into this file")
    options = parser.parse_args(arguments)
    run = Run.from_config(QUICKSTART, ["data.evaluation_size=[96,96]"])
    classes, unit, dataset = run.adapter.classes, run.adapter.unit, run.dataset("test")
    thresholds = torch.tensor([run.adapter.limits[name] for name in classes])
    weights = run.loss().table.tolist()
    if options.scheme:
        sample = first_hybrid(dataset, thresholds, ENERGIES[1])
        print(f"figure: {save_figure(scheme(sample, thresholds), options.scheme)}")
    figure = Figure(figsize=(8.5, 7), layout="constrained")
    grid = figure.subplots(len(ENERGIES), 4)
    for axes, energy in zip(grid, ENERGIES, strict=True):
        sample = first_hybrid(dataset, thresholds, energy)
        for one, values in zip(axes, (sample.image[0], *sample.target[:, 0]), strict=False):
            drawn = one.imshow(values, **shown(values))
            figure.colorbar(drawn, ax=one, shrink=0.8, ticks=[0, int(values.max())], format="%d").minorticks_off()
        axes[3].imshow(regions_of(sample, thresholds), cmap=ListedColormap(COLOURS), vmin=0, vmax=3)
        axes[0].set_ylabel(
            f"{sample.meta['ER_energy']:.1f} keV under {sample.meta['NR_energy']:.0f} keVee", fontsize=9
        )
        for one in axes:
            one.set(xticks=[], yticks=[])
    for axes, title in zip(
        grid[0], (f"input ({unit})", *(f"true {name}" for name in classes), "regions"), strict=True
    ):
        axes.set_title(title, fontsize=10)
    labels = [f"{region_name(code, classes)}: weight {weight:g}" for code, weight in enumerate(weights)]
    handles = [Patch(color=colour, label=label) for colour, label in zip(COLOURS, labels, strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    print(f"figure: {save_figure(figure, options.out)}")


if __name__ == "__main__":
    sys.exit(run_script(lambda: main(sys.argv[1:])))
