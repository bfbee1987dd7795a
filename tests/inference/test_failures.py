"""Every reason for which files cannot be used is said in one line, that of most of them first."""

from pathlib import Path

import numpy as np
import pytest

from oasis.cli import run as command
from oasis.errors import DataError
from oasis.inference.destinations import OutputOptions
from oasis.inference.failures import in_lines
from oasis.inference.predict import predict
from oasis.run import Run


@pytest.mark.parametrize("out", ["maps.h5", "maps.zarr", "maps"])
def test_the_reason_of_most_files_is_said_first(pulses_run, tmp_path, out):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/0.npy").write_bytes(b"damaged")
    for name in ("a.npy", "b.npy"):
        np.save(tmp_path / "in" / name, np.full(1024, np.nan, np.float32))
    outputs = OutputOptions(each="h5" if out == "maps" else None)
    with pytest.raises(DataError, match=r"a\.npy: .*; none of the 3 files can be used, 2 for .*0\.npy: damaged"):
        Run(pulses_run).predict(tmp_path / "in", tmp_path / out, outputs=outputs)


@pytest.mark.parametrize("out", ["maps.h5", "maps.zarr"])
def test_images_of_many_sizes_are_said_in_one_line_with_the_way_out(toy, toy_separator, tmp_path, out):
    (tmp_path / "in").mkdir()
    for number in range(6):
        np.save(tmp_path / "in" / f"{number}.npy", np.ones((24 + number, 20), np.float32))
    (tmp_path / "in/damaged.npy").write_bytes(b"damaged")
    found = predict(toy_separator, toy.adapter, tmp_path / "in", tmp_path / out)
    assert found.images == 1
    sizes, damaged = in_lines(found.failed)
    assert sizes.startswith(
        f"{tmp_path / 'in/1.npy'}: images are 25 x 20 pixels, earlier ones were 24 x 20, and one "
    )
    assert "write one for every input (--each h5, with --out a folder)" in sizes
    assert sizes.endswith("; the same holds for " + ", ".join(str(tmp_path / f"in/{n}.npy") for n in range(2, 6)))
    assert "damaged.npy" in damaged
    assert "the same holds" not in damaged


def test_of_very_many_files_some_are_named():
    lines = in_lines({Path(f"{number}.tif"): DataError(f"{number}.tif: damaged") for number in range(25)})
    assert len(lines) == 1
    assert lines[0].startswith("0.tif: damaged; the same holds for 1.tif, 2.tif, ")
    assert lines[0].endswith(", 20.tif and 4 more")


def test_the_command_says_so_in_one_line(pulses_run, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for number in range(4):
        np.save(tmp_path / "in" / f"{number}.npy", np.ones(1024 + 64 * number, np.float32))
    arguments = ["predict", str(pulses_run), str(tmp_path / "in"), "--out", str(tmp_path / "m.h5"), "--quiet"]
    assert command(arguments) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "earlier ones were" in line]
    assert line.endswith(str(tmp_path / "in/3.npy"))
