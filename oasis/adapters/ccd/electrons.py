"""Electrons in silicon: condensed transport in an infinite block, and the part of a track inside a wafer.

An electron that leaves the wafer does not return, so that its deposits are those in an infinite block up to the
first exit. One library of tracks thus serves every thickness, face and direction, and a track of high energy
contains tracks of all lower energies.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oasis.adapters.ccd.silicon import csda_range, energy_of_range, transport_length
from oasis.data.components import Components
from oasis.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LONGEST = 5.0  # um of a step
OF_RANGE = 0.04  # longest step relative to the remaining range
OF_TRANSPORT = 0.2  # and to the transport mean free path
STOPPED = 2.0  # keV: below, an electron is absorbed where it is


def transport(energies: ArrayLike, rng: np.random.Generator) -> Components:
    """Follow electrons from the origin, first along the third axis, until they stop.

    In each step an electron loses the energy given by its range, at a random point where it is also deflected:
    1 - cos of the angle is exponential with the mean step / transport length, cut at 2.

    Args:
        energies: (n,) kinetic energies, keV.
        rng: the source of randomness.

    Returns:
        n tracks: points in um in the order of transport, intensity in keV, which adds up to `energy` of the table.

    Raises:
        DataError: an energy is not above 0.

    Example:
        >>> track = transport([100.0], np.random.default_rng(0))[0]
        >>> round(float(track.intensity.sum()), 3), float(np.linalg.norm(track.points, axis=1).max()) < 78
        (100.0, True)
    """
    start = np.atleast_1d(np.asarray(energies, float))
    if start.ndim != 1 or not (np.isfinite(start) & (start > 0)).all():
        raise DataError(f"energies: found {start.tolist()[:5]}, expected finite values above 0 keV")
    track, energy = np.arange(len(start)), start.copy()
    place, direction = np.zeros((len(start), 3)), np.tile([0.0, 0.0, 1.0], (len(start), 1))
    tracks, points, deposits = [], [], []
    while len(track):
        left = csda_range(energy)
        free = transport_length(energy)
        step = np.minimum(np.minimum(OF_RANGE * left, OF_TRANSPORT * free), LONGEST)
        after = energy_of_range(left - step)
        after[energy < STOPPED] = 0
        hinge = rng.random(len(track))
        place = place + (hinge * step)[:, None] * direction
        tracks.append(track)
        points.append(place)
        deposits.append(energy - after)
        cosine = 1 - np.minimum(rng.exponential(step / free), 2)
        direction = turned(direction, cosine, rng.uniform(0, 2 * np.pi, len(track)))
        place = place + ((1 - hinge) * step)[:, None] * direction
        alive = after > 0
        track, energy, place, direction = track[alive], after[alive], place[alive], direction[alive]
    return _collected(start, np.concatenate(tracks), np.concatenate(points), np.concatenate(deposits))


def _collected(start: Floats, tracks: Integers, points: Floats, deposits: Floats) -> Components:
    order = np.argsort(tracks, kind="stable")
    counts = np.bincount(tracks, minlength=len(start))
    offsets = np.concatenate([[0], np.cumsum(counts)])
    points, deposits = points[order], deposits[order]
    return Components(offsets, points, deposits, {"energy": start})


def frames(direction: Floats, azimuth: ArrayLike = 0.0) -> Floats:
    """Return right-handed orthonormal bases (n, 3, 3) whose third column is a unit vector (n, 3).

    The basis is that of Duff et al. (2017), J. Comput. Graph. Tech. 6, 1, turned by an azimuth.
    """
    x, y, z = direction.T
    sign = np.copysign(1.0, z)
    a = -1 / (sign + z)
    first = 1 + sign * x * x * a, sign * x * y * a, -sign * x
    second = x * y * a, sign + y * y * a, -y
    c, s = np.cos(azimuth), np.sin(azimuth)
    bases = np.empty((len(x), 3, 3))
    for axis, (one, other) in enumerate(zip(first, second, strict=True)):
        bases[:, axis, 0] = c * one + s * other
        bases[:, axis, 1] = c * other - s * one
    bases[:, :, 2] = direction
    return bases


def turned(direction: Floats, cosine: Floats, azimuth: Floats) -> Floats:
    """Return unit vectors (n, 3) turned by a polar angle towards an azimuth around them."""
    sine = np.sqrt(np.maximum(1 - cosine**2, 0))
    local = np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine], 1)
    found = np.einsum("nij,nj->ni", frames(direction), local)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def merge(tracks: Components, longest: float, shortest: float = 0.5, of_rest: float = 0.15) -> Components:
    """Return tracks with consecutive deposits replaced by their sum at their energy-weighted mean.

    Args:
        tracks: tracks with the points in order.
        longest: the longest path whose deposits become one, um.
        shortest: the same where a track ends.
        of_rest: the same relative to the path that remains.
    """
    owner = np.repeat(np.arange(len(tracks)), np.diff(tracks.offsets))
    steps = np.linalg.norm(np.diff(tracks.points, axis=0, prepend=tracks.points[:1]), axis=1)
    path = np.cumsum(steps)
    rest = path[tracks.offsets[1:] - 1][owner] - path
    near, far = shortest / of_rest, longest / of_rest  # where the length begins and ceases to grow
    number = np.minimum(rest, near) / shortest + np.log(np.clip(rest, near, far) / near) / of_rest
    part = np.floor(number + np.maximum(rest - far, 0) / longest).astype(np.int64)
    _, member = np.unique(owner * (part.max() + 1) + part.max() - part, return_inverse=True)
    energy: Floats = np.bincount(member, tracks.intensity).astype(np.float64)
    points = np.stack([np.bincount(member, tracks.intensity * axis) / energy for axis in tracks.points.T], 1)
    first = np.concatenate([member[tracks.offsets[:-1]], [len(energy)]])
    return Components(first, points, energy, tracks.table)


def until_exit(owner: Integers, depth: Floats, low: float, high: float) -> NDArray[np.bool_]:
    """Return the points of tracks before the first that lies outside a slab.

    Args:
        owner: (m,) the track of each point, in increasing order.
        depth: (m,) coordinates perpendicular to the slab.
        low: one face of the slab.
        high: the other.

    Example:
        >>> until_exit(np.array([0, 0, 0, 1]), np.array([1.0, -1.0, 1.0, 2.0]), 0.0, 5.0)
        array([ True, False, False,  True])
    """
    outside = np.cumsum((depth < low) | (depth > high))
    first = np.searchsorted(owner, owner)  # of the point's track
    before = np.where(first > 0, outside[first - 1], 0)
    return np.asarray(outside == before)
