"""Noise: what a simulated run measures, what tails it has, and a written run that comes back."""

import numpy as np
import pytest

from oasis.adapters.cygno.adapter import CygnoAdapter
from oasis.adapters.cygno.noise import NoiseOptions, SyntheticNoise
from oasis.adapters.cygno.pedestals import MeasuredNoise, pedestal_of
from oasis.errors import ConfigError, DataError

SHAPE = (128, 96)
PLAIN = NoiseOptions(hot=0, telegraph=0, row=0)


def frames_of(pixels, count, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([pixels.draw(rng) for _ in range(count)])


def test_plain_noise_has_the_rms_that_was_measured():
    pixels = SyntheticNoise(PLAIN).pixels(1, SHAPE)
    frames = frames_of(pixels, 200)
    assert np.median(pixels.rms) == pytest.approx(np.hypot(2.3, 1 / np.sqrt(12)), rel=0.02)
    assert pixels.sigma.std() / pixels.sigma.mean() == pytest.approx(0.13, rel=0.1)
    assert np.mean(frames.std(axis=0) / pixels.rms) == pytest.approx(1, abs=0.02)
    assert frames.mean(axis=0).std() == pytest.approx(2.3 / np.sqrt(200) * np.sqrt(1 + 2), rel=0.15)
    raw = frames[0] + pixels.mean
    assert np.abs(raw - np.rint(raw)).max() < 1e-3  # counts are integers


def test_tails_are_hot_and_telegraph_pixels():
    options = NoiseOptions(hot=0.01, telegraph=0.01, telegraph_duty=(0.3, 0.5), row=0)
    pixels = SyntheticNoise(options).pixels(1, SHAPE)
    frames = frames_of(pixels, 100)
    assert (pixels.rms > 4).mean() == pytest.approx(0.019, abs=0.006)
    jumps = frames.reshape(100, -1)[:, pixels.places]
    assert (np.abs(jumps - np.median(jumps, axis=0)).max(axis=0) > 8).mean() > 0.9
    ratio = frames.std(axis=0).ravel()[pixels.places] / pixels.rms.ravel()[pixels.places]
    assert np.median(ratio) == pytest.approx(1, abs=0.1)


def test_pixels_that_seldom_jump_were_quiet_in_the_pedestal():
    options = NoiseOptions(hot=0, telegraph=0.05, telegraph_duty=(0.002, 0.002), frames=100)
    pixels = SyntheticNoise(options).pixels(1, (256, 256))
    quiet = pixels.rms.ravel()[pixels.places] < 1.3 * np.median(pixels.rms)
    assert quiet.mean() == pytest.approx(0.998**100, abs=0.06)


def test_rows_share_noise():
    pixels = SyntheticNoise(NoiseOptions(hot=0, telegraph=0, row=1.5)).pixels(1, SHAPE)
    frames = frames_of(pixels, 60)
    rows = (frames - frames.mean(axis=0)).mean(axis=2)
    assert rows.std() == pytest.approx(1.5, rel=0.05)


def test_a_key_gives_the_same_pixels():
    noise = SyntheticNoise(NoiseOptions())
    assert np.array_equal(noise.pixels(3, SHAPE).rms, noise.pixels(3, SHAPE).rms)
    assert not np.array_equal(noise.pixels(3, SHAPE).rms, noise.pixels(4, SHAPE).rms)


@pytest.mark.parametrize("whole", [False, True])
def test_a_run_of_frames_comes_back(whole):
    raw = np.rint(frames_of(SyntheticNoise(NoiseOptions()).pixels(1, (40, 40)), 100) + 100).astype(np.uint16)
    mean, rms = pedestal_of(raw, "run")
    assert mean == pytest.approx(raw.mean(axis=0), rel=1e-5)
    assert rms == pytest.approx(raw.std(axis=0, ddof=1), rel=1e-3)
    pixels = MeasuredNoise(raw, mean, rms, whole).pixels(5, (40, 40))
    drawn = frames_of(pixels, 1500)
    assert drawn.mean(axis=0) + mean == pytest.approx(mean, rel=0.05)
    assert np.median(np.abs(drawn.std(axis=0) / rms - 1)) < 0.05
    correlated = np.corrcoef(drawn[:, 0, 0], drawn[:, 0, 1])[0, 1]
    true = np.corrcoef(raw[:, 0, 0], raw[:, 0, 1])[0, 1]
    assert correlated == pytest.approx(true if whole else 0, abs=0.1)


def test_windows_are_parts_of_the_sensor():
    raw = np.random.default_rng(0).normal(100, 2, (4, 50, 60))
    mean, rms = pedestal_of(raw, "run")
    pixels = MeasuredNoise(raw, mean, rms).pixels(2, (20, 30))
    assert pixels.rms.shape == (20, 30)
    assert any(
        np.array_equal(pixels.rms, rms[row : row + 20, col : col + 30]) for row in range(31) for col in range(31)
    )


def test_runs_that_cannot_be_used_are_refused():
    frames = np.full((3, 8, 8), 100.0)
    with pytest.raises(DataError, match="run: a pedestal run of 1 frame has no rms"):
        pedestal_of(frames[:1], "run")
    with pytest.raises(DataError, match="NaN or infinite"):
        pedestal_of(np.where(np.eye(8) > 0, np.nan, frames), "run")
    mean, rms = pedestal_of(frames, "run")
    with pytest.raises(DataError, match="does not fit frames of shape"):
        MeasuredNoise(frames[:, :4], mean, rms)
    with pytest.raises(DataError, match="smaller than a window"):
        MeasuredNoise(frames, mean, rms).pixels(0, (16, 16))
    with pytest.raises(ConfigError, match="rms"):
        NoiseOptions(rms=0)


def test_windows_of_one_sensor_have_the_pixels_of_new_ones():
    """Rms, mean and level have the same distributions, and telegraph pixels jump where they are in the window."""
    options = NoiseOptions(hot=0.02, telegraph=0.02)
    sensor, new = SyntheticNoise(options, stock=2**18), SyntheticNoise(options)
    windows, others = ([noise.pixels(3079 * key, (64, 48)) for key in range(90)] for noise in (sensor, new))
    for name in ("rms", "sigma", "level", "mean"):
        found, expected = (
            np.concatenate([getattr(one, name).ravel() for one in each]) for each in (windows, others)
        )
        quantiles = [0.01, 0.1, 0.5, 0.9, 0.99]
        np.testing.assert_allclose(
            *(np.quantile(each, quantiles) for each in (found, expected)), rtol=0.1, atol=0.03
        )
    assert sum(len(one.places) for one in windows) == pytest.approx(90 * 64 * 48 * 0.02, rel=0.1)
    for one in windows:
        assert one.sigma.shape == (64, 48)
        assert one.places.min() >= 0
        assert one.places.max() < 64 * 48
        assert len(one.places) == len(one.jump) == len(one.duty)
    frames = frames_of(windows[0], 300).reshape(300, -1)
    jumping = windows[0].places[windows[0].duty > 0.2]
    assert (np.ptp(frames[:, jumping], axis=0) > 9).all()


def test_windows_of_a_sensor_overlap_but_large_ones_have_pixels_of_their_own():
    noise = SyntheticNoise(NoiseOptions(), stock=2**16)
    first, next_row = noise.pixels(100, (32, 32)), noise.pixels(132, (32, 32))
    np.testing.assert_array_equal(first.sigma[1:], next_row.sigma[:-1])
    large = noise.pixels(100, (96, 96))
    np.testing.assert_array_equal(large.sigma, SyntheticNoise(NoiseOptions()).pixels(100, (96, 96)).sigma)


def test_only_training_images_share_a_sensor():
    adapter = CygnoAdapter({"events": {"train": 2, "test": 2}})
    assert adapter.noise("train").stock > 0
    assert adapter.noise("val").stock == adapter.noise("test").stock == 0
