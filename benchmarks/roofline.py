"""The ceilings of this processor, the fraction that each stage reaches, and the rates of the data of every domain.

    python benchmarks/roofline.py --threads 1 --out roofline.json
    python benchmarks/roofline.py --only domains --domains migdal waveform

- Ceilings: matrix multiplication in float32 and bfloat16, and the bandwidth of copying memory.
- Stages of the paper's network: floating-point operations per second, as a fraction of matrix multiplication in
  the same precision, and the time that the convolutions alone take at the shapes, in the precision and in the
  memory format of the network, as a fraction of the stage.
- Domains: samples per second and core that simulation and mixing give in batches, as in training, those of the
  quickstart's training step and of its evaluation with metrics, and the minutes of the quickstart that follow:
  training and evaluation, with samples prepared by the same process or, if it has workers, by another one.

With one thread, times are processor times of the process.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import torch
from speed import CLASSES, Step, draw_data, machine, seconds, time_in_turns
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from oasis.command import at_least, run_script
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Batch, Sample, collate
from oasis.device import autocast, best_precision, keep_freed_memory
from oasis.evaluation.event_table import evaluate
from oasis.models import create_model, wide
from oasis.run import Run

QUICKSTARTS = {
    "migdal": "migdal/quickstart",
    "galaxy": "galaxy/quickstart",
    "waveform": "waveform/quickstart",
    "pulses": "waveform/pulses",
    "neutrino": "neutrino/quickstart",
    "ccd": "ccd/quickstart",
    "cygno": "cygno/quickstart",
    "cells": "cells/quickstart",
}
EXAMPLES = Path(__file__).parents[1] / "examples"
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
Row = dict[str, Any]


def ceilings(side: int, repeats: int) -> dict[str, float]:
    """Return GFLOP/s of matrix multiplication by precision, and GB/s of a copy, read and written."""
    found = {}
    for name, dtype in (("float32", torch.float32), ("bf16", torch.bfloat16)):
        if name in ("float32", best_precision("cpu")):
            a, b, c = (torch.randn(side, side).to(dtype) for _ in range(3))
            times = time_in_turns(repeats, multiply=partial(torch.mm, a, b, out=c))
            found[name] = 2 * side**3 / median(times["multiply"]) / 1e9
    source = torch.zeros(8 * side, 4 * side)
    target = torch.empty_like(source)
    times = time_in_turns(repeats, copy=partial(target.copy_, source))
    return {**found, "GB/s": 2 * source.nbytes / median(times["copy"]) / 1e9}


class Convolutions:
    """All convolutions of a network for an image, by themselves."""

    def __init__(self, network: nn.Module, image: Tensor) -> None:
        self.calls: list[tuple[nn.Module, Tensor]] = []
        modules = [module for module in network.modules() if isinstance(module, CONVOLUTIONS)]
        hooks = [module.register_forward_hook(self._keep) for module in modules]
        with autocast("cpu"):
            network(image)
        for hook in hooks:
            hook.remove()

    def _keep(self, module: nn.Module, given: tuple[Tensor, ...], _: Tensor) -> None:
        self.calls.append((module, given[0].detach()))

    def infer(self) -> None:
        """Compute all of them."""
        with torch.inference_mode(), autocast("cpu"):
            for module, x in self.calls:
                module(x)

    def train(self) -> None:
        """Compute all of them and all their gradients."""
        for module, x in self.calls:
            with autocast("cpu"):
                y = module(x.requires_grad_())
            torch.autograd.grad(y, [x, *module.parameters()], torch.ones_like(y))


def operations(task: Callable[[], object]) -> float:
    """Return the floating-point operations of a task with plain convolutions, in units of 10^9."""
    with mock.patch.object(wide, "takes", return_value=False), FlopCounterMode(display=False) as counter:
        task()
    return float(counter.get_total_flops()) / 1e9


def stages(arguments: argparse.Namespace, limit: dict[str, float]) -> dict[str, Row]:
    """Return how much of the ceilings inference and training of the paper's network reach."""
    data = draw_data(arguments.batch, tuple(arguments.size))
    network = create_model("unet", in_channels=1, out_channels=len(CLASSES), base_channels=arguments.base)
    ours, alone = Step(network, partial(autocast, "cpu"), fused=True), Convolutions(network, data[0])
    tasks = {
        "inference": (partial(ours.infer, data[0]), alone.infer),
        "training step": (partial(ours.train, *data), alone.train),
    }
    rows = {}
    for name, (task, convolutions) in tasks.items():
        work, times = operations(task), time_in_turns(arguments.repeats, task=task, convolutions=convolutions)
        rate = work / median(times["task"])
        shares = [only / all_ for only, all_ in zip(times["convolutions"], times["task"], strict=True)]
        rows[name] = {
            "seconds": median(times["task"]),
            "GFLOP": work,
            "GFLOP/s": rate,
            "of_matrix_multiplication": rate / limit[best_precision("cpu")],
            "convolutions_alone": median(shares),
        }
    return rows


class Training:
    """Steps of the training that a configuration describes, without its log and checkpoints."""

    def __init__(self, run: Run, batch: Batch) -> None:
        options = run.config.training
        self.separator, self.loss, self.batch = run.new_separator().train(), run.loss(), batch
        self.optimizer = torch.optim.AdamW(self.separator.parameters(), lr=options.learning_rate, fused=True)

    def step(self) -> None:
        """Forward, loss, backward, clipping and the optimiser's step."""
        batch = self.batch
        with autocast("cpu"):
            prediction = self.separator(batch.image, batch.valid, batch.context)
        target = prediction.scale.forward(batch.target)
        self.loss(prediction.scaled, target, batch.valid).backward()
        nn.utils.clip_grad_norm_(self.separator.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


class First(SampleDataset):
    """The first samples of a data set."""

    def __init__(self, source: SampleDataset, length: int) -> None:
        self.source, self.length = source, min(length, len(source))

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int, epoch: int) -> Sample:
        """Return one of them."""
        return self.source.sample(index, epoch)


def domain(name: str, samples: int, repeats: int) -> Row:
    """Return the rates of the data, the training step and the evaluation of a quickstart, per second."""
    run = Run.from_config(EXAMPLES / f"{QUICKSTARTS[name]}.yaml")
    options = run.config.training
    made: dict[str, SampleDataset] = {}

    def prepare() -> None:
        made["train"] = run.dataset("train")
        made["test"] = run.dataset("test")
        made["train"][0], made["test"][0]

    prepared, number = seconds(prepare), count()
    train, size = made["train"], min(options.batch_size, len(made["train"]))
    batch, batches = collate(train.__getitems__(range(size))), -(-samples // size)
    training = Training(run, batch)

    def mix() -> None:
        for _ in range(batches):
            train.__getitems__([next(number) % len(train) for _ in range(size)])

    some = First(made["test"], samples)
    table = partial(evaluate, training.separator.eval(), some, run.adapter, options.batch_size, 0)
    evaluated = time_in_turns(1, table=table)["table"]
    training.separator.train()
    times = time_in_turns(repeats, mix=mix, step=training.step)
    rates = {
        "mixer": batches * size / median(times["mix"]),
        "step": size / median(times["step"]),
        "evaluation": len(some) / median(evaluated),
    }
    return {"prepare_seconds": prepared, **rates, "ratio": rates["mixer"] / rates["step"]} | minutes(
        run, prepared, rates
    )


def minutes(run: Run, prepared: float, rates: dict[str, float]) -> Row:
    """Return the minutes of a quickstart that follow from rates, with a third of a step for validation."""
    events, options = run.adapter.options.events, run.config.training
    step = 1 / rates["step"]
    mixed = 1 / rates["mixer"]
    fresh = max(step, mixed / options.workers) if options.workers else step + mixed
    epoch = events.train * fresh + events.val * (step / 3 + mixed)
    return {
        "epochs": options.epochs,
        "minutes": (prepared + options.epochs * epoch + events.test / rates["evaluation"]) / 60,
    }


def print_row(name: str, row: Row) -> None:
    """Print the numbers of a row to three digits."""
    print(f"{name:14s} " + ", ".join(f"{key} {value:.3g}" for key, value in row.items()), flush=True)


def main() -> None:
    """Measure, print and store."""
    keep_freed_memory()  # as in a training
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("stages", "domains"), help="one of the two parts")
    parser.add_argument(
        "--base", type=at_least(1), default=32, help="channels of the first level, a multiple of 8"
    )
    parser.add_argument("--size", type=at_least(1), nargs=2, default=(288, 512), metavar=("H", "W"))
    parser.add_argument("--batch", type=at_least(1), default=4)
    parser.add_argument(
        "--matrix", type=at_least(1), default=1024, help="side of the matrices that are multiplied"
    )
    parser.add_argument("--domains", nargs="*", default=list(QUICKSTARTS), choices=list(QUICKSTARTS))
    parser.add_argument("--samples", type=at_least(1), default=32, help="that are mixed and evaluated in a turn")
    parser.add_argument("--threads", type=at_least(1), default=torch.get_num_threads())
    parser.add_argument("--repeats", type=at_least(1), default=5)
    parser.add_argument("--out", type=Path, help="a JSON file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    found: dict[str, Any] = machine()
    print(", ".join(f"{name} {value}" for name, value in found.items()))
    if arguments.only != "domains":
        found["ceilings"] = ceilings(arguments.matrix, arguments.repeats)
        print_row("ceilings", found["ceilings"])
        found["stages"] = stages(arguments, found["ceilings"])
        for name, row in found["stages"].items():
            print_row(name, row)
    if arguments.only != "stages":
        found["domains"] = {}
        for name in arguments.domains:
            found["domains"][name] = domain(name, arguments.samples, arguments.repeats)
            print_row(name, found["domains"][name])
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
