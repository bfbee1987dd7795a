"""Separation on a cluster: the result of a single process, whatever dies."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from oasis.cli import run as command
from oasis.inference import stored
from oasis.run import Run

zarr = pytest.importorskip("zarr")
distributed = pytest.importorskip("distributed")
NEEDS_JOBQUEUE = pytest.mark.skipif(find_spec("dask_jobqueue") is None, reason="dask-jobqueue is not installed")


@pytest.fixture
def source(tmp_path):
    np.save(tmp_path / "a.npy", np.random.default_rng(0).exponential(20, (6, 24, 20)).astype(np.float32))
    return tmp_path / "a.npy"


def same(one, other):
    for name in ("dot", "bar"):
        first, second = (zarr.open_array(path / f"maps/{name}/0", mode="r")[:] for path in (one, other))
        assert np.isfinite(first).all()
        np.testing.assert_array_equal(first, second)
    first, second = (pd.read_csv(path.with_suffix(".csv")) for path in (one, other))
    assert first.equals(second)


@pytest.mark.parametrize(
    ("cluster", "out", "message"),
    [
        ("grid", "m.zarr", "expected local, slurm or an address tcp://HOST:PORT, found 'grid'"),
        ("tcp://127.0.0.1:9", "m.zarr", "cluster: no scheduler at tcp://127.0.0.1:9"),
        pytest.param("slurm", "m.zarr", "slurm: there is no sbatch on this machine", marks=NEEDS_JOBQUEUE),
        ("local", "m.h5", "only zarr is written by several processes: name an output .zarr"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line(
    toy_run, source, tmp_path, capsys, monkeypatch, cluster, out, message
):
    monkeypatch.setattr("oasis.inference.cluster.CONNECT_SECONDS", 1)
    arguments = ["predict", str(toy_run), str(source), "--out", str(tmp_path / out), "--trust-code"]
    assert command([*arguments, "--cluster", cluster]) == 2
    line = capsys.readouterr().err.strip()
    assert message in line
    assert "\n" not in line
    assert not (tmp_path / out).exists()


def test_workers_give_the_result_of_a_single_process(toy_run, source, tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "MOST_TOGETHER", 2)
    run = Run(toy_run, trust_code=True)
    run.predict(source, tmp_path / "a.zarr")
    with distributed.LocalCluster(n_workers=2, processes=False, dashboard_address=None) as cluster:
        run.predict(source, tmp_path / "b.zarr", cluster=cluster.scheduler_address)
        shutil.rmtree(tmp_path / "b.zarr/records/images-2")
        run.predict(source, tmp_path / "b.zarr", cluster=cluster.scheduler_address)
    same(tmp_path / "a.zarr", tmp_path / "b.zarr")


SLOW = """
import sys, time
from oasis.inference import stored
from oasis.inference.blockwise import Blockwise
stored.MOST_TOGETHER = 1
process = Blockwise.process
Blockwise.process = lambda self, unit: (time.sleep(0.1), process(self, unit))[1]  # in the workers too
from oasis.cli import run
if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
"""


def test_a_killed_worker_and_a_killed_scheduler_lose_nothing(toy_run, tmp_path, processes, monkeypatch):
    source = tmp_path / "a.npy"
    np.save(source, np.random.default_rng(0).exponential(20, (24, 24, 20)).astype(np.float32))
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    arguments = ["predict", str(toy_run), str(source), "--trust-code", "--cluster", "local", "--workers", "2"]
    records = {out: tmp_path / out / "records" for out in ("worker.zarr", "scheduler.zarr")}

    def begun(out):
        given = [sys.executable, str(script), *arguments, "--out", str(tmp_path / out)]
        started = subprocess.Popen(given, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
        processes.wait_for(lambda: records[out].exists() and len(os.listdir(records[out])) > 4)
        return started, _workers(started.pid)

    started, workers = begun("worker.zarr")
    os.kill(workers[0], signal.SIGKILL)
    assert started.wait(processes.DEADLINE) == 0, started.stderr.read().decode()

    started, workers = begun("scheduler.zarr")
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    processes.wait_for(lambda: not any(map(processes.alive, workers)))
    left = len(os.listdir(records["scheduler.zarr"]))
    monkeypatch.setattr(stored, "MOST_TOGETHER", 1)
    run = Run(toy_run, trust_code=True)
    run.predict(source, tmp_path / "scheduler.zarr")
    assert left < 24
    run.predict(source, tmp_path / "alone.zarr")
    for out in records:
        same(tmp_path / "alone.zarr", tmp_path / out)


def _workers(parent):
    """The processes that any thread of a process has started for work."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (path / "stat").read_text().rpartition(")")[2].split()
            if int(state[1]) == parent and "spawn_main" in (path / "cmdline").read_text():
                found.append(int(path.name))
    return found
