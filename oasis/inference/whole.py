"""Whole images: separated at once, several in every pass."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from oasis.data.images import Images
from oasis.errors import DataError
from oasis.evaluation.event_table import SPREAD, measure_maps
from oasis.evaluation.symmetry import symmetry_spread
from oasis.inference.job import Job
from oasis.inference.output import BATCH, MASKED, Output
from oasis.inference.sources import Frames
from oasis.instances.grouping import group
from oasis.instances.table import predicted_table


def separate_whole(job: Job, path: Path, images: Images, output: Output, first: int = 0) -> dict[int, str]:
    """Separate images of a file, and return why some could not be used, by their number in the file.

    Args:
        job: the processing of every image.
        path: the path of the file.
        images: images of it.
        output: the output.
        first: the number in the file of the first of them.
    """
    frames = Frames(images, {}, first)
    for numbers, batch in frames.batches(BATCH):
        try:
            separated = separate_images(job, batch)
            found = _grouped(job, np.where(separated.valid[:, None], separated.maps, 0)) if job.grouping else None
        except DataError as error:
            frames.leave_out(numbers, str(error))
        else:
            output.add(path, numbers, batch.image.shape[2:], batch.mask, separated.arrays, separated.rows)
            if output.previews is not None:
                output.previews.add(path, numbers, batch.filled(), separated.maps)
            if found is not None:
                output.add_instances(path, numbers, found)
    return frames.problems


class SeparatedImages(NamedTuple):
    """Images that were separated whole.

    Attributes:
        maps: (n, N, B, *S) in physical units.
        valid: (n, 1, *S) the pixels over which intensities are summed.
        arrays: by their name in an output.
        rows: of the table by column, one for every image and class.
        logits: (n, N, B, *S) of the presence in every pixel, or None.
    """

    maps: NDArray[np.float32]
    valid: NDArray[np.bool_]
    arrays: dict[str, NDArray[Any]]
    rows: dict[str, NDArray[Any]]
    logits: torch.Tensor | None


def separate_images(job: Job, images: Images) -> SeparatedImages:
    """Separate images whole, and measure their maps.

    Args:
        job: the processing of every image.
        images: those that can be used.

    Raises:
        DataError: they cannot be separated.
    """
    separator, adapter = job.separator, job.adapter
    image, context = images.filled(), images.context
    prediction = separator.predict(image, context)
    maps = prediction.maps.cpu().numpy()
    numbers = {name: values.cpu().numpy() for name, values in separator.columns(prediction).items()}
    visible = adapter.visible(image)
    valid = visible & _good(images)
    measured = {**measure_maps(torch.from_numpy(maps), torch.from_numpy(valid), adapter)}
    arrays = {f"maps/{name}": maps[:, label] for label, name in enumerate(separator.classes)}
    if job.spread:
        extra = None if context is None else torch.from_numpy(context)
        found = symmetry_spread(separator, torch.from_numpy(image), torch.from_numpy(valid), extra)
        arrays |= {f"spread/{name}": found.std[:, i].cpu().numpy() for i, name in enumerate(separator.classes)}
        measured[SPREAD] = found.intensity_std
    if job.refine:
        numbers = {**numbers, **adapter.refine(image, context, maps, numbers)}
    columns = {"class": np.array(list(separator.classes) * len(images))}
    columns |= {name: values.cpu().numpy().reshape(-1) for name, values in measured.items()}
    columns |= {name: np.reshape(values, -1) for name, values in numbers.items()}
    columns |= {name: np.repeat(column, len(separator.classes)) for name, column in images.position.items()}
    if images.mask is not None:
        columns[MASKED] = np.repeat(_share(~images.mask & visible, visible), len(separator.classes))
    for name, plane in images.flags.items():
        columns[f"{name}_fraction"] = np.repeat(_share(plane & visible, visible), len(separator.classes))
    presence = None if prediction.presence is None else prediction.presence.pixels
    return SeparatedImages(maps, valid, arrays, columns, presence)


def _grouped(job: Job, maps: NDArray[Any]) -> pd.DataFrame:
    """Return a row for every instance in maps (b, N, B, *S)."""
    classes, limits = job.adapter.classes, job.adapter.limits
    return predicted_table(
        [group(each, classes, limits, job.grouping) for each in maps.astype(np.float32)], classes
    )


def _good(images: Images) -> NDArray[np.bool_]:
    """Return the good pixels (n, 1, *S)."""
    shape = len(images), 1, *images.image.shape[2:]
    return np.ones(shape, bool) if images.mask is None else images.mask


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the fraction of the pixels of each image that is in a part of them, (n,)."""
    inside, of = (values.reshape(len(values), -1).sum(axis=1) for values in (part, whole))
    return np.asarray(inside / np.maximum(of, 1))
