"""Plan: the division of images into units, each of which is separated and written by itself."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from oasis.inference.windows import Place, Tiling, places
from oasis.options import Options
from oasis.progress import Progress

IMAGES, SURVEY, BLOCK, FOUND, REGIONS = "images", "survey", "block", "found", "regions"


class Unit(NamedTuple):
    """What is separated and written at once.

    Attributes:
        kind: whole images; the survey of one image, and a block of it; or the regions that are found in a block of
            an image, and their separation.
        start: the row of its first image in the output.
        stop: the row after its last image.
        place: its part of the image, for a block.
        number: counts the blocks of an image.
    """

    kind: str
    start: int
    stop: int
    place: Place = ()
    number: int = 0

    @property
    def name(self) -> str:
        """The name of its record."""
        return f"{self.kind}-{self.start}" + (f"-{self.number}" if self.place else "")

    @property
    def parts(self) -> int:
        """How many parts it is of the whole, of which people are told: whole images, or one block."""
        return self.stop - self.start


def stage_progress(units: Sequence[Unit]) -> Progress:
    """Return the progress of the units of a stage."""
    kind = units[0].kind if units else IMAGES
    what, unit = {SURVEY: ("survey", "images"), FOUND: ("find regions", "blocks")}.get(
        kind, ("separate", "blocks")
    )
    return Progress(what, sum(one.parts for one in units), "images" if kind == IMAGES else unit)


class Planned(Options):
    """A file of images.

    Attributes:
        path: of the file.
        images: how many it has.
        first: the row of its first image in the output.
    """

    path: str
    images: int
    first: int


class Plan(Options):
    """The images of all files, and how they are divided.

    Attributes:
        size: of an image.
        bands: of an image.
        files: those that can be read.
        failed: why others cannot, by path.
        masked: whether some state bad pixels.
        together: images in a unit, where they are separated whole.
        core: pixels of a block along every axis, where they are separated by blocks; else empty.
        halo: pixels that the network sees beyond a block.
        chunk: pixels of a chunk along every axis.
        regional: whether only regions of interest are separated in blocks.
        finding: whether the adapter finds these.
        pixel_size: length of a pixel along every axis; empty if unknown or not the same in all files.
        pixel_unit: its unit.
    """

    size: tuple[int, ...]
    bands: int
    files: tuple[Planned, ...]
    failed: dict[str, str] = {}
    masked: bool = False
    together: int = 1
    core: tuple[int, ...] = ()
    halo: tuple[int, ...] = ()
    chunk: tuple[int, ...]
    regional: bool = False
    finding: bool = False
    pixel_size: tuple[float, ...] = ()
    pixel_unit: str = ""

    @property
    def images(self) -> int:
        """How many images there are in all files."""
        return self.files[-1].first + self.files[-1].images if self.files else 0

    @property
    def tiling(self) -> Tiling:
        """The division into blocks."""
        return Tiling(self.core, self.halo)

    @cached_property
    def _firsts(self) -> list[int]:
        return [file.first for file in self.files]

    def stages(self) -> list[list[Unit]]:
        """Return all units, in stages that follow one another; those of a stage may be processed in any order."""
        if not self.core:
            starts = range(0, self.images, self.together)
            return [[Unit(IMAGES, start, min(start + self.together, self.images)) for start in starts]]
        rows = range(self.images)
        if self.regional:
            found = [unit for row in rows for unit in self.blocks(row, FOUND)] if self.finding else []
            return [found, [unit for row in rows for unit in self.blocks(row, REGIONS)]]
        return [[Unit(SURVEY, row, row + 1) for row in rows], [unit for row in rows for unit in self.blocks(row)]]

    def blocks(self, row: int, kind: str = BLOCK) -> list[Unit]:
        """Return the blocks of an image."""
        return [
            Unit(kind, row, row + 1, place, number) for number, place in enumerate(places(self.size, self.core))
        ]

    def pieces(self, start: int, stop: int) -> Iterator[tuple[Planned, int, int]]:
        """Yield the files of some rows, and the numbers of their images: the first, and that after the last.

        Example:
            >>> files = ({"path": "a", "images": 3, "first": 0}, {"path": "b", "images": 2, "first": 3})
            >>> plan = Plan(size=(8, 8), bands=1, files=files, chunk=(8, 8))
            >>> [(file.path, first, last) for file, first, last in plan.pieces(2, 5)]
            [('a', 2, 3), ('b', 0, 2)]
        """
        while start < stop:
            file = self.files[bisect_right(self._firsts, start) - 1]
            last = min(file.first + file.images, stop)
            yield file, start - file.first, last - file.first
            start = last

    def locate(self, row: int) -> tuple[Path, int]:
        """Return the file of a row, and the number of the image in it."""
        ((file, index, _),) = self.pieces(row, row + 1)
        return Path(file.path), index
