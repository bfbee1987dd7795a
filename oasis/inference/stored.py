"""Stored predictions: zarr stores that are written unit by unit, and continued where they were interrupted."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.errors import ConfigError, DataError, OasisError
from oasis.inference.blockwise import Blockwise, gather
from oasis.inference.failures import none_usable
from oasis.inference.job import Job
from oasis.inference.memory import CHUNK
from oasis.inference.output import MASK, check_same_size
from oasis.inference.pixels import PixelSize, common, stated_size
from oasis.inference.plan import Plan, Planned, Unit, stage_progress
from oasis.inference.predicted import Predicted
from oasis.inference.reader import Reader, Shape
from oasis.inference.regional import Regional, regions_for
from oasis.inference.regional_parts import BLOCK, needs_parts
from oasis.inference.regions import check_fits
from oasis.inference.sources import left_out
from oasis.inference.tiled import needs_tiles, tiling_of
from oasis.inference.windows import Tiling
from oasis.inference.zarr_store import FORMAT, MapStore, held, open_store, writing
from oasis.io.outputs import paths_in
from oasis.separator.separator import Separator

Runner = Callable[[Blockwise, Sequence[Unit]], None]

SMALL: Final = 2**20  # pixels of an image that is one chunk
TOGETHER: Final = 2**22  # values of all maps in a unit of whole images
MOST_TOGETHER: Final = 64  # images


def one_by_one(blockwise: Blockwise, units: Sequence[Unit]) -> None:
    """Process units in this process."""
    with stage_progress(units) as progress:
        for unit in units:
            blockwise.process(unit)
            progress.advance(unit.parts)


def predict_stored(
    job: Job,
    files: Sequence[Path],
    out: Path,
    dark: NDArray[Any] | None = None,
    key: str | None = None,
    replace: bool = False,
    runner: Runner = one_by_one,
) -> Predicted:
    """Separate the images of files and write the maps to a zarr store; units that are complete stay.

    Args:
        job: the processing of every image.
        files: the files.
        out: the store.
        dark: a dark frame to subtract.
        key: the array in files with several.
        replace: replace a store of another run, other files or other options.
        runner: processes units.

    Raises:
        BusyError: another process is writing to the store.
        DataError: the store is another one and not to be replaced, or no image could be used.
    """
    facts = facts_of_call(job, files, dark, key)
    reader = Reader(job.adapter, key, dark)
    try:
        with held(out):
            store = open_store(out, facts, replace)
            if store is None:
                plan = _plan(job, files, reader)
                store = _created(job, out, {**facts, "plan": plan.model_dump(mode="json")}, plan)
            plan = Plan.parse(store.facts["plan"])
            blockwise, done = Blockwise(job, store, plan, reader), store.done()
            for stage in plan.stages():
                runner(blockwise, [unit for unit in stage if unit.name not in done])
            found = _gathered(job, store, plan, reader)
            if not found.images:
                shutil.rmtree(out)
                raise none_usable(found.failed)
            store.complete()
    finally:
        reader.close()
    return found


def _gathered(job: Job, store: MapStore, plan: Plan, reader: Reader) -> Predicted:
    """Return the result, as the records of all units state it."""
    output, problems = gather(job, store, plan, reader.large)
    failed: dict[Path, OasisError] = {Path(path): DataError(why) for path, why in plan.failed.items()}
    counts = {file.path: file.images for file in plan.files}
    for path, found in problems.items():
        error = left_out(Path(path), found, counts[path])
        if error is not None:
            failed[Path(path)] = error
    return output.predicted(failed, job.separator.options)


def facts_of_call(
    job: Job, files: Sequence[Path], dark: NDArray[Any] | None = None, key: str | None = None
) -> dict[str, Any]:
    """Return all that determines the maps: the run, the files, and the options."""
    window, adapter = job.window, job.adapter
    options = {
        "window": window.model_dump(mode="json", exclude={"memory"}),
        "regions": None if window.file is None else _stamp(Path(window.file)),
        "grouping": {name: one.model_dump(mode="json") for name, one in job.grouping.items()},
        "data": [type(adapter).__name__, adapter.options.model_dump(mode="json"), adapter.limits],
        "dark": None if dark is None else hashlib.sha256(np.ascontiguousarray(dark).tobytes()).hexdigest(),
        "also": [key, job.spread, job.refine],
        "named": [_stamp(path) for path in paths_in(adapter.options.model_dump(mode="json")) if path.is_file()],
    }
    run = [job.separator.options.identity, _digest(job.separator)]
    read = [_stamp(one) for path in files for one in _together(adapter, path)]
    facts = {"format": FORMAT, "run": run, "files": read, "options": options}
    plain: dict[str, Any] = json.loads(json.dumps(facts, default=str))
    return plain


def _together(adapter: Adapter[Any], path: Path) -> list[Path]:
    with suppress(OasisError):  # its reader says why
        return adapter.together(path)
    return [path]


def _stamp(path: Path) -> list[Any]:
    """Return what tells a file, or a folder with all files below it, from a changed one."""
    try:
        found = os.stat(path)
        inside = _inside(path) if path.is_dir() else ""
    except (OSError, ValueError):
        return [os.path.abspath(path), None, None]
    return [os.path.abspath(path), found.st_size, found.st_mtime_ns, *([inside] if inside else [])]


def _inside(folder: Path) -> str:
    """Return the SHA-256 of names, sizes and times of all files below a folder, such as a zarr store of images."""
    found = hashlib.sha256()
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            at = os.stat(path := os.path.join(parent, name), follow_symlinks=False)
            found.update(f"{os.fsencode(path)!r} {at.st_size} {at.st_mtime_ns}\n".encode())
    return found.hexdigest()


def _digest(separator: Separator) -> str:
    """Return the SHA-256 of all weights."""
    found = hashlib.sha256()
    for name, values in sorted(separator.state_dict().items()):
        found.update(name.encode())
        found.update(values.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _plan(job: Job, files: Sequence[Path], reader: Reader) -> Plan:
    """Divide the images of files.

    Raises:
        ConfigError: a problem that affects all files.
        DataError: no file can be used.
    """
    kind = job.window.kind
    chosen = {None: needs_tiles, "tiles": lambda *given: True, "regions": needs_parts}.get(kind)
    by_blocks = chosen is not None and any(_is_too_large(chosen, job, path, reader.key) for path in files)
    regional = None
    if kind == "regions":
        regional = regions_for(job, files)
        job.choice.check  # noqa: B018  measured now, not by every process
    known: dict[Path, Shape] = {}
    failed: dict[str, str] = {}
    size: tuple[int, ...] | None = None
    for path in files:
        try:
            shape = _large_shape(reader, path) if by_blocks else reader.shape(path)
            check_same_size(shape.size, size)
            if regional is None:
                job.choice.check_size(shape.size, path)
            elif by_blocks:
                _check_regions(regional, path, shape)
        except ConfigError:
            raise
        except OasisError as error:
            failed[str(path)] = str(error) if str(path) in str(error) else f"{path}: {error}"
            continue
        size, known[path] = shape.size, shape
    if size is None:
        raise none_usable({Path(path): DataError(text) for path, text in failed.items()})
    if regional is not None and regional.file is not None and not by_blocks:
        regional.file.check_frames({path: shape.images for path, shape in known.items()})
    return _divided(job, size, known, failed, by_blocks)


def _check_regions(regional: Regional, path: Path, shape: Shape) -> None:
    """Check that windows fit into images, and that some regions of a file lie in them."""
    check_fits(regional.trained, shape.size)
    if regional.file is not None:
        given = [regional.file.of(path, index, shape.size, regional.trained) for index in range(shape.images)]
        usable = [regional.usable(regions, shape.size) for regions in given]
        regional.check_given(path, sum(map(len, given)), sum(map(len, usable)), shape.size)


def _is_too_large(by: Callable[[Job, Path, str | None], bool], job: Job, path: Path, key: str | None) -> bool:
    try:
        return by(job, path, key)
    except DataError:
        return False  # its reader says why


def _large_shape(reader: Reader, path: Path) -> Shape:
    images = reader.large(path)
    pixel = stated_size(reader.adapter, path, reader.key)
    return Shape(images.shape[0], images.shape[2:], images.masked, pixel)


def _divided(
    job: Job, size: tuple[int, ...], known: Mapping[Path, Shape], failed: dict[str, str], by_blocks: bool
) -> Plan:
    files, first = [], 0
    for path, shape in known.items():
        files.append(Planned(path=str(path), images=shape.images, first=first))
        first += shape.images
    bands, most = job.adapter.bands, CHUNK[len(size)]
    masked = any(shape.masked for shape in known.values())
    pixel = common([shape.pixel for shape in known.values()])
    plan = Plan(size=size, bands=bands, files=tuple(files), failed=failed, masked=masked, chunk=size)
    plan = plan.model_copy(update={"pixel_size": pixel.size, "pixel_unit": pixel.unit})
    if by_blocks:
        regional = job.window.kind == "regions"
        dims = len(size)
        tiling = Tiling((BLOCK[dims],) * dims, (0,) * dims) if regional else tiling_of(job, size)
        core = tuple(min(pair) for pair in zip(tiling.core, size, strict=True))
        chunk = tuple(_chunk(length, most) for length in core)
        finding = regional and job.window.regions is None
        found = {"core": core, "halo": tiling.halo, "chunk": chunk, "regional": regional, "finding": finding}
        return plan.model_copy(update=found)
    if prod(size) > SMALL:
        return plan.model_copy(update={"chunk": tuple(min(length, most) for length in size)})
    together = TOGETHER // (len(job.separator.classes) * bands * prod(size))
    return plan.model_copy(update={"together": max(min(together, MOST_TOGETHER, first), 1)})


def _chunk(length: int, most: int) -> int:
    """Return the length of a chunk that divides that of a block.

    Example:
        >>> _chunk(2048, 256), _chunk(300, 256), _chunk(40, 256), _chunk(509, 256)
        (256, 150, 40, 509)
    """
    least = -(-length // most)
    return next((length // parts for parts in range(least, 4 * least) if length % parts == 0), length)


def _created(job: Job, out: Path, facts: Mapping[str, Any], plan: Plan) -> MapStore:
    """Create the store under another name, and rename it when all arrays are there."""
    options = job.separator.options
    attributes = {
        "classes": list(options.classes),
        "unit": options.unit,
        "identity": options.identity,
        "files": [file.path.encode(errors="backslashreplace").decode() for file in plan.files],
        "complete": False,
    }
    if job.adapter.band_names:
        attributes["bands"] = list(job.adapter.band_names)
    with writing(out):
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        store = MapStore.create(temporary / out.name, facts, attributes)
        names = [f"maps/{name}" for name in options.classes]
        names += [f"spread/{name}" for name in options.classes] if job.spread else []
        for name in names:
            _add(store, name, plan, plan.bands)
        if plan.masked:
            _add(store, MASK, plan, 1)
        store.add_column("file", np.repeat(np.arange(len(plan.files)), [file.images for file in plan.files]))
        store.add_column("frame", np.concatenate([np.arange(file.images) for file in plan.files]))
        with writing(out):
            os.rename(temporary / out.name, out)
    except DataError as error:
        raise DataError(str(error).replace(str(temporary / out.name), str(out))) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return MapStore(out)


def _add(store: MapStore, name: str, plan: Plan, bands: int) -> None:
    shape = (plan.images, bands, *plan.size)
    shard = (plan.together, bands, *plan.size) if plan.together > 1 else None
    pixel = PixelSize(plan.pixel_size, plan.pixel_unit)
    store.add_maps(name, shape, (1, bands, *plan.chunk), shard, True if name == MASK else np.nan, pixel)
