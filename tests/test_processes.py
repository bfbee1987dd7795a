"""Processes end with the one that started them, whatever ends that."""

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from oasis.processes import children_end_too

POOL = """
    import multiprocessing, os, signal, sys, time
    from concurrent.futures import ProcessPoolExecutor
    from pathlib import Path
    from oasis.processes import children_end_too, end_with_parent

    def train(stubborn):
        if stubborn:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path(sys.argv[1], str(os.getpid())).touch()
        time.sleep(600)

    if __name__ == "__main__":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which may be ignored where tests run
        spawn = multiprocessing.get_context("spawn")
        start = {"initializer": end_with_parent, "initargs": (1.0,)}
        with ProcessPoolExecutor(2, spawn, **start) as pool, children_end_too(1.0):
            list(pool.map(train, (False, True)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda one: one.name)
def test_workers_end_with_their_parent(tmp_path, number, processes):
    (tmp_path / "pids").mkdir()
    (tmp_path / "pool.py").write_text(textwrap.dedent(POOL))
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "pool.py", tmp_path / "pids"], stderr=subprocess.DEVNULL, process_group=0
    )
    try:
        processes.wait_for(lambda: len(os.listdir(tmp_path / "pids")) == 2)
        started = [int(name) for name in os.listdir(tmp_path / "pids")]
        assert all(map(processes.alive, started))
        parent.send_signal(number)
        processes.wait_for(lambda: not any(map(processes.alive, started)))
        assert parent.wait(processes.DEADLINE) != 0
    finally:
        parent.kill()


def interrupted(process):
    with children_end_too():
        process.start()
        raise KeyboardInterrupt


def test_children_of_before_and_of_an_undisturbed_block_go_on(tmp_path):
    fork = multiprocessing.get_context("fork")
    before, inside = (fork.Process(target=time.sleep, args=(600,)) for _ in range(2))
    before.start()
    try:
        with children_end_too():
            pass
        with pytest.raises(KeyboardInterrupt):
            interrupted(inside)
        assert before.is_alive()
        assert not inside.is_alive()
    finally:
        before.kill()
        before.join()


WORKERS = """
    import multiprocessing, os, pickle, signal, sys, time
    from pathlib import Path
    from oasis.processes import call_in_worker, children_end_too, sheltered

    def work(folder):
        Path(folder, str(os.getpid())).touch()
        time.sleep(600)

    if __name__ == "__main__":
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which may be ignored where tests run
        spawn = multiprocessing.get_context("spawn")
        task = (pickle.dumps((work, (sys.argv[1],))),)
        children = [spawn.Process(target=call_in_worker, args=task) for _ in range(2)]
        try:
            with children_end_too(1.0):
                with sheltered():
                    [child.start() for child in children]
                [child.join() for child in children]
        except KeyboardInterrupt:
            sys.exit("interrupted")
    else:
        Path(sys.argv[1], f"importing {os.getpid()}").touch()
        time.sleep(float(sys.argv[2]))  # imports of a worker
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("importing", [False, True])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda one: one.name)
def test_workers_end_in_silence_with_their_parent_also_while_they_import(tmp_path, number, importing, processes):
    (tmp_path / "pids").mkdir()
    (tmp_path / "work.py").write_text(textwrap.dedent(WORKERS))
    command = [sys.executable, tmp_path / "work.py", tmp_path / "pids", "3" if importing else "0"]
    parent = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, process_group=0)
    try:
        found = tmp_path / "pids"
        processes.wait_for(lambda: len(os.listdir(found)) == (2 if importing else 4))
        started = processes.descendants(parent.pid)
        os.killpg(parent.pid, number) if number == signal.SIGINT else parent.send_signal(number)
        processes.wait_for(lambda: not any(map(processes.alive, started)))
        said = parent.communicate()[1]
        assert said == ("interrupted\n" if number == signal.SIGINT else "")
    finally:
        parent.kill()
