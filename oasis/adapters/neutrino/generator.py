r"""A generator of charge images by adversarial training, after the original work, as a comparator of the renderer.

Generator and critic are small transformers over the 125 cubes about the start of a particle. The generator is told
where and how a nucleus starts (position, energy, two angles, scaled to -1 to 1) and is given noise; charges are
scaled likewise. The critic's loss is that of Wasserstein with gradient penalty (Gulrajani et al. 2017):

.. math:: E[C(\tilde x)] - E[C(x)] + 10\, E[(\lVert \nabla C(\hat x) \rVert - 1)^2].

It has no activation at its end, which the original's has by mistake.

Source: Alonso-Monsalve et al., arXiv 2310.19695.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from oasis.adapters.neutrino.renderer import SEGMENTS, Particles, Renderer
from oasis.adapters.neutrino.simulation import CUBES, Detector

INNER: Final = 5  # cubes along each axis of a generated image
LABELS: Final = 6  # position, energy, two angles
NOISE: Final = 512
WIDTH: Final = 64
HEADS: Final = 8
LAYERS: Final = 2
PENALTY: Final = 10.0
MOST: Final = 2000.0  # p.e., of the scaling of charges
ENERGY: Final = 60.0  # MeV, of the scaling of energies


def _encoder() -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, dropout=0.1, activation="gelu", batch_first=True)
    return nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH))


class Generator(nn.Module):
    """Charge images (n, 125), scaled to -1 to 1, of labels (n, 6) and noise (n, 512).

    Example:
        >>> sum(one.numel() for one in Generator().parameters())  # as many as the original's
        141569
    """

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(0.02 * torch.randn(INNER**3, WIDTH))
        self.label, self.noise = nn.Linear(LABELS, WIDTH), nn.Linear(NOISE, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.encoder = _encoder()
        self.out = nn.Linear(WIDTH, 1)

    def forward(self, labels: Tensor, noise: Tensor) -> Tensor:
        """Return the images."""
        tokens = self.position + (self.label(labels) + self.noise(noise))[:, None]
        values: Tensor = self.out(self.encoder(self.norm(tokens)))
        return values[..., 0].tanh()


class Critic(nn.Module):
    """The score (n,) of images (n, 125) that are said to have labels (n, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(0.02 * torch.randn(1 + INNER**3, WIDTH))
        self.value, self.label = nn.Linear(1, WIDTH), nn.Linear(LABELS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.encoder = _encoder()
        self.out = nn.Linear(WIDTH, 1)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the scores."""
        tokens = nn.functional.pad(self.value(images[..., None]), (0, 0, 1, 0))
        tokens = tokens + self.position + self.label(labels)[:, None]
        score: Tensor = self.out(self.encoder(self.norm(tokens))[:, 0])
        return score[:, 0]


def gradient_penalty(critic: nn.Module, real: Tensor, made: Tensor, labels: Tensor, between: Tensor) -> Tensor:
    """Return the mean squared distance of the slope of a critic from 1, between real and generated images.

    Args:
        critic: of images and labels.
        real: (n, 125)
        made: (n, 125)
        labels: (n, 6)
        between: (n, 1) from 0 at real to 1 at generated images.
    """
    mixed = torch.lerp(real, made, between).requires_grad_()
    with nn.attention.sdpa_kernel(nn.attention.SDPBackend.MATH):  # the only one that has second derivatives
        scores = critic(mixed, labels).sum()
        (slope,) = torch.autograd.grad(scores, mixed, create_graph=True)
    penalty: Tensor = (slope.norm(dim=1) - 1).square().mean()
    return penalty


def labels_of(particles: Particles, cube: float) -> Tensor:
    """Return the labels (b, K, 6) of nuclei, with positions within the cube in which they start."""
    inside = particles.vertex - cube * (particles.vertex / cube).round()
    unit = particles.direction
    angles = torch.stack(
        [unit[..., 2].clamp(-0.999999, 0.999999).acos(), torch.atan2(unit[..., 1], unit[..., 0])], -1
    )
    scaled = angles / torch.pi * torch.tensor([2.0, 1.0]) - torch.tensor([1.0, 0.0])
    energy = 2 * particles.energy[..., None] / ENERGY - 1
    place = (2 * inside / cube)[:, None].expand(*energy.shape[:2], 3)
    return torch.cat([place, energy, scaled], dim=-1)


def inner_cubes(charge: Tensor, vertex: Tensor, cube: float) -> Tensor:
    """Return the scaled charge (n, 125) of the cubes about the start of particles, from images (n, 7, 7, 7)."""
    padded = nn.functional.pad(charge, (1,) * 6)
    first = (vertex / cube).round().clamp(-2, 2).long() + CUBES // 2 - INNER // 2 + 1
    steps = torch.arange(INNER)
    x, y, z = (first[:, axis, None] + steps for axis in range(3))
    rows = torch.arange(len(charge))[:, None, None, None]
    inner = padded[rows, x[:, :, None, None], y[:, None, :, None], z[:, None, None]]
    return (2 * inner.flatten(1) / MOST - 1).clamp(-1, 1)


def train_generator(
    particles: Particles,
    charge: Tensor,
    cube: float,
    steps: int,
    batch: int = 32,
    critics: int = 5,
    learning_rate: float = 5e-5,
    seed: int = 0,
) -> Generator:
    """Train a generator on single nuclei and return it; gradients of the critic are cleared in every step.

    Args:
        particles: n nuclei, one per event.
        charge: (n, 7, 7, 7) p.e.
        cube: mm, the edge of a cube.
        steps: of the generator.
        batch: nuclei per step.
        critics: steps of the critic for each of the generator.
        learning_rate: of RMSprop.
        seed: of everything random.
    """
    torch.manual_seed(seed)
    generator, critic = Generator(), Critic()
    labels, images = labels_of(particles, cube)[:, 0], inner_cubes(charge, particles.vertex, cube)
    of_generator, of_critic = (torch.optim.RMSprop(one.parameters(), learning_rate) for one in (generator, critic))
    for _ in range(steps):
        for _ in range(critics):
            index = torch.randint(len(images), (batch,))
            with torch.no_grad():
                made = generator(labels[index], torch.randn(batch, NOISE))
            real, said = images[index], labels[index]
            loss = critic(made, said).mean() - critic(real, said).mean()
            loss = loss + PENALTY * gradient_penalty(critic, real, made, said, torch.rand(batch, 1))
            of_critic.zero_grad()
            loss.backward()
            of_critic.step()
        said = labels[torch.randint(len(images), (batch,))]
        cost = -critic(generator(said, torch.randn(batch, NOISE)), said).mean()
        of_generator.zero_grad()
        cost.backward()
        of_generator.step()
    return generator.eval()


class GeneratedRenderer(Renderer):
    """A renderer whose nuclei are means of generated images, of the same noise in every call, the muon analytic.

    Args:
        species: the species of the K slots of nuclei.
        detector: the response of the detector.
        generator: of all slots.
        samples: images per nucleus.
        segments: number of segments of the muon.
    """

    def __init__(
        self,
        species: Sequence[str],
        detector: Detector,
        generator: Generator,
        samples: int = 8,
        segments: int = SEGMENTS,
    ) -> None:
        super().__init__(species, detector, segments)
        self.generator = generator.eval()
        noise = torch.randn(samples, NOISE, generator=torch.Generator().manual_seed(0))
        self.register_buffer("draws", noise, persistent=False)

    draws: Tensor

    def forward(self, particles: Particles, exits: Tensor, softness: float = 0.0) -> Tensor:
        """Return the mean charge of every particle (b, 1 + K, 7, 7, 7), the muon's first, p.e."""
        muon = super().forward(particles, exits, softness)[:, :1]
        cube, (count, slots) = self.detector.cube_mm, particles.energy.shape
        present = particles.present
        known = Particles(
            particles.vertex,
            torch.where(present, particles.energy, 1.0),
            torch.where(present[..., None], particles.direction, 1.0),
            present,
        )
        labels = labels_of(known, cube).flatten(0, 1)
        noise = self.draws.repeat(len(labels), 1)
        made = self.generator(labels.repeat_interleave(len(self.draws), dim=0), noise)
        charge = (made.reshape(len(labels), -1, INNER**3).mean(dim=1) + 1) * MOST / 2
        inner = charge.reshape(count, slots, INNER, INNER, INNER) * present[..., None, None, None]
        first = (particles.vertex / cube).round().clamp(-2, 2).long() + CUBES // 2 - INNER // 2 + 1
        steps = torch.arange(INNER)
        x, y, z = (first[:, axis, None] + steps for axis in range(3))
        side = CUBES + 2
        flat = (x[:, :, None, None] * side + y[:, None, :, None]) * side + z[:, None, None]
        inside = ((flat >= 0) & (flat < side**3)).flatten(1)[:, None].expand(count, slots, -1)
        index = flat.flatten(1)[:, None].expand(count, slots, -1).clamp(0, side**3 - 1)
        image = inner.new_zeros(count, slots, side**3).scatter_add(2, index, inner.flatten(2) * inside)
        whole = image.reshape(count, slots, side, side, side)[..., 1:-1, 1:-1, 1:-1]
        return torch.cat([muon, whole], dim=1)

    def total(self, particles: Particles, exits: Tensor, softness: float = 0.0) -> Tensor:
        """Return the mean charge of all particles together (b, 7, 7, 7)."""
        return self.forward(particles, exits, softness).sum(dim=1)
