"""Separate a measured CCD image with a trained run, and draw and count the objects found by network and cuts.

Gain and noise are those of the image; a run is best trained with the diffusion and noise of the same sensor
(`data.sensor`).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from oasis.adapters.ccd.baselines import classical
from oasis.adapters.reading import level_and_noise
from oasis.command import run_script
from oasis.data.instances import Instances
from oasis.data.samples import Array
from oasis.drawing import COLOURS
from oasis.evaluation.figures import save_figure
from oasis.instances.grouping import group
from oasis.run import Run


def draw(image: Array, found: dict[str, Instances], classes: tuple[str, ...]) -> Figure:
    """Draw an image (1, H, W) with the outlines of the objects that each method finds."""
    figure = Figure(figsize=(11, 6.2 * len(found)), layout="constrained")
    for axes, (name, objects) in zip(np.atleast_1d(figure.subplots(len(found))), found.items(), strict=True):
        axes.imshow(np.arcsinh(np.clip(image[0], 0, None) / 10), cmap="gray_r")
        for number, label in enumerate(np.asarray(objects.labels)):
            axes.contour(objects.dense(number)[0] > 0, [0.5], colors=COLOURS[label % len(COLOURS)], linewidths=0.8)
        axes.set(title=name, xticks=[], yticks=[])
    handles = [figure.axes[0].plot([], [], color=COLOURS[i], label=name)[0] for i, name in enumerate(classes)]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def main() -> None:
    """Separate, count and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a trained run")
    parser.add_argument("file", type=Path, help="the measured image, for example FITS")
    parser.add_argument("--gain", type=float, required=True, help="ADU per electron")
    parser.add_argument("--key", help="name or number of one sensor of the file")
    parser.add_argument("--out", type=Path, default=Path("runs/ccd_real"), help="folder of the figures")
    options = parser.parse_args()
    run = Run(options.run, [f"data.read.adu_per_electron={options.gain}"])
    adapter, separator = run.adapter, run.separator()
    pair_ev = adapter.options.sensor.pair_ev
    for number, image in enumerate(adapter.read(options.file, options.key).filled()):
        maps = np.stack([separator.separate(image)[name] for name in adapter.classes])
        _, noise = level_and_noise(image)
        found = {
            "network": group(maps, adapter.classes, adapter.limits, run.config.grouping),
            "components and cuts": classical(image, noise, adapter.classes, pair_ev),
        }
        print(f"sensor {number}: noise {noise:.2f} e-")
        for name, objects in found.items():
            counts = dict(zip(adapter.classes, objects.counts(len(adapter.classes)).tolist(), strict=True))
            energy = objects.intensity[:, 0] * pair_ev / 1e3
            spots = int(((energy > 5.2) & (energy < 6.6)).sum())
            print(f"{name:>20}: {counts}, of 5.2-6.6 keV: {spots}, summed {energy.sum() / 1e3:.1f} MeV")
        print(f"figure: {save_figure(draw(image, found, adapter.classes), options.out / f'sensor_{number}.png')}")


if __name__ == "__main__":
    sys.exit(run_script(main))
