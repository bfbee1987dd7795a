"""The adapter of simulated cells, and of measured images like them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.adapters.cells.options import CellsOptions
from oasis.adapters.cells.scene import CLASSES, FILAMENT, NUCLEUS, VESICLE, CellsScene
from oasis.adapters.reading import as_images
from oasis.adapters.study import Study
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Array
from oasis.instances.grouping import Grouping


class CellsAdapter(Adapter[CellsOptions]):
    """Nuclei, vesicles and filaments in one channel of a fluorescence microscope, in photoelectrons."""

    classes = CLASSES
    unit = "photoelectrons"
    thresholds: Mapping[str, float] = {NUCLEUS: 2.0, VESICLE: 2.0, FILAMENT: 2.0}
    grouping: Mapping[str, Grouping] = {
        NUCLEUS: Grouping(method="watershed", smoothing=4.0, separation=20.0, pixels=100),
        VESICLE: Grouping(method="watershed", pixels=6),
        FILAMENT: Grouping(method="gaps", gap=2, pixels=20),
    }
    defaults: Mapping[str, Any] = {
        "model": {"name": "unet", "base_channels": 16, "depth": 3, "norm": "batch"},
        "scaling": {"name": "asinh", "noise": 3.0},
        "loss": {"region_weights": {"rule": "size", "weights": {1: 1, 2: 3, 3: 4}}},
    }
    study = Study(
        name=VESICLE,
        quantity="overlap_fraction",
        label="share of the pixels of vesicles that lie on nuclei or filaments",
        edges=(0, 0.2, 0.4, 0.6, 0.8, 1.01),
    )

    def scene(self, split: str) -> CellsScene:
        """Return the scene from which images are mixed."""
        return CellsScene(self.options)

    def larger(self, split: str, factor: int) -> SampleDataset | None:
        """Return larger images with as many cells in an area; None where images are read from files."""
        options = self.options
        if options.files.of(split):
            return None
        size, cells = [factor * one for one in options.size], [factor**2 * one for one in options.cells]
        return self.varied(size=tuple(size), cells=tuple(cells)).dataset(split)

    def as_images(self, raw: NDArray[Any], dark: NDArray[Any] | None = None) -> Array:
        """Return counts of the camera as images (n, 1, *S) in photoelectrons.

        Raises:
            DataError: the array has another shape.
        """
        images, camera = as_images(raw, self.bands, self.spatial_dims, dark), self.options.camera
        return camera.signal(images) if dark is None else images * np.float32(camera.gain)

    def reads_parts(self, path: Path) -> bool:
        """Return True: every pixel is converted by itself."""
        return True
