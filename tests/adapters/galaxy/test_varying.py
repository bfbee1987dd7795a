"""What differs between images: point-spread function, noise, pixels, background, stars, and the context."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from oasis.adapters.galaxy import GalaxiesAdapter, GalaxyAdapter, survey
from oasis.adapters.galaxy.blurring import blur, moffat_transfer
from oasis.adapters.galaxy.scene import BlendOptions, GalaxyScene
from oasis.adapters.galaxy.simulation import GalaxyOptions, simulate_galaxies
from oasis.adapters.galaxy.stamps import Stamps
from oasis.adapters.galaxy.stars import STAR, point_source
from oasis.adapters.galaxy.surveys import DECALS
from oasis.adapters.galaxy.varying import Conditions, Varying
from oasis.errors import ConfigError, DataError

galsim = pytest.importorskip("galsim")
pytest.importorskip("sep")

FEW = {"library": {"simulated": 40}, "events": {"train": 8, "val": 4, "test": 6}}
WIDTHS = DECALS.known("psf_fwhm")


def adapter(varying, kind=GalaxyAdapter, **data):
    return kind({**FEW, "varying": varying, **data}, seed=5)


def test_samples_without_varying_are_those_of_earlier_versions():
    """Values of the version before images could differ."""
    sample = adapter({}).dataset("train")[(3, 2)]
    np.testing.assert_allclose(sample.image.sum(axis=(1, 2)), [33.638779, 62.256584, 93.61993], rtol=1e-4)
    np.testing.assert_allclose(sample.image[:, 30, 33], [0.10517495, 0.19518638, 0.27841747], rtol=1e-4)
    assert "pixel_scale" not in sample.meta
    sample = adapter({}, GalaxiesAdapter).dataset("train")[(3, 2)]
    np.testing.assert_allclose(sample.target.sum(axis=(1, 2, 3)), [23.123127, 0, 0, 166.840363], rtol=1e-4)


def test_the_transfer_is_that_of_the_profile():
    """Against the sum of a finely sampled Moffat profile over waves."""
    length, step = 2.0, 0.05
    axis = np.arange(-60, 60, step)
    profile = (1 + (axis[:, None] ** 2 + axis**2) / length**2) ** -survey.MOFFAT_BETA
    row = profile.sum(axis=0)
    for k in (0.3, 1.0, 2.0):
        expected = np.log((row * np.cos(k * axis)).sum() / row.sum())
        assert moffat_transfer(np.array([k * length]))[0] == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize(("factor", "scale"), [(1.3, 0.262), (1.0, 0.29), (1.2, 0.3)])
def test_blurred_stamps_are_those_that_galsim_draws(factor, scale):
    """A galaxy beside the middle of its stamp, drawn by GalSim with both point-spread functions and pixels."""
    old, new = 0.85 * WIDTHS, factor * WIDTHS

    def drawn(widths, pixel):
        images = []
        for width in widths:
            light = galsim.Exponential(half_light_radius=1.5, flux=10).shear(g1=0.2).shift(0.3, -0.2)
            light = galsim.Convolve(light, galsim.Moffat(beta=3, fwhm=width))
            image = galsim.ImageF(64, 64, scale=pixel)
            light.drawImage(image, center=galsim.PositionD(33, 33))  # the pixel 32, from 0
            images.append(image.array)
        return np.array(images)

    found = blur(64, old, new, 0.262, scale)(drawn(old, 0.262))
    expected = drawn(new, scale)
    assert np.abs(found - expected).max() < 3e-3 * expected.max()
    np.testing.assert_allclose(found.sum(axis=(1, 2)), expected.sum(axis=(1, 2)), rtol=3e-3)


def test_the_noise_of_a_blurred_stamp_is_known():
    change = blur(64, WIDTHS, 1.3 * WIDTHS, 0.262, 0.28)
    white = np.random.default_rng(0).normal(0, 1, (60, 3, 64, 64)).astype(np.float32) + 100  # above 0
    noise = np.array([change(one)[:, 20:44, 20:44] for one in white])
    noise -= noise.mean(axis=0)
    np.testing.assert_allclose(noise.std(axis=(0, 2, 3)), change.noise, rtol=0.05)


def test_conditions_lie_in_their_ranges_and_are_stated():
    varying = {"seeing": {"r": [1.0, 1.4]}, "noise": [0.5, 2.0], "pixel_scale": [0.25, 0.3]}
    made = adapter(varying)
    assert made.pixel_scale == made.library.pixel_scale == 0.25
    samples = [made.dataset("test")[index] for index in range(6)]
    widths = np.array([[one.meta[f"psf_fwhm_{band}"] for band in "grz"] for one in samples])
    np.testing.assert_allclose(widths[:, [0, 2]], np.tile(WIDTHS[[0, 2]], (6, 1)))
    assert ((widths[:, 1] >= WIDTHS[1]) & (widths[:, 1] <= 1.4 * WIDTHS[1])).all()
    assert np.ptp(widths[:, 1]) > 0.05
    for sample in samples:
        scale = sample.meta["pixel_scale"]
        assert 0.25 <= scale <= 0.3
        usual = np.array([survey.sky_noise(band, scale) for band in "grz"])
        noise = np.array([sample.meta[f"noise_{band}"] for band in "grz"])
        assert ((noise >= 0.499 * usual) & (noise <= 2.01 * usual)).all()
        gain = np.array([sample.meta[f"gain_{band}"] for band in "grz"])
        np.testing.assert_allclose(gain * (noise / usual) ** 2, [survey.gain(band) for band in "grz"], rtol=1e-5)
        rest = (sample.image - sample.target.sum(axis=0))[:, :, :6].std(axis=(1, 2))
        np.testing.assert_allclose(rest, noise, rtol=0.25)
    assert not adapter({}).dataset("test")[0].meta.keys() & {"psf_fwhm_r", "stars"}


def test_the_same_sample_is_drawn_again():
    made = adapter({"seeing": [0.9, 1.2], "stars": {"number": [1, 3]}, "background": 1.0})
    first, second = (made.dataset("train")[(1, 4)] for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    lit = first.instances
    dense = np.zeros(first.target.shape, np.float32).reshape(2, -1)
    for owner, label in enumerate(lit.labels):
        mine = lit.owners == owner
        dense[label][lit.pixels[mine]] += lit.values[mine]
    np.testing.assert_allclose(dense.reshape(first.target.shape), first.target, atol=1e-4)


def test_the_background_is_a_plane_that_no_map_has():
    made = adapter({"background": 3.0, "gradient": 5.0})
    sample = made.dataset("test")[1]
    conditions = Conditions.of(sample.meta, ("g", "r", "z"))
    plane = conditions.plane(sample.image.shape)
    rest = sample.image - sample.target.sum(axis=0) - plane
    for band, noise in zip(rest, conditions.sky, strict=True):
        assert abs(band.mean()) < 0.1 * noise
        assert abs(ndimage.uniform_filter(band, 15)).max() < noise
    assert (np.abs(plane).max(axis=(1, 2)) <= 8.001 * conditions.sky).all()
    assert np.ptp(plane) > 0


def test_stars_are_point_sources_of_the_neighbours_and_saturated_pixels_are_not_valid():
    stars = {"number": [2, 2], "magnitudes": [13.0, 14.0], "saturation": 100.0}
    made = adapter({"stars": stars})
    sample = made.dataset("test")[0]
    galaxies = sample.instances.table["galaxy"]
    assert (galaxies == STAR).sum() == sample.meta["stars"] == 2
    assert (sample.instances.labels[galaxies == STAR] == 1).all()
    bad = ~sample.valid[0]
    assert 9 <= bad.sum() < 600
    level = 100.0 * survey.PIXEL_SCALE**2
    assert (sample.target.sum(axis=0).max(axis=0)[~bad] < 1.2 * level).all()
    assert sample.image.max() < 1.2 * level  # filled with good pixels
    middle = sample.instances.table
    first = np.array([middle["row"][0], middle["col"][0]])
    for row, col in zip(middle["row"][galaxies == STAR], middle["col"][galaxies == STAR], strict=True):
        assert np.hypot(row - first[0], col - first[1]) > survey.PSF_FWHM["r"] / survey.PIXEL_SCALE


def test_a_point_source_is_the_profile_with_its_flux():
    scene = adapter({"seeing": [1.0, 1.2]}).scene("test")
    conditions = scene.draw(np.random.default_rng(0))
    light = point_source(np.array([5.0, 6.0, 7.0]), np.array([30.3, 33.8]), conditions, 64)
    for image, flux, width in zip(light, (5, 6, 7), conditions.psf_fwhm, strict=True):
        profile = galsim.Moffat(beta=3, fwhm=width, flux=flux)
        at = galsim.PositionD(34.8, 31.3)  # column and row, from 1
        expected = profile.drawImage(galsim.ImageF(64, 64, scale=conditions.pixel_scale), center=at).array
        assert np.abs(image - expected).max() < 5e-3 * expected.max()
        assert image.sum() == pytest.approx(flux, rel=5e-3)


def test_stars_have_a_class_where_galaxies_are_interchangeable():
    made = adapter({"stars": {"number": [1, 2], "magnitudes": [16, 18]}}, GalaxiesAdapter)
    assert made.classes[-1] == "stars"
    assert made.interchangeable == (made.classes[:-1],)
    assert made.single == (True, True, True, True, False)
    assert made.defaults["loss"]["region_weights"]["weights"] == {2: 2, 3: 2, 4: 2, 5: 2}
    sample = made.dataset("test")[0]
    assert sample.target.shape == (5, 3, 64, 64)
    assert sample.target[4].sum() > 5
    assert adapter({}, GalaxiesAdapter).classes == made.classes[:-1]


def test_the_context_says_how_wide_and_how_noisy_an_image_is():
    made = adapter({"seeing": [0.9, 1.3], "noise": [0.5, 2.0], "context": ["psf", "noise"]})
    assert made.context == 6
    sample = made.dataset("test")[2]
    assert sample.context.shape == (6, 64, 64)
    widths = np.array([sample.meta[f"psf_fwhm_{band}"] for band in "grz"])
    noise = np.array([sample.meta[f"sky_{band}"] for band in "grz"])
    usual = np.array([survey.sky_noise(band) for band in "grz"])
    np.testing.assert_allclose(
        sample.context[:, 5, 7], np.log(np.append(widths / WIDTHS, noise / usual)), rtol=1e-5
    )
    planes = made.context_planes(
        dict(zip("grz", widths, strict=True)), dict(zip("grz", noise, strict=True)), (64, 64)
    )
    np.testing.assert_allclose(planes, sample.context, rtol=1e-5)
    with pytest.raises(DataError, match=r"takes the psf of images, .*not known in r, z: give data\.reading"):
        made.context_planes({"g": 1.2}, {"g": 1, "r": 1, "z": 1}, (4, 4))


def test_the_catalogue_compares_with_the_trained_ranges():
    training = adapter({"seeing": [0.8, 1.5], "noise": {"g": [0.5, 3.0]}}).training
    np.testing.assert_allclose(training.psf_fwhm, WIDTHS)
    np.testing.assert_allclose(training.seeing, [[0.8] * 3, [1.5] * 3])
    np.testing.assert_allclose(training.depth, [[0.5, 1, 1], [3.0, 1, 1]])


def test_measured_galaxies_must_be_sharp_enough():
    flux = simulate_galaxies(12, 1, GalaxyOptions(size=32, magnitudes=(20, 22), contained=0.5)).flux
    noise = np.full((12, 3), 0.004, np.float32)
    library = Stamps.measure(flux, survey.BANDS, 0.262, {}, noise, WIDTHS)
    options = BlendOptions(size=32)
    sharp = GalaxyScene(
        library, np.arange(12), ("target", "neighbours"), options, None, Varying(seeing=(1.25, 1.3))
    )
    placed, _ = sharp.place(0, np.random.default_rng(0))
    assert len(placed) >= 2
    brought = sharp._stamp_variance(placed, Conditions.of(placed[0].meta, survey.BANDS))
    assert 0 < brought.max() < len(placed) * 0.004**2 / 4  # of smoothed noise
    with pytest.raises(DataError, match=r"data\.varying\.seeing: from 1\.03 arcsec in g, .* is 1\.29 arcsec"):
        GalaxyScene(library, np.arange(12), ("target", "neighbours"), options, None, Varying(seeing=(0.8, 1.3)))
    unknown = replace(library, psf_fwhm=np.full(3, np.nan, np.float32))
    with pytest.raises(DataError, match=r"is not known: begin there, or give convert\.psf_fwhm"):
        GalaxyScene(unknown, np.arange(12), ("target", "neighbours"), options, None, Varying(seeing=(1.0, 1.3)))
    with pytest.raises(DataError, match=r"data\.varying\.pixel_scale: from 0\.2 arcsec"):
        GalaxyScene(
            library, np.arange(12), ("target", "neighbours"), options, None, Varying(pixel_scale=(0.2, 0.3))
        )


def test_what_does_not_vary_is_named():
    with pytest.raises(ConfigError, match=r"data\.varying\.seeing: unknown band 'i'"):
        adapter({"seeing": {"i": [0.9, 1.1]}}).dataset("test")
    with pytest.raises(ConfigError, match="lower bound first"):
        adapter({"noise": [2.0, 1.0]})
