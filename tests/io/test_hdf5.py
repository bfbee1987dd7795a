"""HDF5 files: they hold all of their data themselves, grow by rows, and every way of being broken is one line."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from oasis.errors import DataError
from oasis.io.arrays import read_array
from oasis.io.hdf5 import DEEPEST, append_rows, open_hdf5, read_dataset
from oasis.io.parts import open_parts


def written(path: Path, make: Callable[[h5py.File], None]) -> Path:
    with h5py.File(path, "w") as file:
        make(file)
    return path


def link_outside(file: h5py.File) -> None:
    file["image"] = h5py.ExternalLink("other.h5", "/image")


def link_deep_inside(file: h5py.File) -> None:
    file["image"] = np.ones((4, 4))
    file["a/b/c"] = h5py.ExternalLink("/etc/passwd", "/x")
    file["a/short"] = h5py.SoftLink("/a/b/c")


def raw_outside(file: h5py.File) -> None:
    file.create_dataset("image", (4, 4), "u1", external=[("raw.bin", 0, 16)])


def virtual_outside(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4, 4), float)
    layout[:2] = h5py.VirtualSource("other.h5", "image", (2, 4))
    file.create_virtual_dataset("group/image", layout)


def unknown_link(file: h5py.File) -> None:
    file["image"] = np.ones((4, 4))
    group = h5py.h5g.open(file.id, b"/")
    group.links.create_external(b"sly", b"other.h5", b"/")


@pytest.mark.parametrize("make", [link_outside, link_deep_inside, raw_outside, virtual_outside, unknown_link])
def test_data_in_another_file_are_refused_wherever_they_are_named(
    tmp_path: Path, make: Callable[[h5py.File], None]
) -> None:
    (tmp_path / "raw.bin").write_bytes(b"0123456789abcdef")
    written(tmp_path / "other.h5", lambda file: file.__setitem__("image", np.ones((4, 4))))
    path = written(tmp_path / "sly.h5", make)
    for read in (lambda: open_hdf5(path).__enter__(), lambda: read_array(path)):
        with pytest.raises(DataError, match="another file") as caught:
            read()
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_links_and_virtual_data_within_one_file_are_read(tmp_path: Path) -> None:
    def make(file: h5py.File) -> None:
        file["a/data"] = np.arange(6.0)
        file["a/back"] = file["/"]  # a cycle
        file["short"] = h5py.SoftLink("/a/data")
        file["nowhere"] = h5py.SoftLink("/b")
        layout = h5py.VirtualLayout((6,), float)
        layout[:] = h5py.VirtualSource(".", "a/data", (6,))
        file.create_virtual_dataset("virtual", layout)

    with open_hdf5(written(tmp_path / "links.h5", make)) as file:
        for name in ("a/data", "short", "virtual"):
            np.testing.assert_array_equal(read_dataset(file, name), np.arange(6.0))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty", "empty"),
        ("group", "not a data set"),
        ("type", "not a data set"),
        ("missing", "missing"),
        ("loop", "cannot be read"),
    ],
)
def test_what_is_no_data_set_is_refused_by_its_place(tmp_path: Path, name: str, words: str) -> None:
    def make(file: h5py.File) -> None:
        file["empty"] = h5py.Empty("f4")
        file.create_group("group")
        file["type"] = np.dtype("f4")
        file["loop"] = h5py.SoftLink("/loop")

    path = written(tmp_path / "x.h5", make)
    with open_hdf5(path) as file, pytest.raises(DataError, match=words) as caught:
        read_dataset(file, name)
    assert f"{path}: /{name}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_image_file_with_an_empty_data_set_is_refused_in_one_line(tmp_path: Path) -> None:
    path = written(tmp_path / "x.h5", lambda file: file.__setitem__("image", h5py.Empty("f4")))
    with pytest.raises(DataError, match=r"x\.h5: /image is empty"):
        read_array(path)


def test_groups_without_end_are_refused(tmp_path: Path) -> None:
    def make(file: h5py.File) -> None:
        group: h5py.Group = file
        for _ in range(DEEPEST + 1):
            group = group.create_group("g")

    with pytest.raises(DataError, match="nested"), open_hdf5(written(tmp_path / "deep.h5", make)):
        pass


def test_data_sets_without_data_are_refused_and_zeros_that_were_written_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "x.h5", lambda file: file.create_dataset("image", (2**40, 64), "f4", chunks=(1, 64)))
    for read in (read_array, lambda path: open_parts(path).__enter__()):
        with pytest.raises(DataError, match=r"x\.h5: image .* contains no data"):
            read(path)
    path = written(tmp_path / "zeros.h5", lambda file: file.create_dataset("image", data=np.zeros((3, 64))))
    assert read_array(path).shape == (3, 64)


@pytest.mark.parametrize("kind", ["h5", "zarr"])
def test_numbers_that_are_stored_scaled_are_refused(tmp_path: Path, kind: str) -> None:
    def write(name: str, **attributes: float) -> Path:
        path = tmp_path / f"{name}.{kind}"
        if kind == "h5":
            with h5py.File(path, "w") as file:
                file["image"] = np.ones((4, 5), np.int16)
                file["image"].attrs.update(attributes)
        else:
            store = pytest.importorskip("zarr")
            store.create_array(path, data=np.ones((4, 5), np.int16)).attrs.update(attributes)
        return path

    assert read_array(write("plain", scale_factor=1.0, add_offset=0.0)).shape == (4, 5)
    with pytest.raises(DataError, match=r"states scale_factor 0\.5, .* with the scale applied"):
        read_array(write("scaled", scale_factor=0.5))
    with pytest.raises(DataError, match=r"states add_offset 3"):
        read_array(write("offset", add_offset=3))


def test_a_tiff_file_whose_zero_is_white_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("minisblack", "miniswhite"):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.ones((20, 30), np.uint16), photometric=name)
        read_array(tmp_path / f"{name}.tif")
        read_array(tmp_path / f"{name}.tif")
    assert caplog.text.count("its zero is white") == 1


@pytest.mark.parametrize("name", ["nul\0byte.h5", "missing.h5", "."])
def test_paths_that_cannot_be_opened_are_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as caught, open_hdf5(tmp_path / name):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("row", [(), (3,), (2, 3, 4)])
@pytest.mark.parametrize("storage", [{}, {"compression": "gzip", "compression_opts": 1}])
@pytest.mark.parametrize("counts", [(1, 2, 5), (0, 3, 0, 1)])
def test_rows_are_appended(
    tmp_path: Path, row: tuple[int, ...], storage: dict[str, object], counts: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.random((count, *row)) for count in counts]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for part in parts:
            append_rows(file, "group/rows", part, **storage)
        np.testing.assert_array_equal(file["group/rows"][()], np.concatenate(parts))


def test_rows_beyond_what_a_chunk_can_hold_are_divided(tmp_path: Path) -> None:
    rows = np.broadcast_to(np.float32(0), (0, 1, 2048, 1024, 1024))  # 8 GiB each, beyond HDF5's limit of a chunk
    with h5py.File(tmp_path / "x.h5", "w") as file:
        append_rows(file, "volumes", rows)
        assert file["volumes"].chunks[0] == 1
        assert np.prod(file["volumes"].chunks) * 4 <= 2**26
