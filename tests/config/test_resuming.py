"""Which settings may change when a run goes on, and that the rest of the training obeys them."""

import shutil

import pytest
import torch

from oasis.config.resuming import FREE, check_resumable
from oasis.config.schema import RunConfig
from oasis.errors import ConfigError, OasisError
from oasis.run import Run


def test_free_keys_exist():
    for key in FREE:
        section, _, name = key.partition(".")
        assert section in RunConfig.model_fields
        assert not name or name in RunConfig.model_fields[section].annotation.model_fields


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 3}, "seed: cannot change in a run that has begun: it has 0, found 3; leave it as it is"),
        ({"data": {"train": 17}}, "data.train: cannot change .*: it has 16, found 17"),
        ({"model": {"name": "unet", "base_channels": 8}}, "model.base_channels: .* 4, found 8"),
        ({"head": {"name": "softplus"}}, "head.name: .*: it has 'fraction', found 'softplus'"),
        ({"loss": {"smoothness": 1}}, "loss.smoothness: "),
        ({"loss": {"region_weights": {"dot": 2}}}, "loss.region_weights.dot"),
        ({"augmentation": {}}, "augmentation"),
        ({"training": {"schedule": "onecycle"}}, "training.schedule: .*: it has 'constant', found 'onecycle'"),
    ],
)
def test_what_a_training_cannot_obey_is_refused(toy_values, change, message):
    begun = Run.from_values(toy_values).config
    with pytest.raises(ConfigError, match=f"^{message}") as caught:
        check_resumable(begun, Run.from_values({**toy_values, **change}).config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"run": "elsewhere"},
        {"calibration": {"coverage": 0.5}},
        *(
            {"training": {key: value}}
            for key, value in {
                "epochs": 9,
                "batch_size": 2,
                "learning_rate": 1,
                "weight_decay": 0.5,
                "patience": 1,
                "clip": 2,
                "precision": "auto",
                "devices": 2,
                "accelerator": "cpu",
                "workers": 1,
                "tensorboard": True,
            }.items()
        ),
    ],
    ids=str,
)
def test_what_it_can_obey_may_change(toy_values, change):
    check_resumable(Run.from_values(toy_values).config, Run.from_values({**toy_values, **change}).config)


@pytest.mark.parametrize("change", [{"epochs": 9}, {"batch_size": 2}, {"learning_rate": 1}, {"devices": 2}])
def test_a_schedule_keeps_what_it_was_made_for(toy_values, change):
    begun, now = (
        Run.from_values({**toy_values, "training": {"schedule": "onecycle", **more}}).config
        for more in ({}, change)
    )
    with pytest.raises(ConfigError, match=f"^training.{next(iter(change))}: .* under the schedule onecycle"):
        check_resumable(begun, now)


def test_changes_are_obeyed(toy_values):
    run = Run.from_values(toy_values)
    run.train()
    changes = {"epochs": 9, "learning_rate": 1e-12, "weight_decay": 0.25, "patience": 1}
    again = Run(run.folder, [f"training.{key}={value}" for key, value in changes.items()], trust_code=True)
    again.train(resume=True)
    log = again.log
    assert log["learning_rate"].tolist() == [
        1e-2,
        1e-2,
        1e-12,
    ]  # the first epoch that is no better is the last one
    state = torch.load(run.files.last, weights_only=True)
    assert state["optimizer_states"][0]["param_groups"][0]["weight_decay"] == 0.25
    saved = Run(run.folder, trust_code=True).config.training
    assert {key: getattr(saved, key) for key in changes} == changes


def test_nothing_is_saved_before_the_checkpoint_is_loaded(toy_values):
    run = Run.from_values(toy_values)
    run.train()
    before = run.files.config.read_text()
    for change in ("seed=3", "model.base_channels=8", "loss.smoothness=3", "training.schedule=onecycle"):
        with pytest.raises(ConfigError):
            Run(run.folder, [change], trust_code=True).train(resume=True)
        assert run.files.config.read_text() == before
    checkpoint = run.files.last.read_bytes()
    run.files.last.write_bytes(checkpoint[:1000])
    with pytest.raises(Exception):  # noqa: B017, PT011
        Run(run.folder, ["training.epochs=5"], trust_code=True).train(resume=True)
    assert run.files.config.read_text() == before
    run.files.last.write_bytes(checkpoint)
    Run(run.folder, ["training.epochs=3"], trust_code=True).train(resume=True)
    assert len(run.log) == 3


def test_a_finished_run_goes_on_with_nothing(toy_values):
    run = Run.from_values(toy_values)
    run.train()
    weights = run.files.weights.read_bytes()
    Run(run.folder, ["calibration.coverage=0.5"], trust_code=True).train(resume=True)
    assert run.files.weights.read_bytes() == weights
    assert len(run.log) == 2
    assert Run(run.folder, trust_code=True).config.calibration.coverage == 0.5


def test_one_process_at_a_time_writes_to_a_run(toy_run):
    one, other = (Run(toy_run, trust_code=True) for _ in range(2))
    before = {path: path.stat().st_mtime_ns for path in toy_run.rglob("*") if not path.name.startswith(".")}
    actions = (
        lambda: other.train(resume=True),
        lambda: other.evaluate(workers=0),
        lambda: other.calibrate(workers=0),
        lambda: other.report(events=0),
    )
    with one.locked():
        for action in actions:
            with pytest.raises(OasisError, match="is writing to this run"):
                action()
    after = {path: path.stat().st_mtime_ns for path in toy_run.rglob("*") if not path.name.startswith(".")}
    assert after == before


def test_processes_that_share_a_training_share_its_lock(toy_run, monkeypatch):
    one, other = (Run(toy_run, ["training.devices=2"], trust_code=True) for _ in range(2))
    with one.locked():
        for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
            with monkeypatch.context() as patched:
                patched.setenv(name, "1")
                with other.locked():
                    pass
                with pytest.raises(OasisError), Run(toy_run, trust_code=True).locked():
                    pass


def test_the_number_of_workers_is_not_in_the_fingerprint(toy_values):
    fingerprints = set()
    for changes in ({}, {"training": {"workers": 3}}, {"run": "elsewhere"}, {"training": {"epochs": 9}}):
        fingerprints.add(Run.from_values({**toy_values, **changes}).fingerprint)
    assert len(fingerprints) == 2


def test_a_run_with_the_fingerprint_of_an_earlier_version_goes_on(pulses_run, tmp_path, monkeypatch):
    shutil.copytree(pulses_run, tmp_path / "run")
    monkeypatch.setattr(RunConfig, "fingerprint", RunConfig.earlier_fingerprint)
    run = Run(tmp_path / "run", ["training.epochs=2"])
    stored = run.separator().options.identity["configuration"]
    assert set(run.events()["configuration"]) == {stored} != {run.fingerprint}
    assert run.report(events=1).is_file()
    assert len(run.log) == 1
    run.train(resume=True)
    assert len(run.log) == 2
