r"""How well the particles of an event explain its image, and how well the image determines them.

The deviance of an image from its expected charges :math:`\lambda` has the expectation
:math:`\sum_p E[D \mid \lambda_p] + (f \mu_p)^2 / \lambda_p` less the effective number of fitted parameters: the
part of Poisson, and the relative fluctuations f of the muon's energy loss, whose charge is :math:`\mu`. With the
Jacobian J of :math:`\lambda` with respect to the coordinates u, whose predictions have unit errors, the Fisher
matrix is :math:`F = J^T \mathrm{diag}(1 / \lambda) J`, and the covariance of the fitted u is

.. math:: (F + 1)^{-1} (J^T \mathrm{diag}(V / \lambda^2) J + 1) (F + 1)^{-1}, \qquad V = \lambda + (f \mu)^2,

which is :math:`(F + 1)^{-1}` where the variance V of the charge is that of Poisson (White 1982, Econometrica 50,
1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
from scipy.special import gammaln, xlogy
from torch import Tensor

from oasis.adapters.neutrino import physics

LEAST: Final = 1e-3  # p.e., of the table of expectations
MOST: Final = 300.0  # p.e., above which 1 + 1 / (6 λ) is exact enough
MOYAL_WIDTH: Final = np.pi / 2**0.5  # standard deviation of the standard distribution of Moyal


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """What is known of a fit beside its result.

    Attributes:
        covariance: (b, P, P) of the coordinates.
        expectation: (b,) of the deviance.
    """

    covariance: Tensor
    expectation: Tensor


@cache
def _table() -> tuple[Tensor, Tensor]:
    """Return the logarithms of λ and the expectations of the deviance there."""
    mean = np.geomspace(LEAST, MOST, 400)[:, None]
    counts = np.arange(int(MOST + 20 * MOST**0.5))
    probability = np.exp(xlogy(counts, mean) - mean - gammaln(counts + 1))
    deviance = 2 * (mean - counts + xlogy(counts, counts) - xlogy(counts, mean))
    expected = (probability * deviance).sum(axis=1)
    return torch.from_numpy(np.log(mean[:, 0])).float(), torch.from_numpy(expected).float()


def expected_deviance(mean: Tensor) -> Tensor:
    """Return the expectation of the Poisson deviance of a count whose mean is known.

    Example:
        >>> expected_deviance(torch.tensor([0.01, 1.0, 100.0])).round(decimals=3)
        tensor([0.0920, 1.1470, 1.0020])
    """
    logs, values = (part.to(mean) for part in _table())
    place = (mean.clamp(LEAST, MOST).log() - logs[0]) / (logs[1] - logs[0])
    row = place.long().clamp(max=len(logs) - 2)
    inside = torch.lerp(values[row], values[row + 1], place - row)
    inside = torch.where(mean < LEAST, values[0] * mean / LEAST, inside)
    return torch.where(mean > MOST, 1 + 1 / (6 * mean.clamp(min=1)), inside)


def muon_fluctuation(exits: Tensor) -> Tensor:
    """Return the standard deviation of the charge of muons in a cube over its mean (b,); see `physics`.

    Width and mean of the energy loss are both proportional to the path, so that their ratio is the same in cubes.

    Args:
        exits: (b, 7) `EXIT_COLUMNS`.
    """
    energy = exits[:, 3].double().cpu().numpy()
    loss = physics.muon_stopping_power(energy) * physics.DENSITY
    return torch.as_tensor(MOYAL_WIDTH * physics.landau_width(energy) / loss, dtype=exits.dtype).to(exits.device)


def uncertainty(
    expected: Callable[[Tensor], Tensor],
    u: Tensor,
    muon: Tensor,
    fluctuation: Tensor,
    fitted: Tensor,
    background: float,
) -> Uncertainty:
    """Return the covariance of fitted coordinates and the expectation of the deviance.

    Args:
        expected: the mean charge (b, 7, 7, 7) as a function of u.
        u: (b, P) fitted coordinates.
        muon: (b, 7, 7, 7) mean charge of the muon.
        fluctuation: (b,) of its charge, relative.
        fitted: (b, P) bool, the coordinates that the event has.
        background: p.e. that the fit expects in every cube in addition.
    """
    mean = expected(u).flatten(1)
    columns = [
        torch.func.jvp(expected, (u,), (one.expand_as(u),))[1].flatten(1)
        for one in torch.eye(u.shape[1], device=u.device, dtype=u.dtype)
    ]
    jacobian = torch.stack(columns, dim=-1) * fitted[:, None]  # (b, cubes, P)
    excess = (fluctuation[:, None] * muon.flatten(1)).square()
    assumed = (mean + background).clamp(min=LEAST)
    fisher = jacobian.mT @ (jacobian / assumed[..., None])
    scores = jacobian.mT @ (jacobian * ((mean + excess) / assumed.square())[..., None])
    unit = torch.eye(u.shape[1], device=u.device, dtype=u.dtype)
    inverse = torch.linalg.inv(fisher + unit)
    effective = (inverse @ scores).diagonal(dim1=-2, dim2=-1).sum(dim=-1)
    expectation = (expected_deviance(mean) + excess / assumed).sum(dim=1) - effective
    return Uncertainty(inverse @ (scores + unit) @ inverse, expectation.clamp(min=1))
