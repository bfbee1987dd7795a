"""Frames: reading, finding tracks, restoring noise, recoils as components; made and measured frames; 6 s."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from scipy import ndimage

from oasis.adapters.migdal.detector import Detector, Window
from oasis.adapters.migdal.frames import (
    brighter_end,
    brightest_pixel,
    find_blobs,
    find_tracks,
    nuclear_blob,
    read_frames,
    recoil_components,
    restore_noise,
)
from oasis.errors import DataError

DETECTOR = Detector()
SMALL = Detector(shape=(12, 16))
FRAMES_NPZ = Path(__file__).parents[3].parent / "shared/data/migdal/frames.npz"


def line(length_mm, energy_kev, angle=0.6, asymmetry=0.0):
    along = np.linspace(0, length_mm, 100)
    points = np.stack([along * np.cos(angle), along * np.sin(angle), np.zeros(100)], axis=1)
    density = np.linspace(1 + asymmetry, 1 - asymmetry, 100)
    return points, energy_kev * density / density.sum()


def recoil(energy, centre, rng, length=4.0, **options):
    return DETECTOR.light(*line(length, energy, **options), centre, rng, halo=DETECTOR.halo)


@pytest.fixture(scope="module")
def made():
    """One frame each: an electron; a recoil and an electron; a recoil at the border; one cut; nothing."""
    rng = np.random.default_rng(0)
    frames = [DETECTOR.light(*line(3.0, 6.0), (100, 200), rng)]
    frames += [recoil(150, (150, 300), rng) + DETECTOR.light(*line(3.0, 6.0), (60, 60), rng)]
    frames += [recoil(150, (275, 300), rng)]
    cut = recoil(150, (150, 300), rng) / 2
    cut[:155] = 0
    frames += [DETECTOR.smooth(cut), np.zeros(DETECTOR.shape)]
    return np.stack([np.maximum(frame + DETECTOR.noise(rng), 0) for frame in frames]).astype(np.float32)


@pytest.fixture(scope="module")
def measured():
    if not FRAMES_NPZ.exists():
        pytest.skip(f"{FRAMES_NPZ.name} is not here")
    return read_frames(FRAMES_NPZ)


# reading


def write(path, frames):
    if path.suffix == ".npy":
        np.save(path, frames)
    elif path.suffix == ".npz":
        np.savez_compressed(path, adu=frames, frame_number=np.arange(len(frames)))
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["run/frames"] = frames
    else:
        tifffile.imwrite(path, frames, photometric="minisblack")
    return path


SUFFIXES = [".npy", ".npz", ".h5", ".tif", ".MTIFF"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_binned_frames_are_read_as_they_are(tmp_path, suffix):
    frames = np.random.default_rng(1).normal(0, 50, (3, 12, 16)).astype(np.float32)
    read = read_frames(write(tmp_path / f"x{suffix}", frames), detector=SMALL)
    np.testing.assert_array_equal(read, frames)
    assert read.dtype == np.float32


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_raw_frames_are_preprocessed(tmp_path, suffix):
    rng = np.random.default_rng(2)
    raw, darks = (rng.poisson(rate, (3, 48, 64)).astype(np.uint16) for rate in (300, 100))
    path, dark = write(tmp_path / f"raw{suffix}", raw), write(tmp_path / f"dark{suffix}", darks)
    expected = SMALL.preprocess(raw, darks.mean(axis=0))
    np.testing.assert_allclose(read_frames(path, dark=dark, detector=SMALL), expected, rtol=1e-6)
    np.testing.assert_allclose(read_frames(path, detector=SMALL), SMALL.preprocess(raw), rtol=1e-6)


def test_a_single_frame_becomes_a_stack(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((288, 512)))
    assert read_frames(tmp_path / "x.npy").shape == (1, 288, 512)


def test_the_pages_of_a_tiff_need_not_be_one_series(tmp_path):
    raw = np.random.default_rng(3).poisson(100, (4, 48, 64)).astype(np.uint16)
    with tifffile.TiffWriter(tmp_path / "x.MTIFF") as file:
        for frame in raw:
            file.write(frame, contiguous=False)
    np.testing.assert_array_equal(read_frames(tmp_path / "x.MTIFF", detector=SMALL), SMALL.preprocess(raw))


def test_a_named_array_is_read(tmp_path):
    np.savez(tmp_path / "x.npz", first=np.zeros((1, 12, 16)), second=np.ones((1, 12, 16)))
    assert (read_frames(tmp_path / "x.npz", key="second", detector=SMALL) == 1).all()
    with pytest.raises(DataError, match="no array 'image', found first, second"):
        read_frames(tmp_path / "x.npz", detector=SMALL)


def refusal(path, **options):
    with pytest.raises(DataError) as error:
        read_frames(path, detector=SMALL, **options)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.0, 0.4, 0.95])
def test_truncated_files_are_refused(tmp_path, suffix, share):
    path = write(tmp_path / f"x{suffix}", np.random.default_rng(4).random((8, 12, 16), np.float32))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert re.search("damaged, or not of the format|not a readable HDF5 file", refusal(path))


def test_a_tiff_that_lost_its_last_pages_is_refused(tmp_path):
    path = tmp_path / "x.tif"
    with tifffile.TiffWriter(path) as file:
        for frame in np.ones((6, 12, 16), np.uint16):
            file.write(frame, contiguous=False, metadata=None)
    with tifffile.TiffFile(path) as file:
        kept = file.pages[3].offset
    path.write_bytes(path.read_bytes()[:kept])
    assert "the file ends after 3 pages" in refusal(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_frames_that_are_not_finite_are_named(tmp_path, suffix):
    frames = np.zeros((4, 12, 16), np.float32)
    frames[2, 3, 4] = np.nan
    frames[3, 3, 4] = np.inf
    assert "frame 2 contains values that are not finite" in refusal(write(tmp_path / f"x{suffix}", frames))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([{}, 1], object), "Python objects are never loaded"),
        (np.array(["a"]), "contains no numeric array"),
        (np.zeros((2, 12, 15)), r"frames of shape \(12, 15\), expected \(12, 16\), or \(48, 64\)"),
        (np.zeros(5), r"shape \(5,\), expected \(frames, rows, columns\)"),
        (np.zeros((0, 12, 16)), "shape"),
    ],
)
def test_arrays_that_are_no_frames_are_refused(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    np.savez(tmp_path / "x.npz", adu=array)
    for path in (tmp_path / "x.npy", tmp_path / "x.npz"):
        refusal(path)
        with pytest.raises(DataError, match=message):
            read_frames(path, detector=SMALL)


def test_other_files_are_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "absent.npy")
    (tmp_path / "frames.pkl").write_bytes(b"x")
    assert "unknown kind of file; expected .npy, .npz" in refusal(tmp_path / "frames.pkl")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_group("empty")
    assert "found none" in refusal(tmp_path / "x.h5")


def test_darks_that_do_not_fit_are_refused(tmp_path):
    raw = write(tmp_path / "raw.npy", np.ones((1, 48, 64)))
    binned = write(tmp_path / "binned.npy", np.ones((1, 12, 16)))
    assert "binned already" in refusal(binned, dark=raw)
    with pytest.raises(DataError, match=r"binned.npy: a dark frame of shape \(12, 16\), expected \(48, 64\)"):
        read_frames(raw, dark=binned, detector=SMALL)


# blobs and tracks


def test_blobs_are_connected_at_corners_but_not_from_frame_to_frame():
    frames = np.zeros((2, 40, 40))
    frames[:, 10:15, 10:15] = 50
    frames[0, 15:20, 15:20] = 50
    frames[0, 30:33, 30:33] = 50  # too small
    frames[1, 30:36, 30:36] = 30  # too faint
    labels = find_blobs(frames, grow=0)
    assert (labels[0] == 1).sum() == 50
    assert (labels[1] == 2).sum() == 25
    assert labels.max() == 2
    assert (find_blobs(frames, grow=2)[1] == 2).sum() == 81
    np.testing.assert_array_equal(nuclear_blob(frames[1], grow=2), find_blobs(frames[1]) > 0)


def test_noise_makes_no_blobs():
    rng = np.random.default_rng(5)
    assert not find_blobs(np.stack([DETECTOR.noise(rng) for _ in range(20)])).any()


def test_the_blob_of_a_recoil_holds_its_light_and_little_else():
    rng = np.random.default_rng(6)
    light = recoil(150, (150, 300), rng)
    mask = nuclear_blob(np.maximum(light + DETECTOR.noise(rng), 0))
    assert light[mask].sum() > 0.97 * light.sum()
    assert mask.sum() < 2 * (light > 23).sum()


def test_tracks_agree_with_a_loop_over_them(made):
    labels = find_blobs(made)
    table = find_tracks(made, labels)
    assert len(table) == labels.max()
    for label, track in enumerate(table.itertuples(), start=1):
        frame, row, col = np.nonzero(labels == label)
        adu = made[frame, row, col]
        box = (row.min(), row.max(), col.min(), col.max())
        assert (track.rowmin, track.rowmax, track.colmin, track.colmax) == box
        assert (set(frame), track.pixels) == ({track.frame}, len(row))
        rms = np.sqrt(np.linalg.eigvalsh(np.cov(np.stack([row, col]), aweights=adu, ddof=0)))
        np.testing.assert_allclose((track.minor, track.major), rms, rtol=1e-4)
        np.testing.assert_allclose((track.adu, track.peak), (adu.sum(dtype=float), adu.max()), rtol=1e-5)
        above = made[frame, np.maximum(row - 1, 0), col]
        assert track.slope == pytest.approx(np.abs(adu - above).max() / adu.max(), rel=1e-5)


def test_only_whole_recoils_are_selected(made):
    table = find_tracks(made)
    assert table.groupby("frame").size().to_dict() == {0: 1, 1: 2, 2: 1, 3: 1}
    selected = table[table.recoil]
    assert selected.frame.tolist() == [1]
    assert selected.peak.item() > 1000
    assert table[table.frame == 2].fiducial.tolist() == [False]
    cut = table[table.frame == 3]
    assert cut.fiducial.item()
    assert cut.peak.item() > 400
    assert cut.slope.item() > 0.26


def test_fiducial_is_that_of_the_reference():
    frames = np.zeros((4, 288, 512), np.float32)
    for frame, (row, col) in zip(frames, ((3, 100), (4, 100), (276, 100), (277, 100)), strict=True):
        frame[row : row + 7, col : col + 7] = 100
    table = find_tracks(frames)
    assert table.rowmin.tolist() == [1, 2, 274, 275]
    assert table.rowmax.tolist() == [11, 12, 284, 285]
    assert table.fiducial.tolist() == [False, True, True, True]
    assert find_tracks(np.roll(frames, 1, axis=1)).fiducial.tolist() == [True, True, True, False]
    assert find_tracks(np.roll(frames, 402, axis=2)).colmax.tolist() == [510] * 4
    assert not find_tracks(np.roll(frames, 402, axis=2)).fiducial.any()


def test_no_tracks_in_empty_frames():
    assert len(find_tracks(np.zeros((2, 288, 512), np.float32))) == 0


def test_selection_on_measured_frames(measured):
    """Frames whose selected track looks like a whole recoil, and only those; found by eye."""
    table = find_tracks(measured)
    selected = table[table.recoil]
    assert selected.frame.tolist() == [0, 21, 24, 27, 35, 37, 38, 41, 49]
    cut_by_the_shutter, at_the_border = {2, 15, 29, 48, 50, 51}, {2, 5, 8, 26, 34, 40, 44, 63, 65}
    bright = table[table.peak > 400]
    assert set(bright[bright.slope > 0.26].frame) == cut_by_the_shutter
    assert set(bright[~bright.fiducial].frame) == at_the_border
    assert 3.5 < selected.minor.median() < 3.95
    assert selected.minor.between(2.8, 5.0).all()


# noise


def kept_above(frame, floor):
    return np.where(frame > floor, frame, 0).astype(np.float32)


def test_restored_noise_is_that_of_untouched_frames():
    rng = np.random.default_rng(7)
    untouched = np.stack([np.maximum(DETECTOR.noise(rng), 0) for _ in range(20)])
    kept = kept_above(untouched, 24.0)
    restored = restore_noise(kept, rng)
    np.testing.assert_array_equal(restored[kept > 0], kept[kept > 0])
    assert restored[kept == 0].max() <= 24
    assert restored.dtype == np.float32
    for frames in (untouched, restored):
        assert np.sqrt((frames[frames > 0] ** 2).mean(dtype=float)) == pytest.approx(7.65, rel=0.02)
        assert (frames > 0).mean() == pytest.approx(0.5, abs=0.01)
    assert (restored > 24.1).mean() == (untouched > 24.1).mean()
    next_to = [(frames[:, :, 1:] * frames[:, :, :-1]).mean() for frames in (untouched, restored)]
    assert next_to[1] == pytest.approx(next_to[0], rel=0.05)


def test_restored_noise_of_measured_frames(measured):
    restored = restore_noise(measured, np.random.default_rng(8))
    background = restored[find_blobs(measured) == 0]
    assert 7.5 < np.sqrt((background[background > 0] ** 2).mean(dtype=float)) < 7.85
    assert 0.7e-3 < (background > 24.1).mean() < 1.05e-3
    np.testing.assert_array_equal(restored[measured > 0], measured[measured > 0])


# components


def test_components_paint_the_recoils_back(made):
    library = recoil_components(made)
    table = find_tracks(made)
    assert len(library) == table.recoil.sum() == 1
    component = library[0]
    vertex = np.array([component.meta["row"], component.meta["col"]])
    at = (component.points + vertex).astype(int)
    frame = made[int(component.meta["frame"])]
    np.testing.assert_array_equal(frame[at[:, 0], at[:, 1]], component.intensity)
    assert component.meta["adu"] == pytest.approx(table.adu[table.recoil].item(), rel=1e-5)
    assert (component.intensity > 0).all()
    assert frame[int(component.meta["row"]), int(component.meta["col"])] == component.intensity.max()
    np.testing.assert_array_equal(component.points[component.intensity.argmax()], (0, 0))


@pytest.mark.parametrize("angle", [0.0, 0.7, 2.0, 3.5, 5.1])
def test_the_brighter_end_is_near_the_vertex(angle):
    rng = np.random.default_rng(9)
    light = recoil(300, (150, 250), rng, length=8.0, angle=angle, asymmetry=0.4)
    points = np.argwhere(light)
    end = brighter_end(points, light[light > 0])
    assert np.hypot(*(end - (150, 250))) < 4
    peak = brightest_pixel(points, light[light > 0])
    assert light[tuple(peak)] == light.max()


def test_the_vertex_is_a_choice(made):
    at_peak, at_end = recoil_components(made)[0], recoil_components(made, vertex=brighter_end)[0]
    shift = np.array([at_end.meta["row"] - at_peak.meta["row"], at_end.meta["col"] - at_peak.meta["col"]])
    assert shift.any()
    np.testing.assert_array_equal(at_peak.points, at_end.points + shift)


def test_no_recoil_is_an_error(made):
    with pytest.raises(DataError, match="no complete nuclear recoil in 1 frames with 1 tracks"):
        recoil_components(made[:1])


def test_measured_components(measured):
    library = recoil_components(measured)
    assert library.table["frame"].tolist() == [0, 21, 24, 27, 35, 37, 38, 41, 49]
    assert library.table["adu"].min() > 40_000
    window = Window(int(library.table["row"][0]) - 20, int(library.table["col"][0]) - 20, 41, 41)
    crop = measured[0][window.inside(DETECTOR.field)]
    labels, _ = ndimage.label(crop)
    assert library[0].meta["adu"] == pytest.approx(crop[labels == labels[20, 20]].sum(), rel=0.01)
