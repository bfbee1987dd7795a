"""Ranks: the processes that share a training on one machine; the failure of one ends all, with one message.

They are started here rather than by Lightning, which kills the first process when another one fails.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Final

import lightning as L
import torch
from lightning.fabric.plugins import ClusterEnvironment
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import Callback

from oasis.errors import DataError, OasisError, ReportedError
from oasis.io.files import one_line
from oasis.io.interrupts import before_handlers
from oasis.processes import end_with_parent

REPORTS: Final = (
    "OASIS_RANK_REPORTS"  # variable: the folder in which a process says why it ends, and the first one
)
GRACE_SECONDS: Final = 10.0  # for a process to end after another one has
POLL_SECONDS: Final = 0.2
LOST: Final = "the connection to another process of this training is lost"
TALK: Final = ("gloo", "nccl", "connection", "peer", "socket", "store")  # words of errors of communication


class OwnSignals(Callback):
    """Keeps the handler of SIGTERM: that of Lightning waits for the other processes, which train on."""

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remember the handler before Lightning replaces it."""
        self._handler = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the handler."""
        if self._handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._handler)


@contextmanager
def all_ranks(environment: ClusterEnvironment | None, devices: int, nodes: int = 1) -> Iterator[None]:
    """Run the block in as many processes as there are devices; see `_first` and `_other`.

    Args:
        environment: how Lightning finds the other processes.
        devices: number of processes on this machine.
        nodes: number of machines; on several the processes are started by other programs.

    Raises:
        DataError: another process has failed, with its message.
        ReportedError: another process has failed and says why itself.
    """
    if devices * nodes == 1 or environment is None:
        yield
    elif REPORTS in os.environ:
        with _other():
            yield
    elif (
        nodes > 1 or not isinstance(environment, LightningEnvironment) or environment.creates_processes_externally
    ):
        with _of_a_cluster():
            yield
    else:
        with tempfile.TemporaryDirectory(prefix="oasis-") as folder, _first(environment, devices, Path(folder)):
            yield


@contextmanager
def _first(environment: LightningEnvironment, devices: int, reports: Path) -> Iterator[None]:
    """Start the other processes with the same command; they end with the block, however it ends."""
    before = dict(os.environ)
    os.environ.update(MASTER_ADDR=environment.main_address, MASTER_PORT=str(environment.main_port))
    os.environ.update(NODE_RANK="0", LOCAL_RANK="0", WORLD_SIZE=str(devices))
    stated = {**os.environ, REPORTS: f"{os.getpid()}:{reports}"}
    others: list[subprocess.Popen[bytes]] = []
    done = threading.Event()
    try:
        others += [_started({**stated, "LOCAL_RANK": str(rank)}) for rank in range(1, devices)]
        threading.Thread(target=_watch, args=(others, reports, done), name="ranks", daemon=True).start()
        with _ended_first(others, done):
            yield
        _wait(others)
    except OasisError:
        raise
    except Exception as error:
        reason = _reason(others, reports, GRACE_SECONDS if _is_talk(error) else 0)
        if reason is None:
            raise
        raise reason from error
    finally:
        done.set()
        for process in others:
            process.kill()
            process.wait()
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _ended_first(others: Sequence[subprocess.Popen[bytes]], done: threading.Event) -> Iterator[None]:
    """End the other processes before a signal raises in this one, which would wait for them while it cleans up."""
    received: list[int] = []

    def end(number: int, frame: FrameType | None) -> bool:
        received.append(number)
        done.set()
        for process in others:
            process.kill()
        return True

    with before_handlers(end):
        try:
            yield
        except Exception as error:  # from talking to processes that are gone
            if received:
                raise KeyboardInterrupt from error
            raise


@contextmanager
def _other() -> Iterator[None]:
    """Write why the block fails where the first process reads it, and end with the first process."""
    first, _, folder = os.environ[REPORTS].partition(":")
    end_with_parent(parent=int(first))
    report = Path(folder, os.environ["LOCAL_RANK"])
    try:
        yield
    except OasisError as error:
        report.write_text(str(error), encoding="utf-8")
        raise ReportedError from error
    except (KeyboardInterrupt, SystemExit) as error:
        raise ReportedError from error
    except Exception as error:
        if not _is_talk(error):
            raise
        with suppress(OSError):  # the first process has ended, and removed the folder
            report.write_text(f"{LOST} ({one_line(error)})", encoding="utf-8")
        raise ReportedError from error


@contextmanager
def _of_a_cluster() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if isinstance(error, OasisError) or not _is_talk(error):
            raise
        raise DataError(
            f"another process of this training has ended, or cannot be reached ({type(error).__name__}): see what "
            "it has printed, and continue with  oasis train --resume"
        ) from error


def _started(environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the command of this process once more; Ctrl-C does not reach it."""
    spec = sys.modules["__main__"].__spec__
    script = [os.path.abspath(sys.argv[0])] if spec is None else ["-m", spec.name]
    return subprocess.Popen([sys.executable, *script, *sys.argv[1:]], env=environment, process_group=0)


def _watch(others: Sequence[subprocess.Popen[bytes]], reports: Path, done: threading.Event) -> None:
    """End this process if another one has failed and this one waits for it in vain."""
    while not done.wait(POLL_SECONDS):
        reason = _reason(others, reports, 0)
        if reason is not None and not done.wait(GRACE_SECONDS):
            for process in others:
                process.kill()
            if str(reason):
                sys.stderr.write(f"oasis: {reason}\n")
                sys.stderr.flush()
            os._exit(2)


def _wait(others: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for processes that have nothing more to do."""
    deadline = time.monotonic() + GRACE_SECONDS
    while any(process.poll() is None for process in others) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _reason(others: Sequence[subprocess.Popen[bytes]], reports: Path, patience: float) -> OasisError | None:
    """Return the error for the first process that has failed, or None if none fails within so many seconds."""
    deadline = time.monotonic() + patience
    while not any(process.poll() for process in others):
        if time.monotonic() >= deadline:
            return None
        time.sleep(POLL_SECONDS)
    found = [_reason_of(rank, process, reports, len(others) + 1) for rank, process in enumerate(others, start=1)]
    reasons = [reason for reason in found if reason is not None]
    return min(reasons, key=lambda reason: str(reason).startswith(LOST))  # which follows from another failure


def _reason_of(rank: int, process: subprocess.Popen[bytes], reports: Path, devices: int) -> OasisError | None:
    report, code = reports / str(rank), process.poll()
    if report.exists():
        return DataError(report.read_text(encoding="utf-8"))
    if code is not None and code < 0:
        return DataError(
            f"process {rank + 1} of {devices} of this training was ended by {signal.Signals(-code).name}: is "
            "there enough memory? Continue with  oasis train --resume"
        )
    return ReportedError() if code else None


def _is_talk(error: Exception) -> bool:
    """Return whether processes could not talk to each other, as when one of them has ended."""
    if isinstance(error, torch.distributed.DistError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in TALK)
