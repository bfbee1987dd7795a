"""The adapter of folders: layouts, splits, units, mixing, labels, and what it refuses."""

import logging
import shutil

import h5py
import numpy as np
import pytest
import tifffile
from made_up_cells import CLASSES, GAIN, OFFSET, pairs, stained, write

from oasis.adapters.camera import Camera
from oasis.adapters.folder import FolderAdapter
from oasis.adapters.folder.layout import find_layout, split_names
from oasis.adapters.folder.options import SplitRule
from oasis.adapters.folder.stock import not_negative
from oasis.data.mixing import Mixer
from oasis.data.sample_files import write_samples
from oasis.errors import ConfigError, DataError
from oasis.testing import check_adapter

CAMERA = {"offset": OFFSET, "gain": GAIN, "read_noise": 2.0}
EVENTS = {"train": 6, "val": 4, "test": 6}


def adapter(folder, thresholds=None, **options):
    values = {"classes": CLASSES, "size": (24, 24), "camera": CAMERA, "unit": "e-", "events": EVENTS, **options}
    return FolderAdapter({"folder": str(folder), **values}, thresholds=thresholds)


@pytest.mark.parametrize("suffix", [".tif", ".ome.tif", ".npy", ".h5", ".png", ".zarr"])
def test_pairs_of_every_format_keep_the_contract(tmp_path, suffix):
    folder = pairs(tmp_path / "cells", 4, suffix=suffix)
    check_adapter(adapter(folder), count=4, tolerance=0.2)


@pytest.mark.parametrize(
    ("size", "bands", "suffix", "window"),
    [((12, 20, 24), 1, ".ome.tif", (8, 16, 16)), ((20, 24), 3, ".ome.tif", (16, 16)), ((200,), 1, ".csv", (64,))],
)
def test_other_dimensions_and_bands_keep_the_contract(tmp_path, size, bands, suffix, window):
    options = {"spatial_dims": len(size), "bands": bands, "size": window}
    check_adapter(adapter(pairs(tmp_path / "a", 4, size, bands, suffix), **options), count=3, tolerance=0.2)
    check_adapter(adapter(stained(tmp_path / "b", 3, size, bands, suffix), **options), count=3, tolerance=0.2)


@pytest.mark.parametrize("layout", [pairs, stained])
def test_images_below_the_stated_offset_are_doubted_before_training(tmp_path, caplog, layout):
    folder = layout(tmp_path / "cells")
    brightest = {"offset": 70_000.0, "gain": GAIN}
    adapter(folder).dataset("train")
    assert not caplog.messages
    for split in ("val", "train"):
        adapter(folder, camera=brightest, maps="net").dataset(split)
    (said,) = caplog.messages
    assert said.startswith(str(folder))
    assert "is below 0 everywhere" in said
    assert "check the offset of the camera" in said


@pytest.mark.parametrize("layout", [pairs, stained])
@pytest.mark.parametrize("own", [False, True], ids=["names", "folders"])
def test_images_that_are_held_out_under_another_name_are_said(tmp_path, caplog, layout, own):
    whole = layout(tmp_path / "cells", 12)
    if own:
        for split in ("train", "val", "test"):
            layout(tmp_path / "own" / split, 3, seed=len(split))
        whole = tmp_path / "own"
    adapter(whole).dataset("train")
    assert not caplog.messages
    for path in sorted(path for path in whole.rglob("*") if path.is_file() and (not own or "train" in path.parts)):
        held_out = (
            whole / "test" / path.relative_to(whole / "train") if own else path.with_name(f"copy_{path.name}")
        )
        shutil.copy(path, held_out)
    adapter(whole).dataset("train")
    (said,) = caplog.messages
    assert "of another split" in said


def test_windows_are_cut_out_of_images_in_physical_units(tmp_path):
    folder = pairs(tmp_path / "cells")
    sample = adapter(folder).dataset("train")[3]
    name, _, place = str(sample.meta["source"]).partition("@")
    y, x = map(int, place.split(","))
    part = np.s_[y : y + 24, x : x + 24]
    for values, kind in [(sample.image, "images"), (sample.target[0], "nuclei"), (sample.target[1], "vesicles")]:
        stored = tifffile.imread(folder / kind / f"{name.split('/')[0]}.tif").astype(float)
        np.testing.assert_allclose(values[0], (stored[part] - OFFSET) * GAIN, rtol=1e-6)


def test_maps_may_be_in_units_already(tmp_path):
    folder = tmp_path / "cells"
    for index in range(4):
        write(folder / "images" / f"{index}.npy", np.full((1, 8, 9), 110.0), "")
        for name in CLASSES:
            write(folder / name / f"{index}.npy", np.full((1, 8, 9), 2.5), "")
    sample = adapter(folder, size=None, maps="unit").dataset("val")[0]
    assert sample.image.shape == (1, 8, 9)
    assert np.unique(sample.image) == [5.0]
    assert np.unique(sample.target) == [2.5]


def test_test_windows_are_as_few_as_cover_images(tmp_path):
    folder = pairs(tmp_path / "cells", size=(50, 76))
    found = adapter(folder, events={"test": 99}).dataset("test")
    assert len(found) == 3 * 4  # one file of 5, windows of 24 x 24
    places = {str(sample.meta["source"]) for sample in found}
    assert len(places) == 12
    assert len(adapter(folder, events={"test": 4}).dataset("test")) == 4


def test_splits_share_no_file_and_stay_when_files_are_added():
    names = [f"slide{slide}_field{field}" for slide in range(20) for field in range(3)]
    rule = SplitRule(group=r"(slide\d+)_")
    parts = split_names(names, rule, seed=0)
    assert sorted(name for part in parts.values() for name in part) == sorted(names)
    slides = [{name.split("_")[0] for name in part} for part in parts.values()]
    assert [len(one) for one in slides] == [13, 3, 4]
    assert split_names(names[::-1], rule, seed=0) == parts
    assert split_names(names, rule, seed=1) != parts


def test_folders_of_splits_take_the_place_of_the_rule(tmp_path):
    for split in ("train", "val", "test"):
        pairs(tmp_path / "cells" / split, 1, seed=len(split))
    check_adapter(adapter(tmp_path / "cells"), count=1, tolerance=0.3)
    shutil.rmtree(tmp_path / "cells" / "val")
    with pytest.raises(DataError, match="no folder val: give all three or none"):
        adapter(tmp_path / "cells").dataset("train")


def test_a_stack_is_divided_by_its_images(tmp_path):
    rng = np.random.default_rng(0)
    for name in CLASSES:
        path = tmp_path / "cells" / "single-stained" / f"{name}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, rng.poisson(200, (10, 30, 30)).astype(np.uint16), photometric="minisblack")
    made = adapter(tmp_path / "cells")
    frames = {split: {item.frame for item in made.scene(split)._items["nuclei"]} for split in EVENTS}
    assert frames == {"train": set(range(6)), "val": {6, 7}, "test": {8, 9}}


def test_mixtures_are_sums_of_stained_images(tmp_path):
    folder = stained(tmp_path / "cells")
    mixing = {"brightness": (1, 1), "presence": 1.0, "flips": False, "background": None}
    sample = adapter(folder, 12, mixing=mixing).dataset("train")[1]
    parts = []
    for name in CLASSES:
        stem, _, place = str(sample.meta[f"{name}_source"]).partition("@")
        y, x = map(int, place.split(","))
        stored = tifffile.imread(folder / "single-stained" / name / f"{stem.split('/')[0]}.ome.tif").astype(float)
        parts.append((stored[y : y + 24, x : x + 24] - OFFSET) * GAIN)
    np.testing.assert_allclose(sample.image[0], sum(parts), atol=1e-4)
    for found, part in zip(sample.target[:, 0], parts, strict=True):
        lit = found > 0
        np.testing.assert_allclose(found[lit], part[lit], rtol=1e-5)
        assert part[~lit].max() < 25  # background of 5 and noise, compared after smoothing


def test_the_background_is_that_of_one_image(tmp_path):
    """Two images with a background of 5 each make a mixture with a background of 5."""
    folder = stained(tmp_path / "cells")
    for noise in ("kept", "simulated"):
        mixing = {"presence": 1.0, "noise": noise, "brightness": (1, 1)}
        made = adapter(folder, 6, mixing=mixing).dataset("test")
        dark = np.concatenate([one.image[0][~(one.target > 0).any((0, 1))] for one in made])
        assert abs(np.median(dark) - 5) < 1.5


def test_simulated_noise_is_that_of_the_camera():
    camera = Camera(offset=100, gain=0.5, read_noise=3.0)
    signal = np.full((400, 400), 40.0, np.float32)
    seen = camera.observe(signal, np.random.default_rng(0))
    assert abs(seen.mean() - 40) < 5 * np.sqrt(49 / seen.size)
    expected = 40 + 3**2 + 0.5**2 / 12  # Poisson, read noise, rounding to counts
    assert abs(seen.var() / expected - 1) < 5 * np.sqrt(2 / seen.size)
    assert np.unique(np.mod(seen / 0.5, 1)) == [0]
    assert camera.observe(np.full((100, 100), -60.0), np.random.default_rng(0)).min() >= -50  # no negative counts


def test_labels_are_masks_times_the_image_with_a_warning(tmp_path, caplog):
    folder = pairs(tmp_path / "cells", labels=True)
    made = adapter(folder, labels=CLASSES)
    check_adapter(made, count=4, tolerance=10)
    sample = made.dataset("test")[0]
    assert "all light under a label" in caplog.text
    for label in range(2):
        lit = sample.target[label] > 0
        np.testing.assert_array_equal(sample.target[label][lit], sample.image[lit])
    instances = sample.instances
    np.testing.assert_allclose(instances.sums(2), sample.target)
    assert len(instances) > 2


def test_maps_given_as_labels_are_refused(tmp_path):
    folder = pairs(tmp_path / "cells", suffix=".npy")
    for path in (folder / "nuclei").iterdir():
        np.save(path, np.load(path) + 0.5)
    with pytest.raises(DataError, match="whole: is it a map"):
        adapter(folder, labels=["nuclei"]).dataset("test")[0]


def test_prediction_reads_as_training_does(tmp_path):
    folder = pairs(tmp_path / "cells", suffix=".ome.tif")
    made = adapter(folder)
    path = folder / "images" / "cell_0.ome.tif"
    stored = tifffile.imread(path).astype(np.float32)
    np.testing.assert_allclose(made.read(path).image[0, 0], (stored - OFFSET) * GAIN)
    dark = np.full(stored.shape, 90.0)
    np.testing.assert_allclose(made.read(path, dark=dark).image[0, 0], (stored - 90) * GAIN)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: shutil.rmtree(folder / "images"), "expected the folder images/"),
        (lambda folder: shutil.rmtree(folder / "nuclei"), "no images of the class 'nuclei': found.*vesicles"),
        (lambda folder: (folder / "nuclei" / "cell_2.tif").unlink(), r"no map of cell_2 \(1 of 5 images\)"),
        (lambda folder: np.save(folder / "nuclei" / "cell_1.npy", np.zeros(3)), "has the name of cell_1"),
        (lambda folder: shutil.rmtree(folder), "no such folder"),
    ],
)
def test_incomplete_folders_are_refused(tmp_path, change, words):
    folder = pairs(tmp_path / "cells")
    change(folder)
    with pytest.raises(DataError, match=words):
        adapter(folder).dataset("train")


def test_a_map_of_another_size_is_refused(tmp_path):
    folder = pairs(tmp_path / "cells")
    for path in (folder / "nuclei").iterdir():
        tifffile.imwrite(path, np.zeros((40, 43), np.uint16))
    with pytest.raises(DataError, match=r"1 of 40 x 43 pixels, but .*cell_.\.tif 1 of 40 x 44"):
        adapter(folder).dataset("test")[0]


def test_options_that_do_not_fit_are_refused(tmp_path):
    folder = pairs(tmp_path / "cells")
    with pytest.raises(ConfigError, match=r"size: 64 x 64, but cell_. has 40 x 44"):
        adapter(folder, size=(64, 64)).dataset("train")
    with pytest.raises(ConfigError, match=r"data\.folder: name the folder"):
        FolderAdapter({"classes": CLASSES}).dataset("train")
    with pytest.raises(ConfigError, match=r"data\.classes: name the classes"):
        FolderAdapter({"folder": "cells"}).dataset("train")
    with pytest.raises(ConfigError, match="'mito' is none of the classes"):
        adapter(folder, labels=["mito"])
    with pytest.raises(ConfigError, match="expected 2 lengths"):
        adapter(folder, size=(64,))
    with pytest.raises(ConfigError, match="one group in brackets"):
        adapter(folder, split={"group": "slide"})
    with pytest.raises(DataError, match="too few for three splits"):
        adapter(pairs(tmp_path / "two", 2)).dataset("train")


def test_images_of_several_sizes_need_a_window(tmp_path):
    folder = pairs(tmp_path / "cells", 5)
    pairs(tmp_path / "more", 5, (30, 30), seed=1)
    for path in (tmp_path / "more").rglob("*.tif"):
        path.rename(folder / path.parent.name / f"b_{path.name}")
    with pytest.raises(ConfigError, match="30 x 30 and 40 x 44: set the size"):
        adapter(folder, size=None).dataset("train")
    assert adapter(folder).dataset("train")[0].image.shape == (1, 24, 24)


def test_layouts_are_found(tmp_path):
    assert find_layout(pairs(tmp_path / "a")).single is False
    found = find_layout(stained(tmp_path / "b"))
    assert found.single
    assert list(found.maps) == list(CLASSES)


def test_the_same_mixture_comes_again_and_a_new_one_in_the_next_epoch(tmp_path):
    made = adapter(stained(tmp_path / "cells")).dataset("train")
    assert isinstance(made.mixed, Mixer)
    np.testing.assert_array_equal(made[0, 2].image, made[0, 2].image)
    assert (made[0, 2].image != made[1, 2].image).any()


def test_pixels_that_are_not_finite_do_not_count(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    folder = tmp_path / "cells"
    for index in range(3):
        for name in ("images", *CLASSES):
            path = folder / name / f"{index}.h5"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = np.full((24, 24), 120.0)
            values[3, 4] = np.nan if name == "images" else 120
            with h5py.File(path, "w") as file:
                file["image"] = values
    sample = adapter(folder).dataset("val")[0]
    assert not sample.valid[0, 3, 4]
    assert sample.valid.sum() == 24 * 24 - 1
    assert np.isfinite(sample.image).all()


def test_masked_pixels_of_stained_images_are_neither_dark_nor_valid(tmp_path):
    """Rows of NaN change nothing elsewhere: neither the background nor what belongs to the classes."""
    whole, masked = stained(tmp_path / "whole", suffix=".npy"), stained(tmp_path / "masked", suffix=".npy")
    for root, hidden in [(whole, False), (masked, True)]:
        for path in root.rglob("*.npy"):
            values = np.load(path).astype(np.float32)
            if hidden:
                values[20:40] = np.nan
            np.save(path, values)
    mixing = {"brightness": (1, 1), "presence": 1.0, "flips": False}
    full, holed = (adapter(root, 12, mixing=mixing, size=None).dataset("test")[0] for root in (whole, masked))
    assert full.valid.all()
    assert not holed.valid[:, 20:40].any()
    assert holed.valid.sum() == (64 - 20) * 72
    assert not holed.image[:, 20:40].any()
    assert not holed.target[:, :, 20:40].any()
    assert np.isfinite(holed.image).all()
    lit, same = (one.target[:, :, np.r_[:17, 43:64]] > 0 for one in (full, holed))
    assert abs(lit.mean() - same.mean()) < 0.02
    np.testing.assert_allclose(np.median(holed.image[holed.valid]), np.median(full.image[holed.valid]), atol=1.5)


@pytest.mark.parametrize("write", [pairs, stained])
def test_images_without_a_finite_pixel_are_refused_by_name(tmp_path, write):
    folder = write(tmp_path / "cells", 3, suffix=".npy")
    for path in folder.rglob("*.npy"):
        if path.parent.name in ("images", "single-stained", "nuclei"):
            np.save(path, np.full(np.load(path).shape, np.nan))
    with pytest.raises(DataError, match=r"(cell|s)_\d\.npy: image 0 has no pixel that is finite"):
        adapter(folder, 12, mixing={"presence": 1.0}).dataset("test")[0]


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("(slide[0-9])", r"puts 6 files into 2 groups \('slide0', 'slide1'\), but .* need at least 3"),
        ("(s)", r"puts 6 files into 1 group \('s'\)"),
        ("(plate[0-9])", r"finds nothing in the names of 6 files, such as 'slide0_0'"),
    ],
)
def test_groups_are_never_divided(tmp_path, group, words):
    """Stacks of several images must not be split by their images, which would put one slide into two splits."""
    for name in ("images", *CLASSES):
        for number in range(6):
            path = tmp_path / "cells" / name / f"slide{number % 2}_{number}.npy"
            write(path, np.ones((1, 7, 30, 30)), "")
    made = adapter(tmp_path / "cells", split={"group": group})
    for split in EVENTS:
        with pytest.raises(ConfigError, match=rf"^data\.split\.group: .*{words}"):
            made.dataset(split)


def test_units_and_sizes_that_say_nothing_are_refused(tmp_path):
    for unit in ("", "  "):
        with pytest.raises(ConfigError, match="unit"):
            adapter(tmp_path, unit=unit)
    with pytest.raises(ConfigError, match=r"expected 2 lengths of at least 1, found \[0, 0\]"):
        adapter(tmp_path, size=(0, 0))


def blank(folder, images, maps, values=1.0):
    """Write three files of images and of maps of as many pixels."""
    for name in ("images", *CLASSES):
        for number in range(3):
            shape, filled = (images, 1.0) if name == "images" else (maps, values)
            write(folder / name / f"f{number}.npy", np.full((1, *shape), filled), "")
    return adapter(folder, camera={}, size=None)


def test_files_with_other_numbers_of_images_and_maps_are_refused(tmp_path):
    made = blank(tmp_path / "cells", (7, 8, 9), (9, 8, 9))
    with pytest.raises(DataError, match=r"nuclei/f\d\.npy: .* 9 of 8 x 9 .*images/f\d\.npy 7 of 8 x 9"):
        made.dataset("train")[0]


def test_rounding_below_0_is_no_negative_light():
    maps = np.array([[[100.0, -1e-5, np.nan]]], np.float32)
    assert not_negative(maps, 0.0) is maps
    with pytest.raises(DataError, match="1 pixels of the map are negative"):
        not_negative(np.array([[[100.0, -1e-3]]], np.float32), 0.0)


def test_negative_maps_are_refused_unless_an_offset_makes_them_so(tmp_path):
    made = blank(tmp_path / "cells", (8, 9), (8, 9), -1.0)
    with pytest.raises(DataError, match=r"nuclei/f\d\.npy: 72 pixels of the map are negative"):
        made.dataset("train")[0]
    with pytest.raises(DataError, match="are negative"):
        adapter(tmp_path / "cells", size=None, maps="unit").dataset("train")[0]
    noisy = blank(tmp_path / "noisy", (8, 9), (8, 9), 1.0)
    assert noisy.dataset("train")[0].target.min() == 1
    assert adapter(tmp_path / "noisy", size=None).dataset("train")[0].target.max() == 0  # 1 - 100 counts


def test_errors_of_contents_name_the_file(tmp_path):
    folder = pairs(tmp_path / "cells", suffix=".npy")
    with pytest.raises(DataError, match=r"cell_\d\.npy: an array of shape .* of 3 bands"):
        adapter(folder, bands=3).dataset("train")
    for path in (folder / "images").iterdir():
        np.save(path, np.load(path) > 0)
    with pytest.raises(DataError, match=r"cell_\d\.npy: found booleans"):
        adapter(folder).dataset("train")[0]


@pytest.mark.parametrize("suffix", [".ome.tif", ".zarr"])
def test_axes_are_said_before_other_processes_read_files(tmp_path, caplog, suffix):
    """Each of them would say what it reads, and the one that draws the figures once more."""
    caplog.set_level(logging.INFO)
    made = adapter(pairs(tmp_path / "cells", 4, (30, 32), 2, suffix), bands=2, axes="CYX").dataset("test")
    said = [text for text in caplog.messages if "2 bands" in text]
    assert len(said) == 1
    made[0]
    assert [text for text in caplog.messages if "2 bands" in text] == said


@pytest.mark.parametrize("size", [(7, 9), (16, 20), (30, 32), (1, 31)])
def test_windows_that_measure_count_every_pixel_once(tmp_path, size):
    """The ends of images are measured too: the maps of all windows add up to those of the files."""
    events = {"test": 9999}
    made = adapter(pairs(tmp_path / "cells", 6, (30, 32), 1), size=size, events=events).dataset("test")
    samples = [made.sample(index, 0) for index in range(len(made))]
    assert made.left_out == 0
    assert all(sample.image.shape[1:] == size for sample in samples)
    whole = adapter(tmp_path / "cells", size=None).dataset("test")
    totals = sum(whole.sample(index, 0).target.sum(dtype=float) for index in range(len(whole)))
    counted = [np.where(sample.valid, sample.target, 0).sum(dtype=float) for sample in samples]
    assert sum(counted) == pytest.approx(totals, rel=1e-6)
    areas = [sample.valid.sum() for sample in samples]
    assert sum(areas) == 30 * 32 * len(whole)
    assert max(areas) <= 2 * min(areas)


def test_fewer_windows_than_cover_the_images_are_said_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    events = {"train": 4, "val": 1, "test": 1}
    made = adapter(pairs(tmp_path / "cells", 6, (100,), 1, ".csv"), spatial_dims=1, size=(60,), events=events)
    assert made.dataset("test").left_out == 0.5
    made.dataset("test")
    made.dataset("train")
    (said,) = [text for text in caplog.messages if "leave out" in text]
    assert "data.events.test=1 windows leave out 50 % of the pixels of the images" in said
    assert adapter(tmp_path / "cells", spatial_dims=1, size=(60,)).dataset("test").left_out == 0


def test_a_window_of_a_signal_is_drawn_over_its_own_times(tmp_path):
    for place in range(6):
        values = np.column_stack([5 + 0.1 * np.arange(100), np.arange(100) + 1.0])
        for name in ("images", "nuclei", "vesicles"):
            path = tmp_path / "cells" / name / f"run_{place}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savetxt(path, values, delimiter=",", header="time (min),counts", comments="")
    made = adapter(tmp_path / "cells", spatial_dims=1, size=(60,), camera={})
    dataset = made.dataset("test")
    for index in range(2):
        sample = dataset.sample(index, 0)
        found = made.abscissa(sample)
        assert found.name == "time (min)"
        np.testing.assert_allclose(found.values, 5 + 0.1 * (sample.image[0] - 1), rtol=1e-6)
    assert [dataset.sample(index, 0).image[0, 0] for index in range(2)] == [1, 41]
    write_samples(tmp_path / "kept.h5", [dataset[0], dataset[1]], CLASSES, made.unit)
    files = dict.fromkeys(("train", "val", "test"), str(tmp_path / "kept.h5"))
    kept = adapter(tmp_path / "gone", spatial_dims=1, size=(60,), camera={}, files=files)
    assert kept.abscissa(kept.dataset("test")[0]) is None
    mixed = adapter(stained(tmp_path / "mixed", 3, (200,), 1, ".csv"), spatial_dims=1, size=(64,))
    assert mixed.abscissa(mixed.dataset("test")[0]) is None


@pytest.mark.parametrize("layout", [pairs, stained])
def test_larger_samples_are_windows_or_mixtures_as_large_as_the_images_allow(tmp_path, layout):
    folder = layout(tmp_path / "cells", 6, (40, 90), 1)
    small = adapter(folder, size=(24, 24))
    larger = small.larger("test", 2)
    assert {larger[index].image.shape for index in range(len(larger))} == {(1, 40, 48)}
    assert adapter(folder, size=(40, 90)).larger("test", 2) is None
    assert adapter(folder, size=None).larger("test", 2) is None
    assert small.size == (24, 24)
