"""The survey's noise against its definition, another survey tool's figures and real images; 2 s."""

from pathlib import Path

import numpy as np
import pytest

from oasis.adapters.galaxy import survey
from oasis.errors import ConfigError

CUTOUTS = Path(__file__).parents[3].parent / "shared/data/galaxy/decals_fits"
STEP = 0.03  # arcsec
AXIS = (np.arange(-500, 500) + 0.5) * STEP
RADIUS = np.hypot(*np.meshgrid(AXIS, AXIS))


def moffat(fwhm, beta):
    profile = (1 + (RADIUS / survey.moffat_scale(fwhm, beta)) ** 2) ** -beta
    return profile / profile.sum()


def signal_to_noise(light, band):
    """Of a fit of the flux alone, from the sum over the pixels of the camera of (signal / noise)^2."""
    fine_noise = survey.sky_noise(band) * STEP / survey.PIXEL_SCALE  # of a pixel of this size
    return np.sqrt((light**2).sum()) / fine_noise


def test_magnitudes_and_fluxes_are_inverses():
    fluxes = np.geomspace(1e-4, 1e4, 30)
    np.testing.assert_allclose(survey.nanomaggies(survey.magnitude(fluxes)), fluxes, rtol=1e-12)
    assert survey.nanomaggies(22.5 - 5) == pytest.approx(100)  # 5 magnitudes are a factor of 100 (Pogson)
    assert survey.magnitude(3631e9 / 3631) == pytest.approx(0)  # 1 maggy is 3631 Jy, AB magnitude 0


@pytest.mark.parametrize("beta", [2.5, 3.0, 4.765])
def test_the_moffat_profile_is_as_wide_as_said(beta):
    half = (1 + (0.5 * 1.3 / survey.moffat_scale(1.3, beta)) ** 2) ** -beta
    assert half == pytest.approx(0.5)


@pytest.mark.parametrize("band", survey.BANDS)
def test_a_point_source_at_the_depth_stands_five_sigma_above_the_noise(band):
    star = moffat(survey.PSF_FWHM[band], survey.MOFFAT_BETA) * survey.nanomaggies(survey.DEPTH[band])
    assert signal_to_noise(star, band) == pytest.approx(5, rel=0.01)


@pytest.mark.parametrize(("band", "limit"), [("g", 24.0), ("r", 23.4), ("z", 22.5)])
def test_the_survey_meets_its_requirement(band, limit):
    # Dey et al. (2019): 5 sigma or more for an exponential galaxy of 0.45 arcsec, found by two of three exposures.
    galaxy = np.exp(-1.678 * RADIUS / 0.45)
    spectrum = np.fft.rfft2(galaxy / galaxy.sum()) * np.fft.rfft2(
        np.fft.ifftshift(moffat(survey.PSF_FWHM[band], survey.MOFFAT_BETA))
    )
    blurred = np.fft.irfft2(spectrum) * survey.nanomaggies(limit)
    assert 5 < signal_to_noise(blurred, band) < 8


@pytest.mark.parametrize("band", survey.BANDS)
def test_the_exposure_explains_the_noise(band):
    pytest.importorskip("surveycodex")
    from surveycodex import get_survey
    from surveycodex.utilities import mag2counts

    camera = get_survey("DES")
    band_facts = camera.get_filter(band)
    exposure = survey.EXPOSURE[band]
    per_nmgy = mag2counts(survey.ZERO_POINT, camera, band_facts, exposure).value
    assert survey.gain(band) == pytest.approx(per_nmgy, rel=1e-3)
    sky = mag2counts(band_facts.sky_brightness.value, camera, band_facts, exposure).value * survey.PIXEL_SCALE**2
    assert sky > 400
    assert 0.7 < np.sqrt(sky) / per_nmgy / survey.sky_noise(band) < 1.4


@pytest.mark.skipif(not CUTOUTS.exists(), reason="no real cutouts of DECaLS")
@pytest.mark.parametrize("name", ["example_b", "example_c", "example_willett"])  # the others leave no empty sky
def test_real_images_are_as_noisy_to_a_factor_of_two(name):
    fits = pytest.importorskip("astropy.io.fits")
    with fits.open(CUTOUTS / f"{name}.fits") as file:
        image = file[0].data.astype(float)
    border = np.ones(image.shape[1:], bool)
    border[60:-60, 60:-60] = False
    for band, plane in zip(survey.BANDS, image, strict=True):
        # the service interpolates: a pixel of a finer grid reads the flux of a native pixel, and is as noisy
        sky = plane[border]
        noise = 1.4826 * np.median(np.abs(sky - np.median(sky)))
        assert 0.5 < noise / survey.sky_noise(band) < 2


def test_noise_of_a_pixel_grows_with_its_side():
    assert survey.sky_noise("r", 0.524) == pytest.approx(2 * survey.sky_noise("r"))


@pytest.mark.parametrize("quantity", [survey.sky_noise, survey.gain])
def test_a_band_of_another_survey_is_refused_by_name(quantity):
    with pytest.raises(ConfigError, match=r"'F814W'.*known: g, r, z"):
        quantity("F814W")
