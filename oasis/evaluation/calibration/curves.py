"""Calibration curves: from predicted to true intensity, and from a column to the expected error."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import isotonic_regression

from oasis.options import Options
from oasis.stats.bins import bin_numbers
from oasis.stats.intervals import Floats

KNOTS = 20  # maximum number of knots of a curve
EVENTS_PER_KNOT = 25


class Curve(Options):
    """A function through knots: linear between them, constant below the first, proportional above the last.

    Attributes:
        knots: pairs of argument and value, by increasing argument.

    Example:
        >>> Curve(knots=((0, 1), (10, 2)))(np.array([-1.0, 5.0, 20.0]))
        array([1. , 1.5, 4. ])
    """

    knots: tuple[tuple[float, float], ...] = Field(min_length=1)

    def __call__(self, argument: Floats) -> Floats:
        """Return the values (n,) at arguments (n,)."""
        at, value = np.transpose(self.knots)
        beyond = np.maximum(argument / at[-1], 1) if at[-1] > 0 else 1
        return np.asarray(np.interp(argument, at, value) * beyond)


def correction_curve(predicted: Floats, true: Floats) -> Curve:
    """Return the monotone curve through the medians of groups of events, extended to 0 below the faintest.

    Args:
        predicted: (n,) intensities.
        true: (n,) intensities, or another quantity to be estimated.
    """
    groups = pd.DataFrame({"at": predicted, "value": true}).groupby(_groups(predicted))
    at, value = groups.median().to_numpy().T
    value = isotonic_regression(value, weights=groups.size().to_numpy(dtype=float)).x
    return _from_zero(at, value)


def classical_curve(predicted: Floats, true: Floats, by: Floats | None = None) -> Curve:
    """Return the inverse of the monotone curve through the median predictions of groups of like objects.

    Classical calibration (Eisenhart 1939, Ann. Math. Stat. 10, 162). The median of a monotone function is the
    function of the median, so that objects of one intensity have that intensity as the median of their estimates,
    whatever the spectrum. True intensities with the same median prediction become one knot.

    Args:
        predicted: (n,) intensities.
        true: (n,) intensities, or another quantity to be estimated.
        by: (n,) what like objects have in common, such as their energy; `true` by default.
    """
    groups = pd.DataFrame({"value": true, "at": predicted}).groupby(_groups(true if by is None else by))
    size = groups.size().to_numpy(dtype=float)
    value, at = (
        isotonic_regression(middle, weights=size).x for middle in groups.median()[["value", "at"]].to_numpy().T
    )
    knots, place = np.unique(at, return_inverse=True)
    return _from_zero(knots, np.bincount(place, size * value) / np.bincount(place, size))


def width_curve(argument: Floats, error: Floats) -> Curve:
    """Return the curve through the mean errors of groups; a group without errors gets the smallest of the others.

    Args:
        argument: (n,) values of the column that scales the width.
        error: (n,) absolute errors.
    """
    groups = pd.DataFrame({"at": argument, "value": error}).groupby(_groups(argument))
    at, value = groups["at"].median().to_numpy(), groups["value"].mean().to_numpy()
    least = value[value > 0].min(initial=np.inf)
    value = np.where(value > 0, value, least if np.isfinite(least) else 1.0)
    return Curve(knots=tuple(zip(at.tolist(), value.tolist(), strict=True)))


def _from_zero(at: Floats, value: Floats) -> Curve:
    """Return the curve through knots that are extended to the origin."""
    if at[0] > 0:
        at, value = np.insert(at, 0, 0), np.insert(value, 0, 0)
    return Curve(knots=tuple(zip(at.tolist(), value.tolist(), strict=True)))


def _groups(argument: Floats) -> NDArray[np.int64]:
    """Return the group (n,) of every argument: groups of similar size in rank order, equal values together."""
    count = min(max(len(argument) // EVENTS_PER_KNOT, 1), KNOTS)
    return bin_numbers(argument, np.quantile(argument, np.linspace(0, 1, count + 1)[1:-1]))
