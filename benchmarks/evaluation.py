"""The fraction of an evaluation that is inference, and whether its memory grows with the number of events.

    python benchmarks/evaluation.py --base 32 --size 288 512

The time of `evaluate` is divided, batch by batch, into loading, inference and the rest: metrics and event table.
Events come from memory, or are mixed during the evaluation by the MIGDAL simulation, in this process. Peak memory
is the increase of the resident memory of the process, as Linux counts it.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from speed import peak_bytes

from oasis.adapters.migdal import MigdalAdapter
from oasis.command import at_least, run_script
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Sample
from oasis.evaluation import batches
from oasis.evaluation import event_table as evaluation
from oasis.separator.options import SeparatorOptions
from oasis.separator.separator import Separator

KEPT = 8  # different samples in memory


class InMemory(SampleDataset):
    """The first samples of a data set, repeated."""

    def __init__(self, source: SampleDataset, length: int) -> None:
        self.samples = [source[index] for index in range(min(KEPT, length, len(source)))]
        self.length = length

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int, epoch: int) -> Sample:
        """Return one of the samples in memory, with an id of its own."""
        sample = self.samples[index % len(self.samples)]
        return replace(sample, meta={**sample.meta, "id": f"{index}"})


class Clock:
    """Sums the seconds that a function, or the steps of an iterator, take."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def calls(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = function(*arguments, **options)
            self.seconds += time.perf_counter() - start
            return result

        return timed

    def steps(self, function: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
        """Return the function, whose iterator is timed."""

        def timed(*arguments: Any, **options: Any) -> Iterator[Any]:
            step = self.calls(lambda iterator: next(iterator, None))
            iterator = iter(function(*arguments, **options))
            return iter(lambda: step(iterator), None)

        return timed


def measure(separator: Separator, adapter: MigdalAdapter, dataset: SampleDataset, batch: int) -> dict[str, float]:
    """Return the seconds of each part of an evaluation."""
    loading, inference, whole = Clock(), Clock(), Clock()
    with (
        patch.object(batches, "make_loader", loading.steps(batches.make_loader)),
        patch.object(batches, "predict_batch", inference.calls(batches.predict_batch)),
    ):
        whole.calls(evaluation.evaluate)(separator, dataset, adapter, batch, 0)
    rest = whole.seconds - loading.seconds - inference.seconds
    return {"loading": loading.seconds, "inference": inference.seconds, "metrics": rest}


def main() -> None:
    """Print fractions of time, then peaks of memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--base", type=at_least(1), default=32, help="channels of the first level, a multiple of 8"
    )
    parser.add_argument("--size", type=at_least(1), nargs=2, default=(288, 512), metavar=("H", "W"))
    parser.add_argument("--batch", type=at_least(1), default=4)
    parser.add_argument("--events", type=at_least(1), default=16)
    parser.add_argument("--threads", type=at_least(1), default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    adapter = MigdalAdapter({"size": tuple(options.size), "events": {"test": options.events}})
    model = {"name": "unet", "base_channels": options.base}
    separator = Separator(SeparatorOptions(classes=adapter.classes, model=model))
    mixed = adapter.dataset("test")
    kept = InMemory(mixed, options.events)
    evaluation.evaluate(separator, InMemory(mixed, options.batch), adapter, options.batch, 0)  # warm up
    print(
        f"base {options.base}, {options.events} events of {options.size[0]} x {options.size[1]}, in % of inference"
    )
    for title, dataset in (("from memory", kept), ("mixed here", mixed)):
        parts = measure(separator, adapter, dataset, options.batch)
        shares = {name: f"{name} {100 * seconds / parts['inference']:.1f}" for name, seconds in parts.items()}
        print(f"{title}: {shares['loading']}, {shares['metrics']}")
    for events in (options.events, 4 * options.events):
        data = InMemory(mixed, events)
        peak = peak_bytes(partial(evaluation.evaluate, separator, data, adapter, options.batch, 0))
        print(f"peak memory of {events} events: {peak / 2**20:.0f} MiB")


if __name__ == "__main__":
    sys.exit(run_script(main))
