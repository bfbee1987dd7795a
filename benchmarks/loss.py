"""Time and memory of the overlap loss by number of classes and pixels, compared with the method of 2^N masks.

    python benchmarks/loss.py --figure docs/figures/loss_cost.png

The method of masks is the public code of the paper for two classes, generalised to N: a mask of zeros and ones for
each of the 2^N regions, the product of the presence or absence of all classes, and the weighted sum of all masks.
Both are timed in turns, forward and backward, on the same maps. Memory is the increase of the peak of the process,
as Linux counts it.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import torch
from matplotlib.figure import Figure
from speed import peak_bytes, time_in_turns
from torch import Tensor

from oasis.command import at_least, run_script
from oasis.drawing import BLUE, RED
from oasis.loss.overlap import OverlapLoss

EPSILON = 1e-6
FRAME = (288, 512)  # of the paper's camera
MASKS = 8  # largest number of classes for the method of masks


def masked_loss(prediction: Tensor, target: Tensor, table: Tensor) -> Tensor:
    """Return the loss of Eq. 1 with one mask per region."""
    present = (target > 0).float()
    absent = 1 - present
    weights = torch.zeros_like(target[:, 0])
    for bits in product((0, 1), repeat=target.shape[1]):
        mask = torch.ones_like(weights)
        for label, bit in enumerate(bits):
            mask = mask * (present if bit else absent)[:, label]
        weights = weights + table[sum(bit << label for label, bit in enumerate(bits))] * mask
    error = (prediction - target).abs() * weights.unsqueeze(1)
    regression = error.sum() / (weights.sum() * target.shape[1] + EPSILON)
    steps = [prediction.diff(dim=axis).abs() for axis in (2, 3)]
    edges = sum(step[:, 0].numel() for step in steps)
    return regression + 0.01 * sum(step.sum() for step in steps) / edges


def draw(batch: int, classes: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return maps (b, N, *S); half of the pixels are empty."""
    prediction, target = torch.rand(2, batch, classes, *size)
    return prediction.requires_grad_(), (target - 0.5).clamp_min(0)


def step(way: Callable[[], Tensor]) -> None:
    """Compute a loss and its gradient."""
    way().backward()


def measure(batch: int, classes: int, size: tuple[int, int], repeats: int, masks: bool) -> dict[str, float]:
    """Return the median times in ms and the peaks in MiB; those of the masks only with `masks`."""
    prediction, target = draw(batch, classes, size)
    names = [f"c{label}" for label in range(classes)]
    loss = OverlapLoss(names, region_weights={"rule": "size", "weights": {2: 6}} if classes > 1 else None)
    ways: dict[str, Callable[[], Tensor]] = {"table": lambda: loss(prediction, target)}
    if masks:
        ways["masks"] = lambda: masked_loss(prediction, target, loss.table)
        torch.testing.assert_close(*(way() for way in ways.values()), rtol=1e-4, atol=0)
    steps: dict[str, Callable[[], None]] = {name: partial(step, way) for name, way in ways.items()}
    times = time_in_turns(repeats, **steps)
    result = {f"{name} ms": 1e3 * statistics.median(values) for name, values in times.items()}
    result |= {f"{name} MiB": peak_bytes(steps[name]) / 2**20 for name in steps}
    if masks:
        ratios = sorted(slow / fast for slow, fast in zip(times["masks"], times["table"], strict=True))
        result |= {"ratio": statistics.median(ratios), "least": ratios[0], "most": ratios[-1]}
    return result


def draw_figure(by_classes: dict[int, dict[str, float]], by_pixels: dict[int, dict[str, float]]) -> Figure:
    """Draw time and memory against the number of classes, and time against the number of pixels."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for axes, unit, label in ((left, "ms", "forward and backward (ms)"), (middle, "MiB", "peak memory (MiB)")):
        for way, colour in (("masks", RED), ("table", BLUE)):
            points = {n: row[f"{way} {unit}"] for n, row in by_classes.items() if f"{way} {unit}" in row}
            axes.plot(list(points), list(points.values()), marker="o", color=colour, label=way)
        axes.set(xlabel="classes N", ylabel=label)
        axes.legend(frameon=False)
    right.plot(list(by_pixels), [row["table ms"] for row in by_pixels.values()], marker="o", color=BLUE)
    right.set(xlabel="pixels in the batch (N = 4)", ylabel="forward and backward (ms)", xscale="log", yscale="log")
    left.set_yscale("log")
    middle.set_ylim(bottom=0)
    for axes in (left, right):
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter("")
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def main() -> None:
    """Print the tables, and draw them if a file is given."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=at_least(1), default=16)
    parser.add_argument("--size", type=at_least(1), nargs=2, default=FRAME, metavar=("H", "W"))
    parser.add_argument("--classes", type=at_least(1), default=10, help="largest number of classes")
    parser.add_argument("--threads", type=at_least(1), default=1)
    parser.add_argument("--repeats", type=at_least(1), default=5)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    height, width = options.size
    print(f"{options.batch} frames of {height} x {width}; median of forward and backward")
    print(
        f"{'N':>3} {'table ms':>9} {'ms / N':>7} {'table MiB':>10} {'masks ms':>9} {'masks MiB':>10} {'ratio':>20}"
    )
    by_classes = {}
    for n in range(1, options.classes + 1):
        row = by_classes[n] = measure(options.batch, n, (height, width), options.repeats, n <= MASKS)
        line = f"{n:>3} {row['table ms']:>9.1f} {row['table ms'] / n:>7.2f} {row['table MiB']:>10.0f}"
        if n <= MASKS:
            ratio = f"{row['ratio']:.1f} ({row['least']:.1f}-{row['most']:.1f})"
            line += f" {row['masks ms']:>9.0f} {row['masks MiB']:>10.0f} {ratio:>20}"
        print(line)
    print(f"\nN = 4\n{'pixels':>9} {'table ms':>9} {'ns / pixel and class':>21}")
    by_pixels = {}
    for size in ((height // 4, width // 4), (height // 2, width // 2), (height, width), (2 * height, 2 * width)):
        pixels = 4 * size[0] * size[1]
        by_pixels[pixels] = row = measure(4, 4, size, options.repeats, masks=False)
        print(f"{pixels:>9} {row['table ms']:>9.2f} {1e6 * row['table ms'] / (4 * pixels):>21.2f}")
    if options.figure:
        draw_figure(by_classes, by_pixels).savefig(options.figure, dpi=150)


if __name__ == "__main__":
    sys.exit(run_script(main))
