"""Folders in which every channel of an image is a file of its own."""

import json

import h5py
import numpy as np
import pytest
import tifffile
from made_up_cells import CLASSES, GAIN, OFFSET, cells, counts

from oasis.cli import run as command
from oasis.errors import ConfigError, DataError
from oasis.inference.predict import predict
from oasis.io.labelled import read_labelled
from oasis.run import Run

ENDINGS = ("_DAPI", "_GFP")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Images of two channels with their maps, one file for each."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for index in range(3):
        light, _ = cells(rng, (40, 44), bands=2)
        parts = {"images": counts(light.sum(0) + 5, rng)}
        parts |= {name: np.round(one / GAIN + OFFSET) for name, one in zip(CLASSES, light, strict=True)}
        for name, values in parts.items():
            (tmp_path / "cells" / name).mkdir(parents=True, exist_ok=True)
            for ending, channel in zip(ENDINGS, values, strict=True):
                path = tmp_path / "cells" / name / f"field {index}{ending}.ome.tif"
                tifffile.imwrite(path, channel.astype(np.uint16), ome=True, metadata={"axes": "YX"})
    return tmp_path / "cells"


@pytest.fixture
def run(folder):
    words = ["init", "cells", "--offset", str(OFFSET), "--gain", str(GAIN), "--channels", ",".join(ENDINGS)]
    assert command(words) == 0
    return Run.from_config("cells.yaml", ["model.base_channels=4", "model.depth=2"])


def test_channels_are_read_together_in_their_order(run, folder):
    assert (run.adapter.bands, run.adapter.options.channels) == (2, ENDINGS)
    images = run.adapter.read(folder / "images" / "field 1_DAPI.ome.tif").image
    assert images.shape == (1, 2, 40, 44)
    for band, ending in enumerate(ENDINGS):
        raw = tifffile.imread(folder / "images" / f"field 1{ending}.ome.tif").astype(float)
        np.testing.assert_allclose(images[0, band], (raw - OFFSET) * GAIN)
    sample = run.dataset("train")[0]
    assert (sample.image.shape, sample.target.shape) == ((2, 40, 44), (2, 2, 40, 44))
    rest = sample.image - sample.target.sum(axis=0)
    assert rest.mean(axis=(1, 2)) == pytest.approx(5, abs=0.6)  # the background, in both bands


def test_prediction_takes_every_image_once(run, folder):
    run.save()
    run.new_separator(trained_size=(40, 44)).save(run.folder)
    assert command(["predict", "runs/cells", str(folder / "images"), "--out", "maps", "--each", "npz"]) == 0
    with np.load(next(folder.parent.glob("maps/*1*.npz"))) as maps:
        assert maps[next(name for name in maps.files if CLASSES[0] in name)].shape[-3:] == (2, 40, 44)
    assert len([*folder.parent.glob("maps/*.npz")]) == 3


def test_channels_that_do_not_fit_are_refused(run, folder):
    path = folder / "images" / "field 0_GFP.ome.tif"
    tifffile.imwrite(path, np.zeros((40, 30), np.uint16), ome=True, metadata={"axes": "YX"})
    with pytest.raises(DataError, match=r"field 0_GFP.*40 x 30, but field 0_DAPI.ome.tif has 40 x 44"):
        run.adapter.read(folder / "images" / "field 0_DAPI.ome.tif")
    path.unlink()
    with pytest.raises(DataError, match=r"field 0_GFP\.ome\.tif: .*"):
        run.adapter.read(folder / "images" / "field 0_DAPI.ome.tif")
    for wrong in (["_DAPI"], ["_DAPI", "_DAPI"], ["_DAPI", ""]):
        with pytest.raises(ConfigError, match="channels: expected 2 endings"):
            Run.from_config("cells.yaml", [f"data.channels={wrong}"]).adapter  # noqa: B018


@pytest.mark.parametrize("wrong", ["_DAPI,_GPF", "_dapi,_GFP", "_DAPI,_DAPI", "*,?"])
def test_endings_that_no_file_has_are_refused_by_init(folder, capsys, wrong):
    assert command(["init", "cells", "--channels", wrong]) == 2
    assert "channels: " in capsys.readouterr().err
    assert not (folder.parent / "cells.yaml").exists()
    assert command(["init", "cells", "--channels", " _DAPI, _GFP"]) == 0  # blanks are none of a name


def test_an_image_without_its_first_channel_is_no_image_less(folder, capsys):
    (folder / "images" / "field 1_DAPI.ome.tif").unlink()
    assert command(["init", "cells", "--channels", ",".join(ENDINGS)]) == 2
    assert "field 1_GFP.ome.tif: a channel of an image whose first one is missing" in capsys.readouterr().err


def test_options_of_a_folder_are_refused_for_a_domain(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for option in (["--channels", "_a,_b"], ["--dims", "3"], ["--offset", "7"]):
        assert command(["init", "migdal", *option]) == 2
        assert "are for a folder of images" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_no_channel_of_an_image_is_replaced(run, folder):
    first, other = (folder / "images" / f"field 0{ending}.ome.tif" for ending in ENDINGS)
    with pytest.raises(DataError, match=f"would overwrite the input .*{other.name}"):
        run.predict(first, other, force=True)


@pytest.mark.parametrize("kind", ["ome.tif", "h5", "npz", "zarr"])
def test_the_bands_of_maps_are_called_as_the_channels_in_training(tmp_path, kind):
    data = {"classes": ["actin", "b"], "bands": 2, "size": [16, 16], "stated": {"channels": ["DAPI", "GFP"]}}
    setup = Run.from_values(
        {"adapter": "folder", "run": "runs/none", "data": data, "model": {"depth": 1, "norm": "batch"}}
    )
    np.save(tmp_path / "a.npy", np.ones((1, 2, 24, 20), np.float32))
    out = tmp_path / f"m.{kind}"
    predict(setup.new_separator().eval(), setup.adapter, tmp_path / "a.npy", out)
    if kind == "ome.tif":
        _, facts = read_labelled(out)
        assert facts.channels == ("actin DAPI", "actin GFP", "b DAPI", "b GFP")
        return
    if kind == "h5":
        with h5py.File(out) as file:
            found = json.loads(file.attrs["bands"])
    elif kind == "npz":
        with np.load(out) as file:
            found = json.loads(str(file["bands"]))
    else:
        found = pytest.importorskip("zarr").open_group(out, mode="r").attrs["bands"]
    assert found == ["DAPI", "GFP"]
