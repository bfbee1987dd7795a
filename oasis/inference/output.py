"""Output: the maps and the table that a prediction has written so far."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from oasis.errors import DataError
from oasis.evaluation.event_table import WITHOUT_TRUTH
from oasis.inference.rows import Rows
from oasis.inference.sinks import Sink
from oasis.io.files import readable

BATCH = 8  # images per forward pass
MASK = "mask"  # of the good pixels, in the output
MASKED = "masked_fraction"  # bad pixels as a share of those that the adapter calls visible


class Output:
    """What was written so far.

    Args:
        sink: where arrays go.
    """

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.count = 0
        self.size: tuple[int, ...] | None = None
        self.masked = False
        self.rows = Rows()
        self.instances = Rows()

    def check_size(self, size: tuple[int, ...]) -> None:
        """Check that images have the size of those before.

        Raises:
            DataError: they do not.
        """
        if self.size is not None and size != self.size:
            found, expected = (" x ".join(map(str, each)) for each in (size, self.size))
            raise DataError(
                f"images are {found} pixels, earlier ones were {expected}: write each size to its own output file"
            )

    def add(
        self,
        path: Path,
        numbers: NDArray[np.intp],
        size: tuple[int, ...],
        mask: NDArray[np.bool_] | None,
        arrays: Mapping[str, NDArray[Any]],
        columns: Mapping[str, ArrayLike],
    ) -> None:
        """Append images of a file.

        Args:
            path: of the file.
            numbers: of the images in it.
            size: of an image.
            mask: (n, 1, *S) the good pixels, or None where all are.
            arrays: what is written, by its place in the output, beside source, frame and mask.
            columns: of the table, one value per row; `frame` is the number of the image where given, else every
                image has as many rows.
        """
        self.size = size
        if mask is not None and not self.masked:
            self.masked = True
            for start in range(0, self.count, BATCH):  # of the images before, which had no mask
                self.sink.append(MASK, np.ones((min(BATCH, self.count - start), 1, *size), bool))
        source = readable(path)
        added = {**arrays, "source": np.full(len(numbers), source), "frame": numbers.astype(np.int64)}
        if self.masked:
            added[MASK] = np.ones((len(numbers), 1, *size), bool) if mask is None else mask
        for name, values in added.items():
            self.sink.append(name, values)
        rows = len(np.asarray(columns["class"]))
        frame = columns.get("frame", np.repeat(numbers, rows // len(numbers)))
        if rows:
            self.rows.add({"source": [source] * rows, "frame": frame, **columns})
        self.count += len(numbers)

    def add_instances(self, path: Path, numbers: NDArray[np.intp], table: pd.DataFrame) -> None:
        """Append the instances of images of a file, whose `image` counts among `numbers`."""
        columns: dict[str, ArrayLike] = {str(name): table[name].to_numpy() for name in table if name != "image"}
        frame = np.asarray(numbers)[table["image"].to_numpy(int)]
        self.instances.add({"source": [readable(path)] * len(table), "frame": frame, **columns})

    def table(self) -> pd.DataFrame:
        """Return one row per image and class, or per region and class."""
        table = self.rows.table()
        if not len(table):  # regions of interest that are none
            return pd.DataFrame(columns=["source", "frame", "class", *WITHOUT_TRUTH])
        return table.fillna({MASKED: 0.0}) if self.masked else table
