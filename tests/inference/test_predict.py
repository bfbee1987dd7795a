import json
import os
import tracemalloc

import h5py
import numpy as np
import pytest
import tifffile

from oasis.data.images import Images
from oasis.errors import DataError
from oasis.inference import reader
from oasis.inference.predict import predict
from oasis.inference.sources import Frames
from oasis.io.files import readable
from oasis.io.folders import image_files, left_below
from oasis.run import Run


@pytest.fixture
def frames():
    return np.random.default_rng(0).exponential(20, (3, 24, 20)).astype(np.float32)


@pytest.fixture
def write(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()

    def write(name, values):
        path = folder / name
        if path.suffix == ".npy":
            np.save(path, values)
        elif path.suffix == ".npz":
            np.savez(path, image=values, other=np.zeros(2))
        elif path.suffix == ".tif":
            tifffile.imwrite(path, values, photometric="minisblack")
        else:
            with h5py.File(path, "w") as file:
                file["only"] = values
        return path

    return write


@pytest.mark.parametrize("kind", [".npy", ".npz", ".tif", ".h5"])
@pytest.mark.parametrize("out", ["maps.h5", "maps.npz"])
def test_every_kind_of_file_gives_the_same_maps(toy, toy_separator, tmp_path, frames, write, kind, out):
    report = predict(toy_separator, toy.adapter, write(f"a{kind}", frames), tmp_path / out)
    assert report.images == 3
    assert not report.failed
    expected = toy_separator.separate(frames[:, None])["dot"]
    if out.endswith(".h5"):
        with h5py.File(tmp_path / out) as file:
            found, number = file["maps/dot"][:], file["frame"][:]
            assert json.loads(file.attrs["classes"]) == ["dot", "bar"]
            assert file.attrs["unit"] == "counts"
            assert json.loads(file.attrs["identity"])["configuration"] == toy.fingerprint
            assert file["source"][0].decode().endswith(f"a{kind}")
    else:
        with np.load(tmp_path / out) as file:
            found, number = file["dot"], file["frame"]
            assert str(file["unit"]) == "counts"
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert number.tolist() == [0, 1, 2]


def test_a_single_frame_and_a_dark_frame(toy, toy_separator, tmp_path, frames, write):
    dark = np.full((24, 20), 3.0, np.float32)
    predict(toy_separator, toy.adapter, write("a.npy", frames[0] + dark), tmp_path / "m.h5", dark)
    with h5py.File(tmp_path / "m.h5") as file:
        np.testing.assert_allclose(file["maps/bar"][0], toy_separator.separate(frames[0][None])["bar"], rtol=1e-4)


def test_bad_files_of_a_folder_are_named_and_the_rest_goes_on(toy, toy_separator, tmp_path, frames, write):
    good = write("b.npy", frames)
    write("a.npy", np.full_like(frames, np.nan))
    write("c.npy", np.full_like(frames, np.inf))
    (good.parent / "d.npy").write_bytes(good.read_bytes()[:300])
    write("e.npy", np.ones((2, 3, 24, 20)))
    (good.parent / "notes.txt").write_text("not an image")
    report = predict(toy_separator, toy.adapter, good.parent, tmp_path / "m.h5")
    assert report.images == 3
    assert {path.name for path in report.failed} == {"a.npy", "c.npy", "d.npy", "e.npy"}
    for path, error in report.failed.items():
        assert str(path) in str(error)
        assert "\n" not in str(error)


@pytest.mark.parametrize("out", ["m.h5", "m.npz"])
def test_bad_frames_are_named_by_their_number_in_the_file_and_the_rest_goes_on(
    toy, toy_separator, tmp_path, write, out
):
    frames = np.random.default_rng(0).exponential(20, (30, 24, 20)).astype(np.float32)
    frames[11] = 0
    good = [number for number in range(30) if number not in (3, 17, 18)]
    expected = toy_separator.separate(frames[good, None])["bar"]
    frames[3, 2, 1] = np.nan
    frames[17:19] = np.inf
    found = predict(toy_separator, toy.adapter, write("a.npy", frames), tmp_path / out)
    assert found.images == 27
    ((path, error),) = found.failed.items()
    assert str(error) == (
        f"{path}: frame 3: 1 pixel is NaN or infinite, the first at (0, 2, 1): replace them with finite values, "
        "such as 0; "
        "left out 3 of 30 frames: 3, 17, 18"
    )
    assert found.objects["frame"].tolist() == [number for number in good for _ in range(2)]
    if out.endswith(".h5"):
        with h5py.File(tmp_path / out) as file:
            maps, numbers = file["maps/bar"][:], file["frame"][:]
    else:
        with np.load(tmp_path / out) as file:
            maps, numbers = file["bar"], file["frame"]
    assert numbers.tolist() == good
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-4)
    assert not maps[good.index(11)].any()


def test_a_batch_that_an_adapter_refuses_is_left_out(toy, toy_separator, tmp_path, write):
    class Picky(type(toy.adapter)):
        def visible(self, images):
            if images.max() > 1000:
                raise DataError("too bright")
            return super().visible(images)

    frames = np.random.default_rng(0).uniform(1, 20, (20, 24, 20)).astype(np.float32)
    frames[9] = 1001
    found = predict(toy_separator, Picky(), write("a.npy", frames), tmp_path / "m.h5")
    assert found.images == 12
    assert "frame 8: too bright; left out 8 of 20 frames: 8, 9, 10" in str(*found.failed.values())


def test_context_that_is_not_finite_costs_its_frame():
    context = np.ones((4, 2, 5), np.float32)
    context[2, 1, 3] = np.nan
    frames = Frames(Images(np.ones((4, 1, 5), np.float32), context), {})
    assert [numbers.tolist() for numbers, _ in frames.batches(3)] == [[0, 1], [3]]
    assert frames.problems == {2: "1 value is NaN or infinite in its context: give finite numbers"}


def test_links_that_lead_nowhere_and_hidden_files_do_not_cost_the_folder(
    toy, toy_separator, tmp_path, frames, write
):
    folder = write("a.npy", frames).parent
    (folder / "b.npy").symlink_to("b.npy")
    (folder / "c.npy").symlink_to("nowhere")
    (folder / ".d.npy").write_bytes(b"x")
    (folder / "e.npy").symlink_to("a.npy")
    found = predict(toy_separator, toy.adapter, folder, tmp_path / "m.h5")
    assert found.images == 6
    assert {path.name for path in found.failed} == {"b.npy", "c.npy"}


def test_names_that_are_not_utf_8_are_written_in_a_readable_way(toy, toy_separator, tmp_path, frames, write):
    path = write("a.npy", frames)
    path = path.rename(path.with_name(os.fsdecode(b"caf\xe9.npy")))
    for out in ("m.h5", "m.npz"):
        found = predict(toy_separator, toy.adapter, path, tmp_path / out)
        assert found.objects["source"].unique().tolist() == [readable(path)]


@pytest.mark.parametrize(("kind", "out"), [(".npy", "m.h5"), (".npy", "m.npz"), (".h5", "m.h5"), (".tif", "m.h5")])
def test_memory_does_not_grow_with_a_file(toy, toy_separator, tmp_path, write, kind, out, monkeypatch):
    """The peak of what numpy holds is a few batches, of images and of maps."""
    monkeypatch.setattr(reader, "AT_ONCE", 8 * 192 * 160)
    peaks = []
    for count in (8, 80):
        frames = np.random.default_rng(0).exponential(20, (count, 24, 20)).astype(np.float32)
        path = write(f"a{kind}", np.repeat(np.repeat(frames, 8, 1), 8, 2))
        tracemalloc.start()
        predict(toy_separator, toy.adapter, path, tmp_path / out)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    maps_of_a_frame = 2 * 192 * 160 * 4
    assert peaks[1] - peaks[0] < 8 * maps_of_a_frame


def test_frames_that_cannot_be_read_are_named_and_the_others_go_on(
    toy, toy_separator, tmp_path, frames, monkeypatch
):
    path, stack = tmp_path / "a.h5", np.concatenate([frames] * 4)
    with h5py.File(path, "w") as file:
        data = file.create_dataset("image", data=stack, chunks=(1, 24, 20), compression="gzip")
        damaged = [data.id.get_chunk_info(number) for number in (5, 6, 11)]
    with path.open("r+b") as file:
        for chunk in damaged:
            file.seek(chunk.byte_offset)
            file.write(bytes(chunk.size))
    for together in (1, 4, 100):
        monkeypatch.setattr(reader, "AT_ONCE", together * 24 * 20)
        found = predict(toy_separator, toy.adapter, path, tmp_path / "m.h5")
        (error,) = found.failed.values()
        assert str(error).startswith(f"{path}: frame 5: ")
        assert str(error).endswith("left out 3 of 12 frames: 5, 6, 11")
        assert found.images == 9
        with h5py.File(tmp_path / "m.h5") as file:
            assert file["frame"][:].tolist() == [0, 1, 2, 3, 4, 7, 8, 9, 10]
            expected = toy_separator.separate(stack[file["frame"][:], None])["dot"]
            np.testing.assert_allclose(file["maps/dot"][:], expected, rtol=1e-4)


def test_nothing_usable_writes_nothing(toy, toy_separator, tmp_path, write):
    path = write("a.npy", np.full((24, 20), np.nan, np.float32))
    with pytest.raises(DataError, match=r"a\.npy: 480 pixels are NaN or infinite"):
        predict(toy_separator, toy.adapter, path, tmp_path / "m.h5")
    assert not (tmp_path / "m.h5").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames"]


def test_wrong_places(toy, toy_separator, tmp_path, frames, write):
    path = write("a.npy", frames)
    with pytest.raises(DataError, match="unknown kind of output"):
        predict(toy_separator, toy.adapter, path, tmp_path / "m.txt")
    with pytest.raises(DataError, match="no such file"):
        predict(toy_separator, toy.adapter, tmp_path / "b.npy", tmp_path / "m.h5")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image files"):
        image_files(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        predict(toy_separator, toy.adapter, path, tmp_path / "file" / "m.h5")
    assert os.listdir(tmp_path / "empty") == []


def test_another_size_than_in_training_is_warned_of_where_it_matters(toy_values, tmp_path, frames, write, caplog):
    for norm, warned in (("group", True), ("batch", False)):
        setup = Run.from_values({**toy_values, "model": {"norm": norm}})
        separator = setup.new_separator(trained_size=(48, 40))
        caplog.clear()
        predict(separator, setup.adapter, write("a.npy", frames), tmp_path / "m.h5")
        assert ("trained on 48 x 40 pixels" in caplog.text) == warned
        predict(separator, setup.adapter, write("b.npy", frames).parent, tmp_path / "m.h5")
        assert caplog.text.count("trained on 48 x 40 pixels") == 2 * warned  # once in a prediction of two files
        separator = setup.new_separator(trained_size=(24, 20))
        caplog.clear()
        predict(separator, setup.adapter, write("a.npy", frames), tmp_path / "m.h5")
        assert not caplog.text


def test_images_below_a_folder_are_said_to_be_left_out(toy, toy_separator, tmp_path, frames, write, caplog):
    folder = write("a.npy", frames).parent
    earlier = folder / "maps" / "a.npy"
    for path in (folder / "day2" / "late.npy", folder / ".hidden" / "a.npy", earlier):
        path.parent.mkdir()
        np.save(path, frames)
    assert predict(toy_separator, toy.adapter, folder, folder / "maps.h5").images == 3
    assert caplog.messages == [
        f"{folder}: image files in folders below it, such as {folder / 'day2' / 'late.npy'}, are not read: name "
        "their folder"
    ]
    assert "late.npy" in left_below(folder)
    (folder / "day2" / "late.npy").unlink()
    assert left_below(folder, without=[earlier.parent]) == ""
    with pytest.raises(DataError, match=r"image files in folders below it, such as .*a\.npy"):
        image_files(tmp_path)


def test_images_of_another_size_are_named_and_the_rest_goes_on(toy, toy_separator, tmp_path, frames, write):
    first = write("a.npy", frames)
    write("b.npy", frames[:, :16])
    write("c.npy", frames)
    report = predict(toy_separator, toy.adapter, first.parent, tmp_path / "m.h5")
    assert report.images == 6
    ((path, error),) = report.failed.items()
    assert path.name == "b.npy"
    assert "b.npy: images are 16 x 20 pixels, earlier ones were 24 x 20" in str(error)
    assert len(report.objects) == 12


@pytest.mark.parametrize("spread", [False, True])
def test_objects_are_measured_as_in_the_event_table(toy, toy_separator, tmp_path, frames, write, spread):
    class Half(type(toy.adapter)):
        thresholds = {"dot": 1.0, "bar": 5.0}

        def visible(self, images):
            seen = super().visible(images)
            seen[..., :10] = False
            return seen

    path = write("a.npy", frames)
    report = predict(toy_separator, Half(), path, tmp_path / "m.h5", spread=spread)
    objects = report.objects
    assert objects["source"].unique().tolist() == [str(path)]
    assert objects["frame"].tolist() == [0, 0, 1, 1, 2, 2]
    assert objects["class"].tolist() == ["dot", "bar"] * 3
    maps = toy_separator.separate(frames[:, None])
    for _, row in objects.iterrows():
        seen = {name: maps[name][row["frame"], 0, :, 10:].astype(float) for name in ("dot", "bar")}
        assert row["intensity_predicted"] == pytest.approx(seen[row["class"]].sum(), rel=1e-5)
        present = {"dot": seen["dot"] > 1, "bar": seen["bar"] > 5}
        share = (present["dot"] & present["bar"]).sum() / max(present[row["class"]].sum(), 1)
        assert share == pytest.approx(np.nan_to_num(row["overlap_fraction_predicted"]))
    assert objects["intensity_predicted"].nunique() == 6
    with h5py.File(tmp_path / "m.h5") as file:
        assert ("spread" in file) == spread
        if spread:
            assert file["spread/dot"].shape == file["maps/dot"].shape
            assert file["spread/dot"][:].max() > 0
    assert ("intensity_spread" in objects) == spread


def test_results_in_the_folder_of_images_are_no_images(toy, toy_separator, frames, write):
    folder = write("a.npy", frames).parent
    for _ in range(2):
        report = predict(toy_separator, toy.adapter, folder, folder / "maps.h5")
        report.objects.to_csv(folder / "maps.csv")
        assert (report.images, report.failed) == (3, {})


@pytest.fixture
def masked(toy):
    """The toy domain, whose files know their bad pixels: those that are not finite."""

    class Masked(type(toy.adapter)):
        suffixes = (".npy", ".tif")

        def read(self, path, key=None, dark=None):
            images = super().read(path, key, dark)
            if path.suffix == ".tif":
                return images
            return images.replace(mask=np.isfinite(images.image), position={"ra": np.arange(len(images)) + 0.5})

    return Masked(toy.adapter.options)


def read_output(path):
    if path.suffix == ".npz":
        with np.load(path) as file:
            return {name: file[name] for name in file.files}
    with h5py.File(path) as file:
        return {name: file[name][:] for name in ("mask", "maps/dot", "frame", "source")}


@pytest.mark.parametrize("out", ["m.h5", "m.npz"])
def test_bad_pixels_are_not_counted_and_are_marked(masked, toy_separator, tmp_path, frames, write, out):
    bad = np.zeros(frames.shape, bool)
    bad[1, 3:9, 5:8] = True
    write("a.tif", frames[:2])
    last = write("b.npy", np.where(bad, np.nan, frames))
    report = predict(toy_separator, masked, last.parent, tmp_path / out)
    assert not report.failed
    found = read_output(tmp_path / out)
    assert found["mask"][:2].all()  # of the file without a mask
    np.testing.assert_array_equal(found["mask"][2:, 0], ~bad)
    rows = report.objects.set_index(["frame", "class"])[lambda table: (table["source"] == str(last)).to_numpy()]
    np.testing.assert_allclose(rows["masked_fraction"], np.repeat([0, 18 / 480, 0], 2))
    assert (report.objects["masked_fraction"][:4] == 0).all()
    maps = found["maps/dot" if out == "m.h5" else "dot"][2:, 0]
    expected = np.where(bad, 0, maps).sum(axis=(1, 2))
    np.testing.assert_allclose(rows.xs("dot", level="class")["intensity_predicted"], expected, rtol=1e-5)
    assert rows["ra"].tolist() == [0.5, 0.5, 1.5, 1.5, 2.5, 2.5]
    assert np.isfinite(maps).all()


def test_what_bad_pixels_hold_does_not_spread(masked, toy_separator, tmp_path, frames, write):
    bad = np.zeros(frames.shape, bool)
    bad[0, 10, 10] = True
    for name, value in (("a", np.nan), ("b", 1e9), ("c", -5.0)):
        path = write(f"{name}.npy", np.where(bad, value, frames))
        masked.read = lambda path, key, dark: Images(np.load(path)[:, None], mask=~bad[:, None])
        predict(toy_separator, masked, path, tmp_path / f"{name}.h5")
    first, *others = (read_output(tmp_path / f"{name}.h5")["maps/dot"] for name in "abc")
    for maps in others:
        np.testing.assert_array_equal(maps, first)


def test_without_masks_there_is_no_word_of_them(toy, toy_separator, tmp_path, frames, write):
    report = predict(toy_separator, toy.adapter, write("a.npy", frames), tmp_path / "m.h5")
    assert "masked_fraction" not in report.objects
    with h5py.File(tmp_path / "m.h5") as file:
        assert "mask" not in file


def test_an_adapter_that_reads_other_images_is_named(toy, toy_separator, tmp_path, frames, write, monkeypatch):
    path = write("a.npy", frames)
    monkeypatch.setattr(toy.adapter, "read", lambda path, key, dark: Images(frames[:, None].repeat(2, axis=1)))
    with pytest.raises(
        DataError, match=r"a\.npy: the adapter read images of shape \(3, 2, 24, 20\), expected \(n, 1"
    ):
        predict(toy_separator, toy.adapter, path, tmp_path / "m.h5")
