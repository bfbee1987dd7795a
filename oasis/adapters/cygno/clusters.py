"""Clusters of selected pixels: which recoils are found, how many are fakes, and how much light they have.

Every method that selects pixels gives the same record, so that methods are compared at equal numbers of fakes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from scipy.ndimage import binary_dilation

from oasis.instances.grouping import Grouping, group
from oasis.options import Options

Array = NDArray[np.float32]
Finder = Callable[[Array, Array], "Clusters"]
"""A method: from an image (H, W) and the rms of its pixels, counts, to clusters."""


@dataclass(frozen=True)
class Clusters:
    """The clusters that a method finds in one image.

    Attributes:
        pixels: the flat indices of the pixels of each cluster.
        score: (n,) by which clusters are ranked.
        integral: (n,) counts.
        shape: (H, W) of the image.
        sent: pixels that were sent to the clustering, counted at full resolution.
        seconds: wall time by step, `preselect` and `cluster`.
    """

    pixels: Sequence[NDArray[np.intp]]
    score: NDArray[np.float64]
    integral: NDArray[np.float64]
    shape: tuple[int, int]
    sent: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.pixels)

    def above(self, threshold: float) -> "Clusters":
        """Return the clusters whose score is above a threshold."""
        kept = np.flatnonzero(self.score > threshold)
        pixels = [self.pixels[int(place)] for place in kept]
        return Clusters(pixels, self.score[kept], self.integral[kept], self.shape, self.sent, self.seconds)


class Clustering(Options):
    """How pixels are selected by a score and clustered.

    Attributes:
        cut: pixels with a higher score are selected.
        gap: the largest number of pixels that are not selected between two of a cluster.
        pixels: the minimum number of selected pixels of a cluster.
        grow: pixels by which clusters are dilated before their light is summed: a tight mask loses light.
    """

    cut: float = Field(allow_inf_nan=False)
    gap: int = Field(1, ge=1, le=50)
    pixels: int = Field(12, ge=1)
    grow: int = Field(4, ge=0, le=100)

    def __call__(self, score: Array, image: Array) -> Clusters:
        """Return the clusters of a score (H, W), ranked by their highest score.

        Args:
            score: (H, W) of every pixel.
            image: (H, W) counts.

        Example:
            >>> image = np.zeros((40, 40), np.float32)
            >>> image[10:15, 20:25] = 4.0
            >>> found = Clustering(cut=3.0)(image, image)
            >>> len(found), found.score, found.integral, found.sent
            (1, array([4.]), array([100.]), 25)
        """
        low = np.float32(self.cut)
        how = Grouping(method="gaps", gap=self.gap, pixels=self.pixels)
        shifted = np.maximum(score - low, 0)[None, None]
        found = group(shifted, ("selected",), {"selected": 0.0}, {"selected": how})
        bounds = found.offsets
        pixels = [np.asarray(found.pixels[a:b], np.intp) for a, b in pairwise(bounds)]
        peaks = np.array([float(score.flat[one].max()) for one in pixels])
        sums = np.array([grown_sum(image, one, self.grow) for one in pixels])
        return Clusters(pixels, peaks, sums, (image.shape[0], image.shape[1]), int((score > low).sum()))


def grown_sum(image: Array, pixels: NDArray[np.intp], grow: int) -> float:
    """Return the sum of an image over pixels (flat indices), dilated by a disc of radius `grow`."""
    rows, cols = np.unravel_index(pixels, image.shape)
    top, left = max(int(rows.min()) - grow, 0), max(int(cols.min()) - grow, 0)
    part = image[top : int(rows.max()) + grow + 1, left : int(cols.max()) + grow + 1]
    mask = np.zeros(part.shape, bool)
    mask[rows - top, cols - left] = True
    return float(part[dilated(mask, grow)].sum(dtype=np.float64))


def dilated(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return a mask grown by a disc.

    Example:
        >>> dilated(np.eye(1, 7, 3, dtype=bool), 2)[0].astype(int)
        array([0, 1, 1, 1, 1, 1, 0])
    """
    if not radius:
        return mask
    steps = np.arange(-radius, radius + 1)
    return np.asarray(binary_dilation(mask, steps[:, None] ** 2 + steps**2 <= radius**2), bool)


def threshold_for(empty: Sequence[Clusters], fakes: float, pixels: int) -> float:
    """Return the score above which empty images have at most a number of clusters.

    Args:
        empty: the clusters of images without recoils.
        fakes: clusters per `pixels`.
        pixels: the pixels of a full frame.

    Example:
        >>> one = Clusters([np.array([0])] * 3, np.array([1.0, 5.0, 3.0]), np.zeros(3), (10, 10))
        >>> threshold_for([one], fakes=1, pixels=100)
        3.0
    """
    seen = sum(one.shape[0] * one.shape[1] for one in empty)
    allowed = int(fakes * seen / pixels + 1e-9)
    scores = np.sort(np.concatenate([np.empty(0), *(one.score for one in empty)]))[::-1]
    return float(scores[allowed]) if allowed < len(scores) else -np.inf


def recoil_row(found: Clusters, truth: NDArray[np.bool_], light: float, share: float = 0.0) -> dict[str, Any]:
    """Return whether a recoil is found, and how well.

    Args:
        found: the clusters of its image.
        truth: (H, W) its true pixels.
        light: its expected light, counts.
        share: the fraction of its true pixels that a cluster has to contain; by default one pixel is enough.

    Returns:
        `score`, the highest of the clusters that contain true pixels (-inf without one), and of that cluster
        `integral`, `ratio` (integral / light), `precision` and `recall` of its pixels; `others`, further clusters.
    """
    count = int(truth.sum())
    inside = np.array([int(truth.flat[one].sum()) for one in found.pixels], int)
    hit = (inside > 0) & (inside >= share * count)
    row: dict[str, Any] = {"score": -np.inf, "integral": np.nan, "ratio": np.nan}
    row |= {"precision": np.nan, "recall": 0.0, "others": int((~hit).sum()), "sent": found.sent}
    if hit.any():
        best = int(np.flatnonzero(hit)[found.score[hit].argmax()])
        row |= {"score": float(found.score[best]), "integral": float(found.integral[best])}
        row |= {"ratio": float(found.integral[best] / light) if light > 0 else np.nan}
        row |= {"precision": inside[best] / len(found.pixels[best]), "recall": inside[best] / max(count, 1)}
    return row


def pixel_curve(scores: Sequence[Array], truths: Sequence[NDArray[np.bool_]], points: int = 200) -> pd.DataFrame:
    """Return precision and recall of pixels against the cut on their score, over all images together.

    Args:
        scores: (H, W) of every image.
        truths: (H, W) their true pixels.
        points: number of cuts, of equal steps in recall.

    Returns:
        Columns `cut`, `recall`, `precision`; `attrs["area"]` is the area under the curve.

    Example:
        >>> curve = pixel_curve([np.array([[3.0, 2.0, 1.0, 0.0]])], [np.array([[True, False, True, False]])], 2)
        >>> curve.round(2).to_numpy().tolist()
        [[3.0, 0.5, 1.0], [1.0, 1.0, 0.67]]
    """
    score = np.concatenate([one.ravel() for one in scores])
    truth = np.concatenate([one.ravel() for one in truths])
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(truth[order])
    total = int(hits[-1]) if len(hits) else 0
    if not total:
        return pd.DataFrame({"cut": [], "recall": [], "precision": []})
    precision = hits / np.arange(1, len(hits) + 1)
    wanted = np.arange(1, points + 1) / points
    place = np.searchsorted(hits, np.ceil(wanted * total - 1e-9))
    table = pd.DataFrame(
        {"cut": score[order][place], "recall": hits[place] / total, "precision": precision[place]}
    )
    table.attrs["area"] = float(precision[truth[order]].mean())
    return table
