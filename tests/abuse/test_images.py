"""Images that cannot be used: each is named in one line, and costs neither the others nor the run."""

import os

import h5py
import numpy as np
import pytest
from broken import IMAGES, ODD_NAMES, WAVES, damages, npy, npz, place_oddities
from conftest import LONG

from oasis.io.files import readable

NOBODY = 65534


def is_output(name):
    return name in ("maps.h5", "maps.csv")


def test_bad_files_of_a_folder_are_all_named_by_their_reason_and_the_rest_is_separated(world):
    folder = world / "frames"
    bad = place_oddities(folder) | set(IMAGES)
    for name, content in IMAGES.items():
        (folder / name).write_bytes(content)
    before = world.contents()
    ended = world.run("predict", "run", "frames", "--out", "maps.h5", "--quiet")
    world.check(ended, before, is_output)
    assert ended.code == 2
    assert 1 < len(ended.refusals) <= len(bad), ended.err
    assert not [name for name in bad if name not in ended.err], ended.err
    with h5py.File(world / "maps.h5") as file:
        assert len(file["frame"]) == 15
    assert not (world / "trapped").exists()


@pytest.mark.parametrize("name", IMAGES if LONG else sorted(IMAGES)[::5])
def test_a_bad_file_alone_is_refused(world, name):
    (world / name).write_bytes(IMAGES[name])
    world.refused("predict", "run", name, "--out", "maps.h5", says=[name])


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".csv"])
def test_damaged_files_are_refused_or_read_as_what_they_hold(world, suffix):
    good = {".npz": npz(image=npy(WAVES)), ".csv": b"\n".join(b",".join(b"%f" % v for v in row) for row in WAVES)}
    content = good.get(suffix) or (world / f"frames/{'a.npy' if suffix == '.npy' else 'c.h5'}").read_bytes()
    (world / "damaged").mkdir()
    for kind, damaged in damages(content).items():
        (world / f"damaged/{kind}{suffix}").write_bytes(damaged)
    ended = world.survives(
        "predict", "run", "damaged", "--out", "maps.h5", "--quiet", new=is_output, partly=is_output, lines=None
    )
    assert all(line.startswith("oasis: damaged/") for line in ended.refusals)
    assert not (world / "trapped").exists()


def test_names_that_a_file_system_allows_are_read(world):
    folder = world / "odd"
    folder.mkdir()
    for name in ODD_NAMES:
        (folder / name).write_bytes(npy(WAVES))
    ended = world.survives("predict", "run", "odd", "--out", "maps.h5", "--quiet", new=is_output)
    assert ended.code == 0
    with h5py.File(world / "maps.h5") as file:
        assert set(file["source"].asstr()[:]) == {readable(f"odd/{name}") for name in ODD_NAMES}
    assert not (world / "trapped").exists()
    for name in ODD_NAMES:
        (folder / name).write_bytes(b"")
        world.refused("predict", "run", os.fsencode(f"odd/{name}"), "--out", "other.h5", "--quiet")


def test_hidden_files_of_a_folder_are_no_images(world):
    for name in (".a.npy", "._a.npy", ".h5"):
        (world / f"frames/{name}").write_bytes(b"resource fork")
    ended = world.survives("predict", "run", "frames", "--out", "maps.h5", "--quiet", new=is_output)
    assert ended.code == 0


@pytest.mark.parametrize(
    "source", ["n" * 300 + ".npy", "frames/" + "a/" * 2100, "nowhere", "", "pipe.npy", "loop"]
)
def test_paths_that_lead_nowhere_are_refused(world, source):
    os.mkfifo(world / "pipe.npy")
    (world / "loop").symlink_to("loop")
    world.refused("predict", "run", source, "--out", "maps.h5")
    world.refused("predict", "run", "frames/a.npy", "--dark", source, "--out", "maps.h5")
    world.refused("predict", source, "frames/a.npy", "--out", "maps.h5")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_folders_and_files_of_others_are_refused(world):
    world.path.chmod(0o777)
    (world / "secret").mkdir()
    np.save(world / "secret/a.npy", WAVES)
    (world / "secret").chmod(0o700)
    (world / "frames/b.csv").chmod(0o600)
    for source in ("secret", "secret/a.npy", "frames/b.csv"):
        world.refused("predict", "run", source, "--out", "maps.h5", user=NOBODY)
    ended = world.survives(
        "predict", "run", "frames", "--out", "maps.h5", "--quiet", user=NOBODY, partly=is_output
    )
    assert "frames/b.csv" in ended.err
    with h5py.File(world / "maps.h5") as file:
        assert len(file["frame"]) == 10


def test_bad_frames_of_a_stack_are_named_by_their_number_and_the_rest_goes_on(world):
    waves = np.random.default_rng(0).normal(5, 1, (20, 64)).astype(np.float32)
    waves[3, 7] = np.nan
    waves[17] = np.inf
    waves[5] = 0
    np.save(world / "stack.npy", waves)
    ended = world.survives("predict", "run", "stack.npy", "--out", "maps.h5", "--quiet", partly=is_output)
    assert ended.code == 2
    assert "frame 3" in ended.err
    assert "17" in ended.err
    with h5py.File(world / "maps.h5") as file:
        frames = file["frame"][:].tolist()
        assert frames == [number for number in range(20) if number not in (3, 17)]
        assert not any(file[f"maps/{name}"][frames.index(5)].any() for name in file["maps"])
