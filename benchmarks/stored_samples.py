"""A file of very many samples: how long it takes to open, and the memory of reading it at random.

    python benchmarks/stored_samples.py --count 1000000

Some thousand waveforms are simulated and repeated under identities of their own.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from oasis.command import at_least, run_script
from oasis.run import Run

BASE = 2000
SAMPLES = 64
READS = 20_000


def repeat(source: Path, out: Path, times: int) -> None:
    """Write a file of samples with all of another file several times, without single objects."""
    with h5py.File(source) as few, h5py.File(out, "w") as many:
        count = int(few.attrs["count"])
        many.attrs.update(few.attrs)
        many.attrs["count"] = count * times

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if name.split("/")[0] == "instances":
                return
            if isinstance(item, h5py.Group):
                many.require_group(name).attrs.update(item.attrs)
                return
            values = item[()]
            stored = many.create_dataset(
                name, (count * times, *values.shape[1:]), values.dtype, chunks=item.chunks
            )
            for number in range(times):
                if name == "meta":
                    values["id"] = np.arange(count * number, count * (number + 1)).astype(values["id"].dtype)
                stored[count * number : count * (number + 1)] = values
            stored.attrs.update(item.attrs)

        few.visititems(copy)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=at_least(1), default=10**6)
    parser.add_argument("--blocks", type=at_least(1), default=5, help="of 20,000 samples that are read")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder, "few.h5"), Path(folder, "many.h5")
        data = {"samples": SAMPLES, "events": {"train": BASE, "val": 1, "test": 1}}
        values = {"adapter": "waveform", "run": str(Path(folder, "run")), "data": data}
        Run.from_values(values).simulate(few, "train")
        repeat(few, many, max(1, options.count // BASE))
        run = Run.from_values(values | {"data": {"samples": SAMPLES, "files": {"train": str(many)}}})
        start = time.perf_counter()
        dataset = run.dataset("train")
        seconds, size = time.perf_counter() - start, many.stat().st_size / 1e9
        print(f"{len(dataset):,} samples in {size:.2f} GB: opened in {seconds:.2f} s")
        rng = np.random.default_rng(0)
        for _ in range(options.blocks):
            start = time.process_time()
            for index in rng.integers(0, len(dataset), READS):
                dataset[int(index)]
            rate = READS / (time.process_time() - start)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{READS:,} at random: {rate:,.0f} per second, peak memory {peak:,.0f} MB")


if __name__ == "__main__":
    sys.exit(run_script(main))
