"""Images of one band per file, such as those of bricks: which files belong together, and what is read of them."""

import h5py
import numpy as np
import pytest
from brick_files import write_brick

from oasis.adapters.galaxy import GalaxyAdapter
from oasis.adapters.galaxy.cutout import Reading
from oasis.adapters.galaxy.files import read_cutouts
from oasis.adapters.galaxy.fits import read_fits
from oasis.errors import DataError
from oasis.inference.options import WindowOptions
from oasis.inference.predict import predict
from oasis.run import Run

fits = pytest.importorskip("astropy.io.fits")

SHAPE = (70, 80)
SMALL = {"library": {"simulated": 8}, "events": {"train": 2, "val": 2, "test": 2}}


@pytest.fixture
def planes():
    rng = np.random.default_rng(0)
    found = {("image", band): rng.normal(0, 0.01, SHAPE).astype(np.float32) for band in "griz"}
    found |= {("invvar", band): np.full(SHAPE, 1e4 * (1 + at), np.float32) for at, band in enumerate("griz")}
    found |= {("psfsize", band): np.full(SHAPE, 1.2 + at / 10, np.float32) for at, band in enumerate("griz")}
    found |= {
        (kind, "r"): np.full(SHAPE, 3, np.float32) for kind in ("model", "chi2", "depth", "galdepth", "nexp")
    }
    bits = np.zeros(SHAPE, np.int32)
    bits[5, 6], bits[7, 8], bits[9, 10] = 1 << 3, 1 << 11, 1 << 12
    return found | {("maskbits", ""): bits}


@pytest.mark.parametrize("first", ["g", "r", "z"])
def test_the_files_of_a_brick_are_one_image(tmp_path, planes, first):
    planes["invvar", "r"][0, 0] = 0
    paths = write_brick(tmp_path, planes)
    cutout = read_fits(paths["image", first], bands=("g", "r", "z"))
    assert cutout.bands == ("g", "r", "z")
    np.testing.assert_array_equal(cutout.flux, np.stack([planes["image", band] for band in "grz"]))
    np.testing.assert_allclose(cutout.inverse_variance[:, 1, 1], [1e4, 2e4, 4e4])
    assert cutout.psf_fwhm == pytest.approx((1.2, 1.3, 1.5))
    found = {name: np.argwhere(plane).tolist() for name, plane in cutout.flags.items() if plane.any()}
    assert found == {"saturated": [[5, 6]], "star": [[7, 8]], "no_exposure": [[0, 0]]}
    assert np.argwhere(cutout.bad).tolist() == [[0, 0], [5, 6], [7, 8]]
    assert (cutout.ra, cutout.dec) == pytest.approx((48.9168278529981, -44.25))


def test_bands_follow_the_order_that_is_asked_for(tmp_path, planes):
    paths = write_brick(tmp_path, planes)
    assert read_fits(paths["image", "g"], bands=("z", "i")).bands == ("z", "i")
    np.testing.assert_array_equal(read_fits(paths["image", "g"], bands=("i",)).flux[0], planes["image", "i"])


def test_a_folder_has_an_image_for_every_brick(tmp_path, planes):
    for brick in ("0489m442", "0489m445"):
        write_brick(tmp_path, planes, brick)
    cutouts = list(read_cutouts(tmp_path, bands=("g", "r", "z")))
    assert [one.name for one in cutouts] == [f"legacysurvey-{brick}-image-g" for brick in ("0489m442", "0489m445")]


def test_files_that_end_in_the_name_of_a_band_are_one_image(tmp_path):
    values = {band: np.full((4, 5), at + 1, np.float32) for at, band in enumerate("grz")}
    for band, one in values.items():
        fits.PrimaryHDU(one, fits.Header({"BUNIT": "nanomaggy"})).writeto(tmp_path / f"field_{band}.fits")
    fits.PrimaryHDU(np.ones((3, 4, 5), np.float32), fits.Header({"BUNIT": "nanomaggy"})).writeto(
        tmp_path / "b.fits"
    )
    found = list(read_cutouts(tmp_path, Reading(pixel_scale=0.262)))
    assert [one.flux[:, 0, 0].tolist() for one in found] == [[1, 1, 1], [1, 2, 3]]


def test_two_files_of_a_band_are_refused(tmp_path, planes):
    paths = write_brick(tmp_path, planes)
    path = paths["image", "g"]
    path.with_name("legacysurvey-0489m442-image-g.fits").write_bytes(path.read_bytes())
    for one in (path, paths["image", "r"]):
        with pytest.raises(DataError, match=r"image-g\.fits\S*: \S+image-g\.fits\S* is the same band or plane"):
            GalaxyAdapter(SMALL).read(one)


def test_no_band_or_plane_of_an_image_is_replaced(tmp_path, planes):
    paths = write_brick(tmp_path, planes)
    setup = Run.from_values({"adapter": "galaxy", "run": "x", "data": SMALL, "model": {"base_channels": 4}})
    for key in (("image", "r"), ("invvar", "z"), ("psfsize", "g"), ("maskbits", "")):
        with pytest.raises(DataError, match="would overwrite the input"):
            setup.catalogue(paths["image", "g"], paths[key], WindowOptions(detect="sep"), force=True)


def test_a_brick_without_a_band_is_refused(tmp_path, planes):
    del planes["image", "z"]
    paths = write_brick(tmp_path, planes)
    with pytest.raises(DataError, match=r"bands \['g', 'r'\], expected \['g', 'r', 'z'\]"):
        GalaxyAdapter(SMALL).read(paths["image", "r"])


def test_planes_of_another_size_are_refused(tmp_path, planes):
    planes["invvar", "r"] = np.ones((3, 4), np.float32)
    paths = write_brick(tmp_path, planes)
    with pytest.raises(DataError, match=r"INVVAR has shape .* expected \(3, 70, 80\) as the image"):
        read_fits(paths["image", "r"], bands=("g", "r", "z"))


def test_prediction_reads_a_brick_once_and_lists_its_bad_pixels(tmp_path, planes):
    planes = {key: values[3:67, 4:68] for key, values in planes.items()}
    folder = tmp_path / "brick"
    write_brick(folder, planes)
    setup = Run.from_values({"adapter": "galaxy", "run": "x", "data": SMALL, "model": {"base_channels": 4}})
    found = predict(setup.new_separator(), setup.adapter, folder, tmp_path / "maps.h5")
    assert found.images == 1
    assert not found.failed
    assert found.objects["saturated_fraction"].tolist() == [1 / 64**2] * 2
    assert found.objects["star_fraction"].tolist() == [1 / 64**2] * 2
    assert found.objects["masked_fraction"].tolist() == [2 / 64**2] * 2
    with h5py.File(tmp_path / "maps.h5") as file:
        assert file["mask"].shape == (1, 1, 64, 64)
