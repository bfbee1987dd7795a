"""Regions of interest: from the adapter, from tables and label files; each in a window of the size in training."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from oasis.adapters import Adapter
from oasis.adapters.migdal.search import search_regions
from oasis.cli import run as command
from oasis.data.covering import covering
from oasis.errors import ConfigError, DataError, OasisError
from oasis.evaluation.surroundings import SizeCheck
from oasis.inference import regional_parts, stored
from oasis.inference.options import WindowOptions
from oasis.inference.predict import predict
from oasis.inference.predicted import tables_of
from oasis.inference.region_files import read_regions
from oasis.inference.regional_parts import merged
from oasis.inference.regions import Region, clipped, overlapping, owned, touches, window_of
from oasis.instances.grouping import Grouping
from oasis.io.arrays import read_array
from oasis.io.outputs import is_intensities
from oasis.io.tables import write_csv
from oasis.separator.options import SeparatorOptions
from oasis.separator.separator import Separator

SIZE = (24, 20)  # in training
REGIONS = WindowOptions(kind="regions")
SAME = SizeCheck(trained=SIZE, larger=(48, 40), samples=7, inside={"dot": 0.0}, outside={"dot": 0.0})
OTHER = SAME.model_copy(update={"inside": {"dot": 0.9}})


@pytest.fixture
def separator(toy):
    return toy.new_separator(trained_size=SIZE).eval()


@pytest.fixture
def frames():
    return np.random.default_rng(0).exponential(20, (2, 90, 110)).astype(np.float32)


@pytest.fixture
def source(tmp_path, frames):
    np.save(tmp_path / "a.npy", frames)
    return tmp_path / "a.npy"


def finding(adapter, boxes):
    """The adapter, which finds these boxes in every image."""

    class Finding(type(adapter)):
        def regions_of_interest(self, image):
            return boxes

    return Finding(adapter.options)


def boxes_file(path, rows, columns="y0,y1,x0,x1"):
    path.write_text("\n".join([columns, *rows]) + "\n")
    return path


def maps_of(path):
    with h5py.File(path) as file:
        return np.stack([file[f"maps/{name}"][:, 0] for name in ("dot", "bar")], axis=1)


def test_each_region_is_separated_in_its_window_and_pasted_back(toy, separator, source, frames, tmp_path):
    boxes = [(slice(10, 20), slice(5, 15)), (slice(50, 70), slice(80, 100))]
    found = predict(separator, finding(toy.adapter, boxes), source, tmp_path / "m.h5", window=REGIONS)
    windows = [(slice(3, 27), slice(0, 20)), (slice(48, 72), slice(80, 100))]
    expected = np.zeros((2, 2, *frames.shape[1:]), np.float32)
    for frame in range(2):
        for box, window in zip(boxes, windows, strict=True):
            maps = separator.separate(frames[frame][window])
            for label, name in enumerate(("dot", "bar")):
                inside = tuple(
                    slice(b.start - w.start, b.stop - w.start) for b, w in zip(box, window, strict=True)
                )
                expected[frame, label][box] = maps[name][inside]
    np.testing.assert_allclose(maps_of(tmp_path / "m.h5"), expected, rtol=1e-4, atol=1e-4)
    table = found.objects
    assert table.columns[:4].tolist() == ["source", "frame", "class", "intensity_predicted"]
    assert table["frame"].tolist() == [0] * 4 + [1] * 4
    assert table["class"].tolist() == ["dot", "bar"] * 4
    assert table["region"].tolist() == [0, 0, 1, 1] * 2
    assert table[["y0", "y1", "x0", "x1"]].iloc[2].tolist() == [50, 70, 80, 100]
    sums = [expected[frame, label][box].sum() for frame in range(2) for box in boxes for label in range(2)]
    np.testing.assert_allclose(table["intensity_predicted"], sums, rtol=1e-4)


def test_light_that_regions_share_is_counted_once(toy, separator, source, tmp_path):
    boxes = [(slice(10, 30), slice(10, 25)), (slice(18, 38), slice(12, 30)), (slice(12, 20), slice(20, 28))]
    found = predict(separator, finding(toy.adapter, boxes), source, tmp_path / "m.h5", window=REGIONS)
    by_class = found.objects.groupby(["frame", "class"])["intensity_predicted"].sum()
    maps = maps_of(tmp_path / "m.h5")
    for frame in range(2):
        for label, name in enumerate(("dot", "bar")):
            assert by_class[frame, name] == pytest.approx(maps[frame, label].sum(dtype=float), rel=1e-4)


def test_the_whole_box_is_counted_beside_what_a_region_owns(toy, separator, source, frames, tmp_path):
    box = (slice(10, 30), slice(10, 25))
    alone = predict(separator, finding(toy.adapter, [box]), source, tmp_path / "a.h5", window=REGIONS).objects
    np.testing.assert_allclose(alone["box_intensity_predicted"], alone["intensity_predicted"])
    boxes = [box, (slice(12, 28), slice(18, 30))]
    both = predict(separator, finding(toy.adapter, boxes), source, tmp_path / "b.h5", window=REGIONS).objects
    first = both[both["region"] == 0]
    np.testing.assert_allclose(first["box_intensity_predicted"], alone["intensity_predicted"], rtol=1e-4)
    assert (first["intensity_predicted"] < first["box_intensity_predicted"]).all()


def test_every_pixel_of_boxes_has_one_owner():
    rng = np.random.default_rng(0)
    starts = rng.integers(0, 20, (12, 2))
    regions = [Region(tuple(slice(a, a + int(rng.integers(3, 12))) for a in start)) for start in starts.tolist()]
    count, covered = np.zeros((40, 40), int), np.zeros((40, 40), bool)
    near = overlapping(regions)
    for number, region in enumerate(regions):
        count[region.box] += owned(regions, number, near[number])
        covered[region.box] = True
    np.testing.assert_array_equal(count, covered)


def test_windows_lie_within_the_image():
    window = window_of(Region((slice(0, 4), slice(96, 100))), (24, 20), (90, 100))
    assert window == (slice(0, 24), slice(80, 100))
    assert clipped(Region((slice(-3, 2), slice(99, 104))), (90, 100)).box == (slice(0, 2), slice(99, 100))
    assert clipped(Region((slice(-3, 0), slice(1, 2))), (90, 100)) is None


def test_a_grid_of_windows_counts_every_pixel_once(toy, separator, source, frames, tmp_path):
    """Each pixel has the map of its window, whatever adapters find; the rows add up to the maps."""
    found = predict(separator, toy.adapter, source, tmp_path / "m.h5", window=WindowOptions(regions="grid"))
    expected = np.full((2, 2, *frames.shape[1:]), np.nan, np.float32)
    for window in covering(frames.shape[1:], SIZE):
        place = tuple(slice(at, at + length) for at, length in zip(window.start, SIZE, strict=True))
        for frame in range(2):
            maps = separator.separate(frames[frame][place])
            for label, name in enumerate(("dot", "bar")):
                assert np.isnan(expected[frame, label][place][window.counted]).all()
                expected[frame, label][place][window.counted] = maps[name][window.counted]
    np.testing.assert_allclose(maps_of(tmp_path / "m.h5"), expected, rtol=1e-4, atol=1e-4)
    sums = found.objects.groupby(["frame", "class"])["intensity_predicted"].sum()
    np.testing.assert_allclose(sums[0]["dot"], expected[0, 0].sum(dtype=float), rtol=1e-4)
    assert len(found.objects) == 2 * 2 * 4 * 6


def test_a_file_called_grid_is_not_mistaken(toy, separator, source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("grid").mkdir()
    with pytest.raises(DataError, match="grid means windows side by side, but there is a file of this name"):
        predict(separator, toy.adapter, source, tmp_path / "m.h5", window=WindowOptions(regions="grid"))


def test_images_without_objects_are_blank_and_have_no_rows(toy, separator, source, tmp_path):
    found = predict(separator, finding(toy.adapter, []), source, tmp_path / "m.h5", window=REGIONS)
    assert found.images == 2
    assert not len(found.objects)
    assert not maps_of(tmp_path / "m.h5").any()
    write_csv(found.objects, tmp_path / "m.csv")
    assert is_intensities(tmp_path / "m.csv")
    some = predict(
        separator, finding(toy.adapter, [(slice(9, 30), slice(9, 20))]), source, tmp_path / "n.h5", window=REGIONS
    )
    assert sorted(found.objects) == sorted(some.objects)


@pytest.mark.parametrize(("check", "light"), [(SAME, "all"), (OTHER, "cut"), (None, "cut")])
def test_regions_larger_than_a_window(toy, separator, source, frames, tmp_path, caplog, check, light):
    adapter = finding(toy.adapter, [(slice(10, 50), slice(20, 30))])
    found = predict(separator, adapter, source, tmp_path / "m.h5", size_check=lambda: check, window=REGIONS)
    rows = found.objects[["y0", "y1"]].iloc[0].tolist()
    assert rows == ([10, 50] if light == "all" else [18, 42])
    assert ("cut to the 24 x 20 pixels" in caplog.text) == (light == "cut")


def test_an_adapter_without_regions_says_so(toy, separator, source, tmp_path):
    with pytest.raises(ConfigError, match="this adapter finds none: name a file of boxes or positions"):
        predict(separator, toy.adapter, source, tmp_path / "m.h5", window=REGIONS)


def test_windows_that_are_larger_than_the_image_are_refused(toy, separator, tmp_path):
    np.save(tmp_path / "a.npy", np.ones((20, 100), np.float32))
    adapter = finding(toy.adapter, [(slice(0, 4), slice(0, 4))])
    with pytest.raises(DataError, match="windows of 24 x 20 pixels, as in training, do not fit into images"):
        predict(separator, adapter, tmp_path / "a.npy", tmp_path / "m.h5", window=REGIONS)


def test_a_separator_that_does_not_know_its_size_is_refused(toy, toy_separator, source, tmp_path):
    adapter = finding(toy.adapter, [(slice(0, 4), slice(0, 4))])
    with pytest.raises(ConfigError, match="does not state the size that it was trained on"):
        predict(toy_separator, adapter, source, tmp_path / "m.h5", window=REGIONS)


def by_file(toy, separator, source, tmp_path, file):
    window = WindowOptions(regions=str(file))
    return predict(separator, toy.adapter, source, tmp_path / "m.h5", window=window)


@pytest.mark.parametrize("comma", [",", ", "])
def test_boxes_of_a_table(toy, separator, source, tmp_path, comma):
    rows = ["first,a.npy,0,10,20,5,15", "second,b.npy,0,1,2,3,4", "third,/else/where/a.npy,1,50,70,80,100"]
    header = "name,source,frame,y0,y1,x0,x1".replace(",", comma)
    file = boxes_file(tmp_path / "boxes.csv", [row.replace(",", comma) for row in rows], header)
    table = by_file(toy, separator, source, tmp_path, file).objects
    assert table["frame"].tolist() == [0, 0, 1, 1]
    assert table["name"].tolist() == ["first", "first", "third", "third"]
    again = by_file(toy, separator, source, tmp_path, _written(table, tmp_path / "again.csv")).objects
    assert set(again["y0"]) == {10, 50}


def test_the_objects_of_a_first_pass_are_regions(toy, separator, source, tmp_path):
    """Boxes of objects that overlap, of any class, are one region; objects of other frames are not of this one."""
    grouping = {"dot": Grouping(), "bar": Grouping(method="gaps", gap=3)}
    first = predict(separator, toy.adapter, source, tmp_path / "first.h5", grouping=grouping).instances
    assert len(first) > 4
    first["source"] = [str(path) for path in first["source"]]
    write_csv(first, tmp_path / "first_instances.csv")
    given = read_regions(tmp_path / "first_instances.csv", 2, lambda path, places: places)
    for frame, rows in first.groupby("frame"):
        found = given.of(source, frame, (90, 110), (24, 20))
        assert not any(overlapping(found))
        for row in rows.itertuples():
            (around,) = [
                region for region in found if touches(region.box, (slice(row.y0, row.y1), slice(row.x0, row.x1)))
            ]
            assert around.box[0].start <= row.y0 < row.y1 <= around.box[0].stop
            assert around.box[1].start <= row.x0 < row.x1 <= around.box[1].stop
    table = by_file(toy, separator, source, tmp_path, tmp_path / "first_instances.csv").objects
    assert set(table["name"]) <= {"dot", "bar", "bar, dot"}


def test_a_table_for_other_images_is_refused(toy, separator, source, tmp_path):
    header = "source,frame,y0,y1,x0,x1"
    for rows, message in (
        (
            ["zz.npy,0,10,20,5,15"],
            r"boxes\.csv: all its rows are for other files .*: for 'zz\.npy' .* 'a\.npy' is read",
        ),
        (["a.npy,-1,10,20,5,15"], r"boxes\.csv: frame: expected the number of an image, from 0"),
        (["a.npy,0,1e30,1e31,5,15"], r"boxes\.csv: row 1: expected numbers in y0"),
    ):
        with pytest.raises(DataError, match=message):
            by_file(toy, separator, source, tmp_path, boxes_file(tmp_path / "boxes.csv", rows, header))


def test_objects_that_first_appear_in_a_later_image_are_listed(toy, separator, tmp_path):
    frames = np.zeros((2, 24, 20), np.float32)
    frames[1, 5:12, 6:12] = 500
    for name, image in zip("ab", frames, strict=True):
        np.save(tmp_path / f"{name}.npy", image)
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / f"{name}.npy").rename(tmp_path / "in" / f"{name}.npy")
    found = predict(
        separator, toy.adapter, tmp_path / "in", tmp_path / "m.h5", grouping={"dot": Grouping()}
    ).instances
    assert {Path(path).name for path in found["source"]} == {"b.npy"}


@pytest.mark.parametrize("out", [".", "/", ".."])
def test_an_output_without_a_name_of_its_own_is_refused(out):
    with pytest.raises(ConfigError, match="a name of its own"):
        tables_of(Path(out))


def _written(table, path):
    rows = table[["y0", "y1", "x0", "x1", "frame"]].drop_duplicates()
    write_csv(rows, path)
    return path


def test_positions_are_the_middle_of_windows(toy, separator, source, tmp_path, caplog):
    file = boxes_file(tmp_path / "at.csv", ["40.2,50.4", "3,50", "200,10"], "y,x")
    table = by_file(toy, separator, source, tmp_path, file).objects
    assert table[["y0", "y1", "x0", "x1"]].drop_duplicates().to_numpy().tolist() == [[28, 52, 40, 60]]
    assert table["y"].iloc[0] == 40.2
    assert "4 of 6 regions are left out" in caplog.text


def test_a_catalogue_of_another_field_is_refused(toy, separator, source, tmp_path):
    file = boxes_file(tmp_path / "at.csv", ["400,500", "300,50"], "y,x")
    with pytest.raises(DataError, match=r"at\.csv: none of its 4 regions lies within the images of 90 x"):
        by_file(toy, separator, source, tmp_path, file)


def test_boxes_outside_are_left_out_and_others_cut_at_the_border(toy, separator, source, tmp_path, caplog):
    file = boxes_file(tmp_path / "boxes.csv", ["80,95,100,120", "91,99,0,9"])
    table = by_file(toy, separator, source, tmp_path, file).objects
    assert table[["y0", "y1", "x0", "x1"]].drop_duplicates().to_numpy().tolist() == [[80, 90, 100, 110]]
    assert "2 of 4 regions are left out: outside of the image" in caplog.text


@pytest.mark.parametrize("row", ["2.2,150.1", "150,95", "540,2"])
def test_positions_that_are_not_on_the_sky_are_refused(tmp_path, row):
    (tmp_path / "a.csv").write_text(f"ra,dec\n150,2\n{row}\n")
    with pytest.raises(DataError, match=r"a\.csv: row 2: ra .* is no position on the sky: expected degrees"):
        read_regions(tmp_path / "a.csv", 2, lambda path, sky: sky)


def test_positions_on_the_sky_need_an_adapter_that_knows_it(toy, separator, source, tmp_path):
    file = boxes_file(tmp_path / "sky.csv", ["150.1,2.2"], "ra,dec")
    with pytest.raises(DataError, match="have no coordinates on the sky: give positions in pixels"):
        by_file(toy, separator, source, tmp_path, file)

    class Sky(type(toy.adapter)):
        def to_pixels(self, path, sky):
            return np.where(sky[:, :1] < 100, np.nan, np.stack([sky[:, 1] * 20, sky[:, 0] - 100], axis=1))

    found = predict(
        separator, Sky(), source, tmp_path / "m.h5", window=WindowOptions(kind="regions", regions=str(file))
    )
    assert found.objects["ra"].unique().tolist() == [150.1]
    assert found.objects["y0"].iloc[0] == 44 - 12
    file = boxes_file(tmp_path / "behind.csv", ["10,2.2"], "ra,dec")  # has no pixel in the projection
    window = WindowOptions(kind="regions", regions=str(file))
    with pytest.raises(DataError, match=r"none of its \d+ regions lies within the images"):
        predict(separator, Sky(), source, tmp_path / "n.h5", window=window)


def test_positions_in_pixels_and_on_the_sky_have_to_agree(tmp_path, caplog):
    def to_pixels(path, sky):
        if path.suffix != ".fits":
            raise DataError("no sky")
        return np.stack([sky[:, 1], sky[:, 0] - 100], axis=1)

    def places(rows, name="a.fits"):
        file = read_regions(boxes_file(tmp_path / "a.csv", rows, "ra,dec,x,y"), 2, to_pixels)
        return [one.middle.tolist() for one in file.of(Path(name), 0, (50, 60), (5, 5))]

    caplog.set_level("INFO")
    assert places(["130,20,30.4,20.1", ",,3,4"]) == [[20.0, 30.0], [4.0, 3.0]]
    assert "positions are those of x, y, with which ra, dec agree in a.fits" in caplog.text
    for row in ("130,20,31,21", "130,20,300,20"):
        with pytest.raises(DataError, match=r"row 2: x .*, y .*, but ra 130, dec 20 lies at x 30.0, y 20.0 of 'a"):
            places(["140,30,40,30", row])
    assert places(["130,20,3,4"], "a.npy") == [[4.0, 3.0]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n1,2\n", "expected the columns y0, y1, x0, x1 of boxes, y, x of positions in pixels, or ra, dec"),
        ("y0,y1,x0,x1\n", "no rows below the header"),
        ("y0,y1,x0,x1\n1,2,3,four\n", "row 1: x1: expected a number"),
        ("y0,y1,x0,x1\n1,2,3,4\n5,5,1,2\n", r"row 2: a box from \[5.0, 1.0\] to \[5.0, 2.0\] has no pixels"),
        ("y,x\n1,\n2,3\n", "row 1: expected numbers in y, x"),
        ("", "not a table of comma-separated values"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, content, message):
    (tmp_path / "a.csv").write_text(content)
    with pytest.raises(OasisError, match=message) as raised:
        read_regions(tmp_path / "a.csv", 2, None)
    assert str(raised.value).startswith(str(tmp_path / "a.csv"))
    assert "\n" not in str(raised.value)


def test_label_files_of_yolo(toy, separator, source, tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    y, x, height, width = 15 / 90, 10 / 110, 10 / 90, 10 / 110
    (labels / "a_0000.txt").write_text(f"0 {x} {y} {width} {height}\n")
    (labels / "a_0001.txt").write_text(f"3 {x} {y} {width} {height} 0.97\n3 0.5 0.5 0.1 0.1 0.4\n")
    (labels / "ab.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    table = by_file(toy, separator, source, tmp_path, labels).objects
    assert table["frame"].tolist() == [0, 0, 1, 1, 1, 1]
    assert table[["y0", "y1", "x0", "x1"]].iloc[0].tolist() == [10, 20, 5, 15]
    assert table["name"].tolist() == ["0", "0", "3", "3", "3", "3"]
    found = by_file(toy, separator, source, tmp_path, labels / "a_0000.txt")
    assert found.objects["frame"].tolist() == [0, 0, 1, 1]  # one file is for every image


@pytest.mark.parametrize("line", ["0 0.5 0.5 0.1", "0 12 14 3 4", "dot 0.5 0.5 0.1 0.1", "0 0.5 0.5 0 0.1"])
def test_label_files_that_cannot_be_used(tmp_path, line):
    (tmp_path / "a.txt").write_text(line)
    with pytest.raises(DataError, match=r"a\.txt: line 1: expected class, x, y, width and height in shares"):
        read_regions(tmp_path / "a.txt", 2, None)


def test_label_files_of_other_images_are_said(toy, separator, source, tmp_path, caplog):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "b.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    window = WindowOptions(kind="regions", regions=str(tmp_path / "labels"))
    assert not len(predict(separator, toy.adapter, source, tmp_path / "maps.h5", window=window).objects)
    assert "none of its label files, such as 'b'.txt, is of an image that is read, such as 'a.npy'" in caplog.text
    caplog.clear()
    (tmp_path / "labels" / "a_0001.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    assert len(predict(separator, toy.adapter, source, tmp_path / "maps.h5", window=window, replace=True).objects)
    assert "label files" not in caplog.text


def test_boxes_that_are_listed_twice_are_said(toy, separator, source, tmp_path, caplog):
    box = "8,20,8,20\n"
    (tmp_path / "boxes.csv").write_text(f"y0,y1,x0,x1\n{box}{box}30,40,30,40\n")
    window = WindowOptions(kind="regions", regions=str(tmp_path / "boxes.csv"))
    predict(separator, toy.adapter, source, tmp_path / "maps.h5", window=window)
    assert caplog.text.count("1 of 3 regions have the same box as an earlier one") == 1


def test_no_label_files(tmp_path):
    with pytest.raises(DataError, match="no label files"):
        read_regions(tmp_path, 2, None)
    with pytest.raises(DataError, match="label files are of images in two dimensions"):
        read_regions(tmp_path, 3, None)


def test_bad_pixels_in_regions_are_not_counted(toy, separator, source, frames, tmp_path):
    bad = np.zeros(frames[:, None].shape, bool)
    bad[0, 0, 12:14, 8:12] = True

    class Masked(type(finding(toy.adapter, [(slice(10, 20), slice(5, 15))]))):
        def read(self, path, key=None, dark=None):
            return super().read(path, key, dark).replace(mask=~bad)

    table = predict(separator, Masked(), source, tmp_path / "m.h5", window=REGIONS).objects
    maps = maps_of(tmp_path / "m.h5")
    assert table["intensity_predicted"][0] == pytest.approx(np.where(bad[0, 0], 0, maps[0, 0]).sum(), rel=1e-4)
    assert table["intensity_predicted"][0] < maps[0, 0].sum()


def test_the_command(toy_run, source, tmp_path, capsys):
    file = boxes_file(tmp_path / "boxes.csv", ["10,20,5,15"])
    out = tmp_path / "m.h5"
    arguments = ["predict", str(toy_run), str(source), "--out", str(out), "--trust-code", "--regions"]
    assert command([*arguments, str(file)]) == 0
    table = pd.read_csv(tmp_path / "m.csv")
    assert len(table) == 4
    assert set(table["region"]) == {0}
    assert command([*arguments, str(tmp_path / "none.csv")]) == 2
    assert "none.csv: no such file" in capsys.readouterr().err
    assert command([*arguments, str(file), "--window", "tiles"]) == 2
    assert "a file of regions goes with the window regions" in capsys.readouterr().err
    assert (
        command([*arguments[:3], "--out", str(file.with_suffix(".h5")), "--trust-code", "--regions", str(file)])
        == 2
    )


@pytest.mark.parametrize(
    ("dims", "columns", "row"),
    [(1, "x0,x1", "5,17"), (3, "z0,z1,y0,y1,x0,x1", "1,6,2,9,3,8"), (3, "z,y,x", "9,8,9")],
)
def test_regions_in_any_dimension(tmp_path, dims, columns, row):
    class Plain(Adapter):
        classes = ("one", "other")
        spatial_dims = dims

    model = {"name": "unet", "base_channels": 2, "depth": 2}
    options = {"classes": Plain.classes, "spatial_dims": dims, "model": model, "trained_size": [12] * dims}
    separator = Separator(SeparatorOptions.parse(options)).eval()
    image = np.random.default_rng(0).exponential(9, [20] * dims).astype(np.float32)
    np.save(tmp_path / "a.npy", image)
    file = boxes_file(tmp_path / "r.csv", [row], columns)
    window = WindowOptions(regions=str(file))
    found = predict(separator, Plain(), tmp_path / "a.npy", tmp_path / "m.h5", window=window).objects
    assert len(found) == 2
    with h5py.File(tmp_path / "m.h5") as read:
        sums = [read[f"maps/{name}"][:].sum() for name in Plain.classes]
    np.testing.assert_allclose(found["intensity_predicted"], sums, rtol=1e-5)
    edges = found[[f"{axis}{end}" for axis in "zyx"[-dims:] for end in (0, 1)]].iloc[0].tolist()
    assert edges == (list(map(int, row.split(","))) if "0" in columns else [3, 15, 2, 14, 3, 15])


class Spots:
    """Finds what is bright, with a pixel around it."""

    def regions_of_interest(self, image):
        boxes = ndimage.find_objects(ndimage.label(image[0] > 300, np.ones((3, 3)))[0])
        return [tuple(slice(max(side.start - 2, 0), side.stop + 2) for side in box) for box in boxes]


@pytest.mark.parametrize("by", ["finder", "file", "grid"])
def test_regions_of_large_images_are_those_of_images_in_memory(toy, separator, tmp_path, monkeypatch, by):
    frames = np.random.default_rng(0).exponential(20, (2, 90, 110)).astype(np.float32).clip(0, 200)
    for row, column in ((37, 38), (10, 39), (70, 100), (41, 60), (46, 66), (5, 5)):  # on borders, and overlapping
        frames[:, row : row + 7, column : column + 5] += 500
    np.save(tmp_path / "a.npy", frames)
    adapter = type("Found", (Spots, type(toy.adapter)), {})(toy.adapter.options)
    window = WindowOptions(regions="grid") if by == "grid" else REGIONS
    if by == "file":
        rows = ["30,50,30,44", "35,52,40,50", "85,99,100,140", "0,9,0,9", "40,52,58,72"]
        window = WindowOptions(regions=str(boxes_file(tmp_path / "boxes.csv", rows)))
    grouping = {"dot": Grouping(), "bar": Grouping(method="gaps", gap=3)}

    def separated(out):
        given = (None, None, False, False, None, window, grouping)
        return predict(separator, adapter, tmp_path / "a.npy", tmp_path / out, *given)

    expected = separated("a.h5")
    monkeypatch.setattr(regional_parts, "PARTS", 1000)
    for module in (regional_parts, stored):
        monkeypatch.setattr(module, "BLOCK", {2: 40})
    for out in ("b.h5", "c.zarr"):
        found = separated(out)
        for one, other in ((found.objects, expected.objects), (found.instances, expected.instances)):
            assert len(one) == len(other) > 4
            keys = (
                ["frame", "class", "y0", "x0"] if "y0" in other else ["frame", "class", "position_0", "position_1"]
            )
            one, other = (
                table.drop(columns=["region"], errors="ignore").sort_values(keys) for table in (one, other)
            )
            pd.testing.assert_frame_equal(
                one.reset_index(drop=True), other.reset_index(drop=True), rtol=1e-4, check_dtype=False
            )
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["maps/dot"].chunks != file["maps/dot"].shape
    np.testing.assert_allclose(maps_of(tmp_path / "b.h5"), maps_of(tmp_path / "a.h5"), rtol=1e-4, atol=1e-4)
    zarr_maps = [read_array(tmp_path / f"c.zarr/maps/{name}/0") for name in ("dot", "bar")]
    np.testing.assert_allclose(np.stack(zarr_maps, 1), maps_of(tmp_path / "a.h5"), rtol=1e-4, atol=1e-4)


def test_what_two_parts_find_counts_once():
    one, same, other = (Region((slice(at, at + 9), slice(0, 9))) for at in (10, 11, 16))
    assert merged([[one, other], [same]]) == [one, other]
    assert merged([[one, same], [other]]) == [one, same, other]  # one part finds two objects


def test_rows_for_images_that_are_not_there_are_named(toy, separator, source, tmp_path, caplog):
    window = WindowOptions(kind="regions", regions=str(tmp_path / "r.csv"))
    for frame, said in ((77, True), (1, False)):
        caplog.clear()
        (tmp_path / "r.csv").write_text(f"y0,y1,x0,x1,frame\n1,30,1,30,0\n1,30,1,30,{frame}\n")
        predict(separator, toy.adapter, source, tmp_path / "m.h5", window=window)
        assert ("r.csv: 1 of 2 rows, the first 2, are for other images" in caplog.text) == said


@pytest.mark.parametrize("suffix", [".csv", ".feather", ".parquet"])
def test_tables_in_every_format_are_read_alike(tmp_path, suffix):
    """Columns of another domain are translated, capitals are accepted, texts may be numbers or missing."""

    def read(table, translate=lambda table: table):
        path = tmp_path / f"t{suffix}"
        if suffix == ".csv":
            table.to_csv(path, index=False)
        else:
            table.reset_index(drop=True).to_feather(path) if suffix == ".feather" else table.to_parquet(path)
        return read_regions(path, 2, lambda path, places: places, translate)

    own = {"rowmin": [3], "rowmax": [9], "colmin": [0], "colmax": [4], "original_index": [7], "prediction": [2]}
    (found,) = read(pd.DataFrame(own), search_regions).of(Path("a.npy"), 7, (50, 50), (8, 8))
    assert (found.box, found.name) == ((slice(3, 10), slice(0, 5)), "NR")
    (found,) = read(pd.DataFrame({"Y": [9.0], "X": [20.0]})).of(Path("a.npy"), 0, (50, 50), (8, 8))
    assert found.position == {"y": 9, "x": 20}
    table = pd.DataFrame({"RA": [150.0], "DEC": [2.0], "Y": [9.0], "X": [20.0]})  # X, Y of the survey's image
    assert read(table).of(Path("a.npy"), 0, (50, 50), (8, 8))[0].position == {"ra": 150, "dec": 2}
    texts = {"y": [9.0, 8.0], "x": [9.0, 8.0], "frame": [0, 0], "source": [17, 18], "name": ["007", None]}
    given = read(pd.DataFrame(texts))
    assert [one.name for one in given.of(Path("17"), 0, (50, 50), (8, 8))] == ["007"]
    assert [one.name for one in given.of(Path("18"), 0, (50, 50), (8, 8))] == [""]
    given = read(pd.DataFrame(texts | {"source": [None, "a.npy"], "frame": pd.array([0, 0], "Int64")}))
    given.check_files([Path("a.npy")])
    assert len(given.of(Path("a.npy"), 0, (50, 50), (8, 8))) == 1


def test_missing_frames_are_one_line(tmp_path):
    table = pd.DataFrame({"y": [9, 8], "x": [9, 8], "source": "a", "frame": pd.array([0, None], "Int64")})
    table.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="frame: expected the number of an image"):
        read_regions(tmp_path / "a.parquet", 2, None)


@pytest.mark.parametrize("out", ["m.h5", "m.zarr"])
def test_rows_that_are_all_for_images_that_are_not_there_are_refused(toy, separator, source, tmp_path, out):
    (tmp_path / "r.csv").write_text("y0,y1,x0,x1,frame\n1,30,1,30,77\n")
    window = WindowOptions(kind="regions", regions=str(tmp_path / "r.csv"))
    with pytest.raises(DataError, match=r"r\.csv: all its 1 rows are for images that were not read"):
        predict(separator, toy.adapter, source, tmp_path / out, window=window)
    assert not (tmp_path / out).exists()
