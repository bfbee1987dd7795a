"""Own images without Python: what `oasis init` finds in a folder, and the way from there to maps."""

import re
from collections import Counter

import h5py
import numpy as np
import pytest
import tifffile
import yaml
from made_up_cells import CLASSES, GAIN, OFFSET, pairs, stained

from oasis.adapters.camera import Camera
from oasis.adapters.folder import intensities
from oasis.adapters.folder.alignment import misaligned
from oasis.adapters.folder.channels import likely_endings
from oasis.adapters.folder.intensities import Counts
from oasis.adapters.folder.measuring import measure, training_layout
from oasis.cli import run as command
from oasis.errors import ConfigError, DataError
from oasis.io.labelled import read_labelled
from oasis.run import Run
from oasis.starting.folders import write_folder
from oasis.starting.quickstarts import quickstart

SMALL = ["model.base_channels=4", "model.depth=2", "training.epochs=3", "training.workers=0"]
SMALL += ["data.events.train=96", "data.events.val=16", "training.batch_size=8", "training.learning_rate=0.01"]


def test_the_unit_of_traces_is_that_of_their_header(tmp_path):
    times = np.arange(60) / 10
    for name, height in (("images", 3), ("caffeine", 1), ("theobromine", 2)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        for number in range(4):
            rows = zip(times, height * np.exp(-((times - 3) ** 2)), strict=True)
            lines = [f"{time:.1f};{value:.4f}".replace(".", ",") for time, value in rows]
            text = "\n".join(["Zeit (min);Signal (mAU)", *lines])
            (tmp_path / "runs" / name / f"{number}.csv").write_text(text)
    path, said = write_folder(tmp_path / "runs", tmp_path / "runs.yaml")
    data = yaml.safe_load(path.read_text())["data"]
    assert (data["unit"], data["spatial_dims"], data["size"]) == ("mAU", 1, [60])
    assert "camera" not in said


@pytest.mark.parametrize(
    ("size", "bands", "suffix", "dims"),
    [
        ((40, 44), 1, ".tif", 2),
        ((40, 44), 3, ".ome.tif", 2),
        ((12, 20, 24), 1, ".ome.tif", 3),
        ((300,), 1, ".csv", 1),
        ((40, 44), 1, ".png", 2),
        ((40, 44), 1, ".h5", 2),
    ],
)
def test_dimensions_bands_and_size_are_found(tmp_path, size, bands, suffix, dims):
    found = measure(pairs(tmp_path / "cells", 3, size, bands, suffix))
    assert (found.spatial_dims, found.bands, found.smallest) == (dims, bands, size)
    assert found.classes == CLASSES
    assert not found.labels
    assert found.files == {"images": 3, "nuclei": 3, "vesicles": 3}
    assert all(2 * low <= high for low, high in zip(found.size, (2 * length for length in size), strict=True))


def test_files_that_look_like_channels_are_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = pairs(tmp_path / "cells", 3)
    for path in folder.rglob("*.tif"):
        other = path.with_name(f"{path.stem}_GFP.tif")
        other.write_bytes(path.read_bytes())
        path.rename(path.with_name(f"{path.stem}_DAPI.tif"))
    hint = "--channels _DAPI,_GFP"
    assert hint in write_folder(folder)[1]
    assert hint not in write_folder(folder, channels=["_DAPI", "_GFP"], force=True)[1]
    assert "--channels" not in write_folder(pairs(tmp_path / "others", 3))[1]


@pytest.mark.parametrize(
    "stems",
    [["a_t0", "a_t1", "b_t0", "b_t1"], ["a_DAPI", "b_DAPI"], ["a_DAPI", "a_GFP", "b_DAPI"], ["a", "b"], []],
)
def test_other_endings_are_no_channels(stems):
    assert likely_endings(stems) == ()


def test_depth_can_be_told(tmp_path):
    folder = pairs(tmp_path / "cells", 3, (20, 24, 28), suffix=".npy")
    assert measure(folder).spatial_dims == 2
    found = measure(folder, dims=3)
    assert (found.spatial_dims, found.smallest) == (3, (20, 24, 28))


def test_labels_are_told_from_maps(tmp_path):
    assert measure(pairs(tmp_path / "a", 3, labels=True)).labels == CLASSES
    assert measure(pairs(tmp_path / "b", 3, suffix=".png", labels=True)).labels == CLASSES
    assert measure(stained(tmp_path / "c", 3)).labels == ()


def test_a_folder_with_the_name_of_a_domain_is_a_folder_if_it_has_images(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "waveform").mkdir()
    assert command(["init", "waveform"]) == 0
    assert "adapter: waveform" in (tmp_path / "waveform.yaml").read_text()
    pairs(tmp_path / "cells", 3)
    assert command(["init", "cells"]) == 0
    assert "adapter: folder" in (tmp_path / "cells.yaml").read_text()


def test_maps_with_an_offset_that_is_not_stated_are_noticed(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs(tmp_path / "cells", 3, size=(60, 60))
    assert command(["init", "cells"]) == 0
    assert "the maps add up to 9" in capsys.readouterr().out
    assert command(["init", "cells", "--offset", str(OFFSET), "--gain", str(GAIN)]) == 0
    assert "add up" not in capsys.readouterr().out
    values = yaml.safe_load((tmp_path / "cells.yaml").read_text())
    assert values["data"]["camera"] == {"offset": OFFSET, "gain": GAIN, "read_noise": 0.0}
    assert values["data"]["unit"] == "photoelectrons"


def test_an_earlier_output_is_replaced_until_it_was_edited(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stained(tmp_path / "cells", 2)
    path = tmp_path / "cells.yaml"
    assert command(["init", "cells"]) == 0
    assert command(["init", "cells", "--offset", "90"]) == 0
    assert yaml.safe_load(path.read_text())["data"]["camera"]["offset"] == 90
    edited = path.read_text().replace("epochs: 6 ", "epochs: 30 ")
    path.write_text(edited)
    assert command(["init", "cells", "--offset", "100"]) == 2
    said = capsys.readouterr().err
    assert "--force" in said
    assert "--out" in said
    assert path.read_text() == edited
    assert command(["init", "cells", "--offset", "100", "--out", "other.yaml"]) == 0
    assert command(["init", "cells", "--offset", "100", "--force"]) == 0
    assert yaml.safe_load(path.read_text())["data"]["camera"]["offset"] == 100


def test_without_an_argument_a_folder_is_named_too(capsys):
    assert command(["init"]) == 2
    said = capsys.readouterr().err
    assert "path/to/folder" in said
    assert "oasis adapters" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(("gain", "unit", "kind"), [(1.0, 2.0, "unit"), (0.5, 2.0, "net"), (0.5, 1.0, "unit")])
def test_maps_without_the_offset_of_their_images_keep_their_light(tmp_path, capsys, monkeypatch, gain, unit, kind):
    """Maps are written as counts without the offset (2 per photoelectron), or in photoelectrons."""
    monkeypatch.chdir(tmp_path)
    pairs(tmp_path / "cells", 3)
    for path in [one for name in CLASSES for one in (tmp_path / "cells" / name).iterdir()]:
        light = (tifffile.imread(path).astype(np.float32) - OFFSET) * GAIN
        tifffile.imwrite(path, light * np.float32(unit))
    assert command(["init", "cells", "--offset", str(OFFSET), "--gain", str(gain)]) == 0
    said = capsys.readouterr().out
    assert f"do not have the offset of 100 counts that the images have, so that data.maps is {kind}" in said
    assert "of the light" not in said
    assert "the images have" in said  # the background of 5 photoelectrons
    sample = Run.from_config("cells.yaml").dataset("test")[0]
    light = sample.image.sum() - np.median(sample.image - sample.target.sum(0)) * sample.image.size
    assert sample.target.sum() / light == pytest.approx(1, abs=0.1)


def test_light_that_is_in_no_map_is_noticed(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs(tmp_path / "cells", 3)
    assert command(["init", "cells", "--offset", str(OFFSET)]) == 0
    assert "of the light" not in capsys.readouterr().out
    for path in [one for name in CLASSES for one in (tmp_path / "cells" / name).iterdir()]:
        tifffile.imwrite(path, (tifffile.imread(path) - OFFSET) // 2 + OFFSET)
    assert command(["init", "cells", "--offset", str(OFFSET)]) == 0
    assert re.search(r"the maps have (4[5-9]|5[0-5])% of the light", capsys.readouterr().out)


@pytest.mark.parametrize("write", [stained, pairs, lambda folder: pairs(folder, labels=True)])
def test_an_offset_that_is_not_stated_is_named(tmp_path, write):
    out = tmp_path / "a.yaml"
    assert "looks like an offset: state it (--offset " in write_folder(write(tmp_path / "cells"), out)[1]
    assert "looks like an offset" not in write_folder(tmp_path / "cells", out, camera=Camera(offset=OFFSET))[1]


def test_the_threshold_is_above_the_noise(tmp_path):
    """Stained images have a noise of about sqrt(5 + 4) photoelectrons, twice as many counts."""
    found = measure(stained(tmp_path / "cells"))
    for value in found.thresholds.values():
        assert 15 < value < 30
    assert 5 < found.noise < 10


@pytest.mark.parametrize("write", [pairs, stained])
def test_from_a_folder_to_maps_in_four_commands(tmp_path, monkeypatch, capsys, write):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "cells", 8, (48, 64))
    pairs(tmp_path / "new", 2, (48, 64), suffix=".ome.tif", seed=7)
    assert command(["init", "cells", "--offset", str(OFFSET), "--gain", str(GAIN)]) == 0
    assert command(["regions", "cells.yaml", "--samples", "8"]) == 0
    assert "nuclei&vesicles" in capsys.readouterr().out
    assert command(["train", "cells.yaml", *[word for one in SMALL for word in ("--set", one)]]) == 0
    assert command(["evaluate", "runs/cells"]) == 0
    said = capsys.readouterr().out
    assert "vesicles" in said
    assert (
        command(["predict", "runs/cells", "new/images", "--out", "maps", "--each", "ome.tif", "--previews"]) == 0
    )
    assert {path.name for path in (tmp_path / "maps").iterdir()} == {
        f"cell_{number}{suffix}" for number in range(2) for suffix in (".ome.tif", ".png")
    }
    maps = tifffile.imread(tmp_path / "maps" / "cell_0.ome.tif").astype(float)
    assert maps.shape == (2, 48, 64)
    true = (tifffile.imread(tmp_path / "new" / "nuclei" / "cell_0.ome.tif").astype(float) - OFFSET) * GAIN
    found = [np.corrcoef(one.ravel(), true.ravel())[0, 1] for one in maps]
    assert found[0] > found[1]  # the map of nuclei is the one that resembles them
    assert 0.2 < maps.sum() / (2 * true.sum()) < 5  # in photoelectrons


def test_files_that_are_missing_are_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="expected the folder images/"):
        write_folder(tmp_path)
    assert command(["init", "nowhere"]) == 2
    assert command(["init", "folder"]) == 2
    assert "oasis init path/to/folder" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="give your own folder"):
        quickstart("folder")


def test_the_configuration_says_what_is_to_be_decided(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs(tmp_path / "my cells", 3, labels=True)
    path, said = write_folder("my cells")
    text = path.read_text()
    assert path.name == "my cells.yaml"
    assert "labels: [nuclei, vesicles]" in text
    assert "nuclei: looks like label images" in said
    assert Run.from_config(path).adapter.classes == CLASSES
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"] = 1
    with pytest.raises(DataError, match="is not an earlier output"):
        write_folder("my cells", tmp_path / "x.h5")


def test_masks_of_booleans_are_labels(tmp_path):
    folder = pairs(tmp_path / "cells", 3, suffix=".npy", labels=True)
    for name in CLASSES:
        for path in (folder / name).iterdir():
            np.save(path, np.load(path) > 0)
    assert measure(folder).labels == CLASSES


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: values > 0, "found booleans, expected the intensities"),
        (lambda values: np.full(values.shape, np.nan), "no pixel is finite"),
        (lambda values: values[:, :1], "images of 40 x 1 pixels: expected at least 2"),
    ],
)
@pytest.mark.parametrize("write", [pairs, stained])
def test_images_that_cannot_be_measured_are_refused_by_name(tmp_path, write, change, words):
    folder = write(tmp_path / "cells", 2, (40, 44), suffix=".npy")
    for path in folder.rglob("*.npy"):
        if path.parent.name in ("images", "vesicles"):
            np.save(path, change(np.load(path)))
    with pytest.raises(DataError, match=rf"\.npy: {words}"):
        measure(folder)


def test_masked_pixels_do_not_change_what_is_measured(tmp_path):
    folder = stained(tmp_path / "cells", suffix=".npy")
    full = measure(folder)
    for path in folder.rglob("*.npy"):
        values = np.load(path).astype(float)
        values[10:14], values[:, 5:7] = np.nan, np.inf
        np.save(path, values)
    holed = measure(folder)
    step = 1 / 0.6745 / np.sqrt(2)  # by which the noise of whole counts changes
    np.testing.assert_allclose(holed.noise, full.noise, atol=1.01 * step)
    for name in CLASSES:
        np.testing.assert_allclose(holed.thresholds[name], full.thresholds[name], atol=3.03 * step)


def test_folders_that_cannot_name_a_class_are_refused(tmp_path):
    folder = pairs(tmp_path / "cells", 2)
    (folder / "nuclei").rename(folder / "a&b")
    with pytest.raises(ConfigError, match="'a&b' cannot name a class"):
        measure(folder)


def test_one_signal_of_a_table_is_called_so(tmp_path):
    said = write_folder(pairs(tmp_path / "runs", 3, (300,), suffix=".csv"), tmp_path / "runs.yaml")[1]
    assert "1D, 1 band; the smallest has 300 samples; 1 signal of 300 samples in cell_0.csv" in said


@pytest.mark.parametrize(
    ("move", "said"),
    [
        (lambda values: np.roll(values, (6, -5), (-2, -1)), "shifted by Y -6, X +5 pixels"),
        (lambda values: np.flip(values, -1), "mirrored along X"),
        (lambda values: values.swapaxes(-1, -2), "with rows and columns exchanged"),
        (lambda values: values, ""),
    ],
)
@pytest.mark.parametrize("stacked", [False, True])
def test_maps_that_lie_elsewhere_than_their_images_are_noticed(tmp_path, move, said, stacked):
    folder = pairs(tmp_path / "cells", 4, (64, 64), suffix=".npy")
    for kind in ("images", *CLASSES):
        arrays = [np.load(path) for path in sorted((folder / kind).iterdir())]
        arrays = [values if kind == "images" else np.ascontiguousarray(move(values)) for values in arrays]
        for number, values in enumerate(arrays):
            np.save(folder / kind / f"cell_{number}.npy", np.stack(arrays) if stacked else values)
    text = write_folder(folder, tmp_path / "cells.yaml", dims=2)[1]
    line = f"the maps would fit the images better {said}"
    assert line in text if said else "better" not in text


@pytest.mark.parametrize(("size", "said"), [((44, 40), "are its axes exchanged"), ((40, 40), "give every image")])
def test_maps_of_another_size_are_noticed(tmp_path, size, said):
    folder = pairs(tmp_path / "cells", 3, suffix=".npy")
    np.save(folder / "vesicles" / "cell_1.npy", np.ones(size))
    text = f"the map of vesicles has {size[0]} x {size[1]} pixels, but its image 40 x 44: {said}"
    assert text in write_folder(folder, tmp_path / "cells.yaml")[1]


@pytest.mark.parametrize("size", [(300,), (40, 44), (12, 20, 24)])
def test_nothing_is_said_of_maps_in_place(tmp_path, size):
    for seed in range(4):
        folder = pairs(tmp_path / str(seed), 3, size, suffix=".npy", seed=seed)
        assert misaligned(training_layout(folder), len(size), Counts()) == ""


def test_images_in_deeper_folders_are_said_to_be_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = pairs(tmp_path / "cells", 3, suffix=".npy")
    assert "below" not in write_folder(folder)[1]
    (folder / "images" / "day2").mkdir()
    np.save(folder / "images" / "day2" / "late.npy", np.ones((40, 44)))
    assert "such as" in write_folder(folder)[1]


def moved_below(folder):
    """Move the images of every folder of images into two folders below it."""
    for parent in {path.parent for path in folder.rglob("*.tif")}:
        for number, path in enumerate(sorted(parent.glob("*.tif"))):
            below = parent / f"day {number % 2}"
            below.mkdir(exist_ok=True)
            path.rename(below / path.name)
    return folder


@pytest.mark.parametrize("made", [pairs, stained])
def test_folders_without_images_have_those_in_folders_below_them(tmp_path, made):
    folder = moved_below(made(tmp_path / "cells", 6))
    np.save(tmp_path / "notes.npy", [1])
    (folder / "results/old").mkdir(parents=True)
    (folder / "results/a.txt").write_text("no image")
    layout = training_layout(folder)
    assert tuple(layout.maps) == CLASSES
    names = {name for files in (layout.images, *layout.maps.values()) for name in files}
    assert {name.partition("/")[0] for name in names} == {"day 0", "day 1"}
    assert all(files.keys() == layout.images.keys() for files in layout.maps.values() if layout.images)
    path, said = write_folder(folder, tmp_path / "cells.yaml")
    assert "are not read" not in said
    run = Run.from_config(path, ["data.split.group='^(day .)/'", *SMALL])
    with pytest.raises(ConfigError, match="2 groups"):  # days, which are too few for three splits
        run.dataset("train")
    assert len(Run.from_config(path, SMALL).dataset("test"))


def test_a_folder_without_a_class_says_what_is_expected(tmp_path):
    (tmp_path / "single-stained/nuclei").mkdir(parents=True)
    with pytest.raises(DataError, match="no folder of images of a class in it; expected the folder images/"):
        training_layout(tmp_path)


def test_the_files_of_a_folder_are_read_once(tmp_path, monkeypatch):
    read = Counter()

    def reading(path, *key):
        read[path] += 1
        return read_labelled(path, *key)

    monkeypatch.setattr(intensities, "read_labelled", reading)
    write_folder(pairs(tmp_path / "cells", 3), tmp_path / "cells.yaml")
    assert set(read.values()) == {1}
    assert len(read) == 9
