"""The digitisation: constants of the public code, spots against single electrons, and what saturates."""

import numpy as np
import pytest

from oasis.adapters.cygno.digitisation import Digitisation, brightest
from oasis.errors import ConfigError

TPC = Digitisation()
UNSATURATED = Digitisation(saturation=0.0)


def test_constants_are_those_of_the_public_code():
    assert TPC.gain == pytest.approx(342.05, rel=1e-3)
    assert TPC.extraction == pytest.approx(0.3622, rel=1e-3)
    assert TPC.acceptance == pytest.approx(1.192e-4, rel=1e-3)
    assert TPC.counts_per_electron == pytest.approx(87.6, rel=1e-3)
    assert 1e3 / TPC.w_ev * TPC.counts_per_electron == pytest.approx(1896, rel=1e-3)  # per keV
    assert Digitisation(saturated_gain=1.52).counts_per_electron == pytest.approx(1.52 * 87.6, rel=1e-3)


def test_mean_light_falls_with_the_absorption():
    rng = np.random.default_rng(0)
    energy, drift = 8.0, 25.0  # keV, so that 2,000 events fix the mean to 0.2 %
    electrons = UNSATURATED.survivors(np.full(2000, energy), drift, rng)
    charges = UNSATURATED.multiplied(electrons, rng)
    light = np.array([UNSATURATED.spot(charge, 50.2, 49.7, drift)[0].sum() for charge in charges])
    assert light.mean() == pytest.approx(1896 * energy * np.exp(-0.25), rel=0.01)


def test_gain_of_one_electron_is_exponential():
    charge = TPC.multiplied(np.ones(20_000), np.random.default_rng(1))
    assert charge.mean() == pytest.approx((TPC.gain * TPC.extraction) ** 2, rel=0.02)
    assert charge.var() / charge.mean() ** 2 == pytest.approx(1, rel=0.05)
    assert not TPC.multiplied(np.zeros(10), np.random.default_rng(1)).any()


def test_some_faint_recoils_give_no_electron():
    electrons = TPC.survivors(np.full(100_000, 0.25), 25.0, np.random.default_rng(2))
    assert (electrons == 0).mean() == pytest.approx(np.exp(-250 / 46.2 * np.exp(-0.25)), abs=0.002)
    assert (electrons == 0).mean() == pytest.approx(0.015, abs=0.005)


@pytest.mark.parametrize("drift", [0.0, 25.0, 50.0])
def test_spots_are_as_wide_as_the_diffusion(drift):
    light, (top, left) = UNSATURATED.spot(1e6, 40.3, 70.9, drift)
    rows, cols = (np.arange(length) + first for length, first in zip(light.shape, (top, left), strict=True))
    for axis, places, centre in ((1, rows, 40.3), (0, cols, 70.9)):
        profile = light.sum(axis=axis, dtype=float)
        mean = (profile * places).sum() / profile.sum()
        sigma = np.sqrt((profile * (places - mean) ** 2).sum() / profile.sum())
        assert mean == pytest.approx(centre, abs=0.01)
        assert sigma == pytest.approx(np.sqrt(0.1225 + 0.01232 * drift) / (346 / 2304), rel=0.02)
    assert Digitisation().transverse_pixels(25.0) == pytest.approx(4.37, rel=0.02)


def test_saturated_light_is_that_of_single_electrons_in_voxels():
    """The oracle follows each electron, as the public code does, and saturates the counts of each voxel."""
    rng, drift, charge = np.random.default_rng(3), 20.0, 400_000
    sigma = TPC.transverse_pixels(drift)
    place = rng.standard_normal((charge, 3)) * (sigma, sigma, TPC.longitudinal(drift) / TPC.voxel_mm)
    _, filled = np.unique(np.rint(place).astype(int), axis=0, return_counts=True)
    lit = TPC.gain * filled / (1 + 1e-5 * TPC.gain * filled)
    expected = lit.sum() * 0.07 * 2 * TPC.acceptance
    found = TPC.spot(charge, 30.0, 30.0, drift)[0].sum(dtype=float)
    unsaturated = UNSATURATED.spot(charge, 30.0, 30.0, drift)[0].sum(dtype=float)
    assert found == pytest.approx(expected, rel=0.01)
    assert found < 0.8 * unsaturated


def test_counts_fluctuate_as_counts_or_as_photons():
    light, rng = np.full(40_000, 6.0), np.random.default_rng(4)
    counts = Digitisation(poisson="counts").expose(light, rng)
    photons = Digitisation(poisson="photons").expose(light, rng)
    assert counts.var() == pytest.approx(6, rel=0.04)
    assert photons.var() == pytest.approx(12, rel=0.04)
    assert counts.mean() == pytest.approx(6, rel=0.01)
    assert photons.mean() == pytest.approx(6, rel=0.01)
    assert not (photons % 2).any()


def test_true_pixels_are_the_fewest_that_hold_a_share():
    light = TPC.spot(3e5, 20.0, 20.0, 10.0)[0]
    chosen = brightest(light, 0.9)
    assert light[chosen].sum() >= 0.9 * light.sum() > light[chosen].sum() - light[chosen].min() * 5
    assert light[chosen].min() > light[~chosen].max()
    assert brightest(light, 1.0)[light > 0].all()
    assert not brightest(np.zeros((3, 3)), 0.9).any()


def test_impossible_detectors_are_refused():
    with pytest.raises(ConfigError, match="w_ev"):
        Digitisation(w_ev=0)
    with pytest.raises(ConfigError, match="poisson"):
        Digitisation(poisson="electrons")
