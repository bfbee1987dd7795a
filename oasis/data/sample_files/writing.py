"""Writing samples to a file, a block at a time."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from oasis.data.instances import Instances, index_type
from oasis.data.metadata import Ids, check_metadata, metadata_columns
from oasis.data.sample_files.checks import FORMAT, check_truth, check_values
from oasis.data.sample_files.tables import COMPRESSION, TableWriter
from oasis.data.samples import Array, Sample
from oasis.errors import DataError
from oasis.io.files import replace_alone
from oasis.io.hdf5 import append_rows, create_hdf5
from oasis.regions import check_classes

BLOCK = 64  # samples written at a time
DENSE_ABOVE = 0.3  # fraction of non-zero pixels above which a dense layout is smaller


def write_samples(
    path: str | Path,
    samples: Iterable[Sample],
    classes: Sequence[str],
    unit: str = "",
    attributes: Mapping[str, Any] | None = None,
) -> int:
    """Write samples of one shape to an HDF5 file, a block at a time, and return their number.

    Args:
        path: the path of the file, which appears when it is complete.
        samples: read once, in order; they need the same shape and the same names in `meta`, `id` among them.
            Instances are written if those of all samples are known.
        classes: the N class names.
        unit: the unit of the intensities.
        attributes: further facts (plain values) to be stored in the file.

    Raises:
        ConfigError: class names are duplicate, empty or otherwise invalid.
        DataError: there are no samples, they differ in shape or metadata, a target is negative or not finite,
            metadata are not valid in an event table, or the path cannot be written to.
    """
    names = _checked(classes)
    stream = iter(samples)
    first = next(stream, None)
    if first is None:
        raise DataError(f"{path}: there are no samples to write")
    with replace_alone(Path(path)) as temporary, create_hdf5(temporary) as file:
        file.attrs.update(format=FORMAT, unit=unit, shape=first.image.shape, classes=json.dumps(list(names)))
        file.attrs["attributes"] = json.dumps(dict(attributes or {}))
        writer = _Writer(file, first, names)
        for block in _blocks(chain([first], stream)):
            with _naming(path):
                writer.append(block)
        with _naming(path):
            writer.finish()
    return writer.count


@contextmanager
def _naming(path: str | Path) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _checked(classes: Sequence[str]) -> tuple[str, ...]:
    names = check_classes(classes)
    for name in names:
        if "/" in name or "\0" in name or name in (".", ".."):
            raise DataError(f"class {name!r} cannot be stored: its name must not contain '/' or NUL, nor be '.'")
    return names


def _blocks(samples: Iterator[Sample]) -> Iterator[list[Sample]]:
    while block := list(islice(samples, BLOCK)):
        yield block


class _Writer:
    """A writer that appends blocks of samples to a file.

    Args:
        file: the file to be written.
        first: the sample whose shape and metadata the others must share.
        classes: the N class names.
    """

    def __init__(self, file: h5py.File, first: Sample, classes: tuple[str, ...]) -> None:
        self.file = file
        self.first = first
        self.classes = classes
        self.ids = Ids()
        self.meta = TableWriter()
        self.instances = _InstanceWriter(file, first.image.shape, len(classes)) if first.has_instances else None

    @property
    def count(self) -> int:
        """Number of samples so far."""
        return self.meta.count

    def append(self, block: Sequence[Sample]) -> None:
        """Check and write samples."""
        for number, sample in enumerate(block, start=self.count):
            try:
                self._check(sample)
            except DataError as error:
                raise DataError(f"sample {number}: {error}") from None
        _append_map(self.file, "image", np.stack([sample.image for sample in block], dtype=np.float32))
        for label, name in enumerate(self.classes):
            maps = np.stack([sample.target[label] for sample in block], dtype=np.float32)
            _append_map(self.file, f"target/{name}", maps)
        append_rows(self.file, "valid", np.packbits([sample.valid.ravel() for sample in block], axis=1))
        if self.first.context is not None:
            append_rows(self.file, "context", np.array([sample.context for sample in block], dtype=np.float32))
        if self.instances is not None:
            self.instances.append([sample.instances for sample in block if sample.instances is not None])
        self.meta.extend(metadata_columns([sample.meta for sample in block]), len(block))
        for sample in block:
            self.ids.add(sample.meta)

    def finish(self) -> None:
        """Write the tables, whose columns are known only at the end."""
        self.file.attrs["count"] = self.count
        self.meta.write(self.file, "meta")
        if self.instances is not None:
            self.instances.table.write(self.instances.group, "table")

    def _check(self, sample: Sample) -> None:
        if len(sample.target) != len(self.classes):
            raise DataError(f"{len(sample.target)} maps for the classes {list(self.classes)}")
        if sample.target.shape != self.first.target.shape:
            raise DataError(f"shape {sample.target.shape}, that of the first {self.first.target.shape}")
        if _context_shape(sample) != _context_shape(self.first):
            raise DataError(f"context {_context_shape(sample)}, the first {_context_shape(self.first)}")
        if "id" not in sample.meta:
            raise DataError("no 'id' in its metadata: give every sample an id")
        if set(sample.meta) != set(self.first.meta):
            found, first = (sorted(map(str, each)) for each in (sample.meta, self.first.meta))
            raise DataError(f"meta {found}, the first {first}")
        check_metadata(sample.meta)
        if sample.has_instances != self.first.has_instances:
            raise DataError("some samples have instances and some have none: give all or none (instances=None)")
        check_truth(sample, self.classes)


class _InstanceWriter:
    """A writer that appends the instances of samples to a file."""

    def __init__(self, file: h5py.File, shape: Sequence[int], classes: int) -> None:
        self.group = file.create_group("instances")
        self.shape = tuple(shape)
        self.classes = classes
        self.table = TableWriter()
        for name in ("offsets", "starts"):
            append_rows(self.group, name, np.zeros(1, np.int64), **COMPRESSION)
        empty = Instances.pack(shape, [], [], [])
        append_rows(self.group, "labels", np.empty(0, np.uint8), **COMPRESSION)
        append_rows(self.group, "pixels", empty.pixels, **COMPRESSION)
        append_rows(self.group, "values", empty.values, **COMPRESSION)

    def append(self, records: Sequence[Instances]) -> None:
        """Write the instances of a block of samples."""
        joined = Instances.concatenate(records)
        if joined.shape != self.shape:
            raise DataError(f"instances of images of shape {joined.shape}, expected {self.shape}")
        if joined.labels.max(initial=0) >= self.classes:
            raise DataError(f"instances of class {joined.labels.max()}, but there are {self.classes} classes")
        check_values(joined)
        counts = [len(each) for each in records]
        append_rows(self.group, "offsets", self.group["offsets"][-1] + np.cumsum(counts))
        append_rows(self.group, "starts", self.group["starts"][-1] + joined.offsets[1:])
        for name in ("labels", "pixels", "values"):
            append_rows(self.group, name, getattr(joined, name))
        self.table.extend(joined.table, len(joined))


def _context_shape(sample: Sample) -> tuple[int, ...] | None:
    return None if sample.context is None else sample.context.shape


def _append_map(file: h5py.File, name: str, maps: Array) -> None:
    """Append maps (n, B, *S), sparse or dense as determined by the first block."""
    if name not in file:
        occupied = np.count_nonzero(maps) / maps.size
        file.create_group(name).attrs["layout"] = "dense" if occupied > DENSE_ABOVE else "sparse"
        if occupied <= DENSE_ABOVE:
            append_rows(file[name], "offsets", np.zeros(1, dtype=np.int64), **COMPRESSION)
            append_rows(file[name], "indices", np.empty(0, index_type(maps[0].size)), **COMPRESSION)
            append_rows(file[name], "values", np.empty(0, np.float32), **COMPRESSION)
    group = file[name]
    if group.attrs["layout"] == "dense":
        append_rows(group, "values", maps)  # measured noise does not compress
        return
    flat = maps.reshape(len(maps), -1)
    rows, indices = np.nonzero(flat)
    counts = np.bincount(rows, minlength=len(maps))
    append_rows(group, "offsets", group["offsets"][-1] + np.cumsum(counts))
    append_rows(group, "indices", indices)
    append_rows(group, "values", flat[rows, indices])
