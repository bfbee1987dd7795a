"""Large images by tiles: seconds and peak memory of a mosaic of 16k x 16k pixels and of a volume of 512^3.

    python benchmarks/large_images.py --out large.json              # both
    python benchmarks/large_images.py mosaic --side 8192            # a quarter of the mosaic

The network is small and untrained; an image of noise with bright spots is written to a file first. The
separation runs in a process of its own, whose peak resident memory is reported, together with that of the same
process before it has read anything.
"""

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from oasis.adapters import Adapter
from oasis.command import at_least, run_script
from oasis.inference.options import WindowOptions
from oasis.inference.predict import predict
from oasis.separator.options import SeparatorOptions
from oasis.separator.separator import Separator

SIDES = {"mosaic": 16384, "volume": 512}
DIMS = {"mosaic": 2, "volume": 3}


class Mosaic(Adapter):
    """Two classes in a plane."""

    classes = ("one", "other")
    thresholds = 5.0


class Volume(Mosaic):
    """Two classes in space."""

    spatial_dims = 3


def image(path: Path, kind: str, side: int) -> None:
    """Write an image of noise with bright spots, one slab at a time."""
    rng = np.random.default_rng(0)
    array = np.lib.format.open_memmap(path, "w+", np.float32, (side,) * DIMS[kind])
    step = max(2**24 // side ** (DIMS[kind] - 1), 1)
    for start in range(0, side, step):
        slab = rng.standard_normal(array[start : start + step].shape, np.float32)
        spots = tuple(rng.integers(0, length, slab.size // 5000) for length in slab.shape)
        slab[spots] += rng.exponential(50, len(spots[0])).astype(np.float32)
        array[start : start + step] = slab
    array.flush()


def separate(kind: str, source: Path, out: Path, memory: str, channels: int, depth: int, queue: Any) -> None:
    """Separate an image by tiles and report seconds and memory, in MB."""
    torch.set_num_threads(1)
    model = {"name": "unet", "base_channels": channels, "depth": depth, "norm": "batch"}
    adapter = Mosaic() if kind == "mosaic" else Volume()
    options = SeparatorOptions(classes=adapter.classes, spatial_dims=DIMS[kind], model=model)
    separator, before = Separator(options).eval(), peak()
    start = time.perf_counter()
    found = predict(separator, adapter, source, out, window=WindowOptions(kind="tiles", memory=memory))
    queue.put(
        {
            "seconds": round(time.perf_counter() - start, 1),
            "peak_mb": round(peak() / 1e6),
            "before_mb": round(before / 1e6),
            "intensity": found.objects["intensity_predicted"].round().tolist(),
        }
    )


def peak() -> int:
    """Return the peak resident memory of this process so far, in bytes.

    The value of getrusage would include the memory of the parent when it started the process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(kind: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return time and memory for one image."""
    side = arguments.side or SIDES[kind]
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        source, out, queue = Path(folder, "image.npy"), Path(folder, "maps.h5"), context.Queue()
        image(source, kind, side)
        given = (kind, source, out, arguments.memory, arguments.channels, arguments.depth, queue)
        process = context.Process(target=separate, args=given)
        process.start()
        process.join()
        found = queue.get(timeout=5)
        with h5py.File(out) as file:
            shape, chunk = file["maps/one"].shape, file["maps/one"].chunks
        size = out.stat().st_size
    pixels = side ** DIMS[kind]
    facts = {"image": kind, "side": side, "pixels": pixels, "image_mb": round(pixels * 4 / 1e6)}
    return {**facts, **found, "maps_mb": round(size / 1e6), "shape": shape, "chunk": chunk, **network(arguments)}


def network(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options of the command line."""
    return {"channels": arguments.channels, "depth": arguments.depth, "memory": arguments.memory}


def main() -> None:
    """Measure and print; write JSON where a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="mosaic, volume; both by default")
    parser.add_argument("--side", type=at_least(1), help="pixels along every axis")
    parser.add_argument("--memory", default="2GB", help="of the process")
    parser.add_argument("--channels", type=at_least(1), default=4, help="of the network's first level")
    parser.add_argument("--depth", type=at_least(1), default=2, help="levels of the network")
    parser.add_argument(
        "--folder", help="folder for the image and the maps; by default the system's folder for temporary files"
    )
    parser.add_argument("--out", type=Path, help="a JSON file")
    arguments = parser.parse_args()
    unknown = set(arguments.kinds) - set(SIDES)
    if unknown:
        parser.error(f"unknown image {unknown.pop()!r}: expected {' or '.join(SIDES)}")
    results = []
    for kind in arguments.kinds or SIDES:
        results.append(measure(kind, arguments))
        print(json.dumps(results[-1]), flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(run_script(main))
