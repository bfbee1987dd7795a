"""Streams: frames are separated as they come, counted, and on disk once they are complete."""

import io
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile

from oasis.cli import run as command
from oasis.errors import ConfigError, DataError
from oasis.evaluation.calibration import Calibration
from oasis.evaluation.identity import identified
from oasis.inference import stream as module
from oasis.inference import stream_sources
from oasis.inference.options import WindowOptions
from oasis.run import Run

zarr = pytest.importorskip("zarr")


@pytest.fixture
def run(toy_run):
    return Run(toy_run, trust_code=True)


@pytest.fixture
def frames():
    return np.random.default_rng(0).integers(0, 99, (11, 24, 20)).astype(np.uint16)


def check(run, out, frames, numbers=None):
    """The maps and rows are those of the frames, in their order."""
    expected = run.separator().separate(frames[:, None].astype(np.float32))
    group = zarr.open_group(out, mode="r")
    for name in ("dot", "bar"):
        found = group[f"maps/{name}"][:]
        assert len(found) == len(frames)
        np.testing.assert_allclose(found, expected[name], rtol=1e-3, atol=1e-3)
    table = pd.read_csv(out.with_suffix(".csv"))
    numbers = range(len(frames)) if numbers is None else numbers
    assert table["frame"].tolist() == [number for number in numbers for _ in range(2)]
    sums = expected["bar"].sum((1, 2, 3), dtype=float)
    np.testing.assert_allclose(table["intensity_predicted"][table["class"] == "bar"], sums, rtol=1e-3)


def test_raw_bytes(run, frames, tmp_path):
    source = io.BytesIO(frames.tobytes())
    found = run.stream(source, tmp_path / "m.zarr", shape=(24, 20), dtype="uint16")
    assert (found.frames, found.dropped, len(found.left_out), found.error) == (11, 0, 0, None)
    assert len(found.latencies) == 11
    check(run, tmp_path / "m.zarr", frames)


def test_a_stream_that_ends_in_half_a_frame_keeps_the_whole_ones(run, frames, tmp_path):
    source = io.BytesIO(frames.tobytes()[:-100])
    found = run.stream(source, tmp_path / "m.zarr", shape=(24, 20), dtype="uint16")
    assert str(found.error) == "-: the stream ends in half a frame: 860 of 960 bytes after 10 whole frames"
    check(run, tmp_path / "m.zarr", frames[:10])


def grow_folder(path, frames):
    path.mkdir(exist_ok=True)
    for number, frame in enumerate(frames):
        np.save(path / f"{number:03}.npy", frame)


def grow_tiff(path, frames):
    for frame in frames:
        tifffile.imwrite(path, frame, append=path.exists(), photometric="minisblack", metadata=None)


def grow_hdf5(path, frames):
    """Write in SWMR mode."""
    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_dataset("adu", (0, 24, 20), "u2", maxshape=(None, 24, 20), chunks=(1, 24, 20))
        file.swmr_mode = True
        for number, frame in enumerate(frames):
            data.resize(number + 1, axis=0)
            data[number] = frame
            data.flush()


@pytest.mark.parametrize(("name", "grow"), [("a", grow_folder), ("a.mtiff", grow_tiff), ("a.h5", grow_hdf5)])
def test_sources_that_grow(run, frames, tmp_path, name, grow):
    path = tmp_path / name
    grow(path, frames[:1])
    writer = threading.Thread(target=grow, args=(path, frames if grow is not grow_tiff else frames[1:]))
    stop, seen = threading.Event(), []
    if grow is grow_hdf5:
        grow(path, frames)
    else:
        writer.start()

    def end(state):
        seen.append(state.frames)
        if state.frames >= len(frames):
            stop.set()

    found = run.stream(path, tmp_path / "m.zarr", every=0, report=end, stop=stop, idle=20)
    assert (found.frames, found.error) == (11, None)
    check(run, tmp_path / "m.zarr", frames, [0] * 11 if grow is grow_folder else None)


def test_a_damaged_file_in_a_folder_does_not_end_the_stream(run, frames, tmp_path):
    (tmp_path / "a").mkdir()
    grow_folder(tmp_path / "a", frames)
    (tmp_path / "a/004b.npy").write_bytes(b"damaged")
    found = run.stream(tmp_path / "a", tmp_path / "m.zarr", idle=0.5)
    assert found.frames == 11
    assert "004b.npy: damaged" in str(found.error)
    check(run, tmp_path / "m.zarr", frames, [0] * 11)


def test_a_file_whose_writer_pauses_is_read_once_it_is_whole(run, frames, tmp_path):
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "whole.npy", frames)
    content = (tmp_path / "whole.npy").read_bytes()
    (tmp_path / "a/a.npy").write_bytes(content[:3000])

    def finish():
        time.sleep(0.5)
        with (tmp_path / "a/a.npy").open("ab") as file:
            file.write(content[3000:])

    threading.Thread(target=finish).start()
    found = run.stream(tmp_path / "a", tmp_path / "m.zarr", idle=3)
    assert (found.frames, found.error) == (11, None)
    check(run, tmp_path / "m.zarr", frames)


def test_a_tiff_file_that_ends_in_half_a_page_is_named(run, frames, tmp_path):
    path = tmp_path / "a.tif"
    grow_tiff(path, frames)
    path.write_bytes(path.read_bytes()[:-200])
    found = run.stream(path, tmp_path / "m.zarr", idle=0.1)
    assert "a.tif: ends in half a frame after 10 whole ones" in str(found.error)
    check(run, tmp_path / "m.zarr", frames[:10])


def test_frames_are_dropped_only_when_told_and_counted(run, frames, tmp_path, monkeypatch):
    separated = module.separate_whole
    free = threading.Event()

    def slow(*given):
        assert free.wait(60)
        return separated(*given)

    class Source(io.BytesIO):
        def read(self, size=-1):
            found = super().read(size)
            if not found:
                free.set()  # all have arrived
            return found

    monkeypatch.setattr(module, "separate_whole", slow)
    source = Source(frames.tobytes())
    found = run.stream(source, tmp_path / "m.zarr", shape=(24, 20), dtype="<u2", queue=2, drop=True)
    assert found.dropped > 0
    assert found.frames + found.dropped == 11
    assert f"{found.dropped} dropped" in found.text()
    monkeypatch.setattr(module, "separate_whole", separated)
    source = io.BytesIO(frames.tobytes())
    assert run.stream(source, tmp_path / "n.zarr", shape=(24, 20), dtype="<u2", queue=1).dropped == 0


def test_frames_that_cannot_be_used_are_counted(run, frames, tmp_path):
    values = frames.astype(np.float32)
    values[4, 3, 2] = np.nan
    found = run.stream(io.BytesIO(values.tobytes()), tmp_path / "m.zarr", shape=(24, 20), dtype="f4")
    assert [number for _, number in found.left_out] == [4]
    kept = [number for number in range(11) if number != 4]
    check(run, tmp_path / "m.zarr", frames[kept], kept)


def test_regions_of_interest(run, frames, tmp_path, monkeypatch):
    (tmp_path / "boxes.csv").write_text("y0,y1,x0,x1\n2,9,3,12\n")
    window = WindowOptions(regions=str(tmp_path / "boxes.csv"))
    source = io.BytesIO(frames.tobytes())
    assert run.stream(source, tmp_path / "m.zarr", shape=(24, 20), dtype="u2", window=window).frames == 11
    maps = zarr.open_array(tmp_path / "m.zarr/maps/bar", mode="r")[:]
    assert maps[:, :, 2:9, 3:12].any()
    assert not maps[:, :, 9:].any()
    columns = list(pd.read_csv(tmp_path / "m.csv"))
    monkeypatch.setattr(type(run.adapter), "regions_of_interest", lambda self, image: [])
    source, window = io.BytesIO(frames.tobytes()), WindowOptions(kind="regions")
    run.stream(source, tmp_path / "n.zarr", shape=(24, 20), dtype="u2", window=window)
    empty = pd.read_csv(tmp_path / "n.csv")
    assert not len(empty)
    assert sorted(empty) == sorted(columns)


def test_rows_of_a_calibrated_run_are_those_of_predict(toy_run, frames, tmp_path):
    rng = np.random.default_rng(0)
    true = rng.uniform(1, 9, 400)
    events = pd.DataFrame({"class": ["dot", "bar"] * 200, "intensity_true": true, "intensity_predicted": true})
    events["overlap_fraction_predicted"] = 0.0
    shutil.copytree(toy_run, tmp_path / "run")
    run = Run(tmp_path / "run", trust_code=True)
    events = identified(events, run.fingerprint, run.adapter.unit)
    Calibration.fit(events, run.adapter.classes).save(run.files.calibration)
    np.save(tmp_path / "frames.npy", frames)
    expected = run.predict(tmp_path / "frames.npy", tmp_path / "p.h5").objects
    run.stream(io.BytesIO(frames.tobytes()), tmp_path / "s.zarr", shape=(24, 20), dtype="u2")
    found = pd.read_csv(tmp_path / "s.csv")
    assert found.columns.tolist() == expected.columns.tolist()
    np.testing.assert_allclose(found["intensity_high"], expected["intensity_high"], rtol=1e-3)
    run.stream(io.BytesIO(b""), tmp_path / "none.zarr", shape=(24, 20), dtype="u2")
    empty = pd.read_csv(tmp_path / "none.csv")
    assert not len(empty)
    assert set(empty) <= set(found)
    assert {"source", "frame", "class", "intensity_predicted", "intensity_high", "configuration"} <= set(empty)


@pytest.mark.parametrize(
    ("given", "out", "message"),
    [
        ({"shape": (24, 20), "dtype": "uint7"}, "m.zarr", "--dtype: expected a type of numbers"),
        ({"shape": (), "dtype": "u2"}, "m.zarr", "--shape, --dtype: expected lengths"),
        ({"shape": (24, 20), "dtype": "u2"}, "m.h5", "maps are appended to zarr: name an output .zarr"),
        ({"window": WindowOptions(kind="tiles")}, "m.zarr", "whole or in regions, not by tiles"),
    ],
)
def test_what_cannot_be_asked_for(run, tmp_path, given, out, message):
    with pytest.raises(ConfigError, match=message):
        run.stream(io.BytesIO(b""), tmp_path / out, **given)
    assert not (tmp_path / out).exists()


def test_outputs_of_earlier_streams_are_kept(run, frames, tmp_path):
    for force in (False, True):
        source = io.BytesIO(frames.tobytes())
        run.stream(source, tmp_path / "m.zarr", shape=(24, 20), dtype="u2", force=force)
        with pytest.raises(DataError, match="choose another name, or pass --force"):
            run.stream(source, tmp_path / "m.zarr", shape=(24, 20), dtype="u2")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_signals_lose_no_whole_frame(run, frames, tmp_path, processes, number):
    out = tmp_path / "m.zarr"
    code = "import sys; from oasis.cli import run; sys.exit(run(sys.argv[1:]))"
    arguments = ["stream", str(run.folder), "-", "--shape", "24,20", "--dtype", "uint16", "--out", str(out)]
    started = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--trust-code", "--every", "0.1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    started.stdin.write(frames.tobytes())
    started.stdin.flush()
    table = out.with_suffix(".csv")
    processes.wait_for(lambda: table.exists() and table.read_text().count("\n") == 23)
    started.send_signal(number)
    code = started.wait(processes.DEADLINE)
    said = started.stdout.read().decode()
    if number == signal.SIGINT:
        assert code == 0
        assert "11 frames" in said
        check(run, out, frames)
    maps = zarr.open_array(out / "maps/bar", mode="r")[:11]
    expected = run.separator().separate(frames[:, None].astype(np.float32))["bar"]
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-3)


def test_the_command_says_what_is_wrong(toy_run, tmp_path, capsys):
    arguments = ["stream", str(toy_run), str(tmp_path / "none"), "--out", str(tmp_path / "m.zarr"), "--trust-code"]
    assert command(arguments) == 2
    assert "expected a folder, a file .tif" in capsys.readouterr().err


def refer(path, file):
    """Put a data set into an HDF5 file that lies in another file."""
    if path.stem == "raw":
        file.create_dataset("adu", (11, 24, 20), "u1", external=[("/etc/passwd", 0, 11 * 24 * 20)])
    elif path.stem == "link":
        file["adu"] = h5py.ExternalLink("other.h5", "/adu")
    else:
        layout = h5py.VirtualLayout((11, 24, 20), "u1")
        layout[:] = h5py.VirtualSource("other.h5", "adu", (11, 24, 20))
        file.create_virtual_dataset("adu", layout)


@pytest.mark.parametrize("name", ["raw", "link", "virtual"])
@pytest.mark.parametrize("key", [None, "adu"])
def test_growing_files_that_refer_to_others_are_refused(run, tmp_path, name, key):
    path = tmp_path / f"{name}.h5"
    with h5py.File(path, "w") as file:
        refer(path, file)
    found = run.stream(path, tmp_path / "m.zarr", key=key, idle=0.1)
    assert found.frames == 0
    assert str(found.error).startswith(f"{path}: /adu ")
    assert "copy that data into this file" in str(found.error)


def test_the_clock_of_an_idle_source_starts_when_it_is_looked_at(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(stream_sources.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(stream_sources.time, "sleep", lambda seconds: None)
    watch = stream_sources.Watch(lambda: False, idle=1.0)
    for now[0], goes_on in ((50.0, True), (50.9, True), (51.1, False)):
        assert watch.goes_on() is goes_on
