"""Reading samples from a file, one at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from oasis.data.components import read_columns
from oasis.data.instances import Instances
from oasis.data.mixing import SampleDataset
from oasis.data.sample_files.checks import check_truth, check_values
from oasis.data.sample_files.layout import check_layout, is_sample_file, read_facts
from oasis.data.samples import Array, Sample, Scalar
from oasis.errors import DataError, OasisError
from oasis.io.files import one_line
from oasis.io.hdf5 import open_hdf5, opened_hdf5, read_row

_DAMAGED = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


class SampleFile(SampleDataset):
    """The samples of one HDF5 file, read on request; every worker process opens the file separately.

    Opening reads the offsets of the maps of every sample, and nothing else that grows with the file.

    Args:
        path: a file that `write_samples` made.

    Attributes:
        classes: the N class names.
        unit: the unit of the intensities.
        shape: (B, *S) of every image.
        attributes: further facts from the writer.

    Raises:
        DataError: the file is missing, damaged or of another kind.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._handle: _Handle | None = None
        self._columns: dict[str, NDArray[Any]] | None = None
        with open_hdf5(self.path) as file, self._located():
            if not is_sample_file(file):
                raise DataError(f"{path}: not a file of samples as oasis simulate and oasis convert write them")
            facts = read_facts(file)
            self._offsets = check_layout(file, facts)
            self._parts = {name for name in ("context", "instances") if name in file}
        self.classes, self.unit, self.shape, self.attributes = (
            facts.classes,
            facts.unit,
            facts.shape,
            facts.attributes,
        )
        self._length, self._is_old = facts.count, facts.is_old

    def __len__(self) -> int:
        return self._length

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}

    def meta(self, index: int) -> dict[str, Scalar]:
        """Return the identity and truth quantities of one sample."""
        if self._is_old:
            if self._columns is None:
                self._columns = read_columns(self._open().file.get("meta"))
            row = {name: column[index].item() for name, column in self._columns.items()}
        else:
            stored = read_row(self._open()["meta"], index)
            row = dict(zip(stored.dtype.names or (), stored.item(), strict=True))
        return {name: value.decode() if isinstance(value, bytes) else value for name, value in row.items()}

    def sample(self, index: int, epoch: int) -> Sample:
        """Read sample `index`; it is the same in every epoch.

        Raises:
            DataError: the file is damaged, or the sample has NaN or infinite values or a negative target.
        """
        shape = self.shape
        with self._located(f"sample {index}: "), np.errstate(over="ignore"):  # refused as infinite
            data = self._open()
            sample = Sample(
                self._map("image", index),
                np.stack([self._map(f"target/{name}", index) for name in self.classes]),
                np.unpackbits(data["valid"][index], count=prod(shape[1:])).astype(bool).reshape(1, *shape[1:]),
                self.meta(index),
                np.asarray(data["context"][index], np.float32) if "context" in self._parts else None,
                partial(self.instances, index) if "instances" in self._parts else None,
            )
            check_truth(sample, self.classes)
        return sample

    def instances(self, index: int) -> Instances:
        """Read the instances of sample `index`.

        Raises:
            DataError: the file is damaged.
        """
        with self._located(f"instances of sample {index}: "):
            data = self._open()
            low, high = _bounds(data["instances/offsets"], index, len(data["instances/labels"]))
            starts = data["instances/starts"][low : high + 1]
            first, last = int(starts[0]), int(starts[-1])
            if not 0 <= first <= last <= len(data["instances/pixels"]):
                raise DataError(f"pixels {first} to {last} of {len(data['instances/pixels'])}")
            labels = data["instances/labels"][low:high]
            if labels.max(initial=0) >= len(self.classes):
                raise DataError(f"class {labels.max()}, but there are {len(self.classes)}")
            table = data["instances/table"][low:high] if "instances/table" in data.file else None
            found = Instances(
                self.shape,
                labels,
                starts - first,
                data["instances/pixels"][first:last],
                data["instances/values"][first:last],
                {} if table is None else {name: table[name] for name in table.dtype.names},
            )
            check_values(found)
        return found

    @contextmanager
    def _located(self, where: str = "") -> Iterator[None]:
        """Turn any exception from a damaged file into an error of one line that names the file."""
        try:
            yield
        except (*_DAMAGED, OasisError) as error:
            if isinstance(error, DataError) and str(self.path) in str(error):
                raise
            raise DataError(f"{self.path}: {where}{one_line(error)}; write the file again") from None

    def _open(self) -> "_Handle":
        if self._handle is None or self._handle.process != os.getpid():  # a handle does not survive a fork
            self._handle = _Handle(self.path)
        return self._handle

    def _map(self, name: str, index: int) -> Array:
        data = self._open()
        if name not in self._offsets:
            return np.asarray(data[f"{name}/values"][index], np.float32)
        flat = np.zeros(prod(self.shape), np.float32)
        low, high = self._offsets[name][index : index + 2].tolist()
        if high > low:
            pixels = data[f"{name}/indices"][low:high]
            if pixels.min() < 0:
                raise DataError(f"pixel {pixels.min()} in {name!r}")
            flat[pixels] = data[f"{name}/values"][low:high]
        return flat.reshape(self.shape)


class _Handle:
    """A file opened in one process, with the data sets that have been read from it."""

    def __init__(self, path: Path) -> None:
        self.file = opened_hdf5(path)
        self.process = os.getpid()
        self._known: dict[str, h5py.Dataset] = {}

    def __getitem__(self, name: str) -> h5py.Dataset:
        if name not in self._known:
            self._known[name] = self.file[name]
        return self._known[name]


def _bounds(offsets: h5py.Dataset, index: int, count: int) -> tuple[int, int]:
    low, high = offsets[index : index + 2].tolist()
    if not 0 <= low <= high <= count:
        raise DataError(f"rows {low} to {high} of {count}")
    return low, high
