"""Cluster: units of a zarr store are processed by the workers of a Dask cluster.

A worker loads the run once, and each unit is processed as in a single process. Only the names of units travel.
"""

import logging
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import torch

from oasis.errors import ConfigError, DataError, OasisError, import_extra
from oasis.inference.blockwise import Blockwise
from oasis.inference.plan import Unit, stage_progress
from oasis.io.files import one_line
from oasis.progress import Progress

logger = logging.getLogger(__name__)

Load = Callable[[], Blockwise]

EXTRA: Final = "cluster"
ADDRESS: Final = re.compile(r"[a-z]+://\S+")
CONNECT_SECONDS: Final = 10
CLOSE_SECONDS: Final = 5
WORKER_SECONDS: Final = 60  # until a worker has to appear, unless a queue starts it
AT_ONCE: Final = 4096  # units that the scheduler knows of
ATTRIBUTE: Final = "oasis_blockwise"
SETTINGS: Final = {  # torch's memory is not Dask's to spill
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
}
GO_ON: Final = "continue with the same command, which keeps what is done"


class OnCluster:
    """Processes units on the workers of a cluster.

    Args:
        client: of Dask.
        load: loads, in a worker, what processes units.
    """

    def __init__(self, client: Any, load: Load) -> None:
        self._client = client
        try:
            client.register_plugin(_loading(load))
        except OasisError:
            raise
        except Exception as error:  # whatever a worker could not load
            raise ConfigError(f"cluster: a worker cannot load the run: {one_line(error)}") from error

    def __call__(self, blockwise: Blockwise, units: Sequence[Unit]) -> None:
        """Process units; those at which a worker died are tried again, at the end one by one.

        Raises:
            OasisError: a unit cannot be processed, or the cluster is lost.
        """
        lost = []
        with stage_progress(units) as progress:
            for start in range(0, len(units), AT_ONCE):
                lost += self._lost(units[start : start + AT_ONCE], progress)
            for unit in lost:
                if self._lost([unit], progress):
                    raise DataError(f"cluster: workers die at {unit.name}: give them more memory, then {GO_ON}")

    def _lost(self, units: Sequence[Unit], progress: Progress) -> list[Unit]:
        """Process units and return those at which workers died repeatedly, or that were queued behind such."""
        from distributed import KilledWorker
        from distributed import as_completed as completed

        as_completed: Any = completed  # without types

        futures = dict(zip(self._client.map(_process, list(units), pure=False), units, strict=True))
        lost = []
        for future in as_completed(list(futures)):
            if future.status == "finished":
                found = future.result()
                if isinstance(found, OasisError):
                    raise found
                progress.advance(futures[future].parts)
            elif future.status == "error" and isinstance(error := future.exception(), KilledWorker):
                lost.append(futures[future])
            elif future.status == "error":
                raise error
            else:
                raise DataError(f"cluster: the connection to its scheduler was lost: {GO_ON}")
        return lost


@contextmanager
def connected(cluster: str, workers: int | None = None) -> Iterator[Any]:
    """Start or find a cluster, and yield a client of it.

    Args:
        cluster: `local`, `slurm`, or the address of a scheduler, `tcp://host:8786`.
        workers: how many to start; by default one for each processor core of this machine.

    Raises:
        ConfigError: an unknown kind, or a cluster that is not there.
        MissingExtraError: Dask is not installed.
    """
    if cluster not in ("local", "slurm") and not ADDRESS.fullmatch(cluster):
        raise ConfigError(f"cluster: expected local, slurm or an address tcp://HOST:PORT, found {cluster!r}")
    distributed, dask = import_extra("distributed", EXTRA), import_extra("dask", EXTRA)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with dask.config.set(SETTINGS):
        started = _started(cluster, workers or os.cpu_count() or 1)
        try:
            try:
                client = distributed.Client(started or cluster, timeout=CONNECT_SECONDS)
            except (OSError, ValueError, TimeoutError) as error:
                raise ConfigError(f"cluster: no scheduler at {cluster} ({one_line(error)})") from None
            try:
                _wait(client, cluster)
                yield client
            finally:
                with suppress(Exception):  # of a scheduler that is gone
                    client.close(timeout=CONNECT_SECONDS)
        finally:
            if started is not None:
                with suppress(Exception):
                    started.close(timeout=CLOSE_SECONDS)  # not waiting for a worker that only starts


def _started(cluster: str, workers: int) -> Any:
    """Start a cluster on this machine or in a queue, or return None for the address of one that runs."""
    if cluster == "local":
        local: Any = import_extra("distributed", EXTRA).LocalCluster
        return local(n_workers=workers, threads_per_worker=1, dashboard_address=None)
    if cluster != "slurm":
        return None
    jobqueue = import_extra("dask_jobqueue", EXTRA)
    if shutil.which("sbatch") is None:
        raise ConfigError("cluster: slurm: there is no sbatch on this machine: call from a login node")
    try:
        found = jobqueue.SLURMCluster()
        found.scale(jobs=workers)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"cluster: slurm: {one_line(error)}: describe a job in ~/.config/dask/jobqueue.yaml (jobqueue.slurm)"
        ) from None
    return found


def _wait(client: Any, cluster: str) -> None:
    """Wait for the first worker."""
    if cluster == "slurm":
        logger.info("waiting for the first job to start; interrupt and call again at any time")
        client.wait_for_workers(1)
        return
    try:
        client.wait_for_workers(1, timeout=WORKER_SECONDS)
    except TimeoutError:
        raise ConfigError(f"cluster: the scheduler at {cluster} has no workers: start some") from None


def _loading(load: Load) -> Any:
    """Return the plugin that loads the run in every worker, also in one that starts later."""
    from distributed import WorkerPlugin

    class Loading(WorkerPlugin):
        name = "oasis"

        def setup(self, worker: Any) -> None:
            if not torch.cuda.is_available():
                torch.set_num_threads(max(worker.state.nthreads, 1))
            setattr(worker, ATTRIBUTE, (load(), threading.Lock()))

    return Loading()


def _process(unit: Unit) -> OasisError | None:
    """Process a unit in a worker, and return an error that the user can mend."""
    from distributed import get_worker

    blockwise, lock = getattr(get_worker(), ATTRIBUTE)
    with lock:  # what reads files is not made for several threads
        try:
            blockwise.process(Unit(*unit))
        except OasisError as error:
            return error
    return None
