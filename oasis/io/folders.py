"""Folders: the image files of a path, and their names without suffix."""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from oasis.errors import DataError
from oasis.io.arrays import SUFFIXES
from oasis.io.files import reading
from oasis.io.zarr_files import divided, is_zarr

logger = logging.getLogger(__name__)

LONG: Final = (".ome.tiff", ".ome.tif", ".ome.zarr", ".fits.gz", ".fits.fz")  # suffixes of two parts


def image_files(
    source: str | Path, suffixes: Sequence[str] = SUFFIXES, without: Sequence[Path] = ()
) -> list[Path]:
    """Return the image files of a path: itself, or those in a folder with a supported suffix, sorted by name.

    Args:
        source: a file or a folder.
        suffixes: the suffixes of image files.
        without: files of a folder that are not images, such as the results of an earlier prediction.

    Raises:
        DataError: the path does not exist, or the folder cannot be read.
    """
    source = Path(source)
    if not os.path.isdir(source) or is_zarr(source):
        return [source]
    with reading(source, "a folder that cannot be read"):
        names = sorted(os.listdir(source))
    results = {os.path.realpath(path) for path in without}
    found = [source / name for name in names if is_image(name, suffixes)]
    files = [path for path in found if os.path.realpath(path) not in results]
    if not files:
        below = left_below(source, suffixes, without)
        raise DataError(below or f"{source}: no image files in this folder; expected {', '.join(suffixes)}")
    return files


def left_below(source: str | Path, suffixes: Sequence[str] = SUFFIXES, without: Sequence[Path] = ()) -> str:
    """Return that there are image files in folders below one of images, which are not read; else an empty text.

    Args:
        source: a file or a folder.
        suffixes: the suffixes of image files.
        without: files and folders that do not count.
    """
    first = next(images_below(source, suffixes, without), None)
    text = f"{source}: image files in folders below it, such as {first}, are not read: name their folder"
    return "" if first is None else text


def images_below(
    source: str | Path, suffixes: Sequence[str] = SUFFIXES, without: Sequence[Path] = ()
) -> Iterator[Path]:
    """Yield the image files in folders below one, sorted by folder and name.

    Args:
        source: a file, which has none, or a folder.
        suffixes: the suffixes of image files.
        without: files and folders that do not count.
    """
    results, top = {os.path.realpath(path) for path in without}, str(source)
    if not os.path.isdir(top) or is_zarr(top):
        return
    for folder, below, names in os.walk(top):
        stores = [name for name in below if is_zarr(name)]
        found = [] if folder == top else [one for one in (*names, *stores) if is_image(one, suffixes)]
        yield from (Path(folder, name) for name in sorted(found))
        kept = (one for one in below if not one.startswith(".") and one not in stores)
        below[:] = sorted(one for one in kept if os.path.realpath(os.path.join(folder, one)) not in results)


def say_left_below(source: str | Path, suffixes: Sequence[str] = SUFFIXES, without: Sequence[Path] = ()) -> None:
    """Warn of image files in folders below one of images; see `left_below`."""
    text = left_below(source, suffixes, without)
    if text:
        logger.warning("%s", text)


def is_image(name: str, suffixes: Sequence[str] = SUFFIXES) -> bool:
    """Return whether a file of this name is an image; hidden ones are not."""
    return not name.startswith(".") and name.lower().endswith(tuple(suffixes))


def stem_of(path: Path) -> str:
    """Return the name of an image file without its suffix.

    Example:
        >>> stem_of(Path("x/a.ome.tif")), stem_of(Path("b.v2.npy"))
        ('a', 'b.v2')
    """
    name = divided(path)[0].name if is_zarr(path) else path.name
    suffix = next((end for end in LONG if name.lower().endswith(end)), Path(name).suffix)
    return name[: len(name) - len(suffix)] or name
