"""Images become stamps: flux through resampling, simulated truth, each reason to refuse an image, real files."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from oasis.adapters.galaxy.convert import Conversion, LeftOut, RefusedError, Report, convert, extract
from oasis.adapters.galaxy.cutout import Cutout, Reading
from oasis.adapters.galaxy.grid import resample
from oasis.adapters.galaxy.stamps import Stamps
from oasis.errors import ConfigError, DataError

pytest.importorskip("sep")
pytest.importorskip("astropy")

REAL = Path(__file__).parents[3].parent / "shared/data/galaxy"
BANDS = ("g", "r", "z")
COLOUR = np.array([0.5, 1.0, 1.6])[:, None, None]
NOISE = np.array([0.002, 0.003, 0.008])


def disc(size, flux, scale_length=5.0, at=(0.0, 0.0), ratio=0.6, angle=0.5):
    """Return an exponential disc (size, size) of a total flux, blurred to a FWHM of 4 pixels; all in pixels."""
    rows, cols = np.mgrid[:size, :size] - np.array([size // 2 + at[0], size // 2 + at[1]])[:, None, None]
    along = cols * np.cos(angle) + rows * np.sin(angle)
    across = (rows * np.cos(angle) - cols * np.sin(angle)) / ratio
    light = ndimage.gaussian_filter(np.exp(-np.hypot(along, across) / scale_length), 1.7)
    return flux * light / light.sum()


def sky(light, seed=0, noise=NOISE, level=(0.001, -0.002, 0.004)):
    """Return an image (3, H, W) of what shines, in three bands, with sky and noise."""
    rng = np.random.default_rng(seed)
    ground = rng.normal(size=(3, *light.shape)) * np.reshape(noise, (3, 1, 1)) + np.reshape(level, (3, 1, 1))
    return (COLOUR * light + ground).astype(np.float32)


def cutout(image, scale=0.262, name="a", **facts):
    return Cutout(image, BANDS, scale, name, **facts)


# resampling


def test_resampling_agrees_with_pixels_that_are_cut_up():
    """New pixels of 1.5 old ones: cut every old pixel into 2x2 and add 3x3 of these."""
    image = np.random.default_rng(0).normal(size=(2, 30, 24))
    cut = np.kron(image, np.ones((1, 2, 2))) / 4
    expected = cut.reshape(2, 20, 3, 16, 3).sum((2, 4))
    np.testing.assert_allclose(resample(image, 0.2, 0.3), expected, atol=1e-6)


@given(st.floats(0.3, 7), st.integers(8, 40), st.integers(8, 40), st.integers(0, 100))
def test_resampling_conserves_the_flux_of_what_it_covers(ratio, height, width, seed):
    """The flux of the covered rectangle, by interpolating the sums over rows and columns."""
    image = np.random.default_rng(seed).uniform(0.1, 1, (height, width))
    new = resample(image, 1.0, ratio)

    def covered(length, count):
        half = ratio * count / 2
        edges = np.interp([length / 2 - half, length / 2 + half], np.arange(length + 1), np.arange(length + 1))
        return np.clip(np.minimum(np.arange(length) + 1, edges[1]) - np.maximum(np.arange(length), edges[0]), 0, 1)

    expected = covered(height, new.shape[0]) @ image @ covered(width, new.shape[1])
    assert float(new.sum(dtype=np.float64)) == pytest.approx(float(expected), rel=1e-5)
    assert all(
        -1e-4 < old - ratio * number < ratio + 1e-4 for old, number in zip((height, width), new.shape, strict=True)
    )


def test_resampling_keeps_the_centre_and_the_unchanged_grid():
    image = disc(61, 1.0).astype(np.float32)
    np.testing.assert_allclose(resample(image, 0.262, 0.262), image, atol=1e-9)
    new = resample(image, 0.1, 0.262)
    for axis in (0, 1):
        profile = new.sum(1 - axis)
        assert (profile * (np.arange(len(profile)) - (len(profile) - 1) / 2)).sum() == pytest.approx(0, abs=0.02)
    with pytest.raises(DataError, match="smaller than one of 20 arcsec"):
        resample(image, 0.262, 20.0)


# simulated truth


def test_a_lone_galaxy_is_cut_out_whole():
    light = disc(150, 300.0, at=(0.3, -0.4))
    galaxy = extract(cutout(sky(light)), Conversion(size=96))
    truth = COLOUR * light[27:123, 27:123]
    assert galaxy.flux.shape == (3, 96, 96)
    assert galaxy.flux.dtype == np.float32
    np.testing.assert_allclose(galaxy.flux.sum((1, 2)), truth.sum((1, 2)), rtol=0.02)
    np.testing.assert_allclose(galaxy.noise, NOISE, rtol=0.05)
    inside = galaxy.flux[1] != 0
    assert truth[1][~inside].sum() < 0.02 * truth[1].sum()
    assert 0.05 < inside.mean() < 0.6
    np.testing.assert_array_equal(inside, galaxy.flux[0] != 0)
    residual = (galaxy.flux - truth)[:, inside] / NOISE[:, None]
    np.testing.assert_allclose(residual.std(axis=1), 1, atol=0.1)
    np.testing.assert_allclose(residual.mean(axis=1), 0, atol=0.1)
    assert galaxy.neighbours == galaxy.filled == 0
    assert galaxy.lost == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("size", [95, 96])
@pytest.mark.parametrize("at", [(0.0, 0.0), (4.0, -3.0), (-2.4, 5.3)])
def test_the_centroid_lies_in_the_middle_pixel_and_pixels_are_not_shifted(size, at):
    image = sky(disc(150, 300.0, at=at), level=(0, 0, 0))
    stamp = extract(cutout(image), Conversion(size=size)).flux
    weights = stamp.sum(0)
    for axis in (0, 1):
        profile = weights.sum(1 - axis)
        assert (profile * np.arange(size)).sum() / profile.sum() == pytest.approx(size // 2, abs=0.75)
    top, left = (75 + round(shift) - size // 2 for shift in at)
    inside = stamp[1] != 0
    window = image[:, top : top + size, left : left + size]
    sky_level = (window - stamp)[:, inside]
    assert np.ptp(sky_level, axis=1).max() < 1e-5
    np.testing.assert_allclose(sky_level.mean(1), 0, atol=5e-4)


@pytest.mark.parametrize("scale", [0.1, 0.131, 0.2])
def test_a_galaxy_has_the_same_flux_at_every_pixel_scale(scale):
    factor = 0.262 / scale
    size = round(150 * factor) // 2 * 2
    light = disc(size, 300.0, 5 * factor)
    flux = {}
    for name, image, pixels in (("fine", sky(light, noise=NOISE / factor), scale), ("library", None, 0.262)):
        image = sky(disc(150, 300.0)) if image is None else image
        flux[name] = extract(cutout(image, pixels), Conversion(size=96)).flux.sum((1, 2))
    np.testing.assert_allclose(flux["fine"], flux["library"], rtol=0.015)


def test_neighbours_are_taken_out_and_filled_from_the_opposite_side():
    light = disc(150, 300.0)
    others = disc(150, 12.0, 0.5, at=(9, 8), ratio=1) + disc(150, 60.0, 2.0, at=(-38, 20))
    galaxy = extract(cutout(sky(light + others)), Conversion(size=96))
    alone = extract(cutout(sky(light)), Conversion(size=96))
    truth = COLOUR * light[27:123, 27:123]
    np.testing.assert_allclose(galaxy.flux.sum((1, 2)), truth.sum((1, 2)), rtol=0.025)
    spot = (slice(None), slice(48 + 6, 48 + 13), slice(48 + 5, 48 + 12))
    np.testing.assert_allclose(galaxy.flux[spot].sum((1, 2)), truth[spot].sum((1, 2)), rtol=0.15)
    assert galaxy.flux[spot][1].sum() < 0.6 * (truth[spot][1].sum() + 12 * 0.8)
    assert np.abs(galaxy.flux - alone.flux).sum() < 0.1 * alone.flux.sum()
    assert galaxy.neighbours == pytest.approx(12 / 300, rel=0.3)
    assert 0.01 < galaxy.filled < 0.1


def test_bad_pixels_are_filled_too():
    image, bad = sky(disc(150, 300.0)), np.zeros((150, 150), bool)
    bad[84, 70:80] = bad[10:40, 10:40] = True
    image[:, bad] = 0
    galaxy = extract(cutout(image, bad=bad), Conversion(size=96))
    np.testing.assert_allclose(galaxy.flux.sum((1, 2)), 300 * COLOUR.ravel(), rtol=0.02)
    np.testing.assert_allclose(galaxy.flux[:, 48 + 9, 43:53], (COLOUR * disc(150, 300.0))[:, 84, 70:80], rtol=0.2)


# reasons to leave an image out


GALAXY = disc(150, 300.0)


@pytest.mark.parametrize(
    ("image", "options", "reason", "detail"),
    [
        (sky(GALAXY), {"size": 32}, "too large", "of its flux lies beyond 32 pixels"),
        (sky(GALAXY)[:, 60:90], {}, "too large", "of its area lies beyond the image"),
        (sky(GALAXY + disc(150, 200, at=(8, 20))), {}, "not isolated", "neighbours add"),
        (sky(GALAXY), {"magnitudes": (10, 15)}, "magnitude", "r = 16.3. is not within 10 and 15"),
        (sky(GALAXY), {"pixel_scale": 0.2}, "coarse pixels", "0.262 arcsec, the library's have 0.2"),
        (sky(np.zeros((150, 150))), {}, "no galaxy", "no object is detected|off the centre"),
        (sky(disc(150, 300.0, at=(30, 30))), {}, "no galaxy", "11.[01] arcsec off the centre"),
        (sky(disc(150, 3e5, 40, ratio=1)), {}, "no sky", "varies .* times as much as its noise"),
        (sky(GALAXY, noise=np.zeros(3)).round(2), {}, "no sky", "no noise"),
        (-sky(GALAXY), {}, "no galaxy", "no object is detected|off the centre"),
    ],
)
def test_what_gives_no_stamp_is_refused_with_its_reason(image, options, reason, detail):
    with pytest.raises(RefusedError, match=detail) as caught:
        extract(cutout(image), Conversion(**options))
    assert caught.value.reason == reason


@pytest.mark.parametrize("factor", [1, 2])
def test_a_core_of_bad_pixels_is_refused(factor):
    size = 150 * factor
    bad = np.zeros((size, size), bool)
    bad[size // 2 - 9 * factor : size // 2 - factor, size // 2 - 9 * factor : size // 2 - factor] = True
    image = sky(disc(size, 300.0, 5 * factor), noise=NOISE / factor)
    with pytest.raises(RefusedError, match="of its flux falls on bad pixels") as caught:
        extract(cutout(image, 0.262 / factor, bad=bad), Conversion())
    assert caught.value.reason == "bad pixels"


def test_an_image_of_bad_pixels_has_no_sky():
    with pytest.raises(RefusedError, match="bad pixels cover 93% of the image") as caught:
        extract(cutout(sky(GALAXY), bad=np.arange(150)[:, None] * np.ones(150) > 10), Conversion())
    assert caught.value.reason == "no sky"


@pytest.mark.parametrize("option", ["neighbours", "lost"])
def test_limits_are_the_users(option):
    crowded = sky(disc(150, 300.0) + disc(150, 45.0, 0.5, at=(9, 8), ratio=1))
    small = {"neighbours": {"size": 96}, "lost": {"size": 48, "neighbours": 1.0}}[option]
    with pytest.raises(RefusedError):
        extract(cutout(crowded), Conversion(**{option: 0.001}, **small))
    galaxy = extract(cutout(crowded), Conversion(**{option: 0.5}, **small))
    assert 0.001 < getattr(galaxy, option) < 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bands": ("r", "r")}, "bands must differ"),
        ({"psf_fwhm": (1.0,)}, "psf_fwhm has 1 values for 3 bands"),
        ({"pixelscale": 1}, "did you mean 'pixel_scale'"),
        ({"reading": {"strech": "viewer"}}, "reading.strech: unknown key; did you mean 'stretch'"),
        ({"lost": -1}, "lost"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Conversion.parse(options)


# whole conversions


def stretched(image, path):
    """Save a picture as Galaxy Zoo has it."""
    low, high = np.arcsinh(-0.5), np.arcsinh(300)
    value = (np.arcsinh(image / np.array([0.008, 0.014, 0.019])[:, None, None]) - low) / (high - low)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.uint8(np.clip(value, 0, 1) * 255)[::-1].transpose(1, 2, 0)[::-1]).save(path)


def write_fits(path, image, scale=0.262, ra=10.0):
    fits = pytest.importorskip("astropy.io.fits")
    degrees = scale / 3600
    header = fits.Header({"SURVEY": "DECaLS", "BANDS": "grz", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    header.update(CRVAL1=ra, CRVAL2=5.0, CRPIX1=75.5, CRPIX2=75.5, CD1_1=-degrees, CD2_2=degrees)
    fits.PrimaryHDU(image, header).writeto(path)


def rows(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two galaxies, a crowded one, a picture, a damaged file and one of other bands."""
    root = tmp_path_factory.mktemp("images")
    for index, light in enumerate((disc(150, 300.0), disc(150, 80.0), GALAXY + disc(150, 200, at=(8, 20)))):
        write_fits(root / f"{index}.fits", sky(light, index), ra=10 + 1e-3 * index)
    stretched(sky(disc(150, 20.0), 4), root / "J112" / "J1.png")
    (root / "broken.fits").write_bytes(b"nothing")
    return root


def test_a_folder_becomes_a_library_and_a_list_of_the_rest(folder, tmp_path):
    options = Conversion(size=96, psf_fwhm=(1.3, 1.2, 1.1), reading=Reading(pixel_scale=0.262))
    report = convert(folder, tmp_path / "lib.h5", options)
    library = Stamps.load(tmp_path / "lib.h5")
    assert library.table["name"].tolist() == ["0", "1", "J1"]
    assert library.table["approximate"].tolist() == [False, False, True]
    np.testing.assert_allclose(library.table["flux_r"], [300, 80, 20], rtol=0.06)
    np.testing.assert_allclose(library.table["flux_r"], library.flux[:, 1].sum((1, 2)), rtol=1e-6)
    np.testing.assert_allclose(library.table["ra"][:2], [10, 10.001], atol=1e-4)
    np.testing.assert_allclose(library.noise[:2], [NOISE, NOISE], rtol=0.05)
    np.testing.assert_array_equal(library.psf_fwhm, np.float32([1.3, 1.2, 1.1]))
    assert (library.pixel_scale, library.bands) == (0.262, BANDS)
    assert (report.kept, report.counts) == (3, {"not isolated": 1, "unreadable": 1})
    assert str(report) == "3 galaxies, left out 2: not isolated 1, unreadable 1"
    listed = rows(tmp_path / "lib.h5.left_out.csv")
    assert [(row["name"], row["reason"]) for row in listed] == [("2", "not isolated"), ("broken", "unreadable")]
    assert "broken.fits: truncated, or not a FITS file" in listed[1]["detail"]


def test_an_image_under_two_names_is_one_galaxy(tmp_path):
    for name, seed, ra in (("a", 0, 10), ("copy", 0, 11), ("again", 1, 10.0001), ("other", 2, 10.001)):
        write_fits(tmp_path / f"{name}.fits", sky(disc(150, 300.0), seed), ra=ra)
    report = convert(tmp_path, tmp_path / "lib.h5", Conversion(size=96))
    assert Stamps.load(tmp_path / "lib.h5").table["name"].tolist() == ["a", "other"]
    reason = "the same pixels as, or the position of, a"
    assert [(one.name, one.reason, one.detail) for one in report.left_out] == [
        (name, "duplicate", reason) for name in ("again", "copy")
    ]


def test_conversion_is_deterministic_and_follows_the_options(folder, tmp_path):
    options = Conversion(size=96, bands=("z", "r"), approximate=False, reading=Reading(pixel_scale=0.262))
    report = convert(folder, tmp_path / "a.h5", options)
    convert(folder, tmp_path / "b.h5", options)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    library = Stamps.load(tmp_path / "a.h5")
    assert library.bands == ("z", "r")
    np.testing.assert_allclose(library.flux[0].sum((1, 2)), [480, 300], rtol=0.03)
    assert report.kept == 2
    assert report.counts["approximate"] == 1
    assert convert(folder, tmp_path / "c.h5", options.model_copy(update={"limit": 1})) == Report(1, ())


def test_a_band_that_files_lack_is_named(folder, tmp_path):
    with pytest.raises(
        DataError, match=r"no stamp could be made from any image \(0 galaxies, left out 5: unreadable 5\)"
    ):
        convert(folder, tmp_path / "a.h5", Conversion(bands=("g", "i"), reading=Reading(pixel_scale=0.262)))
    assert rows(tmp_path / "a.h5.left_out.csv")[0]["detail"] == "has the bands g, r, z, not i"
    assert not (tmp_path / "a.h5").exists()


def test_a_catalogue_selects_scales_and_tells_what_is_missing(tmp_path):
    names = ["J112953.88-000427.4", "J104325.29+190335.0", "J104629.54+115415.1"]
    for name, flux in zip(names[:2], (20.0, 10.0), strict=True):
        stretched(sky(disc(300, 4 * flux, 10.0)), tmp_path / "part1" / name[:4] / f"{name}.png")
    stretched(sky(disc(300, 80.0, 10.0)), tmp_path / "part1" / "J000" / "J000000.00-000000.0.png")
    table = pd.DataFrame(
        {
            "iauname": names,
            "petro_th50": [3.275, 4.0, 4.0],
            "petro_th90": [9.0, 9.0, 9.0],
            "merging_none_fraction": [0.9, 0.2, 0.9],
            "wrong_size_warning": [False] * 3,
        }
    )
    table.to_csv(tmp_path / "gz.csv", index=False)
    report = convert(tmp_path / "part1", tmp_path / "lib.h5", Conversion(catalogue=tmp_path / "gz.csv"))
    library = Stamps.load(tmp_path / "lib.h5")
    assert library.table["name"].tolist() == names[:1]
    np.testing.assert_allclose(library.table["flux_r"], 20, rtol=0.05)  # at 0.131 arcsec a pixel has a quarter
    assert [(one.name, one.reason) for one in report.left_out] == [(names[2], "no image"), (names[1], "catalogue")]
    assert report.left_out[1].detail == "merging_none_fraction 0.20 below 0.80"


def test_a_report_that_left_out_nothing_says_so(tmp_path):
    report = Report(2, ())
    report.save(tmp_path / "a.csv")
    assert str(report) == "2 galaxies"
    assert rows(tmp_path / "a.csv") == []
    one = LeftOut("é", "x.png", "no sky", 'with, "quotes"')
    replace(report, left_out=(one,)).save(tmp_path / "a.csv")
    assert list(rows(tmp_path / "a.csv")[0].values()) == ["é", "x.png", "no sky", 'with, "quotes"']


# real files


def test_real_fits_files_become_stamps(tmp_path):
    if not (REAL / "decals_fits").exists():
        pytest.skip("decals_fits is not here")
    options = Conversion(size=160, reading=Reading(pixel_scale=0.1414))
    report = convert(REAL / "decals_fits", tmp_path / "lib.h5", options)
    library = Stamps.load(tmp_path / "lib.h5")
    magnitude = dict(zip(library.table["name"], 22.5 - 2.5 * np.log10(library.table["flux_r"]), strict=True))
    assert magnitude["example_b"] == pytest.approx(16.7, abs=0.1)
    assert magnitude["example_willett"] == pytest.approx(17.6, abs=0.15)
    assert magnitude["example_png"] == pytest.approx(magnitude["example_e"], abs=0.02)
    assert {one.name: one.reason for one in report.left_out} == {
        "example_a": "too large",
        "example_bad_pix": "unreadable",
    }


def test_real_pictures_become_stamps(tmp_path):
    if not (REAL / "decals_png").exists():
        pytest.skip("decals_png is not here")
    options = Conversion(reading=Reading(pixel_scale=0.15), limit=8)
    report = convert(REAL / "decals_png", tmp_path / "lib.h5", options)
    library = Stamps.load(tmp_path / "lib.h5")
    assert library.table["approximate"].all()
    assert (library.table["neighbours"] < 0.05).all()
    assert {one.reason for one in report.left_out} == {"no sky"}
    rows_, cols = np.indices(library.flux.shape[2:])
    light = library.flux.sum(1)
    for index in (rows_, cols):
        centroid = (light * index).sum((1, 2)) / light.sum((1, 2))
        np.testing.assert_allclose(centroid, 64, atol=1)
