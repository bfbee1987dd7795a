"""Components: isolated objects stored as points with an intensity, thousands of them in flat arrays."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from oasis.errors import DataError
from oasis.io.files import one_line
from oasis.io.hdf5 import read_dataset


@dataclass(frozen=True)
class Component:
    """One isolated object.

    Attributes:
        points: (n, d) float32 positions, in the units of the domain (mm for tracks, pixels for stamps).
        intensity: (n,) float32, or (n, B) for B bands: the intensity that each point adds.
        meta: truth quantities, one scalar each.
    """

    points: NDArray[np.float32]
    intensity: NDArray[np.float32]
    meta: Mapping[str, float]


@dataclass(frozen=True)
class Components(Sequence[Component]):
    """A library of components in flat arrays: component i consists of the points `offsets[i]:offsets[i + 1]`.

    Attributes:
        offsets: (n + 1,) int64.
        points: (m, d) floating point.
        intensity: (m,) or (m, B) floating point.
        table: truth quantities, one (n,) column each.
    """

    offsets: NDArray[np.int64]
    points: NDArray[np.floating]
    intensity: NDArray[np.floating]
    table: Mapping[str, NDArray[np.generic]]

    def __post_init__(self) -> None:
        if self.offsets.ndim != 1 or self.offsets.dtype.kind not in "iu":
            raise DataError(
                f"offsets are {self.offsets.dtype} of shape {self.offsets.shape}, expected (n + 1,) integers"
            )
        if self.points.ndim != 2 or {self.points.dtype.kind, self.intensity.dtype.kind} != {"f"}:
            raise DataError(
                f"points are {self.points.dtype} of shape {self.points.shape} and intensities "
                f"{self.intensity.dtype}, expected (m, d) and (m,) floating-point numbers"
            )
        if not len(self.offsets) or self.offsets[0] != 0 or (np.diff(self.offsets) < 0).any():
            raise DataError("offsets have to begin with 0 and must not decrease")
        if self.offsets[-1] != len(self.points) or len(self.points) != len(self.intensity):
            raise DataError(
                f"offsets end at {self.offsets[-1]} but there are {len(self.points)} points "
                f"and {len(self.intensity)} intensities"
            )
        for name, column in self.table.items():
            if column.dtype.kind not in "biuf":
                raise DataError(f"column {name!r} is of type {column.dtype}, expected numbers")
            if column.ndim != 1 or len(column) != len(self):
                found = f"{len(column)} rows" if column.ndim == 1 else f"shape {column.shape}"
                raise DataError(f"column {name!r} has {found} for {len(self)} components")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Component:  # type: ignore[override]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        part = slice(self.offsets[index], self.offsets[index + 1])
        meta = {name: float(column[index]) for name, column in self.table.items()}
        return Component(self.points[part].astype(np.float32), self.intensity[part].astype(np.float32), meta)

    def __iter__(self) -> Iterator[Component]:
        return (self[index] for index in range(len(self)))

    @classmethod
    def pack(cls, components: Sequence[Component]) -> "Components":
        """Return a library of components, laid end to end.

        Example:
            >>> dot = Component(np.zeros((1, 2), np.float32), np.ones(1, np.float32), {"flux": 1.0})
            >>> library = Components.pack([dot, dot])
            >>> len(library), library[1].meta
            (2, {'flux': 1.0})
        """
        if not components:
            raise DataError("a library needs at least one component")
        first = _form(components[0])
        for number, component in enumerate(components):
            if _form(component) != first:
                raise DataError(f"component {number} has {_form(component)}, the first {first}")
        counts = [len(component.points) for component in components]
        return cls(
            np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            np.concatenate([component.points for component in components]),
            np.concatenate([component.intensity for component in components]),
            {name: np.array([component.meta[name] for component in components]) for name in components[0].meta},
        )

    def save(self, group: h5py.Group) -> None:
        """Write the library to an HDF5 group, compressed, with its number types unchanged."""
        options = {"compression": "gzip", "compression_opts": 9, "shuffle": True}
        for name in ("offsets", "points", "intensity"):
            group.create_dataset(name, data=getattr(self, name), **options)
        for name, column in self.table.items():
            group.create_dataset(f"table/{name}", data=column)

    @classmethod
    def load(cls, group: h5py.Group) -> "Components":
        """Read a library that `save` wrote.

        Raises:
            DataError: the group is not a library of components, or has points or intensities that are not finite.
        """
        where = f"{Path(group.file.filename)}:{group.name}"
        try:
            offsets, points, intensity = (read_dataset(group, name) for name in ("offsets", "points", "intensity"))
            library = cls(offsets, points, intensity, read_columns(group.get("table")))
        except (AttributeError, TypeError, ValueError, DataError) as error:
            raise DataError(f"{where} is not a library of components: {one_line(error)}") from error
        for name in ("points", "intensity"):
            with np.errstate(over="ignore"):
                if not np.isfinite(getattr(library, name).astype(np.float32, copy=False)).all():
                    raise DataError(f"{where}: {name} has values that are not finite numbers of float32")
        return library


def read_columns(group: h5py.Group | None) -> dict[str, NDArray[np.generic]]:
    """Return the columns below a group by name; a name with `/` is in a group below it."""
    columns: dict[str, NDArray[np.generic]] = {}

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            columns[name] = read_dataset(group, name)

    if group is not None:
        group.visititems(add)
    return columns


def _form(component: Component) -> str:
    bands = component.intensity.shape[1:]
    return f"points in {component.points.shape[1]}D, bands {bands}, meta {sorted(component.meta)}"
