"""Simulated galaxies against analytic profiles, GalSim's own drawing and the laws they are drawn from; 8 s."""

import sys

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import curve_fit
from scipy.stats import kstest

from oasis.adapters.galaxy import survey
from oasis.adapters.galaxy.simulation import (
    BULGE_EDGE,
    GalaxyOptions,
    _Component,
    _composite_r50,
    _Galaxy,
    _random_galaxy,
    _Renderer,
    simulate_galaxies,
)
from oasis.adapters.galaxy.stamps import half_light_radius
from oasis.data.mixing import keyed_rng
from oasis.errors import ConfigError, MissingExtraError

galsim = pytest.importorskip("galsim")
pytest.importorskip("sep")

DISCS = {"bulge_fraction": (1e-3, 1e3)}


@pytest.fixture(scope="module")
def library():
    return simulate_galaxies(300, seed=1)


def drawn(count, **options):
    """The galaxies before they are rendered, which is quick."""
    options = GalaxyOptions(**options)
    return [_random_galaxy(keyed_rng(0, "galaxies", index), options) for index in range(count)]


def component(flux, r50=1.0, axis_ratio=1.0):
    return _Component(np.full(3, float(flux)), r50, axis_ratio)


def rendered(disc, bulge, angle=0.0, offset=(0.0, 0.0), **options):
    return _Renderer(GalaxyOptions(**options))(_Galaxy(disc, bulge, offset, {"position_angle": angle}))


def covariance(image):
    rows, cols = np.indices(image.shape)
    rows, cols = rows - np.average(rows, weights=image), cols - np.average(cols, weights=image)
    return [np.average(product, weights=image) for product in (cols * cols, rows * rows, cols * rows)]


@pytest.mark.parametrize(("size", "scale"), [(64, 0.262), (65, 0.262), (64, 0.524), (65, 0.4)])
def test_galaxies_are_drawn_as_galsim_draws_them_in_real_space(size, scale):
    renderer = _Renderer(GalaxyOptions(size=size, pixel_scale=scale))
    strict = galsim.GSParams(folding_threshold=2e-4, maxk_threshold=1e-5, maximum_fft_size=16384)
    for galaxy in drawn(6, magnitudes=(18.5, 21.5)):
        angle, disc, bulge = galaxy.table["position_angle"] * galsim.degrees, galaxy.disc, galaxy.bulge
        stamp = renderer(galaxy)
        for band in range(3):
            light = disc.flux[band] * galsim.Exponential(half_light_radius=disc.r50).shear(
                q=disc.axis_ratio, beta=angle
            ) + bulge.flux[band] * galsim.Sersic(4, half_light_radius=bulge.r50, trunc=8 * bulge.r50).shear(
                q=bulge.axis_ratio, beta=angle
            )
            blur = galsim.Moffat(beta=3, fwhm=survey.PSF_FWHM[survey.BANDS[band]])
            corner = 0.5 * (size % 2 == 0)  # from the middle of the image to that of the pixel size // 2
            expected = galsim.Convolve(light, blur, gsparams=strict).drawImage(
                nx=size, ny=size, scale=scale, offset=[corner + each for each in galaxy.offset]
            )
            assert np.abs(stamp[band] - expected.array).sum() < 2e-3 * expected.array.sum()
            assert np.abs(stamp[band] - expected.array).max() < 0.02 * survey.sky_noise("g", scale)


def test_a_galaxy_has_the_flux_of_its_magnitude(library):
    total = survey.nanomaggies(library.table["magnitude"])
    share = library.table["flux_r"] / total
    assert (share >= 0.97).all()
    assert (share < 1.001).all()
    np.testing.assert_allclose(library.flux.sum((2, 3))[:, 1], library.table["flux_r"], rtol=1e-4)
    small = simulate_galaxies(5, options=GalaxyOptions(size=160, magnitudes=(21, 22)))
    np.testing.assert_allclose(small.table["flux_r"], survey.nanomaggies(small.table["magnitude"]), rtol=2e-3)


@pytest.mark.parametrize(("disc", "bulge", "r50"), [(1, 0, 3.0), (0, 1, 2.0)])
def test_half_of_the_light_is_within_the_half_light_radius(disc, bulge, r50):
    image = rendered(component(disc, r50), component(bulge, r50), size=160, psf_fwhm=(0.3, 0.3, 0.3))
    assert half_light_radius(image[:1], survey.PIXEL_SCALE)[0] == pytest.approx(r50, rel=0.02)


@pytest.mark.parametrize(("fraction", "size"), [(0.0, 0.4), (0.3, 0.4), (0.7, 0.2), (0.5, 1.6), (1.0, 0.4)])
def test_the_half_light_radius_of_disc_and_bulge_together(fraction, size):
    bulge = galsim.DeVaucouleurs(half_light_radius=size, trunc=BULGE_EDGE * size)
    both = (1 - fraction) * galsim.Exponential(half_light_radius=1) + fraction * bulge
    light, _ = quad(lambda r: 2 * np.pi * r * both.xValue(r, 0), 0, _composite_r50(fraction, size), limit=200)
    assert light == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("band", range(3))
def test_a_point_is_as_wide_as_the_point_spread_function(band):
    image = rendered(component(1, 0.01), component(0), offset=(0.3, -0.2))[band]
    rows, cols = (np.indices(image.shape) - 32) * survey.PIXEL_SCALE
    radius = np.hypot(cols - 0.3 * survey.PIXEL_SCALE, rows + 0.2 * survey.PIXEL_SCALE)

    def profile(radius, peak, scale, beta):
        return peak * (1 + (radius / scale) ** 2) ** -beta

    _, scale, beta = curve_fit(profile, radius.ravel(), image.ravel(), (0.05, 1, 3))[0]
    assert beta == pytest.approx(survey.MOFFAT_BETA, rel=0.06)
    fwhm = survey.PSF_FWHM[survey.BANDS[band]]
    assert fwhm < 2 * abs(scale) * np.sqrt(2 ** (1 / beta) - 1) < 1.03 * fwhm  # pixels widen it a little


@pytest.mark.parametrize("angle", [30.0, 120.0])
def test_the_position_angle_runs_from_columns_to_rows(angle):
    xx, yy, xy = covariance(rendered(component(1, 1.0, 0.3), component(0), angle)[1])
    assert np.degrees(0.5 * np.arctan2(2 * xy, xx - yy)) % 180 == pytest.approx(angle, abs=0.5)


def test_stamps_are_centred_to_a_pixel_and_nowhere_negative(library):
    assert library.flux.shape == (300, 3, 64, 64)
    assert library.flux.dtype == np.float32
    assert library.flux.min() >= 0
    assert simulate_galaxies(10, options=GalaxyOptions(size=128)).flux.min() >= 0  # where there are ripples to cut
    assert not library.noise.any()
    np.testing.assert_allclose(library.psf_fwhm, [1.29, 1.18, 1.11])
    axis = np.arange(64) - 32
    light = library.flux[:, 1] / library.flux[:, 1].sum((1, 2), keepdims=True)
    offsets = np.stack([light.sum(2) @ axis, light.sum(1) @ axis])
    assert np.abs(offsets).max() < 0.7
    assert np.abs(offsets.std(axis=1) - 12**-0.5).max() < 0.03  # even over a pixel


def test_galaxies_are_the_same_in_pixels_of_another_size():
    fine = simulate_galaxies(5, options=GalaxyOptions(size=128, magnitudes=(18, 20)))
    coarse = simulate_galaxies(5, options=GalaxyOptions(size=64, pixel_scale=0.524, magnitudes=(18, 20)))
    assert coarse.pixel_scale == 0.524
    np.testing.assert_array_equal(coarse.table["magnitude"], fine.table["magnitude"])
    np.testing.assert_allclose(coarse.table["flux_r"], fine.table["flux_r"], rtol=2e-3)
    np.testing.assert_allclose(coarse.table["r50"], fine.table["r50"], rtol=0.03)


def test_colours_follow_their_law():
    discs = simulate_galaxies(200, options=GalaxyOptions(size=48, magnitudes=(20, 22), **DISCS))
    g, r, z = (survey.magnitude(discs.table[f"flux_{band}"]) for band in survey.BANDS)
    assert (g - r).mean() == pytest.approx(0.55, abs=0.03)
    assert (g - r).std() == pytest.approx(0.15, abs=0.02)
    slope, _ = np.polyfit(g - r, r - z, 1)
    assert slope == pytest.approx(0.5, abs=0.07)
    around = r - z - 0.45 - 0.5 * (g - r - 0.55)
    assert around.mean() == pytest.approx(0, abs=0.015)
    assert around.std() == pytest.approx(0.06, abs=0.01)


def test_bulges_are_redder_than_their_discs():
    pairs = [
        (survey.magnitude(galaxy.bulge.flux), survey.magnitude(galaxy.disc.flux))
        for galaxy in drawn(1000, bulge_fraction=(2.0, 2.0))
    ]
    bulge, disc = np.diff(pairs, axis=2).transpose(1, 2, 0)  # r - g, z - r
    redder = disc[0] - bulge[0]
    assert redder.mean() == pytest.approx(0.25, abs=0.02)
    assert redder.std() == pytest.approx(0.1, abs=0.01)
    np.testing.assert_allclose(disc[1] - bulge[1], 0.5 * redder, atol=1e-9)
    assert np.corrcoef(bulge[0], disc[0])[0, 1] > 0.6


@pytest.mark.parametrize("slope", [0.0, 0.6, -0.3])
def test_magnitudes_follow_the_counts(slope):
    found = [galaxy.table["magnitude"] for galaxy in drawn(600, magnitudes=(18, 21), count_slope=slope)]

    def below(magnitude):
        share = (np.asarray(magnitude) - 18) / 3
        return share if slope == 0 else (10 ** (slope * 3 * share) - 1) / (10 ** (slope * 3) - 1)

    assert kstest(found, below).pvalue > 0.01


def test_sizes_follow_the_size_magnitude_relation():
    rows = [galaxy.table for galaxy in drawn(1000)]
    magnitude, r50 = (np.array([row[name] for row in rows]) for name in ("magnitude", "r50_intrinsic"))
    slope, zero = np.polyfit(magnitude - 17.5, np.log10(r50), 1)
    assert slope == pytest.approx(-0.13, abs=0.01)
    assert 10**zero == pytest.approx(1.9, rel=0.04)
    residual = np.log(r50) - np.log(10) * (zero + slope * (magnitude - 17.5))
    assert residual.std() == pytest.approx(0.3, rel=0.06)


@pytest.mark.parametrize("redshift", [0.1, 0.2, 0.3, 0.4, 0.5])
def test_the_relation_is_that_of_a_bright_disc_galaxy_at_a_distance(redshift):
    cosmology = pytest.importorskip("astropy.cosmology").FlatLambdaCDM(H0=70, Om0=0.3)
    alpha, beta, gamma, bright = 0.26, 0.51, -1.71, -20.91  # Shen et al. (2003), late types in r
    absolute = -20.9
    radius = 10 ** (
        -0.4 * alpha * absolute + (beta - alpha) * np.log10(1 + 10 ** (-0.4 * (absolute - bright))) + gamma
    )
    apparent = absolute + cosmology.distmod(redshift).value + redshift  # K correction of a spiral, roughly
    angle = radius / cosmology.kpc_proper_per_arcmin(redshift).value * 60
    assert angle == pytest.approx(1.9 * 10 ** (-0.13 * (apparent - 17.5)), rel=0.15)


def test_discs_are_inclined_at_random():
    found = np.array([galaxy.disc.axis_ratio for galaxy in drawn(1000)])
    assert kstest(found**2, lambda square: np.sqrt((np.asarray(square) - 0.04) / 0.96)).pvalue > 0.01
    assert all(0.6 <= galaxy.bulge.axis_ratio <= 1 for galaxy in drawn(100))


def test_a_library_grows_without_changing():
    few, many = simulate_galaxies(3, seed=5), simulate_galaxies(7, seed=5)
    np.testing.assert_array_equal(few.flux, many.flux[:3])
    for name, column in few.table.items():
        np.testing.assert_array_equal(column, many.table[name][:3])
    assert len({*many.table["magnitude"]}) == 7
    assert not np.array_equal(few.flux, simulate_galaxies(3, seed=6).flux)
    assert len(simulate_galaxies(0)) == 0


def test_a_galaxy_that_leaves_its_stamp_is_drawn_again():
    options = GalaxyOptions(size=40, contained=0.96)
    some = simulate_galaxies(60, options=options)
    assert (some.table["redrawn"] > 0).sum() > 10
    total = survey.nanomaggies(some.table["magnitude"])
    assert (some.table["flux_r"] / total).min() >= 0.96
    with pytest.raises(ConfigError, match="none of 100 galaxies had 97% of its light"):
        simulate_galaxies(1, options=GalaxyOptions(size=32, r50=20.0, r50_slope=0.0))


@pytest.mark.parametrize(
    ("values", "words"), [({"g_r": (0.5, -0.1)}, "g_r"), ({"size": 8}, "size"), ({"r_50": 1}, "r50")]
)
def test_options_that_cannot_be_are_refused(values, words):
    with pytest.raises(ConfigError, match=words):
        GalaxyOptions.parse(values)


def test_without_galsim_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "galsim", None)
    with pytest.raises(MissingExtraError, match=r"oasis-seg\[galaxy\]"):
        simulate_galaxies(1)


def test_pixels_much_wider_than_the_survey_s_are_refused():
    with pytest.raises(ConfigError, match=r"pixels of 50 arcsec would be drawn on \d+ points .* more than 4096"):
        simulate_galaxies(1, options=GalaxyOptions(pixel_scale=50))
