"""Study: the question that a domain asks of its event table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Study:
    """The question a domain asks of its event table: the intensity error of one class against a quantity.

    Attributes:
        name: the class whose intensity is studied.
        quantity: the column of the event table it is binned by.
        label: of the quantity in figures, with its unit.
        edges: of the bins.
        signal: a pandas query for the events that hold the class (for detection), or None.
        background: a pandas query for the events that do not.
        group: the column that names the object of the class, where one stands in several events: intervals then
            resample objects.
        background_group: the same for background events.
        equivalent: the quantity of an object as bright as which false positives are counted, or None.
        alike: further classes of the same kind, whose objects count too.
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
    alike: Sequence[str] = ()

    @property
    def what(self) -> str:
        """What is studied, in words."""
        return f"{self.name} to {self.alike[-1]}" if self.alike else self.name

    def rows(self, table: "pd.DataFrame") -> "pd.DataFrame":
        """Return the rows of an event table that the study is about."""
        return table[table["class"].isin((self.name, *self.alike))]
