"""Shapes of pulses, against formulas of the literature and convolutions on a fine grid."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.signal import lti

from oasis.adapters.waveform.shapes import PulseShape
from oasis.errors import ConfigError

SHAPES = st.builds(
    lambda rise, ratio, shaping, order: PulseShape(
        rise_ns=rise, fall_ns=rise * ratio, shaping_ns=shaping, order=order
    ),
    st.floats(1, 50),
    st.floats(1.5, 50),
    st.none() | st.floats(1, 500),
    st.integers(1, 6),
)


def test_two_exponentials_peak_where_calculus_says():
    """The derivative of exp(-t/f) - exp(-t/r) is 0 at t = r f / (f - r) ln(f / r)."""
    shape = PulseShape(rise_ns=20, fall_ns=150)
    time = 20 * 150 / 130 * np.log(150 / 20)
    assert shape.peak_ns == pytest.approx(time, rel=1e-12)
    assert shape(time) == pytest.approx(1, rel=1e-12)
    assert shape.area_ns == pytest.approx(130 / (np.exp(-time / 150) - np.exp(-time / 20)), rel=1e-12)
    assert shape(500) == pytest.approx(
        (np.exp(-500 / 150) - np.exp(-500 / 20)) / (np.exp(-time / 150) - np.exp(-time / 20)), rel=1e-12
    )


@pytest.mark.parametrize("order", [1, 2, 4])
def test_a_point_charge_gives_the_semi_gaussian_of_the_shaper(order):
    """Its peak is at n tau, its area n! e^n / n^n tau (Knoll 2010, chapter 17)."""
    shape = PulseShape(rise_ns=1e-4, fall_ns=1e-3, shaping_ns=100, order=order)
    assert shape.peak_ns == pytest.approx(order * 100, rel=1e-4)
    times = np.linspace(1, 2000, 50)
    expected = (times / 100 / order) ** order * np.exp(order - times / 100)
    np.testing.assert_allclose(shape(times), expected, rtol=1e-3, atol=1e-4)
    factorial = np.prod(np.arange(1, order + 1))
    assert shape.area_ns == pytest.approx(factorial * (np.e / order) ** order * 100, rel=1e-4)


@pytest.mark.parametrize(
    ("rise", "fall", "shaping", "order"),
    [(10, 100, 50, 1), (10, 100, 10, 1), (10, 100, 100, 2), (5, 20, 200, 2), (2, 400, 8, 3)],
)
def test_a_shaped_pulse_is_the_answer_of_the_circuit(rise, fall, shaping, order):
    """The impulse response of current, integrator and CR-RC^n as one linear system, by scipy's state space."""
    poles = [-1 / fall, -1 / rise, *[-1 / shaping] * (order + 1)]
    times, values = lti([], poles, 1.0).impulse(T=np.linspace(0, 2000, 401))
    shape = PulseShape(rise_ns=rise, fall_ns=fall, shaping_ns=shaping, order=order)
    np.testing.assert_allclose(shape(times), values / values.max(), atol=2e-3)


def test_a_shaped_pulse_is_a_convolution():
    shape = PulseShape(rise_ns=5, fall_ns=300, shaping_ns=40, order=5)

    def convolved(time):
        current = lambda t: np.exp(-t / 300) - np.exp(-t / 5)  # noqa: E731
        return quad(lambda u: current(time - u) * (u / 40) ** 5 * np.exp(-u / 40), 0, time, epsabs=0)[0]

    times = [20.0, 100.0, 400.0, 2000.0]
    expected = np.array([convolved(time) for time in times])
    np.testing.assert_allclose(shape(times) / shape(400.0), expected / expected[2], rtol=1e-9)


@given(SHAPES)
@settings(max_examples=60, deadline=None)
def test_every_shape_rises_from_0_to_1_and_falls(shape):
    times = np.linspace(0, 3 * shape.peak_ns, 301)
    values = shape(times)
    assert values[0] == 0
    assert (values >= 0).all()
    assert shape(shape.peak_ns) == pytest.approx(1, abs=1e-12)
    assert values.max() <= 1 + 1e-7
    rising, falling = np.diff(values[times <= shape.peak_ns]), np.diff(values[times >= shape.peak_ns])
    assert (rising >= -1e-7).all()
    assert (falling <= 1e-7).all()
    assert shape(-1.0) == 0


@given(SHAPES)
@settings(max_examples=20, deadline=None)
def test_the_area_is_the_integral(shape):
    slowest = max(shape.fall_ns, shape.shaping_ns or 0)
    bounds = [0, shape.peak_ns / 2, shape.peak_ns, shape.peak_ns + 3 * slowest, shape.peak_ns + 60 * slowest]
    area = sum(quad(shape, low, high)[0] for low, high in pairwise(bounds))
    assert shape.area_ns == pytest.approx(area, rel=1e-6)


def test_the_spread_makes_pulses_faster_and_slower():
    shape, rng = PulseShape(rise_ns=10, fall_ns=100, spread=0.1), np.random.default_rng(0)
    drawn = [shape.drawn(rng) for _ in range(500)]
    falls = np.log([one.fall_ns for one in drawn])
    assert falls.mean() == pytest.approx(np.log(100), abs=0.02)
    assert falls.std() == pytest.approx(0.1, rel=0.1)
    assert all(one.fall_ns / one.rise_ns == pytest.approx(10) for one in drawn)
    assert drawn[0](drawn[0].peak_ns) == pytest.approx(1)
    steady = PulseShape()
    assert steady.drawn(rng) is steady


def test_a_pulse_that_falls_before_it_rises_is_refused():
    with pytest.raises(ConfigError, match="expected rise_ns below fall_ns"):
        PulseShape.parse({"rise_ns": 100, "fall_ns": 100}, "data.signal.shape")
