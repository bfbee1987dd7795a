"""Drawing: what all figures share: colours, error bars, legends, and a note where there are no data."""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE: Final = "#0072b2"
RED: Final = "#d55e00"
GREEN: Final = "#009e73"
COLOURS: Final = (BLUE, RED, GREEN, "#cc79a7", "#56b4e9", "#e69f00")  # Okabe and Ito, for the colour-blind too

LINES: Final = ("-", "--", ":", "-.")


def line_style(place: int) -> dict[str, Any]:
    """Return colour and line style of the curve in a place, such that no two of the first 24 are the same.

    Example:
        >>> line_style(1), line_style(7)["linestyle"]
        ({'color': '#d55e00', 'linestyle': '-'}, '--')
    """
    turn, colour = divmod(place, len(COLOURS))
    return {"color": COLOURS[colour], "linestyle": LINES[turn % len(LINES)]}


def plain(text: str) -> str:
    r"""Return a text of others, such as a name in a file, so that Matplotlib writes it as it is: no formula.

    Example:
        >>> plain("cost ($), gain ($)")
        'cost (\\$), gain (\\$)'
    """
    return text.encode("utf-8", "backslashreplace").decode().replace("$", r"\$")


def error_bars(value: ArrayLike, low: ArrayLike, high: ArrayLike) -> NDArray[np.float64]:
    """Return the lengths (2, n) of error bars from values (n,) and the ends of their intervals; NaN for none.

    Example:
        >>> error_bars([1.0, np.nan], [0.5, 0.0], [3.0, np.inf])
        array([[0.5, nan],
               [2. , nan]])
    """
    middle, *ends = (np.asarray(one, dtype=float) for one in (value, low, high))
    with np.errstate(invalid="ignore"):
        lengths = np.stack([middle - ends[0], ends[1] - middle])
    return np.where(np.isfinite(lengths), lengths.clip(min=0), np.nan)


def add_legend(axes: "Axes", figure: "Figure | None" = None, **options: Any) -> None:
    """Draw a legend without a frame in a panel, or beside it in its figure, if there is anything to explain."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        (figure or axes).legend(handles, labels, frameon=False, **options)


def say_no_data(axes: "Axes", text: str = "no data") -> None:
    """Write into a panel that there is nothing to draw, and remove the axis ticks that no other panel shares."""
    for name, shared in (("x", axes.get_shared_x_axes()), ("y", axes.get_shared_y_axes())):
        if len(shared.get_siblings(axes)) == 1:
            axes.set(**{f"{name}scale": "linear", f"{name}ticks": []})
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="0.5")


def note_empty_panels(figure: "Figure") -> None:
    """Write "no data" into the empty panels of a figure, where drawing a logarithmic scale would fail.

    Lines that span a panel, such as those of `axhline`, do not count as data, and only finite values do, on a
    logarithmic scale only positive ones.
    """
    for axes in figure.axes:
        if not (hasattr(axes, "get_zlim") or axes.images or axes.texts or _has_data(axes)):
            say_no_data(axes)


def _has_data(axes: "Axes") -> bool:
    """Return whether anything in a panel can be drawn on both of its scales."""
    limits = axes.dataLim
    positive = {"x": limits.minposx, "y": limits.minposy}
    scales = {"x": axes.get_xscale(), "y": axes.get_yscale()}
    known = all(np.isfinite(positive[name]) for name, scale in scales.items() if scale == "log")
    return known and bool(np.isfinite(limits.get_points()).all())
