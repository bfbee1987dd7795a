"""Files: pictures, pedestals and truth written in the format of the collaboration, and what cannot be read."""

from pathlib import Path

import numpy as np
import pytest

from oasis.adapters.cygno import CygnoAdapter
from oasis.adapters.cygno.files import (
    check_not_midas,
    read_pedestal,
    read_pictures,
    read_truth,
    read_vignetting,
)
from oasis.adapters.cygno.noise import NoiseOptions, SyntheticNoise
from oasis.errors import DataError

SHAPE = (48, 64)
REAL = Path(__file__).parents[4] / "shared/data/cygno/lime_vignetting.root"


def raw_frames(count, shape=SHAPE, seed=0):
    pixels = SyntheticNoise(NoiseOptions()).pixels(1, shape)
    rng = np.random.default_rng(seed)
    return np.stack([np.rint(pixels.draw(rng) + 100) for _ in range(count)]).astype(np.uint16)


def histogram(values, errors=None):
    """Return rows and columns as the collaboration stores them: x is the column."""
    writing = pytest.importorskip("uproot.writing.identify")
    turned = np.zeros(tuple(np.array(values.shape[::-1]) + 2))
    turned[1:-1, 1:-1] = values.T
    squares = turned.copy()
    squares[1:-1, 1:-1] = (values if errors is None else errors**2).T
    axes = [writing.to_TAxis(name, "", side, 0, side) for name, side in zip("xy", values.shape[::-1], strict=True)]
    flat, squared = turned.T.ravel(), squares.T.ravel()
    sums = (float(values.sum()), float(values.sum()), 0.0, 0.0, 0.0, 0.0, 0.0)
    return writing.to_TH2x("", "", flat, float(values.size), *sums, squared, *axes)


@pytest.fixture
def run(tmp_path):
    """A simulated run with three pictures and its truth."""
    uproot = pytest.importorskip("uproot")
    frames = raw_frames(3)
    path = tmp_path / "histograms_Run04117.root"
    with uproot.recreate(path) as file:
        for number in (10, 2, 1):
            file[f"pic_run4117_ev{number}"] = histogram(frames[{1: 0, 2: 1, 10: 2}[number]].astype(float))
        truth = {"eventnumber": np.array([1, 2, 10]), "energy": np.array([0.25, 0.5, 1.0])}
        file["event_info/info_tree"] = truth
    return path, frames


@pytest.fixture
def pedmap(tmp_path):
    uproot = pytest.importorskip("uproot")
    frames = raw_frames(100, seed=1).astype(float)
    path = tmp_path / "pedmap_run4118_rebin1.root"
    with uproot.recreate(path) as file:
        file["pedmap"] = histogram(frames.mean(axis=0), frames.std(axis=0))
    return path, frames


def test_pictures_are_read_in_the_order_of_events(run):
    path, frames = run
    assert np.array_equal(read_pictures(path), frames.astype(np.float32))
    assert np.array_equal(read_pictures(path, "pic_run4117_ev2")[0], frames[1].astype(np.float32))
    truth = read_truth(path)
    assert truth["energy"].tolist() == [0.25, 0.5, 1.0]
    assert truth["eventnumber"].tolist() == [1, 2, 10]


def test_a_histogram_with_another_name_is_read_by_it(tmp_path):
    uproot, frames = pytest.importorskip("uproot"), raw_frames(2)
    with uproot.recreate(tmp_path / "a.root") as file:
        file["camera/event_1"], file["camera/event_2"] = (histogram(one.astype(float)) for one in frames)
    for key in ("event_2", "camera/event_2"):
        assert np.array_equal(read_pictures(tmp_path / "a.root", key)[0], frames[1].astype(np.float32))
    with pytest.raises(DataError, match=r"no picture 'event_3'; it contains .*camera/event_1, camera/event_2"):
        read_pictures(tmp_path / "a.root", "event_3")


def test_a_pedestal_map_has_the_rms_as_its_error(pedmap):
    path, frames = pedmap
    pedestal = read_pedestal(path)
    assert pedestal.mean == pytest.approx(frames.mean(axis=0), rel=1e-5)
    assert pedestal.rms == pytest.approx(frames.std(axis=0), rel=1e-4)
    assert pedestal.frames is None
    samples = CygnoAdapter({"pedestal": str(path), "size": [40, 40], "margin": 4}).dataset("val")
    rest = samples[0].image[0] - samples[0].target.sum(0)[0]
    assert rest.std() == pytest.approx(np.median(pedestal.rms), rel=0.3)


def test_measured_images_are_read_with_their_noise(run, pedmap):
    adapter = CygnoAdapter({"pedestal": str(pedmap[0]), "saturated": 108})
    images = adapter.read(run[0])
    assert images.image[:, 0] + pedmap[1].mean(axis=0) == pytest.approx(run[1].astype(float), abs=1e-3)
    assert np.exp(images.context[1, 0]) == pytest.approx(pedmap[1].std(axis=0), rel=1e-3)
    assert np.array_equal(images.mask[:, 0], run[1] < 108)
    assert not images.mask.all()


def test_an_image_without_a_valid_pixel_is_not_doubted(run, pedmap):
    adapter = CygnoAdapter({"pedestal": str(pedmap[0]), "saturated": 1})
    images = adapter.read(run[0])
    assert not images.mask.any()
    assert adapter.doubt(images) == ""


@pytest.mark.parametrize("suffix", [".npy", ".h5"])
def test_frames_of_a_run_give_noise_and_pedestal(suffix, tmp_path):
    import h5py

    frames, path = raw_frames(40), tmp_path / f"pedestal{suffix}"
    if suffix == ".npy":
        np.save(path, frames)
    else:
        with h5py.File(path, "w") as file:
            file["image"] = frames
    pedestal = read_pedestal(path)
    assert pedestal.mean == pytest.approx(frames.mean(axis=0), rel=1e-5)
    options = {"pedestal": str(path), "size": [40, 40], "margin": 4, "events": {"train": 4, "val": 4, "test": 30}}
    adapter = CygnoAdapter({**options, "empty": 1.0, "whole_frames": True})
    train, test = adapter.noise("train"), adapter.noise("test")
    assert len(train.frames) == 28
    assert not any(np.array_equal(one, other) for one in train.frames for other in test.frames)
    images = np.stack([adapter.dataset("test")[index].image[0] for index in range(30)])
    assert images.std() == pytest.approx(np.sqrt((pedestal.rms**2).mean()), rel=0.2)
    assert len(adapter.read(path)) == 40


def test_images_with_context_are_read_as_they_are(tmp_path):
    image, context = np.ones((2, 1, 40, 50), np.float32), np.zeros((2, 1, 40, 50), np.float32)
    np.savez(tmp_path / "images.npz", image=image, context=context)
    images = CygnoAdapter().read(tmp_path / "images.npz")
    assert images.context.shape == images.image.shape == (2, 1, 40, 50)


def test_the_vignetting_map_of_lime():
    if not REAL.is_file():
        pytest.skip("needs ../shared/data")
    pytest.importorskip("uproot")
    light = read_vignetting(REAL)
    assert light.shape == (288, 288)
    assert light[144, 144] == pytest.approx(0.98, abs=0.03)
    assert light[0, 0] == 0
    assert light[144, 72] < light[144, 108] + 0.3
    assert 0.15 < (light == 0).mean() < 0.25  # two strips of rows
    adapter = CygnoAdapter({"vignetting": str(REAL), "empty": 0.0})
    dim = [adapter.dataset("val")[index].meta["recoil_light"] for index in range(60)]
    bright = [CygnoAdapter({"empty": 0.0}).dataset("val")[index].meta["recoil_light"] for index in range(60)]
    assert 0.5 < np.mean(dim) / np.mean(bright) < 0.95


def test_files_that_cannot_be_read_are_one_line(run, pedmap, tmp_path):
    uproot = pytest.importorskip("uproot")
    with uproot.recreate(tmp_path / "empty.root") as file:
        file["tree"] = {"x": np.arange(3)}
    (tmp_path / "cut.root").write_bytes(run[0].read_bytes()[:300])
    np.save(tmp_path / "other.npy", raw_frames(3, (32, 32)))
    np.save(tmp_path / "one.npy", raw_frames(1))
    np.save(tmp_path / "constant.npy", np.full((4, 8, 8), 100))
    np.save(tmp_path / "lost.npy", np.full((4, 8, 8), np.nan))
    adapter = CygnoAdapter({"pedestal": str(pedmap[0])})
    cases = [
        (lambda: read_pictures(tmp_path / "empty.root"), "contains no pictures .*; it contains tree"),
        (lambda: read_pictures(run[0], "pic_run1_ev1"), "contains no picture 'pic_run1_ev1'"),
        (lambda: read_pictures(tmp_path / "cut.root"), "truncated, or not a ROOT file"),
        (lambda: read_pictures(tmp_path / "none.root"), "no such file"),
        (lambda: read_truth(pedmap[0]), "contains no event_info/info_tree"),
        (lambda: read_vignetting(tmp_path / "empty.root"), "contains no histogram with two axes"),
        (lambda: read_pedestal(tmp_path / "one.npy"), "a pedestal run of 1 frame has no rms"),
        (lambda: read_pedestal(tmp_path / "constant.npy"), "64 pixels have an rms that is NaN or 0"),
        (lambda: read_pedestal(tmp_path / "lost.npy"), "NaN or infinite"),
        (lambda: adapter.read(tmp_path / "other.npy"), r"images of \(32, 32\) pixels, but the pedestal .* has"),
        (lambda: CygnoAdapter().read(tmp_path / "other.npy"), "raw images need a pedestal run: name its file"),
        (lambda: check_not_midas(tmp_path / "run04117.mid.gz"), "raw MIDAS files are not read"),
    ]
    for call, message in cases:
        with pytest.raises(DataError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_frames_of_other_cameras_are_read_by_their_size(tmp_path):
    frames = raw_frames(30, (60, 40))
    np.save(tmp_path / "run.npy", frames)
    adapter = CygnoAdapter({"pedestal": str(tmp_path / "run.npy")})
    assert adapter.read(tmp_path / "run.npy").image.shape == (30, 1, 60, 40)
