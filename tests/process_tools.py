"""What tests need to know of processes, from Linux's /proc."""

import os
import subprocess
import sys
import time
from pathlib import Path

DEADLINE = 600.0  # seconds, many times what is needed, for a process that hangs


def alive(pid):
    """Whether a process runs; one that has ended and is not yet collected does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "in vain"
        time.sleep(0.05)


def descendants(pid):
    """Return the processes that a process started, and those that they started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [found for child in map(int, children) for found in (child, *descendants(child))]


KILLED = """
import os, signal
from oasis.run import Run
from oasis.training.journal import RunFolder
write = RunFolder._write
def die(self, row):
    write(self, row)
    if row["epoch"] == {epoch}:
        os.kill(os.getpid(), signal.SIGKILL)
RunFolder._write = die
Run.from_config({path!r}).train()
"""


def train_and_kill(path, epoch):
    """Train what a YAML file describes, killed when an epoch is logged; return the process."""
    code = KILLED.format(path=str(path), epoch=epoch)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", code], env=environment, check=False, capture_output=True)
