"""Ranges, stopping powers and light, against rows of the published tables that the module does not hold."""

import numpy as np
import pytest
from scipy.integrate import quad, trapezoid

from oasis.adapters.neutrino import physics

# Of NIST PSTAR for polystyrene: T (MeV), total stopping power (MeV cm2 / g), CSDA range (g / cm2).
HELD_OUT = [(1.25, 220.5, 3.490e-3), (3.5, 103.2, 1.967e-2), (7.5, 56.70, 7.465e-2), (27.5, 19.77, 0.7689)]
HELD_OUT += [(65, 9.926, 3.639), (75, 8.882, 4.706)]


@pytest.mark.parametrize(("energy", "stopping", "length"), HELD_OUT)
def test_the_table_is_right_between_its_nodes(energy, stopping, length):
    assert physics.stopping_power(energy) == pytest.approx(stopping, rel=0.005)
    assert physics.csda_range(energy) == pytest.approx(length / 1.06 * 10, rel=0.005)


@pytest.mark.parametrize(("energy", "millimetres"), [(10, 1.17), (30, 8.49), (60, 29.7)])
def test_ranges(energy, millimetres):
    assert physics.csda_range(energy) == pytest.approx(millimetres, rel=0.01)


def test_the_range_is_the_integral_of_the_inverse_stopping_power():
    """The two columns of the table agree with each other."""
    for low, high in [(5, 10), (20, 60)]:
        path = quad(lambda energy: 1 / physics.stopping_power(energy), low, high)[0]
        assert np.diff(physics.csda_range([low, high])) == pytest.approx(path / 1.06 * 10, rel=0.005)


@pytest.mark.parametrize(
    ("species", "ranges"), [("deuteron", (0.69, 4.86, 16.99)), ("triton", (0.51, 3.53, 12.26))]
)
def test_heavier_nuclei_stop_as_protons_of_their_velocity(species, ranges):
    mass = physics.MASSES[species]
    assert physics.csda_range([10, 30, 60], mass) == pytest.approx(ranges, rel=0.01)
    assert physics.stopping_power(20 * mass, mass) == pytest.approx(25.62)
    tables = physics.quenching(0.0126)
    assert tables.light_of_energy(20 * mass, mass) == pytest.approx(mass * tables.light_of_energy(20))


@pytest.mark.parametrize(
    ("birks", "protons", "deuteron", "triton"),
    [
        (0.0126, (0.348, 0.463, 0.585, 0.654, 0.753), 0.584, 0.563),
        (0.022, (0.239, 0.340, 0.460, 0.534, 0.651), 0.459, 0.437),
    ],
)
def test_mean_quenching(birks, protons, deuteron, triton):
    """Figures that a direct integration gave before this module was written."""
    tables = physics.quenching(birks)
    energy = np.array([5, 10, 20, 30, 60])
    assert tables.light_of_energy(energy) / energy == pytest.approx(protons, rel=0.005)
    assert tables.light_of_energy(39.8, physics.MASSES["deuteron"]) / 39.8 == pytest.approx(deuteron, rel=0.005)
    assert tables.light_of_energy(52.9, physics.MASSES["triton"]) / 52.9 == pytest.approx(triton, rel=0.005)


def test_the_light_is_birks_integral():
    energy = np.linspace(1e-3, 40, 400_000)
    light = trapezoid(1 / (1 + 0.0126 * physics.stopping_power(energy)), energy)
    assert physics.quenching(0.0126).light_of_energy(40) == pytest.approx(light, rel=1e-3)


def test_without_quenching_the_light_is_the_energy():
    assert physics.quenching(0.0).light_of_energy([1, 60], 2.0) == pytest.approx([1, 60])


def test_light_range_and_energy_invert_each_other():
    tables = physics.quenching(0.0126)
    energy = np.linspace(0.5, 60, 200)
    for mass in physics.MASSES.values():
        assert tables.energy_of_light(tables.light_of_energy(energy, mass), mass) == pytest.approx(
            energy, rel=1e-3
        )
        length = physics.csda_range(energy, mass)
        assert tables.energy_of_range(length, mass) == pytest.approx(energy, rel=1e-3)
        light = tables.light_of_energy(energy, mass)
        assert tables.light_of_range(length, mass) == pytest.approx(light, rel=2e-3)
    assert tables.light_of_energy(0) == tables.light_of_range(0) == 0


def test_muons():
    """The minimum is that of the Particle Data Group for polystyrene, 1.936 MeV cm2 / g at some 317 MeV."""
    assert physics.muon_stopping_power([300, 500, 1000]) * 1.06 == pytest.approx([2.05, 2.07, 2.17], rel=0.005)
    energy = np.linspace(150, 1000, 2000)
    stopping = physics.muon_stopping_power(energy)
    assert stopping.min() == pytest.approx(1.936, rel=0.002)
    assert energy[stopping.argmin()] == pytest.approx(317, abs=20)
    assert physics.landau_width(1e9) == pytest.approx(0.0875, rel=0.002)
