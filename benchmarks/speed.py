"""Speed of a training step and of inference, compared with the same network as a plain PyTorch module.

The plain module follows the paper's description literally: contiguous float32, 1-wide convolution after the
interpolation. Both use the same loss, gradient clipping and AdamW, in turns, in one process:

    python benchmarks/speed.py --base 32 --size 288 512 --batch 4 --threads 1

With one thread times are processor times of the process, which other work on the machine affects least, with more
threads those of the clock.
"""

import argparse
import ctypes
import platform
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from oasis.command import at_least, run_script
from oasis.device import autocast, best_precision
from oasis.loss.overlap import OverlapLoss
from oasis.models import create_model

CLASSES = ("ER", "NR")
Context = Callable[[], AbstractContextManager[None]]


class PlainBlock(nn.Sequential):
    """Convolution, normalisation and activation, twice."""

    def __init__(self, inputs: int, outputs: int, norm: str) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.GroupNorm(8, outputs) if norm == "group" else nn.BatchNorm2d(outputs),
            nn.SiLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.GroupNorm(8, outputs) if norm == "group" else nn.BatchNorm2d(outputs),
            nn.SiLU(),
        )


class PlainUNet(nn.Module):
    """The paper's network in a straightforward implementation."""

    def __init__(self, classes: int, base: int, norm: str = "group") -> None:
        super().__init__()
        block = partial(PlainBlock, norm=norm)
        widths = [base, 2 * base, 4 * base, 8 * base]
        steps = list(pairwise(widths))
        self.first = block(1, base)
        self.pools = nn.ModuleList(nn.Conv2d(a, a, 3, stride=2, padding=1, groups=a) for a, _ in steps)
        self.downs = nn.ModuleList(block(a, b) for a, b in steps)
        self.bottleneck = block(8 * base, 8 * base)
        self.mixes = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in reversed(steps))
        self.ups = nn.ModuleList(block(b, a) for a, b in reversed(steps))
        self.last = nn.Conv2d(base, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return (b, classes, H, W)."""
        x = self.first(image)
        skips = []
        for pool, down in zip(self.pools, self.downs, strict=True):
            skips.append(x)
            x = down(pool(x))
        x = self.bottleneck(x)
        for mix, up in zip(self.mixes, self.ups, strict=True):
            skip = skips.pop()
            x = mix(F.interpolate(x, size=skip.shape[2:], mode="bilinear", align_corners=False))
            x = up(torch.cat([x, skip], dim=1))
        return self.last(x)  # type: ignore[no-any-return]


class Step:
    """One training step, and one inference, of a network."""

    def __init__(self, network: nn.Module, context: Context, fused: bool | None) -> None:
        self.network = network
        self.context = context
        self.loss = OverlapLoss(CLASSES, class_weights={"ER": 5}, region_weights={"ER": 3, "ER&NR": 6})
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=2e-4, weight_decay=1e-4, fused=fused)

    def train(self, image: Tensor, target: Tensor, valid: Tensor) -> None:
        """Forward, loss, backward, clipping and the optimiser's step."""
        self.network.train()
        with self.context():
            output = self.network(image)
        self.loss(F.softplus(output.float()), target, valid).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def infer(self, image: Tensor) -> None:
        """Return the scaled maps of an image."""
        self.network.eval()
        with torch.inference_mode(), self.context():
            F.softplus(self.network(image).float())


def draw_data(batch: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return a sparse image, its two targets and a valid mask; only their shapes matter here."""
    generator = torch.Generator().manual_seed(0)
    target = torch.rand((batch, len(CLASSES), *size), generator=generator)
    target = target * (target > 0.9)
    return target.sum(1, keepdim=True), target, torch.ones((batch, 1, *size), dtype=torch.bool)


def seconds(task: Callable[[], object]) -> float:
    """Return the seconds that a task takes."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    task()
    return clock() - start


def time_in_turns(repeats: int, **tasks: Callable[[], object]) -> dict[str, list[float]]:
    """Return the seconds of every run of each task, after one warm-up run."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for turn, (name, task) in product(range(repeats + 1), tasks.items()):
        taken = seconds(task)
        if turn:
            times[name].append(taken)
    return times


def peak_bytes(task: Callable[[], object]) -> int:
    """Return the increase of the peak memory of the process by a task, as Linux counts it."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # free memory that is kept would not be counted
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    task()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def machine() -> dict[str, str | int]:
    """Return what times depend on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return {
        "processor": next(names, platform.processor()),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "precision": best_precision("cpu"),
        "torch": torch.__version__,
    }


def compare(
    title: str, repeats: int, plain: Callable[[], object], ours: Callable[[], object], images: int
) -> float:
    """Print the two medians and the ratio of each turn; returns our median."""
    times = time_in_turns(repeats, plain=plain, ours=ours)
    ratios = [a / b for a, b in zip(times["plain"], times["ours"], strict=True)]
    middle = {name: median(values) for name, values in times.items()}
    print(
        f"{title:14s} plain {1e3 * middle['plain']:8.1f} ms   ours {1e3 * middle['ours']:8.1f} ms   "
        f"{median(ratios):.2f} x ({min(ratios):.2f} - {max(ratios):.2f})   {images / middle['ours']:.1f} images/s"
    )
    return middle["ours"]


def loss_seconds(classes: int, batch: int, size: tuple[int, int], repeats: int) -> float:
    """Return the median seconds of the loss, forward and backward, for a number of classes."""
    generator = torch.Generator().manual_seed(0)
    names = tuple(f"c{index}" for index in range(classes))
    loss = OverlapLoss(names, class_weights={"c0": 5}, region_weights={"c0": 3, "c0&c1": 6})
    target = torch.rand((batch, classes, *size), generator=generator)
    target = target * (target > 0.9)
    prediction = (target + 0.1).requires_grad_()
    valid = torch.ones((batch, 1, *size), dtype=torch.bool)
    return median(time_in_turns(repeats, loss=lambda: loss(prediction, target, valid).backward())["loss"])


def parse_arguments() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--base", type=at_least(1), default=32, help="channels of the first level, a multiple of 8"
    )
    parser.add_argument("--size", type=at_least(1), nargs=2, default=(288, 512), metavar=("H", "W"))
    parser.add_argument("--batch", type=at_least(1), default=4)
    parser.add_argument("--norm", choices=("group", "batch"), default="group", help="group: the paper's")
    parser.add_argument("--threads", type=at_least(1), default=torch.get_num_threads())
    parser.add_argument("--repeats", type=at_least(1), default=7)
    return parser.parse_args()


def main() -> None:
    """Print the table."""
    arguments = parse_arguments()
    size, batch, repeats = tuple(arguments.size), arguments.batch, arguments.repeats
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(
        f"base {arguments.base}, {arguments.norm} normalisation, {batch} x {size[0]} x {size[1]}, "
        f"{arguments.threads} threads, {repeats} turns, "
        f"ours in {best_precision('cpu')}, torch {torch.__version__}"
    )
    data = draw_data(batch, size)
    plain = Step(PlainUNet(len(CLASSES), arguments.base, arguments.norm), nullcontext, fused=None)
    channels = {"in_channels": 1, "out_channels": len(CLASSES), "base_channels": arguments.base}
    unet = create_model("unet", **channels, norm=arguments.norm)
    ours = Step(unet, partial(autocast, "cpu"), fused=True)
    step = compare("training step", repeats, partial(plain.train, *data), partial(ours.train, *data), batch)
    compare("inference", repeats, partial(plain.infer, data[0]), partial(ours.infer, data[0]), batch)
    few, many = (loss_seconds(classes, batch, size, repeats) for classes in (2, 8))
    print(
        f"loss           {1e3 * few:.1f} ms, {few / step:.1%} of our step; "
        f"per class {1e3 * few / 2:.2f} ms with 2 classes, {1e3 * many / 8:.2f} ms with 8"
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
