"""Baselines on blends of Gaussians with known fluxes, SEP's catalogue against its documented recipe.

About 5 s, and a minute more where scarlet2 is installed.
"""

import sys
from itertools import permutations, product

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from oasis.adapters.galaxy.baselines import (
    Scarlet,
    Sep,
    SepOptions,
    TrueShapes,
    catalogue_of,
    centroids,
    extraction,
    input_maps,
    match,
    oracle_mask_maps,
    tune_sep,
    tuning,
)
from oasis.adapters.galaxy.baselines import scarlet as scarlet_module
from oasis.data.instances import Instances
from oasis.data.mixing import SampleDataset
from oasis.data.samples import Sample, collate, collate_instances
from oasis.errors import DataError, MissingExtraError

sep = pytest.importorskip("sep")

BANDS = ("g", "r", "z")
NOISE = np.array([0.004, 0.006, 0.015])
SED = np.array([0.6, 1.0, 1.5])[:, None, None]
Y, X = np.mgrid[:64, :64]


def galaxy(x, y, sigma, flux):
    """(3, 64, 64): a round Gaussian; `flux` is that of the r band."""
    return SED * flux * np.exp(-((X - x) ** 2 + (Y - y) ** 2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)


def sample(*classes, seed=0, noise=1.0, valid=None, **meta):
    """A blend with the noise of `NOISE` times a factor; a class is a galaxy (3, 64, 64) or several in a tuple."""
    parts = [galaxies if isinstance(galaxies, tuple) else (galaxies,) for galaxies in classes]
    target = np.stack([sum(galaxies) for galaxies in parts]).astype(np.float32)
    sky = noise * NOISE[:, None, None] * np.random.default_rng(seed).normal(size=target.shape[1:])
    image = (target.sum(axis=0) + sky).astype(np.float32)
    known = {f"noise_{band}": value for band, value in zip(BANDS, NOISE.tolist(), strict=True)}
    singles = [(label, one) for label, galaxies in enumerate(parts) for one in galaxies if one.any()]
    instances = Instances.pack(
        image.shape,
        [label for label, _ in singles],
        [np.flatnonzero(one) for _, one in singles],
        [one[one != 0].astype(np.float32) for _, one in singles],
    )
    valid = np.ones((1, 64, 64), bool) if valid is None else valid
    return Sample(image, target, valid, known | meta, instances=instances)


class Listed(SampleDataset):
    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def sample(self, index, epoch):
        return self.samples[index]


SEXTRACTOR = SepOptions(
    kernel="gaussian",
    kernel_fwhm=2.0,
    thresh=1.5,
    minarea=5,
    deblend_nthresh=32,
    deblend_cont=0.005,
    grow=None,
    flux="kron",
)
CENTRAL = galaxy(32.3, 31.8, 2.5, 20)
BRIGHT, FAINT = galaxy(50, 48, 3, 60), galaxy(12, 20, 2, 5)
NOTHING = np.zeros_like(CENTRAL)


def test_the_input_stands_for_every_class():
    batch = collate_instances([sample(CENTRAL, BRIGHT), sample(FAINT, BRIGHT, seed=1)])
    maps = input_maps(batch)
    assert maps.shape == batch.target.shape
    for number in range(2):
        assert torch.equal(maps[:, number], batch.image)


def test_the_oracle_gives_every_pixel_to_the_brightest():
    central, near = galaxy(32, 32, 4, 20), galaxy(38, 32, 4, 10)
    batch = collate_instances([sample(central, near)])
    maps = oracle_mask_maps(batch)[0].numpy()
    first = central.sum(axis=0) > near.sum(axis=0)
    np.testing.assert_array_equal(maps[0], np.where(first, batch.image[0], 0))
    np.testing.assert_array_equal(maps[1], np.where(first, 0, batch.image[0]))
    off = maps[:, 1].sum(axis=(1, 2)) / [20, 10] - 1
    assert off[0] > 0.02  # what of the fainter lies under the brighter one
    assert off[1] < -0.02


def test_the_oracle_gives_empty_sky_to_no_one():
    batch = collate_instances([sample(np.where(X < 20, CENTRAL, 0), NOTHING)])
    maps = oracle_mask_maps(batch)[0]
    assert (maps[0, :, :, 20:] == 0).all()
    assert (maps[1] == 0).all()


def test_a_fit_of_the_true_shapes_has_the_errors_of_the_fisher_matrix():
    central, near = galaxy(32, 32, 3, 20), galaxy(37, 32, 4, 40)
    batch = collate_instances([sample(central, near, noise=10, seed=seed) for seed in range(300)])
    found = TrueShapes(several=False).maps(batch).sum(dim=(3, 4)) / batch.target.sum(dim=(3, 4)) - 1
    for band in range(3):
        shapes = np.stack([central[band].ravel(), near[band].ravel()]).astype(float)
        sigma = 10 * NOISE[band] * np.sqrt(np.linalg.inv(shapes @ shapes.T).diagonal())
        scatter = found[:, :, band].std(dim=0).numpy()
        np.testing.assert_allclose(scatter, sigma, rtol=0.15)  # 4 standard errors of 300
        assert (np.abs(found[:, :, band].mean(dim=0).numpy()) < 4 * sigma / np.sqrt(300)).all()


def test_a_fit_of_the_true_shapes_uses_valid_pixels_alone():
    central, near = galaxy(32, 32, 3, 20), galaxy(37, 32, 4, 40)
    batch = collate_instances([sample(central, near, noise=1e-6)])
    batch.valid[..., :30] = False
    batch.image[..., :30] = 1e6
    torch.testing.assert_close(TrueShapes(several=False).maps(batch), batch.target, rtol=1e-3, atol=1e-4)


def test_an_isolated_galaxy_has_the_flux_that_kron_found():
    isolated, nothing = sample(CENTRAL, NOTHING), sample(NOTHING, NOTHING, noise=0.5)
    fluxes = Sep(BANDS, rest=True, options=SEXTRACTOR).fluxes(collate_instances([isolated, nothing]))
    assert fluxes.shape == (2, 2, 3)
    ratio = fluxes[0, 0] / (20 * SED.ravel())
    assert (ratio > 0.94).all()  # Kron 1980: more than 90 % of the light; 0.94 as SExtractor's manual says
    assert (ratio < 1.02).all()
    assert np.isnan(fluxes[0, 1]).all()
    assert np.isnan(fluxes[1]).all()


def test_an_image_without_any_detection_is_empty():
    batch = collate_instances([sample(NOTHING, NOTHING, noise=0)])
    assert np.isnan(Sep(BANDS, rest=True).fluxes(batch)).all()
    assert (Sep(BANDS, rest=True).maps(batch) == 0).all()


@pytest.mark.parametrize("changes", [{}, {"kron_factor": 1.5, "min_radius": 6.0, "kernel_fwhm": 3.0}])
def test_kron_fluxes_follow_the_recipe_that_sep_documents(changes):
    options = SEXTRACTOR.model_copy(update=changes)
    blend = sample(galaxy(20, 30, 2, 10), galaxy(45, 40, 3, 20))
    found = catalogue_of(blend.image, NOISE, options)
    image = blend.image.astype(float)
    detection = (image / NOISE[:, None, None]).sum(axis=0) / np.sqrt(3)
    reach = np.arange(-8, 9)
    line = np.exp(-4 * np.log(2) * reach**2 / options.kernel_fwhm**2)
    objects = sep.extract(detection, 1.5, err=1.0, filter_kernel=np.outer(line, line) / line.sum() ** 2)
    x, y, a, b, theta = (objects[name] for name in ("x", "y", "a", "b", "theta"))
    kron, _ = sep.kron_radius(detection, x, y, a, b, theta, 6.0)
    circle = kron * options.kron_factor * np.sqrt(a * b) < options.min_radius
    assert circle.any() == (options.min_radius == 6.0)
    for number, band in enumerate(image):
        expected, _, _ = sep.sum_ellipse(band, x, y, a, b, theta, options.kron_factor * kron)
        expected[circle] = sep.sum_circle(band, x[circle], y[circle], options.min_radius)[0]
        assert found.flux[:, number] == pytest.approx(expected, rel=0.01)
    assert found.place == pytest.approx(np.stack([y, x], axis=1))
    assert found.place == pytest.approx(np.array([[30, 20], [40, 45]]), abs=0.2)


def test_the_galaxy_at_the_centre_is_the_target_and_the_others_count_together():
    batch = collate_instances([sample(CENTRAL, (BRIGHT, FAINT))])
    fluxes = Sep(BANDS, rest=True).fluxes(batch)[0]
    assert fluxes[0] == pytest.approx(20 * SED.ravel(), rel=0.05)
    assert fluxes[1] == pytest.approx(65 * SED.ravel(), rel=0.05)


def test_without_anything_near_the_centre_the_target_is_missed():
    fluxes = Sep(BANDS, rest=True).fluxes(collate_instances([sample(NOTHING, (BRIGHT, FAINT))]))[0]
    assert np.isnan(fluxes[0]).all()
    assert fluxes[1] == pytest.approx(65 * SED.ravel(), rel=0.05)


def test_galaxies_of_one_kind_are_told_apart_by_the_truth():
    batch = collate_instances([sample(FAINT, NOTHING, CENTRAL), sample(BRIGHT, CENTRAL, FAINT, seed=1)])
    fluxes = Sep(BANDS, rest=False).fluxes(batch)
    for found, expected in zip(fluxes[:, :, 1], [(5, np.nan, 20), (60, 20, 5)], strict=True):
        assert found == pytest.approx(expected, rel=0.05, nan_ok=True)


def test_maps_are_the_image_in_segments_that_exclude_each_other():
    blend = sample(CENTRAL, (BRIGHT, FAINT))
    maps = Sep(BANDS, rest=True).maps(collate_instances([blend]))
    segments = catalogue_of(blend.image, NOISE, SepOptions()).segments
    owner = segments[32, 32]
    assert len(np.unique(segments)) == 4
    expected = [segments == owner, (segments != owner) & (segments > 0)]
    for found, where in zip(maps[0].numpy(), expected, strict=True):
        np.testing.assert_array_equal(found, np.where(where, blend.image, 0))
    assert maps.dtype == torch.float32
    assert (maps[0, 0, 1].sum(), maps[0, 1, 1].sum()) == pytest.approx((20, 65), rel=0.1)


def test_fluxes_of_segments_are_the_sums_of_maps():
    batch = collate_instances([sample(CENTRAL, (BRIGHT, FAINT))])
    cut = Sep(BANDS, rest=True, options=SepOptions(flux="isophotal", correction=(1.0, 2.0, 3.0)))
    expected = cut.maps(batch).double().sum(dim=(3, 4)).numpy() * [1, 2, 3]
    assert cut.fluxes(batch) == pytest.approx(expected, rel=1e-5)


def test_pixels_of_neighbours_are_replaced_by_those_opposite_the_centre():
    blend = sample(galaxy(26, 32, 2.5, 20), galaxy(38, 32, 2.5, 20), noise=0)
    off = {}
    for way in ("mirror", "mask", "none"):
        options = SEXTRACTOR.model_copy(update={"neighbours": way, "kron_factor": 2.0})
        off[way] = np.abs(catalogue_of(blend.image, NOISE, options).flux[:, 1] / 20 - 1).max()
    assert max(off["mirror"], off["mask"]) < 0.05
    assert off["none"] > 0.15


def test_a_mexican_hat_tells_galaxies_apart_that_touch():
    close = sample(galaxy(29, 32, 2, 20), galaxy(34, 32, 2, 12))
    options = [SEXTRACTOR.model_copy(update={"kernel": kernel}) for kernel in ("gaussian", "mexhat")]
    assert [len(catalogue_of(close.image, NOISE, each).flux) for each in options] == [1, 2]


def test_a_watershed_divides_the_light_down_to_a_level():
    blend = sample(galaxy(26, 32, 2.5, 20), galaxy(38, 32, 2.5, 20), noise=0)
    options = SepOptions(grow=2.0, thresh=5.0)
    cut, grown = (
        catalogue_of(blend.image, NOISE, options.model_copy(update={"grow": grow})) for grow in (None, 2.0)
    )
    assert cut.flux[:, 1].max() < 17
    assert grown.flux[:, 1] == pytest.approx(20, rel=0.03)
    np.testing.assert_array_equal(grown.place, cut.place)
    np.testing.assert_array_equal(grown.segments[cut.segments > 0], cut.segments[cut.segments > 0])
    detection = gaussian_filter((blend.image / NOISE[:, None, None]).sum(axis=0) / np.sqrt(3), 1.0)
    np.testing.assert_array_equal(grown.segments > 0, detection > 2)
    left = blend.target[0].sum(axis=0) > blend.target[1].sum(axis=0)
    assert len(np.unique(grown.segments[left])) == 2  # none and its own


def test_what_lies_opposite_outside_the_image_or_in_a_neighbour_reads_0():
    images = np.arange(1.0, 26.0).reshape(1, 5, 5)
    others = np.zeros((5, 5), bool)
    others[0, 0] = others[2, 4] = others[4, 4] = True
    filled = extraction._mirrored(images, others, 2.0, 1.0)
    expected = images[0].copy()
    expected[0, 0] = images[0, 4, 2]
    expected[2, 4] = expected[4, 4] = 0  # column -2
    np.testing.assert_array_equal(filled[0], expected)
    np.testing.assert_array_equal(
        extraction._mirrored(images, others, 2.0, 2.0)[0, [0, 4, 2], [0, 4, 4]], [0, 0, 11]
    )


def test_pixels_that_are_not_valid_hold_nothing():
    valid = np.ones((1, 64, 64), bool)
    valid[:, 40:] = False
    blend = sample(CENTRAL, BRIGHT, valid=valid)
    image = np.where(valid, blend.image, np.where(X < 32, 9.0, np.nan))
    batch = collate_instances([blend.replace(image=image)])
    fluxes = Sep(BANDS, rest=True).fluxes(batch)[0]
    assert fluxes[0] == pytest.approx(20 * SED.ravel(), rel=0.1)
    maps = Sep(BANDS, rest=True).maps(batch)
    assert torch.isfinite(maps).all()
    assert (maps[..., 40:, :] == 0).all()


def test_a_sample_has_to_state_its_noise():
    blend = sample(CENTRAL, BRIGHT)
    with pytest.raises(DataError, match="noise_<band>"):
        Sep(BANDS, rest=True).fluxes(collate_instances([blend.replace(meta={"id": "test/0"})]))


def test_centroids_are_weighted_by_flux():
    places = centroids(np.stack([CENTRAL, BRIGHT, NOTHING]))
    np.testing.assert_allclose(places, [[31.8, 32.3], [48, 50], [np.nan, np.nan]], atol=0.01)


def test_a_neighbour_of_a_target_that_was_not_detected_keeps_its_own_detection():
    near = galaxy(35.5, 32, 2.5, 60)
    hidden = sample(galaxy(32, 32, 2.5, 1.5), near)
    found = catalogue_of(hidden.image, NOISE, SepOptions())
    assert len(found.place) == 1
    assert np.linalg.norm(found.place[0] - [32, 32]) < 5  # near enough to the target to be taken for it
    fluxes = Sep(BANDS, rest=True).fluxes(collate_instances([hidden]))[0]
    assert np.isnan(fluxes[0]).all()
    assert fluxes[1, 1] == pytest.approx(61.5, rel=0.05)


def test_detections_are_counted_with_matches_and_galaxies():
    batch = collate_instances([sample(CENTRAL, (BRIGHT, FAINT)), sample(NOTHING, BRIGHT, seed=1)])
    assert Sep(BANDS, rest=True, options=SEXTRACTOR).detections(batch).tolist() == [[3, 3, 3], [1, 1, 1]]


def test_detections_of_a_class_of_several_galaxies_need_instances():
    with pytest.raises(DataError, match="test/7: its single galaxies"):
        Sep(BANDS, rest=True).fluxes(collate([sample(CENTRAL, BRIGHT, id="test/7")]))


def test_the_sum_of_distances_decides_who_is_who():
    rng = np.random.default_rng(0)
    for _ in range(50):
        found, wanted = rng.uniform(0, 3, (2, 4, 2))
        owners = match(found, wanted)
        costs = [np.linalg.norm(found - wanted[list(order)], axis=1).sum() for order in permutations(range(4))]
        assert np.linalg.norm(found - wanted[owners], axis=1).sum() == pytest.approx(min(costs))


def test_a_detection_too_far_away_belongs_to_no_one():
    found, wanted = np.array([[0.0, 4.9], [20.0, 5.1]]), np.array([[20.0, 0.0], [0.0, 0.0], [np.nan, np.nan]])
    assert match(found, wanted).tolist() == [1, -1]
    assert match(found, np.empty((0, 2))).tolist() == [-1, -1]
    assert match(np.empty((0, 2)), wanted).tolist() == []


@pytest.fixture(scope="module")
def blends():
    rng = np.random.default_rng(0)
    return Listed(
        [
            sample(galaxy(32, 32, 2.5, rng.uniform(5, 40)), galaxy(*rng.uniform(10, 54, 2), 3, 20), seed=seed)
            for seed in range(6)
        ]
    )


GRID = {"thresh": (0.7, 30.0), "grow": (0.5, 2.0), "flux": ("kron", "isophotal")}


@pytest.mark.parametrize("draws", [0, 3])
def test_tuning_finds_what_a_search_of_all_choices_finds(blends, monkeypatch, draws):
    monkeypatch.setattr(tuning, "GRID", GRID)
    tuned = tune_sep(blends, BANDS, rest=True, draws=draws)
    batch = collate_instances(blends.samples)
    true = batch.target.double().sum(dim=(3, 4)).numpy()

    def error(options):
        off = np.nan_to_num(Sep(BANDS, True, options).fluxes(batch)) / true - 1
        return 100 * np.minimum(np.abs(off), 1).mean()

    assert tuned.error == pytest.approx(error(tuned.sep.options))
    for values in product(*GRID.values()):
        other = tuned.sep.options.model_copy(update=dict(zip(GRID, values, strict=True)))
        assert error(other) >= tuned.error - 1e-9
    assert (tuned.sep.options.thresh, tuned.sep.options.flux) == (0.7, "kron")
    assert tuned.error == tuned.trials["error"].min() < tuned.trials["error"].max() - 10


def test_tuning_counts_the_classes_that_it_is_told_to(blends, monkeypatch):
    monkeypatch.setattr(tuning, "GRID", {"thresh": (1.5,)})
    tuned = tune_sep(blends, BANDS, rest=True, classes=[0], samples=4, draws=1)
    batch = collate_instances(blends.samples[:4])
    true = batch.target.double().sum(dim=(3, 4)).numpy()[:, 0]
    off = np.nan_to_num(tuned.sep.fluxes(batch)[:, 0]) / true - 1
    assert tuned.error == pytest.approx(100 * np.minimum(np.abs(off), 1).mean())


def test_the_correction_is_the_factor_with_the_least_error():
    rng = np.random.default_rng(0)
    true = rng.uniform(1, 9, (200, 1, 2))
    fluxes = true * [0.8, 1.25] * rng.normal(1, 0.02, true.shape)
    fluxes[:20] = np.nan  # missed
    true[20:30], fluxes[20:30] = 0, 5.0
    fluxes[30:50] *= 100
    error, factors = tuning._best_correction(fluxes, true)
    assert factors == pytest.approx((1.25, 0.8), abs=0.02)
    assert error == pytest.approx(100 * 40 / 190 + 1.6 * 150 / 190, abs=0.5)
    assert tuning._best_correction(np.full((3, 1, 1), np.nan), np.ones((3, 1, 1)))[0] == 100


def scarlet(**options):
    return Scarlet(Sep(BANDS, rest=True), psf_fwhm=(1.29, 1.18, 1.11), pixel_scale=0.262, **options)


def test_the_point_spread_function_is_galsims():
    galsim = pytest.importorskip("galsim")
    stamps = scarlet_module._moffat(np.array([4.9, 4.2]))
    for stamp, fwhm in zip(stamps, (4.9, 4.2), strict=True):
        exact = galsim.Moffat(beta=3, fwhm=fwhm).drawImage(nx=len(stamp), ny=len(stamp), scale=1.0).array
        np.testing.assert_allclose(stamp, exact / exact.sum(), atol=1e-4)
        assert stamp.sum() == pytest.approx(1)


def test_scarlet_asks_for_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scarlet2", None)
    with pytest.raises(MissingExtraError, match=r"oasis-seg\[scarlet\]"):
        scarlet().maps(collate_instances([sample(CENTRAL, BRIGHT)]))


@pytest.mark.parametrize("shape", ["sersic", "pixels"])
def test_scarlet_fits_the_galaxies_that_sep_detects(shape):
    pytest.importorskip("scarlet2", reason="the extra scarlet is not installed")
    near = galaxy(39, 32, 3, 10)
    batch = collate_instances([sample(CENTRAL, near), sample(NOTHING, NOTHING, seed=1, noise=0.5)])
    maps = scarlet(shape=shape).maps(batch)
    assert maps.shape == batch.target.shape
    assert maps[0, :, 1].sum(dim=(1, 2)).numpy() == pytest.approx([20, 10], rel=0.1)
    assert (maps[1] == 0).all()
