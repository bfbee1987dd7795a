"""Headers of FITS images: bands by names of units, what a primary header says, masks of Rubin and HSC."""

from pathlib import Path

import numpy as np
import pytest

from oasis.adapters.galaxy import GalaxyAdapter
from oasis.adapters.galaxy.cutout import Cutout, Reading
from oasis.adapters.galaxy.duplicates import Seen, together
from oasis.adapters.galaxy.fits import read_fits
from oasis.adapters.galaxy.units import nmgy_of_one
from oasis.errors import DataError

fits = pytest.importorskip("astropy.io.fits")

LEVELS = {"g": 1.0, "r": 2.0, "i": 9.0, "z": 3.0}


def cards(scale=0.262, **more):
    cards = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": 150.0,
        "CRVAL2": 2.0,
        "CRPIX1": 4.5,
        "CRPIX2": 4.5,
    }
    return fits.Header(cards | {"CD1_1": -scale / 3600, "CD2_2": scale / 3600, **more})


def plane(level=1.0):
    return np.full((8, 8), level, np.float32)


def written(path, *units):
    fits.HDUList(list(units)).writeto(path)
    return path


@pytest.mark.parametrize("order", ["grz", "zrg", "griz"])
def test_bands_are_known_by_the_names_of_units(tmp_path, order):
    units = [fits.ImageHDU(plane(LEVELS[band]), cards(BUNIT="nanomaggy"), name=band) for band in order]
    path = written(tmp_path / "a.fits", fits.PrimaryHDU(), *units)
    read = GalaxyAdapter({"library": {"simulated": 20}}).read(path)
    np.testing.assert_allclose(read.image[0, :, 0, 0], [1, 2, 3])


def test_units_that_are_no_bands_are_not_taken_for_them(tmp_path):
    units = [fits.ImageHDU(plane(), cards(BUNIT="nanomaggy"), name=name) for name in ("A", "B", "C")]
    path = written(tmp_path / "a.fits", fits.PrimaryHDU(), *units)
    assert read_fits(path).bands == ("g", "r", "z")  # the wanted ones, in their order


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ({"FILTER": "r DECam SDSS c0002 6415.0 1480.0"}, "r"),
        ({"FILTER1": "CLEAR1L", "FILTER2": "F814W"}, "F814W"),
        ({"FILTER1": "F606W", "FILTER2": "CLEAR2L"}, "F606W"),
        ({"BAND": "F814W"}, "F814W"),
        ({"BANDS": "F814W"}, "F814W"),
        ({"FILTNAM1": "F814W"}, "F814W"),
        ({"HIERARCH ESO INS FILT1 NAME": "Ks"}, "Ks"),
    ],
)
def test_the_band_of_one_plane(tmp_path, named, found):
    path = written(tmp_path / "a.fits", fits.PrimaryHDU(plane(), cards(BUNIT="nanomaggy", **named)))
    assert read_fits(path, Reading(bands=("x",))).bands == (found,)


@pytest.mark.parametrize(("key", "first"), [("BAND", 0), ("BAND", 1), ("FILTER", 1), ("FILTNAM", 1)])
def test_the_bands_of_planes_that_are_numbered(tmp_path, key, first):
    named = {f"{key}{number}": band for number, band in enumerate("zrg", first)}
    values = np.stack([plane(LEVELS[band]) for band in "zrg"])
    path = written(tmp_path / "a.fits", fits.PrimaryHDU(values, cards(BUNIT="nanomaggy", **named)))
    read = GalaxyAdapter({"library": {"simulated": 20}}).read(path)
    np.testing.assert_allclose(read.image[0, :, 0, 0], [1, 2, 3])


def test_a_file_that_is_named_after_another_band_than_its_header_states_is_refused(tmp_path):
    stated = {"g": "r DECam", "r": "g DECam", "z": "z DECam"}
    for band, one in stated.items():
        header = cards(BUNIT="nanomaggy", FILTER=one)
        written(tmp_path / f"a_{band}.fits", fits.PrimaryHDU(plane(LEVELS[band]), header))
    with pytest.raises(DataError, match=r"the file of the band g, by its name, is of r by its header: .*options"):
        GalaxyAdapter({"library": {"simulated": 20}}).read(tmp_path / "a_g.fits")
    chosen = GalaxyAdapter({"library": {"simulated": 20}, "reading": {"bands_from": "options"}})
    np.testing.assert_allclose(chosen.read(tmp_path / "a_g.fits").image[0, :, 0, 0], [1, 2, 3])


@pytest.mark.parametrize("kind", ["INVVAR", "VARIANCE"])
def test_planes_go_with_the_images_of_their_bands(tmp_path, kind):
    images = [fits.ImageHDU(plane(), cards(BUNIT="nanomaggy", BAND=band)) for band in "grz"]
    others = [fits.ImageHDU(plane(LEVELS[band]), cards(BAND=band), name=kind) for band in "zgr"]
    found = read_fits(written(tmp_path / "a.fits", fits.PrimaryHDU(), *images, *others)).inverse_variance
    values = np.array([LEVELS[band] for band in "grz"])
    np.testing.assert_allclose(found[:, 0, 0], values if kind == "INVVAR" else 1 / values, rtol=1e-6)
    others[0].header["BAND"] = "i"
    with pytest.raises(DataError, match="is of the bands i, g, r, the image of g, r, z"):
        read_fits(written(tmp_path / "b.fits", fits.PrimaryHDU(), *images, *others))


@pytest.mark.parametrize(("telescope", "bad"), [("JWST", [(3, 3)]), ("GEMINI", [(3, 3), (5, 5)])])
def test_only_the_image_of_a_file_of_an_observatory_is_one(tmp_path, telescope, bad):
    quality = np.zeros((8, 8), np.uint32)
    quality[3, 3], quality[5, 5] = 1, 2  # not to be used; saturated, before the ramp was fitted
    names = ("ERR", "CON", "WHT", "AREA", "VAR_POISSON", "VAR_RNOISE")
    path = written(
        tmp_path / "i2d.fits",
        fits.PrimaryHDU(header=fits.Header({"FILTER": "F200W", "TELESCOP": telescope})),
        fits.ImageHDU(plane(2.0), cards(BUNIT="MJy/sr"), name="SCI"),
        *(fits.ImageHDU(plane(5.0), name=name) for name in names),
        fits.ImageHDU(quality, name="DQ"),
    )
    read = read_fits(path)
    assert (read.bands, read.flux.shape) == (("F200W",), (1, 8, 8))
    assert [tuple(place) for place in np.argwhere(read.bad).tolist()] == bad


def test_a_primary_header_holds_for_the_images_of_its_file(tmp_path):
    path = written(
        tmp_path / "drz.fits",
        fits.PrimaryHDU(header=fits.Header({"FILTER": "F606W", "MAGZERO": 27.5})),
        fits.ImageHDU(plane(100.0), cards(), name="SCI"),
    )
    read = read_fits(path)
    assert read.bands == ("F606W",)
    np.testing.assert_allclose(read.flux, 1)
    adapter = GalaxyAdapter({"survey": "hst", "library": {"simulated": 20}})
    with pytest.raises(DataError, match=r"bands \['F606W'\], expected \['F814W'\]: .*give reading\.bands"):
        adapter.read(path)


def test_a_coadd_with_mask_and_variance(tmp_path):
    bits = np.zeros((8, 8), np.int32)
    bits[1, 1], bits[2, 2], bits[3, 3], bits[4, 4] = 1 << 1, 1 << 5, 1 << 8, 1 << 9
    variance = np.full((8, 8), 0.04, np.float32)
    variance[6, 6] = np.nan
    masks = fits.Header({"MP_SAT": 1, "MP_DETECTED": 5, "MP_NO_DATA": 8, "MP_BRIGHT_OBJECT": 9})
    path = written(
        tmp_path / "calexp.fits",
        fits.PrimaryHDU(header=fits.Header({"FILTER": "r", "FLUXMAG0": 10 ** (0.4 * 27)})),
        fits.ImageHDU(plane(), cards(0.168), name="IMAGE"),
        fits.ImageHDU(bits, masks, name="MASK"),
        fits.ImageHDU(variance, cards(0.168), name="VARIANCE"),
    )
    read = read_fits(path)
    factor = 10 ** (0.4 * (22.5 - 27))
    np.testing.assert_allclose(read.flux[0], factor, rtol=1e-5)
    assert read.inverse_variance[0, 0, 0] == pytest.approx(25 / factor**2)
    assert read.inverse_variance[0, 6, 6] == 0
    found = {name: [tuple(place) for place in np.argwhere(bad).tolist()] for name, bad in read.flags.items()}
    assert found == {"saturated": [(1, 1)], "no_exposure": [(3, 3), (6, 6)], "star": [(4, 4)]}


@pytest.mark.parametrize(
    ("name", "said"), [("MASK", True), ("MSK", True), ("UNCERT", False), ("WGT", False), ("WEIGHT_MAP", False)]
)
def test_a_plane_without_names_of_its_bits_is_not_read_and_masks_are_said(tmp_path, caplog, name, said):
    path = written(
        tmp_path / "a.fits",
        fits.PrimaryHDU(plane(), cards(BUNIT="nanomaggy", BAND="r")),
        fits.ImageHDU(np.ones((8, 8), np.int32), name=name),
    )
    assert read_fits(path).bad is None
    assert [f"{name} names no bits" in record.getMessage() for record in caplog.records] == [True] * said


STEP = 0.262 / 3600


@pytest.mark.parametrize("name", ["image", "MASKBITS"])
@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"CRVAL1": 360 - 1e-6}, True),
        ({"CRVAL1": 1e-6}, True),
        ({"CD1_1": -1.001 * STEP, "CD2_2": 1.001 * STEP}, True),
        ({"CRVAL1": STEP}, False),
        ({"CD1_1": STEP}, False),
        ({"CD1_1": 0.0, "CD2_2": 0.0, "CD1_2": STEP, "CD2_1": STEP}, False),
        ({"CD1_1": -1.15 * STEP, "CD2_2": 1.15 * STEP}, False),
    ],
    ids=["same", "below 0", "above 0", "pixels", "shifted", "mirrored", "rotated", "coarser"],
)
def test_planes_lie_on_the_same_pixels_of_the_sky(tmp_path, changes, same, name):
    first, other = {"CRVAL1": 0.0}, {"CRVAL1": 0.0, **changes}
    units = [fits.PrimaryHDU(plane(), cards(BUNIT="nanomaggy", BAND="g", **first))]
    if name == "image":
        units.append(fits.ImageHDU(plane(), cards(BUNIT="nanomaggy", BAND="r", **other)))
    else:
        units.append(fits.ImageHDU(np.zeros((8, 8), np.int16), cards(**other), name=name))
    path = written(tmp_path / "a.fits", *units)
    if same:
        assert read_fits(path).flux.shape[1:] == (8, 8)
        return
    with pytest.raises(DataError, match="rotated or mirrored"):
        read_fits(path)


@pytest.mark.parametrize("declination", [0.0, 89.99])
def test_half_a_pixel_is_the_same_angle_at_every_declination(tmp_path, declination):
    at = {"CRVAL2": declination}
    ahead = 0.3 * STEP / np.cos(np.radians(declination))
    units = [
        fits.ImageHDU(plane(), cards(BUNIT="nanomaggy", BAND=band, **at, CRVAL1=150 + more))
        for band, more in (("g", 0.0), ("r", ahead))
    ]
    assert read_fits(written(tmp_path / "a.fits", fits.PrimaryHDU(), *units)).bands == ("g", "r")


def test_fluxes_of_pan_starrs_are_those_before_their_compression(tmp_path):
    linear, offset, softening = np.linspace(-5, 500, 64).reshape(8, 8), 0.3, 20.0
    alpha = 2.5 * np.log10(np.e)
    values = (alpha * np.arcsinh((linear - offset) / (2 * softening))).astype(np.float32)
    header = cards(BUNIT="nanomaggy", BAND="r", BSOFTEN=softening, BOFFSET=offset)
    path = written(tmp_path / "a.fits", fits.PrimaryHDU(values, header))
    np.testing.assert_allclose(read_fits(path).flux[0], linear, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("first", "second"), [((300.0, 60.0), (300.0, 60.0 + 0.5 / 3600)), ((359.9999, 5), (0, 5))]
)
def test_the_same_place_is_known_at_every_declination_and_across_zero(first, second):
    images = [
        Cutout(plane(level)[None], ("r",), 0.2, name, ra=ra, dec=dec)
        for level, name, (ra, dec) in ((1, "a", first), (2, "b", second), (3, "c", (first[0], first[1] + 1)))
    ]
    seen = Seen()
    assert [seen.add(one) for one in images] == [None, "a", None]


def test_a_galaxy_in_two_libraries_is_in_one_split():
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, 20), rng.uniform(-60, 60, 20)
    table = {"ra": np.concatenate([ra, ra[:6]]), "dec": np.concatenate([dec, dec[:6] + 0.3 / 3600])}
    order = rng.permutation(26)
    splits = {"train": np.sort(order[:14]), "val": np.sort(order[14:18]), "test": np.sort(order[18:])}
    found = together(table, 26, splits)
    assert sorted(np.concatenate(list(found.values()))) == list(range(26))
    where = {number: name for name, part in found.items() for number in part.tolist()}
    before = {number: name for name, part in splits.items() for number in part.tolist()}
    assert all(where[20 + number] == where[number] for number in range(6))
    assert all(where[number] == before[number] for number in range(20))
    none = {"ra": np.full(26, np.nan), "dec": np.full(26, np.nan)}
    for name, part in together(none, 26, splits).items():
        np.testing.assert_array_equal(part, splits[name])


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        *(
            (text, 1.0)
            for text in ("nmgy", "nMgy", "Nanomaggies", "nanomaggy / pix", "nmgy pixel-1", "nmgy.pix^-1")
        ),
        *((text, 1e9) for text in ("maggy", "Maggies", "mgy", "maggies/pixel")),
        *(
            (text, 0.25)
            for text in ("nmgy/arcsec2", "nmgy arcsec-2", "nmgy/arcsec**2", "nanomaggies per sq. arcsec")
        ),
    ],
)
def test_maggies_are_read_as_they_are_spelled(unit, factor):
    assert nmgy_of_one(Path("a.fits"), {"BUNIT": unit}, None, 0.5) == pytest.approx(factor)


@pytest.mark.parametrize("unit", ["nmgy/s", "nmgy/arcmin2", "nmgyx"])
def test_other_units_of_maggies_are_refused_with_the_way_out(unit):
    with pytest.raises(DataError, match=r"has the unit .* give reading\.zero_point"):
        nmgy_of_one(Path("a.fits"), {"BUNIT": unit}, None, 0.5)
