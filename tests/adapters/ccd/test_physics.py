"""Physics of the CCD adapter against published tables, and against independent formulas."""

import numpy as np
import pytest
from scipy.integrate import quad

from oasis.adapters.ccd import decay, muons
from oasis.adapters.ccd.electrons import merge, transport, until_exit
from oasis.adapters.ccd.silicon import (
    ENERGIES,
    STOPPING,
    compton,
    csda_range,
    energy_of_range,
    interaction,
    recoil_energy,
)
from oasis.errors import DataError

DEPTH = 675.0  # um


@pytest.fixture(scope="module")
def tracks():
    """Return tracks of electrons that begin along the third axis, by energy in keV."""
    rng = np.random.default_rng(1)
    return {energy: transport(np.full(1500, energy), rng) for energy in (30.0, 100.0, 500.0)}


def owners(tracks):
    return np.repeat(np.arange(len(tracks)), np.diff(tracks.offsets))


# ENSDF for mass 135 (Nucl. Data Sheets 109, 517) and ICRP 107
@pytest.mark.parametrize(("endpoint", "mean"), [(915.2, 310.2), (757.0, 248.1), (556.8, 173.3)])
def test_mean_energies_of_beta_branches(endpoint, mean):
    assert decay.mean_energy(endpoint) == pytest.approx(mean, abs=0.5)
    density, weighted = (
        quad(lambda t, power=power: t**power * float(decay.beta_spectrum(t, endpoint)), 0, endpoint)[0]
        for power in (0, 1)
    )
    assert decay.mean_energy(endpoint) == pytest.approx(weighted / density, abs=0.01)


def test_beta_energies_follow_the_sum_of_the_branches():
    energies = decay.beta_energies(200_000, np.random.default_rng(0))
    total = sum(intensity for _, intensity in decay.BRANCHES)
    expected = sum(intensity * decay.mean_energy(end) for end, intensity in decay.BRANCHES) / total
    assert energies.mean() == pytest.approx(expected, abs=4 * energies.std() / len(energies) ** 0.5)
    assert energies.max() < 915.2


def test_median_and_mode_of_the_main_branch():
    energy = np.linspace(0, 915.2, 91_521)
    density = decay.beta_spectrum(energy, 915.2)
    assert energy[np.searchsorted(np.cumsum(density), density.sum() / 2)] == pytest.approx(288.6, abs=0.5)
    assert energy[density.argmax()] == pytest.approx(175.8, abs=0.5)


def test_conversion_electrons_and_x_rays_per_decay():
    k, outer, further = (line.intensity for line in decay.CONVERSION)
    assert [100 * one for one in (k, outer, further)] == pytest.approx([5.71, 0.93, 0.24], abs=0.005)
    assert 100 * decay.per_decay(decay.X_RAYS) == pytest.approx(5.2, abs=0.05)
    drawn = decay.line_energies(decay.CONVERSION, 50_000, np.random.default_rng(0))
    share = (np.abs(drawn - 213.8) < 0.1).mean()
    assert share == pytest.approx(
        k / decay.per_decay(decay.CONVERSION), abs=4 * (share * (1 - share) / 5e4) ** 0.5
    )
    assert drawn.min() == pytest.approx(213.8)


# CSDA ranges of ESTAR in um
@pytest.mark.parametrize(
    ("energy", "length"), [(20, 4.9), (50, 24.0), (100, 78.2), (200, 242.3), (500, 943), (900, 2033)]
)
def test_ranges_are_those_of_estar(energy, length):
    assert csda_range(energy) == pytest.approx(length, rel=0.01)
    assert energy_of_range(csda_range(energy)) == pytest.approx(energy, rel=1e-4)


def test_ranges_are_the_integral_of_the_stopping_power():
    """Two columns of ESTAR agree, up to the radiative losses of 1 % and the interpolation."""
    energies = np.geomspace(12.5, 1000, 5000)
    stopping = np.exp(np.interp(np.log(energies), np.log(ENERGIES), np.log(STOPPING)))
    path = np.trapezoid(1 / stopping, energies) * 10 / 2.33  # um from keV / (MeV cm2 / g) / (g / cm3)
    assert csda_range(1000) - csda_range(12.5) == pytest.approx(path, rel=0.01)


def test_tracks_are_as_long_as_the_range(tracks):
    for energy, made in tracks.items():
        steps = np.linalg.norm(np.diff(made.points, axis=0, prepend=made.points[:1]), axis=1)
        steps[made.offsets[:-1]] = np.linalg.norm(made.points[made.offsets[:-1]], axis=1)
        length = np.bincount(owners(made), steps).mean()
        assert 0.93 * csda_range(energy) < length < csda_range(energy)  # chords are shorter than the path


def test_all_energy_is_deposited_or_leaves(tracks):
    for energy, made in tracks.items():
        total = np.bincount(owners(made), made.intensity)
        np.testing.assert_allclose(total, energy, rtol=1e-6)
        kept = until_exit(owners(made), made.points[:, 2], 0, DEPTH)
        inside, outside = (np.bincount(owners(made)[one], made.intensity[one], len(made)) for one in (kept, ~kept))
        np.testing.assert_allclose(inside + outside, energy, rtol=1e-6)
        assert (outside > 0).any()


@pytest.mark.parametrize(("energy", "share"), [(100.0, 0.152), (500.0, 0.128)])
def test_electrons_at_normal_incidence_are_backscattered(tracks, energy, share):
    made = tracks[energy]
    kept = until_exit(owners(made), made.points[:, 2], 0, np.inf)
    left = np.bincount(owners(made)[~kept], minlength=len(made)) > 0
    assert left.mean() == pytest.approx(share, abs=0.02 + 2 * (share / len(made)) ** 0.5)


def test_merged_tracks_keep_their_energy_and_their_shape(tracks):
    made = tracks[100.0]
    merged = merge(made, 5.0)
    assert len(merged.points) < len(made.points) / 5
    for one in (made, merged):
        assert one.intensity.sum() == pytest.approx(1500 * 100)
    centres = [np.average(one.points, axis=0, weights=one.intensity) for one in (made, merged)]
    np.testing.assert_allclose(*centres, atol=1e-9)


def test_energies_below_zero_are_refused():
    with pytest.raises(DataError, match="above 0 keV"):
        transport([10.0, -1.0], np.random.default_rng(0))


# XDB (Elam et al. 2002): photoelectric absorption and Compton scattering at normal incidence
@pytest.mark.parametrize(("energy", "share"), [(30.97, 0.172), (35.0, 0.127), (249.8, 0.0177), (608.2, 0.0125)])
def test_photons_interact_as_tabulated(energy, share):
    assert interaction(energy, DEPTH) == pytest.approx(share, rel=0.1)


def test_compton_electrons_follow_klein_and_nishina():
    rng, energy = np.random.default_rng(0), 249.8
    found = recoil_energy(np.full(200_000, energy), rng)
    edge = energy * 2 * energy / (511 + 2 * energy)
    assert edge == pytest.approx(123.5, abs=0.2)
    assert edge * 0.99 < found.max() <= edge * 1.0001
    k = energy / 510.999

    def section(cosine):
        share = 1 / (1 + k * (1 - cosine))
        return share**2 * (share + 1 / share - 1 + cosine**2)

    def lost(cosine):
        return section(cosine) * energy * (1 - 1 / (1 + k * (1 - cosine)))

    mean = quad(lost, -1, 1)[0] / quad(section, -1, 1)[0]
    assert found.mean() == pytest.approx(mean, abs=4 * found.std() / len(found) ** 0.5)


def test_the_compton_cross_section_is_that_of_thomson_for_soft_photons():
    free = 0.6652e-24 * 6.022e23 * 14 / 28.0855
    assert compton(1.0) / 0.833 == pytest.approx(free, rel=0.01)  # with the binding at the lowest energy


# Landau-Vavilov with the density effect (PDG 2022, Eq. 34.12), keV
@pytest.mark.parametrize(
    ("gev", "length", "expected"), [(0.3, 300, 79.5), (1.0, 300, 78.8), (4.0, 300, 82.4), (4.0, 675, 195)]
)
def test_most_probable_loss_of_muons(gev, length, expected):
    """The mode of a Landau distribution lies 1.579 widths below its median, a stable estimate of it."""
    of = muons.kinematics(gev)
    lost = muons.losses(np.full(8000, float(length)), of, 5.0, np.random.default_rng(0))
    total = np.bincount(lost.muon, lost.energy)
    mode = np.median(total) - 1.579 * of.xi * length
    assert mode == pytest.approx(expected, rel=0.05)
    assert total.mean() > 1.2 * mode


def test_mean_loss_of_muons_at_minimum_ionisation():
    """3.88 MeV / cm (PDG) at 360 MeV/c, where few collisions are beyond what one draws."""
    of = muons.kinematics(0.36)
    assert muons.restricted_loss(of, of.largest) * 10 == pytest.approx(3.88, rel=0.03)
    lost = muons.losses(np.full(4000, 1000.0), of, 5.0, np.random.default_rng(0))
    total = np.bincount(lost.muon, lost.energy)
    expected = 1000 * muons.restricted_loss(of, of.largest)
    assert total.mean() == pytest.approx(expected, abs=4 * total.std() / 4000**0.5)


def test_directions_of_muons():
    along = muons.directions(50_000, np.random.default_rng(0))
    np.testing.assert_allclose(np.linalg.norm(along, axis=1), 1)
    assert (along[:, 1:] > 0).all()
    assert abs(along[:, 0].mean()) < 0.01
    # the mean cosine of the zenith angle, whose density is cos^2 sin^2
    expected = quad(lambda a: np.cos(a) ** 3 * np.sin(a) ** 2, 0, np.pi / 2)[0] / (np.pi / 16)
    assert along[:, 1].mean() == pytest.approx(expected, abs=0.005)
