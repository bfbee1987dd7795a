"""Files of microscopes through bioio: axes, pixel sizes, channels, scenes, and readers that are missing."""

import sys

import numpy as np
import pytest
import tifffile
from lif import write_lif
from made_up_cells import CLASSES, cells, counts

from oasis.cli import run as command
from oasis.errors import DataError, MissingExtraError
from oasis.io.arrays import read_array
from oasis.io.bio import BIO, read_bio
from oasis.io.labelled import read_labelled
from oasis.run import Run

PIXEL = {"X": 1e-7, "Y": 2e-7, "Z": 5e-7}  # m


def numbers(shape):
    return np.random.default_rng(0).integers(0, 60000, shape).astype(np.uint16)


@pytest.fixture
def lif(tmp_path):
    pytest.importorskip("bioio_lif")

    def write(series, name="a.lif"):
        write_lif(tmp_path / name, series, PIXEL)
        return tmp_path / name

    return write


def test_a_lif_file_states_axes_channels_and_pixels(lif):
    values = numbers((2, 3, 20, 30))
    found, facts = read_labelled(lif({"one": values}))
    np.testing.assert_array_equal(found, values)
    assert (facts.names, facts.pixel_unit, len(facts.channels)) == ("CZYX", "µm", 2)
    assert facts.lengths(3) == pytest.approx((0.5, 0.2, 0.1))
    plain, facts = read_labelled(lif({"one": values[:1, :1]}, "b.lif"))
    assert (plain.shape, facts.names) == ((20, 30), "YX")


def test_scenes_of_one_size_are_images_and_others_are_chosen_by_name(lif):
    values = numbers((3, 1, 1, 20, 30))
    path = lif({f"position {number}": one for number, one in enumerate(values)})
    found, facts = read_labelled(path)
    assert (found.shape, facts.names) == ((3, 20, 30), "IYX")
    np.testing.assert_array_equal(read_array(path, "position 1"), values[1, 0, 0])
    with pytest.raises(DataError, match="no scene 'position 9'; did you mean 'position"):
        read_labelled(path, "position 9")
    mixed = lif({"a": values[0], "b": values[0, :, :, :10]}, "b.lif")
    with pytest.raises(DataError, match=r"b\.lif: scenes differ in size .*--key"):
        read_labelled(mixed)
    assert read_array(mixed, "b").shape == (10, 30)


def test_a_czi_file_states_axes_channels_and_pixels(tmp_path):
    pytest.importorskip("bioio_czi")
    writer = pytest.importorskip("pylibCZIrw.czi")
    values = numbers((2, 3, 20, 30))
    with writer.create_czi(str(tmp_path / "a.czi")) as file:
        for channel in range(2):
            for depth in range(3):
                file.write(values[channel, depth, :, :, None], plane={"C": channel, "Z": depth, "T": 0})
        scales = {f"scale_{axis.lower()}": length for axis, length in PIXEL.items()}
        file.write_metadata("cells", channel_names={0: "DAPI", 1: "GFP"}, **scales)
    found, facts = read_labelled(tmp_path / "a.czi")
    np.testing.assert_array_equal(found, values)
    assert (facts.names, facts.channels) == ("CZYX", ("DAPI", "GFP"))
    assert facts.lengths(3) == pytest.approx((0.5, 0.2, 0.1))


@pytest.mark.parametrize("suffix", sorted(BIO))
def test_damaged_files_are_refused_in_a_line(suffix, tmp_path):
    pytest.importorskip("bioio")
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"something else")
    with pytest.raises((DataError, MissingExtraError)) as caught:
        read_labelled(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_missing_packages_are_named(tmp_path, monkeypatch):
    (tmp_path / "a.czi").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "bioio", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'oasis-seg\[bio\]'"):
        read_bio(tmp_path / "a.czi")


def test_a_missing_reader_is_named(tmp_path, monkeypatch):
    pytest.importorskip("bioio")
    monkeypatch.setitem(sys.modules, "bioio_nd2", None)
    (tmp_path / "a.nd2").write_bytes(b"x")
    with pytest.raises(
        MissingExtraError, match=r"a\.nd2: needs a reader of such files: run  pip install bioio-nd2"
    ):
        read_bio(tmp_path / "a.nd2")


def test_a_folder_of_microscope_files_is_trained_on_and_maps_keep_the_size_of_a_pixel(tmp_path, lif, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / "stains/single-stained" / name).mkdir(parents=True)
    for index in range(3):
        for kind, name in enumerate(CLASSES):
            light, _ = cells(rng, (40, 44))
            lif({"series": counts(light[kind] + 5, rng)[None]}, f"stains/single-stained/{name}/{index}.lif")
    assert command(["init", "stains", "--offset", "100", "--gain", "0.5"]) == 0
    run = Run.from_config("stains.yaml", ["model.base_channels=4", "model.depth=2"])
    assert run.dataset("train")[0].target.shape == (2, 1, 40, 44)
    run.save()
    run.new_separator(trained_size=(40, 44)).save(run.folder)
    source = f"stains/single-stained/{CLASSES[0]}/0.lif"
    assert command(["predict", "runs/stains", source, "--out", "maps.ome.tif"]) == 0
    with tifffile.TiffFile("maps.ome.tif") as file:
        assert 'PhysicalSizeX="0.1' in file.ome_metadata
        assert 'PhysicalSizeY="0.2' in file.ome_metadata or 'PhysicalSizeY="0.19999' in file.ome_metadata
