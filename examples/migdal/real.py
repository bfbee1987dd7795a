"""Separate measured frames and print how much light of complete nuclear recoils is taken for an electron's.

    python examples/migdal/real.py frames.npz runs/migdal-realistic runs/migdal --restore-noise

There is no truth, but electrons at the vertex of a recoil are rare: predicted electron light is mostly false. Each
complete recoil is separated in a window of the size in training; light counts in the box of the recoil. The figure
shows the recoils with the most electron light in the first run.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure

from oasis.adapters.migdal.frames import find_tracks, read_frames, restore_noise
from oasis.adapters.migdal.scene import ER, NR
from oasis.command import run_script
from oasis.data.samples import Array
from oasis.errors import DataError
from oasis.evaluation.figures import save_figure
from oasis.inference.regions import Region, window_of
from oasis.run import Run

SHOWN = 5  # recoils in the figure


def separated(frames: Array, recoils: pd.DataFrame, run: Run) -> list[tuple[Array, Array, float]]:
    """Return the window, its maps (N, H, W) and the electron light in the box of every recoil."""
    separator, classes, found = run.separator(), run.adapter.classes, []
    for _, track in recoils.iterrows():
        box = tuple(slice(int(track[f"{axis}min"]), int(track[f"{axis}max"]) + 1) for axis in ("row", "col"))
        window = window_of(Region(box), run.adapter.options.size, frames.shape[1:])
        image = frames[int(track["frame"])][window]
        maps = separator.separate(image)
        light = np.stack([np.reshape(maps[name], image.shape) for name in classes])
        inside = tuple(
            slice(max(part.start - whole.start, 0), part.stop - whole.start)
            for part, whole in zip(box, window, strict=True)
        )
        found.append((image, light, float(light[classes.index(ER)][inside].sum())))
    return found


def draw(found: Mapping[str, list[tuple[Array, Array, float]]], unit: str) -> Figure:
    """Draw the recoils with the most electron light in the first run: input, and both maps of every run."""
    first = next(iter(found.values()))
    order = np.argsort([-light for *_, light in first])[:SHOWN]
    figure = Figure(figsize=(2 + 3.6 * len(found), 2 * len(order)), layout="constrained")
    for line, number in zip(figure.subplots(len(order), 1 + 2 * len(found), squeeze=False), order, strict=True):
        image = first[number][0]
        norm = AsinhNorm(linear_width=30, vmin=0, vmax=image.max())
        panels = [(image, "input" if number == order[0] else "")]
        for name, each in found.items():
            _, maps, light = each[number]
            panels += [(maps[0], f"{name}\n{ER} {light:,.0f} {unit}"), (maps[1], f"{NR} {maps[1].sum():,.0f}")]
        for axes, (values, title) in zip(line, panels, strict=True):
            axes.imshow(values, norm=norm)
            axes.set_title(title, fontsize=8)
            axes.set(xticks=[], yticks=[])
    return figure


def main(arguments: Sequence[str]) -> None:
    """Separate, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=Path, help="measured frames, as for data.recoils")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of trained runs")
    parser.add_argument("--restore-noise", action="store_true", help="the frames were stored above 24 ADU only")
    parser.add_argument("--out", type=Path, default=Path("runs/migdal_real.png"), help="the figure")
    options = parser.parse_args(arguments)
    frames = read_frames(options.frames)
    recoils = find_tracks(frames).query("recoil")
    if recoils.empty:
        raise DataError(f"{options.frames}: no complete nuclear recoil in {len(frames)} frames")
    if options.restore_noise:
        frames = restore_noise(frames, np.random.default_rng(0))
    found = {folder.name: separated(frames, recoils, Run(folder)) for folder in options.runs}
    print(f"{len(recoils)} complete recoils in {len(frames)} frames; electron light in their boxes (ADU)")
    for name, each in found.items():
        light = np.array([one for *_, one in each])
        print(f"{name}: median {np.median(light):.0f}, largest {light.max():.0f}, none in {(light == 0).sum()}")
    print(f"figure: {save_figure(draw(found, 'ADU'), options.out)}")


if __name__ == "__main__":
    sys.exit(run_script(lambda: main(sys.argv[1:])))
