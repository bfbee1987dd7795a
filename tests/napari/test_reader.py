"""Files of maps as layers of napari, and the manifest; none of it needs napari or Qt."""

import importlib.util
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from oasis.errors import DataError
from oasis.napari.reader import get_reader, read_layers
from oasis.napari.separate import separate
from oasis.run import Run

MANIFEST = Path(importlib.util.find_spec("oasis.napari").origin).parent / "napari.yaml"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("waveform") / "run"
    model = {"base_channels": 2, "depth": 2}
    run = Run.from_values({"adapter": "migdal", "run": str(folder), "model": {"name": "unet", **model}})
    run.save()
    run.new_separator(trained_size=(32, 48)).save(run.folder)
    return run


@pytest.mark.parametrize("name", ["maps.h5", "maps.ome.tif", "maps.zarr"])
def test_maps_become_a_layer_for_every_class(run, name, tmp_path):
    if name.endswith("zarr"):
        pytest.importorskip("zarr")
    images = np.random.default_rng(0).exponential(9, (3, 32, 48)).astype(np.float32)
    np.save(tmp_path / "frames.npy", images)
    run.predict(tmp_path / "frames.npy", tmp_path / name)
    path = str(tmp_path / name)
    layers = get_reader(path)(path)
    assert [(facts["name"], kind) for _, facts, kind in layers] == [("ER", "image"), ("NR", "image")]
    expected = run.separator().separate(images[:, None], precision="float32")
    for values, facts, _ in layers:
        found = np.asarray(values[:]).reshape(3, 1, 32, 48)
        np.testing.assert_allclose(found, expected[facts["name"]], rtol=0.05, atol=0.5)
    assert len({facts["colormap"] for _, facts, _ in layers}) == 2


def test_other_files_are_left_to_other_readers(tmp_path):
    for name in ("a.h5", "a.tif", "a.zarr", "a.png"):
        (tmp_path / name).write_bytes(b"something else")
        assert get_reader(str(tmp_path / name)) is None
    assert get_reader(["a.h5", "b.h5"]) is None
    assert get_reader(str(tmp_path / "missing.h5")) is None
    with pytest.raises(DataError, match=r"a\.h5"):
        read_layers(str(tmp_path / "a.h5"))


def test_a_layer_is_separated_by_a_run(run):
    data = np.random.default_rng(0).exponential(9, (2, 32, 48)).astype(np.float32)
    shown = SimpleNamespace(data=data, name="frames", scale=np.array([1.0, 0.2, 0.1]))
    layers = separate(shown, run.folder)
    assert [facts["name"] for _, facts, _ in layers] == ["frames: ER", "frames: NR"]
    assert all(values.shape == data.shape for values, _, _ in layers)
    assert layers[0][1]["scale"] == (1.0, 0.2, 0.1)
    with pytest.raises(DataError, match="NaN"):
        separate(SimpleNamespace(data=data * np.nan, name="frames", scale=np.ones(3)), run.folder)


def test_every_command_of_the_manifest_exists():
    manifest = yaml.safe_load(MANIFEST.read_text())["contributions"]
    commands = {command["id"]: command["python_name"] for command in manifest["commands"]}
    for name in commands.values():
        module, _, function = name.partition(":")
        assert callable(getattr(import_module(module), function))
    used = [one["command"] for kind in ("readers", "widgets") for one in manifest[kind]]
    assert set(used) == set(commands)


def test_npe2_takes_the_manifest():
    npe2 = pytest.importorskip("npe2")
    manifest = npe2.PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    assert manifest.name == "oasis-seg"
