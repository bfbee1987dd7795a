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

An event is stuck where the deviance exceeds its expectation (see `uncertainty`) too much. It is fitted again from
further points: some are drawn around the prediction, others around the best fit with one nucleus turned anywhere.
Where that does not help, a nucleus is added in the direction of the charge that is not explained.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from oasis.adapters.neutrino.coordinates import LOWEST
from oasis.adapters.neutrino.fit_options import RefinementOptions
from oasis.adapters.neutrino.fitting import (
    CONVERGED,
    EXTENDED,
    GAIN,
    RESTARTED,
    STUCK,
    Events,
    Fit,
)
from oasis.adapters.neutrino.physics import HIGHEST
from oasis.adapters.neutrino.renderer import Particles, Renderer
from oasis.adapters.neutrino.scene import AXES
from oasis.adapters.prediction import present_objects
from oasis.errors import DataError


@dataclass(frozen=True, eq=False)
class Refined:
    """Particles of b events after their fit.

    Attributes:
        particles: the fitted particles, or the initial ones where no fit was better.
        deviance_before: (b,) Poisson deviance of the image from the charge of the initial particles, see
            `image_deviance`.
        deviance_after: (b,) of the image from the charge of the fitted particles; never larger.
        expectation: (b,) of the deviance; see `uncertainty`.
        status: (b,) `CONVERGED` at once, `RESTARTED`, `EXTENDED` by a nucleus, or `STUCK`.
        errors: standard errors of vertex (b, 3), mm, energies (b, K), MeV, and directions (b, K), degrees.
    """

    particles: Particles
    deviance_before: Tensor
    deviance_after: Tensor
    expectation: Tensor
    status: Tensor
    errors: tuple[Tensor, Tensor, Tensor]


def refine(
    image: Tensor,
    exits: Tensor,
    initial: Particles,
    renderer: Renderer,
    options: RefinementOptions,
    seed: int = 0,
    ids: Iterable[int] | None = None,
) -> Refined:
    """Fit the particles of b events at once; the slots that contain a particle are fixed but for `options.add`.

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
    numbers = tuple(range(len(initial)) if ids is None else ids)
    events = Events(image, exits, renderer, options, seed, numbers)
    before = events.deviance(initial)
    fit = events.fitted(initial, events.draws(0, options.starts))
    status = torch.full_like(before, CONVERGED)
    for number in range(1, options.restarts + 1):
        fit = _again(events, fit, fit.stuck(options.stuck), status, RESTARTED, number)
    if options.add:
        free = ~fit.initial.present.all(dim=1)
        fit = _again(events, fit, fit.stuck(options.stuck) & free, status, EXTENDED, options.restarts + 1)
    better = fit.objective < before  # then the deviance is lower, too
    status[fit.stuck(options.stuck)] = STUCK
    return Refined(
        _choose(better, fit.particles, initial),
        before,
        torch.where(better, fit.deviance, before),
        fit.expectation,
        status,
        fit.errors,
    )


def _again(events: Events, fit: Fit, which: Tensor, status: Tensor, code: int, number: int) -> Fit:
    """Return the better of earlier fits and new ones of some events, with `code` as the status where those are."""
    if not which.any():
        return fit
    index = which.nonzero()[:, 0]
    some, old = events.at(index), fit.at(index)
    if code == EXTENDED:
        new = some.extended(old, number)
        better = new.deviance < GAIN * old.deviance
    else:
        new = some.restarted(old, number)
        better = new.objective < old.objective
    status[index[better]] = code
    return fit.replaced(index[better], new.at(better.nonzero()[:, 0]))


def _check(image: Tensor, exits: Tensor, initial: Particles) -> None:
    present = initial.present
    numbers = (image, exits, initial.vertex, initial.energy[present], initial.direction[present])
    names = ("image", "exits", "vertex", "energy", "direction")
    for name, values in zip(names, numbers, strict=True):
        if not values.isfinite().all():
            raise DataError(f"{name}: found NaN or infinity; leave out events without a prediction")


def _choose(first: Tensor, one: Particles, other: Particles) -> Particles:
    """Return, by event, the particles of `one` where `first` (b,) is true, else those of `other`."""
    present = torch.where(first[:, None], one.present, other.present)
    nuclei = first[:, None] & present
    return Particles(
        torch.where(first[:, None], one.vertex, other.vertex),
        torch.where(nuclei, one.energy, other.energy),
        torch.where(nuclei[..., None], one.direction, other.direction),
        present,
    )


def particles_of(quantities: Mapping[str, NDArray[Any]]) -> Particles:
    """Return the particles described by predicted quantities (b, N) of the muon and the nuclei."""
    columns = {name: torch.as_tensor(values[:, 1:]).float() for name, values in quantities.items()}
    direction = torch.stack([columns[f"d{axis}_predicted"] for axis in AXES], dim=-1)
    return Particles(
        vertex=torch.stack([columns[f"vertex_{axis}_predicted"][:, 0] for axis in AXES], dim=-1),
        energy=columns["ke_predicted"].clamp(LOWEST, HIGHEST),
        direction=F.normalize(direction, dim=-1),
        present=present_objects(columns),
    )


def refined_columns(found: Refined) -> dict[str, NDArray[Any]]:
    """Return fitted particles as columns (b, N) of an event table; NaN for the muon and absent particles."""
    particles = found.particles
    absent = ~particles.present
    vertex_error, energy_error, direction_error = found.errors
    of_nuclei = {f"d{axis}": particles.direction[..., place] for place, axis in enumerate(AXES)}
    of_nuclei |= {"ke": particles.energy, "ke_error": energy_error, "direction_error": direction_error}
    columns = {
        f"{name}_refined": F.pad(values.masked_fill(absent, torch.nan), (1, 0), value=torch.nan)
        for name, values in of_nuclei.items()
    }
    of_event = {f"vertex_{axis}_refined": particles.vertex[:, i] for i, axis in enumerate(AXES)}
    of_event |= {f"vertex_{axis}_error_refined": vertex_error[:, i] for i, axis in enumerate(AXES)}
    of_event |= {"deviance_predicted": found.deviance_before, "deviance_refined": found.deviance_after}
    of_event |= {
        "deviance_ratio_refined": found.deviance_after / found.expectation,
        "status_refined": found.status,
    }
    shape = absent.shape[0], absent.shape[1] + 1
    columns |= {name: values.unsqueeze(1).expand(shape) for name, values in of_event.items()}
    return {name: values.numpy() for name, values in columns.items()}
