"""Destinations: OME-TIFF, one file for every input, and previews."""

import os

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image

from oasis.adapters.folder import FolderAdapter
from oasis.cli import run as command
from oasis.errors import ConfigError, DataError
from oasis.evaluation.identity import identity_of
from oasis.inference.catalogue.cutouts import Cutouts
from oasis.inference.destinations import OutputOptions, images_of
from oasis.inference.predict import predict
from oasis.io.catalogues import write_catalogue
from oasis.io.outputs import is_maps
from oasis.separator.options import SeparatorOptions
from oasis.separator.separator import Separator

FRAMES = np.random.default_rng(0).exponential(20, (3, 24, 20)).astype(np.float32)


@pytest.fixture
def images(tmp_path):
    """Three files: two of one size with pixel sizes, one of another size."""
    folder = tmp_path / "images"
    folder.mkdir()
    sizes = {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(folder / "a.ome.tif", FRAMES, ome=True, metadata={"axes": "TYX", **sizes})
    tifffile.imwrite(folder / "b.ome.tif", FRAMES[:2], ome=True, metadata={"axes": "TYX", **sizes})
    return folder


def test_an_ome_tiff_has_the_maps_with_their_names_and_pixel_sizes(toy, toy_separator, images, tmp_path):
    found = predict(toy_separator, toy.adapter, images, tmp_path / "maps.ome.tif")
    predict(toy_separator, toy.adapter, images, tmp_path / "maps.h5")
    assert found.images == 5
    with tifffile.TiffFile(tmp_path / "maps.ome.tif") as file, h5py.File(tmp_path / "maps.h5") as stored:
        assert file.series[0].axes == "TCYX"
        maps, metadata = file.asarray(), file.ome_metadata
        np.testing.assert_array_equal(maps[:, 0], stored["maps/dot"][:, 0])
        np.testing.assert_array_equal(maps[:, 1], stored["maps/bar"][:, 0])
        assert tuple(stored.attrs["pixel_size"]) == (0.2, 0.1)
        assert stored.attrs["pixel_unit"] == "µm"
    for text in (
        'Name="dot"',
        'Name="bar"',
        'PhysicalSizeX="0.1"',
        'PhysicalSizeY="0.2"',
        toy.fingerprint,
        "counts",
    ):
        assert text in metadata
    assert is_maps(tmp_path / "maps.ome.tif")
    assert not is_maps(images / "a.ome.tif")
    assert {path.name for path in tmp_path.iterdir()} == {"images", "maps.ome.tif", "maps.h5"}


@pytest.mark.parametrize("kind", ["ome.tif", "h5", "npz"])
def test_every_input_has_its_own_output_of_its_own_size(toy, toy_separator, images, tmp_path, kind):
    np.save(images / "c.npy", np.full((16, 28), 3.0))
    (images / "d.npy").write_bytes(b"no array")
    found = predict(toy_separator, toy.adapter, images, tmp_path / "out", outputs=OutputOptions(each=kind))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{name}.{kind}" for name in "abc"]
    assert [path.name for path in found.failed] == ["d.npy"]
    assert found.images == 6
    assert found.objects.groupby("source").size().tolist() == [6, 4, 2]
    assert identity_of(found.objects) == (toy.fingerprint, "counts")
    expected = toy_separator.separate(FRAMES[:2, None])["dot"]
    path = tmp_path / "out" / f"b.{kind}"
    if kind == "ome.tif":
        maps = tifffile.imread(path)[:, :1]
        assert tifffile.imread(tmp_path / "out" / "c.ome.tif").shape == (2, 16, 28)
    elif kind == "h5":
        with h5py.File(path) as file:
            maps = file["maps/dot"][:]
    else:
        with np.load(path) as file:
            maps = file["dot"]
            assert tuple(file["pixel_size"]) == (0.2, 0.1)
    np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-6)


@pytest.fixture
def signals(tmp_path):
    """An adapter of signals with its separator, and two files: one with a time, one of two signals without."""
    adapter = FolderAdapter({"folder": "x", "classes": ["slow", "=fast"], "spatial_dims": 1, "unit": "V"})
    model = {"name": "unet", "base_channels": 4, "depth": 1, "norm": "batch"}
    options = SeparatorOptions(classes=adapter.classes, unit="V", spatial_dims=1, model=model)
    folder = tmp_path / "signals"
    folder.mkdir()
    time, values = np.arange(16) * 0.5 + 3, np.random.default_rng(0).random((3, 16))
    table = np.column_stack([time, values[0]])
    np.savetxt(folder / "a.csv", table, delimiter=",", header="time (s),signal (V)", comments="")
    np.save(folder / "b.npy", values[1:])
    return adapter, Separator(options).eval(), folder


def test_signals_are_written_as_tables_with_their_time(signals, tmp_path):
    adapter, separator, folder = signals
    predict(separator, adapter, folder, tmp_path / "out", outputs=OutputOptions(each="csv"))
    one, two = (pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in "ab")
    assert [*one] == ["time (s)", "slow", "'=fast", "frame", "configuration", "intensity_unit"]
    np.testing.assert_array_equal(one["time (s)"], np.arange(16) * 0.5 + 3)
    assert two["index"].tolist() == [*range(16)] * 2
    assert two["frame"].tolist() == [0] * 16 + [1] * 16
    assert {*two["intensity_unit"]} == {"V"}
    expected = separator.separate(np.load(folder / "b.npy")[:, None])
    np.testing.assert_allclose(two["'=fast"], expected["=fast"].ravel(), rtol=1e-5, atol=1e-6)
    assert is_maps(tmp_path / "out" / "a.csv")
    assert not is_maps(folder / "a.csv")


def test_tables_are_for_signals_only(toy, toy_separator, images, tmp_path):
    with pytest.raises(ConfigError, match="csv is for signals"):
        predict(toy_separator, toy.adapter, images, tmp_path / "out", outputs=OutputOptions(each="csv"))


def test_previews_show_the_first_images_of_every_input(toy, toy_separator, images, tmp_path):
    both = OutputOptions(each="h5", previews=True)
    predict(toy_separator, toy.adapter, images, tmp_path / "out", outputs=both)
    predict(toy_separator, toy.adapter, images, tmp_path / "maps.npz", outputs=OutputOptions(previews=True))
    for folder in ("out", "maps_previews"):
        three, two = (Image.open(tmp_path / folder / f"{name}.png") for name in "ab")
        assert three.width == two.width
        assert three.height > two.height > 100
        assert len(np.unique(np.asarray(three.convert("L")))) > 50


def test_previews_of_a_file_whose_name_is_no_text(toy, toy_separator, tmp_path):
    source = tmp_path / os.fsdecode(b"caf\xe9.npy")
    np.save(source, FRAMES)
    options = OutputOptions(each="h5", previews=True)
    predict(toy_separator, toy.adapter, source, tmp_path / "out", outputs=options)
    assert len(list((tmp_path / "out").glob("*.png"))) == 1


@pytest.mark.parametrize(("out", "options"), [("new/out", {"each": "h5", "previews": True}), ("new/m.zarr", {})])
def test_no_folder_is_left_where_nothing_is_written(toy, toy_separator, tmp_path, out, options):
    np.save(tmp_path / "bad.npy", np.full((1, 24, 20), np.nan))
    outputs = OutputOptions(**options)
    with pytest.raises(DataError):
        predict(toy_separator, toy.adapter, tmp_path / "bad.npy", tmp_path / out, outputs=outputs)
    if "each" in options:
        assert not (tmp_path / "new").exists()
    with pytest.raises(DataError):
        predict(toy_separator, toy.adapter, tmp_path / "none.npy", tmp_path / out, outputs=outputs)


def test_inputs_of_one_name_keep_their_suffixes(toy, toy_separator, images, tmp_path):
    np.save(images / "a.npy", FRAMES)
    predict(toy_separator, toy.adapter, images, tmp_path / "out", outputs=OutputOptions(each="h5"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.npy.h5", "a.ome.tif.h5", "b.h5"}


@pytest.mark.parametrize(
    ("out", "options", "error", "words"),
    [
        ("maps.h5", {"each": "h5"}, ConfigError, "goes into a folder"),
        ("maps.fits", {"each": "h5"}, ConfigError, "goes into a folder"),
        ("maps.csv", {"each": "csv"}, ConfigError, "goes into a folder"),
        ("maps.parquet", {"each": "npz"}, ConfigError, "goes into a folder"),
        ("images", {"each": "ome.tif"}, DataError, "the folder of the inputs"),
        ("maps.zarr", {"previews": True}, ConfigError, "not of a zarr store"),
        ("maps", {}, DataError, r"unknown kind of output; .*, \.fits, \.ecsv, \.parquet"),
    ],
)
def test_destinations_that_do_not_fit_are_refused(
    toy, toy_separator, images, tmp_path, out, options, error, words
):
    with pytest.raises(error, match=words):
        predict(toy_separator, toy.adapter, images, tmp_path / out, outputs=OutputOptions(**options))


def test_the_command_replaces_only_what_it_wrote(toy_run, images, tmp_path, capsys):
    words = ["predict", str(toy_run), str(images), "--out", str(tmp_path / "out"), "--each", "ome.tif"]
    words += ["--previews", "--trust-code"]
    assert command(words) == 0
    assert command(words) == 0
    (tmp_path / "out" / "a.ome.tif").write_bytes(b"mine")
    capsys.readouterr()
    assert command(words) == 2
    assert "a.ome.tif: exists and is not an earlier output" in capsys.readouterr().err
    assert (tmp_path / "out" / "a.ome.tif").read_bytes() == b"mine"


@pytest.mark.parametrize("kind", ["h5", "ome.tif", "npz"])
def test_results_of_earlier_predictions_are_no_images(toy_run, images, kind):
    for name in ("one", "two"):
        assert (
            command(
                ["predict", str(toy_run), str(images), "--out", str(images / f"{name}.{kind}"), "--trust-code"]
            )
            == 0
        )
    (images / "mine.csv").write_text("source,notes\na.ome.tif,good\n")  # of somebody else, beside maps
    tifffile.imwrite(images / "mine.tif", FRAMES)
    found = images_of(images, images / "three.h5", (".tif", ".csv", ".h5", ".npz"))
    assert [path.name for path in found] == ["a.ome.tif", "b.ome.tif", "mine.csv", "mine.tif"]


def test_catalogues_and_cutouts_of_earlier_predictions_are_no_images(tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    fits.PrimaryHDU(np.ones((4, 4)), fits.Header({"HISTORY": "of oasis"})).writeto(tmp_path / "sky.fits")
    write_catalogue(pd.DataFrame({"id": [1]}), tmp_path / "old.fits", {}, {}, {})
    Cutouts(tmp_path / "old_cutouts.fits", "nmgy")
    assert [path.name for path in images_of(tmp_path, tmp_path / "new.fits", (".fits",))] == ["sky.fits"]


def test_workers_without_a_cluster_are_refused(toy_run, images, tmp_path, capsys):
    arguments = ["predict", str(toy_run), str(images), "--out", str(tmp_path / "m.zarr"), "--workers", "3"]
    assert command([*arguments, "--trust-code"]) == 2
    assert "workers: belong to a cluster: name one with --cluster" in capsys.readouterr().err
