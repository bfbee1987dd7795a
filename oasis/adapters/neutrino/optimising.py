"""Minimisation of a function of many independent events at once, softened at first."""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from oasis.adapters.neutrino.fit_options import RefinementOptions

BETAS: Final = (0.8, 0.95)  # of Adam: shorter memories than usual, as there are few steps
STAGES: Final = 4  # of decreasing softness, for L-BFGS, which needs a fixed function
STILL: Final = 0.7  # fraction of the steps after which the softness stays at its last value

Objective = Callable[[Tensor, float], Tensor]


def minimise(objective: Objective, start: Tensor, options: RefinementOptions) -> Tensor:
    """Return the coordinates (n, P) at the end of n fits.

    Args:
        objective: the sum over fits, of coordinates (n, P) and of the softness in mm.
        start: (n, P) coordinates.
        options: the options of the fit.
    """
    method = {"adam": _adam, "lbfgs": _lbfgs}[options.method]
    with torch.enable_grad():
        return method(objective, start.clone().requires_grad_(), options).detach()


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
