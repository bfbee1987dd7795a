"""Fluxes: what a domain measures in every band of its objects, for calibrated intervals of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Fluxes:
    """The fluxes of a domain, which `oasis calibrate` calibrates one by one.

    Its event rows have `flux_<band>_true` and `flux_<band>_predicted`, its catalogues `flux_<band>`.

    Attributes:
        classes: the classes whose fluxes they are; those after the first are interchangeable with it.
        bands: the names of the bands.
        strata: the quantity in whose bins intervals have their coverage: the column `<strata>_predicted` of event
            rows, and `<strata>` of catalogues.
        edges: the edges between the bins.

    Example:
        >>> import pandas as pd
        >>> fluxes = Fluxes(("a", "b"), ("r",), "blendedness", (0.2,))
        >>> fluxes.rows(pd.DataFrame({"class": ["a", "b", "c"]}))["class"].tolist()
        ['a', 'a']
        >>> list(fluxes.of_catalogue(pd.DataFrame({"flux_r": [1.0], "blendedness": [0.1]})))
        ['flux_r_predicted', 'blendedness_predicted', 'class']
    """

    classes: Sequence[str]
    bands: Sequence[str]
    strata: str
    edges: tuple[float, ...]

    def rows(self, table: "pd.DataFrame") -> "pd.DataFrame":
        """Return the rows of an event table that have these fluxes, as one class."""
        return table[table["class"].isin(self.classes)].assign(**{"class": self.classes[0]})

    def of_catalogue(self, table: "pd.DataFrame") -> "pd.DataFrame":
        """Return the rows of a catalogue with the columns of an event table."""
        names = {f"flux_{band}": f"flux_{band}_predicted" for band in self.bands}
        names[self.strata] = f"{self.strata}_predicted"
        return table[list(names)].rename(columns=names).assign(**{"class": self.classes[0]})
