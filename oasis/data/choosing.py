"""Choosing: some samples of a data set as a data set of their own."""

from collections.abc import Sequence

from oasis.data.mixing import SampleDataset
from oasis.data.samples import Sample


class Chosen(SampleDataset):
    """Some samples of a data set, in a given order, always those of its first epoch.

    Args:
        dataset: the data set.
        indices: of the samples in it.
    """

    def __init__(self, dataset: SampleDataset, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, tuple(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def sample(self, index: int, epoch: int) -> Sample:
        """Return a chosen sample."""
        return self.dataset[self.indices[index]]
