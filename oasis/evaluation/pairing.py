"""Paired differences: the difference of a statistic between methods evaluated on the same events."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from oasis.errors import DataError
from oasis.stats.intervals import Estimate, Floats, bootstrap

Statistic = Callable[..., Floats]
Tables = pd.DataFrame | Sequence[pd.DataFrame]


class Pair(NamedTuple):
    """A statistic of two runs, and its difference, second minus first."""

    a: float
    b: float
    difference: Estimate


def paired_difference(
    table_a: Tables,
    table_b: Tables,
    statistic: Statistic,
    columns: Sequence[str] = ("delta_percent",),
    group: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Return the difference of a statistic, table b minus a, with its 95 % paired bootstrap interval.

    The same events are drawn for both, so that the difficulty of an event cancels. If one side has several tables,
    from trainings with several seeds, their statistic is averaged, and tables are resampled too: the interval then
    includes the scatter of trainings, slightly underestimated because the tables are few.

    Args:
        table_a: one row per event: the rows of one class. Events with a NaN in any table are left out.
        table_b: the same events, in any order.
        statistic: maps an array (resamples, n) for each of `columns` to (resamples,); with a group it must ignore
            NaN, as for `oasis.stats.intervals.bootstrap`.
        columns: the columns of the tables, numbers or truth values.
        group: the column that identifies the object if objects appear in several events: whole groups are
            resampled.
        resamples: number of resamples.
        seed: the seed of the resampling.

    Raises:
        DataError: the tables contain different events, or several rows of one event.

    Example:
        >>> a = pd.DataFrame({"id": range(99), "intensity_true": 1.0, "delta_percent": np.arange(99.0)})
        >>> b = a.assign(delta_percent=a["delta_percent"] + 2)
        >>> paired_difference(a, b, lambda delta: np.median(delta, axis=-1))
        Estimate(value=2.0, low=2.0, high=2.0)
    """
    sides = as_list(table_a), as_list(table_b)
    tables = aligned_tables([*sides[0], *sides[1]])
    return compare_pair(tables, len(sides[0]), statistic, columns, group, resamples, seed).difference


def as_list(tables: Tables) -> list[pd.DataFrame]:
    """Return the tables of one side."""
    return [tables] if isinstance(tables, pd.DataFrame) else list(tables)


def aligned_tables(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return tables with their rows in the order of the events of the first one.

    Raises:
        DataError: they contain different events, several rows of one event, or disagree in its true intensity.
    """
    indexed = [table.set_index("id") for table in tables]
    first = indexed[0]
    for table in indexed:
        if not table.index.is_unique:
            raise DataError(f"event {table.index[table.index.duplicated()][0]} has several rows: choose one class")
        odd = table.index.symmetric_difference(first.index)
        if len(odd):
            raise DataError(
                f"the tables contain different events: {len(odd)} are not in all of them, such as {odd[0]}: "
                "measure all runs on the same split of the same data"
            )
    aligned = [table.loc[first.index] for table in indexed]
    for table in aligned:
        _check_truth(first, table)
    return aligned


def _check_truth(first: pd.DataFrame, other: pd.DataFrame) -> None:
    true, found = (table["intensity_true"].to_numpy(dtype=float) for table in (first, other))
    differ = ~np.isclose(found, true, rtol=1e-3, atol=1e-6)
    if differ.any():
        raise DataError(
            f"event {first.index[differ][0]} has the true intensity {true[differ][0]:.6g} in one table and "
            f"{found[differ][0]:.6g} in another: measure all runs on the same data, from the same seed"
        )


def compare_pair(
    tables: Sequence[pd.DataFrame],
    first: int,
    statistic: Statistic,
    columns: Sequence[str],
    group: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Pair:
    """Return the comparison of the first tables, side a, with the others; all must be aligned."""
    sides = [range(first), range(first, len(tables))]
    found, difference = _bootstrapped(tables, sides, statistic, columns, group, resamples, seed)
    return Pair(float(found[:first].mean()), float(found[first:].mean()), difference)


def mean_over_trainings(
    tables: Tables,
    statistic: Statistic,
    columns: Sequence[str] = ("delta_percent",),
    group: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Estimate:
    """Return the mean of a statistic over trainings evaluated on the same events, with its 95 % interval.

    Events and trainings are resampled as in `paired_difference`, which states the arguments and errors.

    Example:
        >>> a = pd.DataFrame({"id": range(99), "intensity_true": 1.0, "delta_percent": 3.0})
        >>> mean_over_trainings([a, a.assign(delta_percent=5.0)], lambda delta: np.median(delta, axis=-1))
        Estimate(value=4.0, low=3.0, high=5.0)
    """
    aligned = aligned_tables(as_list(tables))
    return _bootstrapped(aligned, [range(len(aligned))], statistic, columns, group, resamples, seed)[1]


def _bootstrapped(
    tables: Sequence[pd.DataFrame],
    sides: Sequence[range],
    statistic: Statistic,
    columns: Sequence[str],
    group: str | None,
    resamples: int,
    seed: int,
) -> tuple[Floats, Estimate]:
    """Return a statistic of each table, and its mean over the last side less that over the one before, if any."""
    values = np.array([table[list(columns)].to_numpy(dtype=float).T for table in tables])  # (tables, columns, n)
    known = np.isfinite(values).all(axis=(0, 1))
    count = int(known.sum())
    if not count:
        return np.full(len(tables), np.nan), Estimate(np.nan, np.nan, np.nan)
    padded = np.pad(values[:, :, known], ((0, 0), (0, 0), (0, 1)), constant_values=np.nan)
    rng = np.random.default_rng([seed, 1])

    def of_tables(events: Floats) -> Floats:
        take = np.where(np.isnan(events), count, events).astype(int)
        return np.stack([statistic(*(column[take] for column in table)) for table in padded], axis=-1)

    def drawn_mean(found: Floats) -> Floats:
        number = found.shape[1]
        shares = rng.multinomial(number, np.full(number, 1 / number), size=len(found)) / number
        return np.asarray((found * shares).sum(axis=1))

    def combined(events: Floats) -> Floats:
        found = of_tables(events)
        last, *before = (drawn_mean(found[:, side]) for side in reversed(sides))
        return last - before[0] if before else last

    groups = None if group is None else tables[0][group].to_numpy()[known]
    _, low, high = bootstrap(np.arange(float(count)), combined, resamples, seed, groups)
    found = of_tables(np.arange(float(count))[None])[0]
    last, *before = (float(found[side].mean()) for side in reversed(sides))
    return found, Estimate(last - before[0] if before else last, low, high)
