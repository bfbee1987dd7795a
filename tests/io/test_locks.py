"""A folder is written to by one process at a time, and the second one is told which."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from oasis.errors import BusyError, DataError
from oasis.io.locks import FolderLock

HOLD = """
import sys, time
from multiprocessing import get_context
from pathlib import Path
from oasis.io.locks import FolderLock
with FolderLock(Path(sys.argv[1])).locked():
    if len(sys.argv) > 2:
        get_context("fork").Process(target=time.sleep, args=(60,)).start()
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Start processes that hold the lock of a folder."""
    started = []

    def start(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path / "run"), *arguments],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def test_a_second_comer_is_told_who_holds_it(tmp_path, holder):
    process = holder()
    lock = FolderLock(tmp_path / "run")
    with pytest.raises(BusyError) as caught, lock.locked():
        pass
    assert f"process {process.pid} on " in str(caught.value)
    assert "-c" in str(caught.value)
    assert "\n" not in str(caught.value)
    process.kill()
    process.wait()
    with lock.locked():
        pass


def test_children_of_a_killed_holder_do_not_keep_it(tmp_path, holder):
    process = holder("with a child")
    process.kill()
    process.wait()
    for _ in range(200):  # until the child, which has just begun, has let go of it
        with contextlib.suppress(BusyError), FolderLock(tmp_path / "run").locked():
            return
        time.sleep(0.1)
    pytest.fail("the child keeps the lock")


def test_whoever_has_it_can_take_it_again(tmp_path):
    lock = FolderLock(tmp_path / "new" / "run")
    with lock.locked():
        with lock.locked():
            pass
        with pytest.raises(BusyError, match=f"process {os.getpid()} on"), FolderLock(lock.folder).locked():
            pass
    with FolderLock(lock.folder).locked():
        pass


def test_it_is_released_after_an_error(tmp_path):
    lock = FolderLock(tmp_path)
    with pytest.raises(ZeroDivisionError), lock.locked():
        1 / 0  # noqa: B018
    with FolderLock(tmp_path).locked():
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 3}', "\0"])
def test_what_is_said_of_a_holder_may_be_damaged(tmp_path, text):
    with FolderLock(tmp_path).locked():
        (tmp_path / ".holder.json").write_text(text)
        with pytest.raises(BusyError, match="is writing to this run"), FolderLock(tmp_path).locked():
            pass


def test_a_folder_that_cannot_be_written_to():
    with (
        pytest.raises(DataError, match="/proc/none: cannot be written to"),
        FolderLock(Path("/proc/none")).locked(),
    ):
        pass
