"""Calibration: intensities corrected for bias, with prediction intervals of a stated coverage."""

from oasis.evaluation.calibration.bands import BandCalibration
from oasis.evaluation.calibration.calibration import CALIBRATION, Calibration
from oasis.evaluation.calibration.conformal import conformal_quantile
from oasis.evaluation.calibration.coverage import coverage_table
from oasis.evaluation.calibration.options import CalibrationOptions

__all__ = [
    "CALIBRATION",
    "BandCalibration",
    "Calibration",
    "CalibrationOptions",
    "conformal_quantile",
    "coverage_table",
]
