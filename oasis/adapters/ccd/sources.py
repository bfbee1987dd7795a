"""Sources: where electrons begin, in which direction, and with how much energy.

Positions are drawn uniformly in and around a window, wide enough that every object that reaches it can appear.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.ccd.decay import (
    AUGER,
    BRANCHES,
    CONVERSION,
    PHOTONS,
    beta_energies,
    line_energies,
    per_decay,
)
from oasis.adapters.ccd.options import QUARTER, CcdOptions
from oasis.adapters.ccd.sensor import Sensor
from oasis.adapters.ccd.silicon import (
    DENSITY,
    UM_PER_CM,
    compton,
    csda_range,
    interaction,
    photoelectric,
    recoil_energy,
)
from oasis.data.draws import Draws, Random, of_rows

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

Generators = Sequence[np.random.Generator]

FRONT, BACK, BULK = 0, 1, 2


class Start(NamedTuple):
    """Where n electrons begin.

    Attributes:
        place: (n, 3) um: along columns, along rows, and depth under the gates.
        direction: (n, 3) unit vectors.
        energy: (n,) keV.
        side: (n,) `FRONT`, `BACK` or `BULK`.
    """

    place: Floats
    direction: Floats
    energy: Floats
    side: Integers

    def where(self, kept: NDArray[np.bool_]) -> "Start":
        """Return some of the electrons."""
        return Start(self.place[kept], self.direction[kept], self.energy[kept], self.side[kept])


class Window:
    """A window of the sensor and its surroundings.

    Args:
        shape: rows and columns.
        sensor: the sensor.
    """

    def __init__(self, shape: tuple[int, int], sensor: Sensor) -> None:
        self.sensor = sensor
        self.lengths = np.array(shape[::-1]) * sensor.pixel_um  # columns, rows
        self.blur = (sensor.kernel + 1) * sensor.pixel_um

    def area(self, margin: float) -> float:
        """Return the area of the window with a margin (um) on every side, relative to a quarter of the sensor."""
        return float(np.prod(self.lengths + 2 * margin) / (QUARTER * self.sensor.pixel_um**2))

    def places(self, count: int, margin: float, rng: Random) -> Floats:
        """Return uniform positions (count, 2) in the window with a margin, um."""
        return rng.uniform(-margin, self.lengths + margin, (count, 2))

    def reached(self, low: Floats, high: Floats, margin: Floats | float) -> NDArray[np.bool_]:
        """Return whether boxes (n, 2), with a margin and the spread of charge, overlap the window."""
        reach = np.broadcast_to(np.asarray(margin, float) + self.blur, len(low))[:, None]
        return np.asarray(((high + reach > 0) & (low - reach < self.lengths)).all(axis=1))


def isotropic(count: int, rng: Random) -> Floats:
    """Return directions (count, 3), uniform over the sphere."""
    cosine, azimuth = rng.uniform(-1, 1, count), rng.uniform(0, 2 * np.pi, count)
    sine = np.sqrt(1 - cosine**2)
    return np.stack([sine * np.cos(azimuth), sine * np.sin(azimuth), cosine], 1)


def from_faces(places: Floats, energy: Floats, side: Integers, sensor: Sensor, rng: Random) -> Start:
    """Return electrons that enter from outside of the dead layers, isotropically as from a wide, thin cell."""
    direction = isotropic(len(energy), rng)
    inward = np.where(side == FRONT, 1.0, -1.0)
    direction[:, 2] = np.abs(direction[:, 2]) * inward
    depth = np.where(side == FRONT, -sensor.front_dead_um, sensor.thickness_um + sensor.back_dead_um)
    return Start(np.column_stack([places, depth]), direction, energy, side)


def from_within(places: Floats, depth: Floats, energy: Floats, rng: Random) -> Start:
    """Return electrons that are set free within the wafer, in any direction."""
    side = np.full(len(energy), BULK)
    return Start(np.column_stack([places, depth]), isotropic(len(energy), rng), energy, side)


def photon_electrons(
    places: Floats, energy: Floats, side: Integers, sensor: Sensor, rng: Random
) -> tuple[Start, NDArray[np.bool_]]:
    """Return the electrons that photons (n,) set free in the wafer, and which of the photons interact.

    A photon is absorbed or scatters once; a scattered photon leaves.
    """
    cosine = 1 - rng.random(len(energy))
    path = sensor.thickness_um / cosine
    chance = interaction(energy, path)
    found = rng.random(len(energy)) < chance
    rng = of_rows(rng, found)
    places, energy, cosine, chance = (one[found] for one in (places, energy, cosine, chance))
    absorbed, scattered = photoelectric(energy), compton(energy)
    attenuation = (absorbed + scattered) * DENSITY / UM_PER_CM
    depth = -np.log1p(-rng.random(len(energy)) * chance) / attenuation * cosine
    depth = np.where(side[found] == FRONT, depth, sensor.thickness_um - depth)
    whole = rng.random(len(energy)) < absorbed / (absorbed + scattered)
    freed = np.where(whole, energy, recoil_energy(energy, rng))
    return from_within(places, depth, freed, rng), found


def sides(options: CcdOptions, count: int, rng: Random) -> Integers:
    """Return the face (count,) at which particles from the gas enter."""
    if options.gas == "both":
        return rng.integers(2, size=count)
    return np.full(count, FRONT if options.gas == "front" else BACK)


Sources = dict[str, tuple[Start, Draws]]  # of electrons, and of their random numbers, by origin


def xenon(
    options: CcdOptions, window: Window, rates: Sequence[float], rngs: Generators, photons: float = 1.0
) -> Sources:
    """Return the electrons from decays that may reach a window, of several samples: `beta`, `ce` and `photon`.

    The decays emit `photons` times as many photons as they do.
    """
    sensor, found = options.sensor, {}
    margin = float(csda_range(BRANCHES[0][0]))
    decays = options.decays * window.area(margin) / 2  # half of the particles go the other way
    for name, lines, times in (("beta", None, 1.0), ("ce", CONVERSION + AUGER, 1.0), ("photon", PHOTONS, photons)):
        rng = drawn([rate * decays * times * (per_decay(lines) if lines else 1.0) for rate in rates], rngs)
        count = len(rng)
        energy = line_energies(lines, count, rng) if lines else beta_energies(count, rng)
        places, side = window.places(count, margin, rng), sides(options, count, rng)
        if name == "photon":
            start, interact = photon_electrons(places, energy, side, sensor, rng)
            rng = rng.rows(interact)
        else:
            start = from_faces(places, energy, side, sensor, rng)
        at = start.place[:, :2]
        reached = window.reached(at, at, csda_range(start.energy))
        found[name] = start.where(reached), rng.rows(reached)
    return found


def diagnostic(options: CcdOptions, window: Window, rates: Sequence[float], rngs: Generators) -> Sources:
    """Return the electrons of the diagnostic sample that may reach a window: `front`, `back` and `bulk`."""
    sensor, found = options.sensor, {}
    margin = float(csda_range(options.diagnostic_kev[1]))
    for number, name in enumerate(("front", "back", "bulk")):
        rng = drawn([rate * options.diagnostic_electrons / 3 * window.area(margin) for rate in rates], rngs)
        count = len(rng)
        energy, places = rng.uniform(*options.diagnostic_kev, count), window.places(count, margin, rng)
        if number == BULK:
            start = from_within(places, rng.uniform(0, sensor.thickness_um, count), energy, rng)
        else:
            start = from_faces(places, energy, np.full(count, number), sensor, rng)
        at = start.place[:, :2]
        reached = window.reached(at, at, csda_range(energy))
        found[name] = start.where(reached), rng.rows(reached)
    return found


def drawn(means: Sequence[float], rngs: Generators) -> Draws:
    """Draw a Poisson number of objects per sample, and return the source of their random numbers."""
    counts = [int(rng.poisson(mean)) for mean, rng in zip(means, rngs, strict=True)]
    return Draws(rngs, np.repeat(np.arange(len(counts)), counts))
