"""Comparable runs: those of one adapter that were trained on the same data."""

from collections.abc import Callable, Sequence
from pathlib import Path

from oasis.errors import ConfigError
from oasis.run.run import Run


def comparable_runs(
    folders: Sequence[Path], adapter: str, fits: Callable[[Run], bool], changes: Sequence[str] = ()
) -> dict[str, Run]:
    """Read runs, and return them by the names of their folders.

    Args:
        folders: of the runs.
        adapter: name of the adapter, for the message.
        fits: whether a run is one of that adapter.
        changes: changes to the configurations.

    Raises:
        ConfigError: two folders have the same name, a run has another adapter, or their data differ.
    """
    runs = {folder.name: Run(folder, changes) for folder in folders}
    if len(runs) < len(folders):
        raise ConfigError("two of the folders have the same name: rename one")
    first = next(iter(runs.values()))
    for name, run in runs.items():
        if not fits(run):
            raise ConfigError(f"{name}: expected a run of the adapter {adapter}, found {run.config.adapter}")
        if (run.config.data, run.adapter.seed) != (first.config.data, first.adapter.seed):
            raise ConfigError(f"{name}: its data differ from those of {first.folder.name}")
    return runs
