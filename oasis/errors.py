"""The errors a user can cause: one line each, with what was found, what was expected and how to correct it."""

import importlib
import reprlib
import signal
from collections.abc import Iterable
from difflib import get_close_matches
from types import ModuleType


class OasisError(Exception):
    """An error that the user can correct; the command line prints it as one line and exits with 2."""


class ConfigError(OasisError):
    """A configuration, a name or an option that is not valid."""


class DataError(OasisError):
    """A file or an array that cannot be used."""


class ModelError(OasisError):
    """A model, a checkpoint or a run that is incompatible with the request."""


class BusyError(OasisError):
    """A file or folder that another process is writing to."""


class ReportedError(OasisError):
    """An error that another process of the same command reports; it has no message."""


class MissingExtraError(OasisError):
    """A package that belongs to an optional extra is not installed."""


def import_extra(module: str, extra: str) -> ModuleType:
    """Import `module`, or raise a `MissingExtraError` that names the extra which installs it.

    What the module does to Ctrl-C and SIGTERM when it is imported is undone.

    Raises:
        MissingExtraError: `module` is not installed.

    Example:
        >>> import_extra("json", extra="track").__name__
        'json'
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(f"{package} is not installed: run  pip install 'oasis-seg[{extra}]'") from error
    finally:
        for number, handler in handlers.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)


MOST_NAMES = 40  # listed in a hint
LONGEST_NAME = 200  # characters of a name that are compared with known names

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 3, 120, 120, 30


def shown(value: object) -> str:
    """Return a value as text for an error message, short however large or nested the value is.

    Example:
        >>> shown("many"), shown(list(range(1000)))
        ("'many'", '[0, 1, 2, 3, 4, 5, ...]')
    """
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        return f"a huge {type(value).__name__}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the hint at the end of an error message: the most similar known name, ignoring case, or all names.

    Example:
        >>> nearest("Fractoin", ["softplus", "fraction"])
        "did you mean 'fraction'?"
        >>> nearest("x", ["softplus", "fraction"])
        'known: fraction, softplus'
    """
    known = sorted(map(str, known))
    lowered = {each.lower(): each for each in known}
    match = get_close_matches(str(name)[:LONGEST_NAME].lower(), lowered, n=1)
    if match:
        return f"did you mean {lowered[match[0]]!r}?"
    more = f" and {len(known) - MOST_NAMES:,} more" if len(known) > MOST_NAMES else ""
    return f"known: {', '.join(known[:MOST_NAMES])}{more}"
