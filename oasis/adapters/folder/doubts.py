"""Doubts: images to train on that are probably not what they are taken for, said as in prediction."""

import logging
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Final

from oasis.adapters.base import Adapter
from oasis.adapters.folder.stock import naming

logger = logging.getLogger(__name__)

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
