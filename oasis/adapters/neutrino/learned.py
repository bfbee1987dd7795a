r"""The analytic renderer with a small correction that is learned from single particles.

For a nucleus whose expected charge in a cube is :math:`\lambda`, and in the volume q, the corrected one is

.. math:: \lambda' = \lambda e^{a} + 10^{-3} q \, \mathrm{softplus}(b - 3) \, e^{-\rho},

which stays positive, so that the Poisson likelihood remains that of the fit. The numbers a and b come from a
network of 278 weights, which knows where the cube lies along and across the track (:math:`\rho` cubes away from
it), the range, the mass and the expected charge. Untrained, a is 0 and the second term negligible.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from oasis.adapters.neutrino import physics
from oasis.adapters.neutrino.metrics import FLOOR
from oasis.adapters.neutrino.renderer import SEGMENTS, Particles, Renderer
from oasis.adapters.neutrino.scene import HALF, MUON_ENERGIES, centres
from oasis.adapters.neutrino.simulation import CUBE, SPECIES, Detector, Tracks, simulate
from oasis.data.mixing import keyed_rng
from oasis.errors import DataError
from oasis.io.files import one_line, replace_when_whole
from oasis.loss.distances import poisson_deviance

WIDTH: Final = 12
FEATURES: Final = 7
LIGHT: Final = 1e-3  # of the charge of a nucleus that the second term may add to a cube, by order
LOWEST: Final = -3.0
MOST_FACTOR: Final = 1.0  # of the exponent a


class LearnedRenderer(Renderer):
    """A renderer whose charges of nuclei are corrected by a small network.

    Args:
        species: the species of the K slots of nuclei.
        detector: the response of the detector.
        segments: number of segments of every track.
    """

    ranges: Tensor
    cubes: Tensor

    def __init__(self, species: Sequence[str], detector: Detector, segments: int = SEGMENTS) -> None:
        super().__init__(species, detector, segments)
        self._constant("ranges", physics.csda_range(np.arange(0.5, physics.HIGHEST, 0.5)))
        self._constant("cubes", centres(detector.cube_mm).reshape(-1, 3))
        self.network = nn.Sequential(
            nn.Linear(FEATURES, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 2)
        )
        nn.init.zeros_(self.network[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.network[-1].bias)  # type: ignore[arg-type]

    def forward(self, particles: Particles, exits: Tensor, softness: float = 0.0) -> Tensor:
        """Return the mean charge of every particle (b, 1 + K, 7, 7, 7), the muon's first, p.e."""
        analytic = super().forward(particles, exits, softness)
        nuclei = analytic[:, 1:].flatten(2)
        features, across = self._features(particles, nuclei)
        factor, extra = self.network(features).unbind(dim=-1)
        total = nuclei.sum(dim=-1, keepdim=True)
        corrected = nuclei * (MOST_FACTOR * factor.tanh()).exp()
        corrected = corrected + LIGHT * total * F.softplus(extra + LOWEST) * (-across).exp()
        return torch.cat([analytic[:, :1], corrected.reshape(analytic[:, 1:].shape)], dim=1)

    def total(self, particles: Particles, exits: Tensor, softness: float = 0.0) -> Tensor:
        """Return the mean charge of all particles together (b, 7, 7, 7)."""
        return self.forward(particles, exits, softness).sum(dim=1)

    def _features(self, particles: Particles, charge: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the network knows (b, K, cubes, 7), and the distance of cubes from the tracks, in cubes."""
        present = particles.present
        energy = torch.where(present, particles.energy, 1.0)
        direction = torch.where(present[..., None], particles.direction, 1.0)
        place = (energy / self.mass / 0.5 - 1).clamp(0, len(self.ranges) - 1.001)
        row = place.detach().long()
        length = self.mass * torch.lerp(self.ranges[row], self.ranges[row + 1], place - row)
        offset = (self.cubes - particles.vertex[:, None]) / CUBE  # (b, cubes, 3)
        along = torch.einsum("bcd,bkd->bkc", offset, direction)
        reach = (length / CUBE)[..., None]
        nearest = along.clamp(min=0).minimum(reach)
        apart = offset[:, None] - nearest[..., None] * direction[:, :, None]
        across = (apart.square().sum(dim=-1) + 1e-6).sqrt()
        ones = torch.ones_like(along)
        of_track = (reach * ones, energy[..., None] / 30 * ones, self.mass[:, None] / 3 * ones)
        columns = (along, across, along - reach, *of_track, torch.log1p(charge) / 5)
        return torch.stack(columns, dim=-1), across

    def save(self, path: str | Path) -> None:
        """Write the network to a safetensors file."""
        with replace_when_whole(Path(path)) as temporary:
            save_file(dict(self.network.state_dict()), temporary)

    def load(self, path: str | Path) -> "LearnedRenderer":
        """Read the network from a file, and return the renderer.

        Raises:
            DataError: the file cannot be read, or is that of another network.
        """
        try:
            self.network.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError, KeyError) as error:
            raise DataError(f"{path}: not the file of a renderer: {one_line(error)}") from None
        return self


def single_nuclei(
    species: str, count: int, detector: Detector, energies: tuple[float, float], seed: int, split: str
) -> tuple[Particles, Tensor]:
    """Return simulated nuclei, one per event, and their charges (n, 7, 7, 7), p.e."""
    rng = keyed_rng(seed, split, SPECIES.index(species))
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    start, energy = rng.uniform(-1.5 * CUBE, 1.5 * CUBE, (count, 3)), rng.uniform(*energies, count)
    tracks = Tracks(np.full(count, SPECIES.index(species)), energy, start, direction)
    charge = simulate(tracks, detector, rng, np.arange(count))
    arrays = (start, energy[:, None], direction[:, None])
    vertex, ke, axes = (torch.as_tensor(one, dtype=torch.float32) for one in arrays)
    return Particles(vertex, ke, axes, torch.ones(count, 1, dtype=torch.bool)), torch.from_numpy(charge)


def nuclei_deviance(renderer: Renderer, particles: Particles, charge: Tensor) -> Tensor:
    """Return the Poisson deviance (n,) of the charges of single nuclei from what a renderer expects."""
    expected = renderer(particles, distant_muon(len(particles)))[:, 1]
    return poisson_deviance(expected, charge, FLOOR).flatten(1).sum(dim=1)


def distant_muon(count: int) -> Tensor:
    """Return exits (n, 7) for events whose muon does not matter."""
    return torch.tensor([[HALF, 0.0, 0.0, MUON_ENERGIES[0], 1.0, 0.0, 0.0]]).repeat(count, 1)


def train_learned(
    renderer: LearnedRenderer,
    particles: Particles,
    charge: Tensor,
    steps: int = 1500,
    batch: int = 128,
    learning_rate: float = 3e-3,
    seed: int = 0,
) -> list[float]:
    """Fit the correction to single nuclei by their Poisson likelihood, and return the mean deviance of every step.

    Args:
        renderer: with one slot; it is changed.
        particles: n nuclei, one per event.
        charge: (n, 7, 7, 7) p.e.
        steps: number of steps.
        batch: nuclei per step.
        learning_rate: that of the first step; it falls to 0 along a cosine.
        seed: of the batches.
    """
    optimiser = torch.optim.Adam(renderer.network.parameters(), learning_rate)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    drawn = torch.Generator().manual_seed(seed)
    history = []
    for _ in range(steps):
        index = torch.randint(len(charge), (batch,), generator=drawn)
        loss = nuclei_deviance(renderer, particles.at(index), charge[index]).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        cosine.step()
        history.append(loss.item())
    return history
