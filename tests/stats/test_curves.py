"""Principal curves against the fixtures of R's princurve, and their splines against the textbook; about 3 s."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import make_smoothing_spline
from scipy.optimize import brentq

from oasis.errors import ConfigError, DataError
from oasis.stats.curves import (
    CurveError,
    PrincipalCurve,
    axial_angle,
    axis_at,
    principal_curve,
    project,
    smoothing_spline,
)

Z = np.linspace(-1, 1, 100)
CLOUD = np.stack([Z, *np.random.default_rng(0).normal(0, 0.3, (3, 100))], axis=1)
LINE = np.array([[-1, 0.1, 0.2, 0.3], [1, 0.1, 0.2, 0.3]])
OFFSETS = ((CLOUD[:, 1:] - LINE[0, 1:]) ** 2).sum(axis=1)


def shortened(line, end):
    short = line.copy()
    short[:, 0] = -end, end
    return short


def bent_cloud(seed=1, count=80, noise=0.03):
    """A parabola in random order, with noise."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, count)
    return np.stack([x, x**2], axis=1) + rng.normal(0, noise, (count, 2))


def smoother_matrix(x, weights, penalty):
    """Green and Silverman (1994), Eq. 2.14: `S = (W + penalty Q R^-1 Q^T)^-1 W` for sorted x."""
    step = np.diff(x)
    count = len(x)
    q, r = np.zeros((count, count - 2)), np.zeros((count - 2, count - 2))
    for j in range(count - 2):
        q[j : j + 3, j] = 1 / step[j], -1 / step[j] - 1 / step[j + 1], 1 / step[j + 1]
        r[j, j] = (step[j] + step[j + 1]) / 3
        if j + 3 < count:
            r[j, j + 1] = r[j + 1, j] = step[j + 1] / 6
    roughness = q @ np.linalg.solve(r, q.T)
    return np.linalg.solve(np.diag(weights) + penalty * roughness, np.diag(weights))


# Projection: fixtures (a) to (c), (f) and (g) of the tests of R's princurve.


def test_points_over_a_line_fall_on_it():
    dropped = project(CLOUD, LINE, stretch=0)
    np.testing.assert_allclose(dropped.points, np.c_[Z, np.tile(LINE[0, 1:], (100, 1))], atol=1e-6)
    np.testing.assert_allclose(dropped.arc_length, np.linspace(0, 2, 100), atol=1e-10)
    np.testing.assert_array_equal(dropped.order, np.arange(100))
    np.testing.assert_allclose(dropped.squared_distance, OFFSETS, atol=1e-10)


def test_a_short_line_is_stretched():
    dropped = project(CLOUD, shortened(LINE, 0.9), stretch=2)
    np.testing.assert_allclose(dropped.points, np.c_[Z, np.tile(LINE[0, 1:], (100, 1))], atol=1e-6)
    np.testing.assert_allclose(dropped.arc_length, np.linspace(0, 2, 100), atol=1e-3)
    np.testing.assert_array_equal(dropped.order, np.arange(100))
    np.testing.assert_allclose(dropped.squared_distance, OFFSETS, atol=1e-10)


def test_points_beyond_the_ends_fall_on_the_ends_without_stretch():
    end = 0.89898990
    dropped = project(CLOUD, shortened(LINE, end), stretch=0)
    cut = np.clip(Z, -end, end)
    np.testing.assert_allclose(dropped.points[:, 0], cut, atol=1e-6)
    np.testing.assert_allclose(
        dropped.arc_length, np.linalg.norm(dropped.points - dropped.points[0], axis=1), atol=1e-8
    )
    np.testing.assert_array_equal(dropped.order, np.arange(100))
    np.testing.assert_allclose(dropped.squared_distance, OFFSETS + (Z - cut) ** 2, atol=1e-8)


def test_projecting_again_changes_nothing():
    vertices = np.stack([Z, Z**2, Z**3, Z**4], axis=1)
    once = project(CLOUD, vertices, stretch=0)
    twice = project(once.points, vertices, stretch=0)
    np.testing.assert_allclose(twice.points, once.points, atol=1e-10)
    np.testing.assert_allclose(twice.arc_length, once.arc_length, atol=1e-10)
    np.testing.assert_allclose(twice.squared_distance, 0, atol=1e-20)


def test_arguments_are_not_modified():
    arrays = CLOUD.copy(), LINE.copy(), np.ones(100)
    project(arrays[0], arrays[1])
    principal_curve(arrays[0], arrays[2])
    for array, original in zip(arrays, (CLOUD, LINE, np.ones(100)), strict=True):
        np.testing.assert_array_equal(array, original)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), axes=st.integers(1, 4), corners=st.integers(2, 9))
def test_projection_against_a_loop_over_points_and_segments(seed, axes, corners):
    rng = np.random.default_rng(seed)
    points, vertices = rng.normal(size=(12, axes)), rng.normal(size=(corners, axes))
    dropped = project(points, vertices, stretch=0)
    for number, point in enumerate(points):
        feet = []
        for a, b in pairwise(vertices):
            t = np.clip((point - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
            feet.append(a + t * (b - a))
        squared = [((point - foot) ** 2).sum() for foot in feet]
        assert dropped.squared_distance[number] == pytest.approx(min(squared))
        np.testing.assert_allclose(dropped.points[number], feet[int(np.argmin(squared))])
    along = dropped.points[dropped.order]
    length = np.linalg.norm(np.diff(along, axis=0), axis=1).sum()
    assert dropped.arc_length.max() == pytest.approx(length)


def test_vertices_on_one_spot_do_no_harm():
    vertices = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert project(np.array([[0.5, 1.0]]), vertices, stretch=0).points.tolist() == [[0.5, 0.0]]


# The smoothing spline.


@pytest.mark.parametrize("df", [3.0, 5.0, 9.0])
def test_the_spline_is_that_of_scipy_at_its_penalty(df):
    rng = np.random.default_rng(2)
    x = 4 + np.arange(25) / 8  # the knots, so that the spaces of splines are the same
    y, weights = rng.normal(size=25), rng.uniform(0.2, 3, 25)
    spline = smoothing_spline(x, y[:, None], weights, df)
    expected = make_smoothing_spline(x, y, weights, spline.penalty)
    between = np.linspace(x[0], x[-1], 99)
    np.testing.assert_allclose(spline(between)[:, 0], expected(between), atol=1e-7)


def test_its_knots_suffice_for_any_positions():
    rng = np.random.default_rng(3)
    x = np.sort(rng.beta(0.7, 1.5, 300))
    y = np.sin(7 * x) + rng.normal(0, 0.2, 300)
    spline = smoothing_spline(x, y[:, None], np.ones(300))
    expected = make_smoothing_spline(x, y, lam=spline.penalty)(x)
    assert np.abs(spline(x)[:, 0] - expected).max() < 2e-3 * np.ptp(expected)


@pytest.mark.parametrize("df", [2.5, 5.0, 12.0])
@pytest.mark.parametrize("count", [30, 200])
def test_the_trace_of_the_smoother_matrix_is_df(count, df):
    rng = np.random.default_rng(4)
    x, weights = np.round(rng.uniform(-3, 8, count), 1), rng.exponential(size=count)
    matrix = smoothing_spline(x, np.eye(count), weights, df)(x)
    assert np.trace(matrix) == pytest.approx(df, abs=1e-6)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-9)  # constants are kept, and so are straight lines:
    np.testing.assert_allclose(matrix @ x, x, atol=1e-8)


def test_df_and_penalty_against_the_textbook():
    rng = np.random.default_rng(5)
    x, weights = np.linspace(2, 5, 25), rng.uniform(0.5, 2, 25)
    spline = smoothing_spline(x, np.eye(25), weights)
    matrix = smoother_matrix(x, weights, spline.penalty)
    np.testing.assert_allclose(spline(x), matrix, atol=1e-8)
    assert np.trace(matrix) == pytest.approx(5, abs=1e-6)


def test_two_degrees_of_freedom_are_a_weighted_straight_line():
    rng = np.random.default_rng(6)
    x, y, weights = rng.normal(size=50), rng.normal(size=50), rng.exponential(size=50)
    spline = smoothing_spline(x, y[:, None], weights, df=2 + 1e-6)
    expected = np.polyval(np.polyfit(x, y, 1, w=np.sqrt(weights)), x)
    np.testing.assert_allclose(spline(x)[:, 0], expected, atol=1e-5)


def test_a_weight_of_two_is_a_point_twice():
    rng = np.random.default_rng(7)
    x, y, times = rng.normal(size=40), rng.normal(size=(40, 2)), rng.integers(1, 5, 40)
    once = smoothing_spline(x, y, times.astype(float))
    again = smoothing_spline(np.repeat(x, times), np.repeat(y, times, axis=0), np.ones(times.sum()))
    np.testing.assert_allclose(once.values, again.values, atol=1e-9)
    assert once.penalty == pytest.approx(again.penalty)


def test_few_places_are_interpolated():
    x, y = np.array([0.0, 1.0, 2.0, 4.0]), np.array([[0.0], [3.0], [1.0], [2.0]])
    np.testing.assert_allclose(smoothing_spline(x, y, np.ones(4))(x), y, atol=1e-4)


@pytest.mark.parametrize("df", [2.0, 25.0])
def test_degrees_of_freedom_out_of_range_are_refused(df):
    with pytest.raises(ConfigError) as caught:
        smoothing_spline(Z, CLOUD, np.ones(100), df)
    assert str(caught.value) == f"df: expected degrees of freedom above 2 and below 25, found {df}"


# The curve: fixtures (d) and (e), and an implementation without its shortcuts.


def test_points_on_a_line_are_their_own_projections():
    points = np.repeat(np.arange(1.0, 12.0)[:, None], 3, axis=1)
    curve = principal_curve(points)
    np.testing.assert_allclose(curve.projection.points, points, atol=1e-10)
    np.testing.assert_allclose(np.ptp(curve.projection.arc_length), 10 * np.sqrt(3))
    assert curve.converged
    assert np.isfinite(curve.vertices).all()


@pytest.mark.parametrize("seed", range(3))
def test_distances_of_rounding_errors_have_settled(seed):
    rng = np.random.default_rng(seed)
    curve = principal_curve(np.outer(rng.normal(size=50), rng.normal(size=3)) + 7.3)
    assert (curve.iterations, curve.converged) == (2, True)


def test_powers_of_z_with_noise_are_found_again():
    powers = np.stack([Z, Z**2, Z**3, Z**4], axis=1)
    curve = principal_curve(powers + np.random.default_rng(8).normal(0, 0.005, powers.shape))
    for fitted, true in zip(curve.projection.points.T, powers.T, strict=True):
        assert np.corrcoef(fitted, true)[0, 1] >= 0.99


def plain_smoother(parameter, points, weights):
    """Smooth with 5 degrees of freedom by the textbook's matrix; the values at all distinct places in order."""
    places, which = np.unique(parameter, return_inverse=True)
    total = np.bincount(which, weights)
    means = np.stack([np.bincount(which, weights * column) / total for column in points.T], axis=1)
    log = brentq(lambda log: np.trace(smoother_matrix(places, total, np.exp(log))) - 5, -15, 15, xtol=1e-6)
    return smoother_matrix(places, total, np.exp(log)) @ means


def plain_curve(points, weights, threshold):
    """The algorithm with the textbook's spline and a vertex at every point."""
    centred = points - np.average(points, axis=0, weights=weights)
    _, _, axes = np.linalg.svd(centred * np.sqrt(weights)[:, None])
    parameter, distances = centred @ axes[0], []
    while len(distances) < 2 or abs(distances[-2] - distances[-1]) > threshold * distances[-2]:
        vertices = plain_smoother(parameter, points, weights)
        _, parameter, squared, _ = project(points, vertices, stretch=2)
        distances.append(weights @ squared / weights.sum())
    return vertices, distances


@pytest.mark.parametrize("seed", [1, 3, 5])
def test_the_curve_against_one_with_a_vertex_at_every_point(seed):
    points = bent_cloud(seed, noise=0.05)
    weights = np.random.default_rng(seed).uniform(0.5, 2, len(points))
    curve = principal_curve(points, weights, threshold=0.25)
    vertices, distances = plain_curve(points, weights, threshold=0.25)
    assert curve.iterations == len(distances)
    assert curve.distance == pytest.approx(distances[-1], rel=0.02)
    assert np.sqrt(project(curve.vertices, vertices).squared_distance).max() < 0.01


@settings(max_examples=20, deadline=None, derandomize=True)
@given(angle=st.floats(0, 6.28), scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100), mirror=st.booleans())
def test_the_curve_turns_grows_and_moves_with_its_points(angle, scale, shift, mirror):
    points = bent_cloud()
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn * (1, -1) if mirror else turn
    first = principal_curve(points)
    second = principal_curve(points @ turn.T + shift)
    np.testing.assert_allclose(
        second.projection.points, first.projection.points @ turn.T + shift, atol=1e-5 * (scale + 1e-4 * abs(shift))
    )
    assert second.iterations == first.iterations


def test_the_curve_does_not_depend_on_the_order_of_points_or_the_unit_of_weights():
    points, rng = bent_cloud(), np.random.default_rng(9)
    weights, order = rng.uniform(0, 1, len(points)), rng.permutation(len(points))
    first = principal_curve(points, weights)
    second = principal_curve(points[order], 1e4 * weights[order])
    np.testing.assert_allclose(second.projection.points, first.projection.points[order], atol=1e-8)


def test_weights_are_repeated_points_and_those_of_0_do_not_count():
    points, times = bent_cloud(), np.random.default_rng(10).integers(0, 4, 80)
    weighted = principal_curve(points, times)
    repeated = principal_curve(np.repeat(points, times, axis=0))
    np.testing.assert_allclose(
        np.repeat(weighted.projection.points, times[times > 0], axis=0), repeated.projection.points, atol=1e-8
    )


def test_draws_are_keyed_and_come_near_the_weights():
    points, weights = bent_cloud(), np.random.default_rng(11).uniform(0.1, 1, 80)
    first, again, other = (
        principal_curve(points, weights, draws=20_000, rng=np.random.default_rng(seed)).vertices
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    exact = principal_curve(points, weights).vertices
    assert 0 < np.sqrt(project(first, exact).squared_distance).max() < 0.02


def test_a_curve_that_has_not_settled_says_so():
    once = principal_curve(bent_cloud(), max_iterations=1)
    assert (once.iterations, once.converged) == (1, False)
    assert principal_curve(bent_cloud(), max_iterations=50).converged


# Failures.


@pytest.mark.parametrize(
    ("points", "weights", "message"),
    [
        (np.zeros((0, 2)), None, "no curve: there is no point with a weight"),
        (CLOUD, np.zeros(100), "no curve: there is no point with a weight"),
        (np.ones((9, 2)), None, "no curve: half of the weight lies at one position along it"),
        (np.eye(3), [1, 1, 9], "no curve: half of the weight lies at one position along it"),
        ([[0, 0], [1, 0], [2, 0]], None, "no curve: the points lie at 3 positions along it, expected at least 4"),
        (
            [[0, 0], [1, 0], [2, 0]] * 9,
            None,
            "no curve: the points lie at 3 positions along it, expected at least 4",
        ),
    ],
)
def test_points_without_a_curve_are_told_from_other_errors(points, weights, message):
    with pytest.raises(CurveError) as caught:
        principal_curve(points, weights)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("points", "weights", "message"),
    [
        (Z, None, "points have shape (100,), expected (n, d)"),
        (CLOUD, np.ones(9), "weights have shape (9,), expected (100,), one per point"),
        (CLOUD * np.nan, None, "points and weights must be finite, and weights not negative"),
        (CLOUD, -np.ones(100), "points and weights must be finite, and weights not negative"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(points, weights, message):
    with pytest.raises(DataError) as caught:
        principal_curve(points, weights)
    assert str(caught.value) == message
    assert not isinstance(caught.value, CurveError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_iterations": 0}, "max_iterations: expected at least 1, found 0"),
        ({"stretch": -1.0}, "stretch: expected a number of at least 0, found -1.0"),
        ({"draws": 9}, "draws: expected a generator `rng` as well, found None"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError) as caught:
        principal_curve(CLOUD, **options)
    assert str(caught.value) == message


def test_a_curve_has_two_vertices_or_more():
    with pytest.raises(DataError, match=r"^a curve needs at least 2 vertices, found 1$"):
        project(CLOUD, LINE[:1])


# Axes.


@pytest.mark.parametrize("x", [-1.0, -0.8, -0.3, 0.0, 0.55, 1.0])
def test_the_axis_is_the_tangent_at_the_nearest_place(x):
    grid = np.linspace(-1, 1, 49)
    parabola = np.stack([grid, grid**2 / 2], axis=1)
    curve = PrincipalCurve(parabola, project(parabola, parabola), 0.0, 2, True)
    beside = np.array([x, x**2 / 2]) + 0.2 * np.array([-x, 1]) / np.hypot(x, 1)
    axis = axis_at(curve, beside)
    assert np.linalg.norm(axis) == pytest.approx(1)
    assert axial_angle(axis, (1, x)) < 0.3  # segments turn by up to 2.4 degrees
    assert axial_angle(axis_at(principal_curve(parabola), beside), (1, x)) < 8  # the ends of a spline are straight


@given(seed=st.integers(0, 10**6))
def test_axial_angles_fold_at_90_degrees(seed):
    first, second = np.random.default_rng(seed).normal(size=(2, 3))
    angle = np.degrees(np.arctan2(np.linalg.norm(np.cross(first, second)), first @ second))
    assert axial_angle(first, second) == pytest.approx(min(angle, 180 - angle), abs=1e-5)
    assert axial_angle(first, -3 * second) == pytest.approx(axial_angle(first, second), abs=1e-5)
    assert axial_angle(first, first) == pytest.approx(0, abs=1e-5)
