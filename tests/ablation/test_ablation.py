"""A study's points and numbers; killed, failed and concurrent workers leave no trial out and run none twice."""

import io
import json
import logging
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from oasis.ablation import workers as module
from oasis.ablation.grid import run_grid
from oasis.ablation.jobs import Listed
from oasis.ablation.loading import load_ablation
from oasis.ablation.search import Searched, run_search
from oasis.ablation.trial import Trial
from oasis.data.mixing import Mixer
from oasis.errors import ConfigError, DataError, MissingExtraError, ModelError, OasisError
from oasis.evaluation.event_table import read_table
from oasis.evaluation.summary import summarise
from oasis.run import Run

TOY = f"{Path(__file__).parents[1] / 'toy_adapter.py'}:ToyAdapter"
FORK = multiprocessing.get_context("fork")
OVERLAP = "loss.region_weights.dot&bar / loss.region_weights.dot"


@pytest.fixture
def study(tmp_path):
    """Write a study file, by default of two campaigns that take half a second, and load it."""

    def build(settings=(), **sections):
        values = {
            "base": {"adapter": TOY, "run": "unused", "training": {"epochs": 1}},
            "run": str(tmp_path / "study"),
            "ratios": {"overlap": OVERLAP},
            "grid": {"overlap": [1, 8]},
        }
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({**values, **sections}, sort_keys=False))
        return load_ablation(path, settings)

    return build


def listed(ablation, split="test"):
    points = [{"overlap": value} for value in ablation.options.grid["overlap"]]
    pairs = tuple((point, seed) for point in points for seed in ablation.seeds)
    return Listed(ablation=ablation, split=split, csv="ablation.csv", points=pairs)


def weights(trial):
    return trial.run.config.loss.region_weights


def test_a_point_sets_keys_ratios_and_whole_tables(study):
    options = study(ratios={"overlap": OVERLAP, "dots": "loss.class_weights.dot / loss.class_weights.bar"})
    trial = options.trial({"overlap": 3, "loss.region_weights": {"dot": 2}, "training.epochs": 7, "dots": 5}, 4)
    assert weights(trial) == {"dot": 2, "dot&bar": 6}
    assert trial.run.config.loss.class_weights == {"dot": 5}
    assert (trial.run.config.training.epochs, trial.run.config.seed) == (7, 4)
    assert weights(options.trial({}, 0)) == {"dot&bar": 4}
    row = options.row(trial, "test")
    assert (row["overlap"], row["dots"], row["loss.region_weights"]) == (3, 5, '{"dot": 2}')


def test_trials_are_told_apart_by_their_configuration_alone(study):
    folders = {study().trial(point, seed).folder for point in ({}, {"overlap": 2}) for seed in (0, 1)}
    assert len(folders) == 4
    assert {folder.parent for folder in folders} == {study().folder / "trials"}
    assert study(grid={}).trial({"overlap": 2}, 1).folder in folders
    assert study(["training.clip=2"]).trial({"overlap": 2}, 1).folder not in folders
    assert study(["training.workers=3"]).trial({"overlap": 2}, 1).folder in folders
    config = study().trial({}, 0).run.config
    assert config.earlier_fingerprint != config.fingerprint
    earlier = study().folder / "trials" / config.earlier_fingerprint
    earlier.mkdir(parents=True)
    assert study().trial({}, 0).folder == earlier


def test_sections_that_are_null_can_be_set(study):
    trial = study().trial({"augmentation.flips": False}, 0)
    assert trial.run.config.augmentation.flips is False


@pytest.mark.parametrize("name", ["ablation", "ablation_small"])
def test_studies_of_the_example_are_equation_6(root, name, monkeypatch):
    monkeypatch.chdir(root)
    ablation = load_ablation(f"examples/migdal/{name}.yaml")
    grid = ablation.options.grid
    assert grid["overlap"] == [1, 2, 4, 8]
    assert name != "ablation" or np.prod([len(values) for values in grid.values()]) == 36
    nominal = {"class": 5, "region": 3, "overlap": 2}
    assert all(value in grid[factor] for factor, value in nominal.items())
    assert set(ablation.options.search) == set(grid)
    trial = ablation.trial(nominal, ablation.seeds[-1])
    loss = trial.run.config.loss
    assert (loss.class_weights, loss.region_weights) == ({"ER": 5, "NR": 1}, {"ER": 3, "NR": 1, "ER&NR": 6})
    assert trial.run.adapter.seed == ablation.base["seed"]
    text = ablation.options.objective
    assert set(text) <= {"|bias_4-5|", "|bias_5-6|", "auc"}


def test_the_grid_is_trained_measured_and_told(study, caplog):
    ablation = study(["data.test=40"], seeds=[3, 5])
    with caplog.at_level(logging.INFO):
        text = run_grid(ablation)
    rows = pd.read_csv(ablation.folder / "ablation.csv")
    assert rows[["overlap", "seed"]].to_numpy().tolist() == [[1, 3], [1, 5], [8, 3], [8, 5]]
    tables = [read_table(ablation.folder / "trials" / run / "events.parquet") for run in rows["run"]]
    for row, table in zip(rows.itertuples(), tables, strict=True):
        summary = summarise(table, ablation.study)
        assert row.auc == pytest.approx(summary.auc.value)
        found = rows.loc[row.Index, ["bias_12-20", "bias_12-20_low", "spread_12-20", "iou_5-12_high"]]
        expected = summary.bins.iloc[1][["bias", "bias_low", "spread"]].tolist() + [summary.bins["iou_high"][0]]
        assert found.tolist() == pytest.approx(expected)
    for table in tables[1:]:
        assert table["id"].equals(tables[0]["id"])
        assert table["intensity_true"].equals(tables[0]["intensity_true"])
        assert not table["intensity_predicted"].equals(tables[0]["intensity_predicted"])
    factors = pd.read_csv(ablation.folder / "factors.csv")
    means = rows["auc"].to_numpy().reshape(2, 2).mean(axis=1)
    assert factors["auc"].tolist() == pytest.approx(means.tolist())
    assert factors["campaigns"].tolist() == [1, 1]
    assert "overlap: mean and standard error over campaigns" in text
    assert (ablation.folder / "overlap.png").stat().st_size > 10_000
    assert "overlap 8, seed 5" in caplog.messages[-1]
    assert caplog.messages[-1].endswith("done; 4 of 4, about 0 s left with 1 worker")
    run = Run(ablation.folder / "trials" / rows["run"][1], trust_code=True)
    assert (run.config.seed, run.adapter.seed) == (5, 0)
    run.separator()


def test_what_is_done_is_not_done_again(study, monkeypatch):
    ablation = study()
    text = run_grid(ablation)
    before = {path: path.stat().st_mtime_ns for path in ablation.folder.glob("trials/*/*")}
    monkeypatch.setattr(Run, "train", None)
    again = load_ablation(ablation.folder, trust_code=True)
    assert run_grid(again) == text
    assert {path: path.stat().st_mtime_ns for path in ablation.folder.glob("trials/*/*")} == before
    with pytest.raises(ModelError, match=r"1 of 3 trials are not done, first .*: see why above"):
        run_grid(study(grid={"overlap": [1, 8, 4]}))
    assert len(pd.read_csv(ablation.folder / "ablation.csv")) == 2


def recorded(monkeypatch, path, ready=None):
    """Write a line with process, folder and `resume` to a file whenever a training begins, here and in forks."""
    original = Run.train

    def train(self, resume=False):
        with path.open("a") as file:
            file.write(f"{os.getpid()} {self.folder} {resume}\n")
        if ready is not None:
            ready()
        return original(self, resume)

    monkeypatch.setattr(Run, "train", train)
    return lambda: [line.split() for line in path.read_text().splitlines()]


def test_workers_at_the_same_time_run_no_trial_twice(study, tmp_path, monkeypatch):
    ablation = study(grid={"overlap": [1, 2, 3, 4, 5]})
    both = FORK.Barrier(2)
    first = []

    def ready():
        if not first:  # until both are in the middle of a trial
            first.append(both.wait(30))

    trainings = recorded(monkeypatch, tmp_path / "log", ready)
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: FORK)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.05)
    assert "5 trials" in run_grid(ablation, workers=2)
    processes, folders, _ = zip(*trainings(), strict=True)
    assert len(set(processes)) == 2
    assert len(folders) == len(set(folders)) == 5


def test_a_worker_that_is_killed_loses_nothing(study, tmp_path, monkeypatch):
    ablation = study(["training.epochs=3"])
    jobs = listed(ablation)
    killed, other = jobs.trials()
    here, original = os.getpid(), Mixer.sample

    def sample(self, index, epoch):
        while self.split == "train" and epoch == 1 and os.getpid() != here:
            time.sleep(0.01)
        return original(self, index, epoch)

    monkeypatch.setattr(Mixer, "sample", sample)
    trainings = recorded(monkeypatch, tmp_path / "log")
    worker = FORK.Process(target=module.work, args=(jobs,), daemon=True)
    worker.start()
    checkpoint = killed.folder / "checkpoints/last.ckpt"
    while not checkpoint.exists():
        time.sleep(0.02)
    free = killed.attempt("test")
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert not free
    log = (killed.folder / "log.csv").read_text()
    assert (len(log.splitlines()), killed.state["trained"]) == (2, False)

    module.work(jobs)
    assert trainings() == [
        [str(worker.pid), str(killed.folder), "False"],
        [str(here), str(killed.folder), "True"],
        [str(here), str(other.folder), "False"],
    ]
    assert (killed.folder / "log.csv").read_text().startswith(log)
    uninterrupted = study(["training.epochs=3"], run=str(tmp_path / "whole")).trial(killed.point, 0)
    assert uninterrupted.attempt("test")
    assert uninterrupted.metrics("test") == killed.metrics("test")
    one, two = (trial.run.separator().state_dict() for trial in (killed, uninterrupted))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_trials_of_earlier_versions_are_known(study):
    trial = study().trial({}, 0)
    trial.folder.mkdir(parents=True)
    old = {"trained": True, "seconds": 3.0, "numbers": {"test": {"auc": 0.5}}, "point": {}}
    (trial.folder / "trial.json").write_text(json.dumps(old))
    assert trial.metrics("test") == {"auc": 0.5}
    trial.record(seconds=4.0)
    assert trial.state == {"trained": True, "seconds": 4.0, "metrics": {"test": {"auc": 0.5}}, "point": {}}


def test_a_trial_that_is_killed_while_measured_is_not_trained_on(study, monkeypatch):
    trial = study().trial({}, 0)
    with monkeypatch.context() as patched:
        patched.setattr(Run, "measure", interrupt)
        with pytest.raises(KeyboardInterrupt):
            trial.attempt("test")
    assert trial.state["trained"]
    monkeypatch.setattr(Run, "train", None)
    assert trial.attempt("test")
    assert trial.metrics("test")["auc"] >= 0
    assert trial.attempt("val")
    assert set(trial.state["metrics"]) == {"test", "val"}
    assert trial.run.files.events("val").exists()


def interrupt(*_, **__):
    raise KeyboardInterrupt


def test_ctrl_c_ends_the_work_and_frees_the_trial(study, monkeypatch):
    ablation = study()
    with monkeypatch.context() as patched:
        patched.setattr(Run, "train", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_grid(ablation)
    assert "2 trials" in run_grid(ablation)


def test_ctrl_c_ends_the_workers(study, tmp_path, monkeypatch):
    ablation = study()
    with monkeypatch.context() as patched:
        trainings = recorded(patched, tmp_path / "log", ready=lambda: time.sleep(60))
        patched.setattr(multiprocessing, "get_context", lambda _: FORK)
        command = FORK.Process(target=run_grid, args=(ablation, 2))
        command.start()
        while not (tmp_path / "log").exists() or len(trainings()) < 2:
            time.sleep(0.02)
        os.kill(command.pid, signal.SIGINT)
        command.join()
    for process, _, _ in trainings():
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)
    assert "2 trials" in run_grid(ablation)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_when_the_command_is_killed(study, tmp_path, processes):
    settings = ["--set", "training.epochs=10000", "--set", "training.workers=0"]
    command = [sys.executable, "-m", "oasis", "ablate", str(tmp_path / "study.yaml"), "--workers", "2", *settings]
    study()
    parent = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    logs = tmp_path / "study/trials"
    try:
        processes.wait_for(lambda: len(list(logs.glob("*/log.csv"))) == 2)
        started = processes.descendants(parent.pid)
        assert len(started) >= 2
    finally:
        parent.kill()
    processes.wait_for(lambda: not any(map(processes.alive, started)))


def test_workers_are_given_what_they_can_unpickle_and_their_share_of_threads(study, monkeypatch):
    given = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    monkeypatch.setattr(logging, "basicConfig", lambda **options: given.append(options["format"]))
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    stream.isatty = lambda: True
    monkeypatch.setattr(module, "work", lambda jobs, workers: given.extend([jobs, workers]))
    jobs = listed(study())
    module._worker(pickle.loads(pickle.dumps(jobs)), 1, 3, logging.INFO)
    assert given == ["worker 1: %(message)s", 2, jobs, 3]
    assert not stream.isatty()


def test_a_trial_that_fails_does_not_stop_the_others(study, monkeypatch, caplog):
    original = Run.train

    def train(self, resume=False):
        if self.config.seed == 1:
            raise ModelError("it diverged")
        if self.config.seed == 2:
            raise RuntimeError("out of memory")
        return original(self, resume)

    monkeypatch.setattr(Run, "train", train)
    ablation = study(seeds=[1, 2, 3], grid={"overlap": [8]})
    with pytest.raises(ModelError, match="2 of 3 trials are not done"):
        run_grid(ablation)
    assert [record.exc_info is None or not record.exc_info for record in caplog.records[:2]] == [True, False]
    assert "failed: it diverged" in caplog.text
    assert pd.read_csv(ablation.folder / "ablation.csv")["seed"].tolist() == [3]


def test_the_time_left_is_that_of_all_workers(study, caplog, monkeypatch):
    ablation = study(seeds=[0, 1])
    jobs = listed(ablation)
    for trial, seconds in zip(jobs.trials(), (7200, 3600), strict=False):
        trial.folder.mkdir(parents=True)
        trial.record(trained=True, metrics={"test": {"auc": 0.5}}, seconds=seconds)
    with caplog.at_level(logging.INFO):
        module.tell(jobs, jobs.trials(), jobs.trials()[1], 2)
        module.tell(replace(jobs, points=jobs.points[:3]), jobs.trials(), jobs.trials()[1], 3)
    assert caplog.messages[0].endswith("done; 2 of 4, about 90 min left with 2 workers")
    assert caplog.messages[1].endswith("done; 2 of 3, about 30 min left with 3 workers")


SEARCH = {
    "search": {"overlap": {"low": 1, "high": 64, "log": True}, "loss.region_weights": [{}, {"dot": 1.0}]},
    "objective": {"|bias_5-12|": 2, "auc": -1},
}


def formula(self, split):
    """In the place of a training: no bias at an overlap of 8."""
    value = weights(self)["dot&bar"]
    self.folder.mkdir(parents=True, exist_ok=True)
    self.record(trained=True, metrics={split: {"bias_5-12": np.log2(value / 8), "auc": 0.5}}, seconds=1.0)
    return True


def searched(ablation, total):
    jobs = Searched(ablation=ablation, total=total)
    module.work(jobs)
    return [jobs.objective(trial) for trial in jobs.trials()]


def test_a_search_comes_close_to_the_least_objective(study, monkeypatch):
    monkeypatch.setattr(Trial, "attempt", formula)
    ablation = study(**SEARCH)
    found = searched(ablation, 20)
    assert len(found) == 20
    assert min(found) == pytest.approx(-0.5, abs=0.3)
    assert np.median(found[10:]) < np.median(found[:10]) / 2
    rows = pd.read_csv(ablation.folder / "search.csv")
    expected = 2 * np.abs(np.log2(rows["overlap"] / 8)) - 0.5
    np.testing.assert_allclose(rows["objective"], expected, atol=1e-4)
    assert searched(ablation, 5) == found[:5]
    assert searched(ablation, 21)[:20] == found


def test_a_proposal_whose_worker_was_killed_is_taken_up_first(study, monkeypatch):
    monkeypatch.setattr(Trial, "attempt", formula)
    ablation = study(**SEARCH)
    jobs = Searched(ablation=ablation, total=2)
    ablation.folder.mkdir()
    assert jobs.extend(0)
    lost = jobs.trials()
    assert np.isnan(jobs.objective(lost[0]))
    searched(ablation, 2)
    assert np.isfinite(jobs.objective(lost[0]))
    assert [trial.folder for trial in jobs.trials()][:1] == [lost[0].folder]


def test_workers_do_not_propose_what_another_has_proposed(study):
    ablation = study(**SEARCH)
    ablation.folder.mkdir()
    jobs = Searched(ablation=ablation, total=2)
    assert [jobs.extend(0), jobs.extend(0), len(jobs.trials())] == [True, True, 1]
    assert [jobs.extend(1), jobs.extend(2), len(jobs.trials())] == [True, False, 2]
    assert jobs.trials()[0].point != jobs.trials()[1].point


def test_the_best_point_is_compared_with_the_base_on_test_events(study):
    ablation = study(["data.val=20"], seeds=[0, 1], **SEARCH)
    text = run_search(ablation, trials=2)
    rows = pd.read_csv(ablation.folder / "search.csv")
    finals = pd.read_csv(ablation.folder / "search_test.csv")
    assert text.startswith("best of 2: overlap ")
    assert f"objective {rows['objective'].min():.4g}" in text.splitlines()[0]
    best = rows.loc[rows["objective"].idxmin()]
    name = next(iter(SEARCH["objective"])).strip("|")
    stated = f"{name} {best[name]:.4g} [{best[name + '_low']:.4g}, {best[name + '_high']:.4g}]"
    assert text.splitlines()[1].startswith(f"on validation events: {stated}")
    assert finals["seed"].tolist() == [0, 1, 0, 1]
    assert finals["run"][2] == rows["run"][rows["objective"].idxmin()]
    assert "dot of best against base on the same 7 events" in text
    assert "single seed" not in text
    assert (ablation.folder / "search.txt").read_text() == text + "\n"
    with pytest.raises(ConfigError, match="contains a search of another space: choose another folder"):
        run_search(study(**{**SEARCH, "search": {"overlap": [1, 2]}}))


@pytest.mark.parametrize(
    "params",
    [
        1,
        {},
        {"overlap": 2.0, "loss.region_weights": 2},
        {"overlap": 2.0, "loss.region_weights": True},
        {"overlap": 65, "loss.region_weights": 0},
        {"overlap": float("nan"), "loss.region_weights": 0},
        {"overlap": "evil.py:build", "loss.region_weights": 0},
        {"overlap": 2.0, "loss.region_weights": 0, "model.name": "evil.py:build"},
    ],
)
def test_a_proposal_outside_of_the_space_is_refused(study, params):
    jobs = Searched(ablation=study(**SEARCH), total=2)
    jobs.ablation.folder.mkdir(parents=True)
    text = json.dumps({"space": jobs._space(), "proposals": [params]})
    (jobs.ablation.folder / "search.json").write_text(text)
    with pytest.raises(ConfigError, match=r"search\.json: proposal 0 is .* not a point in the space"):
        jobs.trials()


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"trained": "no", "seconds": 1, "metrics": {}},
        {"trained": True, "seconds": "1", "metrics": {}},
        {"trained": True, "seconds": 1, "metrics": {"val": 3}},
        {"trained": True, "seconds": 1, "metrics": {"val": {"auc": "x"}}},
        {"trained": True, "seconds": 1, "metrics": {"val": {"auc": None}}},
    ],
)
def test_a_damaged_state_of_a_trial_is_refused(study, state):
    trial = study().trial({}, 0)
    trial.folder.mkdir(parents=True)
    (trial.folder / "trial.json").write_text(json.dumps(state))
    with pytest.raises(DataError, match=r"trial\.json: not the state of a trial"):
        trial.metrics("val")


def test_a_search_without_any_number_says_so(study, monkeypatch):
    monkeypatch.setattr(Trial, "attempt", fail)
    with pytest.raises(ModelError, match="no trial has an objective"):
        run_search(study(**SEARCH), trials=1)


def fail(*_):
    raise ModelError("it diverged")


def test_a_search_needs_optuna(study, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'oasis-seg\[ablate\]'"):
        run_search(study(**SEARCH))
    with pytest.raises(ConfigError, match="a search needs the sections search and objective"):
        run_search(study())


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"gird": {}}, "gird: unknown key; did you mean 'grid'"),
        ({"base": "nowhere.yaml"}, "nowhere.yaml: no such file"),
        ({"base": {"adapter": TOY, "run": "x", "sede": 1}}, "base: sede: unknown key; did you mean 'seed'"),
        ({"changes": {"training.epoch": 3}}, "training.epoch: unknown key; did you mean 'epochs'"),
        ({"changes": {"seed.x": 3}}, "seed.x: seed is not a section"),
        (
            {"changes": {"training.devices": 2}},
            "training.devices, training.nodes: a trial has one device, found 2",
        ),
        ({"grid": {"training.epochs": []}}, "grid: expected at least one value of training.epochs"),
        ({"grid": {"training.epochs": [0]}}, "training.epochs 0: training.epochs: .*found 0"),
        ({"grid": {"loss.regoin_weights.dot": [1]}}, "did you mean 'region_weights'"),
        ({"grid": {"overlap": ["high"]}}, "overlap: expected a number, as it is part of a ratio, found 'high'"),
        ({"ratios": {"overlap": "seed"}}, "ratios: expected 'above.key / below.key' instead of 'seed'"),
        (
            {"ratios": {"x": "loss.region_weights.dott / loss.region_weights.dot"}},
            "ratios.x: .*did you mean 'dot'",
        ),
        ({"bin": [5, 9]}, r"bin: the study has no 5-9; known: 5-12, 12-20"),
        ({"objective": {"|bias_5-21|": 1}}, "objective: unknown '|bias_5-21|'; did you mean 'bias_5-12'"),
        ({"search": {"seed": {"low": 2, "high": 1}}}, "low < high"),
        ({"search": {"seed": {"low": 0, "high": 1, "log": True}}}, "low > 0 with log"),
    ],
)
def test_mistakes_are_named_in_one_line(study, sections, message):
    with pytest.raises(OasisError, match=message.replace("|", r"\|")) as error:
        run_grid(study(**sections))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", ["epochs", "=3", "seed=["])
def test_changes_that_cannot_be_read(study, change):
    with pytest.raises(ConfigError, match="--set"):
        study([change])


def test_a_study_keeps_its_base_in_its_folder(study, tmp_path):
    base = tmp_path / "base.yaml"
    base.write_text(yaml.safe_dump({"adapter": TOY, "run": "unused", "training": {"epochs": 1}}))
    ablation = study(base="base.yaml", grid={}, run=str(tmp_path / "other"))
    ablation = load_ablation(tmp_path / "study.yaml", ["loss.smoothness=0"], tmp_path / "study")
    run_grid(ablation)
    base.unlink()
    again = load_ablation(tmp_path / "study", trust_code=True)
    assert (again.options, again.base) == (ablation.options, ablation.base)
    assert again.trial({}, 0).metrics("test") is not None


def test_an_adapter_without_a_study_has_nothing_to_measure(tmp_path):
    (tmp_path / "plain.py").write_text(
        f"from oasis.adapters import find_adapter\nclass Plain(find_adapter({TOY!r})):\n    study = None\n"
    )
    (tmp_path / "x.yaml").write_text(f"base: {{adapter: '{tmp_path / 'plain.py'}:Plain', run: x}}\nrun: y")
    with pytest.raises(ConfigError, match="states no study"):
        load_ablation(tmp_path / "x.yaml")
