"""Region statistics: pixels, samples and intensity of every region in a data set."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oasis.data.loading import Loader
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Sample
from oasis.errors import ConfigError, DataError
from oasis.progress import watched
from oasis.regions import check_classes, per_class, present, region_codes, region_name

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 100  # characters in a line of text


@dataclass(frozen=True)
class RegionStatistics:
    """Statistics of the R regions among the valid pixels of a data set, by number of classes, then by code.

    As in the loss, every band of a pixel has its own region, so that an image of B bands has B times as many
    pixels as its grid.

    Attributes:
        classes: the N class names.
        samples: number of samples that were counted.
        codes: (R,) region codes.
        pixels: (R,) number of valid pixels.
        occurrences: (R,) number of samples with such a pixel.
        intensity: (R, N) summed true map of each class, in physical units.
    """

    classes: tuple[str, ...]
    samples: int
    codes: NDArray[np.int64]
    pixels: NDArray[np.int64]
    occurrences: NDArray[np.int64]
    intensity: NDArray[np.float64]

    @property
    def counts(self) -> dict[int, int]:
        """The pixels by region code, as the rule `balanced` takes them."""
        return dict(zip(self.codes.tolist(), self.pixels.tolist(), strict=True))

    def table(self) -> "pd.DataFrame":
        """Return one row per region.

        `share` is the fraction of all pixels, `overlap_share` that of pixels with two or more classes, NaN in
        other regions.
        """
        import pandas as pd

        codes = self.codes.tolist()
        table = pd.DataFrame(
            {
                "region": [region_name(code, self.classes) for code in codes],
                "code": self.codes,
                "classes": [code.bit_count() for code in codes],
                "pixels": self.pixels,
                "samples": self.occurrences,
                "share": self.pixels / self.pixels.sum(),
            }
        )
        overlap = table["pixels"].where(table["classes"] > 1)
        table["overlap_share"] = overlap / overlap.sum()
        return table.join(pd.DataFrame(self.intensity, columns=[f"intensity_{name}" for name in self.classes]))

    def text(self, unit: str = "", rows: int = 30) -> str:
        """Return a text table of the `rows` regions with most pixels; it states how many are left out."""
        table = self.table()
        kept = table.nlargest(rows, "pixels").sort_index()
        columns = {
            "region": list(kept["region"]),
            "pixels": [f"{pixels:,}" for pixels in kept["pixels"]],
            "% of pixels": _percents(kept["share"]),
            "% of overlap": _percents(kept["overlap_share"]),
            "samples": [f"{samples:,}" for samples in kept["samples"]],
        }
        totals = dict(zip(self.classes, self.intensity.sum(axis=0).tolist(), strict=True))
        light = {f"% of {name}": _percents(kept[f"intensity_{name}"] / total) for name, total in totals.items()}
        summed = ", ".join(f"{name} {total:,.{0 if total >= 1000 else 4}f}" for name, total in totals.items())
        head = [
            f"{self.samples:,} samples with {self.pixels.sum():,} valid pixels in {len(table):,} of "
            f"{2 ** len(self.classes):,} regions",
            *textwrap.wrap(f"intensity{f' in {unit}' if unit else ''}: {summed}", WIDTH, subsequent_indent="  "),
        ]
        lines = _aligned(columns | light)
        if len(lines[0]) > WIDTH:
            lines = [*_aligned(columns), "each class's share of the intensity is too wide to be shown"]
        if len(kept) < len(table):
            rest = _percents([1 - kept["share"].sum()])[0]
            lines.append(f"{len(table) - len(kept):,} more regions, with {rest} % of the pixels, are not shown")
        return "\n".join([*head, *lines])


def _percents(shares: Iterable[float]) -> list[str]:
    percents = [100 * share for share in shares]
    return ["" if np.isnan(p) else "<0.01" if 0 < p < 0.005 else f"{p:.2f}" for p in percents]


def _aligned(columns: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a header line and one line per row, with names aligned left and numbers right."""
    cells = [[heading, *column] for heading, column in columns.items()]
    widths = [max(map(len, column)) for column in cells]
    names = [text.ljust(widths[0]) for text in cells[0]]
    numbers = [[text.rjust(width) for text in column] for column, width in zip(cells[1:], widths[1:], strict=True)]
    return ["  ".join(row) for row in zip(names, *numbers, strict=True)]


def region_statistics(
    dataset: SampleDataset,
    classes: Sequence[str],
    thresholds: Mapping[str, float] | float = 0.0,
    samples: int | None = None,
    workers: int = 0,
    seed: int = 0,
) -> RegionStatistics:
    """Return the statistics of the regions in a data set, reading one sample at a time.

    Args:
        dataset: samples with truth; if they differ in every epoch, those of epoch 0.
        classes: the N class names.
        thresholds: the thresholds above which a class is present, in physical units: those of the loss.
        samples: number of samples to draw; all if None.
        workers: number of processes that prepare samples.
        seed: the seed of the draw.

    Raises:
        ConfigError: a class is unknown, or `samples` is below 1.
        DataError: the data set is empty, or has another number of classes.

    Example:
        >>> class Steps(SampleDataset):
        ...     def __len__(self):
        ...         return 3
        ...     def sample(self, index, epoch):
        ...         target = np.array([[[5, 5, 0, 0]], [[0, 2, 2, 0]]], np.float32)
        ...         return Sample(target.sum(axis=0), target, np.ones((1, 4), bool))
        >>> region_statistics(Steps(), ("ER", "NR")).counts
        {0: 3, 1: 3, 2: 3, 3: 3}
    """
    classes = check_classes(classes)
    limits = per_class(classes, thresholds, 0.0, "thresholds")
    if samples is not None and samples < 1:
        raise ConfigError(f"samples: expected at least 1, found {samples}")
    if not len(dataset):
        raise DataError("the data set is empty: it has no regions")
    count = min(samples or len(dataset), len(dataset))
    chosen = np.sort(np.random.default_rng(seed).choice(len(dataset), count, replace=False)).tolist()
    summed = partial(_sums, classes=classes, limits=limits)
    loader = Loader(dataset, chosen, 1, workers, 1, summed)
    sums: dict[int, NDArray[np.float64]] = {}
    for one in watched(loader, "count regions", count):
        for code, row in one.items():
            sums[code] = sums.get(code, 0) + row
    codes = sorted(sums, key=lambda code: (code.bit_count(), code))
    table = np.array([sums[code] for code in codes]).reshape(len(codes), 2 + len(classes))
    pixels, occurrences = table[:, :2].T.astype(np.int64)
    return RegionStatistics(classes, count, np.array(codes, np.int64), pixels, occurrences, table[:, 2:])


def _sums(samples: Sequence[Sample], classes: Sequence[str], limits: Tensor) -> dict[int, NDArray[np.float64]]:
    """Return pixels, a 1 and the intensity of each class (2 + N,) for every region in a single sample."""
    (sample,) = samples
    target = torch.from_numpy(sample.target)
    if len(target) != len(classes):
        raise DataError(f"a sample has {len(target)} maps, expected one for each of {list(classes)}")
    codes = region_codes(present(target[None], limits))[0].numpy()
    valid = np.broadcast_to(sample.valid, codes.shape)
    codes = codes[valid]
    seen = np.unique(codes)
    place = np.searchsorted(seen, codes)
    pixels = np.bincount(place, minlength=len(seen))
    intensity = [np.bincount(place, maps[valid], len(seen)) for maps in sample.target]
    return dict(zip(seen.tolist(), np.stack([pixels, np.ones(len(seen)), *intensity], axis=1), strict=True))
