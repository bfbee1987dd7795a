"""Sparse events of larcv3: HDF5 files of liquid-argon detectors.

    Events/event_id                       (n,) run, subrun, event
    Data/sparse3d_NAME_group/             extents, voxel_extents, image_meta, voxels
    Data/cluster3d_NAME_group/            extents, projection_extents, cluster_extents, image_meta, voxels
    Data/particle_NAME_group/             extents, particles

A row of `extents` has `first` and `n`: the rows of the next table that belong to an event. `voxel_extents` and
`projection_extents` have a row for each projection (one in three dimensions), `cluster_extents` for each cluster,
which lead to rows of `voxels`: a flat index (the last axis changes fastest) and a value. Clusters may share
voxels.

Source: https://github.com/DeepLearnPhysics/larcv3, src/larcv3/core/dataformat.
"""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from oasis.data.samples import Scalar
from oasis.data.sparse.events import SparseEvent, gather_objects
from oasis.data.sparse.reading import EventFile, child, located, rows
from oasis.io.hdf5 import open_hdf5

PARTICLE = ("pdg", "energy_init", "energy_deposit", "shape")


class LarcvFile(EventFile):
    """The events of one file, read one after another.

    Args:
        path: the file.
        image: the name of the sparse tensor with the measured charge.
        clusters: the name of the clusters with the charge of each object; None if there are none.
        particles: the name of the particles, whose place in an event is the number of their cluster; None for no
            truth quantities.
        dims: 2 or 3.
        projection: the projection that is read.

    Raises:
        DataError: the file is not of larcv3, or has no product of these names.
    """

    def __init__(
        self,
        path: str | Path,
        image: str,
        clusters: str | None = None,
        particles: str | None = None,
        dims: int = 3,
        projection: int = 0,
    ) -> None:
        self.path, self.projection = Path(path), projection
        self._groups = {"image": f"sparse{dims}d_{image}_group"}
        if clusters is not None:
            self._groups["clusters"] = f"cluster{dims}d_{clusters}_group"
        if particles is not None:
            self._groups["particles"] = f"particle_{particles}_group"
        with open_hdf5(self.path) as file, located(self.path):
            self._length = len(child(file, "Events/event_id"))
            for name in self._groups.values():
                child(child(file, "Data"), name)

    def _read(self, file: h5py.File, index: int) -> SparseEvent:
        with located(self.path, f"event {index}: "):
            groups = {name: child(file, f"Data/{group}") for name, group in self._groups.items()}
            shape, (voxels,) = self._voxels(groups["image"], index, "voxel_extents")
            place = np.stack(np.unravel_index(voxels["id"].astype(np.int64), shape), axis=1)
            objects = None
            if "clusters" in groups:
                own, clusters = self._voxels(groups["clusters"], index, "projection_extents")
                if own != shape:
                    raise ValueError(f"clusters in a volume of {own}, the image has {shape}")
                owners = np.repeat(np.arange(len(clusters)), [len(one) for one in clusters])
                hits = np.concatenate([voxels[:0], *clusters])
                table = self._particles(groups.get("particles"), index)
                objects = gather_objects(shape, hits["id"].astype(np.int64), hits["value"], owners, table)
            number = rows(child(file, "Events/event_id"), ("run", "subrun", "event"), index, 1)[0]
            meta: dict[str, Scalar] = {name: int(number[name]) for name in ("run", "subrun", "event")}
            meta["id"] = str(index)
            return SparseEvent(shape, place, voxels["value"][:, None].astype(np.float32), objects, meta)

    def _voxels(self, group: h5py.Group, index: int, table: str) -> tuple[tuple[int, ...], list[NDArray[np.void]]]:
        """Return the shape of the volume, and the voxels of each part: one, or one for every cluster."""
        event = rows(child(group, "extents"), ("first", "n"), index, 1)[0]
        parts = rows(child(group, table), ("first", "n", "id"), int(event["first"]), int(event["n"]))
        found = np.flatnonzero(parts["id"] == self.projection)
        if not len(found):
            raise ValueError(f"no projection {self.projection} in {group.name}")
        facts = rows(child(group, "image_meta"), ("number_of_voxels",), int(event["first"]) + int(found[0]), 1)[0]
        shape = tuple(np.asarray(facts["number_of_voxels"]).astype(int).tolist())
        part = parts[found[0]]
        if table == "projection_extents":
            spans = rows(child(group, "cluster_extents"), ("first", "n"), int(part["first"]), int(part["n"]))
        else:
            spans = parts[found[:1]]
        voxels = child(group, "voxels")
        return shape, [rows(voxels, ("id", "value"), int(one["first"]), int(one["n"])) for one in spans]

    def _particles(self, group: h5py.Group | None, index: int) -> dict[int, dict[str, float]]:
        if group is None:
            return {}
        event = rows(child(group, "extents"), ("first", "n"), index, 1)[0]
        found = rows(child(group, "particles"), PARTICLE, int(event["first"]), int(event["n"]))
        return {place: {name: float(one[name]) for name in PARTICLE} for place, one in enumerate(found)}
