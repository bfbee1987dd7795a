"""Mixing: place isolated components, add them up, observe the sum; the truth is known by construction.

Sample i of a split is a pure function of (seed, split, index, epoch), whatever the number of workers or processes.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from oasis.data.instances import Instances, index_type
from oasis.data.samples import Array, Sample, Scalar
from oasis.errors import ConfigError, DataError, nearest

Key = int | tuple[int, int]


def keyed_rng(seed: int, split: str, index: int, epoch: int = 0) -> np.random.Generator:
    """Return the random generator of one sample.

    Example:
        >>> keyed_rng(0, "train", 7).integers(100) == keyed_rng(0, "train", 7).integers(100)
        np.True_
    """
    return np.random.default_rng([seed, crc32(split.encode()), index, epoch])


def split_indices(count: int, fractions: Mapping[str, float], seed: int = 0) -> dict[str, NDArray[np.intp]]:
    """Divide `count` components among splits, so that no component is in two of them.

    Args:
        count: number of components.
        fractions: the fraction of each split; they sum to at most 1.
        seed: the seed of the shuffle.

    Raises:
        ConfigError: the fractions sum to more than 1, or a split gets no components.

    Example:
        >>> {name: len(part) for name, part in split_indices(10, {"train": 0.8, "test": 0.2}).items()}
        {'train': 8, 'test': 2}
    """
    if sum(fractions.values()) > 1 + 1e-9:
        raise ConfigError(f"split fractions {dict(fractions)} sum to more than 1")
    order = np.random.default_rng(seed).permutation(count)
    bounds = np.round(np.cumsum([0.0, *fractions.values()]) * count).astype(int)
    parts = {
        name: np.sort(order[low:high]) for name, low, high in zip(fractions, bounds[:-1], bounds[1:], strict=True)
    }
    empty = [name for name, part in parts.items() if not len(part)]
    if empty:
        raise ConfigError(f"{count} components are too few: split {empty[0]!r} gets none")
    return parts


@dataclass(frozen=True)
class Placed:
    """A component placed in an image.

    Attributes:
        name: its class.
        values: (B, *s) the intensity it adds, in physical units.
        origin: the image pixel of its first pixel, by default the first of the image; parts outside are cropped.
        meta: truth quantities, one number each (`"energy"` in keV, ...).
    """

    name: str
    values: Array
    origin: Sequence[int] = ()
    meta: Mapping[str, float] = field(default_factory=dict)


class Scene(ABC):
    """The part of a domain in mixing: it chooses and places components and simulates their observation.

    A scene keeps no state between `place` and `observe`: the mixer passes the placed components on.

    Attributes:
        classes: the N class names.
        shape: (B, *S) of the image.

    Raises:
        TypeError: a subclass overrides `place` or `context`, but inherits the method for several samples, which
            would be called instead.
    """

    classes: tuple[str, ...]
    shape: tuple[int, ...]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for one, several in (("place", "place_all"), ("context", "contexts")):
            inherited = several not in vars(cls) and getattr(cls, several) is not getattr(Scene, several)
            if one in vars(cls) and inherited:
                raise TypeError(f"{cls.__name__} overrides {one}, but inherits {several}: override that instead")

    @abstractmethod
    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Scalar]]:
        """Return the placed components of sample `index` and its truth quantities."""

    def observe(
        self, target: Array, placed: Sequence[Placed], rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the image (B, *S) of a target, and where it is valid (1, *S).

        By default, without a detector, the image is the sum of the maps and valid everywhere.

        Args:
            target: (N, B, *S) the map of each class.
            placed: the components whose sum is the target.
            rng: the generator of the sample, after `place`.
        """
        return target.sum(axis=0), np.ones((1, *self.shape[1:]), dtype=bool)

    def context(self, meta: Mapping[str, Scalar]) -> Array | None:
        """Return the context (C, *S) of a sample with these truth quantities, or None if the domain has none."""
        return None

    def place_all(
        self, indices: Sequence[int], rngs: Sequence[np.random.Generator]
    ) -> list[tuple[list[Placed], dict[str, Scalar]]]:
        """Return what `place` returns, for several samples.

        A domain that is faster with many samples at once defines this too; `oasis.data.draws.Draws` keeps their
        random numbers apart, so that no sample depends on the others.
        """
        return [self.place(index, rng) for index, rng in zip(indices, rngs, strict=True)]

    def contexts(self, metas: Sequence[Mapping[str, Scalar]]) -> Sequence[Array | None]:
        """Return what `context` returns, for several samples."""
        return [self.context(meta) for meta in metas]


def add_up(placed: Sequence[Placed], classes: Sequence[str], shape: Sequence[int]) -> Array:
    """Return the map of each class (N, B, *S): the sum of its components, cropped at the image's edges.

    Example:
        >>> dot = Placed("a", np.ones((1, 2), np.float32), (3,))
        >>> add_up([dot, dot], ("a", "b"), (1, 4))[:, 0]
        array([[0., 0., 0., 2.],
               [0., 0., 0., 0.]], dtype=float32)
    """
    target = np.zeros((len(classes), *shape), dtype=np.float32)
    corner = (0,) * (len(shape) - 1)
    for one in placed:
        check_placed(one)
        label = _label(one, classes)
        if one.values.shape == target.shape[1:] and tuple(one.origin) in ((), corner):
            target[label] += one.values
        else:
            into, out_of = _overlap(one, shape)
            target[label][:, *into] += one.values[:, *out_of]
    return target


def gather(placed: Sequence[Placed], classes: Sequence[str], shape: Sequence[int]) -> Instances:
    """Return the components as instances with their metadata; those that add nothing to the image are left out.

    Example:
        >>> dot = Placed("b", np.ones((1, 2), np.float32), (3,), {"energy": 5.0})
        >>> found = gather([dot, Placed("a", np.ones((1, 2)), (9,))], ("a", "b"), (1, 4))
        >>> len(found), found.labels, found.pixels, found.table["energy"]
        (1, array([1]), array([3], dtype=uint32), array([5.]))
    """
    size = prod(shape)
    places = np.arange(size, dtype=index_type(size)).reshape(tuple(shape))
    labels, pixels, values, meta = [], [], [], []
    for one in placed:
        into, out_of = _overlap(one, shape)
        inside = one.values[:, *out_of]
        lit = inside != 0
        if lit.any():
            labels.append(_label(one, classes))
            pixels.append(places[:, *into][lit])
            values.append(inside[lit])
            meta.append(one.meta)
    return Instances.pack(shape, labels, pixels, values, meta)


def check_placed(placed: object) -> None:
    """Refuse what a scene of a user may give in the place of a component.

    Raises:
        DataError: it is no `Placed`, its values are no array of real numbers, or its origin has no integers.
    """
    if not isinstance(placed, Placed):
        raise DataError(
            f"placed component: expected a Placed(name, values, origin), found {type(placed).__name__}"
        )
    values, origin = placed.values, placed.origin
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "fiub":
        found = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise DataError(
            f"placed component {placed.name!r}: expected values in an array of real numbers, found {found}"
        )
    if not isinstance(origin, Sequence | np.ndarray) or not all(isinstance(at, int | np.integer) for at in origin):
        raise DataError(
            f"placed component {placed.name!r}: expected an origin of integers, one per axis, found {origin!r}"
        )


def _label(placed: Placed, classes: Sequence[str]) -> int:
    if placed.name not in classes:
        raise DataError(f"placed component: unknown class {placed.name!r}; {nearest(placed.name, classes)}")
    return classes.index(placed.name)


def _overlap(placed: Placed, shape: Sequence[int]) -> tuple[list[slice], list[slice]]:
    """Return the slices of the image that a component covers, and those of its values that are inside.

    Raises:
        DataError: its values or its origin have other axes than the image, or its values other bands.
    """
    origin = tuple(placed.origin) or (0,) * (len(shape) - 1)
    if placed.values.ndim != len(shape) or placed.values.shape[0] != shape[0] or len(origin) != len(shape) - 1:
        raise DataError(
            f"placed component {placed.name!r}: values of shape {placed.values.shape} at {origin}, expected "
            f"({shape[0]}, *s) with {len(shape) - 1} spatial axes: bands come first, values[None] has one band"
        )
    into: list[slice] = []
    out_of: list[slice] = []
    for start, length, limit in zip(origin, placed.values.shape[1:], shape[1:], strict=True):
        low, high = max(start, 0), min(start + length, limit)
        into.append(slice(low, max(high, low)))
        out_of.append(slice(low - start, max(high, low) - start))
    return into, out_of


class SampleDataset(Dataset[Sample], ABC):
    """A data set with samples by key: an index, or (epoch, index) for data that differ in every epoch."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def sample(self, index: int, epoch: int) -> Sample:
        """Return sample `index` (0 to len - 1) of `epoch`."""

    def __getitem__(self, key: Key) -> Sample:
        epoch, index = self._number(key)
        return self.sample(index, epoch)

    def _number(self, key: Key) -> tuple[int, int]:
        """Return the epoch and the index of a key.

        Raises:
            IndexError: there is no such sample.
        """
        epoch, index = key if isinstance(key, tuple) else (0, key)
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return int(epoch), int(index) % len(self)

    def __getitems__(self, keys: Sequence[Key]) -> list[Sample]:
        """Return the samples of several keys; torch's loader, too, asks for a batch by this name."""
        return [self[key] for key in keys]


def samples_of(dataset: Dataset[Sample], keys: Sequence[Key]) -> list[Sample]:
    """Return the samples of several keys of any data set, together if it can."""
    together = getattr(dataset, "__getitems__", None)
    return [dataset[key] for key in keys] if together is None else list(together(keys))


class Mixer(SampleDataset):
    """A data set of `length` samples mixed from a scene.

    Args:
        scene: the scene of the domain.
        length: samples per epoch.
        seed: the seed of everything random.
        split: the name of the split, part of the random key of every sample.
        fixed: whether samples are the same in every epoch (validation and test) or new ones (training).
    """

    def __init__(self, scene: Scene, length: int, seed: int, split: str, fixed: bool) -> None:
        self.scene = scene
        self.length = length
        self.seed = seed
        self.split = split
        self.fixed = fixed

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int, epoch: int) -> Sample:
        """Return sample `index` of `epoch`; its instances are computed when they are first read."""
        return self._mixed([(epoch, index)])[0]

    def __getitems__(self, keys: Sequence[Key]) -> list[Sample]:
        """Return the samples of several keys, each as alone, also where a subclass changes single ones."""
        single = type(self)
        if single.sample is not Mixer.sample or single.__getitem__ is not SampleDataset.__getitem__:
            return super().__getitems__(keys)
        return self._mixed([self._number(key) for key in keys])

    def _mixed(self, numbers: Sequence[tuple[int, int]]) -> list[Sample]:
        """Return samples by epoch and index, simulated together."""
        scene = self.scene
        rngs = [self._rng(index, epoch) for epoch, index in numbers]
        observed, metas = [], []
        places = scene.place_all([index for _, index in numbers], rngs)
        for (_, index), rng, (placed, meta) in zip(numbers, rngs, places, strict=True):
            target = add_up(placed, scene.classes, scene.shape)
            image, valid = scene.observe(target, placed, rng)
            observed.append((image, target, valid))
            metas.append({"id": f"{self.split}/{index}", **meta})
        return [
            Sample(*maps, meta, context, partial(self.instances, index, epoch))
            for (epoch, index), maps, meta, context in zip(
                numbers, observed, metas, scene.contexts(metas), strict=True
            )
        ]

    def instances(self, index: int, epoch: int) -> Instances:
        """Return the instances of sample `index` of `epoch`.

        The components are placed again, with the same result: keeping the arrays of every sample until they are
        needed would take more memory than the samples, and time even if they are never needed.
        """
        placed, _ = self.scene.place(index, self._rng(index, epoch))
        return gather(placed, self.scene.classes, self.scene.shape)

    def _rng(self, index: int, epoch: int) -> np.random.Generator:
        return keyed_rng(self.seed, self.split, index, 0 if self.fixed else epoch)
