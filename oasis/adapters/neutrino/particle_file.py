"""Particles of the release in one HDF5 file, from which events are composed as from the original tree of files.

Layout: attribute `format`; a group per species, whose particles of cell i are those from `cells[i]` to
`cells[i + 1]`; `kinematics` (k, 8): energy, direction, length and start; `exits` (k, 2, 7) of muons; and the
charges of particle j from `offsets[j]` to `offsets[j + 1]` in `cubes` and `charges`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from oasis.adapters.neutrino.checks import EXITS, MUONS, NUCLEI, STORED, UNIT, check_energy, check_unit, spread
from oasis.adapters.neutrino.particles import LOOSE, StoredParticle
from oasis.adapters.neutrino.scene import Exit, Particle
from oasis.adapters.neutrino.simulation import CUBE, SPECIES
from oasis.data.instances import offsets_of
from oasis.errors import DataError
from oasis.io.files import one_line, replace_alone
from oasis.io.hdf5 import create_hdf5, open_hdf5
from oasis.progress import watched

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT: Final = "oasis-particles-1"
VALUES: Final = 8  # energy, direction, length, start
EXPECTED: Final = "expected the folder of the release, with dataset_p, or what oasis convert makes of it"
Tables = Mapping[str, Mapping[Any, Sequence[Any]]]


def is_particle_file(path: Path) -> bool:
    """Return whether a file contains particles that `write_particles` wrote."""
    if not path.is_file() or not h5py.is_hdf5(path):
        return False
    with open_hdf5(path) as file:
        return bool(file.attrs.get("format") == FORMAT)


def write_particles(path: Path, tables: Tables, read: Callable[[str, Any], StoredParticle]) -> int:
    """Write particles to a file and return their number.

    Args:
        path: the file, which appears when it is complete.
        tables: for each species the particles of each cell, the cells in one order.
        read: returns the particle of a species by what the table has.
    """
    count = 0
    with replace_alone(path) as temporary, create_hdf5(temporary) as file:
        file.attrs["format"] = FORMAT
        for species, table in tables.items():
            names = [name for cell in table.values() for name in cell]
            if not names:
                raise DataError(f"{path}: there are no particles of the species {species} to write")
            if species != "muon":
                check_unit(
                    f"{species}s for {path}",
                    np.array([read(species, one).particle.energy for one in spread(names)]),
                )
            stored: Iterable[Any] = watched(names, f"convert {species}s", len(names), "particles")
            group = file.create_group(species)
            group["cells"] = offsets_of([len(cell) for cell in table.values()])
            _write_species(group, [_packed(read(species, name)) for name in stored])
            count += len(names)
    return count


def _packed(one: StoredParticle) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return kinematics (8,), exits (e, 7), and the lit cubes and their charges."""
    flat = one.particle.charge.ravel()
    cubes = np.flatnonzero(flat).astype(np.uint16)
    known = one.particle
    exits = [[*out.position, out.energy, *out.direction] for out in one.exits]
    numbers = np.array([known.energy, *known.direction, known.length, *one.start])
    return numbers, np.array(exits).reshape(-1, 7), cubes, flat[cubes].astype(np.float32)


def _write_species(group: h5py.Group, packed: Sequence[tuple[NDArray[Any], ...]]) -> None:
    kinematics, exits, cubes, charges = zip(*packed, strict=True)
    group["kinematics"] = np.array(kinematics)
    group["exits"] = np.array(exits)
    group["offsets"] = offsets_of([len(one) for one in cubes])
    options = {"compression": "gzip", "shuffle": True}
    group.create_dataset("cubes", data=np.concatenate(cubes), **options)
    group.create_dataset("charges", data=np.concatenate(charges), **options)


class ParticleFile:
    """Particles read from a file into memory.

    Args:
        path: a file that `write_particles` made.

    Raises:
        DataError: the file is damaged, or of another kind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not h5py.is_hdf5(path):
            raise DataError(f"{path}: not HDF5: {EXPECTED}")
        with open_hdf5(path) as file:
            try:
                if file.attrs.get("format") != FORMAT:
                    raise DataError(f"not a file of particles: {EXPECTED}")
                self._species = {name: _checked(file[name]) for name in file if name in SPECIES}
            except (DataError, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
                raise DataError(f"{path}: {one_line(error)}; convert the data set again") from None

    def table(self, species: str) -> dict[Any, list[int]]:
        """Return the numbers of the particles of each cell.

        Raises:
            DataError: the file has no such species.
        """
        if species not in self._species:
            raise DataError(f"{self.path}: contains no {species}, only {', '.join(self._species)}")
        cells = self._species[species]["cells"].tolist()
        return {place: list(range(*cells[place : place + 2])) for place in range(len(cells) - 1)}

    def read(self, species: str, number: int) -> StoredParticle:
        """Return one particle."""
        data = self._species[species]
        low, high = data["offsets"][number : number + 2].tolist()
        charge = np.zeros(STORED**3, np.float32)
        charge[data["cubes"][low:high]] = data["charges"][low:high]
        numbers = data["kinematics"][number]
        exits = tuple(Exit(one[:3], float(one[3]), one[4:]) for one in data["exits"][number])
        image = charge.reshape(STORED, STORED, STORED)
        particle = Particle(species, float(numbers[0]), numbers[1:4], float(numbers[4]), image)
        return StoredParticle(particle, numbers[5:], exits)


KINDS: Final = dict.fromkeys(("cells", "offsets", "cubes"), "iu") | dict.fromkeys(
    ("kinematics", "exits", "charges"), "f"
)


def _checked(group: h5py.Group) -> dict[str, NDArray[Any]]:
    """Return the arrays of a species, after a check that they fit together and are plausible."""
    data = {name: np.asarray(group[name][()]) for name in KINDS}
    count, lit = len(data["kinematics"]), len(data["charges"])
    exits = 2 if group.name.endswith("muon") else 0
    shapes = {"kinematics": (count, VALUES), "exits": (count, exits, 7), "offsets": (count + 1,), "cubes": (lit,)}
    for name, kinds in KINDS.items():
        if data[name].dtype.kind not in kinds or not np.isfinite(data[name]).all():
            wanted = "finite numbers" if kinds == "f" else "integers"
            raise DataError(f"{group.name}/{name}: {data[name].dtype}, expected {wanted}")
        if data[name].shape != shapes.get(name, data[name].shape):
            raise DataError(f"{group.name}/{name} has shape {data[name].shape}, expected {shapes[name]}")
    for name, last in (("cells", count), ("offsets", lit)):
        values = data[name].astype(np.int64)
        if values.ndim != 1 or not len(values) or values[0] or values[-1] != last or (np.diff(values) < 0).any():
            raise DataError(f"{group.name}/{name}: expected offsets from 0 to {last}")
    _check_cubes(group.name, data)
    _check_states(group.name, data, MUONS if exits else NUCLEI)
    return data


def _check_cubes(name: str, data: Mapping[str, NDArray[Any]]) -> None:
    cubes = data["cubes"].astype(np.int64)
    if cubes.min(initial=0) < 0 or cubes.max(initial=0) >= STORED**3:
        raise DataError(f"{name}/cubes: cubes outside the volume, expected 0 to {STORED**3 - 1}")
    offsets: NDArray[np.int64] = data["offsets"].astype(np.int64)
    owners = np.repeat(np.arange(len(offsets) - 1), offsets[1:] - offsets[:-1])
    if len(np.unique(owners * STORED**3 + cubes)) < len(cubes):
        raise DataError(f"{name}/cubes: a particle has a cube twice")
    if data["charges"].min(initial=0) < 0:
        raise DataError(f"{name}/charges: a charge of {data['charges'].min():g} p.e., expected 0 or more")


def _check_states(name: str, data: Mapping[str, NDArray[Any]], limits: tuple[float, float]) -> None:
    """Check energies, directions, lengths and starts."""
    kinematics, exits = data["kinematics"], data["exits"].reshape(-1, 7)
    for energies, where, allowed in ((kinematics[:, 0], "kinematics", limits), (exits[:, 3], "exits", EXITS)):
        for energy in (energies.min(), energies.max()) if len(energies) else ():
            check_energy(name, f"an energy in {where}", float(energy), allowed)
    if limits is NUCLEI:
        check_unit(name, kinematics[:, 0])
    lengths = np.linalg.norm(np.concatenate([kinematics[:, 1:4], exits[:, 4:]]), axis=1)
    if (np.abs(lengths - 1) > UNIT).any():
        raise DataError(f"{name}: directions that are no unit vectors")
    if kinematics[:, 4].min(initial=0) < 0 or np.abs(kinematics[:, 5:]).max(initial=0) > CUBE / 2 + LOOSE:
        raise DataError(f"{name}/kinematics: a length below 0, or a start outside the central cube")
