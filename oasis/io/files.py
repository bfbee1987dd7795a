"""Files that appear whole or not at all, and one error for every way in which a file can fail to be read."""

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
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

LONGEST = 128  # bytes of a name that its part files repeat, so that their own names stay within 255

_HOST = f"{crc32(platform.node().encode()):08x}"
_PROCESS = secrets.token_hex(4)  # tells this process from an earlier one of the same number
_SERIAL = count()


@contextmanager
def replace_when_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path` to write to, and rename it to `path` once that has succeeded.

    The temporary file is `.NAME.HOST-PID-....part`, locked while it is written. Those that dead processes of
    this machine have left of the same output are removed first.

    Raises:
        DataError: the folder cannot be written to, the disk is full, or `path` is something else than a file.
    """
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
    path: str | Path, problem: str = "damaged, or not what its name says", mend: str = ""
) -> Iterator[None]:
    """Turn whatever goes wrong while a foreign file is read into one `DataError` of one line.

    Readers of foreign bytes fail in ways that no list of exceptions foresees, so that none is given here; errors
    that are meant for the user pass.

    Args:
        path: of the file.
        problem: what is said of it.
        mend: how to mend it.

    Raises:
        DataError: anything but an `OasisError` was raised.

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
    """Check that a path is that of a file.

    Raises:
        DataError: nothing there, a folder, a device, or a path that cannot be followed.
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
    r"""Return what an exception says as one line of at most so many characters.

    Example:
        >>> one_line(ValueError("first", "second")), one_line(EOFError()), one_line(ValueError("a\nb"))
        ("('first', 'second')", 'EOFError', 'a b')
    """
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    said = str(error.args[0]) if isinstance(error, KeyError) and error.args else said  # whose text is quoted else
    text = " ".join(said.split()) or type(error).__name__
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def readable(path: str | Path) -> str:
    r"""Return a path as text that every file can hold: bytes of its name that are not UTF-8 are escaped.

    Example:
        >>> readable("a/b.npy"), readable("caf\udce9.npy")
        ('a/b.npy', 'caf\\xe9.npy')
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _begin(path: Path) -> tuple[Path, int]:
    """Create and lock the part file of an output, and return its path and handle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        raise DataError(f"{path}: is not a regular file, so it is not written to: choose another name")
    _remove_left_over(path)
    temporary = path.with_name(f"{_prefix(path.name)}{os.getpid()}-{_PROCESS}-{next(_SERIAL)}.part")
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    _lock(handle)
    return temporary, handle


def _prefix(name: str) -> str:
    """Return how the names of all part files of an output begin that this machine writes."""
    raw = os.fsencode(name)
    if len(raw) > LONGEST:
        name = f"{os.fsdecode(raw[:LONGEST])}~{crc32(raw):08x}"
    return f".{name}.{_HOST}-"


def _remove_left_over(path: Path) -> None:
    """Remove the part files of an output whose process on this machine is gone.

    A file is taken for left over only if its process does not exist and nobody holds its lock: the one guards file
    systems without locks, the other processes of containers that do not see each other. Files of other machines
    are left alone, since only a machine itself knows its processes.
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
    """Have a file on the disk before it takes the place of the one before, whatever the system does then."""
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):  # a file system that cannot
            raise


def _is_alive(process: int, token: str) -> bool:
    """Return whether a process of this machine exists, known by its number and what it drew when it began."""
    if process == os.getpid():
        return token == _PROCESS
    if os.name == "nt":  # where a signal would end it, and where files that are open stay anyway
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's, or no number of a process
        return True
    return True
