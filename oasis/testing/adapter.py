"""The check of an adapter, whose error says in one line how to correct it."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from inspect import isabstract
from pathlib import Path
from typing import Any

from oasis.adapters.base import Adapter
from oasis.adapters.registry import find_adapter
from oasis.testing import datasets, facts, hooks, samples
from oasis.testing.case import Case, ContractError

CHECKS: Sequence[Callable[[Case], None]] = (
    facts.facts,
    facts.defaults,
    facts.options,
    samples.shapes,
    samples.meta,
    samples.instances,
    samples.sums,
    datasets.reproducible,
    datasets.workers,
    datasets.storage,
    hooks.table,
    hooks.reading,
)


def check_adapter(
    adapter: Adapter | type[Adapter] | str,
    options: Mapping[str, Any] | None = None,
    count: int = 8,
    tolerance: float = 0.1,
    files: Sequence[str | Path] = (),
) -> None:
    """Check that an adapter keeps the contract on which training, evaluation and prediction rely.

    Checked are: the facts, alone and with the domain's defaults; the options, through YAML and back; samples of
    every split (shapes, types, finite values, metadata that can be stored); that the image is the sum of its maps
    plus a background; that samples are the same in any order, in worker processes, from a file and, for validation
    and test, in every epoch; the study and the hooks, on the event table of an untrained
    separator; and the reading of measured images.

    Args:
        adapter: an adapter, its class, or its name as in a configuration.
        options: the section `data`, for a class or a name; choose settings for which samples are made quickly.
        count: number of samples of each split to inspect.
        tolerance: by how much the share of a map that is found in the image may differ from 1.
        files: measured images that the adapter reads. By default its own samples are written to an `.npz` file and
            read, if it supports such files.

    Raises:
        ContractError: the first violation, and how to correct it.
        OasisError: raised by the adapter itself.

    Example:
        >>> from oasis.testing import check_adapter
        >>> check_adapter("pulses", {"samples": 256}, count=2)
    """
    if isinstance(adapter, str):
        adapter = find_adapter(adapter)
    if isinstance(adapter, type):
        if isabstract(adapter):
            missing = ", ".join(sorted(adapter.__abstractmethods__))
            raise ContractError(f"{adapter.__name__} does not define {missing}: give it as a class attribute")
        adapter = adapter(options or {})
    with tempfile.TemporaryDirectory() as folder:
        case = Case(adapter, count, tolerance, [Path(file) for file in files], Path(folder))
        for check in CHECKS:
            check(case)
