"""Pictures: images, maps and signals as small images embedded in a page."""

import base64
import io

import matplotlib
import numpy as np
from PIL import Image

from oasis.data.samples import Array, Sample
from oasis.data.views import view, window
from oasis.drawing import BLUE, RED
from oasis.html import Shown

INPUT_DEPTH, MAP_DEPTH = 300, 10  # ratio of the top of the colour scale to the end of its linear part
FAINTEST = 0.01  # the smallest top of a class's scale relative to the input's, so that noise is not amplified
LEVELS = 254  # levels of a colour scale; one further colour is transparent, for missing values
THUMBNAIL = 160  # longest side in pixels


def colour_scale(signed: bool = False, depth: float = MAP_DEPTH) -> str:
    """Return the colour scale of pictures, from 0 or from minus the top to the top, as a data URI."""
    return image_png(np.linspace(-1.0 if signed else 0.0, 1, 256, dtype=np.float32)[None], 1.0, depth, signed)


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


def image_png(
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


def line_svg(
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


def sample_pictures(sample: Sample) -> list[Shown]:
    """Return the input and the true map of every class of a sample as thumbnails, maps on one scale."""
    part = window(sample.valid[0])
    draw = line_svg if sample.valid.ndim == 2 else image_png
    image = view(sample.image, part, THUMBNAIL)
    maps = [view(one, part, THUMBNAIL) for one in sample.target]
    brightest = top_of(image) or 1.0
    top = max([FAINTEST * brightest, *map(top_of, maps)])
    shown = [Shown("input", draw(image, brightest, INPUT_DEPTH))]
    return shown + [Shown(f"target[{label}]", draw(one, top)) for label, one in enumerate(maps)]
