"""Rendered images against the simulation, whose tracks are cut exactly, and their slopes against known ones."""

import numpy as np
import pytest
import torch

from oasis.adapters.neutrino import physics
from oasis.adapters.neutrino.renderer import Particles, Renderer
from oasis.adapters.neutrino.scene import leave
from oasis.adapters.neutrino.simulation import SPECIES, Detector, Tracks, expected_charge

SLOTS = ("proton", "proton", "proton", "deuteron", "triton")
PLAIN = Detector(crosstalk=0.0)


def isotropic(rng, *shape):
    direction = rng.standard_normal((*shape, 3))
    return direction / np.linalg.norm(direction, axis=-1, keepdims=True)


def tensor(values):
    return torch.tensor(np.asarray(values), dtype=torch.float32)


def one_proton(vertex, energy, direction):
    return Particles(*(tensor(x)[None] for x in (vertex, [energy], [direction])), torch.tensor([[True]]))


def random_events(count, reach=15.0, most=60.0, detector=Detector()):  # noqa: B008 - frozen
    """Particles, the muons' exits, and the expected charge of the simulation (count, 6, 7, 7, 7)."""
    rng = np.random.default_rng(7)
    vertex, direction = rng.uniform(-reach, reach, (count, 3)), isotropic(rng, count, 1 + len(SLOTS))
    energy = np.column_stack([rng.uniform(300, 1000, count), rng.uniform(1, most, (count, len(SLOTS)))])
    species = np.tile([0, *map(SPECIES.index, SLOTS)], count)
    starts = np.repeat(vertex, 1 + len(SLOTS), axis=0)
    charge = expected_charge(Tracks(species, energy.ravel(), starts, direction.reshape(-1, 3)), detector)
    outs = [leave(*event, detector.half) for event in zip(vertex, direction[:, 0], energy[:, 0], strict=True)]
    exits = tensor([[*out.position, out.energy, *out.direction] for out in outs])
    present = torch.ones(count, len(SLOTS), dtype=torch.bool)
    particles = Particles(tensor(vertex), tensor(energy[:, 1:]), tensor(direction[:, 1:]), present)
    return particles, exits, charge.reshape(count, -1, 7, 7, 7)


@pytest.fixture(scope="module")
def events():
    return random_events(300)


def test_cubes_of_another_size_are_those_of_the_simulation():
    gaps = Detector(cube_mm=10.27)
    particles, exits, expected = random_events(40, detector=gaps)
    found = Renderer(SLOTS, gaps)(particles, exits).numpy()
    assert np.abs(found - expected).sum() < 2e-3 * expected.sum()
    plain = Renderer(SLOTS, Detector())(particles, exits).numpy()
    assert np.abs(plain - expected).sum() > 2e-2 * expected.sum()


EXITS = tensor([[0, 35.0, 0, 600.0, 0, 1, 0]])  # of a muon along y


@pytest.mark.parametrize(("segments", "worst", "share"), [(48, 12.0, 1e-3), (192, 2.5, 1e-4)])
def test_without_softness_the_images_are_those_of_the_simulation(events, segments, worst, share):
    particles, exits, expected = events
    found = Renderer(SLOTS, Detector(), segments)(particles, exits).numpy()
    assert found.shape == expected.shape
    error = np.abs(found - expected)  # in tens of thousands of cubes of up to 1,700 p.e.
    assert error.max() < worst
    assert (error.sum(axis=(0, 2, 3, 4)) < 5 * share * expected.sum(axis=(0, 2, 3, 4))).all()  # of every slot
    assert error.sum() < share * expected.sum()


def test_the_total_is_the_sum():
    particles, exits, _ = random_events(40)
    renderer = Renderer(SLOTS, Detector())
    for softness in (0.0, 4.0):
        single = renderer(particles, exits, softness).sum(dim=1)
        torch.testing.assert_close(renderer.total(particles, exits, softness), single, rtol=1e-5, atol=1e-2)


@pytest.mark.parametrize("softness", [0.0, 0.5, 8.0])
def test_all_light_of_stopping_nuclei_is_somewhere(softness):
    particles, exits, _ = random_events(40, reach=5.0, most=50.0)
    charge = Renderer(SLOTS, Detector())(particles, exits, softness)[:, 1:].sum(dim=(2, 3, 4)).numpy()
    mass = [physics.MASSES[name] for name in SLOTS]
    light = Detector().quenching.light_of_energy(particles.energy.numpy(), mass)
    np.testing.assert_allclose(charge, Detector().light_yield * light, rtol=2e-3)  # a little leaks out far away
    np.testing.assert_allclose(np.median(charge / light), Detector().light_yield, rtol=1e-4)


def test_softness_shares_the_light_of_a_track_beside_a_face():
    """A face of the width s, at the distance d of a parallel track, lets 1/2 - d/s through."""
    renderer = Renderer(["proton"], PLAIN)
    proton = one_proton([4.0, 0, -4.0], 20.0, [0, 0, 1.0])  # 1 mm from the face at x = 5 mm, within z of its cube
    for softness, share in [(0.0, 0.0), (1.5, 0.0), (4.0, 0.25), (8.0, 0.375)]:
        charge = renderer(proton, EXITS, softness)[0, 1].sum(dim=(1, 2))
        assert charge[4] / charge.sum() == pytest.approx(share, abs=1e-5)


def test_the_slope_of_the_charge_with_energy_is_that_of_birks():
    renderer = Renderer(["proton"], PLAIN)
    for energy in (5.0, 15.03, 40.02):
        proton = one_proton([1.0, 2, 3], energy, [0.6, 0, 0.8])
        proton.energy.requires_grad_()
        renderer(proton, EXITS)[0, 1].sum().backward()
        expected = PLAIN.light_yield / (1 + PLAIN.birks * physics.stopping_power(energy))
        assert proton.energy.grad.item() == pytest.approx(expected, rel=0.01)


def test_slopes_are_those_of_finite_differences():
    particles, exits, _ = random_events(2)
    renderer = Renderer(SLOTS, Detector(), segments=8).double()
    present = torch.tensor([[True, True, False, True, True], [True] * 5])
    weights = torch.randn(7**3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def render(vertex, energy, direction):
        particles = Particles(vertex, energy, direction, present)
        return renderer.total(particles, exits.double(), 3.0).flatten(1) @ weights

    inputs = [part.double().requires_grad_() for part in (particles.vertex, particles.energy, particles.direction)]
    assert torch.autograd.gradcheck(render, inputs, eps=1e-5, atol=0.05, rtol=1e-3, fast_mode=False)


def test_slots_without_a_particle_have_neither_charge_nor_slopes():
    particles, exits, expected = random_events(3)
    present = torch.tensor([[True, False, False, False, False]]).repeat(3, 1)
    energy = torch.where(present, particles.energy, torch.nan).requires_grad_()
    direction = torch.where(present[..., None], particles.direction, torch.nan).requires_grad_()
    vertex = particles.vertex.clone().requires_grad_()
    charge = Renderer(SLOTS, Detector())(Particles(vertex, energy, direction, present), exits)
    assert (charge[:, 2:] == 0).all()
    np.testing.assert_allclose(
        charge[:, 1].sum(dim=(1, 2, 3)).detach(), expected[:, 1].sum(axis=(1, 2, 3)), rtol=1e-3
    )
    charge.square().sum().backward()
    for part in (vertex, energy, direction):
        assert part.grad.isfinite().all()
    assert (energy.grad[~present] == 0).all()


@pytest.mark.parametrize("vertex", [[0.0, 0, 0], [0, 35.0, 0], [60.0, -60, 0]])
@pytest.mark.parametrize("energy", [0.0, 1e-3, 80.0, 500.0])
def test_slopes_are_finite_at_the_limits(vertex, energy):
    """At the muon's exit, outside the volume, and beyond the tables, along an axis and along planes."""
    proton = one_proton(vertex, energy, [0, 0, 1.0])
    for part in (proton.vertex, proton.energy, proton.direction):
        part.requires_grad_()
    charge = Renderer(["proton"], Detector())(proton, EXITS, 0.3)
    charge.square().sum().backward()
    assert charge.isfinite().all()
    for part in (proton.vertex, proton.energy, proton.direction):
        assert part.grad.isfinite().all()
