"""One file: its images are separated whole, in tiles or by regions, as many at a time as memory allows."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from oasis.data.images import Images
from oasis.errors import DataError, OasisError
from oasis.inference.job import Job
from oasis.inference.output import Output
from oasis.inference.pixels import stated_size
from oasis.inference.reader import Opened, Reader
from oasis.inference.regional import Regional
from oasis.inference.regional_parts import needs_parts, separate_in_parts
from oasis.inference.sources import left_out
from oasis.inference.tiled import needs_tiles, separate_tiles
from oasis.inference.whole import separate_whole


def separate_file(
    job: Job, regional: Regional | None, path: Path, key: str | None, dark: NDArray[Any] | None, output: Output
) -> OasisError | None:
    """Separate the images of a file, and return the error for those that could not be used.

    Args:
        job: the processing of every image.
        regional: the separation of regions, or None.
        path: the path of the file.
        key: the array in `.npz` and HDF5 files.
        dark: a dark frame to subtract.
        output: the output.

    Raises:
        ConfigError: a problem that affects all files.
        DataError: the file cannot be used.
    """
    if job.window.kind == "tiles" or (job.window.kind is None and needs_tiles(job, path, key)):
        output.pixels.append(stated_size(job.adapter, path, key))
        return separate_tiles(job, path, key, dark, output)
    if regional is not None and needs_parts(job, path, key):
        output.pixels.append(stated_size(job.adapter, path, key))
        return separate_in_parts(regional, path, key, dark, output)
    with Reader(job.adapter, key, dark).opened(path) as opened:
        size = opened.shape.size
        output.check_size(size)
        output.pixels.append(opened.shape.pixel)
        if regional is None:
            job.choice.check_size(size, path)
        return _separate_images(job, regional, path, opened, output)


def _separate_images(
    job: Job, regional: Regional | None, path: Path, opened: Opened, output: Output
) -> OasisError | None:
    """Separate the images of a file, some at a time; those that cannot be read are left out one by one."""
    count, problems = opened.shape.images, dict[int, str]()
    output.expect(count)
    together = count if regional is not None and regional.file is not None else opened.together
    for start in range(0, count, together):
        for first, images in _parts(path, opened, start, min(start + together, count), problems):
            if regional is None:
                problems |= separate_whole(job, path, images, output, first)
            else:
                problems |= regional.separate(path, images, output, first)
    return left_out(path, problems, count)


def _parts(
    path: Path, opened: Opened, start: int, stop: int, problems: dict[int, str]
) -> Iterator[tuple[int, Images]]:
    """Yield images and the number of the first: all together or, if some cannot be read, those that can singly."""
    try:
        images = opened.part(start, stop)
    except DataError as error:
        if stop - start > 1:
            for number in range(start, stop):
                yield from _parts(path, opened, number, number + 1, problems)
        else:
            problems[start] = str(error).removeprefix(f"{path}: ")
    else:
        yield start, images
