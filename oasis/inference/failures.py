"""Failures: the one error that is raised where none of several files can be used."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from oasis.errors import DataError, OasisError


def none_usable(failed: Mapping[Path, OasisError]) -> OasisError:
    """Return the error of files of which none can be used: the most frequent reason, and an example of the others.

    Example:
        >>> errors = {Path(name): DataError(f"{name}: other bands") for name in ("a.tif", "b.tif")}
        >>> print(none_usable({Path("0.tif"): DataError("0.tif: damaged")} | errors))
        a.tif: other bands; none of the 3 files can be used, 2 for this reason; another one: 0.tif: damaged
    """
    if len(failed) == 1:
        return next(iter(failed.values()))
    reasons = {path: str(error).replace(str(path), "") for path, error in failed.items()}
    (most, count), *others = Counter(reasons.values()).most_common()
    first = {reason: error for path, error in reversed(list(failed.items())) for reason in [reasons[path]]}
    another = f"; another one: {first[others[0][0]]}" if others else ""
    return DataError(
        f"{first[most]}; none of the {len(failed)} files can be used, {count} for this reason{another}"
    )
