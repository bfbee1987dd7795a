"""Particles as functions of coordinates: distances from initial values in units of their expected errors."""

import math
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from oasis.adapters.neutrino.fit_options import RefinementOptions
from oasis.adapters.neutrino.physics import HIGHEST
from oasis.adapters.neutrino.renderer import Particles

LOWEST: Final = 0.1  # MeV, the least initial energy
KNEE: Final = 2.0  # MeV, below which an energy falls exponentially instead of linearly, so that it stays above 0


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Particles of b events as functions of u (b, 3 + 3 K): vertex, energies, rotations of directions.

    Attributes:
        initial: the particles at u = 0.
        axes: (b, K, 2, 3) unit vectors, orthogonal to the directions and to each other.
        spread: (b, K) MeV, the expected errors of the energies.
        options: the options with the other spreads.
    """

    initial: Particles
    axes: Tensor
    spread: Tensor
    options: RefinementOptions

    @classmethod
    def around(cls, initial: Particles, options: RefinementOptions) -> Self:
        """Return coordinates around initial particles, whose energies are clipped to the range of the tables."""
        present = initial.present
        energy = torch.where(present, initial.energy, 1.0).clamp(LOWEST, HIGHEST)
        direction = F.normalize(torch.where(present[..., None], initial.direction, 1.0), dim=-1)
        least = F.one_hot(direction.abs().argmin(dim=-1), 3).to(direction)
        first = F.normalize(torch.linalg.cross(direction, least), dim=-1)
        axes = torch.stack([first, torch.linalg.cross(direction, first)], dim=-2)
        spread = ((options.energy_spread * energy).square() + options.energy_error**2).sqrt()
        return cls(Particles(initial.vertex, energy, direction, present), axes, spread, options)

    def __call__(self, u: Tensor) -> Particles:
        """Return the particles; directions are rotated along great circles."""
        nuclei = self.initial.energy.shape[1]
        vertex = self.initial.vertex + self.options.vertex_spread * u[:, :3]
        turn = math.radians(self.options.direction_spread) * u[:, 3 + nuclei :].reshape(-1, nuclei, 2)
        angle = (turn.square().sum(dim=-1, keepdim=True) + 1e-12).sqrt()  # its gradient at 0 is finite
        across = (turn[..., None] * self.axes).sum(dim=-2)
        direction = angle.cos() * self.initial.direction + torch.sinc(angle / math.pi) * across
        return Particles(vertex, self._energy(u[:, 3 : 3 + nuclei]), direction, self.initial.present)

    def _energy(self, u: Tensor) -> Tensor:
        """Return initial energies plus u spreads, bent smoothly so that they stay above 0."""
        initial = self.initial.energy
        bent = initial + KNEE * (-(-initial / KNEE).expm1()).log()  # the inverse of the softplus below
        slope = -(-initial / KNEE).expm1()  # of the softplus there
        return (KNEE * F.softplus((bent + self.spread / slope * u) / KNEE)).clamp(max=HIGHEST)

    def errors(self, covariance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return standard errors of vertex (b, 3), mm, energies (b, K), MeV, and directions (b, K), degrees.

        That of a direction is along each of the two axes across it.

        Args:
            covariance: (b, 3 + 3 K, 3 + 3 K) of u.
        """
        nuclei = self.initial.energy.shape[1]
        variance = covariance.diagonal(dim1=-2, dim2=-1)
        angle = variance[:, 3 + nuclei :].reshape(-1, nuclei, 2).mean(dim=-1).sqrt()
        scales = self.options.error_scales
        return (
            scales[0] * self.options.vertex_spread * variance[:, :3].sqrt(),
            scales[1] * self.spread * variance[:, 3 : 3 + nuclei].sqrt(),
            scales[2] * self.options.direction_spread * angle,
        )
