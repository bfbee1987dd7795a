"""Instances: the single objects of one image, each with its lit pixels and the intensity it adds to them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oasis.errors import DataError

Floats = NDArray[np.float32]
Integers = NDArray[np.integer]


AXES = {1: ("x",), 2: ("y", "x"), 3: ("z", "y", "x")}
"""Names of the spatial axes in tables."""


@dataclass(frozen=True)
class Instances:
    """The n objects of an image in flat arrays, m lit pixels in all.

    Instance i adds `values[a:b]` to the pixels `pixels[a:b]` with a, b = `offsets[i:i + 2]`. Pixels are counted in
    the flattened image (B, *S): an instance has separate pixels in every band, as regions do. Instances may share
    pixels. The pixels of one instance are in increasing order, so that equal objects have equal arrays.

    Attributes:
        shape: (B, *S) of the image.
        labels: (n,) integers, the class index of each.
        offsets: (n + 1,) integers.
        pixels: (m,) integers.
        values: (m,) float32, in physical units.
        table: truth quantities, a column (n,) of floating-point numbers each; NaN if an instance has none.

    Raises:
        DataError: the arrays are inconsistent.

    Example:
        >>> two = Instances.pack((1, 4), [0, 1], [[0, 1], [1]], [[5, 3], [2]], [{"energy": 8.0}, {}])
        >>> two.sums(2)[:, 0]
        array([[5., 3., 0., 0.],
               [0., 2., 0., 0.]], dtype=float32)
        >>> two.flip([0]).dense(0), two.crop([1], [3]).intensity[:, 0], two.table["energy"]
        (array([[0., 0., 3., 5.]], dtype=float32), array([3., 2.]), array([ 8., nan]))
    """

    shape: tuple[int, ...]
    labels: Integers
    offsets: Integers
    pixels: Integers
    values: Floats
    table: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.shape) < 2 or min(self.shape) < 1:
            raise DataError(f"instances: an image of shape {self.shape}, expected (bands, *spatial)")
        self._check_arrays()
        self._check_pixels()
        for name, column in self.table.items():
            if column.shape != (len(self),) or column.dtype.kind != "f":
                raise DataError(
                    f"instances: column {name!r} is {column.dtype} of shape {column.shape}, expected a "
                    f"floating-point number for each of {len(self)} instances"
                )

    def _check_arrays(self) -> None:
        for name in ("labels", "offsets", "pixels", "values"):
            array = getattr(self, name)
            kind, words = ("f", "floating-point numbers") if name == "values" else ("iu", "integers")
            if array.ndim != 1 or array.dtype.kind not in kind:
                raise DataError(
                    f"instances: {name} are {array.dtype} of shape {array.shape}, expected one axis of {words}"
                )
        offsets = self.offsets
        if len(offsets) != len(self.labels) + 1 or offsets[0] != 0 or (offsets[1:] < offsets[:-1]).any():
            raise DataError(
                f"instances: {len(offsets)} offsets for {len(self.labels)} instances, expected one more, "
                "beginning with 0 and never decreasing"
            )
        if not offsets[-1] == len(self.pixels) == len(self.values):
            raise DataError(
                f"instances: offsets end at {offsets[-1]}, but there are {len(self.pixels)} pixels and "
                f"{len(self.values)} values"
            )
        if (self.labels < 0).any():
            raise DataError(f"instances: class {self.labels.min()}, expected 0 or more")

    def _check_pixels(self) -> None:
        if not len(self.pixels):
            return
        low, high = self.pixels.min(), self.pixels.max()
        if low < 0 or high >= prod(self.shape):
            raise DataError(f"instances: pixels {low} to {high} in an image of {prod(self.shape)} values")
        rising = self.pixels[1:] > self.pixels[:-1]
        begins = self.offsets[1:-1]
        rising[begins[(begins > 0) & (begins < len(self.pixels))] - 1] = True
        if not rising.all():
            raise DataError("instances: the pixels of an instance must be in increasing order, each once")
        if not np.isfinite(self.values).all():
            raise DataError("instances: values that are NaN or infinite")

    @classmethod
    def pack(
        cls,
        shape: Sequence[int],
        labels: Sequence[int],
        pixels: Sequence[ArrayLike],
        values: Sequence[ArrayLike],
        meta: Sequence[Mapping[str, float]] | None = None,
    ) -> "Instances":
        """Return a record of instances, laid end to end.

        Args:
            shape: (B, *S) of the image.
            labels: the class of each instance.
            pixels: the pixels of each instance, in increasing order.
            values: the values of each instance.
            meta: truth quantities of each instance; the names may differ.
        """
        size = prod(shape)
        parts = [np.asarray(part, index_type(size)) for part in pixels]
        meta = meta or [{}] * len(labels)
        names = dict.fromkeys(name for one in meta for name in one)
        return cls(
            tuple(shape),
            np.asarray(labels, np.int64),
            offsets_of([len(part) for part in parts]),
            np.concatenate([np.empty(0, index_type(size)), *parts]),
            np.concatenate([np.empty(0, np.float32), *(np.asarray(part, np.float32) for part in values)]),
            {name: np.array([one.get(name, np.nan) for one in meta], np.float64) for name in names},
        )

    @classmethod
    def concatenate(cls, parts: Sequence["Instances"]) -> "Instances":
        """Return the instances of several records of one image shape, in order.

        Raises:
            DataError: there are no records, or they differ in shape.
        """
        if len({part.shape for part in parts}) != 1:
            raise DataError(f"instances: expected records of one shape, found {[part.shape for part in parts]}")
        names = dict.fromkeys(name for part in parts for name in part.table)
        columns = {name: [part.table.get(name, np.full(len(part), np.nan)) for part in parts] for name in names}
        return cls(
            parts[0].shape,
            np.concatenate([part.labels for part in parts]),
            offsets_of(np.concatenate([part.sizes for part in parts])),
            np.concatenate([part.pixels for part in parts]),
            np.concatenate([part.values for part in parts]),
            {name: np.concatenate(column) for name, column in columns.items()},
        )

    @classmethod
    def stack(cls, parts: Sequence["Instances"]) -> "Instances":
        """Return the instances of several images of one shape (B, *S) as those of one image (n B, *S).

        Raises:
            DataError: no image, or images of different shapes.
        """
        bands, *spatial = parts[0].shape if parts else (1, 1)
        shape = (bands * max(len(parts), 1), *spatial)
        size, kind = bands * prod(spatial), index_type(prod(shape))
        moved = [
            replace(part, pixels=part.pixels.astype(kind) + kind.type(place * size), shape=shape)
            for place, part in enumerate(parts)
            if part.shape == (bands, *spatial)
        ]
        if len(moved) != len(parts) or not parts:
            raise DataError(f"instances: expected images of one shape, found {[part.shape for part in parts]}")
        return cls.concatenate(moved)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Number of lit pixels of each instance (n,), counting every band."""
        offsets = self.offsets.astype(np.int64)
        return offsets[1:] - offsets[:-1]

    @property
    def owners(self) -> NDArray[np.int64]:
        """The instance that each lit pixel belongs to (m,)."""
        return np.repeat(np.arange(len(self)), self.sizes)

    @property
    def intensity(self) -> NDArray[np.float64]:
        """The summed values of each instance and band (n, B)."""
        bands = self.shape[0]
        place = self.owners * bands + self._coordinates()[0]
        sums = np.bincount(place, self.values, len(self) * bands).reshape(len(self), bands)
        return sums.astype(np.float64)

    @property
    def boxes(self) -> NDArray[np.int64]:
        """The bounding box of each instance (n, axes, 2): first pixel along each axis, and one after the last.

        An instance without a lit pixel has the box 0 to 0.
        """
        boxes = np.zeros((len(self), len(self.shape) - 1, 2), np.int64)
        lit = self.sizes > 0
        begins = self.offsets[:-1][lit].astype(np.int64)
        if len(begins):
            for axis, places in enumerate(self._coordinates()[1:]):
                boxes[lit, axis, 0] = np.minimum.reduceat(places, begins)
                boxes[lit, axis, 1] = np.maximum.reduceat(places, begins) + 1
        return boxes

    @property
    def positions(self) -> NDArray[np.float64]:
        """The mean place of each instance along every spatial axis, weighted by intensity (n, axes).

        NaN where an instance has no intensity.
        """
        weights = np.bincount(self.owners, self.values, len(self))
        moments = [np.bincount(self.owners, self.values * place, len(self)) for place in self._coordinates()[1:]]
        return np.stack(moments, axis=1) / np.where(weights > 0, weights, np.nan)[:, None]

    @property
    def shared(self) -> NDArray[np.float64]:
        """The share of its pixels that each instance has in common with others (n,); NaN for none."""
        _, place, times = np.unique(self.pixels, return_inverse=True, return_counts=True)
        common = np.bincount(self.owners, times[place] > 1, len(self))
        return np.asarray(common / np.where(self.sizes > 0, self.sizes, np.nan))

    def with_columns(self, columns: Mapping[str, NDArray[np.floating]]) -> "Instances":
        """Return the instances with further columns (n,) in their table."""
        return replace(self, table={**self.table, **columns}) if columns else self

    def keep(self, lit: NDArray[np.bool_]) -> "Instances":
        """Return the instances with those pixels only that are chosen by a mask (m,); some may have none left."""
        counts = np.bincount(self.owners[lit], minlength=len(self))
        return replace(self, offsets=offsets_of(counts), pixels=self.pixels[lit], values=self.values[lit])

    def counts(self, classes: int) -> NDArray[np.int64]:
        """Return the number of instances of each of `classes` classes (N,)."""
        return np.bincount(self.labels.astype(np.int64), minlength=classes)

    def dense(self, index: int) -> Floats:
        """Return the map of one instance (B, *S)."""
        part = slice(self.offsets[index], self.offsets[index + 1])
        flat = np.zeros(prod(self.shape), np.float32)
        flat[self.pixels[part]] = self.values[part]
        return flat.reshape(self.shape)

    def sums(self, classes: int) -> Floats:
        """Return the map of each of `classes` classes (N, B, *S): the sum of its instances, in their order."""
        size = prod(self.shape)
        flat = np.zeros(classes * size, np.float32)
        np.add.at(flat, np.repeat(self.labels.astype(np.int64), self.sizes) * size + self.pixels, self.values)
        return flat.reshape(classes, *self.shape)

    def select(self, chosen: ArrayLike) -> "Instances":
        """Return the instances chosen by indices, in that order, or by a mask (n,)."""
        rows = np.arange(len(self))[np.asarray(chosen)] if np.size(chosen) else np.empty(0, np.int64)
        counts = self.sizes[rows]
        offsets = offsets_of(counts)
        lit = np.arange(offsets[-1]) + np.repeat(self.offsets[rows].astype(np.int64) - offsets[:-1], counts)
        table = {name: column[rows] for name, column in self.table.items()}
        return Instances(self.shape, self.labels[rows], offsets, self.pixels[lit], self.values[lit], table)

    def scale(self, factors: ArrayLike) -> "Instances":
        """Return the instances with their values multiplied by a factor, one for all or one each (n,)."""
        each = np.broadcast_to(np.asarray(factors, np.float64), len(self))
        return replace(self, values=(self.values * np.repeat(each, self.sizes)).astype(np.float32))

    def crop(self, origin: Sequence[int], size: Sequence[int]) -> "Instances":
        """Return the instances within a window; those without a lit pixel there are left out.

        Args:
            origin: the first pixel of the window along each spatial axis, which may lie outside the image.
            size: the size of the window, in pixels.
        """
        band, *places = self._coordinates()
        inner = [place - first for place, first in zip(places, origin, strict=True)]
        inside = np.all([(place >= 0) & (place < n) for place, n in zip(inner, size, strict=True)], axis=0)
        shape = (self.shape[0], *map(int, size))
        pixels = np.ravel_multi_index((band[inside], *(place[inside] for place in inner)), shape)
        pixels = pixels.astype(index_type(prod(shape)))
        counts = np.bincount(self.owners[inside], minlength=len(self))
        window = Instances(
            shape,
            self.labels,
            offsets_of(counts),
            pixels.astype(index_type(prod(shape))),
            self.values[inside],
            self.table,
        )
        return window.select(counts > 0)

    def turn(self, order: Sequence[int], flips: Sequence[bool | int]) -> "Instances":
        """Return the instances with the spatial axes permuted, then some of them reversed.

        Args:
            order: which axis comes first, second, ..., as in `numpy.transpose`.
            flips: whether each axis of the result is reversed.
        """
        band, *places = self._coordinates()
        shape = (self.shape[0], *(self.shape[1 + axis] for axis in order))
        turned = [
            n - 1 - places[axis] if flipped else places[axis]
            for axis, n, flipped in zip(order, shape[1:], flips, strict=True)
        ]
        pixels = np.ravel_multi_index((band, *turned), shape)
        ranks = np.argsort(self.owners * prod(shape) + pixels, kind="stable")
        pixels = pixels[ranks].astype(self.pixels.dtype)
        return replace(self, shape=shape, pixels=pixels, values=self.values[ranks])

    def permute(self, order: Sequence[int]) -> "Instances":
        """Return the instances with the spatial axes permuted."""
        return self.turn(order, [False] * len(order))

    def flip(self, axes: Sequence[int]) -> "Instances":
        """Return the instances with some spatial axes reversed."""
        dims = len(self.shape) - 1
        reversed_axes = {axis % dims for axis in axes}
        return self.turn(range(dims), [axis in reversed_axes for axis in range(dims)])

    def rotate(self, turns: int, axes: tuple[int, int] = (0, 1)) -> "Instances":
        """Return the instances rotated by right angles in the plane of two spatial axes, as `numpy.rot90` does."""
        order = list(range(len(self.shape) - 1))
        first, second = axes
        if turns % 2:
            order[first], order[second] = second, first
        turned = {first} if turns % 4 in (1, 2) else set()
        turned |= {second} if turns % 4 in (2, 3) else set()
        return self.turn(order, [axis in turned for axis in range(len(order))])

    def _coordinates(self) -> tuple[NDArray[np.int64], ...]:
        """Return the band and the position along each axis of every lit pixel (1 + axes) x (m,)."""
        return np.unravel_index(self.pixels.astype(np.int64, copy=False), self.shape)


def edge_names(spatial_dims: int) -> list[str]:
    """Return the names of the columns of boxes: the first pixel along each axis, and the one after the last.

    Example:
        >>> edge_names(2)
        ['y0', 'y1', 'x0', 'x1']
    """
    return [f"{name}{end}" for name in AXES[spatial_dims] for end in (0, 1)]


def offsets_of(counts: ArrayLike) -> NDArray[np.int64]:
    """Return the offsets of parts of these lengths that are laid end to end.

    Example:
        >>> offsets_of([2, 0, 1])
        array([0, 2, 2, 3])
    """
    return np.concatenate([[0], np.cumsum(np.asarray(counts, np.int64))]).astype(np.int64)


def index_type(size: int) -> np.dtype[np.integer]:
    """Return the smallest integer type that can index `size` values.

    Example:
        >>> index_type(9216), index_type(2**33)
        (dtype('uint32'), dtype('int64'))
    """
    return np.dtype(np.uint32 if size <= 2**32 else np.int64)
