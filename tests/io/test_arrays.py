"""Image files of other programs: read, chosen from, refused in one line, never executed."""

import os
import pickle
import zipfile
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from oasis.data.sample_files import write_samples
from oasis.data.samples import Sample
from oasis.errors import DataError
from oasis.io.arrays import read_array

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
    assert "holds no numbers" in refusal(tmp_path / "image.npy")


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
    write_samples(tmp_path / "samples.h5", [Sample(image, image[None], np.ones((1, 4, 5), bool))], ["all"])
    refusal(tmp_path / "samples.h5")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,2,3\n4,5,6\n", [[1, 2, 3], [4, 5, 6]]),
        ("1e-3, -2.5\r\n nan, 4\r\n", [[1e-3, -2.5], [np.nan, 4]]),
        ("\ufeff7\n8\n9", [7, 8, 9]),
        ("volts\n7\n8\n\n", [7, 8]),
        ('"time","ch 1"\n0,7\n1,8', [[0, 7], [1, 8]]),
    ],
)
def test_numbers_of_a_csv_file_are_read(tmp_path: Path, text: str, expected: list[Any]) -> None:
    path = tmp_path / "waveform.csv"
    path.write_bytes(text.encode())
    np.testing.assert_array_equal(read_array(path), expected)


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
        (b"", "holds no numbers"),
        (b"a,b\n\n", "holds no numbers"),
        (b"a,b\n1,x\n", "'x'"),
        (b"1,2\n3\n", "columns"),
        (b"1;2\n3;4\n", "3;4"),
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
