"""Composition of events, and what the context says of the muon."""

from collections import Counter

import numpy as np
import pytest

from oasis.adapters.neutrino.physics import csda_range
from oasis.adapters.neutrino.scene import (
    CONFIGURATION_1,
    CONFIGURATION_2,
    EXIT_COLUMNS,
    SimulatedScene,
    centres,
    muon_context,
    muon_exits,
)
from oasis.adapters.neutrino.simulation import Detector
from oasis.data.mixing import Mixer

COUNT = 300


def mixer(composition, fixed=True):
    return Mixer(SimulatedScene(composition, Detector(), (1.0, 60.0)), COUNT, 3, "val", fixed)


@pytest.fixture(scope="module")
def samples():
    dataset = mixer(CONFIGURATION_2)
    return [dataset[index] for index in range(COUNT)]


def vectors(sample, *names):
    return [np.array([sample.meta[f"{name}{axis}"] for axis in "xyz"]) for name in names]


def test_classes():
    assert CONFIGURATION_1.classes == ("muon", "proton_1", "proton_2", "proton_3", "proton_4", "proton_5")
    assert CONFIGURATION_2.classes == (
        *("muon", "proton_1", "proton_2", "proton_3", "proton_4", "deuteron", "triton"),
    )


def test_numbers_of_particles_are_uniform():
    rng = np.random.default_rng(0)
    protons, deuterons, tritons = np.array([CONFIGURATION_1.draw(rng) for _ in range(5000)]).T
    assert not deuterons.any()
    assert not tritons.any()
    assert np.bincount(protons)[1:] == pytest.approx(1000, abs=130)
    counts = [tuple(CONFIGURATION_2.draw(rng)) for _ in range(8000)]
    shares = Counter(counts)
    assert shares[0, 0, 0] == 0
    # 1 in 20 would have no nucleus and gets one of a species drawn evenly.
    for lonely in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert shares[lonely] / 8000 == pytest.approx(1 / 20 + 1 / 60, abs=0.012)
    assert shares[4, 1, 1] / 8000 == pytest.approx(1 / 20, abs=0.01)


def test_no_more_particles_than_there_are():
    rng = np.random.default_rng(0)
    drawn = np.array([CONFIGURATION_2.draw(rng, [2, 0, 1]) for _ in range(500)])
    assert drawn.max(axis=0).tolist() == [2, 0, 1]
    assert drawn.sum(axis=1).min() == 1
    assert CONFIGURATION_1.draw(rng, [1, 9, 9]) == [1, 0, 0]


def test_images_are_sums_of_maps_in_whole_photoelectrons(samples):
    for sample in samples:
        assert sample.image.shape == (1, 7, 7, 7)
        np.testing.assert_array_equal(sample.image, sample.target.sum(axis=0))
        np.testing.assert_array_equal(sample.image, np.rint(sample.image))
        assert sample.valid.all()
        there = [np.isfinite(sample.meta[f"{name}_ke"]) for name in CONFIGURATION_2.classes]
        assert there[0]
        assert sample.meta["nuclei"] == sum(there[1:]) > 0
        assert not sample.target[~np.array(there)].any()


def test_protons_come_in_the_order_of_their_energy(samples):
    for sample in samples:
        energies = [sample.meta[f"proton_{rank}_ke"] for rank in range(1, 5)]
        known = [energy for energy in energies if np.isfinite(energy)]
        assert known == sorted(known, reverse=True)
        assert np.isnan(energies[len(known) :]).all()


def test_kinematics(samples):
    for sample in samples:
        vertex, position = vectors(sample, "vertex_", "exit_")
        muon, out = vectors(sample, "muon_d", "exit_d")
        assert np.abs(vertex).max() <= 15
        assert np.abs(position).max() == pytest.approx(35)
        np.testing.assert_allclose(muon, out)
        path = np.linalg.norm(position - vertex)
        np.testing.assert_allclose(position, vertex + path * muon, atol=1e-9)
        assert sample.meta["muon_ke"] - sample.meta["exit_ke"] == pytest.approx(0.21 * path, rel=0.06)
        if np.isfinite(sample.meta["proton_1_ke"]):
            assert sample.meta["proton_1_length"] == pytest.approx(csda_range(sample.meta["proton_1_ke"]))
            assert np.linalg.norm(vectors(sample, "proton_1_d")) == pytest.approx(1)


def test_vertices_fill_the_central_cubes(samples):
    places = np.array([vectors(sample, "vertex_")[0] for sample in samples])
    assert np.histogram(places, bins=6, range=(-15, 15))[0] == pytest.approx(COUNT / 2, abs=55)
    directions = np.array([vectors(sample, "muon_d")[0] for sample in samples])
    assert np.abs(directions.mean(axis=0)).max() < 4 * np.sqrt(1 / 3 / COUNT)


def test_the_context_holds_the_muon_scaled(samples):
    sample = samples[0]
    assert sample.context.shape == (8, 7, 7, 7)
    assert (np.ptp(sample.context[:7], axis=(1, 2, 3)) == 0).all()
    numbers = sample.context[:7, 0, 0, 0]
    position, direction = vectors(sample, "exit_", "exit_d")
    assert numbers[:3] == pytest.approx(position / 35)
    assert numbers[3] == pytest.approx((sample.meta["exit_ke"] - 650) / 350)
    assert numbers[4:] == pytest.approx(direction)
    assert max(np.abs(one.context[:7]).max() for one in samples) <= 1 + 1e-6


def test_the_context_shows_the_line_of_the_muon(samples):
    """Its charge lies where the last channel is large, but for what leaks, and on one side of the vertex."""
    for sample in samples[:50]:
        vertex, direction = vectors(sample, "vertex_", "muon_d")
        offset = centres() - vertex
        distance = np.linalg.norm(np.cross(offset, direction), axis=-1)
        np.testing.assert_allclose(sample.context[7], np.exp(-distance / 10), rtol=1e-4)
        bright = sample.target[0, 0] > 40
        assert distance[bright].max() < 5 * np.sqrt(3) + 1e-6
        assert (offset[bright] @ direction).min() > -5 * np.sqrt(3)


def test_energies_of_exit_beyond_the_scale_are_clipped():
    context = muon_context([[35.0, 0, 0, 290.0, 1.0, 0, 0]])
    assert (context[0, 3] == -1).all()
    assert muon_exits(context)[0, 3] == 300


def test_the_context_alone_holds_the_exit():
    dataset = mixer(CONFIGURATION_1)
    for sample in (dataset[index] for index in range(8)):
        exits = [float(sample.meta[name]) for name in EXIT_COLUMNS]
        exits[3] = np.clip(exits[3], 300, 1000)
        np.testing.assert_allclose(muon_exits(sample.context[None])[0], exits, rtol=1e-5, atol=1e-3)


def test_everything_scales_with_the_cubes():
    detector = Detector(cube_mm=10.27)
    scene = SimulatedScene(CONFIGURATION_1, detector, (0.4, 77.0))
    events = [scene.event(index, np.random.default_rng(index)) for index in range(200)]
    vertex = np.array([event.vertex for event in events])
    assert np.abs(vertex).max() <= 1.5 * 10.27
    assert np.abs(vertex).max() > 15
    exits = np.array([event.exit.position for event in events])
    np.testing.assert_allclose(np.abs(exits).max(1), 3.5 * 10.27)
    energies = np.array([one.energy for event in events for one in event.particles[1:]])
    assert 0.4 <= energies.min() < 3
    assert 74 < energies.max() <= 77
    assert np.mean(energies < 10) == pytest.approx(9.6 / 76.6, abs=0.04)
    exit_ = events[0].exit
    numbers = np.array([[*exit_.position, exit_.energy, *exit_.direction]])
    context = muon_context(numbers, 10.27)
    np.testing.assert_allclose(muon_exits(context, 10.27), numbers, rtol=1e-5, atol=1e-3)
    # The same geometry in units of cubes gives the same context.
    scaled = numbers * np.array([10 / 10.27] * 3 + [1] * 4)
    np.testing.assert_allclose(muon_context(scaled), context, rtol=1e-5, atol=1e-6)


def test_samples_are_functions_of_their_key():
    fixed, fresh = mixer(CONFIGURATION_1), mixer(CONFIGURATION_1, fixed=False)
    np.testing.assert_array_equal(fixed[(0, 5)].image, fixed[(4, 5)].image)
    np.testing.assert_array_equal(fresh[(4, 5)].context, fresh[(4, 5)].context)
    assert not np.array_equal(fresh[(4, 5)].image, fresh[(5, 5)].image)
    assert not np.array_equal(fixed[5].image, fixed[6].image)
