"""Class summary: bias, spread and IoU of every class, by its degree of overlap with others."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from oasis.html import text_html
from oasis.stats.bins import binned
from oasis.stats.intervals import Estimate

PRESENT: Final = (float(np.nextafter(0, 1)), np.inf)  # true intensities of events that contain the class
HALF: Final = 0.5
OVERLAPS: Final = (0.0, float(np.nextafter(0, 1)), HALF, np.inf)
OVERLAP_NAMES: Final = ("none", f"below {HALF:g}", f"{HALF:g} and above")
METRICS: Final = (("bias", "+.1f"), ("spread", ".1f"), ("iou", ".2f"))  # with their number format


class ClassSummary(NamedTuple):
    """The summary of an event table without a study.

    Attributes:
        classes: a row per class and overlap (`any`, `none`, and ranges of the fraction of the class's pixels in
            which another class is present), for the events that contain the class: `class`, `overlap`, and the
            columns of `binned`.
    """

    classes: pd.DataFrame

    def text(self, unit: str = "") -> str:
        """Return the summary as a text table; no metric has a unit."""
        width = max([5, *map(len, self.classes["class"])])
        lines = [
            "by class and by the overlapping fraction of its pixels, median with 95 % bootstrap interval",
            f"{'class':>{width}} {'overlap':>13} {metrics_header()}",
        ]
        lines += [
            f"{row['class']:>{width}} {row['overlap']:>13} {metrics_line(row)}"
            for row in self.classes.to_dict("records")
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return the summary as a notebook shows it."""
        return text_html("Summary", self.text())


def metrics_header() -> str:
    """Return the header line of `metrics_line`."""
    return f"{'events':>7} {'bias %':>24} {'25-75 % spread':>24} {'IoU':>20}"


def metrics_line(row: Mapping[Any, Any]) -> str:
    """Return events, bias, spread and IoU of a row of `binned` as a line for a terminal; dashes without events."""
    bias, spread, iou = (format(Estimate.of(row, name), spec) if row["events"] else "-" for name, spec in METRICS)
    return f"{row['events']:>7} {bias:>24} {spread:>24} {iou:>20}"


def summarise_classes(table: pd.DataFrame) -> ClassSummary:
    """Return bias, spread and IoU of every class, over all events that contain it and by overlap.

    Example:
        >>> table = pd.DataFrame({"class": "cell", "intensity_true": [1.0, 2.0], "overlap_fraction": [0, 0.6]})
        >>> summary = summarise_classes(table.assign(delta_percent=[3.0, 5.0], iou=[0.8, 0.6]))
        >>> summary.classes[["class", "overlap", "events", "bias", "iou"]]
          class        overlap  events  bias  iou
        0  cell            any       2   4.0  0.7
        1  cell           none       1   3.0  0.8
        2  cell      below 0.5       0   NaN  NaN
        3  cell  0.5 and above       1   5.0  0.6
    """
    parts = []
    for name in table["class"].unique():
        rows = table[(table["class"] == name) & (table["intensity_true"] > 0)]
        bins = [binned(rows, "intensity_true", PRESENT), binned(rows, "overlap_fraction", OVERLAPS)]
        found = pd.concat(bins, ignore_index=True)
        parts.append(found.assign(**{"class": name, "overlap": ["any", *OVERLAP_NAMES]}))
    if not parts:
        return ClassSummary(pd.DataFrame(columns=["class", "overlap"]))
    return ClassSummary(pd.concat(parts, ignore_index=True))
