"""Draws figures of the pages: python docs/draw.py [NAME...] writes docs/figures/NAME.png, all of them by default.

Where a page has code, its figure shows what that code computes. All numbers are seeded.
"""

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

import oasis
from oasis.data.augmentation import Augmentation, Augmented
from oasis.drawing import BLUE, COLOURS, GREEN, RED, add_legend
from oasis.evaluation.calibration.coverage import coverage_table
from oasis.evaluation.figures import png
from oasis.inference.regions import Region, window_of
from oasis.io.files import replace_when_whole
from oasis.run import Run
from oasis.stats.roc import roc
from oasis.zoo.folders import zoo_folder

DOCS = Path(__file__).parent
FIGURE_FOLDER = DOCS / "figures"
PYTHON = re.compile(r"^```python\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
WIDTH = 8.5  # inches
COLOURS_OF_A_PICTURE = 128  # of its palette, which makes files small


def of_page(page: str, count: int) -> dict[str, Any]:
    """Return the names that the first blocks of Python in a page define."""
    names: dict[str, Any] = {"__name__": "__docs__"}
    torch.manual_seed(0)
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        for code in PYTHON.findall((DOCS / page).read_text())[:count]:
            exec(code, names)
    return names


def small_model(name: str, events: int = 20) -> Run:
    """Return the run of a small model of the package."""
    return Run(zoo_folder(name), [f"data.events.{split}={events}" for split in ("train", "val", "test")])


def panels(columns: int, height: float, rows: int = 1, **options: Any) -> tuple[Figure, Any]:
    """Return a figure with rows of panels."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.08)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def show(axes: Axes, values: Any, title: str = "", top: float | None = None, faint: bool = False) -> None:
    """Draw a picture; `faint` compresses what is bright."""
    top = float(np.max(values)) if top is None else top
    scale = {"norm": AsinhNorm(linear_width=top / 20, vmin=0, vmax=top)} if faint else {"vmin": 0, "vmax": top}
    axes.imshow(values, cmap="viridis", **scale)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)


def bare(axes: Axes) -> None:
    """Remove the frame above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)


def augmentation() -> Figure:
    """One training sample as each operation changes it; the contour surrounds the true electron."""
    data = small_model("migdal").dataset("test")
    index = next(i for i in range(len(data)) if data[i].meta["kind"] == "hybrid" and data[i].meta["ER_energy"] > 5)
    off = {"flips": False, "rotations": False}
    cases = {
        "flips, rotations": {"flips": True, "rotations": True},
        "affine": {**off, "affine": {"rotate": 180, "scale": [0.8, 1.3]}},
        "elastic": {**off, "elastic": {"size": 3, "length": 24}},
        "remix": {**off, "remix": {"amplitudes": [0.5, 2]}},
    }
    samples = {"the sample": data[index]}
    for name, values in cases.items():
        varied = Augmented(data, Augmentation.parse(values), seed=0)
        epochs = (varied[epoch, index] for epoch in range(1, 50))
        samples[name] = next(one for one in epochs if one.target[0].max() > 100)
    figure, grid = panels(len(samples), 1.95)
    for axes, (title, sample) in zip(grid[0], samples.items(), strict=True):
        show(axes, sample.image[0], title, faint=True)
        axes.contour(sample.target[0, 0], levels=[20], colors="white", linewidths=0.8)
    return figure


def backbones() -> Figure:
    """How much the output of a pixel depends on each input, for three untrained networks."""
    cases = {
        "unet, depth: 2": ("unet", {"depth": 2, "base_channels": 16}),
        "unet, depth: 4": ("unet", {"depth": 4, "base_channels": 16}),
        "smp/unet-resnet18": ("smp/unet-resnet18", {"encoder_weights": None}),
    }
    figure, grid = panels(len(cases), 2.9)
    for axes, (title, (name, options)) in zip(grid[0], cases.items(), strict=True):
        torch.manual_seed(0)
        model = oasis.create_model(name, in_channels=1, out_channels=1, spatial_dims=2, **options).eval()
        image = torch.randn(4, 1, 128, 128, requires_grad=True)
        model(image)[:, :, 64, 64].sum().backward()
        reach = image.grad.abs().mean(dim=(0, 1)).numpy()
        number = sum(one.numel() for one in model.parameters()) / 1e3
        picture = axes.imshow(np.log10(reach / reach.max() + 1e-9), vmin=-6, vmax=0, cmap="magma")
        axes.set(xticks=[0, 64, 127], yticks=[0, 64, 127])
        axes.set_title(f"{title}\n{number:,.0f} thousand parameters", fontsize=9)
    figure.colorbar(picture, ax=list(grid[0]), label="log10 of the relative dependence", shrink=0.85)
    return figure


def calibration() -> Figure:
    """Intervals of single objects, and their coverage by the overlap, of the table on the page."""
    names = of_page("howto/calibration.md", 2)
    table = names["test"].join(names["intervals"])
    figure, grid = panels(2, 3.1)
    left, right = grid[0]
    some = table[table["intensity_true"] > 0].head(120)
    inside = some["intensity_true"].between(some["intensity_low"], some["intensity_high"])
    for rows, colour, label in ((some[inside], BLUE, "contain the truth"), (some[~inside], RED, "do not")):
        middle = rows["intensity_calibrated"]
        ends = [middle - rows["intensity_low"], rows["intensity_high"] - middle]
        left.errorbar(rows["intensity_true"], middle, ends, fmt=".", color=colour, label=label, lw=0.7, ms=3)
    left.axline((0, 0), slope=1, color="0.6", lw=0.8)
    left.set(xlabel="true intensity", ylabel="calibrated, with 90 % interval", xlim=(0, 5000), ylim=(0, 5000))
    add_legend(left, fontsize=8)
    by = coverage_table(table, "overlap_fraction_predicted", (0, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.01))
    middle = by["coverage"]
    ends = [middle - by["coverage_low"], by["coverage_high"] - middle]
    right.errorbar((by["low"] + by["high"]) / 2, middle, ends, fmt="o", color=BLUE, ms=4)
    right.axhline(0.9, color="0.6", lw=0.8)
    right.set(xlabel="predicted overlap", ylabel="fraction of intervals with the truth", ylim=(0.8, 1))
    for axes in (left, right):
        bare(axes)
    return figure


def detection() -> Figure:
    """The scores of both kinds of event, and true against false positives, of the table on the page."""
    names = of_page("howto/detection.md", 2)
    signal, background, points = names["signal"], names["background"], names["points"]
    figure, grid = panels(2, 3.0)
    left, right = grid[0]
    edges = np.geomspace(200, 40000, 40)
    for scores, colour, label in (
        (background, "0.6", "recoils alone"),
        (signal, BLUE, "with an electron, 3-6 keV"),
    ):
        left.hist(np.clip(scores, 200, None), edges, color=colour, alpha=0.7, label=label)
    for threshold, rate in zip(points["threshold"][:2], points["false_rate"], strict=False):
        left.axvline(threshold, color=RED, lw=0.9)
        left.text(threshold * 1.05, left.get_ylim()[1] * 0.93, f"{rate:.0%}", color=RED, fontsize=8)
    left.set(xscale="log", xlabel="predicted intensity of ER (lower ones in the first bin)", ylabel="events")
    add_legend(left, fontsize=8, loc="upper left")
    false, true = roc(signal, background)
    right.plot(false, true, color=BLUE)
    ends = [points["true_rate"] - points["true_rate_low"], points["true_rate_high"] - points["true_rate"]]
    right.errorbar(points["false_rate"], points["true_rate"], ends, fmt="o", color=RED, ms=4)
    right.set(xscale="log", xlabel="false positives", ylabel="true positives", xlim=(5e-4, 1), ylim=(0, 1))
    for axes in (left, right):
        bare(axes)
    return figure


def export() -> Figure:
    """What an exported program contains: from the raw image to maps in the same units."""
    run = small_model("migdal")
    separator, data = run.separator("cpu"), run.dataset("test")
    sample = max((data[i] for i in range(len(data))), key=lambda one: one.target[0].sum())
    maps = separator.separate(sample.image[0])
    scale = separator.options.scaling.fit(torch.tensor(sample.image[None]))
    scaled = scale.forward(torch.tensor(sample.image[None]))[0, 0].numpy()
    figure, grid = panels(4, 2.7)
    shown = {"raw image (ADU)": sample.image[0], "→ scaled": scaled} | {
        f"→ map of {name} (ADU)": values for name, values in maps.items()
    }
    for axes, (title, values) in zip(grid[0], shown.items(), strict=True):
        show(axes, np.squeeze(values), title, faint="raw" in title)
    grid[0][1].set_xlabel("inside the file: scaling,\nnetwork, heads, and back", fontsize=9)
    for side in grid[0][1].spines.values():
        side.set(color=RED, linewidth=2)
    return figure


def frame(run: Run, places: Any, size: tuple[int, int], seed: int) -> Any:
    """Return a large image with the objects of one event at each place, on the noise of the camera."""
    data = run.dataset("test")
    events = sorted((data[i] for i in range(len(data))), key=lambda one: -one.target[0].sum())
    noise = events[0].image - events[0].target.sum(axis=0)
    image = np.random.default_rng(seed).normal(noise.mean(), noise.std(), (1, *size)).astype(np.float32)
    for event, (row, col) in zip(events, places, strict=False):
        light = event.target.sum(axis=0)
        rows, cols = (np.flatnonzero((light > 1).any(axis=(0, axis))) for axis in (2, 1))
        light = light[:, rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        image[:, row : row + light.shape[1], col : col + light.shape[2]] += light
    return image


def windows(run: Run, image: Any) -> Iterator[tuple[slice, slice]]:
    """Yield the window of the size in training around everything in an image."""
    size = run.separator("cpu").options.trained_size
    for box in run.adapter.regions_of_interest(image):
        yield window_of(Region(box), size, image.shape[1:])


def framed(axes: Axes, part: tuple[slice, slice]) -> None:
    """Draw the border of a window."""
    (rows, cols), side = part, part[0].stop - part[0].start
    axes.add_patch(Rectangle((cols.start, rows.start), side, side, fill=False, color="white", lw=0.9))


def large_images() -> Figure:
    """An image cut into tiles with halos, and windows around the objects that it contains."""
    run = small_model("migdal")
    image = frame(run, [(40, 60), (190, 400), (140, 160)], (288, 512), seed=1)
    figure, grid = panels(2, 2.75)
    for axes, title in zip(grid[0], ("--window tiles", "--window regions"), strict=True):
        show(axes, image[0], title, faint=True)
    for row in range(0, 288, 96):
        for col in range(0, 512, 128):
            grid[0][0].add_patch(Rectangle((col, row), 128, 96, fill=False, color="white", lw=0.6))
    grid[0][0].add_patch(Rectangle((128 - 24, 96 - 24), 128 + 48, 96 + 48, fill=False, color=RED, lw=1.5))
    for part in windows(run, image):
        found = np.squeeze(run.separator("cpu").separate(image[0][part])["ER"])
        left, top = part[1].start - 0.5, part[0].start - 0.5
        extent = (left, left + len(found), top, top + len(found))
        grid[0][1].contour(found, levels=[20], colors=RED, linewidths=0.8, extent=extent)
        framed(grid[0][1], part)
    grid[0][1].set(xlim=grid[0][0].get_xlim(), ylim=grid[0][0].get_ylim())
    return figure


def stream() -> Figure:
    """Frames in the order in which they come, and the map of one class in the windows with something in them."""
    run = small_model("migdal")
    figure, grid = panels(4, 3.0, rows=2)
    places = ([(30, 40)], [], [(60, 120)], [(5, 10), (75, 130)])
    for number, (axes, at) in enumerate(zip(grid.T, places, strict=True)):
        image = frame(run, at, (180, 240), seed=number)
        show(axes[0], image[0], f"frame {number}", top=5000, faint=True)
        whole = np.zeros(image.shape[1:], dtype=np.float32)
        for part in windows(run, image):
            found = run.separator("cpu").separate(image[0][part])["ER"]
            whole[part] = np.maximum(whole[part], np.squeeze(found))
            framed(axes[0], part)
        show(axes[1], whole, top=400)
    grid[0][0].set_ylabel("input")
    grid[1][0].set_ylabel("map of ER")
    return figure


def objects() -> Figure:
    """Predicted against true quantities of particles that leave one vertex."""
    run = small_model("neutrino", 150)
    table = run.measure(run.dataset("test"), run.separator("cpu"), workers=0)
    figure, grid = panels(3, 3.0)
    names = ("proton_1", "proton_2", "proton_3")
    for axes, name in zip(grid[0], names, strict=True):
        rows = table[(table["class"] == name) & (table["intensity_true"] > 0)]
        axes.plot(rows["ke_true"], rows["ke_predicted"], ".", color=BLUE, ms=4)
        axes.axline((0, 0), slope=1, color="0.6", lw=0.8)
        axes.set(title=name, xlabel="true kinetic energy (MeV)", xlim=(0, 60), ylim=(0, 60))
        bare(axes)
    grid[0][0].set_ylabel("predicted (MeV)")
    return figure


def own_domain() -> Figure:
    """A sample of the adapter on the page: both bands, the maps, and the region of each pixel."""
    run = Run.from_config(DOCS.parent / "examples/own_adapter.yaml")
    data = run.dataset("test")
    overlap = [(data[i].target.sum(axis=1) > 1).all(axis=0).sum() for i in range(16)]
    sample = data[int(np.argmax(overlap))]
    present = sample.target.sum(axis=1) > run.adapter.limits["cell"]
    codes = present[0] + 2 * present[1]
    figure, grid = panels(5, 2.0)
    shown = {"green band": sample.image[0], "red band": sample.image[1]}
    shown |= {
        f"map of {name}": one.sum(axis=0) for name, one in zip(run.adapter.classes, sample.target, strict=True)
    }
    for axes, (title, values) in zip(grid[0], shown.items(), strict=False):
        show(axes, values, title)
    table = np.array([[255, 255, 255], [0, 114, 178], [213, 94, 0], [0, 158, 115]], dtype=np.uint8)
    show(grid[0][4], table[codes.astype(int)], "regions")
    for colour, text, at in ((BLUE, "cell", 0.0), (RED, "fibre", 0.33), (GREEN, "cell&fibre", 0.7)):
        grid[0][4].text(at, -0.12, text, color=colour, fontsize=8, transform=grid[0][4].transAxes)
    return figure


def own_training_loop() -> Figure:
    """The loss of the loop on the page, continued to 600 steps, and the maps after them."""
    names = of_page("howto/own_training_loop.md", 1)
    source = PYTHON.findall((DOCS / "howto/own_training_loop.md").read_text())[0]
    names["losses"] = []
    step = source[source.index("for step in") :].replace("range(5)", "range(600)")
    exec(step.replace("    optimizer.step()", "    optimizer.step()\n    losses.append(value.item())"), names)
    figure, grid = panels(4, 2.3, width_ratios=[1.5, 1, 1, 1])
    curve, *pictures = grid[0]
    curve.plot(names["losses"], color=BLUE, lw=0.8)
    curve.set(yscale="log", xlabel="step", ylabel="loss")
    bare(curve)
    shown = {
        "image": names["image"][0, 0],
        "true map of a": names["target"][0, 0],
        "predicted": names["maps"][0, 0],
    }
    for axes, (title, values) in zip(pictures, shown.items(), strict=True):
        show(axes, values.numpy(), title, top=None if title == "image" else 6)
    return figure


def rates() -> Figure:
    """Frames per second, from the table of the page on costs."""
    rows = re.findall(
        r"^\| ([^|]+) \| ([\d.,]+) frames/s[^|]*\|[^|]*\| (\w+)", (DOCS / "scaling.md").read_text(), re.M
    )
    names, values, kinds = zip(*rows, strict=True)
    figure, grid = panels(1, 2.8)
    axes = grid[0][0]
    colours = [BLUE if kind == "measured" else "0.7" for kind in kinds]
    bars = axes.barh(names, [float(value.replace(",", "")) for value in values], color=colours)
    axes.bar_label(bars, labels=values, padding=3, fontsize=8)
    axes.set(xscale="log", xlabel="frames per second (grey: extrapolated)", xlim=(1, 60000))
    axes.invert_yaxis()
    bare(axes)
    return figure


def sharing() -> Figure:
    """The files that a repository receives, with their sizes, for a small model of the package."""
    sizes = pd.Series({path.name: path.stat().st_size / 1000 for path in zoo_folder("migdal").iterdir()})
    sizes = sizes.sort_values()
    figure, grid = panels(1, 2.2)
    axes = grid[0][0]
    bars = axes.barh(sizes.index, sizes, color=COLOURS[0])
    axes.bar_label(bars, fmt="%.1f kB", padding=3, fontsize=8)
    axes.set(xscale="log", xlabel="size (kB)", xlim=(0.01, 5000))
    bare(axes)
    return figure


FIGURES = {
    one.__name__: one
    for one in (augmentation, backbones, calibration, detection, export, large_images, objects, own_domain)
    + (own_training_loop, rates, sharing, stream)
}


def write(name: str) -> Path:
    """Draw a figure and write it with a palette, which makes the file small."""
    picture = Image.open(io.BytesIO(png(FIGURES[name](), dpi=120))).convert("RGB")
    path = FIGURE_FOLDER / f"{name}.png"
    with replace_when_whole(path) as temporary:
        smaller = picture.quantize(COLOURS_OF_A_PICTURE, dither=Image.Dither.NONE)
        smaller.save(temporary, format="png", optimize=True)
    return path


if __name__ == "__main__":
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    for name in sys.argv[1:] or FIGURES:
        path = write(name)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB", flush=True)
