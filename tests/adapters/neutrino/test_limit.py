"""The best possible counter of protons, in cases whose answer is known."""

import sys

import numpy as np
import pytest

from oasis.adapters.neutrino.renderer import Particles, Renderer
from oasis.adapters.neutrino.simulation import Detector
from oasis.errors import ConfigError


@pytest.fixture
def limit(example):
    return example("neutrino/limit")


def test_light_in_the_cube_of_the_vertex_is_that_of_the_renderer(limit):
    """Oracle: the tracks of the fit, cut into segments, without cross-talk."""
    import torch

    vertex = np.array([2.0, -3.0, 1.0])
    protons = limit.Protons(vertex, (1.0, 60.0), 10.0, 400, 3)
    rng = np.random.default_rng(3)
    energy, direction = rng.uniform(1, 60, 400), rng.standard_normal((400, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    detector = Detector(crosstalk=0.0)
    particles = Particles(
        torch.from_numpy(vertex).float().repeat(400, 1),
        torch.from_numpy(energy[:, None]).float(),
        torch.from_numpy(direction[:, None]).float(),
        torch.ones(400, 1, dtype=torch.bool),
    )
    exits = torch.tensor([[35.0, 0, 0, 500, 1, 0, 0]]).repeat(400, 1)
    charge = Renderer(["proton"], detector)(particles, exits)[:, 1].numpy() / detector.light_yield
    np.testing.assert_allclose(protons.light, charge[:, 3, 3, 3], atol=0.3)
    outside = charge.sum((1, 2, 3)) - charge[:, 3, 3, 3]
    assert (outside[protons.stops] < 1e-3).all()
    assert (outside[~protons.stops] > 0).mean() > 0.98


def test_protons_that_leave_the_cube_are_always_counted(limit):
    assert all(limit.right_number(index, (55.0, 60.0), 10.0, 2000) for index in range(20))


def test_alike_protons_that_stop_are_counted_by_their_light(limit):
    right = [limit.right_number(index, (10.0, 10.001), 100.0, 2000) for index in range(40)]
    assert all(right)  # 4.6 MeV of light each, known to 0.4
    soft = [limit.right_number(index, (0.3, 3.0), 100.0, 2000) for index in range(200)]
    assert 0.2 < np.mean(soft) < 0.7  # light that overlaps; a guess is right in a fifth


def test_it_prints_a_rate_and_refuses_wrong_numbers(limit, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["limit", "--events", "20", "--draws", "2000"])
    limit.main()
    assert capsys.readouterr().out.startswith("right number at best: ")
    monkeypatch.setattr(sys, "argv", ["limit", "--energies", "5", "1"])
    with pytest.raises(ConfigError, match="two increasing ones"):
        limit.main()
    monkeypatch.setattr(sys, "argv", ["limit", "--cube", "-1"])
    with pytest.raises(ConfigError, match="an edge of 5 to 100 mm, found -1"):
        limit.main()
