"""The successor of the public data set: archives of particles, one archive for each starting cell.

    proton_contained/3/7/2.zip, proton_exiting/3/7/2.zip, muon/3/7/2.zip

Each archive contains `.npz` files of one particle. Hits are in cubes from -4 to 4 about the starting one, whose
edge is 10.27 mm. Lengths are scaled to cubes of 10 mm, so that hits and positions agree. The exit of a muon is
that of a straight line with its mean energy loss, as in the authors' code.

Source: the later history of https://github.com/saulam/NeutrinoVertex-DL.
"""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from oasis.adapters.neutrino import physics
from oasis.adapters.neutrino.checks import EXITS, MUONS, NUCLEI, STORED, UNIT, check_energy, check_hits
from oasis.adapters.neutrino.particle_file import write_particles
from oasis.adapters.neutrino.particles import DAMAGED, LOOSE, StoredParticle
from oasis.adapters.neutrino.scene import Exit, Particle, Vector
from oasis.adapters.neutrino.simulation import CUBE, way_out
from oasis.errors import DataError

PITCH: Final = 10.27  # mm, the edge of a cube
FOLDERS: Final = {"proton": ("proton_contained", "proton_exiting"), "muon": ("muon",)}
HITS: Final = ("recon_sfg_hitposx_rel", "recon_sfg_hitposy_rel", "recon_sfg_hitposz_rel", "recon_sfg_charge")


@dataclass(frozen=True)
class _Place:
    """A particle: a file in an archive."""

    archive: Path
    name: str

    def __str__(self) -> str:
        return f"{self.archive}:{self.name}"


def is_successor(folder: Path) -> bool:
    """Return whether a folder contains the successor of the public data set."""
    return (folder / "proton_contained").is_dir() and (folder / "muon").is_dir()


def convert_successor(folder: Path, out: Path) -> int:
    """Write the particles of the successor to one file, from which `data.release` reads, and return their number.

    Exiting protons count as protons; they do not stop in the volume.

    Raises:
        DataError: an archive or a particle cannot be read, or no cell has a muon and a proton.
    """
    archives = {
        species: [{_key(path, folder / name): path for path in (folder / name).rglob("*.zip")} for name in names]
        for species, names in FOLDERS.items()
    }
    cells = sorted(set(archives["muon"][0]) & set().union(*archives["proton"]))
    if not cells:
        raise DataError(f"{folder}: no cell has archives of muons and of protons")
    tables = {
        species: {
            cell: [place for part in parts if cell in part for place in _places(part[cell])] for cell in cells
        }
        for species, parts in archives.items()
    }
    return write_particles(out, tables, read_successor)


def _key(path: Path, folder: Path) -> tuple[str, ...]:
    return path.relative_to(folder).with_suffix("").parts


def _places(archive: Path) -> list[_Place]:
    try:
        with zipfile.ZipFile(archive) as content:
            names = sorted(name for name in content.namelist() if name.endswith(".npz"))
    except DAMAGED as error:
        raise DataError(f"{archive}: not a zip archive: {error}") from None
    if len(set(names)) < len(names):
        raise DataError(f"{archive}: contains two files of one name, expected each particle once")
    return [_Place(archive, name) for name in names]


def read_successor(species: str, place: _Place) -> StoredParticle:
    """Read one particle.

    Raises:
        DataError: an array is missing or invalid, a hit or the start lies outside, or there are no hits.
    """
    try:
        with zipfile.ZipFile(place.archive) as content:
            data = content.read(place.name)
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in archive.files}
    except (KeyError, *DAMAGED) as error:
        raise DataError(f"{place}: damaged, or not an archive of arrays: {error}") from None
    energy = float(_numbers(place, arrays, "true_iniekin", 1)[0])
    check_energy(place, "true_iniekin", energy, MUONS if species == "muon" else NUCLEI)
    direction = _numbers(place, arrays, "true_inidir", 3)
    if abs(np.linalg.norm(direction) - 1) > UNIT:
        raise DataError(
            f"{place}: true_inidir has the length {np.linalg.norm(direction):.3g}, expected a unit vector"
        )
    inside, start, end = (
        _numbers(place, arrays, f"true_{name}", 3) for name in ("inipos_mod", "inipos", "endpos")
    )
    scaled = inside * CUBE / PITCH
    if np.abs(scaled).max() > CUBE / 2 + LOOSE:
        raise DataError(f"{place}: true_inipos_mod is {inside.tolist()} mm, expected a start in the central cube")
    length = float(np.linalg.norm(end - start)) * CUBE / PITCH
    particle = Particle(species, energy, direction, length, _charge(place, arrays))
    exits = () if species != "muon" else tuple(_exit(scaled, direction, energy, half) for half in (45.0, 35.0))
    for one in exits:
        check_energy(place, "at the exit, the energy", one.energy, EXITS)
    return StoredParticle(particle, scaled, exits)


def _numbers(place: _Place, arrays: Mapping[str, Any], name: str, count: int | None = None) -> Vector:
    """Return a list of finite numbers, of a given length."""
    if name not in arrays:
        raise DataError(f"{place}: no array {name!r}; found {', '.join(arrays)}")
    values = np.atleast_1d(arrays[name].squeeze())
    fits = values.ndim == 1 and values.dtype.kind in "fiub" and count in (None, len(values))
    if not fits or not np.isfinite(values).all():
        wanted = "a list of" if count is None else str(count)
        raise DataError(f"{place}: {name} has shape {arrays[name].shape}, expected {wanted} finite numbers")
    return values.astype(float)


def _charge(place: _Place, arrays: Mapping[str, Any]) -> Any:
    x, y, z, charges = (_numbers(place, arrays, name) for name in HITS)
    if not len(charges) == len(x) == len(y) == len(z) or not len(charges):
        raise DataError(
            f"{place}: {len(x)} positions and {len(charges)} charges of hits, expected as many, above 0"
        )
    cubes = check_hits(place, np.stack([x, y, z], axis=1), charges, -(STORED // 2))
    image = np.zeros((STORED,) * 3, np.float32)
    np.add.at(image, tuple(cubes.T), charges)
    return image


def _exit(start: Vector, direction: Vector, energy: float, half: float) -> Exit:
    """Return the state of a muon where a straight line leaves a volume, after its mean energy loss."""
    path = float(way_out(start[None], direction[None], half)[0])
    loss = float(physics.muon_stopping_power(energy)) * physics.DENSITY * path * PITCH / CUBE / physics.MM_PER_CM
    return Exit(start + path * direction, energy - loss, direction)
