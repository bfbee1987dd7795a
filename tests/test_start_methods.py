"""An adapter in a file is trained and measured with worker processes, however these are started."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from oasis.cli import run as command
from oasis.run import Run

DATA = {"train": 4, "val": 4, "test": 4}


@pytest.fixture(scope="module")
def without_workers(tmp_path_factory, root_adapter):
    """The log and the event table of a run without worker processes."""
    folder = tmp_path_factory.mktemp("plain")
    run = trained(folder, root_adapter, 0)
    run.evaluate(workers=0)
    return run.log, run.events()


@pytest.fixture(scope="module")
def root_adapter(tmp_path_factory):
    """A file with an adapter, in a folder from which nothing else is imported."""
    return shutil.copy(Path(__file__).parent / "toy_adapter.py", tmp_path_factory.mktemp("mine") / "my_adapter.py")


def trained(folder, file, workers):
    path = folder / "toy.yaml"
    training = {"epochs": 1, "workers": workers}
    values = {"adapter": f"{file}:ToyAdapter", "run": str(folder / "run"), "data": DATA, "training": training}
    path.write_text(yaml.safe_dump(values))
    assert command(["train", str(path), "--quiet"]) == 0
    return Run(folder / "run", trust_code=True)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_of_all_commands_find_an_adapter_in_a_file(
    tmp_path, root_adapter, without_workers, start_method, method, caplog
):
    start_method(method)
    run = trained(tmp_path, root_adapter, 1)
    assert command(["evaluate", str(run.folder), "--workers", "1", "--trust-code", "--quiet"]) == 0
    assert "without worker processes" not in caplog.text
    log, table = without_workers
    pd.testing.assert_frame_equal(run.log.drop(columns="seconds"), log.drop(columns="seconds"))
    pd.testing.assert_frame_equal(
        *(each.drop(columns=["configuration", "weights"]) for each in (run.events(), table))
    )
