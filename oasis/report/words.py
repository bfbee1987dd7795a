"""Words: formatting of numbers, intervals and settings in a report, and its tables and pictures."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from oasis.data.pictures import data_uri
from oasis.evaluation.figures import png
from oasis.io.yaml_text import flow


class Table(NamedTuple):
    """A table of texts; the first cell of a row is its header."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Picture(NamedTuple):
    """A figure: its title, its description in words, and its data URI."""

    title: str
    alt: str
    source: str


def picture(title: str, alt: str, figure: Any) -> Picture:
    """Return a figure for the page."""
    return Picture(title, alt, data_uri(png(figure)))


def side_by_side(caption: str, facts: Mapping[str, Mapping[str, str]]) -> Table:
    """Return a table of facts with a column per run, and a dash for a missing fact."""
    names = dict.fromkeys(name for of_run in facts.values() for name in of_run)
    rows = [(name, *(of_run.get(name, "–") for of_run in facts.values())) for name in names]
    return Table(caption, ["", *facts], rows)


def text(value: float, spec: str) -> str:
    """Return a number with a true minus sign, or a dash for NaN.

    Example:
        >>> text(-1.25, ".1f"), text(float("nan"), ".1f")
        ('−1.2', '–')
    """
    return "–" if np.isnan(value) else f"{value:{spec}}".replace("-", "−")


def number(value: float) -> str:
    """Return a number for reading: an integer from a thousand on, three digits below.

    Example:
        >>> number(12345.6), number(0.12345), number(-2), number(float("nan"))
        ('12,346', '0.123', '−2', '–')
    """
    return text(value, ",.0f" if abs(value) >= 1000 else ".3g")


def estimate(spec: str, value: float, low: float, high: float) -> str:
    r"""Return a number with its interval, without line breaks.

    Example:
        >>> estimate("+.1f", -1.5, -2, 0.25)
        '−1.5 [−2.0,\xa0+0.2]'
    """
    ends = ",\u00a0".join(text(end, spec) for end in (low, high))
    return "–" if np.isnan(value) else f"{text(value, spec)} [{ends}]"


def interval(low: float, high: float) -> str:
    """Return a bin, which may be unbounded, as text.

    Example:
        >>> interval(-np.inf, 0.5), interval(0.5, 1), interval(1, np.inf), interval(np.nan, np.nan)
        ('below 0.5', '0.5 to 1', '1 and above', 'not defined')
    """
    if np.isnan(low):
        return "not defined"
    if np.isinf(low):
        return "all" if np.isinf(high) else f"below {number(high)}"
    return f"{number(low)} and above" if np.isinf(high) else f"{number(low)} to {number(high)}"


def settings(values: Any) -> str:
    """Return settings as one line.

    Example:
        >>> settings({"name": "unet", "base_channels": 8}), settings({}), settings(None)
        ('name: unet, base_channels: 8', '', 'none')
    """
    return "none" if values is None else flow(values)[1:-1]
