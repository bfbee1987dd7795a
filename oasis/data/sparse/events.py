"""An event in a volume that is mostly empty, and its dense parts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import Self

import numpy as np
from numpy.typing import NDArray

from oasis.data.instances import Instances, index_type
from oasis.data.samples import Sample, Scalar
from oasis.errors import DataError, shown


@dataclass(frozen=True, eq=False)
class SparseEvent:
    """The lit cells of an event, and what each object adds to them.

    Attributes:
        shape: the lengths of the spatial axes.
        coordinates: (n, d) integers, the cell of each hit, each cell once.
        features: (n, B) float32, the intensity in each band, in physical units.
        objects: the charge of every object, in cells of (B, *shape); None where it is unknown. Objects may share
            cells. What no object explains is background.
        meta: identity and truth quantities.

    Raises:
        DataError: the arrays are inconsistent, or a cell lies outside.

    Example:
        >>> track = Instances.pack((1, 4, 4), [0], [[5, 6]], [[2.0, 3.0]], [{"pdg": 13.0}])
        >>> event = SparseEvent((4, 4), np.array([[1, 1], [1, 2]]), np.array([[2.0], [4.0]]), track, {"id": "0"})
        >>> event.labelled("pdg", [[11, -11], [13, -13]]).sample(2).target.sum(axis=(1, 2, 3))
        array([0., 5.], dtype=float32)
        >>> [(corner, part.meta["id"]) for corner, part in event.tiles((2, 2), 1)]
        [((0, 0), '0/0.0'), ((0, 2), '0/0.2')]
    """

    shape: tuple[int, ...]
    coordinates: NDArray[np.integer]
    features: NDArray[np.floating]
    objects: Instances | None = None
    meta: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        dims, count = len(self.shape), len(self.coordinates)
        if self.coordinates.shape != (count, dims) or self.coordinates.dtype.kind not in "iu":
            raise DataError(
                f"coordinates are {self.coordinates.dtype} of shape {self.coordinates.shape}, expected (n, {dims})"
                " integers"
            )
        if self.features.ndim != 2 or len(self.features) != count or self.features.dtype.kind not in "fiu":
            raise DataError(f"features have shape {self.features.shape}, expected ({count}, bands) numbers")
        if not np.isfinite(self.features).all():
            raise DataError("features that are NaN or infinite")
        outside = ((self.coordinates < 0) | (self.coordinates >= self.shape)).any(axis=1)
        if outside.any():
            found = tuple(self.coordinates[outside][0].tolist())
            raise DataError(f"a hit in cell {found}, outside the volume of {self.shape}")
        if len(np.unique(self._flat())) < count:
            raise DataError("a cell that is listed more than once")
        if self.objects is not None and self.objects.shape != (self.bands, *self.shape):
            raise DataError(f"objects of a volume {self.objects.shape}, expected {(self.bands, *self.shape)}")

    def __len__(self) -> int:
        return len(self.coordinates)

    @property
    def bands(self) -> int:
        """Number B of bands."""
        return int(self.features.shape[1])

    def _flat(self) -> NDArray[np.int64]:
        return np.asarray(np.ravel_multi_index(tuple(self.coordinates.T.astype(np.int64)), self.shape))

    def _lengths(self, name: str, values: Sequence[int], least: int | None = None) -> tuple[int, ...]:
        """Return one integer for each axis of the volume."""
        found = np.asarray(values)
        fits = found.shape == (len(self.shape),) and found.dtype.kind in "iu"
        if not fits or (least is not None and found.min() < least):
            wanted = "" if least is None else f" of {least} or more"
            raise DataError(f"{name} is {shown(values)}, expected {len(self.shape)} integers{wanted}")
        return tuple(found.tolist())

    def labelled(self, column: str, groups: Sequence[Sequence[float]]) -> Self:
        """Return the event with objects of the classes 0, 1, ... by a column of their table.

        Objects of other values are left out, so that their charge is background.

        Args:
            column: of the objects' table, such as `pdg`.
            groups: the values of each class.

        Raises:
            DataError: there are no objects, or no such column, or a value is no number.
        """
        if self.objects is None or column not in self.objects.table:
            names = [] if self.objects is None else list(self.objects.table)
            raise DataError(f"objects have no column {column!r}; found {', '.join(names) or 'none'}")
        values = self.objects.table[column]
        labels = np.full(len(self.objects), -1)
        for label, group in enumerate(groups):
            try:
                known_values = np.asarray(group, values.dtype)
            except (TypeError, ValueError):
                raise DataError(f"class {label} has {column} in {shown(group)}, expected numbers") from None
            labels[np.isin(values, known_values)] = label
        known = self.objects.select(labels >= 0)
        return replace(self, objects=replace(known, labels=labels[labels >= 0]))

    def sample(
        self, classes: int, corner: Sequence[int] | None = None, size: Sequence[int] | None = None
    ) -> Sample:
        """Return a box of the event as a dense sample; cells beyond the volume are not valid.

        Args:
            classes: number N of classes.
            corner: the first cell of the box; by default that of the volume.
            size: the lengths of the box; by default those of the volume.

        Raises:
            DataError: the charge of objects is unknown, or of another class, or the box is invalid.
        """
        corner = (0,) * len(self.shape) if corner is None else self._lengths("corner", corner)
        size = self.shape if size is None else self._lengths("size", size, 1)
        if self.objects is None:
            raise DataError("the charge of each object is not known, which a sample needs")
        if self.objects.labels.max(initial=0) >= classes:
            raise DataError(f"an object of class {self.objects.labels.max()}, but there are {classes} classes")
        place = self.coordinates.astype(np.int64) - corner
        inside = ((place >= 0) & (place < size)).all(axis=1)
        image = np.zeros((self.bands, *size), np.float32)
        image[:, *place[inside].T] = self.features[inside].T
        objects = self.objects.crop(corner, size)
        valid = np.zeros((1, *size), bool)
        valid[:, *(slice(0, max(0, end - start)) for end, start in zip(self.shape, corner, strict=True))] = True
        meta = {**self.meta, "id": f"{self.meta.get('id', '')}/{'.'.join(map(str, corner))}"}
        return Sample(image, objects.sums(classes), valid, meta, instances=objects)

    def tiles(self, size: Sequence[int], classes: int) -> Iterator[tuple[tuple[int, ...], Sample]]:
        """Yield the corner and the sample of every box of a grid that contains a hit.

        Args:
            size: the lengths of a box.
            classes: number N of classes.

        Raises:
            DataError: the size is not a positive integer for each axis, or see `sample`.
        """
        size = self._lengths("size", size, 1)
        starts = [range(0, length, step) for length, step in zip(self.shape, size, strict=True)]
        occupied = {tuple(one) for one in (self.coordinates // np.asarray(size)).tolist()}
        for number in product(*(range(len(one)) for one in starts)):
            if number in occupied:
                corner = tuple(one[place] for one, place in zip(starts, number, strict=True))
                yield corner, self.sample(classes, corner, size)


def gather_objects(
    shape: Sequence[int],
    cells: NDArray[np.integer],
    charges: NDArray[np.floating],
    owners: NDArray[np.integer],
    table: Mapping[int, Mapping[str, float]] | None = None,
) -> Instances:
    """Return the charge of objects from a list of hits of one band, all of class 0.

    Charges of an object in one cell are added up.

    Args:
        shape: the lengths of the spatial axes.
        cells: (m,) flat indices.
        charges: (m,)
        owners: (m,) the number of the object, below 0 for none.
        table: truth quantities by number.

    Raises:
        DataError: a charge of an object is below 0 or no number, or its cell lies outside.
    """
    owned = owners >= 0
    cells, charges, owners = cells[owned], charges[owned], owners[owned]
    wrong = ~(np.isfinite(charges) & (charges >= 0))
    if wrong.any():
        raise DataError(f"an object has a charge of {charges[wrong][0]:g}, expected 0 or more")
    if len(cells) and not 0 <= cells.min() <= cells.max() < prod(shape):
        raise DataError(f"a charge of an object lies outside the volume of {tuple(shape)}")
    pixels, values, meta = [], [], []
    for owner in np.unique(owners).tolist():
        own = owners == owner
        places, inverse = np.unique(cells[own], return_inverse=True)
        pixels.append(places.astype(index_type(prod(shape))))
        values.append(np.bincount(inverse, charges[own]).astype(np.float32))
        meta.append({"object": float(owner), **(table or {}).get(owner, {})})
    return Instances.pack((1, *shape), [0] * len(pixels), pixels, values, meta)
