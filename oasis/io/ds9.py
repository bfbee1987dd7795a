"""Regions of SAOImage DS9: circles around objects, on the sky or in pixels."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oasis.io.files import replace_when_whole

HEADER = "# Region file format: DS9 version 4.1, written by oasis\n"


def write_circles(
    path: Path,
    places: NDArray[np.float64],
    radii: NDArray[np.float64],
    names: Sequence[str],
    on_sky: bool,
    temporary: Path | None = None,
) -> None:
    """Write a circle for each object whose place and radius are known.

    Args:
        path: the path of the file.
        places: right ascension and declination in degrees, or row and column from 0.
        radii: arcsec on the sky, else pixels.
        names: what is written beside each circle.
        on_sky: whether places are on the sky.
        temporary: where it is written for the time being, by a caller who replaces several files together.

    Raises:
        DataError: the path cannot be written to.
    """
    unit, system = ('"', "fk5") if on_sky else ("", "image")
    lines = [HEADER, f"{system}\n"]
    for (first, second), radius, name in zip(places, radii, names, strict=True):
        if not np.isfinite([first, second, radius]).all():
            continue
        x, y = (first, second) if on_sky else (second + 1, first + 1)  # pixels of DS9 are counted from 1
        lines.append(f"circle({x:.7f},{y:.7f},{radius:.3f}{unit}) # text={{{name}}}\n")
    with nullcontext(temporary) if temporary is not None else replace_when_whole(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def is_ours(path: Path) -> bool:
    """Return whether a file is one that `write_circles` wrote."""
    with path.open("rb") as file:
        return file.read(len(HEADER)) == HEADER.encode()
