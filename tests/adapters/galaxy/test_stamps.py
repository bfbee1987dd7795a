"""Libraries of stamps: what they refuse, measuring, choosing, joining, saving."""

import h5py
import numpy as np
import pytest

from oasis.adapters.galaxy.stamps import Stamps, half_light_radius, reference_band
from oasis.errors import DataError

pytest.importorskip("sep")
BANDS = ("g", "r", "z")


def gaussians(sigmas, size=65, flux=(1.0, 2.0, 3.0)):
    y, x = np.mgrid[:size, :size] - size // 2
    light = np.stack([np.exp(-(x**2 + y**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2) for sigma in sigmas])
    return (light[:, None] * np.array(flux)[:, None, None]).astype(np.float32)


def library(count=3, name="a", **options):
    names = np.array([f"{name}é{index}" for index in range(count)])
    flux = gaussians(np.linspace(2, 4, count)) * np.linspace(1, 2, count)[:, None, None, None].astype(np.float32)
    return Stamps.measure(flux, BANDS, 0.262, {"name": names, **options})


def test_flux_and_half_light_radius_are_measured_on_the_stamps():
    """A Gaussian holds half of its light within sqrt(2 ln 2) sigma; a pixel's width adds 1/12 to the variance."""
    sigmas = np.array([2.0, 3.0, 4.5])
    stamps = Stamps.measure(gaussians(sigmas, 91), BANDS, 0.5, {})
    expected = 0.5 * np.sqrt(2 * np.log(2) * (sigmas**2 + 1 / 12))
    np.testing.assert_allclose(stamps.table["r50"], expected, rtol=0.003)
    for band, flux in zip(BANDS, (1, 2, 3), strict=True):
        np.testing.assert_allclose(stamps.table[f"flux_{band}"], flux, rtol=1e-3)
    assert stamps.table["name"].tolist() == ["0", "1", "2"]
    assert not stamps.table["approximate"].any()
    assert not stamps.noise.any()
    assert np.isnan(stamps.psf_fwhm).all()


def test_half_light_radius_lies_around_the_centroid_and_knows_no_light():
    image = gaussians([3.0])[0, 1]
    moved = np.stack([image, np.roll(image, (7, -5), (0, 1)), np.zeros_like(image), -image])
    radii = half_light_radius(moved, 1.0)
    assert radii[1] == pytest.approx(radii[0], rel=1e-3)
    assert np.isnan(radii[2:]).all()


@pytest.mark.parametrize(
    ("bands", "index"), [(("g", "r", "z"), 1), (("r", "i"), 0), (("u", "g", "i"), 1), ("Y", 0)]
)
def test_sizes_are_measured_in_r_or_in_the_middle_band(bands, index):
    assert reference_band(bands) == index


def test_a_saved_library_is_read_back(tmp_path):
    saved = library(psf_known=np.array([True, False, True]))
    saved.noise[:] = np.arange(9, dtype=np.float32).reshape(3, 3)
    saved.save(tmp_path / "lib.h5")
    read = Stamps.load(tmp_path / "lib.h5")
    assert (read.bands, read.pixel_scale) == (saved.bands, saved.pixel_scale)
    for name in ("flux", "noise", "psf_fwhm"):
        np.testing.assert_array_equal(getattr(read, name), getattr(saved, name))
        assert getattr(read, name).dtype == np.float32
    assert list(read.table) == sorted(saved.table)
    for name, column in saved.table.items():
        assert read.table[name].tolist() == column.tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["lib.h5"]


def test_galaxies_are_chosen_by_index_and_by_mask():
    stamps = library(4)
    chosen = stamps.select([2, 0])
    assert chosen.table["name"].tolist() == ["aé2", "aé0"]
    np.testing.assert_array_equal(chosen.flux, stamps.flux[[2, 0]])
    assert len(stamps.select(stamps.table["r50"] > np.median(stamps.table["r50"]))) == 2
    assert len(stamps.select([])) == 0


def test_libraries_are_joined_with_the_columns_that_all_have():
    first, second = library(2, redshift=np.array([0.1, 0.2])), library(3, "b")
    joined = Stamps.concatenate([first, second])
    assert len(joined) == 5
    assert joined.table["name"].tolist() == ["aé0", "aé1", "bé0", "bé1", "bé2"]
    assert "redshift" not in joined.table
    np.testing.assert_array_equal(joined.flux[2:], second.flux)


def test_joining_forgets_a_psf_that_differs():
    flux = gaussians([2.0])
    first, second = (
        Stamps.measure(flux, BANDS, 0.262, {}, psf_fwhm=fwhm) for fwhm in ((1.3, 1.2, 1), (1.3, 1.4, 1))
    )
    np.testing.assert_array_equal(
        Stamps.concatenate([first, second]).psf_fwhm, np.array([1.3, np.nan, 1], np.float32)
    )


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Stamps.measure(gaussians([2.0]), BANDS, 0.3, {}), "0.3 arcsec"),
        (Stamps.measure(gaussians([2.0]), ("g", "r", "i"), 0.262, {}), "in g, r, i"),
        (Stamps.measure(gaussians([2.0], 33), BANDS, 0.262, {}), "33x33"),
    ],
)
def test_libraries_of_other_grids_are_not_joined(other, message):
    with pytest.raises(DataError, match=f"{message}.* cannot join stamps of 65x65 pixels of 0.262 arcsec"):
        Stamps.concatenate([library(), other])


def test_no_libraries_cannot_be_joined():
    with pytest.raises(DataError, match="no libraries"):
        Stamps.concatenate([])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flux": np.zeros((2, 3, 8, 9), np.float32)}, "expected \\(galaxies, bands, s, s\\)"),
        ({"bands": ("g", "r")}, "3 bands, but the bands are named"),
        ({"bands": ("g", "r", "r")}, "3 bands, but the bands are named"),
        ({"noise": np.zeros((2, 2), np.float32)}, "noise has shape"),
        ({"psf_fwhm": np.zeros(2, np.float32)}, "psf_fwhm"),
        ({"pixel_scale": 0.0}, "pixel scale is 0"),
        ({"flux": np.full((2, 3, 8, 8), np.nan, np.float32)}, "finite"),
        ({"noise": -np.ones((2, 3), np.float32)}, "noise non-negative"),
        ({"table": {"name": np.array(["a", "b"])}}, "no column approximate, r50, flux_g"),
    ],
)
def test_what_is_no_library_is_refused(changes, message):
    good = Stamps.measure(np.ones((2, 3, 8, 8), np.float32), BANDS, 0.262, {})
    with pytest.raises(DataError, match=message):
        Stamps(**{**vars(good), **changes})


def test_columns_of_another_length_are_refused():
    with pytest.raises(DataError, match="'z' has 1 rows for 3 galaxies"):
        library(z=np.zeros(1))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        Stamps.load(tmp_path / "absent.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images"] = np.zeros(3)
    with pytest.raises(DataError, match="not a library of galaxies"):
        Stamps.load(tmp_path / "other.h5")
    library().save(tmp_path / "cut.h5")
    with h5py.File(tmp_path / "cut.h5", "a") as file:
        del file["noise"]
    with pytest.raises(DataError, match=r"not a library of galaxies: .*noise"):
        Stamps.load(tmp_path / "cut.h5")
    for name, value in (
        *(("table/flux_r", np.full(3, value)) for value in (b"x", 1j)),
        *(("table", 1.0), ("format", [1, 2]), ("bands", "[" * 9999), ("pixel_scale", 1e300)),
    ):
        library().save(tmp_path / "other.h5")
        with h5py.File(tmp_path / "other.h5", "a") as file:
            place = file if name.startswith("table") else file.attrs
            del place[name]
            place[name] = value
        with pytest.raises(DataError, match=r"other\.h5: not a library of galaxies") as caught:
            Stamps.load(tmp_path / "other.h5")
        assert "\n" not in str(caught.value)
    (tmp_path / "short.h5").write_bytes((tmp_path / "cut.h5").read_bytes()[:3000])
    with pytest.raises(DataError, match="truncated"):
        Stamps.load(tmp_path / "short.h5")
