"""Joining of several data sets into one, such as the files of a split."""

from collections.abc import Mapping
from itertools import accumulate

import numpy as np

from oasis.data.mixing import SampleDataset
from oasis.data.samples import Sample
from oasis.errors import DataError


class Joined(SampleDataset):
    """The samples of several data sets, one after another.

    Args:
        parts: the data sets by name; the name is prefixed to the `id` of a sample, which thus stays unique.

    Raises:
        DataError: a data set is empty, or its samples differ in shape or metadata from those of the first.
    """

    def __init__(self, parts: Mapping[str, SampleDataset]) -> None:
        self.names = list(parts)
        self.parts = list(parts.values())
        self.ends = list(accumulate(map(len, self.parts)))
        for name, part in parts.items():
            if not len(part):
                raise DataError(f"{name}: contains no samples")
        first = self.parts[0][0]
        for name, part in parts.items():
            _check_joins(name, part[0], first)

    def __len__(self) -> int:
        return self.ends[-1]

    def sample(self, index: int, epoch: int) -> Sample:
        """Return sample `index` of the joined data sets."""
        place = int(np.searchsorted(self.ends, index, side="right"))
        within = index - (self.ends[place - 1] if place else 0)
        sample = self.parts[place].sample(within, epoch)
        if "id" not in sample.meta:
            return sample
        return sample.replace(meta={**sample.meta, "id": f"{self.names[place]}/{sample.meta['id']}"})


def _check_joins(name: str, sample: Sample, first: Sample) -> None:
    if sample.target.shape != first.target.shape:
        shapes = f"{sample.target.shape}, the first {first.target.shape}"
        raise DataError(f"{name}: its samples have maps of shape {shapes}")
    found, expected = (None if one.context is None else one.context.shape for one in (sample, first))
    if found != expected:
        raise DataError(f"{name}: its samples have context {found}, the first {expected}")
    if set(sample.meta) != set(first.meta):
        raise DataError(f"{name}: its samples have metadata {sorted(sample.meta)}, the first {sorted(first.meta)}")
