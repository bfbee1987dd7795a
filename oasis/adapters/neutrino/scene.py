"""Events: one muon and a few nuclei that start at one point, each with its charge in every cube."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from oasis.adapters.neutrino.physics import DENSITY, MM_PER_CM, muon_stopping_power
from oasis.adapters.neutrino.simulation import CUBE, CUBES, SPECIES, Detector, Tracks, simulate, way_out
from oasis.data.draws import Draws
from oasis.data.mixing import Placed, Scene
from oasis.data.samples import Array, Scalar

Vector = NDArray[np.float64]

HALF: Final = CUBE * CUBES / 2  # mm, of the volume with the cubes of the public data set
MUON_ENERGIES: Final = (300.0, 1000.0)  # MeV
SHIFT: Final = 1  # largest distance of the vertex's cube from the centre along each axis, cubes
AXES: Final = ("x", "y", "z")
QUANTITIES: Final = ("ke", "dx", "dy", "dz", "length")  # of a particle
EXIT_COLUMNS: Final = ("exit_x", "exit_y", "exit_z", "exit_ke", "exit_dx", "exit_dy", "exit_dz")
VERTEX_COLUMNS: Final = tuple(f"vertex_{axis}" for axis in AXES)
UNKNOWN: Final = dict.fromkeys(QUANTITIES, float("nan"))
CONTEXT: Final = len(EXIT_COLUMNS) + 1


@dataclass(frozen=True)
class Composition:
    """The numbers of particles in an event besides its muon.

    Attributes:
        fewest: least number of protons.
        protons: largest number of protons.
        deuterons: largest number of deuterons.
        tritons: largest number of tritons.
    """

    fewest: int
    protons: int
    deuterons: int = 0
    tritons: int = 0

    @property
    def most(self) -> tuple[int, int, int]:
        """The largest numbers of protons, deuterons and tritons."""
        return self.protons, self.deuterons, self.tritons

    @property
    def classes(self) -> tuple[str, ...]:
        """The muon and every particle that an event can have."""
        protons = tuple(f"proton_{rank}" for rank in range(1, self.protons + 1))
        return ("muon", *protons, *["deuteron"] * self.deuterons, *["triton"] * self.tritons)

    def draw(self, rng: np.random.Generator, available: Sequence[int] | None = None) -> list[int]:
        """Draw the numbers of protons, deuterons and tritons, at least one nucleus.

        Args:
            rng: the source of randomness.
            available: number of particles of each species to choose from.
        """
        most = [min(pair) for pair in zip(self.most, available or self.most, strict=True)]
        least = [min(self.fewest, most[0]), 0, 0]
        counts = [int(rng.integers(low, high + 1)) for low, high in zip(least, most, strict=True)]
        if not any(counts):
            counts[rng.choice([place for place, limit in enumerate(most) if limit])] = 1
        return counts


CONFIGURATION_1: Final = Composition(fewest=1, protons=5)
CONFIGURATION_2: Final = Composition(fewest=0, protons=4, deuterons=1, tritons=1)


@dataclass(frozen=True)
class Particle:
    """A particle of an event.

    Attributes:
        species: its name in `SPECIES`.
        energy: MeV at the vertex.
        direction: (3,) unit vector at the vertex.
        length: mm of its path, for a muon only within the simulated volume.
        charge: (s, s, s) p.e.
    """

    species: str
    energy: float
    direction: Vector
    length: float
    charge: Array

    @property
    def truth(self) -> dict[str, float]:
        """Kinetic energy, direction and length, by the names of `QUANTITIES`."""
        return dict(
            zip(QUANTITIES, (float(self.energy), *self.direction.tolist(), float(self.length)), strict=True)
        )


@dataclass(frozen=True)
class Exit:
    """The state of a muon where it leaves the volume.

    Attributes:
        position: (3,) mm.
        energy: MeV.
        direction: (3,) unit vector.
    """

    position: Vector
    energy: float
    direction: Vector


@dataclass(frozen=True)
class Event:
    """An event.

    Attributes:
        particles: the muon first.
        vertex: (3,) mm.
        exit: the exit of the muon.
        origin: the position of the first cube of every charge image in the volume, cubes.
    """

    particles: Sequence[Particle]
    vertex: Vector
    exit: Exit
    origin: tuple[int, int, int] = (0, 0, 0)


class VertexScene(Scene):
    """Events of a composition; subclasses supply them.

    Args:
        composition: the composition of the events.
        cube: edge of a cube, mm.
    """

    def __init__(self, composition: Composition, cube: float = CUBE) -> None:
        self.composition = composition
        self.cube = cube
        self.classes = composition.classes
        self._columns = {name: [f"{name}_{quantity}" for quantity in QUANTITIES] for name in self.classes}
        self.shape = (1, CUBES, CUBES, CUBES)

    @abstractmethod
    def event(self, index: int, rng: np.random.Generator) -> Event:
        """Return event `index`, its nuclei in any order."""

    def events(self, indices: Sequence[int], rngs: Sequence[np.random.Generator]) -> Sequence[Event]:
        """Return several events."""
        return [self.event(index, rng) for index, rng in zip(indices, rngs, strict=True)]

    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Scalar]]:
        """Place the particles of an event, with protons numbered by decreasing energy."""
        return self.place_all([index], [rng])[0]

    def place_all(
        self, indices: Sequence[int], rngs: Sequence[np.random.Generator]
    ) -> list[tuple[list[Placed], dict[str, Scalar]]]:
        """Place the particles of several events."""
        return [self._placed(event) for event in self.events(indices, rngs)]

    def context(self, meta: Mapping[str, Scalar]) -> Array:
        """Return the state of the muon at its exit as context (8, 7, 7, 7); see `muon_context`."""
        return self.contexts([meta])[0]

    def contexts(self, metas: Sequence[Mapping[str, Scalar]]) -> Sequence[Array]:
        """Return what `context` returns, for several events."""
        exits = [[float(meta[name]) for name in EXIT_COLUMNS] for meta in metas]
        return list(muon_context(exits, self.cube))

    def _placed(self, event: Event) -> tuple[list[Placed], dict[str, Scalar]]:
        named = name_particles(event.particles)
        vertex = dict(zip(VERTEX_COLUMNS, event.vertex.tolist(), strict=True))
        truth = {name: one.truth for name, one in named.items()}
        placed = [
            Placed(name, one.charge[None], event.origin, {**truth[name], **vertex}) for name, one in named.items()
        ]
        out = event.exit
        exits = (*out.position.tolist(), float(out.energy), *out.direction.tolist())
        meta = {"nuclei": len(named) - 1, **vertex, **dict(zip(EXIT_COLUMNS, exits, strict=True))}
        for name in self.classes:
            meta |= zip(self._columns[name], truth.get(name, UNKNOWN).values(), strict=True)
        return placed, meta


def name_particles(particles: Sequence[Particle]) -> dict[str, Particle]:
    """Return particles by class: protons are numbered from 1 on by decreasing energy."""
    protons = sorted((one for one in particles if one.species == "proton"), key=lambda one: -one.energy)
    others = {one.species: one for one in particles if one.species != "proton"}
    return others | {f"proton_{rank}": one for rank, one in enumerate(protons, start=1)}


class SimulatedScene(VertexScene):
    """Simulated events with isotropic directions and uniform energies.

    The vertex is uniform in a cube of the detector, at the centre of the volume or next to it.

    Args:
        composition: the composition of the events.
        detector: the response of the detector.
        energies: the range of the energies of nuclei, MeV.
    """

    def __init__(self, composition: Composition, detector: Detector, energies: tuple[float, float]) -> None:
        super().__init__(composition, detector.cube_mm)
        self.detector = detector
        self.energies = energies

    def event(self, index: int, rng: np.random.Generator) -> Event:
        """Draw an event."""
        return self.events([index], [rng])[0]

    def events(self, indices: Sequence[int], rngs: Sequence[np.random.Generator]) -> list[Event]:
        """Draw several events, each from its own generator, and simulate them together."""
        starts = [self._start(rng) for rng in rngs]
        species, energy, direction, vertex = (np.concatenate(column) for column in zip(*starts, strict=True))
        counts = [len(one[0]) for one in starts]
        event, start = (np.repeat(one, counts, axis=0) for one in (np.arange(len(rngs)), vertex))
        tracks = Tracks(species, energy, start, direction)
        charge = simulate(tracks, self.detector, Draws(rngs, event), event)
        muon = species == 0
        places, energies = leave_all(start[muon], direction[muon], energy[muon], self.detector.half)
        length = tracks.length
        length[muon] = np.linalg.norm(places - start[muon], axis=1)
        columns = zip(species.tolist(), energy.tolist(), direction, length.tolist(), charge, strict=True)
        particles = [Particle(SPECIES[kind], *rest) for kind, *rest in columns]
        firsts = (np.cumsum(counts) - counts).tolist()
        return [
            Event(
                particles[first : first + count],
                start[first],
                Exit(place, left, direction[first]),
            )
            for first, count, place, left in zip(firsts, counts, places, energies.tolist(), strict=True)
        ]

    def _start(self, rng: np.random.Generator) -> tuple[NDArray[np.intp], Vector, Vector, Vector]:
        """Draw the species, energies, directions and vertex of the particles of an event, the muon first."""
        species = np.repeat(np.arange(len(SPECIES)), [1, *self.composition.draw(rng)])
        energy = rng.uniform(*self.energies, len(species))
        energy[0] = rng.uniform(*MUON_ENERGIES)
        direction = rng.standard_normal((len(species), 3))
        direction /= np.sqrt((direction * direction).sum(axis=1, keepdims=True))
        vertex = rng.uniform(-self.cube / 2, self.cube / 2, 3) + self.cube * rng.integers(-SHIFT, SHIFT + 1, 3)
        return species, energy, direction, vertex[None]


def leave(start: Vector, direction: Vector, energy: float, half: float = HALF) -> Exit:
    """Return the state of a muon where it leaves the volume, after the mean energy loss along its path."""
    position, energies = leave_all(start[None], direction[None], np.array([energy]), half)
    return Exit(position[0], float(energies[0]), direction)


def leave_all(start: Vector, direction: Vector, energy: Vector, half: float) -> tuple[Vector, Vector]:
    """Return positions (n, 3) and energies (n,) of n muons where they leave the volume."""
    path = way_out(start, direction, half)
    loss = muon_stopping_power(energy) * DENSITY * path / MM_PER_CM
    return start + path[:, None] * direction, energy - loss


def muon_context(exits: ArrayLike, cube: float = CUBE) -> Array:
    """Return the state of muons at their exit, in every cube, and the distance of the cube from their line.

    Channels: position (3) over half the volume's edge; kinetic energy, 300 to 1000 MeV as -1 to 1 (clipped);
    direction (3); exp(-d / edge of a cube) for the distance d of the cube's centre from the straight line through
    position and direction.

    Args:
        exits: (n, 7) `EXIT_COLUMNS` in mm, MeV and unit vectors.
        cube: edge of a cube, mm.

    Returns:
        (n, 8, 7, 7, 7)
    """
    position, energy, direction = np.split(np.asarray(exits, float), [3, 4], axis=1)
    half = cube * CUBES / 2
    scaled = np.concatenate([position / half, np.interp(energy, MUON_ENERGIES, (-1, 1)), direction], axis=1)
    places = centres(cube).reshape(-1, 3)
    along = direction @ places.T - (position * direction).sum(axis=1, keepdims=True)
    squared = (places**2).sum(axis=1) - 2 * position @ places.T + (position**2).sum(axis=1, keepdims=True)
    distance = np.sqrt(np.maximum(squared - along**2, 0))
    context = np.empty((len(position), CONTEXT, CUBES, CUBES, CUBES), np.float32)
    context[:, :-1] = scaled[..., None, None, None]
    context[:, -1] = np.exp(-distance / cube).reshape(-1, CUBES, CUBES, CUBES)
    return context


def muon_exits(context: Array, cube: float = CUBE) -> Vector:
    """Return the exits (n, 7) from which `muon_context` was made, with energies clipped to `MUON_ENERGIES`.

    Example:
        >>> muon_exits(muon_context([[35, 0, 5, 400, 1, 0, 0]])).round(3)
        array([[ 35.,   0.,   5., 400.,   1.,   0.,   0.]])
    """
    numbers = context[:, :-1, 0, 0, 0].astype(float)
    numbers[:, :3] *= cube * CUBES / 2
    numbers[:, 3] = np.interp(numbers[:, 3], (-1, 1), MUON_ENERGIES)
    return numbers


@cache
def centres(cube: float = CUBE) -> Vector:
    """Return the centres of the cubes (7, 7, 7, 3), mm."""
    axis = (np.arange(CUBES) - (CUBES - 1) / 2) * cube
    return np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
