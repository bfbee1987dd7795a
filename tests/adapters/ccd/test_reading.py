"""Reading of CCD images: compressed FITS files of several units, offsets, gain, saturation; and a real image."""

from pathlib import Path

import numpy as np
import pytest

from oasis.adapters.ccd.adapter import CcdAdapter
from oasis.errors import DataError

fits = pytest.importorskip("astropy.io.fits")
REAL = Path(__file__).parents[4] / "shared/data/ccd/damicm_module_test.fits.fz"


@pytest.fixture
def adapter():
    return CcdAdapter({"read": {"adu_per_electron": 2.0}})


def offsets(rng, shape=(40, 60)):
    return rng.normal(100, 10, (shape[0], 1)) + rng.normal(0, 10, (1, shape[1]))


@pytest.fixture
def stack(tmp_path):
    """Return the path of a compressed file of three sensors, and the spot of 500 e- that is in each."""
    rng = np.random.default_rng(0)
    units = [fits.PrimaryHDU()]
    for number in range(3):
        image = offsets(rng)
        image[10 + number, 20] += 1000.0
        units.append(fits.CompImageHDU(image, name=f"CCD_{number}", compression_type="GZIP_1", quantize_level=0.0))
    fits.HDUList(units).writeto(tmp_path / "module.fits.fz")
    return tmp_path / "module.fits.fz"


def test_every_unit_of_a_compressed_file_is_an_image_in_electrons(adapter, stack):
    images = adapter.read(stack)
    assert images.image.shape == (3, 1, 40, 60)
    for number, image in enumerate(images.image[:, 0]):
        assert np.unravel_index(image.argmax(), image.shape) == (10 + number, 20)
        assert image.max() == pytest.approx(500, rel=1e-3)
        assert np.abs(np.delete(image.ravel(), image.argmax())).max() < 1
    one = adapter.read(stack, key="CCD_2")
    np.testing.assert_array_equal(one.image[0], images.image[2])
    assert adapter.read(stack, key="1").image.shape == (1, 1, 40, 60)


def test_integers_are_scaled_and_blank_pixels_masked(adapter, tmp_path):
    image = np.full((20, 20), 40_000, np.uint16)
    image[4, 4] = 41_000
    fits.PrimaryHDU(image).writeto(tmp_path / "raw.fits")
    assert adapter.read(tmp_path / "raw.fits").image[0, 0, 4, 4] == pytest.approx(500)
    blank = image.astype(float)
    blank[2, 3] = np.nan
    blank[:, 7] = np.nan
    fits.PrimaryHDU(blank).writeto(tmp_path / "blank.fits")
    read = adapter.read(tmp_path / "blank.fits")
    assert not read.mask[0, 0, 2, 3]
    assert not read.mask[0, 0, :, 7].any()
    assert read.mask.sum() == 400 - 21
    assert np.isfinite(read.filled()).all()


def test_saturated_pixels_are_masked_and_overscan_is_cut(tmp_path):
    rng = np.random.default_rng(0)
    image = np.repeat(rng.normal(100, 20, (30, 1)), 50, axis=1)
    image[5, 5], image[6, 6] = 60_000, 300 + image[6, 6]
    np.save(tmp_path / "raw.npy", image.astype(np.float32))
    adapter = CcdAdapter({"read": {"overscan": 10, "saturation_adu": 50_000, "medians": False}})
    read = adapter.read(tmp_path / "raw.npy")
    assert read.image.shape == (1, 1, 30, 40)
    assert [tuple(place) for place in np.argwhere(~read.mask[0, 0])] == [(5, 5)]
    assert read.image[0, 0, 6, 6] == pytest.approx(300, abs=0.01)
    assert np.abs(read.image[0, 0, 7:]).max() < 0.01
    with pytest.raises(DataError, match=r"data\.read\.overscan"):
        CcdAdapter({"read": {"overscan": 50}}).read(tmp_path / "raw.npy")


def sensor(rng, rows=32):
    """Return a raw image of 48 columns of pixels and 12 of overscan, with a spot."""
    image = rng.normal(100, 4, (rows, 60)) + rng.normal(0, 10, (rows, 1))
    image[:, 48:] -= 30
    image[7, 20] += 500
    return image.astype(np.float32)


@pytest.mark.parametrize("name", ["MASK", "DQ", "BPM", "ccd1_flags", "ERR"])
def test_planes_about_pixels_are_no_sensors(tmp_path, name, caplog):
    caplog.set_level("INFO")
    image = sensor(np.random.default_rng(0))[:, :48]
    units = [
        fits.PrimaryHDU(),
        fits.ImageHDU(image, name="CCD"),
        fits.ImageHDU(np.ones((32, 48), np.int16), name=name),
    ]
    fits.HDUList(units).writeto(tmp_path / "a.fits")
    assert CcdAdapter().read(tmp_path / "a.fits").image.shape == (1, 1, 32, 48)
    assert f"left out {name.upper()}" in caplog.text
    assert CcdAdapter().read(tmp_path / "a.fits", key=name.upper()).image.shape == (1, 1, 32, 48)
    fits.HDUList(units[::2]).writeto(tmp_path / "b.fits")
    with pytest.raises(DataError, match=f"contains no image but {name.upper()}: give a key"):
        CcdAdapter().read(tmp_path / "b.fits")


@pytest.mark.parametrize(
    ("cards", "options", "factor"),
    [
        ([("GAIN", 2.5, "e-/ADU")], {}, 2.5),
        ([("GAIN", 0.4, "[ADU/e-] conversion")], {}, 2.5),
        ([("GAIN", 120, "setting"), ("EGAIN", 2.5)], {}, 2.5),
        ([("GAIN", 2.5)], {"adu_per_electron": 0.2}, 5),
        ([("GAIN", 2.5), ("BUNIT", "electron")], {}, 1),
        ([("GAIN", 0)], {}, 1),
        ([("GAIN", "high")], {}, 1),
    ],
)
@pytest.mark.parametrize("where", ["file", "image"])
def test_the_gain_is_that_of_the_header_unless_it_is_stated(tmp_path, cards, options, factor, where):
    units = [fits.PrimaryHDU(), fits.ImageHDU(sensor(np.random.default_rng(0))[:, :48])]
    units[where == "image"].header.extend(cards)
    fits.HDUList(units).writeto(tmp_path / "a.fits")
    plain = CcdAdapter({"read": {"adu_per_electron": 1}}).read(tmp_path / "a.fits").image
    np.testing.assert_allclose(
        CcdAdapter({"read": options}).read(tmp_path / "a.fits").image, factor * plain, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("cards", "options", "said"),
    [
        ([], {}, True),
        ([("GAIN", "high")], {}, True),
        ([("GAIN", 2.5)], {}, False),
        ([("BUNIT", "electron")], {}, False),
        ([], {"adu_per_electron": 1}, False),
    ],
)
def test_a_gain_that_nobody_states_is_said(tmp_path, cards, options, said, caplog):
    unit = fits.PrimaryHDU(sensor(np.random.default_rng(0))[:, :48])
    unit.header.extend(cards)
    unit.writeto(tmp_path / "a.fits")
    CcdAdapter({"read": options}).read(tmp_path / "a.fits")
    assert ("no gain is stated" in caplog.text) == said


@pytest.mark.parametrize(
    ("cards", "columns"),
    [
        ({"TRIMSEC": "[1:48,1:32]", "BIASSEC": "[49:60,1:32]"}, slice(0, 48)),
        ({"DATASEC": "[3:48,1:32]"}, slice(2, 48)),
        ({"BIASSEC": "[ 49:60 , 1:32 ]"}, slice(0, 48)),
    ],
)
def test_pixels_and_overscan_are_those_of_the_header(tmp_path, cards, columns, caplog):
    image = sensor(np.random.default_rng(0))
    unit = fits.PrimaryHDU(image)
    unit.header.update(cards)
    unit.writeto(tmp_path / "a.fits")
    options = {"medians": False, "adu_per_electron": 1}
    found = CcdAdapter({"read": options}).read(tmp_path / "a.fits").image[0, 0]
    level = np.median(image[:, 48:], axis=1, keepdims=True) if "BIASSEC" in cards else 0
    np.testing.assert_allclose(found, (image - level)[:, columns], atol=1e-4)
    assert not caplog.records
    whole = CcdAdapter({"read": {**options, "overscan": 0}}).read(tmp_path / "a.fits").image
    np.testing.assert_array_equal(whole[0, 0], image)


@pytest.mark.parametrize("section", ["[1:70,1:32]", "[0:48,1:32]", "all", ""])
def test_sections_that_are_not_of_the_image_are_refused(tmp_path, section):
    unit = fits.PrimaryHDU(sensor(np.random.default_rng(0)))
    unit.header["TRIMSEC"] = section
    unit.writeto(tmp_path / "a.fits")
    with pytest.raises(DataError, match=r"TRIMSEC is .* data\.read\.overscan"):
        CcdAdapter().read(tmp_path / "a.fits")
    assert CcdAdapter({"read": {"overscan": 12}}).read(tmp_path / "a.fits").image.shape == (1, 1, 32, 48)


@pytest.mark.parametrize("kind", ["level", "noise"])
@pytest.mark.parametrize("which", ["first", "last"])
def test_an_overscan_that_nobody_states_is_said(tmp_path, kind, which, caplog):
    rng = np.random.default_rng(0)
    image = sensor(rng, 128)
    if kind == "noise":
        image[:, 48:] = np.median(image[:, :48], axis=1, keepdims=True) + rng.normal(0, 1, (128, 12))
    np.save(tmp_path / "a.npy", image if which == "last" else image[:, ::-1])
    CcdAdapter().read(tmp_path / "a.npy")
    assert f"the {which} 12 columns of image 0 differ" in caplog.text
    caplog.clear()
    CcdAdapter({"read": {"overscan": 0}}).read(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", image[:, :48] + np.linspace(0, 200, 48))
    CcdAdapter().read(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", image[:, :48] + offsets(rng, (128, 48)))
    CcdAdapter().read(tmp_path / "a.npy")
    assert not caplog.records


def test_a_dark_image_of_another_size_is_refused(adapter, tmp_path):
    np.save(tmp_path / "raw.npy", np.zeros((30, 50), np.float32))
    dark = np.ones((30, 50))
    assert not adapter.read(tmp_path / "raw.npy", dark=dark).image.any()
    with pytest.raises(DataError, match="the dark image has shape"):
        adapter.read(tmp_path / "raw.npy", dark=dark[:20])


def test_files_without_a_fitting_image_are_refused(adapter, stack, tmp_path):
    def written(name, *units):
        fits.HDUList([fits.PrimaryHDU(), *units]).writeto(tmp_path / name)
        return tmp_path / name

    table = fits.BinTableHDU.from_columns([fits.Column("x", "E", array=np.zeros(3))])
    (tmp_path / "text.fits").write_text("no image")
    cut = tmp_path / "cut.fits.fz"
    cut.write_bytes(stack.read_bytes()[:3000])
    cases = [
        (written("table.fits", table), None, "contains no image"),
        (written("cube.fits", fits.ImageHDU(np.zeros((2, 8, 8)))), None, "has 3 axes"),
        (written("sizes.fits", fits.ImageHDU(np.zeros((8, 8))), fits.ImageHDU(np.zeros((8, 9)))), None, "in size"),
        (stack, "CCD_9", "contains no image CCD_9"),
        (tmp_path / "text.fits", None, "not a FITS file"),
        (cut, None, "truncated, or not a FITS file|contains no image"),
        (tmp_path / "none.fits", None, "none.fits"),
    ]
    for path, key, message in cases:
        with pytest.raises(DataError, match=message) as caught:
            adapter.read(path, key)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(not REAL.exists(), reason="the image of the DAMIC-M module is not there")
def test_the_image_of_the_damic_m_module():
    """Noise of about 1 e- and spots of 5.9 keV, 1577 e-, as in the laboratory's own analysis."""
    adapter = CcdAdapter({"read": {"adu_per_electron": 1.354}, "sensor": {"dark_e": 0.98, "read_e": 0.22}})
    images = adapter.read(REAL)
    assert images.image.shape == (4, 1, 320, 640)
    for image in images.image:
        middle = np.median(image)
        sigma = 1.4826 * np.median(np.abs(image - middle))
        assert middle == pytest.approx(0, abs=0.1)
        assert 0.9 < sigma < 1.2
        assert 60 < len(adapter.regions_of_interest(image)) < 400
    charge = [image[0][box].sum() for image in images.image for box in adapter.regions_of_interest(image)]
    near = np.array([one for one in charge if 1400 < one < 1750])
    assert np.median(near) == pytest.approx(1577, rel=0.05)
    assert len(near) > 80
