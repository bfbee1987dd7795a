"""Photometry of maps against numpy from the equations, galsim, sep, scikit-image and known answers; about 5 s."""

import re

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from oasis.adapters.galaxy.photometry import COLUMNS, noise_of, object_columns
from oasis.adapters.galaxy.singles import Singles
from oasis.errors import DataError

BANDS = ("g", "r", "z")
SCALE = 0.262
NOISE = np.array([0.004, 0.006, 0.015])
SED = np.array([0.6, 1.0, 1.5])[:, None, None]
Y, X = np.mgrid[:64, :64]


def gaussian(x, y, a, b=None, angle=0.0, flux=1.0):
    """(H, W): an elliptical Gaussian with standard deviations a and b (pixels), turned by an angle in degrees."""
    b = a if b is None else b
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    along, across = (X - x) * c + (Y - y) * s, (Y - y) * c - (X - x) * s
    image = np.exp(-(along**2 / a**2 + across**2 / b**2) / 2)
    return flux * image / (2 * np.pi * a * b)


@pytest.fixture(scope="module")
def pair():
    """(2, 3, 64, 64): a bright galaxy in the middle and a faint one beside it."""
    return np.stack([SED * gaussian(31, 33, 4, 2.5, 30, 40), SED * gaussian(42, 30, 3, flux=10)])


def measure(predicted, true, **options):
    options.setdefault("galaxies", Singles(true, np.arange(len(true))))
    return object_columns(predicted, true, NOISE, BANDS, SCALE, **options)


def noisy(true, seed=0):
    noise = np.random.default_rng(seed).normal(size=true.shape[1:]) * NOISE[:, None, None]
    return true.sum(axis=0) + noise


def test_every_column_is_documented_and_every_document_a_column(pair):
    band, pairs = "(g|r|z)", "(g_r|r_z)"
    patterns = [
        re.compile(name.replace("<band>", band).replace("<blue>_<red>", pairs).replace("<k>", "[12]"))
        for name in COLUMNS
    ]
    (first, second) = measure(pair, pair, image=noisy(pair))
    assert first.keys() == second.keys()
    assert all(any(pattern.fullmatch(name) for pattern in patterns) for name in first)
    assert all(any(pattern.fullmatch(name) for name in first) for pattern in patterns)


def test_a_perfect_prediction_is_off_by_nothing(pair):
    for row in measure(pair, pair, image=noisy(pair)):
        zero = [name for name in row if name.endswith(("_error", "_failed"))]
        zero = [
            name for name in [*zero, "missed", "confused", "catastrophic", "centroid_offset"] if name[:4] != "cons"
        ]
        np.testing.assert_allclose([row[name] for name in zero], 0, atol=1e-9)
        assert row["ssim"] == pytest.approx(1)
        assert row["cosine"] == pytest.approx(1)
        assert row["psnr"] == np.inf
        assert abs(row["conservation_error"]) < 0.5
        assert row["residual_chi2"] == pytest.approx(1, abs=0.05)


def test_fluxes_magnitudes_and_colours_are_those_of_the_factors_put_in(pair):
    factors = np.array([0.9, 1.2, 1.0])
    (row, other) = measure(pair * factors[:, None, None], pair)
    for band, factor, share in zip(BANDS, factors, SED.ravel(), strict=True):
        assert row[f"flux_{band}_true"] == pytest.approx(40 * share, rel=1e-4)
        assert row[f"flux_{band}_predicted"] == pytest.approx(40 * share * factor, rel=1e-4)
        assert row[f"flux_{band}_error"] == pytest.approx(100 * (factor - 1))
        assert row[f"aperture_{band}_error"] == pytest.approx(100 * (factor - 1))
        assert row[f"magnitude_{band}_error"] == pytest.approx(-2.5 * np.log10(factor), abs=1e-12)
    assert row["colour_g_r_error"] == pytest.approx(-2.5 * np.log10(0.9 / 1.2))
    assert other["colour_r_z_error"] == pytest.approx(-2.5 * np.log10(1.2))


def test_the_aperture_is_a_circle_of_two_arcseconds_around_the_true_centroid(pair):
    sep = pytest.importorskip("sep")
    shifted = np.roll(pair, 3, axis=3)
    for row, true, predicted, (x, y) in zip(
        measure(shifted, pair), pair, shifted, [(31, 33), (42, 30)], strict=True
    ):
        for band, one, other in zip(BANDS, true, predicted, strict=True):
            for name, image in (("true", one), ("predicted", other)):
                exact = sep.sum_circle(image.copy(), [x], [y], [2.0 / SCALE], subpix=0)[0][0]
                assert row[f"aperture_{band}_{name}"] == pytest.approx(exact, rel=2e-3)


@pytest.mark.parametrize(("factor", "catastrophic"), [(0.51, 0), (0.49, 1), (1.99, 0), (2.01, 1)])
def test_a_factor_of_two_is_catastrophic(pair, factor, catastrophic):
    assert measure(pair * factor, pair)[0]["catastrophic"] == catastrophic


def test_an_empty_prediction_is_a_miss_without_a_magnitude(pair):
    predicted = pair.copy()
    predicted[1] = 0
    found, lost = measure(predicted, pair)
    assert found["missed"] == 0
    assert lost["missed"] == lost["catastrophic"] == lost["magnitude_r_failed"] == lost["shape_failed"] == 1
    assert lost["flux_r_error"] == -100
    assert np.isnan([lost["magnitude_r_error"], lost["colour_g_r_error"], lost["size_error"]]).all()


def test_flux_in_the_wrong_place_is_a_miss(pair):
    predicted = pair.copy()
    predicted[1] = np.roll(pair[1], (25, -30), axis=(1, 2))
    for name in ("missed", "catastrophic"):
        assert [row[name] for row in measure(predicted, pair)] == [0, 1]


def test_a_map_with_the_light_of_another_galaxy_is_confused_with_it(pair):
    first, second = pair
    for share, flags in ((0.45, [0, 0]), (0.55, [1, 1])):  # of each map that is the other galaxy's
        mixed = np.stack([(1 - share) * first + share * 4 * second, (1 - share) * second + share * first / 4])
        assert [row["confused"] for row in measure(mixed, pair)] == flags
    assert [row["confused"] for row in measure(pair[::-1], pair)] == [1, 1]
    assert [row["confused"] for row in measure(0 * pair, pair)] == [0, 0]


def test_a_galaxy_of_the_others_can_be_the_one_that_is_confused_with_the_target(pair):
    target, near = pair
    far = SED * gaussian(12, 12, 3, flux=30)
    true, galaxies = np.stack([target, near + far]), Singles(np.stack([target, near, far]), np.array([0, 1, 1]))
    rows = measure(np.stack([near, target + far]), true, single=[True, False], galaxies=galaxies)
    assert rows[0]["confused"] == 1
    assert np.isnan(rows[1]["confused"])
    assert np.isnan(measure(true, true, galaxies=None)[0]["confused"])


def test_an_object_below_the_detection_limit_is_neither_found_nor_missed(pair):
    for times, missed in ((0.99, np.nan), (1.01, 0.0)):
        snr = np.sqrt(((pair[0] / NOISE[:, None, None]) ** 2).sum())
        faint = pair[:1] * 5 * times / snr
        (row,) = measure(faint, faint)
        assert row["snr"] == pytest.approx(5 * times)
        np.testing.assert_equal(row["missed"], missed)


def test_flux_where_there_is_no_object_is_invented(pair):
    true = pair.copy()
    true[1] = 0
    faint = np.stack([true[0], np.full_like(true[0], 0.5 * NOISE[:, None, None].min())])
    for predicted, invented in ((pair, 1), (true, 0), (faint, 0)):
        present, absent = measure(predicted, true)
        assert np.isnan(present["invented"])
        assert absent["invented"] == invented
        assert absent["flux_r_predicted"] == pytest.approx(predicted[1, 1].sum())
        empty = [
            "missed",
            "catastrophic",
            "flux_r_error",
            "snr",
            "blendedness",
            "r50",
            "psnr",
            "ssim",
            "size_true",
        ]
        assert np.isnan([absent[name] for name in empty]).all()
    assert np.isnan(present["separation"])


def test_snr_and_blendedness_follow_their_equations(pair):
    for row, true in zip(measure(pair, pair), pair, strict=True):
        assert row["snr"] == pytest.approx(np.sqrt(((true / NOISE[:, None, None]) ** 2).sum()))
        blend = pair[:, 1].sum(axis=0)
        assert row["blendedness"] == pytest.approx(1 - (true[1] ** 2).sum() / (true[1] * blend).sum())


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_two_galaxies_in_one_place_are_blended_by_their_share_of_the_light(share):
    galaxy = SED * gaussian(32, 32, 3, flux=10)
    first, second = measure(*[np.stack([galaxy, share * galaxy])] * 2)
    assert first["blendedness"] == pytest.approx(share / (1 + share))
    assert second["blendedness"] == pytest.approx(1 / (1 + share))
    assert first["magnitude_difference"] == pytest.approx(2.5 * np.log10(share))
    assert first["separation"] == pytest.approx(0, abs=1e-9)


def test_separation_is_in_units_of_both_half_light_radii(pair):
    half = np.sqrt(2 * np.log(2))  # of a round Gaussian, standard deviations
    two = np.stack([SED * gaussian(24, 32, 3, flux=10), SED * gaussian(40, 32, 2, flux=10)])
    rows = measure(two, two)
    assert rows[0]["r50"] == pytest.approx(3 * half * SCALE, rel=0.02)
    assert rows[0]["separation"] == rows[1]["separation"] == pytest.approx(16 / (5 * half), rel=0.02)
    three = np.concatenate([two, SED[None] * gaussian(24, 52, 2, flux=10)])
    assert measure(three, three)[0]["separation"] == rows[0]["separation"]


def test_a_map_of_several_galaxies_has_no_place_and_no_shape(pair):
    one, several = measure(pair, pair, single=[True, False])
    names = ["size_true", "centroid_offset", "shape_failed", "r50", "aperture_r_true"]
    assert np.isnan([several[name] for name in names]).all()
    assert not np.isnan([one[name] for name in names]).any()
    assert np.isnan([one["separation"], several["separation"]]).all()
    assert several["flux_r_error"] == 0


def test_the_flux_error_is_told_apart_by_how_many_objects_overlap(pair):
    footprint = np.sqrt(((pair / NOISE[:, None, None]) ** 2).sum(axis=1)) >= 1
    both = footprint.all(axis=0)
    predicted = np.where(both, 0.7, 1.1) * pair
    for row, true, where in zip(measure(predicted, pair), pair, footprint, strict=True):
        assert row["footprint"] == where.sum()
        assert row["overlap_2_error"] == pytest.approx(-30)
        assert row["overlap_1_error"] == pytest.approx(10)
        assert row["overlap_2_true"] == pytest.approx(true[1][both].sum())
        assert row["overlap_1_true"] == pytest.approx(true[1][where & ~both].sum())


def test_ssim_and_psnr_keep_to_the_footprint_and_see_flux(pair):
    rng = np.random.default_rng(0)
    predicted = pair * 0.5 + rng.normal(size=pair.shape) * NOISE[:, None, None]
    for row, true, guess in zip(measure(predicted, pair), pair, predicted, strict=True):
        where = np.sqrt(((true / NOISE[:, None, None]) ** 2).sum(axis=0)) >= 1
        peak = true[1].max()
        _, similar = structural_similarity(true[1], guess[1], data_range=peak, full=True)
        assert row["ssim"] == pytest.approx(similar[where].mean())
        assert row["ssim"] < 0.9
        error = np.sqrt(((true[1] - guess[1])[where] ** 2).mean())
        assert row["psnr"] == pytest.approx(20 * np.log10(peak / error))
        cosine = (true[1] * guess[1]).sum() / np.linalg.norm(true[1]) / np.linalg.norm(guess[1])
        assert row["cosine"] == pytest.approx(cosine)


def test_shape_errors_are_predicted_minus_true():
    true = SED * gaussian(31, 33, 4, 2, 0, 40)
    predicted = SED * gaussian(32.5, 31, 5, 3.6, 45, 40)
    (row,) = measure(predicted[None], true[None])
    assert row["centroid_offset"] == pytest.approx(2.5 * SCALE, rel=1e-3)
    assert row["size_true"] == pytest.approx(np.sqrt(8) * SCALE, rel=1e-3)
    assert row["size_error"] == pytest.approx(50, abs=0.1)
    assert row["ellipticity_true"] == pytest.approx(0.6, abs=1e-3)
    assert row["e1_error"] == pytest.approx(-0.6, abs=1e-3)
    assert row["e2_error"] == pytest.approx((25 - 12.96) / (25 + 12.96), abs=1e-3)


def test_conservation_and_residual_compare_with_the_image(pair):
    image = noisy(pair)
    halved = measure(0.5 * pair, pair, image=image)
    footprint = (np.sqrt(((pair / NOISE[:, None, None]) ** 2).sum(axis=1)) >= 1).any(axis=0)
    total = 0.5 * pair.sum(axis=0)
    expected = 100 * (total[1][footprint].sum() / image[1][footprint].sum() - 1)
    assert [row["conservation_error"] for row in halved] == pytest.approx([expected, expected])
    chi2 = (((image - total) / NOISE[:, None, None]) ** 2).mean()
    assert halved[0]["residual_chi2"] == pytest.approx(chi2)


def test_pixels_that_are_not_valid_do_not_count(pair):
    valid = np.ones((1, 64, 64), bool)
    valid[:, :, 40:] = False
    spoilt, image = pair.copy(), noisy(pair)
    spoilt[..., 40:] = image[..., 40:] = np.nan
    cut = np.where(valid, pair, 0)
    for row, expected in zip(measure(spoilt, spoilt, valid=valid), measure(cut, cut), strict=True):
        assert row == pytest.approx(expected, nan_ok=True)
    (row, _) = measure(spoilt, spoilt, valid=valid, image=image)
    assert row["residual_chi2"] == pytest.approx(1, abs=0.05)


def test_one_band_of_another_name_is_measured_too(pair):
    (row,) = object_columns(0.9 * pair[:1, 1:2], pair[:1, 1:2], NOISE[1:2], ("F814W",), SCALE)
    assert row["flux_F814W_error"] == pytest.approx(-10)
    assert row["catastrophic"] == 0


def test_noise_comes_from_the_meta_data():
    assert noise_of({"noise_g": 1, "noise_r": 2.0}, ("r", "g")).tolist() == [2.0, 1.0]
    for meta in ({"id": "test/3", "noise_g": 1.0}, {"id": "test/3", "noise_g": 1.0, "noise_r": 0.0}):
        with pytest.raises(DataError, match="test/3: noise"):
            noise_of(meta, ("g", "r"))
