"""Separate the galaxy in the middle of images of the sky and draw the results, one row per image.

    python examples/galaxy/fields.py runs/galaxy-real crowded/ --pixel-scale 0.15

Each image is resampled to the grid of the run's library and cropped to the size that the run was trained on. Since
there is no truth, the residual of the image is drawn, in units of the noise of the survey.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from oasis.adapters.galaxy import survey
from oasis.adapters.galaxy.adapter import GalaxyAdapter
from oasis.adapters.galaxy.cutout import object_name
from oasis.command import run_script
from oasis.evaluation.figures import save_figure
from oasis.io.folders import image_files
from oasis.run import Run

FAINTEST, BRIGHTEST = 2.0, 1000.0  # of the colour scale, in units of the sky noise: linear below, white above
RESIDUAL = 5.0  # limit of the residual's colour scale, in the same units

Array = NDArray[np.float32]


def main() -> None:
    """Separate the images of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a trained run of the adapter galaxy")
    parser.add_argument("images", type=Path, help="FITS cutouts or pictures")
    parser.add_argument("--pixel-scale", type=float, help="pixel scale of images that do not state it, arcsec")
    parser.add_argument("--out", type=Path, default=Path("runs/galaxy_fields.png"), help="the figure")
    options = parser.parse_args()
    run = Run(options.run, [f"data.reading.pixel_scale={options.pixel_scale or 'null'}"])
    adapter, separator = run.adapter, run.separator()
    assert isinstance(adapter, GalaxyAdapter)
    noise = np.array([survey.sky_noise(band, adapter.pixel_scale) for band in survey.BANDS])[:, None, None]
    paths = image_files(options.images, adapter.suffixes)
    figure = Figure(figsize=(7.2, 1.9 * len(paths)), layout="constrained")
    rows = figure.subplots(len(paths), 2 + len(adapter.classes), squeeze=False)
    for path, axes in zip(paths, rows, strict=True):
        image = middle(adapter.read(path).filled()[0], separator.options.trained_size)
        maps = {name: values[0] for name, values in separator.separate(image[None]).items()}
        for panel, (name, values) in zip(axes, {"image": image, **maps}.items(), strict=False):
            panel.imshow(colours(values / noise), origin="lower")
            panel.set_title(f"{name}, {magnitude(values)}", fontsize=8)
        rest = (image - sum(maps.values())) / noise
        axes[-1].imshow(rest[1], origin="lower", cmap="RdBu_r", vmin=-RESIDUAL, vmax=RESIDUAL)
        axes[-1].set_title(f"residual in r, ±{RESIDUAL:g} sigma of the sky", fontsize=8)
        axes[0].set_ylabel(object_name(path), fontsize=7)
        print(object_name(path), *(f"{name} {magnitude(values)}" for name, values in maps.items()), sep="  ")
    for panel in rows.flat:
        panel.set(xticks=[], yticks=[])
    print(f"figure: {save_figure(figure, options.out)}")


def middle(image: Array, size: tuple[int, ...] | None) -> Array:
    """Return the middle of an image (B, H, W), with at most the given size (H, W)."""
    rows, columns = (
        slice((have - want) // 2, (have - want) // 2 + want) if have > want else slice(None)
        for have, want in zip(image.shape[1:], size or image.shape[1:], strict=True)
    )
    return image[:, rows, columns]


def colours(signal: Array) -> Array:
    """Return red, green and blue (H, W, 3), 0 to 1, of z, r and g (3, H, W) in units of the sky's noise."""
    scaled: Array = np.arcsinh(signal[::-1] / FAINTEST) / np.arcsinh(BRIGHTEST / FAINTEST)
    return scaled.clip(0, 1).transpose(1, 2, 0)


def magnitude(values: Array) -> str:
    """Return the magnitude in r of an image or map in g, r and z, as text."""
    flux = float(values[1].sum())
    return f"r = {survey.magnitude(flux):.2f}" if flux > 0 else "no light in r"


if __name__ == "__main__":
    sys.exit(run_script(main))
