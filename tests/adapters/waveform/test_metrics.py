"""What is measured of a pulse, against formulas and brute force."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from oasis.adapters.waveform.metrics import arrival, binned_pulses, pulse_columns, pulse_figure, separations
from oasis.adapters.waveform.shapes import PulseShape

SHAPE = PulseShape(rise_ns=20, fall_ns=150)


@pytest.mark.parametrize("start", [40.0, 41.3, 42.9, 77.7])
def test_a_pulse_arrives_where_it_crosses_half_of_its_peak(start):
    """The root of the formula, up to what linear interpolation of samples 2 ns apart leaves."""
    crossing = brentq(lambda t: float(SHAPE(t)) - 0.5, 0, SHAPE.peak_ns)
    pulse = 7.0 * SHAPE(2.0 * np.arange(200) - start)
    assert 2 * arrival(pulse) == pytest.approx(start + crossing, abs=0.06)


@given(st.floats(1e-3, 1e3), st.integers(0, 60), st.floats(0.1, 0.9))
@settings(max_examples=50, deadline=None)
def test_the_arrival_moves_with_the_pulse_and_not_with_its_height(height, shift, fraction):
    pulse = SHAPE(2.0 * np.arange(300) - 31.0)
    moved = np.roll(pulse, shift) * height
    assert arrival(moved, fraction) == pytest.approx(arrival(pulse, fraction) + shift, abs=1e-6)


def test_the_last_crossing_before_the_peak_counts():
    assert arrival(np.array([0.0, 3.0, 1.0, 4.0, 0.0, 3.0])) == pytest.approx(2 + 1 / 3)


@pytest.mark.parametrize("pulse", [np.zeros(9), -np.ones(9), np.arange(9.0)[::-1], np.array([3.0, 3.5, 4.0])])
def test_a_pulse_without_a_leading_edge_does_not_arrive(pulse):
    assert np.isnan(arrival(pulse))


def test_columns_of_a_pulse():
    times = 4.0 * np.arange(200)
    true, late = 10 * SHAPE(times - 100), 8 * SHAPE(times - 108)
    columns = pulse_columns(late, true, sampling_ns=4.0, rms=2.0, threshold=3.0)
    assert columns["amplitude_true"] == pytest.approx(10, rel=0.01)
    assert columns["amplitude_percent"] == pytest.approx(-20, abs=0.5)
    assert columns["snr"] == pytest.approx(5, rel=0.01)
    assert columns["arrival_error"] == pytest.approx(8, abs=0.01)
    assert columns["detected"] == 1
    assert set(columns) >= {"amplitude_predicted", "arrival_true"}


def test_what_is_not_there_or_not_detected_has_no_errors():
    pulse, nothing = SHAPE(4.0 * np.arange(200) - 100), np.zeros(200)
    missed = pulse_columns(pulse, 10 * pulse, 4.0, rms=2.0, threshold=3.0)
    assert missed["detected"] == 0
    assert np.isnan(missed["arrival_error"])
    assert missed["amplitude_percent"] == pytest.approx(-90)
    false = pulse_columns(10 * pulse, nothing, 4.0, rms=2.0, threshold=3.0)
    assert false["detected"] == 1
    assert false["amplitude_true"] == 0
    assert np.isnan([false[name] for name in ("snr", "amplitude_percent", "arrival_true", "arrival_error")]).all()


@given(st.lists(st.floats(0, 1e4) | st.just(np.nan), min_size=1, max_size=5))
def test_separations_are_to_the_nearest_other_pulse(arrivals):
    found = separations(np.array(arrivals))
    for place, one in enumerate(arrivals):
        others = [abs(one - other) for at, other in enumerate(arrivals) if at != place and other == other]
        if one == one and others:
            assert found[place] == min(others)
        else:
            assert np.isnan(found[place])


def test_pulses_are_counted_in_bins_and_drawn():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"snr": [*np.repeat([1.5, 3.0], 50), *[np.nan] * 20]})
    table["amplitude_percent"] = [*np.arange(50.0), *rng.normal(0, 5, 50), *[np.nan] * 20]
    table["arrival_error"] = table["amplitude_percent"] / 10
    table["detected"] = [*[1.0] * 10, *[0.0] * 40, *[1.0] * 50, *[0.0] * 19, 1.0]
    table["amplitude_true"] = [*np.repeat([1.5, 3.0], 50), *[0.0] * 20]
    bins = binned_pulses(table, "snr", [1, 2, 4, 8])
    assert bins["events"].tolist() == [50, 50, 0]
    assert bins["amplitude_percent_median"][0] == 24.5
    assert bins["arrival_error_quarter"][0] == pytest.approx(1.225)
    assert bins["detected"][:2].tolist() == [0.2, 1.0]
    assert 0.1 < bins["detected_low"][0] < 0.2 < bins["detected_high"][0] < 0.35
    assert np.isnan(bins["detected"][2])
    axes = pulse_figure(table, "snr", [1, 2, 4, 8], "SNR").axes
    assert len(axes) == 3
    assert axes[2].get_legend() is not None
    assert axes[2].lines[-1].get_ydata()[0] == pytest.approx(0.05)
