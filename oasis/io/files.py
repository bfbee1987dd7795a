"""Files that are written completely or not at all, and one error for every way in which reading can fail."""

import errno
import hashlib
import os
import platform
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from zlib import crc32

from oasis.errors import BusyError, DataError, OasisError

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed
    fcntl = None  # type: ignore[assignment]

LONGEST = 128  # bytes of an output's name that appear in the names of its part files, which may have 255

_HOST = f"{crc32(platform.node().encode()):08x}"
_PROCESS = secrets.token_hex(4)  # distinguishes this process from an earlier one with the same number
_SERIAL = count()


@contextmanager
def replace_when_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` to write to, and rename it to `path` if the block succeeds.

    The temporary file is `.NAME.HOST-PID-....part`, locked while it is written. Part files of the same output left
    behind by dead processes of this machine are removed first. Folders that are made for it go if the block fails.

    Raises:
        DataError: the folder cannot be written to, the disk is full, or `path` is not a regular file.
    """
    with made_for(path):
        try:
            temporary, handle = _begin(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be written: {one_line(error)}") from error
        try:
            try:
                yield temporary
                _flush(handle)
            finally:
                os.close(handle)
            os.replace(temporary, path)
        except OSError as error:
            raise DataError(f"{path}: cannot be written: {one_line(error)}") from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def made_for(path: Path) -> Iterator[None]:
    """Make the folders of an output, and remove those again that are empty after the block.

    Raises:
        DataError: they cannot be made.
    """
    try:
        missing = [folder for folder in path.parents if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be written: {one_line(error)}") from error
    try:
        yield
    finally:
        for folder in missing:
            with suppress(OSError):  # it has files
                folder.rmdir()


@contextmanager
def replace_alone(path: Path) -> Iterator[Path]:
    """Do as `replace_when_whole`, but refuse where another process of this machine is writing the same output.

    Raises:
        BusyError: another process is.
        DataError: as `replace_when_whole`.
    """
    with replace_when_whole(path) as temporary:
        for name, process in _part_files(path):
            if name != temporary.name and _is_locked(path.with_name(name)):
                raise BusyError(
                    f"{path}: process {process} is writing it: wait until that has ended, or choose another name"
                )
        yield temporary


@contextmanager
def reading(
    path: str | Path, problem: str = "damaged, or not of the format that its name suggests", mend: str = ""
) -> Iterator[None]:
    """Turn any exception raised while a foreign file is read into a `DataError` with a message of one line.

    Readers of foreign files raise too many kinds of exceptions to list. An `OasisError` passes unchanged.

    Args:
        path: the path of the file.
        problem: what the message says about it.
        mend: how to mend it.

    Raises:
        DataError: any exception other than an `OasisError` was raised.

    Example:
        >>> with reading("notes.txt", "not a table"):
        ...     int("x")
        Traceback (most recent call last):
            ...
        oasis.errors.DataError: notes.txt: not a table (invalid literal for int() with base 10: 'x')
    """
    try:
        yield
    except OasisError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        said = f"cannot be read: {error.strerror}" if error.strerror else f"{problem} ({one_line(error)})"
        raise DataError(f"{path}: {said}{mend and ': '}{mend}") from error
    except Exception as error:
        raise DataError(f"{path}: {problem} ({one_line(error)}){mend and ': '}{mend}") from error


def check_file(path: str | Path) -> None:
    """Check that a path leads to a regular file.

    Raises:
        DataError: it does not exist, is a folder or a device, or cannot be followed.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {one_line(error)}") from None
    if not stat.S_ISREG(mode):
        raise DataError(
            f"{path}: is {'a folder' if stat.S_ISDIR(mode) else 'not a regular file'}, expected a file"
        )


def digest(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        DataError: it cannot be read.
    """
    check_file(path)
    with reading(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def one_line(error: BaseException, longest: int = 200) -> str:
    r"""Return the message of an exception as one line of at most `longest` characters.

    Example:
        >>> one_line(ValueError("first", "second")), one_line(EOFError()), one_line(ValueError("a\nb"))
        ("('first', 'second')", 'EOFError', 'a b')
    """
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    said = str(error.args[0]) if isinstance(error, KeyError) and error.args else said  # str(KeyError) is quoted
    text = " ".join(said.split()) or type(error).__name__
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def readable(path: str | Path) -> str:
    r"""Return a path as valid UTF-8 text: other bytes of its name are escaped.

    Example:
        >>> readable("a/b.npy"), readable("caf\udce9.npy")
        ('a/b.npy', 'caf\\xe9.npy')
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _begin(path: Path) -> tuple[Path, int]:
    """Create and lock the part file of an output, and return its path and handle."""
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: is not a regular file and is not written to: choose another name")
    _remove_left_over(path)
    temporary = path.with_name(f"{_prefix(path.name)}{os.getpid()}-{_PROCESS}-{next(_SERIAL)}.part")
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    _lock(handle)
    return temporary, handle


def _prefix(name: str) -> str:
    """Return the first characters of the names of all part files that this machine writes for an output."""
    raw = os.fsencode(name)
    if len(raw) > LONGEST:
        name = f"{os.fsdecode(raw[:LONGEST])}~{crc32(raw):08x}"
    return f".{name}.{_HOST}-"


def _remove_left_over(path: Path) -> None:
    """Remove the part files of an output whose process on this machine no longer exists.

    A file is left over only if its process does not exist and its lock is free: the first condition is for file
    systems without locks, the second one for containers, whose processes do not see each other. Files of other
    machines are kept, since their processes are unknown here.
    """
    with suppress(OSError):
        for name, process in _part_files(path):
            if not _is_alive(process, name.rsplit("-", 2)[1]):
                with suppress(OSError):
                    _remove_if_unlocked(str(path.with_name(name)))


def _part_files(path: Path) -> list[tuple[str, int]]:
    """Return the names of the part files of an output that this machine has written, and their processes."""
    pattern = re.compile(re.escape(_prefix(path.name)) + r"(\d+)-\w+-\d+\.part")
    with os.scandir(path.parent) as entries:
        matches = [pattern.fullmatch(entry.name) for entry in entries]
    return [(match[0], int(match[1])) for match in matches if match]


def _is_locked(path: Path) -> bool:
    """Return whether somebody holds the lock of a file."""
    try:
        handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except OSError:  # gone meanwhile
        return False
    try:
        return stat.S_ISREG(os.fstat(handle).st_mode) and not _lock(handle)
    finally:
        os.close(handle)


def _remove_if_unlocked(path: str) -> None:
    handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    try:
        if stat.S_ISREG(os.fstat(handle).st_mode) and _lock(handle):
            os.unlink(path)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    """Lock an open file until it is closed, and return whether nobody else holds the lock."""
    if fcntl is not None:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks
            return True
    return True


def _flush(handle: int) -> None:
    """Force a file to disk before it replaces the previous one, so that a crash of the system loses neither."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):  # not supported by the file system
            raise


def _is_alive(process: int, token: str) -> bool:
    """Return whether a process of this machine exists, given its number and its random token."""
    if process == os.getpid():
        return token == _PROCESS
    if os.name == "nt":  # where a signal would end it, and where open files cannot be removed
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's process, or not a process number
        return True
    return True
