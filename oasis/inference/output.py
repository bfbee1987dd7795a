"""Output: the maps and the table of a prediction."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from oasis.device import return_freed_memory
from oasis.errors import DataError, OasisError
from oasis.evaluation.event_table import WITHOUT_TRUTH
from oasis.evaluation.identity import CONFIGURATION, identified
from oasis.inference.pixels import PixelSize
from oasis.inference.predicted import Predicted
from oasis.inference.previews import Previews
from oasis.inference.rows import Rows
from oasis.inference.sinks import Sink
from oasis.io.files import readable
from oasis.progress import FileProgress
from oasis.separator.options import SeparatorOptions

BATCH = 8  # images per forward pass
RETURNED = 2**24  # values written between two times at which freed memory is returned to the system
MASK = "mask"  # the array of good pixels in the output
MASKED = "masked_fraction"  # column: bad pixels as a fraction of the visible ones


def check_same_size(size: tuple[int, ...], earlier: tuple[int, ...] | None) -> None:
    """Check that images have the size of earlier ones, if there were any.

    Raises:
        DataError: they have not.
    """
    if earlier is not None and size != earlier:
        found, expected = (" x ".join(map(str, each)) for each in (size, earlier))
        raise DataError(
            f"images are {found} pixels, earlier ones were {expected}, and one file of maps holds images of "
            "one size: write one for every input (--each h5, with --out a folder)"
        )


class Output:
    """The output of a prediction, appended file by file.

    Args:
        sink: the sink of arrays.
        progress: is told how many images there are and how many are done.
        previews: draws the first images of every file.
    """

    def __init__(self, sink: Sink, progress: FileProgress | None = None, previews: Previews | None = None) -> None:
        self.sink = sink
        self.progress = progress
        self.previews = previews
        self.pixels: list[PixelSize] = []
        self.count = 0
        self._written = 0  # values since memory was returned
        self.size: tuple[int, ...] | None = None
        self.masked = False
        self.rows = Rows()
        self.instances = Rows()

    def expect(self, images: int) -> None:
        """State how many images the next file has."""
        if self.progress is not None:
            self.progress.expect(images)

    def check_size(self, size: tuple[int, ...]) -> None:
        """Check that images have the size of earlier ones.

        Raises:
            DataError: they have not.
        """
        check_same_size(size, self.size)

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
            numbers: the numbers of the images in it.
            size: the size of an image.
            mask: (n, 1, *S) the good pixels, or None if all are good.
            arrays: arrays by name in the output, besides source, frame and mask.
            columns: columns of the table, one value per row; `frame` is the number of the image if given, else all
                images have the same number of rows.
        """
        self.size = size
        if mask is not None and not self.masked:
            self.masked = True
            for start in range(0, self.count, BATCH):  # for earlier images, which had no mask
                self.sink.append(MASK, np.ones((min(BATCH, self.count - start), 1, *size), bool))
        source = readable(path)
        added = {**arrays, "source": np.full(len(numbers), source), "frame": numbers.astype(np.int64)}
        if self.masked:
            added[MASK] = np.ones((len(numbers), 1, *size), bool) if mask is None else mask
        for name, values in added.items():
            self.sink.append(name, values)
            self._written += values.size
        if self._written > RETURNED:
            return_freed_memory()
            self._written = 0
        rows = len(np.asarray(columns["class"]))
        frame = columns.get("frame", np.repeat(numbers, rows // len(numbers)))
        self.rows.add({"source": [source] * rows, "frame": frame, **columns})
        self.count += len(numbers)
        if self.progress is not None:
            self.progress.advance(len(numbers))

    def add_instances(self, path: Path, numbers: NDArray[np.intp], table: pd.DataFrame) -> None:
        """Append the instances of images of a file, whose `image` counts among `numbers`."""
        columns: dict[str, ArrayLike] = {str(name): table[name].to_numpy() for name in table if name != "image"}
        frame = np.asarray(numbers)[table["image"].to_numpy(int)]
        self.instances.add({"source": [readable(path)] * len(table), "frame": frame, **columns})

    def predicted(self, failed: Mapping[Path, OasisError], options: SeparatorOptions) -> Predicted:
        """Return the result of a prediction, whose tables state the run and the unit.

        Args:
            failed: the files that could not be used, completely or in part, and why.
            options: the options of the separator.
        """
        run, unit = options.identity.get(CONFIGURATION), options.unit
        instances = identified(self.instances.table(), run, unit) if self.instances else None
        return Predicted(self.count, failed, identified(self.table(), run, unit), instances)

    def table(self) -> pd.DataFrame:
        """Return one row per image and class, or per region and class."""
        if not self.rows:  # no images
            return pd.DataFrame(columns=["source", "frame", "class", *WITHOUT_TRUTH])
        table = self.rows.table()
        return table.fillna({MASKED: 0.0}) if self.masked else table
