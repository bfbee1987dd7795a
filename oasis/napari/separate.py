"""Separate: the layer of an image becomes a layer of its map for every class."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from oasis.adapters.reading import as_images
from oasis.data.images import Images
from oasis.errors import DataError
from oasis.inference.output import BATCH
from oasis.inference.sources import problem
from oasis.inference.whole import separate_images
from oasis.napari.reader import layer
from oasis.run import Run
from oasis.run.inspection import Inspector

if TYPE_CHECKING:
    import napari.layers
    import napari.types


def separate(
    image: "napari.layers.Image", run: Annotated[Path, {"mode": "d"}]
) -> "list[napari.types.LayerDataTuple]":
    """Separate a layer with a run.

    Args:
        image: the layer: images of the bands and axes of the run, in physical units, a stack along its first axis.
        run: the folder of the run.

    Raises:
        ConfigError: there is no run.
        DataError: the layer does not contain images of the run, or values that are not finite.
    """
    inspector = _inspector(run.resolve(), _written(run))
    job = inspector.job
    raw = np.asarray(image.data)
    images = Images(as_images(raw, job.adapter.bands, job.adapter.spatial_dims), source=image.name)
    job.choice.check_size(images.image.shape[2:], Path(image.name))
    for number in range(len(images)):
        wrong = problem(images, number)
        if wrong:
            raise DataError(f"{image.name}: image {number}: {wrong}")
    parts = [images.part(slice(start, start + BATCH)) for start in range(0, len(images), BATCH)]
    maps = np.concatenate([separate_images(job, part).maps for part in parts])
    scale: Any = tuple(image.scale)[-job.adapter.spatial_dims :]
    return [
        layer(f"{image.name}: {name}", maps[:, place].reshape(raw.shape), place, scale, job.adapter.unit)
        for place, name in enumerate(job.separator.classes)
    ]


def _written(run: Path) -> int:
    """Return when the weights of a run were written, so that those of a further training are read anew."""
    weights = Run(run).files.weights
    return weights.stat().st_mtime_ns if weights.exists() else 0


@lru_cache(maxsize=2)
def _inspector(run: Path, written: int) -> Inspector:
    return Run(run).inspector()
