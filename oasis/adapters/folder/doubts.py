"""Doubts: images to train on that are probably not what they are taken for, or are held out under another name."""

import logging
from collections.abc import Iterable, Mapping
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any, Final

from oasis.adapters.base import Adapter
from oasis.adapters.folder.stock import naming
from oasis.io.files import digest, reading

logger = logging.getLogger(__name__)

START: Final = 2**16  # bytes of a file that are compared first
LOOKED_AT: Final = 5  # files of a kind, since what is stated wrongly is so for all


def say_doubts(adapter: Adapter[Any], files: Iterable[Iterable[Path]], key: str | None) -> None:
    """Warn of the first of some files that the adapter doubts.

    Args:
        adapter: the adapter of the folder.
        files: those of every kind, of which the first ones are read.
        key: the array in files with several.

    Raises:
        DataError: a file cannot be read.
    """
    for path in (path for kind in files for path in islice(kind, LOOKED_AT)):
        with naming(path):
            text = adapter.doubt(adapter.read(path, key))
        if text:
            logger.warning("%s: %s", path, text)
            return


def say_repeated(files: Mapping[str, Iterable[Path]]) -> None:
    """Warn of files that repeat those of another split under another name: they are not held out.

    Args:
        files: of every split.

    Raises:
        DataError: a file cannot be read.
    """
    alike: dict[tuple[int, bytes], list[tuple[str, Path]]] = {}
    for split, paths in files.items():
        for path in filter(Path.is_file, paths):
            with reading(path), path.open("rb") as file:
                start = sha256(file.read(START)).digest()
            alike.setdefault((path.stat().st_size, start), []).append((split, path))
    repeated: list[tuple[Path, Path]] = []
    for group in (one for one in alike.values() if len({split for split, _ in one}) > 1):
        first: dict[str, tuple[str, Path]] = {}
        for split, path in group:
            earlier = first.setdefault(digest(path), (split, path))
            if earlier[0] != split:
                repeated.append((path, earlier[1]))
    if repeated:
        logger.warning(
            "%s repeats %s of another split, as %d of the files do: results of held-out images are too good: keep "
            "one of each, or state by data.split.group which belong together",
            *repeated[0],
            len(repeated),
        )
