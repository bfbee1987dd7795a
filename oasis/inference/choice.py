"""Choice: whether an image is separated whole, by what was measured of the separator."""

import logging
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from oasis.errors import DataError
from oasis.evaluation.surroundings import SizeCheck
from oasis.separator.separator import Separator

logger = logging.getLogger(__name__)

Measure = Callable[[], SizeCheck | None]


class Choice:
    """Decides how images of a size are to be separated.

    Args:
        separator: that they are separated with.
        measure: tells what larger surroundings do to its maps; called at most once, if it matters.
    """

    def __init__(self, separator: Separator, measure: Measure | None = None) -> None:
        self.separator = separator
        self._measure = measure

    @cached_property
    def check(self) -> SizeCheck | None:
        """What larger surroundings do to the maps, or None where that is unknown."""
        return None if self._measure is None else self._measure()

    def check_whole(self, size: tuple[int, ...], path: Path) -> None:
        """Check that images of a size may be separated whole; where that is unknown, the log warns.

        Raises:
            DataError: larger images were measured to have other maps.
        """
        trained = self.separator.options.trained_size
        if trained is None or size == trained:
            return
        found, of, expected = self.check, pixels(size), pixels(trained)
        if found is not None and not found.same:
            raise DataError(
                f"images of {of}, but the model was trained on {expected} and has other maps in larger images "
                f"({found.changes()}): give images of that size, or train on larger ones"
            )
        if found is None and self.separator.sees_whole_frame:
            logger.warning(
                "%s: images of %s, but the model was trained on %s and sees the whole frame: intensities may be "
                "off; give images of that size, or train a model that does not, such as unet with norm=batch",
                path,
                of,
                expected,
            )


def pixels(size: tuple[int, ...]) -> str:
    """Return a size in words.

    Example:
        >>> pixels((96, 64))
        '96 x 64 pixels'
    """
    return f"{' x '.join(map(str, size))} pixels"
