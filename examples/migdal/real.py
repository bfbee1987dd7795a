"""Separate measured frames and print how much light of complete nuclear recoils is taken for an electron's.

    python examples/migdal/real.py frames.npz runs/migdal-realistic runs/migdal --restore-noise

There is no truth, but electrons at the vertex of a recoil are rare: predicted electron light is mostly false. Each
complete recoil is separated in a window of the size in training; light counts in the box of the recoil. The figure
shows the recoils with the most electron light in the first run.

`--whole` separates whole frames too: electron light in recoils, its share in other tracks, and how much is beside
tracks. `--widths 4000` compares the widths of recoils with those of simulated ones of the same light.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure

from oasis.adapters.migdal.frames import find_tracks, read_frames, restore_noise, track_boxes
from oasis.adapters.migdal.scene import ER, NR
from oasis.command import at_least, run_script
from oasis.data.samples import Array
from oasis.errors import DataError
from oasis.evaluation.figures import save_figure
from oasis.inference.regions import Region, window_of
from oasis.run import Run

SHOWN = 5  # recoils in the figure
FLOOR = 24  # ADU below which frames were stored as 0
ALIKE = 1.25  # ratio of light up to which recoils are alike
AREA = 96 * 96  # pixels to which light far from tracks refers


def box_of(track: pd.Series) -> tuple[slice, ...]:
    """Return the rows and columns of a track."""
    return tuple(slice(int(track[f"{axis}min"]), int(track[f"{axis}max"]) + 1) for axis in ("row", "col"))


def separated(frames: Array, recoils: pd.DataFrame, run: Run) -> list[tuple[Array, Array, float]]:
    """Return the window, its maps (N, H, W) and the electron light in the box of every recoil."""
    separator, classes, found = run.separator(), run.adapter.classes, []
    for _, track in recoils.iterrows():
        box = box_of(track)
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


def in_frames(frames: Array, tracks: pd.DataFrame, run: Run) -> tuple[float, float, float]:
    """Return what is taken for electrons if frames are separated as a whole.

    Returns:
        The median light in recoils, ADU; the share of the light of all other tracks; the mean light beside tracks,
        ADU per 96 x 96 pixels.
    """
    separator = run.separator()
    recoils, others, beside = [], np.zeros(2), []
    for number, frame in enumerate(frames):
        maps = separator.separate(frame)
        for _, track in tracks[tracks["frame"] == number].iterrows():
            light = np.array([maps[name][box_of(track)].sum() for name in (ER, NR)])
            if track["recoil"]:
                recoils.append(light[0])
            else:
                others += light
        empty = np.ones(frame.shape, bool)
        for box in track_boxes(frame):
            empty[box] = False
        beside.append(maps[ER][empty].mean() * AREA)
    return float(np.median(recoils)), float(others[0] / others.sum()), float(np.mean(beside))


def widths(recoils: pd.DataFrame, run: Run, count: int) -> pd.DataFrame:
    """Return light and rms width of recoils, and the median width of the run's simulated ones of the same light.

    The simulated ones, of `count` test events, lose what is below `FLOOR`, as the frames did.
    """
    dataset = Run(run.folder, [f"data.events.test={count}", "data.evaluation_size=[160,160]"]).dataset("test")
    images = np.stack([dataset[index].image[0] for index in range(1, count, 2)])  # the others are hybrids
    simulated = find_tracks(np.where(images > FLOOR, images, 0)).query("recoil")
    ratio = np.abs(np.log(np.divide.outer(recoils["adu"].to_numpy(), simulated["adu"].to_numpy())))
    alike = [simulated["minor"][one] for one in ratio < np.log(ALIKE)]
    return pd.DataFrame(
        {
            "light (ADU)": recoils["adu"].round(),
            "width (px)": recoils["minor"],
            "simulated (px)": [one.median() for one in alike],
            "5 %": [one.quantile(0.05) for one in alike],
            "95 %": [one.quantile(0.95) for one in alike],
            "recoils": [len(one) for one in alike],
        }
    )


def draw(found: Mapping[str, list[tuple[Array, Array, float]]], unit: str) -> Figure:
    """Draw the recoils with the most electron light in the first run: input, and both maps of every run."""
    first = next(iter(found.values()))
    order = np.argsort([-light for *_, light in first])[:SHOWN]
    figure = Figure(figsize=(1.5 + 2.7 * len(found), 1.55 * len(order)), layout="constrained")
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
    parser.add_argument("--whole", action="store_true", help="separate whole frames too")
    parser.add_argument("--widths", type=at_least(2), metavar="N", help="simulate N events of the first run")
    parser.add_argument("--out", type=Path, default=Path("runs/migdal_real.png"), help="the figure")
    options = parser.parse_args(arguments)
    frames = read_frames(options.frames)
    tracks = find_tracks(frames)
    recoils = tracks.query("recoil")
    if recoils.empty:
        raise DataError(f"{options.frames}: no complete nuclear recoil in {len(frames)} frames")
    if options.restore_noise:
        frames = restore_noise(frames, np.random.default_rng(0))
    found = {folder.name: separated(frames, recoils, Run(folder)) for folder in options.runs}
    print(f"{len(recoils)} complete recoils in {len(frames)} frames; electron light in their boxes (ADU)")
    for name, each in found.items():
        light = np.array([one for *_, one in each])
        print(f"{name}: median {np.median(light):.0f}, largest {light.max():.0f}, none in {(light == 0).sum()}")
    if options.whole:
        print(f"whole frames: in recoils (median), of {len(tracks) - len(recoils)} other tracks, beside tracks")
        for folder in options.runs:
            light, share, beside = in_frames(frames, tracks, Run(folder))
            print(f"{folder.name}: {light:,.0f} ADU, {share:.0%}, {beside:,.0f} ADU per 96 x 96 pixels")
    if options.widths:
        table = widths(recoils, Run(options.runs[0]), options.widths)
        print(table.round(2).to_string(index=False))
        print(table[["width (px)", "simulated (px)"]].median().round(2).to_string())
    print(f"figure: {save_figure(draw(found, 'ADU'), options.out)}")


if __name__ == "__main__":
    sys.exit(run_script(lambda: main(sys.argv[1:])))
