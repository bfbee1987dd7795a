"""Blockwise prediction: units of a plan are separated and written to a store, in any order and process."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from oasis.errors import ConfigError, DataError, OasisError
from oasis.evaluation.event_table import count_maps, measured
from oasis.inference.job import Job
from oasis.inference.large import Large, say_zeroed, survey
from oasis.inference.output import MASK, MASKED, Output
from oasis.inference.plan import BLOCK, FOUND, IMAGES, REGIONS, SURVEY, Plan, Unit
from oasis.inference.reader import Reader
from oasis.inference.regional import Regional
from oasis.inference.regional_parts import merged, ordered
from oasis.inference.regions import Region
from oasis.inference.rows import Rows
from oasis.inference.tiled_instances import LitCells, group_parts
from oasis.inference.whole import separate_whole
from oasis.inference.windows import Place
from oasis.inference.zarr_store import MapStore
from oasis.scaling import FittedAsinhScale, FittedLogScale, FittedScale
from oasis.separator.separator import evaluating

_Result = tuple[dict[str, Any], NDArray[np.float32] | None]  # the record of a unit, and its maps
Of = Callable[[Path], Large]


class Blockwise:
    """The processing of units: each is read, separated, written, and recorded.

    Args:
        job: the processing of every image.
        store: the store of maps.
        plan: the division into units.
        reader: reads the images.
    """

    def __init__(self, job: Job, store: MapStore, plan: Plan, reader: Reader) -> None:
        self.job, self.store, self.plan, self.reader = job, store, plan, reader
        self._network = evaluating(job.separator)
        self._regional = Regional(job) if job.window.kind == "regions" else None
        self._regions: tuple[int, list[Region]] | None = None

    def process(self, unit: Unit) -> None:
        """Separate a unit, write its maps, and record that it is complete.

        Raises:
            ConfigError: a problem that affects all files.
            DataError: the store cannot be written to.
        """
        if unit.kind == IMAGES:
            self.store.record(unit.name, self._images(unit))
            return
        kinds = {SURVEY: self._survey, BLOCK: self._block, FOUND: self._found, REGIONS: self._separated}
        path, index = self.plan.locate(unit.start)
        try:
            images = self.reader.large(path)
            if images.shape[2:] != self.plan.size:
                raise DataError(f"images are of {images.shape[2:]} pixels, and were {self.plan.size}")
            record, maps = kinds[unit.kind](unit, images, index)
        except ConfigError:
            raise
        except OasisError as error:
            record, maps = {"problem": str(error).removeprefix(f"{path}: ")}, None
        if maps is not None:
            for name, values in zip(self.job.separator.classes, maps, strict=True):
                self.store.write(f"maps/{name}", slice(unit.start, unit.stop), values[None], unit.place)
        self.store.record(unit.name, record)

    def _images(self, unit: Unit) -> dict[str, Any]:
        """Write the maps of whole images, and return their rows of the tables."""
        output = _UnitOutput(self.plan, unit)
        problems: dict[str, dict[int, str]] = {}
        for file, start, stop in self.plan.pieces(unit.start, unit.stop):
            path = Path(file.path)
            try:
                images = self.reader.images(path, start, stop)
                if images.image.shape[2:] != self.plan.size:
                    raise DataError(f"images are of {images.image.shape[2:]} pixels, and were {self.plan.size}")
                output.begin(file.first)
                if self._regional is not None:
                    found = self._regional.separate(path, images, output, start)
                else:
                    found = separate_whole(self.job, path, images, output, start)
            except ConfigError:
                raise
            except OasisError as error:
                found = dict.fromkeys(range(start, stop), str(error).removeprefix(f"{path}: "))
            problems[file.path] = found
        for name, values in output.arrays.items():
            self.store.write(name, slice(unit.start, unit.stop), values)
        instances = output.instances.plain() if output.instances else None
        return {"problems": problems, "rows": output.rows.plain(), "instances": instances}

    def _survey(self, unit: Unit, images: Large, index: int) -> _Result:
        """Return the scaling of an image and further facts, and write its mask of bad pixels."""
        found = survey(self.job.separator, images, index)
        say_zeroed(self.plan.locate(unit.start)[0], images, found.mask)
        return {
            "blank": found.blank,
            "scale": _plain(found.scale),
            "columns": self._facts(unit, images, index, found.mask),
        }, None

    def _facts(self, unit: Unit, images: Large, index: int, mask: NDArray[np.bool_] | None) -> dict[str, Any]:
        """Return the columns that are known of an image before it is separated, and write its mask."""
        columns: dict[str, Any] = {
            name: np.asarray(column[index]).tolist() for name, column in images.position.items()
        }
        if mask is not None:
            self.store.write(MASK, slice(unit.start, unit.stop), mask[None])
            seen = images.visible(index, tuple(slice(0, length) for length in self.plan.size))
            columns[MASKED] = float((seen & ~mask).sum() / max(seen.sum(), 1))
        return columns

    def _block(self, unit: Unit, images: Large, index: int) -> _Result:
        """Return what is counted in a block, and its maps."""
        facts = self.store.recorded(Unit(SURVEY, unit.start, unit.stop).name)
        if "problem" in facts:
            return {}, None
        maps = None if facts["blank"] else self._tile(images, index, unit.place, _fitted(facts["scale"]))
        if maps is None:
            lengths = [part.stop - part.start for part in unit.place]
            maps = np.zeros((len(self.job.separator.classes), self.plan.bands, *lengths), np.float32)
        valid = _valid(images, index, unit.place)
        counts = count_maps(torch.from_numpy(maps)[None], torch.from_numpy(valid)[None], self.job.adapter)
        return {"counts": counts[:, 0].tolist(), "lit": self._lit(unit, np.where(valid, maps, 0))}, maps

    def _found(self, unit: Unit, images: Large, index: int) -> _Result:
        """Return the regions that the adapter finds in a block."""
        assert self._regional is not None
        found = self._regional.found_in(images, index, unit.place)
        return {"boxes": [[[part.start, part.stop] for part in region.box] for region in found]}, None

    def _separated(self, unit: Unit, images: Large, index: int) -> _Result:
        """Return the rows of the regions whose centre is in a block, and the maps of all that reach into it."""
        assert self._regional is not None
        regions, rows = self._regions_of(unit.start), Rows()
        found = self._regional.part(images, index, regions, unit.place)
        if found.numbers:
            rows.add(self._regional.columns(regions, found))
        mask = images.mask(index, unit.place)
        if mask is not None:
            self.store.write(MASK, slice(unit.start, unit.stop), mask[None], unit.place)
        maps = found.maps if mask is None else np.where(mask, found.maps, 0)
        return {"rows": rows.plain(), "lit": self._lit(unit, maps)}, found.maps

    def _regions_of(self, row: int) -> list[Region]:
        """Return all regions of an image, of a file or as they were found in its blocks."""
        assert self._regional is not None
        if self._regions is None or self._regions[0] != row:
            path, index = self.plan.locate(row)
            if self._regional.file is not None:
                given = self._regional.file.of(path, index, self.plan.size, self._regional.trained)
            else:
                records = [self.store.recorded(unit.name) for unit in self.plan.blocks(row, FOUND)]
                why = next((one["problem"] for one in records if "problem" in one), None)
                if why is not None:
                    raise DataError(why)
                given = merged([_regions(record["boxes"]) for record in records])
            self._regions = row, self._regional.usable(given, self.plan.size)
        return self._regions[1]

    def _lit(self, unit: Unit, maps: NDArray[np.float32]) -> str | None:
        """Return the coarse cells of a block in which a class is present, if maps are grouped."""
        if not self.job.grouping:
            return None
        cells = LitCells(self.job, self.plan.size)
        cells.add(unit.place, maps)
        return base64.b64encode(np.packbits(cells.lit[cells.of(unit.place)]).tobytes()).decode()

    def _tile(self, images: Large, index: int, place: Place, scale: FittedScale) -> NDArray[np.float32] | None:
        def read(part: Place) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
            return images.part(index, part), images.context(index, part)

        return self.plan.tiling.maps_of(self._network, self.plan.size, read, scale, place)


class Gathered(NamedTuple):
    """What the records of all units say.

    Attributes:
        output: the rows of all images.
        problems: why images could not be used, by path and number.
    """

    output: Output
    problems: dict[str, dict[int, str]]


def gather(job: Job, store: MapStore, plan: Plan, large: Of) -> Gathered:
    """Read the records of all units, in order.

    Args:
        job: the processing of every image.
        store: the store, all of whose units are complete.
        plan: the division into units.
        large: opens the images of a file.
    """
    output, problems = Output(_Nothing()), dict[str, dict[int, str]]()
    output.masked = plan.masked
    if plan.core:
        for row in range(plan.images):
            _gather_blocks(job, store, plan, row, output, problems, large)
        return Gathered(output, problems)
    for unit in plan.stages()[0]:
        record = store.recorded(unit.name)
        for path, found in record["problems"].items():
            problems.setdefault(path, {}).update({int(number): why for number, why in found.items()})
        output.rows.extend(record["rows"])
        if record["instances"] is not None:
            output.instances.extend(record["instances"])
    output.count = plan.images - sum(map(len, problems.values()))
    return Gathered(output, problems)


def _gather_blocks(
    job: Job, store: MapStore, plan: Plan, row: int, output: Output, problems: dict[str, dict[int, str]], large: Of
) -> None:
    """Add the rows of an image that was separated by blocks."""
    path, index = plan.locate(row)
    units = plan.blocks(row, REGIONS if plan.regional else BLOCK)
    facts = {} if plan.regional else store.recorded(Unit(SURVEY, row, row + 1).name)
    blocks = [store.recorded(unit.name) for unit in units]
    why = next((one["problem"] for one in (facts, *blocks) if "problem" in one), None)
    if why is not None:
        problems.setdefault(str(path), {})[index] = why
        return
    classes = job.separator.classes
    if plan.regional:
        rows = Rows()
        for block in blocks:
            rows.extend(block["rows"])
        columns = ordered(rows, index)
    else:
        counts = torch.tensor([block["counts"] for block in blocks], dtype=torch.float64).sum(0)[:, None]
        columns = {"class": np.array(classes)}
        columns |= {name: values[0].numpy() for name, values in measured(counts).items()}
        columns |= {name: [value] * len(classes) for name, value in facts["columns"].items()}
    output.add(path, np.array([index]), plan.size, None, {}, columns)
    if job.grouping:
        cells = LitCells(job, plan.size)
        for unit, block in zip(units, blocks, strict=True):
            part = cells.lit[cells.of(unit.place)]
            packed = np.frombuffer(base64.b64decode(block["lit"]), np.uint8)
            part |= np.unpackbits(packed, count=part.size).reshape(part.shape).astype(bool)

        def read(place: Place) -> NDArray[np.float32]:
            maps = np.stack([store.read(f"maps/{name}", row, place) for name in classes])
            return np.where(_valid(large(path), index, place, not plan.regional), maps, 0)

        output.add_instances(path, np.array([index]), group_parts(job, plan.size, cells, read))


def _valid(images: Large, index: int, place: Place, visible: bool = True) -> NDArray[np.bool_]:
    """Return the pixels (1, *part) that count in a part of an image."""
    lengths = [part.stop - part.start for part in place]
    seen = images.visible(index, place) if visible else np.ones((1, *lengths), bool)
    mask = images.mask(index, place)
    return seen if mask is None else seen & mask


def _regions(boxes: Sequence[Sequence[Sequence[int]]]) -> list[Region]:
    return [Region(tuple(slice(*edges) for edges in box)) for box in boxes]


class _Nothing:
    """A sink that keeps nothing: the arrays are in the store."""

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Ignore rows."""


class _UnitOutput(Output):
    """The output of a unit of whole images, in memory until it is complete.

    Args:
        plan: the division into units.
        unit: the unit.
    """

    def __init__(self, plan: Plan, unit: Unit) -> None:
        super().__init__(self)
        self.arrays: dict[str, NDArray[Any]] = {}
        self.masked = plan.masked
        self._unit, self._first = unit, 0
        self._places: NDArray[np.intp] = np.empty(0, np.intp)

    def begin(self, first: int) -> None:
        """Begin a file whose first image has a row in the output."""
        self._first = first

    def add(
        self,
        path: Path,
        numbers: NDArray[np.intp],
        size: tuple[int, ...],
        mask: NDArray[np.bool_] | None,
        arrays: Mapping[str, NDArray[Any]],
        columns: Mapping[str, ArrayLike],
    ) -> None:
        """Add images of a file, at their rows."""
        self._places = self._first + numbers - self._unit.start
        super().add(path, numbers, size, mask, arrays, columns)

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Keep rows of an array at the places of the images that are added."""
        if name in ("source", "frame"):
            return
        if name not in self.arrays:
            shape = (self._unit.stop - self._unit.start, *rows.shape[1:])
            self.arrays[name] = np.full(shape, True if rows.dtype == bool else np.nan, rows.dtype)
        self.arrays[name][self._places] = rows


def _plain(scale: FittedScale) -> dict[str, Any]:
    """Return a fitted scaling as values that JSON can hold."""
    fields = asdict(scale)  # type: ignore[call-overload]
    return {name: value.tolist() if isinstance(value, torch.Tensor) else value for name, value in fields.items()}


def _fitted(plain: Mapping[str, Any]) -> FittedScale:
    """Return the fitted scaling that `_plain` gave."""
    if "softening" in plain:
        return FittedAsinhScale(torch.tensor(plain["softening"]), plain["dims"])
    return FittedLogScale(torch.tensor(plain["scale"]), torch.tensor(plain["peak"]))
