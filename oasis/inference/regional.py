"""Images of which only regions of interest are separated, each in a window of the size in training."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from oasis.data.images import Images
from oasis.data.instances import AXES, edge_names
from oasis.errors import ConfigError, DataError
from oasis.evaluation.event_table import count_maps, measured
from oasis.inference.choice import pixels
from oasis.inference.job import Job
from oasis.inference.large import InMemory, Large
from oasis.inference.output import BATCH, MASKED, Output
from oasis.inference.region_files import RegionFile, read_regions
from oasis.inference.regions import (
    Region,
    around,
    check_fits,
    clipped,
    is_in,
    overlapping,
    owned,
    touches,
    window_of,
    within,
)
from oasis.inference.sources import Frames
from oasis.inference.tiled_instances import group_whole
from oasis.inference.windows import Place

logger = logging.getLogger(__name__)

IN_BOX = "box_intensity_predicted"  # column: the intensity in the whole box of a region


class Separated(NamedTuple):
    """The regions in a part of an image.

    Attributes:
        maps: (N, B, *part) of all regions that reach into the part.
        numbers: (k,) of the regions whose centre is in it.
        counts: (4, k, N) what is counted in these.
        further: predicted quantities of their objects by column, (k, N).
    """

    maps: NDArray[np.float32]
    numbers: list[int]
    counts: torch.Tensor
    further: Mapping[str, NDArray[Any]]


def regions_for(job: Job, files: Sequence[Path]) -> "Regional":
    """Return the separation of regions of interest in files.

    Raises:
        ConfigError: the separator does not state the size that it was trained on.
        DataError: a file of regions cannot be used, or is one for other images.
    """
    regional = Regional(job)
    if regional.file is not None:
        regional.file.check_files(files)
    return regional


class Regional:
    """The separation of regions of interest.

    Args:
        job: the processing of every image.

    Raises:
        ConfigError: the separator does not state the size that it was trained on.
        DataError: a file of regions cannot be used.
    """

    def __init__(self, job: Job) -> None:
        trained = job.separator.options.trained_size
        if trained is None:
            raise ConfigError(
                "regions: the separator does not state the size that it was trained on: train it again"
            )
        self.job, self.trained = job, trained
        self._said_same = False
        self.file: RegionFile | None = None
        if job.window.regions is not None:
            self.file = read_regions(
                job.window.regions, len(trained), job.adapter.to_pixels, job.adapter.as_regions
            )

    def separate(self, path: Path, images: Images, output: Output, first: int = 0) -> dict[int, str]:
        """Separate images of a file, and return why some could not be used, by their number in the file.

        Args:
            path: the path of the file.
            images: images of it.
            output: the output.
            first: the number in the file of the first of them.

        Raises:
            DataError: images are smaller than a window, or all regions are outside of them.
        """
        size = images.image.shape[2:]
        check_fits(self.trained, size)
        given = [self._given(path, first, index, images) for index in range(len(images))]
        found = [self.usable(regions, size) for regions in given]
        self.check_given(path, sum(map(len, given)), sum(map(len, found)), size)
        frames = Frames(images, {}, first)
        for numbers, batch in frames.batches(1):
            try:
                self._separate(path, numbers, batch, found[numbers[0] - first], output)
            except DataError as error:
                frames.leave_out(numbers, str(error))
        return frames.problems

    def check_given(self, path: Path, given: int, usable: int, size: tuple[int, ...]) -> None:
        """Check that some regions can be used, and warn of those that cannot.

        Args:
            path: of the images.
            given: the number of regions.
            usable: the number of those that can be used.
            size: of an image.

        Raises:
            DataError: a file of regions none of which can.
        """
        if self.file is not None and given and not usable:
            raise DataError(
                f"{self.job.window.regions}: none of its {given} regions lies within the images of "
                f"{pixels(size)}: are they of another field, or in other units?"
            )
        if given > usable:
            logger.warning(
                "%s: %d of %d regions are left out: outside of the image, or too near to its border for a window",
                path,
                given - usable,
                given,
            )

    def _given(self, path: Path, first: int, index: int, images: Images) -> list[Region]:
        if self.file is not None:
            return self.file.of(path, first + index, images.image.shape[2:], self.trained)
        return self.found(images.part(slice(index, index + 1)).filled()[0])

    def found(self, image: NDArray[np.float32]) -> list[Region]:
        """Return the regions that the adapter finds in an image (B, *S).

        Raises:
            ConfigError: the adapter finds none.
        """
        image = np.nan_to_num(image, posinf=0, neginf=0)
        if self.job.window.detect is not None:
            places = self.job.adapter.detect(Images(image[None]), self.job.window.detect)
            names = AXES[len(self.trained)]
            return [
                Region(around(place, self.trained), "", dict(zip(names, place.tolist(), strict=True)))
                for place in places
            ]
        boxes = self.job.adapter.regions_of_interest(image)
        if boxes is None:
            raise ConfigError("regions: this adapter finds none: name a file of boxes or positions with --regions")
        return [Region(tuple(box)) for box in boxes]

    def usable(self, regions: Sequence[Region], size: Sequence[int]) -> list[Region]:
        """Return the regions that lie within an image, cut at its border and to the size of a window."""
        inside = [clipped(region, size) for region in regions]
        found = [
            self._within_window(region)
            for region, whole in zip(inside, regions, strict=True)
            if region is not None and (region.box == whole.box or not whole.position)
        ]
        same = len(found) - len({str(region.box) for region in found})
        if same and not self._said_same:
            self._said_same = True
            logger.warning(
                "%d of %d regions have the same box as an earlier one: the light is counted in the first of them",
                same,
                len(found),
            )
        return found

    def found_in(self, images: Large, index: int, place: Place) -> list[Region]:
        """Return the regions that the adapter finds with their centre in a part of an image.

        It is shown the part with the surroundings of a window, so that objects at the border are whole.
        """
        size = images.shape[2:]
        around = tuple(
            slice(max(part.start - side, 0), min(part.stop + side, length))
            for part, side, length in zip(place, self.trained, size, strict=True)
        )
        offsets = [part.start for part in around]
        found = [region.moved(offsets) for region in self.found(images.part(index, around))]
        return [region for region in found if is_in(region, place)]

    def _separate(
        self, path: Path, numbers: NDArray[np.intp], images: Images, regions: list[Region], output: Output
    ) -> None:
        """Write the maps of an image and the rows of its regions."""
        size = images.image.shape[2:]
        whole = tuple(slice(0, length) for length in size)
        found = self.part(InMemory(images, self.job.adapter), 0, regions, whole)
        columns: dict[str, ArrayLike] = {
            "frame": np.repeat(numbers, len(regions) * len(self.job.separator.classes))
        }
        columns |= self.columns(regions, found)
        arrays = {f"maps/{name}": found.maps[None, label] for label, name in enumerate(self.job.separator.classes)}
        output.add(path, numbers, size, images.mask, arrays, columns)
        if self.job.grouping:
            good = np.True_ if images.mask is None else images.mask[0]
            output.add_instances(path, numbers, group_whole(self.job, np.where(good, found.maps, 0)))

    def columns(self, regions: Sequence[Region], found: Separated) -> dict[str, NDArray[Any]]:
        """Return the rows of the regions in a part of an image, one for each region and class, by column."""
        classes = self.job.separator.classes
        *counted, in_box = found.counts
        columns = {"class": np.array([*classes] * len(found.numbers))}
        columns |= {name: values.numpy().reshape(-1) for name, values in measured(torch.stack(counted)).items()}
        columns[IN_BOX] = in_box.numpy().reshape(-1)
        columns |= {name: np.reshape(values, -1) for name, values in found.further.items()}
        each = [
            {
                "region": number,
                "name": regions[number].name,
                **regions[number].columns(),
                **regions[number].position,
            }
            for number in found.numbers
        ]
        always = ("region", "name", *edge_names(len(self.trained)))  # in a table without rows too
        for name in dict.fromkeys([*always, *(key for row in each for key in row)]):
            values = np.array([row.get(name, np.nan) for row in each])
            columns[name] = np.repeat(values, len(classes))
        return columns

    def _within_window(self, region: Region) -> Region:
        """Return a region that fits into a window: cut around its centre where larger images have other maps."""
        lengths = [part.stop - part.start for part in region.box]
        if all(length <= side for length, side in zip(lengths, self.trained, strict=True)) or self._any_size:
            return region
        box = tuple(
            part if length <= side else slice(start := (part.start + part.stop - side) // 2, start + side)
            for part, length, side in zip(region.box, lengths, self.trained, strict=True)
        )
        logger.warning(
            "a region of %s is cut to the %s of training: its light beyond is not counted",
            pixels(tuple(lengths)),
            pixels(self.trained),
        )
        return Region(box, region.name, region.position)

    @property
    def _any_size(self) -> bool:
        check = self.job.choice.check
        return check is not None and check.same

    def part(self, images: Large, index: int, regions: Sequence[Region], place: Place) -> Separated:
        """Separate the regions that reach into a part of an image.

        A pixel that several regions cover is counted, and has the maps, of the one whose centre is nearest. The
        last count is the intensity in the whole box, including pixels that belong to other regions.

        Args:
            images: the images.
            index: the number of the image.
            regions: all regions of the image.
            place: the part.
        """
        separator = self.job.separator
        near = self._near(regions, place)
        numbers = [number for number in near if is_in(regions[number], place)]
        rows = {number: row for row, number in enumerate(numbers)}
        lengths = [part.stop - part.start for part in place]
        maps = np.zeros((len(separator.classes), images.shape[1], *lengths), np.float32)
        counts = torch.zeros(4, len(numbers), len(separator.classes), dtype=torch.float64)
        further: dict[int, dict[str, NDArray[Any]]] = {}
        flags = images.flags(index)
        for number, window, values, more in self._windows(images, index, regions, list(near)):
            box = regions[number].box
            values = values[:, :, *within(box, window)]
            own = owned(regions, number, near[number])
            _add(maps, place, np.where(own, values, 0), box)
            if number in rows:
                mask = images.mask(index, box)
                good = np.ones((1, *own.shape), bool) if mask is None else mask
                counts[:, rows[number]] = self._counted(values, own, good)
                counted = np.where(good & own, values, 0)
                shares = _shares(mask, flags, box, len(separator.classes))
                further[number] = {
                    **more,
                    **shares,
                    **self.job.adapter.region_columns(counted, box, images.shape[2:]),
                }
        names = list(further[numbers[0]]) if numbers else []
        return Separated(
            maps,
            numbers,
            counts,
            {name: np.array([further[number][name] for number in numbers]) for name in names},
        )

    @staticmethod
    def _near(regions: Sequence[Region], place: Place) -> dict[int, list[int]]:
        """Return the regions that reach into a part, with those that overlap with each."""
        inside = [number for number, region in enumerate(regions) if touches(region.box, place)]
        if not inside:
            return {}
        edges = [[(part.start, part.stop) for part in regions[number].box] for number in inside]
        hull = tuple(
            slice(min(start for start, _ in axis), max(stop for _, stop in axis))
            for axis in zip(*edges, strict=True)
        )
        candidates = [number for number, region in enumerate(regions) if touches(region.box, hull)]
        near = overlapping([regions[number] for number in candidates])
        known = dict(zip(candidates, near, strict=True))
        return {number: [candidates[other] for other in known[number]] for number in inside}

    def _windows(
        self, images: Large, index: int, regions: Sequence[Region], numbers: Sequence[int]
    ) -> Iterator[tuple[int, Place, NDArray[np.float32], dict[str, NDArray[Any]]]]:
        """Yield number, window, maps (N, B, *window) and predicted quantities of regions."""
        separator, size = self.job.separator, images.shape[2:]
        windows = {number: self._window(regions[number], size) for number in numbers}
        for batch in _batches(windows):
            part = np.stack([images.part(index, windows[number]) for number in batch])
            around = [images.context(index, windows[number]) for number in batch]
            context = (
                None
                if any(one is None for one in around)
                else np.stack([one for one in around if one is not None])
            )
            prediction = separator.predict(part, context)
            found = prediction.maps.float().cpu().numpy()
            columns = {name: one.cpu().numpy() for name, one in separator.columns(prediction).items()}
            for at, number in enumerate(batch):
                yield number, windows[number], found[at], {name: one[at] for name, one in columns.items()}

    def _window(self, region: Region, size: Sequence[int]) -> Place:
        lengths = [max(side, part.stop - part.start) for side, part in zip(self.trained, region.box, strict=True)]
        return window_of(region, lengths, size)

    def _counted(
        self, values: NDArray[np.float32], own: NDArray[np.bool_], good: NDArray[np.bool_]
    ) -> torch.Tensor:
        """Return the counts (4, N) of the maps of a box."""
        valid = torch.from_numpy(np.stack([good & own, good]))
        twice = torch.from_numpy(values).expand(2, *values.shape)
        mine, whole = count_maps(twice, valid, self.job.adapter).unbind(1)
        return torch.cat([mine, whole[:1]])


def _shares(
    mask: NDArray[np.bool_] | None, flags: Mapping[str, NDArray[np.bool_]], box: Place, classes: int
) -> dict[str, NDArray[np.float64]]:
    """Return what fractions of the pixels of a box are bad, in all and by reason, as columns (N,)."""
    planes = {f"{name}_fraction": plane[:, *box] for name, plane in flags.items()}
    if mask is not None:
        planes[MASKED] = ~mask
    return {name: np.full(classes, plane.mean()) for name, plane in planes.items()}


def _add(maps: NDArray[np.float32], place: Place, values: NDArray[np.float32], box: Place) -> None:
    """Add the maps of a box to those of a part of the image, where both overlap."""
    both = tuple(
        slice(max(one.start, other.start), min(one.stop, other.stop))
        for one, other in zip(place, box, strict=True)
    )
    maps[:, :, *within(both, place)] += values[:, :, *within(both, box)]


def _batches(windows: Mapping[int, Place]) -> list[list[int]]:
    """Return the numbers of windows in batches of one size."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for number, window in windows.items():
        by_size.setdefault(tuple(part.stop - part.start for part in window), []).append(number)
    return [
        numbers[start : start + BATCH] for numbers in by_size.values() for start in range(0, len(numbers), BATCH)
    ]
