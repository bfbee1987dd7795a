"""Matching of detections with true galaxies, as in the Blending ToolKit (BTK, arXiv 2409.06986)."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]

MATCH_PIXELS = 5.0  # a detection at this distance or farther is not matched with a galaxy


def centroids(maps: NDArray[np.floating]) -> Floats:
    """Return row and column of maps (N, B, H, W), weighted by the flux of all bands, (N, 2); NaN for empty maps.

    Example:
        >>> centroids(np.eye(3)[None, None])
        array([[1., 1.]])
    """
    light = maps.sum(axis=1, dtype=float)
    total = light.sum(axis=(1, 2))
    places = [light.sum(axis=3 - axis) @ np.arange(light.shape[axis]) for axis in (1, 2)]
    return np.stack(places, axis=1) / np.where(total > 0, total, np.nan)[:, None]


def match(found: Floats, wanted: Floats, within: float = MATCH_PIXELS) -> NDArray[np.intp]:
    """Return for every detection the index of the galaxy matched with it, -1 for none.

    The sum of the distances of all pairs is minimised (Hungarian algorithm), and pairs that are too far apart are
    then removed: the order of BTK's `PixelHungarianMatcher`. Give all galaxies of the image, not only those of
    interest: a galaxy that is alone in the list takes the detection of its neighbour.

    Args:
        found: (n, 2) positions of detections, pixels.
        wanted: (m, 2) positions of all galaxies, pixels; NaN for none.
        within: pairs at this distance or farther apart are removed, pixels.

    Example:
        >>> match(np.array([[9.0, 9.0], [1.0, 1.0]]), np.array([[0.0, 0.0], [30.0, 0.0]]))
        array([-1,  0])
    """
    known = np.flatnonzero(~np.isnan(wanted).any(axis=1))
    distance = np.linalg.norm(found[:, None] - wanted[known], axis=2)
    owners = np.full(len(found), -1)
    for one, other in zip(*linear_sum_assignment(distance), strict=True):
        if distance[one, other] < within:
            owners[one] = known[other]
    return owners
