"""Pictures: events in one, two or three dimensions as small images embedded in a page."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from oasis.data.pictures import FAINTEST, INPUT_DEPTH, data_uri, image_png, line_svg, top_of
from oasis.data.samples import Array, Sample
from oasis.data.views import view, window
from oasis.evaluation.outlines import Segments, ShownObjects, outlines

WHITE = "#fff"


class ClassPictures(NamedTuple):
    """One class of an event, drawn on one scale.

    Attributes:
        top: the top of the scale in physical units; truth and predictions begin at 0, residuals at minus the top.
        truth: the true map.
        predictions: one per run.
        residuals: prediction minus truth, one per run.
    """

    top: float
    truth: str
    predictions: list[str]
    residuals: list[str]


class EventPictures(NamedTuple):
    """Pictures of an event, as data URIs.

    Attributes:
        top: the top of the scale of the input, in physical units.
        image: the input.
        classes: the N classes.
    """

    top: float
    image: str
    classes: list[ClassPictures]


def event_pictures(
    sample: Sample, predictions: Sequence[Array], side: int, objects: Sequence[ShownObjects | None] = ()
) -> EventPictures:
    """Draw a sample and the predictions of runs: PNG images, or SVG lines in one dimension.

    Args:
        sample: with truth.
        predictions: (N, B, *S) of each run.
        side: the longest side of a picture, in pixels.
        objects: those of each run whose outlines are drawn, or None.
    """
    objects = objects or [None] * len(predictions)
    part = window(sample.valid[0])
    draw = line_svg if sample.valid.ndim == 2 else image_png
    image = view(sample.image, part, side)
    brightest = top_of(image) or 1.0
    classes = []
    for label, target in enumerate(sample.target):
        true = view(target, part, side)
        found = [view(maps[label], part, side) for maps in predictions]
        missed = [view(difference(maps[label], target), part, side) for maps in predictions]
        top = max(*(top_of(values) for values in (true, *found)), FAINTEST * brightest)
        known = next((one.true for one in objects if one is not None), None)
        of_truth = outlines(known, label, part, side)
        lines = [outlines(one and one.predicted, label, part, side) for one in objects]
        classes.append(
            ClassPictures(
                top,
                _outlined(draw(true, top, behind=true), of_truth, true),
                [
                    _outlined(draw(values, top, behind=true), around, values)
                    for values, around in zip(found, lines, strict=True)
                ],
                [draw(values, top, signed=True) for values in missed],
            )
        )
    return EventPictures(brightest, draw(image, brightest, INPUT_DEPTH), classes)


def difference(predicted: Array, true: Array) -> Array:
    """Return prediction minus truth, NaN where one of them is not finite."""
    known = np.isfinite(predicted) & np.isfinite(true)
    return np.where(known, np.where(known, predicted, 0) - np.where(known, true, 0), np.nan).astype(np.float32)


def _outlined(picture: str, lines: Segments, values: Array) -> str:
    """Return a picture of values with lines over it, as SVG; the picture itself where there are none."""
    if not len(lines):
        return picture
    height, width = values.shape
    path = "".join(f"M{x:g} {y:g}L{u:g} {v:g}" for (x, y), (u, v) in lines)
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
        f'<image width="{width}" height="{height}" style="image-rendering:pixelated" href="{picture}"/>'
        f'<path d="{path}" fill="none" stroke="{WHITE}" vector-effect="non-scaling-stroke"/></svg>'
    )
    return data_uri(svg.encode(), "image/svg+xml")
