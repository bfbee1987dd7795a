"""Depositing: the points in the active silicon at which electrons and muons leave energy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.ccd import muons
from oasis.adapters.ccd.electrons import turned, until_exit
from oasis.adapters.ccd.options import CcdOptions
from oasis.adapters.ccd.sensor import Sensor
from oasis.adapters.ccd.sources import BULK, FRONT, Generators, Start, Window, drawn
from oasis.adapters.ccd.tracks import Deposits, Electrons
from oasis.data.draws import Draws, Random

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LONGEST_MUON = 10_000.0  # um along the face; the few that are longer are left out
MUON_SPACING = 3.0  # um between points of a muon
AROUND_MUON = 300.0  # um that its electrons may reach


def deposit(start: Start, electrons: Electrons, sensor: Sensor, rng: Random) -> Deposits:
    """Return where electrons deposit energy in the active silicon."""
    chosen = electrons.choose(start.energy, rng)
    azimuth = rng.uniform(0, 2 * np.pi, len(chosen))
    made = electrons.take(chosen, start.energy, start.direction, azimuth)
    made = made._replace(points=made.points + start.place[made.owner])
    low, high = -sensor.front_dead_um, sensor.thickness_um + sensor.back_dead_um
    made = made.where(until_exit(made.owner, made.points[:, 2], low, high))
    share = active_share(made, start.place[:, 2], sensor.thickness_um)
    made = made._replace(energy=made.energy * share).where(share > 0)
    made.points[:, 2] = np.clip(made.points[:, 2], 0, sensor.thickness_um)
    return made


def active_share(made: Deposits, origin: Floats, thickness: float) -> Floats:
    """Return the share of every deposit (m,) that lies in the active silicon and not in a dead layer.

    A deposit belongs to the path from halfway to the previous point, or from the origin, to halfway to the next.

    Args:
        made: deposits in order of the objects.
        origin: (n,) depth at which every object begins.
        thickness: of the active silicon, um.
    """
    depth, owner = made.points[:, 2], made.owner
    if not len(depth):
        return np.empty(0)
    middle = (depth[1:] + depth[:-1]) / 2
    same = owner[1:] == owner[:-1]
    before = np.concatenate([origin[owner[:1]], np.where(same, middle, origin[owner[1:]])])
    after = np.concatenate([np.where(same, middle, depth[:-1]), depth[-1:]])
    low, high = np.minimum(before, after), np.maximum(before, after)
    inside = np.clip(high, 0, thickness) - np.clip(low, 0, thickness)
    level = (depth >= 0) & (depth <= thickness)
    return np.asarray(np.where(high > low, inside / np.where(high > low, high - low, 1), level))


def muon_deposits(
    options: CcdOptions, window: Window, electrons: Electrons, rates: Sequence[float], rngs: Generators
) -> tuple[Deposits, Integers, Draws]:
    """Return the deposits of muons that may reach a window, of several samples.

    Returns:
        The deposits, the side through which each muon enters, and the source of random numbers of each.
    """
    sensor = options.sensor
    thickness = sensor.thickness_um
    rng = drawn([rate * options.muons * window.area(LONGEST_MUON) for rate in rates], rngs)
    count = len(rng)
    places, along = window.places(count, LONGEST_MUON, rng), muons.directions(count, rng)
    side = rng.integers(2, size=count)
    along[:, 2] *= np.where(side == FRONT, 1.0, -1.0)
    with np.errstate(divide="ignore"):
        length = thickness / np.abs(along[:, 2])
    ends = places + along[:, :2] * np.minimum(length, 1e9)[:, None]
    kept = window.reached(np.minimum(places, ends), np.maximum(places, ends), AROUND_MUON)
    kept &= np.linalg.norm(ends - places, axis=1) < LONGEST_MUON
    places, along, length, side = places[kept], along[kept], length[kept], side[kept]
    rng, depth = rng.rows(kept), np.where(side == FRONT, 0.0, thickness)
    of = muons.kinematics(options.muon_gev)
    lost = muons.losses(length, of, MUON_SPACING, rng)
    points = np.empty((3, len(lost.muon))).T
    for axis, begin in enumerate((*places.T, depth)):
        points[:, axis] = begin[lost.muon] + lost.path * along[:, axis][lost.muon]
    np.clip(points[:, 2], 0, thickness, out=points[:, 2])
    hard = np.flatnonzero(lost.hard)
    thrower, cosine = lost.muon[hard], muons.thrown_cosine(lost.energy[hard], of)
    of_thrown = rng.rows(thrower)
    thrown = turned(along[thrower], cosine, of_thrown.uniform(0, 2 * np.pi, len(cosine)))
    energy = np.minimum(lost.energy[hard], electrons.energy[-1])
    start = Start(points[hard], thrown, energy, np.full(len(energy), BULK))
    far = deposit(start, electrons, sensor, of_thrown)
    far = far._replace(owner=thrower[far.owner])
    return Deposits(lost.muon, points, lost.energy).join(far, np.flatnonzero(~lost.hard)), side, rng
