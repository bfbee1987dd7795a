import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest
import torch

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in the background of a script, which children inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
TOY = f"{Path(__file__).parent / 'toy_adapter.py'}:ToyAdapter"


@pytest.fixture(autouse=True)
def same_threads():
    """Restore the number of threads, on which rounding depends, after tests of scripts that set it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def small_galleries(monkeypatch):
    """Draw two events instead of eight, since panels take most of the time of an evaluation of few events."""
    monkeypatch.setattr("oasis.evaluation.figures.SHOWN", 2)


@pytest.fixture
def float32(monkeypatch):
    """Compute in float32 also where the processor has bfloat16, whose rounding would hide other differences."""
    for name in ("avx512_bf16", "amx_tile"):
        monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda: False, raising=False)


@pytest.fixture
def root():
    """The project's root."""
    return ROOT


@pytest.fixture
def toy_values(tmp_path):
    """The configuration of a run that trains in a second or two."""
    return {"adapter": TOY, "run": str(tmp_path / "run")}


@pytest.fixture
def toy(toy_values):
    """A small run that is ready to train."""
    from oasis.run import Run

    return Run.from_values(toy_values)


@pytest.fixture
def toy_separator(toy):
    """A separator with weights as they are drawn."""
    return toy.new_separator()


@pytest.fixture(scope="session")
def server():
    """The process whose children run commands."""
    from forked import Server

    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="session")
def toy_run(tmp_path_factory):
    """The folder of a small run that has been trained."""
    import yaml

    from oasis.run import Run

    folder = tmp_path_factory.mktemp("toy")
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump({"adapter": TOY, "run": str(folder / "run")}))
    Run.from_config(path).train()
    return folder / "run"


@pytest.fixture
def start_method():
    """Choose how worker processes are started, until the test ends."""
    yield lambda method: torch.multiprocessing.set_start_method(method, force=True)
    torch.multiprocessing.set_start_method(None, force=True)


@pytest.fixture
def processes():
    """What a test needs to know of processes."""
    spec = importlib.util.spec_from_file_location("process_tools", ROOT / "tests/process_tools.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def pulses_run(tmp_path_factory):
    """The folder of a small run of an installed adapter, trained and evaluated; tests change copies of it."""
    from oasis.run import Run

    folder = tmp_path_factory.mktemp("pulses") / "run"
    data = {"pulses": 2, "events": {"train": 4, "val": 2, "test": 2}}
    model, training = {"base_channels": 2, "depth": 2}, {"epochs": 1, "workers": 0}
    values = {"adapter": "pulses", "run": str(folder), "data": data, "model": model, "training": training}
    run = Run.from_values(values)
    run.train()
    run.evaluate(workers=0)
    return folder


@pytest.fixture
def example(root, monkeypatch):
    """Return a function that loads a script of the examples, such as `galaxy/compare`."""

    def load(name):
        module_name = name.replace("/", "_")
        monkeypatch.syspath_prepend((root / "examples" / name).parent)  # as if it were run from there
        spec = importlib.util.spec_from_file_location(module_name, root / "examples" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, module_name, module)
        spec.loader.exec_module(module)
        return module

    return load
