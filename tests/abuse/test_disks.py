"""Disks that fill and files that must not grow: one line, no broken output, and the same command works later."""

import subprocess

import numpy as np
import pytest
from conftest import LONG

COMMANDS = {
    "train": ["train", "waves.yaml", "--run", "out/new"],
    "resume": ["train", "--resume", "run", "--set", "training.epochs=3"],
    "evaluate": ["evaluate", "run"],
    "calibrate": ["calibrate", "run"],
    "report": ["report", "run", "--out", "out/page.html"],
    "predict": ["predict", "run", "many.npy", "--out", "out/maps.h5"],
    "predict to npz": ["predict", "run", "many.npy", "--out", "out/maps.npz"],
    "simulate": ["simulate", "waves.yaml", "--out", "out/samples.h5", "--set", "data.events.test=300"],
    "ablate": ["ablate", "study.yaml", "--run", "out/study"],
}
LIMITS = (0, 1, 2_000, 30_000, 100_000, 1_000_000) if LONG else (2_000,)


def is_written(name):
    return name.startswith(("run/", "out/"))


@pytest.fixture
def full(world):
    """A world with a long stack of waveforms and a folder for outputs."""
    np.save(world / "many.npy", np.random.default_rng(0).normal(5, 1, (3000, 64)).astype(np.float32))
    (world / "out").mkdir()
    return world


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("name", COMMANDS)
def test_files_that_must_not_grow_end_a_command_in_one_line(full, name, limit):
    lines = None if name == "ablate" else 1
    ended = full.survives(
        *COMMANDS[name], "--quiet", new=is_written, partly=is_written, lines=lines, file_size=limit
    )
    assert limit > 2_000 or ended.code == 2, ended
    check_whole(full, name)


@pytest.mark.parametrize(("name", "limit"), [("maps.ome.tif", 2_000), ("maps.zarr", 250)])
def test_the_output_is_named_when_what_it_is_made_of_must_not_grow(full, name, limit):
    command = ["predict", "run", "frames/a.npy", "--out", f"out/{name}", "--quiet"]
    ended = full.survives(*command, partly=is_written, file_size=limit)
    assert ended.code == 2, ended
    assert ended.said == [f"oasis: out/{name}: cannot be written: File too large"]


@pytest.fixture
def disk(full):
    """A world whose folder of outputs is a disk of 64 KiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(full / "out")]
    tried = subprocess.run(mount, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {tried.stderr.strip()}")
    yield full
    subprocess.run(["umount", str(full / "out")], check=True)


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if "out/" in " ".join(command)])
def test_a_disk_that_is_full_ends_a_command_in_one_line(disk, name):
    ended = disk.survives(
        *COMMANDS[name], "--quiet", new=is_written, partly=is_written, lines=None if name == "ablate" else 1
    )
    assert ended.code == 2, ended
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk / "out")], check=True)
    check_whole(disk, name)


def check_whole(world, name):
    """Check that what an earlier attempt has left does not keep the same command from its end."""
    command = COMMANDS[name]
    if name == "train" and (world / "out/new/checkpoints/last.ckpt").exists():
        command = ["train", "--resume", "out/new"]
    ended = world.run(*command, "--quiet", seconds=120)
    assert ended.code == 0, ended
    assert world.run("info", "run").code == 0
