"""Detection: the signal and background events of a study, and the rate of false positives of a given size."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from oasis.adapters.study import INTENSITY, Study, chosen, score_column
from oasis.errors import DataError, nearest
from oasis.stats.intervals import Estimate, Floats, bootstrap, group_column, rate
from oasis.stats.roc import Groups


class EquivalentRate(NamedTuple):
    """The rate at which background events look like a signal of a given size.

    Attributes:
        threshold: the mean true intensity of signals of that size, with its percentile bootstrap interval.
        events: number of events.
        rate: the fraction of background events with more predicted intensity than `threshold.value`; its interval
            treats the threshold as fixed.
    """

    threshold: Estimate
    events: int
    rate: Estimate


def equivalent_false_positive_rate(
    table: pd.DataFrame, study: Study, value: float, window: float = 0.1, resamples: int = 1000, seed: int = 0
) -> EquivalentRate:
    """Return the rate of background events with more predicted intensity than true signals of a given size.

    For 4 keV it is the false-positive rate of the paper's notebook: the fraction of events with only a nuclear
    recoil whose predicted electron intensity exceeds the mean true intensity of electrons of 3.6 to 4.4 keV.

    Args:
        table: an event table.
        study: the study, which defines the class, the quantity, and the query for background events.
        value: the value of the quantity.
        window: signals count if their quantity differs from `value` by at most this fraction of it.
        resamples: number of resamples for the interval of the threshold.
        seed: the seed of the resampling.

    Raises:
        DataError: the study has no background, or the table lacks the column of the quantity.

    Example:
        >>> table = pd.DataFrame({"class": "ER", "kind": ["NR", "NR", "hybrid"], "energy": [np.nan, np.nan, 4.1]})
        >>> table = table.assign(intensity_true=[0, 0, 7700.0], intensity_predicted=[9000.0, 10.0, 7000.0])
        >>> study = Study("ER", "energy", "energy (keV)", (3, 15), background="kind == 'NR'")
        >>> found = equivalent_false_positive_rate(table, study, 4.0)
        >>> found.threshold.value, found.rate.value
        (7700.0, 0.5)
    """
    if study.background is None:
        raise DataError(f"the study of {study.name} defines no background events")
    rows = study.rows(table).reset_index(drop=True)
    if study.quantity not in rows:
        names = map(str, rows)
        raise DataError(f"the event table has no column {study.quantity!r}; {nearest(study.quantity, names)}")
    background = rows[chosen(rows, study.background)]
    signal = rows.drop(background.index)
    off = (signal[study.quantity] - value).abs() / abs(value)
    signal = signal[off <= window * (1 + 1e-6)]  # 3.6 in float32 is slightly smaller
    true, groups = _floats(signal, "intensity_true"), group_column(signal, study.group)
    threshold = bootstrap(true, _mean, resamples, seed, groups)
    if not len(true):
        return EquivalentRate(threshold, 0, Estimate(np.nan, np.nan, np.nan))
    hits = _floats(background, INTENSITY) > threshold.value
    groups = group_column(background, study.background_group)
    return EquivalentRate(threshold, len(true), rate(hits, groups))


def _mean(values: Floats) -> Floats:
    return np.asarray(np.nanmean(values, axis=-1))


def detection_scores(table: pd.DataFrame, study: Study) -> tuple[Floats, Floats] | None:
    """Return the scores of signal and background events, or None if the study defines none; see `score_column`."""
    rows = signal_and_background(table, study)
    if rows is None:
        return None
    column = score_column(study.rows(table))
    signal, background = (_floats(part, column) for part in rows)
    return signal, background


def detection_groups(table: pd.DataFrame, study: Study) -> Groups:
    """Return the groups of the events of `detection_scores`; see `group_column`."""
    rows = signal_and_background(table, study)
    if rows is None:
        return None, None
    names = (study.group, study.background_group)
    signal, background = (group_column(part, name) for part, name in zip(rows, names, strict=True))
    return signal, background


def signal_and_background(table: pd.DataFrame, study: Study) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    """Return the rows of signal and of background events, or None if the study defines none."""
    if study.signal is None or study.background is None:
        return None
    rows = study.rows(table)
    return rows[chosen(rows, study.signal)], rows[chosen(rows, study.background)]


def _floats(rows: pd.DataFrame, name: str) -> Floats:
    return rows[name].to_numpy(dtype=float)
