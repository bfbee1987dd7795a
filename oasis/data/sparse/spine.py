"""Sparse events of SPINE: the HDF5 files of its writer, in both of its layouts.

Version 1: `events` has a row per event with a region reference into each data set, such as `data`, `clust_label`.
Version 2: `products/NAME/values` with `event_offsets`; the rows of event i are those from offset i to i + 1.

Rows of `data` are a position and a value. Rows of `clust_label` continue with the number of the cluster, of the
particle and further labels; the last of 20 is the semantic type (`shape`). Earlier files have a column for the
number in a batch before all, in both tables, so that `data` tells what 6 columns of compact labels are. Every cell
belongs to one cluster.

Source: https://github.com/DeepLearnPhysics/spine, src/spine/io/write/hdf5 and src/spine/constants/columns.py.
"""

from pathlib import Path
from typing import Final

import h5py
import numpy as np
from numpy.typing import NDArray

from oasis.data.sparse.events import SparseEvent, gather_objects
from oasis.data.sparse.reading import EventFile, check_offsets, child, located, whole
from oasis.errors import ConfigError, shown
from oasis.io.hdf5 import open_hdf5

LABELS: Final = 20  # columns of complete labels: x, y, z, value, cluster, ..., shape
COMPACT: Final = 5  # columns of compact ones, at least: x, y, z, value, cluster
OBJECTS: Final = ("cluster", "particle")
PLACES: Final = {"value": 3, "cluster": 4, "particle": 5, "pid": 10, "shape": 19}  # of labels without a batch


class SpineFile(EventFile):
    """The events of one file, read one after another.

    Args:
        path: the file.
        shape: lengths of the axes of the volume in voxels, to which positions count.
        image: the name of the tensor with the measured charge.
        labels: the name of the cluster labels; None for files without truth.
        objects: what an object is: a `cluster` or a `particle`.

    Raises:
        ConfigError: `objects` is another word.
        DataError: the file is not of SPINE, or has no product of these names.
    """

    def __init__(
        self,
        path: str | Path,
        shape: tuple[int, int, int],
        image: str = "data",
        labels: str | None = "clust_label",
        objects: str = "cluster",
    ) -> None:
        if objects not in OBJECTS:
            raise ConfigError(f"objects={shown(objects)}: expected 'cluster' or 'particle'")
        self.path, self.shape, self.image, self.labels, self.objects = Path(path), shape, image, labels, objects
        self._offsets: dict[str, NDArray[np.integer]] = {}
        with open_hdf5(self.path) as file, located(self.path):
            self._length = len(child(file, "events"))
            info = file.get("info")
            self._version = 1 if info is None else int(info.attrs.get("format_version", 1))
            if self._version not in (1, 2):
                raise ValueError(f"format version {self._version}, expected 1 or 2")
            for name in filter(None, (image, labels)):
                product = child(self._root(file), name)
                if self._version == 2:
                    offsets, rows = np.asarray(child(product, "event_offsets")), len(child(product, "values"))
                    check_offsets(offsets, self._length, rows, name)
                    self._offsets[name] = offsets

    def _root(self, file: h5py.File) -> h5py.Group:
        return file if self._version == 1 else child(file, "products")

    def _read(self, file: h5py.File, index: int) -> SparseEvent:
        with located(self.path, f"event {index}: "):
            image = self._rows(file, self.image, index)
            batched = image.shape[1] == COMPACT and bool((image[:, 0] == image[:1, 0]).all())  # number in a batch
            image = image[:, 1:] if batched else image
            if image.shape[1] != 4:
                raise ValueError(f"{self.image} has {image.shape[1]} columns, expected a position and a value")
            objects = None
            if self.labels is not None:
                labels = self._labels(file, index, batched)
                cells = np.ravel_multi_index(tuple(self._places(labels).T), self.shape)
                owners = whole(labels[:, PLACES[self.objects]], f"numbers of a {self.objects}")
                objects = gather_objects(self.shape, cells, labels[:, 3], owners, _quantities(labels, owners))
            places, values = self._places(image), image[:, 3:].astype(np.float32)
            return SparseEvent(self.shape, places, values, objects, {"id": str(index)})

    def _labels(self, file: h5py.File, index: int, batched: bool) -> NDArray[np.float64]:
        """Return the labels of an event without the number in a batch."""
        labels = self._rows(file, str(self.labels), index)
        columns = labels.shape[1]
        if columns == LABELS + 1 or (batched and COMPACT < columns <= COMPACT + 2):
            if len(np.unique(labels[:, 0])) > 1:
                raise ValueError(f"{self.labels}: the number in a batch, the first of {columns} columns, differs")
            labels = labels[:, 1:]
        if labels.shape[1] != LABELS and not COMPACT <= labels.shape[1] <= COMPACT + 1:
            raise ValueError(f"{self.labels} has {columns} columns, expected 5, 6, 20, or one more with a batch")
        if labels.shape[1] <= PLACES[self.objects]:
            raise ValueError(f"{self.labels} has {columns} columns, and none for the {self.objects}")
        return labels

    def _places(self, table: NDArray[np.floating]) -> NDArray[np.int64]:
        places = table[:, :3]
        if (places != np.round(places)).any():
            raise ValueError("positions are not whole numbers of voxels: they may be in cm; expected voxels")
        outside = ((places < 0) | (places >= self.shape)).any(axis=1)
        if outside.any():
            raise ValueError(f"a hit at {places[outside][0].tolist()}, outside the volume of {self.shape}")
        return places.astype(np.int64)

    def _rows(self, file: h5py.File, name: str, index: int) -> NDArray[np.float64]:
        product = child(self._root(file), name)
        if self._version == 1:
            reference = file["events"][index][name]
            values = np.asarray(product[reference]).reshape(-1, *product.shape[1:])
        else:
            first, last = (int(one) for one in self._offsets[name][index : index + 2])
            values = np.asarray(child(product, "values")[first:last])
        if values.ndim != 2 or values.dtype.kind not in "fiu":
            raise ValueError(f"{name} has shape {values.shape}, expected rows of numbers")
        return values.astype(np.float64)


def _quantities(labels: NDArray[np.floating], owners: NDArray[np.int64]) -> dict[int, dict[str, float]]:
    """Return species and semantic type of every object, where the labels are complete."""
    if labels.shape[1] != LABELS:
        return {}
    known, first = np.unique(owners, return_index=True)
    return {
        int(owner): {name: float(labels[place, PLACES[name]]) for name in ("pid", "shape")}
        for owner, place in zip(known, first, strict=True)
    }
