"""Calibrated fluxes of each band, for event tables with a flux per band beside the intensity of all bands."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from oasis.evaluation.calibration.calibration import Calibration
from oasis.evaluation.calibration.columns import INTENSITY, column, interval_names
from oasis.evaluation.calibration.coverage import coverage_table
from oasis.evaluation.calibration.options import CalibrationOptions
from oasis.evaluation.stored import Stored


class BandCalibration(Stored):
    """A `Calibration` of the flux in each band, instead of the intensity in all of them.

    Attributes:
        weights: the digest of the weights and the gates whose predictions were calibrated; "" if unknown.
        bands: the calibration of each band.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> true = rng.uniform(1, 9, 4000)
        >>> table = pd.DataFrame({"class": "target", "flux_r_true": true})
        >>> table["flux_r_predicted"] = true * rng.normal(0.9, 0.05, 4000)
        >>> calibration = BandCalibration.fit(table[:2000], ["target"], ["r"], CalibrationOptions(strata=None))
        >>> calibration.coverage(table[2000:], "flux_r_true", (1, 9))["coverage"].round(2).tolist()
        [0.9]
    """

    what: ClassVar = "calibration of fluxes by band"
    format: Literal["oasis-band-calibration-1"] = "oasis-band-calibration-1"
    weights: str = ""
    bands: dict[str, Calibration]

    @classmethod
    def fit(
        cls,
        table: pd.DataFrame,
        classes: Sequence[str],
        bands: Sequence[str],
        options: CalibrationOptions | None = None,
    ) -> "BandCalibration":
        """Fit to an event table of samples that were not used in training.

        Args:
            table: has `flux_<band>_true` and `flux_<band>_predicted`, and the columns of the options.
            classes: the classes to calibrate.
            bands: names of the bands.
            options: the options of the fit of every band; by default all defaults.

        Raises:
            DataError: as for `Calibration.fit`.
        """
        return cls(bands={band: Calibration.fit(_of_band(table, band), classes, options) for band in bands})

    def intervals(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return `flux_<band>_calibrated`, `flux_<band>_low` and `flux_<band>_high` for the rows of a table.

        Args:
            table: has `flux_<band>_predicted` and the columns of width and strata; it needs no truth.

        Raises:
            DataError: a column is missing, or the table is of another run.
        """
        parts = [
            calibration.intervals(_of_band(table, band)).set_axis(interval_names(f"flux_{band}"), axis=1)
            for band, calibration in self.bands.items()
        ]
        return pd.concat(parts, axis=1)

    def coverage(self, table: pd.DataFrame, by: str, edges: Sequence[float]) -> pd.DataFrame:
        """Return the measured coverage of each band, for present objects, in bins of a column.

        Args:
            table: rows with truth that the calibration was not fitted to.
            by: the column to bin by.
            edges: the edges of the bins.

        Returns:
            As `coverage_table`, after a column `band`.
        """
        parts = {}
        for band, calibration in self.bands.items():
            rows = _of_band(table, band)
            rows = rows[(rows["intensity_true"] > 0) & rows["class"].isin(calibration.classes)]
            parts[band] = coverage_table(rows.join(calibration.intervals(rows)), by, edges)
        return pd.concat(parts, names=["band", ""]).droplevel(1).reset_index()


def _of_band(table: pd.DataFrame, band: str) -> pd.DataFrame:
    """Return a table with the flux of one band as its intensity; a negative flux counts as 0.

    Intervals of the intensity in all bands are left out.
    """
    flux = {"intensity_predicted": np.maximum(column(table, f"flux_{band}_predicted"), 0)}
    if f"flux_{band}_true" in table:
        flux["intensity_true"] = column(table, f"flux_{band}_true")
    return table.drop(columns=list(interval_names(INTENSITY)), errors="ignore").assign(**flux)
