"""Conformal intervals of one quantity of one class: fitted to rows with truth, applied to rows without."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationInfo, field_validator, model_validator

from oasis.errors import DataError
from oasis.evaluation.calibration.columns import INTENSITY, PREDICTED, column
from oasis.evaluation.calibration.curves import (
    EVENTS_PER_KNOT,
    Curve,
    classical_curve,
    correction_curve,
    width_curve,
)
from oasis.evaluation.calibration.options import CalibrationOptions, renamed
from oasis.options import Options
from oasis.stats.bins import bin_numbers
from oasis.stats.intervals import Floats, group_codes

FEWEST = 2 * EVENTS_PER_KNOT  # events of a class: one knot in each half


def conformal_quantile(scores: Floats, coverage: float) -> float:
    r"""Return the value that a new score does not exceed with a probability of at least `coverage`.

    .. math:: q = s_{(k)}, \qquad k = \lceil (n + 1)\,(1 - \alpha) \rceil

    is valid for n + 1 exchangeable scores of any distribution (Papadopoulos et al. 2002; Lei et al. 2018, arXiv
    1604.04173). It is infinite if k > n.

    Args:
        scores: (n,) one score per event.
        coverage: :math:`1 - \alpha`, between 0 and 1.

    Example:
        >>> conformal_quantile(np.arange(1.0, 20.0), 0.9)
        18.0
        >>> conformal_quantile(np.arange(1.0, 9.0), 0.9)
        inf
    """
    rank = max(math.ceil((len(scores) + 1) * coverage - 1e-9), 1)  # 0.07 * 100 is slightly more than 7
    return float(np.sort(scores)[rank - 1]) if rank <= len(scores) else math.inf


class Fitted(Options):
    """The result of the fit of one quantity of one class.

    Attributes:
        correction: curve from predicted intensity to the quantity, or None for the identity.
        width: curve from the column `CalibrationOptions.width_by` to the mean error, or None for 1.
        edges: the edges between the strata.
        quantiles: quantiles of error / width by stratum, that of events without a value last; None is infinite.
        events: number of events of each quantile, by stratum.
    """

    correction: Curve | None
    width: Curve | None
    edges: tuple[float, ...]
    quantiles: tuple[float | None, ...]
    events: tuple[int, ...]

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, values: Any) -> Any:
        return renamed(values, "spread", "width")

    @field_validator("quantiles", "events")
    @classmethod
    def _one_per_stratum(cls, values: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        if len(values) != len(info.data.get("edges", ())) + 2:
            raise ValueError("expected one value for each stratum and one for events without a value")
        return values


@dataclass(frozen=True)
class Model:
    """The model of one quantity of one class: the centre of its interval, the scale of its width, and the strata.

    Attributes:
        options: the options of the calibration.
        correction: as in `Fitted`.
        width: as in `Fitted`.
        edges: as in `Fitted`.
    """

    options: CalibrationOptions
    correction: Curve | None
    width: Curve | None
    edges: tuple[float, ...]

    def centre(self, rows: pd.DataFrame) -> Floats:
        """Return the estimate (n,) of every row."""
        predicted = column(rows, PREDICTED)
        return predicted if self.correction is None else self.correction(predicted)

    def scale(self, rows: pd.DataFrame) -> Floats:
        """Return the expected error (n,) of every row, or 1."""
        if self.width is None or self.options.width_by is None:
            return np.ones(len(rows))
        return self.width(column(rows, self.options.width_by))

    def strata(self, rows: pd.DataFrame) -> NDArray[np.int64]:
        """Return the stratum (n,) of every row: 0 below the first edge, the last for rows without a value."""
        if self.options.strata is None:
            return np.zeros(len(rows), dtype=np.int64)
        values = column(rows, self.options.strata, finite=False)
        return np.where(np.isnan(values), len(self.edges) + 1, bin_numbers(values, self.edges))


def fit(rows: pd.DataFrame, name: str, truth: str, options: CalibrationOptions) -> Fitted:
    """Fit one quantity of one class.

    Args:
        rows: the rows of the class that count.
        name: the name of the class.
        truth: the column of the quantity.
        options: the options of the fit.

    Raises:
        DataError: there are too few rows, a column is missing, or a value is not finite.
    """
    if len(rows) < FEWEST:
        raise DataError(
            f"{name}: {len(rows)} events with {truth} are too few to calibrate: give {FEWEST} (data.events, files)"
        )
    order = np.random.default_rng(options.seed).permutation(len(rows))
    learning = len(rows) // 2 if options.learns or truth != INTENSITY else 0
    if learning and options.group is not None:
        order, learning = _by_group(rows, options.group, options.seed)
    first, second = (rows.iloc[part] for part in np.split(order, [learning]))
    model = _learn(first, truth, options)
    scores = np.abs(column(second, truth) - model.centre(second)) / model.scale(second)
    codes, strata = model.strata(second), range(len(model.edges) + 2)
    quantiles = [conformal_quantile(scores[codes == stratum], options.coverage) for stratum in strata]
    return Fitted(
        correction=model.correction,
        width=model.width,
        edges=model.edges,
        quantiles=tuple(value if math.isfinite(value) else None for value in quantiles),
        events=tuple(np.bincount(codes, minlength=len(strata)).tolist()),
    )


def _by_group(rows: pd.DataFrame, group: str, seed: int) -> tuple[NDArray[np.intp], int]:
    """Return the rows in a random order of their objects, and where the first half of them ends."""
    codes = group_codes(len(rows), rows[group].to_numpy() if group in rows else None)
    rank = np.random.default_rng(seed).permutation(int(codes.max()) + 1)[codes]
    ends = np.cumsum(np.bincount(rank))
    return np.argsort(rank, kind="stable"), int(ends[np.abs(ends - len(rows) / 2).argmin()])


def _learn(rows: pd.DataFrame, truth: str, options: CalibrationOptions) -> Model:
    """Return the model of the first half of the events."""
    correction = width = None
    if options.correct or truth != INTENSITY:
        curve = classical_curve if options.correct == "classical" else correction_curve
        correction = curve(column(rows, PREDICTED), column(rows, truth))
    model = Model(options, correction, None, _edges(rows, options))
    if options.width_by is not None:
        error = np.abs(column(rows, truth) - model.centre(rows))
        width = width_curve(column(rows, options.width_by), error)
    return Model(options, correction, width, model.edges)


def _edges(rows: pd.DataFrame, options: CalibrationOptions) -> tuple[float, ...]:
    """Return the edges between strata: those of the options, or quantiles above the minimum."""
    if options.strata is None:
        return ()
    if not isinstance(options.edges, int):
        return options.edges
    values = column(rows, options.strata, finite=False)
    values = values[~np.isnan(values)]
    above = values[values > values.min(initial=math.inf)]
    if not len(above):
        return ()
    shares = np.linspace(0, 1, options.edges + 1)[1:-1]
    return tuple(np.unique(np.quantile(values, shares).clip(above.min())).tolist())


def intervals(rows: pd.DataFrame, fitted: Fitted, options: CalibrationOptions) -> Floats:
    """Return the estimate and both ends of the interval (n, 3); it is infinite if the stratum had too few events.

    Raises:
        DataError: a column is missing, or a value is not finite.
    """
    model = Model(options, fitted.correction, fitted.width, fitted.edges)
    quantiles = np.array([math.inf if value is None else value for value in fitted.quantiles])
    centre = model.centre(rows)
    half = quantiles[model.strata(rows)] * model.scale(rows)
    return np.stack([centre, np.maximum(centre - half, 0), centre + half], axis=1)
