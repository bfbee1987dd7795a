"""A network that is trained on what varies in a survey (survey.yaml), from training to a catalogue."""

import shutil

import numpy as np
import pytest
from brick_files import write_brick

from oasis.adapters.galaxy.field import simulate_field
from oasis.errors import DataError
from oasis.inference.options import WindowOptions
from oasis.run import Run

fits = pytest.importorskip("astropy.io.fits")
pytest.importorskip("galsim")
pytest.importorskip("sep")

SIZE = 150
CHANGES = (
    "data.library.simulated=60",
    "data.events={train: 16, val: 8, test: 8}",
    "training.epochs=1",
    "training.workers=0",
    "model.base_channels=4",
    "model.depth=3",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, request):
    folder = tmp_path_factory.mktemp("survey") / "run"
    path = request.config.rootpath / "examples/galaxy/survey.yaml"
    run = Run.from_config(path, [*CHANGES, f"run={folder}"])
    run.train()
    return Run(folder)


@pytest.fixture(scope="module")
def field(trained):
    return simulate_field(trained.adapter.scene("test"), SIZE, 5, close=0.0, seed=1)


def brick(folder, field, widths):
    planes = {("image", band): field.image[at] for at, band in enumerate("grz")}
    planes |= {("invvar", band): 1 / field.variance[at] for at, band in enumerate("grz")}
    for band, width in zip("grz", widths, strict=True):
        planes["psfsize", band] = np.full((SIZE, SIZE), width, np.float32)
    write_brick(folder, planes)
    return folder


def test_the_network_is_told_what_files_state(trained, field, tmp_path):
    folder = brick(tmp_path / "brick", field, field.conditions.psf_fwhm)
    path = next(folder.glob("*image-g*"))
    images = trained.adapter.read(path)
    assert images.context.shape == (1, 6, SIZE, SIZE)
    assert images.position["pixel_scale"][0] == pytest.approx(0.262)
    usual = trained.adapter.training
    np.testing.assert_allclose(
        images.context[0, :3, 0, 0], np.log(field.conditions.psf_fwhm / usual.psf_fwhm), atol=1e-5
    )
    deviation = np.median(np.sqrt(field.variance), axis=(1, 2)) * (usual.pixel_scale / 0.262)
    np.testing.assert_allclose(images.context[0, 3:, 0, 0], np.log(deviation / usual.noise), atol=1e-3)
    found = trained.catalogue(folder, tmp_path / "sky.fits", WindowOptions(detect="sep"))
    assert found.images == 1
    assert not found.table["flag_psf"].any()
    assert not found.table["flag_noise"].any()


def test_images_outside_of_the_trained_range_are_flagged(trained, field, tmp_path):
    widest = 1.4 * trained.adapter.training.psf_fwhm
    for name, factor, flagged in (("within", 1.05, False), ("beyond", 1.15, True)):
        folder = brick(tmp_path / name, field, factor * widest)
        table = trained.catalogue(folder, tmp_path / f"{name}.fits", WindowOptions(detect="sep")).table
        assert len(table)
        assert (table["flag_psf"] == flagged).all()


def test_an_image_of_unknown_seeing_is_refused_until_it_is_given(trained, field, tmp_path):
    folder = brick(tmp_path / "brick", field, (1.2, 1.2, 1.2))
    for path in folder.glob("*psfsize*"):
        path.unlink()
    with pytest.raises(DataError, match=r"the model takes the psf of images, .* give data\.reading\.psf_fwhm"):
        trained.catalogue(folder, tmp_path / "sky.fits", WindowOptions(detect="sep"))
    given = "data.reading.psf_fwhm={g: 1.3, r: 1.2, z: 1.1}"
    assert Run(trained.folder, [given]).catalogue(folder, tmp_path / "sky.fits").images == 1


def test_images_of_other_pixels_within_the_range_are_not_resampled(trained, tmp_path):
    image = np.random.default_rng(0).normal(0, 0.01, (3, 80, 80)).astype(np.float32)
    for scale, size in ((0.27, 80), (0.24, 75)):
        cards = {"BANDS": "grz", "BUNIT": "nanomaggy", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
        header = fits.Header(cards | {"CD1_1": -scale / 3600, "CD2_2": scale / 3600, "CRVAL1": 150.0})
        path = tmp_path / f"{size}.fits"
        fits.PrimaryHDU(image, header).writeto(path)
        adapter = Run(trained.folder, ["data.reading.psf_fwhm={g: 1.3, r: 1.2, z: 1.1}"]).adapter
        read = adapter.read(path)
        assert read.image.shape[2:] == (size, size)
        assert read.pixel_size[0] == pytest.approx(max(scale, 0.255))
        corner = adapter.sky(path).to_sky(np.array([[0.0, 0.0], [0.0, 1.0]]))
        step = 3600 * np.hypot(
            (corner[1, 0] - corner[0, 0]) * np.cos(np.radians(corner[0, 1])), np.ptp(corner[:, 1])
        )
        assert step == pytest.approx(max(scale, 0.255), rel=1e-3)


def test_arrays_get_the_context_from_options_and_their_own_noise(trained, tmp_path):
    sky = trained.adapter.training.noise[:, None, None]
    np.save(tmp_path / "a.npy", (2 * sky * np.random.default_rng(0).normal(0, 1, (3, 64, 64))).astype(np.float32))
    with pytest.raises(DataError, match="takes the psf of images"):
        trained.adapter.read(tmp_path / "a.npy")
    run = Run(trained.folder, ["data.reading.psf_fwhm={g: 1.3, r: 1.2, z: 1.1}"])
    read = run.adapter.read(tmp_path / "a.npy")
    np.testing.assert_allclose(read.context[0, 3:, 0, 0], np.log(2), atol=0.1)
    found = run.predict(tmp_path / "a.npy", tmp_path / "maps.h5")
    assert found.images == 1


def test_it_is_calibrated_and_evaluated(trained, tmp_path):
    folder = shutil.copytree(trained.folder, tmp_path / "run")
    run = Run(folder, ["data.events={train: 16, val: 60, test: 12}"])
    run.calibrate(workers=0)
    assert run.flux_calibration is not None
    found = run.evaluate(workers=0)
    target = found.table[found.table["class"] == "target"]
    assert (target["flux_r_low"] <= target["flux_r_high"]).all()
    assert {*found.flux_coverage["band"]} == {*"grz"}
    assert target["psf_fwhm_r"].between(0.8 * 1.18, 1.4 * 1.18).all()
