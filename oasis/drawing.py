"""Drawing: what all figures share, their colours and the note on a panel that has no data."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE: Final = "#0072b2"
RED: Final = "#d55e00"
GREEN: Final = "#009e73"
COLOURS: Final = (BLUE, RED, GREEN, "#cc79a7", "#56b4e9", "#e69f00")  # Okabe and Ito, for the colour-blind too


def say_no_data(axes: "Axes", text: str = "no data") -> None:
    """Write into the middle of a panel, without scales, that there is nothing to draw."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.5")
    axes.set(xticks=[], yticks=[])
    axes.minorticks_off()
