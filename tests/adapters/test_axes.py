"""Axes of image files: every layout of TIFF gives the same images, whole and by parts, or is refused."""

import json
import logging
import re

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from oasis.adapters import Adapter
from oasis.errors import ConfigError, DataError
from oasis.inference.large import open_large
from oasis.inference.reader import Reader
from oasis.io.axes import AxisFacts, in_one_unit


def domain(bands, dims, **options):
    class Domain(Adapter):
        classes = ("a",)

    Domain.bands, Domain.spatial_dims = bands, dims
    return Domain(options)


def stored(path, axes, sizes, kind, order="TZCYX"):
    """Write an array with these axes; return it as (T, Z, C, Y, X), made by moving axes one by one."""
    values = np.random.default_rng(0).integers(0, 60000, [sizes[name] for name in axes]).astype(np.uint16)
    if kind == "ome":
        metadata = {"axes": axes, "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2, "PhysicalSizeZ": 1.5}
        tifffile.imwrite(path, values, ome=True, metadata=metadata)
    elif kind == "imagej":
        tifffile.imwrite(path, values, imagej=True, metadata={"axes": axes})
    else:
        np.save(path, values)
    full = values[(...,) + (None,) * sum(name not in axes for name in order)]
    named = axes + "".join(name for name in order if name not in axes)
    return np.moveaxis(full, range(5), [order.index(name) for name in named])


SIZES = {"T": 2, "Z": 5, "C": 3, "Y": 20, "X": 30}


@pytest.mark.parametrize("axes", ["CZYX", "ZCYX", "TZCYX", "TCZYX", "CYX", "TCYX"])
def test_bands_are_the_channels_wherever_they_are_stored(tmp_path, axes):
    full = stored(tmp_path / "a.ome.tif", axes, SIZES, "ome")
    dims = 3 if "Z" in axes else 2
    times, planes = full.shape[:2]
    expected = full.transpose(0, 2, 1, 3, 4) if dims == 3 else full.reshape(times * planes, 3, 20, 30)
    found = domain(3, dims).read(tmp_path / "a.ome.tif")
    np.testing.assert_array_equal(found.image, expected)
    assert found.axes == ("z", "y", "x")[-dims:]
    assert found.pixel_size == (1.5, 0.2, 0.1)[-dims:]
    assert found.pixel_unit == "µm"


@pytest.mark.parametrize(("axes", "dims"), [("ZYX", 3), ("TZYX", 3), ("TYX", 2), ("ZYX", 2), ("TZYX", 2)])
@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_parts_of_images_are_those_of_the_whole(tmp_path, axes, dims, kind):
    path = tmp_path / "a.ome.tif" if kind == "ome" else tmp_path / "a.tif"
    full = stored(path, axes, SIZES, kind)
    expected = full[:, None, :, 0] if dims == 3 else full.reshape(-1, 1, 20, 30)
    adapter = domain(1, dims)
    np.testing.assert_array_equal(adapter.read(path).image, expected)
    reader = Reader(adapter)
    assert reader.shape(path).images == len(expected)
    np.testing.assert_array_equal(
        reader.images(path, 1, 2).image if len(expected) > 1 else expected,
        expected[1:2] if len(expected) > 1 else expected,
    )
    with open_large(adapter, path) as large:
        assert large.shape == expected.shape
        place = (slice(1, 4), slice(3, 9), slice(10, 30))[-dims:]
        last = len(expected) - 1
        np.testing.assert_array_equal(large.part(last, place), expected[last][:, *place])


@pytest.mark.parametrize(
    ("axes", "bands", "dims", "words"),
    [
        ("CZYX", 2, 3, "3 channels, expected 2"),
        ("CYX", 1, 2, "3 channels, expected 1 for images of 1 band.*--axes IYX"),
        ("ZYX", 3, 2, "1 channel, expected 3.*--axes CYX"),
        ("TYX", 1, 3, "no Z, expected ZYX.*--axes ZYX"),
        ("YX", 1, 3, "no Z"),
    ],
)
def test_axes_that_do_not_fit_are_refused_with_the_mend(tmp_path, axes, bands, dims, words):
    stored(tmp_path / "a.ome.tif", axes, SIZES, "ome")
    with pytest.raises(DataError, match=words):
        domain(bands, dims).read(tmp_path / "a.ome.tif")
    with pytest.raises(DataError, match=words), open_large(domain(bands, dims), tmp_path / "a.ome.tif"):
        pass


@pytest.mark.parametrize("name", ["a.npy", "a.ome.tif"])
def test_axes_can_be_stated(tmp_path, name):
    full = stored(tmp_path / name, "ZYX", SIZES, "ome" if name.endswith("tif") else "npy")
    found = domain(5, 2, axes="CYX").read(tmp_path / name)
    np.testing.assert_array_equal(found.image, full[:, :, 0])
    swapped = domain(1, 2, axes="IXY").read(tmp_path / name)
    np.testing.assert_array_equal(swapped.image, full[0].transpose(0, 1, 3, 2))
    with open_large(domain(1, 2, axes="IXY"), tmp_path / name) as large:
        np.testing.assert_array_equal(
            large.part(2, (slice(0, 7), slice(3, 5))), full[0, 2, :, 3:5, :7].swapaxes(1, 2)
        )
    with pytest.raises(DataError, match="'YX' for an array of 3 axes"):
        domain(1, 2, axes="YX").read(tmp_path / name)


def test_what_axes_were_taken_for_is_said_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    stored(tmp_path / "a.ome.tif", "TCYX", SIZES, "ome")
    stored(tmp_path / "b.ome.tif", "TCYX", {**SIZES, "T": 5}, "ome")
    adapter = domain(3, 2)
    for name in "aab":
        adapter.read(tmp_path / f"{name}.ome.tif")
    (said,) = caplog.messages
    assert said.endswith("axes T=2, C=3, Y=20, X=30: 2 images along T, 3 bands, 20 x 30 pixels")


def test_images_along_an_unnamed_axis_are_called_by_the_letter_that_can_be_stated(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((12, 20, 30), np.uint8), photometric="minisblack", metadata=None)
    domain(1, 2).read(tmp_path / "a.tif")
    (said,) = caplog.messages
    assert said.endswith("axes I=12, Y=20, X=30: 12 images along I, 1 band, 20 x 30 pixels")
    assert domain(1, 2, axes="IYX").read(tmp_path / "a.tif").image.shape == (12, 1, 20, 30)


@pytest.mark.parametrize("axes", ["QYX", "iyx", ""])
def test_letters_that_no_axis_has_are_answered_with_those_that_it_may_have(axes):
    with pytest.raises(ConfigError, match=r"axes: .*T \(time\), C \(channels\), Z, Y, X and I \(images\)"):
        domain(1, 2, axes=axes)


def test_an_unnamed_last_axis_of_two_is_not_a_narrow_image(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((20, 30, 2), np.uint8), photometric="minisblack")
    with pytest.raises(DataError, match="2 colours or channels"):
        domain(1, 2).read(tmp_path / "a.tif")
    assert domain(2, 2, axes="YXC").read(tmp_path / "a.tif").image.shape == (1, 2, 20, 30)


def test_pixel_sizes_of_imagej_are_in_its_unit(tmp_path):
    values = np.zeros((4, 20, 30), np.uint16)
    metadata = {"axes": "ZYX", "spacing": 0.5, "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, resolution=(10, 5), metadata=metadata)
    found = domain(1, 3).read(tmp_path / "a.tif")
    assert found.pixel_size == (0.5, 0.2, 0.1)
    assert found.pixel_unit == "µm"


def test_ome_zarr_states_its_axes_and_pixel_sizes(tmp_path):
    zarr = pytest.importorskip("zarr")
    group = zarr.create_group(tmp_path / "a.zarr")
    values = np.random.default_rng(0).random((3, 5, 20, 30), np.float32)
    group.create_array("0", data=values)
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    scale = [{"type": "scale", "scale": [1, 2.0, 0.5, 0.25]}]
    images = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}]
    group.attrs["ome"] = json.loads(json.dumps({"version": "0.5", "multiscales": images}))
    found = domain(3, 3).read(tmp_path / "a.zarr")
    np.testing.assert_array_equal(found.image[0], values)
    assert (found.pixel_size, found.pixel_unit) == ((2.0, 0.5, 0.25), "µm")
    with pytest.raises(DataError, match="3 channels, expected 5"):
        domain(5, 3).read(tmp_path / "a.zarr")


@pytest.mark.parametrize(("version", "names"), [(3, "xy"), (3, "tyx"), (3, "xyc"), (2, "cyx"), (2, "XTY")])
def test_zarr_arrays_that_name_their_dimensions_are_read_by_them(tmp_path, version, names):
    """As those of zarr v3, or those that xarray writes with v2."""
    zarr = pytest.importorskip("zarr")
    full = stored(tmp_path / "a.npy", names.upper(), SIZES, "npy")[:, 0]  # (T, C, Y, X)
    values = np.load(tmp_path / "a.npy")
    chosen = {"dimension_names": names} if version == 3 else {"attributes": {"_ARRAY_DIMENSIONS": [*names]}}
    zarr.create_array(tmp_path / "a.zarr", data=values, zarr_format=version, **chosen)
    adapter = domain(full.shape[1], 2)
    np.testing.assert_array_equal(adapter.read(tmp_path / "a.zarr").image, full)
    reader = Reader(adapter)
    assert reader.shape(tmp_path / "a.zarr").images == len(full)
    np.testing.assert_array_equal(reader.images(tmp_path / "a.zarr", 0, len(full)).image, full)
    with open_large(adapter, tmp_path / "a.zarr") as large:
        np.testing.assert_array_equal(
            large.part(len(full) - 1, (slice(2, 9), slice(3, 30))), full[-1][:, 2:9, 3:30]
        )


@pytest.mark.parametrize("names", [None, ["lat", "lon"], ["x", "x"], [None, "x"]])
def test_zarr_arrays_of_other_dimensions_are_read_as_they_are(tmp_path, names):
    zarr = pytest.importorskip("zarr")
    values = np.random.default_rng(0).random((20, 30), np.float32)
    zarr.create_array(tmp_path / "a.zarr", data=values, dimension_names=names)
    np.testing.assert_array_equal(domain(1, 2).read(tmp_path / "a.zarr").image[0, 0], values)


@pytest.mark.parametrize(
    ("header", "samples"), [("time,counts", 1), ("Time (s),a,b", 2), ("retention_time (min),signal", 1)]
)
def test_a_table_of_times_is_one_signal_for_each_further_column(tmp_path, header, samples):
    rows = np.column_stack([np.arange(40) * 0.5, *[np.random.default_rng(k).random(40) for k in range(samples)]])
    np.savetxt(tmp_path / "a.csv", rows, delimiter=",", header=header, comments="")
    found = domain(1, 1).read(tmp_path / "a.csv")
    np.testing.assert_array_equal(found.image, rows[:, 1:].T[:, None].astype(np.float32))
    assert found.pixel_size == (0.5,)
    assert found.pixel_unit == header.partition("(")[2].partition(")")[0]


@pytest.mark.parametrize("header", ["Zeit [s],Spannung", ""])
def test_a_first_column_that_increases_is_an_abscissa_whatever_its_name(tmp_path, header):
    rows = np.column_stack([np.arange(40) * 0.5, np.random.default_rng(0).random(40)])
    np.savetxt(tmp_path / "a.csv", rows, delimiter=",", header=header, comments="")
    found = domain(1, 1).read(tmp_path / "a.csv")
    np.testing.assert_array_equal(found.image[0, 0], rows[:, 1].astype(np.float32))
    assert (found.pixel_size, found.pixel_unit) == ((0.5,), "s" if header else "")
    waveforms = np.cumsum(np.random.default_rng(0).random((20, 30)), axis=0)  # every column increases
    np.savetxt(tmp_path / "b.csv", waveforms, delimiter=",")
    assert domain(1, 1).read(tmp_path / "b.csv").image.shape == (20, 1, 30)


@pytest.mark.parametrize("header", ["a,b", "counts,time"])
def test_other_tables_of_two_columns_are_refused_as_signals(tmp_path, header):
    np.savetxt(
        tmp_path / "a.csv", np.random.default_rng(0).random((40, 2)), delimiter=",", header=header, comments=""
    )
    with pytest.raises(DataError, match="looks like a table of 2 columns"):
        domain(1, 1).read(tmp_path / "a.csv")
    assert domain(1, 1).read(tmp_path / "a.csv", key=header.split(",")[0]).image.shape == (1, 1, 40)


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_grey_pictures_are_read_exactly(tmp_path, kind):
    values = np.random.default_rng(0).integers(0, np.iinfo(kind).max, (20, 30)).astype(kind)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(domain(1, 2).read(tmp_path / "a.png").image[0, 0], values)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_pictures_of_few_bits_have_the_numbers_that_are_stored(tmp_path, bits):
    values = np.arange(2**bits, dtype=np.uint8).repeat(8).reshape(-1, 8)
    picture = Image.fromarray(values.astype(bool)) if bits == 1 else Image.fromarray(values)
    picture.save(tmp_path / "a.png", bits=bits)
    np.testing.assert_array_equal(domain(1, 2).read(tmp_path / "a.png").image[0, 0], values)


@pytest.mark.parametrize("part", ["Y", "Z"])
def test_pixel_sizes_of_ome_are_converted_to_one_unit(tmp_path, part):
    sizes = {"Z": 1.5, "Y": 0.25, "X": 0.1}
    metadata = {f"PhysicalSize{axis}": size for axis, size in sizes.items()} | {"axes": "ZYX"}
    metadata |= {f"PhysicalSize{part}": 1000 * sizes[part], f"PhysicalSize{part}Unit": "nm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", np.ones((2, 8, 9), np.uint8), ome=True, metadata=metadata)
    found = domain(1, 3).read(tmp_path / "a.ome.tif")
    assert (found.pixel_size, found.pixel_unit) == ((1.5, 0.25, 0.1), "µm")


@pytest.mark.parametrize("axes", [("px", "µm"), ("µm", "px"), ("", "")])
def test_pixel_sizes_that_cannot_be_converted_are_not_known(axes):
    assert len(in_one_unit(dict(zip("YX", ((0.2, unit) for unit in axes), strict=True)))[0]) < 2


RAMP, PALETTE = np.arange(256), np.random.default_rng(0).permutation(256)
CALIBRATED = {"axes": "YX", "cf": 0, "c0": -32768.0, "c1": 1.0}


@pytest.mark.parametrize(
    ("kind", "written", "words"),
    [
        ("u1", {"photometric": "miniswhite"}, "MinIsWhite"),
        ("u1", {"photometric": "palette", "colormap": np.stack([PALETTE * 257] * 3).astype("u2")}, "palette"),
        ("u1", {"photometric": "palette", "colormap": np.stack([RAMP * 257, 0 * RAMP, RAMP]).astype("u2")}, ""),
        ("u2", {"imagej": True, "metadata": CALIBRATED}, "ImageJ shows them as -32768.0"),
        ("u2", {"imagej": True, "metadata": {"axes": "YX"}}, ""),
        ("i2", {}, ""),
    ],
)
def test_numbers_that_may_not_be_intensities_are_said_once(tmp_path, caplog, kind, written, words):
    values = np.random.default_rng(0).integers(0, 200, (20, 30)).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", values, **written)
    for _ in range(2):
        np.testing.assert_array_equal(domain(1, 2).read(tmp_path / "a.tif").image[0, 0], values)
    said = [record.getMessage() for record in caplog.records if "as they are stored" in record.getMessage()]
    assert len(said) == bool(words)
    assert words in "".join(said)


@pytest.mark.parametrize(
    "read", [lambda path: domain(2, 2).read(path), lambda path: Reader(domain(2, 2)).shape(path)]
)
def test_planes_that_lie_in_a_missing_file_are_not_zeros(tmp_path, read):
    values = np.ones((2, 20, 30), np.uint16)
    tifffile.imwrite(tmp_path / "whole.ome.tif", values, ome=True, metadata={"axes": "CYX"})
    with tifffile.TiffFile(tmp_path / "whole.ome.tif") as file:
        text = re.sub(r' UUID="[^"]*"', ' UUID="urn:uuid:0"', file.ome_metadata)
    name = '<UUID FileName="{0}.ome.tif">urn:uuid:{0}</UUID>'
    plane = f'<TiffData FirstC="{{0}}" IFD="0" PlaneCount="1">{name}</TiffData>'
    text = re.sub(r"<TiffData.*</TiffData>|<TiffData[^>]*/>", plane.format(0) + plane.format(1), text)
    tifffile.imwrite(tmp_path / "0.ome.tif", values[0], description=text, metadata=None)
    with pytest.raises(DataError, match="1 of its 2 planes are missing"):
        read(tmp_path / "0.ome.tif")
    tifffile.imwrite(
        tmp_path / "1.ome.tif", values[1], description=text.replace('"urn:uuid:0"', '"urn:uuid:1"'), metadata=None
    )
    read(tmp_path / "0.ome.tif")
    tifffile.imwrite(tmp_path / "2.ome.tif", values[0], ome=True)  # an image of its own
    files = [tmp_path / f"{number}.ome.tif" for number in range(3)]
    assert domain(1, 2).leading(files) == [files[0], files[2]]
    files[0].rename(tmp_path / "a.ome.tif")  # whose metadata name files that are not its parts any more
    assert domain(1, 2).leading([tmp_path / "a.ome.tif", *files[1:]]) == [tmp_path / "a.ome.tif", *files[1:]]


def test_colours_of_pictures_are_bands(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.testing.assert_array_equal(domain(3, 2).read(tmp_path / "a.png").image[0], values.transpose(2, 0, 1))
    with pytest.raises(DataError, match="3 channels, expected 1"):
        domain(1, 2).read(tmp_path / "a.png")
    Image.fromarray(values).convert("P").save(tmp_path / "p.png")
    with pytest.raises(DataError, match="palette"):
        domain(1, 2).read(tmp_path / "p.png")


@pytest.mark.parametrize(("kind", "bands"), [("LA", 1), ("RGBA", 3)])
def test_opacity_is_no_band(tmp_path, kind, bands):
    values = np.random.default_rng(0).integers(0, 200, (20, 30, bands + 1)).astype(np.uint8)
    Image.fromarray(values, kind).save(tmp_path / "veiled.png")
    with pytest.raises(DataError, match="opacity"):
        domain(bands + 1, 2).read(tmp_path / "veiled.png")
    values[..., -1] = 255
    Image.fromarray(values, kind).save(tmp_path / "clear.png")
    found = domain(bands, 2).read(tmp_path / "clear.png").image[0]
    np.testing.assert_array_equal(found, values[..., :-1].transpose(2, 0, 1))


def test_stated_axes_are_checked():
    with pytest.raises(DataError, match="expected one letter for each"):
        AxisFacts().renamed("YY", 2, "a.npy")


def _label(data):
    for dimension, name in zip(data.dims, ("z", "channel", "y", "x"), strict=True):
        dimension.label = name


def _scale(data):
    for place, name in enumerate(("z", "c", "y", "x")):
        data.file[name] = np.arange(data.shape[place])
        data.file[name].make_scale(name)
        data.dims[place].attach_scale(data.file[name])


def _attribute(names):
    def state(data):
        data.attrs["axes"] = names

    return state


@pytest.mark.parametrize("state", [_label, _scale, _attribute("ZCYX"), _attribute(["z", "c", "y", "x"])])
def test_axes_that_hdf5_states_are_read_whole_and_by_parts(tmp_path, state):
    values = np.random.default_rng(0).random((5, 2, 20, 30)).astype(np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        state(file.create_dataset("image", data=values))
        file["image"].attrs["element_size_um"] = [1.5, 0.2, 0.1]
    adapter, path = domain(2, 3), tmp_path / "a.h5"
    expected = values.swapaxes(0, 1)[None]
    found = adapter.read(path, "image")
    np.testing.assert_array_equal(found.image, expected)
    assert (found.pixel_size, found.pixel_unit) == ((1.5, 0.2, 0.1), "µm")
    np.testing.assert_array_equal(Reader(adapter, "image").images(path, 0, 1).image, expected)
    with pytest.raises(DataError, match="axes Z=5, C=2, Y=20, X=30: 2 channels, expected 3"):
        domain(3, 3).read(path, "image")


@pytest.mark.parametrize("names", ["what", ["a", "b", "y", "x"], ["y", "x"], 7, ["z", "z", "y", "x"]])
def test_axes_of_hdf5_that_say_nothing_leave_the_shape_to_decide(tmp_path, names):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["image"] = np.ones((5, 2, 20, 30), np.float32)
        file["image"].attrs["axes"] = names
        file["image"].attrs["element_size_um"] = "small"
    found = domain(2, 2).read(tmp_path / "a.h5")
    assert (found.image.shape, found.pixel_size) == ((5, 2, 20, 30), ())


def test_only_what_a_person_wants_to_know_of_signals_is_said(tmp_path, caplog):
    caplog.set_level(logging.INFO, "oasis")
    for name, columns in (("one", 1), ("three", 3)):
        rows = np.column_stack([np.arange(40), np.ones((40, columns))])
        np.savetxt(
            tmp_path / f"{name}.csv", rows, delimiter=",", header="time,a" + ",b" * (columns - 1), comments=""
        )
        assert domain(1, 1).read(tmp_path / f"{name}.csv").image.shape == (columns, 1, 40)
    (text,) = caplog.messages
    assert text.endswith("three.csv: axes I=3, X=40: 3 signals along I, 1 band, 40 samples")
