"""The single galaxies of a blend: their maps, the classes they belong to, and which of them a map shows."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from oasis.data.samples import Array, Sample
from oasis.errors import DataError

Floats = NDArray[np.float64]


class Singles(NamedTuple):
    """The K galaxies of a blend.

    Attributes:
        maps: (K, B, H, W) nmgy.
        labels: (K,) the class that each belongs to.
    """

    maps: Array
    labels: NDArray[np.intp]


def single_galaxies(sample: Sample, several: bool = False) -> Singles:
    """Return the galaxies of a sample: its instances, or without them its maps with light.

    Args:
        sample: a blend with its truth.
        several: whether a map can contain several galaxies, so that the instances must be known.

    Raises:
        DataError: they must be, and are not.
    """
    if sample.has_instances and sample.instances is not None:
        found = sample.instances
        flat = np.zeros((len(found), math.prod(found.shape)), np.float32)
        flat[found.owners, found.pixels] = found.values
        return Singles(flat.reshape(-1, *found.shape), found.labels.astype(np.intp))
    if several:
        raise DataError(
            f"sample {sample.meta.get('id', '')}: its single galaxies (instances) are unknown, with which "
            "detections are matched: mix blends from a library, or store them in the file of samples"
        )
    lit = np.flatnonzero((sample.target > 0).any(axis=(1, 2, 3)))
    return Singles(sample.target[lit], lit)


def contributions(maps: NDArray[np.floating], singles: NDArray[np.floating]) -> Floats:
    r"""Return the flux that each of K galaxies contributes to each of n maps (n, K).

    A map :math:`p` is fitted as a sum of the true maps, :math:`p \approx \sum_k a_k g_k` with :math:`a_k \ge 0`,
    by least squares over pixels; galaxy k contributes :math:`a_k \sum g_k`.

    Args:
        maps: (n, H, W) in one band.
        singles: (K, H, W) the true map of each galaxy in this band.

    Example:
        >>> galaxies = np.eye(4).reshape(4, 2, 2)
        >>> contributions(galaxies[0:1] + 3 * galaxies[2:3], galaxies[:3])
        array([[1., 0., 3.]])
    """
    truth = singles.reshape(len(singles), -1).astype(float).T
    flat = maps.reshape(len(maps), -1).astype(float)
    # the triangular factor has the same least squares in K rows instead of one per pixel
    basis, triangle = np.linalg.qr(truth)
    weights = np.array([nnls(triangle, basis.T @ one)[0] for one in flat])
    return np.asarray(weights.reshape(len(maps), -1) * truth.sum(axis=0))


def confused(maps: NDArray[np.floating], singles: Singles, band: int) -> Floats:
    """Return where most of the light of a class's map is another galaxy's (N,): 1, else 0.

    NaN for classes of no galaxy or of several. The light is assigned by `contributions`.

    Args:
        maps: (N, B, H, W) predicted maps of the classes.
        singles: the true galaxies.
        band: in which band.
    """
    found = np.full(len(maps), np.nan)
    counts = np.bincount(singles.labels, minlength=len(maps))
    alone = np.flatnonzero(counts == 1)
    if not len(alone):
        return found
    light = contributions(maps[alone, band], singles.maps[:, band])
    for row, label in enumerate(alone):
        own = singles.labels == label
        found[label] = float(light[row][~own].max(initial=0) > light[row][own].sum())
    return found
