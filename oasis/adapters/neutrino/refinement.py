r"""Particles fitted to the image of an event by gradient descent through the renderer, starting from a prediction.

The vertex, the energies and the directions are described by coordinates u: their distances from the initial
values, which the network predicts, in units of the expected errors of these (the spreads of `RefinementOptions`).
The fit minimises

.. math:: D(u) + |u|^2, \qquad D(u) = 2 \sum_p I_p \ln \frac{I_p}{\lambda_p(u)} - I_p + \lambda_p(u),

the Poisson deviance of the image I from the mean charge :math:`\lambda` plus the squared distance from the initial
values: minus twice the logarithm of the posterior probability if the errors of predictions are normal. A quantity
that the image does not constrain keeps its initial value, for instance the direction of a nucleus that stops
within one cube. To avoid local minima, the fit has several starting points, drawn from these normal errors, and
the faces between cubes are soft at first. No truth is needed.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from oasis.adapters.neutrino.metrics import FLOOR, PRESENT_FROM
from oasis.adapters.neutrino.physics import HIGHEST
from oasis.adapters.neutrino.renderer import Particles, Renderer
from oasis.adapters.neutrino.scene import AXES
from oasis.data.mixing import keyed_rng
from oasis.errors import DataError
from oasis.loss.distances import poisson_deviance
from oasis.options import Options

LOWEST: Final = 0.1  # MeV, the least initial energy
BETAS: Final = (0.8, 0.95)  # of Adam: shorter memories than usual, as there are few steps
STAGES: Final = 4  # of decreasing softness, for L-BFGS, which needs a fixed function
STILL: Final = 0.7  # fraction of the steps after which the softness stays at its last value

Width = Annotated[float, Field(gt=0, lt=9)]  # mm; soft faces of a cube do not overlap
Objective = Callable[[Tensor, float], Tensor]


class RefinementOptions(Options):
    """Options of the fit of particles.

    Attributes:
        method: the optimiser. L-BFGS moves all events of a batch with one common step length.
        steps: number of steps of the optimiser.
        learning_rate: that of Adam's first step, in units of the spreads; it falls to 0 along a cosine.
        starts: fits of every event, the first from the predicted values, the others from random values around
            them; the best is kept.
        softness: mm, widths of the faces between cubes in the first and the last step, with geometric steps
            between.
        background: p.e. expected in every cube in addition, so that charge far from all tracks has a finite
            gradient.
        energy_spread: expected relative error of predicted energies.
        direction_spread: degrees, expected error of predicted directions along each of two axes.
        vertex_spread: mm, expected error of the predicted vertex along each axis.
    """

    method: Literal["adam", "lbfgs"] = "adam"
    steps: int = Field(150, ge=1, le=1_000_000)
    learning_rate: float = Field(0.3, gt=0, le=1000)
    starts: int = Field(6, ge=1, le=10_000)
    softness: tuple[Width, Width] = (8.0, 0.3)
    background: float = Field(0.2, gt=0, le=1e6)
    energy_spread: float = Field(0.15, gt=0, le=1000)
    direction_spread: float = Field(30.0, gt=0, le=180)
    vertex_spread: float = Field(1.5, gt=0, le=1000)


@dataclass(frozen=True, eq=False)
class Refined:
    """Particles of b events after their fit.

    Attributes:
        particles: the fitted particles, or the initial ones where no fit was better.
        deviance_before: (b,) Poisson deviance of the image from the charge of the initial particles, see
            `image_deviance`.
        deviance_after: (b,) of the image from the charge of the fitted particles; never larger.
    """

    particles: Particles
    deviance_before: Tensor
    deviance_after: Tensor


@dataclass(frozen=True, eq=False)
class _Coordinates:
    """Particles of b events as functions of u (b, 3 + 3 K): vertex, log energies, rotations of directions.

    Attributes:
        initial: the particles at u = 0.
        axes: (b, K, 2, 3) unit vectors, orthogonal to the directions and to each other.
        options: the options with the spreads.
    """

    initial: Particles
    axes: Tensor
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
        return cls(Particles(initial.vertex, energy, direction, present), axes, options)

    def __call__(self, u: Tensor) -> Particles:
        """Return the particles; directions are rotated along great circles."""
        nuclei, spread = self.initial.energy.shape[1], self.options
        vertex = self.initial.vertex + spread.vertex_spread * u[:, :3]
        energy = self.initial.energy * (spread.energy_spread * u[:, 3 : 3 + nuclei]).exp()
        turn = math.radians(spread.direction_spread) * u[:, 3 + nuclei :].reshape(-1, nuclei, 2)
        angle = (turn.square().sum(dim=-1, keepdim=True) + 1e-12).sqrt()  # its gradient at 0 is finite
        across = (turn[..., None] * self.axes).sum(dim=-2)
        direction = angle.cos() * self.initial.direction + torch.sinc(angle / math.pi) * across
        return Particles(vertex, energy.clamp(max=HIGHEST), direction, self.initial.present)


def image_deviance(image: Tensor, expected: Tensor) -> Tensor:
    """Return the Poisson deviance (b,) of images (b, 7, 7, 7), expecting `FLOOR` or more where there is charge.

    Example:
        >>> image_deviance(torch.tensor([[4.0, 0.0]]), torch.tensor([[2.0, 1.0]]))
        tensor([3.5452])
    """
    return poisson_deviance(expected, image, FLOOR).flatten(1).sum(dim=1)


def refine(
    image: Tensor,
    exits: Tensor,
    initial: Particles,
    renderer: Renderer,
    options: RefinementOptions,
    seed: int = 0,
    ids: Iterable[int] | None = None,
) -> Refined:
    """Fit the particles of b events at once; the slots that contain a particle are fixed.

    Args:
        image: (b, 7, 7, 7) p.e.
        exits: (b, 7) where the muons leave, `EXIT_COLUMNS`.
        initial: the initial particles, predicted by the network.
        renderer: on the device of the tensors.
        options: the options of the fit.
        seed: the seed of the starting points.
        ids: (b,) numbers of the events, which determine their starting points; 0 to b - 1 if None.

    Raises:
        DataError: a number is NaN or infinite.
    """
    _check(image, exits, initial)
    numbers = range(len(initial)) if ids is None else ids
    shape = options.starts, 3 + 3 * initial.energy.shape[1]
    draws = np.stack([keyed_rng(seed, "refinement", index).standard_normal(shape) for index in numbers], axis=1)
    draws[0] = 0
    event = torch.arange(len(initial), device=image.device).repeat(options.starts)
    start = torch.as_tensor(draws, dtype=image.dtype, device=image.device).flatten(0, 1)
    u, particles = _fit(image[event], exits[event], initial.at(event), renderer, start, options)
    with torch.no_grad():
        before = image_deviance(image, renderer.total(initial, exits))
        after = image_deviance(image[event], renderer.total(particles, exits[event]))
    objective = (after + u.square().sum(dim=1)).reshape(options.starts, -1)
    best = objective.argmin(dim=0) * len(initial) + event[: len(initial)]
    better = objective.amin(dim=0) < before  # then the deviance is lower, too
    return Refined(_choose(better, particles.at(best), initial), before, torch.where(better, after[best], before))


def _check(image: Tensor, exits: Tensor, initial: Particles) -> None:
    present = initial.present
    numbers = (image, exits, initial.vertex, initial.energy[present], initial.direction[present])
    names = ("image", "exits", "vertex", "energy", "direction")
    for name, values in zip(names, numbers, strict=True):
        if not values.isfinite().all():
            raise DataError(f"{name}: found NaN or infinity; leave out events without a prediction")


def _fit(
    image: Tensor, exits: Tensor, initial: Particles, renderer: Renderer, start: Tensor, options: RefinementOptions
) -> tuple[Tensor, Particles]:
    """Return the final coordinates (n, 3 + 3 K) of n fits from `start`, and their particles."""
    coordinates = _Coordinates.around(initial, options)

    def objective(u: Tensor, softness: float) -> Tensor:
        expected = renderer.total(coordinates(u), exits, softness) + options.background
        return (image_deviance(image, expected) + u.square().sum(dim=1)).sum()

    with torch.enable_grad():
        minimise = {"adam": _adam, "lbfgs": _lbfgs}[options.method]
        u = minimise(objective, start.clone().requires_grad_(), options).detach()
    return u, coordinates(u)


def _adam(objective: Objective, u: Tensor, options: RefinementOptions) -> Tensor:
    optimiser = torch.optim.Adam([u], lr=options.learning_rate, betas=BETAS)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.steps)
    for step in range(options.steps):
        optimiser.zero_grad()
        objective(u, _softness(step / options.steps, options)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        cosine.step()
    return u


def _lbfgs(objective: Objective, u: Tensor, options: RefinementOptions) -> Tensor:
    for stage in range(STAGES):
        softness = _softness(stage / (STAGES - 1), options)
        optimiser = torch.optim.LBFGS([u], max_iter=-(-options.steps // STAGES), line_search_fn="strong_wolfe")

        def closure(softness: float = softness, optimiser: torch.optim.LBFGS = optimiser) -> Tensor:
            optimiser.zero_grad()
            value = objective(u, softness)
            value.backward()  # type: ignore[no-untyped-call]
            return value

        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return u


def _softness(progress: float, options: RefinementOptions) -> float:
    first, last = options.softness
    return float(first * (last / first) ** min(1.0, progress / STILL))


def _choose(first: Tensor, one: Particles, other: Particles) -> Particles:
    """Return, by event, the particles of `one` where `first` (b,) is true, else those of `other`."""
    nuclei = first[:, None] & other.present
    return Particles(
        torch.where(first[:, None], one.vertex, other.vertex),
        torch.where(nuclei, one.energy, other.energy),
        torch.where(nuclei[..., None], one.direction, other.direction),
        other.present,
    )


def particles_of(quantities: Mapping[str, NDArray[Any]]) -> Particles:
    """Return the particles described by predicted quantities (b, N) of the muon and the nuclei."""
    columns = {name: torch.as_tensor(values[:, 1:]).float() for name, values in quantities.items()}
    direction = torch.stack([columns[f"d{axis}_predicted"] for axis in AXES], dim=-1)
    return Particles(
        vertex=torch.stack([columns[f"vertex_{axis}_predicted"][:, 0] for axis in AXES], dim=-1),
        energy=columns["ke_predicted"].clamp(LOWEST, HIGHEST),
        direction=F.normalize(direction, dim=-1),
        present=columns["presence_predicted"] > PRESENT_FROM,
    )


def refined_columns(found: Refined) -> dict[str, NDArray[Any]]:
    """Return fitted particles as columns (b, N) of an event table; NaN for the muon and absent particles."""
    particles = found.particles
    absent = ~particles.present
    of_nuclei = {f"d{axis}": particles.direction[..., place] for place, axis in enumerate(AXES)}
    of_nuclei["ke"] = particles.energy
    columns = {
        f"{name}_refined": F.pad(values.masked_fill(absent, torch.nan), (1, 0), value=torch.nan)
        for name, values in of_nuclei.items()
    }
    of_event = {f"vertex_{axis}_refined": particles.vertex[:, i] for i, axis in enumerate(AXES)}
    of_event |= {"deviance_predicted": found.deviance_before, "deviance_refined": found.deviance_after}
    shape = absent.shape[0], absent.shape[1] + 1
    columns |= {name: values.unsqueeze(1).expand(shape) for name, values in of_event.items()}
    return {name: values.numpy() for name, values in columns.items()}
