"""Recoils of D-D neutrons against tables that were calculated independently from the same cross sections."""

import numpy as np
import pytest
from scipy.stats import kstest

from oasis.adapters.migdal import neutrons

# Recoils per energy times the endpoint, in 12 equal bins up to the endpoint.
CARBON = [1.30, 1.23, 1.08, 0.91, 0.75, 0.65, 0.64, 0.71, 0.86, 1.08, 1.31, 1.48]
FLUORINE = [2.97, 2.18, 1.59, 1.16, 0.86, 0.64, 0.50, 0.40, 0.35, 0.35, 0.41, 0.54]
INELASTIC = [(0.1, 458), (0.2, 449), (14, 319), (18, 304), (21, 291)]  # keV, from neutrons of 2.45 MeV


def draw(channel: neutrons.Channel, monkeypatch: pytest.MonkeyPatch, count: int = 200_000) -> np.ndarray:
    monkeypatch.setattr(neutrons, "CHANNELS", (channel,))
    return neutrons.dd_recoils(np.random.default_rng(0), count)[1]


@pytest.mark.parametrize(("number", "table"), [(0, CARBON), (1, FLUORINE)], ids=["carbon", "fluorine"])
def test_elastic_recoils_have_the_calculated_spectrum(number, table, monkeypatch) -> None:
    channel = neutrons.CHANNELS[number]
    endpoint = neutrons.endpoint()[channel.atom]
    energies = draw(channel, monkeypatch)
    counts, _ = np.histogram(energies, np.linspace(0, endpoint, 13))
    np.testing.assert_allclose(counts / len(energies) * 12, table, atol=0.02)
    assert energies.max() == pytest.approx(endpoint, rel=1e-3)


@pytest.mark.parametrize(("number", "ends"), list(enumerate(INELASTIC, 2)))
def test_inelastic_recoils_are_uniform_between_their_ends(number, ends, monkeypatch) -> None:
    channel = neutrons.CHANNELS[number]
    found = neutrons.recoil_energy(channel, np.array([1.0, -1.0]), neutron=2450.0)
    np.testing.assert_allclose(found, ends, rtol=0.01, atol=0.6)
    low, high = neutrons.recoil_energy(channel, np.array([1.0, -1.0]))
    assert kstest(draw(channel, monkeypatch, 20_000), "uniform", args=(low, high - low)).pvalue > 1e-3


@pytest.mark.parametrize("channel", neutrons.CHANNELS, ids=str)
def test_energy_and_momentum_are_conserved(channel) -> None:
    """With the neutron's velocity in the centre of mass boosted to the laboratory, nothing is missing."""
    mass, neutron, cosine = neutrons.ATOMIC_MASS[channel.atom], neutrons.NEUTRON_MASS, np.linspace(-1, 1, 9)
    boost = neutron / (neutron + mass) * np.sqrt(2 * neutrons.NEUTRON_ENERGY / neutron)
    available = mass / (neutron + mass) * neutrons.NEUTRON_ENERGY - channel.level
    speed = np.sqrt(2 * available * mass / (neutron * (neutron + mass)))
    scattered = neutron / 2 * (boost**2 + speed**2 + 2 * boost * speed * cosine)
    recoil = neutrons.recoil_energy(channel, cosine)
    np.testing.assert_allclose(scattered + recoil + channel.level, neutrons.NEUTRON_ENERGY)


def test_species_are_mixed_by_atoms_and_cross_sections() -> None:
    species, _ = neutrons.dd_recoils(np.random.default_rng(0), 50_000)
    assert (species == 6).mean() == pytest.approx(0.124, abs=0.006)


def test_recoils_above_a_bound_are_the_rest_of_all() -> None:
    every_species, every_energy = neutrons.dd_recoils(np.random.default_rng(0), 60_000)
    species, energies = neutrons.dd_recoils(np.random.default_rng(1), 20_000, least=300)
    kept = every_energy > 300
    assert len(energies) == 20_000
    assert energies.min() >= 300
    assert (species == 6).mean() == pytest.approx((every_species[kept] == 6).mean(), abs=0.02)
    assert energies.mean() == pytest.approx(every_energy[kept].mean(), rel=0.01)
