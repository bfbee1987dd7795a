"""Headers of CCD images: the gain, and the columns and rows with and without pixels."""

import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from oasis.errors import DataError

GAINS: Final = ("EGAIN", "GAIN")
"""Keys of the gain in e- per ADU; where a file has both, `GAIN` is a setting of the camera."""
PIXELS: Final = ("TRIMSEC", "DATASEC")
OVERSCAN: Final = "BIASSEC"
ELECTRONS: Final = ("e", "e-", "electron", "electrons")

_PER_ELECTRON = re.compile(r"(adu|dn|counts?)s? *(/|per) *e", re.IGNORECASE)
_SECTION = re.compile(r"\[ *(\d+) *: *(\d+) *, *(\d+) *: *(\d+) *\]")

Section = tuple[slice, slice]


class Stated(NamedTuple):
    """What is known of an image: ADU per e-, the section of the pixels, and that of the overscan.

    Example:
        >>> Stated(0.5, (slice(0, 30), slice(10, 50))).text()
        '0.5 ADU per e-, pixels in columns 10 to 49 and rows 0 to 29'
    """

    adu_per_electron: float | None = None
    pixels: Section | None = None
    overscan: Section | None = None

    def text(self) -> str:
        """Return gain and section in words."""
        texts = [] if self.adu_per_electron is None else [f"{self.adu_per_electron:.4g} ADU per e-"]
        if self.pixels is not None:
            rows, columns = self.pixels
            texts.append(
                f"pixels in columns {columns.start} to {columns.stop - 1} and rows {rows.start} to {rows.stop - 1}"
            )
        return ", ".join(texts)


def stated(path: Path, header: Any, shape: tuple[int, int], gain: bool = True, sections: bool = True) -> Stated:
    """Return what a header states.

    Args:
        path: of the file, for messages.
        header: of the image, with what it inherits from that of its file.
        shape: rows and columns of the image.
        gain: read the gain.
        sections: read the sections.

    Raises:
        DataError: a section is not within the image.
    """
    factor = _gain(header) if gain else None
    if not sections:
        return Stated(factor)
    extra = _section(path, header, OVERSCAN, shape) if OVERSCAN in header else None
    for key in PIXELS:
        if key in header:
            return Stated(factor, _section(path, header, key, shape), extra)
    return Stated(factor, None if extra is None else _beside(extra, shape), extra)


def _beside(extra: Section, shape: tuple[int, int]) -> Section | None:
    """Return the section of pixels beside an overscan at the left or right edge, None if it is elsewhere."""
    rows, columns = slice(0, shape[0]), extra[1]
    if columns.stop == shape[1] and columns.start > 0:
        return rows, slice(0, columns.start)
    return (rows, slice(columns.stop, shape[1])) if columns.start == 0 and columns.stop < shape[1] else None


def _gain(header: Any) -> float | None:
    """Return ADU per e-, 1 where the image is in electrons already, or None where it is not stated."""
    if str(header.get("BUNIT", "")).strip().lower() in ELECTRONS:
        return 1.0
    for key in GAINS:
        value = header.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            comment = str(getattr(header, "comments", {key: ""})[key])
            return float(value) if _PER_ELECTRON.search(comment) else 1 / float(value)
    return None


def _section(path: Path, header: Any, key: str, shape: tuple[int, int]) -> Section:
    """Return the rows and columns of a section, whose numbers begin with 1 and include the last.

    Raises:
        DataError: it is not one of the image.

    Example:
        >>> _section(Path("a.fits"), {"TRIMSEC": "[11:50,1:30]"}, "TRIMSEC", (30, 60))
        (slice(0, 30, None), slice(10, 50, None))
    """
    found = _SECTION.fullmatch(str(header[key]).strip())
    if found is not None:
        x0, x1, y0, y1 = map(int, found.groups())
        rows, columns = slice(min(y0, y1) - 1, max(y0, y1)), slice(min(x0, x1) - 1, max(x0, x1))
        if min(rows.start, columns.start) >= 0 and rows.stop <= shape[0] and columns.stop <= shape[1]:
            return rows, columns
    raise DataError(
        f"{path}: {key} is {header[key]!r}, expected a section of an image of {shape[0]} rows and {shape[1]} "
        f"columns, such as [1:{shape[1]},1:{shape[0]}]: set data.read.overscan to the number of columns without "
        "pixels at the end of each row, 0 for none"
    )
