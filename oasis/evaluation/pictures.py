"""Pictures: events in one, two or three dimensions as small images embedded in a page."""

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image

from oasis.data.samples import Array, Sample
from oasis.drawing import BLUE, RED
from oasis.evaluation.outlines import Segments, ShownObjects, outlines
from oasis.evaluation.views import view, window

INPUT_DEPTH, MAP_DEPTH = 300, 10  # ratio of the top of the colour scale to the end of its linear part
FAINTEST = 0.01  # the smallest top of a class's scale relative to the input's, so that noise is not amplified
WHITE = "#fff"
LEVELS = 254  # levels of a colour scale; one further colour is transparent, for missing values


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
    draw = _lines if sample.valid.ndim == 2 else _image
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


def colour_scale(signed: bool = False, depth: float = MAP_DEPTH) -> str:
    """Return the colour scale of pictures, from 0 or from minus the top to the top, as a data URI."""
    return _image(np.linspace(-1.0 if signed else 0.0, 1, 256, dtype=np.float32)[None], 1.0, depth, signed)


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """Return the content of a file as a data URI.

    Example:
        >>> data_uri(b"x", "text/plain")
        'data:text/plain;base64,eA=='
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def top_of(values: Array) -> float:
    """Return the largest finite value, at least 0."""
    return max(float(np.where(np.isfinite(values), values, 0).max()), 0.0)


def _image(
    values: Array, top: float, depth: float = MAP_DEPTH, signed: bool = False, behind: Array | None = None
) -> str:
    """Return a PNG of values on a scale that is linear up to top / depth and logarithmic beyond."""
    with np.errstate(over="ignore"):  # values far above the top get the last colour
        place = np.arcsinh(depth * values / top) / np.arcsinh(depth)
    place = (place.clip(-1, 1) + 1) / 2 if signed else place.clip(0, 1)
    codes = np.where(np.isnan(place), LEVELS + 1, np.nan_to_num(place) * LEVELS + 0.5).astype(np.uint8)
    picture = Image.fromarray(codes)
    colours = matplotlib.colormaps["RdBu_r" if signed else "viridis"](np.linspace(0, 1, LEVELS + 1))
    picture.putpalette((colours[:, :3] * 255).round().astype(np.uint8).tobytes() + bytes(3))
    content = io.BytesIO()
    picture.save(content, "PNG", optimize=True, transparency=LEVELS + 1)
    return data_uri(content.getvalue())


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


def _lines(
    values: Array, top: float, depth: float = MAP_DEPTH, signed: bool = False, behind: Array | None = None
) -> str:
    """Return an SVG of values as a line, with others as a filled area behind it; the vertical scale is linear."""
    low = -top if signed else -top_of(-values)

    def points(line: Array) -> str:
        line = np.where(np.isfinite(line), line, 0)
        heights = 60 * (1 - (line - low) / (top - low)).clip(0, 1)
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(np.linspace(0, 120, len(line)), heights, strict=True))

    zero = points(np.zeros(2, dtype=np.float32))
    area = "" if behind is None else f'<polygon fill="#bbb" points="0,60 {points(behind)} 120,60"/>'
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-2 -2 124 64" fill="none">'
        f'<rect x="-2" y="-2" width="124" height="64" fill="#fff"/>{area}<polyline stroke="#888" '
        f'stroke-width=".5" points="{zero}"/><polyline stroke="{RED if signed else BLUE}" '
        f'stroke-linejoin="round" points="{points(values)}"/></svg>'
    )
    return data_uri(svg.encode(), "image/svg+xml")
