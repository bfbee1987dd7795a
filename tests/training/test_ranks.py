"""Trainings in several processes: where one fails, all end, with one line that says why."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

TOY = Path(__file__).parents[1] / "toy_adapter.py"
FAILING = """

class Failing(ToyAdapter):
    def dataset(self, split):
        import os
        from oasis.errors import DataError
        if split == "train" and os.environ.get("LOCAL_RANK") == "1":
            DotsAndBars.place = lambda *_: (_ for _ in ()).throw(DataError("mine.h5: sample 3: has no target"))
        return super().dataset(split)
"""


@pytest.fixture
def begin(tmp_path, toy_values):
    """Start a training in two processes."""

    def begin(training, **changes):
        training = {"accelerator": "cpu", "devices": 2, **training}
        values = {**toy_values, "run": str(tmp_path / "run"), "training": training, **changes}
        (tmp_path / "two.yaml").write_text(yaml.safe_dump(values))
        command = [sys.executable, "-m", "oasis", "train", str(tmp_path / "two.yaml"), "--quiet"]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, process_group=0)

    return begin


def only_line(process, deadline):
    """Return the line with which a command ends, if any."""
    errors = process.communicate(timeout=deadline)[1]
    assert "Traceback" not in errors, errors
    said = [line for line in errors.splitlines() if line.startswith(("oasis: ", "interrupted"))]
    assert len(said) <= 1, errors
    return "".join(said)


def test_what_is_wrong_in_another_process_is_said_once(tmp_path, begin, processes):
    path = tmp_path / "failing.py"
    path.write_text(TOY.read_text() + FAILING)
    process = begin({"epochs": 1}, adapter=f"{path}:Failing")
    assert only_line(process, processes.DEADLINE) == "oasis: mine.h5: sample 3: has no target"
    assert process.returncode == 2


@pytest.mark.parametrize(
    ("first", "number", "code", "says"),
    [
        (False, signal.SIGKILL, 2, "oasis: process 2 of 2 of this training was ended by SIGKILL"),
        (True, signal.SIGKILL, -signal.SIGKILL, ""),
        (True, signal.SIGTERM, 143, "interrupted; all files are intact"),
    ],
    ids=["other killed", "first killed", "first asked to end"],
)
def test_where_one_process_ends_all_end(tmp_path, begin, processes, first, number, code, says):
    process = begin({"epochs": 500, "patience": 500})
    last = tmp_path / "run/checkpoints/last.ckpt"
    processes.wait_for(lambda: last.exists() or process.poll() is not None)
    (other,) = (pid for pid in processes.descendants(process.pid) if processes.alive(pid))
    os.kill(process.pid if first else other, number)
    line = only_line(process, processes.DEADLINE)
    assert line.startswith(says)
    assert bool(line) == bool(says)
    assert process.returncode == code
    processes.wait_for(lambda: not processes.alive(other))
