"""Inference: read images from files and folders, separate them, write the maps."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.data.images import Images
from oasis.errors import ConfigError, DataError, OasisError
from oasis.evaluation.event_table import SPREAD, check_same_classes, check_spread, measure_maps
from oasis.evaluation.identity import CONFIGURATION, identified
from oasis.evaluation.symmetry import symmetry_spread
from oasis.io.arrays import SUFFIXES
from oasis.io.files import replace_when_whole
from oasis.io.hdf5 import append_rows, create_hdf5
from oasis.separator.separator import Separator

logger = logging.getLogger(__name__)

BATCH = 8  # images per forward pass
MASK = "mask"  # of the good pixels, in the output
MASKED = "masked_fraction"  # bad pixels as a share of those that the adapter calls visible

Writer = Callable[[Mapping[str, NDArray[Any]]], None]
COMPRESSION: Mapping[str, Any] = {"compression": "gzip", "compression_opts": 1}  # of what is written to HDF5


class Report(NamedTuple):
    """What a prediction over files came to.

    Attributes:
        images: how many were separated.
        failed: the files that could not be used, and why.
        objects: one row per image and class: `source`, `frame`, `class`, `intensity_predicted` and
            `overlap_fraction_predicted` over the good pixels that the adapter calls visible; `masked_fraction`
            where there are masks, `intensity_spread` if it was requested, and the positions that files state.
    """

    images: int
    failed: Mapping[Path, OasisError]
    objects: pd.DataFrame


def image_files(
    source: str | Path, suffixes: Sequence[str] = SUFFIXES, without: Sequence[Path] = ()
) -> list[Path]:
    """Return the image files that a path stands for: itself, or those in a folder with a known suffix, by name.

    Args:
        source: a file or a folder.
        suffixes: of image files.
        without: files of a folder that are no images, such as the results of an earlier prediction.

    Raises:
        DataError: nothing there.
    """
    source = Path(source)
    if not source.is_dir():
        return [source]
    results = {path.resolve() for path in without}
    found = (path for path in source.iterdir() if path.name.lower().endswith(tuple(suffixes)))
    files = sorted(path for path in found if path.resolve() not in results)
    if not files:
        raise DataError(f"{source}: no image files in this folder; expected {', '.join(suffixes)}")
    return files


def predict(
    separator: Separator,
    adapter: Adapter,
    source: str | Path,
    out: str | Path,
    dark: NDArray[Any] | None = None,
    key: str | None = None,
    spread: bool = False,
    refine: bool = False,
) -> Report:
    """Separate every image of a file or folder and write the maps to an HDF5 or `.npz` file.

    The output holds `maps/<class>` (n, B, *S), `source` and `frame` of every image, and as attributes the classes,
    the unit and the identity of the run. Where an adapter reads masks, good pixels are there as `mask` (n, 1, *S):
    bad ones have no influence on the maps and are not counted in the intensities. A file that cannot be used is
    reported and left out; the rest goes on.
    What can be said of the objects goes into the report, for `Calibration.intervals` to add to.

    Args:
        separator: to be applied.
        adapter: reads the files.
        source: a file or a folder.
        out: `.h5`, `.hdf5` or `.npz`; it appears when it is whole.
        dark: a dark frame to subtract.
        key: the array in `.npz` and HDF5 files.
        spread: also write the standard deviation of every pixel over the symmetries of the image, as
            `spread/<class>`, which takes a pass for each.
        refine: also give the columns of the adapter's `refine`.

    Raises:
        ConfigError: `spread` or `refine` where the adapter has none.
        DataError: an output of another kind, a place that cannot be written to, or no image that could be used.
    """
    out = Path(out)
    if out.suffix.lower() not in (".h5", ".hdf5", ".npz"):
        raise DataError(f"{out}: unknown kind of output; expected .h5, .hdf5 or .npz")
    check_same_classes(separator, adapter)
    if spread:
        check_spread(adapter)
    failed: dict[Path, OasisError] = {}
    with replace_when_whole(out) as temporary:
        with _writer(temporary, out.suffix.lower(), separator) as write:
            output = _Output(write)
            for path in image_files(source, adapter.suffixes, without=(out, out.with_suffix(".csv"))):
                try:
                    images = _read(adapter, path, key, dark)
                    output.check_size(images)
                    _warn_of_size(separator, images.image.shape[2:], path)
                    arrays, rows = _separated_file(separator, adapter, images, spread, refine)
                except ConfigError:
                    raise
                except OasisError as error:
                    failed[path] = error if str(path) in str(error) else DataError(f"{path}: {error}")
                    continue
                output.add(path, images, arrays, rows)
        if not output.count:
            raise next(iter(failed.values()))
    table = identified(output.table(), separator.options.identity.get(CONFIGURATION), separator.options.unit)
    return Report(output.count, failed, table)


class _Output:
    """What was written so far.

    Args:
        write: appends arrays by name.
    """

    def __init__(self, write: Writer) -> None:
        self.write = write
        self.count = 0
        self.size: tuple[int, ...] | None = None
        self.masked = False
        self.rows: list[pd.DataFrame] = []

    def check_size(self, images: Images) -> None:
        """Check that images have the size of those before.

        Raises:
            DataError: they do not.
        """
        size = images.image.shape[2:]
        if self.size is not None and size != self.size:
            found, expected = (" x ".join(map(str, each)) for each in (size, self.size))
            raise DataError(
                f"images are {found} pixels, earlier ones were {expected}: write each size to its own output file"
            )

    def add(self, path: Path, images: Images, arrays: dict[str, NDArray[Any]], rows: pd.DataFrame) -> None:
        """Append the images of a file."""
        self.size = images.image.shape[2:]
        if images.mask is not None and not self.masked:
            self.masked = True
            for start in range(0, self.count, BATCH):  # of the images before, which had no mask
                self.write({MASK: np.ones((min(BATCH, self.count - start), 1, *self.size), bool)})
        if self.masked:
            arrays = {**arrays, MASK: _good(images)}
        self.write({**arrays, "source": np.full(len(images), str(path)), "frame": np.arange(len(images))})
        rows.insert(0, "source", str(path))
        rows.insert(1, "frame", np.repeat(np.arange(len(images)), len(rows) // len(images)))
        self.rows.append(rows)
        self.count += len(images)

    def table(self) -> pd.DataFrame:
        """Return one row per image and class."""
        table = pd.concat(self.rows, ignore_index=True)
        return table.fillna({MASKED: 0.0}) if self.masked else table


def _read(adapter: Adapter, path: Path, key: str | None, dark: NDArray[Any] | None) -> Images:
    """Read a file through its adapter.

    Raises:
        DataError: images or a context of another shape than the domain's.
    """
    images = adapter.read(path, key, dark)
    shape = images.image.shape
    if len(shape) != adapter.spatial_dims + 2 or shape[1] != adapter.bands:
        raise DataError(
            f"{path}: the adapter read images of shape {shape}, expected (n, {adapter.bands}, *spatial) with "
            f"{adapter.spatial_dims} spatial axes"
        )
    found = 0 if images.context is None else images.context.shape[1]
    if found != adapter.context:
        raise DataError(f"{path}: a context of {found} channels, expected {adapter.context} for these images")
    return images


def _separated_file(
    separator: Separator, adapter: Adapter, images: Images, spread: bool, refine: bool
) -> tuple[dict[str, NDArray[Any]], pd.DataFrame]:
    """Return arrays by their place in the output, and the rows of the objects, of the images of a file."""
    parts = [
        _separated(separator, adapter, images.part(slice(start, start + BATCH)), spread, refine)
        for start in range(0, len(images), BATCH)
    ]
    arrays = {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]}
    rows = pd.concat([part[1] for part in parts], ignore_index=True)
    positions = {name: np.repeat(column, len(separator.classes)) for name, column in images.position.items()}
    return arrays, rows.assign(**positions)


def _separated(
    separator: Separator, adapter: Adapter, images: Images, spread: bool, refine: bool
) -> tuple[dict[str, NDArray[Any]], pd.DataFrame]:
    """Return arrays by their place in the output, and the rows of the objects."""
    image, context = images.filled(), images.context
    prediction = separator.predict(image, context)
    maps = prediction.maps.cpu().numpy()
    numbers = {name: values.cpu().numpy() for name, values in separator.columns(prediction).items()}
    visible = adapter.visible(image)
    valid = torch.from_numpy(visible & _good(images))
    measured = {**measure_maps(torch.from_numpy(maps), valid, adapter)}
    arrays = {f"maps/{name}": maps[:, label] for label, name in enumerate(separator.classes)}
    if spread:
        extra = None if context is None else torch.from_numpy(context)
        found = symmetry_spread(separator, torch.from_numpy(image), valid, extra)
        arrays |= {f"spread/{name}": found.std[:, i].cpu().numpy() for i, name in enumerate(separator.classes)}
        measured[SPREAD] = found.intensity_std
    if refine:
        numbers = {**numbers, **adapter.refine(image, context, maps, numbers)}
    columns = {name: values.cpu().numpy().reshape(-1) for name, values in measured.items()}
    columns |= {name: np.reshape(values, -1) for name, values in numbers.items()}
    if images.mask is not None:
        columns[MASKED] = np.repeat(_share(~images.mask & visible, visible), len(separator.classes))
    return arrays, pd.DataFrame({"class": list(separator.classes) * len(images), **columns})


def _good(images: Images) -> NDArray[np.bool_]:
    """Return the good pixels (n, 1, *S)."""
    shape = len(images), 1, *images.image.shape[2:]
    return np.ones(shape, bool) if images.mask is None else images.mask


def _share(part: NDArray[np.bool_], whole: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return which share of the pixels of each image is in a part of them, (n,)."""
    inside, of = (values.reshape(len(values), -1).sum(axis=1) for values in (part, whole))
    return np.asarray(inside / np.maximum(of, 1))


def _warn_of_size(separator: Separator, size: tuple[int, ...], path: Path) -> None:
    trained = separator.options.trained_size
    if trained is not None and size != trained and separator.sees_whole_frame:
        logger.warning(
            "%s: images of %s, but the model was trained on %s and sees the whole frame: intensities will be off; "
            "give images of that size, or train a model that does not, such as unet with model.norm=batch",
            path,
            " x ".join(map(str, size)),
            " x ".join(map(str, trained)),
        )


def _facts(separator: Separator) -> dict[str, str]:
    options = separator.options
    return {
        "classes": json.dumps(list(options.classes)),
        "unit": options.unit,
        "identity": json.dumps(options.identity),
    }


@contextmanager
def _writer(path: Path, suffix: str, separator: Separator) -> Iterator[Writer]:
    """Give a function that appends arrays by name; HDF5 grows on disk, `.npz` is written at the end."""
    if suffix == ".npz":
        parts: dict[str, list[NDArray[Any]]] = {}

        def collect(arrays: Mapping[str, NDArray[Any]]) -> None:
            for name, values in arrays.items():
                parts.setdefault(name.removeprefix("maps/"), []).append(values)

        yield collect
        if parts:
            facts = {name: np.array(value) for name, value in _facts(separator).items()}
            arrays: Any = {name: np.concatenate(part) for name, part in parts.items()}
            with path.open("wb") as file:
                np.savez_compressed(file, **arrays | facts)
        return
    with create_hdf5(path) as file:
        file.attrs.update(_facts(separator))

        def append(arrays: Mapping[str, NDArray[Any]]) -> None:
            for name, values in arrays.items():
                if values.dtype.kind == "U":
                    values = np.array([text.encode() for text in values], dtype=h5py.string_dtype())
                append_rows(file, name, values, **COMPRESSION)

        yield append
