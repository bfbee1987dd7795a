"""Tables of the experiment's search as regions of interest."""

import numpy as np
import pandas as pd
import pytest

from oasis.adapters.migdal import MigdalAdapter
from oasis.cli import run as command
from oasis.inference.options import WindowOptions
from oasis.inference.predict import predict
from oasis.inference.region_files import read_regions
from oasis.separator.options import SeparatorOptions
from oasis.separator.separator import Separator
from oasis.zoo.folders import zoo_folder

SIZE = (288, 512)
SEARCH = pd.DataFrame(
    {
        "rowmin": [10, 20, 100, 5],
        "rowmax": [39, 49, 130, 30],
        "colmin": [10, 30, 200, 400],
        "colmax": [50, 60, 240, 450],
        "original_index": [0, 0, 0, 2],
        "prediction": [2, 0, 0, 7],
        "gauss_intensity": [9e4, 8e3, 7e3, 1.0],
    }
)


def test_boxes_of_the_search_include_their_last_pixel_and_are_one_region_where_they_overlap(tmp_path):
    SEARCH.to_feather(tmp_path / "run.0.feather")
    adapter = MigdalAdapter()
    given = read_regions(tmp_path / "run.0.feather", 2, adapter.to_pixels, adapter.as_regions)
    found = given.of(tmp_path / "run.tif", 0, SIZE, (96, 96))
    assert [(one.box, one.name) for one in found] == [
        ((slice(10, 50), slice(10, 61)), "ER, NR"),
        ((slice(100, 131), slice(200, 241)), "ER"),
    ]
    assert [one.name for one in given.of(tmp_path / "run.tif", 2, SIZE, (96, 96))] == ["spark afterglow"]
    assert not given.of(tmp_path / "run.tif", 1, SIZE, (96, 96))


def test_frames_are_separated_where_the_search_found_tracks(tmp_path):
    SEARCH.to_feather(tmp_path / "search.feather")
    frames = np.random.default_rng(0).exponential(9, (3, *SIZE)).astype(np.float32)
    np.save(tmp_path / "frames.npy", frames)
    adapter = MigdalAdapter()
    model = {"name": "unet", "base_channels": 2, "depth": 2}
    options = {"classes": adapter.classes, "model": model, "trained_size": [96, 96], "unit": "ADU"}
    separator = Separator(SeparatorOptions.parse(options)).eval()
    window = WindowOptions(kind="regions", regions=str(tmp_path / "search.feather"))
    table = predict(separator, adapter, tmp_path / "frames.npy", tmp_path / "maps.h5", window=window).objects
    assert table.groupby("frame")["region"].nunique().to_dict() == {0: 2, 2: 1}
    assert set(table["name"]) == {"ER, NR", "ER", "spark afterglow"}


@pytest.mark.parametrize("content", [b"no table", b"ARROW1\0\0", b""])
def test_damaged_tables_are_refused_in_one_line(tmp_path, capsys, content):
    (tmp_path / "bad.feather").write_bytes(content)
    np.save(tmp_path / "frames.npy", np.zeros(SIZE, np.float32))
    arguments = [
        "predict",
        str(zoo_folder("migdal")),
        str(tmp_path / "frames.npy"),
        "--out",
        str(tmp_path / "maps.h5"),
    ]
    assert command([*arguments, "--regions", str(tmp_path / "bad.feather")]) == 2
    assert "bad.feather" in capsys.readouterr().err
