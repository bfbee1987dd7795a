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

from oasis.adapters.neutrino.checks import STORED, check_unit, spread
from oasis.adapters.neutrino.particles import StoredParticle
from oasis.adapters.neutrino.scene import Exit, Particle
from oasis.adapters.neutrino.simulation import SPECIES
from oasis.data.instances import offsets_of
from oasis.errors import DataError
from oasis.io.files import one_line, replace_when_whole
from oasis.io.hdf5 import create_hdf5, open_hdf5
from oasis.progress import watched

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT: Final = "oasis-particles-1"
VALUES: Final = 8  # energy, direction, length, start
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
    with replace_when_whole(path) as temporary, create_hdf5(temporary) as file:
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
        with open_hdf5(path) as file:
            try:
                if file.attrs.get("format") != FORMAT:
                    raise DataError("not a file of particles as oasis convert writes them")
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


def _checked(group: h5py.Group) -> dict[str, NDArray[Any]]:
    """Return the arrays of a species, after a check that they fit together."""
    names = ("cells", "kinematics", "exits", "offsets", "cubes", "charges")
    data = {name: np.asarray(group[name][()]) for name in names}
    count, lit = len(data["kinematics"]), len(data["charges"])
    exits = 2 if group.name.endswith("muon") else 0
    shapes = {"kinematics": (count, VALUES), "exits": (count, exits, 7), "offsets": (count + 1,), "cubes": (lit,)}
    for name, shape in shapes.items():
        if data[name].shape != shape:
            raise DataError(f"{group.name}/{name} has shape {data[name].shape}, expected {shape}")
    for name, last in (("cells", count), ("offsets", lit)):
        values = data[name]
        if not len(values) or values[0] != 0 or values[-1] != last or (np.diff(values) < 0).any():
            raise DataError(f"{group.name}/{name}: expected offsets from 0 to {last}")
    if data["cubes"].max(initial=0) >= STORED**3 or not np.isfinite(data["charges"]).all():
        raise DataError(f"{group.name}: cubes outside the volume, or charges that are not finite")
    return data
