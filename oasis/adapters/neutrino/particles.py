"""Particles of the release in their original files, one `.npz` each, checked as they are read."""

import logging
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.neutrino.checks import EXITS, MUONS, NUCLEI, STORED, check_energy, check_hits
from oasis.adapters.neutrino.scene import Exit, Particle, Vector
from oasis.adapters.neutrino.simulation import CUBE
from oasis.errors import DataError

logger = logging.getLogger(__name__)

LOOSE: Final = 0.5  # mm by which a start may lie outside the central cube
COLUMNS: Final = (4, 5)  # of a sparse image: x, y, z, charge and, not used, a tag
DAMAGED: Final = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class StoredParticle:
    """A particle as read from its file, in the frame of the central cube.

    Attributes:
        particle: its kinematics, and its charge (9, 9, 9).
        start: (3,) mm.
        exits: the exits of a muon from the volume of 9 cubes and from that of 7.
    """

    particle: Particle
    start: Vector
    exits: tuple[Exit, ...] = ()


def read_particle(path: Path, species: str) -> StoredParticle:
    """Read one particle.

    Raises:
        DataError: no such file, an array that is missing or contains Python objects, no hits, a particle outside
            the volume, an implausible energy, angles out of range, or a muon that stops in the volume.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return _stored(_Arrays(path, archive), species)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except DAMAGED as error:
        reason = str(error).split("\n")[0] or type(error).__name__
        reason = "Python objects are never loaded, only arrays of numbers" if "pickle" in reason else reason
        raise DataError(f"{path}: damaged, or not an archive of arrays: {reason}") from None


def kinematics_of(path: Path) -> tuple[float, float, float]:
    """Return the energy and the angles theta and phi of a particle as they are in its file."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = _Arrays(path, archive)
        return float(arrays.numbers("ke")), float(arrays.numbers("theta")), float(arrays.numbers("phi"))


@dataclass(frozen=True)
class _Arrays:
    """The arrays of a file, by name."""

    path: Path
    archive: Any

    def numbers(self, name: str, *shape: int) -> Vector:
        """Return an array of finite numbers with a given shape, where -1 means any length, () a single number."""
        if name not in self.archive.files:
            raise DataError(f"{self.path}: no array {name!r}; found {', '.join(self.archive.files)}")
        values = self.archive[name]
        if not shape and values.size == 1:
            values = values.reshape(())
        fits = len(shape) == values.ndim and all(
            wanted in (-1, found) for wanted, found in zip(shape, values.shape, strict=True)
        )
        if not fits or values.dtype.kind not in "fiub" or not np.isfinite(values).all():
            wanted = " x ".join("N" if length < 0 else str(length) for length in shape) or "one"
            raise DataError(
                f"{self.path}: {name} is an array of {values.dtype} of the shape {values.shape}, "
                f"expected {wanted} finite numbers"
            )
        return np.asarray(values, np.float64)

    def kinematics(self, limits: tuple[float, float], ending: str = "") -> tuple[float, Vector]:
        """Return the kinetic energy in MeV and the direction."""
        energy, theta, phi = (float(self.numbers(f"{name}{ending}")) for name in ("ke", "theta", "phi"))
        check_energy(self.path, f"ke{ending}", energy, limits)
        if not 0 <= theta <= 180 or not -360 <= phi <= 360:
            raise DataError(
                f"{self.path}: theta{ending} is {theta:g} and phi{ending} {phi:g}, expected 0 to 180 and 0 to 360 "
                "degrees"
            )
        polar, azimuth = np.radians([theta, phi])
        return energy, np.array([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)])

    def exit(self, ending: str) -> Exit:
        """Return the state of the muon where it leaves one of the volumes."""
        energy, direction = self.kinematics(EXITS, ending)
        return Exit(self.numbers(f"pos{ending}", 3), energy, direction)


def _stored(arrays: _Arrays, species: str) -> StoredParticle:
    energy, direction = arrays.kinematics(MUONS if species == "muon" else NUCLEI)
    start = arrays.numbers("pos_ini", 3)
    if np.abs(start).max() > CUBE / 2 + LOOSE:
        raise DataError(
            f"{arrays.path}: pos_ini is {start.round(2).tolist()} mm, expected a start in the central cube, "
            f"{-CUBE / 2:g} to {CUBE / 2:g} mm"
        )
    length = float(np.linalg.norm(arrays.numbers("pos_fin", 3) - start))
    particle = Particle(species, energy, direction, length, _charge(arrays))
    if species != "muon":
        return StoredParticle(particle, start)
    if not arrays.numbers("exit"):
        raise DataError(f"{arrays.path}: this muon does not leave the volume, as the muon of an event has to")
    return StoredParticle(particle, start, (arrays.exit("_exit"), arrays.exit("_exit_reduce")))


def _charge(arrays: _Arrays) -> NDArray[np.float32]:
    hits = arrays.numbers("sparse_image", -1, -1)
    if not len(hits):
        raise DataError(f"{arrays.path}: an empty event: sparse_image has no hits")
    if hits.shape[1] not in COLUMNS:
        raise DataError(
            f"{arrays.path}: sparse_image has shape {hits.shape}, expected (hits, 5): x, y, z, charge, tag"
        )
    charges = np.trunc(hits[:, 3])  # as in the authors' code
    image = np.zeros((STORED,) * 3, np.float32)
    image[tuple(check_hits(arrays.path, hits[:, :3], charges, 0).T)] = charges
    return image
