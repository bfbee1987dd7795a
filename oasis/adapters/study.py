"""Study: the question that a domain asks of its event table."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from oasis.errors import ConfigError, nearest

if TYPE_CHECKING:
    import pandas as pd

SIMILAR = 0.8  # ratio of names above which one is taken for a misspelling of the other
INTENSITY, PRESENCE = "intensity_predicted", "presence_predicted"  # columns of an event table


@dataclass(frozen=True)
class Study:
    """The question that a domain asks of its event table: the intensity error of one class against a quantity.

    Attributes:
        name: the class whose intensity is studied.
        quantity: the column of the event table for the bins.
        label: the label of the quantity in figures, with its unit.
        edges: the edges of the bins.
        signal: a pandas query for the events that contain the class (for detection), or None.
        background: a pandas query for the events that do not contain it, or None.
        group: the column that identifies the object of the class, if objects appear in several events: intervals
            then resample objects.
        background_group: the same for background events.
        equivalent: value of `quantity`: false positives are counted above the mean true intensity of objects of
            that value; None for no count.
        interchangeable: further classes, interchangeable with the first, whose objects also count.

    Example:
        >>> Study("cell", "area", "area (pixels)", (0, 50, 200), interchangeable=("cell_2", "cell_3")).what
        'cell to cell_3'
    """

    name: str
    quantity: str
    label: str
    edges: Sequence[float]
    signal: str | None = None
    background: str | None = None
    group: str | None = None
    background_group: str | None = None
    equivalent: float | None = None
    interchangeable: Sequence[str] = ()

    @property
    def what(self) -> str:
        """What is studied, as text."""
        return f"{self.name} to {self.interchangeable[-1]}" if self.interchangeable else self.name

    def rows(self, table: "pd.DataFrame") -> "pd.DataFrame":
        """Return the rows of an event table that the study is about."""
        return table[table["class"].isin((self.name, *self.interchangeable))]

    def check(self, classes: Sequence[str], table: "pd.DataFrame") -> None:
        """Check that the question can be answered from an event table.

        Args:
            classes: the classes of the adapter.
            table: an event table of at least one sample.

        Raises:
            ConfigError: a class or a column is missing, edges do not increase, or a query is invalid.
        """
        for name in (self.name, *self.interchangeable):
            if name not in classes:
                raise ConfigError(f"study: unknown class {name!r}; {nearest(name, classes)}")
        if self.quantity not in table:
            hint = nearest(self.quantity, map(str, table))
            raise ConfigError(f"study: the event table has no column {self.quantity!r} (quantity); {hint}")
        if table[self.quantity].dtype.kind not in "fiub":
            found = table[self.quantity].iloc[0]
            raise ConfigError(
                f"study: expected numbers in the column {self.quantity!r} (quantity), found {found!r}"
            )
        if len(self.edges) < 2 or any(not low < high for low, high in pairwise(self.edges)):
            raise ConfigError(f"study: expected two or more increasing edges of bins, found {list(self.edges)}")
        for query in (self.signal, self.background):
            if query is not None:
                chosen(table, query)

    def doubt(self, table: "pd.DataFrame") -> str:
        """Return which column of groups, that not all samples need to have, looks misspelt; else an empty text."""
        for what, group in (("group", self.group), ("background_group", self.background_group)):
            similar = [] if group in (None, *table) else get_close_matches(str(group), map(str, table), 1, SIMILAR)
            if similar:
                return f"study: the event table has no column {group!r} ({what}); did you mean {similar[0]!r}?"
        return ""


def chosen(rows: "pd.DataFrame", query: str) -> "pd.Series[bool]":
    """Return which rows of an event table a query of a study selects.

    Raises:
        ConfigError: the query cannot be evaluated, or its result is not true or false for each row.

    Example:
        >>> import pandas as pd
        >>> chosen(pd.DataFrame({"energy": [3.0, 8.0]}), "energy < 6").tolist()
        [True, False]
    """
    try:
        found: Any = rows.eval(query)
    except Exception as error:  # pandas raises many kinds of exceptions
        text = " ".join(str(error).split())
        raise ConfigError(f"study: the query {query!r} cannot be evaluated on the event table: {text}") from None
    if str(getattr(found, "dtype", None)) not in ("bool", "boolean") or len(found) != len(rows):
        raise ConfigError(f"study: the query {query!r} is not true or false for each event: compare with a value")
    return found.fillna(False).astype(bool)  # type: ignore[no-any-return]


def score_column(table: "pd.DataFrame") -> str:
    """Return the column by which a class is detected: its presence if predicted in all rows, else its intensity.

    Presence is trained for this decision, a sum of intensities is not.

    Example:
        >>> import pandas as pd
        >>> score_column(pd.DataFrame({"intensity_predicted": [9.0], "presence_predicted": [0.7]}))
        'presence_predicted'
        >>> score_column(pd.DataFrame({"intensity_predicted": [9.0]}))
        'intensity_predicted'
    """
    known = PRESENCE in table and len(table) > 0 and bool(table[PRESENCE].notna().all())
    return PRESENCE if known else INTENSITY
