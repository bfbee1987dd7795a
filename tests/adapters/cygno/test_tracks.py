"""Tracks: ranges of published tables, energies that add up, and light that agrees with the digitisation."""

import numpy as np
import pytest

from oasis.adapters.cygno.digitisation import Digitisation
from oasis.adapters.cygno.tracks import (
    Track,
    TrackOptions,
    electron_path,
    electron_range,
    random_track,
    track_light,
)
from oasis.adapters.migdal.tracks import DENSITY, stopping_power
from oasis.errors import ConfigError

OPTIONS = TrackOptions()


@pytest.mark.parametrize("energy", [5.0, 10.0, 15.0])
def test_ranges_are_those_of_the_stopping_power_of_cf4(energy):
    """CF4 is 94 % of the mass of the gas."""
    grid = np.geomspace(0.05, energy, 4000)
    csda = np.trapezoid(1 / stopping_power(grid), grid) * DENSITY / 10
    assert electron_range(energy, 1.56) / 10 * 1.56e-3 == pytest.approx(csda, rel=0.1)


@pytest.mark.parametrize(("energy", "silicon"), [(50.0, 5.592e-3), (100.0, 18.22e-3)])
def test_ranges_are_close_to_those_of_silicon(energy, silicon):
    """ESTAR's range in silicon (g/cm2) at the same energy; fluorine has a 6 % shorter one by Bethe's formula."""
    assert electron_range(energy, 1.56) / 10 * 1.56e-3 == pytest.approx(0.94 * silicon, rel=0.05)


def test_electrons_deposit_their_energy_and_scatter():
    rng = np.random.default_rng(0)
    ends = []
    for _ in range(40):
        points, energies = electron_path(40.0, OPTIONS, rng)
        assert energies.sum() == pytest.approx(40.0)
        assert (energies >= 0).all()
        ends.append(np.linalg.norm(points[-1]))
    path = len(points) * OPTIONS.step_mm
    assert path == pytest.approx(electron_range(40.0, OPTIONS.density), rel=0.1)
    assert np.mean(ends) < 0.8 * path


def test_muons_and_alpha_particles_are_straight_and_lose_what_they_should():
    rng = np.random.default_rng(1)
    muon = random_track(TrackOptions(shares=(0, 1, 0)), 400.0, rng)
    assert muon.kind == "muon"
    assert muon.energy.sum() == pytest.approx(2.3 * 40, rel=0.1)
    alpha = random_track(TrackOptions(shares=(0, 0, 1), alpha_kev=(5500, 5500)), 400.0, rng)
    assert alpha.energy.sum() == pytest.approx(5500)
    assert np.linalg.norm(np.ptp(alpha.points, axis=0)) == pytest.approx(10 * 6.4 / 1.56, rel=0.02)
    assert alpha.energy[-4] > 1.5 * alpha.energy[0]  # the Bragg peak
    for track in (muon, alpha):
        spread = np.linalg.svd(track.points - track.points.mean(axis=0))[1]
        assert spread[1] < 1e-9 * spread[0]


def test_light_of_a_point_is_that_of_a_spot():
    tpc = Digitisation(saturation=0.0, absorption_mm=1e9)
    track = Track(np.zeros((1, 3)), np.array([500.0]), "electron")
    light = track_light(track, (60.0, 50.0, 20.0), (120, 100), tpc, np.random.default_rng(0))
    assert light.sum(dtype=float) == pytest.approx(500 * 1896, rel=0.03)
    spot, (top, left) = tpc.spot(light.sum() / tpc.counts_per_electron * 15348, 60.0, 50.0, 20.0)
    part = light[top : top + len(spot), left : left + spot.shape[1]]
    assert part == pytest.approx(spot, abs=0.03 * float(spot.max()))


def test_tracks_across_the_drift_saturate_more_than_those_along_it():
    tpc, rng = Digitisation(), np.random.default_rng(2)
    sums = []
    for axis in (1, 2):
        points = np.zeros((200, 3))
        points[:, axis] = np.linspace(0, 8, 200)
        track = Track(points, np.full(200, 0.5), "electron")
        sums.append(track_light(track, (60.0, 30.0, 5.0), (120, 120), tpc, rng).sum(dtype=float))
    along = sums[1] / (100 * 1896)
    assert along < 1
    assert sums[0] != pytest.approx(sums[1], rel=0.02)
    assert sums[0] < 100 * 1896


def test_light_from_outside_a_window_is_left_out():
    track = Track(np.array([[0.0, 0.0, 0.0]]), np.array([10.0]), "muon")
    light = track_light(track, (-500.0, 0.0, 10.0), (64, 64), Digitisation(), np.random.default_rng(0))
    assert not light.any()


def test_shares_are_checked():
    with pytest.raises(ConfigError, match="shares"):
        TrackOptions(shares=(0, 0, 0))
