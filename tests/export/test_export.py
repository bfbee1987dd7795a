"""Exported programs give the maps of the separator, in other software too; about 40 s."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from oasis.cli import run as command
from oasis.errors import ConfigError, ModelError
from oasis.export import export
from oasis.export.card import Card
from oasis.export.program import Program
from oasis.export.sizes import possible
from oasis.models import create_model
from oasis.run import Run
from oasis.scaling import AsinhScale, LogScale
from oasis.separator.options import SeparatorOptions
from oasis.separator.separator import Separator

FACTS = export.ExportFacts({"a": 1.0, "b": 1.0}, None, {})
TINY = {"name": "unet", "base_channels": 2, "depth": 1}


@pytest.fixture(scope="module")
def exported(pulses_run, tmp_path_factory):
    pytest.importorskip("onnxruntime")
    path = tmp_path_factory.mktemp("exported") / "pulses.onnx"
    assert command(["export", str(pulses_run), "--out", str(path), "--size", "any", "--quiet"]) == 0
    return path


def test_the_file_says_what_it_is(exported, pulses_run):
    card, run = Card.load(f"{exported}.json"), Run(pulses_run)
    assert (card.classes, card.unit) == (run.adapter.classes, run.adapter.unit)
    assert card.check.difference <= card.check.tolerance == export.TOLERANCE
    assert card.size_check == run.size_check
    assert card.data["configuration"] == run.fingerprint
    text = exported.with_name("pulses.onnx.md").read_text()
    for word in (*card.classes, card.unit, card.sha256, card.sizes, "unet", "onnxruntime", "oasis-seg"):
        assert word in text


@pytest.mark.parametrize("length", [1024, 700])
def test_numpy_and_onnxruntime_alone_give_the_maps_of_the_run(exported, pulses_run, root, tmp_path, length):
    waves = np.random.default_rng(0).normal(0, 3, (9, length)).astype(np.float32)
    waves[4] = 0
    np.save(tmp_path / "waves.npy", waves)
    arguments = ["deploy", str(exported), str(tmp_path / "waves.npy"), "--out", str(tmp_path / "maps.npz")]
    code = (
        f"import runpy, sys; sys.argv = {arguments}; runpy.run_path({str(root / 'examples/deploy.py')!r}, "
        "run_name='__main__'); assert not {'torch', 'oasis'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)
    found = np.load(tmp_path / "maps.npz")
    separator = Run(pulses_run).separator()
    expected = separator.predict(waves[:, None], precision="float32").maps.numpy()
    np.testing.assert_allclose(found["maps"], expected, atol=export.TOLERANCE * np.abs(waves).max())
    assert not found["maps"][4].any()
    assert [*found["classes"]] == [*separator.classes]


@pytest.mark.parametrize("stride", [1, 2])
def test_a_program_refuses_images_of_sizes_that_it_was_not_made_for(tmp_path, stride):
    """Without that it would give other maps than the run."""
    runtime = pytest.importorskip("onnxruntime")
    facts = {"model": {**TINY, "stride": stride}, "spatial_dims": 2, "trained_size": (16, 16)}
    separator = Separator(SeparatorOptions(classes=("a", "b"), **facts)).eval()
    card = export.export_separator(separator, tmp_path / "model.onnx", "onnx", FACTS)
    assert (card.size, card.multiple_of) == ("any" if stride == 1 else "multiples", stride)
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    rng, least = np.random.default_rng(0), card.smallest
    for size in ((least, 40), (30, 36)):
        image = rng.exponential(30, (2, 1, *size)).astype(np.float32)
        expected = separator.predict(image, precision="float32").maps.numpy()
        np.testing.assert_allclose(session.run(["maps"], {"image": image})[0], expected, atol=1e-2)
    wrong = [(least - stride, 40), (40, 1)] + ([(31, 40), (40, 33)] if stride > 1 else [])
    for size in wrong:
        with pytest.raises(Exception, match=f"images_of_{least}_pixels_or_more"):
            session.run(["maps"], {"image": np.ones((1, 1, *size), np.float32)})


@pytest.mark.parametrize(("dims", "size"), [(2, (37, 51)), (3, (19, 22, 25))])
def test_a_program_of_a_network_for_tiles_takes_images_of_any_size(tmp_path, dims, size):
    runtime = pytest.importorskip("onnxruntime")
    model = {"name": "unet", "base_channels": 2, "depth": 3, "norm": "batch"}
    facts = {"model": model, "spatial_dims": dims, "trained_size": (16,) * dims}
    separator = Separator(SeparatorOptions(classes=("a", "b"), **facts)).eval()
    assert export.export_separator(separator, tmp_path / "model.onnx", "onnx", FACTS).size == "any"
    image = np.random.default_rng(0).exponential(30, (2, 1, *size)).astype(np.float32)
    expected = separator.predict(image, precision="float32").maps.numpy()
    found = runtime.InferenceSession(tmp_path / "model.onnx").run(["maps"], {"image": image})[0]
    np.testing.assert_allclose(found, expected, atol=export.TOLERANCE * image.max())


def test_no_foreign_file_is_replaced(exported, pulses_run, tmp_path, capsys):
    out = tmp_path / "mine.onnx"
    for name in ("mine.onnx", "mine.onnx.md", "mine.onnx.json"):
        (tmp_path / name).write_text("mine")
        assert command(["export", str(pulses_run), "--out", str(out)]) == 2
        assert "not an earlier output" in capsys.readouterr().err
        assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
        (tmp_path / name).unlink()
    assert all(is_ours(path) for path, is_ours in export.recognisers(exported, "onnx").items())
    assert command(["export", str(pulses_run), "--format", "onxx"]) == 2
    assert "did you mean 'onnx'?" in capsys.readouterr().err


def test_a_torch_program_has_the_context_the_gate_and_the_presence(tmp_path):
    head = {"name": "denoised", "presence": True, "gate": True}
    facts = {"model": TINY, "scaling": {"over": "valid"}, "head": head, "context": 1, "spatial_dims": 1}
    separator = Separator(SeparatorOptions(classes=("a", "b"), trained_size=(24,), **facts))
    path = tmp_path / "model.pt2"
    card = export.export_separator(separator, path, "torch", FACTS)
    assert separator.training
    assert [one.name for one in card.inputs] == ["image", "context", "valid"]
    assert [one.name for one in card.outputs] == ["maps", "presence_predicted"]
    assert card.size == "any"
    assert export.recognisers(path, "torch")[path](path)
    given = Program(separator.eval()).example(4, (31,))
    found = torch.export.load(path).module()(*given)
    for one, expected in zip(found, Program(separator)(*given), strict=True):
        torch.testing.assert_close(one, expected, atol=1e-3, rtol=1e-4)


ONE_DECISION = {
    "sequence": ({"decoder": "sequence"}, ["presence_predicted", "exists_predicted"]),
    "above": (
        {"counting": "categorical", "count_above": 0.5},
        ["presence_predicted", "exists_predicted", "above_predicted"],
    ),
}


@pytest.mark.parametrize("kind", ONE_DECISION)
@pytest.mark.parametrize("form", ["torch", "onnx"])
def test_tokens_and_one_decision_are_exported_without_shapes_that_depend_on_values(tmp_path, kind, form):
    options, columns = ONE_DECISION[kind]
    quantities = {"of_object": [{"name": "energy"}], "ordered": [("a", "b")]}
    facts = {
        "model": {"name": "tokens", "width": 8, "layers": 1, "heads": 2, "extent": 16},
        "scaling": {"scale": 1.0, "peak": False},
        "objects": {**options, "features": "cells", "channels": 8, "layers": 1},
        "quantities": quantities,
        "spatial_dims": 1,
    }
    separator = Separator(SeparatorOptions(classes=("a", "b"), trained_size=(12,), **facts))
    path = tmp_path / ("model.pt2" if form == "torch" else "model.onnx")
    card = export.export_separator(separator, path, form, FACTS)  # which compares what it gives
    assert [one.name for one in card.outputs] == ["maps", *columns, "energy_predicted"]
    if form == "onnx":
        return
    given = Program(separator.eval()).example(1, (12,), seed=3)
    found = torch.export.load(path).module()(*given)
    for one, expected in zip(found, Program(separator)(*given), strict=True):
        torch.testing.assert_close(one, expected, atol=1e-3, rtol=1e-4)


def test_a_program_that_differs_is_not_written(tmp_path, monkeypatch):
    separator = Separator(SeparatorOptions(classes=("a", "b"), spatial_dims=1, model=TINY))
    path = tmp_path / "model.pt2"
    path.write_text("earlier")
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    monkeypatch.setattr(export, "possible", lambda *facts: possible(*facts)[:1])
    with pytest.raises(ModelError, match=r"model unet: cannot be exported as torch: the program differs"):
        export.export_separator(separator, path, "torch", FACTS)
    assert [found.read_text() for found in tmp_path.iterdir()] == ["earlier"]


@pytest.mark.parametrize(
    ("model", "trained", "fixed", "kinds"),
    [
        ({}, (96, 96), False, ["any", "any", "trained", "trained"]),
        ({}, (96, 96), True, ["trained", "trained"]),
        ({}, None, False, ["any", "any"]),
        ({"divisor": 32}, (96, 64), False, ["multiples", "multiples", "trained", "trained"]),
        ({"divisor": 32}, (90, 64), False, ["trained", "trained"]),
        ({"image_size": (96, 96)}, (90, 64), False, ["trained", "trained"]),
    ],
)
def test_the_most_general_sizes_are_tried_first(model, trained, fixed, kinds):
    backbone = create_model("unet", 1, 2, 2, base_channels=2)
    for name, value in model.items():
        setattr(backbone, name, value)
    assert [sizes.kind for sizes in possible(backbone, trained, fixed)] == kinds


@pytest.mark.parametrize("scaling", [LogScale(), LogScale(percentile=37.3), LogScale(over="valid"), AsinhScale()])
def test_a_trace_fits_the_same_scaling(scaling, monkeypatch):
    image = torch.randn(3, 2, 9, 11, generator=torch.Generator().manual_seed(0))
    image[1] = image[1].abs()
    valid = torch.rand(3, 1, 9, 11) < 0.5
    expected = scaling.fit(image, valid)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for name, value in vars(scaling.fit(image, valid)).items():
        torch.testing.assert_close(value, vars(expected)[name], rtol=1e-6, atol=0)


def test_the_card_is_within_the_file(exported):
    onnx = pytest.importorskip("onnx")
    card = json.loads(onnx.load(exported).metadata_props[0].value)
    beside = json.loads(exported.with_name("pulses.onnx.json").read_text())
    assert card == beside | {"check": None, "sha256": ""}


def test_a_file_named_for_another_format_is_refused(tmp_path, toy_run) -> None:
    with pytest.raises(ConfigError, match=r"m\.pt2: a file of the format torch, not onnx"):
        Run(toy_run, trust_code=True).export(tmp_path / "m.pt2")
    assert not list(tmp_path.iterdir())
