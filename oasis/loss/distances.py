"""Distances between predicted and true intensities, pixel by pixel, by name."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from math import inf
from typing import Any

import torch
from torch import Tensor

from oasis.errors import ConfigError, nearest

Distance = Callable[[Tensor, Tensor], Tensor]
TINY = 1e-6  # the smallest expected count, which keeps its logarithm finite


def absolute(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Return :math:`|\hat I - I|`, the paper's distance: its minimum is the conditional median.

    Example:
        >>> absolute(torch.tensor([1.0, 5.0]), torch.tensor([3.0, 3.0]))
        tensor([2., 2.])
    """
    return (prediction - target).abs()


def squared(prediction: Tensor, target: Tensor) -> Tensor:
    r"""Return :math:`(\hat I - I)^2`: its minimum is the conditional mean.

    Example:
        >>> squared(torch.tensor([1.0]), torch.tensor([3.0]))
        tensor([4.])
    """
    return (prediction - target) ** 2


def huber(prediction: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    r"""Return half the square below :math:`\delta`, linear above (Huber 1964, doi:10.1214/aoms/1177703732).

    Example:
        >>> huber(torch.tensor([0.5, 3.0]), torch.zeros(2))
        tensor([0.1250, 2.5000])
    """
    return torch.nn.functional.huber_loss(prediction, target, reduction="none", delta=delta)


def charbonnier(prediction: Tensor, target: Tensor, epsilon: float = 1e-3) -> Tensor:
    r"""Return :math:`\sqrt{(\hat I - I)^2 + \epsilon^2} - \epsilon` (Charbonnier et al. 1994).

    Source: doi:10.1109/ICIP.1994.413553.

    Example:
        >>> charbonnier(torch.tensor([0.0, 3.0]), torch.zeros(2), epsilon=4.0)
        tensor([0., 1.])
    """
    return ((prediction - target) ** 2 + epsilon**2).sqrt() - epsilon


def pinball(prediction: Tensor, target: Tensor, quantile: float = 0.5) -> Tensor:
    r"""Return :math:`\max(q(I - \hat I), (q - 1)(I - \hat I))`: its minimum is the conditional quantile q.

    Source: Koenker and Bassett 1978, doi:10.2307/1913643. With q = 0.5 it is half the absolute distance; a low and
    a high quantile bound an interval.

    Example:
        >>> pinball(torch.tensor([1.0, 5.0]), torch.tensor([3.0, 3.0]), quantile=0.9)
        tensor([1.8000, 0.2000])
    """
    short = target - prediction
    return torch.maximum(quantile * short, (quantile - 1) * short)


def poisson_deviance(prediction: Tensor, target: Tensor, floor: float = TINY) -> Tensor:
    r"""Return the Poisson deviance of counts, :math:`2 (\lambda - n + n \ln(n / \lambda))`.

    It is minus twice the log-likelihood of n counts where λ are expected, minus its smallest value: 0 at λ = n.
    Source: McCullagh and Nelder, Generalized Linear Models (1989), section 2.3.

    Args:
        prediction: λ, the expected counts; negative ones count as 0.
        target: n, the counts; negative ones count as 0 in the logarithm.
        floor: the smallest λ where there are counts, so that the deviance is finite.

    Example:
        >>> poisson_deviance(torch.tensor([2.0, 4.0, 0.0]), torch.tensor([2.0, 0.0, 0.0]))
        tensor([0., 8., 0.])
    """
    counted = target.clamp_min(0)
    expected = torch.where(target > 0, prediction.clamp_min(floor), prediction.clamp_min(0))
    logarithms = torch.xlogy(counted, counted) - counted * expected.clamp_min(floor).log()
    return 2 * (expected - target + logarithms)


DISTANCES: dict[str, Callable[..., Tensor]] = {
    "absolute": absolute,
    "squared": squared,
    "huber": huber,
    "charbonnier": charbonnier,
    "pinball": pinball,
}


def find_distance(choice: str | Mapping[str, Any] | Distance) -> Distance:
    """Return the distance given by name, by name with its parameter, or as a function.

    Args:
        choice: `"huber"`, `{"name": "huber", "delta": 0.5}`, or any function of a prediction and a target that
            returns one value per pixel.

    Raises:
        ConfigError: an unknown name or parameter, or a parameter out of range.

    Example:
        >>> find_distance({"name": "pinball", "quantile": 0.9})(torch.tensor(1.0), torch.tensor(3.0))
        tensor(1.8000)
    """
    if callable(choice):
        return choice
    options = {"name": choice} if isinstance(choice, str) else dict(choice)
    name = options.pop("name", None)
    if name not in DISTANCES:
        raise ConfigError(f"distance: unknown {name!r}; {nearest(str(name), DISTANCES)}")
    known = list(inspect.signature(DISTANCES[name]).parameters)[2:]
    for option, value in options.items():
        if option not in known:
            hint = nearest(option, known) if known else "it has no parameters"
            raise ConfigError(f"distance {name}: unknown {option!r}; {hint}")
        highest, wanted = (1.0, "lie between 0 and 1") if option == "quantile" else (inf, "be a number above 0")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < highest:
            raise ConfigError(f"distance {name}: {option} must {wanted}, found {value!r}")
    return partial(DISTANCES[name], **options) if options else DISTANCES[name]
