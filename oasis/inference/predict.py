"""Inference: images of files and folders are read, separated and written, a batch at a time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.data.images import Images
from oasis.errors import ConfigError, DataError, OasisError
from oasis.evaluation.event_table import SPREAD, check_same_classes, check_spread, measure_maps
from oasis.evaluation.identity import CONFIGURATION, identified
from oasis.evaluation.symmetry import symmetry_spread
from oasis.inference.choice import Choice, Measure
from oasis.inference.rows import Rows
from oasis.inference.sinks import Sink, check_kind, open_sink
from oasis.inference.sources import Frames, image_files, read_images
from oasis.io.files import readable, replace_when_whole
from oasis.separator.separator import Separator

BATCH = 8  # images per forward pass
MASK = "mask"  # of the good pixels, in the output
MASKED = "masked_fraction"  # bad pixels as a share of those that the adapter calls visible


class Predicted(NamedTuple):
    """What was predicted from files.

    Attributes:
        images: how many were separated.
        failed: the files that could not be used, wholly or in part, and why.
        objects: one row per image and class: `source`, `frame`, `class`, `intensity_predicted` and
            `overlap_fraction_predicted` over the good pixels that the adapter calls visible; `masked_fraction`
            where there are masks, `intensity_spread` if it was requested, and the positions that files state.
    """

    images: int
    failed: Mapping[Path, OasisError]
    objects: pd.DataFrame


def predict(
    separator: Separator,
    adapter: Adapter[Any],
    source: str | Path,
    out: str | Path,
    dark: NDArray[Any] | None = None,
    key: str | None = None,
    spread: bool = False,
    refine: bool = False,
    size_check: Measure | None = None,
) -> Predicted:
    """Separate every image of a file or folder and write the maps to an HDF5 or `.npz` file.

    The output holds `maps/<class>` (n, B, *S), `source` and `frame` of every image, and as attributes the classes,
    the unit and the identity of the run. Where an adapter reads masks, good pixels are there as `mask` (n, 1, *S):
    bad ones have no influence on the maps and are not counted in the intensities. Files and single images that
    cannot be used are reported and left out; the rest goes on. A blank image, all zero, has blank maps. Memory
    does not grow with the number of images in a file, but for what its adapter reads.

    Args:
        separator: to be applied.
        adapter: reads the files.
        source: a file or a folder.
        out: `.h5`, `.hdf5` or `.npz`; it appears when it is whole.
        dark: a dark frame to subtract.
        key: the array in `.npz` and HDF5 files.
        spread: also write the standard deviation of every pixel over the symmetries of the image, as
            `spread/<class>`, which takes a pass for each.
        refine: also give the columns of the adapter's `refine`.
        size_check: tells what larger surroundings do to the maps; called if images have another size than in
            training, which are then refused if their maps would be others.

    Raises:
        ConfigError: `spread` or `refine` where the adapter has none.
        DataError: an output of another kind, a place that cannot be written to, or no image that could be used.
    """
    out = Path(out)
    suffix = check_kind(out)
    check_same_classes(separator, adapter)
    if spread:
        check_spread(adapter)
    job = _Job(separator, adapter, spread, refine, Choice(separator, size_check))
    files = image_files(source, adapter.suffixes, without=(out, out.with_suffix(".csv")))
    with replace_when_whole(out) as temporary:
        with open_sink(temporary, suffix, separator.options) as sink:
            output = _Output(sink)
            failed = _separate_files(job, files, output, dark, key)
        if not output.count:
            raise next(iter(failed.values()))
    table = identified(output.table(), separator.options.identity.get(CONFIGURATION), separator.options.unit)
    return Predicted(output.count, failed, table)


class _Output:
    """What was written so far.

    Args:
        sink: where arrays go.
    """

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.count = 0
        self.size: tuple[int, ...] | None = None
        self.masked = False
        self.rows = Rows()

    def check_size(self, images: Images) -> None:
        """Check that images have the size of those before.

        Raises:
            DataError: they do not.
        """
        size = images.image.shape[2:]
        if self.size is not None and size != self.size:
            found, expected = (" x ".join(map(str, each)) for each in (size, self.size))
            raise DataError(
                f"images are {found} pixels, earlier ones were {expected}: write each size to its own output file"
            )

    def add(
        self,
        path: Path,
        numbers: NDArray[np.intp],
        images: Images,
        arrays: Mapping[str, NDArray[Any]],
        columns: Mapping[str, NDArray[Any]],
    ) -> None:
        """Append a batch: images of these numbers in a file."""
        self.size = images.image.shape[2:]
        if images.mask is not None and not self.masked:
            self.masked = True
            for start in range(0, self.count, BATCH):  # of the images before, which had no mask
                self.sink.append(MASK, np.ones((min(BATCH, self.count - start), 1, *self.size), bool))
        source = readable(path)
        added = {**arrays, "source": np.full(len(images), source), "frame": numbers.astype(np.int64)}
        if self.masked:
            added[MASK] = _good(images)
        for name, values in added.items():
            self.sink.append(name, values)
        frame = np.repeat(numbers, len(columns["class"]) // len(images))
        self.rows.add({"source": [source] * len(frame), "frame": frame, **columns})
        self.count += len(images)

    def table(self) -> pd.DataFrame:
        """Return one row per image and class."""
        table = self.rows.table()
        return table.fillna({MASKED: 0.0}) if self.masked else table


class _Job(NamedTuple):
    """What is done to every batch; see `predict`."""

    separator: Separator
    adapter: Adapter[Any]
    spread: bool
    refine: bool
    choice: Choice


def _separate_files(
    job: _Job, files: Sequence[Path], output: _Output, dark: NDArray[Any] | None, key: str | None
) -> dict[Path, OasisError]:
    """Separate the images of files, and return what is to be said of those that could not be used.

    Raises:
        ConfigError: something that no other file could mend.
    """
    failed: dict[Path, OasisError] = {}
    for path in files:
        try:
            images = read_images(job.adapter, path, key, dark)
            output.check_size(images)
            job.choice.check_whole(images.image.shape[2:], path)
            problem = _separate_images(job, path, images, output)
        except ConfigError:
            raise
        except OasisError as error:
            problem = error if str(path) in str(error) else DataError(f"{path}: {error}")
        if problem is not None:
            failed[path] = problem
    return failed


def _separate_images(job: _Job, path: Path, images: Images, output: _Output) -> OasisError | None:
    """Separate the images of a file, and return what is to be said of those that could not be used."""
    frames = Frames(images, {})
    for numbers, batch in frames.batches(BATCH):
        try:
            arrays, columns = _separated(job, batch)
        except DataError as error:
            frames.leave_out(numbers, str(error))
        else:
            output.add(path, numbers, batch, arrays, columns)
    return frames.error(path)


def _separated(job: _Job, images: Images) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Return arrays by their place in the output, and the rows of the objects by column."""
    separator, adapter = job.separator, job.adapter
    image, context = images.filled(), images.context
    prediction = separator.predict(image, context)
    maps = prediction.maps.cpu().numpy()
    numbers = {name: values.cpu().numpy() for name, values in separator.columns(prediction).items()}
    visible = adapter.visible(image)
    valid = torch.from_numpy(visible & _good(images))
    measured = {**measure_maps(torch.from_numpy(maps), valid, adapter)}
    arrays = {f"maps/{name}": maps[:, label] for label, name in enumerate(separator.classes)}
    if job.spread:
        extra = None if context is None else torch.from_numpy(context)
        found = symmetry_spread(separator, torch.from_numpy(image), valid, extra)
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
    return arrays, columns


def _good(images: Images) -> NDArray[np.bool_]:
    """Return the good pixels (n, 1, *S)."""
    shape = len(images), 1, *images.image.shape[2:]
    return np.ones(shape, bool) if images.mask is None else images.mask


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return which share of the pixels of each image is in a part of them, (n,)."""
    inside, of = (values.reshape(len(values), -1).sum(axis=1) for values in (part, whole))
    return np.asarray(inside / np.maximum(of, 1))
