"""Common parts of all commands: errors of one line, the signals that end them, and their streams."""

import argparse
import io
import logging
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from traceback import walk_tb
from types import FrameType
from typing import Any, ParamSpec, TypeVar

import typer

from oasis.errors import ConfigError, OasisError
from oasis.io.interrupts import never_lost

TYPER_INTERRUPTED = 130  # what typer returns for a KeyboardInterrupt before a verb begins
LONGEST_LINE = 1500  # characters of an error, which may repeat a value of any length
SAME = "the same command"  # which the line about an interrupt states, where it is known
REFUSED = 2  # exit code of errors that the user can correct

_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]  # of click, which typer carries within or depends on


P = ParamSpec("P")
R = TypeVar("R")


class EndedError(BaseException):
    """A signal ended the command; its text says how to continue."""


@contextmanager
def going_on(how: Callable[[], str]) -> Iterator[None]:
    """State how to continue if a signal ends the block.

    Args:
        how: returns how to continue, as the end of a sentence, in which `SAME` stands for the command.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise EndedError(how()) from None


def verb(command: Callable[P, R]) -> Callable[P, R]:
    """Make a function a command: its option `quiet` raises the log level, and signals end it in one line."""

    @wraps(command)
    def wrapped(*args: P.args, **options: P.kwargs) -> R:
        if options.get("quiet"):
            logging.getLogger().setLevel(logging.WARNING)
        try:
            return command(*args, **options)
        except KeyboardInterrupt:  # which command-line libraries treat differently
            raise EndedError from None
        except EOFError as error:  # which they take for an interrupt
            raise RuntimeError("a file ends early") from error

    return wrapped


def run_command(app: Callable[..., object], arguments: list[str]) -> int:
    """Run an app of commands and return the exit code; a user's error is one line on standard error.

    Args:
        app: a typer app.
        arguments: the arguments of the command line.
    """
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)  # a line for every request to a hub
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where its cache is, if not in HOME
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it says of a damaged file is in our errors
    logging.getLogger("torch").setLevel(logging.WARNING)  # which else logs at the end if its import is interrupted
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # huge pages for torch's large tensors on a CPU
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names need not be valid text
    with _termination() as received:
        try:
            code = app(arguments, standalone_mode=False)
            sys.stdout.flush()
            if code == TYPER_INTERRUPTED:
                return _interrupted(received, "", arguments)
            return code if isinstance(code, int) else 0
        except SystemExit as stop:  # from code of the user, which must not look like the end of the command
            if isinstance(stop.__context__, OSError):  # typer ends a command so whose reader closed the pipe
                return 1
            say(f"code that the configuration names ended the program (exit {stop.code}): let it raise an error")
            return REFUSED
        except typer.Exit as stop:
            return stop.exit_code
        except (EndedError, KeyboardInterrupt, typer.Abort) as end:
            return _interrupted(received, str(end) if isinstance(end, EndedError) else "", arguments)
        except Exception as error:
            message = _message(error)
            if message is None:
                raise
            if message:  # help that was shown in the place of a command has none
                say(message)
            _drop_output()
            return REFUSED


def run_script(main: Callable[[], object]) -> int:
    """Run the main function of a script like a command and return the exit code.

    Args:
        main: the function, whose result is the exit code if it is a number. It may parse its arguments with
            `argparse`, which ends a script by its own exit code after a message or a help text.
    """

    def app(arguments: list[str], standalone_mode: bool) -> None:
        try:
            code = main()
        except SystemExit as stop:
            last = list(walk_tb(stop.__traceback__))[-1][0]
            if last.f_globals.get("__name__") == "argparse":
                raise typer.Exit(stop.code if isinstance(stop.code, int) else 0) from None
            raise
        if isinstance(code, int):
            raise typer.Exit(code)

    return run_command(app, [])


def _drop_output() -> None:
    """Drop the output that cannot be written, for which Python would change the exit code when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def named(folder: str | None) -> str | None:
    """Return a folder that an option names.

    Raises:
        ConfigError: the name is empty.
    """
    if folder is not None and not folder.strip():
        raise ConfigError("--run: expected the path of a folder, found an empty text")
    return folder


@contextmanager
def ended_in_order() -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; the second one raises as usual."""
    stop, handlers = threading.Event(), dict[int, Any]()

    def end(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and callable(handlers[number]):
            handlers[number](number, frame)
        stop.set()

    if threading.current_thread() is threading.main_thread():
        handlers |= {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def at_least(least: int) -> Callable[[str], int]:
    """Return a type of `argparse` for whole numbers that are not smaller than `least`.

    Example:
        >>> import argparse
        >>> parser = argparse.ArgumentParser(exit_on_error=False)
        >>> parser.add_argument("--images", type=at_least(1)).dest
        'images'
        >>> parser.parse_args(["--images", "0"])
        Traceback (most recent call last):
            ...
        argparse.ArgumentError: argument --images: expected a whole number of at least 1, found '0'
    """

    def parsed(text: str) -> int:
        with suppress(ValueError):
            if int(text) >= least:
                return int(text)
        raise argparse.ArgumentTypeError(f"expected a whole number of at least {least}, found {text!r}")

    return parsed


def lengths(text: str) -> tuple[int, ...]:
    """Return lengths of axes from a text.

    Raises:
        ConfigError: something else.

    Example:
        >>> lengths("1152,2048"), lengths("")
        ((1152, 2048), ())
    """
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise ConfigError(f"--shape: expected lengths such as 1152,2048, found {text!r}") from None


def _interrupted(received: list[int], how: str, arguments: Sequence[str]) -> int:
    """Say that a signal ended the command, and return its exit code; called within `_termination`."""
    # An object that a signal interrupted while it was made, such as a loader of torch, complains in `__del__`:
    # that is no news. `_termination` sets the hook back.
    sys.unraisablehook = lambda ignored: None
    command = f" {shlex.join(['oasis', *arguments])}" if arguments else SAME
    how = (how or f"begin again with {SAME}").replace(SAME, command)
    typer.echo(f"interrupted; all files are intact: {how}", err=True)
    return 128 + (received[0] if received else signal.SIGINT)


def say(message: object) -> None:
    r"""Print a message as one line on standard error, even if names in it contain control characters.

    Example:
        >>> import contextlib
        >>> with contextlib.redirect_stderr(sys.stdout):
        ...     say("two\nlines in \x1b[31mred.npy")
        oasis: two lines in \x1b[31mred.npy
    """
    line = " ".join(str(message).split())
    if len(line) > LONGEST_LINE:
        line = f"{line[: LONGEST_LINE // 2]} ... {line[-LONGEST_LINE // 2 :]}"
    typer.echo("oasis: " + "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line), err=True)


def _message(error: Exception) -> str | None:
    """Return the message of an error that is not a fault of this program, or None."""
    if isinstance(error, OasisError):
        return str(error)
    if isinstance(error, _USAGE_ERROR):
        return str(error.format_message()) + _how_to_set(error)  # type: ignore[attr-defined]
    if isinstance(error, OSError):
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return f"{where}{error.strerror or error}"
    if isinstance(error, UnicodeEncodeError):  # of a path, where the locale knows ASCII only
        return f"{error.object!r}: cannot be a path under this locale ({error.encoding}): set PYTHONUTF8=1"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate memory" in str(error)):
        return "there is not enough memory: use fewer or smaller images, or a smaller training.batch_size"
    return None


def _how_to_set(error: Exception) -> str:
    """Return how keys are changed if a command that can change them got something that it does not know."""
    context = getattr(error, "ctx", None)
    changes = context is not None and any("--set" in option.opts for option in context.command.params)
    unknown = hasattr(error, "option_name") or str(error).startswith("Got unexpected extra argument")
    return "; a key of the configuration is changed by --set training.epochs=20" if changes and unknown else ""


@contextmanager
def _termination() -> Iterator[list[int]]:
    """Let SIGTERM, which clusters send, end a command like Ctrl-C, and yield the list in which it is recorded."""
    received: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        with never_lost(lambda: received[-1] if received else signal.SIGINT):
            yield received
    finally:
        signal.signal(signal.SIGTERM, before)
