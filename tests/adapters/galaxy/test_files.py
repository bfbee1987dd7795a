"""Reading images: FITS as the survey's service writes them, stretched pictures, HDF5; made and real files."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from oasis.adapters.galaxy.cutout import Cutout, Reading, object_name
from oasis.adapters.galaxy.files import entries, find_files, read_cutouts
from oasis.adapters.galaxy.fits import read_fits
from oasis.adapters.galaxy.pictures import galaxy_zoo_flux, viewer_flux
from oasis.errors import ConfigError, DataError

fits = pytest.importorskip("astropy.io.fits")

REAL = Path(__file__).parents[3].parent / "shared/data/galaxy/decals_fits"


def real(name):
    if not (REAL / name).exists():
        pytest.skip(f"{name} is not here")
    return REAL / name


# FITS


def cards(scale=0.262, bands="grz", shape=(24, 30), **more):
    """Return the cards of a cutout of the Legacy Survey service."""
    height, width = shape
    degrees = scale / 3600
    return {
        "SURVEY": "LegacySurvey",
        "VERSION": "DR9",
        "IMAGETYP": "IMAGE",
        "BANDS": bands,
        **{f"BAND{index}": band for index, band in enumerate(bands)},
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": 150.0,
        "CRVAL2": 2.0,
        "CRPIX1": (width + 1) / 2,
        "CRPIX2": (height + 1) / 2,
        "CD1_1": -degrees,
        "CD1_2": 0.0,
        "CD2_1": 0.0,
        "CD2_2": degrees,
        "IMAGEW": width,
        "IMAGEH": height,
        **more,
    }


def flux(bands=3, shape=(24, 30), seed=0):
    values = np.random.default_rng(seed).normal(1, 1, (bands, *shape)).astype(np.float32)
    values[:, 3, 4] = 10 * np.arange(1, bands + 1)
    return values


def write(path, values, header, *planes):
    """Write a file as the service does: big-endian, planes one after another; `.fz` compressed without loss."""
    kinds = {".fz": lambda data, head: fits.CompImageHDU(data, head, compression_type="GZIP_1", quantize_level=0)}
    unit = kinds.get(path.suffix, fits.ImageHDU)
    units = [fits.PrimaryHDU()] if path.suffix == ".fz" else []
    for data, head in [(values, header), *planes]:
        head = fits.Header({key: value for key, value in head.items() if value is not None})
        units.append(unit(data, head) if units else fits.PrimaryHDU(data, head))
    fits.HDUList(units).writeto(path, overwrite=True)
    return path


@pytest.mark.parametrize("name", ["J1.2+3.fits", "J1.2+3.fits.gz", "J1.2+3.fits.fz", "J1.2+3.FITS"])
def test_a_cutout_is_read_in_the_byte_order_of_the_machine(tmp_path, name):
    cutout = read_fits(write(tmp_path / name, flux(), cards()))
    np.testing.assert_array_equal(cutout.flux, flux())
    assert cutout.flux.dtype.isnative
    assert cutout.flux.dtype == np.float32
    assert cutout.bands == ("g", "r", "z")
    assert cutout.pixel_scale == pytest.approx(0.262)
    assert cutout.name == "J1.2+3"
    assert (cutout.ra, cutout.dec) == pytest.approx((150.0, 2.0))
    assert (cutout.approximate, cutout.bad, cutout.inverse_variance) == (False, None, None)


@pytest.mark.parametrize("scale", [0.1, 0.262, 0.524])
def test_flux_is_counted_in_the_pixels_of_the_image(tmp_path, scale):
    """The service gives the flux of a pixel of 0.262 arcsec at every scale."""
    cutout = read_fits(write(tmp_path / "a.fits", flux(), cards(scale)))
    assert cutout.pixel_scale == pytest.approx(scale)
    np.testing.assert_allclose(cutout.flux, flux() * (scale / 0.262) ** 2, rtol=1e-5)


def test_a_rotated_image_has_the_same_pixel_scale(tmp_path):
    size, angle = 0.2 / 3600, np.deg2rad(30)
    header = cards() | {
        "CD1_1": -size * np.cos(angle),
        "CD1_2": size * np.sin(angle),
        "CD2_1": size * np.sin(angle),
        "CD2_2": size * np.cos(angle),
    }
    assert read_fits(write(tmp_path / "a.fits", flux(), header)).pixel_scale == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("header", "bands"),
    [
        (cards(bands="zrg"), ("z", "r", "g")),
        (cards() | {"BAND0": None, "BAND1": None, "BAND2": None, "BANDS": "gri"}, ("g", "r", "i")),
        (
            cards() | {"BAND0": "M411", "BAND1": "M438", "BAND2": "r", "BANDS": "M411,M438,r"},
            ("M411", "M438", "r"),
        ),
        (cards() | {"BAND0": None, "BAND1": None, "BAND2": None, "BANDS": "a1,b,c"}, ("a1", "b", "c")),
        (cards() | {"BAND0": None, "BAND1": None, "BAND2": None, "BANDS": None, "BUNIT": "nmgy"}, ("u", "g", "r")),
    ],
)
def test_bands_are_named_in_their_order(tmp_path, header, bands):
    assert read_fits(write(tmp_path / "a.fits", flux(), header), Reading(bands=("u", "g", "r"))).bands == bands


def test_a_single_band_has_two_axes(tmp_path):
    cutout = read_fits(write(tmp_path / "a.fits", flux(1)[0], cards(bands="r")))
    assert (cutout.flux.shape, cutout.bands) == ((1, 24, 30), ("r",))


def test_other_images_are_taken_as_they_are(tmp_path):
    """Only the cutouts of the service say flux in pixels that are not their own."""
    header = cards(0.5) | {"SURVEY": None, "BUNIT": "nanomaggy"}
    np.testing.assert_array_equal(read_fits(write(tmp_path / "a.fits", flux(), header)).flux, flux())
    bare = {"BANDS": "grz"}
    cutout = read_fits(write(tmp_path / "b.fits", flux(), bare), Reading(pixel_scale=0.03, zero_point=22.5))
    assert cutout.pixel_scale == 0.03
    assert np.isnan(cutout.ra)
    np.testing.assert_array_equal(cutout.flux, flux())
    half = read_fits(tmp_path / "b.fits", Reading(pixel_scale=0.1, native_scale=0.2, zero_point=22.5))
    np.testing.assert_allclose(half.flux, flux() / 4)


ARCSEC = np.pi / 180 / 3600


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({"BUNIT": "nanomaggies"}, 1),
        ({"BUNIT": "nanomaggy / pixel"}, 1),
        ({"BUNIT": "uJy"}, 1 / 3.631),
        ({"BUNIT": "Jy/pix"}, 1e9 / 3631),
        ({"BUNIT": "MJy/sr"}, 1e6 * (0.262 * ARCSEC) ** 2 / 3.631e-6),
        ({"BUNIT": "mJy/arcsec2"}, 1e-3 * 0.262**2 / 3.631e-6),
        ({"BUNIT": "ELECTRONS/S", "MAGZERO": 27.0}, 10**-1.8),
        ({"MAGZERO": 27.0}, 10**-1.8),
        ({"MAGZERO": 22.5, "BUNIT": "nanomaggy"}, 1),
        ({"FLUXMAG0": 10 ** (0.4 * 27)}, 10**-1.8),
        ({"BUNIT": "ELECTRONS/S", "PHOTFLAM": 7.0332e-20, "PHOTPLAM": 8047.1}, 10 ** (0.4 * (22.5 - 25.946))),
        (
            {"BUNIT": "ELECTRONS", "EXPTIME": 500.0, "PHOTFLAM": 7.0332e-20, "PHOTPLAM": 8047.1},
            10 ** (0.4 * (22.5 - 25.946)) / 500,
        ),
    ],
)
def test_fluxes_are_in_the_units_that_the_header_states(tmp_path, header, expected):
    other = cards() | {"SURVEY": None} | header
    cutout = read_fits(write(tmp_path / "a.fits", flux(), other))
    np.testing.assert_allclose(cutout.flux, flux() * expected, rtol=1e-3)
    stated = read_fits(tmp_path / "a.fits", Reading(zero_point=20))
    np.testing.assert_allclose(stated.flux, flux() * 10, rtol=1e-5)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({}, r"states no unit \(BUNIT\) and no zero point \(MAGZERO\): give reading.zero_point"),
        ({"BUNIT": "ELECTRONS/S"}, "has the unit 'ELECTRONS/S' .* no zero point"),
        ({"BUNIT": "adu"}, "has the unit 'adu'"),
        ({"BUNIT": "mag(AB)"}, r"has the unit 'mag\(AB\)'"),
        ({"BUNIT": "ELECTRONS", "PHOTFLAM": 7e-20, "PHOTPLAM": 8047.1}, "has the unit 'ELECTRONS'"),
        ({"BUNIT": "adu", "MAGZERO": True}, "has the unit 'adu'"),
        ({"BUNIT": "nanomaggy", "MAGZERO": 27.0}, "by BUNIT a value of 1 has 1 nmgy, by MAGZERO 0.01585"),
    ],
)
def test_fluxes_of_an_unknown_unit_are_refused(tmp_path, header, message):
    with pytest.raises(DataError, match=message):
        read_fits(write(tmp_path / "a.fits", flux(), cards() | {"SURVEY": None} | header))


def test_bands_in_several_units_are_one_image(tmp_path):
    bare = {key: value for key, value in cards().items() if not key.startswith(("BAND", "IMAGETYP", "SURVEY"))}
    parts = [
        (flux()[place], bare | {"BAND": band, "MAGZERO": point})
        for place, (band, point) in enumerate((("g", 22.5), ("r", 25.0), ("z", 20.0)))
    ]
    error = (np.ones((24, 30), np.float32), bare | {"EXTNAME": "ERR"})
    cutout = read_fits(write(tmp_path / "a.fits", *parts[0], *parts[1:], error))
    assert cutout.bands == ("g", "r", "z")
    np.testing.assert_allclose(cutout.flux, flux() * np.array([1, 0.1, 10])[:, None, None], rtol=1e-5)
    moved = parts[1][1] | {"CRVAL2": 2.01}
    with pytest.raises(DataError, match="other places on the sky"):
        read_fits(write(tmp_path / "b.fits", *parts[0], (parts[1][0], moved)))
    with pytest.raises(DataError, match="images of 12 x 30, 24 x 30 pixels"):
        read_fits(write(tmp_path / "c.fits", *parts[0], (parts[1][0][:12], parts[1][1])))
    nameless = {key: value for key, value in parts[1][1].items() if key != "BAND"}
    with pytest.raises(DataError, match="some state no band"):
        read_fits(write(tmp_path / "d.fits", *parts[0], (parts[1][0], nameless)))


@pytest.mark.parametrize("key", ["BANDS", "BAND", "FILTER"])
def test_one_band_of_several_letters_is_one(tmp_path, key):
    header = {name: value for name, value in cards().items() if not name.startswith("BAND")} | {key: "F814W"}
    path = write(tmp_path / "a.fits", flux(1)[0], header | {"BUNIT": "nmgy"})
    assert read_fits(path).bands == ("F814W",)
    assert read_fits(path, Reading(bands=("i",), bands_from="options")).bands == ("i",)


def test_inverse_variance_and_mask_come_along(tmp_path):
    weights = np.full((3, 24, 30), 4, np.float32)
    weights[1, 0, 0] = 0
    bits = np.zeros((24, 30), np.int16)
    bits[1, 1], bits[1, 2], bits[1, 3], bits[1, 4] = 1 << 1, 1 << 12, 1 << 3, (1 << 0) + (1 << 9)
    planes = (weights, cards(0.524, IMAGETYP="INVVAR")), (bits, cards(0.524, IMAGETYP="MASKBITS"))
    cutout = read_fits(write(tmp_path / "a.fits", flux(), cards(0.524), *planes))
    assert np.argwhere(cutout.bad).tolist() == [[0, 0], [1, 1], [1, 3]]
    np.testing.assert_allclose(cutout.inverse_variance[:, 5:], 4 / 16, rtol=1e-5)
    np.testing.assert_allclose(cutout.flux, flux() * 4, rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_few_missing_pixels_are_bad_ones(tmp_path, value):
    values = flux()
    values[1, :4, :] = value
    cutout = read_fits(write(tmp_path / "a.fits", values, cards()))
    assert cutout.bad.sum() == 4 * 30
    assert cutout.bad[:4].all()
    assert not cutout.flux[1, :4].any()
    values[1, :5, :] = value
    with pytest.raises(DataError, match=r"a\.fits: band r is missing \(0 or NaN\) in 21% of the pixels"):
        read_fits(write(tmp_path / "a.fits", values, cards()))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (cards(bands="gr"), "3 planes, but the bands are g, r: give"),
        (cards() | {"BAND2": "g"}, "3 planes, but the bands are g, r, g: give"),
        (cards(SURVEY="SDSS"), "a cutout of the survey 'SDSS', expected DECaLS, .*give reading.native_scale"),
        (cards(CTYPE1=None, CTYPE2=None), "no world coordinate system .*give reading.pixel_scale"),
        (cards() | {"CD1_1": -1e-4}, "0.36 x 0.262 arcsec are not square"),
        (cards(BRICK_X0=3), "&subimage"),
    ],
)
def test_headers_that_do_not_fit_are_refused(tmp_path, header, message):
    with pytest.raises(DataError, match=message):
        read_fits(write(tmp_path / "a.fits", flux(), header))


def test_planes_that_do_not_fit_are_refused(tmp_path):
    bits = np.zeros((23, 30), np.int16), cards(IMAGETYP="MASKBITS")
    with pytest.raises(DataError, match=r"MASKBITS has shape \(1, 23, 30\), expected \(1, 24, 30\)"):
        read_fits(write(tmp_path / "a.fits", flux(), cards(), bits))
    with pytest.raises(DataError, match="contains no image"):
        read_fits(write(tmp_path / "b.fits", None, cards(OVERLAP=False)))
    with pytest.raises(DataError, match="shape"):
        read_fits(write(tmp_path / "c.fits", flux()[None], cards()))


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.fz"])
@pytest.mark.parametrize("share", [0.05, 0.6, 0.97])
def test_truncated_files_are_refused(tmp_path, name, share):
    whole = write(tmp_path / name, flux(3, (200, 200)), cards(shape=(200, 200))).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=f"{name}: (truncated|contains no image)"):
        read_fits(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"SIMPLE  =                    T"])
def test_files_that_are_no_fits_are_refused(tmp_path, content):
    (tmp_path / "a.fits").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.fits: truncated, or not a FITS file"):
        read_fits(tmp_path / "a.fits")
    with pytest.raises(DataError, match="no such file"):
        read_fits(tmp_path / "b.fits")


def damaged(whole, seed):
    """Return a file with some bytes changed, and sometimes cut short."""
    rng = np.random.default_rng(seed)
    content = bytearray(whole)
    for place in rng.integers(0, min(len(content), 3000), 4):
        content[place] = rng.integers(0, 256)
    return bytes(content[: rng.integers(0, len(content)) if seed % 4 == 0 else None])


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz", "a.fits.fz", "a.png", "a.h5"])
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path, name):
    makers = {
        ".png": lambda path: save(path, galaxy_zoo_picture(flux() * 0.01)),
        ".h5": lambda path: hdf5(path, images=[flux()]),
    }
    path = tmp_path / name
    makers.get(path.suffix, lambda path: write(path, flux(), cards()))(path)
    whole, refusals = path.read_bytes(), []
    for seed in range(40):
        path.write_bytes(damaged(whole, seed))
        try:
            list(read_cutouts(path, Reading(pixel_scale=0.2)))
        except DataError as error:
            refusals.append(str(error))
    assert len(refusals) > 10
    assert not any("\n" in refusal for refusal in refusals)


# pictures


def galaxy_zoo_picture(values):
    """Stretch (3, H, W) as `dr2_style_rgb` of zooniverse/decals does, without its desaturation, and flip."""
    rgb = np.zeros((*values.shape[1:], 3))
    for image, (plane, scale) in zip(values, ((2, 0.008), (1, 0.014), (0, 0.019)), strict=True):
        rgb[:, :, plane] = np.arcsinh(image / scale)
    low, high = np.arcsinh(-0.5), np.arcsinh(300)
    return np.uint8(np.clip((rgb - low) / (high - low), 0, 1) * 255)[::-1]


def viewer_picture(values):
    """Stretch (3, H, W) as `dr2_rgb` of legacysurvey/imagine does, and flip."""
    planes = [image * scale + 0.03 for image, scale in zip(values, (6.0, 3.4, 2.2), strict=True)]
    intensity = sum(np.maximum(0, plane) for plane in planes) / 3
    stretched = np.arcsinh(20 * intensity) / np.sqrt(20)
    intensity = intensity + (intensity == 0) * 1e-6
    rgb = np.dstack([plane * stretched / intensity for plane in planes[::-1]])
    return np.uint8(np.clip(rgb, 0, 1) * 255)[::-1]


COLOUR = np.array([0.5, 1, 1.6])[:, None, None]
STRETCHES = [("galaxy_zoo", galaxy_zoo_picture, galaxy_zoo_flux), ("viewer", viewer_picture, viewer_flux)]


@pytest.mark.parametrize(("stretch", "picture", "undo"), STRETCHES)
@given(values=hnp.arrays(np.float32, (3, 4, 5), elements=st.floats(0, 0.25, width=32)))
def test_undoing_a_stretch_and_stretching_again_gives_the_same_picture(stretch, picture, undo, values):
    """Wherever nothing is clipped: all channels between 1 and 254."""
    once = picture(values)
    inner = ((once > 0) & (once < 255)).all(axis=2)
    again = picture(undo(once)[:, ::-1])
    assert np.abs(again.astype(int) - once.astype(int))[inner].max(initial=0) <= 1


@pytest.mark.parametrize(("stretch", "picture", "undo"), STRETCHES)
def test_the_flux_of_a_picture_is_right_to_a_step_of_it(stretch, picture, undo):
    values = (np.geomspace(0.01, 0.2, 300).reshape(15, 20) * COLOUR).astype(np.float32)
    found = undo(picture(values))[:, ::-1]
    np.testing.assert_allclose(found, values, rtol=0.05)
    assert np.mean(found / values - 1) == pytest.approx(0, abs=0.005)


def save(path, picture):
    Image.fromarray(picture).save(path)
    return path


def test_a_picture_becomes_a_cutout_of_its_pixel_scale(tmp_path):
    values = np.random.default_rng(0).uniform(0.02, 0.2, (3, 20, 30)).astype(np.float32)
    path = save(tmp_path / "J1.png", galaxy_zoo_picture(values))
    (cutout,) = read_cutouts(path, pixel_scales={"J1": 0.131})
    assert (cutout.name, cutout.bands, cutout.pixel_scale) == ("J1", ("g", "r", "z"), 0.131)
    assert cutout.approximate
    np.testing.assert_allclose(cutout.flux, values / 4, rtol=0.05)
    (other,) = read_cutouts(path, Reading(pixel_scale=0.262, stretch="viewer"))
    np.testing.assert_allclose(other.flux[:, ::-1], viewer_flux(np.asarray(Image.open(path))))


def test_pictures_that_cannot_be_used_are_refused(tmp_path):
    picture = galaxy_zoo_picture(flux() * 0.01)
    path = save(tmp_path / "a.png", picture)
    with pytest.raises(DataError, match=r"does not state its pixel scale: set reading.pixel_scale, or name"):
        next(read_cutouts(path))
    save(tmp_path / "grey.png", picture[:, :, 0])
    with pytest.raises(DataError, match="mode L, expected RGB"):
        next(read_cutouts(tmp_path / "grey.png", Reading(pixel_scale=0.2)))
    (tmp_path / "cut.png").write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="damaged"):
        next(read_cutouts(tmp_path / "cut.png", Reading(pixel_scale=0.2)))
    (tmp_path / "page.jpg").write_bytes(b"<html></html>")
    with pytest.raises(DataError, match="not a picture"):
        next(read_cutouts(tmp_path / "page.jpg", Reading(pixel_scale=0.2)))


# HDF5


def hdf5(path, **columns):
    with h5py.File(path, "w") as file:
        for name, column in columns.items():
            file[name] = column
    return path


def test_stamps_of_flux_are_read_one_by_one(tmp_path):
    images = np.stack([flux(seed=seed) for seed in range(3)])
    path = hdf5(
        tmp_path / "images_npix152.h5", images=images, ra=[1.0, 2, 3], dec=[4.0, 5, 6], flux=np.ones((3, 3))
    )
    cutouts = list(read_cutouts(path))
    assert [cutout.name for cutout in cutouts] == [f"images_npix152/{index}" for index in range(3)]
    assert [(cutout.ra, cutout.dec) for cutout in cutouts] == [(1, 4), (2, 5), (3, 6)]
    np.testing.assert_array_equal([cutout.flux for cutout in cutouts], images)
    assert {cutout.pixel_scale for cutout in cutouts} == {0.262}
    assert not any(cutout.approximate for cutout in cutouts)


def test_pictures_of_galaxy10_are_read_with_their_pixel_scales(tmp_path):
    values = (np.random.default_rng(0).uniform(0.02, 0.1, (2, 1, 16, 16)) * COLOUR).astype(np.float32)
    images = np.stack([viewer_picture(each) for each in values])
    path = hdf5(tmp_path / "Galaxy10_DECals.h5", images=images, pxscale=[0.262, 0.524], ans=[1, 2], ra=[1.0, 2])
    first, second = read_cutouts(path)
    assert (first.pixel_scale, second.pixel_scale, first.ra) == (0.262, 0.524, 1)
    assert first.approximate
    np.testing.assert_allclose(first.flux, values[0], atol=0.004)
    np.testing.assert_allclose(second.flux, 4 * values[1], atol=0.016)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"adu": np.zeros((2, 3))}, r"expected a data set 'images' .*, found adu"),
        ({"images": np.zeros((2, 3, 4))}, "expected a data set 'images'"),
        ({"images": np.ones((2, 4, 8, 8), np.float32)}, "expected flux in the 3 bands g, r, z"),
        ({"images": np.ones((2, 3, 8, 8), np.int32)}, "image 0 is int32"),
        ({"images": np.ones((2, 8, 8, 3), np.uint8)}, "without a data set 'pxscale': give reading.pixel_scale"),
        ({"images": np.zeros((2, 3, 8, 8), np.float32)}, "image 0: band g is missing"),
        ({"images": np.ones((2, 3, 8, 8), np.float32), "ra": 1.0}, "image 0 is damaged"),
    ],
)
def test_other_hdf5_files_are_refused(tmp_path, columns, message):
    with pytest.raises(DataError, match=message):
        next(read_cutouts(hdf5(tmp_path / "a.h5", **columns)))


def test_a_truncated_hdf5_file_is_refused(tmp_path):
    path = hdf5(tmp_path / "a.h5", images=np.ones((2, 3, 32, 32), np.float32))
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(DataError, match="truncated"):
        next(read_cutouts(path))


# files and folders


def test_a_folder_is_read_in_order_whatever_lies_in_it(tmp_path):
    write(tmp_path / "b.fits", flux(), cards())
    (tmp_path / "J1").mkdir()
    save(tmp_path / "J1" / "c.png", galaxy_zoo_picture(flux() * 0.01))
    hdf5(tmp_path / "a.h5", images=np.stack([flux(), flux()]))
    for name in ("notes.txt", ".hidden.fits"):
        (tmp_path / name).touch()
    cutouts = list(read_cutouts(tmp_path, Reading(pixel_scale=0.262)))
    assert [cutout.name for cutout in cutouts] == ["c", "a/0", "a/1", "b"]
    assert all(isinstance(cutout, Cutout) for cutout in cutouts)


def test_listing_meets_no_damage(tmp_path):
    (tmp_path / "a.h5").write_bytes(b"no")
    (tmp_path / "b.fits").write_bytes(b"no")
    listed = list(entries([*find_files(tmp_path), Path("c.txt")]))
    assert [entry.name for entry in listed] == ["a", "b", "c.txt"]
    for entry, message in zip(listed, ("not a readable HDF5", "not a FITS", "unknown kind"), strict=True):
        with pytest.raises(DataError, match=message):
            entry.read()


def test_a_place_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"contains no images; expected \.fits"):
        find_files(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        find_files(tmp_path / "absent")
    with pytest.raises(ConfigError, match="stretch"):
        Reading.parse({"stretch": "log"})


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz", ".FITS.fz", ".png", ".hdf5"])
def test_names_lose_only_the_suffix(suffix):
    assert object_name(Path("J112") / f"J112953.88-000427.4{suffix}") == "J112953.88-000427.4"


# real files


def magnitudes(cutout, radius):
    sep = pytest.importorskip("sep")
    height, width = cutout.flux.shape[1:]
    centre = [(width - 1) / 2], [(height - 1) / 2], [radius / cutout.pixel_scale]
    return [22.5 - 2.5 * np.log10(sep.sum_circle(band, *centre, subpix=0)[0][0]) for band in cutout.flux]


@pytest.mark.parametrize("radius", [4.0, 10.0, 18.0])
def test_two_real_images_of_one_galaxy_agree_at_two_pixel_scales(radius):
    fine, native = read_fits(real("example_a.fits")), read_fits(real("temp__temp_small.fits"))
    assert (fine.pixel_scale, native.pixel_scale) == pytest.approx((0.1, 0.262))
    np.testing.assert_allclose(magnitudes(fine, radius), magnitudes(native, radius), atol=0.01)


def test_a_real_picture_is_the_stretch_of_its_fits_file():
    """This one has the first row of the file on top."""
    cutout = read_fits(real("example_e.fits"))
    native = cutout.flux / np.float32((cutout.pixel_scale / 0.262) ** 2)
    picture = np.asarray(Image.open(real("example_png.png")))
    assert np.abs(galaxy_zoo_picture(native)[::-1].astype(int) - picture.astype(int)).mean() < 1e-3
    (undone,) = read_cutouts(real("example_png.png"), Reading(pixel_scale=cutout.pixel_scale))
    inner = ((picture < 255) & (picture > 0)).all(axis=2)
    found, expected = undone.flux[:, ::-1][:, inner].sum(1), cutout.flux[:, inner].sum(1)
    np.testing.assert_allclose(found, expected, rtol=0.003)
    assert inner.mean() > 0.8


def test_a_real_file_without_a_band_is_refused():
    with pytest.raises(DataError, match=r"band g is missing .* in 76% of the pixels"):
        read_fits(real("example_bad_pix.fits"))
