"""Session: the images that one page of the viewer can show, and what went wrong, in lines to be read."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from oasis.errors import DataError, OasisError
from oasis.io.files import one_line, readable
from oasis.run.inspection import Inspection, Inspector


class Answer(NamedTuple):
    """The answer to a request.

    Attributes:
        shown: the image, or None if it cannot be used.
        notices: lines to be read: why it cannot be used, and warnings.
    """

    shown: Inspection | None
    notices: tuple[str, ...] = ()


class Session:
    """What one page of the viewer can show.

    Args:
        inspector: separates single images.
        files: the image files to choose from.
        split: the split whose events can be chosen.
        folder: where dropped files are written.
    """

    def __init__(self, inspector: Inspector, files: Sequence[Path], split: str, folder: Path) -> None:
        self.inspector, self.split, self.folder = inspector, split, folder
        self.files = {readable(path): path for path in files}
        self.notices: tuple[str, ...] = ()
        self.events = 0
        try:
            self.events = inspector.events(split)
        except OasisError as error:
            self.notices = (f"no events of {split}: {error}",)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names."""
        return self.inspector.job.adapter.classes

    @property
    def unit(self) -> str:
        """The unit of the intensities."""
        return self.inspector.job.adapter.unit

    @property
    def suffixes(self) -> Sequence[str]:
        """The suffixes of files that can be dropped."""
        return self.inspector.job.adapter.suffixes

    def event(self, index: int) -> Answer:
        """Return an event of the split."""
        return self._answer(lambda: self.inspector.event(index, self.split))

    def images(self, name: str) -> int:
        """Return the number of images in a file, 0 if it cannot be used."""
        try:
            return self.inspector.images(self.files[name])
        except (OasisError, OSError):
            return 0

    def image(self, name: str, number: int) -> Answer:
        """Return an image of a file."""
        return self._answer(lambda: self.inspector.image(self.files[name], number))

    def add(self, name: str, content: bytes) -> str:
        """Add a file that was dropped, and return the name under which it can be chosen.

        Args:
            name: its name in the browser, of which no folder is used.
            content: its bytes.

        Raises:
            DataError: its name has no suffix that can be read, or it cannot be written.
        """
        bare = PurePosixPath(PureWindowsPath(name).name).name
        if not bare.lower().endswith(tuple(self.suffixes)) or bare.startswith("."):
            raise DataError(f"{readable(bare)}: cannot be read; expected {', '.join(self.suffixes)}")
        path = self.folder / bare
        try:
            path.write_bytes(content)
        except (OSError, ValueError) as error:
            raise DataError(f"{readable(bare)}: cannot be kept: {one_line(error)}") from error
        key = f"{readable(bare)} (dropped)"
        self.files = {**self.files, key: path}
        return key

    def plain(self, line: str) -> str:
        """Return a line without the folder of dropped files."""
        return line.replace(f"{readable(self.folder)}{os.sep}", "")

    def _answer(self, inspect: Callable[[], Inspection]) -> Answer:
        with _warnings() as lines:
            try:
                return Answer(inspect(), tuple(map(self.plain, lines)))
            except (OasisError, OSError, MemoryError) as error:
                return Answer(None, tuple(map(self.plain, (*lines, one_line(error, 1000)))))


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Yield the list of the warnings that are logged during the block."""
    lines: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("oasis")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
