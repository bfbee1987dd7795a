"""The detector against what is known of the real one and against direct calculations; 6 s."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.stats import norm

from oasis.adapters.migdal.detector import Detector, Window
from oasis.errors import ConfigError, DataError

DETECTOR = Detector()
SHARP = Detector(electrons_per_adu=1e6, threshold_adu=0.0)
MIDDLE = (143.5, 255.5)
VIGNETTING_CSV = Path(__file__).parents[3].parent / "shared/data/migdal/vignetting_7x11.csv"


def line(length_mm, energy_kev, number=100, angle=0.6):
    """A straight track of even density, a stand-in for a simulated recoil."""
    along = np.linspace(0, length_mm, number)
    points = np.stack([along * np.cos(angle), along * np.sin(angle), np.zeros(number)], axis=1)
    return points, np.full(number, energy_kev / number)


def minor_rms(image):
    row, col = np.nonzero(image)
    covariance = np.cov(np.stack([row, col]), aweights=image[row, col], ddof=0)
    return np.sqrt(np.linalg.eigvalsh(covariance)[0])


def direct_gaussian(image, sigma=4 / 3, radius=4):
    """A direct 2D convolution with torch's reflect padding."""
    x = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-(x[:, None] ** 2 + x**2) / (2 * sigma**2))
    padded = torch.nn.functional.pad(torch.tensor(image)[None, None].double(), (radius,) * 4, mode="reflect")
    return torch.nn.functional.conv2d(padded, (kernel / kernel.sum())[None, None])[0, 0].numpy()


def test_smooth_is_a_direct_convolution_with_reflected_borders():
    image = np.random.default_rng(0).normal(100, 30, (3, 20, 31)).astype(np.float32)
    expected = np.stack([direct_gaussian(layer) for layer in image])
    np.testing.assert_allclose(DETECTOR.smooth(image), expected, rtol=1e-5)


def test_noise_is_as_strong_as_in_measured_frames():
    rng = np.random.default_rng(1)
    noise = np.stack([DETECTOR.noise(rng) for _ in range(20)])
    assert 7.5 < noise.std() < 7.8
    assert 0.75e-3 < (noise > 24.1).mean() < 1.05e-3  # measured: 0.76e-3 far from any track, 1.0e-3 near
    weights = np.exp(-0.5 * (np.arange(-4, 5) / (4 / 3)) ** 2)
    sigma = 36 * np.sum((weights / weights.sum()) ** 2)
    inner = noise[:, 4:-4, 4:-4]
    assert inner.std() == pytest.approx(sigma, rel=0.005)
    assert (inner > 24.1).mean() == pytest.approx(norm.sf(24.1 / sigma), rel=0.08)
    assert abs(noise.mean()) < 0.05


def test_noise_in_a_window_has_no_border():
    rng = np.random.default_rng(2)
    noise = np.stack([DETECTOR.noise(rng, Window(100, 200, 24, 24)) for _ in range(2000)])
    np.testing.assert_allclose(noise.std(axis=0), 7.61, rtol=0.08)
    corner = np.stack([DETECTOR.noise(rng, Window(0, 0, 24, 24)) for _ in range(2000)]).std(axis=0)
    assert corner[0, 0] > 1.4 * corner[12, 12]


def test_light_per_kev():
    rng = np.random.default_rng(3)
    track = line(1.7, 4.5)
    window = Window(80, 190, 128, 130)
    centre = np.mean([DETECTOR.light(*track, MIDDLE, rng, window=window).sum() for _ in range(800)]) / 4.5
    assert centre == pytest.approx(2800, rel=0.03)


@pytest.mark.parametrize("electrons_per_adu", [0.107, 0.002])
def test_energy_resolution_is_that_of_the_electrons_the_gain_and_the_photons(electrons_per_adu):
    detector = Detector(electrons_per_adu=electrons_per_adu, vignetting_mm=1e9)
    rng = np.random.default_rng(4)
    window = Window(100, 210, 90, 90)
    sums = [detector.light(*line(0.5, 5.9), MIDDLE, rng, window=window).sum() for _ in range(1500)]
    electrons, photons = 5900 / 34.2, 5.9 * 3100 * electrons_per_adu
    expected = np.sqrt((1 + 0.115**2) * (1 + 2 / electrons) - 1 + 1 / photons)
    assert np.std(sums) / np.mean(sums) == pytest.approx(expected, rel=0.07)


def test_electron_peaks():
    rng = np.random.default_rng(5)
    for energy, length in ((4.5, 1.7), (5.9, 2.7), (8.0, 4.6), (10.0, 7.0)):
        peaks = [
            DETECTOR.light(*line(length, energy), MIDDLE, rng, window=Window(60, 190, 160, 150)).max()
            for _ in range(300)
        ]
        assert 60 < np.quantile(peaks, 0.05) < np.quantile(peaks, 0.95) < 230


def test_nuclear_recoils_are_as_wide_and_bright_as_measured_ones():
    rng = np.random.default_rng(6)
    window = Window(80, 190, 128, 150)
    widths, peaks = [], []
    for energy in np.linspace(80, 250, 60):
        light = DETECTOR.light(*line(4.0, energy), MIDDLE, rng, window=window, halo=DETECTOR.halo)
        image = light + DETECTOR.noise(rng, window)
        labels, _ = ndimage.label(image > 24.1)
        widths.append(minor_rms(np.where(labels == labels.flat[np.argmax(image)], image, 0)))
        peaks.append(image.max())
    assert 3.5 < np.median(widths) < 3.9
    assert 2.8 < min(widths) < max(widths) < 5.0
    assert 900 < min(peaks) < max(peaks) < 9000


def test_a_point_spreads_by_diffusion_optics_and_smoothing():
    rng = np.random.default_rng(7)
    offsets = np.arange(-4, 5)
    weights = np.exp(-0.5 * (offsets / (4 / 3)) ** 2)
    smoothing = (weights * offsets**2).sum() / weights.sum()
    for depth in (0.0, 0.5, 2.5):
        image = SHARP.light(
            [[0, 0, 0]], [2000.0], (144, 256), rng, depth_cm=depth, window=Window(84, 196, 121, 121)
        )
        expected = (0.30 / 0.15625) ** 2 + smoothing + depth * (0.264 / 0.15625) ** 2
        assert minor_rms(image) ** 2 == pytest.approx(expected, rel=0.03)
        np.testing.assert_allclose(ndimage.center_of_mass(image), (60, 60), atol=0.05)


def test_points_lie_along_columns_rows_and_drift():
    rng = np.random.default_rng(8)
    point = np.array([[20 * 0.15625, -10 * 0.15625, 5.0]])
    image = SHARP.light(point, [1000.0], (144, 200), rng, depth_cm=1.0)
    np.testing.assert_allclose(ndimage.center_of_mass(image), (134, 220), atol=0.1)
    same = SHARP.light(np.zeros((1, 3)), [1000.0], (134, 220), np.random.default_rng(8), depth_cm=1.5)
    assert minor_rms(image) == pytest.approx(minor_rms(same), rel=0.03)


def test_the_halo_adds_its_share_of_light_and_widens():
    arguments = (*line(3.0, 150.0), (144, 256))
    plain = SHARP.light(*arguments, np.random.default_rng(9))
    wide = SHARP.light(*arguments, np.random.default_rng(9), halo=0.26)
    assert wide.sum() / plain.sum() == pytest.approx(1.26, rel=0.01)
    assert minor_rms(wide) > 1.2 * minor_rms(plain)


def test_light_is_linear_in_the_gain():
    one, two = (SHARP.light(*line(3.0, 50.0), (144, 256), np.random.default_rng(10), gain=g) for g in (2000, 4000))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-2, atol=0.2)
    assert one.sum() == pytest.approx(2000 * 50, rel=0.1)


@pytest.mark.parametrize("window", [(100, 230, 96, 96), (120, 262, 40, 33), (0, 0, 60, 80), (250, 440, 38, 72)])
@pytest.mark.parametrize("halo", [0.0, 0.26])
def test_a_window_sees_what_the_whole_field_sees(window, halo):
    window = Window(*window)
    centre = (window.row + 20, window.col + 15)
    full = SHARP.light(*line(4.0, 150.0), centre, np.random.default_rng(11), halo=halo)
    part = SHARP.light(*line(4.0, 150.0), centre, np.random.default_rng(11), halo=halo, window=window)
    np.testing.assert_allclose(part, full[window.inside(DETECTOR.field)], rtol=1e-2, atol=0.2)
    assert part.max() > 100


def test_a_window_sees_the_same_photons_on_average():
    window = Window(110, 262, 30, 24)
    rng = np.random.default_rng(12)
    parts = [DETECTOR.light(*line(2.0, 40.0), (120, 256), rng, window=window, gain=3100.0) for _ in range(250)]
    fulls = [DETECTOR.light(*line(2.0, 40.0), (120, 256), rng, gain=3100.0) for _ in range(250)]
    part, full = np.mean(parts, axis=0), np.mean(fulls, axis=0)[window.inside(DETECTOR.field)]
    assert part.sum() == pytest.approx(full.sum(), rel=0.02)
    bright = full > 50
    np.testing.assert_allclose(part[bright], full[bright], rtol=0.25)


def test_light_outside_the_field_is_lost_but_spreads_into_it():
    rng = np.random.default_rng(13)
    for col in (-200, -40, -27, -25):
        assert not DETECTOR.light([[0, 0, 0]], [300.0], (144, col), rng, depth_cm=0.0, halo=0.26).any()
    near = DETECTOR.light([[0, 0, 0]], [300.0], (144, -3), rng, depth_cm=0.0)
    assert near[:, 0].max() > 100
    assert not near[:, 100:].any()


def test_no_light_from_no_energy():
    rng = np.random.default_rng(14)
    assert not DETECTOR.light(np.zeros((0, 3)), np.zeros(0), MIDDLE, rng).any()
    assert not DETECTOR.light(np.zeros((4, 3)), np.zeros(4), MIDDLE, rng).any()


def test_light_is_a_truth_map():
    image = DETECTOR.light(*line(2.0, 5.0), MIDDLE, np.random.default_rng(15))
    assert image.shape == (288, 512)
    assert image.dtype == np.float32
    assert image[image > 0].min() > 1.0


def test_the_seed_decides():
    def draw(seed):
        return DETECTOR.light(*line(2.0, 5.0), MIDDLE, np.random.default_rng(seed), halo=0.26)

    np.testing.assert_array_equal(draw(16), draw(16))
    assert (draw(16) != draw(17)).any()
    np.testing.assert_array_equal(*(DETECTOR.noise(np.random.default_rng(3)) for _ in range(2)))


@pytest.mark.parametrize("window", [(-1, 0, 96, 96), (250, 0, 96, 96), (0, 500, 10, 20)])
def test_a_window_beyond_the_field_is_refused(window):
    rng = np.random.default_rng(0)
    with pytest.raises(ConfigError, match="not inside the field"):
        DETECTOR.light(*line(1.0, 5.0), MIDDLE, rng, window=Window(*window))
    with pytest.raises(ConfigError, match="not inside the field"):
        DETECTOR.noise(rng, Window(*window))


def test_vignetting():
    assert DETECTOR.vignetting(143.5, 255.5) == pytest.approx(1)
    r2 = (np.hypot(100, 200) * 0.15625) ** 2
    assert DETECTOR.vignetting(43.5, 455.5) == pytest.approx((1 + r2 / 50.6**2) ** -2, rel=1e-5)
    assert DETECTOR.vignetting(np.arange(288)[:, None], np.arange(512)).mean() == pytest.approx(0.66, abs=0.02)


def test_vignetting_is_near_the_measured_map():
    if not VIGNETTING_CSV.exists():
        pytest.skip(f"{VIGNETTING_CSV.name} is not here")
    measured = np.loadtxt(VIGNETTING_CSV, delimiter=",")
    rows, cols = (
        (np.arange(n) + 0.5) / n * side - 0.5 for n, side in zip(measured.shape, (288, 512), strict=True)
    )
    difference = DETECTOR.vignetting(rows[:, None], cols) - measured
    assert abs(difference.mean()) < 0.02
    assert np.sqrt((difference**2).mean()) < 0.075


def naive_preprocess(raw, dark):
    rows, cols = raw.shape[0] // 4, raw.shape[1] // 4
    binned = np.zeros((rows, cols))
    for row in range(raw.shape[0]):
        for col in range(raw.shape[1]):
            binned[row // 4, col // 4] += float(raw[row, col]) - float(dark[row, col])
    return np.maximum(direct_gaussian(binned), 0)


def test_preprocess_bins_smooths_and_clips():
    detector = Detector(shape=(12, 16))
    rng = np.random.default_rng(18)
    raw = rng.integers(0, 65536, (2, 48, 64)).astype(np.uint16)
    dark = rng.uniform(30000, 35000, (48, 64))
    expected = np.stack([naive_preprocess(frame, dark) for frame in raw])
    assert (expected == 0).any()
    np.testing.assert_allclose(detector.preprocess(raw, dark), expected, rtol=1e-5, atol=0.05)
    np.testing.assert_allclose(detector.preprocess(raw[0], dark), expected[0], rtol=1e-5, atol=0.05)
    np.testing.assert_allclose(
        detector.preprocess(raw), [naive_preprocess(frame, 0 * dark) for frame in raw], rtol=1e-5
    )


def test_preprocess_at_full_size():
    raw = np.full((1152, 2048), 65535, np.uint16)
    np.testing.assert_allclose(DETECTOR.preprocess(raw), np.full((288, 512), 65535 * 16.0), rtol=1e-6)


@pytest.mark.parametrize(
    ("raw", "dark", "message"),
    [
        (np.zeros((2, 288, 512)), None, r"raw frames have shape \(2, 288, 512\), expected"),
        (np.zeros((2, 48, 64)), np.zeros((12, 16)), r"dark frame has shape \(12, 16\), expected \(48, 64\)"),
        (np.full((2, 48, 64), np.nan), None, "raw frame 0 contains values that are not finite"),
        (np.zeros((2, 48, 64)), np.full((48, 64), np.inf), "the dark frame contains values that are not finite"),
    ],
)
def test_preprocess_refuses(raw, dark, message):
    with pytest.raises(DataError, match=message) as error:
        Detector(shape=(12, 16)).preprocess(raw, dark)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("values", [{"gain": 0}, {"pixel": 1.0}, {"noise_adu": -1.0}])
def test_options_are_checked(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        Detector.parse(values)
