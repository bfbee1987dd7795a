"""Grouping: the division of class maps into single objects.

Each class is grouped independently: pixels above the threshold of the class form connected components, are joined
across gaps, or are divided by a watershed or into straight tracks that cross. Fragments can join a larger instance
of another class that they touch.
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from oasis.data.instances import Instances
from oasis.errors import ConfigError, DataError, nearest
from oasis.instances.lines import divide_at_crossings
from oasis.options import Options

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


class Grouping(Options):
    """The options for grouping the map of one class into instances.

    Attributes:
        method: `components` joins lit pixels that touch, also at corners; `gaps` also joins those with at most
            `gap` pixels between them; `watershed` divides components at the peaks of the smoothed map; `lines`
            divides them into straight tracks, which share the pixels in which they cross (in two and three
            dimensions); curved tracks are cut into straight pieces.
        gap: the largest number of unlit pixels between two lit ones, for `gaps`.
        smoothing: standard deviation of the Gaussian filter in pixels, for `watershed`.
        separation: the minimum distance of two peaks in pixels, for `watershed`.
        length: how many pixels long a track must be outside of the others, for `lines`.
        width: the maximum distance of a pixel from the axis of its track in pixels, for `lines`.
        pixels: the minimum number of lit pixels of an instance.
        intensity: the minimum summed intensity of an instance.
        joins: other classes whose instances absorb the fragments of this class that touch them.
        fragment: the maximum intensity of a fragment, as a fraction of that of the other instance.
        fragment_intensity: the maximum intensity of a fragment; by default any.
        fragment_lit: the share of lit pixels for which this maximum holds. In emptier images it is larger and in
            fuller ones smaller, as one over the square root of the share: there chance lets fewer or more objects
            touch. By default it is the same for all images.
    """

    method: Literal["components", "gaps", "watershed", "lines"] = "components"
    gap: int = Field(2, ge=1, le=50)
    smoothing: float = Field(1.0, ge=0)
    separation: float = Field(3.0, gt=0)
    length: float = Field(16.0, ge=4)
    width: float = Field(5.0, gt=0)
    pixels: int = Field(1, ge=1)
    intensity: float = Field(0.0, ge=0)
    joins: tuple[str, ...] = ()
    fragment: float = Field(0.2, gt=0, le=1)
    fragment_intensity: float | None = Field(None, gt=0)
    fragment_lit: float | None = Field(None, gt=0, le=1)

    @model_validator(mode="after")
    def _of_something(self) -> Self:
        if self.fragment_lit is not None and self.fragment_intensity is None:
            raise ValueError("fragment_lit: is for a fragment_intensity, and there is none")
        return self

    def largest_fragment(self, lit: float) -> float:
        """Return the maximum intensity of a fragment in an image with a share of lit pixels.

        Fragments such as delta rays are the rarer the brighter they are, as the inverse square; objects of any
        intensity touch others by chance, in proportion to the lit pixels. Both are equally frequent at an
        intensity that falls as the square root of these.

        Example:
            >>> round(Grouping(fragment_intensity=100, fragment_lit=0.04).largest_fragment(0.16))
            50
        """
        if self.fragment_intensity is None:
            return math.inf
        if self.fragment_lit is None:
            return self.fragment_intensity
        return self.fragment_intensity * math.sqrt(self.fragment_lit / max(lit, sys.float_info.min))


def group(
    maps: Floats,
    classes: Sequence[str],
    thresholds: Mapping[str, float],
    options: Mapping[str, Grouping] | None = None,
) -> Instances:
    """Return the instances in the maps of one image, ordered by class and then by their first pixel.

    Args:
        maps: (N, B, *S) in physical units.
        classes: the N class names.
        thresholds: the thresholds above which a class is present in a pixel, by class.
        options: grouping options by class; `Grouping()` for the others.

    Raises:
        ConfigError: the options contain or join an unknown class, or divide one dimension into tracks.
        DataError: the number of maps differs from that of classes.

    Example:
        >>> maps = np.array([[[5, 5, 0, 0, 3, 0, 4]]], np.float32)
        >>> group(maps, ["a"], {"a": 1.0}).intensity[:, 0]
        array([10.,  3.,  4.])
        >>> group(maps, ["a"], {"a": 1.0}, {"a": Grouping(method="gaps", gap=1)}).intensity[:, 0]
        array([10.,  7.])
    """
    options = options or {}
    check_grouping(options, classes, maps.ndim - 2)
    if len(maps) != len(classes):
        raise DataError(f"grouping: {len(maps)} maps for the classes {list(classes)}")
    chosen = [options.get(name, Grouping()) for name in classes]
    parts = [
        _of_class(values, label, float(thresholds.get(name, 0.0)), how)
        for label, (name, values, how) in enumerate(zip(classes, maps, chosen, strict=True))
    ]
    found = Instances.concatenate(parts)
    joins = {label: [list(classes).index(name) for name in how.joins] for label, how in enumerate(chosen)}
    found = _joined(found, joins, chosen)
    sizes, sums = found.sizes, found.intensity.sum(axis=1)
    least = np.array([(how.pixels, how.intensity) for how in chosen]).reshape(-1, 2)[found.labels]
    return found.select(np.flatnonzero((sizes >= least[:, 0]) & (sums >= least[:, 1])))


def check_grouping(options: Mapping[str, Grouping], classes: Sequence[str], spatial_dims: int) -> None:
    """Check that options are for classes that there are, join such, and fit the spatial axes.

    Raises:
        ConfigError: an unknown class, or tracks in one dimension.
    """
    for name in [*options, *(other for one in options.values() for other in one.joins)]:
        if name not in classes:
            raise ConfigError(f"grouping: unknown class {name!r}; {nearest(name, classes)}")
    for name, how in options.items():
        if how.method == "lines" and spatial_dims < 2:
            raise ConfigError(f"grouping.{name}.method: lines are found in two and three dimensions, not in one")


def _of_class(values: Floats, label: int, threshold: float, how: Grouping) -> Instances:
    """Return the instances of one class (B, *S), whose pixels are above the threshold in any band."""
    lit = np.asarray((values > threshold).any(axis=0))
    if how.method in ("components", "lines"):
        groups = ndimage.label(lit, np.ones((3,) * lit.ndim))[0]
    elif how.method == "gaps":
        groups = _across_gaps(lit, how.gap)
    else:
        groups = _by_peaks(lit, values.sum(axis=0), how.smoothing, how.separation)
    found = _instances(values, np.asarray(groups), label, threshold)
    return divide_at_crossings(found, threshold, how.length, how.width) if how.method == "lines" else found


def _instances(values: Floats, groups: Integers, label: int, threshold: float) -> Instances:
    """Return the instances of a class from the group number of every pixel (*S), 0 for none."""
    bands, pixels = np.nonzero((values > threshold).reshape(len(values), -1) & (groups.ravel() > 0))
    flat = bands * groups.size + pixels
    _, owners = np.unique(groups.ravel()[pixels], return_inverse=True)
    order = np.lexsort((flat, owners))
    count = int(owners.max(initial=-1)) + 1
    first = np.full(count, flat.max(initial=0) + 1)
    np.minimum.at(first, owners, flat)
    rank = np.argsort(np.argsort(first, kind="stable"), kind="stable")  # by the first pixel
    order = order[np.argsort(rank[owners[order]], kind="stable")]
    counts = np.bincount(rank[owners], minlength=count)
    return Instances(
        values.shape,
        np.full(count, label),
        np.concatenate([[0], np.cumsum(counts)]),
        flat[order],
        values.reshape(-1)[flat[order]].astype(np.float32),
    )


def _offsets(dims: int, radius: float) -> Iterator[tuple[int, ...]]:
    """Yield one of each pair of opposite steps that are no longer than a radius."""
    around = range(-int(radius), int(radius) + 1)
    for step in product(around, repeat=dims):
        if step > (0,) * dims and sum(length**2 for length in step) <= radius**2:
            yield step


def _numbered(lit: NDArray[np.bool_]) -> Integers:
    """Return the lit pixels numbered in order, -1 elsewhere."""
    numbers = np.full(lit.shape, -1, np.int64)
    numbers[lit] = np.arange(np.count_nonzero(lit))
    return numbers


def _neighbours(numbers: Integers, step: Sequence[int]) -> tuple[Integers, Integers]:
    """Return the numbers of lit pixels and of their lit neighbours one step away."""
    here, there = _shifted(step, numbers.shape)
    first, second = numbers[here], numbers[there]
    both = (first >= 0) & (second >= 0)
    return first[both], second[both]


def _shifted(step: Sequence[int], shape: Sequence[int]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the part of an image from which a step stays inside, and the part that it leads to."""
    pairs = [
        (slice(max(-length, 0), size - max(length, 0)), slice(max(length, 0), size - max(-length, 0)))
        for length, size in zip(step, shape, strict=True)
    ]
    return tuple(here for here, _ in pairs), tuple(there for _, there in pairs)


def _across_gaps(lit: NDArray[np.bool_], gap: int) -> Integers:
    """Return groups of lit pixels with at most `gap` unlit ones between them."""
    numbers, count = _numbered(lit), int(np.count_nonzero(lit))
    pairs = [_neighbours(numbers, step) for step in _offsets(lit.ndim, gap + 1)]
    first, second = (np.concatenate([np.empty(0, np.int64), *side]) for side in zip(*pairs, strict=True))
    return _spread(lit, _linked(first, second, count))


def _linked(first: Integers, second: Integers, count: int) -> Integers:
    """Return the connected component (count,) of every node of a graph."""
    edges = coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    return np.asarray(connected_components(edges, directed=False)[1])


def _spread(lit: NDArray[np.bool_], groups: Integers) -> Integers:
    image = np.zeros(lit.shape, np.int64)
    image[lit] = groups + 1
    return image


def _by_peaks(lit: NDArray[np.bool_], values: Floats, smoothing: float, separation: float) -> Integers:
    """Return the basin of every lit pixel: the peak reached by going to the brightest neighbour repeatedly.

    Peaks nearer than `separation` are merged. Equal values are ordered by position: a plateau has one peak.
    """
    numbers, count = _numbered(lit), int(np.count_nonzero(lit))
    smooth = ndimage.gaussian_filter(values.astype(np.float64), smoothing)[lit]
    rank = np.empty(count, np.int64)
    rank[np.argsort(smooth, kind="stable")] = np.arange(count)
    upward = np.arange(count)
    best = rank.copy()
    for step in _offsets(lit.ndim, lit.ndim**0.5):
        first, second = _neighbours(numbers, step)
        for low, high in ((first, second), (second, first)):
            better = rank[high] > best[low]
            upward[low[better]], best[low[better]] = high[better], rank[high[better]]
    while ((further := upward[upward]) != upward).any():
        upward = further
    peaks = np.flatnonzero(upward == np.arange(count))
    places = np.argwhere(lit)[peaks]
    pairs = (
        cKDTree(places).query_pairs(separation, output_type="ndarray") if len(peaks) > 1 else np.empty((0, 2), int)
    )
    merged = _linked(peaks[pairs[:, 0]], peaks[pairs[:, 1]], count)
    return _spread(lit, merged[upward])


def _joined(found: Instances, joins: Mapping[int, Sequence[int]], options: Sequence[Grouping]) -> Instances:
    """Return the instances with every fragment joined to the brightest instance that it touches and may join."""
    target, sums = np.arange(len(found)), found.intensity.sum(axis=1)
    lit = _lit_share(found) if any(how.fragment_lit for how in options) else 0.0  # else no limit depends on it
    rank = np.argsort(np.argsort(sums, kind="stable"))  # of equal instances the first joins the second, not both
    for label, others in joins.items():
        if not others:
            continue
        how = options[label]
        small = np.flatnonzero((np.asarray(found.labels) == label) & (sums <= how.largest_fragment(lit)))
        fragments, larger = _touching(found, small, np.flatnonzero(np.isin(found.labels, others)))
        may = (sums[fragments] <= how.fragment * sums[larger]) & (rank[fragments] < rank[larger])
        fragments, larger = fragments[may], larger[may]
        order = np.argsort(rank[larger])  # the brightest is assigned last and wins
        target[fragments[order]] = larger[order]
    return _merge(found, target)


def _lit_share(found: Instances) -> float:
    """Return the share of the pixels of an image that some instance lights."""
    size = int(np.prod(found.shape[1:]))
    return len(np.unique(np.asarray(found.pixels) % size)) / size


def _touching(found: Instances, some: Integers, others: Integers) -> tuple[Integers, Integers]:
    """Return pairs of some and of other instances with the same or neighbouring pixels."""
    (mine, first), (theirs, second) = _places(found, some), _places(found, others)
    near = cKDTree(mine).sparse_distance_matrix(cKDTree(theirs), 1, p=np.inf, output_type="ndarray")
    pairs = np.unique(np.stack([first[near["i"]], second[near["j"]]]), axis=1)
    return pairs[0], pairs[1]


def _places(found: Instances, chosen: Integers) -> tuple[Integers, Integers]:
    """Return the spatial positions (n, D) of the pixels of chosen instances, and the instance of each."""
    of_chosen = np.isin(found.owners, chosen)
    places = np.asarray(found.pixels)[of_chosen] % int(np.prod(found.shape[1:]))
    return np.stack(np.unravel_index(places, found.shape[1:]), axis=1), found.owners[of_chosen]


def _merge(found: Instances, target: Integers) -> Instances:
    """Return the instances after adding each to its target; a shared pixel appears once."""
    while (target[target] != target).any():
        target = target[target]
    if (target == np.arange(len(found))).all():
        return found
    kept, new = np.unique(target, return_inverse=True)
    size = int(np.prod(found.shape))
    keys, place = np.unique(new[found.owners] * size + np.asarray(found.pixels, np.int64), return_inverse=True)
    values = np.bincount(place, found.values, len(keys)).astype(np.float32)
    counts = np.bincount(keys // size, minlength=len(kept))
    return Instances(
        found.shape,
        np.asarray(found.labels)[kept],
        np.concatenate([[0], np.cumsum(counts)]),
        keys % size,
        values,
        {name: column[kept] for name, column in found.table.items()},
    )
