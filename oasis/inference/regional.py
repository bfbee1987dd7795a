"""Images of which only regions of interest are separated, each in a window of the size in training."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from oasis.data.images import Images
from oasis.errors import ConfigError, DataError
from oasis.evaluation.event_table import count_maps, measured
from oasis.inference.choice import pixels
from oasis.inference.job import Job
from oasis.inference.output import BATCH, Output
from oasis.inference.region_files import RegionFile, read_regions
from oasis.inference.regions import Region, check_fits, clipped, owners, window_of
from oasis.inference.sources import Frames
from oasis.inference.windows import Place

logger = logging.getLogger(__name__)

IN_BOX = "box_intensity_predicted"  # column: the intensity in the whole box of a region


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
                "regions: the separator does not state the size that it was trained on: train it anew"
            )
        self.job, self.trained = job, trained
        self.file: RegionFile | None = None
        if job.window.regions is not None:
            self.file = read_regions(job.window.regions, len(trained), job.adapter.to_pixels)

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
        found = [self._regions(path, first, index, images, size) for index in range(len(images))]
        given = sum(count for _, count in found)
        if self.file is not None and given and not any(regions for regions, _ in found):
            raise DataError(
                f"{self.job.window.regions}: none of its {given} regions lies within the images of "
                f"{pixels(size)}: are they of another field, or in other units?"
            )
        missing = given - sum(len(regions) for regions, _ in found)
        if missing:
            logger.warning(
                "%s: %d of %d regions are left out: outside of the image, or too near to its border for a window",
                path,
                missing,
                given,
            )
        frames = Frames(images, {}, first)
        for numbers, batch in frames.batches(1):
            try:
                self._separate(path, numbers, batch, found[numbers[0] - first][0], output)
            except DataError as error:
                frames.leave_out(numbers, str(error))
        return frames.problems

    def _regions(
        self, path: Path, first: int, index: int, images: Images, size: Sequence[int]
    ) -> tuple[list[Region], int]:
        """Return the regions of an image that can be separated, and the number of all regions."""
        if self.file is not None:
            given = self.file.of(path, first + index, size, self.trained)
        else:
            image = images.part(slice(index, index + 1)).filled()[0]
            boxes = self.job.adapter.regions_of_interest(np.nan_to_num(image, posinf=0, neginf=0))
            if boxes is None:
                raise ConfigError(
                    "regions: this adapter finds none: name a file of boxes or positions with --regions"
                )
            given = [Region(tuple(box)) for box in boxes]
        inside = [clipped(region, size) for region in given]
        kept = [
            region
            for region, whole in zip(inside, given, strict=True)
            if region is not None and (region.box == whole.box or not whole.position)
        ]
        return kept, len(given)

    def _separate(
        self, path: Path, numbers: NDArray[np.intp], images: Images, regions: list[Region], output: Output
    ) -> None:
        """Write the maps of an image and the rows of its regions."""
        separator, size = self.job.separator, images.image.shape[2:]
        maps = np.zeros((1, len(separator.classes), *images.image.shape[1:]), np.float32)
        regions = [self._within_window(region) for region in regions]
        counts, further = self._windows(images, regions, maps)
        *counted, in_box = counts
        columns: dict[str, ArrayLike] = {"frame": np.repeat(numbers, len(regions) * len(separator.classes))}
        columns["class"] = np.array([*separator.classes] * len(regions))
        columns |= {name: values.numpy().reshape(-1) for name, values in measured(torch.stack(counted)).items()}
        columns[IN_BOX] = in_box.numpy().reshape(-1)
        columns |= {name: np.reshape(values, -1) for name, values in further.items()}
        each = [
            {"region": number, "name": region.name, **region.columns(), **region.position}
            for number, region in enumerate(regions)
        ]
        for name in dict.fromkeys(key for row in each for key in row):
            values = np.array([row.get(name, np.nan) for row in each])
            columns[name] = np.repeat(values, len(separator.classes))
        arrays = {f"maps/{name}": maps[:, label] for label, name in enumerate(separator.classes)}
        output.add(path, numbers, size, images.mask, arrays, columns)

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

    def _windows(
        self, images: Images, regions: list[Region], maps: NDArray[np.float32]
    ) -> tuple[torch.Tensor, dict[str, NDArray[Any]]]:
        """Add the maps of regions to those of the image; return their counts (4, k, N) and further columns.

        The last count is the intensity in the whole box, including pixels that belong to other regions.
        """
        separator, size = self.job.separator, images.image.shape[2:]
        filled = images.filled()[0]
        own = list(owners(regions, size))
        windows = [self._window(region, size) for region in regions]
        counts = torch.zeros(4, len(regions), len(separator.classes), dtype=torch.float64)
        further: list[dict[str, NDArray[Any]]] = []
        for batch in _batches(windows):
            part = np.stack([filled[:, *windows[number]] for number in batch])
            context = None
            if images.context is not None:
                context = np.stack([images.context[0][:, *windows[number]] for number in batch])
            prediction = separator.predict(part, context)
            found = prediction.maps.float().cpu().numpy()
            columns = {name: one.cpu().numpy() for name, one in separator.columns(prediction).items()}
            further += [{name: one[at] for name, one in columns.items()} for at in range(len(batch))]
            for number, values in zip(batch, found, strict=True):
                box = regions[number].box
                values = values[:, :, *_inside(box, windows[number])]
                maps[0][:, :, *box] += np.where(own[number], values, 0)
                good = np.ones((1, *own[number].shape), bool) if images.mask is None else images.mask[0][:, *box]
                valid = torch.from_numpy(np.stack([good & own[number], good]))
                twice = torch.from_numpy(values).expand(2, *values.shape)
                owned, whole = count_maps(twice, valid, self.job.adapter).unbind(1)
                counts[:, number] = torch.cat([owned, whole[:1]])
        done = [number for batch in _batches(windows) for number in batch]
        ordered = [further[done.index(number)] for number in range(len(regions))]
        return counts, {name: np.array([one[name] for one in ordered]) for name in ordered[0]} if ordered else {}

    def _window(self, region: Region, size: Sequence[int]) -> Place:
        lengths = [max(side, part.stop - part.start) for side, part in zip(self.trained, region.box, strict=True)]
        return window_of(region, lengths, size)


def _inside(box: Place, window: Place) -> Place:
    """Return the slices of a box within a window."""
    return tuple(
        slice(part.start - whole.start, part.stop - whole.start) for part, whole in zip(box, window, strict=True)
    )


def _batches(windows: Sequence[Place]) -> list[list[int]]:
    """Return the numbers of windows in batches of one size."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for number, window in enumerate(windows):
        by_size.setdefault(tuple(part.stop - part.start for part in window), []).append(number)
    return [
        numbers[start : start + BATCH] for numbers in by_size.values() for start in range(0, len(numbers), BATCH)
    ]
