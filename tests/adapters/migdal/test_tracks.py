"""Tracks against tables and formulas that are coded here again (about 20 s).

What is compared with the tables of an independent Monte Carlo of the same physics:

- maximum distance: of any deposit from the vertex;
- projected 2D 96 % length: the track seen along z (its direction is isotropic), the extent between the 2 % and
  98 % quantiles of the light along its principal axis; the 3D one likewise, without projection;
- projected range: where the primary recoil falls below 0.3 keV, along its initial direction;
- head: the share of the light in the first half of the way to the furthest deposit along the initial direction.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.special import k1
from scipy.stats import kstest

from oasis.adapters.migdal import tracks
from oasis.data.components import Component, Components
from oasis.errors import DataError

Array = NDArray[np.floating]
C, F = 0, 1


@cache
def electrons(energy: float) -> Components:
    return tracks.simulate_electrons(np.full(800, energy), np.random.default_rng(1))


@cache
@cache
def recoils(number: int, energy: float) -> Components:
    return tracks.simulate_recoils(number, np.full(300, energy), np.random.default_rng(2))


def column(library: Components, name: str) -> Array:
    return library.table[name].astype(float)


def directions(library: Components) -> Array:
    return np.stack([column(library, name) for name in ("dx", "dy", "dz")], 1)


def sums(library: Components) -> Array:
    return np.add.reduceat(library.intensity.astype(float), library.offsets[:-1])


def length96(points: Array, weights: Array) -> float:
    centred = points - np.average(points, axis=0, weights=weights)
    along = centred @ np.linalg.eigh((centred * weights[:, None]).T @ centred)[1][:, -1]
    order = np.argsort(along)
    share = (weights[order].cumsum() - weights[order] / 2) / weights.sum()
    low, high = np.interp([0.02, 0.98], share, along[order])
    return float(high - low)


def measure(library: Components, quantity: Callable[[Component], float]) -> Array:
    return np.array([quantity(track) for track in library])


def assert_mean(values: Array, mean: float, spread: float, trials: int, systematic: float) -> None:
    """Means agree within four statistical errors of both samples and a relative systematic error."""
    error = spread * np.sqrt(1 / trials + 1 / len(values))
    assert values.mean() == pytest.approx(mean, abs=4 * error + systematic * mean)


# Electrons.


@pytest.mark.parametrize(("energy", "expected"), [(1, 2.2), (3, 1.05), (5, 0.72), (10, 0.42), (15, 0.31)])
def test_stopping_power_is_the_table(energy: float, expected: float) -> None:
    assert tracks.stopping_power(np.array([energy]))[0] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("energy", "expected"), [(3, 1.71), (5.9, 5.39), (10, 13.5), (15, 27.6)])
def test_csda_range_is_the_table(energy: float, expected: float) -> None:
    grid = np.geomspace(0.05, energy, 3000)
    csda = np.trapezoid(1 / tracks.stopping_power(grid), grid)
    assert csda == pytest.approx(expected, rel=0.005)


def test_csda_range_at_10_kev_is_that_of_teflon_within_a_tenth() -> None:
    grid = np.geomspace(0.05, 10, 3000)
    csda = np.trapezoid(1 / tracks.stopping_power(grid), grid)
    assert 3.0e-4 < csda * tracks.DENSITY / 10 < 3.26e-4


@pytest.mark.parametrize(
    ("energy", "distance", "length"),
    [
        (3, (1.09, 0.31), (0.85, 0.31)),
        (5, (2.62, 0.74), (2.02, 0.73)),
        (5.9, (3.47, 0.93), (2.68, 0.95)),
        (10, (8.97, 2.35), (7.07, 2.4)),
        (15, (18.0, 4.7), (13.9, 4.8)),
    ],
)
def test_electron_lengths_are_the_table(
    energy: float, distance: tuple[float, float], length: tuple[float, float]
) -> None:
    library = electrons(energy)
    far = measure(library, lambda track: np.linalg.norm(track.points, axis=1).max())
    seen = measure(library, lambda track: length96(track.points[:, :2], track.intensity))
    assert_mean(far, *distance, trials=600, systematic=0.02)
    assert_mean(seen, *length, trials=600, systematic=0.02)
    assert far.std() == pytest.approx(distance[1], rel=0.15)


def test_electron_deposits_add_up_to_the_energy() -> None:
    energies = np.random.default_rng(0).uniform(3, 15.5, 300)
    library = tracks.simulate_electrons(energies, np.random.default_rng(0))
    np.testing.assert_allclose(sums(library), energies, rtol=1e-5)
    assert library.intensity.min() > 0


def test_an_electron_track_ends_in_a_bragg_like_blob() -> None:
    """The densest quarter of the way holds far more than a quarter of the light."""

    def last_quarter(track: Component) -> float:
        steps = np.linalg.norm(np.diff(track.points, axis=0, prepend=0), axis=1)
        # Deposits come in the order of transport, knock-on electrons among them: their steps are few.
        return float(track.intensity[steps.cumsum() > 0.75 * steps.sum()].sum() / track.intensity.sum())

    assert measure(electrons(10), last_quarter).mean() > 0.35


def test_elastic_deflection_has_the_mean_of_the_screened_rutherford_law() -> None:
    """<1 - cos> = 2 a ((1 + a) ln((1 + a) / a) - 1) for p(cos) ~ 1 / (1 - cos + 2 a)^2."""
    rng = np.random.default_rng(3)
    count = 200_000
    for atom, number in ((C, 6), (F, 9)):
        flying = tracks._launch(np.zeros(count, np.int64), np.full(count, 0.5), rng)
        turned = tracks._scatter_elastically(flying, np.full(count, atom), rng)
        cosine = (flying.direction * turned.direction).sum(1)
        a = 3.4e-3 * number**0.67 / 0.5
        expected = 2 * a * ((1 + a) * np.log((1 + a) / a) - 1)
        error = (1 - cosine).std() / np.sqrt(count)
        assert 1 - cosine.mean() == pytest.approx(expected, abs=4 * error)


def test_elastic_free_path_at_10_kev_is_that_of_the_cross_section() -> None:
    """The cross section written out for F and C in cm2, four F and one C per molecule."""
    total = 0.0
    for number, atoms in ((6, 1), (9, 4)):
        a = 3.4e-3 * number**0.67 / 10
        total += atoms * 5.21e-21 * number**2 / 100 * 4 * np.pi / (a * (1 + a)) * (521 / 1034) ** 2
    assert tracks.elastic_rate(np.array([10.0])).sum() == pytest.approx(1.647e18 * total / 10)


@pytest.mark.parametrize("energy", [1.0, 5.0, 15.0])
def test_knock_on_electrons_follow_moller(energy: float) -> None:
    beta2 = 1 - (511 / (511 + energy)) ** 2
    strength = 153.5 * 0.4772 * 2.407e-4 / beta2 / 10
    number = strength * quad(lambda w: w**-2, 0.2, energy / 2)[0]
    carried = strength * quad(lambda w: 1 / w, 0.2, energy / 2)[0]
    assert tracks.delta_rate(np.array([energy]))[0] == pytest.approx(number)
    assert tracks.delta_stopping(np.array([energy]))[0] == pytest.approx(carried)
    rng = np.random.default_rng(4)
    flying = tracks._launch(np.zeros(100_000, np.int64), np.full(100_000, energy), rng)
    _, freed = tracks._knock_on(flying, np.full(100_000, True), rng)
    assert 0.2 <= freed.energy.min() < freed.energy.max() <= energy / 2
    assert freed.energy.mean() == pytest.approx(carried / number, rel=0.01)


def test_no_knock_on_electron_below_twice_the_cut() -> None:
    assert tracks.delta_rate(np.array([0.1, 0.39])).tolist() == [0, 0]
    assert tracks.delta_stopping(np.array([0.1, 0.39])).tolist() == [0, 0]


def test_knock_on_conserves_energy_and_momentum() -> None:
    rng = np.random.default_rng(5)
    flying = tracks._launch(np.zeros(500, np.int64), rng.uniform(1, 15, 500), rng)
    after, freed = tracks._knock_on(flying, np.arange(500) % 2 == 0, rng)

    def momentum(particles: tracks._Particles) -> Array:
        energy = particles.energy[:, None]
        return np.sqrt(energy * (energy + 2 * 511)) * particles.direction

    total = momentum(after)
    total[::2] += momentum(freed)
    np.testing.assert_allclose(total, momentum(flying), atol=1e-9)
    np.testing.assert_allclose(after.energy[::2] + freed.energy, flying.energy[::2])


# Nuclear recoils.


@pytest.mark.parametrize("impact", [0.0, 0.001, 0.01])
def test_deflection_is_rutherfords_where_the_screening_does_not_reach(impact: float) -> None:
    energy = np.array(300.0)
    expected = 1 / (1 + (2 * energy * impact) ** 2)
    assert tracks.deflection(energy, np.array(impact)) == pytest.approx(expected, rel=0.01)


def impulse(impact: Array) -> Array:
    """eps b theta of a weak deflection: sum_i w_i k_i b K1(k_i b), from the force along a straight line."""
    weight, slope = np.array([[0.18175, 0.50986, 0.28022, 0.02817], [3.1998, 0.94229, 0.4029, 0.20162]])
    reach = slope * impact[:, None]
    return np.asarray((weight * reach * k1(reach)).sum(1))


def test_weak_deflection_is_that_of_the_impulse_along_a_straight_line() -> None:
    impact = np.geomspace(0.1, 15, 50)
    expected = (impulse(impact) / (300 * impact) / 2) ** 2
    np.testing.assert_allclose(tracks.deflection(np.full(50, 300.0), impact), expected, rtol=0.01)


@pytest.mark.parametrize(("energy", "impact"), [(0.02, 0.5), (0.02, 8.0), (1.0, 0.3), (7.0, 2.0), (100.0, 0.05)])
def test_deflection_is_the_classical_integral(energy: float, impact: float) -> None:
    """theta = pi - 2 b int du / sqrt(1 - phi(1/u) u / eps - b^2 u^2) up to the turning point, by quadrature."""

    def phi(x: float) -> float:
        terms = ((0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162))
        return float(sum(weight * np.exp(-slope * x) for weight, slope in terms))

    low, high = impact, impact + 1 / energy
    for _ in range(200):
        middle = (low + high) / 2
        below = 1 - phi(middle) / (middle * energy) - (impact / middle) ** 2 < 0
        low, high = (middle, high) if below else (low, middle)

    def integrand(t: float) -> float:
        u = (1 - t * t) / high  # t = sqrt(1 - u x0) takes away the singularity at the turning point
        radial = 1 - (phi(1 / u) * u / energy if u > 0 else 0) - (impact * u) ** 2
        return 2 * t / high / float(np.sqrt(radial))

    theta = np.pi - 2 * impact * quad(integrand, 1e-6, 1, limit=400)[0]
    expected = np.sin(theta / 2) ** 2
    assert tracks.deflection(np.array(energy), np.array(impact)) == pytest.approx(expected, rel=1e-3)
    tabulated = tracks._tabulated_deflection(np.array([energy]), np.array([impact]))[0]
    assert tabulated == pytest.approx(expected, rel=0.01)


def reduced_nuclear_stopping(energy: float) -> float:
    """s_n = 2 eps int sin^2(theta/2) b db."""
    impact = np.geomspace(1e-4, 30, 4000)
    return float(2 * energy * np.trapezoid(tracks.deflection(np.full(4000, energy), impact) * impact, impact))


@pytest.mark.parametrize("energy", [0.02, 0.1, 1.0, 7.0, 25.0])
def test_deflection_integrates_to_the_universal_nuclear_stopping(energy: float) -> None:
    """The fit of Ziegler, Biersack and Littmark (1985), which is good to about 5 %."""
    fit = np.log(1 + 1.1383 * energy) / (2 * (energy + 0.01321 * energy**0.21226 + 0.19593 * energy**0.5))
    assert reduced_nuclear_stopping(energy) == pytest.approx(fit, rel=0.06)


def test_nuclear_stopping_of_fast_recoils_is_rutherfords_up_to_the_screening() -> None:
    """s_n = ln(2 eps b) / (2 eps): b is where a sharp end of the force transfers as much as its real decay."""
    impact = np.geomspace(1e-6, 60, 20_000)
    reach = 1e-6 * np.exp(np.trapezoid(impulse(impact) ** 2, np.log(impact)))
    for energy in (100, 300):
        expected = np.log(2 * energy * reach) / (2 * energy)
        assert reduced_nuclear_stopping(energy) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("energy", "most"), [(0.3, 0.011), (1, 0.006), (10, 0.004), (100, 0.004), (467, 0.006)])
def test_weak_collisions_left_out_carry_little(energy: float, most: float) -> None:
    """The share of the nuclear stopping of F on F beyond the impact limit."""
    at, fluorine = np.array([energy]), np.array([F])
    limit = tracks.impact_limit(at, fluorine, fluorine)[0]
    impact = np.geomspace(1e-4, 30, 6000)
    eps = np.full(6000, tracks.reduced_energy(at, fluorine, fluorine)[0])
    carried = tracks.deflection(eps, impact) * impact
    outside = impact > limit
    lost = np.trapezoid(carried[outside], impact[outside]) / np.trapezoid(carried, impact)
    assert 0 < lost < most


def test_collision_conserves_energy_and_momentum() -> None:
    rng = np.random.default_rng(6)
    count = 2000
    flying = tracks._launch(rng.integers(0, 2, count), rng.uniform(0.5, 500, count), rng)
    target = rng.integers(-1, 2, count)
    hit = target >= 0
    after, struck = tracks._collide(flying, target, 3 * rng.random(hit.sum()), rng)
    mass = np.array([12.011, 18.998])

    def momentum(particles: tracks._Particles) -> Array:
        return np.sqrt(2 * mass[particles.species] * particles.energy)[:, None] * particles.direction

    total = momentum(after)
    total[hit] += momentum(struck)
    np.testing.assert_allclose(total, momentum(flying), atol=1e-6)
    np.testing.assert_allclose(after.energy[hit] + struck.energy, flying.energy[hit])


def test_electronic_stopping_of_fluorine_is_lindhard_and_scharffs() -> None:
    """In eV cm2 per atom: 8 pi e^2 a0 = 19.15e-15, v / v0 from the velocity of light."""
    beta = np.sqrt(2 * 467 / (18.998 * 931494.0))
    total = 0.0
    for number, atoms in ((6, 1), (9, 4)):
        shape = 9 ** (7 / 6) * number / (9 ** (2 / 3) + number ** (2 / 3)) ** 1.5
        total += atoms * 19.15e-15 * shape * beta * 137.036
    expected = total * 1.647e18 / 1e3 / 10
    assert tracks.electronic_stopping(np.array([467.0]), np.array([F]))[0] == pytest.approx(expected, rel=1e-3)


def lindhard(number: int, mass: float, energy: float) -> float:
    eps = 11.5 * energy * number ** (-7 / 3)
    g = 3 * eps**0.15 + 0.7 * eps**0.6 + eps
    k = 0.133 * number ** (2 / 3) * mass**-0.5
    return float(k * g / (1 + k * g))


# Number, keV, quenching factor, projected range and 3D 96 % length with their spreads. For most of the carbon the
# table gives no spread: it only sets the statistical error, and is this simulation's.
RECOILS = [
    (9, 50, 0.510, 1.04, 0.34, 1.20, 0.25),
    (9, 100, 0.625, 2.03, 0.61, 2.21, 0.44),
    (9, 200, 0.741, 3.94, 0.66, 4.05, 0.53),
    (9, 300, 0.799, 5.47, 0.89, 5.61, 0.64),
    (9, 467, 0.848, 7.79, 1.2, 7.76, 0.82),
    (6, 50, 0.641, 1.61, 0.45, 1.75, 0.37),
    (6, 100, 0.747, 2.97, 0.57, 3.10, 0.41),
    (6, 200, 0.837, 5.23, 0.9, 5.23, 0.6),
    (6, 300, 0.873, 6.90, 1.0, 6.88, 0.7),
    (6, 467, 0.911, 9.38, 1.1, 9.29, 0.8),
    (6, 700, 0.938, 12.7, 1.3, 12.2, 0.9),
]


@pytest.mark.parametrize(
    ("number", "energy", "quenching", "length", "spread"), [(*r[:3], *r[5:]) for r in RECOILS]
)
def test_recoils_are_the_table(number: int, energy: float, quenching: float, length: float, spread: float) -> None:
    library = recoils(number, energy)
    found = column(library, "ionisation") / energy
    assert found.mean() == pytest.approx(quenching, abs=0.015)
    assert found.mean() == pytest.approx(lindhard(number, {6: 12.011, 9: 18.998}[number], energy), abs=0.03)
    lengths = measure(library, lambda track: length96(track.points, track.intensity))
    assert_mean(lengths, length, spread, trials=120, systematic=0.02)


@pytest.mark.parametrize(("number", "energy", "expected", "spread"), [(*r[:2], *r[3:5]) for r in RECOILS])
def test_projected_range_is_the_table(number: int, energy: float, expected: float, spread: float) -> None:
    rng = np.random.default_rng(7)
    count = 200
    species = np.full(count, {6: C, 9: F}[number])
    flying = tracks._launch(species, np.full(count, float(energy)), rng)
    axis, found = flying.direction, np.zeros(count)
    while len(flying.track):
        flying = tracks._next_collision(flying, rng)[0]
        found[flying.track] = (flying.position * axis[flying.track]).sum(1)
        flying = flying.where(flying.energy >= 0.3)
    assert_mean(found, expected, spread, trials=120, systematic=0.02)


@pytest.mark.parametrize(
    ("number", "energy", "low", "high"), [(9, 200, 0.55, 0.61), (9, 467, 0.58, 0.64), (6, 700, 0.60, 0.67)]
)
def test_a_recoil_has_its_light_in_the_head(number: int, energy: float, low: float, high: float) -> None:
    library = recoils(number, energy)

    def head(track: Component) -> float:
        along = track.points @ np.array([track.meta[name] for name in ("dx", "dy", "dz")])
        return float(track.intensity[along < along.max() / 2].sum() / track.intensity.sum())

    assert low < measure(library, head).mean() < high


def test_recoil_deposits_add_up_to_the_ionisation() -> None:
    for library in (recoils(9, 467), recoils(6, 100)):
        np.testing.assert_allclose(sums(library), column(library, "ionisation"), rtol=1e-5)
        assert (column(library, "ionisation") < column(library, "energy")).all()


# Both.


@pytest.mark.parametrize("simulate", [lambda: electrons(10), lambda: recoils(9, 50)], ids=["ER", "NR"])
def test_directions_are_isotropic_and_tracks_start_along_them(simulate: Callable[[], Components]) -> None:
    library = simulate()
    axis = directions(library)
    np.testing.assert_allclose(np.linalg.norm(axis, axis=1), 1, atol=1e-6)
    for component in axis.T:
        assert kstest(component, "uniform", args=(-1, 2)).pvalue > 1e-3
    azimuth = np.arctan2(axis[:, 1], axis[:, 0]) / (2 * np.pi) + 0.5
    assert kstest(azimuth, "uniform").pvalue > 1e-3
    first = library.points[library.offsets[:-1]]
    along = (first * axis).sum(1)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), along, rtol=1e-4)
    assert 0 < along.max() <= 0.05 + 1e-6


def test_turned_directions_keep_angle_and_length() -> None:
    rng = np.random.default_rng(8)
    axis = rng.normal(size=(1000, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    axis[:2] = [[0, 0, 1], [0, 0, -1]]
    cosine = rng.uniform(-1, 1, 1000)
    turned = tracks._turn(axis, cosine, rng.uniform(0, 2 * np.pi, 1000))
    np.testing.assert_allclose((turned * axis).sum(1), cosine, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), 1, atol=1e-12)


def test_tracks_follow_from_the_generator() -> None:
    def run(seed: int) -> tuple[Components, Components]:
        rng = np.random.default_rng(seed)
        return tracks.simulate_electrons([5, 10], rng), tracks.simulate_recoils([6, 9], [100, 200], rng)

    for one, again, other in zip(run(1), run(1), run(2), strict=True):
        np.testing.assert_array_equal(one.points, again.points)
        np.testing.assert_array_equal(one.intensity, again.intensity)
        assert not np.array_equal(one.points[:20], other.points[:20])


@pytest.mark.parametrize("energies", [[], [0.0], [5.0, -1.0], [np.nan], [np.inf], [[5.0]]])
def test_refuses_energies_that_are_none(energies: list[float]) -> None:
    with pytest.raises(DataError, match="energies: found"):
        tracks.simulate_electrons(energies, np.random.default_rng(0))
    with pytest.raises(DataError, match="energies: found"):
        tracks.simulate_recoils(9, energies, np.random.default_rng(0))


def test_refuses_other_species() -> None:
    with pytest.raises(DataError, match=r"species: found \[7, 9\], expected 6 \(carbon\) or 9 \(fluorine\)"):
        tracks.simulate_recoils([7, 9], [100, 100], np.random.default_rng(0))


# The library.


def view(track: Component, sigma: float = 0.3, pixel: float = 0.15625) -> Array:
    """The track seen along z by a detector of this blur (mm), each deposit an exact Gaussian."""
    centres = np.arange(-12, 12, pixel)
    x, y = (np.exp(-((centres - track.points[:, [axis]]) ** 2) / (2 * sigma**2)) for axis in (0, 1))
    return np.asarray((x * track.intensity[:, None]).T @ y)


@pytest.mark.parametrize(
    "raw",
    [
        tracks.simulate_electrons([3, 5, 7, 9, 11], np.random.default_rng(9)),
        tracks.simulate_recoils([6, 9, 9, 9, 6], [100, 100, 200, 400, 300], np.random.default_rng(9)),
    ],
    ids=["ER", "NR"],
)
def test_merging_and_storing_lose_nothing_that_the_detector_resolves(raw: Components) -> None:
    merged = tracks.merge(raw)
    stored = tracks._store(list(merged))
    np.testing.assert_allclose(sums(merged), sums(raw), rtol=1e-5)
    assert len(merged.points) < len(raw.points) / 4
    for before, middle, after in zip(raw, merged, stored, strict=True):
        np.testing.assert_allclose(
            middle.intensity @ middle.points, before.intensity @ before.points, rtol=1e-3, atol=1e-2
        )
        expected = view(before)
        assert np.abs(view(middle) - expected).sum() < 0.01 * expected.sum()
        assert np.abs(view(after) - expected).sum() < 0.015 * expected.sum()
        assert np.abs(view(after) - expected).max() < 0.03 * expected.max()


def test_merged_points_of_a_straight_track_are_two_thirds_of_a_cell_apart() -> None:
    """A line of isotropic direction crosses 3/2 faces per cell edge on average (Cauchy)."""
    rng = np.random.default_rng(10)
    axis = rng.normal(size=(400, 3))
    axis /= np.linalg.norm(axis, axis=1, keepdims=True)
    steps = np.linspace(0, 20, 4001)
    points = (axis[:, None] * steps[:, None] + rng.random((400, 1, 3))).reshape(-1, 3)
    lines = Components(np.arange(401) * 4001, points, np.ones(len(points)), {})
    apart = 400 * 20 / len(tracks.merge(lines, 0.2).points)
    assert apart == pytest.approx(0.2 * 2 / 3, rel=0.03)


def test_merge_keeps_tracks_apart() -> None:
    one = tracks.simulate_electrons([5.0], np.random.default_rng(0))
    twice = Components.pack([one[0], one[0]])
    merged = tracks.merge(twice)
    np.testing.assert_array_equal(merged[0].points, merged[1].points)
    np.testing.assert_array_equal(merged[0].points, tracks.merge(one)[0].points)


def test_library_keeps_its_bounds() -> None:
    electron, recoil = tracks.make_library(np.random.default_rng(0), 30, 20, (4, 6), (100, 200))
    assert (len(electron), len(recoil)) == (30, 20)
    energy, ionisation = column(electron, "energy"), column(recoil, "ionisation")
    assert 4 <= energy.min() < energy.max() <= 6
    assert 100 <= ionisation.min() < ionisation.max() <= 200


@pytest.mark.parametrize(
    ("field", "bounds"),
    [
        ("recoil_ionisation", (650.0, 700.0)),
        ("recoil_ionisation", (100.0, 100.0)),
        ("electron_energies", (-1.0, 5.0)),
    ],
)
def test_library_refuses_bounds_that_nothing_meets(field: str, bounds: tuple[float, float]) -> None:
    with pytest.raises(DataError, match=f"{field}: found {bounds[0]} to {bounds[1]} keV"):
        tracks.make_library(np.random.default_rng(0), 1, 1, **{field: bounds})


def test_command_writes_the_same_library_from_the_same_seed(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        out = tmp_path / f"{name}.h5"
        tracks.main([str(out), "--seed", str(seed), "--electrons", "3", "--recoils", "2"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5", "c.h5"]
    libraries = [tracks.load_library(tmp_path / f"{name}.h5") for name in "abc"]
    for one, again, other in zip(*libraries, strict=True):
        assert one.points.tobytes() == again.points.tobytes()
        assert one.intensity.tobytes() == again.intensity.tobytes()
        assert one.points.tobytes() != other.points.tobytes()
        for name in one.table:
            np.testing.assert_array_equal(one.table[name], again.table[name])
    assert [len(part) for part in libraries[0]] == [3, 2]


def test_a_failed_write_leaves_the_old_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "a.h5"
    out.write_bytes(b"old")
    monkeypatch.setattr(Components, "save", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tracks.main([str(out), "--electrons", "1", "--recoils", "1"])
    assert out.read_bytes() == b"old"


def test_load_says_what_is_wrong(tmp_path: Path) -> None:
    text, empty = tmp_path / "text.h5", tmp_path / "empty.h5"
    text.write_text("no")
    with h5py.File(empty, "w") as file:
        file.create_group("ER")
    for path, found in (
        (tmp_path / "none.h5", "no such file"),
        (text, "not a readable HDF5 file.*"),
        (empty, "no group 'NR'"),
    ):
        with pytest.raises(DataError, match=f"{path.name}: {found}, expected a track library; write one with"):
            tracks.load_library(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("ER/intensity", lambda values: -values),
        ("ER/points", lambda values: values * np.nan),
        ("NR/intensity", lambda values: np.where(values > 0, np.inf, values)),
        ("NR/intensity", lambda values: values * 0),
        ("NR/points", lambda values: values.astype(float) * 1e300),
        ("ER/table/dx", lambda values: values.astype("S4")),
        ("ER/table/energy", lambda values: values * np.nan),
        ("ER/table/energy", None),
        ("NR/table/species", None),
        ("NR/table", None),
    ],
)
def test_damaged_tracks_are_one_line(tmp_path: Path, name: str, change: Any) -> None:
    path = tmp_path / "tracks.h5"
    with h5py.File(path, "w") as file:
        for group, library in zip(("ER", "NR"), tracks.load_library(), strict=True):
            Components.pack([library[index] for index in range(4)]).save(file.create_group(group))
    tracks.load_library(path)
    tracks.load_library.cache_clear()
    with h5py.File(path, "a") as file:
        values = None if change is None else change(file[name][()])
        del file[name]
        if values is not None:
            file[name] = values
    with pytest.raises(DataError, match=r"tracks\.h5.*expected a track library; write one with") as caught:
        tracks.load_library(path)
    assert "\n" not in str(caught.value)


def test_shipped_library_is_small_and_whole() -> None:
    assert tracks.LIBRARY.stat().st_size <= 4e6
    electron, recoil = tracks.load_library()
    assert tracks.load_library() is tracks.load_library()
    assert len(electron) >= 4000
    assert len(recoil) >= 3000
    for library, name in ((electron, "energy"), (recoil, "ionisation")):
        assert library.points.dtype == library.intensity.dtype == np.float16
        assert np.isfinite(library.points).all()
        assert library.intensity.min() > 0
        np.testing.assert_allclose(sums(library), column(library, name), rtol=1e-3)
        np.testing.assert_allclose(np.linalg.norm(directions(library), axis=1), 1, atol=1e-6)
        assert np.abs(directions(library).mean(0)).max() < 4 / np.sqrt(3 * len(library))


def test_shipped_library_has_the_spectra_it_says() -> None:
    electron, recoil = tracks.load_library()
    assert kstest(column(electron, "energy"), "uniform", args=(3, 12.5)).pvalue > 1e-3
    energy, ionisation, species = (column(recoil, name) for name in ("energy", "ionisation", "species"))
    assert 15 <= ionisation.min() < ionisation.max() <= 660
    assert energy[species == 9].max() < 474
    assert set(species) == {6, 9}
    # Calculated from the cross sections and Lindhard's quenching by an independent program.
    np.testing.assert_allclose(np.percentile(ionisation, [25, 50, 75]), [53, 121, 241], rtol=0.1)
    np.testing.assert_allclose(
        np.percentile(ionisation[ionisation > 60], [25, 50, 75]), [108, 180, 302], rtol=0.05
    )
    assert (species == 6).mean() == pytest.approx(0.14, abs=0.02)
    for number, mass in ((6, 12.011), (9, 18.998)):
        chosen = (species == number) & (energy > 150)
        expected = np.mean([lindhard(number, mass, value) for value in energy[chosen]])
        assert (ionisation[chosen] / energy[chosen]).mean() == pytest.approx(expected, abs=0.02)


def test_shipped_tracks_are_as_long_as_simulated_ones() -> None:
    electron, recoil = tracks.load_library()
    near = [track for track in electron if 9.5 < track.meta["energy"] < 10.5]
    far = np.array([np.linalg.norm(track.points, axis=1).max() for track in near])
    assert_mean(far, 8.97, 2.5, trials=600, systematic=0.03)
    near = [track for track in recoil if track.meta["species"] == 9 and 280 < track.meta["energy"] < 320]
    lengths = np.array([length96(track.points, track.intensity) for track in near])
    assert_mean(lengths, 5.61, 0.7, trials=120, systematic=0.03)
