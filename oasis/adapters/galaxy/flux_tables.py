"""Tables of flux errors: of a catalogue instead of maps, and in bins of blendedness."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from oasis.adapters.galaxy.arithmetic import percent
from oasis.adapters.galaxy.photometry import flux_columns
from oasis.adapters.galaxy.survey import magnitude
from oasis.stats.bins import bins_of
from oasis.stats.intervals import bootstrap, group_column, rate
from oasis.stats.robust import MAD_TO_SIGMA

Floats = NDArray[np.float64]

EDGES = (0.0, 0.05, 0.2, 0.5, 0.9)  # of blendedness
WRONG = 100.0  # %, at which errors are capped, and the error of a missed object


def with_fluxes(table: pd.DataFrame, fluxes: ArrayLike, bands: Sequence[str]) -> pd.DataFrame:
    """Return an event table with the fluxes of a catalogue instead of those summed from maps.

    All columns that depend on them are recomputed: errors, magnitudes, colours, `catastrophic`, `missed`,
    `intensity_predicted` and `delta_percent`. An object that is not in the catalogue has a flux of 0, so an error
    of -100 %, and is not confused; of others `confused` remains that of the maps.

    Args:
        table: with the columns of `object_columns`.
        fluxes: (rows, B) nmgy in the table's order, or (samples, N, B); NaN for objects that are not in it.
        bands: names of the B bands.
    """
    measured = np.asarray(fluxes, dtype=float).reshape(len(table), len(bands))
    true = table[[f"flux_{band}_true" for band in bands]].to_numpy(float)
    absent = np.isnan(measured).any(axis=1)
    missed = np.where(table["missed"].isna(), np.nan, absent)
    measured = np.where(absent[:, None], 0, measured)
    columns = flux_columns(true, measured, missed, bands) | {"missed": missed}
    if "confused" in table:
        columns["confused"] = np.where(absent & table["confused"].notna(), 0, table["confused"])
    if "intensity_true" in table:
        columns["intensity_predicted"] = measured.sum(axis=1)
        columns["delta_percent"] = percent(measured.sum(axis=1), table["intensity_true"])
    return table.assign(**columns)


def flux_error_table(
    table: pd.DataFrame,
    by: str = "blendedness",
    edges: Sequence[float] = EDGES,
    band: str = "r",
    group: str | None = None,
) -> pd.DataFrame:
    """Return flux errors in bins of a quantity, with 95 % intervals.

    Every object with true flux counts, also one that was missed.

    Args:
        table: an event table, or the rows of one class.
        by: the column to bin by.
        edges: the edges of the bins.
        band: whose fluxes.
        group: the column that identifies the galaxy, if a galaxy can appear in several rows: whole groups are
            resampled.

    Returns:
        One row per bin and a last one for all objects: `low`, `high`, `objects`, `undetectable` (number of objects
        for which `missed` is undefined), and of `flux_<band>_error`, in %,

        - `median`, and `sigma_mad` = 1.4826 x median absolute deviation;
        - `mape`, the mean absolute value, and `capped`, the same with each error capped at 100 %;
        - `right` and `right_median`, mean absolute value and median of the objects that are neither missed nor
          confused;

        and the fractions `catastrophic` (in the reference band), `missed` and `confused`. Each also has `_low` and
        `_high`.
    """
    objects = table[table[f"flux_{band}_true"] > 0]
    bins = [(*one, one.contains(objects[by])) for one in bins_of(edges)]
    bins.append((-np.inf, np.inf, (objects["snr"] > 0).to_numpy()))
    return pd.DataFrame([_flux_row(objects[where], low, high, band, group) for low, high, where in bins])


def magnitude_error_table(table: pd.DataFrame, band: str = "r", group: str | None = None) -> pd.DataFrame:
    """Return the relative error of magnitudes by the number of galaxies in a blend, with 95 % intervals.

    This is the mean of `abs(predicted - true) / true` AB magnitude, as Zhang et al. (2024, CAT-deblender) state
    it: 1 % of a magnitude of 20 is 0.2 mag, some 20 % in flux. A galaxy without a magnitude, because it was missed
    or its flux is not positive, counts as an error of 100 %.

    Args:
        table: the rows of all galaxies, with `galaxies`, the number of them in the blend.
        band: whose magnitudes.
        group: the column that identifies the galaxy, whose rows are resampled together.

    Returns:
        One row per number: `galaxies`, `objects`, `relative` (%) and `magnitudes`, the mean absolute error in mag
        of those that have one, each also with `_low` and `_high`, and the fraction `without` a magnitude.
    """
    objects = table[table[f"flux_{band}_true"] > 0]
    rows = []
    for count, part in objects.groupby("galaxies"):
        off = part[f"magnitude_{band}_error"].abs().where(part["missed"] != 1).to_numpy(float)
        relative = 100 * off / magnitude(part[f"flux_{band}_true"])
        groups = group_column(part, group)
        row = {"galaxies": count, "objects": len(part), "without": float(np.isnan(off).mean())}
        row |= bootstrap(np.nan_to_num(relative, nan=WRONG), _mean, groups=groups).columns("relative")
        rows.append(row | bootstrap(off, _mean, groups=groups).columns("magnitudes"))
    return pd.DataFrame(rows)


def capped(errors: Floats) -> Floats:
    """Return absolute errors in %, at most 100 each.

    A faint galaxy that is assigned the light of a bright one is off by thousands of per cent, and a mean of such
    errors says nothing of the others. A missed galaxy is off by 100 %.

    Example:
        >>> capped(np.array([-3.0, 2500.0]))
        array([  3., 100.])
    """
    return np.asarray(np.minimum(np.abs(errors), WRONG))


def _flux_row(objects: pd.DataFrame, low: float, high: float, band: str, group: str | None) -> dict[str, float]:
    row = {"low": low, "high": high, "objects": len(objects), "undetectable": int(objects["missed"].isna().sum())}
    errors, groups = objects[f"flux_{band}_error"].to_numpy(float), group_column(objects, group)
    errors = np.where(np.isfinite(errors), errors, np.nan)
    right = np.where((objects["missed"] != 1) & (_confused(objects) != 1), errors, np.nan)
    estimates = {
        "median": bootstrap(errors, _median, groups=groups),
        "mape": bootstrap(np.abs(errors), _mean, groups=groups),
        "capped": bootstrap(capped(errors), _mean, groups=groups),
        "right": bootstrap(np.abs(right), _mean, groups=groups),
        "right_median": bootstrap(right, _median, groups=groups),
        "sigma_mad": bootstrap(errors, _sigma_mad, groups=groups),
    }
    for name in ("catastrophic", "missed", "confused"):
        known = objects[_confused(objects).notna() if name == "confused" else objects[name].notna()]
        estimates[name] = rate(known[name] == 1 if len(known) else [], group_column(known, group))
    for name, estimate in estimates.items():
        row |= estimate.columns(name)
    return row


def _confused(objects: pd.DataFrame) -> "pd.Series[float]":
    """Return the column `confused`, NaN where the table does not have it."""
    return objects.get("confused", pd.Series(np.nan, objects.index))


def _median(errors: Floats) -> Floats:
    return np.asarray(np.nanmedian(errors, axis=-1))


def _mean(errors: Floats) -> Floats:
    return np.asarray(np.nanmean(errors, axis=-1))


def _sigma_mad(errors: Floats) -> Floats:
    centre = np.nanmedian(errors, axis=-1, keepdims=True)
    return MAD_TO_SIGMA * np.asarray(np.nanmedian(np.abs(errors - centre), axis=-1))
