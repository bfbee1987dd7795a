"""Axes of electron tracks: drawn ones, simulated ones, and the statistics of an event table; about 5 s."""

from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from oasis.adapters.migdal import MigdalAdapter, topology
from oasis.adapters.migdal.topology import axis_columns, binned_angles, topology_figure, track_axis
from oasis.stats.curves import CurveError, axial_angle, principal_curve

NAMES = {"axis_angle_map", "axis_angle_predicted", "axis_angle_true", "curve_failed"}


def track(vertex, angle, bend=0.0, length=40, size=96):
    """An image (ADU) of an arc that leaves `vertex` at an angle to the rows' axis and turns by `bend`, degrees."""
    along = np.linspace(0, length, 400)
    turned = np.radians(angle + bend * along / length)
    steps = np.stack([np.cos(turned), np.sin(turned)], axis=1) * length / 400
    points = vertex + np.cumsum(steps, axis=0)
    pixels = np.stack(np.mgrid[:size, :size], axis=-1)[:, :, None]
    blobs = np.exp(-((pixels - points) ** 2).sum(axis=-1) / (2 * 2.0**2))
    image = blobs.sum(axis=2).astype(np.float32) * 10
    return np.where(image > 1, image, 0)


def direction(angle):
    return np.cos(np.radians(angle)), np.sin(np.radians(angle))


@pytest.fixture(scope="module")
def straight():
    return track((30, 40), 25)


@pytest.fixture(scope="module")
def electrons():
    """True maps and meta of isolated simulated electrons."""
    test = MigdalAdapter({"size": [160, 160], "energies": [4, 15], "events": {"test": 120}}).dataset("test")
    samples = [test[index] for index in range(0, 120, 2)]
    return [(sample.target[0, 0], sample.meta) for sample in samples]


def test_the_axis_of_a_straight_track_is_its_direction(straight):
    for vertex in ((30, 40), (45, 47), (0, 0)):
        assert axial_angle(track_axis(straight, vertex), direction(25)) < 1


@pytest.mark.parametrize("bend", [-60, 60])
def test_a_bent_track_has_the_axis_of_the_place_near_the_vertex(bend):
    image = track((30, 40), 25, bend)
    tip = (30, 40) + np.array(direction(25 + bend / 2)) * 40
    assert axial_angle(track_axis(image, (30, 40)), direction(25)) < 12
    assert axial_angle(track_axis(image, tip), direction(25 + bend)) < 12


def test_pixels_weigh_by_the_logarithm_of_their_light(straight):
    pixels = np.argwhere(straight >= 1)
    weights = [np.log10(1 + straight[row, col] / 23) for row, col in pixels]
    curve = principal_curve(pixels, weights, threshold=0.25)
    middle = curve.vertices[20:22]
    assert axial_angle(track_axis(straight, middle.mean(axis=0)), middle[1] - middle[0]) < 1e-3


def test_pixels_below_the_threshold_do_not_count(straight):
    rng = np.random.default_rng(0)
    faint = np.where(straight > 0, straight, rng.uniform(0, 0.99, straight.shape))
    np.testing.assert_array_equal(track_axis(faint, (30, 40)), track_axis(straight, (30, 40)))
    assert axial_angle(track_axis(faint, (30, 40), threshold_adu=0), track_axis(straight, (30, 40))) > 1
    np.testing.assert_array_equal(
        track_axis(straight, (30, 40), threshold_adu=0), track_axis(straight, (30, 40), threshold_adu=0.5)
    )


def test_columns_compare_predicted_true_and_direction(straight):
    meta = {"kind": "hybrid", "vertex_row": 30, "vertex_col": 40, "ER_dy": 0.3, "ER_dx": 0.3, "ER_dz": -0.9}
    columns = axis_columns(track((30, 40), 125), straight, meta)
    assert set(columns) == NAMES
    assert columns["axis_angle_map"] == pytest.approx(80, abs=1)
    assert columns["axis_angle_predicted"] == pytest.approx(80, abs=1)
    assert columns["axis_angle_true"] == pytest.approx(20, abs=1)
    assert columns["curve_failed"] == 0
    assert axis_columns(straight, straight, meta)["axis_angle_map"] < 1e-5


@pytest.mark.parametrize("empty", ["predicted", "true"])
def test_a_failed_curve_is_counted(straight, empty):
    meta = {"kind": "hybrid", "vertex_row": 30, "vertex_col": 40, "ER_dy": 1.0, "ER_dx": 0.0}
    maps = {"predicted": straight, "true": straight, empty: np.zeros_like(straight)}
    columns = axis_columns(**maps, meta=meta)
    assert columns["curve_failed"] == 1
    assert np.isnan(columns["axis_angle_map"])
    assert {name for name in NAMES if np.isnan(columns[name])} == {"axis_angle_map", f"axis_angle_{empty}"}


def test_a_curve_that_does_not_settle_has_failed(straight, monkeypatch):
    monkeypatch.setattr(topology, "principal_curve", partial(principal_curve, max_iterations=1))
    with pytest.raises(CurveError) as caught:
        track_axis(straight, (30, 40))
    assert str(caught.value) == "no curve: no convergence in 1 iterations"


def test_other_events_and_files_without_a_vertex_have_no_columns(straight):
    place = {"vertex_row": 30.0, "vertex_col": 40.0}
    for meta in (
        {},
        {"kind": "hybrid"},
        {"kind": "NR", **place},
        {"kind": "hybrid", **place, "vertex_row": np.nan},
    ):
        assert axis_columns(straight, straight, meta) == {}
    columns = axis_columns(straight, straight, {"kind": "hybrid", **place})
    assert columns["axis_angle_map"] < 1e-5
    assert np.isnan(columns["axis_angle_true"])


def test_simulated_electrons_start_about_where_their_axis_points(electrons):
    columns = pd.DataFrame([axis_columns(image, image, meta) for image, meta in electrons])
    assert columns["curve_failed"].sum() == 0
    assert columns["axis_angle_map"].max() < 1e-5
    assert 10 < columns["axis_angle_true"].median() < 32
    mirrored = [
        axis_columns(image, image, {**meta, "ER_dx": -meta["ER_dx"]})["axis_angle_true"]
        for image, meta in electrons
    ]
    assert np.median(mirrored) > 35  # rows and columns are not mixed up: without a relation it is 45


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    count = 500
    failed = rng.random(count) < 0.1
    angles = np.where(failed, np.nan, rng.uniform(0, 90, count))
    columns = {
        "ER_energy": rng.uniform(3, 15, count),
        "delta_percent": rng.normal(0, 30, count),
        "axis_angle_map": angles,
        "axis_angle_true": rng.uniform(0, 90, count),
        "curve_failed": failed.astype(float),
    }
    return pd.concat([pd.DataFrame(columns), pd.DataFrame({"ER_energy": [4.0, np.nan]})], ignore_index=True)


def test_bins_against_numpy(table):
    bins = binned_angles(table, "axis_angle_map", "ER_energy", [3, 9, 15, 20])
    assert bins["events"].tolist() == [
        table["ER_energy"][:500].lt(9).sum(),
        table["ER_energy"][:500].ge(9).sum(),
        0,
    ]
    assert bins["failed"].sum() == table["curve_failed"].sum() > 0
    for row in bins[:2].itertuples():
        events = table[(table["ER_energy"] >= row.low) & (table["ER_energy"] < row.high)]
        angles = np.sort(events["axis_angle_map"].dropna())
        quarters = np.quantile(angles, [0.25, 0.5, 0.75])
        np.testing.assert_allclose([row.quarter, row.median, row.three_quarters], quarters)
        below = int(binom.ppf(0.025, len(angles), 0.5))
        assert row.median_low in angles[below - 2 : below + 2]
        assert row.median_high in angles[len(angles) - below - 2 : len(angles) - below + 2]
    assert bins.iloc[2][["quarter", "median", "median_low"]].isna().all()


def test_the_figure_shows_the_bins(table):
    energy, error, *failed = topology_figure(table).axes
    table = table[table["ER_energy"] >= 4]
    by_energy = binned_angles(table, "axis_angle_map", "ER_energy", range(4, 16))
    by_error = binned_angles(table.abs(), "axis_angle_map", "delta_percent", topology.DELTA_EDGES)
    for axes, bars, bins in zip((energy, error), failed, (by_energy, by_error), strict=True):
        (line,) = (one for one in axes.lines if one.get_marker() == "o")
        np.testing.assert_allclose(np.array(line.get_ydata(), float), bins["median"])
        heights = [bar.get_height() for bar in bars.patches]
        np.testing.assert_allclose(heights, 100 * bins["failed"] / bins["events"])
    assert [axes.get_xlabel() for axes in failed] == ["electron energy (keV)", "|ΔI| (%)"]


def test_a_table_of_few_events_can_be_drawn(table, tmp_path):
    topology_figure(table[:3]).savefig(tmp_path / "few.png")
