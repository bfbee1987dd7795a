"""Pictures: events in one, two or three dimensions as small images embedded in a page."""

import base64
import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from oasis.data.samples import Array, Sample
from oasis.drawing import BLUE, RED

BORDER = 8  # pixels around the valid ones that are also shown
INPUT_DEPTH, MAP_DEPTH = 300, 10  # ratio of the top of the colour scale to the end of its linear part
FAINTEST = 0.01  # the smallest top of a class's scale relative to the input's, so that noise is not amplified
LEVELS = 254  # levels of a colour scale; one further colour is transparent, for missing values


def window(valid: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the part of an image (*S) that contains its valid pixels and a border around them.

    Example:
        >>> window(np.arange(100) == 50)
        (slice(42, 59, None),)
    """
    if not valid.any():
        return (slice(None),) * valid.ndim
    return tuple(slice(max(int(at.min()) - BORDER, 0), int(at.max()) + BORDER + 1) for at in np.nonzero(valid))


def view(values: Array, part: tuple[slice, ...], side: int | None = None) -> Array:
    """Return the view of an image or a map that is drawn: a line (n,), or a picture (h, w).

    Bands are added up. A volume is shown as projections of the values of largest magnitude, laid out as in a
    technical drawing: along the first axis at the top left, along the second below, along the third on the right.

    Args:
        values: (B, *S).
        part: the part to show, a slice per spatial axis.
        side: the longest side of the result in pixels; a larger one is reduced to means of blocks.

    Example:
        >>> volume = np.zeros((1, 2, 3, 4), dtype=np.float32)
        >>> volume[0, 1, 2, 3] = 5
        >>> view(volume, (slice(None),) * 3)
        array([[ 0.,  0.,  0.,  0., nan,  0.,  0.],
               [ 0.,  0.,  0.,  0., nan,  0.,  0.],
               [ 0.,  0.,  0.,  5., nan,  0.,  5.],
               [nan, nan, nan, nan, nan, nan, nan],
               [ 0.,  0.,  0.,  0., nan, nan, nan],
               [ 0.,  0.,  0.,  5., nan, nan, nan]], dtype=float32)
    """
    with np.errstate(invalid="ignore"):  # infinity minus infinity, in two bands
        flat = values.sum(axis=0)[part]
    if flat.ndim < 3:
        return _reduced(flat, math.ceil(max(flat.shape) / side) if side else 1)
    depth, height, width = flat.shape
    factor = math.ceil((depth + max(height, width)) / (side - 2)) if side else 1
    front, below, right = (_reduced(_largest(np.nan_to_num(flat), axis), factor) for axis in range(3))
    height, width, depth = *front.shape, len(below)
    sheet = np.full((height + 1 + depth, width + 1 + depth), np.nan, dtype=np.float32)
    sheet[:height, :width] = front
    sheet[height + 1 :, :width] = below
    sheet[:height, width + 1 :] = right.T
    return sheet


def _largest(volume: Array, axis: int) -> Array:
    """Return the values of largest magnitude along an axis."""
    return np.take_along_axis(volume, np.abs(volume).argmax(axis, keepdims=True), axis).squeeze(axis)


def _reduced(values: Array, factor: int) -> Array:
    """Return the means of blocks of `factor` pixels along every axis; the last ones may be smaller."""
    for axis, length in enumerate(values.shape):
        starts = np.arange(0, length, factor)
        sizes = np.diff([*starts, length]).reshape(-1, *[1] * (values.ndim - axis - 1))
        values = (np.add.reduceat(values, starts, axis) / sizes).astype(np.float32)
    return values


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


def event_pictures(sample: Sample, predictions: Sequence[Array], side: int) -> EventPictures:
    """Draw a sample and the predictions of runs: PNG images, or SVG lines in one dimension.

    Args:
        sample: with truth.
        predictions: (N, B, *S) of each run.
        side: the longest side of a picture, in pixels.
    """
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
        classes.append(
            ClassPictures(
                top,
                draw(true, top, behind=true),
                [draw(values, top, behind=true) for values in found],
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
