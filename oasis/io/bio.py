"""Files of microscopes (CZI, LIF, ND2) through bioio, whose readers are packages of their own."""

from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oasis.errors import DataError, MissingExtraError, import_extra, nearest
from oasis.io.axes import SPATIAL, AxisFacts
from oasis.io.tiff import MICRON

EXTRA: Final = "bio"
BIO: Final = {".czi": "bioio-czi", ".lif": "bioio-lif", ".nd2": "bioio-nd2"}  # the package that reads each


def read_bio(path: Path, key: str | None = None) -> NDArray[Any]:
    """Read the images of a microscope file; see `read_bio_axes`."""
    return read_bio_axes(path, key)[0]


def read_bio_axes(path: Path, key: str | None = None) -> tuple[NDArray[Any], AxisFacts]:
    """Read the images of a microscope file, and what it states about them.

    Args:
        path: the path of the file.
        key: the name of a scene (a position, a series); by default all of them, which must have one size.

    Returns:
        The array without axes of length 1 other than rows and columns, and its facts; several scenes are along an
        axis I, and the samples of colours are channels.

    Raises:
        DataError: there is no such scene, scenes differ in size, or there are two kinds of channels.
        MissingExtraError: bioio, or its reader of this kind of file, is not installed.
    """
    image = _opened(path)
    scenes = list(image.scenes)
    if key is not None and key not in scenes:
        raise DataError(f"{path}: no scene {key!r}; {nearest(key, scenes)}")
    arrays, shapes = [], {}
    for scene in scenes if key is None else [key]:
        image.set_scene(scene)
        array, names = _plain(np.asarray(image.data), image.dims.order)
        arrays.append(array)
        shapes[array.shape, names] = scene
    if len(shapes) > 1:
        listed = ", ".join(f"{scene!r} of {' x '.join(map(str, shape))}" for (shape, _), scene in shapes.items())
        raise DataError(f"{path}: scenes differ in size ({listed}): choose one by its name (--key)")
    facts = AxisFacts(names, _lengths(image), MICRON, _channels(image))
    if len(arrays) == 1:
        return _short(arrays[0], facts)
    return _short(np.stack(arrays), AxisFacts(f"I{names}", facts.pixel_size, MICRON, facts.channels))


def _opened(path: Path) -> Any:
    """Return a file as bioio opens it.

    Raises:
        MissingExtraError: a package is missing.
    """
    bioio, reader = import_extra("bioio", EXTRA), BIO[path.suffix.lower()]
    try:
        of_kind = import_module(reader.replace("-", "_")).Reader
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{path}: needs a reader of such files: run  pip install {reader}") from error
    return bioio.BioImage(path, reader=of_kind)


def _plain(values: NDArray[Any], order: str) -> tuple[NDArray[Any], str]:
    """Return an array whose colours are channels, and the letters of its axes.

    Raises:
        ValueError: there are several channels of colours.
    """
    if "S" not in order:
        return values, order
    if values.shape[order.index("C")] > 1:
        raise ValueError("several channels, each of colours: split the colours into channels")
    values = np.squeeze(values, order.index("C"))
    order = order.replace("C", "")
    place = order.index("Y")
    return np.moveaxis(values, order.index("S"), place), f"{order[:place]}C{order[place:].replace('S', '')}"


def _short(values: NDArray[Any], facts: AxisFacts) -> tuple[NDArray[Any], AxisFacts]:
    """Return an array without axes of length 1, save rows and columns."""
    kept = [
        place
        for place, (name, length) in enumerate(zip(facts.names, values.shape, strict=True))
        if length > 1 or name in "YX"
    ]
    names = "".join(facts.names[place] for place in kept)
    shape = [values.shape[place] for place in kept]
    return values.reshape(shape), AxisFacts(names, facts.pixel_size, facts.pixel_unit, facts.channels)


def _lengths(image: Any) -> dict[str, float]:
    """Return the length of a pixel along every axis where it is known, µm."""
    sizes = image.physical_pixel_sizes
    return {axis: float(getattr(sizes, axis)) for axis in SPATIAL if getattr(sizes, axis)}


def _channels(image: Any) -> tuple[str, ...]:
    return tuple(map(str, image.channel_names or ()))
