"""Noise has the spectrum and the covariance that it is said to have."""

import numpy as np
import pytest
from scipy.linalg import toeplitz
from scipy.signal import welch

from oasis.adapters.waveform.noise import MeasuredNoise, NoiseOptions, measured_autocovariance
from oasis.errors import ConfigError, DataError

SAMPLES, SAMPLING_NS = 512, 4.0
COUNT = 1500


def drawn(noise, count=COUNT):
    rng = np.random.default_rng(1)
    return np.stack([noise.draw(rng) for _ in range(count)])


def density(waveforms):
    """Welch's power density, one-sided, averaged over waveforms; the lowest and highest bins are left out."""
    frequency, power = welch(waveforms, fs=1e3 / SAMPLING_NS, nperseg=256, axis=1)
    return frequency[4:-1], power.mean(axis=0)[4:-1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"corner_mhz": 0}, lambda f: np.ones_like(f)),
        ({"corner_mhz": 10, "exponent": 1}, lambda f: 1 + 10 / f),
        ({"corner_mhz": 20, "exponent": 2}, lambda f: 1 + (20 / f) ** 2),
        ({"spectrum": [[0, 1], [60, 5], [125, 1]]}, lambda f: np.interp(f, [0, 60, 125], [1, 5, 1])),
    ],
)
def test_the_power_spectrum_is_the_given_one(options, expected):
    noise = NoiseOptions.parse({"rms": 2.0, "wander": 0, **options}).gaussian(SAMPLES, SAMPLING_NS)
    waveforms = drawn(noise)
    frequency, power = density(waveforms)
    ratio = power / expected(frequency)
    np.testing.assert_allclose(ratio / ratio.mean(), 1, atol=0.08)
    assert waveforms.var() == pytest.approx(4, rel=0.05)
    assert noise.autocovariance[0] == pytest.approx(4)
    assert noise.rms == 2


def test_a_spectrum_is_read_from_a_file(tmp_path):
    pairs = [[0.0, 1.0], [60.0, 5.0], [125.0, 1.0]]
    np.savetxt(tmp_path / "spectrum.csv", pairs, delimiter=",", header="MHz,density", comments="")
    np.save(tmp_path / "spectrum.npy", pairs)
    expected = NoiseOptions.parse({"spectrum": pairs}).gaussian(SAMPLES, SAMPLING_NS)
    for name in ("spectrum.csv", "spectrum.npy"):
        noise = NoiseOptions(spectrum=str(tmp_path / name)).gaussian(SAMPLES, SAMPLING_NS)
        np.testing.assert_array_equal(noise.variances, expected.variances)


def test_the_autocovariance_is_that_of_what_is_drawn():
    """Noise and baseline together."""
    options = NoiseOptions(rms=1.0, corner_mhz=10, exponent=2, wander=0.8, wander_ns=300)
    noise = options.gaussian(SAMPLES, SAMPLING_NS)
    waveforms = drawn(noise, 3000)
    expected = noise.autocovariance
    for lag in (0, 1, 5, 30, 100, SAMPLES - 1):
        products = waveforms[:, : SAMPLES - lag] * waveforms[:, lag:]
        means = products.mean(axis=1)
        error = means.std() / np.sqrt(len(means))
        assert abs(means.mean() - expected[lag]) < 4 * error, lag


def test_a_waveform_does_not_end_as_it_begins():
    noise = NoiseOptions(rms=1.0, corner_mhz=1, wander=0).gaussian(SAMPLES, SAMPLING_NS)
    assert noise.variances[0] == 0  # nothing that is constant over twice the length
    assert noise.autocovariance[1] > 0.02
    assert abs(noise.autocovariance[-1]) < 0.02


def test_the_baseline_forgets_exponentially():
    noise = NoiseOptions(rms=1e-6, wander=3.0, wander_ns=400).gaussian(SAMPLES, SAMPLING_NS)
    lags = np.arange(SAMPLES) * SAMPLING_NS
    np.testing.assert_allclose(noise.autocovariance, 9 * np.exp(-lags / 400), rtol=1e-6)
    np.testing.assert_allclose(drawn(noise)[:, [0, -1]].std(axis=0), 3, rtol=0.06)


def test_measured_autocovariance_is_the_mean_product():
    traces = np.random.default_rng(0).normal(1, 2, (5, 40))
    expected = [np.mean([one[: 40 - lag] @ one[lag:] / 40 for one in traces]) for lag in range(40)]
    found = measured_autocovariance(traces)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.linalg.eigvalsh(toeplitz(found)).min() > 0


def test_measured_noise_is_cut_out_of_traces():
    traces = np.arange(60.0).reshape(3, 20) + np.array([[0], [100], [200]])
    noise = MeasuredNoise(traces, 8)
    waveforms = drawn(noise, 300)
    assert (np.diff(waveforms, axis=1) == 1).all()
    assert set(waveforms[:, 0]) == {row * 120 + start for row in range(3) for start in range(13)}
    assert noise.rms == pytest.approx(np.arange(20.0).std())
    assert len(noise.autocovariance) == 8


@pytest.mark.parametrize(
    ("spectrum", "words"),
    [
        ([[0, 1]], r"shape \(1, 2\)"),
        ([[5, 1], [3, 1]], "must increase"),
        ([[-5, 1], [3, 1]], "must increase"),
        ([[1, 1], [3, -2]], "row 1 has a power density below 0"),
    ],
)
def test_bad_spectra_are_refused(spectrum, words):
    with pytest.raises(DataError, match=f"data.noise.spectrum: .*{words}"):
        NoiseOptions.parse({"spectrum": spectrum}).gaussian(SAMPLES, SAMPLING_NS)


def test_a_spectrum_beside_the_frequencies_of_the_waveforms_is_refused():
    with pytest.raises(ConfigError, match=r"of the waveforms, 0\.244 to 125 MHz"):
        NoiseOptions.parse({"spectrum": [[200, 1], [300, 1]]}).gaussian(SAMPLES, SAMPLING_NS)
