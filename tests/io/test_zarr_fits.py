"""Zarr, OME-Zarr and FITS: read whole or by parts, and refused in one line where they cannot be used."""

import json
import logging

import numpy as np
import pytest
import tifffile

from oasis.errors import ConfigError, DataError, OasisError
from oasis.inference.options import WindowOptions
from oasis.inference.predict import predict
from oasis.io.arrays import read_array
from oasis.io.parts import open_parts
from oasis.io.tiff import read_tiff
from oasis.io.zarr_files import at_level, open_zarr

zarr = pytest.importorskip("zarr")
fits = pytest.importorskip("astropy.io.fits")

VALUES = np.random.default_rng(0).exponential(20, (2, 3, 40, 50)).astype(np.float32)


def ome(path, version="0.5", axes="tcyx", values=VALUES, levels=3):
    """Write an OME-Zarr image with resolutions that differ by 2."""
    group = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)
    kinds = {"t": "time", "c": "channel"}
    datasets = []
    for level in range(levels):
        step = 2**level
        scale = [float(step) * 0.5 if name in "yx" else 1.0 for name in axes]
        datasets.append({"path": f"s{level}", "coordinateTransformations": [{"type": "scale", "scale": scale}]})
        data = values[..., ::step, ::step]
        array = group.create_array(
            f"s{level}", shape=data.shape, dtype=data.dtype, chunks=(1,) * (data.ndim - 2) + (8, 8)
        )
        array[:] = data
    named = [
        {"name": name, "type": kinds.get(name, "space"), "unit": "" if name in "tc" else "micrometer"}
        for name in axes
    ]
    image = {"version": version, "name": "a", "axes": named, "datasets": datasets}
    if version == "0.4":
        group.attrs["multiscales"] = [image]
    else:
        group.attrs["ome"] = {"version": version, "multiscales": [image]}
    return path


def parts_of(path, index, key=None):
    with open_parts(path, key) as parts:
        return parts.shape, parts[index]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_is_read_by_parts_at_the_full_resolution(tmp_path, version):
    path = ome(tmp_path / "a.zarr", version)
    shape, found = parts_of(path, (1, slice(None), slice(5, 20), slice(30, 50)))
    assert shape == VALUES.shape
    np.testing.assert_array_equal(found, VALUES[1, :, 5:20, 30:50])
    np.testing.assert_array_equal(read_array(path), VALUES)
    np.testing.assert_array_equal(read_array(path / "s1"), VALUES[..., ::2, ::2])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_scale_of_all_resolutions_is_that_of_each_too(tmp_path, version):
    path = ome(tmp_path / "a.zarr", version, "yx", VALUES[0, 0])
    attributes = zarr.open_group(path).attrs
    found = attributes["multiscales"] if version == "0.4" else attributes["ome"]["multiscales"]
    found[0]["coordinateTransformations"] = [{"type": "scale", "scale": [0.2, 0.4]}]
    found[0]["axes"][0]["unit"] = "nanometer"
    attributes.update({"multiscales": found} if version == "0.4" else {"ome": {"multiscales": found}})
    facts = open_zarr(path / "s1").facts
    assert (facts.pixel_size, facts.pixel_unit) == ({"Y": 0.0002, "X": 0.4}, "µm")


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        ("tczyx", (1, 1, 1, 40, 50), (40, 50)),
        ("tczyx", (2, 1, 1, 40, 50), (2, 40, 50)),
        ("tczyx", (1, 3, 1, 40, 50), (1, 3, 40, 50)),
        ("cyx", (3, 40, 50), (1, 3, 40, 50)),
        ("czyx", (1, 6, 40, 50), (6, 40, 50)),
        ("yx", (40, 50), (40, 50)),
    ],
)
def test_axes_become_those_of_images(tmp_path, axes, shape, expected):
    values = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    path = ome(tmp_path / "a.ome.zarr", axes=axes, values=values, levels=1)
    np.testing.assert_array_equal(read_array(path), values.reshape(expected))
    index = (0,) * (len(expected) - 2) + (slice(3, 9), slice(40, 50))
    np.testing.assert_array_equal(parts_of(path, index)[1], values.reshape(expected)[index])


def test_the_resolution_is_chosen_and_said(tmp_path):
    path = ome(tmp_path / "a.zarr")
    assert at_level(path, 1)[0] == path / "s1"
    found, text = at_level(path, None)
    assert found == path / "s0"
    assert text.endswith(
        "resolution 0 of 3, from 0: 2 x 3 x 40 x 50, pixels of 1, 1, 0.5 micrometer, 0.5 micrometer"
    )
    assert at_level(path / "s2", None) == (path / "s2", "")
    with pytest.raises(ConfigError, match="level: 3, but the image has 3 resolutions, from 0"):
        at_level(path, 3)
    with pytest.raises(ConfigError, match="this file holds one resolution"):
        at_level(tmp_path / "a.tif", 0)


def test_a_chosen_resolution_is_separated_by_tiles(toy_values, tmp_path, caplog):
    from oasis.run import Run

    caplog.set_level(logging.INFO)
    run = Run.from_values({**toy_values, "model": {"depth": 2, "norm": "batch"}})
    path = ome(tmp_path / "a.zarr", axes="tyx", values=np.repeat(VALUES[:, 0], 4, axis=2))
    np.save(tmp_path / "a.npy", np.repeat(VALUES[:, 0], 4, axis=2)[:, ::2, ::2])
    cut = WindowOptions(kind="tiles", tile=16)
    separator = run.new_separator()
    expected = predict(separator, run.adapter, tmp_path / "a.npy", tmp_path / "b.h5", window=cut).objects
    cut = cut.model_copy(update={"level": 1})
    found = predict(separator, run.adapter, path, tmp_path / "m.h5", window=cut).objects
    np.testing.assert_array_equal(found["intensity_predicted"], expected["intensity_predicted"])
    assert "resolution 1 of 3, from 0: 2 x 20 x 100" in caplog.text
    assert found["source"][0].endswith("a.zarr/s1")
    (tmp_path / "b.h5").unlink()
    folder = predict(separator, run.adapter, tmp_path, tmp_path / "m.h5")
    assert {path.name for path in folder.failed} == {"s0"}  # of another size than a.npy, but found


def test_arrays_of_a_group_are_chosen_by_key(tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr")
    for name in ("one", "two"):
        group.create_array(name, data=VALUES[0, 0] + len(name))
    np.testing.assert_array_equal(read_array(tmp_path / "a.zarr", "two"), VALUES[0, 0] + 3)
    np.testing.assert_array_equal(read_array(tmp_path / "a.zarr/one"), VALUES[0, 0] + 3)
    with pytest.raises(DataError, match="no array 'image', found one, two: choose one by its key"):
        read_array(tmp_path / "a.zarr")


def spoil(tmp_path, kind):
    path = tmp_path / "a.zarr"
    if kind == "missing":
        return path
    if kind == "empty":
        path.mkdir()
        return path
    if kind == "no arrays":
        zarr.create_group(path).create_group("0")
        return path
    if kind == "axes":
        return ome(path, axes="ctyx")
    ome(path, levels=1)
    if kind == "chunk":
        chunk = next(one for one in (path / "s0/c").rglob("*") if one.is_file())
        chunk.write_bytes(chunk.read_bytes()[:5])
    elif kind == "dimensions":
        facts = json.loads((path / "zarr.json").read_text())
        facts["attributes"]["ome"]["multiscales"][0]["axes"].pop()
        (path / "zarr.json").write_text(json.dumps(facts))
    else:
        (path / "s0/zarr.json").write_text("{")
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such zarr store"),
        ("empty", "contains no zarr array or group"),
        ("no arrays", "a group without arrays: name an image in it, for example"),
        ("axes", "axes c, t, y, x, expected some of t, c, z, y, x in this order"),
        ("chunk", "not a readable zarr array"),
        ("dimensions", "does not have the axes t, c, y"),
        ("json", "not a readable zarr array"),
    ],
)
def test_stores_that_cannot_be_read_are_one_line(tmp_path, kind, message):
    with pytest.raises(OasisError, match=message) as raised:
        read_array(spoil(tmp_path, kind))
    assert "\n" not in str(raised.value)


def test_pickled_data_are_never_loaded(tmp_path):
    path = tmp_path / "a.zarr"
    array = zarr.create_array(path, shape=(4, 4), dtype="f4", chunks=(4, 4), zarr_format=2, compressors=None)
    array[:] = 1
    facts = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps({**facts, "filters": [{"id": "pickle", "protocol": 4}]}))
    with pytest.raises(DataError, match=r"Python objects are never loaded|object_codec_id"):
        read_array(path)


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.fz"])
def test_fits_are_read_by_parts(tmp_path, name):
    values = np.random.default_rng(1).integers(0, 60000, (2, 90, 70)).astype(np.uint16)
    image = fits.CompImageHDU(values, name="SCI") if name.endswith("fz") else fits.ImageHDU(values, name="SCI")
    units = [fits.PrimaryHDU(), image, fits.ImageHDU(VALUES[0, 0], name="ERR")]
    fits.HDUList(units).writeto(tmp_path / name)
    shape, found = parts_of(tmp_path / name, (1, slice(20, 55), slice(3, 70)))
    assert shape == (2, 90, 70)
    np.testing.assert_array_equal(found, values[1, 20:55, 3:70])
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(read_array(tmp_path / name, "ERR"), VALUES[0, 0])
    with pytest.raises(DataError, match="contains no image DQ, found SCI, ERR"):
        read_array(tmp_path / name, "DQ")


def test_a_fits_file_that_is_cut_short_is_named(tmp_path):
    fits.PrimaryHDU(VALUES[0]).writeto(tmp_path / "a.fits")
    (tmp_path / "b.fits").write_bytes((tmp_path / "a.fits").read_bytes()[:4000])
    with pytest.raises(DataError, match=r"b\.fits: truncated, or not a FITS file") as raised:
        read_array(tmp_path / "b.fits")
    assert "\n" not in str(raised.value)


def test_of_a_tiff_pyramid_the_full_resolution_is_read_and_named(tmp_path):
    path, image = tmp_path / "a.ome.tif", np.arange(4096, dtype=np.float32).reshape(64, 64)
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(image, subifds=1, tile=(16, 16), metadata={"axes": "YX"})
        file.write(image[::2, ::2], subfiletype=1, tile=(16, 16))
    assert at_level(path, None) == at_level(path, 0) == (path, f"{path}: the full one of 2 resolutions")
    assert np.array_equal(read_tiff(path), image)
    with pytest.raises(ConfigError, match="only the full resolution is read: convert it to OME-Zarr"):
        at_level(path, 1)
    path.write_bytes(b"II*\0damaged")
    assert at_level(path, None) == (path, "")
