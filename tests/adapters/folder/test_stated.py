"""What files state of their pixels and channels: written by `oasis init`, and compared when others are read."""

import logging

import numpy as np
import pytest
import tifffile
import yaml
from made_up_cells import pairs

from oasis.adapters.folder.adapter import FolderAdapter
from oasis.adapters.folder.stated import Stated, differ, stated_by
from oasis.inference.reader import Reader
from oasis.io.axes import AxisFacts
from oasis.starting.folders import write_folder

SIZE = (40, 44)


def write(path, names=("DAPI", "GFP"), pixel=0.1, unit="µm"):
    lengths = {f"PhysicalSize{axis}{end}": value for axis in "XY" for end, value in (("", pixel), ("Unit", unit))}
    metadata = {"axes": "CYX", "Channel": {"Name": list(names)}, **lengths}
    tifffile.imwrite(
        path, np.random.default_rng(0).normal(100, 3, (2, *SIZE)).astype(np.float32), metadata=metadata
    )
    return path


@pytest.fixture
def adapter(tmp_path):
    folder = pairs(tmp_path / "cells", 3, SIZE, 2, ".ome.tif")
    for path in (folder / "images").iterdir():
        write(path)
    path, _ = write_folder(folder, tmp_path / "cells.yaml")
    return FolderAdapter(yaml.safe_load(path.read_text())["data"])


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({}, ""),
        ({"pixel": 100.0, "unit": "nm"}, ""),
        ({"pixel": 0.102}, ""),
        ({"pixel": 200.0, "unit": "nm"}, "0.2 x 0.2 µm, but"),
        ({"pixel": 0.2, "unit": "pixel"}, ""),
        ({"pixel": 0.2}, "0.2 x 0.2 µm, but those in training 0.1 x 0.1"),
        ({"names": ("GFP", "DAPI")}, "are they exchanged"),
        ({"names": ("GFP", "Cy5")}, "the same in this order"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_files_that_state_something_else_are_said_once(tmp_path, adapter, caplog, other, said, whole):
    path = write(tmp_path / "new.ome.tif", **other)
    with caplog.at_level(logging.WARNING, "oasis"):
        for _ in range(2):
            adapter.read(path) if whole else Reader(adapter).images(path, 0, 1)
    found = [record.getMessage() for record in caplog.records if "training" in record.getMessage()]
    assert len(found) == bool(said)
    assert all(said in line for line in found)


def test_images_of_different_pixels_are_named_and_nothing_is_stated(tmp_path):
    folder = pairs(tmp_path / "cells", 3, SIZE, 2, ".ome.tif")
    for number, path in enumerate(sorted((folder / "images").iterdir())):
        write(path, pixel=0.1 * (1 + number // 2))
    path, said = write_folder(folder, tmp_path / "cells.yaml")
    assert "its pixels are 0.2 x 0.2 µm, but those of the first file 0.1 x 0.1" in said
    stated = yaml.safe_load(path.read_text())["data"]["stated"]
    assert stated == {"pixel": [], "unit": "", "channels": ["DAPI", "GFP"]}


def test_steps_of_signals_are_lengths_of_pixels():
    facts = [AxisFacts("IX", {"X": 0.01}, unit) for unit in ("min", "", "min")]
    assert stated_by(facts, 1) == Stated(pixel=(0.01,), unit="min")
    assert differ([*facts, AxisFacts("IX", {"X": 0.02}, "min")], 1)[0] == 3
    assert differ([*facts, AxisFacts("IX")], 1) == (0, "")


def test_files_that_state_nothing_do_not_hide_what_others_state():
    known = AxisFacts("CYX", {"Y": 0.1, "X": 0.1}, "µm", ("DAPI", "GFP"))
    assert stated_by([AxisFacts("CYX"), known], 2) == stated_by([known], 2)
    assert stated_by([AxisFacts("CYX")], 2) == Stated()


@pytest.mark.parametrize(("jitter", "warned"), [(0.0, False), (0.0004, False), (0.005, True)])
def test_uneven_steps_of_a_signal_are_said(tmp_path, caplog, jitter, warned):
    times = 0.01 * np.arange(60) + jitter * (np.arange(60) % 2)
    rows = "\n".join(f"{time:.4f},{value}" for time, value in zip(times, range(60), strict=True))
    (tmp_path / "a.csv").write_text(f"time (min),counts\n{rows}\n")
    adapter = FolderAdapter({"classes": ["a"], "spatial_dims": 1})
    adapter.read(tmp_path / "a.csv")
    assert ("equally spaced" in caplog.text) == warned
