import importlib.util

import pytest
import yaml

from oasis.adapters import adapter_names
from oasis.cli import run as command
from oasis.errors import ConfigError
from oasis.run import Run
from oasis.starting.new_adapter import write_adapter
from oasis.starting.quickstarts import FOLDER, quickstart


@pytest.mark.parametrize("name", sorted({*adapter_names()} - {"folder"}))
def test_every_adapter_has_a_quickstart(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(["init", name]) == 0
    assert f"oasis train {name}.yaml" in capsys.readouterr().out
    run = Run.from_config(f"{name}.yaml")
    assert (run.config.adapter, run.config.run) == (name, f"runs/{name}")
    assert command(["init", name]) == 0
    (tmp_path / f"{name}.yaml").write_text("mine")
    assert command(["init", name]) == 2
    assert (tmp_path / f"{name}.yaml").read_text() == "mine"
    assert command(["init", name, "--force"]) == 0
    assert Run.from_config(f"{name}.yaml").config == run.config


def test_quickstarts_in_the_package_are_those_of_the_examples(root):
    examples = {
        path: yaml.safe_load(path.read_text())["adapter"] for path in root.glob("examples/*/quickstart.yaml")
    }
    examples[root / "examples/waveform/pulses.yaml"] = "pulses"
    assert {f"{name}.yaml" for name in examples.values()} == {path.name for path in FOLDER.iterdir()}
    for path, name in examples.items():
        assert quickstart(name) == path.read_text()


def test_an_unknown_adapter_is_refused(capsys):
    assert command(["init", "migdle"]) == 2
    assert "unknown 'migdle', and no folder of this name; did you mean 'migdal'?" in capsys.readouterr().err


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_new_adapter_keeps_the_contract_and_trains(dims, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(["new-adapter", "star-field", "--dims", str(dims)]) == 0
    assert capsys.readouterr().out.split()[:3] == ["star_field.py,", "star_field.yaml,", "test_star_field.py:"]
    run = Run.from_config("star_field.yaml")
    assert run.adapter.spatial_dims == dims
    assert run.dataset("train")[0].image.shape == run.adapter.shape
    spec = importlib.util.spec_from_file_location("written", tmp_path / "test_star_field.py")
    written = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(written)
    written.test_the_adapter_keeps_the_contract()
    written.test_it_trains(tmp_path)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_new_adapter_and_its_test_take_forty_lines(dims, tmp_path):
    adapter, _, test = write_adapter("star-field", dims, tmp_path)
    lines = [line for path in (adapter, test) for line in path.read_text().splitlines()]
    assert max(map(len, lines)) <= 115
    assert len(adapter.read_text().splitlines()) <= 40
    assert sum(bool(line) for line in lines) <= 40


@pytest.mark.parametrize("words", [["3d"], ["a b"], ["class"], ["cells", "--dims", "4"]])
def test_a_name_that_no_file_can_have_is_refused(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command(["new-adapter", *words]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["numpy", "random", "oasis"])
def test_an_adapter_that_would_hide_a_module_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=rf"{name}\.py would hide the Python module '{name}': use another name"):
        write_adapter(name, folder=tmp_path)
    assert not list(tmp_path.iterdir())
