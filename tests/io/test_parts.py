"""Parts of arrays in files: the same numbers as of the whole, and nothing else is decoded."""

import h5py
import numpy as np
import pytest
import tifffile

from oasis.errors import OasisError
from oasis.io.arrays import read_array
from oasis.io.parts import TiffPages, open_parts

FRAME = np.arange(150 * 210, dtype=np.uint16).reshape(150, 210)
STACK = np.stack([FRAME, FRAME + 7, FRAME[::-1]])
CUTS = [(slice(0, 150), slice(0, 210)), (slice(30, 101), slice(64, 209)), (slice(149, 150), slice(0, 1))]
TILED = {"tile": (32, 64), "compression": "zlib", "photometric": "minisblack"}


def write(path, values, **options):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("image", data=values, chunks=True, compression="gzip")
            file["other"] = [1]
    else:
        tifffile.imwrite(path, values, **options)
    return path


@pytest.mark.parametrize("values", [FRAME, STACK], ids=["frame", "stack"])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.npy", {}),
        ("a.h5", {}),
        ("plain.tif", {"photometric": "minisblack"}),
        ("tiled.tif", TILED),
        ("big.tif", {**TILED, "bigtiff": True, "byteorder": ">"}),
        ("strips.tif", {"rowsperstrip": 16, "compression": "zlib", "predictor": 2, "photometric": "minisblack"}),
        ("ome.ome.tif", {**TILED, "metadata": {"axes": "ZYX"}}),
    ],
)
def test_parts_are_those_of_the_whole(tmp_path, name, options, values):
    if "metadata" in options and values.ndim == 2:
        options = {**options, "metadata": {"axes": "YX"}}
    path = write(tmp_path / name, values, **options)
    whole = read_array(path)
    with open_parts(path) as parts:
        assert parts.shape == whole.shape == values.shape
        for cut in CUTS:
            lead = [()] if values.ndim == 2 else [(1,), (slice(0, 2),)]
            for index in lead:
                np.testing.assert_array_equal(parts[*index, *cut], whole[*index, *cut])


def test_only_the_tiles_that_are_needed_are_decoded(tmp_path, monkeypatch):
    path = write(tmp_path / "a.tif", FRAME, **TILED)
    numbers = []
    segment = TiffPages._segment
    monkeypatch.setattr(
        TiffPages, "_segment", staticmethod(lambda page, number: numbers.append(number) or segment(page, number))
    )
    with open_parts(path) as parts:
        parts[33:40, 70:80]
    assert numbers == [5]


def test_what_has_no_parts_is_left_to_be_read_whole(tmp_path):
    colour = write(tmp_path / "rgb.tif", np.zeros((20, 30, 3), np.uint8), photometric="rgb")
    np.savez(tmp_path / "a.npz", image=FRAME)
    for path in (colour, tmp_path / "a.npz"):
        with open_parts(path) as parts:
            assert parts is None


@pytest.mark.parametrize("name", ["a.npy", "a.h5", "a.tif"])
@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY", b"II*\0\x08\0\0\0", b"\x89HDF\r\n\x1a\n" + b"\0" * 40, None]
)
def test_broken_files_are_one_line(tmp_path, name, content):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OasisError) as raised, open_parts(path) as parts:
        parts[0:1, 0:1]
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["a.h5", "a.tif"])
def test_damage_inside_is_one_line(tmp_path, name):
    path = write(tmp_path / name, FRAME, **(TILED if name == "a.tif" else {}))
    content = bytearray(path.read_bytes())
    middle = slice(len(content) // 3, len(content) // 3 + 6000)
    content[middle] = b"\xff" * 6000
    path.write_bytes(content)
    with pytest.raises(OasisError) as raised, open_parts(path) as parts:
        parts[0:150, 0:210]
    assert "\n" not in str(raised.value)


def test_objects_and_rubble_in_a_mapped_file_are_refused_without_advice_to_load_them(tmp_path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}]), allow_pickle=True)
    (tmp_path / "rubble.npy").write_bytes(b"no array of numbers")
    for name in ("objects.npy", "rubble.npy"):
        with (
            pytest.raises(OasisError, match=name) as caught,
            open_parts(tmp_path / name),
        ):
            pass
        assert "allow_pickle" not in str(caught.value)
