"""Commands run in children that are forked from one process which has imported everything, each in milliseconds.

Run as a script it is that process: it reads requests, a JSON object a line, and answers each with one.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MEMORY = 12 * 2**30  # bytes of address space
SECONDS = 60.0


@dataclass(frozen=True)
class Ended:
    """A command that has ended; its exit code is negative where a signal ended it."""

    code: int
    out: str
    err: str
    alive: bool
    """Whether it left processes behind."""

    @property
    def said(self) -> list[str]:
        """The lines on standard error."""
        return [line for line in self.err.splitlines() if line.strip()]

    @property
    def refusals(self) -> list[str]:
        """The lines on standard error that say what cannot be used."""
        return [line for line in self.said if line.startswith("oasis: ")]


class Running:
    """A command that runs; it leads its own group of processes."""

    def __init__(self, server: "Server", pid: int) -> None:
        self.server, self.pid = server, pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the command alone, not to its workers."""
        os.kill(self.pid, number)

    def wait(self, seconds: float = SECONDS) -> Ended:
        """Wait until it ends; AssertionError if it does not."""
        answer = self.server.ask(wait=self.pid, seconds=seconds)
        ended = Ended(answer["code"], answer["out"], answer["err"], self._left_behind())
        assert answer["code"] is not None, f"still running after {seconds} s: {ended}"
        return ended

    def _left_behind(self) -> bool:
        for _ in range(100):  # workers that see their parent gone need a moment
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return False
            time.sleep(0.1)
        os.killpg(self.pid, signal.SIGKILL)
        return True


class Server:
    """The process whose children run commands."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and return the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def begin(self, *arguments: object, cwd: Path, **limits: Any) -> Running:
        """Start `oasis` with arguments.

        Args:
            arguments: of the command.
            cwd: where it runs.
            limits: `memory` and `file_size` in bytes, `user` (a number) and `environment`.
        """
        words = [os.fsdecode(one) if isinstance(one, bytes) else str(one) for one in arguments]
        encoded = [os.fsencode(word).hex() for word in words]
        return Running(self, self.ask(run=encoded, cwd=str(cwd), **limits)["pid"])

    def run(self, *arguments: object, cwd: Path, seconds: float = SECONDS, **limits: Any) -> Ended:
        """Run `oasis` with arguments; see `begin`."""
        return self.begin(*arguments, cwd=cwd, **limits).wait(seconds)

    def close(self) -> None:
        """End the process."""
        try:
            self.process.communicate("", timeout=20)
        except subprocess.TimeoutExpired:  # it waits for a command that a test gave up
            self.process.kill()


def serve() -> None:
    """Answer requests until there are no more."""
    import matplotlib as mpl

    mpl.use("agg")
    import lightning.pytorch  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import torch

    import oasis.cli
    import oasis.evaluation.figures

    for module in LOADED:
        __import__(module)
    oasis.evaluation.figures.SHOWN = 2  # panels take most of the time of an evaluation
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()  # so that children share what is loaded
    streams: Streams = {}
    for line in sys.stdin:
        request = json.loads(line)
        answer = _wait(streams, **request) if "wait" in request else {"pid": _fork(streams, **request)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


Streams = dict[int, tuple[int, int]]
"""The ends of the pipes from standard output and error of each child."""

LOADED = (
    *("oasis.run", "oasis.training.fit", "oasis.evaluation.figures", "oasis.evaluation.calibration"),
    *(
        "oasis.inference.predict",
        "oasis.report.page",
        "oasis.report.evaluated",
        "oasis.ablation.loading",
        "oasis.ablation.grid",
    ),
    *("oasis.adapters.migdal", "oasis.adapters.waveform", "oasis.adapters.neutrino", "oasis.adapters.galaxy"),
    *(
        "encodings.utf_8_sig",
        "oasis.data.sample_files",
        "scipy.io",
        "scipy.stats",
        "scipy.ndimage",
        "pyarrow.parquet",
        "PIL.Image",
    ),
)


def _wait(streams: Streams, wait: int, seconds: float) -> dict[str, Any]:
    """Return how a child ended and what it has printed; it is killed after so many seconds."""
    pipes, printed = streams.pop(wait), [b"", b""]
    end, code = time.monotonic() + seconds, None
    while True:
        pid, status = os.waitpid(wait, os.WNOHANG)
        for place, pipe in enumerate(pipes):
            printed[place] += _available(pipe)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            break
        if time.monotonic() > end:
            os.killpg(wait, signal.SIGKILL)
            os.waitpid(wait, 0)
            break
        time.sleep(0.003)
    for pipe in pipes:
        os.close(pipe)
    out, err = (part.decode("utf-8", "backslashreplace") for part in printed)
    return {"code": code, "out": out, "err": err}


def _available(pipe: int) -> bytes:
    found = b""
    try:
        while part := os.read(pipe, 2**16):
            found += part
    except BlockingIOError:
        pass
    return found


def _fork(streams: Streams, run: list[str], cwd: str, **limits: Any) -> int:
    sys.stdout.flush()
    out, err = os.pipe(), os.pipe()
    pid = os.fork()
    if pid:
        for end in (out, err):
            os.close(end[1])
            os.set_blocking(end[0], False)
        streams[pid] = out[0], err[0]
        return pid
    code = 70
    try:
        _prepare(cwd, (out[1], err[1]), **limits)
        code = _command([os.fsdecode(bytes.fromhex(word)) for word in run])
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                code = code or 120  # as Python itself does
        os._exit(code)


def _prepare(
    cwd: str,
    streams: tuple[int, int],
    memory: int = MEMORY,
    file_size: int | None = None,
    user: int | None = None,
    environment: dict[str, str] | None = None,
) -> None:
    import resource

    os.setsid()
    os.chdir(cwd)
    for number, pipe in enumerate(streams, start=1):
        os.dup2(pipe, number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 as in a new process
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(environment or {})
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    if file_size is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # as Python has it
        sys.dont_write_bytecode = True  # Python would keep what it could not write completely
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    if user is not None:
        os.setgid(user)
        os.setuid(user)


def _command(arguments: list[str]) -> int:
    """Do what the script `oasis` does, and what Python does behind it."""
    import atexit
    import traceback

    from oasis.__main__ import main

    sys.argv = ["oasis", *arguments]
    code = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except KeyboardInterrupt:
        traceback.print_exc()
        code = 130
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    return code


if __name__ == "__main__":
    serve()
