"""A folder with a trained run and inputs of all kinds, and a check of what a command has made of it."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from filelock import FileLock
from forked import Ended, Server

PATIENCE = 3600.0  # seconds, many times what a command needs that must succeed, on a busy machine
LONG = os.environ.get("OASIS_ABUSE") == "long"

CONFIGURATION = {
    "adapter": "waveform",
    "run": "run",
    "data": {"samples": 64, "sampling_ns": 16, "events": {"train": 16, "val": 120, "test": 12}},
    "model": {"base_channels": 4, "depth": 2},
    "training": {"epochs": 2, "batch_size": 8, "workers": 0, "precision": "float32"},
}


@pytest.fixture(scope="session")
def trained(server, tmp_path_factory) -> Path:
    """The folder that every test gets a copy of; processes that share the tests share it."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    with FileLock(root / "trained.lock"):
        if not (root / "trained").exists():
            shutil.rmtree(root / "begun", ignore_errors=True)
            _train(server, root / "begun")
            (root / "begun").rename(root / "trained")
    return root / "trained"


def _train(server: Server, folder: Path) -> None:
    """Fill a folder with inputs, and with runs that are trained, calibrated, evaluated and reported."""
    (folder / "frames").mkdir(parents=True)
    (folder / "waves.yaml").write_text(yaml.safe_dump(CONFIGURATION))
    study = {"base": "waves.yaml", "run": "study", "grid": {"seed": [0, 1]}}
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    waves = np.random.default_rng(0).normal(5, 1, (5, 64)).astype(np.float32)
    np.save(folder / "frames" / "a.npy", waves)
    np.savetxt(folder / "frames" / "b.csv", waves, delimiter=",")
    with h5py.File(folder / "frames" / "c.h5", "w") as file:
        file["image"] = waves
    for command in (
        ["train", "waves.yaml"],
        ["calibrate", "run"],
        ["evaluate", "run"],
        ["simulate", "run", "--out", "test.h5"],
        ["report", "run"],
    ):
        ended = server.run(*command, cwd=folder, seconds=PATIENCE)
        assert ended.code == 0, ended
    shutil.copytree(folder / "run", folder / "other")


class World:
    """A folder with a run, inputs and a configuration, in which commands are tried.

    Attributes:
        path: of the folder.
    """

    def __init__(self, path: Path, server: Server) -> None:
        self.path, self.server = path, server

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def contents(self) -> dict[str, str]:
        """Return a hash of every file in the folder, and the aim of every link."""
        return contents(self.path)

    def run(self, *arguments: object, **limits: Any) -> Ended:
        """Run a command in the folder."""
        return self.server.run(*arguments, cwd=self.path, **limits)

    def refused(self, *arguments: object, code: int = 2, says: Iterable[str] = (), **limits: Any) -> str:
        """Run a command that must end with one line and change nothing, and return the line."""
        before = self.contents()
        ended = self.run(*arguments, **limits)
        self.check(ended, before)
        assert ended.code == code, ended
        (line,) = ended.said
        assert line.startswith("oasis: "), ended
        assert all(word in line for word in says), f"expected {says} in {line}"
        return line

    def survives(
        self,
        *arguments: object,
        new: Callable[[str], bool] = lambda name: False,
        partly: Callable[[str], bool] = lambda name: False,
        lines: int | None = 1,
        **limits: Any,
    ) -> Ended:
        """Run a command that may succeed or refuse, and must neither break nor change what was there.

        Args:
            arguments: of the command.
            new: whether a file, by name, may be added or changed if the command succeeds.
            partly: the same if it refuses.
            lines: that a refusal prints; None for any number.
            limits: of the process.
        """
        before = self.contents()
        ended = self.run(*arguments, **limits)
        assert ended.code in (0, 2), ended
        self.check(ended, before, partly if ended.code else new)
        expected = len(ended.refusals) if lines is None else lines
        assert len(ended.refusals) == (expected if ended.code else 0), ended
        assert ended.refusals or not ended.code, ended
        return ended

    def check(self, ended: Ended, before: dict[str, str], new: Callable[[str], bool] = lambda name: False) -> None:
        """Check that no traceback was printed, and nothing changed, left over or added but what is `new`."""
        assert "Traceback" not in ended.err + ended.out, ended
        assert not ended.alive, "processes were left behind"
        after = self.contents()
        changed = {name for name, content in before.items() if after.get(name) != content and not new(name)}
        assert not changed, f"changed: {sorted(changed)}\n{ended}"
        assert not [name for name in after if name.endswith(".part")], f"left over: {sorted(after)}"
        added = {name for name in set(after) - set(before) if not new(name)}
        assert not added, f"added: {sorted(added)}\n{ended}"


def contents(folder: Path) -> dict[str, str]:
    """Return a hash of every file below a folder, and the aim of every link."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name in (".lock", ".holder.json"):  # who has used a run, which every command notes
            continue
        name = os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.sha1(path.read_bytes()).hexdigest()
    return found


@pytest.fixture
def world(trained, server, tmp_path) -> World:
    """A copy of the trained folder."""
    path = tmp_path / "world"
    shutil.copytree(trained, path, symlinks=True)
    path.chmod(0o755)
    return World(path, server)
