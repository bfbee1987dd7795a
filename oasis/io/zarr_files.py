"""Zarr: arrays in folders that are read and written chunk by chunk, with the metadata of OME-Zarr 0.4 and 0.5."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oasis.errors import ConfigError, DataError, import_extra
from oasis.io.axes import AxisFacts, in_one_unit, letters_of
from oasis.io.containers import check_unscaled, chosen_name
from oasis.io.files import reading
from oasis.io.tiff import resolutions

ZARR: Final = ".zarr"
TIFF: Final = (".tif", ".tiff")
MICRONS: Final = {"micrometer": "µm", "micrometre": "µm"}
BROKEN: Final = "not a readable zarr array"


class Level(NamedTuple):
    """One resolution of an image.

    Attributes:
        path: of its array in the store.
        scale: the length of a pixel along every axis.
        units: of the scale, by axis; empty if unknown.
    """

    path: str
    scale: tuple[float, ...]
    units: tuple[str, ...]


def is_zarr(path: str | Path) -> bool:
    """Return whether a path is a zarr store, or leads into one.

    Example:
        >>> is_zarr("image.zarr"), is_zarr("image.ome.zarr/0"), is_zarr("image.tif")
        (True, True, False)
    """
    return any(part.lower().endswith(ZARR) for part in Path(path).parts) and not os.path.isfile(path)


def divided(path: str | Path) -> tuple[Path, str]:
    """Return the store of a path, and the place in it.

    Example:
        >>> store, place = divided("data/image.zarr/labels/0")
        >>> store.name, place
        ('image.zarr', 'labels/0')
    """
    parts = Path(path).parts
    last = next(place for place, part in enumerate(parts) if part.lower().endswith(ZARR))
    return Path(*parts[: last + 1]), "/".join(parts[last + 1 :])


def at_level(path: Path, level: int | None) -> tuple[Path, str]:
    """Return the path of one resolution of an image, and a description of the choice.

    Args:
        path: of a file of any format.
        level: 0 is the full resolution; by default the full one of several, as the description then says.

    Returns:
        The path unchanged and an empty text for an image of one resolution.

    Raises:
        ConfigError: a level of a file that does not have it.
        DataError: the store cannot be read.
    """
    if not is_zarr(path):
        several = path.suffix.lower() in TIFF and resolutions(path) > 1
        if level is not None and not several:
            raise ConfigError(
                f"{path}: level: this file holds one resolution, only OME-Zarr and TIFF hold several"
            )
        if level:
            raise ConfigError(
                f"{path}: level: of a TIFF file only the full resolution is read: convert it to OME-Zarr"
            )
        return path, f"{path}: the full one of {resolutions(path)} resolutions" if several else ""
    levels, _ = _levels(path)
    if level is not None and level >= len(levels):
        raise ConfigError(f"{path}: level: {level}, but the image has {max(len(levels), 1)} resolutions, from 0")
    if len(levels) < 2:
        return path, ""
    chosen = levels[level or 0]
    found = path / chosen.path
    size = " x ".join(map(str, open_zarr(found).shape))
    units = ", ".join(f"{length:g} {unit}".strip() for length, unit in zip(*chosen[1:], strict=True))
    return found, f"{path}: resolution {level or 0} of {len(levels)}, from 0: {size}, pixels of {units}"


class ZarrArray:
    """An array of a store with the axes of images, of which only the required chunks are read.

    Args:
        path: of the array, for messages.
        array: of zarr.
        axes: for every axis of the images that of the array, or None for an axis of length 1 that it lacks.
        facts: what the store states about the axes of the images.
    """

    def __init__(self, path: Path, array: Any, axes: Sequence[int | None], facts: AxisFacts) -> None:
        self._path, self._array, self._axes, self.facts = path, array, axes, facts
        self.shape: tuple[int, ...] = tuple(1 if axis is None else array.shape[axis] for axis in axes)
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)

    def __getitem__(self, index: tuple[int | slice, ...], /) -> NDArray[Any]:
        given = {axis: part for axis, part in zip(self._axes, index, strict=True) if axis is not None}
        with reading(self._path, BROKEN):
            found = np.asarray(self._array[tuple(given.get(axis, 0) for axis in range(self._array.ndim))])
            added = [
                None if axis is None else slice(None)
                for axis, part in zip(self._axes, index, strict=True)
                if not isinstance(part, int)
            ]
            return found[tuple(added)]


def open_zarr(path: Path, key: str | None = None) -> ZarrArray:
    """Open an array of a store.

    Args:
        path: of a store, or of an array or an image in it: `image.zarr`, `image.zarr/1`.
        key: the array in a group, if it has several.

    Returns:
        The array. One of an OME-Zarr image has the axes (t, c, *S) or, with one channel, (t, *S) or (*S).

    Raises:
        DataError: there is no such array, it is damaged, or not of numbers.
        MissingExtraError: zarr is not installed.
    """
    zarr = import_extra("zarr", "zarr")
    levels, axes = _levels(path)
    with reading(path, BROKEN):
        node = _open(path)
        where = path
        if levels and not isinstance(node, zarr.Array):
            where = path / levels[0].path
            node = _open(where)
        elif not isinstance(node, zarr.Array):
            names = sorted(name for name, _ in node.arrays())
            if not names:
                raise DataError(f"{path}: {_what_is_there(node)}")
            where = path / chosen_name(path, names, key)
            node = _open(where)
        _check_codecs(where, node)
        check_unscaled(node.attrs, str(where))
        if node.dtype.kind not in "fiub" or not node.size or not node.shape:
            raise DataError(f"{where}: contains no numeric array (dtype {node.dtype}, shape {node.shape})")
    if not axes:
        return ZarrArray(where, node, range(node.ndim), AxisFacts(_dimensions(node)))
    places = _of_images(axes, node.shape)
    letters = "".join("T" if place is None else axes[place].upper() for place in places)
    level = next((one for one in levels if (path / one.path) == where), levels[0])
    stated = zip(axes, level.scale, level.units, strict=True)
    sizes, unit = in_one_unit({name.upper(): (length, unit) for name, length, unit in stated if name in "zyx"})
    return ZarrArray(where, node, places, AxisFacts(letters, sizes, MICRONS.get(unit, unit)))


def _dimensions(array: Any) -> str:
    """Return the letters of the axes of an array that names its dimensions, as zarr v3 or xarray; else nothing."""
    named = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS", ())
    return letters_of(named, array.ndim)


def read_zarr(path: Path, key: str | None = None) -> NDArray[Any]:
    """Return the whole array of `open_zarr`."""
    array = open_zarr(path, key)
    return array[(slice(None),) * len(array.shape)]


def _open(path: Path) -> Any:
    zarr = import_extra("zarr", "zarr")
    store, place = divided(path)
    if not os.path.isdir(store):
        raise DataError(f"{store}: no such zarr store")
    try:
        return zarr.open(store=str(store), path=place, mode="r")
    except FileNotFoundError:
        raise DataError(f"{path}: contains no zarr array or group") from None


def _levels(path: Path) -> tuple[list[Level], tuple[str, ...]]:
    """Return the resolutions of an OME-Zarr image and the names of its axes; none for other arrays.

    The path is that of an image or of one of its resolutions.
    """
    store, place = divided(path)
    zarr = import_extra("zarr", "zarr")
    with reading(path, BROKEN):
        node = _open(path)
        if not isinstance(node, zarr.Array):
            return _multiscales(path, dict(node.attrs))
        above, _, name = place.rpartition("/")
        if not name:
            return [], ()
        group = _open(store / above)
        if isinstance(group, zarr.Array):
            return [], ()
        levels, axes = _multiscales(store / above, dict(group.attrs))
    own = [level._replace(path="") for level in levels if level.path.strip("/") == name]
    return (own, axes) if own else ([], ())


def _multiscales(path: Path, attributes: Mapping[str, Any]) -> tuple[list[Level], tuple[str, ...]]:
    ome = attributes.get("ome", attributes)
    images = ome.get("multiscales") or []
    if not images:
        return [], ()
    image = images[0]
    axes = [axis if isinstance(axis, Mapping) else {"name": axis} for axis in image.get("axes", ())]
    names = tuple(str(axis["name"]).lower() for axis in axes)
    if not names or any(name not in "tczyx" for name in names) or [*names] != sorted(names, key="tczyx".index):
        raise DataError(f"{path}: axes {', '.join(names) or 'none'}, expected some of t, c, z, y, x in this order")
    units = tuple(str(axis.get("unit", "")) for axis in axes)
    whole = _scale(image, len(names))  # of all resolutions, on top of their own
    scales = [[a * b for a, b in zip(_scale(one, len(names)), whole, strict=True)] for one in image["datasets"]]
    paths = [str(one["path"]) for one in image["datasets"]]
    return [Level(path, tuple(scale), units) for path, scale in zip(paths, scales, strict=True)], names


def _scale(dataset: Mapping[str, Any], axes: int) -> tuple[float, ...]:
    for transformation in dataset.get("coordinateTransformations", ()):
        if transformation.get("type") == "scale" and len(transformation.get("scale", ())) == axes:
            return tuple(float(length) for length in transformation["scale"])
    return (1.0,) * axes


def _of_images(axes: Sequence[str], shape: Sequence[int]) -> list[int | None]:
    """Return the axis of an array for every axis of images; z is left out if it has one plane."""
    if len(axes) != len(shape):
        raise DataError(f"an array of shape {tuple(shape)} does not have the axes {', '.join(axes)}")
    at = {name: place for place, name in enumerate(axes) if name in "yx" or shape[place] > 1}
    if "c" in at:  # channels are the bands of an image, not several images
        return [at.get("t"), *[at[name] for name in "czyx" if name in at]]
    return [at[name] for name in "tzyx" if name in at]


def _what_is_there(group: Any) -> str:
    """Return the message about a group without arrays."""
    names = ", ".join(sorted(group.group_keys())[:5])
    if not names:
        return "a group without arrays"
    return f"a group without arrays: name an image in it, for example {group.store.root}/{names.split(',')[0]}"


def _check_codecs(path: Path, array: Any) -> None:
    """Check that no codec executes code; pickled data would."""
    facts = {name: value for name, value in array.metadata.to_dict().items() if name != "attributes"}
    if "pickle" in json.dumps(facts, default=str).lower():
        raise DataError(f"{path}: Python objects are never loaded, only arrays of numbers")
