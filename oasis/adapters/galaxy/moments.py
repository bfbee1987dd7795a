"""Adaptive moments of maps: centroid, size and ellipticity, weighted by the Gaussian that fits a map best."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.galaxy.arithmetic import ratio

Floats = NDArray[np.float64]

TOLERANCE = 1e-4  # relative change of the moments below which they have converged
ITERATIONS = 50  # at most


class Moments(NamedTuple):
    """Adaptive moments of n maps; NaN where they do not converge.

    Attributes:
        centroid: (n, 2) x (along columns) and y, pixels.
        covariance: (n, 3) xx, xy and yy, pixels squared.
    """

    centroid: Floats
    covariance: Floats

    @property
    def size(self) -> Floats:
        """Return det(covariance)^(1/4), pixels: the standard deviation of a round Gaussian."""
        return np.asarray(_determinant(self.covariance) ** 0.25)

    @property
    def ellipticity(self) -> Floats:
        """Return (xx - yy, 2 xy) / (xx + yy), (n, 2)."""
        xx, xy, yy = self.covariance.T
        return np.asarray(np.stack([xx - yy, 2 * xy], axis=1) / (xx + yy)[:, None])


def adaptive_moments(maps: NDArray[np.floating]) -> Moments:
    r"""Return centroid and covariance of maps, weighted by the elliptical Gaussian that fits each of them best.

    The weight `w` has the centroid and the covariance `C` at which

    .. math:: \langle x \rangle_w = x_0, \qquad \langle (x - x_0)(x - x_0)^T \rangle_w = C / 2,

    so that noise and distant neighbours hardly contribute (Bernstein and Jarvis 2002, AJ 123, 583; Hirata and
    Seljak 2003, MNRAS 343, 459). Each step treats the map as a Gaussian and divides the product by the weight.

    Args:
        maps: (n, H, W).

    Example:
        >>> y, x = np.mgrid[:64, :64]
        >>> moments = adaptive_moments(np.exp(-((x - 30) ** 2 / 2 / 4.0**2 + (y - 33) ** 2 / 2 / 2.0**2))[None])
        >>> moments.centroid.round(3), moments.size.round(3), moments.ellipticity[:, 0].round(3)
        (array([[30., 33.]]), array([2.828]), array([0.6]))
    """
    light = maps.reshape(len(maps), -1).astype(float)
    y, x = (axis.ravel().astype(float) for axis in np.mgrid[: maps.shape[1], : maps.shape[2]])
    powers = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])
    centroid, covariance = np.full((len(maps), 2), np.nan), np.full((len(maps), 3), np.nan)
    todo = np.flatnonzero(light.max(axis=1) > 0)
    at, spread = _first_guess(light[todo], powers)
    for _ in range(ITERATIONS):
        if not len(todo):
            break
        new_at, new_spread = _next_moments(light[todo], powers, at, spread)
        area = spread[:, 0] + spread[:, 2]
        change = np.abs(new_spread - spread).max(axis=1) / area
        change = np.maximum(change, np.abs(new_at - at).max(axis=1) / np.sqrt(area))
        settled, going = change < TOLERANCE, change >= TOLERANCE  # neither where they are lost
        centroid[todo[settled]], covariance[todo[settled]] = new_at[settled], new_spread[settled]
        todo, at, spread = todo[going], new_at[going], new_spread[going]
    return Moments(centroid, covariance)


def _first_guess(light: Floats, powers: Floats) -> tuple[Floats, Floats]:
    """Return the brightest pixel, and a round Gaussian as wide as the region above half of its value."""
    pixels = (light > light.max(axis=1, keepdims=True) / 2).sum(axis=1)
    variance = pixels / (2 * np.pi * np.log(2))  # of the Gaussian whose half maximum encloses as many
    return powers[1:3, light.argmax(axis=1)].T, variance[:, None] * [1, 0, 1]


def _next_moments(light: Floats, powers: Floats, at: Floats, spread: Floats) -> tuple[Floats, Floats]:
    """Return centroid and covariance, assuming a Gaussian map; NaN where no such Gaussian lies in the image."""
    weight = _inverse(spread)
    pull = _times(weight, at)
    exponent = np.column_stack([(pull * at).sum(axis=1) / -2, pull, weight * [-0.5, -1, -0.5]])
    sums = (light * np.exp(exponent @ powers)) @ powers.T
    _, x, y, *squares = ratio(sums, sums[:, :1]).T
    mean, product = np.stack([x, y], axis=1), np.stack(squares, axis=1) - np.stack([x * x, x * y, y * y], axis=1)
    sharper = _inverse(product)
    # A map that falls more slowly than any Gaussian widens the weight instead.
    inverse = sharper - weight
    gaussian = (_determinant(inverse) > 0) & (inverse[:, 0] > 0)
    new = np.where(gaussian[:, None], _inverse(inverse), 2 * product)
    new_at = np.where(gaussian[:, None], _times(new, _times(sharper, mean) - pull), mean)
    last = powers[1:3].max(axis=1)
    fits = ((new_at >= 0) & (new_at <= last)).all(axis=1) & (new[:, 0] + new[:, 2] < last.max() ** 2)
    fits &= (_determinant(new) > 0) & (new[:, 0] > 0)
    return np.where(fits[:, None], new_at, np.nan), np.where(fits[:, None], new, np.nan)


def _determinant(symmetric: Floats) -> Floats:
    xx, xy, yy = symmetric.T
    return np.asarray(xx * yy - xy * xy)


def _inverse(symmetric: Floats) -> Floats:
    """Return the inverse of symmetric matrices (n, 3); NaN where they are not positive definite."""
    xx, xy, yy = symmetric.T
    return ratio(np.stack([yy, -xy, xx], axis=1), _determinant(symmetric)[:, None])


def _times(symmetric: Floats, vector: Floats) -> Floats:
    (xx, xy, yy), (x, y) = symmetric.T, vector.T
    return np.stack([xx * x + xy * y, xy * x + yy * y], axis=1)
