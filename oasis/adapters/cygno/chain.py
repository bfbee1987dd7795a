"""The classical chain of the collaboration, written from a description of its reconstruction "winter23".

Zero suppression of every pixel, a median filter, 4 x 4 macro-pixels, a filter against isolated ones, and clusters
by density. Directional clustering of long tracks is left out: a spot of less than 1 keV never passes that search,
so that plain weighted DBSCAN gives the same.

References:
    Baracchini et al. 2020, JINST 15 T12003 (arXiv:2007.01763): density-based clustering for CYGNO.
    Ester, Kriegel, Sander and Xu 1996, KDD-96, 226: DBSCAN.
"""

import heapq
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import binary_dilation, median_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from oasis.adapters.cygno.clusters import Clusters
from oasis.adapters.cygno.matched import check_noise
from oasis.options import Options

Array = NDArray[np.float32]
BIN = 4  # pixels along a side of a macro-pixel


class Chain(Options):
    """The classical chain; the defaults are those for simulation.

    Attributes:
        nsigma: pixels up to this many times their rms are set to 0: 0.6 underground, 0.9 for simulation, 0.2 in
            the talk.
        neighbours: least mean of the neighbours of a macro-pixel, counts: 1.2 underground, 1.1 for simulation.
        difference: counts by which a macro-pixel may differ from the mean of its neighbours.
        eps: reach of the clustering, macro-pixels along the axes: 12, or 18 in the talk.
        samples: least weight within that reach.
        ceiling: counts from which on a pixel is set to 0.
        rows: first and last row that counts; all by default.
    """

    nsigma: float = Field(0.9, ge=0, le=100)
    neighbours: float = Field(1.1, ge=0, le=1e4)
    difference: float = Field(10.0, ge=0, le=1e4)
    eps: float = Field(12.0, gt=0, le=1000)
    samples: float = Field(20.0, gt=0, le=1e6)
    ceiling: float = Field(5000.0, gt=0, le=1e9)
    rows: tuple[int, int] | None = None

    def __call__(self, image: Array, rms: Array) -> Clusters:
        """Return the clusters of an image, ranked by their summed weight.

        Args:
            image: (H, W) counts after the pedestal was subtracted; rows and columns beyond a multiple of 4 are
                left out.
            rms: (H, W) of every pixel, counts.

        Raises:
            DataError: the sizes differ, or an rms is not above 0.
        """
        check_noise(image, rms)
        start = perf_counter()
        height, width = (side // BIN * BIN for side in image.shape)
        values = np.where(image >= self.ceiling, 0, image)[:height, :width]
        points, weights = self.points(values, rms[:height, :width])
        between = perf_counter()
        labels = weighted_dbscan(points, weights, self.eps, self.samples)
        pixels, scores, sums = [], [], []
        for label in range(int(labels.max(initial=-1)) + 1):
            mine = labels == label
            if mine.sum() > 1:
                pixels.append(_full_pixels(points[mine], image.shape[1]))
                scores.append(float(weights[mine].sum()))
                sums.append(float(image.flat[pixels[-1]].sum(dtype=np.float64)))
        seconds = {"preselect": between - start, "cluster": perf_counter() - between}
        shape = (image.shape[0], image.shape[1])
        return Clusters(pixels, np.array(scores), np.array(sums), shape, BIN**2 * len(points), seconds)

    def points(self, image: Array, rms: Array) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return the macro-pixels (n, 2) that are sent to the clustering, and their weights (n,)."""
        suppressed = np.where(image > self.nsigma * rms, image, 0).astype(np.float32)
        if self.rows is not None:
            suppressed[: self.rows[0]] = suppressed[self.rows[1] + 1 :] = 0
        smooth = rebinned(median_filter(suppressed, size=2))
        kept = np.argwhere(np.rint(reduced(smooth, self.difference, self.neighbours)) != 0)
        weights = np.maximum(rebinned(suppressed)[tuple(kept.T)].astype(int), 1)
        return kept, weights.astype(np.float64)


def rebinned(image: Array) -> Array:
    """Return the means of 4 x 4 pixels.

    Example:
        >>> rebinned(np.arange(32, dtype=np.float32).reshape(4, 8))
        array([[13.5, 17.5]], dtype=float32)
    """
    height, width = image.shape
    return np.asarray(image.reshape(height // BIN, BIN, width // BIN, BIN).mean(axis=(1, 3)), np.float32)


def reduced(image: Array, difference: float, neighbours: float) -> Array:
    """Return macro-pixels without those that their neighbours do not support.

    In raster order and in place, so that a pixel sees neighbours that were filtered before it: with the mean m of
    its 8 neighbours, a pixel becomes m if it differs from it by more than `difference`; then 0 if m is below
    `neighbours`, or if fewer than 3 of the 3 x 3 pixels are not 0. Two pixels along the border are 0.

    Only pixels next to some that are not 0 are visited: the others stay 0.
    """
    out = image.astype(np.float64)
    result = np.zeros(image.shape)
    height, width = image.shape
    if min(height, width) < 5:
        return result.astype(np.float32)
    inner = np.zeros(image.shape, bool)
    inner[2:-2, 2:-2] = True
    out[~inner] = 0
    waiting = np.flatnonzero(binary_dilation(out != 0, np.ones((3, 3))) & inner).tolist()
    known = set(waiting)
    while waiting:
        row, col = divmod(heapq.heappop(waiting), width)
        around = out[row - 1 : row + 2, col - 1 : col + 2]
        before = out[row, col]
        mean = (around.sum() - before) / 8
        value = mean if abs(before - mean) > difference else before
        if mean < neighbours:
            value = 0.0
        out[row, col] = value
        if np.count_nonzero(around) < 3:
            value = out[row, col] = 0.0
        if value and not before:  # a pixel that is not 0 any more: those that follow it have to be visited too
            for place in (row * width + col + 1, *((row + 1) * width + col + step for step in (-1, 0, 1))):
                if inner.flat[place] and place not in known:
                    known.add(place)
                    heapq.heappush(waiting, place)
    return out.astype(np.float32)


def weighted_dbscan(
    points: NDArray[Any], weights: NDArray[np.float64], eps: float, samples: float
) -> NDArray[np.int64]:
    """Return the cluster of every point (n, d), -1 for none, by DBSCAN with weights and distances along the axes.

    Example:
        >>> weighted_dbscan(np.array([[0, 0], [0, 2], [9, 9]]), np.array([2.0, 1.0, 2.0]), eps=3, samples=3)
        array([ 0,  0, -1])
    """
    count = len(points)
    labels = np.full(count, -1, np.int64)
    if not count:
        return labels
    pairs = cKDTree(points).query_pairs(eps, p=1, output_type="ndarray")
    first, second = pairs.T
    density = weights + np.bincount(first, weights[second], count) + np.bincount(second, weights[first], count)
    core = density >= samples
    both = core[first] & core[second]
    edges = coo_array((np.ones(int(both.sum()), bool), (first[both], second[both])), shape=(count, count))
    parts = connected_components(edges, directed=False)[1]
    _, labels[core] = np.unique(parts[core], return_inverse=True)
    for here, there in ((first, second), (second, first)):
        border = ~core[here] & core[there]
        for mine, theirs in zip(here[border], there[border], strict=True):
            if labels[mine] < 0 or labels[theirs] < labels[mine]:
                labels[mine] = labels[theirs]
    return labels


def _full_pixels(points: NDArray[np.intp], width: int) -> NDArray[np.intp]:
    """Return the flat indices of the pixels of macro-pixels (n, 2) in an image of some width."""
    steps = np.arange(BIN)
    rows = (BIN * points[:, 0, None, None] + steps[:, None]).astype(np.intp)
    cols = (BIN * points[:, 1, None, None] + steps).astype(np.intp)
    return np.asarray((rows * width + cols).ravel(), np.intp)
