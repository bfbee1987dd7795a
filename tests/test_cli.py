import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from oasis import cli
from oasis.data.sample_files import SampleFile

WITHOUT_RUNS = ("convert", "models", "adapters", "trian")


def run(arguments):
    """Run a command on runs of the toy adapter, whose code is in a file."""
    trust = [] if arguments[0] in WITHOUT_RUNS else ["--trust-code"]
    return cli.run([*arguments, *trust])


@pytest.fixture
def config(tmp_path, toy_values):
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(toy_values))
    return path


def test_train_evaluate_predict(tmp_path, config, capsys):
    folder = tmp_path / "run"
    assert run(["train", str(config), "--set", "training.epochs=1"]) == 0
    assert run(["evaluate", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "ROC AUC" in printed
    table = pd.read_parquet(folder / "events.parquet")
    assert len(table) == 14
    figures = {path.name for path in (folder / "figures").iterdir()}
    assert figures == {"intensity.png", "bias.png", "iou.png", "roc.png", "gallery.png"}
    np.save(tmp_path / "frame.npy", np.random.default_rng(0).exponential(9, (24, 20)))
    separate = ["predict", str(folder), str(tmp_path / "frame.npy"), "--out", str(tmp_path / "m.h5")]
    assert run(separate) == 0
    assert (tmp_path / "m.h5").exists()
    assert "single objects" not in capsys.readouterr().out
    assert run([*separate, "--set", "grouping={dot: {}}"]) == 0
    printed = capsys.readouterr().out
    for name in ("m.csv: intensities", "m_instances.csv: single objects"):
        assert str(tmp_path / name) in printed
        assert (tmp_path / name.split(":")[0]).exists()
    assert run(["train", "--resume", str(folder), "--set", "training.epochs=2"]) == 0


def test_progress_is_the_same_line_after_every_epoch(tmp_path, config, server):
    command = ["train", str(config), "--set", "training.epochs=2"]
    done = subprocess.run([sys.executable, "-m", "oasis", *command], capture_output=True, check=True)
    first, second = done.stderr.decode().splitlines()
    words = r"epoch {} of 2: loss \d\S*, validation \d\S* \(best.*\), \d\S* samples/s, \d+ s"
    assert re.fullmatch(words.format(1) + r"; at most \d+ s left", first)
    assert re.fullmatch(words.format(2), second)
    quiet = server.run(*command, "--run", "quiet", "--quiet", cwd=tmp_path)
    assert (quiet.code, quiet.err) == (0, "")


def test_simulate(tmp_path, config):
    assert run(["simulate", str(config), "--split", "val", "--out", str(tmp_path / "val.h5")]) == 0
    file = SampleFile(tmp_path / "val.h5")
    assert len(file) == 6
    assert file.classes == ("dot", "bar")
    assert file.attributes["split"] == "val"


def test_adapters(capsys):
    assert run(["adapters"]) == 0
    assert "migdal: Electron recoils (ER) under nuclear recoils" in capsys.readouterr().out


def test_regions(config, capsys):
    assert run(["regions", str(config), "--split", "test", "--samples", "4"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("4 samples with 1,920 valid pixels in 4 of 4 regions")
    assert "intensity in counts: dot" in printed
    assert [line.split()[0] for line in printed.splitlines()[-4:]] == ["background", "dot", "bar", "dot&bar"]


def test_info(toy_run, capsys):
    assert run(["info", str(toy_run)]) == 0
    printed = capsys.readouterr().out
    for words in ("dot, bar in counts", "name: unet, base_channels: 4", "2 of at most 2; the", "dot&bar     4"):
        assert words in printed


def test_a_run_that_lost_a_file(tmp_path, toy_run, capsys):
    shutil.copytree(toy_run, tmp_path / "run")
    (tmp_path / "run" / "region_weights.csv").unlink()
    assert run(["info", str(tmp_path / "run")]) == 2
    assert "region_weights.csv: no such file" in capsys.readouterr().err


def test_models(capsys):
    assert run(["models", "u*"]) == 0
    assert capsys.readouterr().out == "unet\n"


def test_a_run_is_calibrated_and_reported(tmp_path, config, capsys):
    folder = tmp_path / "run"
    more = ["--set", "training.epochs=1", "--set", "data.val=120"]
    assert run(["train", str(config), *more]) == 0
    assert run(["calibrate", str(folder)]) == 0
    assert "fitted to 120 events of val" in capsys.readouterr().out
    moved = folder.rename(tmp_path / "moved")
    assert run(["evaluate", str(moved)]) == 0
    table = pd.read_parquet(moved / "events.parquet")
    assert (table["intensity_low"] <= table["intensity_high"]).all()
    assert not folder.exists()
    assert run(["report", str(moved), "--out", str(tmp_path / "page.html"), "--events", "3"]) == 0
    assert "<html" in (tmp_path / "page.html").read_text()


def test_predictions_of_a_calibrated_run_have_intervals(tmp_path, config, capsys):
    folder, frames = tmp_path / "run", tmp_path / "frames.npy"
    more = ["--set", "training.epochs=1", "--set", "data.val=120", "--set", "calibration.spread=intensity_spread"]
    assert run(["train", str(config), "--run", str(folder), *more]) == 0
    np.save(frames, np.random.default_rng(0).exponential(9, (3, 24, 20)).astype(np.float32))
    predict = ["predict", str(folder), str(frames), "--out", str(tmp_path / "m.h5")]
    assert run(predict) == 0
    assert "intensities\n" in capsys.readouterr().out
    plain = pd.read_csv(tmp_path / "m.csv")
    assert run(["calibrate", str(folder)]) == 0
    assert run(predict) == 0
    assert "intensities with intervals\n" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "m.csv")
    pd.testing.assert_frame_equal(table[list(plain)], plain)
    assert list(table[["source", "frame", "class"]].iloc[3]) == [str(frames), 1, "bar"]
    assert (table["intensity_low"] <= table["intensity_calibrated"]).all()
    assert (table["intensity_calibrated"] <= table["intensity_high"]).all()
    assert (table["intensity_spread"] > 0).all()
    assert run(["evaluate", str(folder)]) == 0
    assert "intensity_spread" in pd.read_parquet(folder / "events.parquet")


def test_runs_are_compared(tmp_path, toy_run, capsys):
    folders = [tmp_path / "one", tmp_path / "two"]
    shutil.copytree(toy_run, folders[0])
    assert run(["evaluate", str(folders[0]), "--quiet"]) == 0
    shutil.copytree(*folders)
    capsys.readouterr()
    assert run(["compare", *map(str, folders)]) == 0
    assert "two" in capsys.readouterr().out


def test_a_run_may_be_named_by_digits(tmp_path, config, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["train", str(config), "--run", "007", "--set", "training.epochs=1"]) == 0
    assert run(["info", "007"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "give either a configuration or --resume"),
        (["train", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["train", "{config}", "--set", "training.epoch=3"], "did you mean 'epochs'"),
        (["train", "{config}", "--set", "loss.class_weights={{dott: 3}}"], "did you mean 'dot'"),
        (["train", "{config}", "--set", "loss.class_weights={{dot: -3}}"], "at least 0"),
        (["train", "--resume", "nowhere"], "nowhere"),
        (["trian", "{config}"], "No such command 'trian'"),
        (["train", "{config}", "--epochs", "3"], "is changed by --set training.epochs=20"),
        (["train", "{config}", "training.epochs=3"], "is changed by --set training.epochs=20"),
        (["evaluate", "nowhere"], "nowhere"),
        (["predict", "nowhere", "x.npy", "--out", "m.h5"], "nowhere"),
        (["predict", "{run}", "x.npy", "--out", "m.h5"], "x.npy: no such file"),
        (["predict", "{run}", "x.npy"], "Missing option '--out'"),
        (["evaluate", "{run}", "--split", "tset"], "tset"),
        (["regions", "{config}", "--split", "tset"], "tset"),
        (["regions", "{config}", "--samples", "0"], "greater than or equal to 1"),
        (["info", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
        (["compare", "nowhere", "x"], "nowhere"),
        (["compare", "{run}"], "give two or more runs"),
        (["ablate", "nowhere.yaml"], "nowhere.yaml"),
        (["calibrate", "{run}"], "too few to calibrate: give 50"),
        (["models", "x*"], "no model matches 'x*'; try unet, smp/*"),
        (["models", "smp/*", "timm/*"], "unexpected extra argument"),
        (["convert", "x.pkl", "--out", "y.h5"], "x.pkl"),
        (["simulate", "{config}", "--out", "/proc/none/x.h5"], "/proc/none/x.h5: cannot be written"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, message, config, toy_run, capsys):
    arguments = [part.format(config=config, run=toy_run) for part in arguments]
    assert run(arguments) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert "Traceback" not in errors


def test_a_run_is_not_overwritten(config, toy_run, capsys):
    before = (toy_run / "model.safetensors").stat().st_mtime_ns
    assert run(["train", str(config), "--run", str(toy_run)]) == 2
    assert "contains a run already" in capsys.readouterr().err
    assert (toy_run / "model.safetensors").stat().st_mtime_ns == before


def test_a_checkpoint_of_other_classes(tmp_path, toy_run, capsys):
    text = (toy_run / "config.yaml").read_text()
    values = yaml.safe_load(text)
    values.update(adapter="migdal", data={}, loss={}, thresholds=None, run=str(toy_run))
    (toy_run / "config.yaml").write_text(yaml.safe_dump(values))
    try:
        assert run(["evaluate", str(toy_run)]) == 2
        assert "the two files are not of one run" in capsys.readouterr().err
    finally:
        (toy_run / "config.yaml").write_text(text)


def test_part_of_a_folder_fails(tmp_path, toy_run, capsys):
    folder = tmp_path / "frames"
    folder.mkdir()
    np.save(folder / "a.npy", np.ones((24, 20)))
    np.save(folder / "b.npy", np.full((24, 20), np.nan))
    assert run(["predict", str(toy_run), str(folder), "--out", str(tmp_path / "m.npz")]) == 2
    streams = capsys.readouterr()
    assert "b.npy" in streams.err
    assert "maps of 1 image;" in streams.out


def test_the_installed_command_and_help():
    done = subprocess.run([sys.executable, "-m", "oasis", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    verbs = "train evaluate predict simulate convert adapters regions info models calibrate report compare ablate"
    for verb in verbs.split():
        assert verb in done.stdout
