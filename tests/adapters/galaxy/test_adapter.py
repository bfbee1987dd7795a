"""The galaxy adapters: their libraries, splits and event tables, and every source of images."""

from dataclasses import replace

import numpy as np
import pytest

from oasis.adapters.galaxy import GalaxiesAdapter, GalaxyAdapter, survey
from oasis.adapters.galaxy.stamps import Stamps
from oasis.data.sample_files import write_samples
from oasis.errors import ConfigError, DataError
from oasis.evaluation.event_table import evaluate_maps
from oasis.run import Run

pytest.importorskip("galsim")
pytest.importorskip("sep")
fits = pytest.importorskip("astropy.io.fits")
wcs = pytest.importorskip("astropy.wcs")

SMALL = {"library": {"simulated": 40}, "events": {"train": 6, "val": 6, "test": 12}}


@pytest.fixture(scope="module")
def adapter():
    return GalaxyAdapter(SMALL, seed=1)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A library of 20 measured galaxies, all round, on the stamps of the simulated ones."""
    path = tmp_path_factory.mktemp("galaxies") / "measured.h5"
    rows, columns = np.mgrid[:64, :64] - 32
    sizes = np.linspace(2, 4, 20)[:, None, None, None]
    flux = np.repeat(np.exp(-(rows**2 + columns**2) / (2 * sizes**2)), 3, axis=1)
    noise = np.full((20, 3), 1e-4, np.float32)
    Stamps.measure(flux, survey.BANDS, survey.PIXEL_SCALE, {}, noise).save(path)
    return path


def test_no_galaxy_is_in_two_splits(adapter):
    seen = {}
    for split in ("train", "val", "test"):
        metas = [sample.meta for sample in map(adapter.dataset(split).__getitem__, range(6))]
        names = [name for name in metas[0] if name.endswith("_galaxy")]
        seen[split] = {meta[name] for meta in metas for name in names if meta[name] == meta[name]}
    assert not seen["train"] & seen["val"]
    assert not seen["train"] & seen["test"]
    assert not seen["val"] & seen["test"]


def test_the_image_is_the_sum_of_the_maps_and_the_sky(adapter):
    dataset = adapter.dataset("test")
    rest, noise = [], []
    for index in range(12):
        sample = dataset[index]
        assert sample.image.shape == (3, 64, 64)
        faint = sample.target.sum(axis=0) < 1e-3
        rest.append([(one[where] ** 2).mean() for one, where in zip(sample.image, faint, strict=True)])
        noise.append([sample.meta[f"noise_{band}"] for band in survey.BANDS])
    np.testing.assert_allclose(np.sqrt(np.mean(rest, axis=0)), noise[0], rtol=0.05)


def test_a_perfect_answer_has_no_error(adapter):
    table = evaluate_maps(lambda batch: batch.target, adapter.dataset("test"), adapter, workers=0)
    target = table[table["class"] == "target"]
    assert len(target) == 12
    for name in ("flux_r_error", "colour_g_r_error", "centroid_offset", "size_error"):
        np.testing.assert_allclose(target[name].dropna(), 0, atol=1e-3)
    assert target["blendedness"].between(0, 1).all()
    assert not target["missed"].any()
    assert (target["residual_chi2"] - 1).abs().max() < 0.3
    assert set(adapter.figures(table)) == {"flux"}


def test_galaxies_of_one_kind_may_come_in_any_order():
    adapter = GalaxiesAdapter(SMALL)
    dataset = adapter.dataset("test")
    table = evaluate_maps(lambda batch: batch.target.flip(1), dataset, adapter, workers=0)
    there = table[table["intensity_true"] > 0]
    assert 24 <= len(there) <= 48
    np.testing.assert_allclose(there["flux_z_error"], 0, atol=1e-3)
    assert not table["invented"].any()


def test_measured_galaxies_join_simulated_ones_and_can_be_all_that_is_tested_on(measured):
    library = {"simulated": 40, "files": [str(measured)]}
    adapter = GalaxyAdapter({**SMALL, "library": library})
    assert len(adapter.library) == 60
    assert np.bincount(adapter._galaxies("test") < 20).tolist() == [10, 5]
    held_out = GalaxyAdapter({**SMALL, "library": library | {"held_out": "files"}})
    assert (held_out._galaxies("test") < 20).all()
    assert (held_out._galaxies("train") >= 20).any()
    sample = held_out.dataset("test")[0]
    assert sample.meta["target_galaxy"] < 20


def test_simulated_galaxies_join_measured_ones_in_larger_pixels(measured, tmp_path):
    fine, path = Stamps.load(measured), tmp_path / "coarse.h5"
    replace(fine, pixel_scale=0.524, noise=np.zeros((20, 3), np.float32)).save(path)
    library = {"simulated": 40, "files": [str(path)]}
    with pytest.raises(DataError, match=r"0\.262 arcsec .* 0\.524 arcsec .* population\.pixel_scale"):
        GalaxyAdapter({**SMALL, "library": library}).dataset("test")
    adapter = GalaxyAdapter({**SMALL, "library": library | {"population": {"pixel_scale": 0.524}}})
    assert adapter.pixel_scale == adapter.library.pixel_scale == 0.524
    assert len(adapter.library) == 60
    sample = adapter.dataset("test")[0]
    for band in survey.BANDS:  # pixels of four times the area
        assert sample.meta[f"noise_{band}"] == pytest.approx(2 * survey.sky_noise(band), rel=1e-6)
    rest = (sample.image - sample.target.sum(axis=0))[:, :8].std(axis=(1, 2))
    np.testing.assert_allclose(rest, [sample.meta[f"noise_{band}"] for band in survey.BANDS], rtol=0.2)


def test_a_library_that_is_only_simulated_tells_the_grid_of_images():
    adapter = GalaxyAdapter({"library": {"simulated": 0, "population": {"pixel_scale": 0.4}}})
    assert adapter.pixel_scale == 0.4


def test_a_run_is_built_with_the_defaults_of_the_domain():
    setup = Run.from_values({"adapter": "galaxies", "run": "x", "data": SMALL})
    assert setup.config.head.name == "denoised"
    assert setup.new_separator().head.channels == 15
    loss = setup.loss()
    assert loss.table[0b0011].item() == loss.table[0b1010].item() == 2 * loss.table[0b0100].item()


@pytest.fixture(scope="module")
def coarse():
    """An adapter that accepts images of coarser pixels than its own."""
    return GalaxyAdapter({**SMALL, "reading": {"coarser": 2.0}}, seed=1)


def test_images_of_coarser_pixels_than_in_training_are_refused(adapter, coarse, tmp_path):
    flux = np.random.default_rng(0).exponential(1, (3, 40, 40)).astype(np.float32)
    header = fits.Header({"BANDS": "grz", "BUNIT": "nanomaggy"})
    header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD1_1": -0.524 / 3600, "CD2_2": 0.524 / 3600})
    fits.PrimaryHDU(flux, header).writeto(tmp_path / "cutout.fits")
    with pytest.raises(DataError, match=r"cutout\.fits: coarse pixels of 0\.524 arcsec, the model .* 0\.262"):
        adapter.read(tmp_path / "cutout.fits")
    assert coarse.read(tmp_path / "cutout.fits").image.shape == (1, 3, 80, 80)


def test_images_are_read_from_files_onto_the_grid_of_the_library(coarse, tmp_path):
    adapter = coarse
    flux = np.random.default_rng(0).exponential(1, (3, 40, 40)).astype(">f4")
    header = fits.Header({"BANDS": "grz", "CD1_1": -0.524 / 3600, "CD2_2": 0.524 / 3600, "CD1_2": 0, "CD2_1": 0})
    header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 0.0, "SURVEY": "DECaLS"})
    fits.PrimaryHDU(flux, header).writeto(tmp_path / "cutout.fits")
    read = adapter.read(tmp_path / "cutout.fits")
    images = read.image
    assert images.shape == (1, 3, 80, 80)
    assert read.mask.all()
    assert (read.pixel_size, read.pixel_unit) == ((0.262, 0.262), "arcsec")
    assert read.position["ra"][0] == pytest.approx(10.0, abs=0.01)
    assert images.sum() == pytest.approx(4 * flux.sum(), rel=1e-3)  # fluxes of pixels of 0.262 arcsec
    np.save(tmp_path / "images.npy", images)
    again = adapter.read(tmp_path / "images.npy")
    np.testing.assert_allclose(again.image, images)
    assert again.mask is None
    dark = np.full((3, 80, 80), 0.5, np.float32)
    np.testing.assert_allclose(adapter.read(tmp_path / "cutout.fits", dark=dark).image, images - 0.5, rtol=1e-5)


@pytest.mark.parametrize(("scale", "rotated"), [(0.262, False), (0.524, False), (0.524, True), (0.3, False)])
def test_positions_on_the_sky_lead_to_the_pixels_of_what_is_there(coarse, tmp_path, scale, rotated):
    adapter = coarse
    flux = np.random.default_rng(0).uniform(1e-4, 2e-4, (3, 61, 80)).astype(np.float32)
    flux[:, 17, 23] = 50
    step = scale / 3600
    matrix = {"CD1_1": 0, "CD1_2": step, "CD2_1": step, "CD2_2": 0}
    if not rotated:
        matrix = {"CD1_1": -step, "CD1_2": 0, "CD2_1": 0, "CD2_2": step}
    header = fits.Header({"BANDS": "grz", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, **matrix})
    header.update({"CRVAL2": 2.0, "CRPIX1": 40.5, "CRPIX2": 31.0, "SURVEY": "DECaLS"})
    fits.PrimaryHDU(flux, header).writeto(tmp_path / "field.fits")
    sky = np.array([wcs.WCS(header, naxis=2).pixel_to_world_values(23, 17)], float)
    (place,) = adapter.to_pixels(tmp_path / "field.fits", sky)
    image = adapter.read(tmp_path / "field.fits").image[0].sum(0)
    rows, columns = np.indices(image.shape)
    bright = image > 1
    found = [np.average(axis[bright], weights=image[bright]) for axis in (rows, columns)]
    np.testing.assert_allclose(place, found, atol=0.05)
    with pytest.raises(DataError, match=r"a\.npy: these images have no coordinates on the sky"):
        adapter.to_pixels(tmp_path / "a.npy", sky)


def test_a_file_without_a_world_coordinate_system_is_named(adapter, tmp_path):
    fits.PrimaryHDU(np.ones((3, 40, 40), np.float32), fits.Header({"BANDS": "grz"})).writeto(tmp_path / "a.fits")
    with pytest.raises(DataError, match=r"a\.fits: has no world coordinate system"):
        adapter.to_pixels(tmp_path / "a.fits", np.array([[150.0, 2.0]]))


def test_regions_of_interest_are_windows_around_detected_galaxies(adapter):
    image = np.random.default_rng(0).normal(0, 0.01, (3, 200, 300)).astype(np.float32)
    rows, columns = np.indices(image.shape[1:])
    middles = [(100, 150), (60, 220), (5, 100)]
    for row, column in middles:
        image += 0.5 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18).astype(np.float32)
    size = adapter.options.blend.size
    found = {tuple(side.start + size // 2 for side in box) for box in adapter.regions_of_interest(image)}
    assert found == set(middles[:2])  # the window of the third does not lie within the image
    with pytest.raises(DataError, match="most of the sky has one value"):
        adapter.regions_of_interest(np.zeros_like(image))


def test_bad_pixels_of_a_cutout_are_masked(coarse, tmp_path):
    """A missing and a saturated pixel of 0.524 arcsec make bad what they touch on the grid of 0.262 arcsec."""
    adapter = coarse
    flux = np.random.default_rng(0).exponential(1, (3, 40, 40)).astype(np.float32)
    header = fits.Header({"BANDS": "grz", "CD1_1": -0.524 / 3600, "CD2_2": 0.524 / 3600, "CD1_2": 0, "CD2_1": 0})
    header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "SURVEY": "DECaLS"})
    flux[1, 5, 7] = np.nan
    bits = np.zeros((40, 40), np.int16)
    bits[20, 30] = 1 << 3
    planes = [fits.PrimaryHDU(flux, header), fits.ImageHDU(bits, fits.Header({"IMAGETYP": "maskbits"}))]
    fits.HDUList(planes).writeto(tmp_path / "cutout.fits")
    read = adapter.read(tmp_path / "cutout.fits")
    expected = np.ones((80, 80), bool)
    expected[10:12, 14:16] = expected[40:42, 60:62] = False
    np.testing.assert_array_equal(read.mask[0, 0], expected)
    assert np.isfinite(read.image).all()
    assert {name: np.argwhere(plane[0, 0]).min(axis=0).tolist() for name, plane in read.flags.items()} == {
        "missing": [10, 14],
        "saturated": [40, 60],
    }
    assert sum(plane.sum() for plane in read.flags.values()) == 8


def test_samples_may_come_from_a_file(adapter, tmp_path):
    path, dataset = tmp_path / "test.h5", adapter.dataset("test")
    write_samples(path, (dataset[index] for index in range(4)), adapter.classes, adapter.unit)
    again = GalaxyAdapter({**SMALL, "files": {"test": str(path)}}).dataset("test")
    np.testing.assert_allclose(again[3].target, dataset[3].target)
    with pytest.raises(DataError, match="contains the classes"):
        GalaxiesAdapter({**SMALL, "files": {"test": str(path)}}).dataset("test")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"library": {"simulated": 0}}, "no galaxies: name files, or set simulated"),
        ({"library": {"simulated": 40, "held_out": "files"}}, "is empty: name a library"),
        ({"library": {"simulated": 40}, "events": {"test": 0}}, r"data\.events\.test: expected at least 1 sample"),
        ({"library": {"files": ["nowhere.h5"]}}, r"nowhere\.h5"),
    ],
)
def test_what_cannot_be_mixed_is_one_clear_line(options, message):
    with pytest.raises((ConfigError, DataError), match=message):
        GalaxyAdapter(options).dataset("test")
