"""Bands of any number and names: presets against surveycodex, simulation, noise, reading and defaults."""

import numpy as np
import pytest

from oasis.adapters.galaxy import GalaxyAdapter, survey
from oasis.adapters.galaxy.simulation import GalaxyOptions, colour_weights, simulate_galaxies
from oasis.adapters.galaxy.surveys import DECALS, SURVEYS, BandOptions, bands_of
from oasis.errors import ConfigError, DataError
from oasis.run import Run

pytest.importorskip("galsim")
fits = pytest.importorskip("astropy.io.fits")

EVENTS = {"train": 2, "val": 2, "test": 4}
CODEX = {"hsc": ("HSC",), "rubin": ("LSST",), "euclid": ("Euclid_VIS", "Euclid_NISP"), "hst": ("COSMOS",)}


def small(**options):
    return {"library": {"simulated": 24, **options.pop("library", {})}, "events": EVENTS, **options}


@pytest.mark.parametrize("name", CODEX)
def test_presets_are_those_of_surveycodex(name):
    pytest.importorskip("surveycodex")
    from surveycodex import get_survey
    from surveycodex.utilities import mag2counts

    scale, bands = SURVEYS[name]
    seen = []
    for camera in map(get_survey, CODEX[name]):
        for key in camera.available_filters:
            facts, band = camera.get_filter(key), bands[key.upper() if name == "hst" else key]
            seen.append(band)
            assert band.wavelength == pytest.approx(facts.effective_wavelength.value, rel=1e-3)
            assert band.psf_fwhm == facts.psf_fwhm.value
            time = facts.full_exposure_time.value
            gain = mag2counts(22.5, camera, facts, time).value
            sky = mag2counts(facts.sky_brightness.value, camera, facts, time).value * scale**2
            assert band.gain == pytest.approx(gain, rel=1e-3)
            assert band.sky == pytest.approx(np.sqrt(sky) / gain, rel=1e-3)
    assert len(seen) == len(bands)
    assert scale == get_survey(CODEX[name][0]).pixel_scale.value


def test_dr10_has_decals_and_an_i_band():
    bands = bands_of("dr10")
    assert bands.names == ("g", "r", "i", "z")
    np.testing.assert_allclose(bands.sky_noise(0.262)[[0, 1, 3]], [survey.sky_noise(band) for band in "grz"])
    codex = pytest.importorskip("surveycodex")
    facts = codex.get_survey("DES").get_filter("i")
    assert bands.facts[2].wavelength == facts.effective_wavelength.value
    assert bands.facts[2].psf_fwhm == facts.psf_fwhm.value
    per_nmgy = 10 ** (0.4 * (facts.zeropoint.value - 22.5)) * facts.full_exposure_time.value
    assert bands.facts[2].gain == pytest.approx(per_nmgy)


def test_galaxies_of_decals_are_what_they_were():
    """The first of seed 3, as every version before any other band drew it."""
    stamps = simulate_galaxies(2, 3)
    assert stamps.bands == ("g", "r", "z")
    again = simulate_galaxies(
        2, 3, GalaxyOptions(pixel_scale=0.262, psf_fwhm=(1.29, 1.18, 1.11)), bands_of("decals")
    )
    np.testing.assert_array_equal(stamps.flux, again.flux)
    flux, magnitude = stamps.table["flux_r"], stamps.table["magnitude"]
    np.testing.assert_allclose(survey.magnitude(flux), magnitude, atol=0.04)


def test_magnitudes_lie_on_a_line_in_the_logarithm_of_the_wavelength():
    weights = colour_weights(bands_of("rubin"))
    colours = np.array([0.6, 0.0, -0.4])
    found = weights @ colours
    wavelength = bands_of("rubin").known("wavelength")
    nodes = DECALS.known("wavelength")
    inside = (wavelength > nodes[0]) & (wavelength < nodes[2])
    np.testing.assert_allclose(found[inside], np.interp(np.log(wavelength[inside]), np.log(nodes), colours))
    assert found[0] > 0.6  # u, beyond g
    np.testing.assert_allclose(weights.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"survey": "dr10"}, ("g", "r", "i", "z")),
        ({"survey": "hsc", "bands": ["i", "g"]}, ("i", "g")),
        ({"survey": "decals", "bands": ["r"]}, ("r",)),
        ({"survey": "rubin"}, ("u", "g", "r", "i", "z", "y")),
    ],
)
def test_blends_have_the_bands_and_the_noise_that_are_asked_for(options, names):
    adapter = GalaxyAdapter(small(**options), seed=1)
    assert adapter.bands == len(names)
    sample = adapter.dataset("test")[0]
    assert sample.image.shape == (len(names), 64, 64)
    assert adapter.pixel_scale == SURVEYS[options["survey"]][0]
    noise = bands_of(options["survey"], options.get("bands", ())).sky_noise(adapter.pixel_scale)
    np.testing.assert_allclose([sample.meta[f"noise_{band}"] for band in names], noise, rtol=1e-5)
    rest = (sample.image - sample.target.sum(axis=0))[:, :10].std(axis=(1, 2))
    np.testing.assert_allclose(rest, noise, rtol=0.25)
    setup = Run.from_values({"adapter": "galaxy", "run": "x", "data": small(**options)})
    np.testing.assert_allclose(setup.config.scaling.noise, noise, rtol=0.02)
    separator = setup.new_separator()
    assert separator.predict(sample.image[None]).maps.shape == (1, 2, len(names), 64, 64)


def test_a_band_of_ones_own():
    band = {"F606W": {"wavelength": 590, "psf_fwhm": 0.1, "sky": 0.002, "gain": 2e4}}
    library = {"population": {"size": 64, "pixel_scale": 0.1, "magnitudes": [22, 24]}}
    adapter = GalaxyAdapter(small(survey="hst", bands=["F814W", "F606W"], band=band, library=library), seed=2)
    sample = adapter.dataset("test")[0]
    assert sample.meta["noise_F606W"] == pytest.approx(0.002 * 0.1 / 0.03)
    assert adapter.gain[1] == 2e4
    redder = adapter.library.table["flux_F814W"] > adapter.library.table["flux_F606W"]
    assert redder.mean() > 0.9
    rows = adapter.event_rows(_Prediction(sample.target), sample)
    assert {"flux_F814W_error", "colour_F814W_F606W_error"} <= {*rows["target"]}


class _Prediction:
    def __init__(self, maps):
        self.maps, self.quantities = maps, {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bands": ["g", "F606W"]}, r"'F606W' is none of the survey decals \(g, r, z\): give data\.band\.F606W"),
        ({"bands": ["g", "g"]}, "expected different bands"),
        ({"bands": ["g"], "band": {"r": {"sky": 1.0}}}, r"data\.band\.r: is none of the bands g"),
        ({"bands": ["X"], "band": {"X": {"sky": 1.0}}}, r"data\.band\.X\.\w+: not known of this band: give it"),
        ({"library": {"simulated": 4, "population": {"psf_fwhm": [1.0, 2.0]}}}, "2 values for the bands g, r, z"),
    ],
)
def test_bands_of_which_too_little_is_known_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        GalaxyAdapter({**small(), **options}).dataset("test")


def cutout(path, flux, **cards):
    header = fits.Header(
        {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": -0.168 / 3600, "CD2_2": 0.168 / 3600}
    )
    header.update(cards)
    fits.PrimaryHDU(flux.astype(np.float32), header).writeto(path)
    return path


def test_files_without_names_have_the_bands_of_the_model(tmp_path):
    flux = np.random.default_rng(0).normal(5, 1, (5, 20, 24))
    adapter = GalaxyAdapter(small(survey="hsc"))
    path = cutout(tmp_path / "a.fits", flux, MAGZERO=27.0)
    np.testing.assert_allclose(adapter.read(path).image[0], flux * 10**-1.8, rtol=1e-5)
    named = cutout(tmp_path / "b.fits", flux[::-1], MAGZERO=27.0, BANDS="yzirg")
    np.testing.assert_allclose(adapter.read(named).image[0], flux * 10**-1.8, rtol=1e-5)
    with pytest.raises(DataError, match=r"expected \['u', 'g', 'r', 'i', 'z', 'y'\]"):
        GalaxyAdapter(small(survey="rubin", reading={"bands": ["g", "r", "i", "z", "y"]})).read(path)


def test_zero_points_by_band(tmp_path):
    flux = np.random.default_rng(0).normal(5, 1, (2, 20, 24))
    band = {"g": {"zero_point": 25.0}, "i": {"zero_point": 27.5}}
    adapter = GalaxyAdapter(small(survey="hsc", bands=["g", "i"], band=band))
    found = adapter.read(cutout(tmp_path / "a.fits", flux)).image[0]
    np.testing.assert_allclose(found, flux * np.array([0.1, 0.01])[:, None, None], rtol=1e-5)


def test_facts_that_are_given_replace_those_of_the_survey():
    bands = bands_of("decals", ["r"], {"r": BandOptions(sky=0.5)})
    assert bands.facts[0] == DECALS.facts[1]._replace(sky=0.5)
