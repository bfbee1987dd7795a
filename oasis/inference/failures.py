"""Failures: files that cannot be used, in one line for every reason."""

import re
from collections.abc import Mapping
from pathlib import Path

from oasis.errors import DataError, OasisError

NAMED = 20  # files that are named for a reason


def none_usable(failed: Mapping[Path, OasisError]) -> OasisError:
    """Return the error of files of which none can be used: the most frequent reason, and an example of the others.

    Example:
        >>> errors = {Path(name): DataError(f"{name}: other bands") for name in ("a.tif", "b.tif")}
        >>> print(none_usable({Path("0.tif"): DataError("0.tif: damaged")} | errors))
        a.tif: other bands; none of the 3 files can be used, 2 for this reason; another one: 0.tif: damaged
    """
    if len(failed) == 1:
        return next(iter(failed.values()))
    most, *others = by_reason(failed)
    another = f"; another one: {failed[others[0][0]]}" if others else ""
    return DataError(
        f"{failed[most[0]]}; none of the {len(failed)} files can be used, {len(most)} for this reason{another}"
    )


def in_lines(failed: Mapping[Path, OasisError]) -> list[str]:
    """Return a line for every reason for which some of several files cannot be used, with their names.

    Example:
        >>> errors = {Path(name): DataError(f"{name}: {len(name)} bands") for name in ("a.tif", "b.tiff", "c.tif")}
        >>> in_lines(errors)
        ['a.tif: 5 bands; the same holds for b.tiff, c.tif']
    """
    lines = []
    for first, *more in by_reason(failed):
        names = ", ".join(map(str, more[:NAMED])) + f" and {len(more) - NAMED} more" * (len(more) > NAMED)
        lines.append(f"{failed[first]}{f'; the same holds for {names}' if more else ''}")
    return lines


def by_reason(failed: Mapping[Path, OasisError]) -> list[list[Path]]:
    """Return the files of every reason, the most frequent first; numbers in it make no difference."""
    found: dict[str, list[Path]] = {}
    for path, error in failed.items():
        found.setdefault(_reason(path, error), []).append(path)
    return sorted(found.values(), key=len, reverse=True)


def _reason(path: Path, error: OasisError) -> str:
    text = re.sub(r"\d[\d.]*", "#", str(error).replace(str(path), ""))
    return re.sub(r"#((, | x )#)+", "#", text)
