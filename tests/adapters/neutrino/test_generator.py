"""The generator of the original work: size, labels, the penalty of its critic, and its images in the volume."""

import sys

import numpy as np
import pytest
import torch

from oasis.adapters.neutrino.generator import (
    MOST,
    Critic,
    GeneratedRenderer,
    Generator,
    gradient_penalty,
    inner_cubes,
    labels_of,
    train_generator,
)
from oasis.adapters.neutrino.learned import distant_muon, single_nuclei
from oasis.adapters.neutrino.renderer import Renderer
from oasis.adapters.neutrino.simulation import Detector


@pytest.fixture(scope="module")
def nuclei():
    return single_nuclei("proton", 60, Detector(threshold=0.0), (5.0, 60.0), 0, "val")


def test_it_has_as_many_weights_as_the_original():
    assert sum(one.numel() for one in Generator().parameters()) == 141_569


def test_labels_are_scaled(nuclei):
    particles, _ = nuclei
    labels = labels_of(particles, 10.0)[:, 0].numpy()
    assert np.abs(labels).max() <= 1
    inside = labels[:, :3] * 5
    cubes = (particles.vertex.numpy() - inside) / 10
    np.testing.assert_allclose(cubes, np.round(cubes), atol=1e-5)
    np.testing.assert_allclose((labels[:, 3] + 1) * 30, particles.energy[:, 0], rtol=1e-5)
    theta, phi = (labels[:, 4] + 1) * np.pi / 2, labels[:, 5] * np.pi
    unit = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1)
    np.testing.assert_allclose(unit, particles.direction[:, 0], atol=1e-4)


def test_the_penalty_of_a_linear_critic_is_known():
    """The slope of a score that is a sum with the weights w is w everywhere: the penalty is (|w| - 1)^2."""
    weights = torch.linspace(0.1, 0.5, 125)

    def critic(images, labels):
        return images @ weights

    real, made = torch.rand(4, 125), torch.rand(4, 125)
    found = gradient_penalty(critic, real, made, torch.zeros(4, 6), torch.rand(4, 1))
    assert found.item() == pytest.approx((weights.norm().item() - 1) ** 2, rel=1e-4)


def test_critics_score_without_a_bound():
    critic = Critic()
    with torch.no_grad():
        critic.out.weight.mul_(1000)
    assert critic(torch.rand(6, 125), torch.rand(6, 6)).abs().max() > 1.5


class Known(Generator):
    """Returns the scaled charges of nuclei that are known, whatever the noise."""

    def __init__(self, images):
        super().__init__()
        self.images = images

    def forward(self, labels, noise):
        return self.images.repeat_interleave(len(noise) // len(self.images), dim=0)


def test_images_are_put_where_the_nucleus_starts(nuclei):
    particles, charge = nuclei
    images = inner_cubes(charge, particles.vertex, 10.0)
    exits = distant_muon(len(charge))
    found = GeneratedRenderer(["proton"], Detector(), Known(images), samples=3)(particles, exits)
    expected = Renderer(["proton"], Detector())(particles, exits)
    torch.testing.assert_close(found[:, 0], expected[:, 0])
    near = charge.clamp(max=MOST)
    place = (particles.vertex / 10).round()
    cubes = torch.stack(torch.meshgrid(*[torch.arange(-3.0, 4)] * 3, indexing="ij"), dim=-1)
    inside = ((cubes - place[:, None, None, None]).abs() <= 2).all(dim=-1)
    torch.testing.assert_close(found[:, 1], near * inside, rtol=1e-4, atol=0.01)


def test_training_changes_the_generator_and_it_has_slopes(nuclei):
    particles, charge = nuclei
    generator = train_generator(particles, charge, 10.0, steps=2, batch=4, critics=2)
    torch.manual_seed(0)
    assert any(
        not torch.equal(*pair) for pair in zip(generator.parameters(), Generator().parameters(), strict=True)
    )
    particles.energy.requires_grad_()
    GeneratedRenderer(["proton"], Detector(), generator).total(particles, distant_muon(60)).sum().backward()
    assert particles.energy.grad.abs().min() > 0
    particles.energy.requires_grad_(False)


def test_the_comparison_runs(example, monkeypatch, capsys, tmp_path):
    out = tmp_path / "renderer.safetensors"
    numbers = ["--nuclei", "40", "--steps", "3", "--generator-steps", "1", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["renderers", *numbers])
    example("neutrino/renderers").main()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-3:]]
    assert [row[0] for row in rows] == ["analytic", "learned", "generator"]
    assert float(rows[2][3]) > 3 * float(rows[0][3])
    assert out.stat().st_size > 500
