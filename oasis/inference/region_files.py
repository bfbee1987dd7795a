"""Files of regions: tables of boxes or positions (CSV, FITS, ECSV, Parquet, Feather), and label files of YOLO."""

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from oasis.data.covering import covering
from oasis.data.instances import AXES, edge_names
from oasis.errors import DataError, shown
from oasis.inference.options import GRID
from oasis.inference.regions import Region, around, united
from oasis.io.catalogues import is_table, read_catalogue
from oasis.io.files import check_file, reading
from oasis.io.tables import TEXTS, as_numbers, checked, read_csv
from oasis.io.texts import read_text

logger = logging.getLogger(__name__)

SKY = ("ra", "dec")
NONE_USED = "{}: all its {} rows are for images that were not read"
LABELS = ("name", "source", "class")
PLACES = (*edge_names(3), *AXES[3])
ROUNDING = 1e-3  # pixels; an edge given as a fraction of the image is snapped to a pixel edge within this
SAME = 1.0  # pixels within which positions in pixels and on the sky agree
FARTHEST = 2.0**31  # a place in pixels is nearer
FARTHEST_ON_SKY = (360.0, 90.0)  # right ascension and declination, degrees
ToPixels = Callable[[Path, NDArray[np.float64]], NDArray[np.float64]]
Translate = Callable[[pd.DataFrame], pd.DataFrame]


class RegionFile(Protocol):
    """Regions given by the user."""

    def of(self, path: Path, frame: int, size: Sequence[int], window: Sequence[int]) -> list[Region]:
        """Return the regions of an image, inside or outside of it.

        Args:
            path: the path of the image's file.
            frame: the number of the image in the file.
            size: the size of the image.
            window: lengths of the box around a position without extent.

        Raises:
            DataError: the regions are invalid.
        """

    def check_files(self, files: Sequence[Path]) -> None:
        """Check that regions are for some of the files that are read.

        Raises:
            DataError: all are for others.
        """

    def check_frames(self, images: Mapping[Path, int]) -> None:
        """Check that regions are for some of the images of files, whose numbers are given.

        Raises:
            DataError: all are for others.
        """

    def unused(self) -> str:
        """Return what to say of regions for images that were not read, "" if there are none.

        Raises:
            DataError: all are for such images.
        """


def read_regions(
    path: str | Path, spatial_dims: int, to_pixels: ToPixels, translate: Translate = lambda table: table
) -> RegionFile:
    """Read regions: a table (`.csv`, or of `read_catalogue`), a YOLO label file `.txt`, or a folder of these.

    Args:
        path: the path of the file or folder, or `grid` for windows that cover every image.
        spatial_dims: number of spatial axes of the images.
        to_pixels: converts positions on the sky (k, 2) to pixels of the images of a file.
        translate: translates the columns of a domain's own tables.

    Raises:
        DataError: the file does not exist or contains no regions, or is called `grid`.
    """
    named, path = str(path), Path(path)
    if named == GRID:
        if os.path.lexists(path):
            raise DataError(f"regions: {GRID} means windows side by side, but there is a file of this name here")
        return _Grid()
    if os.path.isdir(path) or path.suffix.lower() == ".txt":
        if spatial_dims != 2:
            raise DataError(
                f"{path}: label files are of images in two dimensions, not {spatial_dims}: give a CSV file"
            )
        return _Labels(path)
    return _Table(path, spatial_dims, to_pixels, translate)


class _Grid:
    """Windows of the size in training that cover every image: a box for the pixels that each of them counts."""

    def of(self, path: Path, frame: int, size: Sequence[int], window: Sequence[int]) -> list[Region]:
        """Return the boxes of an image, which is not smaller than a window."""
        return [
            Region(tuple(slice(at + part.start, at + part.stop) for at, part in zip(*one, strict=True)))
            for one in covering(size, window)
        ]

    def check_files(self, files: Sequence[Path]) -> None:
        """Accept any files."""

    def check_frames(self, images: Mapping[Path, int]) -> None:
        """Accept any images."""

    def unused(self) -> str:
        """Return an empty text: every image has boxes."""
        return ""


class _Table:
    """A table of boxes (`y0, y1, x0, x1`), of positions in pixels (`y, x`) or on the sky (`ra, dec`).

    `name`, and `source` and `frame` of the image, are optional columns. In a table of single objects (with a
    column `class`, as `oasis predict` writes it) boxes that overlap are one region, named after their classes.
    Positions both in pixels and on the sky have to agree where the image knows its place on the sky.
    """

    def __init__(self, path: Path, spatial_dims: int, to_pixels: ToPixels, translate: Translate) -> None:
        self.path, self.to_pixels = path, to_pixels
        known = translate(_plain(read_catalogue(path))) if is_table(path) else _texts(path, translate)
        header = list(map(str, known))
        names = AXES[spatial_dims]
        self.edges = edge_names(spatial_dims)
        choices = (self.edges, list(names), list(SKY))
        self.columns = next((one for one in choices if set(one) <= set(header)), None)
        if self.columns is None:
            raise DataError(
                f"{path}: expected the columns {', '.join(self.edges)} of boxes, {', '.join(names)} of positions "
                f"in pixels, or ra, dec, found {', '.join(map(str, header)) or 'none'}"
            )
        numbers = [*self.columns, *(["frame"] if "frame" in header else [])]
        for name in (one for one in numbers if pd.api.types.is_string_dtype(known[one])):
            known[name] = as_numbers(known[name], path)
        self.table = checked(known, path, numbers)
        for name in (one for one in LABELS if one in self.table):
            self.table[name] = ["" if pd.isna(one) else str(one) for one in self.table[name]]
        wrong = ~(np.abs(self.table[self.columns].to_numpy(float)) < FARTHEST).all(axis=1)
        if wrong.any():
            raise DataError(
                f"{path}: row {int(wrong.argmax()) + 1}: expected numbers in {', '.join(self.columns)}"
            )
        if self.columns == list(SKY):
            wrong = (np.abs(self.table[self.columns].to_numpy(float)) > FARTHEST_ON_SKY).any(axis=1)
            if wrong.any():
                row = self.table[self.columns].iloc[int(wrong.argmax())].tolist()
                raise DataError(
                    f"{path}: row {int(wrong.argmax()) + 1}: ra {row[0]:g}, dec {row[1]:g} is no position on the "
                    "sky: expected degrees, and a declination from -90 to 90"
                )
        self._check_frames()
        self.on_both = self.columns == list(names) and {*SKY} <= {*header}
        self._said: set[Path] = set()
        self._used: set[int] = set()
        self.of_objects = "class" in header
        if self.columns == self.edges:
            self._check_boxes()

    def check_files(self, files: Sequence[Path]) -> None:
        if "source" not in self.table:
            return
        named, given = {Path(text).name for text in self.table["source"]}, {path.name for path in files}
        if not named & given:
            raise DataError(
                f"{self.path}: all its rows are for other files than those that are read: for "
                f"{shown(min(named))} in the column source, but {shown(min(given))} is read"
            )

    def check_frames(self, images: Mapping[Path, int]) -> None:
        if "frame" in self.table and self.table["frame"].min() >= max(images.values()):
            raise DataError(NONE_USED.format(self.path, len(self.table)))

    def unused(self) -> str:
        if not self._used:
            raise DataError(NONE_USED.format(self.path, len(self.table)))
        rows = sorted(set(self.table.index) - self._used)
        if not rows:
            return ""
        return f"{self.path}: {len(rows)} of {len(self.table)} rows, the first {rows[0] + 1}, are for other images"

    def _check_frames(self) -> None:
        frames = self.table["frame"].to_numpy(float) if "frame" in self.table else np.zeros(1)
        if not ((frames >= 0) & (frames == np.floor(frames))).all():
            raise DataError(f"{self.path}: frame: expected the number of an image, from 0, in every row")

    def _check_boxes(self) -> None:
        values = self.table[self.edges].to_numpy(float)
        wrong = (values[:, 0::2] >= values[:, 1::2]).any(axis=1)
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"{self.path}: row {row + 1}: a box from {values[row, 0::2].tolist()} to "
                f"{values[row, 1::2].tolist()} has no pixels: its end has to lie behind its beginning"
            )

    def _check_sky(self, path: Path, rows: pd.DataFrame, values: NDArray[np.float64]) -> None:
        """Check that positions in pixels are where those on the sky lie in an image, if it knows its place there.

        Raises:
            DataError: one is elsewhere.
        """
        sky = rows[list(SKY)].apply(pd.to_numeric, errors="coerce").to_numpy(float)
        known = np.isfinite(sky).all(axis=1)
        if not known.any():
            return
        try:
            places = self.to_pixels(path, sky[known])
        except DataError:  # it has no place on the sky
            return
        apart = np.linalg.norm(places - values[known], axis=1)
        wrong = ~(apart <= SAME)
        if wrong.any():
            row = int(np.flatnonzero(known)[wrong.argmax()])
            stated, on_sky = values[row], places[wrong.argmax()]
            raise DataError(
                f"{self.path}: row {rows.index[row] + 1}: x {stated[-1]:g}, y {stated[-2]:g}, but "
                f"ra {sky[row, 0]:g}, dec {sky[row, 1]:g} lies at x {on_sky[-1]:.1f}, y {on_sky[-2]:.1f} of "
                f"{shown(path.name)}, counted from 0: leave out the columns that are not for this image"
            )
        if path not in self._said:
            self._said.add(path)
            logger.info("%s: positions are those of x, y, with which ra, dec agree in %s", self.path, path.name)

    def of(self, path: Path, frame: int, size: Sequence[int], window: Sequence[int]) -> list[Region]:
        rows = self.table
        if "source" in rows:
            rows = rows[[Path(text).name == path.name for text in rows["source"]]]
        if "frame" in rows:
            rows = rows[rows["frame"] == frame]
        self._used |= set(rows.index)
        values = rows[self.columns].to_numpy(float)
        label = next((one for one in ("name", "class") if one in rows), None)
        names = rows[label].astype(str).tolist() if label else [""] * len(rows)
        if not len(rows):
            return []
        if self.columns == self.edges:
            starts, stops = np.floor(values[:, 0::2]).astype(int), np.ceil(values[:, 1::2]).astype(int)
            boxes = [tuple(map(slice, *pair)) for pair in zip(starts.tolist(), stops.tolist(), strict=True)]
            found = [Region(box, name) for box, name in zip(boxes, names, strict=True)]
            return united(found) if self.of_objects else found
        places = self.to_pixels(path, values) if self.columns == list(SKY) else values
        if self.on_both:
            self._check_sky(path, rows, values)
        # A position on the other half of the sky has no pixel: it is outside, and counted as such.
        places = np.where(np.isfinite(places).all(axis=1, keepdims=True), places, FARTHEST)
        return [
            Region(around(place, window), name, dict(zip(self.columns or (), value, strict=True)))
            for place, value, name in zip(places, values.tolist(), names, strict=True)
        ]


def _header(path: Path) -> list[str]:
    """Return the names of the columns of a CSV file."""
    check_file(path)
    with reading(path, "not a table of comma-separated values"):
        return list(map(str, pd.read_csv(path, nrows=0, index_col=False, **TEXTS)))


def _texts(path: Path, translate: Translate) -> pd.DataFrame:
    """Return a CSV file as texts; as numbers where it is a table of the domain's own, which it translates."""
    header = _header(path)
    table = read_csv(path, [], header).rename(columns=_known(header))
    own = translate(table.apply(_numbers_where_all))
    return table if list(own) == list(table) else own


def _numbers_where_all(column: "pd.Series[str]") -> "pd.Series[Any]":
    found = pd.to_numeric(column, errors="coerce")
    return column if found.isna().any() else found


def _known(header: Sequence[str]) -> dict[str, str]:
    """Return the names of this package by those in a table, which may be in capitals.

    Places in pixels are of the image at hand only if there are none on the sky, as in a survey's table.
    """
    known = {name.lower(): name for name in reversed(header)}
    names = (*SKY, *LABELS, *(() if {*SKY} <= {*known} else PLACES))
    return {known[name]: name for name in names if name in known and name not in header}


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """Return a catalogue with positions under the names of this package: surveys write `RA` and `DEC`.

    `source` without `frame`, or the reverse, is another thing than the image of a region.
    """
    foreign = [] if {"source", "frame"} <= {*table} else [name for name in ("source", "frame") if name in table]
    return table.rename(columns=_known(list(map(str, table)))).drop(columns=foreign)


class _Labels:
    """YOLO label files: a line `class x y width height [confidence]` for each box, as fractions of the image.

    A folder has one for every image, `NAME.txt`, or `NAME_FRAME.txt` for the images of a stack; an image without
    one has no objects. A single file applies to every image.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.files = path, {}
        if not path.is_dir():
            self._read(path)
            return
        with reading(path, "a folder that cannot be read"):
            self.files = {one.stem: one for one in sorted(path.glob("*.txt"))}
        if not self.files:
            raise DataError(f"{path}: no label files (.txt) in this folder")

    def check_files(self, files: Sequence[Path]) -> None:
        """Accept all files: an image without a label file has no objects; warn if that is all of them."""
        images = [re.compile(re.escape(path.stem) + r"(_\d+)?") for path in files]
        if self.files and not any(one.fullmatch(stem) for one in images for stem in self.files):
            logger.warning(
                "%s: none of its label files, such as %s.txt, is of an image that is read, such as %s: these have "
                "no regions",
                self.path,
                shown(min(self.files)),
                shown(files[0].name),
            )

    def check_frames(self, images: Mapping[Path, int]) -> None:
        """Accept all images, as `check_files`."""

    def unused(self) -> str:
        """Return "": label files may be those of a whole set of images."""
        return ""

    def of(self, path: Path, frame: int, size: Sequence[int], window: Sequence[int]) -> list[Region]:
        file = self.path
        if self.files:
            name = re.compile(re.escape(path.stem) + (r"(_0*0)?" if frame == 0 else rf"_0*{frame}"))
            found = [one for stem, one in self.files.items() if name.fullmatch(stem)]
            if not found:
                return []
            file = found[0]
        regions = []
        for label, x, y, width, height in self._read(file):
            middle, half = np.array([y, x]) * size, np.array([height, width]) * size / 2
            low = np.floor(middle - half + ROUNDING).astype(int).tolist()
            high = np.ceil(middle + half - ROUNDING).astype(int).tolist()
            regions.append(Region(tuple(map(slice, low, high)), f"{label:g}"))
        return regions

    @staticmethod
    def _read(path: Path) -> list[tuple[float, ...]]:
        rows = []
        for number, line in enumerate(read_text(path).splitlines(), 1):
            if not line.strip():
                continue
            try:
                values = tuple(map(float, line.split()))
            except ValueError:
                values = ()
            shares = values[1:5]
            if len(values) not in (5, 6) or not all(0 <= one <= 1 for one in shares) or 0 in shares[2:]:
                raise DataError(
                    f"{path}: line {number}: expected class, x, y, width and height in shares of the image, found "
                    f"{line[:80]!r}"
                )
            rows.append(values[:5])
        return rows
