"""The successor of the public data set, from small archives with its names, shapes and units."""

import io
import zipfile

import numpy as np
import pytest

from oasis.adapters.converting import convert
from oasis.adapters.neutrino import NeutrinoAdapter
from oasis.adapters.neutrino.release import Release
from oasis.adapters.neutrino.scene import CONFIGURATION_1
from oasis.errors import DataError

CELLS = [(0, 0, 1), (4, 2, 9)]
COUNTS = {"proton_contained": 12, "proton_exiting": 2, "muon": 4}


def particle(kind, rng, inside):
    hits = np.unique(rng.integers(-4, 5, (15, 3)), axis=0)
    direction = rng.standard_normal(3)
    start = inside + 10.27 * rng.integers(-50, 50, 3)
    values = {f"recon_sfg_hitpos{axis}_rel": hits[:, place] for place, axis in enumerate("xyz")}
    return values | {
        "recon_sfg_charge": rng.uniform(1, 900, len(hits)),
        "true_inipos": start,
        "true_inipos_mod": inside,
        "true_endpos": start + rng.normal(0, 8, 3),
        "true_iniekin": np.array(rng.uniform(400, 900) if kind == "muon" else rng.uniform(0.4, 77)),
        "true_inidir": direction / np.linalg.norm(direction),
        "recon_exit_tag": np.array(kind != "proton_contained"),
        "particle_type": np.array(13 if kind == "muon" else 2212),
    }


def write(path, particles):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for number, values in enumerate(particles):
            content = io.BytesIO()
            np.savez(content, **values)
            archive.writestr(f"event_{number:03}.npz", content.getvalue())


@pytest.fixture
def tree(tmp_path):
    rng = np.random.default_rng(0)
    written = {}
    for cell in CELLS:
        inside = rng.uniform(-5.1, 5.1, 3)
        for kind, count in COUNTS.items():
            written[kind, cell] = [particle(kind, rng, inside) for _ in range(count)]
            write(tmp_path / "tree" / kind / str(cell[0]) / str(cell[1]) / f"{cell[2]}.zip", written[kind, cell])
    return tmp_path / "tree", written


def test_particles_are_those_of_the_archives(tree, tmp_path):
    root, written = tree
    out = tmp_path / "particles.h5"
    assert convert("neutrino", root, out) == len(CELLS) * sum(COUNTS.values())
    release = Release(out, CONFIGURATION_1)
    number = 0
    for cell in CELLS:
        for values in written["proton_contained", cell] + written["proton_exiting", cell]:
            found = release.read("proton", number)
            assert found.particle.energy == values["true_iniekin"]
            np.testing.assert_allclose(found.particle.direction, values["true_inidir"])
            np.testing.assert_allclose(found.start * 1.027, values["true_inipos_mod"])
            length = np.linalg.norm(values["true_endpos"] - values["true_inipos"])
            assert found.particle.length * 1.027 == pytest.approx(length)
            cubes = tuple(values[f"recon_sfg_hitpos{axis}_rel"] + 4 for axis in "xyz")
            np.testing.assert_allclose(found.particle.charge[cubes], values["recon_sfg_charge"], rtol=1e-6)
            assert found.particle.charge.sum() == pytest.approx(values["recon_sfg_charge"].sum(), rel=1e-5)
            number += 1
    for place, values in enumerate(written["muon", CELLS[0]]):
        for half, out_state in zip((45, 35), release.read("muon", place).exits, strict=True):
            assert np.abs(out_state.position).max() == pytest.approx(half)
            step = out_state.position - values["true_inipos_mod"] / 1.027
            np.testing.assert_allclose(step / np.linalg.norm(step), values["true_inidir"], atol=1e-9)
            loss = values["true_iniekin"] - out_state.energy  # about 2.1 MeV per cm
            assert loss == pytest.approx(0.21 * 1.027 * np.linalg.norm(step), rel=0.04)


def test_events_are_composed_from_the_file(tree, tmp_path):
    out = tmp_path / "particles.h5"
    convert("neutrino", tree[0], out)
    for split in ("train", "val", "test"):
        dataset = NeutrinoAdapter({"release": str(out)}).dataset(split)
        assert len(dataset) == len(CELLS)
        sample = dataset[1]
        np.testing.assert_allclose(sample.image, sample.target.sum(axis=0), rtol=1e-5)
        assert 1 <= sample.meta["nuclei"] <= 5


BAD = {
    "a hit outside": (
        {"recon_sfg_hitposx_rel": np.full(3, 5)},
        r"a hit in cube \(5, .* outside the volume, expected -4 to 4",
    ),
    "other counts": ({"recon_sfg_charge": np.ones(4)}, "3 positions and 4 charges"),
    "hits between cubes": (
        {"recon_sfg_hitposx_rel": np.array([0.7, 1.7, 2.7])},
        r"a hit at \(0.7, .* expected whole numbers",
    ),
    "another unit": ({"true_iniekin": 1e6}, "true_iniekin is 1e\\+06, expected a kinetic energy of 0 to 1000 MeV"),
    "a negative energy": ({"true_iniekin": -1.0}, "true_iniekin is -1, expected a kinetic energy of 0"),
    "an angle": ({"true_inidir": np.array([1.0, 2, 0])}, "has the length 2.24, expected a unit vector"),
    "a start elsewhere": ({"true_inipos_mod": np.array([9.0, 0, 0])}, "expected a start in the central cube"),
    "a missing array": ({"true_endpos": None}, "no array 'true_endpos'"),
    "a text": ({"true_iniekin": np.array("high")}, "expected 1 finite numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_particles_give_one_line(name, tmp_path):
    changes, message = BAD[name]
    good = particle("proton_contained", np.random.default_rng(1), np.zeros(3))
    good |= {key: values[:3] for key, values in good.items() if key.startswith("recon_sfg")} | changes
    root = tmp_path / "tree"
    write(root / "proton_contained/0/0/0.zip", [{key: one for key, one in good.items() if one is not None}])
    write(root / "muon/0/0/0.zip", [particle("muon", np.random.default_rng(1), np.zeros(3))])
    with pytest.raises(DataError, match=message) as caught:
        convert("neutrino", root, tmp_path / "out.h5")
    assert str(caught.value).startswith(str(root / "proton_contained/0/0/0.zip"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.h5").exists()


@pytest.mark.parametrize("energy", [0.45, 5.0, 1e6])
def test_muons_that_cannot_leave_or_are_in_another_unit_are_refused(energy, tree, tmp_path):
    root, written = tree
    write(root / "muon/0/0/1.zip", [written["muon", CELLS[0]][0] | {"true_iniekin": energy}])
    with pytest.raises(
        DataError, match=r"1.zip:.* expected a kinetic energy of 50 to 10000 MeV, not GeV"
    ) as caught:
        convert("neutrino", root, tmp_path / "out.h5")
    assert "\n" not in str(caught.value)


def test_nuclei_in_gev_are_refused(tree, tmp_path):
    root, written = tree
    for cell in CELLS:
        slow = [one | {"true_iniekin": one["true_iniekin"] / 1000} for one in written["proton_contained", cell]]
        write(root / "proton_contained" / str(cell[0]) / str(cell[1]) / f"{cell[2]}.zip", slow)
        (root / "proton_exiting" / str(cell[0]) / str(cell[1]) / f"{cell[2]}.zip").unlink()
    with pytest.raises(DataError, match=r"the energies of 16 nuclei are at most .* which look like GeV"):
        convert("neutrino", root, tmp_path / "out.h5")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_particle_that_is_twice_in_an_archive_is_refused(tree, tmp_path):
    with zipfile.ZipFile(tree[0] / "muon/0/0/1.zip", "a") as archive:
        archive.writestr("event_000.npz", archive.read("event_000.npz"))
    with pytest.raises(DataError, match=r"1.zip: contains two files of one name"):
        convert("neutrino", tree[0], tmp_path / "out.h5")


def test_archives_that_are_damaged_give_one_line(tree, tmp_path):
    root, _ = tree
    path = root / "muon/0/0/1.zip"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match=r"1.zip: not a zip archive") as caught:
        convert("neutrino", root, tmp_path / "out.h5")
    assert "\n" not in str(caught.value)
