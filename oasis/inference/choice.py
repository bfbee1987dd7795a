"""Choice: whether an image is separated whole, depending on the measured size dependence of the separator."""

import logging
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from oasis.errors import DataError, ModelError
from oasis.evaluation.surroundings import SizeCheck
from oasis.inference.windows import reach
from oasis.separator.separator import Separator

logger = logging.getLogger(__name__)

Measure = Callable[[], SizeCheck | None]


class Choice:
    """Decides how images of a size are to be separated.

    Args:
        separator: the separator to apply.
        measure: measures the effect of larger surroundings on its maps; called at most once, if needed.
        kind: the kind of windows, if the user chose one.
        repeat: warn about every file, not only about the first one with images of a size.
    """

    def __init__(
        self, separator: Separator, measure: Measure | None = None, kind: str | None = None, repeat: bool = False
    ) -> None:
        self.separator = separator
        self._measure = measure
        self._kind = kind
        self._repeat = repeat
        self._warned: set[tuple[int, ...]] = set()  # sizes of images of which a warning was logged

    @cached_property
    def check(self) -> SizeCheck | None:
        """The effect of larger surroundings on the maps, or None if it is unknown."""
        return None if self._measure is None else self._measure()

    @cached_property
    def halo(self) -> tuple[int, ...]:
        """How far the network sees; see `reach`.

        Raises:
            ModelError: maps depend on the whole frame, so that tiles cannot be equal to it.
        """
        if self.separator.options.head.decides:
            raise ModelError(
                "the presence of a class is decided for the whole image (head.present_from), so that tiles would "
                "give other maps: separate images of the size in training, or windows of it with --window regions "
                "or --regions grid"
            )
        return reach(self.separator.backbone)

    def check_size(self, size: tuple[int, ...], path: Path) -> None:
        """Check that images of a size may be separated whole or, equivalently, by tiles.

        If that is unknown, or if the user overrides it, a warning is logged, once for every size.

        Raises:
            DataError: larger images were measured to have other maps, and the user does not override this.
        """
        trained = self.separator.options.trained_size
        if trained is None or size == trained:
            return
        found = self.check
        facts = f"images of {pixels(size)}, but the model was trained on {pixels(trained)} and"
        if found is not None and not found.same:
            facts += f" has other maps in larger images ({found.changes()})"
            if self._kind is None:
                smaller = any(length < side for length, side in zip(size, trained, strict=True))
                regions = (
                    "separate windows of that size, around objects with --window regions or side by side with "
                    "--regions grid, or train for longer or in larger windows"
                )
                way = "pad them to that size" if smaller else regions
                raise DataError(f"{facts}: {way}, or override this with --window whole")
            self._warn(size, "%s: %s: intensities will be off, as in all images of this size", path, facts)
        if found is None and self.separator.sees_whole_frame:
            self._warn(
                size,
                "%s: %s sees the whole frame: intensities may be off; separate windows of that size with "
                "--window regions or --regions grid, or train a model that does not, such as unet with "
                "model.norm=batch and without head.present_from",
                path,
                facts,
            )

    def _warn(self, size: tuple[int, ...], text: str, *values: object) -> None:
        """Log a warning, unless images of this size had theirs."""
        if self._repeat or size not in self._warned:
            logger.warning(text, *values)
        self._warned.add(size)


def pixels(size: tuple[int, ...]) -> str:
    """Return a size as text.

    Example:
        >>> pixels((96, 64))
        '96 x 64 pixels'
    """
    return f"{' x '.join(map(str, size))} pixels"
