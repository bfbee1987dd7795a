"""Prediction: images of files and folders are read, separated and written, a batch at a time."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.errors import ConfigError, DataError, OasisError
from oasis.evaluation.event_table import check_same_classes, check_spread
from oasis.inference.choice import Choice, Measure
from oasis.inference.destinations import (
    OutputOptions,
    check_destination,
    images_of,
    maps_of,
    preview_folder,
    previews_of,
)
from oasis.inference.failures import none_usable
from oasis.inference.job import Job
from oasis.inference.one_file import separate_file
from oasis.inference.options import WindowOptions
from oasis.inference.output import Output
from oasis.inference.pixels import common
from oasis.inference.predicted import Predicted, together
from oasis.inference.previews import Previews
from oasis.inference.regional import regions_for
from oasis.inference.sinks import CSV, check_kind, open_sink
from oasis.inference.stored import Runner, one_by_one, predict_stored
from oasis.instances.grouping import Grouping
from oasis.io.files import replace_alone
from oasis.io.folders import say_left_below
from oasis.io.zarr_files import ZARR, at_level
from oasis.progress import FileProgress
from oasis.separator.separator import Separator

logger = logging.getLogger(__name__)


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
    replace: bool = False,
    runner: Runner = one_by_one,
    outputs: OutputOptions | None = None,
) -> Predicted:
    """Separate every image of a file or folder and write the maps to HDF5, `.npz`, OME-TIFF, CSV or zarr.

    Bad pixels have no influence and are not counted. What cannot be used is reported and left out.

    Args:
        separator: the separator to apply.
        adapter: the adapter, which reads the files.
        source: a file or a folder.
        out: `.h5`, `.npz` or `.ome.tif`, which appear when complete, `.zarr` in parts, or a folder.
        dark: a dark frame to subtract.
        key: the array in `.npz` and HDF5 files.
        spread: also write the standard deviation over the symmetries of the image, which takes a pass for each.
        refine: also add the columns of the adapter's `refine`.
        size_check: called if images have another size than in training, which it may refuse.
        window: how images are cut.
        grouping: how maps are grouped into instances, by class.
        replace: replace a zarr store of another run, other files or other options.
        runner: processes the units of a zarr store.
        outputs: whether there is one file for every input, and previews.

    Raises:
        ConfigError: `spread` or `refine` with an adapter that has none, or together with tiles or regions; CSV of
            images that are no signals.
        BusyError: another process is writing to the output.
        DataError: the output is of another kind or cannot be written to, or no image could be used.
    """
    out, window, outputs = Path(out), window or WindowOptions(), outputs or OutputOptions()
    check_destination(out, outputs, source)
    choice = Choice(separator, size_check, window.kind)
    job = Job(separator, adapter, spread, refine, window, choice, grouping or {})
    check_job(job, outputs)
    files = _files(source, out, adapter, window)
    if outputs.each is not None or check_kind(out) != ZARR:
        found = _written(job, files, out, outputs, dark, key)
    else:
        found = predict_stored(job, files, out, dark, key, replace, runner)
    say_left_below(source, adapter.suffixes, (out, preview_folder(out)))
    return found


def _files(source: str | Path, out: Path, adapter: Adapter[Any], window: WindowOptions) -> list[Path]:
    """Return the files to read, each at the resolution that was chosen."""
    files = images_of(source, out, adapter.suffixes, adapter.leading)
    return [_at_level(path, window.level) for path in files]


def _at_level(path: Path, level: int | None) -> Path:
    """Return the path of one resolution of a file, and say which one it is if there are several."""
    try:
        found, choice = at_level(path, level)
    except DataError:
        return path  # its reader says why
    if choice:
        logger.info(choice)
    return found


def check_job(job: Job, outputs: OutputOptions) -> None:
    """Check that the requested options are compatible."""
    check_same_classes(job.separator, job.adapter)
    if job.spread:
        check_spread(job.adapter)
    if job.window.kind in ("tiles", "regions") and (job.spread or job.refine):
        asked = "spread" if job.spread else "refine"
        raise ConfigError(f"{asked}: goes with whole images, not with {job.window.kind}")
    if job.window.kind in ("tiles", "regions") and outputs.previews:
        raise ConfigError(f"previews: goes with whole images, not with {job.window.kind}")
    if outputs.each == "csv" and job.adapter.spatial_dims != 1:
        raise ConfigError("each: csv is for signals, of one spatial axis: expected ome.tif, h5 or npz for images")


def _written(
    job: Job,
    files: Sequence[Path],
    out: Path,
    outputs: OutputOptions,
    dark: NDArray[Any] | None,
    key: str | None,
) -> Predicted:
    """Write the maps of files to one file, or to one for each of them, and previews if wanted."""
    previews = Previews(previews_of(files, out, outputs), job.separator) if outputs.previews else None
    with FileProgress("separate", len(files)) as progress:
        if outputs.each is None:
            found = _predicted(job, files, out, dark, key, previews, progress)
        else:
            found = _each(job, maps_of(files, out, outputs), dark, key, previews, progress)
    if previews is not None:
        previews.close()
    return found


def _each(
    job: Job,
    outputs: Mapping[Path, Path],
    dark: NDArray[Any] | None,
    key: str | None,
    previews: Previews | None,
    progress: FileProgress,
) -> Predicted:
    """Write the maps of every file to one of its own, and return the tables of all."""
    parts: list[Predicted] = []
    failed: dict[Path, OasisError] = {}
    for path, out in outputs.items():
        try:
            parts.append(_predicted(job, [path], out, dark, key, previews, progress))
        except DataError as error:
            failed[path] = error
    if not parts:
        raise none_usable(failed)
    return together(parts, failed)


def _predicted(
    job: Job,
    files: Sequence[Path],
    out: Path,
    dark: NDArray[Any] | None,
    key: str | None,
    previews: Previews | None,
    progress: FileProgress,
) -> Predicted:
    """Write the maps of files, and return the tables."""
    separator = job.separator
    with replace_alone(out) as temporary:
        suffix = out.suffix if out.suffix == CSV else check_kind(out)
        with open_sink(temporary, suffix, separator.options, files[0], job.adapter.band_names) as sink:
            output = Output(sink, progress, previews)
            failed = _separate_files(job, files, output, dark, key)
            if output.pixels:
                sink.describe(common(output.pixels))
        if not output.count:
            raise none_usable(failed)
    return output.predicted(failed, separator.options)


def _separate_files(
    job: Job, files: Sequence[Path], output: Output, dark: NDArray[Any] | None, key: str | None
) -> dict[Path, OasisError]:
    """Separate the images of files, and return the errors of those that could not be used.

    Raises:
        ConfigError: a problem that affects all files.
    """
    failed: dict[Path, OasisError] = {}
    regional = regions_for(job, files) if job.window.kind == "regions" else None
    for path in files:
        if output.progress is not None:
            output.progress.begin_file()
        try:
            problem = separate_file(job, regional, path, key, dark, output)
        except ConfigError:
            raise
        except OasisError as error:
            problem = error if str(path) in str(error) else DataError(f"{path}: {error}")
        if problem is not None:
            failed[path] = problem
    if failed and len(failed) == len(files):
        return failed
    unused = regional.file.unused() if regional is not None and regional.file is not None else ""
    if unused:
        logger.warning(unused)
    return failed
