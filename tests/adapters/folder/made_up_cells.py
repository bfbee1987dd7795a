"""Made-up cells: nuclei and vesicles that overlap, in one, two or three dimensions, as a camera sees them."""

from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

OFFSET, GAIN = 100, 0.5  # counts, photoelectrons per count
CLASSES = ("nuclei", "vesicles")


def cells(rng, size, bands=1):
    """Return the expected light of both classes (2, B, *size) in photoelectrons, and their labels (2, *size)."""
    grid = np.indices(size).astype(float)
    maps, labels = np.zeros((2, *size)), np.zeros((2, *size), np.uint16)
    for kind, (count, radius, peak) in enumerate([(2, 6.0, 60.0), (5, 2.0, 120.0)]):
        for number in range(count):
            centre = [rng.uniform(0.2, 0.8) * length for length in size]
            distance = sum((axis - at) ** 2 for axis, at in zip(grid, centre, strict=True))
            spot = peak * np.exp(-distance / (2 * radius**2))
            maps[kind] += spot
            labels[kind][spot > 0.2 * peak] = number + 1
    return maps[:, None] * np.linspace(1, 0.5, bands).reshape(1, -1, *[1] * len(size)), labels


def counts(light, rng, noise=2.0):
    """Return light as counts of the camera."""
    seen = rng.poisson(light) + rng.normal(0, noise, light.shape)
    return np.round(seen / GAIN + OFFSET).clip(0).astype(np.uint16)


def write(path: Path, values, axes):
    """Write (B, *S) as the suffix says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = values[0] if len(values) == 1 else values
    if path.name.endswith(".ome.tif"):
        tifffile.imwrite(path, values, ome=True, metadata={"axes": axes})
    elif path.suffix == ".tif":
        tifffile.imwrite(path, values, photometric="minisblack")
    elif path.suffix == ".png":
        Image.fromarray(values).save(path)
    elif path.suffix == ".csv":
        rows = np.column_stack([np.arange(len(values)) * 0.1, values])
        np.savetxt(path, rows, delimiter=",", header="time (s),counts", comments="")
    elif path.suffix == ".h5":
        import h5py

        with h5py.File(path, "w") as file:
            file["image"] = values
    elif path.suffix == ".zarr":
        import zarr

        zarr.save_array(str(path), values)
    else:
        np.save(path, values)


def pairs(folder, number=5, size=(40, 44), bands=1, suffix=".tif", labels=False, seed=0):
    """Write images with maps in counts, or with label images."""
    rng = np.random.default_rng(seed)
    axes = "ZYX"[-len(size) :] if bands == 1 else "C" + "ZYX"[-len(size) :]
    for index in range(number):
        light, numbers = cells(rng, size, bands)
        write(folder / "images" / f"cell_{index}{suffix}", counts(light.sum(0) + 5, rng), axes)
        for name, one, own in zip(CLASSES, light, numbers, strict=True):
            values = own[None] if labels else np.round(one / GAIN + OFFSET).astype(np.uint16)
            write(folder / name / f"cell_{index}{suffix}", values, axes[-len(size) :] if labels else axes)
    return folder


def stained(folder, number=4, size=(64, 72), bands=1, suffix=".ome.tif", seed=0):
    """Write images that show one class each."""
    rng = np.random.default_rng(seed)
    axes = "ZYX"[-len(size) :] if bands == 1 else "C" + "ZYX"[-len(size) :]
    for index in range(number):
        for kind, name in enumerate(CLASSES):
            light, _ = cells(rng, size, bands)
            write(folder / "single-stained" / name / f"s_{index}{suffix}", counts(light[kind] + 5, rng), axes)
    return folder
