"""A case: an adapter under test, its samples, and the error of a failed check."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from oasis.adapters.base import Adapter
from oasis.adapters.options import SPLITS
from oasis.config.schema import RunConfig
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Sample


class ContractError(AssertionError):
    """An adapter that does not keep the contract."""


@dataclass
class Case:
    """An adapter under test.

    Attributes:
        adapter: the adapter.
        count: number of samples of each split to inspect.
        tolerance: by how much the share of a map that is found in the image may differ from 1.
        files: measured images.
        folder: the folder for files of the test.
    """

    adapter: Adapter
    count: int
    tolerance: float
    files: Sequence[Path]
    folder: Path

    def require(self, kept: Any, problem: str) -> None:
        """Raise an error with the problem unless a condition is true."""
        if not kept:
            raise ContractError(f"{type(self.adapter).__name__}: {' '.join(problem.split())}")

    def again(self, seed: int | None = None) -> Adapter:
        """Return a new adapter from the same options."""
        adapter = self.adapter
        return type(adapter)(adapter.options, adapter.seed if seed is None else seed, adapter.limits)

    @cached_property
    def datasets(self) -> dict[str, SampleDataset]:
        """The data sets of all splits."""
        found = {split: self.adapter.dataset(split) for split in SPLITS}
        for split, dataset in found.items():
            self.require(len(dataset), f"dataset({split!r}) is empty: give at least one sample")
        return found

    @cached_property
    def samples(self) -> dict[str, list[Sample]]:
        """The first samples of every split."""
        return {split: first(dataset, self.count) for split, dataset in self.datasets.items()}

    @property
    def all(self) -> list[tuple[str, Sample]]:
        """All samples, with their names in a message."""
        return [(f"{split}[{i}]", one) for split, part in self.samples.items() for i, one in enumerate(part)]


def first(dataset: SampleDataset, count: int) -> list[Sample]:
    """Return the first samples of a data set."""
    return [dataset[index] for index in range(min(count, len(dataset)))]


def same(one: Sample, other: Sample) -> bool:
    """Return whether two samples are equal in every value."""
    arrays = [(one.image, other.image), (one.target, other.target), (one.valid, other.valid)]
    if one.context is not None and other.context is not None:
        arrays.append((one.context, other.context))
    if one.meta.keys() != other.meta.keys() or not all(np.array_equal(*pair) for pair in arrays):
        return False
    pairs = [(value, other.meta[name]) for name, value in one.meta.items()]
    return all(first == second or (first != first and second != second) for first, second in pairs)  # NaN is NaN


def config_of(adapter: Adapter) -> RunConfig:
    """Return the configuration of a run that states only the adapter."""
    values = {"adapter": "checked", "run": "checked"}
    return RunConfig.parse(RunConfig.merge(adapter.defaults, values), where=f"{type(adapter).__name__}.defaults")
