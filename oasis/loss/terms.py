"""Further terms of a loss, off by default. Each is a ratio of two sums over pixels, weighted pixel by pixel.

They compare maps in physical units with the same pixel weights as the terms of the paper, and can be used alone:

    Intensity(floor=10)(MapPair(prediction, target)).mean()
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from oasis.errors import ConfigError, DataError, nearest
from oasis.loss.distances import poisson_deviance
from oasis.loss.ratio import EPSILON, Ratio
from oasis.loss.regression import region_weighted_error
from oasis.options import Options
from oasis.regions import present


@dataclass(frozen=True)
class MapPair:
    """Predicted and true maps in physical units, with the weights of classes and pixels.

    Pixels of weight 0 are set to 0 in both maps.

    Attributes:
        prediction: (b, N, *S), or (b, N, B, *S) with `spatial_dims`.
        target: like `prediction`.
        weights: (b, *S) or (b, B, *S), from `pixel_weights`; 1 if None.
        class_weights: (N,); 1 if None.
        thresholds: (N,) thresholds above which a class is present; 0 if None.
        image: (b, B, *S) the measured mixture, for the terms that need it.
        spatial_dims: number of trailing spatial axes; all after the class axis if None.
    """

    prediction: Tensor
    target: Tensor
    weights: Tensor = None  # type: ignore[assignment]
    class_weights: Tensor = None  # type: ignore[assignment]
    thresholds: Tensor = None  # type: ignore[assignment]
    image: Tensor | None = None
    spatial_dims: int | None = None

    def __post_init__(self) -> None:
        per_class = self.prediction.new_zeros(self.prediction.shape[1])
        for name, default in (
            ("weights", torch.ones_like(self.target[:, 0])),
            ("class_weights", per_class + 1),
            ("thresholds", per_class),
        ):
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)
        counted = (self.weights > 0).unsqueeze(1)
        for name in ("prediction", "target"):
            object.__setattr__(self, name, torch.where(counted, getattr(self, name), 0))

    def total(self, maps: Tensor) -> Tensor:
        """Return the weighted sum over the pixels of maps (b, N, *S), (b, N) or (b, N, B)."""
        dims = self.spatial_dims or self.prediction.ndim - 2
        return (maps * self.weights.unsqueeze(1)).flatten(-dims).sum(-1)

    def over_classes(self, values: Tensor) -> Ratio:
        """Return the weighted mean over classes of values (b, N) or (b, N, B), over samples with weight."""
        counts = (self.weights.flatten(1) > 0).any(1)
        per_class = values.flatten(2).mean(2) if values.ndim > 2 else values
        return Ratio((per_class * self.class_weights).sum(1) * counts, counts * self.class_weights.sum())

    def over_pixels(self, values: Tensor) -> Ratio:
        """Return the weighted mean over pixels of values with the shape of `weights`."""
        return Ratio((values * self.weights).flatten(1).sum(1), self.weights.flatten(1).sum(1))

    def over_maps(self, values: Tensor) -> Ratio:
        """Return the mean over classes and pixels, weighted by both, of values with the shape of `prediction`."""
        return region_weighted_error(values, values, self.weights, self.class_weights, lambda value, _: value)


class Term(Options, ABC):
    """A further term of the loss, called with a `MapPair`.

    Attributes:
        weight: the factor of the term in the loss.
    """

    weight: float = Field(1.0, ge=0)

    @abstractmethod
    def __call__(self, maps: MapPair) -> Ratio:
        """Return the term as a ratio of sums."""


class Intensity(Term):
    r"""The error of each class's total intensity, as a logarithm.

    .. math:: L = \frac{\sum_c w_c \left|\ln \frac{\hat F_c + s}{F_c + s}\right|}{\sum_c w_c},
              \qquad F_c = \sum_p W_p \max(I_{c,p}, 0)

    For small errors this is that of Eq. 7 of the paper. The floor s keeps it finite where the class is absent.

    Attributes:
        floor: s, in the units of the image; choose about the noise of a total intensity.

    Example:
        >>> target = torch.tensor([[[3.0, 6.0]]])
        >>> Intensity(floor=1.0)(MapPair(target * 2.1, target)).mean()
        tensor(0.6881)
    """

    floor: float = Field(gt=0)

    def __call__(self, maps: MapPair) -> Ratio:
        """Return the mean over classes."""
        predicted, true = (maps.total(each.clamp_min(0)) for each in (maps.prediction, maps.target))
        return maps.over_classes(_log_ratio(predicted, true, self.floor))


class Consistency(Term):
    r"""How closely the maps sum to the noise-free mixture, pixel by pixel, as a logarithm.

    .. math:: L = \frac{\sum_p W_p \left|\ln \frac{\sum_c \hat I_{c,p} + s}{\sum_c I_{c,p} + s}\right|}{\sum_p W_p}

    Mixture consistency after Wisdom et al. 2019, arXiv:1811.08521, as a penalty. The fraction head needs it only
    if it assigns a share to the background.

    Attributes:
        floor: s, in the units of the image; choose about the noise of a pixel.

    Example:
        >>> target = torch.tensor([[[3.0], [6.0]]])
        >>> Consistency(floor=1.0)(MapPair(target.flip(1), target)).mean()
        tensor(0.)
    """

    floor: float = Field(gt=0)

    def __call__(self, maps: MapPair) -> Ratio:
        """Return the weighted mean over pixels."""
        predicted, true = (each.sum(1).clamp_min(0) for each in (maps.prediction, maps.target))
        return maps.over_pixels(_log_ratio(predicted, true, self.floor))


class Contrast(Term):
    r"""The error of each class where brighter ones cover it, as a logarithm.

    .. math:: L = \frac{\sum_c \sum_p w_c W_p k_{c,p} \left|\ln \frac{\hat I_{c,p} + s}{I_{c,p} + s}\right|}
                       {\sum_c \sum_p w_c W_p k_{c,p}}, \qquad
              k_{c,p} = [I_{c,p} > \theta_c] \left(1 - \frac{I_{c,p}}{\sum_k I_{k,p}}\right)

    A pixel counts for a class the more, the smaller its share of the light there is: 0 where it is alone,
    nearly 1 under a far brighter one. Weights of regions cannot tell the fainter class from the brighter one.

    Attributes:
        floor: s, in the units of the image; choose about the noise of a pixel.

    Example:
        >>> target = torch.tensor([[[9.0, 5.0], [1.0, 0.0]]])
        >>> prediction = torch.tensor([[[9.0, 2.0], [2.0, 0.0]]])
        >>> Contrast(floor=1.0)(MapPair(prediction, target)).mean().round(decimals=4)
        tensor(0.3649)
    """

    floor: float = Field(gt=0)

    def __call__(self, maps: MapPair) -> Ratio:
        """Return the mean over pixels and classes."""
        true = maps.target.clamp_min(0)
        share = true / true.sum(1, keepdim=True).clamp_min(EPSILON)
        covered = present(maps.target, maps.thresholds) * (1 - share)
        of_class = maps.class_weights.view(1, -1, *[1] * (true.ndim - 2))
        weights = covered * maps.weights.unsqueeze(1) * of_class
        error = _log_ratio(maps.prediction.clamp_min(0), true, self.floor)
        return Ratio((weights * error).flatten(1).sum(1), weights.flatten(1).sum(1))


class Poisson(Term):
    r"""How unlikely the counts of the image are if the maps are the expectation (half the Poisson deviance).

    .. math:: L = \frac{\sum_p W_p (\lambda_p - n_p + n_p \ln (n_p / \lambda_p))}{\sum_p W_p}, \qquad
              \lambda = \frac{b + \sum_c \hat I_c}{g}, \quad n = \frac{b + I}{g}

    See `oasis.loss.distances.poisson_deviance`.

    Attributes:
        gain: g, the units of the image per count.
        background: b, the expected background that was subtracted from the image, in its units.

    Example:
        >>> maps, image = torch.tensor([[[3.0], [6.0]]]), torch.tensor([[9.0]])
        >>> Poisson()(MapPair(maps, maps, image=image)).mean()
        tensor(0.)
    """

    gain: float = Field(1.0, gt=0)
    background: float = Field(0.0, ge=0)

    def __call__(self, maps: MapPair) -> Ratio:
        """Return the weighted mean over pixels.

        Raises:
            DataError: the image is missing or its shape is not that of a map.
        """
        predicted = maps.prediction.sum(1)
        if maps.image is None or maps.image.numel() != predicted.numel():
            found = "none" if maps.image is None else tuple(maps.image.shape)
            raise DataError(f"the term poisson needs an image of shape {tuple(predicted.shape)}, found {found}")
        image = torch.where(maps.weights > 0, maps.image.view(predicted.shape), 0)
        expected, counted = ((each + self.background) / self.gain for each in (predicted, image))
        return maps.over_pixels(poisson_deviance(expected, counted) / 2)


class Dice(Term):
    r"""One minus the overlap of predicted and true presence (soft Dice, after Milletari et al. 2016).

    .. math:: L = \frac{\sum_c w_c \left(1 - \frac{2 \sum_p W_p m_{c,p} t_{c,p} + 1}
                        {\sum_p W_p m_{c,p} + \sum_p W_p t_{c,p} + 1}\right)}{\sum_c w_c}, \qquad
              m = \frac{\hat I}{\hat I + \theta_c}, \quad t = [I > \theta_c]

    The predicted presence m is 1/2 where the intensity reaches the class's threshold θ. Source: arXiv:1606.04797.

    Example:
        >>> target = torch.tensor([[[0.0, 10.0]]])
        >>> Dice()(MapPair(target * 1000, target, thresholds=torch.tensor([1.0]))).mean().round(decimals=3)
        tensor(0.)
    """

    def __call__(self, maps: MapPair) -> Ratio:
        """Return the mean over classes."""
        logit, present = _presence(maps)
        presence = logit.sigmoid()
        both, either = maps.total(presence * present), maps.total(presence + present)
        return maps.over_classes(1 - (2 * both + 1) / (either + 1))


class Focal(Term):
    r"""The cross-entropy of presence, with easy pixels weighted down (Lin et al. 2017, arXiv:1708.02002).

    .. math:: L = \frac{-\sum_c \sum_p w_c W_p\, a_{c,p} (1 - q_{c,p})^\gamma \ln q_{c,p}}{\sum_c \sum_p w_c W_p}

    with q the predicted presence m of `Dice` and a = `alpha` where the class is present, q = 1 - m and a = 1
    elsewhere. (In the source the two weights are α and 1 − α, which differs by a factor.)

    Attributes:
        gamma: how much easy pixels are weighted down; 0 is the plain cross-entropy.
        alpha: weight of the pixels where a class is present; above 1 more of them are found, with more false ones.

    Example:
        >>> target = torch.tensor([[[1.0]]])
        >>> Focal(gamma=0)(MapPair(target, target * 2, thresholds=torch.tensor([1.0]))).mean()
        tensor(0.6931)
        >>> Focal(gamma=0, alpha=4)(MapPair(target, target * 2, thresholds=torch.tensor([1.0]))).mean()
        tensor(2.7726)
    """

    gamma: float = Field(2.0, ge=0)
    alpha: float = Field(1.0, gt=0)

    def __call__(self, maps: MapPair) -> Ratio:
        """Return the weighted mean over classes and pixels."""
        logit, present = _presence(maps)
        entropy = F.binary_cross_entropy_with_logits(logit, present, reduction="none")
        weight = 1 + (self.alpha - 1) * present
        return maps.over_maps(weight * entropy * (-torch.expm1(-entropy)).clamp_min(EPSILON) ** self.gamma)


TERMS: dict[str, type[Term]] = {
    "intensity": Intensity,
    "consistency": Consistency,
    "contrast": Contrast,
    "poisson": Poisson,
    "dice": Dice,
    "focal": Focal,
}


def find_terms(choice: Mapping[str, Any] | None, classes: Sequence[str], thresholds: Tensor) -> dict[str, Term]:
    """Return terms by name, each given by its options, its weight alone, or as a `Term`.

    Args:
        choice: `{"intensity": {"weight": 0.1, "floor": 10}, "dice": 0.05}`; or any new name with a `Term`.
        classes: the N class names.
        thresholds: (N,), which must be above 0 for the terms of presence.

    Raises:
        ConfigError: an unknown name, invalid options, or a term of presence without thresholds.
    """
    terms: dict[str, Term] = {}
    for name, options in (choice or {}).items():
        if isinstance(options, Term):
            terms[name] = options
            continue
        if name not in TERMS:
            raise ConfigError(f"terms: unknown {name!r}; {nearest(name, TERMS)}")
        values = options if isinstance(options, Mapping) else {"weight": options}
        terms[name] = TERMS[name].parse(values, where=f"terms.{name}")
    if any(isinstance(term, Dice | Focal) for term in terms.values()) and not bool((thresholds > 0).all()):
        name = classes[int((thresholds <= 0).nonzero()[0])]
        raise ConfigError(
            f"terms: presence (dice, focal) needs a threshold above 0 for every class: set thresholds.{name}"
        )
    return terms


def _log_ratio(predicted: Tensor, true: Tensor, floor: float) -> Tensor:
    return (torch.log(predicted + floor) - torch.log(true + floor)).abs()


def _presence(maps: MapPair) -> tuple[Tensor, Tensor]:
    """Return the logit of the predicted presence, ln(intensity / threshold), and the true presence as numbers."""
    limits = maps.thresholds.view(1, -1, *[1] * (maps.prediction.ndim - 2))
    logit = torch.log(maps.prediction.clamp_min(0) / limits + EPSILON)
    return logit, present(maps.target, maps.thresholds).to(logit.dtype)
