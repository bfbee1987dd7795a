"""Makes up a folder of cells with two classes that overlap, to try the adapter of folders before one's own data.

    python examples/folder/cells.py cells            # images/, nuclei/ and vesicles/
    python examples/folder/cells.py stains --single  # single-stained/nuclei/ and single-stained/vesicles/

The camera has an offset of 100 counts and 0.5 photoelectrons per count.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import tifffile

from oasis.command import at_least, run_script

OFFSET, GAIN, READ_NOISE, BACKGROUND = 100.0, 0.5, 2.0, 5.0
PIXEL = {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}


def nuclei(rng, size):
    """Return a few large, faint ellipses with soft edges, in photoelectrons."""
    y, x = np.indices(size)
    light = np.zeros(size)
    for _ in range(rng.integers(4, 9)):
        row, col, angle = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(0, np.pi)
        along = (y - row) * np.sin(angle) + (x - col) * np.cos(angle)
        across = (y - row) * np.cos(angle) - (x - col) * np.sin(angle)
        distance = np.sqrt((along / rng.uniform(12, 18)) ** 2 + (across / rng.uniform(8, 12)) ** 2)
        light += rng.uniform(15, 40) / (1 + np.exp(12 * (distance - 1)))
    return light


def vesicles(rng, size):
    """Return many small, bright spots, in photoelectrons."""
    y, x = np.indices(size)
    light = np.zeros(size)
    for _ in range(rng.integers(25, 60)):
        row, col, width = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(1.2, 2.2)
        light += rng.uniform(20, 120) * np.exp(-((y - row) ** 2 + (x - col) ** 2) / (2 * width**2))
    return light


CLASSES = {"nuclei": nuclei, "vesicles": vesicles}


def measured(rng, light):
    """Return light as counts of the camera."""
    seen = rng.poisson(light + BACKGROUND) + rng.normal(0, READ_NOISE, light.shape)
    return np.round(seen / GAIN + OFFSET).clip(0, 65535).astype(np.uint16)


def write(path, counts):
    """Write an image as OME-TIFF with its pixel size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, counts, ome=True, metadata={"axes": "YX", **PIXEL})


def main():
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--single", action="store_true", help="images of one class each")
    parser.add_argument("--images", type=at_least(1), default=20)
    parser.add_argument("--size", type=at_least(1), nargs=2, default=(160, 192))
    parser.add_argument("--seed", type=at_least(0), default=0)
    given = parser.parse_args()
    rng, size = np.random.default_rng(given.seed), tuple(given.size)
    for number in range(given.images):
        maps = {name: make(rng, size) for name, make in CLASSES.items()}
        file = f"field_{number:03d}.ome.tif"
        if not given.single:
            write(given.folder / "images" / file, measured(rng, sum(maps.values())))
        for name, light in maps.items():
            place = given.folder / "single-stained" / name if given.single else given.folder / name
            write(
                place / file,
                measured(rng, light) if given.single else np.round(light / GAIN + OFFSET).astype("u2"),
            )


if __name__ == "__main__":
    sys.exit(run_script(main))
