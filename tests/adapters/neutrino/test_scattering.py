"""Scattered tracks against Highland's formula, and the light of straight ones."""

import numpy as np
import pytest
from scipy.integrate import quad

from oasis.adapters.neutrino import physics
from oasis.adapters.neutrino.scattering import RADIATION_LENGTH, scattered_paths, scattering_angle
from oasis.adapters.neutrino.simulation import Detector, Tracks, expected_charge, simulate

COUNT = 3000


def paths(energy, seed=0):
    direction = np.tile([0.48, 0.6, 0.64], (COUNT, 1))
    energies, masses = np.full(COUNT, energy), np.ones(COUNT)
    return scattered_paths(energies, masses, np.zeros((COUNT, 3)), direction, np.random.default_rng(seed))


@pytest.mark.parametrize("energy", [20.0, 55.0])
def test_the_end_of_a_track_is_displaced_as_the_integral_of_highland_tells(energy):
    """The variance of the displacement is the integral of the angle's times the squared distance to the end."""
    length = float(physics.csda_range(energy))
    ranges = physics.csda_range(np.linspace(0.05, 60, 4000))

    def density(path):
        left = np.interp(length - path, ranges, np.linspace(0.05, 60, 4000))
        gamma = left / 938.272 + 1
        beta_p = 938.272 * (gamma**2 - 1) / gamma
        scale = 13.6 / beta_p * (1 + 0.038 * np.log(length / RADIATION_LENGTH))
        return scale**2 / RADIATION_LENGTH * (length - path) ** 2

    expected = np.sqrt(quad(density, 0, 0.999 * length, limit=200)[0])
    middle, _ = paths(energy)
    direction = np.array([0.48, 0.6, 0.64])
    end = middle[:, -1]
    across = end - np.outer(end @ direction, direction)
    assert np.sqrt((across**2).sum(axis=1).mean() / 2) == pytest.approx(expected, rel=0.06)
    assert 0.01 < expected / length < 0.06


def test_ranges_straggle_by_bortfelds_width():
    middle, remaining = paths(55.0)
    steps = np.linalg.norm(np.diff(middle, axis=1), axis=2).sum(axis=1) * middle.shape[1] / (middle.shape[1] - 1)
    length = float(physics.csda_range(55.0))
    assert steps.mean() == pytest.approx(length, rel=0.01)
    assert steps.std() == pytest.approx(10 * 0.012 * (length / 10) ** 0.935, rel=0.1)
    assert remaining[0, 0] == pytest.approx(length)
    assert remaining[0, -1] == 0


def test_steps_add_up_in_quadrature():
    energy, mass, length = np.array([30.0]), np.ones(1), np.array([8.5])
    one = scattering_angle(energy, mass, np.array([1.0]), length)
    four = scattering_angle(energy, mass, np.array([4.0]), length)
    assert four == pytest.approx(2 * one)


def test_scattered_nuclei_give_the_same_light_in_other_cubes():
    count = 200
    tracks = Tracks(
        np.tile([0, 1, 2], count)[:count],
        np.tile([500.0, 50.0, 40.0], count)[:count],
        np.random.default_rng(1).uniform(-5, 5, (count, 3)),
        np.tile([0.6, 0.0, 0.8], (count, 1)),
    )
    detector = Detector(scattering=True, fluctuations=False)
    straight = expected_charge(tracks, detector)
    scattered = expected_charge(tracks, detector, np.random.default_rng(0))
    muons = tracks.species == 0
    np.testing.assert_allclose(scattered[muons], straight[muons])
    sums = [one[~muons].sum(axis=(1, 2, 3)) for one in (scattered, straight)]
    np.testing.assert_allclose(*sums, rtol=2e-3)
    moved = np.abs(scattered - straight)[~muons].sum(axis=(1, 2, 3)) / sums[0]
    assert 0.002 < np.median(moved) < 0.2
    assert simulate(tracks, detector, np.random.default_rng(0)).shape == straight.shape
