"""Calibration: intensities corrected for bias, with intervals that hold the truth as often as they say."""

import logging
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, ValidationInfo, field_validator
from scipy.optimize import isotonic_regression
from scipy.stats import binomtest

from oasis.errors import DataError, nearest
from oasis.evaluation.identity import Identity, check_identity, identity_of
from oasis.io.texts import read_json, write_text
from oasis.options import Options
from oasis.stats.bins import bin_numbers, bins_of

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]

CALIBRATION = "calibration.json"  # in a run's folder
FORMAT: Final = "oasis-calibration-1"
INTENSITY = "intensity_true"
PREDICTED = "intensity_predicted"
KNOTS = 20  # of a curve, at most
EVENTS_PER_KNOT = 25
FEWEST = 2 * EVENTS_PER_KNOT  # events of a class: a knot in each half


def conformal_quantile(scores: Floats, coverage: float) -> float:
    r"""Return what a further score does not exceed with at least the probability `coverage`.

    .. math:: q = s_{(k)}, \qquad k = \lceil (n + 1)\,(1 - \alpha) \rceil

    holds for n + 1 exchangeable scores, whatever their distribution (Papadopoulos et al. 2002; Lei et al. 2018,
    arXiv 1604.04173). It is infinite if k > n.

    Args:
        scores: (n,) one per event.
        coverage: :math:`1 - \alpha`, between 0 and 1.

    Example:
        >>> conformal_quantile(np.arange(1.0, 20.0), 0.9)
        18.0
        >>> conformal_quantile(np.arange(1.0, 9.0), 0.9)
        inf
    """
    rank = max(math.ceil((len(scores) + 1) * coverage - 1e-9), 1)  # 0.07 * 100 is a little more than 7
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf


class CalibrationOptions(Options):
    """How intensities are calibrated.

    Attributes:
        coverage: the share of events whose interval shall hold the truth.
        absent: count events without an object of the class too; without them, estimates and intervals are those of
            objects that are known to be there.
        correct: map predicted to true intensity before an interval is laid around it.
        spread: the column that the width of intervals follows: predicted intensity, or another such as
            `intensity_spread`, over the symmetries of the image, which is measured if it is asked for here; None
            makes all intervals of a stratum equally wide.
        strata: the column in whose bins coverage holds apart; None for all events together.
        edges: where one stratum ends and the next begins, the value of an edge belonging above it; or a number of
            strata with about equally many events. Events without a value are a stratum of their own.
        quantities: by class, a column with a physical quantity that is at least 0, such as an energy, to be
            estimated from the intensity of the objects that are there.
        seed: of the division into halves.
    """

    coverage: float = Field(0.9, gt=0, lt=1)
    absent: bool = True
    correct: bool = True
    spread: str | None = PREDICTED
    strata: str | None = "overlap_fraction_predicted"
    edges: int | tuple[float, ...] = 3
    quantities: dict[str, str] = {}
    seed: int = Field(0, ge=0)

    @field_validator("edges")
    @classmethod
    def _increasing(cls, edges: int | tuple[float, ...]) -> int | tuple[float, ...]:
        if isinstance(edges, int) and edges < 1:
            raise ValueError("expected at least 1 stratum")
        if isinstance(edges, tuple) and any(low >= high for low, high in pairwise(edges)):
            raise ValueError("edges have to increase")
        return edges


class Curve(Options):
    """A function through knots: linear between, constant below the first, in proportion beyond the last.

    Attributes:
        knots: argument and value, by increasing argument.

    Example:
        >>> Curve(knots=((0, 1), (10, 2)))(np.array([-1.0, 5.0, 20.0]))
        array([1. , 1.5, 4. ])
    """

    knots: tuple[tuple[float, float], ...] = Field(min_length=1)

    def __call__(self, argument: Floats) -> Floats:
        """Return the values at arguments."""
        at, value = np.transpose(self.knots)
        beyond = np.maximum(argument / at[-1], 1) if at[-1] > 0 else 1
        return np.asarray(np.interp(argument, at, value) * beyond)


class Fitted(Options):
    """What one quantity of one class came to.

    Attributes:
        correction: from predicted intensity to the quantity, or None where they are the same.
        spread: from the column `CalibrationOptions.spread` to the mean error, or None for 1.
        edges: between the strata.
        quantiles: of error / spread, by stratum, that of events without a value last; None is infinite.
        events: that the quantiles are made of, by stratum.
    """

    correction: Curve | None
    spread: Curve | None
    edges: tuple[float, ...]
    quantiles: tuple[float | None, ...]
    events: tuple[int, ...]

    @field_validator("quantiles", "events")
    @classmethod
    def _one_per_stratum(cls, values: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        if len(values) != len(info.data.get("edges", ())) + 2:
            raise ValueError("expected one value for each stratum and one for events without a value")
        return values


class Calibration(Options):
    """Corrected intensities with split-conformal intervals, fitted on an event table with truth.

    The events of a class are divided into two halves by a permutation drawn from the seed. The first half gives
    the correction and the spread, the second the `conformal_quantile` of `|true − corrected| / spread` in every
    stratum: normalised and Mondrian conformal regression (Vovk, Gammerman and Shafer 2005). If neither correction
    nor spread is asked for, all events go to the quantiles. An interval is corrected ± quantile × spread, cut at
    0, which no intensity is below.

    For an event exchangeable with those of the table the interval holds the truth with a probability of at least
    `coverage`, in every stratum.

    Attributes:
        options: how it was fitted.
        unit: of the intensities.
        configuration: fingerprint of the run whose predictions were calibrated, or "".
        classes: what was fitted, by class and by column of the truth.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> true = rng.uniform(100, 200, 800)
        >>> table = pd.DataFrame({"class": "ER", "intensity_true": true})
        >>> table["intensity_predicted"] = 0.8 * true + rng.normal(0, 4, 800)
        >>> calibration = Calibration.fit(table, ["ER"], CalibrationOptions(strata=None))
        >>> calibration.intervals(pd.DataFrame({"class": ["ER"], "intensity_predicted": [120.0]})).round(-1)
           intensity_calibrated  intensity_low  intensity_high
        0                 150.0          140.0           160.0
    """

    format: Literal["oasis-calibration-1"] = FORMAT
    options: CalibrationOptions
    unit: str = ""
    configuration: str = ""
    classes: dict[str, dict[str, Fitted]]

    @classmethod
    def fit(
        cls, table: pd.DataFrame, classes: Sequence[str], options: CalibrationOptions | None = None
    ) -> "Calibration":
        """Fit to an event table of samples that were not trained on.

        Args:
            table: with the columns `class`, `intensity_true`, `intensity_predicted` and those in the options.
            classes: to calibrate.
            options: how; the default ones otherwise.

        Raises:
            DataError: a class or a column that is not there, values that are not finite, too few events, or rows
                of several runs.
        """
        options = options or CalibrationOptions()
        label = _classes(table)
        known = list(label.unique())
        for name in classes:
            if name not in known:
                raise DataError(f"the event table has no class {name!r}; {nearest(name, known)}")
        for name in options.quantities:
            if name not in classes:
                raise DataError(f"quantities: {name!r} is not calibrated; {nearest(name, classes)}")
        fitted: dict[str, dict[str, Fitted]] = {name: {} for name in classes}
        for name, truth in [*((name, INTENSITY) for name in classes), *options.quantities.items()]:
            fitted[name][truth] = _fit(_counted(table[label == name], truth, options.absent), name, truth, options)
        identity = identity_of(table) or Identity("", "")
        return cls(options=options, classes=fitted, **identity._asdict())

    def intervals(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return estimates and intervals for the rows of a table, which needs no truth.

        Args:
            table: with the columns `class`, `intensity_predicted`, and those of spread and strata.

        Returns:
            With the index of `table`: `intensity_calibrated`, `intensity_low`, `intensity_high`, and the same
            three for each quantity under its own name; NaN for classes that were not calibrated. An interval ends
            at infinity where its stratum had too few events.

        Raises:
            DataError: a column that is not there, or a table of another run or of one that it does not name.
        """
        check_identity(table, self.configuration, "the calibration was fitted to")
        label = _classes(table)
        truths = dict.fromkeys(truth for fits in self.classes.values() for truth in fits)
        result = pd.DataFrame(np.nan, table.index, [name for truth in truths for name in _names(truth)])
        for name, fits in self.classes.items():
            chosen = (label == name).to_numpy()
            for truth, fitted in fits.items():
                result.loc[chosen, list(_names(truth))] = self._of(table[chosen], name, fitted)
        return result

    def check(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return how often intervals hold the truth: the `coverage_table` of all strata, by class and quantity.

        Args:
            table: of samples with truth that the calibration was not fitted to, joined with its `intervals`.

        Raises:
            DataError: a column that is not there.
        """
        label = _classes(table)
        by = self.options.strata or PREDICTED
        parts = {
            (name, truth): coverage_table(
                _counted(table[label == name], truth, self.options.absent),
                by,
                (-math.inf, *fitted.edges, math.inf),
                truth,
            )
            for name, fits in self.classes.items()
            for truth, fitted in fits.items()
        }
        return pd.concat(parts, names=["class", "quantity", ""]).droplevel(2).reset_index()

    def _of(self, rows: pd.DataFrame, name: str, fitted: Fitted) -> Floats:
        """Return estimate, low and high end (n, 3)."""
        quantiles = np.array([math.inf if value is None else value for value in fitted.quantiles])
        centre = _estimate(rows, fitted.correction)
        width = quantiles[_strata(rows, self.options, fitted.edges)] * _error(rows, fitted.spread, self.options)
        unbounded = int(np.isinf(width).sum())
        if unbounded:
            logger.warning(
                "%s: %d of %d intervals are infinite: there were fewer than %d events in their stratum",
                name,
                unbounded,
                len(rows),
                math.ceil(self.options.coverage / (1 - self.options.coverage) - 1e-9),
            )
        return np.stack([centre, np.maximum(centre - width, 0), centre + width], axis=1)

    def save(self, path: str | Path) -> None:
        """Write the calibration as JSON.

        Raises:
            DataError: the place cannot be written to.
        """
        write_text(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Calibration":
        """Read a calibration.

        Raises:
            DataError: the file is missing, broken or not a calibration.
            ConfigError: it holds a key or a value that does not fit.
        """
        values = read_json(path)
        if values.get("format") != FORMAT:
            raise DataError(f"{path}: not a calibration of oasis-seg (expected the format {FORMAT})")
        return cls.parse(values, where=str(path))


def _names(truth: str) -> tuple[str, str, str]:
    name = truth.removesuffix("_true")
    return f"{name}_calibrated", f"{name}_low", f"{name}_high"


def _check_column(table: pd.DataFrame, name: str) -> None:
    if name not in table:
        raise DataError(f"the event table has no column {name!r}; {nearest(name, map(str, table))}")


def _classes(table: pd.DataFrame) -> "pd.Series[str]":
    _check_column(table, "class")
    return table["class"]


def _column(rows: pd.DataFrame, name: str, finite: bool = True) -> Floats:
    _check_column(rows, name)
    values = rows[name].to_numpy(dtype=float)
    if finite and not np.isfinite(values).all():
        raise DataError(f"{name}: {int((~np.isfinite(values)).sum())} of {len(values)} values are not finite")
    return values


def _counted(rows: pd.DataFrame, truth: str, absent: bool) -> pd.DataFrame:
    """Return the rows that count: without `absent`, and for quantities, those whose object is there."""
    if absent and truth == INTENSITY:
        return rows
    return rows[(_column(rows, INTENSITY) > 0) & ~np.isnan(_column(rows, truth, finite=False))]


def _fit(rows: pd.DataFrame, name: str, truth: str, options: CalibrationOptions) -> Fitted:
    if len(rows) < FEWEST:
        raise DataError(f"{name}: {len(rows)} events with {truth} are too few to calibrate on: give {FEWEST}")
    corrected = options.correct or truth != INTENSITY
    learns = (
        corrected or options.spread is not None or (options.strata is not None and isinstance(options.edges, int))
    )
    order = np.random.default_rng(options.seed).permutation(len(rows))
    first, second = (rows.iloc[part] for part in np.split(order, [len(rows) // 2 if learns else 0]))
    correction = spread = None
    if corrected:
        correction = _correction(_column(first, PREDICTED), _column(first, truth))
    if options.spread is not None:
        error = np.abs(_column(first, truth) - _estimate(first, correction))
        spread = _spread_curve(_column(first, options.spread), error)
    scores = np.abs(_column(second, truth) - _estimate(second, correction)) / _error(second, spread, options)
    edges = _edges(first, options)
    codes = _strata(second, options, edges)
    strata = range(len(edges) + 2)
    quantiles = [conformal_quantile(scores[codes == stratum], options.coverage) for stratum in strata]
    return Fitted(
        correction=correction,
        spread=spread,
        edges=edges,
        quantiles=tuple(value if math.isfinite(value) else None for value in quantiles),
        events=tuple(np.bincount(codes, minlength=len(strata)).tolist()),
    )


def _estimate(rows: pd.DataFrame, correction: Curve | None) -> Floats:
    predicted = _column(rows, PREDICTED)
    return predicted if correction is None else correction(predicted)


def _error(rows: pd.DataFrame, spread: Curve | None, options: CalibrationOptions) -> Floats:
    """Return the error (n,) that is to be expected in every row, or 1."""
    if spread is None or options.spread is None:
        return np.ones(len(rows))
    return spread(_column(rows, options.spread))


def _edges(rows: pd.DataFrame, options: CalibrationOptions) -> tuple[float, ...]:
    """Return the edges between strata: those of the options, or quantiles above the least value."""
    if options.strata is None:
        return ()
    if not isinstance(options.edges, int):
        return options.edges
    values = _column(rows, options.strata, finite=False)
    values = values[~np.isnan(values)]
    above = values[values > values.min(initial=math.inf)]
    if not len(above):
        return ()
    shares = np.linspace(0, 1, options.edges + 1)[1:-1]
    return tuple(np.unique(np.quantile(values, shares).clip(above.min())).tolist())


def _strata(rows: pd.DataFrame, options: CalibrationOptions, edges: tuple[float, ...]) -> NDArray[np.int64]:
    """Return the stratum (n,) of every row: 0 below the first edge, the last for rows without a value."""
    if options.strata is None:
        return np.zeros(len(rows), dtype=np.int64)
    values = _column(rows, options.strata, finite=False)
    return np.where(np.isnan(values), len(edges) + 1, bin_numbers(values, edges))


def _groups(argument: Floats) -> NDArray[np.int64]:
    """Return the group (n,) of every argument: consecutive ones of about the same size, equal values together."""
    count = min(max(len(argument) // EVENTS_PER_KNOT, 1), KNOTS)
    edges = np.quantile(argument, np.linspace(0, 1, count + 1)[1:-1])
    return bin_numbers(argument, edges)


def _correction(predicted: Floats, true: Floats) -> Curve:
    """Return the monotone curve through the medians of groups and, below the faintest, to 0."""
    groups = pd.DataFrame({"at": predicted, "value": true}).groupby(_groups(predicted))
    at, value = groups.median().to_numpy().T
    value = isotonic_regression(value, weights=groups.size().to_numpy(dtype=float)).x
    if at[0] > 0:
        at, value = np.insert(at, 0, 0), np.insert(value, 0, 0)
    return Curve(knots=tuple(zip(at.tolist(), value.tolist(), strict=True)))


def _spread_curve(argument: Floats, error: Floats) -> Curve:
    """Return the curve through the mean errors of groups; a group without errors has the least of the others."""
    groups = pd.DataFrame({"at": argument, "value": error}).groupby(_groups(argument))
    at, value = groups["at"].median().to_numpy(), groups["value"].mean().to_numpy()
    least = value[value > 0].min(initial=np.inf)
    value = np.where(value > 0, value, least if np.isfinite(least) else 1.0)
    return Curve(knots=tuple(zip(at.tolist(), value.tolist(), strict=True)))


def coverage_table(table: pd.DataFrame, by: str, edges: Sequence[float], truth: str = INTENSITY) -> pd.DataFrame:
    """Return how often intervals hold the truth, in bins of a quantity.

    Args:
        table: the rows of one class, with the truth and the columns of `Calibration.intervals`.
        by: the column to bin by.
        edges: of the bins.
        truth: the column of the truth.

    Returns:
        One row per bin, and a last one for events where `by` is NaN if there are any: `low`, `high`, `events`,
        `coverage` with its exact 95 % interval (Clopper and Pearson 1934) `coverage_low` and `coverage_high`, and
        the median `width` of the intervals.

    Raises:
        DataError: a column that is not there.

    Example:
        >>> table = pd.DataFrame({"intensity_true": [1.0, 2.0], "overlap_fraction": [0.0, 0.0]})
        >>> table = table.assign(intensity_low=[0.0, 2.5], intensity_high=[2.0, 3.5])
        >>> coverage_table(table, "overlap_fraction", [0, 0.5]).round(2)
           low  high  events  coverage  coverage_low  coverage_high  width
        0    0   0.5       2       0.5          0.01           0.99    1.5
    """
    table = _counted(table, truth, absent=True)
    true, place = (_column(table, name, finite=False) for name in (truth, by))
    low, high = (_column(table, name, finite=False) for name in _names(truth)[1:])
    held = (low <= true) & (true <= high)
    known = ~np.isnan(low)
    bins = [(*one, known & one.contains(place)) for one in bins_of(edges)]
    nowhere = known & np.isnan(place)
    rows = []
    for start, end, chosen in [*bins, *[(np.nan, np.nan, nowhere)] * bool(nowhere.any())]:
        row = {"low": start, "high": end, "events": int(chosen.sum())}
        row |= dict.fromkeys(("coverage", "coverage_low", "coverage_high", "width"), np.nan)
        if chosen.any():
            test = binomtest(int(held[chosen].sum()), int(chosen.sum()))
            interval = test.proportion_ci(method="exact")
            row |= {"coverage": test.statistic, "coverage_low": interval.low, "coverage_high": interval.high}
            row["width"] = float(np.median(high[chosen] - low[chosen]))
        rows.append(row)
    return pd.DataFrame(rows)
