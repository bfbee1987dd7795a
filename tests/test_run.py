import shlex
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from oasis.errors import ConfigError, DataError, OasisError
from oasis.run import Run
from oasis.scaling import AsinhScale
from oasis.separator.heads import DenoisedHead


def test_defaults_of_the_domain_lie_below_the_file(toy_values):
    setup = Run.from_values({**toy_values, "training": {"epochs": 7}})
    assert setup.config.training.epochs == 7
    assert setup.config.training.batch_size == 4
    assert setup.config.scaling.scale == 5.0


def test_another_scaling_and_head_take_the_place_of_the_defaults(toy_values):
    values = {"scaling": {"name": "asinh", "noise": 2}, "head": {"name": "denoised"}}
    setup = Run.from_values({**toy_values, **values})
    assert setup.config.scaling == AsinhScale(noise=2.0)
    again = Run.from_values(setup.config.model_dump(mode="json"))
    separator = again.new_separator()
    assert separator.options.scaling == AsinhScale(noise=2.0)
    assert isinstance(separator.head, DenoisedHead)


def test_tables_of_weights_are_taken_whole(toy_values):
    setup = Run.from_values({**toy_values, "loss": {"region_weights": {"dot": 2}}})
    assert setup.config.loss.region_weights == {"dot": 2}
    assert setup.loss().table.tolist() == [1, 2, 1, 1]


def test_options_of_a_default_do_not_go_with_another_name(toy_values):
    assert Run.from_values({**toy_values, "model": {"depth": 3}}).config.model == {
        "name": "unet",
        "base_channels": 4,
        "depth": 3,
    }
    assert Run.from_values({**toy_values, "model": {"name": "monai/UNet"}}).config.model == {"name": "monai/UNet"}


def test_balanced_weights_are_counted_in_training_samples(toy_values):
    rule = {"rule": "balanced", "power": 1, "limit": 1000, "samples": 5}
    setup = Run.from_values({**toy_values, "loss": {"region_weights": rule}})
    table = setup.loss().table
    counts = setup.region_statistics("train", 5).counts
    assert setup.region_statistics("train", 5).samples == 5
    by_region = [pixels * table[code].item() for code, pixels in counts.items()]
    assert by_region == pytest.approx([sum(counts.values()) / len(counts)] * len(counts), rel=1e-5)


def test_the_choices_of_the_loss_reach_it(toy_values):
    options = {
        "distance": {"name": "huber", "delta": 2.0},
        "terms": {"intensity": {"weight": 0.1, "floor": 3.0}, "focal": 0.5},
        "region_weights": {"rule": "size", "weights": {2: 7}},
    }
    loss = Run.from_values({**toy_values, "loss": options, "thresholds": {"dot": 0.5}}).loss()
    assert loss.distance(torch.tensor([9.0]), torch.tensor([0.0])).item() == pytest.approx(2 * (9 - 1))
    assert {name: term.weight for name, term in loss.further.items()} == {"intensity": 0.1, "focal": 0.5}
    assert loss.table.tolist() == [1, 1, 1, 7]
    assert loss.thresholds.tolist() == [0.5, 1.0]


def test_thresholds_are_one_fact_with_one_override(toy_values):
    setup = Run.from_values({**toy_values, "thresholds": {"bar": 2.5}})
    assert setup.adapter.limits == setup.config.thresholds == {"dot": 1.0, "bar": 2.5}
    assert setup.loss().thresholds.tolist() == [1.0, 2.5]
    assert Run.from_values(toy_values).adapter.limits == {"dot": 1.0, "bar": 1.0}


@pytest.mark.parametrize(("saved", "limits"), [({"bar": 3}, [1.0, 3.0]), (0.0, [1.0, 1.0]), (2.0, [2.0, 2.0])])
def test_thresholds_of_earlier_versions_are_moved(toy_values, saved, limits):
    setup = Run.from_values({**toy_values, "loss": {"thresholds": saved, "smoothness": 0.5}})
    assert setup.loss().thresholds.tolist() == limits
    assert setup.config.loss.smoothness == 0.5


def test_changes_on_top(tmp_path, toy_values):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(toy_values))
    setup = Run.from_config(path, ["training.epochs=9", "data.train=3", "loss.region_weights={dot: 8}"])
    assert setup.config.training.epochs == 9
    assert len(setup.adapter.dataset("train")) == 3
    assert setup.config.loss.region_weights == {"dot": 8}


def test_the_resolved_configuration_reads_back_the_same(toy):
    toy.save()
    again = Run(toy.folder, trust_code=True)
    assert again.config == toy.config
    assert again.fingerprint == toy.fingerprint


def test_the_same_seed_draws_the_same_weights(toy_values):
    one, two, other = (Run.from_values({**toy_values, "seed": seed}).new_separator() for seed in (1, 1, 2))
    weights = [separator.state_dict()["backbone.output.weight"] for separator in (one, two, other)]
    assert weights[0].equal(weights[1])
    assert not weights[0].equal(weights[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trainign": {}}, "trainign: unknown key; did you mean 'training'"),
        ({"training": {"epoch": 3}}, "training.epoch: unknown key; did you mean 'epochs'"),
        ({"training": {"epochs": 0}}, "training.epochs: .*found 0"),
        ({"seed": 2**64}, "seed: .*found 18446744073709551616"),
        ({"model": {"in_channels": 3}}, "model: in_channels follows from the domain: leave it out"),
        ({"data_seed": 2**64}, "data_seed: "),
        ({"training": {"workers": 1_000_000}}, "training.workers: .*found 1000000"),
        ({"training": {"epochs": "many"}}, "training.epochs: .*found 'many'"),
        ({"data": {"trian": 3}}, "data.trian: unknown key; did you mean 'train'"),
        ({"adapter": "migdl"}, "unknown 'migdl'; did you mean 'migdal'"),
        ({"adapter": "nowhere.py:Adapter"}, "nowhere.py: no such file"),
        ({"adapter": 3}, "expected the name of an adapter"),
        ({"loss": {"region_weights": {"dot&barr": 3}}}, "unknown class 'barr'; did you mean 'bar'"),
        ({"loss": {"class_weights": {"dot": -1}}}, "class_weights.dot: .*at least 0"),
        ({"loss": {"region_weights": {"rule": "sise"}}}, "unknown 'sise'; did you mean 'size'"),
        ({"loss": {"region_weights": {"rule": "size", "weights": {3: 1}}}}, "region_weights.weights.3"),
        ({"loss": {"distance": "hubert"}}, "distance: unknown 'hubert'; did you mean 'huber'"),
        ({"loss": {"terms": {"dise": 1}}}, "terms: unknown 'dise'; did you mean 'dice'"),
        ({"loss": {"terms": {"dice": 1}}, "thresholds": 0}, "set thresholds.dot"),
        ({"thresholds": {"dott": 1}}, "thresholds: unknown class 'dott'; did you mean 'dot'"),
        ({"head": {"name": "softmax"}}, "head.name"),
        ({"scaling": {"percentile": 120}}, "scaling.percentile"),
        ({"scaling": {"name": "sinh"}}, "scaling: expected the name log or asinh"),
        ({"scaling": {"name": "asinh", "nose": 1}}, "scaling.nose: unknown key; did you mean 'noise'"),
        ({"scaling": {"name": "asinh", "softening": 0}}, "scaling.softening: "),
    ],
)
def test_mistakes_are_named_in_one_line(toy_values, change, message):
    with pytest.raises(OasisError, match=message) as error:
        Run.from_values({**toy_values, **change})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "not YAML"), ("just words", "expected sections"), ("", "expected sections")],
)
def test_files_that_are_no_configuration(tmp_path, text, message):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        Run.from_config(path)
    with pytest.raises(ConfigError, match="no such file"):
        Run.from_config(tmp_path / "y.yaml")


@pytest.mark.parametrize("change", ["epochs", "=3", "adapter.x=3", "seed=["])
def test_changes_that_cannot_be_read(tmp_path, toy_values, change):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(toy_values))
    with pytest.raises(ConfigError, match="--set"):
        Run.from_config(path, [change])


def test_how_to_go_on_is_a_command_that_does(toy_values, tmp_path):
    run = Run.from_values({**toy_values, "run": str(tmp_path / "a run"), "training": {"epochs": 1}})
    assert run.how_to_go_on() == f"{run.folder}: no epoch was completed: begin again with the same command"
    run.train()
    command = run.how_to_go_on(["training.epochs=2"]).partition("with  ")[2]
    found = subprocess.run([sys.executable, "-m", *shlex.split(command)], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert len(run.log) == 2


def test_how_to_go_on_without_code_of_the_users(pulses_run):
    how = Run(pulses_run).how_to_go_on()
    assert how == f"resume from the last complete epoch with  oasis train --resume {pulses_run}"


def test_single_objects_are_tabulated_where_maps_are_grouped(toy_run, tmp_path):
    shutil.copytree(toy_run, tmp_path / "run")
    plain = Run(tmp_path / "run", trust_code=True)
    assert plain.evaluate().instances is None
    run = Run(plain.folder, ["grouping={dot: {pixels: 2}, bar: {}}"], trust_code=True)
    assert run.fingerprint == plain.fingerprint
    found = run.evaluate()
    assert set(found.instances["configuration"]) == set(found.table["configuration"])
    stored = pd.read_parquet(run.files.instances())
    pd.testing.assert_frame_equal(stored, found.instances, check_dtype=False)
    seen = found.instances[found.instances["outcome"] != "false"]
    events = found.table.set_index(["id", "class"])["intensity_true"]
    assert len(seen) == (events > 0).sum()
    for row in seen.itertuples():
        assert row.intensity_true == pytest.approx(events[row.id, row._2], rel=1e-4)
    assert found.quality["class"].tolist() == ["dot", "bar", "any class"]
    matched = (found.instances["outcome"] == "matched").groupby(found.instances["class"]).sum()
    assert found.quality["matched"].tolist()[:2] == [matched["dot"], matched["bar"]]
    dataset = run.dataset("test")
    np.save(tmp_path / "images.npy", np.stack([dataset[index].image[0] for index in range(3)]))
    predicted = run.predict(tmp_path / "images.npy", tmp_path / "maps.h5").instances
    names = [f"test/{index}" for index in range(3)]
    expected = found.instances[found.instances["id"].isin(names) & found.instances["intensity_predicted"].notna()]
    assert sorted(predicted["intensity_predicted"]) == pytest.approx(
        sorted(expected["intensity_predicted"]), rel=1e-3
    )
    written = pd.read_csv(tmp_path / "maps_instances.csv")
    assert written["frame"].tolist() == predicted["frame"].tolist()
    run.predict(tmp_path / "images.npy", tmp_path / "maps.h5")  # over its own earlier tables
    (tmp_path / "maps_instances.csv").write_text("mine")
    with pytest.raises(DataError, match=r"maps_instances\.csv"):
        run.predict(tmp_path / "images.npy", tmp_path / "maps.h5")


def test_quality_of_objects_is_reported_until_grouping_is_switched_off(toy_run, tmp_path):
    shutil.copytree(toy_run, tmp_path / "run")
    run = Run(tmp_path / "run", ["grouping={dot: {}}"], trust_code=True)
    found = run.evaluate()
    pd.testing.assert_frame_equal(run.quality(), found.quality, check_dtype=False)
    page = run.report(events=3).read_text()
    row = found.quality.iloc[0]
    assert "matched if their intersection over union is above 0.5" in page
    assert f"{row['pq']:.3f}" in page
    assert "data:image/svg+xml" in page
    plain = Run(run.folder, trust_code=True)
    plain.evaluate()
    assert plain.quality() is None
    assert not plain.files.instances().exists()
    assert "data:image/svg+xml" not in plain.report(events=3).read_text()


def test_the_grouping_of_an_adapter_can_be_switched_off(tmp_path):
    values = {"adapter": "migdal", "run": str(tmp_path / "run")}
    assert Run.from_values(values).config.grouping
    run = Run.from_values({**values, "grouping": None})
    run.save()
    assert Run(run.folder).config.grouping is None
    assert Run(run.folder, ["grouping.NR.pixels=3"]).config.grouping["NR"].pixels == 3


def test_a_grouping_of_no_class_is_refused(toy_values):
    with pytest.raises(ConfigError, match="grouping: unknown class 'dots'; did you mean 'dot'"):
        Run.from_values({**toy_values, "grouping": {"dots": {}}})


def test_a_training_that_is_refused_leaves_no_folder(toy_values):
    run = Run.from_values({**toy_values, "model": {"name": "unet", "nonsense": 3}})
    with pytest.raises(OasisError, match="unknown option 'nonsense'"):
        run.train()
    assert not run.folder.exists()


def test_the_largest_seed_is_taken(toy_values):
    run = Run.from_values({**toy_values, "seed": 2**64 - 1, "training": {"epochs": 1}})
    run.train()
    assert len(run.log) == 1


@pytest.mark.parametrize("change", [False, True])
def test_a_calibration_is_one_of_the_weights_that_it_was_fitted_to(toy_run, tmp_path, caplog, change):
    """As of a run that was calibrated before its training was over."""
    shutil.copytree(toy_run, tmp_path / "run")
    run = Run(tmp_path / "run", ["data.val=60"], trust_code=True)
    run.calibrate("val", workers=0)
    if change:
        change_weights(run)
    assert (run.calibration is None) == change
    assert ("is not used: run  oasis calibrate" in caplog.text) == change


def change_weights(run):
    tensors = load_file(run.files.weights)
    with safe_open(run.files.weights, "pt") as file:
        save_file({name: 1.01 * one for name, one in tensors.items()}, run.files.weights, file.metadata())


def change_gates(run):
    values = yaml.safe_load(run.files.config.read_text())
    run.files.config.write_text(yaml.safe_dump({**values, "head": {**values["head"], "present_from": 0.9}}))


@pytest.mark.parametrize("change", [None, change_weights, change_gates])
def test_an_event_table_of_other_weights_or_gates_is_said(toy_values, caplog, change):
    """As of a run that was evaluated before its training was over, or before its limit of presence was set."""
    head = {"presence": True, "false_presence": 0.2}
    run = Run.from_values(
        {**toy_values, "head": head, "training": {"epochs": 1}, "data": {"train": 16, "test": 8}}
    )
    run.train()
    run.evaluate(workers=0)
    if change is not None:
        change(run)
    assert len(Run(run.folder, trust_code=True).events())
    assert ("is of other weights, or of other gates" in caplog.text) == (change is not None)
