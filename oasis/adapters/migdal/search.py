"""Tables of the search for tracks in camera frames by a YOLO network (migYOLO), as regions of interest."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

EDGES = ("rowmin", "rowmax", "colmin", "colmax")
FRAME, KIND = "original_index", "prediction"
KINDS = (
    "ER",
    "hot pixel",
    "NR",
    "proton",
    "proton afterglow",
    "rolling shutter",
    "spark",
    "spark afterglow",
    "storm",
)
"""Names of the classes of the search, by number."""


def search_regions(table: "pd.DataFrame") -> "pd.DataFrame":
    """Return the boxes of a table of the search as regions; another table as it is.

    Its rows and columns are the first and the last pixel of a box in the binned frame, `original_index` is the
    number of the frame in its file, and `prediction` the class. Boxes that overlap become one region, so that an
    electron and the nuclear recoil at its vertex are separated together.

    Example:
        >>> import pandas as pd
        >>> row = {"rowmin": 3, "rowmax": 9, "colmin": 0, "colmax": 4, "original_index": 7, "prediction": 2}
        >>> search_regions(pd.DataFrame([row])).iloc[0].to_dict()
        {'y0': 3, 'y1': 10, 'x0': 0, 'x1': 5, 'frame': 7, 'class': 'NR'}
    """
    if not set(EDGES) <= set(table):
        return table
    regions: dict[str, Any] = {
        "y0": table["rowmin"],
        "y1": table["rowmax"] + 1,
        "x0": table["colmin"],
        "x1": table["colmax"] + 1,
    }
    if FRAME in table:
        regions["frame"] = table[FRAME]
    if KIND in table:
        regions["class"] = table[KIND].map(dict(enumerate(KINDS))).fillna("unknown")
    return type(table)(regions)
