"""Image files of other programs: read, chosen from, refused in one line, never executed."""

import importlib.util
import os
import pickle
import zipfile
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse
import tifffile
import torch
from numpy.typing import NDArray

from oasis.data.sample_files import write_samples
from oasis.data.samples import Sample
from oasis.errors import DataError, MissingExtraError
from oasis.io.arrays import as_image_array, read_array
from oasis.io.labelled import read_labelled
from oasis.io.parts import open_parts

Writer = Callable[[Path, NDArray[Any]], object]


def write_hdf5(path: Path, array: NDArray[Any]) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("frame", data=array, compression="gzip")


def write_npz(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, frame=array)


def write_npy(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as file:
        np.save(file, array)


def write_tiff(path: Path, array: NDArray[Any]) -> None:
    tifffile.imwrite(path, array, compression="zlib")


def write_pages(path: Path, array: NDArray[Any]) -> None:
    with tifffile.TiffWriter(path) as file:
        for page in array.reshape(-1, *array.shape[-2:]):
            file.write(page, contiguous=False)


WRITERS: dict[str, Writer] = {
    ".npy": write_npy,
    ".NPY": write_npy,
    ".npz": write_npz,
    ".tif": write_tiff,
    ".tiff": tifffile.imwrite,
    ".mtiff": write_pages,
    ".h5": write_hdf5,
    ".hdf5": write_hdf5,
}


def refusal(path: Path, key: str | None = None) -> str:
    """Return the one line with which a file is refused, which names it."""
    with pytest.raises(DataError) as caught:
        read_array(path, key)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("dtype", ["uint16", "float32", "int32", ">f4"])
@pytest.mark.parametrize("shape", [(20, 30), (2, 20, 30)])
@pytest.mark.parametrize("suffix", WRITERS)
def test_every_kind_is_read_in_the_machine_s_byte_order(
    tmp_path: Path, suffix: str, shape: tuple[int, ...], dtype: str
) -> None:
    array = np.random.default_rng(0).integers(0, 60_000, shape).astype(dtype)
    path = tmp_path / f"image{suffix}"
    WRITERS[suffix](path, array)
    values = read_array(str(path))
    np.testing.assert_array_equal(values, array)
    assert values.dtype == array.dtype.newbyteorder("=")


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("kept", [0, 4, 8, 50, 0.2, 0.5, 0.9])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str, kept: float) -> None:
    path = tmp_path / f"image{suffix}"
    WRITERS[suffix](path, np.random.default_rng(0).normal(size=(4, 20, 25)))
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    refusal(path)


@pytest.mark.parametrize(("kind", "suffix"), [*permutations([".npy", ".npz", ".tif", ".h5"], 2), ("text", ".npz")])
def test_a_file_of_another_kind_than_its_name_says_is_refused(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"image{suffix}"
    if kind == "text":
        path.write_text("not an image\n" * 99)
    else:
        WRITERS[kind](path, np.ones((4, 5)))
    refusal(path)


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_an_array_is_chosen_by_key_or_by_the_name_image(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"arrays{suffix}"

    def write(**arrays: NDArray[Any]) -> None:
        if suffix == ".npz":
            np.savez(path, allow_pickle=False, **arrays)
            return
        with h5py.File(path, "w") as file:
            file.update(arrays)

    write(dark=np.zeros(2), flat=np.ones(2))
    assert read_array(path, "flat").tolist() == [1, 1]
    assert all(word in refusal(path) for word in ("dark", "flat", "--key"))
    message = refusal(path, "falt")
    assert all(word in message for word in ("falt", "dark", "flat")), message
    write(dark=np.zeros(2), image=np.ones(2))
    assert read_array(path).tolist() == [1, 1]
    assert read_array(path, "dark").tolist() == [0, 0]
    write(dark=np.zeros(2))
    assert read_array(path).tolist() == [0, 0]
    assert "image" in refusal(path, "image")


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize(
    "name", ["object.npy", "object.npz", "pickle.npy", "pickle.npz", "pickle.h5", "pickle.tif"]
)
def test_pickles_are_refused_and_never_executed(tmp_path: Path, name: str) -> None:
    path, marker = tmp_path / name, tmp_path / "executed"
    trap = np.array([Trap(marker)], dtype=object)
    if name == "object.npy":
        np.save(path, trap, allow_pickle=True)
    elif name == "object.npz":
        np.savez(path, image=trap)
    else:
        path.write_bytes(pickle.dumps(Trap(marker)))
    refusal(path)
    assert not marker.exists()
    if name.startswith("object"):
        np.load(path, allow_pickle=True)["image" if name.endswith("z") else ...]
        assert marker.exists(), "the trap would not have caught anything"


@pytest.mark.parametrize(
    "array",
    [np.array(["a"]), np.zeros((0, 3)), np.array([1j]), np.array([(1, 2)], dtype=[("x", int), ("y", int)])],
)
def test_arrays_without_numbers_are_refused(tmp_path: Path, array: NDArray[Any]) -> None:
    np.save(tmp_path / "image.npy", array)
    assert "contains no numeric array" in refusal(tmp_path / "image.npy")


def test_an_archive_of_other_things_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "image.npz", "w") as archive:
        archive.writestr("image.txt", "hello")
    refusal(tmp_path / "image.npz")


def test_an_array_in_a_group_is_chosen_by_its_path(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "image.h5", "w") as file:
        file["run/frame"] = np.ones(3)
        file["run/dark"] = np.zeros(2)
    assert read_array(tmp_path / "image.h5", "run/frame").tolist() == [1, 1, 1]
    assert "run/dark" in refusal(tmp_path / "image.h5")


def test_an_hdf5_file_without_images_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "image.h5", "w") as file:
        file.create_group("image")
    refusal(tmp_path / "image.h5")
    with h5py.File(tmp_path / "image.h5", "w") as file:
        file["image"] = 3.0
    assert "truncated" not in refusal(tmp_path / "image.h5")


def test_the_mask_of_a_file_of_samples_is_not_taken_for_an_image(tmp_path: Path) -> None:
    image = np.ones((1, 4, 5), np.float32)
    write_samples(
        tmp_path / "samples.h5", [Sample(image, image[None], np.ones((1, 4, 5), bool), {"id": "a"})], ["all"]
    )
    refusal(tmp_path / "samples.h5")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2,3\n4,5,6\n", [[1, 2, 3], [4, 5, 6]]),
        ("1e-3, -2.5\r\n nan, 4\r\n", [[1e-3, -2.5], [np.nan, 4]]),
        ("\ufeff7\n8\n9", [7, 8, 9]),
        ("volts\n7\n8\n\n", [7, 8]),
        ('"time","ch 1"\n0,7\n1,8', [[0, 7], [1, 8]]),
        ('"a;b";c\n0,5;-1,25e-1\n\n1;"2,5"\n', [[0.5, -0.125], [1, 2.5]]),
        ("# HPLC\n# 12\nmin\tmAU\n0,5\t3\n1.5\t4\n", [[0.5, 3], [1.5, 4]]),
        ("7,1\n8,2\n", [[7, 1], [8, 2]]),
    ],
)
def test_numbers_of_a_csv_file_are_read(tmp_path: Path, text: str, expected: list[Any]) -> None:
    path = tmp_path / "waveform.csv"
    path.write_bytes(text.encode())
    np.testing.assert_array_equal(read_array(path), expected)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_tables_are_read_in_the_encodings_of_instruments(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("Zeit (min);Signal (\u00b5V)\n0,5;7\n1;8\n", encoding=encoding)
    assert read_array(path).tolist() == [[0.5, 7], [1, 8]]
    assert read_array(path, "Signal (\u00b5V)").tolist() == [7, 8]


def test_a_column_of_a_csv_file_is_chosen_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "waveform.csv"
    path.write_text('"time","ch 1"\n0,7\n1,8\n')
    assert read_array(path, "ch 1").tolist() == [7, 8]
    assert all(word in refusal(path, "ch 2") for word in ("ch 2", "time", "ch 1"))
    path.write_text("0,7\n1,8\n")
    assert "ch 1" in refusal(path, "ch 1")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "contains no numeric array"),
        (b"a,b\n\n", "contains no numeric array"),
        (b"a,b\n1,x\n", "'x'"),
        (b"1,2\n3\n", "columns"),
        (b"Instrument 7\na,b\n1,2\n", "line 2: expected numbers, found 'a'"),
        (b"a;b\n1,5;2\n3;x,1\n", "line 3: expected numbers, found 'x.1'"),
        (b"1 2\n3 4\n", "line 2: expected numbers, found '3 4'"),
        (b"\x89PNG\r\n\x1a\n\x00\xff", "damaged"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_csv_file_without_rows_of_numbers_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "waveform.csv"
    path.write_bytes(content)
    assert words in refusal(path)


@pytest.mark.parametrize(
    ("name", "words"), [("missing.npy", "no such file"), ("image.jpg", "unknown kind"), ("folder.h5", "")]
)
def test_what_cannot_be_an_image_is_refused(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "image.jpg").write_bytes(b"x")
    (tmp_path / "folder.h5").mkdir()
    assert words in refusal(tmp_path / name)


@pytest.mark.parametrize(
    "name", ["n" * 300 + ".npy", "nul\0.npy", "folder.npy/x.npy", "loop.npy", "pipe.npy", "folder.npy"]
)
def test_paths_that_lead_to_no_file_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "loop.npy").symlink_to("loop.npy")
    os.mkfifo(tmp_path / "pipe.npy")
    refusal(tmp_path / name)


# Arrays of HDF5 files by their path, and what MATLAB writes.


def test_an_array_is_found_by_its_path_and_by_links_inside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "image.h5"
    with h5py.File(path, "w") as file:
        file["run/frame"] = np.ones(3)
        file["run/dark"] = np.zeros(2)
        file["again"] = file["run/frame"]
        file["soft"] = h5py.SoftLink("/run/frame")
        file["group"] = h5py.SoftLink("/run")
    for key in ("run/frame", "/run/frame", "again", "/soft", "group/frame"):
        assert read_array(path, key).tolist() == [1, 1, 1]
    with h5py.File(path, "r+") as file:
        file["dangling"] = h5py.SoftLink("/nowhere")
        file["circle"] = h5py.SoftLink("/circle")
        file["empty"] = h5py.Empty("f4")
    for key in ("dangling", "circle", "empty", "run", "/", ".", "..", "nul\0"):
        refusal(path, key)


def write_matlab(path: Path, version: str, **arrays: NDArray[Any]) -> None:
    """Write arrays as MATLAB does, which gives the last axis of a stack to its pages."""
    if version == "5":
        scipy.io.savemat(path, arrays, do_compression=True)
        return
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            array = np.atleast_2d(array)
            file[name] = array.T
            kind = {"float64": "double", "float32": "single", "bool": "logical"}.get(
                str(array.dtype), str(array.dtype)
            )
            file[name].attrs["MATLAB_class"] = np.bytes_(kind)
    content = bytearray(path.read_bytes())
    content[:128] = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM"
    path.write_bytes(content)


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_pages_of_matlab_are_images(tmp_path: Path, version: str) -> None:
    pages = np.random.default_rng(0).integers(0, 99, (5, 20, 30))
    path = tmp_path / "stack.mat"
    for dtype in ("float64", "float32", "uint16", "int32"):
        stack = np.moveaxis(pages, 0, -1).astype(dtype)  # 20 x 30 x 5 in MATLAB
        write_matlab(path, version, stack=stack)
        np.testing.assert_array_equal(read_array(path), pages)
        assert read_array(path).dtype == dtype
    write_matlab(path, version, image=stack[..., 0], trace=np.arange(7.0), many=stack[..., None] * [1, 2, 3])
    np.testing.assert_array_equal(read_array(path), pages[0])
    assert read_array(path, "trace").tolist() == list(range(7))
    np.testing.assert_array_equal(read_array(path, "many"), np.stack([pages, 2 * pages, 3 * pages]))
    assert "trace" in refusal(path, "traces")


def test_hdf5_files_of_matlab_are_read_alike_whatever_their_suffix(tmp_path: Path) -> None:
    stack = np.arange(24.0).reshape(2, 3, 4)
    write_matlab(tmp_path / "a.mat", "7.3", stack=stack)
    (tmp_path / "a.mat").rename(tmp_path / "a.h5")
    assert read_array(tmp_path / "a.h5").shape == (4, 2, 3)


@pytest.mark.parametrize("version", ["5", "7.3"])
def test_what_matlab_stores_besides_numbers_is_refused(tmp_path: Path, version: str) -> None:
    path = tmp_path / "a.mat"
    if version == "5":
        scipy.io.savemat(path, {"text": "hello", "cells": np.array([1, "a"], object), "record": {"a": 1.0}})
        refusal(path)
    else:
        write_matlab(path, version, text=np.arange(5, dtype=np.uint16), none=np.zeros(2, np.uint64))
        with h5py.File(path, "r+") as file:
            file["text"].attrs["MATLAB_class"] = np.bytes_("char")
            file["none"].attrs["MATLAB_class"] = np.bytes_("double")
            file["none"].attrs["MATLAB_empty"] = 1
        assert "char" in refusal(path, "text")
        assert "empty" in refusal(path, "none")
    content = path.read_bytes()
    for kept in (0, 10, 128, 600, len(content) // 2):
        path.write_bytes(content[:kept])
        refusal(path)


# Compressions whose packages may be missing.


def missing_extra(path: Path) -> str:
    with pytest.raises(MissingExtraError) as caught:
        read_array(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("compression", [5, 7, 34712])
@pytest.mark.skipif(importlib.util.find_spec("imagecodecs") is not None, reason="imagecodecs is installed")
def test_a_tiff_that_needs_imagecodecs_is_not_called_damaged(tmp_path: Path, compression: int) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((20, 30), np.uint8))
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].tags["Compression"].valueoffset
    content = bytearray(path.read_bytes())
    content[place : place + 2] = compression.to_bytes(2, "little")
    path.write_bytes(content)
    message = missing_extra(path)
    assert "oasis-seg[tiff]" in message
    assert "damaged" not in message


@pytest.mark.skipif(importlib.util.find_spec("hdf5plugin") is not None, reason="hdf5plugin is installed")
def test_a_filter_of_hdf5_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk((20, 30))
        plan.set_filter(32001, h5py.h5z.FLAG_OPTIONAL)  # Blosc
        space = h5py.h5s.create_simple((20, 30))
        data = h5py.h5d.create(file.id, b"image", h5py.h5t.NATIVE_UINT16, space, plan)
        data.write_direct_chunk((0, 0), np.ones((20, 30), np.uint16).tobytes())
    message = missing_extra(path)
    assert "32001" in message
    assert "oasis-seg[hdf5]" in message


# Channels that a TIFF states.


@pytest.mark.parametrize(
    ("stored", "options", "read"),
    [
        ((20, 30, 3), {"photometric": "rgb"}, (1, 3, 20, 30)),
        ((5, 20, 30, 3), {"photometric": "rgb"}, (5, 3, 20, 30)),
        ((3, 20, 30), {"photometric": "rgb", "planarconfig": "separate"}, (1, 3, 20, 30)),
        ((2, 20, 30), {"ome": True, "metadata": {"axes": "CYX"}}, (1, 2, 20, 30)),
        ((5, 2, 20, 30), {"ome": True, "metadata": {"axes": "TCYX"}}, (5, 2, 20, 30)),
        ((2, 7, 20, 30), {"ome": True, "metadata": {"axes": "CZYX"}}, (1, 2, 7, 20, 30)),
        ((5, 7, 2, 20, 30), {"imagej": True, "metadata": {"axes": "TZCYX"}}, (35, 2, 20, 30)),
        ((5, 20, 30), {"ome": True, "metadata": {"axes": "TYX"}}, (5, 20, 30)),
        ((5, 20, 30), {}, (5, 20, 30)),
    ],
)
def test_channels_of_a_tiff_are_told_from_pages(
    tmp_path: Path, stored: tuple[int, ...], options: dict[str, Any], read: tuple[int, ...]
) -> None:
    path = tmp_path / "a.tif"
    values = np.arange(np.prod(stored)).reshape(stored).astype(np.uint8)
    tifffile.imwrite(path, values, **options)
    expected = np.moveaxis(values, -1, -3) if stored[-1] == 3 else values
    found = read_array(path)
    assert found.shape == read
    np.testing.assert_array_equal(found, expected.reshape(read))


# Arrays of other libraries.

VALUES = np.arange(12.0, dtype=np.float32).reshape(3, 4)


class Array:
    """Anything with `__array__`, as xarray has it."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if isinstance(self.values, Exception):
            raise self.values
        return np.asarray(self.values, dtype)


@pytest.mark.parametrize(
    "values",
    [
        VALUES,
        VALUES.astype(">f4"),
        VALUES.astype(">i2"),
        VALUES.astype(np.float64),
        VALUES.astype(np.float16),
        VALUES.astype(np.longdouble),
        VALUES.astype(np.uint64),
        VALUES[::-1, ::-1].copy()[::-1, ::-1],
        np.asfortranarray(VALUES),
        VALUES.tolist(),
        [*VALUES],
        pd.DataFrame(VALUES),
        pd.DataFrame(VALUES).astype({0: "int8", 1: "float64"}),
        torch.from_numpy(VALUES.copy()),
        torch.from_numpy(VALUES.copy()).requires_grad_(),
        torch.from_numpy(VALUES.copy()).bfloat16(),
        torch.from_numpy(VALUES.copy()).int(),
        Array(VALUES),
        np.ma.masked_array(VALUES, False),
        np.matrix(VALUES),
    ],
    ids=lambda values: f"{type(values).__name__} {getattr(values, 'dtype', '')}",
)
def test_arrays_of_any_library_become_native_float32(values: Any) -> None:
    array = as_image_array(values)
    assert type(array) is np.ndarray
    assert array.dtype == np.float32
    assert array.dtype.isnative
    assert array.flags["C_CONTIGUOUS"]
    assert array.flags["WRITEABLE"]
    np.testing.assert_array_equal(array, VALUES)


def test_arrays_that_fit_are_not_copied_and_read_only_ones_are() -> None:
    assert as_image_array(VALUES) is VALUES
    fixed = VALUES.copy()
    fixed.flags.writeable = False
    assert as_image_array(fixed).base is not fixed
    assert as_image_array(np.array([True, False])).tolist() == [1, 0]
    np.testing.assert_array_equal(
        as_image_array([np.nan, -np.inf, 1e-50]), np.array([np.nan, -np.inf, 0], np.float32)
    )


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (VALUES * 1j, "complex64"),
        (torch.ones(2, dtype=torch.complex64), "complex64"),
        (np.array([1, None], object), "object"),
        (pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "object"),
        (np.array(["1", "2"]), "<U1"),
        ("text", "<U4"),
        (None, "object"),
        ({"a": 1}, "object"),
        (np.array(["2020-01-01"], "M8[D]"), "datetime64"),
        (np.zeros(2, [("x", float)]), "[('x', '<f8')]"),
        ([[1, 2], [3]], "list is not an array"),
        (np.ma.masked_array(VALUES, VALUES == 3), "1 values are masked"),
        (np.array([1e39]), "above 3.4e38"),
        (Array(RuntimeError("two\nlines")), "two lines"),
        (scipy.sparse.eye(3), "object"),
    ],
)
def test_what_has_no_one_meaning_as_intensities_is_refused(values: Any, words: str) -> None:
    with pytest.raises(DataError, match=r"^frame: ") as caught:
        as_image_array(values, "frame")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_warnings_name_files_as_they_are_given(tmp_path, monkeypatch, caplog):
    """TIFF files know their absolute path alone."""
    monkeypatch.chdir(tmp_path)
    path = Path("given_as_it_is.tif")
    tifffile.imwrite(path, np.ones((4, 5), np.uint8), photometric="miniswhite")
    read_labelled(path)
    with open_parts(path):
        pass
    (said,) = caplog.messages
    assert said.startswith("given_as_it_is.tif: its zero is white (MinIsWhite)")
