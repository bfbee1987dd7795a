"""The calibration of a run: fitted to an event table with truth, stored as JSON, applied to tables without."""

import logging
import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from oasis.errors import DataError, nearest
from oasis.evaluation.calibration import conformal
from oasis.evaluation.calibration.columns import INTENSITY, PREDICTED, classes_of, counted, interval_names
from oasis.evaluation.calibration.conformal import Fitted
from oasis.evaluation.calibration.coverage import coverage_table
from oasis.evaluation.calibration.options import CalibrationOptions
from oasis.evaluation.identity import Identity, check_identity, identity_of
from oasis.evaluation.stored import Stored
from oasis.stats.intervals import Floats

logger = logging.getLogger(__name__)

CALIBRATION = "calibration.json"  # its name in the folder of a run


class Calibration(Stored):
    """Corrected intensities with split-conformal intervals, fitted to an event table with truth.

    The events of a class are divided into two halves by a random permutation. The first half determines the
    correction and the width, the second the `conformal_quantile` of `|true − corrected| / width` in every stratum:
    normalised and Mondrian conformal regression (Vovk, Gammerman and Shafer 2005). If neither correction nor width
    is requested, all events are used for the quantiles. An interval is corrected ± quantile × width, truncated at
    0 because intensities are not negative.

    For an event exchangeable with those of the table the interval covers the truth with a probability of at least
    `coverage`, in every stratum.

    Attributes:
        options: the options of the fit.
        unit: the unit of the intensities.
        configuration: fingerprint of the run whose predictions were calibrated, or "".
        weights: the digest of the weights and the gates whose predictions were calibrated; "" if unknown.
        classes: the fits, by class and by column of the truth.

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

    what: ClassVar = "calibration"
    format: Literal["oasis-calibration-1"] = "oasis-calibration-1"
    options: CalibrationOptions
    unit: str = ""
    configuration: str = ""
    weights: str = ""
    classes: dict[str, dict[str, Fitted]]

    @classmethod
    def fit(
        cls, table: pd.DataFrame, classes: Sequence[str], options: CalibrationOptions | None = None
    ) -> "Calibration":
        """Fit a calibration to an event table of samples that were not used in training.

        Args:
            table: has the columns `class`, `intensity_true`, `intensity_predicted` and those in the options.
            classes: the classes to calibrate.
            options: the options of the fit; by default all defaults.

        Raises:
            DataError: a class or column is missing, a value is not finite, there are too few events, or rows of
                several runs.
        """
        options = options or CalibrationOptions()
        label = classes_of(table)
        known = list(label.unique())
        for name in classes:
            if name not in known:
                raise DataError(f"the event table has no class {name!r}; {nearest(name, known)}")
        for name in options.quantities:
            if name not in classes:
                raise DataError(f"quantities: {name!r} is not calibrated; {nearest(name, classes)}")
        fitted: dict[str, dict[str, Fitted]] = {name: {} for name in classes}
        for name, truth in [*((name, INTENSITY) for name in classes), *options.quantities.items()]:
            rows = counted(table[label == name], truth, options.absent)
            fitted[name][truth] = conformal.fit(rows, name, truth, options)
        identity = identity_of(table) or Identity("", "")
        return cls(options=options, classes=fitted, **identity._asdict())

    def intervals(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return estimates and intervals for the rows of a table, which needs no truth.

        Args:
            table: has the columns `class`, `intensity_predicted`, and those of width and strata.

        Returns:
            A table with the same index: `intensity_calibrated`, `intensity_low`, `intensity_high`, and the same
            three for each quantity under its own name; NaN for classes that were not calibrated. The interval is
            infinite if its stratum had too few events.

        Raises:
            DataError: a column is missing, or the table is from another run or does not state its run.
        """
        check_identity(table, self.configuration, "the calibration was fitted to")
        label = classes_of(table)
        truths = dict.fromkeys(truth for fits in self.classes.values() for truth in fits)
        result = pd.DataFrame(np.nan, table.index, [name for truth in truths for name in interval_names(truth)])
        for name, fits in self.classes.items():
            chosen = (label == name).to_numpy()
            for truth, fitted in fits.items():
                result.loc[chosen, list(interval_names(truth))] = self._of(table[chosen], name, fitted)
        return result

    def check(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return the measured coverage: the `coverage_table` of all strata, by class and quantity.

        Args:
            table: rows of samples with truth that the calibration was not fitted to, joined with its `intervals`.

        Raises:
            DataError: a column is missing.
        """
        label = classes_of(table)
        by = self.options.strata or PREDICTED
        parts = {
            (name, truth): coverage_table(
                counted(table[label == name], truth, self.options.absent),
                by,
                (-math.inf, *fitted.edges, math.inf),
                truth,
            )
            for name, fits in self.classes.items()
            for truth, fitted in fits.items()
        }
        return pd.concat(parts, names=["class", "quantity", ""]).droplevel(2).reset_index()

    def _of(self, rows: pd.DataFrame, name: str, fitted: Fitted) -> Floats:
        """Return the estimate and both ends of the interval (n, 3)."""
        found = conformal.intervals(rows, fitted, self.options)
        unbounded = int(np.isinf(found[:, 2]).sum())
        if unbounded:
            logger.warning(
                "%s: %d of %d intervals are infinite: there were fewer than %d events in their stratum",
                name,
                unbounded,
                len(rows),
                math.ceil(self.options.coverage / (1 - self.options.coverage) - 1e-9),
            )
        return found
