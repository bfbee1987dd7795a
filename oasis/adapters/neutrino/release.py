"""The public data set in its original format: one particle per file, and tables of particles that start together.

    dataset_p/event{}.npz, dataset_mu/..., dataset_D+/..., dataset_T+/...
    metadata/dataset_p_metadata.pkl, ..., metadata/dataset_indices.pkl

A metadata file is a tuple of seven; its sixth entry lists the particles that start in each of many small cells of
the central cube. An event is one muon and some nuclei of one cell. The division into splits and the shifts of
validation and test events are drawn as in the authors' code, from the same generators with the same seeds, so that
the events are identical to theirs. Training events are drawn afresh in every epoch.

Source: Alonso-Monsalve et al., arXiv 2310.19695, doi 10.1038/s42005-024-01669-8; the data set, doi
10.5281/zenodo.10075198; its code, https://github.com/saulam/NeutrinoVertex-DL.
"""

import random
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.neutrino.scene import HALF, SHIFT, Composition, Event, Exit, Particle, Vector, VertexScene
from oasis.adapters.neutrino.simulation import CUBE, CUBES, SPECIES
from oasis.data.mixing import Placed
from oasis.data.samples import Scalar
from oasis.errors import DataError, nearest
from oasis.io.pickles import read_values

SEED: Final = 7  # of the authors' split
STORED: Final = CUBES + 2  # cubes along each axis of a stored image
LOOSE: Final = 0.5  # mm by which a start may lie outside the central cube
FOLDERS: Final = dict(zip(SPECIES, ("mu", "p", "D+", "T+"), strict=True))
ENTRIES: Final = 7  # of the tuple of a metadata file
CELLS: Final = 5  # the entry that lists particles by cell
SPLITS: Final = ("train", "val", "test")
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


class Release:
    """The data set in a folder.

    Args:
        folder: the folder with `dataset_p`, `metadata` and so on.
        composition: the composition of the events; only its species are read.

    Attributes:
        cells: the keys of the cells, in the order of the protons' table.

    Raises:
        DataError: metadata that are missing, have another format, or describe different cells.
    """

    def __init__(self, folder: str | Path, composition: Composition) -> None:
        self.folder = Path(folder)
        self.composition = composition
        nuclei = zip(SPECIES[1:], composition.most, strict=True)
        used = ["proton", "muon", *(species for species, most in list(nuclei)[1:] if most)]  # the authors' order
        self._tables = {species: self._table(species) for species in used}
        self.cells = list(self._tables["proton"])
        for species, table in self._tables.items():
            if table.keys() != self._tables["proton"].keys():
                raise DataError(
                    f"{self._metadata(species)}: lists {len(table)} cells that are not the {len(self.cells)} of "
                    f"{self._metadata('proton').name}: expected metadata of one data set"
                )
        self._shuffle()
        self._held_out = self._draw_held_out()

    def _metadata(self, species: str) -> Path:
        return self.folder / "metadata" / f"dataset_{FOLDERS[species]}_metadata.pkl"

    def _table(self, species: str) -> dict[Any, list[int]]:
        path = self._metadata(species)
        content = read_values(path)
        if (
            not isinstance(content, tuple | list)
            or len(content) != ENTRIES
            or not isinstance(content[CELLS], dict)
        ):
            raise DataError(f"{path}: expected a tuple of {ENTRIES} whose entry {CELLS} is a dict of cells")
        try:
            return {cell: [int(number) for number in numbers] for cell, numbers in content[CELLS].items()}
        except (TypeError, ValueError):
            raise DataError(f"{path}: expected a list of event numbers for every cell") from None

    def _shuffle(self) -> None:
        """Shuffle the particles of every cell, one species after the other, as in the authors' code."""
        shuffle = random.Random(SEED).shuffle
        for cell in self.cells:
            for table in self._tables.values():
                shuffle(table[cell])

    def _draw_held_out(self) -> NDArray[np.intp]:
        """Draw the numbers of nuclei for validation and testing (2, cells, 3), as in the authors' code."""
        draw = np.random.RandomState(SEED)
        numbers = np.zeros((2, len(self.cells), 3), np.intp)
        for column, most in enumerate(self.composition.most):
            least = self.composition.fewest if column == 0 else 0
            for split in numbers if most else ():
                split[:, column] = draw.randint(least, most + 1, len(self.cells))
        for split in numbers:
            empty = np.flatnonzero(split.sum(axis=1) == 0)
            if len(empty):
                split[empty, draw.randint(0, 3, len(empty))] = 1
        return numbers

    def candidates(self, cell: int, split: str) -> list[list[int]]:
        """Return the event numbers of a split's muons, protons, deuterons and tritons in a cell.

        The last nuclei of a cell are for testing, those before them for validation; one muon is used for each.

        Args:
            cell: its index in `cells`.
            split: `train`, `val` or `test`.
        """
        parts = []
        for column, species in enumerate(SPECIES):
            numbers = self._tables.get(species, {}).get(self.cells[cell], [])
            val, test = self._held_out[:, cell, column - 1].tolist() if column else (1, 1)
            bounds = [0, len(numbers) - val - test, len(numbers) - test, len(numbers)]
            low, high = (max(bounds[SPLITS.index(split) + end], 0) for end in (0, 1))
            parts.append(numbers[low:high])
        return parts

    def single_particles(self, species: str, configuration: int, split: str) -> list[int]:
        """Return the event numbers of a split of single particles, from `dataset_indices.pkl`.

        Args:
            species: one of `SPECIES`.
            configuration: 1, or 2 with ions.
            split: `train`, `val` or `test`.

        Raises:
            DataError: the file does not list them.
        """
        path = self.folder / "metadata" / "dataset_indices.pkl"
        content = read_values(path)
        for key in (f"indices_{FOLDERS[species].rstrip('+')}_conf{configuration}", f"{split}_indices"):
            if not isinstance(content, dict) or key not in content:
                hint = nearest(key, map(str, content)) if isinstance(content, dict) else "there is no dict"
                raise DataError(f"{path}: no entry {key!r}; {hint}")
            content = content[key]
        return [int(number) for number in content]

    def read(self, species: str, number: int) -> StoredParticle:
        """Read one particle.

        Raises:
            DataError: no such file, an array that is missing or contains Python objects, no hits, a particle
                outside the volume, or a muon that stops in it.
        """
        path = self.folder / f"dataset_{FOLDERS[species]}" / f"event{number}.npz"
        try:
            with np.load(path, allow_pickle=False) as archive:
                return _stored(_Arrays(path, archive), species)
        except FileNotFoundError:
            raise DataError(f"{path}: no such file") from None
        except DAMAGED as error:
            reason = str(error).split("\n")[0] or type(error).__name__
            reason = "Python objects are never loaded, only arrays of numbers" if "pickle" in reason else reason
            raise DataError(f"{path}: damaged, or not an archive of arrays: {reason}") from None


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

    def kinematics(self, ending: str = "") -> tuple[float, Vector]:
        """Return the kinetic energy in MeV and the direction."""
        energy, theta, phi = (float(self.numbers(f"{name}{ending}")) for name in ("ke", "theta", "phi"))
        polar, azimuth = np.radians([theta, phi])
        return energy, np.array([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)])

    def exit(self, ending: str) -> Exit:
        """Return the state of the muon where it leaves one of the volumes."""
        energy, direction = self.kinematics(ending)
        return Exit(self.numbers(f"pos{ending}", 3), energy, direction)


def _stored(arrays: _Arrays, species: str) -> StoredParticle:
    energy, direction = arrays.kinematics()
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
    hits = arrays.numbers("sparse_image", -1, -1).astype(np.int64)
    if not len(hits):
        raise DataError(f"{arrays.path}: an empty event: sparse_image has no hits")
    if hits.shape[1] < 4:
        raise DataError(f"{arrays.path}: sparse_image has {hits.shape[1]} columns, expected x, y, z, charge, tag")
    cubes, charges = hits[:, :3], hits[:, 3]
    outside = ((cubes < 0) | (cubes >= STORED)).any(axis=1)
    if outside.any():
        raise DataError(
            f"{arrays.path}: a hit in cube {tuple(cubes[outside][0].tolist())} lies outside the volume, "
            f"expected 0 to {STORED - 1} on each axis"
        )
    if charges.min() < 0:
        raise DataError(f"{arrays.path}: a charge of {charges.min()} p.e., expected 0 or more")
    image = np.zeros((STORED,) * 3, np.float32)
    image[tuple(cubes.T)] = charges
    return image


class ReleaseScene(VertexScene):
    """Events of a split, one for every cell with enough particles.

    Args:
        release: the data set.
        split: `train`, `val` or `test`.

    Raises:
        DataError: no cell has enough particles for an event.
    """

    def __init__(self, release: Release, split: str) -> None:
        super().__init__(release.composition)
        self.release = release
        self.split = split
        self.cells = [cell for cell in range(len(release.cells)) if self._makes_an_event(cell)]
        if not self.cells:
            raise DataError(f"{release.folder}: no cell has a muon and a nucleus for the split {split}")

    def __len__(self) -> int:
        return len(self.cells)

    def _makes_an_event(self, cell: int) -> bool:
        muons, *nuclei = self.release.candidates(cell, self.split)
        return bool(muons) and any(nuclei)

    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Scalar]]:
        """Place the particles of an event; `cell` is the index of its cell in the tables."""
        placed, truth = super().place(index, rng)
        return placed, {"cell": self.cells[index], **truth}

    def event(self, index: int, rng: np.random.Generator) -> Event:
        """Read the particles of an event and shift them by whole cubes."""
        cell = self.cells[index]
        chosen = self.release.candidates(cell, self.split)
        if self.split == "train":
            counts = [1, *self.composition.draw(rng, [len(numbers) for numbers in chosen[1:]])]
            drawn = (rng.permutation(len(numbers))[:count] for numbers, count in zip(chosen, counts, strict=True))
            chosen = [[numbers[place] for place in places] for numbers, places in zip(chosen, drawn, strict=True)]
            shift = rng.integers(-SHIFT, SHIFT + 1, 3)
        else:
            shift = np.random.RandomState(cell).randint(-SHIFT, SHIFT + 1, 3)  # the authors' seed
        stored = [
            self.release.read(species, number)
            for species, numbers in zip(SPECIES, chosen, strict=True)
            for number in numbers
        ]
        vertex = np.mean([one.start for one in stored], axis=0) + CUBE * shift
        x, y, z = (shift - 1).tolist()
        outer, inner = stored[0].exits
        return Event([one.particle for one in stored], vertex, shifted_exit(outer, inner, shift), (x, y, z))


def shifted_exit(outer: Exit, inner: Exit, shift: NDArray[np.integer]) -> Exit:
    """Return the exit of a muon from the volume of 7 cubes after its image has been shifted by whole cubes.

    Without a shift across the face through which it leaves, this is the inner exit. Otherwise the kinematics are
    those of the outer exit. The position is the outer exit for a shift inwards; for a shift outwards it is the
    inner exit, extrapolated backwards by the distance between the two exits. Finally the position is moved onto
    the surface.

    Args:
        outer: the exit from the volume of 9 cubes, before the shift.
        inner: the exit from the volume of 7 cubes, before the shift.
        shift: (3,) cubes.
    """
    axis = int(np.abs(outer.position).argmax())
    across = float(shift[axis] * outer.position[axis])
    position = outer.position
    if across >= 0:
        position = 2 * inner.position - outer.position if across else inner.position
    known = outer if across else inner
    position = np.clip(position + CUBE * shift, -HALF, HALF)
    return Exit(position * HALF / np.abs(position).max(), known.energy, known.direction)
