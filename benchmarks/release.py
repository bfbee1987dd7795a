"""Time per event of the neutrino release: from its tree of files and from the file of `oasis convert`.

    python benchmarks/release.py --cells 300

The particles are simulated and written in the format of the release, in a temporary folder.
"""

import argparse
import pickle
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from oasis.adapters.neutrino.checks import STORED
from oasis.adapters.neutrino.release import FOLDERS, Release, ReleaseScene
from oasis.adapters.neutrino.scene import CONFIGURATION_1, HALF, leave
from oasis.adapters.neutrino.simulation import CUBE, SPECIES, Detector, Tracks, simulate
from oasis.command import at_least, run_script
from oasis.data.mixing import Mixer

PER_CELL = {"proton": 15, "muon": 5}
EPOCHS = 5


def write_particle(path: Path, species: str, start: np.ndarray, rng: np.random.Generator) -> None:
    """Write one simulated particle in the format of the release."""
    direction = rng.standard_normal(3)
    direction /= np.linalg.norm(direction)
    energy = rng.uniform(300, 1000) if species == "muon" else rng.uniform(1, 60)
    tracks = Tracks(np.array([SPECIES.index(species)]), np.array([energy]), start[None], direction[None])
    charge = np.pad(simulate(tracks, Detector(), rng)[0], 1)
    hits = np.argwhere(charge)
    theta, phi = np.degrees([np.arccos(direction[2]), np.arctan2(direction[1], direction[0]) % (2 * np.pi)])
    length = min(float(tracks.length[0]), STORED * CUBE)
    values = {"ke": energy, "theta": theta, "phi": phi, "pos_ini": start, "pos_fin": start + length * direction}
    values |= {
        "exit": species == "muon",
        "sparse_image": np.column_stack([hits, charge[tuple(hits.T)], hits[:, 0]]),
    }
    for ending in ("", "_reduce") if species == "muon" else ():
        out = leave(start, direction, energy)
        values |= {f"pos_exit{ending}": out.position * (1 if ending else (HALF + CUBE) / HALF)}
        values |= {f"ke_exit{ending}": out.energy, f"theta_exit{ending}": theta, f"phi_exit{ending}": phi}
    np.savez(path, **values)


def write_release(root: Path, cells: int) -> None:
    """Write a release of so many cells."""
    rng = np.random.default_rng(0)
    (root / "metadata").mkdir()
    for species, count in PER_CELL.items():
        folder = root / f"dataset_{FOLDERS[species]}"
        folder.mkdir()
        table = {}
        for cell in range(cells):
            start = rng.uniform(-CUBE / 2, CUBE / 2, 3)
            table[(cell, 0, 0)] = list(range(cell * count, (cell + 1) * count))
            for number in table[(cell, 0, 0)]:
                write_particle(folder / f"event{number}.npz", species, start, rng)
        nothing = np.zeros(1)
        content = (nothing, nothing, nothing, nothing, nothing, table, nothing)
        (root / "metadata" / f"dataset_{FOLDERS[species]}_metadata.pkl").write_bytes(pickle.dumps(content))


def milliseconds(source: Path) -> float:
    """Return the processor time per training event."""
    scene = ReleaseScene(Release(source, CONFIGURATION_1), "train")
    mixer = Mixer(scene, len(scene), 0, "train", fixed=False)
    start = time.process_time()
    for epoch in range(EPOCHS):
        for index in range(len(mixer)):
            mixer[(epoch, index)]
    return (time.process_time() - start) / EPOCHS / len(mixer) * 1000


def main() -> None:
    """Write, convert and time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=at_least(1), default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root, file = Path(folder) / "release", Path(folder) / "particles.h5"
        root.mkdir()
        write_release(root, options.cells)
        start = time.process_time()
        count = Release(root, CONFIGURATION_1).convert(file)
        print(f"conversion: {(time.process_time() - start) / count * 1000:.2f} ms per particle")
        tree, one = milliseconds(root), milliseconds(file)
        print(f"per event: {tree:.2f} ms from the tree, {one:.2f} ms from one file, {tree / one:.1f} times faster")


if __name__ == "__main__":
    sys.exit(run_script(main))
