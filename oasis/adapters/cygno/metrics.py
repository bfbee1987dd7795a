"""Metrics of one image for the event table: is the recoil found, and how pure and complete are its pixels."""

import numpy as np

from oasis.adapters.cygno.clusters import Array, Clustering, recoil_row
from oasis.data.samples import Sample

COLUMNS = {
    "found": "1 if a cluster of selected pixels contains true pixels, else 0; NaN without a recoil",
    "fakes": "clusters without true pixels of the recoil",
    "selected": "pixels that are sent to the clustering",
    "precision": "true pixels among those of the cluster of the recoil; NaN if it is not found",
    "recall": "fraction of the true pixels that the cluster contains; NaN without a recoil",
    "integral_ratio": "counts in the dilated cluster over the expected light; NaN if it is not found",
}


def selection_columns(predicted: Array, sample: Sample, select: float) -> dict[str, float]:
    """Return the columns of an image from a predicted map (H, W), whose pixels above `select` are selected."""
    image, truth = sample.image[0], sample.target[0, 0] > 0
    found = Clustering(cut=select)(predicted, image)
    row = recoil_row(found, truth, float(sample.meta["recoil_light"]))
    there = bool(truth.any())
    return {
        "found": float(np.isfinite(row["score"])) if there else np.nan,
        "fakes": float(row["others"]),
        "selected": float(row["sent"]),
        "precision": float(row["precision"]),
        "recall": float(row["recall"]) if there else np.nan,
        "integral_ratio": float(row["ratio"]),
    }
