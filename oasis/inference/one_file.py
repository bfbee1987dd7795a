"""One file: its images are separated whole, in tiles or by regions, as many at a time as memory allows."""

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from oasis.errors import DataError, OasisError
from oasis.inference.job import Job
from oasis.inference.output import Output
from oasis.inference.pixels import stated_size
from oasis.inference.reader import Opened, Reader
from oasis.inference.regional import Regional, needs_parts, separate_in_parts
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
    together = count if regional is not None and regional.file is not None else opened.together
    pending = [(start, min(start + together, count)) for start in reversed(range(0, count, together))]
    while pending:
        start, stop = pending.pop()
        try:
            images = opened.part(start, stop)
        except DataError as error:
            if stop - start > 1:
                pending += [(number, number + 1) for number in reversed(range(start, stop))]
            else:
                problems[start] = str(error).removeprefix(f"{path}: ")
            continue
        if regional is None:
            problems |= separate_whole(job, path, images, output, start)
        else:
            problems |= regional.separate(path, images, output, start)
    return left_out(path, problems, count)
