"""Intervals of fluxes by band: their coverage on galaxies that they were not fitted to."""

import numpy as np
import pandas as pd
import pytest

from oasis.errors import DataError
from oasis.evaluation.calibration import BandCalibration, CalibrationOptions

BANDS = ("g", "r")
EDGES = (0, 0.05, 0.2, 0.5, 0.9)
OPTIONS = CalibrationOptions(absent=False, strata="blendedness_predicted", edges=EDGES[1:-1])


def events(count, seed):
    """Galaxies whose flux is too low and scattered in proportion to their blendedness, more in g than in r."""
    rng = np.random.default_rng(seed)
    blended, true = rng.uniform(0, 0.9, count), rng.uniform(1, 100, count)
    table = pd.DataFrame({"class": "target", "blendedness": blended})
    table["blendedness_predicted"] = np.clip(blended + rng.normal(0, 0.002, count), 0, 1)
    for band, scatter in zip(BANDS, (0.3, 0.1), strict=True):
        table[f"flux_{band}_true"] = true
        table[f"flux_{band}_predicted"] = true * (0.9 + scatter * blended * rng.normal(size=count))
    return table


@pytest.fixture(scope="module")
def calibration():
    return BandCalibration.fit(events(6000, 0), ["target"], BANDS, OPTIONS)


def test_intervals_cover_the_flux_of_every_band_at_every_blendedness(calibration):
    found = calibration.coverage(events(8000, 1), "blendedness", EDGES)
    assert found["band"].unique().tolist() == [*BANDS]
    known = found[found["low"].notna()]
    assert len(known) == 2 * 4
    assert known["coverage"].between(0.86, 0.94).all()
    width = {band: rows["width"].tolist() for band, rows in known.groupby("band")}
    assert all(sorted(values) == values for values in width.values())
    assert width["g"][-1] > 2 * width["r"][-1]


def test_intervals_are_columns_of_each_band_and_correct_the_bias(calibration):
    table = events(500, 2)
    found = calibration.intervals(table.drop(columns=["flux_g_true", "flux_r_true"]))
    assert [*found] == [f"flux_{band}_{end}" for band in BANDS for end in ("calibrated", "low", "high")]
    assert (found["flux_r_calibrated"] / table["flux_r_true"]).median() == pytest.approx(1, abs=0.01)
    covered = (found["flux_g_low"] <= table["flux_g_true"]) & (table["flux_g_true"] <= found["flux_g_high"])
    assert covered.mean() == pytest.approx(0.9, abs=0.04)


def test_a_calibration_is_read_as_it_was_written(calibration, tmp_path):
    calibration.save(tmp_path / "fluxes.json")
    assert BandCalibration.load(tmp_path / "fluxes.json") == calibration


def test_a_class_that_the_table_lacks_is_refused():
    with pytest.raises(DataError, match="no class 'targets'"):
        BandCalibration.fit(events(100, 0), ["targets"], BANDS)


def test_intervals_of_the_intensity_do_not_stand_in_the_way(calibration):
    plain = events(500, 2)
    table = plain.assign(intensity_true=1.0, intensity_calibrated=1.0, intensity_low=0.0, intensity_high=2.0)
    found = calibration.coverage(table, "blendedness", EDGES)
    pd.testing.assert_frame_equal(found, calibration.coverage(plain, "blendedness", EDGES))
