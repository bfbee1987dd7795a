"""Triggers: estimates against least squares, scores against the normal distribution, rates against counts."""

import numpy as np
import pytest
from scipy.linalg import toeplitz
from scipy.stats import binomtest, kstest, norm

from oasis.adapters.waveform.noise import NoiseOptions, measured_autocovariance
from oasis.adapters.waveform.shapes import PulseShape
from oasis.adapters.waveform.trigger import MatchedFilter, Whitening, efficiency, threshold_trigger
from oasis.errors import DataError

SAMPLES, SAMPLING_NS = 256, 4.0
TIMES = SAMPLING_NS * np.arange(SAMPLES)
PULSE = PulseShape(rise_ns=20, fall_ns=120)(TIMES)
NOISE = NoiseOptions(rms=1.0, corner_mhz=20, exponent=1, wander=2.0, wander_ns=800).gaussian(SAMPLES, SAMPLING_NS)


def noise_of(count, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([NOISE.draw(rng) for _ in range(count)])


def shifted(place):
    return np.concatenate([np.zeros(place), PULSE])[:SAMPLES]


@pytest.fixture(scope="module")
def matched():
    return MatchedFilter(PULSE, NOISE.autocovariance)


@pytest.mark.parametrize("place", [0, 60, 200, 240])
def test_the_amplitude_is_that_of_generalised_least_squares(matched, place):
    """Whitened by a Cholesky factor and solved by numpy's least squares, with the pulse at a known place."""
    waveform = 40 * shifted(place) + noise_of(1, place)[0]
    root = np.linalg.cholesky(toeplitz(NOISE.autocovariance))
    white_pulse, white = (np.linalg.solve(root, one) for one in (shifted(place), waveform))
    expected = np.linalg.lstsq(white_pulse[:, None], white, rcond=None)[0][0]
    scores = waveform @ matched.weights
    assert scores[place] / matched.significance[place] == pytest.approx(expected, rel=1e-4)
    assert matched.significance[place] == pytest.approx(np.linalg.norm(white_pulse), rel=1e-4)
    found = matched(waveform[None])
    assert abs(found.arrival[0] - matched.offset - place) <= 1
    assert found.amplitude[0] == pytest.approx(40, rel=0.2)


def test_without_a_pulse_the_significance_is_standard_normal(matched):
    scores = noise_of(2000) @ matched.weights
    for place in (0, 100, 235):
        assert kstest(scores[:, place], norm.cdf).pvalue > 1e-3
    assert matched(noise_of(50)).score.min() > 1  # the largest of many


def test_the_significance_of_a_pulse_is_its_amplitude_over_its_error(matched):
    whitening = Whitening(NOISE.autocovariance)
    assert whitening.significance(5 * shifted(80)) == pytest.approx(5 * matched.significance[80], rel=1e-6)
    waveforms = 5 * shifted(80) + noise_of(2000)
    amplitude = waveforms @ matched.weights[:, 80] / matched.significance[80]
    assert amplitude.std() == pytest.approx(1 / matched.significance[80], rel=0.05)
    assert amplitude.mean() == pytest.approx(5, abs=0.05)


def test_in_white_noise_the_filter_is_a_correlation():
    white = 4.0 * np.eye(SAMPLES)[0]
    matched = MatchedFilter(PULSE, white)
    waveform = noise_of(1)[0]
    expected = [waveform @ shifted(place) / 2 / np.linalg.norm(shifted(place)) for place in range(5)]
    np.testing.assert_allclose((waveform @ matched.weights)[:5], expected, rtol=1e-4)


def test_the_filter_finds_more_than_the_threshold_and_a_measured_covariance_nearly_as_much(matched):
    rng = np.random.default_rng(5)
    amplitude = rng.uniform(1, 8, 600)
    places = rng.integers(10, 200, 600)
    signal = noise_of(600, 1) + amplitude[:, None] * np.stack([shifted(place) for place in places])
    background = noise_of(1000, 2)
    measured = MatchedFilter(PULSE, measured_autocovariance(noise_of(1000, 3)))
    found = [
        efficiency(trigger(signal).score, amplitude, trigger(background).score, [1, 8], 0.02)["efficiency"][0]
        for trigger in (threshold_trigger, measured, matched)
    ]
    assert found[0] + 0.15 < found[1]
    assert abs(found[1] - found[2]) < 0.05


def test_the_threshold_trigger_looks_for_the_largest_rise_above_the_median():
    waveforms = np.array([[1.0, 1, 5, 3, 1], [2, 2, 2, 2, 2], [0, 0, 0, -9, 0]])
    found = threshold_trigger(waveforms)
    assert found.score.tolist() == [4, 0, 0]
    assert found.arrival[0] == pytest.approx(1.5)
    assert np.isnan(found.arrival[1:]).all()


def test_the_rate_of_false_positives_is_that_asked_for():
    rng = np.random.default_rng(0)
    background, signal, snr = rng.normal(size=2000), rng.normal(3, 1, 900), np.repeat([1.0, 2.0, 4.0], 300)
    table = efficiency(signal, snr, background, [1, 2, 3, 8], false_rate=0.01)
    threshold = table.attrs["threshold"]
    assert (background > threshold).sum() == 20
    for row, part in zip(table.itertuples(), np.split(signal, 3), strict=True):
        assert row.events == 300
        assert row.efficiency == (part > threshold).mean()
        exact = binomtest(int((part > threshold).sum()), 300).proportion_ci(0.95)
        assert (row.efficiency_low, row.efficiency_high) == pytest.approx((exact.low, exact.high))


def test_too_few_waveforms_without_a_pulse_are_refused():
    with pytest.raises(DataError, match="at least 100 are needed"):
        efficiency(np.ones(5), np.ones(5), np.ones(99), [0, 2], false_rate=0.01)


def test_an_impossible_covariance_is_refused():
    with pytest.raises(DataError, match="estimate it from more or longer traces"):
        Whitening(np.array([1.0, 2.0, 1.0]))
