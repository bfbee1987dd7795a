"""Fits from distorted predictions, against the truth, the likelihood of numpy, and a peer's minimiser."""

import copy
import dataclasses
import os

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import kl_div

from oasis.adapters.neutrino.coordinates import Coordinates
from oasis.adapters.neutrino.fit_options import RefinementOptions
from oasis.adapters.neutrino.fitting import CONVERGED, EXTENDED, RESTARTED, STUCK
from oasis.adapters.neutrino.refinement import refine
from oasis.adapters.neutrino.renderer import Particles, Renderer
from oasis.adapters.neutrino.scene import CONFIGURATION_1, CONFIGURATION_2, SimulatedScene, name_particles
from oasis.adapters.neutrino.simulation import SPECIES, Detector, Tracks, expected_charge, simulate
from oasis.adapters.neutrino.uncertainty import expected_deviance, muon_fluctuation, uncertainty
from oasis.data.mixing import keyed_rng
from oasis.errors import ConfigError, DataError

COUNT = 16
LONG = os.environ.get("OASIS_ABUSE") == "long"
FEW = RefinementOptions(steps=60, starts=2, restarts=0, add=False)


def deviance(image, expected):
    """The Poisson deviance by scipy, of at least 0.01 p.e. expected where there is charge."""
    return 2 * kl_div(image, np.where(image > 0, np.maximum(expected, 0.01), expected)).sum()


class Events:
    """Simulated events, what is true of them, and an initial with errors like a network's."""

    def __init__(self, composition, count=COUNT, spoil=1.0):
        self.species = [name.partition("_")[0] for name in composition.classes[1:]]
        scene = SimulatedScene(composition, Detector(fluctuations=False), (5.0, 60.0))
        events = [scene.event(index, keyed_rng(0, "val", index)) for index in range(count)]
        named = [name_particles(event.particles) for event in events]
        self.muons = [one.pop("muon") for one in named]
        self.image = tensor([sum(one.charge for one in event.particles) for event in events])
        outs = [event.exit for event in events]
        self.exits = tensor([[*out.position, out.energy, *out.direction] for out in outs])
        slots = [[one.get(name) for name in composition.classes[1:]] for one in named]
        energy = tensor([[np.nan if one is None else one.energy for one in row] for row in slots])
        direction = tensor([[[np.nan] * 3 if one is None else one.direction for one in row] for row in slots])
        vertex = tensor([event.vertex for event in events])
        self.truth = Particles(vertex, energy, direction, energy.isfinite())
        noise = torch.Generator().manual_seed(1)
        turned = direction + 0.25 * spoil * torch.randn(direction.shape, generator=noise)
        self.initial = Particles(
            vertex + 1.2 * spoil * torch.randn(vertex.shape, generator=noise),
            energy * (0.15 * spoil * torch.randn(energy.shape, generator=noise)).exp(),
            turned / turned.norm(dim=-1, keepdim=True),
            energy.isfinite(),
        )

    def refine(self, options, initial=None, index=None, **known):
        index = torch.arange(len(self.image)) if index is None else torch.tensor(index)
        initial = (initial or self.initial).at(index)
        return refine(self.image[index], self.exits[index], initial, self.renderer, options, **known)

    @property
    def renderer(self):
        return Renderer(self.species, Detector())

    def expected(self, index, vertex, energy, direction):
        """The simulation's mean charge (7, 7, 7) of an event with other nuclei, by numpy."""
        way = self.exits[index, :3].numpy() - vertex
        direction = np.concatenate([way[None] / np.linalg.norm(way), direction])
        species = [0, *(SPECIES.index(name) for name in np.array(self.species)[self.truth.present[index].numpy()])]
        energy = np.array([self.muons[index].energy, *energy])
        start = np.broadcast_to(vertex, direction.shape)
        return expected_charge(Tracks(np.array(species), energy, start, direction), Detector()).sum(axis=0)

    def deviance(self, index, particles):
        """The deviance of an event, by numpy."""
        present = particles.present[index]
        nuclei = particles.energy[index, present].numpy(), particles.direction[index, present].numpy()
        expected = self.expected(index, particles.vertex[index].numpy(), *nuclei)
        return deviance(self.image[index].double().numpy(), expected)

    def errors(self, particles):
        """Median relative error of energies, and median distance of vertices in mm."""
        energy = (particles.energy / self.truth.energy - 1).abs()[self.truth.present]
        return energy.median().item(), (particles.vertex - self.truth.vertex).norm(dim=1).median().item()


def tensor(values):
    return torch.tensor(np.asarray(values), dtype=torch.float32)


@pytest.fixture(scope="module")
def events():
    return Events(CONFIGURATION_1)


@pytest.fixture(scope="module")
def refined(events):
    return events.refine(FEW)


def test_deviances_are_those_of_the_simulation(events, refined):
    for index in range(COUNT):
        before, after = events.deviance(index, events.initial), events.deviance(index, refined.particles)
        assert refined.deviance_before[index].item() == pytest.approx(before, rel=0.01, abs=8)
        assert refined.deviance_after[index].item() == pytest.approx(after, rel=0.01, abs=8)


@pytest.mark.parametrize("composition", [CONFIGURATION_1, CONFIGURATION_2])
def test_a_fit_comes_nearer_to_the_truth_and_explains_the_image_as_well(composition):
    events = Events(composition)
    refined = events.refine(FEW.model_copy(update={"steps": 100}))
    true = np.array([events.deviance(index, events.truth) for index in range(COUNT)])
    assert refined.deviance_before.median() > 1000
    assert np.median(refined.deviance_after) < np.median(true) + 10  # some 50, of as many cubes with charge
    before, after = events.errors(events.initial), events.errors(refined.particles)
    assert after[0] < 0.9 * before[0]
    assert after[1] < 0.9 * before[1]


def test_lbfgs_fits_too(events):
    refined = events.refine(RefinementOptions(method="lbfgs", steps=80, starts=1, restarts=0, add=False))
    assert refined.deviance_after.median() < 0.2 * refined.deviance_before.median()


def test_the_minimum_is_that_of_another_minimiser():
    """One nucleus, from the same initial, with the charge of the simulation and Nelder's and Mead's simplex."""
    events = Events(CONFIGURATION_1, 12)
    options = RefinementOptions(steps=150, starts=3, restarts=0, add=False)
    for index in np.nonzero((events.truth.present.sum(dim=1) == 1).numpy())[0][: 2 if LONG else 1]:
        initial = events.initial.at(torch.tensor([index]))
        vertex, energy = initial.vertex[0].double().numpy(), initial.energy[0, 0].item()
        direction = initial.direction[0, 0].double().numpy()
        across = np.linalg.svd(direction[None])[2][1:]
        image = events.image[index].double().numpy()

        def objective(
            u, index=index, vertex=vertex, energy=energy, direction=direction, across=across, image=image
        ):
            turn = np.radians(options.direction_spread) * u[4:]
            angle = np.linalg.norm(turn)
            turned = np.cos(angle) * direction + np.sinc(angle / np.pi) * turn @ across
            nuclei = [energy * np.exp(options.energy_spread * u[3])], turned[None]
            expected = events.expected(index, vertex + options.vertex_spread * u[:3], *nuclei)
            return deviance(image, expected) + u @ u

        refined = events.refine(options, index=[index])
        one = refined.particles
        turn = np.arccos(np.clip(one.direction[0, 0].double().numpy() @ direction, -1, 1))
        u = [
            *((one.vertex[0].numpy() - vertex) / options.vertex_spread),
            np.log(one.energy[0, 0].item() / energy) / options.energy_spread,
            turn / np.radians(options.direction_spread),
        ]
        found = refined.deviance_after.item() + np.square(u).sum()
        search = {"maxiter": 800, "xatol": 1e-2, "fatol": 0.1}
        peer = minimize(objective, np.zeros(6), method="Nelder-Mead", options=search).fun
        assert found < peer + 3
        assert found < objective(np.zeros(6)) - 10


def test_a_fit_is_never_worse_than_the_answer(events, refined):
    assert (refined.deviance_after <= refined.deviance_before).all()
    wild = RefinementOptions(steps=1, starts=1, learning_rate=50.0, restarts=0, add=False)
    kept = events.refine(wild, initial=events.truth)
    assert (kept.deviance_after == kept.deviance_before).all()
    for name in ("vertex", "energy", "direction"):
        expected = getattr(events.truth, name)
        torch.testing.assert_close(getattr(kept.particles, name), expected, rtol=0, atol=0, equal_nan=True)


def test_empty_slots_stay_as_they_are(events, refined):
    present = events.initial.present
    assert (refined.particles.present == present).all()
    assert refined.particles.energy[~present].isnan().all()
    assert refined.particles.energy[present].isfinite().all()
    norms = refined.particles.direction[present].norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones_like(norms), rtol=0, atol=1e-5)


def test_more_starts_find_better_minima():
    events = Events(CONFIGURATION_1, spoil=2.5)
    one, many = (events.refine(FEW.model_copy(update={"starts": starts})).deviance_after for starts in (1, 6))
    assert many.mean() < 0.6 * one.mean()


def test_a_fit_depends_on_the_number_of_its_event_alone(events):
    options = FEW.model_copy(update={"steps": 3, "starts": 4})
    whole = events.refine(options)
    part = events.refine(options, index=[3, 9], ids=[3, 9])
    torch.testing.assert_close(part.particles.vertex, whole.particles.vertex[[3, 9]], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(part.deviance_after, whole.deviance_after[[3, 9]], rtol=1e-2, atol=1)
    for other in (events.refine(options, ids=range(100, 100 + COUNT)), events.refine(options, seed=1)):
        assert ((other.particles.vertex - whole.particles.vertex).abs().amax(dim=1) > 0.01).sum() > 3


def test_a_trusted_answer_stays(events):
    trust = {"energy_spread": 1e-4, "energy_error": 0.0, "direction_spread": 0.01, "vertex_spread": 1e-3}
    kept = events.refine(FEW.model_copy(update=trust)).particles
    present = events.initial.present
    assert (kept.vertex - events.initial.vertex).abs().max() < 0.1
    assert (kept.energy / events.initial.energy - 1)[present].abs().max() < 0.01
    assert (kept.direction * events.initial.direction).sum(dim=-1)[present].min() > 0.999


def test_steps_are_in_units_of_the_spreads(events):
    """The first step of Adam is the learning rate, along every coordinate."""
    relative = {"energy_spread": 0.15, "energy_error": 0.0}
    options = RefinementOptions(steps=1, starts=1, learning_rate=0.1, restarts=0, add=False, **relative)
    stepped, initial = events.refine(options), events.initial
    moved = stepped.deviance_after < stepped.deviance_before
    assert moved.sum() > COUNT / 2
    present = initial.present & moved[:, None]
    vertex = (stepped.particles.vertex - initial.vertex)[moved].abs().median().item()
    energy = (stepped.particles.energy / initial.energy).log()[present].abs().median().item()
    turn = torch.linalg.cross(stepped.particles.direction, initial.direction)[present].norm(dim=-1).median().item()
    assert vertex == pytest.approx(0.1 * options.vertex_spread, rel=1e-3)
    assert energy == pytest.approx(0.1 * options.energy_spread, rel=0.02)  # bent near 0
    assert np.degrees(np.arcsin(turn)) == pytest.approx(0.1 * 2**0.5 * options.direction_spread, rel=1e-3)


@pytest.mark.parametrize("name", ["image", "exits", "energy"])
def test_numbers_that_are_not_finite_are_named(events, name):
    image, exits, initial = events.image.clone(), events.exits.clone(), events.initial.at(torch.arange(COUNT))
    {"image": image, "exits": exits, "energy": initial.energy}[name][0] = torch.nan
    with pytest.raises(DataError, match=name):
        refine(image, exits, initial, events.renderer, FEW)


def test_a_face_as_wide_as_a_cube_is_refused():
    with pytest.raises(ConfigError, match="softness"):
        RefinementOptions.parse({"softness": [10.0, 0.3]})


@pytest.mark.parametrize("method", ["adam", "lbfgs"])
@pytest.mark.parametrize("seed", range(6 if LONG else 2))
def test_no_fit_ends_with_a_worse_deviance(events, seed, method):
    """Whatever the prediction and the steps, with restarts and added nuclei; by numpy too."""
    rate, spoil = 10.0 ** np.random.default_rng(seed).uniform([-2, -1], [2, 1])
    noise = torch.Generator().manual_seed(seed)
    index = torch.randint(0, COUNT, (4,), generator=noise)
    truth = events.truth.at(index)
    turned = truth.direction + spoil * torch.randn(truth.direction.shape, generator=noise)
    initial = Particles(
        truth.vertex + spoil * torch.randn(truth.vertex.shape, generator=noise),
        (truth.energy * (0.3 * spoil * torch.randn(truth.energy.shape, generator=noise)).exp()).clamp(0.1, 80),
        turned / turned.norm(dim=-1, keepdim=True),
        truth.present & (torch.rand(truth.present.shape, generator=noise) > 0.3),
    )
    options = RefinementOptions(steps=3, starts=2, restarts=1, restart_starts=2, learning_rate=rate, method=method)
    found = refine(events.image[index], events.exits[index], initial, events.renderer, options, seed)
    assert (found.deviance_after <= found.deviance_before).all()
    whole = chosen_events(events, index, found.particles.present)
    for place in range(len(index)):
        after = whole.deviance(place, found.particles)
        assert found.deviance_after[place].item() == pytest.approx(after, rel=0.1, abs=10)


def chosen_events(events, index, present):
    """Return the events of some indices with other nuclei, whose deviances numpy computes."""
    some = copy.copy(events)
    some.image, some.exits, some.muons = events.image[index], events.exits[index], [events.muons[i] for i in index]
    some.truth = dataclasses.replace(events.truth.at(index), present=present)
    return some


def test_events_that_are_stuck_start_again():
    """From predictions that point anywhere, 1 fit of few steps is stuck; further ones are not."""
    events = Events(CONFIGURATION_1, 32, spoil=4.0)
    once = RefinementOptions(steps=60, starts=1, restarts=0, add=False)
    first = events.refine(once)
    again = events.refine(once.model_copy(update={"restarts": 2, "restart_starts": 12}))
    assert (first.status == STUCK).sum() >= 6
    assert ((first.status == STUCK) == (first.deviance_after > 2.5 * first.expectation)).all()
    assert (again.status == STUCK).sum() < 0.4 * (first.status == STUCK).sum()
    untouched = first.status == CONVERGED
    assert (again.status[untouched] == CONVERGED).all()
    torch.testing.assert_close(
        again.deviance_after[untouched], first.deviance_after[untouched], rtol=1e-3, atol=0.1
    )
    assert (again.status == RESTARTED).any()


def test_a_nucleus_that_was_missed_is_added():
    """Without its most energetic proton, an event of two or more is stuck; a nucleus brings it back."""
    events = Events(CONFIGURATION_1, 24, spoil=0.5)
    several = (events.truth.present.sum(dim=1) > 1).nonzero()[:, 0]
    initial = dataclasses.replace(events.initial, present=events.initial.present.clone())
    initial.present[several, 0] = False
    options = RefinementOptions(steps=80, starts=2, restarts=0)
    without = events.refine(options.model_copy(update={"add": False}), initial)
    found = events.refine(options, initial)
    stuck = (without.status == STUCK).nonzero()[:, 0]
    assert len(stuck) > 6
    freed = stuck[found.status[stuck] == EXTENDED]
    assert len(freed) > 0.6 * len(stuck)
    assert (found.deviance_after[freed] < 0.5 * without.deviance_after[freed]).all()
    assert (found.particles.present.sum(dim=1) - initial.present.sum(dim=1))[freed].eq(1).all()
    fitted, true = (
        one.energy.where(one.present, 0.0).sum(dim=1)[freed] for one in (found.particles, events.truth)
    )
    assert (fitted - true).abs().median() < 5  # MeV


def test_the_expected_deviance_is_that_of_drawn_counts():
    rng = np.random.default_rng(0)
    for mean in (0.003, 0.2, 1.0, 3.0, 40.0, 1000.0):
        counts = rng.poisson(mean, 400_000)
        drawn = 2 * kl_div(counts, mean)
        found = expected_deviance(torch.tensor([mean])).item()
        assert found == pytest.approx(drawn.mean(), abs=5 * drawn.std() / len(counts) ** 0.5)


def test_deviances_at_the_truth_have_their_expectation():
    """Over images with and without fluctuations of the muon, no parameter fitted."""
    for fluctuations in (False, True):
        scene = SimulatedScene(CONFIGURATION_1, Detector(fluctuations=fluctuations), (5.0, 60.0))
        rng, ratios = np.random.default_rng(1), []
        for index in range(12):
            event = scene.event(index, keyed_rng(0, "val", index))
            kinds = np.array([SPECIES.index(one.species) for one in event.particles])
            energy = np.array([one.energy for one in event.particles])
            direction = np.array([one.direction for one in event.particles])
            tracks = Tracks(kinds, energy, np.broadcast_to(event.vertex, direction.shape), direction)
            images = np.array([simulate(tracks, scene.detector, rng).sum(axis=0) for _ in range(200)])
            parts = expected_charge(tracks, Detector())
            mean = tensor(parts.sum(axis=0)[None])
            out = event.exit
            exits = tensor([[*out.position, out.energy, *out.direction]])
            known = uncertainty(
                lambda u, mean=mean: mean + 0 * u.sum(),
                torch.zeros(1, 3),
                tensor(parts[:1]),
                muon_fluctuation(exits) * fluctuations,
                torch.ones(1, 3, dtype=torch.bool),
                0.0,
            )
            deviances = [deviance(image, parts.sum(axis=0)) for image in images]
            ratios.append(np.mean(deviances) / known.expectation.item())
        assert np.mean(ratios) == pytest.approx(1, abs=0.1)


def test_errors_are_those_of_repeated_measurements():
    """One long proton, measured 200 times: the scatter of its fits is what the Fisher matrix tells."""
    count = 200
    vertex, up = torch.tensor([[2.0, -3.0, 1.0]]), torch.tensor([[[0.6, 0.64, 0.48]]])
    truth = Particles(vertex, torch.tensor([[45.0]]), up, torch.tensor([[True]])).at(torch.zeros(count, dtype=int))
    exits = tensor([[-35.0, 8, -20, 600, -0.86, 0.26, -0.44]]).repeat(count, 1)
    renderer = Renderer(["proton"], Detector())
    image = torch.poisson(renderer.total(truth, exits), generator=torch.Generator().manual_seed(0))
    wide = {"energy_spread": 0.0, "energy_error": 4.0, "direction_spread": 15.0, "vertex_spread": 1.5}
    plain = {"error_scales": (1.0, 1.0, 1.0), "restarts": 0, "add": False}
    options = RefinementOptions(steps=100, starts=3, **wide, **plain)
    drawn = torch.randn(count, 6, generator=torch.Generator().manual_seed(1))  # predictions have unit errors
    found = refine(image, exits, Coordinates.around(truth, options)(drawn), renderer, options)
    vertex_error, energy_error, direction_error = found.errors
    energy = (found.particles.energy - 45.0)[:, 0] / energy_error[:, 0]
    pull = (found.particles.vertex - vertex) / vertex_error
    for one in (energy, pull.flatten()):
        low, high = one.quantile(torch.tensor([0.16, 0.84]))
        assert (high - low).item() / 2 == pytest.approx(1, abs=0.25)
    across = torch.linalg.cross(found.particles.direction[:, 0], up[0].expand(count, 3)).norm(dim=-1)
    turned = torch.rad2deg(across.asin()) / direction_error[:, 0]
    assert turned.median().item() == pytest.approx(1.1774, rel=0.25)  # of Rayleigh's distribution
