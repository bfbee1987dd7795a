"""Zarr stores of maps: the same as an HDF5 file, written unit by unit and continued after an interruption."""

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile

from oasis.cli import run as command
from oasis.errors import BusyError, DataError
from oasis.inference import stored, tiled
from oasis.inference.blockwise import Blockwise
from oasis.inference.options import WindowOptions
from oasis.inference.predict import predict
from oasis.inference.zarr_store import held
from oasis.instances.grouping import Grouping
from oasis.io.outputs import paths_in
from oasis.io.zarr_files import open_zarr
from oasis.run import Run

zarr = pytest.importorskip("zarr")

TILES = WindowOptions(kind="tiles", tile=64)
NAMES = ("dot", "bar")


@pytest.fixture
def setup(toy_values):
    return Run.from_values({**toy_values, "model": {"depth": 2, "norm": "batch"}})


@pytest.fixture
def separator(setup):
    return setup.new_separator().eval()


@pytest.fixture
def folder(tmp_path):
    """Three files of 2, 5 and 1 images, of which one cannot be used."""
    frames = np.random.default_rng(0).exponential(20, (8, 70, 81)).astype(np.float32)
    frames[3, 4, 5] = np.nan
    (tmp_path / "frames").mkdir()
    for name, part in (("a", frames[:2]), ("b", frames[2:7]), ("c", frames[7])):
        np.save(tmp_path / "frames" / f"{name}.npy", part)
    (tmp_path / "frames/d.npy").write_bytes(b"damaged")
    return tmp_path / "frames"


def maps_of(path):
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return {name: file[f"maps/{name}"][:] for name in NAMES}
    group = zarr.open_group(path, mode="r")
    return {name: group[f"maps/{name}/0"][:] for name in NAMES}


def die_at(monkeypatch, number):
    """End the process as a kill would, after some units."""
    process, seen = Blockwise.process, []

    def dying(self, unit):
        seen.append(unit)
        if len(seen) == number:
            raise KeyboardInterrupt
        process(self, unit)

    monkeypatch.setattr(Blockwise, "process", dying)
    return seen


@pytest.mark.parametrize("window", [None, TILES], ids=["whole", "tiles"])
def test_a_store_holds_what_an_hdf5_file_holds(setup, separator, folder, tmp_path, window, monkeypatch):
    monkeypatch.setattr(stored, "TOGETHER", 3 * 2 * 70 * 81)
    expected = predict(separator, setup.adapter, folder, tmp_path / "m.h5", window=window)
    found = predict(separator, setup.adapter, folder, tmp_path / "m.zarr", window=window)
    assert found.images == expected.images == 7
    assert {path: str(error) for path, error in found.failed.items()} == {
        path: str(error) for path, error in expected.failed.items()
    }
    assert [*found.objects] == [*expected.objects]
    for column in expected.objects:
        if expected.objects[column].dtype.kind == "f":
            np.testing.assert_allclose(found.objects[column], expected.objects[column], rtol=1e-5)
        else:
            assert found.objects[column].tolist() == expected.objects[column].tolist()
    whole, maps = maps_of(tmp_path / "m.h5"), maps_of(tmp_path / "m.zarr")
    for name in NAMES:
        assert np.isnan(maps[name][3]).all()
        np.testing.assert_allclose(np.delete(maps[name], 3, 0), whole[name], rtol=1e-4, atol=1e-4)
    group = zarr.open_group(tmp_path / "m.zarr", mode="r")
    assert group.attrs["complete"]
    assert [group.attrs["files"][number][-5:] for number in group["file"][:]] == ["a.npy"] * 2 + ["b.npy"] * 5 + [
        "c.npy"
    ]
    assert group["frame"][:].tolist() == [0, 1, 0, 1, 2, 3, 4, 0]
    axes = group["maps/dot"].attrs["ome"]["multiscales"][0]["axes"]
    assert [axis["name"] for axis in axes] == ["t", "c", "y", "x"]


@pytest.mark.parametrize("window", [None, TILES], ids=["whole", "tiles"])
def test_maps_keep_the_pixel_size_of_their_files(setup, separator, tmp_path, window):
    frames = np.random.default_rng(0).exponential(20, (2, 70, 81)).astype(np.float32)
    sizes = {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", frames, ome=True, metadata={"axes": "TYX", **sizes})
    predict(separator, setup.adapter, tmp_path / "a.ome.tif", tmp_path / "m.zarr", window=window)
    image = zarr.open_group(tmp_path / "m.zarr", mode="r")["maps/dot"].attrs["ome"]["multiscales"][0]
    assert image["datasets"][0]["coordinateTransformations"] == [{"type": "scale", "scale": [1, 1, 0.2, 0.1]}]
    assert [axis.get("unit") for axis in image["axes"]] == [None, None, "micrometer", "micrometer"]
    read = open_zarr(tmp_path / "m.zarr/maps/dot").facts
    assert (read.pixel_size, read.pixel_unit) == ({"Y": 0.2, "X": 0.1}, "µm")


@pytest.mark.parametrize("window", [None, TILES], ids=["whole", "tiles"])
def test_an_interrupted_store_is_continued(setup, separator, folder, tmp_path, window, monkeypatch):
    monkeypatch.setattr(stored, "TOGETHER", 3 * 2 * 70 * 81)
    expected = predict(separator, setup.adapter, folder, tmp_path / "a.zarr", window=window)
    out = tmp_path / "m.zarr"
    with monkeypatch.context() as patch:
        seen = die_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            predict(separator, setup.adapter, folder, out, window=window)
    first = {unit.name for unit in seen[:2]}
    assert not zarr.open_group(out, mode="r").attrs["complete"]
    with monkeypatch.context() as patch:
        seen = die_at(patch, 10**9)
        found = predict(separator, setup.adapter, folder, out, window=window)
    assert not first & {unit.name for unit in seen}
    assert seen
    assert found.objects.equals(expected.objects)
    for name, values in maps_of(tmp_path / "a.zarr").items():
        np.testing.assert_array_equal(maps_of(out)[name], values)
    with monkeypatch.context() as patch:
        seen = die_at(patch, 1)
        assert predict(separator, setup.adapter, folder, out, window=window).objects.equals(expected.objects)
    assert not seen


def test_blocks_of_a_unit_fill_whole_chunks(setup, separator, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(tiled, "largest_core", lambda *given: (40, 64))
    monkeypatch.setattr(stored, "CHUNK", {2: 16})
    written = []
    write = stored.MapStore.write

    def noted(self, name, rows, values, place=None):
        written.append((name, rows, place))
        write(self, name, rows, values, place)

    monkeypatch.setattr(stored.MapStore, "write", noted)
    window = WindowOptions(kind="tiles")
    predict(separator, setup.adapter, folder / "c.npy", tmp_path / "m.zarr", window=window)
    array = zarr.open_array(tmp_path / "m.zarr/maps/dot/0", mode="r")
    assert array.chunks == (1, 1, 10, 16)
    for _, _, place in written:
        for part, chunk, length in zip(place, array.chunks[2:], (70, 81), strict=True):
            assert part.start % chunk == 0
            assert part.stop % chunk == 0 or part.stop == length


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("weights", "contains maps of another run"),
        ("files", "contains maps of other image files"),
        ("options", "contains maps of other options"),
    ],
)
def test_stores_of_another_call_are_refused_in_one_line(setup, separator, folder, tmp_path, change, message):
    out = tmp_path / "m.zarr"
    predict(separator, setup.adapter, folder / "c.npy", out)
    source, window = folder / "c.npy", None
    if change == "weights":
        next(separator.parameters()).data += 1
    elif change == "files":
        source = folder / "a.npy"
    else:
        window = TILES
    with pytest.raises(DataError, match=f"{message}: choose another name, or pass --force") as raised:
        predict(separator, setup.adapter, source, out, window=window)
    assert "\n" not in str(raised.value)
    assert predict(separator, setup.adapter, source, out, window=window, replace=True).images


@pytest.mark.parametrize("changed", ["frames", "labels"])
def test_what_changed_below_a_folder_is_not_taken_for_the_same(setup, toy, tmp_path, changed):
    """The time of a folder itself does not change when a file in it is written again."""
    separator = toy.new_separator(trained_size=(24, 20)).eval()
    frames = np.random.default_rng(0).exponential(20, (2, 70, 81)).astype(np.float32)
    array = zarr.create_array(tmp_path / "frames.zarr", data=frames, chunks=(1, 70, 81))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/frames.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    window = WindowOptions(kind="regions", regions=str(tmp_path / "labels"))

    def called():
        return predict(separator, setup.adapter, tmp_path / "frames.zarr", tmp_path / "m.zarr", window=window)

    called()
    called()
    if changed == "frames":
        array[1] = 0
    else:
        (tmp_path / "labels/frames.txt").write_text("0 0.4 0.5 0.2 0.2\n")
    with pytest.raises(DataError, match=r"contains maps of other (image files|options)"):
        called()


def test_other_contents_of_a_file_that_options_name_are_not_the_same(tmp_path):
    (tmp_path / "pedestal.npy").write_bytes(b"one")
    named = {"pedestal": str(tmp_path / "pedestal.npy"), "files": {"train": "none"}, "size": [3, 4]}
    first = [stored._stamp(path) for path in paths_in(named)]
    (tmp_path / "pedestal.npy").write_bytes(b"two, longer")
    assert len(first) == 1
    assert first != [stored._stamp(path) for path in paths_in(named)]


def test_what_is_no_store_is_never_removed(setup, separator, folder, tmp_path):
    out = tmp_path / "m.zarr"
    out.mkdir()
    (out / "precious").write_text("data")
    for replace in (False, True):
        with pytest.raises(DataError, match="exists and is not an earlier output of this command: choose another"):
            predict(separator, setup.adapter, folder, out, replace=replace)
    assert (out / "precious").exists()


def test_two_writers_of_one_store_do_not_mix(setup, separator, folder, tmp_path):
    out = tmp_path / "m.zarr"
    with held(out), pytest.raises(BusyError, match=r"m\.zarr: another process is writing it"):
        predict(separator, setup.adapter, folder, out)
    assert predict(separator, setup.adapter, folder, out).images == 7


def test_nothing_usable_leaves_no_store(setup, separator, tmp_path):
    np.save(tmp_path / "a.npy", np.full((40, 40), np.nan, np.float32))
    for window in (None, WindowOptions(kind="tiles", tile=20)):
        with pytest.raises(DataError, match="NaN or infinite"):
            predict(separator, setup.adapter, tmp_path / "a.npy", tmp_path / "m.zarr", window=window)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


@pytest.mark.parametrize("window", [None, TILES], ids=["whole", "tiles"])
def test_masks_and_positions_are_kept(setup, separator, tmp_path, window):
    class Masked(type(setup.adapter)):
        def read(self, path, key=None, dark=None):
            images = super().read(path, key, dark)
            return images.replace(mask=np.isfinite(images.image), position={"ra": np.array([1.5, 2.5])})

    frames = np.random.default_rng(0).exponential(20, (2, 80, 100)).astype(np.float32)
    frames[0, 50:60, 60:70] = np.nan
    np.save(tmp_path / "a.npy", frames)
    adapter = Masked(setup.adapter.options)
    expected = predict(separator, adapter, tmp_path / "a.npy", tmp_path / "m.h5", window=window).objects
    found = predict(separator, adapter, tmp_path / "a.npy", tmp_path / "m.zarr", window=window).objects
    for column in ("intensity_predicted", "masked_fraction", "ra"):
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-5)
    mask = zarr.open_array(tmp_path / "m.zarr/mask/0", mode="r")[:]
    np.testing.assert_array_equal(mask, np.isfinite(frames)[:, None])


def test_the_command_continues_and_refuses(toy_run, tmp_path, capsys):
    frames = np.random.default_rng(0).exponential(20, (2, 24, 20)).astype(np.float32)
    np.save(tmp_path / "a.npy", frames)
    out = tmp_path / "m.zarr"
    arguments = ["predict", str(toy_run), str(tmp_path / "a.npy"), "--out", str(out), "--trust-code"]
    assert command(arguments) == 0
    assert (tmp_path / "m.csv").exists()
    assert command(arguments) == 0
    np.save(tmp_path / "a.npy", frames + 1)
    capsys.readouterr()
    assert command(arguments) == 2
    line = capsys.readouterr().err.strip()
    assert line.endswith("contains maps of other image files: choose another name, or pass --force to replace it")
    assert "\n" not in line
    assert command([*arguments, "--force"]) == 0


@pytest.mark.parametrize("method", ["components", "gaps", "watershed"])
def test_instances_across_tiles_are_those_of_the_whole_image(setup, separator, tmp_path, method):
    frames = np.random.default_rng(0).exponential(3, (2, 88, 100)).astype(np.float32)
    for row, column in ((28, 30), (60, 28), (30, 62), (63, 90)):
        frames[:, row : row + 8, column : column + 9] += 300
    np.save(tmp_path / "a.npy", frames)
    how = Grouping(method=method, gap=2, separation=5, smoothing=1.5)
    grouping = {"dot": how, "bar": how.model_copy(update={"joins": ("dot",)})}
    adapter = type(setup.adapter)(setup.adapter.options, thresholds=40.0)

    def separated(out, window=None):
        given = (None, None, False, False, None, window, grouping)
        return predict(separator, adapter, tmp_path / "a.npy", tmp_path / out, *given).instances

    expected = separated("a.h5")
    assert len(expected) > 7
    for out in ("b.h5", "c.zarr"):
        pd.testing.assert_frame_equal(separated(out, WindowOptions(kind="tiles", tile=32)), expected, rtol=1e-3)


def test_what_a_killed_process_left_of_a_new_store_is_removed(tmp_path):
    (tmp_path / ".m.zarr.ab_d3fgh.part" / "m.zarr").mkdir(parents=True)
    kept = [".n.zarr.ab_d3fgh.part", ".m.zarr.mine.part", "m.zarr.ab_d3fgh.part"]
    for name in kept:
        (tmp_path / name).mkdir()
    with held(tmp_path / "m.zarr"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
