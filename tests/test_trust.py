"""Code that a folder names is executed only with the user's word, whichever file names it and whatever is done."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

import oasis
from oasis.cli import run as command
from oasis.errors import ConfigError, ModelError, OasisError
from oasis.run import Run

TOY = (Path(__file__).parent / "toy_adapter.py").read_text(encoding="utf-8")
BUILD = """
import torch
def build(in_channels, out_channels, spatial_dims, **options):
    return torch.nn.Conv2d(in_channels, out_channels, 1)
"""


def spy(tmp_path, code):
    """Code that leaves a mark when it is run."""
    return f"open({str(tmp_path / 'mark')!r}, 'a').write('x')\n{code}"


@pytest.fixture
def plain(pulses_run, tmp_path):
    """A copy of that run to be changed, beside one that is not."""
    shutil.copytree(pulses_run, tmp_path / "other")
    return shutil.copytree(pulses_run, tmp_path / "run")


def in_config(run, evil):
    change(run / "config.yaml", lambda values: values.update(adapter=f"{evil}:ToyAdapter"))


def in_model(run, evil):
    change(run / "config.yaml", lambda values: values.update(model={"name": f"{evil}:build"}))


def in_metadata(run, evil):
    restate(run, lambda options: options.update(model={"name": f"{evil}:build"}))


def in_metadata_adapter(run, evil):
    restate(run, lambda options: options.update(adapter=f"{evil}:ToyAdapter"))


def in_metadata_and_config(run, evil):
    in_model(run, evil)
    in_metadata(run, evil)


def change(path, edit):
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    edit(values)
    path.write_text(yaml.safe_dump(values), encoding="utf-8")


def restate(run, edit):
    path = run / "model.safetensors"
    with safe_open(path, "pt") as file:
        metadata, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    options = json.loads(metadata["options"])
    edit(options)
    save_file(weights, path, {**metadata, "options": json.dumps(options)})


PLANTS = (in_config, in_model, in_metadata, in_metadata_adapter, in_metadata_and_config)
COMMANDS = {
    "info": ["info", "{run}"],
    "evaluate": ["evaluate", "{run}"],
    "calibrate": ["calibrate", "{run}"],
    "predict": ["predict", "{run}", "{image}", "--out", "{tmp}/maps.h5"],
    "report": ["report", "{run}", "--events", "0", "--out", "{tmp}/page.html"],
    "compare": ["compare", "{other}", "{run}"],
    "regions": ["regions", "{run}"],
    "simulate": ["simulate", "{run}", "--out", "{tmp}/samples.h5"],
    "resume": ["train", "--resume", "{run}", "--set", "training.epochs=2"],
}


@pytest.mark.parametrize("plant", PLANTS)
def test_no_command_runs_what_a_run_names(plain, tmp_path, plant, capsys):
    evil = tmp_path / "evil.py"
    evil.write_text(spy(tmp_path, TOY + BUILD), encoding="utf-8")
    np.save(tmp_path / "image.npy", np.ones(1024))
    plant(plain, evil)
    for arguments in COMMANDS.values():
        filled = [
            part.format(run=plain, other=tmp_path / "other", image=tmp_path / "image.npy", tmp=tmp_path)
            for part in arguments
        ]
        code, errors = command(filled), capsys.readouterr().err
        assert not (tmp_path / "mark").exists(), arguments
        assert not code or len(errors.strip().splitlines()) == 1
        if plant in (in_config, in_model):
            assert code == 2
            assert "--trust-code" in errors
    for trusting in (False, True):
        if plant in (in_config, in_model, in_metadata_and_config) and trusting:
            continue  # the user's word
        with pytest.raises(OasisError):
            Run(plain, trust_code=trusting).separator()
    if "metadata" not in plant.__name__ or plant is in_metadata_adapter:
        return
    with pytest.raises(ModelError, match="without permission"):
        oasis.load(plain)
    assert not (tmp_path / "mark").exists()


def test_names_of_code_that_differ_are_both_told(plain, tmp_path):
    evil = tmp_path / "evil.py"
    evil.write_text(spy(tmp_path, BUILD), encoding="utf-8")
    in_metadata(plain, evil)
    with pytest.raises(ModelError, match=rf"names the code '{evil}:build' as its model.name, but .* 'none'"):
        Run(plain, trust_code=True).separator()
    in_model(plain, tmp_path / "other.py")
    with pytest.raises(ModelError, match=rf"'{evil}:build' .* '{tmp_path / 'other.py'}:build'"):
        Run(plain, trust_code=True).separator()
    assert not (tmp_path / "mark").exists()


def test_a_change_by_the_user_is_the_word_for_that_name_alone(plain, tmp_path):
    evil, own = tmp_path / "evil.py", tmp_path / "own.py"
    evil.write_text(spy(tmp_path, TOY + BUILD), encoding="utf-8")
    own.write_text(TOY, encoding="utf-8")
    in_config(plain, evil)
    data = "data={train: 2}"
    assert Run(plain, [f"adapter={own}:ToyAdapter", data, "thresholds=null"]).adapter.classes == ("dot", "bar")
    in_metadata_and_config(plain, evil)
    run = Run(plain, [f"adapter={own}:ToyAdapter", data, "thresholds=null", "model.name=unet"])
    with pytest.raises(ModelError):
        run.separator()
    assert not (tmp_path / "mark").exists()


def test_a_study_that_was_sent_runs_nothing(tmp_path, capsys):
    evil = tmp_path / "evil.py"
    evil.write_text(spy(tmp_path, TOY + BUILD), encoding="utf-8")
    base = {"adapter": "migdal", "run": "x"}
    study = {"base": base, "run": str(tmp_path / "study"), "grid": {"training.epochs": [1]}}
    code = f"{evil}:ToyAdapter"
    places = [
        {**study, "base": {**base, "adapter": code}},
        {**study, "base": {**base, "model": {"name": f"{evil}:build"}}},
        {**study, "grid": {"adapter": [code]}},
        {**study, "grid": {"model": [{"name": f"{evil}:build"}]}},
        {**study, "changes": {"adapter": code}},
        {**study, "search": {"model.name": ["unet", f"{evil}:build"]}},
        {**study, "base": "base.yaml"},
    ]
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "base.yaml").write_text(yaml.safe_dump({**base, "adapter": code}))
    for values in places:
        (tmp_path / "study" / "ablation.yaml").write_text(yaml.safe_dump(values))
        assert command(["ablate", str(tmp_path / "study")]) == 2
        errors = capsys.readouterr().err
        assert "--trust-code" in errors
        assert len(errors.strip().splitlines()) == 1
        assert not (tmp_path / "mark").exists()


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A run of an adapter and a backbone in files, trained in their folder."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "domain.py").write_text(spy(tmp_path, TOY), encoding="utf-8")
    (project / "net.py").write_text(BUILD, encoding="utf-8")
    monkeypatch.chdir(project)
    values = {
        "adapter": "domain.py:ToyAdapter",
        "run": str(tmp_path / "run"),
        "data": {"train": 4, "val": 2, "test": 2},
        "model": {"name": "net.py:build"},
        "training": {"epochs": 1, "workers": 0},
    }
    (project / "own.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    assert command(["train", "own.yaml"]) == 0  # the user named the file
    return tmp_path / "run"


def test_a_run_works_from_any_folder(own, tmp_path, monkeypatch, capsys):
    before = Run(own, trust_code=True).separator().separate(np.ones((24, 20)))
    (tmp_path / "elsewhere").mkdir()
    shutil.rmtree(tmp_path / "project")
    moved = own.rename(tmp_path / "elsewhere" / "moved")
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "mark").unlink()
    assert command(["info", "moved"]) == 2
    assert "--trust-code" in capsys.readouterr().err
    assert not (tmp_path / "mark").exists()
    np.save("image.npy", np.ones((24, 20)))
    shutil.copytree("moved", "other")
    for folder in ("moved", "other"):
        assert command(["evaluate", folder, "--trust-code"]) == 0
    for arguments in COMMANDS.values():
        filled = [part.format(run="moved", other="other", image="image.npy", tmp=".") for part in arguments]
        assert command([*filled, "--trust-code"]) == (2 if arguments[0] == "calibrate" else 0)  # too few events
    after = Run("moved", trust_code=True).separator().separate(np.ones((24, 20)))
    assert {*after} == {*before}
    loaded = oasis.load("moved", trust_code=True).separate(np.ones((24, 20)))
    assert all(np.array_equal(loaded[name], after[name]) for name in after)
    with pytest.raises(ModelError, match="without permission"):
        oasis.load(moved)


def test_the_copy_is_used_where_the_file_has_changed(own, tmp_path, caplog):
    (tmp_path / "project" / "domain.py").write_text("raise SystemExit", encoding="utf-8")
    assert Run(own, trust_code=True).adapter.classes == ("dot", "bar")
    assert "has changed since the training: using the copy in" in caplog.text
    assert not list((own / "code").glob("__pycache__"))


@pytest.mark.parametrize("damage", ["changed", "missing", "no json", "list", "elsewhere"])
def test_a_copy_that_is_not_what_was_kept_is_refused(own, tmp_path, damage):
    index, [copy] = own / "code" / "index.json", (own / "code").glob("domain-*.py")
    (tmp_path / "mark").unlink()
    if damage == "changed":
        copy.write_text(spy(tmp_path, TOY) + "\n", encoding="utf-8")
    elif damage == "missing":
        copy.unlink()
    elif damage == "no json":
        index.write_text("{")
    elif damage == "list":
        index.write_text('{"domain.py": []}')
    else:
        (tmp_path / "evil.py").write_text(spy(tmp_path, TOY), encoding="utf-8")
        index.write_text('{"domain.py": {"copy": "../../evil.py", "sha256": 3}}')
    with pytest.raises(ConfigError) as caught:
        Run(own, trust_code=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "mark").exists()


def test_bytecode_beside_a_copy_is_not_run(own, tmp_path, monkeypatch):
    [copy] = (own / "code").glob("domain-*.py")
    script = "import sys, py_compile; py_compile.compile(sys.argv[1], cfile=sys.argv[2], dfile=sys.argv[1])"
    evil, cached = (
        tmp_path / "evil.py",
        copy.parent / "__pycache__" / f"{copy.stem}.{sys.implementation.cache_tag}.pyc",
    )
    evil.write_text("raise SystemExit(3)", encoding="utf-8")
    cached.parent.mkdir()
    os.utime(evil, (copy.stat().st_atime, copy.stat().st_mtime))
    subprocess.run([sys.executable, "-c", script, str(evil), str(cached)], check=True)
    shutil.rmtree(tmp_path / "project")
    monkeypatch.chdir(tmp_path)
    assert Run(own, trust_code=True).adapter.classes == ("dot", "bar")


def test_a_hostile_checkpoint_is_not_run_on_resume(plain, tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "mark"), "w")

    torch.save({"epoch": Evil()}, plain / "checkpoints" / "last.ckpt")
    with contextlib.suppress(Exception):
        Run(plain, ["training.epochs=2"]).train(resume=True)
    assert not (tmp_path / "mark").exists()
