"""Progress of long tasks: what is done, how fast, and how long the rest takes, told in the same way everywhere.

Lines go to the log. Where logging is not set up, as in a notebook or a script, they go to standard error. In a
terminal, a bar is also shown until the next line; elsewhere a long task without lines of its own writes one every
half a minute. `--quiet`, or `logging.getLogger("oasis").setLevel("WARNING")`, silences all of it.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)

EVERY = 30.0  # seconds between lines where there is no bar

T = TypeVar("T")


def is_quiet() -> bool:
    """Return whether progress is not wanted."""
    set_up = logger.hasHandlers() or logging.getLogger("oasis").level != logging.NOTSET
    return set_up and not logger.isEnabledFor(logging.INFO)


def tell(line: str) -> None:
    """Write a line to the log or, where logging is not set up, to standard error."""
    if is_quiet():
        return
    if logger.hasHandlers():
        logger.info("%s", line)
    else:
        tqdm.write(line, file=sys.stderr)


def duration(seconds: float) -> str:
    """Return a time for reading.

    Example:
        >>> duration(3.4), duration(200), duration(9000)
        ('3 s', '3 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds <= 5400 else f"{seconds / 3600:.1f} h"


def rate_text(per_second: float, unit: str) -> str:
    """Return a rate for reading.

    Example:
        >>> rate_text(123.4, "samples"), rate_text(0.05, "files")
        ('123 samples/s', '0.05 files/s')
    """
    return f"{per_second:.3g} {unit}/s"


class Progress:
    """The progress of a task with many equal parts, as a context.

    Args:
        what: what is done, such as `evaluate`.
        total: number of parts, or None if it is not known.
        unit: name of the parts.
        every: seconds between lines where there is no bar; infinite for none.
        clock: returns seconds.

    Example:
        >>> clock = iter([0, 10, 40, 50]).__next__
        >>> with Progress("predict", 8, "images", clock=clock) as progress:
        ...     for _ in range(3):
        ...         progress.advance(2)
        ...     print(progress.text(60))
        predict: 6 of 8 images, 0.1 images/s, 20 s left
    """

    def __init__(
        self,
        what: str,
        total: int | None = None,
        unit: str = "samples",
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self._every, self._clock = every, clock
        self._begun = self._told = clock()
        self._bar: Any = None
        self._about = ""  # where the total is an estimate

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and not is_quiet():
            self._bar = tqdm(
                desc=self.what,
                total=self.total,
                unit=f" {self.unit}",
                leave=False,
                dynamic_ncols=True,
                file=sys.stderr,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self, parts: int = 1, note: Callable[[], str] | None = None) -> None:
        """Count parts that are done.

        Args:
            parts: how many.
            note: returns a text for the end of the bar or of the line; called where one is shown.
        """
        self.done += parts
        now = self._clock()
        if self._bar is not None:
            if note is not None:
                self._bar.set_postfix_str(note(), refresh=False)
            self._bar.update(parts)
        elif now - self._told >= self._every:
            self._told = now
            tell(self.text(now) + (f"; {note()}" if note is not None else ""))

    def text(self, now: float) -> str:
        """Return the progress as a line, at a time of the clock."""
        rate = self.done / max(now - self._begun, 1e-9)
        of = "" if self.total is None else f" of {self._about}{self.total}"
        left = f", {duration((self.total - self.done) / rate)} left" if self.total and self.done else ""
        return f"{self.what}: {self.done}{of} {self.unit}, {rate_text(rate, self.unit)}{left}"


class FileProgress(Progress):
    """The progress of a task with the parts of several files, whose numbers become known one file after another.

    Until the last file is begun the total is an estimate: those to come are expected to be like those so far.

    Args:
        what: what is done.
        files: number of files.
        unit: name of the parts.
        every: seconds between lines where there is no bar.
        clock: returns seconds.

    Example:
        >>> clock = iter([0, 10]).__next__
        >>> with FileProgress("separate", 3, "images", clock=clock) as progress:
        ...     progress.begin_file()
        ...     progress.expect(4)
        ...     progress.advance(2)
        ...     print(progress.text(20))
        separate: 2 of about 12 images, 0.1 images/s, 2 min left
    """

    def __init__(
        self,
        what: str,
        files: int,
        unit: str = "images",
        every: float = EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(what, None, unit, every, clock)
        self._files, self._begun_files, self._known = files, 0, 0

    def begin_file(self) -> None:
        """Begin the next file."""
        self._begun_files += 1

    def expect(self, parts: int) -> None:
        """State the number of parts of the file that was begun last."""
        self._known += parts
        self._about = "about " * (self._begun_files < self._files)
        self.total = round(self._known * self._files / max(self._begun_files, 1))
        if self._bar is not None:
            self._bar.total = self.total


def watched(
    items: Iterable[T],
    what: str,
    total: int | None = None,
    unit: str = "samples",
    parts: Callable[[T], int] = lambda item: 1,
) -> Iterator[T]:
    """Yield items and show the progress of the loop over them.

    Args:
        items: the items.
        what: what is done with them.
        total: the number of parts of all of them, or None if it is not known.
        unit: name of the parts.
        parts: returns the number of parts of an item.

    Example:
        >>> sum(watched([1, 2, 3], "add", 3, "numbers"))
        6
    """
    with Progress(what, total, unit) as progress:
        for item in items:
            yield item
            progress.advance(parts(item))
