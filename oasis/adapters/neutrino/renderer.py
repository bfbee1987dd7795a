r"""Charge images as differentiable functions of the particles of an event, for many events at once.

The images are those of `simulation.expected_charge`, except that the faces between cubes can be soft, so that a
track next to a cube contributes some charge to it, and hence a gradient. The track of a nucleus is cut into
segments of equal light, which are short at the Bragg peak, and that of the muon into segments of equal length.
Along every axis a segment of length h and direction d is shared between the two cubes at a plane by a ramp of
width

.. math:: w = \sqrt{s^2 + h^2 d^2}

for the softness s; its fraction in a cube is the product over the axes. Without softness a segment that crosses
one plane is divided exactly; only segments that cross two or three planes are approximated.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from oasis.adapters.neutrino import physics
from oasis.adapters.neutrino.simulation import CUBES, Detector

PADDED: Final = CUBES + 4  # cubes along each axis: a layer whose light leaks in, and one for everything beyond
SEGMENTS: Final = 48  # of every track
NUCLEUS_STEP: Final = 0.1  # MeV, of the tables of nuclei
MUON_STEP: Final = 5.0  # MeV, of the table of muons
MUON_LIMIT: Final = 3000.0  # MeV
NARROW: Final = 1e-3  # mm, the least softness and path length, against division by zero


@dataclass(frozen=True, eq=False)
class Particles:
    """The vertex and the nuclei of b events, K slots each.

    Attributes:
        vertex: (b, 3) mm from the centre of the volume.
        energy: (b, K) MeV at the vertex; any value where there is no particle.
        direction: (b, K, 3) unit vectors; any values where there is no particle.
        present: (b, K) bool, which slots contain a particle.
    """

    vertex: Tensor
    energy: Tensor
    direction: Tensor
    present: Tensor

    def __len__(self) -> int:
        return len(self.vertex)

    def at(self, index: Tensor) -> Self:
        """Return the events with the indices (n,), in that order; an event may be repeated."""
        return type(self)(self.vertex[index], self.energy[index], self.direction[index], self.present[index])


class Renderer(nn.Module):
    """The mean charge in every cube, with derivatives with respect to vertex, energies and directions.

    Args:
        species: the species of the K slots of nuclei, names of `physics.MASSES`.
        detector: the response of the detector.
        segments: number of segments of every track.

    Example:
        >>> renderer = Renderer(["proton"], Detector())
        >>> up, exits = torch.tensor([[[0, 0, 1.0]]]), torch.tensor([[35.0, 0, 0, 500, 1, 0, 0]])
        >>> proton = Particles(torch.zeros(1, 3), torch.tensor([[30.0]]), up, torch.tensor([[True]]))
        >>> charge = renderer(proton, exits)[0, 1]
        >>> charge.sum().round(), charge[3, 3, 2:5].round()
        (tensor(1467.), tensor([ 23., 574., 651.]))
    """

    mass: Tensor
    nuclei: Tensor
    muons: Tensor
    parts: Tensor

    def __init__(self, species: Sequence[str], detector: Detector, segments: int = SEGMENTS) -> None:
        super().__init__()
        self.detector = detector
        muons = physics.muon_stopping_power(np.arange(MUON_STEP, MUON_LIMIT, MUON_STEP))
        self._constant("mass", np.array([physics.MASSES[name] for name in species]))
        self._constant("nuclei", _nuclei(detector, segments))
        self._constant("muons", muons[:, None] * physics.DENSITY / physics.MM_PER_CM)  # MeV / mm
        self._constant("parts", np.linspace(0, 1, segments + 1))

    def _constant(self, name: str, values: NDArray[np.float64]) -> None:
        self.register_buffer(name, torch.as_tensor(values, dtype=torch.float32), persistent=False)

    def forward(self, particles: Particles, exits: Tensor, softness: float = 0.0) -> Tensor:
        """Return the mean charge of every particle (b, 1 + K, 7, 7, 7), the muon's first, p.e.

        Args:
            particles: the particles of b events.
            exits: (b, 7) the exits of the muons, `EXIT_COLUMNS`; muons are straight lines from the vertex to
                there.
            softness: mm, the width of the faces between cubes; below about 9.
        """
        images = torch.arange(1 + len(self.mass), device=exits.device)
        return _voxelise(self._segments(particles, exits), softness, images, self.detector)

    def total(self, particles: Particles, exits: Tensor, softness: float = 0.0) -> Tensor:
        """Return the mean charge of all particles together (b, 7, 7, 7); faster than the sum of single images."""
        image = torch.zeros(1, dtype=torch.long, device=exits.device)
        return _voxelise(self._segments(particles, exits), softness, image, self.detector)[:, 0]

    def _segments(self, particles: Particles, exits: Tensor) -> "_Segments":
        """Return the segments of all tracks, the muon's first."""
        tracks = zip(self._muon(particles, exits), self._nuclei(particles), strict=True)
        light, ends, direction = (torch.cat(pair, dim=1) for pair in tracks)
        along = direction.transpose(1, 2)[..., None]
        middle = particles.vertex[..., None, None] + along * ((ends[..., 1:] + ends[..., :-1]) / 2)[:, None]
        return _Segments(self.detector.light_yield * light, middle, along * ends.diff()[:, None])

    def _nuclei(self, particles: Particles) -> tuple[Tensor, Tensor, Tensor]:
        """Return the light per segment (b, K), MeV, the segments' ends (b, K, m + 1), mm, directions (b, K, 3)."""
        present = particles.present
        energy = torch.where(present, particles.energy, 1.0) / self.mass
        table = self.mass[:, None] * _look_up(self.nuclei, energy / NUCLEUS_STEP)
        direction = torch.where(present[..., None], particles.direction, 1.0)
        return torch.where(present, table[..., 0], 0.0), table[..., 1:], direction

    def _muon(self, particles: Particles, exits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the same for the muon, (b, 1), (b, 1, m + 1), (b, 1, 3), as far as its light reaches any cube."""
        position, energy, onward = exits[:, :3], exits[:, 3:4], exits[:, 4:]
        way = position - particles.vertex
        path = torch.linalg.vector_norm(way, dim=1, keepdim=True).clamp(min=NARROW)
        loss = energy
        for before in (0, path):  # the muon's loss is constant along its path, as in the simulation
            loss = _look_up(self.muons, (energy + loss * before)[:, 0] / MUON_STEP - 1)
        length = path + _way_out(position, onward, (CUBES + 2) * self.detector.cube_mm / 2)
        stopping = loss * physics.MM_PER_CM / physics.DENSITY
        light = loss * length / (1 + self.detector.birks * stopping) / (len(self.parts) - 1)
        return light, (length * self.parts)[:, None], (way / path)[:, None]


@dataclass(frozen=True, eq=False)
class _Segments:
    """The m segments of the t tracks of b events.

    Attributes:
        light: (b, t) p.e. of each of a track's segments.
        middle: (b, 3, t, m) mm.
        extent: (b, 3, t, m) mm from end to end.
    """

    light: Tensor
    middle: Tensor
    extent: Tensor


def _nuclei(detector: Detector, segments: int) -> NDArray[np.float64]:
    """Return for protons (n, 1 + m + 1) the light of one of m segments, MeV, and their ends on the track, mm."""
    tables = detector.quenching
    energy = np.arange(0, physics.HIGHEST + NUCLEUS_STEP / 2, NUCLEUS_STEP)
    light = tables.light_of_energy(energy)[:, None]
    remaining = np.interp(light * np.linspace(1, 0, segments + 1), tables.light, tables.length)
    return np.concatenate([light / segments, remaining[:, :1] - remaining], axis=1)


def _look_up(table: Tensor, place: Tensor) -> Tensor:
    """Return rows (..., c) of a table (n, c) at indices (...), linear between rows, clamped to its ends."""
    place = place.clamp(0, len(table) - 1)
    row = place.detach().long().clamp(max=len(table) - 2)
    return torch.lerp(table[row], table[row + 1], (place - row)[..., None])


def _way_out(start: Tensor, direction: Tensor, half: float) -> Tensor:
    """Return the distance from points (b, 3) within a cubic volume to its surface (b, 1); see `simulation`."""
    distance = (half * direction.sign() - start) / direction
    return torch.where(direction == 0, torch.inf, distance).amin(dim=1, keepdim=True)


def _voxelise(segments: _Segments, softness: float, image: Tensor, detector: Detector) -> Tensor:
    """Return the charge (b, n, 7, 7, 7) of segments after cross-talk.

    Args:
        segments: the segments of t tracks.
        softness: mm.
        image: (t,) the index of the image of each track, or (1,) for all.
        detector: its cubes and their cross-talk.
    """
    place = segments.middle / detector.cube_mm + PADDED / 2
    plane = place.detach().round().clamp(1, PADDED - 1)  # the nearest plane; no segment reaches another one
    width = (segments.extent.square() + max(softness, NARROW) ** 2).sqrt() / detector.cube_mm
    ahead = ((place - plane) / width + 0.5).clamp(0, 1)
    x, y, z = torch.stack([1 - ahead, ahead], dim=1).unbind(2)  # each (b, 2, t, m): behind and ahead of the plane
    shares = segments.light[:, None, :, None] * x
    shares = shares[:, :, None, None] * y[:, None, :, None] * z[:, None, None]  # (b, 2, 2, 2, t, m)
    steps = PADDED ** torch.arange(2, -1, -1, device=image.device)
    pair = torch.arange(-1, 1, device=image.device)
    corner = (pair[:, None, None] * steps[0] + pair[:, None] * steps[1] + pair)[..., None, None]
    cube = (plane.long() * steps[:, None, None]).sum(dim=1) + PADDED**3 * image[:, None]
    charge = shares.new_zeros(len(place), len(image) * PADDED**3)
    charge = charge.scatter_add(1, (cube[:, None, None, None] + corner).flatten(1), shares.flatten(1))
    return _leak(
        charge.reshape(len(place), len(image), PADDED, PADDED, PADDED)[..., 1:-1, 1:-1, 1:-1], detector.crosstalk
    )


def _leak(charge: Tensor, crosstalk: float) -> Tensor:
    """Return the inner cubes (..., 7, 7, 7) of charge (..., 9, 9, 9) after cross-talk through their faces."""
    here = slice(1, -1)
    leaked = (1 - 6 * crosstalk) * charge[..., here, here, here]
    for side in (slice(-2), slice(2, None)):
        faces = charge[..., side, here, here] + charge[..., here, side, here] + charge[..., here, here, side]
        leaked = leaked + crosstalk * faces
    return leaked
