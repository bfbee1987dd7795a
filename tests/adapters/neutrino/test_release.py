"""The public data set, from small files in its format, its events against a plain rewriting of how they are made.

The files are written with the keys, shapes and kinds of values of the real ones, one particle each.
"""

import collections
import os
import pickle
import random
import shutil
from itertools import product

import h5py
import numpy as np
import pytest

from oasis.adapters.converting import convert
from oasis.adapters.neutrino import NeutrinoAdapter
from oasis.adapters.neutrino.release import Release, ReleaseScene, shifted_exit
from oasis.adapters.neutrino.scene import CONFIGURATION_1, CONFIGURATION_2, Exit
from oasis.data.mixing import Mixer
from oasis.errors import DataError

SPECIES = {"muon": "mu", "proton": "p", "deuteron": "D+", "triton": "T+"}
CELLS = [(a, b, c) for a, b, c in product((0, 7), (3, 4), (1, 49))]
PER_CELL = {"muon": 5, "proton": 14, "deuteron": 4, "triton": 4}


def stored_muon(rng, start):
    """Where a straight muon crosses the faces at 45 and 35 mm, with the kinematics there."""
    theta, phi = np.degrees(np.arccos(rng.uniform(-1, 1))), rng.uniform(0, 360)
    direction = unit(theta, phi)
    ke, entries = rng.uniform(300, 1000), {"exit": np.array(True)}
    for ending, half in (("", 45), ("_reduce", 35)):
        path = ((np.copysign(half, direction) - start) / direction).min()
        entries |= {f"pos_exit{ending}": start + path * direction, f"ke_exit{ending}": ke - 0.2 * path}
        entries |= {f"theta_exit{ending}": theta + half / 100, f"phi_exit{ending}": phi}
    return {"ke": ke, "theta": theta, "phi": phi, "pos_fin": entries["pos_exit"], **entries}


def unit(theta, phi):
    theta, phi = np.radians([theta, phi])
    return np.array([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)])


def particle(species, rng, start):
    hits = np.unique(rng.integers(0, 9, (12, 3)), axis=0)
    values = {
        "pos_ini": start,
        "sparse_image": np.column_stack([hits, rng.integers(1, 900, len(hits)), hits[:, 0]]),
    }
    values["sparse_image"] = values["sparse_image"].astype(np.float32)
    if species == "muon":
        return values | stored_muon(rng, start)
    kinematics = {"ke": rng.uniform(0, 60), "theta": rng.uniform(0, 180), "phi": rng.uniform(0, 360)}
    return values | kinematics | {"pos_fin": start + rng.normal(0, 5, 3), "exit": np.array(False)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data set of 8 cells."""
    root = tmp_path_factory.mktemp("release")
    (root / "metadata").mkdir()
    rng = np.random.default_rng(0)
    indices = {}
    for species, name in SPECIES.items():
        (root / f"dataset_{name}").mkdir()
        table, number = collections.defaultdict(list), 0
        for cell in CELLS:
            for _ in range(PER_CELL[species]):
                start = np.array(cell) * 0.2 - 5 + rng.uniform(0, 0.2, 3)
                np.savez(root / f"dataset_{name}" / f"event{number}.npz", **particle(species, rng, start))
                table[cell].append(number)
                number += 1
        edges = np.linspace(-5, 5, 51)
        numbers = rng.uniform(0, 900, 50)
        content = (numbers, rng.uniform(-5, 5, (50, 3)), numbers, numbers, numbers, table, [edges] * 3)
        (root / "metadata" / f"dataset_{name}_metadata.pkl").write_bytes(pickle.dumps(content))
        indices[f"indices_{name.rstrip('+')}_conf2"] = {
            "train_indices": np.arange(4, number),
            "test_indices": np.arange(4),
        }
    (root / "metadata" / "dataset_indices.pkl").write_bytes(pickle.dumps(indices))
    return root


def tables(root, names):
    loaded = {}
    for name in names:
        loaded[name] = pickle.loads((root / "metadata" / f"dataset_{name}_metadata.pkl").read_bytes())[5]
    return loaded


def held_out_counts(cells, configuration):
    """How many nuclei of every cell are held out, and in how many cells one had to be added, as published."""
    draw = np.random.RandomState(7)
    if configuration == 1:
        return {("p", part): draw.randint(1, 6, cells) for part in ("val", "test")}, 0
    counts, added = {}, 0
    for name, most in (("p", 4), ("D+", 1), ("T+", 1)):
        for part in ("val", "test"):
            counts[name, part] = draw.randint(0, most + 1, cells)
    for part in ("val", "test"):
        empty = sum(counts[name, part] for name in ("p", "D+", "T+")) == 0
        if empty.sum():
            extra = draw.randint(0, 3, size=(empty.sum(), 1)).flatten()
            for column, name in enumerate(("p", "D+", "T+")):
                counts[name, part][np.flatnonzero(empty)[extra == column]] += 1
            added += len(set(extra))
    return counts, added


def held_out_event(root, cell, split, configuration):
    """The muon, the nuclei and the shift of an event, in the steps of the published loader."""
    names = ["p", "mu"] if configuration == 1 else ["p", "mu", "D+", "T+"]
    table = tables(root, names)
    keys = list(table["p"])
    counts, _ = held_out_counts(len(keys), configuration)
    random.seed(7)
    for key in keys:
        for name in names:
            random.shuffle(table[name][key])
    numbers = table["mu"][keys[cell]]
    chosen = {"mu": numbers[-1:] if split == "test" else numbers[-2:-1]}
    for name in names:
        if name != "mu":
            numbers = table[name][keys[cell]]
            last = len(numbers) - counts[name, "test"][cell]
            chosen[name] = numbers[last:] if split == "test" else numbers[last - counts[name, "val"][cell] : last]
    return chosen, np.random.RandomState(cell).randint(-1, 2, 3)


def load(root, name, number):
    return dict(np.load(root / f"dataset_{name}" / f"event{number}.npz"))


def shifted(values, shift):
    """An image of 9 cubes, moved and cropped to 7."""
    image = np.zeros((9, 9, 9))
    x, y, z, charge, _ = values["sparse_image"].astype(int).T
    image[x, y, z] = charge
    moved = np.zeros((11, 11, 11))
    moved[1:-1, 1:-1, 1:-1] = image
    return np.roll(moved, shift, axis=(0, 1, 2))[2:-2, 2:-2, 2:-2]


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize(("configuration", "composition"), [(1, CONFIGURATION_1), (2, CONFIGURATION_2)])
def test_held_out_events_are_the_authors(folder, split, configuration, composition):
    scene = ReleaseScene(Release(folder, composition), split)
    mixer = Mixer(scene, len(scene), 0, split, fixed=True)
    assert len(scene) == len(CELLS)
    for cell in range(len(CELLS)):
        chosen, shift = held_out_event(folder, cell, split, configuration)
        sample = mixer[cell]
        assert sample.meta["cell"] == cell
        muon = load(folder, "mu", chosen["mu"][0])
        assert sample.meta["muon_ke"] == muon["ke"]
        np.testing.assert_array_equal(sample.target[0, 0], shifted(muon, shift))
        nuclei = [(load(folder, name, number), name) for name in chosen if name != "mu" for number in chosen[name]]
        protons = sorted((one for one, name in nuclei if name == "p"), key=lambda one: -one["ke"])
        expected = {f"proton_{rank}": one for rank, one in enumerate(protons, 1)}
        expected |= {{"D+": "deuteron", "T+": "triton"}[name]: one for one, name in nuclei if name != "p"}
        assert sample.meta["nuclei"] == len(expected) > 0
        for label, name in enumerate(scene.classes[1:], 1):
            if name not in expected:
                assert not sample.target[label].any()
                assert np.isnan(sample.meta[f"{name}_ke"])
                continue
            one = expected[name]
            np.testing.assert_array_equal(sample.target[label, 0], shifted(one, shift))
            assert sample.meta[f"{name}_ke"] == one["ke"]
            direction = [sample.meta[f"{name}_d{axis}"] for axis in "xyz"]
            assert direction == pytest.approx(unit(one["theta"], one["phi"]))
            assert sample.meta[f"{name}_length"] == pytest.approx(np.linalg.norm(one["pos_fin"] - one["pos_ini"]))
        np.testing.assert_array_equal(sample.image, sample.target.sum(axis=0))
        start = np.mean([one["pos_ini"] for one in (muon, *expected.values())], axis=0)
        vertex = [sample.meta[f"vertex_{axis}"] for axis in "xyz"]
        assert vertex == pytest.approx(start + 10 * shift)


def test_training_events_share_a_cell_and_no_particle_with_the_others(folder):
    release = Release(folder, CONFIGURATION_2)
    for cell in range(len(CELLS)):
        parts = {split: release.candidates(cell, split) for split in ("train", "val", "test")}
        for column, (species, name) in enumerate(SPECIES.items()):
            together = [number for split in parts for number in parts[split][column]]
            assert sorted(together) == tables(folder, [name])[name][CELLS[cell]]
            assert len(together) == PER_CELL[species]
    scene = ReleaseScene(release, "train")
    mixer = Mixer(scene, len(scene), 0, "train", fixed=False)
    counts, shifts = [], []
    for epoch in range(30):
        for index in range(len(scene)):
            event = scene.event(index, np.random.default_rng([epoch, index]))
            counts.append([sum(one.species == species for one in event.particles) for species in SPECIES])
            shifts.append(event.origin)
    counts = np.array(counts)
    assert (counts[:, 0] == 1).all()
    assert counts[:, 1:].sum(axis=1).min() == 1
    assert counts.max(axis=0).tolist() == [1, 4, 1, 1]
    assert np.unique(shifts).tolist() == [-2, -1, 0]
    assert not np.array_equal(mixer[(0, 1)].image, mixer[(1, 1)].image)
    assert np.array_equal(mixer[(1, 1)].image, mixer[(1, 1)].image)


def test_events_that_would_have_no_nucleus_get_the_authors_one(tmp_path):
    (tmp_path / "metadata").mkdir()
    for name in SPECIES.values():
        content = metadata({cell: list(range(20 * cell, 20 * cell + 20)) for cell in range(300)})
        (tmp_path / f"metadata/dataset_{name}_metadata.pkl").write_bytes(pickle.dumps(content))
    release = Release(tmp_path, CONFIGURATION_2)
    counts, added = held_out_counts(300, 2)
    assert added == 6, "every species is added somewhere in both splits"
    for cell, (column, name) in product(range(300), enumerate(("p", "D+", "T+"), 1)):
        for part in ("val", "test"):
            assert len(release.candidates(cell, part)[column]) == counts[name, part][cell]


def test_configuration_1_has_1_to_5_protons(folder):
    scene = ReleaseScene(Release(folder, CONFIGURATION_1), "train")
    counts = [len(scene.event(index % 8, np.random.default_rng(index)).particles) - 1 for index in range(200)]
    assert set(counts) == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("shift", list(product((-1, 0, 1), repeat=3)))
def test_a_straight_muon_leaves_where_its_line_meets_the_surface(shift):
    """A muon that crosses opposite faces: then the published rule is exact."""
    direction = np.array([0.2, -0.1, -0.97])
    direction /= np.linalg.norm(direction)
    start = np.array([1.0, 2, -3])
    outer, inner = (
        Exit(start + (-half - start[2]) / direction[2] * direction, energy, direction)
        for half, energy in ((45, 400.0), (35, 402.0))
    )
    found = shifted_exit(outer, inner, np.array(shift))
    moved = start + 10 * np.array(shift)
    assert found.position == pytest.approx(moved + (-35 - moved[2]) / direction[2] * direction)
    assert found.energy == (400 if shift[2] else 402)


def test_exits_stay_on_the_surface():
    """Where a shift would move the exit off it, it is clipped to the volume and scaled to touch its surface."""
    outer = Exit(np.array([45.0, 40, 0]), 400.0, np.array([1.0, 0, 0]))
    inner = Exit(np.array([34.0, 33, 0]), 402.0, np.array([1.0, 0, 0]))
    found = shifted_exit(outer, inner, np.array([0, 1, 0]))
    assert found.position.tolist() == [34, 35, 0]
    found = shifted_exit(outer, inner, np.array([0, -1, 0]))
    assert found.position == pytest.approx([35, 23 * 35 / 34, 0])


def test_single_particles(folder):
    release = Release(folder, CONFIGURATION_2)
    assert release.single_particles("deuteron", 2, "test") == [0, 1, 2, 3]
    assert release.single_particles("muon", 2, "train")[0] == 4
    with pytest.raises(DataError, match=r"dataset_indices.pkl: no entry 'indices_p_conf1'; did you mean"):
        release.single_particles("proton", 1, "train")
    with pytest.raises(DataError, match=r"no entry 'val_indices'; did you mean 'train_indices'"):
        release.single_particles("proton", 2, "val")


BAD = {
    "an empty event": ({"sparse_image": np.zeros((0, 5))}, "an empty event: sparse_image has no hits"),
    "a missing key": ({"ke": None}, "no array 'ke'; found exit, phi, pos_fin, pos_ini"),
    "an object array": ({"ke": np.array([{}], object)}, "Python objects are never loaded"),
    "a text": ({"theta": np.array("north")}, r"theta is an array of <U5 .* expected one finite numbers"),
    "no number": ({"phi": np.nan}, "phi is an array of float64 of the shape"),
    "another shape": ({"pos_fin": np.zeros(2)}, r"pos_fin .* shape \(2,\), expected 3 finite numbers"),
    "too few columns": ({"sparse_image": np.zeros((4, 3))}, r"has shape \(4, 3\), expected \(hits, 5\)"),
    "hits along the wrong axis": ({"sparse_image": np.ones((5, 9))}, r"has shape \(5, 9\), expected \(hits, 5\)"),
    "an energy below 0": ({"ke": -3.0}, "ke is -3, expected a kinetic energy of 0 to 1000 MeV"),
    "another unit": ({"ke": 1e30}, r"ke is 1e\+30, expected a kinetic energy of 0 to 1000 MeV"),
    "half a cube": (
        {"sparse_image": np.array([[0.5, 2, 3, 5, 0]])},
        r"a hit at \(0.5, 2, 3\), expected whole numbers",
    ),
    "an angle beyond its range": ({"theta": 200.0}, "theta is 200 and phi .*, expected 0 to 180"),
    "a hit outside": ({"sparse_image": np.array([[1, 2, 9, 5, 0]])}, r"a hit in cube \(1, 2, 9\) lies outside"),
    "a hit before it": (
        {"sparse_image": np.array([[1, -1, 3, 5, 0]])},
        r"a hit in cube \(1, -1, 3\) lies outside",
    ),
    "a negative charge": ({"sparse_image": np.array([[1, 2, 3, -5, 0]])}, "a charge of -5 p.e."),
    "a start elsewhere": ({"pos_ini": np.array([0, 15.0, 0])}, r"pos_ini is \[0.0, 15.0, 0.0\] mm, expected"),
}


def test_a_soft_proton_whose_charges_are_cut_to_none_is_one(folder, tmp_path):
    values = particle("proton", np.random.default_rng(0), np.zeros(3))
    release = Release(folder, CONFIGURATION_1)
    release.folder = tmp_path
    (tmp_path / "dataset_p").mkdir()
    np.savez(tmp_path / "dataset_p" / "event3.npz", **values | {"sparse_image": np.array([[1, 2, 3, 0.5, 0]])})
    assert not release.read("proton", 3).particle.charge.any()


@pytest.mark.parametrize("name", BAD)
def test_bad_particles_give_one_line(name, folder, tmp_path):
    changes, message = BAD[name]
    values = particle("proton", np.random.default_rng(0), np.zeros(3)) | changes
    release = Release(folder, CONFIGURATION_1)
    release.folder = tmp_path
    (tmp_path / "dataset_p").mkdir()
    path = tmp_path / "dataset_p" / "event3.npz"
    values = {key: value for key, value in sorted(values.items()) if value is not None}
    np.savez(path, **values)
    with pytest.raises(DataError, match=message) as caught:
        release.read("proton", 3)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_muons_that_stop_and_broken_files_give_one_line(folder, tmp_path):
    release = Release(folder, CONFIGURATION_1)
    release.folder = tmp_path
    (tmp_path / "dataset_mu").mkdir()
    path = tmp_path / "dataset_mu" / "event0.npz"
    with pytest.raises(DataError, match=r"event0.npz: no such file"):
        release.read("muon", 0)
    np.savez(path, **particle("muon", np.random.default_rng(0), np.zeros(3)) | {"exit": False})
    with pytest.raises(DataError, match="this muon does not leave the volume"):
        release.read("muon", 0)
    for data in (path.read_bytes()[:400], b"", b"hello"):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"event0.npz: damaged, or not an archive") as caught:
            release.read("muon", 0)
        assert "\n" not in str(caught.value)


class Attack:
    def __reduce__(self):
        return os.system, ("true",)


def metadata(table):
    return (np.ones(3), np.ones((3, 3)), *[np.ones(3)] * 3, table, [np.ones(3)] * 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (metadata({(9, 9, 9): [1]}), "lists 1 cells that are not the 8 of dataset_p_metadata.pkl"),
        (metadata({cell: [1] for cell in CELLS})[:5], "expected a tuple of 7 whose entry 5 is a dict"),
        (metadata([1, 2]), "expected a tuple of 7 whose entry 5 is a dict"),
        (metadata(dict.fromkeys(CELLS, 3)), "expected a list of event numbers for every cell"),
        (metadata({cell: [1.5] for cell in CELLS}), "the event number 1.5, expected whole numbers from 0"),
        (metadata({cell: [-1] for cell in CELLS}), "the event number -1, expected whole numbers from 0"),
        (metadata({cell: [7] for cell in CELLS}), "the event number 7 occurs 8 times, expected once"),
        (metadata({cell: ["7"] for cell in CELLS}), "expected lists of event numbers"),
        (metadata(Attack()), r"refused the global '\w+\.system'"),
    ],
)
def test_bad_metadata_give_one_line(folder, tmp_path, content, message):
    (tmp_path / "metadata").mkdir()
    for name in ("p", "mu"):
        path = f"metadata/dataset_{name}_metadata.pkl"
        (tmp_path / path).write_bytes((folder / path).read_bytes())
    (tmp_path / path).write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        Release(tmp_path, CONFIGURATION_1)
    assert f"{tmp_path / path}: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_species_that_are_missing_are_named(folder, tmp_path):
    (tmp_path / "metadata").mkdir()
    for name in ("p", "mu"):
        path = f"metadata/dataset_{name}_metadata.pkl"
        (tmp_path / path).write_bytes((folder / path).read_bytes())
    Release(tmp_path, CONFIGURATION_1)
    with pytest.raises(DataError, match=r"dataset_D\+_metadata.pkl: no such file"):
        Release(tmp_path, CONFIGURATION_2)


def test_cells_without_enough_particles_are_left_out(folder, tmp_path):
    (tmp_path / "metadata").mkdir()
    for name in ("p", "mu"):
        content = pickle.loads((folder / f"metadata/dataset_{name}_metadata.pkl").read_bytes())
        content[5][CELLS[2]] = content[5][CELLS[2]][:0] if name == "mu" else content[5][CELLS[2]]
        (tmp_path / f"metadata/dataset_{name}_metadata.pkl").write_bytes(pickle.dumps(content))
    release = Release(tmp_path, CONFIGURATION_1)
    assert ReleaseScene(release, "test").cells == [0, 1, 3, 4, 5, 6, 7]
    for cell in CELLS:
        release._tables["muon"][cell] = []
    with pytest.raises(DataError, match="no cell has a muon and a nucleus for the split val"):
        ReleaseScene(release, "val")


def test_a_converted_file_gives_the_same_events(folder, tmp_path):
    for composition in (CONFIGURATION_1, CONFIGURATION_2):
        out = tmp_path / "particles.h5"
        count = Release(folder, composition).convert(out)
        species = 2 if composition is CONFIGURATION_1 else 4
        assert count == len(CELLS) * sum(list(PER_CELL.values())[:species])
        for split in ("train", "val", "test"):
            scenes = [ReleaseScene(Release(source, composition), split) for source in (folder, out)]
            tree, file = (Mixer(scene, len(scene), 3, split, fixed=split != "train") for scene in scenes)
            assert len(tree) == len(file)
            for index in range(len(tree)):
                for epoch in (0, 1):
                    one, other = tree[(epoch, index)], file[(epoch, index)]
                    np.testing.assert_array_equal(one.image, other.image)
                    np.testing.assert_array_equal(one.target, other.target)
                    assert one.meta.keys() == other.meta.keys()
                    np.testing.assert_array_equal(one.context, other.context)
                    for name, value in one.meta.items():
                        assert value == other.meta[name] or (
                            value != value and other.meta[name] != other.meta[name]
                        )


def test_the_command_converts_and_trains_from_the_file(folder, tmp_path):
    out = tmp_path / "particles.h5"
    assert convert("neutrino", folder, out) == len(CELLS) * (PER_CELL["proton"] + PER_CELL["muon"])
    trained = NeutrinoAdapter({"release": str(out)}).dataset("val")
    original = NeutrinoAdapter({"release": str(folder)}).dataset("val")
    np.testing.assert_array_equal(trained[3].image, original[3].image)
    with pytest.raises(DataError, match="expected the folder with dataset_p"):
        convert("neutrino", folder / "metadata" / "dataset_p_metadata.pkl", tmp_path / "no.h5")


@pytest.mark.parametrize("name", ["cells", "offsets", "kinematics", "cubes"])
def test_a_damaged_file_of_particles_gives_one_line(folder, tmp_path, name):
    out = tmp_path / "particles.h5"
    Release(folder, CONFIGURATION_1).convert(out)
    with h5py.File(out, "r+") as file:
        values = file["proton"][name][()]
        del file["proton"][name]
        file["proton"][name] = values[:-1]
    with pytest.raises(DataError, match="proton") as caught:
        Release(out, CONFIGURATION_1)
    assert str(caught.value).startswith(str(out))
    assert "\n" not in str(caught.value)


DAMAGE = {
    "NaN": ("kinematics", lambda values: values * np.nan, "kinematics: float64, expected finite numbers"),
    "text": ("kinematics", lambda values: values.astype("S8"), "kinematics: .*, expected finite numbers"),
    "another unit": ("kinematics", lambda values: values * [1e30, *[1] * 7], "an energy in kinematics is"),
    "GeV": ("kinematics", lambda values: values * [1e-3, *[1] * 7], "look like GeV"),
    "directions": ("kinematics", lambda values: values * [1, 2, 2, 2, *[1] * 4], "no unit vectors"),
    "charges below 0": ("charges", lambda values: -values, "a charge of -.* p.e., expected 0 or more"),
    "cubes below 0": ("cubes", lambda values: values.astype(int) - 500, "cubes outside the volume"),
    "cubes twice": ("cubes", lambda values: 0 * values, "a particle has a cube twice"),
    "fractional cubes": ("cubes", lambda values: values + 0.5, "cubes: float.*, expected integers"),
    "fractional offsets": ("offsets", lambda values: values.astype(float), "offsets: float64, expected integers"),
    "fractional cells": ("cells", lambda values: values.astype(float), "cells: float64, expected integers"),
    "text as cells": ("cells", lambda values: values.astype("S8"), "cells: .*, expected integers"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_implausible_values_in_a_file_of_particles_give_one_line(folder, tmp_path, name):
    array, change, message = DAMAGE[name]
    out = tmp_path / "particles.h5"
    Release(folder, CONFIGURATION_1).convert(out)
    with h5py.File(out, "r+") as file:
        values = file["proton"][array][()]
        del file["proton"][array]
        file["proton"][array] = change(values)
    with pytest.raises(DataError, match=message) as caught:
        Release(out, CONFIGURATION_1)
    assert str(caught.value).startswith(f"{out}: /proton")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["text", "other HDF5"])
def test_a_file_of_another_kind_tells_what_is_expected(tmp_path, kind):
    path = tmp_path / "o1.fits"
    if kind == "text":
        path.write_bytes(b"SIMPLE  =                    T")
    else:
        h5py.File(path, "w").close()
    with pytest.raises(
        DataError, match=r"expected the folder of the release, .* or what oasis convert makes"
    ) as caught:
        Release(path, CONFIGURATION_1)
    assert str(caught.value).startswith(f"{path}: not ")
    assert "\n" not in str(caught.value)


def test_angles_in_radians_are_refused(folder, tmp_path):
    root = shutil.copytree(folder, tmp_path / "radians")
    for path in (root / "dataset_p").glob("*.npz"):
        values = dict(np.load(path))
        values |= {name: np.radians(values[name]) for name in ("theta", "phi")}
        np.savez(path, **values)
    with pytest.raises(DataError, match=r"dataset_p: theta and phi of 16 protons .* look like radians"):
        Release(root, CONFIGURATION_1)


def test_energies_in_gev_are_refused(folder, tmp_path):
    root = shutil.copytree(folder, tmp_path / "gev")
    for path in (root / "dataset_p").glob("*.npz"):
        values = dict(np.load(path))
        np.savez(path, **values | {"ke": values["ke"] / 1000})
    with pytest.raises(DataError, match=r"dataset_p: the energies of 16 nuclei .* look like GeV"):
        Release(root, CONFIGURATION_1)


def test_muons_outside_the_range_of_the_input_are_warned_of(folder, tmp_path, caplog):
    release = Release(folder, CONFIGURATION_1)
    release.folder = tmp_path
    (tmp_path / "dataset_mu").mkdir()
    values = particle("muon", np.random.default_rng(0), np.zeros(3))
    np.savez(tmp_path / "dataset_mu" / "event0.npz", **values)
    release.read("muon", 0)
    assert not caplog.records
    np.savez(tmp_path / "dataset_mu" / "event0.npz", **values | {"ke_exit": 1500.0})
    for _ in range(2):
        release.read("muon", 0)
    assert [one.getMessage().split("this muon ")[1] for one in caplog.records] == [
        "leaves with 1500 MeV, outside 300 to 1000 MeV, to which the input of the network is clipped; there "
        "may be more of them"
    ]
