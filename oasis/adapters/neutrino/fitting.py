"""One round of fits of some events: where they start, and the best of them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Final, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from oasis.adapters.neutrino.coordinates import Coordinates
from oasis.adapters.neutrino.fit_options import RefinementOptions
from oasis.adapters.neutrino.metrics import FLOOR
from oasis.adapters.neutrino.optimising import minimise
from oasis.adapters.neutrino.renderer import Particles, Renderer
from oasis.adapters.neutrino.scene import centres
from oasis.adapters.neutrino.uncertainty import muon_fluctuation, uncertainty
from oasis.data.mixing import keyed_rng
from oasis.loss.distances import poisson_deviance

CONVERGED, RESTARTED, EXTENDED, STUCK = range(4)  # codes of the column `status_refined`
GAIN: Final = 0.5  # an added nucleus stays where it lowers the deviance below this fraction
ADDED: Final = (5.0, 60.0)  # MeV, the range of its initial energy
WIDER: Final = 1.5  # restarts around a prediction over the starts before
NARROWER: Final = 0.3  # restarts around a fit, in units of the spreads


@dataclass(frozen=True, eq=False)
class Fit:
    """The best fit of each of b events, around the values from which it started.

    Attributes:
        initial: the particles at u = 0.
        u: (b, P) the fitted coordinates.
        particles: the fitted particles.
        deviance: (b,) of the image.
        objective: (b,) the deviance and the squared distance from the initial values.
        expectation: (b,) of the deviance.
        errors: standard errors of vertex (b, 3), mm, energies (b, K), MeV, and directions (b, K), degrees.
    """

    initial: Particles
    u: Tensor
    particles: Particles
    deviance: Tensor
    objective: Tensor
    expectation: Tensor
    errors: tuple[Tensor, Tensor, Tensor]

    def stuck(self, limit: float) -> Tensor:
        """Return which events (b,) have a deviance above its expectation times a limit."""
        return self.deviance > limit * self.expectation

    def at(self, index: Tensor) -> Self:
        """Return the fits of the events with the indices (n,)."""
        names = [one.name for one in fields(self) if _is_tensor(self, one.name)]
        first, second, third = (one[index] for one in self.errors)
        return replace(
            self,
            initial=self.initial.at(index),
            particles=self.particles.at(index),
            errors=(first, second, third),
            **{name: getattr(self, name)[index] for name in names},
        )

    def replaced(self, index: Tensor, new: "Fit") -> Self:
        """Return the fits with those of the events with the indices (n,) replaced."""

        def put(one: Tensor, other: Tensor) -> Tensor:
            return one.index_put((index,), other)

        def put_particles(one: Particles, other: Particles) -> Particles:
            return Particles(*(put(getattr(one, part.name), getattr(other, part.name)) for part in fields(one)))

        names = [one.name for one in fields(self) if _is_tensor(self, one.name)]
        first, second, third = (put(one, other) for one, other in zip(self.errors, new.errors, strict=True))
        return replace(
            self,
            initial=put_particles(self.initial, new.initial),
            particles=put_particles(self.particles, new.particles),
            errors=(first, second, third),
            **{name: put(getattr(self, name), getattr(new, name)) for name in names},
        )


def _is_tensor(fit: Fit, name: str) -> bool:
    return isinstance(getattr(fit, name), Tensor)


def image_deviance(image: Tensor, expected: Tensor) -> Tensor:
    """Return the Poisson deviance (b,) of images (b, 7, 7, 7), expecting `FLOOR` or more where there is charge.

    Example:
        >>> image_deviance(torch.tensor([[4.0, 0.0]]), torch.tensor([[2.0, 1.0]]))
        tensor([3.5452])
    """
    return poisson_deviance(expected, image, FLOOR).flatten(1).sum(dim=1)


@dataclass(frozen=True, eq=False)
class Events:
    """The images of b events, to which particles are fitted.

    Attributes:
        image: (b, 7, 7, 7) p.e.
        exits: (b, 7) where the muons leave.
        renderer: on the device of the tensors.
        options: the options of the fit.
        seed: the seed of the starting points.
        numbers: (b,) of the events, which determine their starting points.
    """

    image: Tensor
    exits: Tensor
    renderer: Renderer
    options: RefinementOptions
    seed: int
    numbers: Sequence[int]

    def at(self, index: Tensor) -> Self:
        """Return the events with the indices (n,)."""
        numbers = [self.numbers[place] for place in index.tolist()]
        return replace(self, image=self.image[index], exits=self.exits[index], numbers=numbers)

    def deviance(self, particles: Particles) -> Tensor:
        """Return the deviance (b,) of the images from the charge of particles."""
        with torch.no_grad():
            return image_deviance(self.image, self.renderer.total(particles, self.exits))

    @cached_property
    def _size(self) -> int:
        return 3 + 3 * len(self.renderer.mass)

    def draws(self, number: int, starts: int) -> Tensor:
        """Return normal deviates (starts, b, P) of a round, the first of every event 0."""
        shape = starts, self._size
        rounds = [keyed_rng(self.seed, "refinement", one, number).standard_normal(shape) for one in self.numbers]
        drawn = np.stack(rounds, axis=1)
        drawn[0] = 0
        return torch.as_tensor(drawn, dtype=self.image.dtype, device=self.image.device)

    def fitted(self, initial: Particles, starts: Tensor) -> Fit:
        """Return the best fits from starting points (s, b, P) around initial particles."""
        event = torch.arange(len(initial), device=self.image.device).repeat(len(starts))
        image, exits, options = self.image[event], self.exits[event], self.options
        coordinates = Coordinates.around(initial.at(event), options)

        def objective(u: Tensor, softness: float) -> Tensor:
            expected = self.renderer.total(coordinates(u), exits, softness) + options.background
            return (image_deviance(image, expected) + u.square().sum(dim=1)).sum()

        u = minimise(objective, starts.flatten(0, 1), options)
        with torch.no_grad():
            deviance = image_deviance(image, self.renderer.total(coordinates(u), exits))
        total = (deviance + u.square().sum(dim=1)).nan_to_num(torch.inf, torch.inf).reshape(len(starts), -1)
        best = total.argmin(dim=0) * len(initial) + event[: len(initial)]
        centre = u[best].nan_to_num()
        spread = _spread(u.nan_to_num().reshape(starts.shape) - centre, total)
        return self._described(initial, centre, spread, deviance[best], total.amin(dim=0))

    @torch.no_grad()
    def _described(
        self, initial: Particles, u: Tensor, spread: Tensor, deviance: Tensor, objective: Tensor
    ) -> Fit:
        """Return fits with the expectations of their deviances, and their errors."""
        coordinates = Coordinates.around(initial, self.options)

        def expected(u: Tensor) -> Tensor:
            return self.renderer.total(coordinates(u), self.exits, self.options.softness[1])

        particles = coordinates(u)
        present = initial.present
        fitted = torch.cat([present.new_ones(len(u), 3), present, present.repeat_interleave(2, dim=1)], dim=1)
        muon = self.renderer(particles, self.exits)[:, 0]
        known = uncertainty(expected, u, muon, muon_fluctuation(self.exits), fitted, self.options.background)
        errors = coordinates.errors(known.covariance + spread)
        return Fit(initial, u, particles, deviance, objective, known.expectation, errors)

    def restarted(self, fit: Fit, number: int) -> Fit:
        """Return fits from points around the prediction, and around the best fit with one nucleus turned."""
        drawn = self.draws(number, self.options.restart_starts)
        half = len(drawn) // 2
        turned = _turned(fit.u + NARROWER * drawn[half:], drawn[half:], fit.initial.present, self.options)
        return self.fitted(fit.initial, torch.cat([WIDER * drawn[:half], turned]))

    def extended(self, fit: Fit, number: int) -> Fit:
        """Return fits with another nucleus, which starts along the charge that is not explained, or anywhere."""
        particles, options = fit.particles, self.options
        with torch.no_grad():
            rest = (self.image - self.renderer.total(particles, self.exits)).clamp(min=0)
        place = torch.as_tensor(centres(self.renderer.detector.cube_mm), dtype=rest.dtype, device=rest.device)
        offset = place - particles.vertex[:, None, None, None]
        direction = F.normalize((rest[..., None] * offset).flatten(1, 3).sum(dim=1), dim=-1)
        slot = F.one_hot((~particles.present).int().argmax(dim=1), particles.present.shape[1]).bool()
        light = rest.flatten(1).sum(dim=1) / self.renderer.detector.light_yield
        known = self.renderer.detector.quenching.energy_of_light(light.double().cpu().numpy())
        energy = torch.as_tensor(known, dtype=rest.dtype, device=rest.device).clamp(*ADDED)
        initial = Particles(
            particles.vertex,
            torch.where(slot, energy[:, None], particles.energy),
            torch.where(slot[..., None], direction[:, None], particles.direction),
            particles.present | slot,
        )
        drawn = self.draws(number, options.restart_starts)
        half = len(drawn) // 2
        return self.fitted(initial, torch.cat([drawn[:half], _turned(drawn[half:], drawn[half:], slot, options)]))


def _spread(offset: Tensor, objective: Tensor) -> Tensor:
    """Return the second moments (b, P, P) of other minima about the best, each with its posterior probability.

    Args:
        offset: (s, b, P) of the ends of s fits from the best.
        objective: (s, b) there.
    """
    weight = (-objective / 2).softmax(dim=0)
    return torch.einsum("sb,sbp,sbq->bpq", weight, offset, offset)


def _turned(u: Tensor, drawn: Tensor, nuclei: Tensor, options: RefinementOptions) -> Tensor:
    """Return coordinates (s, b, P) with one nucleus in any direction.

    Args:
        u: the coordinates.
        drawn: (s, b, P) normal deviates, which decide the nucleus and its direction.
        nuclei: (b, K) bool, from which it is chosen.
        options: the options with the spreads.
    """
    count = nuclei.shape[1]
    chosen = drawn[..., 3 : 3 + count].masked_fill(~nuclei, -torch.inf).argmax(dim=-1)
    chosen = F.one_hot(chosen, count).bool() & nuclei
    before, turn = (one[..., 3 + count :].reshape(*one.shape[:2], count, 2) for one in (u, drawn))
    cosine = torch.erf(drawn[..., :1] / 2**0.5)  # uniform from -1 to 1
    angle = torch.rad2deg(cosine.acos()) / options.direction_spread
    turn = torch.where(chosen[..., None], angle[..., None] * F.normalize(turn, dim=-1), before)
    return torch.cat([u[..., : 3 + count], turn.flatten(-2)], dim=-1)
