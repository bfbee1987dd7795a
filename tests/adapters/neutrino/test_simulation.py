"""Images of tracks, against steps of 0.01 mm through the cubes, and against known figures of whole events."""

import numpy as np
import pytest

from oasis.adapters.neutrino import physics
from oasis.adapters.neutrino.simulation import SPECIES, Detector, Tracks, expected_charge, simulate, way_out
from oasis.data.draws import Draws
from oasis.errors import ConfigError

PLAIN = Detector(crosstalk=0.0, fluctuations=False)
GAPS = PLAIN.model_copy(update={"cube_mm": 10.27})


def isotropic(rng, count):
    direction = rng.standard_normal((count, 3))
    return direction / np.linalg.norm(direction, axis=1, keepdims=True)


def tracks_of(species, energy, start, direction):
    return Tracks(*map(np.atleast_1d, (species, energy)), *map(np.atleast_2d, (start, direction)))


def stepped(species, energy, start, direction, detector, step=0.01):
    """The mean charge of one track (9, 9, 9) before cross-talk: energy lost and quenched step by step."""
    image = np.zeros((9, 9, 9))
    mass = physics.MASSES.get(species)
    place = np.array(start, float)
    while energy > 0.01 and np.abs(place).max() < 4.49 * detector.cube_mm:
        stopping = physics.muon_stopping_power(energy) if mass is None else physics.stopping_power(energy, mass)
        loss = min(stopping * physics.DENSITY * step / 10, energy)
        cube = tuple(np.floor((place + np.array(direction) * step / 2) / detector.cube_mm + 4.5).astype(int))
        image[cube] += detector.light_yield * loss / (1 + detector.birks * stopping)
        energy -= loss
        place += step * np.array(direction)
    return image


@pytest.mark.parametrize("detector", [PLAIN, GAPS], ids=["10", "10.27"])
@pytest.mark.parametrize("species", SPECIES)
def test_tracks_leave_the_light_that_steps_leave(species, detector):
    rng = np.random.default_rng(SPECIES.index(species))
    for direction in isotropic(rng, 2):
        start, energy = rng.uniform(-15, 15, 3), 500.0 if species == "muon" else rng.uniform(30, 60)
        found = expected_charge(tracks_of(SPECIES.index(species), energy, start, direction), detector)[0]
        expected = stepped(species, energy, start, direction, detector)[1:-1, 1:-1, 1:-1]
        np.testing.assert_allclose(found, expected, rtol=0.01, atol=6.5)  # p.e. of a step at the end of a track
        assert found.sum() == pytest.approx(expected.sum(), rel=0.01)


def test_a_track_along_an_axis():
    """No division by zero, and the light per cube that a minimum-ionising muon is known for."""
    track = tracks_of(0, 300.0, [0, 0, 0], [0, 0, 1.0])
    charge = expected_charge(track, PLAIN)[0]
    assert charge[3, 3, 4:] == pytest.approx(150, rel=0.01)
    assert charge[3, 3, 3] == pytest.approx(75, rel=0.01)
    assert np.count_nonzero(charge) == 4


def test_light_of_stopping_nuclei_is_kept():
    rng = np.random.default_rng(0)
    energy = rng.uniform(1, 60, 60)
    species = np.repeat([1, 2, 3], 20)
    charge = expected_charge(Tracks(species, energy, np.zeros((60, 3)), isotropic(rng, 60)), Detector())
    mass = np.array(list(physics.MASSES.values()))[species - 1]
    light = physics.quenching(0.0126).light_of_energy(energy, mass)
    assert charge.sum(axis=(1, 2, 3)) == pytest.approx(75 * light, rel=1e-3)


def test_a_fifth_of_the_light_leaves_its_cube():
    proton = tracks_of(1, 20.0, [0, 0, 0], [1.0, 0, 0])
    alone, leaked = (expected_charge(proton, detector)[0] for detector in (PLAIN, Detector()))
    total = alone[3, 3, 3]
    assert np.count_nonzero(alone) == 1
    assert leaked[3, 3, 3] / total == pytest.approx(1 - 6 * 0.033)
    for place in ((2, 3, 3), (4, 3, 3), (3, 2, 3), (3, 4, 3), (3, 3, 2), (3, 3, 4)):
        assert leaked[place] / total == pytest.approx(0.033)
    assert np.count_nonzero(leaked) == 7


@pytest.mark.parametrize("side", [-1, 1])
def test_light_leaks_out_of_the_volume_and_into_it(side):
    inside = expected_charge(tracks_of(1, 10.0, [side * 34, 0, 0], [0, 1.0, 0]), Detector())[0]
    outside = expected_charge(tracks_of(1, 10.0, [side * 36, 0, 0], [0, 1.0, 0]), Detector())[0]
    assert inside.sum() / 75 == pytest.approx(
        (1 - 0.033) * physics.quenching(0.0126).light_of_energy(10), rel=1e-4
    )
    assert outside[3 + 3 * side, 3, 3] == pytest.approx(inside[3 + 2 * side, 3, 3])
    assert np.count_nonzero(outside) == 1


def test_photoelectrons_are_poisson():
    count = 4000
    tracks = Tracks(
        np.ones(count, int), np.full(count, 20.0), np.zeros((count, 3)), np.tile([0, 0, 1.0], (count, 1))
    )
    drawn = simulate(tracks, Detector(), np.random.default_rng(0), np.arange(count))[:, 3, 3, 2:5]
    expected = expected_charge(tracks, Detector())[0, 3, 3, 2:5]
    assert np.array_equal(drawn, np.rint(drawn))
    assert drawn.mean(axis=0) == pytest.approx(expected, abs=4 * np.sqrt(expected.max() / count))
    assert drawn.var(axis=0) == pytest.approx(expected, rel=4 * np.sqrt(2 / count))


def test_the_loss_of_muons_fluctuates_about_its_mean():
    """Moyal's distribution: mean kept, standard deviation of each piece pi / sqrt(2) widths, and skewed."""
    count = 4000
    tracks = Tracks(
        np.zeros(count, int), np.full(count, 300.0), np.zeros((count, 3)), np.tile([0, 0, 1.0], (count, 1))
    )
    charge = expected_charge(tracks, Detector(crosstalk=0), np.random.default_rng(0))[:, 3, 3, 5]
    light = charge / 75 * (1 + 0.0126 * physics.muon_stopping_power(300.0))
    width = physics.landau_width(300.0) * np.pi / np.sqrt(2)
    assert light.mean() == pytest.approx(2.05, abs=4 * width / np.sqrt(count) + 0.005)
    assert light.std() == pytest.approx(width, rel=0.1)
    assert ((light - light.mean()) ** 3).mean() > width**3


def test_whole_events():
    """Figures that an independent simulation in steps of 0.1 mm gave for 500 such events: 41 cubes are hit (5 to
    95 %: 26 to 58), 30 % of them by two particles or more with 68 % of the charge, 25 % of it lies in the central
    cube, and the fullest cube holds 1,461 p.e."""
    events = 1500
    rng = np.random.default_rng(0)
    counts = 1 + rng.integers(1, 6, events)
    event = np.repeat(np.arange(events), counts)
    species = np.ones(len(event), int)
    species[np.cumsum(counts) - counts] = 0
    energy = np.where(species == 0, rng.uniform(300, 1000, len(event)), rng.uniform(1, 60, len(event)))
    start = rng.uniform(-5, 5, (events, 3))[event]
    charge = simulate(Tracks(species, energy, start, isotropic(rng, len(event))), Detector(), rng, event)
    total, number = np.zeros((events, 7, 7, 7)), np.zeros((events, 7, 7, 7))
    np.add.at(total, event, charge)
    np.add.at(number, event, charge > 0)
    hit, shared = (total > 0).sum(axis=(1, 2, 3)), (number > 1).sum(axis=(1, 2, 3))
    sums = total.sum(axis=(1, 2, 3))
    assert hit.mean() == pytest.approx(41, abs=1)
    assert np.quantile(hit, [0.05, 0.95]) == pytest.approx([26, 58], abs=3)
    assert (shared / hit).mean() == pytest.approx(0.30, abs=0.015)
    assert ((total * (number > 1)).sum(axis=(1, 2, 3)) / sums).mean() == pytest.approx(0.68, abs=0.015)
    assert (total[:, 3, 3, 3] / sums).mean() == pytest.approx(0.25, abs=0.015)
    assert total.max(axis=(1, 2, 3)).mean() == pytest.approx(1461, rel=0.03)
    assert charge.max() == pytest.approx(1714, rel=0.06)


def test_cubes_below_the_threshold_are_empty():
    rng = np.random.default_rng(0)
    tracks = Tracks(np.array([0, 1, 1]), np.array([400.0, 30, 20]), np.zeros((3, 3)), isotropic(rng, 3))
    event = np.array([0, 0, 1])
    below, above = (simulate(tracks, Detector(threshold=t), np.random.default_rng(1), event) for t in (1, 20))
    total = np.stack([below[:2].sum(axis=0), below[2]])
    expected = np.where(total[event] >= 20, below, 0)
    np.testing.assert_array_equal(above, expected)
    assert (expected != below).any()


def test_way_out():
    rng = np.random.default_rng(0)
    start, direction = rng.uniform(-30, 30, (100, 3)), isotropic(rng, 100)
    end = start + way_out(start, direction)[:, None] * direction
    assert np.abs(end).max(axis=1) == pytest.approx(35)
    assert way_out(np.array([[-5.0, 0, 0]]), np.array([[0, 0, -1.0]])) == 35


@pytest.mark.parametrize(
    ("name", "value"), [("light_yield", 0), ("crosstalk", 0.2), ("birks", -1), ("cube_mm", 0)]
)
def test_impossible_detectors_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"detector.{name}"):
        Detector.parse({name: value}, "detector")


@pytest.mark.parametrize("scattering", [False, True])
def test_events_simulated_together_are_those_simulated_alone(scattering):
    rng, detector = np.random.default_rng(3), Detector(scattering=scattering, threshold=3)
    event = np.repeat(np.arange(4), [3, 1, 2, 4])
    species = np.where(np.diff(event, prepend=-1) > 0, 0, rng.integers(1, 4, len(event)))
    start = rng.uniform(-5, 5, (4, 3))[event]
    tracks = Tracks(
        species, rng.uniform(5, 60, len(event)) + 300 * (species == 0), start, isotropic(rng, len(event))
    )
    together = simulate(tracks, detector, Draws([np.random.default_rng(k) for k in range(4)], event), event)
    for number in range(4):
        alone = simulate(tracks.of(event == number), detector, np.random.default_rng(number))
        np.testing.assert_array_equal(together[event == number], alone)
