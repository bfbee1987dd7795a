"""Child processes that end with their parent, however it ends."""

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

POLL_SECONDS = 1.0
GRACE_SECONDS = 10.0  # for a process to end by itself after SIGTERM
PR_SET_PDEATHSIG = 1  # of Linux's prctl


def end_with_parent(grace: float = GRACE_SECONDS, parent: int | None = None) -> None:
    """Let this process end when its parent does, even if the parent is killed.

    It is sent SIGTERM: on Linux by the kernel, elsewhere by a thread that watches the parent. If it is still alive
    after the grace period, the thread ends it. A worker calls this first, for example by
    `ProcessPoolExecutor(initializer=end_with_parent)`.

    Args:
        grace: seconds after SIGTERM.
        parent: the process that has started this one, if it may have ended already; by default the present parent.
    """
    parent = os.getppid() if parent is None else parent
    started = multiprocessing.parent_process()
    if started is not None and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

    def watch() -> None:
        while os.getppid() == parent and (started is None or started.is_alive()):
            time.sleep(POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


def call_in_worker(pickled: bytes) -> None:
    """Call a function in a worker process that has started, and that ends with its parent from the first moment.

    What the function needs is imported here, which takes seconds: a process that is started with the function
    itself imports it first, and outlives a parent that is killed meanwhile.

    Args:
        pickled: the function and its arguments.

    Example:
        >>> call_in_worker(pickle.dumps((print, ("done",))))  # doctest: +SKIP
        done
    """
    end_with_parent()
    function, arguments = pickle.loads(pickled)  # noqa: S301  # from the parent
    function(*arguments)


@contextmanager
def sheltered() -> Iterator[None]:
    """Start processes in the block that Ctrl-C does not reach, also while they import: their parent ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which processes inherit that are spawned
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def children_end_too(grace: float = GRACE_SECONDS) -> Iterator[None]:
    """End the processes that were started in the block if it is left by an exception such as Ctrl-C.

    Args:
        grace: seconds for them to end by themselves.
    """
    before = set(multiprocessing.active_children())
    try:
        yield
    except BaseException:
        end_processes([child for child in multiprocessing.active_children() if child not in before], grace)
        raise


def end_processes(processes: list[multiprocessing.process.BaseProcess], grace: float = GRACE_SECONDS) -> None:
    """Send SIGTERM to processes, and kill those that have not ended after a grace period for all of them."""
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + grace
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        with suppress(ValueError):  # closed meanwhile
            process.kill()
            process.join()
