"""Files that appear whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from oasis.errors import DataError


@contextmanager
def replace_when_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to, and rename it to `path` once that has succeeded.

    Raises:
        DataError: the folder cannot be written to, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {(error.strerror or str(error)).splitlines()[0]}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
