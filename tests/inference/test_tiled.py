"""Images that are separated by tiles: the maps and the table of the whole image, read and written by parts."""

import h5py
import numpy as np
import pytest
import tifffile

from oasis.cli import run as command
from oasis.data.images import Images
from oasis.errors import BusyError, ConfigError, DataError, OasisError
from oasis.inference import one_file, tiled
from oasis.inference.large import open_large, survey
from oasis.inference.options import WindowOptions
from oasis.inference.predict import predict
from oasis.io.files import replace_alone
from oasis.run import Run

TILES = WindowOptions(kind="tiles", tile=40)
MODEL = {"depth": 3, "norm": "batch"}  # which sees 37 pixels


@pytest.fixture
def setup(toy_values):
    values = {
        **toy_values,
        "model": MODEL,
        "scaling": {"name": "log", "percentile": 95, "scale": None, "peak": True},
    }
    return Run.from_values(values)


@pytest.fixture
def separator(setup):
    return setup.new_separator().eval()


@pytest.fixture
def frames():
    frames = np.random.default_rng(0).exponential(20, (2, 150, 201)).astype(np.float32)
    frames[1] *= 3
    return frames


def write(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, image=values)
    elif path.suffix == ".tif":
        tifffile.imwrite(path, values, tile=(64, 64), compression="zlib", photometric="minisblack")
    else:
        with h5py.File(path, "w") as file:
            file.create_dataset("image", data=values, chunks=(1, 32, 32))
    return path


def maps_of(path):
    with h5py.File(path) as file:
        return {name: file[f"maps/{name}"][:] for name in ("dot", "bar")}


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.tif", "a.h5"])
def test_tiles_are_the_whole_image(setup, separator, frames, tmp_path, name):
    padded = frames[:, :144, :200]  # multiples of the network's grid
    source = write(tmp_path / name, padded)
    whole = predict(separator, setup.adapter, source, tmp_path / "whole.h5")
    tiled = predict(separator, setup.adapter, source, tmp_path / "tiled.h5", window=TILES)
    expected, found = maps_of(tmp_path / "whole.h5"), maps_of(tmp_path / "tiled.h5")
    for name in expected:
        assert found[name].shape == expected[name].shape
        assert np.abs(found[name] - expected[name]).max() < 1e-3 * expected[name].max()
    assert tiled.objects.columns.tolist() == whole.objects.columns.tolist()
    for column in whole.objects:
        if whole.objects[column].dtype.kind == "f":
            np.testing.assert_allclose(tiled.objects[column], whole.objects[column], rtol=1e-3)
        else:
            assert tiled.objects[column].tolist() == whole.objects[column].tolist()
    with h5py.File(tmp_path / "tiled.h5") as file:
        assert file["frame"][:].tolist() == [0, 1]


def test_a_dark_frame_is_cut_with_the_image(setup, separator, frames, tmp_path):
    dark = np.random.default_rng(1).uniform(0, 9, frames.shape[1:]).astype(np.float32)
    predict(separator, setup.adapter, write(tmp_path / "a.npy", frames), tmp_path / "a.h5", window=TILES)
    raised = write(tmp_path / "b.npy", frames + dark)
    predict(separator, setup.adapter, raised, tmp_path / "b.h5", dark=dark, window=TILES)
    expected, found = maps_of(tmp_path / "a.h5"), maps_of(tmp_path / "b.h5")
    np.testing.assert_allclose(found["bar"], expected["bar"], rtol=1e-2, atol=1e-3)
    with pytest.raises(DataError, match=r"the dark frame has shape \(5, 5\), one image \(1, 150, 201\)"):
        predict(separator, setup.adapter, raised, tmp_path / "c.h5", dark=dark[:5, :5], window=TILES)


def test_images_that_cannot_be_used_are_left_out_and_blank_ones_are_blank(setup, separator, frames, tmp_path):
    stack = np.stack([frames[0], frames[0], np.zeros_like(frames[0]), frames[1]])
    stack[1, 140, 7] = np.nan
    found = predict(separator, setup.adapter, write(tmp_path / "a.npy", stack), tmp_path / "m.h5", window=TILES)
    assert found.images == 3
    assert "frame 1: pixels are NaN or infinite, the first at (0, 140, 7)" in str(*found.failed.values())
    maps = maps_of(tmp_path / "m.h5")["bar"]
    assert maps.shape == (3, 1, 150, 201)
    assert not maps[1].any()
    assert maps[2].any()
    assert found.objects["frame"].tolist() == [0, 0, 2, 2, 3, 3]
    assert found.objects["intensity_predicted"][2] == 0


def test_what_is_damaged_halfway_leaves_no_row(setup, separator, frames, tmp_path, monkeypatch):
    from oasis.inference import large

    part = large._FromFile.part
    calls = []

    def failing(self, index, place):
        calls.append(index)
        if index == 1 and calls.count(1) > 3:
            raise DataError("a tile is damaged")
        return part(self, index, place)

    monkeypatch.setattr(large._FromFile, "part", failing)
    found = predict(separator, setup.adapter, write(tmp_path / "a.npy", frames), tmp_path / "m.h5", window=TILES)
    assert found.images == 1
    assert "frame 1: a tile is damaged" in str(*found.failed.values())
    assert maps_of(tmp_path / "m.h5")["dot"].shape[0] == 1


def test_bad_pixels_are_not_counted(setup, separator, frames, tmp_path):
    class Masked(type(setup.adapter)):
        def read(self, path, key=None, dark=None):
            images = super().read(path, key, dark)
            return images.replace(mask=np.isfinite(images.image), position={"ra": np.array([1.5, 2.5])})

    frames = frames[:, :144, :200]
    frames[0, 50:80, 60:70] = np.nan
    source = write(tmp_path / "a.npy", frames)
    adapter = Masked(setup.adapter.options)
    whole = predict(separator, adapter, source, tmp_path / "whole.h5").objects
    tiled = predict(separator, adapter, source, tmp_path / "tiled.h5", window=TILES).objects
    assert set(tiled) == set(whole)
    for column in ("intensity_predicted", "masked_fraction", "ra", "overlap_fraction_predicted"):
        np.testing.assert_allclose(tiled[column], whole[column], rtol=1e-3)
    with h5py.File(tmp_path / "tiled.h5") as file:
        np.testing.assert_array_equal(file["mask"][:, 0], np.isfinite(frames))


@pytest.mark.parametrize(
    ("options", "out", "message"),
    [
        ({"tile": 20}, "m.h5", "tile: 20 pixels, but the network sees 37 to either side"),
        ({"tile": 4000}, "m.h5", "tile: 4000 pixels, but images have 150 x 201"),
        ({}, "m.npz", r"name an output \.h5"),
        ({"memory": "1MB"}, "m.h5", "memory: a tile of this network, which sees 37 pixels"),
    ],
)
def test_tiles_that_cannot_be(setup, separator, frames, tmp_path, options, out, message):
    window = WindowOptions.parse({"kind": "tiles", **options})
    with pytest.raises(ConfigError, match=message) as raised:
        predict(separator, setup.adapter, write(tmp_path / "a.npy", frames), tmp_path / out, window=window)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "tile"}, "kind: Input should be 'whole', 'tiles' or 'regions'"),
        ({"kind": "tiles", "tile": 0}, "tile: Input should be greater than or equal to 1"),
        ({"tile": 64}, "tile: goes with the window tiles, not none"),
        ({"kind": "tiles", "regions": "a.csv"}, "regions: a file of regions goes with the window regions"),
        ({"kind": "tiles", "memory": "lots"}, "memory: expected a size such as 2GB, found 'lots'"),
    ],
)
def test_options_that_do_not_fit(values, message):
    with pytest.raises(ConfigError, match=message):
        WindowOptions.parse(values)


def test_the_spread_of_tiles_is_refused(setup, separator, frames, tmp_path):
    with pytest.raises(ConfigError, match="spread: goes with whole images, not with tiles"):
        predict(
            separator,
            setup.adapter,
            write(tmp_path / "a.npy", frames),
            tmp_path / "m.h5",
            spread=True,
            window=TILES,
        )


def test_networks_that_see_the_whole_frame_are_refused_with_the_way_out(toy, toy_separator, frames, tmp_path):
    source = write(tmp_path / "a.npy", frames)
    with pytest.raises(OasisError, match=r"sees the whole frame .* model\.norm=batch"):
        predict(toy_separator, toy.adapter, source, tmp_path / "m.h5", window=TILES)


def test_images_above_the_memory_are_separated_by_tiles_unasked(setup, separator, frames, tmp_path, monkeypatch):
    monkeypatch.setattr(tiled, "SMALL", 1000)
    monkeypatch.setattr(tiled, "fits", lambda separator, size, memory: False)
    predict(separator, setup.adapter, write(tmp_path / "a.npy", frames), tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as file:
        assert file["maps/dot"].chunks == (1, 1, 150, 201)
    asked = []

    def refused(job, path, *arguments):
        asked.append(path)
        raise DataError("nothing was written")

    monkeypatch.setattr(one_file, "separate_tiles", refused)
    with pytest.raises(DataError, match="nothing was written"):
        predict(separator, setup.adapter, tmp_path / "a.npy", tmp_path / "n.h5")
    assert asked == [tmp_path / "a.npy"]


def test_a_large_image_is_looked_through_in_strips(setup, separator, tmp_path, monkeypatch):
    from oasis.inference import large

    image = np.random.default_rng(0).exponential(20, (400, 500)).astype(np.float32)
    image[3, 7] = 5000
    source = write(tmp_path / "a.npy", image)
    with open_large(setup.adapter, source) as images:
        exact = survey(separator, images, 0).scale
        monkeypatch.setattr(large, "STRIP", 3000)
        strips = survey(separator, images, 0).scale
        monkeypatch.setattr(large, "SAMPLED", 40_000)
        sampled = survey(separator, images, 0).scale
    assert strips == exact
    assert sampled.scale.item() == pytest.approx(exact.scale.item(), rel=0.02)
    assert sampled.scale.item() != exact.scale.item()
    peaks = [one.peak.item() for one in (exact, sampled)]
    assert peaks[1] == pytest.approx(peaks[0], rel=0.02)  # the brightest pixel is always there


def test_two_writers_of_one_output_do_not_mix(setup, separator, frames, tmp_path):
    out = tmp_path / "m.h5"
    source = write(tmp_path / "a.npy", frames)
    with replace_alone(out) as temporary:
        temporary.write_bytes(b"half")
        with pytest.raises(BusyError, match=r"m\.h5: process \d+ is writing it") as raised:
            predict(separator, setup.adapter, source, out)
    assert "\n" not in str(raised.value)
    assert out.read_bytes() == b"half"
    assert predict(separator, setup.adapter, source, out).images == 2


def test_the_command(setup, separator, frames, tmp_path, toy_values, capsys):
    run = Run.from_values({**toy_values, "model": {"norm": "batch", "depth": 2}, "training": {"epochs": 1}})
    run.train()
    source, out = write(tmp_path / "a.tif", frames), tmp_path / "m.h5"
    arguments = ["predict", str(run.folder), str(source), "--out", str(out), "--trust-code"]
    assert command([*arguments, "--window", "tiles", "--tile", "64"]) == 0
    assert maps_of(out)["dot"].shape == (2, 1, 150, 201)
    assert command([*arguments, "--window", "stripes"]) == 2
    assert "kind: Input should be 'whole', 'tiles' or 'regions'" in capsys.readouterr().err


def test_a_file_that_is_read_whole_is_cut_too(setup, separator, frames, tmp_path):
    class Reading(type(setup.adapter)):
        def read(self, path, key=None, dark=None):
            return Images(np.load(path)[:, None] + 1)

    source = write(tmp_path / "a.npy", frames)
    predict(separator, Reading(setup.adapter.options), source, tmp_path / "a.h5", window=TILES)
    predict(separator, setup.adapter, write(tmp_path / "b.npy", frames + 1), tmp_path / "b.h5", window=TILES)
    np.testing.assert_allclose(maps_of(tmp_path / "a.h5")["dot"], maps_of(tmp_path / "b.h5")["dot"], rtol=1e-4)


def test_a_network_that_sees_the_whole_frame_is_tried_unless_a_memory_is_stated(
    toy, toy_separator, frames, tmp_path, monkeypatch
):
    monkeypatch.setattr(tiled, "SMALL", 1000)
    monkeypatch.setattr(tiled, "fits", lambda separator, size, memory: False)
    source = write(tmp_path / "a.npy", frames)
    assert predict(toy_separator, toy.adapter, source, tmp_path / "m.h5").images == 2
    with pytest.raises(OasisError, match="sees the whole frame"):
        predict(toy_separator, toy.adapter, source, tmp_path / "n.h5", window=WindowOptions(memory="2GB"))


def test_what_a_pixel_takes_is_counted_by_layer(separator):
    from oasis.inference.memory import bytes_per_pixel, fits, largest_core

    cost = bytes_per_pixel(separator)
    assert 4 * 4 * 4 < cost < 4 * 4 * 100  # four channels at full resolution, and less than a hundred such layers
    side = int((0.5 * 2**32 / cost) ** 0.5)
    assert not fits(separator, (4 * side, 4 * side), 2**32)
    core = largest_core(separator, (37, 37), 2**33)
    assert core[0] % 256 == 0
    assert core[0] + 2 * 40 <= 2048
