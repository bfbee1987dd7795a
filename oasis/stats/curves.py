"""Principal curves: a smooth curve through the middle of a cloud of points, and its tangent at a point.

References:
    Hastie and Stuetzle (1989), J. Am. Stat. Assoc. 84, 502: principal curves.
    Reinsch (1967), Numer. Math. 10, 177: smoothing splines.
    Demmler and Reinsch (1975), Numer. Math. 24, 375: the basis in which smoothing is diagonal.
"""

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline
from scipy.linalg import eigh
from scipy.optimize import brentq

from oasis.errors import ConfigError, DataError

Floats = NDArray[np.float64]

INTERVALS = 24  # between the knots of a spline; with 5 degrees of freedom it bends over about 5 of them
PIECES = 48  # line segments that approximate a curve
PENALTY = 1e-4  # approximately that of 5 degrees of freedom on [0, 1]: the start of the search for the root
LOG_PENALTIES = (-20.0, 25.0)  # relative to PENALTY: from interpolation to a straight line
FEWEST_PLACES = 4  # distinct positions along the curve that a spline needs
SAME_PLACE = 1e-6  # positions closer than this are one, in interquartile ranges
ROUNDING = 1e-20  # squared distances below this fraction of the variance are 0


class CurveError(DataError):
    """Points through which no curve can be fitted; a caller that fits many events counts these errors."""


@dataclass(frozen=True)
class SmoothingSpline:
    r"""A natural cubic spline with equidistant knots that minimises `sum w (y - f(x))^2 + penalty int f''^2`.

    Attributes:
        start: the first knot.
        span: the distance from the first knot to the last.
        values: (knots, d) at the knots.
        penalty: the weight of the curvature.
    """

    start: float
    span: float
    values: Floats
    penalty: float

    def __call__(self, x: ArrayLike) -> Floats:
        """Return the values (n, d) at positions (n,)."""
        basis, _ = _natural_splines()
        return np.asarray(basis((np.asarray(x) - self.start) / self.span) @ self.values)


def smoothing_spline(x: Floats, y: Floats, weights: Floats, df: float = 5.0) -> SmoothingSpline:
    """Fit a smoothing spline whose smoother matrix has the trace `df`.

    In the basis that diagonalises both the sum of squares and the curvature, coordinate i of the fit is shrunk by
    `s_i = 1 / (1 + penalty d_i)`; the penalty is the root of `sum s_i = df`. Where x has fewer than `df` distinct
    values, the smallest penalty is used.

    Args:
        x: (n,) not all equal.
        y: (n, d).
        weights: (n,) of the residuals.
        df: degrees of freedom; 2 gives a straight line.

    Raises:
        ConfigError: `df` is not between 2 and the number of knots.

    Example:
        >>> x = np.linspace(0, 1, 50)
        >>> line = smoothing_spline(x, np.stack([x, 3 - 2 * x], axis=1), np.ones(50))
        >>> line([0.5, 1.0]).round(6).tolist()
        [[0.5, 2.0], [1.0, 1.0]]
    """
    basis, curvature = _natural_splines()
    if not 2 < df < len(curvature):
        raise ConfigError(f"df: expected degrees of freedom above 2 and below {len(curvature)}, found {df}")
    start, span = float(x.min()), float(np.ptp(x))
    design = basis((x - start) / span)
    weighted = (design * (weights / weights.sum())[:, None]).T
    squares = weighted @ design
    share, vectors = eigh(squares, squares + PENALTY * curvature)
    share = share.clip(0, 1)

    def shrunk(log_penalty: float) -> Floats:
        return np.asarray(share + np.exp(log_penalty) * (1 - share))

    def excess(log_penalty: float) -> float:
        return float((share / shrunk(log_penalty)).sum() - df)

    low, high = LOG_PENALTIES
    root = brentq(excess, low, high, xtol=1e-9) if excess(low) > 0 else low
    values = vectors @ ((vectors.T @ (weighted @ y)) / shrunk(root)[:, None])
    penalty = PENALTY * np.exp(root) * span**3 * weights.sum()
    return SmoothingSpline(start, span, values, float(penalty))


@cache
def _natural_splines() -> tuple[CubicSpline, Floats]:
    """Return the natural splines that are 1 at one knot on [0, 1] and 0 at the others, and `int f_i'' f_j''`."""
    knots = np.linspace(0, 1, INTERVALS + 1)
    basis = CubicSpline(knots, np.eye(len(knots)), bc_type="natural")
    mass = np.diag(np.r_[1, np.full(INTERVALS - 1, 2), 1]) * 2 + np.eye(len(knots), k=1) + np.eye(len(knots), k=-1)
    bend = basis(knots, 2)
    return basis, bend.T @ (mass / (6 * INTERVALS)) @ bend


class Projection(NamedTuple):
    """The orthogonal projection of points onto a curve.

    Attributes:
        points: (n, d) the nearest points on the curve.
        arc_length: (n,) their distance from the first one, along the curve through them.
        squared_distance: (n,) squared distance of each point from its projection.
        order: (n,) indices that sort the points along the curve.
    """

    points: Floats
    arc_length: Floats
    squared_distance: Floats
    order: NDArray[np.intp]


def project(points: Floats, vertices: Floats, stretch: float = 2.0) -> Projection:
    """Project points onto a polygonal curve.

    Args:
        points: (n, d).
        vertices: (m, d) vertices of the curve in order, at least 2; not modified.
        stretch: both ends are extended by this many times their last segment, so that points beyond them do not
            all fall on the end.

    Raises:
        ConfigError: `stretch` is negative.
        DataError: fewer than 2 vertices.

    Example:
        >>> dropped = project(np.array([[0.5, 1.0], [3.0, 0.0]]), np.array([[0.0, 0.0], [2.0, 0.0]]), stretch=0)
        >>> dropped.points.tolist(), dropped.squared_distance.tolist()
        ([[0.5, 0.0], [2.0, 0.0]], [1.0, 1.0])
    """
    if stretch < 0:
        raise ConfigError(f"stretch: expected a number of at least 0, found {stretch}")
    if len(vertices) < 2:
        raise DataError(f"a curve needs at least 2 vertices, found {len(vertices)}")
    ends = vertices[[0, -1]] + stretch * (vertices[[0, -1]] - vertices[[1, -2]])
    curve = np.concatenate([ends[:1], vertices[1:-1], ends[1:]])
    segment, fraction, squared = _nearest(points, curve)
    dropped = curve[segment] + fraction[:, None] * (curve[segment + 1] - curve[segment])
    order = np.argsort(segment + fraction, kind="stable")
    steps = np.linalg.norm(np.diff(dropped[order], axis=0), axis=1)
    arc_length = np.zeros(len(points))
    arc_length[order[1:]] = np.cumsum(steps)
    return Projection(dropped, arc_length, squared, order)


def _nearest(points: Floats, curve: Floats) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Return for each point the nearest segment, the position on it (0 to 1), and the squared distance."""
    along = np.diff(curve, axis=0)
    length = (along**2).sum(axis=1)
    axes = range(points.shape[1])  # a loop over axes keeps the arrays at (points, segments)
    offsets = [points[:, k, None] - curve[:-1, k] for k in axes]
    inner = sum(offsets[k] * along[:, k] for k in axes)
    fraction = np.clip(inner / np.where(length > 0, length, 1), 0, 1)
    squared = sum((offsets[k] - fraction * along[:, k]) ** 2 for k in axes)
    squared = np.asarray(squared)
    segment = squared.argmin(axis=1)
    chosen = np.arange(len(points)), segment
    return segment, fraction[chosen], squared[chosen]


@dataclass(frozen=True)
class PrincipalCurve:
    """A smooth curve through the middle of points.

    Attributes:
        vertices: (m, d) vertices of the curve in order, evenly spaced in the parameter.
        projection: the points projected onto it; the arc length is the parameter (lambda) of the next smoothing.
        distance: weighted mean of the squared distances of the points.
        iterations: number of smoothing iterations.
        converged: whether the distance had converged by then.
    """

    vertices: Floats
    projection: Projection
    distance: float
    iterations: int
    converged: bool


def principal_curve(
    points: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    df: float = 5.0,
    threshold: float = 0.001,
    max_iterations: int = 10,
    stretch: float = 2.0,
    draws: int | None = None,
    rng: np.random.Generator | None = None,
) -> PrincipalCurve:
    """Fit the principal curve of weighted points (Hastie and Stuetzle 1989).

    It starts as the first principal component. Each iteration smooths every coordinate against the arc length
    `lambda` of the projected points, and projects the points onto the new curve, until the mean squared distance
    changes by no more than `threshold` times itself.

    Args:
        points: (n, d).
        weights: (n,) at least 0; equal by default. Only their ratios matter.
        df: degrees of freedom of the smoothing spline.
        threshold: relative change of the distance at which the fit ends, from the second iteration on.
        max_iterations: the largest number of iterations.
        stretch: how far the ends are extended for the projection.
        draws: fit this many points instead, drawn with probabilities proportional to `weights`.
        rng: the generator of the draws.

    Raises:
        CurveError: the points lie at fewer than 4 positions along the curve, or half of the weight at one.
        DataError: the shapes of the arrays disagree, a value is not finite, or a weight is negative.
        ConfigError: an option is out of range, or there are draws but no generator.

    Example:
        >>> x = np.linspace(-1, 1, 100)
        >>> curve = principal_curve(np.stack([x, x**2], axis=1))
        >>> curve.converged, curve.distance < 1e-3
        (True, True)
    """
    if max_iterations < 1:
        raise ConfigError(f"max_iterations: expected at least 1, found {max_iterations}")
    cloud, share = _checked(points, weights)
    if draws is not None:
        if rng is None:
            raise ConfigError("draws: expected a generator `rng` as well, found None")
        share = rng.multinomial(draws, share) / draws
    return _fitted(cloud[share > 0], share[share > 0], df, stretch, threshold, max_iterations)


def _fitted(
    cloud: Floats, share: Floats, df: float, stretch: float, threshold: float, max_iterations: int
) -> PrincipalCurve:
    """Return the curve of points whose shares are above 0."""
    centred = cloud - share @ cloud
    variance, axes = np.linalg.eigh((centred * share[:, None]).T @ centred)
    parameter = centred @ axes[:, -1]
    previous = np.inf
    for iteration in range(1, max_iterations + 1):
        _check_places(parameter, share)
        spline = smoothing_spline(parameter, cloud, share, df)
        vertices = spline(spline.start + spline.span * np.linspace(0, 1, PIECES + 1))
        projection = project(cloud, vertices, stretch)
        distance = float(share @ projection.squared_distance)
        tolerance = max(threshold * previous, ROUNDING * variance.sum())
        converged = iteration > 1 and bool(abs(previous - distance) <= tolerance)
        if converged:
            break
        parameter, previous = projection.arc_length, distance
    return PrincipalCurve(vertices, projection, distance, iteration, converged)


def _checked(points: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats]:
    """Return points (n, d) and weights (n,) that add up to 1."""
    cloud = np.asarray(points, np.float64)
    if cloud.ndim != 2:
        raise DataError(f"points have shape {cloud.shape}, expected (n, d)")
    share = np.ones(len(cloud)) if weights is None else np.asarray(weights, np.float64)
    if share.shape != cloud.shape[:1]:
        raise DataError(f"weights have shape {share.shape}, expected ({len(cloud)},), one per point")
    if not (np.isfinite(cloud).all() and np.isfinite(share).all() and (share >= 0).all()):
        raise DataError("points and weights must be finite, and weights not negative")
    if not share.any():
        raise CurveError("no curve: there is no point with a weight")
    return cloud, share / share.sum()


def _check_places(parameter: Floats, share: Floats) -> None:
    """Check that the points are spread along the curve."""
    order = np.argsort(parameter)
    low, high = np.searchsorted(np.cumsum(share[order]), [0.25, 0.75])
    ordered = parameter[order]
    spread = ordered[high] - ordered[low]
    if spread <= 0:
        raise CurveError("no curve: half of the weight lies at one position along it")
    places = len(np.unique(np.round((ordered - ordered[low]) / (SAME_PLACE * spread))))
    if places < FEWEST_PLACES:
        raise CurveError(
            f"no curve: the points lie at {places} positions along it, expected at least {FEWEST_PLACES}"
        )


def axis_at(curve: PrincipalCurve, point: ArrayLike) -> Floats:
    """Return the unit tangent (d,) of a curve at its point nearest to a given one.

    Example:
        >>> x = np.linspace(-1, 1, 100)
        >>> abs(axis_at(principal_curve(np.stack([x, -x], axis=1)), (3.0, 0.0))).round(6).tolist()
        [0.707107, 0.707107]
    """
    (segment,), (fraction,), _ = _nearest(np.asarray(point, np.float64)[None], curve.vertices)
    slopes = np.gradient(curve.vertices, axis=0, edge_order=2)
    tangent = (1 - fraction) * slopes[segment] + fraction * slopes[segment + 1]
    return np.asarray(tangent / np.linalg.norm(tangent))


def axial_angle(first: ArrayLike, second: ArrayLike) -> float:
    """Return the angle between two axes in degrees, 0 to 90: a direction and its opposite are the same axis.

    Example:
        >>> round(axial_angle((1.0, 0.0), (-1.0, 1.0)), 6)
        45.0
    """
    cosine = abs(np.dot(first, second)) / (np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.degrees(np.arccos(min(cosine, 1.0))))
