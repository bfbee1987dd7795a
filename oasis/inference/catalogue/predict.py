"""The catalogue of the objects in files: detected, or at given positions, separated, merged and measured."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from oasis.adapters.base import Adapter, Blocks, Sky
from oasis.adapters.sources import Column, Sources
from oasis.data.images import Images
from oasis.device import return_freed_memory
from oasis.errors import ConfigError, DataError, OasisError
from oasis.inference.catalogue.cutouts import Cutouts
from oasis.inference.catalogue.merging import Merging
from oasis.inference.catalogue.windows import cores, is_within, widened
from oasis.inference.destinations import images_of
from oasis.inference.failures import none_usable
from oasis.inference.options import WindowOptions
from oasis.inference.reader import Opened, Reader
from oasis.inference.region_files import read_regions
from oasis.inference.sources import left_out, problem, say_doubt
from oasis.inference.windows import Place
from oasis.io.catalogues import check_writable, write_catalogue
from oasis.io.ds9 import write_circles
from oasis.io.files import readable, replace_alone
from oasis.io.folders import say_left_below
from oasis.io.hdf5 import spooled_hdf5
from oasis.separator.separator import Separator
from oasis.stats.robust import median_and_noise

APART = 2.5  # pixels: what is left of an object within this distance of it is not another one
RADIUS = 2.0  # of a circle around an object without a size of its own
AROUND = 3  # windows that a block is read beyond its core on every side: nothing beyond changes the core's objects
SAMPLED = 2**20  # pixels of which the noise of an image is measured

ENDS = {
    "calibrated": "corrected for the bias on simulated validation samples",
    "low": "lower end of its interval",
    "high": "upper end of its interval",
}

logger = logging.getLogger(__name__)


class Listed(NamedTuple):
    """A catalogue that was written.

    Attributes:
        table: a row for every object.
        images: the number of images.
        failed: the files that could not be used, and why.
    """

    table: pd.DataFrame
    images: int
    failed: dict[Path, OasisError]


def catalogue_files(out: Path, cutouts: bool) -> dict[str, Path]:
    """Return the files of a catalogue: the table, the regions of DS9, and the maps of single objects if wanted.

    Example:
        >>> [path.name for path in catalogue_files(Path("sky.parquet"), cutouts=True).values()]
        ['sky.parquet', 'sky.reg', 'sky_cutouts.fits']
    """
    files = {"table": out, "regions": out.with_suffix(".reg")}
    return files | ({"cutouts": out.with_name(f"{out.stem}_cutouts.fits")} if cutouts else {})


class Lister:
    """Lists the objects in images.

    Args:
        separator: the separator to apply.
        adapter: the adapter, which reads the files, detects objects and measures them.
        window: the detector, or the file of positions.
        folder: where maps are kept until they are merged.

    Raises:
        ConfigError: objects cannot be listed in this domain, or nothing says where they are.
    """

    def __init__(self, separator: Separator, adapter: Adapter[Any], window: WindowOptions, folder: Path) -> None:
        self.separator, self.adapter, self.folder = separator, adapter, folder
        if not adapter.centred:
            raise ConfigError(
                "a catalogue lists the objects in the middle of windows, for which this domain has no class: "
                "write maps and their table instead, with an output .h5"
            )
        if separator.options.trained_size is None:
            raise ConfigError("the separator does not state the size that it was trained on: train it again")
        self.lengths = separator.options.trained_size
        self.detector = window.detect or next(iter(adapter.detectors), None)
        self.file = None
        if window.regions is not None:
            self.file = read_regions(window.regions, len(self.lengths), adapter.to_pixels, adapter.as_regions)
        elif self.detector is None:
            raise ConfigError("detect: this adapter detects no objects: name a file of positions")

    def of(
        self, path: Path, frame: int, image: Blocks, sky: Sky | None
    ) -> Iterator[tuple[Sources, dict[str, Any]]]:
        """Yield the objects of one image, some at a time, with the columns of their rows.

        Each part of the image is separated with its surroundings, as far as these influence its objects.

        Raises:
            DataError: the image cannot be used.
        """
        given, said = self._given(path, frame, image.size), isinstance(image, Whole)  # when it was read
        for core in cores(image.size):
            place = widened(core, [AROUND * length for length in self.lengths], image.size)
            part = image.read(place)
            if not said:
                say_doubt(self.adapter, path, part)
                said = True
            yield from self._of_part(path, frame, part, core, place, given, sky)

    def _of_part(
        self,
        path: Path,
        frame: int,
        images: Images,
        core: Place,
        place: Place,
        given: "Given | None",
        sky: Sky | None,
    ) -> Iterator[tuple[Sources, dict[str, Any]]]:
        """Yield the objects in the core of a block that was read."""
        found = problem(images, 0)
        if found:
            raise DataError(f"{path}: {found}")
        if images.background is None:
            images = images.replace(background=background_of(images)[None])
        first = np.array([part.start for part in place])
        columns: dict[str, NDArray[Any]] = {}
        if given is None:
            places = self._detected(images)
        else:
            near = is_within(given.places, place)
            places, columns = given.places[near] - first, {name: one[near] for name, one in given.columns.items()}
        classes = [self.separator.classes.index(name) for name in self.adapter.centred]
        with spooled_hdf5(self.folder) as (store, check):
            merging = Merging(self.separator, images, classes, self.lengths, store)
            merging.add(places)
            kept = merging.merge(keep=given is not None)
            if given is None:
                hidden = self._hidden(merging)
                merging.add(hidden)
                kept = merging.merge() if len(hidden) else kept
            check()
            listed = is_within((merging.places if given is None else places) + first, core)
            listed = listed[kept] if given is None else listed
            self._warn_of_repeated(path, kept[listed])
            kept, columns = kept[listed], {name: values[listed] for name, values in columns.items()}
            assert images.background is not None
            done = 0
            for sources in merging.sources(kept, images.background[0, 1]):
                rows = slice(done, done + len(sources))
                done += len(sources)
                moved = replace(sources, places=sources.places + first, starts=sources.starts + first)
                yield self._measured(
                    moved, path, frame, sky, {name: values[rows] for name, values in columns.items()}
                )

    def _warn_of_repeated(self, path: Path, shown: NDArray[np.intp]) -> None:
        repeated = len(shown) - len(np.unique(shown))
        if repeated:
            logger.warning(
                "%s: %d of %d positions show the object of another one: its values are repeated",
                path,
                repeated,
                len(shown),
            )

    def _hidden(self, merging: Merging) -> NDArray[np.float64]:
        """Return the places of objects that are detected once the light of the others is subtracted."""
        if not len(merging.places):
            return merging.places
        found = self._detected(merging.residual())
        return found[cKDTree(merging.places).query(found)[0] > APART] if len(found) else found

    def _detected(self, images: Images) -> NDArray[np.float64]:
        assert self.detector is not None
        found = np.asarray(self.adapter.detect(images, self.detector), np.float64)
        return found.reshape(-1, len(self.lengths))

    def _measured(
        self, sources: Sources, path: Path, frame: int, sky: Sky | None, given: dict[str, NDArray[Any]]
    ) -> tuple[Sources, dict[str, Any]]:
        sources = replace(sources, path=path)
        centroids = sources.centroids()
        columns: dict[str, Any] = {
            "source": Column(np.full(len(sources), readable(path.name)), "", "the image's file"),
            "frame": Column(np.full(len(sources), frame), "", "the number of the image in its file"),
        }
        if sky is not None:
            ra, dec = sky.to_sky(centroids).T
            columns["ra"] = Column(ra, "deg", "right ascension of the centroid of the map")
            columns["dec"] = Column(dec, "deg", "declination of the centroid of the map")
        for axis, values in zip("zyx"[-centroids.shape[1] :], centroids.T, strict=True):
            columns[axis] = Column(values, "pix", f"centroid of the map along {axis}, pixels from 0")
        columns |= {name: Column(values, "", "of the given position") for name, values in given.items()}
        return sources, columns | dict(self.adapter.catalogue(sources))

    def _given(self, path: Path, frame: int, size: tuple[int, ...]) -> "Given | None":
        """Return the positions of objects and further columns that their file gives, None if they are detected."""
        if self.file is None:
            return None
        regions = self.file.of(path, frame, size, self.lengths)
        middles = np.array([region.middle + 0.5 for region in regions]).reshape(-1, len(size))
        inside = ((middles >= 0) & (middles < np.array(size))).all(axis=1)
        if len(regions) and not inside.any():
            raise DataError(f"{path}: none of {len(regions)} positions is in this image")
        if not inside.all():
            left = len(regions) - int(inside.sum())
            logger.warning("%s: %d of %d positions are left out: outside of the image", path, left, len(regions))
        named = np.array([region.name for region in regions], str)[inside]
        return Given(middles[inside], {"name": named} if named.size and (named != "").any() else {})


class Given(NamedTuple):
    """Positions (k, axes) of objects that a file gives, pixels, and further columns of theirs."""

    places: NDArray[np.float64]
    columns: dict[str, NDArray[Any]]


class Whole(NamedTuple):
    """An image that was read as a whole, as one of which blocks are read."""

    images: Images

    @property
    def size(self) -> tuple[int, ...]:
        """Lengths of its spatial axes."""
        return self.images.image.shape[2:]

    def read(self, place: Sequence[slice]) -> Images:
        """Return a block; what is measured of the background is that of the whole image."""
        images = self.images
        if images.background is None:
            images = images.replace(background=background_of(images)[None])
        return (
            images
            if all(part == slice(0, n) for part, n in zip(place, self.size, strict=True))
            else images.cut(place)
        )


def background_of(images: Images) -> NDArray[np.float64]:
    """Return level and noise of an image by band (2, B): the median, and from the median absolute deviation."""
    image = images.image[0].reshape(images.image.shape[1], -1)
    good = np.ones(image.shape[1], bool) if images.mask is None else images.mask[0].reshape(-1)
    rows = np.flatnonzero(good)
    rows = rows[:: max(len(rows) // SAMPLED, 1)]
    if not len(rows):
        return np.full((2, len(image)), np.nan)
    return np.stack(median_and_noise(image[:, rows].astype(np.float64), axis=1))


def predict_catalogue(
    separator: Separator,
    adapter: Adapter[Any],
    source: str | Path,
    out: Path,
    window: WindowOptions,
    key: str | None = None,
    dark: NDArray[Any] | None = None,
    cutouts: bool = False,
    facts: dict[str, Any] | None = None,
    intervals: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
) -> Listed:
    """List the objects in the images of a file or folder.

    Args:
        separator: the separator to apply.
        adapter: the adapter, which reads the files, detects objects and measures them.
        source: a file or a folder; images may differ in size.
        out: `.fits`, `.ecsv` or `.parquet`; regions of DS9 are written beside it.
        window: the detector, or the file of positions.
        key: the array in `.npz` and HDF5 files.
        dark: a dark frame to subtract.
        cutouts: also write the map of every object.
        facts: what the catalogue states of the run.
        intervals: returns calibrated fluxes and their intervals for the rows of the catalogue.

    Raises:
        ConfigError: the domain has no objects to list, or none are found for want of a detector.
        DataError: the output cannot be written, or no image can be used.
    """
    check_writable(out)
    files = catalogue_files(out, cutouts)
    lister, reader, rows = (
        Lister(separator, adapter, window, out.parent),
        Reader(adapter, key, dark),
        CatalogueRows(),
    )
    paths = images_of(source, out, adapter.suffixes, adapter.leading)
    if lister.file is not None:
        lister.file.check_files(paths)
    with ExitStack() as stack:  # all files are replaced when all are whole
        parts = {name: stack.enter_context(replace_alone(path)) for name, path in files.items()}
        maps = Cutouts(parts["cutouts"], adapter.unit) if cutouts else None
        failed = {path: found for path in paths for found in [_listed(lister, reader, path, rows, maps)] if found}
        if not rows.images:
            raise none_usable(failed)
        table = rows.table() if intervals is None else rows.with_intervals(intervals)
        write_catalogue(table, out, rows.units, rows.descriptions, facts or {}, parts["table"])
        _write_circles(table, adapter.catalogue_radius, files["regions"], parts["regions"])
    unused = lister.file.unused() if lister.file is not None else ""
    if unused:
        logger.warning("%s", unused)
    say_left_below(source, adapter.suffixes, [out])
    return Listed(table, rows.images, failed)


def _write_circles(table: pd.DataFrame, radius: str, path: Path, temporary: Path) -> None:
    """Write a circle for each object, on the sky where that is known of some; then the others are left out."""
    on_sky = {"ra", "dec"} <= {*table}
    radii = np.full(len(table), RADIUS)
    if radius in table:
        known = table[radius].to_numpy(float)
        radii = np.where(np.isfinite(known), known, RADIUS)
    axes = ["ra", "dec"] if on_sky else ["y", "x"]
    places = table[axes].to_numpy(float)
    write_circles(path, places, radii, table["id"].astype(str).tolist(), on_sky, temporary)


class CatalogueRows:
    """The rows of a catalogue, some at a time; objects are numbered from 1."""

    def __init__(self) -> None:
        self.images, self.count = 0, 0
        self.units: dict[str, str] = {"id": ""}
        self.descriptions: dict[str, str] = {"id": "the number of the object, from 1"}
        self._parts: list[pd.DataFrame] = []

    def add(self, columns: Mapping[str, Column]) -> range:
        """Append rows, and return the numbers of their objects."""
        count = len(next(iter(columns.values())).values)
        numbers = range(self.count + 1, self.count + count + 1)
        self.units |= {name: one.unit for name, one in columns.items()}
        self.descriptions |= {name: one.description for name, one in columns.items()}
        self._parts.append(
            pd.DataFrame(
                {"id": np.array(numbers, np.int64), **{name: one.values for name, one in columns.items()}}
            )
        )
        self.count += count
        return numbers

    def table(self) -> pd.DataFrame:
        """Return all rows."""
        filled = [part for part in self._parts if len(part)] or self._parts[:1]
        return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame({"id": []})

    def with_intervals(self, intervals: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
        """Return all rows with calibrated fluxes: an estimate, and the ends of its interval, for each flux."""
        table = self.table()
        found = intervals(table)
        for name in map(str, found):
            flux, end = name.rsplit("_", 1)
            self.units[name] = self.units.get(flux, "")
            self.descriptions[name] = f"{flux}, {ENDS[end]}"
        return table.join(found)


def _listed(
    lister: Lister, reader: Reader, path: Path, rows: CatalogueRows, maps: Cutouts | None
) -> OasisError | None:
    """List the objects in the images of a file, and return why some could not be used."""
    problems, count = dict[int, str](), 0
    try:
        sky = lister.adapter.sky(path)
        for frame, total, read in _images_of(lister.adapter, reader, path):
            count = total
            try:
                for sources, columns in lister.of(path, frame, read(), sky):
                    numbers = rows.add(columns)
                    if maps is not None:
                        maps.add(sources, numbers, sky)
                    return_freed_memory()
            except DataError as error:
                problems[frame] = str(error).removeprefix(f"{path}: ")
            else:
                rows.images += 1
    except ConfigError:
        raise
    except OasisError as error:
        return error if str(path) in str(error) else DataError(f"{path}: {error}")
    return left_out(path, problems, count)


def _images_of(
    adapter: Adapter[Any], reader: Reader, path: Path
) -> Iterator[tuple[int, int, Callable[[], Blocks]]]:
    """Yield the number of every image of a file, how many there are, and what reads it: whole, or by blocks."""
    blocks = adapter.blocks(path) if reader.dark is None else None
    if blocks is not None and len(cores(blocks.size)) > 1:
        yield 0, 1, lambda: blocks
        return
    with reader.opened(path) as opened:
        for frame in range(opened.shape.images):
            yield frame, opened.shape.images, partial(_read_whole, opened, frame)


def _read_whole(opened: Opened, frame: int) -> Whole:
    return Whole(opened.part(frame, frame + 1))
