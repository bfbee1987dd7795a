"""Whole images: separated at once, several in every pass."""

from pathlib import Path
from typing import Any

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
            arrays, columns, found = _separated(job, batch)
        except DataError as error:
            frames.leave_out(numbers, str(error))
        else:
            output.add(path, numbers, batch.image.shape[2:], batch.mask, arrays, columns)
            if output.previews is not None:
                maps = np.stack([arrays[f"maps/{name}"] for name in job.separator.classes], axis=1)
                output.previews.add(path, numbers, batch.filled(), maps)
            if found is not None:
                output.add_instances(path, numbers, found)
    return frames.problems


def _separated(
    job: Job, images: Images
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]], pd.DataFrame | None]:
    """Return arrays by name in the output, the rows of the objects by column, and those of grouped instances."""
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
    return arrays, columns, _grouped(job, np.where(valid[:, None], maps, 0)) if job.grouping else None


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
