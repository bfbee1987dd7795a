"""No command writes over what it reads, over a run, or over what is not its own."""

import os
import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml

from oasis.cli import run as command
from oasis.errors import DataError
from oasis.io.files import replace_alone
from oasis.io.outputs import check_outputs, is_converted, is_maps, is_report, is_simulated
from oasis.run import Run

WAVES = np.random.default_rng(0).normal(size=(3, 1024))


@pytest.fixture
def place(pulses_run, tmp_path, monkeypatch):
    """A folder with a run and images of several kinds, which is the current one."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pulses_run, "run")
    np.savetxt("waves.csv", WAVES, delimiter=",")
    np.savez("f.npz", image=WAVES)
    np.save("f.npy", WAVES)
    Path("folder").mkdir()
    with h5py.File("folder/a.h5", "w") as file:
        file["image"] = WAVES
    np.save("folder/b.npy", WAVES)
    (tmp_path / "folder/c.csv").write_text("1,2\n")
    Path("notes.h5").write_text("mine")
    Path("notes.csv").write_text("mine")
    Path("notes.html").write_text("mine")
    return tmp_path


def contents(folder):
    """Every file by its path, but for the lock of a run."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path: path.read_bytes() for path in files}


def refused(arguments, place, capsys, *words):
    before = contents(place)
    assert command(arguments) == 2
    errors = capsys.readouterr().err
    assert len(errors.strip().splitlines()) == 1
    for word in words:
        assert word in errors
    assert contents(place) == before


LINKS = {
    "relative": lambda path: path,
    "absolute": lambda path: str(Path(path).absolute()),
    "dots": lambda path: f"folder/../{path}",
    "link": lambda path: linked(os.symlink, path),
    "hard link": lambda path: linked(os.link, path),
}


def linked(make, path):
    path = Path(path)
    link = path.with_name(f"link{path.suffix}")
    make(path.absolute(), link)
    return str(link)


@pytest.mark.parametrize("how", LINKS)
@pytest.mark.parametrize(
    ("source", "out"),
    [("waves.csv", "waves.h5"), ("f.npz", "f.npz"), ("folder", "folder/a.h5"), ("folder", "folder/c.npz")],
)
def test_predict_writes_over_nothing_that_it_reads(place, capsys, how, source, out):
    if Path(out).exists():
        out = LINKS[how](out)
    elif how not in ("relative", "hard link"):  # folders have none
        source = LINKS[how](source)
        out = str(Path(source).with_suffix(Path(out).suffix)) if Path(source).is_file() else out
    for force in ([], ["--force"]):
        refused(["predict", "run", source, "--out", out, *force], place, capsys, "would overwrite")


def test_a_dark_frame_is_read_too(place, capsys):
    refused(
        ["predict", "run", "f.npy", "--out", "f.npz", "--dark", "f.npz"],
        place,
        capsys,
        "overwrite the input f.npz",
    )


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        (["predict", "run", "f.npy"], "run/model.npz"),
        (["simulate", "run"], "run/model.safetensors"),
        (["simulate", "run"], "run/../run/config.yaml"),
        (["simulate", "run"], "run/checkpoints/last.ckpt"),
        (["simulate", "run"], "run/figures/new.h5"),
        (["simulate", "run"], "run/events_val.parquet"),
        (["report", "run", "--events", "0"], "run/log.csv"),
        (["convert", "f.npy"], "run/config.json"),
    ],
)
@pytest.mark.parametrize("force", [[], ["--force"]])
def test_no_command_writes_over_a_run(place, capsys, arguments, out, force):
    if out == "run/model.npz":  # no file of a run
        assert command([*arguments, "--out", out]) == 0
        return
    refused(
        [*arguments, "--out", out, *force], place, capsys, "is a file of the run" if "log" not in out else "log"
    )
    os.symlink(place / "run", place / "other")
    refused([*arguments, "--out", out.replace("run/", "other/"), *force], place, capsys)


def test_a_report_of_one_run_is_no_file_of_another(place, capsys):
    shutil.copytree("run", "second")
    assert command(["report", "second", "--events", "0"]) == 0
    assert command(["report", "second", "--events", "0"]) == 0
    capsys.readouterr()
    refused(["report", "run", "--out", "second/report.html"], place, capsys, "is a file of the run")


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        (["predict", "run", "f.npy"], "notes.h5"),
        (["predict", "run", "f.npy"], "notes.npz"),
        (["simulate", "run"], "notes.h5"),
        (["report", "run", "--events", "0"], "notes.html"),
    ],
)
def test_what_is_not_the_commands_own_is_replaced_with_force_only(place, capsys, arguments, out):
    refused([*arguments, "--out", out], place, capsys, "exists and is not an earlier output", "--force")
    assert command([*arguments, "--out", out, "--force"]) == 0
    assert command([*arguments, "--out", out]) == 0  # an earlier output by now


def test_an_output_of_another_command_is_not_its_own(place, capsys):
    assert command(["simulate", "run", "--out", "samples.h5"]) == 0
    assert command(["predict", "run", "f.npy", "--out", "maps.h5"]) == 0
    capsys.readouterr()
    refused(["predict", "run", "f.npy", "--out", "samples.h5"], place, capsys, "not an earlier output")
    refused(["simulate", "run", "--out", "maps.h5"], place, capsys, "not an earlier output")
    assert [is_maps(Path("maps.h5")), is_simulated(Path("samples.h5"))] == [True, True]
    assert not is_converted(Path("samples.h5"))


def test_earlier_maps_in_the_folder_that_is_read_are_replaced(place):
    for _ in range(2):
        assert command(["predict", "run", "folder", "--out", "folder/maps.npz"]) in (0, 2)  # c.csv is no waveform
        assert is_maps(Path("folder/maps.npz"))


def test_convert_writes_over_nothing_that_it_reads(place, capsys):
    with open("ok.pkl", "wb") as file:
        pickle.dump([WAVES], file)
    refused(["convert", "ok.pkl", "--out", "ok.pkl"], place, capsys, "would overwrite the input")
    refused(["convert", "folder", "--out", "folder/a.h5", "--force"], place, capsys, "would overwrite")
    refused(["convert", "ok.pkl", "--out", "notes.h5"], place, capsys, "not an earlier output")
    Path("new.h5.left_out.csv").write_text("mine")
    refused(["convert", "ok.pkl", "--out", "new.h5", "--adapter", "galaxy"], place, capsys, "left_out")


@pytest.mark.parametrize(
    ("arguments", "out"),
    [
        (["simulate", "run"], "samples.h5"),
        (["predict", "run", "f.npy"], "maps.h5"),
        (["predict", "run", "f.npy"], "maps.npz"),
        (["export", "run", "--format", "torch"], "program.pt2"),
    ],
)
def test_two_commands_do_not_write_one_output(place, capsys, arguments, out):
    with replace_alone(place / out) as temporary:
        temporary.write_bytes(b"first")
        refused([*arguments, "--out", out], place, capsys, f"{out}: process {os.getpid()} is writing it")
    assert Path(out).read_bytes() == b"first"


def test_simulate_writes_over_no_file_that_its_configuration_names(place, capsys):
    assert command(["simulate", "run", "--out", "train.h5", "--split", "train"]) == 0
    values = yaml.safe_load(Path("run/config.yaml").read_text())
    values["data"]["files"] = {"train": "train.h5"}
    Path("own.yaml").write_text(yaml.safe_dump(values))
    refused(
        ["simulate", "own.yaml", "--out", "train.h5", "--force"], place, capsys, "overwrite the input train.h5"
    )
    refused(
        ["simulate", "own.yaml", "--out", "own.yaml", "--force"], place, capsys, "overwrite the input own.yaml"
    )


@pytest.mark.parametrize(
    "name",
    ["config.yaml", "config.json", "log.csv", "model.safetensors", "checkpoints/best.ckpt", "code/index.json"],
)
def test_training_does_not_begin_over_files_of_others(place, capsys, name):
    values = yaml.safe_load(Path("run/config.yaml").read_text())
    Path("mine", name).parent.mkdir(parents=True)
    Path("own.yaml").write_text(
        yaml.safe_dump({key: values[key] for key in ("adapter", "data", "model", "training")})
    )
    Path("mine", name).write_text("kind: mine")
    refused(["train", "own.yaml", "--run", "mine"], place, capsys, Path(name).name)


def test_training_does_not_write_over_its_configuration(place, capsys):
    values = yaml.safe_load(Path("run/config.yaml").read_text())
    Path("new").mkdir()
    Path("new/config.yaml").write_text(yaml.safe_dump({**values, "run": "new"}))
    refused(["train", "new/config.yaml"], place, capsys, "would overwrite the input")


def test_a_training_that_was_killed_in_its_first_epoch_begins_again(place):
    run = Run.from_config("run/config.yaml", ["run=again"])
    run.save()
    assert command(["train", "run/config.yaml", "--run", "again"]) == 0


def test_what_a_first_epoch_left_is_no_run_but_a_run_without_checkpoints_is(place, monkeypatch, capsys):
    def fails(trainer, path):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr("lightning.Trainer.save_checkpoint", fails)
        assert command(["train", "run/config.yaml", "--run", "again"]) == 2
    assert Path("again/model.safetensors").exists()
    assert command(["train", "run/config.yaml", "--run", "again"]) == 0
    shutil.rmtree("again/checkpoints")
    capsys.readouterr()
    assert command(["train", "run/config.yaml", "--run", "again"]) == 2
    assert "contains a run already" in capsys.readouterr().err


def test_an_ablation_does_not_write_over_its_file(place, capsys):
    study = {"base": "run/config.yaml", "run": ".", "grid": {"seed": [1]}}
    Path("ablation.yaml").write_text(yaml.safe_dump(study))
    refused(["ablate", "ablation.yaml"], place, capsys, "would overwrite the input")
    Path("study.yaml").write_text(yaml.safe_dump({**study, "run": "mine"}))
    Path("mine").mkdir()
    Path("mine/ablation.csv").write_text("mine")
    refused(["ablate", "study.yaml"], place, capsys, "ablation.csv")
    Path("mine/ablation.csv").rename("mine/seed.png")
    refused(["ablate", "study.yaml"], place, capsys, "seed.png")


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\0" * 100, b"<title>Report"])
def test_a_file_that_cannot_be_read_is_nobodys(tmp_path, content):
    out = tmp_path / "out.h5"
    out.write_bytes(content)
    for recogniser in (is_maps, is_simulated, is_converted, is_report):
        with pytest.raises(DataError, match="not an earlier output"):
            check_outputs({out: recogniser}, force=False)
        check_outputs({out: recogniser}, force=True)


def test_odd_paths(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for out in (loop, tmp_path / "folder", tmp_path / "dangling"):
        with pytest.raises(DataError, match="not an earlier output"):
            check_outputs({out: is_maps}, [tmp_path / "nowhere"])
    check_outputs({tmp_path / "new": is_maps}, [tmp_path])
