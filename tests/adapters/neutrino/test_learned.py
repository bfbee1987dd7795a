"""The learned correction: nothing untrained, a known defect found, kept on disk, and used by the fit."""

import numpy as np
import pytest
import torch

from oasis.adapters.neutrino import NeutrinoAdapter
from oasis.adapters.neutrino.learned import (
    LearnedRenderer,
    distant_muon,
    nuclei_deviance,
    single_nuclei,
    train_learned,
)
from oasis.adapters.neutrino.renderer import Renderer
from oasis.adapters.neutrino.simulation import Detector
from oasis.errors import DataError

DETECTOR = Detector(threshold=0.0)


@pytest.fixture(scope="module")
def nuclei():
    return single_nuclei("proton", 400, DETECTOR, (5.0, 60.0), 0, "val")


def test_untrained_it_is_the_analytic_renderer(nuclei):
    particles, _ = nuclei
    exits = distant_muon(len(particles))
    plain, learned = (one(["proton"], DETECTOR)(particles, exits) for one in (Renderer, LearnedRenderer))
    assert (learned - plain).abs().max() < 0.3  # p.e., of up to 2,000
    torch.testing.assert_close(learned[:, 0], plain[:, 0])
    total = LearnedRenderer(["proton"], DETECTOR).total(particles, exits)
    torch.testing.assert_close(total, learned.sum(dim=1))


def test_simulated_nuclei_have_the_deviance_of_poisson(nuclei):
    particles, charge = nuclei
    with torch.no_grad():
        found = nuclei_deviance(Renderer(["proton"], DETECTOR, segments=192), particles, charge)
        expected = Renderer(["proton"], DETECTOR)(particles, distant_muon(len(particles)))[:, 1]
        drawn = torch.poisson(expected, generator=torch.Generator().manual_seed(0))
        again = nuclei_deviance(Renderer(["proton"], DETECTOR), particles, drawn)
    assert found.mean().item() == pytest.approx(again.mean().item(), rel=0.1)


def test_a_lower_light_yield_is_learned(nuclei):
    """Nuclei of a detector with 12 % less light: the correction becomes a factor of 0.88 where there is charge."""
    particles, _ = nuclei
    dim = Detector(threshold=0.0, light_yield=66.0)
    _, charge = single_nuclei("proton", 400, dim, (5.0, 60.0), 0, "val")
    renderer = LearnedRenderer(["proton"], DETECTOR)
    with torch.no_grad():
        before = nuclei_deviance(renderer, particles, charge).mean()
    history = train_learned(renderer, particles, charge, steps=150, batch=64, learning_rate=0.01)
    assert len(history) == 150
    with torch.no_grad():
        after = nuclei_deviance(renderer, particles, charge).mean()
        expected = renderer(particles, distant_muon(len(particles)))[:, 1]
        plain = Renderer(["proton"], DETECTOR)(particles, distant_muon(len(particles)))[:, 1]
    assert after < 0.5 * before
    bright = plain > 100
    assert (expected[bright] / plain[bright]).median() == pytest.approx(0.88, abs=0.02)
    assert (expected > 0).all()


def test_slopes_are_those_of_finite_differences(nuclei):
    particles = nuclei[0].at(torch.arange(2))
    renderer = LearnedRenderer(["proton"], DETECTOR, segments=8)
    for parameter in renderer.network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(0))
    renderer = renderer.double()
    weights = torch.randn(7**3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def render(vertex, energy, direction):
        one = type(particles)(vertex, energy, direction, particles.present)
        return renderer.total(one, distant_muon(2).double(), 3.0).flatten(1) @ weights

    inputs = [getattr(particles, name).double().requires_grad_() for name in ("vertex", "energy", "direction")]
    assert torch.autograd.gradcheck(render, inputs, eps=1e-5, atol=0.1, rtol=2e-3)


def test_it_is_kept_on_disk_and_used_by_the_fit(tmp_path):
    adapter = NeutrinoAdapter()
    species = ["proton"] * 5
    renderer = LearnedRenderer(species, Detector())
    torch.nn.init.constant_(renderer.network[-1].bias, 0.2)
    renderer.save(tmp_path / "renderer.safetensors")
    used = NeutrinoAdapter({"refinement": {"renderer": str(tmp_path / "renderer.safetensors")}})._renderer
    assert type(adapter._renderer) is Renderer
    for name, values in renderer.network.state_dict().items():
        np.testing.assert_array_equal(used.network.state_dict()[name], values)
    (tmp_path / "other.safetensors").write_bytes(b"no")
    with pytest.raises(DataError, match=r"other.safetensors: not the file of a renderer") as caught:
        LearnedRenderer(species, Detector()).load(tmp_path / "other.safetensors")
    assert "\n" not in str(caught.value)
