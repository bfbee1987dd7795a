"""Prediction: images of files and folders are read, separated and written, a batch at a time."""

import logging
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.errors import ConfigError, DataError, OasisError
from oasis.evaluation.event_table import check_same_classes, check_spread
from oasis.evaluation.identity import CONFIGURATION, identified
from oasis.inference.choice import Choice, Measure
from oasis.inference.job import Job
from oasis.inference.memory import fits
from oasis.inference.options import WindowOptions
from oasis.inference.output import Output
from oasis.inference.regional import Regional
from oasis.inference.sinks import check_kind, open_sink
from oasis.inference.sources import image_files, read_images
from oasis.inference.tiled import separate_tiles
from oasis.inference.whole import separate_whole
from oasis.instances.grouping import Grouping
from oasis.io.files import replace_alone
from oasis.io.parts import open_parts
from oasis.io.zarr_files import at_level
from oasis.separator.separator import Separator

logger = logging.getLogger(__name__)

INTENSITIES, INSTANCES = ".csv", "_instances.csv"  # suffixes of the tables next to the maps
SMALL = 2**20  # pixels of an image that is separated whole without checking the memory


class Predicted(NamedTuple):
    """The result of a prediction.

    Attributes:
        images: number of separated images.
        failed: the files that could not be used, completely or in part, and why.
        objects: one row per image and class: `source`, `frame`, `class`, `intensity_predicted` and
            `overlap_fraction_predicted` over the good visible pixels; `masked_fraction` if there are masks,
            `intensity_spread` if requested, and the positions stated in files.
        instances: one row per single object, if maps of whole images were grouped.
    """

    images: int
    failed: Mapping[Path, OasisError]
    objects: pd.DataFrame
    instances: pd.DataFrame | None = None


def tables_of(out: Path) -> tuple[Path, Path]:
    """Return the files beside the maps: the table of intensities, and that of single objects.

    Example:
        >>> [path.name for path in tables_of(Path("maps.h5"))]
        ['maps.csv', 'maps_instances.csv']
    """
    return out.with_suffix(INTENSITIES), out.with_name(f"{out.stem}{INSTANCES}")


def predict(
    separator: Separator,
    adapter: Adapter[Any],
    source: str | Path,
    out: str | Path,
    dark: NDArray[Any] | None = None,
    key: str | None = None,
    spread: bool = False,
    refine: bool = False,
    size_check: Measure | None = None,
    window: WindowOptions | None = None,
    grouping: Mapping[str, Grouping] | None = None,
) -> Predicted:
    """Separate every image of a file or folder and write the maps to an HDF5 or `.npz` file.

    The output contains `maps/<class>` (n, B, *S), `source` and `frame` of every image, and as attributes the
    classes, the unit and the identity of the run. If an adapter reads masks, the good pixels are the array `mask`
    (n, 1, *S): bad ones have no influence on the maps and are not counted in the intensities. Files and single
    images that cannot be used are reported and left out. A blank image, all zero, has blank maps. Memory does not
    grow with the number of images in a file, except for what its adapter reads.

    Args:
        separator: the separator to apply.
        adapter: the adapter, which reads the files.
        source: a file or a folder.
        out: `.h5`, `.hdf5` or `.npz`; it appears when it is complete.
        dark: a dark frame to subtract.
        key: the array in `.npz` and HDF5 files.
        spread: also write the standard deviation of every pixel over the symmetries of the image, as
            `spread/<class>`, which takes a pass for each.
        refine: also add the columns of the adapter's `refine`.
        size_check: measures the effect of larger surroundings on the maps; called if images have another size than
            in training, which are refused if their maps would differ.
        window: how images are cut.
        grouping: how the maps of whole images are grouped into instances, by class.

    Raises:
        ConfigError: `spread` or `refine` with an adapter that has none, or together with tiles or regions.
        BusyError: another process is writing to the output.
        DataError: the output is of another kind or cannot be written to, or no image could be used.
    """
    out = Path(out)
    check_kind(out)
    window = window or WindowOptions()
    choice = Choice(separator, size_check, window.kind)
    job = Job(separator, adapter, spread, refine, window, choice, grouping or {})
    _check(job)
    found = image_files(source, adapter.suffixes, without=(out, *tables_of(out)))
    files = [_at_level(path, window.level) for path in found]
    return _predicted(job, files, out, dark, key)


def _at_level(path: Path, level: int | None) -> Path:
    """Return the path of one resolution of a file, and say which one it is if there are several."""
    try:
        found, choice = at_level(path, level)
    except DataError:
        return path  # its reader says why
    if choice:
        logger.info(choice)
    return found


def _check(job: Job) -> None:
    """Check that what is asked for goes together."""
    check_same_classes(job.separator, job.adapter)
    if job.spread:
        check_spread(job.adapter)
    if job.window.kind in ("tiles", "regions") and (job.spread or job.refine):
        asked = "spread" if job.spread else "refine"
        raise ConfigError(f"{asked}: goes with whole images, not with {job.window.kind}")


def _predicted(
    job: Job, files: Sequence[Path], out: Path, dark: NDArray[Any] | None, key: str | None
) -> Predicted:
    """Write the maps of files, and return the tables."""
    separator = job.separator
    with replace_alone(out) as temporary:
        with open_sink(temporary, check_kind(out), separator.options) as sink:
            output = Output(sink)
            failed = _separate_files(job, files, output, dark, key)
        if not output.count:
            raise next(iter(failed.values()))
    run, unit = separator.options.identity.get(CONFIGURATION), separator.options.unit
    instances = identified(output.instances.table(), run, unit) if output.instances else None
    return Predicted(output.count, failed, identified(output.table(), run, unit), instances)


def _separate_files(
    job: Job, files: Sequence[Path], output: Output, dark: NDArray[Any] | None, key: str | None
) -> dict[Path, OasisError]:
    """Separate the images of files, and return the errors of those that could not be used.

    Raises:
        ConfigError: a problem that affects all files.
    """
    failed: dict[Path, OasisError] = {}
    regional = Regional(job) if job.window.kind == "regions" else None
    for path in files:
        try:
            problem = _separate_file(job, regional, path, key, dark, output)
        except ConfigError:
            raise
        except OasisError as error:
            problem = error if str(path) in str(error) else DataError(f"{path}: {error}")
        if problem is not None:
            failed[path] = problem
    return failed


def _separate_file(
    job: Job, regional: Regional | None, path: Path, key: str | None, dark: NDArray[Any] | None, output: Output
) -> OasisError | None:
    if job.window.kind == "tiles" or (job.window.kind is None and _needs_tiles(job, path, key)):
        return separate_tiles(job, path, key, dark, output)
    images = read_images(job.adapter, path, key, dark)
    size = images.image.shape[2:]
    output.check_size(size)
    if regional is not None:
        return regional.separate(path, images, output)
    job.choice.check_size(size, path)
    return separate_whole(job, path, images, output)


def _needs_tiles(job: Job, path: Path, key: str | None) -> bool:
    """Return whether the images of a file are too large for the memory to be separated whole.

    Without a stated memory, a network that sees the whole frame is tried: tiles are no way out for it.
    """
    adapter, memory = job.adapter, job.window.bytes
    if memory is None and job.separator.sees_whole_frame:
        return False
    if adapter.context or not adapter.reads_parts(path):
        return False
    with open_parts(path, key) as parts:
        if parts is None:
            return False
        size = parts.shape[max(len(parts.shape) - adapter.spatial_dims, 0) :]
    return prod(size) > SMALL and not fits(job.separator, size, memory)
