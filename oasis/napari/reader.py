"""Reader: files of maps as layers, one for every class."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np

from oasis.errors import DataError, import_extra
from oasis.inference.zarr_store import facts_of
from oasis.io.axes import SPATIAL
from oasis.io.files import reading
from oasis.io.hdf5 import open_hdf5, read_dataset
from oasis.io.ome_tiff import TIFF, is_ome_maps
from oasis.io.outputs import is_maps
from oasis.io.tiff import read_tiff_axes
from oasis.io.zarr_files import ZARR

Layer = tuple[Any, dict[str, Any], str]
Paths = str | Sequence[str]

COLOURS: Final = ("green", "magenta", "cyan", "yellow", "red", "blue")
HDF5: Final = (".h5", ".hdf5")


def get_reader(path: Paths) -> Callable[[Paths], list[Layer]] | None:
    """Return what reads a file, or None if it is not a file of maps that `oasis predict` wrote.

    Args:
        path: one path; several are not read as one.
    """
    if not isinstance(path, str):
        return None
    file, suffix = Path(path), Path(path).suffix.lower()
    known = False
    with suppress(Exception):  # whatever is wrong with it, another reader may take it
        if suffix == ZARR:
            known = facts_of(file) is not None
        elif suffix in HDF5:
            known = is_maps(file)
        elif suffix in TIFF:
            known = is_ome_maps(file)
    return read_layers if known else None


def read_layers(path: Paths) -> list[Layer]:
    """Return the maps of every class as a layer of images, with axes of length 1 before the spatial ones left out.

    Raises:
        DataError: the file is damaged, or a path is none of a file of maps.
        MissingExtraError: a zarr store, and zarr is not installed.
    """
    file = Path(str(path))
    suffix = file.suffix.lower()
    if suffix == ZARR:
        return _of_store(file)
    return _of_hdf5(file) if suffix in HDF5 else _of_tiff(file)


def layer(name: str, values: Any, place: int, scale: Sequence[float] = (), unit: str = "") -> Layer:
    """Return the map of a class as napari takes it.

    Args:
        name: of the class.
        values: the map, with any axes before the spatial ones.
        place: the number of the class, which determines its colour.
        scale: length of a pixel along every spatial axis; empty if unknown.
        unit: of the intensities.

    Example:
        >>> layer("ER", np.ones((2, 3, 4)), 0, (0.5, 0.5), "ADU")[1]["scale"]
        (1.0, 0.5, 0.5)
    """
    facts: dict[str, Any] = {"name": name, "colormap": COLOURS[place % len(COLOURS)], "blending": "additive"}
    facts["metadata"] = {"unit": unit}
    if len(scale):
        facts["scale"] = (*[1.0] * (values.ndim - len(scale)), *map(float, scale))
    return values, facts, "image"


def _of_hdf5(path: Path) -> list[Layer]:
    with reading(path, "not a file of maps"), open_hdf5(path) as file:
        names = json.loads(file.attrs["classes"])
        scale, unit = tuple(file.attrs.get("pixel_size", ())), str(file.attrs.get("unit", ""))
        maps = {name: read_dataset(file, f"maps/{name}") for name in names}
    return _layers(maps, scale, unit)


def _of_store(path: Path) -> list[Layer]:
    """Return the maps of a store, which are read when they are shown."""
    zarr = import_extra("zarr", "zarr")
    with reading(path, "not a store of maps"):
        root = zarr.open_group(str(path), mode="r")
        names, unit = list(root.attrs["classes"]), str(root.attrs.get("unit", ""))
        plan = (facts_of(path) or {}).get("plan", {})
        maps = {name: root[f"maps/{name}/0"] for name in names}
    scale = tuple(plan.get("pixel_size") or ())
    return [layer(name, values, place, scale, unit) for place, (name, values) in enumerate(maps.items())]


def _of_tiff(path: Path) -> list[Layer]:
    with reading(path, "not a TIFF file of maps"):
        values, facts = read_tiff_axes(path)
        if "C" not in facts.names:  # one class, whose axis tifffile leaves out
            values, axes = values[None], facts.names
        else:
            place = facts.names.index("C")
            values, axes = np.moveaxis(values, place, 0), facts.names.replace("C", "")
        scale = tuple(facts.pixel_size.get(axis, 1.0) for axis in axes if axis in SPATIAL)
        if len(facts.channels) != len(values):
            raise DataError(f"{path}: names {len(facts.channels)} channels, but has {len(values)}")
    scale = scale if facts.pixel_size else ()
    return [layer(name, one, at, scale) for at, (name, one) in enumerate(zip(facts.channels, values, strict=True))]


def _layers(maps: Mapping[str, Any], scale: Sequence[float], unit: str) -> list[Layer]:
    """Return layers of maps (n, B, *S), without the axes n and B where they are 1."""
    lead = {name: tuple(axis for axis in (0, 1) if values.shape[axis] == 1) for name, values in maps.items()}
    return [
        layer(name, np.squeeze(values, lead[name]), place, scale, unit)
        for place, (name, values) in enumerate(maps.items())
    ]
