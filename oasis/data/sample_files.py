"""Storage: samples in one HDF5 file, sparse maps as (offsets, indices, values), dense ones a chunk each.

Layout of a file: attributes `format`, `classes`, `unit`, `shape` (B, *S) and what the writer adds; groups `image`
and `target/<class>` (a map of (B, *S) per sample), `valid` (packed bits), `meta/<name>` (a column per quantity).
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from oasis.data.components import read_columns
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Array, Sample, Scalar
from oasis.errors import DataError
from oasis.io.files import replace_when_whole
from oasis.io.hdf5 import append_rows, create_hdf5, open_hdf5, opened_hdf5

FORMAT = "oasis-samples-1"
BLOCK = 64  # samples that are written at a time
COLUMN: Mapping[str, Any] = {"compression": "lzf", "shuffle": True}  # how flat data sets are stored
DENSE_ABOVE = 0.3  # share of occupied pixels from which a dense layout is the smaller one


def write_samples(
    path: str | Path,
    samples: Iterable[Sample],
    classes: Sequence[str],
    unit: str = "",
    attributes: Mapping[str, Any] | None = None,
) -> int:
    """Write samples of one shape to an HDF5 file, a block at a time, and return how many there were.

    Args:
        path: of the file, which appears when it is whole.
        samples: read once, in order; they need the same shape and the same names in `meta`.
        classes: the N class names.
        unit: of the intensities.
        attributes: further facts about the file (plain values), kept with it.

    Raises:
        DataError: no samples, samples that differ, or a place that cannot be written to.
    """
    stream = iter(samples)
    first = next(stream, None)
    if first is None:
        raise DataError(f"{path}: there are no samples to write")
    stream = chain([first], stream)
    count = 0
    meta: dict[str, list[Scalar]] = {name: [] for name in first.meta}
    with replace_when_whole(Path(path)) as temporary, create_hdf5(temporary) as file:
        file.attrs.update(format=FORMAT, unit=unit, shape=first.image.shape, classes=json.dumps(list(classes)))
        file.attrs["attributes"] = json.dumps(dict(attributes or {}))
        while block := list(islice(stream, BLOCK)):
            _check_alike(first, block, count, classes)
            _append_map(file, "image", np.stack([sample.image for sample in block], dtype=np.float32))
            for label, name in enumerate(classes):
                _append_map(
                    file, f"target/{name}", np.stack([sample.target[label] for sample in block], dtype=np.float32)
                )
            append_rows(file, "valid", np.packbits([sample.valid.ravel() for sample in block], axis=1))
            if first.context is not None:
                append_rows(file, "context", np.array([sample.context for sample in block], dtype=np.float32))
            for name, column in meta.items():
                column.extend(sample.meta[name] for sample in block)
            count += len(block)
        for name, column in meta.items():
            _write_column(file, name, column)
        file.attrs["count"] = count
    return count


def _check_alike(first: Sample, block: Sequence[Sample], count: int, classes: Sequence[str]) -> None:
    if len(first.target) != len(classes):
        raise DataError(f"samples have {len(first.target)} maps for the classes {list(classes)}")
    for number, sample in enumerate(block, start=count):
        if sample.target.shape != first.target.shape:
            raise DataError(f"sample {number} has shape {sample.target.shape}, the first {first.target.shape}")
        if _context_shape(sample) != _context_shape(first):
            raise DataError(
                f"sample {number} has context {_context_shape(sample)}, the first {_context_shape(first)}"
            )
        if set(sample.meta) != set(first.meta):
            raise DataError(f"sample {number} has meta {sorted(sample.meta)}, the first {sorted(first.meta)}")


def _context_shape(sample: Sample) -> tuple[int, ...] | None:
    return None if sample.context is None else sample.context.shape


def _append_map(file: h5py.File, name: str, maps: Array) -> None:
    """Append maps (n, B, *S), sparse or dense as the first block decides."""
    if name not in file:
        occupied = np.count_nonzero(maps) / maps.size
        file.create_group(name).attrs["layout"] = "dense" if occupied > DENSE_ABOVE else "sparse"
        if occupied <= DENSE_ABOVE:
            append_rows(file[name], "offsets", np.zeros(1, dtype=np.int64), **COLUMN)
    group = file[name]
    if group.attrs["layout"] == "dense":
        append_rows(group, "values", maps)  # measured noise does not compress
        return
    flat = maps.reshape(len(maps), -1)
    rows, indices = np.nonzero(flat)
    counts = np.bincount(rows, minlength=len(maps))
    append_rows(group, "offsets", group["offsets"][-1] + np.cumsum(counts), **COLUMN)
    if len(indices):
        append_rows(group, "indices", indices.astype(np.uint32), **COLUMN)
        append_rows(group, "values", flat[rows, indices], **COLUMN)


def _write_column(file: h5py.File, name: str, values: Sequence[Scalar]) -> None:
    column = np.array(values)
    if column.dtype.kind == "U":
        column = np.char.encode(column, "utf-8")
    append_rows(file.require_group("meta"), name, column, **COLUMN)


class SampleFile(SampleDataset):
    """The samples of one HDF5 file, read when asked for; every worker process opens the file for itself.

    Args:
        path: a file that `write_samples` made.

    Attributes:
        classes: the N class names.
        unit: of the intensities.
        shape: (B, *S) of every image.
        attributes: further facts that the writer left.

    Raises:
        DataError: the file is missing, truncated or of another kind.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._process = -1
        with open_hdf5(self.path) as file:
            if file.attrs.get("format") != FORMAT:
                raise DataError(f"{path}: not a file of samples (format {file.attrs.get('format')!r})")
            try:
                self._read_facts(file)
            except KeyError as error:
                raise DataError(f"{path}: not a file of samples: {error.args[0]}") from None

    def _read_facts(self, file: h5py.File) -> None:
        self.classes = tuple(json.loads(file.attrs["classes"]))
        self.unit = str(file.attrs["unit"])
        self.shape = tuple(int(length) for length in file.attrs["shape"])
        self.attributes = json.loads(file.attrs["attributes"])
        self._length = int(file.attrs["count"])
        self._meta = read_columns(file.get("meta"))
        self._offsets = {
            name: file[name]["offsets"][:]
            for name in ("image", *(f"target/{name}" for name in self.classes))
            if file[name].attrs["layout"] == "sparse"
        }

    def __len__(self) -> int:
        return self._length

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}

    def meta(self, index: int) -> dict[str, Scalar]:
        """Return identity and truth quantities of one sample."""
        row = {name: column[index].item() for name, column in self._meta.items()}
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in row.items()}

    def sample(self, index: int, epoch: int) -> Sample:
        """Read sample `index`; it is the same in every epoch."""
        file = self._open()
        image = self._map(file, "image", index)
        target = np.stack([self._map(file, f"target/{name}", index) for name in self.classes])
        pixels = int(np.prod(self.shape[1:]))
        valid = np.unpackbits(file["valid"][index], count=pixels).astype(bool)
        context = np.asarray(file["context"][index]) if "context" in file else None
        return Sample(image, target, valid.reshape(1, *self.shape[1:]), self.meta(index), context)

    def _open(self) -> h5py.File:
        if self._file is None or self._process != os.getpid():  # a handle does not survive a fork
            self._file = opened_hdf5(self.path)
            self._process = os.getpid()
        return self._file

    def _map(self, file: h5py.File, name: str, index: int) -> Array:
        if name not in self._offsets:
            return np.asarray(file[name]["values"][index])
        flat = np.zeros(int(np.prod(self.shape)), dtype=np.float32)
        low, high = self._offsets[name][index : index + 2]
        if high > low:
            flat[file[name]["indices"][low:high]] = file[name]["values"][low:high]
        return flat.reshape(self.shape)
