"""Inference: read images from files and folders, separate them, write the maps."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
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
COMPRESSION: Mapping[str, Any] = {"compression": "gzip", "compression_opts": 1}  # of what is written to HDF5


class Report(NamedTuple):
    """What a prediction over files came to.

    Attributes:
        images: how many were separated.
        failed: the files that could not be used, and why.
        objects: one row per image and class: `source`, `frame`, `class`, `intensity_predicted` and
            `overlap_fraction_predicted` over the pixels that the adapter calls visible, and `intensity_spread` if
            it was asked for.
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
    the unit and the identity of the run. A file that cannot be used is reported and left out; the rest goes on.
    What can be said of the objects goes into the report, for `Calibration.intervals` to add to.

    Args:
        separator: to be applied.
        adapter: prepares what the files hold.
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
    count = 0
    objects: list[pd.DataFrame] = []
    size: tuple[int, ...] | None = None
    with replace_when_whole(out) as temporary:
        with _writer(temporary, out.suffix.lower(), separator) as write:
            for path in image_files(source, adapter.suffixes, without=(out, out.with_suffix(".csv"))):
                try:
                    images = adapter.prepare(adapter.read(path, key), dark)
                    context = _context(adapter, path, images)
                    _check_size(images.shape[2:], size)
                    _warn_of_size(separator, images.shape[2:], path)
                    parts = []
                    for part in (slice(start, start + BATCH) for start in range(0, len(images), BATCH)):
                        extra = None if context is None else context[part]
                        parts.append(_separated(separator, adapter, images[part], extra, spread, refine))
                except ConfigError:
                    raise
                except OasisError as error:
                    located = error if str(path) in str(error) else DataError(f"{path}: {error}")
                    failed[path] = located
                    continue
                write(path, {name: np.concatenate([part[0][name] for part in parts]) for name in parts[0][0]})
                rows = pd.concat([part[1] for part in parts], ignore_index=True)
                rows.insert(0, "source", str(path))
                rows.insert(1, "frame", np.repeat(np.arange(len(images)), len(separator.classes)))
                objects.append(rows)
                size = images.shape[2:]
                count += len(images)
        if not count:
            raise next(iter(failed.values()))
    table = pd.concat(objects, ignore_index=True)
    table = identified(table, separator.options.identity.get(CONFIGURATION), separator.options.unit)
    return Report(count, failed, table)


def _separated(
    separator: Separator,
    adapter: Adapter,
    images: NDArray[np.float32],
    context: NDArray[np.float32] | None,
    spread: bool,
    refine: bool,
) -> tuple[dict[str, NDArray[np.float32]], pd.DataFrame]:
    """Return arrays by their place in the output, and the rows of the objects."""
    prediction = separator.predict(images, context)
    maps = prediction.maps.cpu().numpy()
    numbers = {name: values.cpu().numpy() for name, values in separator.columns(prediction).items()}
    valid = torch.from_numpy(adapter.visible(images))
    measured = {**measure_maps(torch.from_numpy(maps), valid, adapter)}
    arrays = {f"maps/{name}": maps[:, label] for label, name in enumerate(separator.classes)}
    if spread:
        found = symmetry_spread(
            separator, torch.from_numpy(images), valid, None if context is None else torch.from_numpy(context)
        )
        arrays |= {f"spread/{name}": found.std[:, i].cpu().numpy() for i, name in enumerate(separator.classes)}
        measured[SPREAD] = found.intensity_std
    if refine:
        numbers = {**numbers, **adapter.refine(images, context, maps, numbers)}
    columns = {name: values.cpu().numpy().reshape(-1) for name, values in measured.items()}
    columns |= {name: np.reshape(values, -1) for name, values in numbers.items()}
    return arrays, pd.DataFrame({"class": list(separator.classes) * len(images), **columns})


def _context(adapter: Adapter, path: Path, images: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the context (n, C, *S) of the images of a file, None where the domain has none.

    Raises:
        DataError: a context of another shape.
    """
    context = adapter.read_context(path)
    expected = (len(images), adapter.context, *images.shape[2:])
    if context is not None and context.shape != expected:
        raise DataError(f"{path}: a context of shape {context.shape}, expected {expected} for these images")
    return context


def _check_size(size: tuple[int, ...], first: tuple[int, ...] | None) -> None:
    if first is not None and size != first:
        found, expected = (" x ".join(map(str, each)) for each in (size, first))
        raise DataError(
            f"images of {found} pixels, but those before of {expected}: give each size an output of its own"
        )


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
def _writer(path: Path, suffix: str, separator: Separator) -> Iterator[Any]:
    """Give a function that appends the maps of one file; HDF5 grows on disk, `.npz` is written at the end."""
    if suffix == ".npz":
        parts: dict[str, list[NDArray[Any]]] = {}

        def collect(source: Path, maps: Mapping[str, NDArray[Any]]) -> None:
            count = len(next(iter(maps.values())))
            columns = {"source": np.full(count, str(source)), "frame": np.arange(count)}
            for name, values in {**maps, **columns}.items():
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

        def append(source: Path, maps: Mapping[str, NDArray[Any]]) -> None:
            count = len(next(iter(maps.values())))
            for name, values in maps.items():
                append_rows(file, name, values, **COMPRESSION)
            names = np.array([str(source).encode()] * count, dtype=h5py.string_dtype())
            append_rows(file, "source", names, **COMPRESSION)
            append_rows(file, "frame", np.arange(count), **COMPRESSION)

        yield append
