"""Tables of flux errors against pandas from their definitions."""

import numpy as np
import pandas as pd
import pytest

from oasis.adapters.galaxy.flux_tables import EDGES, flux_error_table, magnitude_error_table, with_fluxes
from oasis.adapters.galaxy.photometry import object_columns

BANDS = ("g", "r", "z")
NOISE = np.array([0.004, 0.006, 0.015])
SED = np.array([0.6, 1.0, 1.5])[:, None, None]
Y, X = np.mgrid[:64, :64]


def galaxy(x, y, sigma, flux):
    """(3, 64, 64): a round Gaussian; `flux` is that of the r band."""
    return SED * flux * np.exp(-((X - x) ** 2 + (Y - y) ** 2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


@pytest.fixture(scope="module")
def pair():
    """(2, 3, 64, 64): a bright galaxy in the middle and a faint one beside it."""
    return np.stack([galaxy(31, 33, 3, 40), galaxy(42, 30, 3, 10)])


def measure(predicted, true):
    return object_columns(predicted, true, NOISE, BANDS, 0.262)


@pytest.fixture
def table(pair):
    """Event rows of two samples: one perfect, one 10 % too faint whose second object is lost."""
    lost = 0.9 * pair
    lost[1] = 0
    rows = [*measure(pair, pair), *measure(lost, pair)]
    core = [
        {"intensity_true": pair[k].sum(), "intensity_predicted": 1.0, "delta_percent": 0.0} for k in (0, 1, 0, 1)
    ]
    return pd.DataFrame([{**one, **other} for one, other in zip(rows, core, strict=True)])


def test_a_catalogue_takes_the_place_of_sums_of_maps(table):
    true = table[[f"flux_{band}_true" for band in BANDS]].to_numpy()
    fluxes = true * [[1.1], [0.4], [1.0], [1.0]]
    fluxes[2] = np.nan
    changed = with_fluxes(table, fluxes.reshape(2, 2, 3), BANDS)
    assert changed["flux_r_error"].tolist() == pytest.approx([10, -60, -100, 0])
    assert changed["delta_percent"].tolist() == pytest.approx([10, -60, -100, 0], abs=1e-3)
    assert changed["intensity_predicted"].tolist() == pytest.approx(np.nan_to_num(fluxes.sum(axis=1)).tolist())
    assert changed["missed"].tolist() == [0, 0, 1, 0]
    assert changed["catastrophic"].tolist() == [0, 1, 1, 0]
    assert changed["magnitude_r_failed"].tolist() == [0, 0, 1, 0]
    assert changed["magnitude_g_error"][0] == pytest.approx(-2.5 * np.log10(1.1))
    assert np.isnan(changed["colour_g_r_error"][2])
    pd.testing.assert_series_equal(changed["ssim"], table["ssim"])
    assert table["missed"].tolist() == [0, 0, 0, 1]


def test_what_cannot_be_detected_is_not_missed_by_a_catalogue_either(table):
    table.loc[1, "missed"] = np.nan
    changed = with_fluxes(table, np.full((4, 3), np.nan), BANDS)
    np.testing.assert_array_equal(changed["missed"], [1, np.nan, 1, 1])


def event_rows(count=400, seed=0):
    rng = np.random.default_rng(seed)
    blended = rng.uniform(0, 1, count)
    return pd.DataFrame(
        {
            "blendedness": blended,
            "flux_r_true": 1.0,
            "snr": 100.0,
            "flux_r_error": rng.normal(-5, 2 + 80 * blended),
            "catastrophic": (rng.random(count) < blended / 5).astype(float),
            "missed": (rng.random(count) < blended / 10).astype(float),
            "confused": (rng.random(count) < blended / 4).astype(float),
            "galaxy": rng.integers(0, 40, count),
        }
    )


def test_the_table_of_flux_errors_follows_its_equations():
    rows = event_rows()
    errors = flux_error_table(rows)
    assert errors["low"].tolist() == [*EDGES[:-1], -np.inf]
    assert errors["objects"].iloc[-1] == 400
    for one in errors.to_dict("records"):
        mine = rows[(rows["blendedness"] >= one["low"]) & (rows["blendedness"] < one["high"])]
        off = mine["flux_r_error"]
        assert one["objects"] == len(mine)
        assert one["median"] == pytest.approx(off.median())
        assert one["mape"] == pytest.approx(off.abs().mean())
        assert one["capped"] == pytest.approx(off.abs().clip(upper=100).mean())
        right = off[(mine["missed"] == 0) & (mine["confused"] == 0)]
        assert one["right"] == pytest.approx(right.abs().mean())
        assert one["right_median"] == pytest.approx(right.median())
        assert one["sigma_mad"] == pytest.approx(1.4826 * (off - off.median()).abs().median())
        assert one["catastrophic"] == pytest.approx(mine["catastrophic"].mean())
        assert one["missed"] == pytest.approx(mine["missed"].mean())
        assert one["confused"] == pytest.approx(mine["confused"].mean())
        for name in ("median", "mape", "capped", "right", "sigma_mad", "catastrophic", "missed", "confused"):
            assert one[f"{name}_low"] <= one[name] <= one[f"{name}_high"]


def test_a_missed_object_counts_with_its_whole_flux_and_an_empty_map_does_not():
    rows = event_rows(4)
    rows["flux_r_error"], rows["missed"] = [0.0, 0.0, -100.0, np.nan], [0.0, np.nan, 1.0, np.nan]
    rows["flux_r_true"] = [1.0, 1.0, 1.0, 0.0]
    one = flux_error_table(rows, edges=(0, 1)).iloc[0]
    assert (one["objects"], one["undetectable"]) == (3, 1)
    assert one["mape"] == pytest.approx(100 / 3)
    assert one["missed"] == 0.5


def test_without_single_galaxies_no_share_is_confused_and_all_found_are_right():
    rows = event_rows().drop(columns="confused")
    one = flux_error_table(rows, edges=(0, 1)).iloc[0]
    assert np.isnan(one["confused"])
    assert one["right"] == pytest.approx(rows["flux_r_error"][rows["missed"] == 0].abs().mean())


def test_intervals_widen_where_the_same_galaxies_come_again():
    rows = pd.concat([event_rows(40)] * 9)
    rows["galaxy"] = np.tile(np.arange(40), 9)
    alone, grouped = (flux_error_table(rows, edges=(0, 1), group=group).iloc[0] for group in (None, "galaxy"))
    assert grouped["mape"] == alone["mape"]
    widths = [row["mape_high"] - row["mape_low"] for row in (alone, grouped)]
    assert widths[1] / widths[0] == pytest.approx(3, rel=0.3)


def test_a_bin_without_objects_is_empty():
    errors = flux_error_table(event_rows(20), edges=(2, 3))
    assert errors["objects"].tolist() == [0, 20]
    assert np.isnan(errors["median"][0])


def test_magnitude_errors_are_relative_to_magnitudes_by_the_number_of_galaxies():
    flux = np.array([1.0, 10.0, 100.0, 10.0])
    off = np.array([0.225, -0.2, np.nan, 0.5])
    rows = pd.DataFrame({"flux_r_true": flux, "magnitude_r_error": off, "missed": [0.0, 0.0, 0.0, 1.0]})
    rows["galaxies"] = [2, 2, 3, 3]
    two, three = magnitude_error_table(rows).to_dict("records")
    assert (two["galaxies"], two["objects"], two["without"]) == (2, 2, 0)
    assert two["relative"] == pytest.approx(100 * (0.225 / 22.5 + 0.2 / 20) / 2)
    assert two["magnitudes"] == pytest.approx(0.2125)
    assert (three["relative"], three["without"]) == (100, 1)  # one without a positive flux, one missed
    assert np.isnan(three["magnitudes"])
