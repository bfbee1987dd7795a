"""The layout of a file of samples, checked when it is opened, without reading the data."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from oasis.data.sample_files.checks import FORMAT, OLD_FORMATS
from oasis.errors import DataError
from oasis.io.files import one_line
from oasis.regions import check_classes

NUMBERS = "iuf"
KINDS = {"iuf": "numbers", "iu": "integers", "u": "unsigned integers", "f": "floating-point numbers", "V": "rows"}
Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Facts:
    """The facts in a file about its samples.

    Attributes:
        classes: the N class names.
        unit: the unit of the intensities.
        shape: (B, *S) of every image.
        count: number of samples.
        attributes: further facts from the writer.
        is_old: whether the metadata are stored as columns in a group instead of rows.
    """

    classes: tuple[str, ...]
    unit: str
    shape: tuple[int, ...]
    count: int
    attributes: Mapping[str, Any]
    is_old: bool


def is_sample_file(file: h5py.File) -> bool:
    """Return whether a file declares itself as a file of samples."""
    found = file.attrs.get("format")
    return isinstance(found, str) and found in (FORMAT, *OLD_FORMATS)


def read_facts(file: h5py.File) -> Facts:
    """Return the facts in the attributes of a file.

    Raises:
        DataError: an attribute is missing or invalid.
    """
    classes, attributes = _json(file, "classes"), _json(file, "attributes")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise DataError("attribute 'classes': expected a list of names")
    if not isinstance(attributes, dict):
        raise DataError("attribute 'attributes': expected a mapping")
    shape, count = np.asarray(_attribute(file, "shape")), np.asarray(_attribute(file, "count"))
    if shape.ndim != 1 or shape.dtype.kind not in "iu" or len(shape) < 2 or shape.min() < 1:
        raise DataError(f"attribute 'shape': expected (bands, *spatial), found {str(shape)[:40]!r}")
    if count.ndim or count.dtype.kind not in "iu" or count < 1:
        raise DataError(f"attribute 'count': expected the number of samples, found {str(count)[:40]!r}")
    return Facts(
        check_classes(classes),
        _text(file, "unit"),
        tuple(shape.tolist()),
        int(count),
        attributes,
        file.attrs["format"] in OLD_FORMATS,
    )


def check_layout(file: h5py.File, facts: Facts) -> dict[str, NDArray[np.int64]]:
    """Check the types and shapes of the data sets of a file, and return the offsets of sparse maps.

    Raises:
        DataError: a data set is missing or has another type or shape.
    """
    count, spatial = facts.count, facts.shape[1:]
    data_set(file, "valid", "u", (count, -(-prod(spatial) // 8)))
    if "context" in file:
        data_set(file, "context", NUMBERS, (count, None, *spatial))
    if facts.is_old:
        _check_columns(file, count)
    else:
        _check_rows(data_set(file, "meta", "V", (count,)), "biufS")
    if "instances" in file:
        _check_instances(file, count)
    offsets = {}
    for name in ("image", *(f"target/{name}" for name in facts.classes)):
        if (found := _map_offsets(file, name, facts)) is not None:
            offsets[name] = found
    return offsets


def data_set(group: h5py.Group, name: str, kinds: str, shape: Shape) -> h5py.Dataset:
    """Return a data set after a check of its type and shape, where None is any length.

    Raises:
        DataError: it is missing or has another type or shape.
    """
    item = group.get(name)
    if not isinstance(item, h5py.Dataset):
        raise DataError(f"no data set {name!r}")
    fits = item.shape is not None and len(item.shape) == len(shape)
    if not fits or any(length not in (None, own) for length, own in zip(shape, item.shape, strict=True)):
        raise DataError(f"data set {name!r} has shape {item.shape}, expected {_worded(shape)}")
    if item.dtype.kind not in kinds or (item.dtype.kind == "V") != (item.dtype.names is not None):
        raise DataError(f"data set {name!r} is of type {str(item.dtype)[:40]}, expected {KINDS[kinds]}")
    return item


def _worded(shape: Shape) -> str:
    return f"({', '.join('any' if length is None else str(length) for length in shape)})"


def _map_offsets(file: h5py.File, name: str, facts: Facts) -> NDArray[np.int64] | None:
    """Return the offsets (n + 1,) of the sparse maps of a class or the image, or None if they are dense."""
    group = file.get(name)
    if not isinstance(group, h5py.Group):
        raise DataError(f"no group {name!r}")
    layout = _text(group, "layout")
    if layout == "dense":
        data_set(group, "values", NUMBERS, (facts.count, *facts.shape))
        return None
    if layout != "sparse":
        raise DataError(f"group {name!r}: unknown layout {layout[:40]!r}, expected dense or sparse")
    offsets = data_set(group, "offsets", "iu", (facts.count + 1,))[()].astype(np.int64)
    total = int(offsets[-1])
    if offsets[0] != 0 or (offsets[1:] < offsets[:-1]).any():
        raise DataError(f"group {name!r}: the offsets must begin with 0 and not decrease")
    if total or "values" in group:  # the first format left out empty data sets
        data_set(group, "indices", "iu", (total,))
        data_set(group, "values", NUMBERS, (total,))
    return np.asarray(offsets)


def _check_instances(file: h5py.File, count: int) -> None:
    group = file["instances"]
    if not isinstance(group, h5py.Group):
        raise DataError("'instances' is not a group")
    data_set(group, "offsets", "iu", (count + 1,))
    instances = len(data_set(group, "labels", "u", (None,)))
    data_set(group, "starts", "iu", (instances + 1,))
    pixels = data_set(group, "pixels", "iu", (None,))
    data_set(group, "values", "f", pixels.shape)
    if "table" in group:
        _check_rows(data_set(group, "table", "V", (instances,)), "f")


def _check_rows(rows: h5py.Dataset, kinds: str) -> None:
    for name in rows.dtype.names:
        if rows.dtype[name].kind not in kinds:
            raise DataError(f"data set {rows.name!r}: column {name!r} is of type {rows.dtype[name]}")


def _check_columns(file: h5py.File, count: int) -> None:
    group = file.get("meta", None)
    if group is None:
        return
    if not isinstance(group, h5py.Group):
        raise DataError("'meta' is not a group")
    names: list[str] = []
    group.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    for name in names:
        column = data_set(group, name, "biufSV", (count,))
        if column.dtype.kind == "V":
            raise DataError(f"data set {column.name!r}: expected a column of numbers or texts")


def _attribute(item: h5py.HLObject, name: str) -> Any:
    if name not in item.attrs:
        raise DataError(f"no attribute {name!r}")
    value = item.attrs[name]
    if isinstance(value, h5py.Empty):
        raise DataError(f"attribute {name!r} is empty")
    return value


def _text(item: h5py.HLObject, name: str) -> str:
    value = _attribute(item, name)
    value = value.decode() if isinstance(value, bytes) else value
    if not isinstance(value, str):
        raise DataError(f"attribute {name!r}: expected text, found {str(value)[:40]!r}")
    return value


def _json(item: h5py.HLObject, name: str) -> Any:
    try:
        return json.loads(_text(item, name))
    except (ValueError, RecursionError) as error:
        raise DataError(f"attribute {name!r} is not JSON: {one_line(error)}") from None
