"""Channels: images of which every channel is a file of its own, such as `a_DAPI.tif` and `a_GFP.tif`."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oasis.errors import ConfigError, DataError
from oasis.io.axes import AxisFacts
from oasis.io.folders import stem_of
from oasis.io.labelled import read_labelled

OF_ORDER = re.compile(r"[TtZzSsFfPpXxYy]\d+")  # times, planes, series, fields, positions
MOST = 8  # channels of an image


def leading(paths: Sequence[Path], endings: Sequence[str]) -> list[Path]:
    """Return files without those that are a further channel of an image.

    Args:
        paths: the files.
        endings: of their names, without suffix: one for each channel.

    Raises:
        DataError: an image lacks the file of its first channel.

    Example:
        >>> [path.name for path in leading([Path("a_0.tif"), Path("a_1.tif"), Path("b.tif")], ("_0", "_1"))]
        ['a_0.tif', 'b.tif']
    """
    others, first = tuple(endings[1:]), {stem_of(path) for path in paths}
    kept = []
    for path in paths:
        ending = next((one for one in others if stem_of(path).endswith(one)), None)
        if ending is None:
            kept.append(path)
        elif (image := stem_of(path).removesuffix(ending) + endings[0]) not in first:
            raise DataError(f"{path}: a channel of an image whose first one is missing: no file is named {image}")
    return kept


def check_endings(endings: Sequence[str], folder: Path) -> None:
    """Check that endings differ, and that a file in a folder has each of them.

    Raises:
        ConfigError: they do not.
    """
    if len(set(endings)) < len(endings):
        raise ConfigError(f"channels: one ending is given twice: {', '.join(endings)}")
    stems = [stem_of(path) for path in folder.rglob("*")]
    for ending in endings:
        if not any(stem.endswith(ending) for stem in stems):
            raise ConfigError(f"channels: no file in {folder} has a name that ends with {ending!r}")


def likely_endings(stems: Sequence[str]) -> tuple[str, ...]:
    """Return endings that look like those of channels: every image has all of them, and they are no mere numbers.

    Endings such as `_t01` or `_z3`, of times, planes, series and fields, are not among them.

    Args:
        stems: the names of files without suffix.

    Example:
        >>> likely_endings(["a_DAPI", "a_GFP", "b_DAPI", "b_GFP"]), likely_endings(["a_1", "a_2", "b_1", "b_2"])
        (('_DAPI', '_GFP'), ())
    """
    images: dict[str, set[str]] = {}
    for stem in stems:
        start = stem[: max(stem.rfind(mark) for mark in "_-")]
        images.setdefault(start, set()).add(stem.removeprefix(start))
    endings = sorted(next(iter(images.values()), ()))
    same = all(found == set(endings) for found in images.values())
    named = all(re.search("[A-Za-z]", one) and not OF_ORDER.fullmatch(one[1:]) for one in endings)
    return tuple(endings) if same and named and len(images) > 1 and 1 < len(endings) <= MOST else ()


def name_of(path: Path, endings: Sequence[str]) -> str:
    """Return the name of an image: that of its file without suffix and without the ending of the first channel.

    Example:
        >>> name_of(Path("a_DAPI.ome.tif"), ("_DAPI", "_GFP")), name_of(Path("a.tif"), ())
        ('a', 'a')
    """
    stem = stem_of(path)
    return stem.removesuffix(endings[0]) if endings else stem


def channel_files(path: Path, endings: Sequence[str]) -> list[Path]:
    """Return the file of a first channel and those of its further channels; another file alone.

    Example:
        >>> [one.name for one in channel_files(Path("a_0.ome.tif"), ("_0", "_1"))]
        ['a_0.ome.tif', 'a_1.ome.tif']
    """
    stem = stem_of(path)
    if not endings or not stem.endswith(endings[0]):
        return [path]
    start, end = stem.removesuffix(endings[0]), path.name[len(stem) :]
    return [path, *(path.with_name(f"{start}{ending}{end}") for ending in endings[1:])]


def read_channels(
    path: Path, endings: Sequence[str], dims: int, key: str | None = None
) -> tuple[NDArray[Any], AxisFacts]:
    """Return the array of a file with its facts; of a first channel, together with its other channels.

    Args:
        path: the file.
        endings: of the names of the channels.
        dims: number of spatial axes, before which channels are put.
        key: the array in files with several.

    Raises:
        DataError: a channel is missing, or differs from the first in size, or has channels itself.
    """
    values, facts = read_labelled(path, key)
    _, *others = channel_files(path, endings)
    if not endings or not stem_of(path).endswith(endings[0]):
        return values, facts
    arrays = [values]
    for other in others:
        found, own = read_labelled(other, key)
        if found.shape != values.shape or own.names != facts.names:
            raise DataError(
                f"{other}: an array of {_said(found)}, but {path.name} has {_said(values)}: expected the channels "
                "of one image"
            )
        arrays.append(found)
    if "C" in facts.names:
        raise DataError(f"{path}: has channels itself (axes {facts.sizes(values.shape)}): leave out data.channels")
    place = values.ndim - dims
    names = f"{facts.names[:place]}C{facts.names[place:]}" if facts.names else ""
    channels = tuple(ending.strip("_-. ") for ending in endings)
    return np.stack(arrays, axis=place), replace(facts, names=names, channels=channels)


def _said(values: NDArray[Any]) -> str:
    return " x ".join(map(str, values.shape))
