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

import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.neutrino.checks import SAMPLE, check_unit, event_numbers
from oasis.adapters.neutrino.particle_file import ParticleFile, write_particles
from oasis.adapters.neutrino.particles import StoredParticle, kinematics_of, read_particle
from oasis.adapters.neutrino.scene import HALF, MUON_ENERGIES, SHIFT, Composition, Event, Exit, VertexScene
from oasis.adapters.neutrino.simulation import CUBE, SPECIES
from oasis.data.mixing import Placed
from oasis.data.samples import Scalar
from oasis.errors import DataError, nearest
from oasis.io.pickles import read_values

logger = logging.getLogger(__name__)

SEED: Final = 7  # of the authors' split
FOLDERS: Final = dict(zip(SPECIES, ("mu", "p", "D+", "T+"), strict=True))
ENTRIES: Final = 7  # of the tuple of a metadata file
CELLS: Final = 5  # the entry that lists particles by cell
SPLITS: Final = ("train", "val", "test")


class Release:
    """The data set in a folder.

    Args:
        folder: the folder with `dataset_p`, `metadata` and so on, or the file that `oasis convert` made of it.
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
        self._warned = False
        self._file = ParticleFile(self.folder) if self.folder.is_file() else None
        self._stored = {species: self._table(species) for species in used}
        self._tables = {
            name: {cell: list(numbers) for cell, numbers in one.items()} for name, one in self._stored.items()
        }
        self.cells = list(self._tables["proton"])
        for species, table in self._tables.items():
            if table.keys() != self._tables["proton"].keys():
                raise DataError(
                    f"{self._metadata(species)}: lists {len(table)} cells that are not the {len(self.cells)} of "
                    f"{self._metadata('proton').name}: expected metadata of one data set"
                )
        self.check_units()
        self._shuffle()
        self._held_out = self._draw_held_out()

    def _metadata(self, species: str) -> Path:
        return self.folder / "metadata" / f"dataset_{FOLDERS[species]}_metadata.pkl"

    def _table(self, species: str) -> dict[Any, list[int]]:
        if self._file is not None:
            return self._file.table(species)
        path = self._metadata(species)
        content = read_values(path)
        if (
            not isinstance(content, tuple | list)
            or len(content) != ENTRIES
            or not isinstance(content[CELLS], dict)
        ):
            raise DataError(f"{path}: expected a tuple of {ENTRIES} whose entry {CELLS} is a dict of cells")
        try:
            listed = {cell: list(numbers) for cell, numbers in content[CELLS].items()}
        except TypeError:
            raise DataError(f"{path}: expected a list of event numbers for every cell") from None
        numbers = iter(event_numbers(path, [number for one in listed.values() for number in one]))
        return {cell: [next(numbers) for _ in one] for cell, one in listed.items()}

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
        return event_numbers(path, content)

    def read(self, species: str, number: int) -> StoredParticle:
        """Read one particle; see `read_particle`.

        A muon that leaves with another energy than the model knows is warned of once.

        Raises:
            DataError: a file that cannot be read or is not such a particle.
        """
        if self._file is not None:
            return self._file.read(species, number)
        particle = read_particle(self._path(species, number), species)
        self._check_muon(particle, number)
        return particle

    def _path(self, species: str, number: int) -> Path:
        return self.folder / f"dataset_{FOLDERS[species]}" / f"event{number}.npz"

    def _check_muon(self, one: StoredParticle, number: int) -> None:
        low, high = MUON_ENERGIES
        for out in one.exits:
            if not low <= out.energy <= high and not self._warned:
                self._warned = True
                logger.warning(
                    "%s: this muon leaves with %.4g MeV, outside %g to %g MeV, to which the input of the network "
                    "is clipped; there may be more of them",
                    self._path("muon", number),
                    out.energy,
                    low,
                    high,
                )

    def check_units(self) -> None:
        """Check some protons, of which not all have small angles or energies in degrees and MeV.

        Raises:
            DataError: the angles are in radians, or the energies in GeV.
        """
        numbers = [number for cell in self.cells for number in self._tables["proton"][cell][:2]][:SAMPLE]
        if self._file is not None or len(numbers) < SAMPLE:
            return
        paths = [self._path("proton", number) for number in numbers]
        found = np.array([kinematics_of(path) for path in paths if path.is_file()]).reshape(-1, 3)
        check_unit(paths[0].parent, found[:, 0])
        angles = np.abs(found[:, 1:])
        if len(angles) == SAMPLE and angles[:, 0].max() <= np.pi and angles[:, 1].max() <= 2 * np.pi:
            raise DataError(
                f"{paths[0].parent}: theta and phi of {SAMPLE} protons are at most {angles.max():.3g}, which look "
                "like radians: convert them to degrees"
            )

    def convert(self, out: Path) -> int:
        """Write all particles to one file and return their number."""
        return write_particles(out, self._stored, self.read)


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

    def place_all(
        self, indices: Sequence[int], rngs: Sequence[np.random.Generator]
    ) -> list[tuple[list[Placed], dict[str, Scalar]]]:
        """Place the particles of several events; `cell` is the index of its cell in the tables."""
        found = zip(indices, super().place_all(indices, rngs), strict=True)
        return [(placed, {"cell": self.cells[index], **truth}) for index, (placed, truth) in found]

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
