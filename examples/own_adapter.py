"""A domain in one file: two-colour fluorescence images of cells that lie over thin fibres."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from oasis.adapters import Adapter, DataOptions, SplitCounts, Study
from oasis.data.mixing import Placed, Scene
from oasis.data.samples import Array, Scalar

DYES = {"cell": (0.8, 0.2), "fibre": (0.3, 0.7)}  # the share of a dye's light in the green and the red band
BACKGROUND = 4.0  # photons per pixel and band


class MicroscopyOptions(DataOptions):
    """The section `data`: images per split, pixels of an image, the most cells and fibres in one."""

    events: SplitCounts = SplitCounts(train=512, val=64, test=256)
    size: tuple[int, int] = (64, 64)
    cells: int = 12
    fibres: int = 3


class MicroscopyScene(Scene):
    """Draws cells and fibres at random and counts their photons in two bands."""

    classes = ("cell", "fibre")

    def __init__(self, options: MicroscopyOptions) -> None:
        self.options = options
        self.shape = (2, *options.size)

    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Scalar]]:
        """Return the cells and fibres of one image, and how many there are."""
        cells, fibres = rng.integers(0, self.options.cells + 1), rng.integers(0, self.options.fibres + 1)
        placed = [self._cell(rng) for _ in range(cells)] + [self._fibre(rng) for _ in range(fibres)]
        return placed, {"cells": int(cells), "fibres": int(fibres)}

    def _cell(self, rng: np.random.Generator) -> Placed:
        y, x = np.mgrid[-15:16, -15:16] / rng.uniform(4, 8)
        light = rng.uniform(40, 120) * np.exp(-((x**2 + y**2) ** 2))
        row, col = (int(rng.integers(-15, length - 15)) for length in self.options.size)
        return _dyed("cell", light, (row, col))

    def _fibre(self, rng: np.random.Generator) -> Placed:
        height, width = self.options.size
        y, x = np.mgrid[:height, :width]
        y, x, angle = y - rng.uniform(0, height), x - rng.uniform(0, width), rng.uniform(0, np.pi)
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        bent = across + rng.normal(0, 0.004) * along**2
        return _dyed("fibre", rng.uniform(10, 40) * np.exp(-(bent**2) / 2), (0, 0))

    def observe(
        self, target: Array, placed: Sequence[Placed], rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Count photons over a constant background, which is then subtracted."""
        photons = rng.poisson(target.sum(axis=0) + BACKGROUND) - BACKGROUND
        return photons.astype(np.float32), np.ones((1, *self.options.size), dtype=bool)


def _dyed(name: str, light: NDArray[np.float64], origin: tuple[int, int]) -> Placed:
    bands = np.multiply.outer(DYES[name], np.where(light > 0.5, light, 0))
    return Placed(name, bands.astype(np.float32), origin, {"photons": float(bands.sum())})


class MicroscopyAdapter(Adapter[MicroscopyOptions]):
    """Cells over fibres in green and red fluorescence images, in photons."""

    classes = ("cell", "fibre")
    bands = 2
    unit = "photons"
    thresholds = 1.0
    defaults = {
        "scaling": {"scale": 10.0, "peak": False},
        "loss": {"region_weights": {"fibre": 3, "cell&fibre": 6}},
    }
    study = Study("fibre", "overlap_fraction", "share of the fibre under cells", (0, 0.1, 0.2, 0.3, 0.4, 0.6))

    def scene(self, split: str) -> MicroscopyScene:
        """Return the scene from which images are mixed."""
        return MicroscopyScene(self.options)
