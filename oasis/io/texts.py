"""Text files, always in UTF-8, with one error for every way in which reading can fail."""

import json
from pathlib import Path
from typing import Any

from oasis.errors import DataError, OasisError
from oasis.io.files import check_file, one_line, replace_when_whole


def read_text(path: str | Path, error: type[OasisError] = DataError) -> str:
    """Return the text of a UTF-8 file.

    Args:
        path: the path of the file.
        error: the kind of error to raise.

    Raises:
        OasisError: as `error`: the file does not exist, cannot be read, or is not text.
    """
    try:
        check_file(path)  # reading a pipe could block forever
        return Path(path).read_text(encoding="utf-8-sig")
    except DataError as reason:
        raise error(str(reason)) from None
    except UnicodeDecodeError as reason:
        raise error(f"{path}: not a text file in UTF-8 (byte {reason.start})") from None
    except (OSError, ValueError) as reason:
        raise error(f"{path}: cannot be read: {one_line(reason)}") from None


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 file, completely or not at all.

    Raises:
        DataError: the path cannot be written to.
    """
    with replace_when_whole(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # names of files need not be text


def parse_json(text: str, where: str, error: type[OasisError] = DataError) -> dict[str, Any]:
    """Return the JSON object in a text.

    Args:
        text: the text to be read.
        where: where it is from, for messages.
        error: the kind of error to raise.

    Raises:
        OasisError: as `error`: the text is not JSON, not an object, or nested too deeply.

    Example:
        >>> parse_json('{"a": 1}', "settings")
        {'a': 1}
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as reason:
        raise error(f"{where}: not readable JSON (truncated?): {reason}") from None
    if not isinstance(values, dict):
        raise error(f"{where}: expected a JSON object, found {type(values).__name__}")
    return values


def read_json(path: str | Path, error: type[OasisError] = DataError) -> dict[str, Any]:
    """Return the JSON object in a UTF-8 file; see `read_text` and `parse_json`."""
    return parse_json(read_text(path, error), str(path), error)
