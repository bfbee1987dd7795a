"""Straight tracks: the division of an object into the straight tracks of which it consists.

Tracks that cross are one connected component, also in a perfect map. A straight track goes on beyond the crossing,
so that it can be told from the others by its course: lines are found one after the other, each the longest one
through pixels that no line has covered yet (RANSAC, after Fischler & Bolles 1981, doi:10.1145/358669.358692, with
the covered length in the place of the number of pixels).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oasis.data.instances import Instances

Floats = NDArray[np.float64]

CANDIDATES = 256  # lines through two pixels that are tried for each track
MOST = 64  # tracks in one component
CORE = 1.5  # pixels from its axis in which the middle of a track lies
BREAK = 2  # unlit pixels along a track at which it ends
FILLED = {2: 0.9, 3: 0.5}  # of the pixels beside a track, by dimensions: an area is no track
LARGEST = 50_000  # pixels of a component that is divided
CELLS = 4_000_000  # distances held at once


@dataclass(frozen=True)
class Line:
    """A straight track.

    Attributes:
        point: (d,) a pixel on its axis.
        direction: (d,) of length 1.
        start: the place along the axis where it begins, in pixels from `point`.
        end: the same where it ends.
        length: how much of it no other track covers, in pixels.
    """

    point: Floats
    direction: Floats
    start: float
    end: float
    length: float

    def is_filled(self, places: Floats, width: float) -> bool:
        """Return whether places (n, d) beside the track are lit, as they are in the middle of an area."""
        along = (places - self.point) @ self.direction
        across = np.linalg.norm(places - self.point - along[:, None] * self.direction, axis=1)
        inside = (along >= self.start) & (along <= self.end)
        beside = np.count_nonzero(inside & (across > width) & (across <= 1.5 * width))
        section = width if places.shape[1] == 2 else np.pi * 1.25 * width**2
        return bool(beside > FILLED[places.shape[1]] * section * (self.end - self.start))

    def distances(self, places: Floats) -> Floats:
        """Return the distance (n,) of places (n, d) from the track, beyond its ends from the end."""
        along = (places - self.point) @ self.direction
        nearest = self.point + along.clip(self.start, self.end)[:, None] * self.direction
        return np.asarray(np.linalg.norm(places - nearest, axis=1))


def divide_at_crossings(found: Instances, threshold: float, length: float, width: float) -> Instances:
    """Return the instances with those of several straight tracks divided, ordered by their first pixel.

    The intensity of a pixel is shared by the tracks whose share of it is above the threshold; the sum stays. An
    instance of more than 50,000 pixels is not divided.

    Args:
        found: instances in two or three spatial axes, of one class.
        threshold: intensity above which the class is present in a pixel.
        length: pixels that a track needs for itself.
        width: largest distance of a pixel from the axis of its track, in pixels.
    """
    tracks = []
    for index, label in enumerate(np.asarray(found.labels).tolist()):
        own = slice(found.offsets[index], found.offsets[index + 1])
        pixels, values = found.pixels[own], found.values[own]
        shares = _shares(found.shape, pixels, values, threshold, length, width)
        tracks += [(label, pixels[share > 0], (values * share)[share > 0]) for share in shares]
    tracks.sort(key=lambda track: int(track[1][0]))
    labels, places, shared = ([track[part] for track in tracks] for part in range(3))
    return Instances.pack(found.shape, labels, places, shared)


def _shares(
    shape: tuple[int, ...],
    pixels: NDArray[np.integer],
    values: NDArray[np.float32],
    threshold: float,
    length: float,
    width: float,
) -> Floats:
    """Return the share (m, n) of every pixel of one instance in each of its m tracks."""
    whole = np.ones((1, len(pixels)))
    if not 2 * length <= len(pixels) <= LARGEST:
        return whole
    size = int(np.prod(shape[1:]))
    spatial, which = np.unique(np.asarray(pixels) % size, return_inverse=True)
    places = np.stack(np.unravel_index(spatial, shape[1:]), axis=1).astype(float)
    intensity = np.bincount(which, values).clip(0)
    if _straight(places, intensity, width):
        return whole
    lines = find_lines(places, intensity, length, width)
    if len(lines) < 2:
        return whole
    shares = shares_of(lines, places, intensity)[:, which]
    shares[(shares * values <= threshold) & (shares < shares.max(axis=0))] = 0
    shares /= shares.sum(axis=0)
    return np.asarray(shares[(shares > 0).any(axis=1)])


def _straight(places: Floats, intensity: Floats, width: float) -> bool:
    """Return whether all places are near the axis of one track."""
    middle, axes = _axes(places, intensity)
    across = (places - middle) @ axes[:, :-1]
    return bool((np.linalg.norm(across, axis=1) <= width).all())


def find_lines(places: Floats, values: Floats, length: float, width: float) -> list[Line]:
    """Return the straight tracks in one component, in the order in which they are found.

    Args:
        places: (n, d) of its pixels, with two or more axes.
        values: (n,) intensity of the pixels.
        length: pixels that a track needs for itself.
        width: largest distance of a pixel from the axis of its track.
    """
    lines: list[Line] = []
    free = np.ones(len(places), bool)
    while len(lines) < MOST and np.count_nonzero(free) >= length:
        line = _longest(places, values, free)
        if line is None or line.length < length or line.is_filled(places, width):
            break
        lines.append(line)
        free &= line.distances(places) > width
    return lines


def shares_of(lines: list[Line], places: Floats, values: Floats) -> Floats:
    """Return the share (m, n) of each pixel that belongs to each of m tracks; the shares of a pixel add up to 1.

    A track has the same Gaussian profile and brightness all along it, measured where no other is as near.
    """
    distances = np.stack([line.distances(places) for line in lines])
    nearest = distances.argmin(axis=0)
    profiles = np.zeros_like(distances)
    for index, line in enumerate(lines):
        own = nearest == index
        spread = max(np.average(distances[index, own] ** 2, weights=values[own]), 0.25) if own.any() else 1.0
        brightness = values[own].sum() / max(line.length, 1.0)
        profiles[index] = brightness / np.sqrt(spread) * np.exp(-(distances[index] ** 2) / (2 * spread))
    total = profiles.sum(axis=0)
    alone = (np.arange(len(lines))[:, None] == nearest).astype(float)
    return np.where(total > 0, profiles / np.where(total > 0, total, 1), alone)


def _longest(places: Floats, values: Floats, free: NDArray[np.bool_]) -> Line | None:
    """Return the line with the greatest length in free pixels, refined to the axis of what it covers."""
    random = np.random.default_rng(0)
    among = np.flatnonzero(free)
    ends = among[random.integers(len(among), size=(2, CANDIDATES))]
    steps = places[ends[1]] - places[ends[0]]
    far = np.linalg.norm(steps, axis=1) > 2 * CORE
    if not far.any():
        return None
    points, steps = places[ends[0]][far], steps[far]
    directions = steps / np.linalg.norm(steps, axis=1, keepdims=True)
    found = _covered(points, directions, places, free)
    best = int(found[2].argmax())
    line = Line(points[best], directions[best], *(float(each[best]) for each in found))
    for _ in range(3):
        axis = _axis(line, places, values)
        if axis is None:
            return line
        found = _covered(axis[0][None], axis[1][None], places, free)
        if not len(found[0]):
            return line
        line = Line(axis[0], axis[1], *(float(each[0]) for each in found))
    return line


def _axis(line: Line, places: Floats, values: Floats) -> tuple[Floats, Floats] | None:
    """Return the mean and the principal axis of the pixels in the core of a track."""
    inside = line.distances(places) <= CORE
    if np.count_nonzero(inside) < 2 * CORE:
        return None
    middle, axes = _axes(places[inside], values[inside])
    return middle, axes[:, -1]


def _axes(places: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the weighted mean (d,) of places (n, d) and their principal axes (d, d), the longest last."""
    middle = np.average(places, axis=0, weights=weights)
    return middle, np.linalg.eigh(np.cov((places - middle).T, aweights=weights))[1]


def _covered(
    points: Floats, directions: Floats, places: Floats, free: NDArray[np.bool_]
) -> tuple[Floats, Floats, Floats]:
    """Return start, end and free length (k,) of the best unbroken stretch of each of k lines."""
    parts = max(1, len(points) * len(places) // CELLS)
    found = [
        _stretches(*each, places, free)
        for each in zip(np.array_split(points, parts), np.array_split(directions, parts), strict=True)
    ]
    start, end, length = (np.concatenate(each) for each in zip(*found, strict=True))
    return start, end, length


def _stretches(
    points: Floats, directions: Floats, places: Floats, free: NDArray[np.bool_]
) -> tuple[Floats, Floats, Floats]:
    along = directions @ places.T - (points * directions).sum(axis=1, keepdims=True)
    squares = (points**2).sum(1)[:, None] - 2 * points @ places.T + (places**2).sum(1) - along**2
    lines, pixels = np.nonzero(squares <= CORE**2)
    steps = np.rint(along[lines, pixels]).astype(int)
    first = steps.min(initial=0)
    lit = np.zeros((len(points), steps.max(initial=0) - first + 1), bool)
    new = lit.copy()
    lit[lines, steps - first] = True
    new[lines[free[pixels]], steps[free[pixels]] - first] = True
    line, at = np.nonzero(lit)
    breaks = (np.diff(line, prepend=-1) > 0) | (np.diff(at, prepend=-1) > BREAK + 1)
    stretch = np.cumsum(breaks) - 1
    lengths = np.bincount(stretch, new[line, at])
    begins = np.flatnonzero(breaks)
    ends = np.append(begins[1:], len(line)) - 1
    best = np.lexsort((lengths, line[begins]))  # the last of every line is its longest
    best = best[np.diff(line[begins][best], append=len(points)) > 0]
    start, end = at[begins[best]] + first, at[ends[best]] + first
    return np.asarray(start, float), np.asarray(end, float), np.asarray(lengths[best], float)
