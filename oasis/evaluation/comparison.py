"""Comparison: which differences between runs are real, judged on events that all of them were measured on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from oasis.adapters.study import Study, chosen
from oasis.errors import ConfigError, DataError
from oasis.evaluation.identity import identity_of
from oasis.stats.bins import bins_of, median, spread
from oasis.stats.intervals import Estimate, bootstrap

Floats = NDArray[np.float64]
Statistic = Callable[..., Floats]
Tables = pd.DataFrame | Sequence[pd.DataFrame]


class Pair(NamedTuple):
    """A statistic of two runs, and by how much it is larger in the second one."""

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
    """Return by how much a statistic is larger in table b than in a, with its 95 % paired bootstrap interval.

    The same events are drawn for both, so that what makes an event hard for either cancels. Where one side has
    several tables, of trainings from several seeds, their statistic is averaged, and they are drawn too: the
    interval then holds the scatter of trainings, of which so few tables show a little less than there is.

    Args:
        table_a: one row per event: the rows of one class. Events with a NaN in any table are left out.
        table_b: the same events, in any order.
        statistic: maps an array (resamples, n) for each of `columns` to (resamples,); with a group it has to
            ignore NaN, as for `oasis.stats.intervals.bootstrap`.
        columns: of the tables, numbers or truth values.
        group: the column that names the object in an event, where objects repeat: whole groups are resampled.
        resamples: how many.
        seed: of the resampling.

    Raises:
        DataError: the tables hold different events, or several rows of one.

    Example:
        >>> a = pd.DataFrame({"id": range(99), "intensity_true": 1.0, "delta_percent": np.arange(99.0)})
        >>> b = a.assign(delta_percent=a["delta_percent"] + 2)
        >>> paired_difference(a, b, lambda delta: np.median(delta, axis=-1))
        Estimate(value=2.0, low=2.0, high=2.0)
    """
    sides = _as_list(table_a), _as_list(table_b)
    tables = _aligned([*sides[0], *sides[1]])
    return _pair(tables, len(sides[0]), statistic, columns, group, resamples, seed).difference


def _as_list(tables: Tables) -> list[pd.DataFrame]:
    return [tables] if isinstance(tables, pd.DataFrame) else list(tables)


def _aligned(tables: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return tables with their rows in the order of the first one's events."""
    indexed = [table.set_index("id") for table in tables]
    first = indexed[0]
    for table in indexed:
        if not table.index.is_unique:
            raise DataError(f"event {table.index[table.index.duplicated()][0]} has several rows: choose one class")
        odd = table.index.symmetric_difference(first.index)
        if len(odd):
            raise DataError(
                f"the tables hold different events: {len(odd)} are in one of them only, such as {odd[0]}: "
                "measure all runs on the same split of the same data"
            )
    aligned = [table.loc[first.index] for table in indexed]
    for table in aligned:
        differ = ~np.isclose(table["intensity_true"], first["intensity_true"], rtol=1e-3, atol=1e-6)
        if differ.any():
            one, other = (float(each["intensity_true"].to_numpy()[differ][0]) for each in (first, table))
            raise DataError(
                f"event {first.index[differ][0]} has the true intensity {one:.6g} in one table and {other:.6g} in "
                "another: measure all runs on the same data, from the same seed"
            )
    return aligned


def _pair(
    tables: Sequence[pd.DataFrame],
    first: int,
    statistic: Statistic,
    columns: Sequence[str],
    group: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Pair:
    """Compare the first tables, which are side a, with the others; all of them are aligned."""
    values = np.array([table[list(columns)].to_numpy(dtype=float).T for table in tables])  # (tables, columns, n)
    known = np.isfinite(values).all(axis=(0, 1))
    count = int(known.sum())
    if not count:
        return Pair(np.nan, np.nan, Estimate(np.nan, np.nan, np.nan))
    padded = np.pad(values[:, :, known], ((0, 0), (0, 0), (0, 1)), constant_values=np.nan)
    rng = np.random.default_rng([seed, 1])

    def of_tables(events: Floats) -> Floats:
        take = np.where(np.isnan(events), count, events).astype(int)
        return np.stack([statistic(*(column[take] for column in table)) for table in padded], axis=-1)

    def drawn_mean(found: Floats) -> Floats:
        number = found.shape[1]
        shares = rng.multinomial(number, np.full(number, 1 / number), size=len(found)) / number
        return np.asarray((found * shares).sum(axis=1))

    def difference(events: Floats) -> Floats:
        found = of_tables(events)
        return drawn_mean(found[:, first:]) - drawn_mean(found[:, :first])

    groups = None if group is None else tables[0][group].to_numpy()[known]
    _, low, high = bootstrap(np.arange(float(count)), difference, resamples, seed, groups)
    found = of_tables(np.arange(float(count))[None])[0]
    a, b = float(found[:first].mean()), float(found[first:].mean())
    return Pair(a, b, Estimate(b - a, low, high))


class _Number(NamedTuple):
    """One number of a study: a statistic of the columns of chosen events."""

    label: str
    chosen: NDArray[np.bool_]
    statistic: Statistic
    columns: Sequence[str]
    spec: str


class Difference(NamedTuple):
    """How one number of a study differs between two runs.

    Attributes:
        label: what it is.
        first: of the first run.
        second: of the second one.
        by: how much larger it is in the second one.
        spec: how many digits it is worth writing.
    """

    label: str
    first: float
    second: float
    by: Estimate
    spec: str

    @property
    def real(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.by.low > 0 or self.by.high < 0


class Comparison(NamedTuple):
    """A run against another on the same events.

    Attributes:
        first: name of the first run.
        second: name of the second one.
        events: how many there are.
        differences: of all numbers of the study.
    """

    first: str
    second: str
    events: int
    differences: Sequence[Difference]


def comparisons(tables: Mapping[str, Tables], study: Study, unit: str = "") -> list[Comparison]:
    """Compare runs with the first one.

    Args:
        tables: event tables of the same events, by the run's name; several for a run of several seeds.
        study: whose numbers are compared.
        unit: of the intensities.

    Raises:
        ConfigError: a single run.
        DataError: the tables hold different events.
    """
    if len(tables) < 2:
        raise ConfigError(f"expected two runs or more to compare, found {', '.join(tables) or 'none'}")
    (name_a, *names), (side_a, *sides) = list(tables), [_prepared(side, study) for side in tables.values()]
    found = []
    for name, side_b in zip(names, sides, strict=True):
        aligned = _aligned([*side_a, *side_b])
        group = study.group if study.group in aligned[0] else None
        rows = []
        for number in _numbers(aligned[0], study, unit):
            chosen = [table[number.chosen] for table in aligned]
            pair = _pair(chosen, len(side_a), number.statistic, number.columns, group)
            rows.append(Difference(number.label, pair.a, pair.b, pair.difference, number.spec))
        found.append(Comparison(name_a, name, len(aligned[0]) // (1 + len(study.interchangeable)), rows))
    return found


def compare(tables: Mapping[str, Tables], study: Study, unit: str = "") -> str:
    """Return for a terminal by how much runs differ from the first one, and which differences are real.

    The arguments and errors are those of `comparisons`.
    """
    lines = []
    for name_a, name, events, rows in comparisons(tables, study, unit):
        lines.append(f"{study.what} of {name} against {name_a} on the same {events:,} events, by {study.label}")
        lines.append(f"{'':>22} {name_a[-16:]:>16} {name[-16:]:>16}   difference with 95 % interval")
        lines += map(_line, rows)
    lines.append(by_chance(len(rows)))
    if min(len(_as_list(side)) for side in tables.values()) == 1:
        lines.append("A run of a single seed does not show how trainings scatter: intervals are of events.")
    return "\n".join(lines)


def _line(row: Difference) -> str:
    spec = row.spec
    return f"{row.label:>22} {row.first:>16{spec}} {row.second:>16{spec}}   {row.by:+{spec}}{' *' * row.real}"


def by_chance(count: int) -> str:
    """Return what has to be said beside so many differences of which some are marked as real."""
    return (
        f"* The interval leaves out 0. Of {count} differences that are none, about {0.05 * count:.0f} would do so "
        "by chance."
    )


def _prepared(side: Tables, study: Study) -> list[pd.DataFrame]:
    """Return the rows of the study's class, with truth values `signal` and `background` if asked for."""
    prepared = []
    for table in _as_list(side):
        identity_of(table)  # refuses rows of several runs
        rows = study.rows(table).reset_index(drop=True)
        if study.signal is not None and study.background is not None:
            queries = {"signal": study.signal, "background": study.background}
            rows = rows.assign(**{name: chosen(rows, query) for name, query in queries.items()})
        prepared.append(rows)
    return prepared


def _numbers(rows: pd.DataFrame, study: Study, unit: str) -> Iterator[_Number]:
    """Give bias, spread and IoU in every bin, then the AUC and the intensity in background events."""
    for one in bins_of(study.edges):
        inside = one.contains(rows[study.quantity])
        yield _Number(f"bias {one.name} %", inside, median, ["delta_percent"], ".1f")
        yield _Number(f"spread {one.name} %", inside, spread, ["delta_percent"], ".1f")
        yield _Number(f"IoU {one.name}", inside, median, ["iou"], ".3f")
    if "signal" in rows:
        signal, background = (rows[name].to_numpy() for name in ("signal", "background"))
        yield _Number("AUC", signal | background, _area, ["intensity_predicted", "signal"], ".3f")
        yield _Number(f"in background, {unit or 'no unit'}", background, median, ["intensity_predicted"], ".0f")


def _area(score: Floats, signal: Floats) -> Floats:
    """Return the area under the ROC curve by the ranks of signal events (Mann and Whitney 1947), NaN left out."""
    known = np.isfinite(signal)
    signal = np.where(known, signal, 0)
    positive = signal.sum(axis=-1)
    pairs = positive * (known.sum(axis=-1) - positive)
    ranks = (rankdata(np.where(known, score, np.inf), axis=-1) * signal).sum(axis=-1)
    ahead = ranks - positive * (positive + 1) / 2
    return np.asarray(ahead / np.where(pairs > 0, pairs, np.nan))
