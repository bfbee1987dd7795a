"""Locks: one process at a time writes to a folder, and others are told which one."""

import json
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from oasis.errors import BusyError, DataError, OasisError, shown
from oasis.io.run_files import LOCK
from oasis.io.texts import read_json, write_text


class FolderLock:
    """A lock on a folder, which the operating system releases when the process ends, even if it is killed.

    The process that holds it can acquire it again.

    Args:
        folder: the folder that is written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / LOCK, timeout=0)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock during the block.

        Raises:
            BusyError: another process holds it.
            DataError: the folder cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise BusyError(
                f"{self.folder}: {self._holder()} is writing to this run: wait until it has ended, or end it"
            ) from None
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{self.folder}: cannot be written to: {reason}") from None
        try:
            if self._lock.lock_counter == 1:
                self._introduce()
            yield
        finally:
            self._lock.release()

    @property
    def _file(self) -> Path:
        return self.folder / ".holder.json"

    def _introduce(self) -> None:
        program, *arguments = sys.argv
        command = shlex.join([Path(program).name, *arguments])
        facts = {"pid": os.getpid(), "host": platform.node(), "command": command}
        write_text(self._file, json.dumps(facts) + "\n")

    def _holder(self) -> str:
        with suppress(OasisError):
            facts = read_json(self._file)
            command = shown(facts.get("command"))[1:-1]
            return f"process {facts.get('pid')} on {facts.get('host')} ({command})"
        return "another process"
