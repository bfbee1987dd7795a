"""Catalogues in three formats, with units, and regions of DS9."""

import numpy as np
import pandas as pd
import pytest

from oasis.errors import DataError
from oasis.io.catalogues import is_catalogue, is_our_catalogue, read_catalogue, write_catalogue
from oasis.io.ds9 import is_ours, write_circles

astropy = pytest.importorskip("astropy.table")

TABLE = pd.DataFrame(
    {"id": [1, 2], "ra": [150.0, 150.5], "flux": [1.5, np.nan], "flag": [True, False], "source": ["a.fits", "é"]}
)


@pytest.mark.parametrize("suffix", [".fits", ".ecsv", ".parquet"])
def test_a_catalogue_is_read_as_it_was_written(tmp_path, suffix):
    path = tmp_path / f"sky{suffix}"
    table = TABLE.assign(name=["back\\slash \\xe9", "星系\n2"])
    write_catalogue(table, path, {"flux": "nmgy", "ra": "deg"}, {"flux": "of the map"}, {"run": "x"})
    assert is_catalogue(path)
    assert is_our_catalogue(path)
    found = read_catalogue(path)
    assert list(found) == list(table)
    for name in table:
        expected = table[name].to_numpy()
        np.testing.assert_array_equal(found[name].to_numpy().astype(expected.dtype), expected)


@pytest.mark.parametrize("suffix", [".fits", ".ecsv", ".parquet"])
def test_columns_have_units(tmp_path, suffix):
    path = tmp_path / f"sky{suffix}"
    write_catalogue(TABLE[["id", "ra"]], path, {"ra": "deg"}, {"ra": "right ascension"}, {})
    one = astropy.Table.read(path) if suffix != ".parquet" else None
    if one is None:
        import pyarrow.parquet as pq

        assert pq.read_schema(path).field("ra").metadata[b"unit"] == b"deg"
    else:
        assert str(one["ra"].unit) == "deg"


def test_units_that_fits_does_not_have_are_written_all_the_same(tmp_path):
    write_catalogue(TABLE[["id", "flux"]], tmp_path / "a.fits", {"flux": "nmgy"}, {"flux": "of the map"}, {})
    header = pytest.importorskip("astropy.io.fits").getheader(tmp_path / "a.fits", 1)
    assert (header["TTYPE2"], header["TUNIT2"], header["TCOMM2"]) == ("flux", "nmgy", "of the map")
    assert "TUNIT1" not in header


def test_files_of_others_are_not_ours(tmp_path):
    for name in ("a.fits", "a.ecsv"):
        astropy.Table.from_pandas(TABLE[["id"]]).write(tmp_path / name)
        assert not is_our_catalogue(tmp_path / name)
    TABLE.to_parquet(tmp_path / "a.parquet")
    assert not is_our_catalogue(tmp_path / "a.parquet")


@pytest.mark.parametrize("suffix", [".fits", ".ecsv"])
def test_a_file_that_mentions_the_package_is_not_ours(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    one = astropy.Table({"oasis": [1], "oasis_id": [2]}, meta={"comments": ["made in /home/oasis", "oasis: '{}'"]})
    one["oasis"].description = "oasis: '{}'"
    one.write(path)
    assert not is_our_catalogue(path)
    write_catalogue(TABLE.assign(source=""), path, {}, {"id": "x" * 60}, {"run": "é' " * 300})
    assert is_our_catalogue(path)


def test_an_image_whose_history_mentions_the_package_is_not_ours(tmp_path):
    fits = pytest.importorskip("astropy.io.fits")
    header = fits.Header({"HISTORY": "made in /home/oasis", "OASIS": "catalogue"})
    fits.PrimaryHDU(np.ones((8, 8)), header).writeto(tmp_path / "a.fits")
    assert not is_our_catalogue(tmp_path / "a.fits")
    (tmp_path / "b.fits").write_bytes(b"SIMPLE  =")
    assert not is_our_catalogue(tmp_path / "b.fits")


def test_columns_that_are_neither_numbers_nor_texts_are_left_out(tmp_path):
    coordinates, time = pytest.importorskip("astropy.coordinates"), pytest.importorskip("astropy.time")
    sky = coordinates.SkyCoord([10.0], [20.0], unit="deg")
    astropy.Table({"id": [7], "sky": sky, "seen": time.Time(["2026-01-01"])}).write(tmp_path / "a.ecsv")
    assert read_catalogue(tmp_path / "a.ecsv").to_dict("list") == {"id": [7]}


def test_bytes_that_are_no_text_are_shown(tmp_path):
    astropy.Table({"name": [b"caf\xe9"], "id": [1]}).write(tmp_path / "a.fits")
    assert read_catalogue(tmp_path / "a.fits")["name"].tolist() == ["caf\\xe9"]


@pytest.mark.parametrize("suffix", [".fits", ".ecsv"])
@pytest.mark.parametrize(
    ("unit", "factor"), [("hourangle", 15), ("h", 15), ("rad", 180 / np.pi), ("arcsec", 1 / 3600)]
)
def test_positions_are_in_degrees_whatever_unit_is_stated(tmp_path, suffix, unit, factor):
    if (suffix, unit) == (".fits", "hourangle"):
        pytest.skip("FITS has no such unit")
    one = astropy.Table({"RA": [2.0, 3.0], "Dec": [1.0, 2.0], "size": [1.0, 1.0]}, masked=True)
    one["RA"].unit, one["Dec"].unit, one["size"].unit = unit, "deg", "rad"
    one["RA"].mask = [False, True]
    one.write(tmp_path / f"a{suffix}")
    found = read_catalogue(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(found["RA"], [2 * factor, np.nan])
    assert found["Dec"].tolist() == [1, 2]
    assert found["size"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("unit", "factor"), [("degrees", 1), ("Degree", 1), ("hours", 15), ("hourangle", 15), ("Radian", 180 / np.pi)]
)
def test_units_of_positions_are_known_as_surveys_spell_them(tmp_path, unit, factor):
    fits = pytest.importorskip("astropy.io.fits")
    columns = [fits.Column("RA", "D", unit, array=[2.0]), fits.Column("DEC", "D", "deg", array=[1.0])]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "a.fits")
    np.testing.assert_allclose(read_catalogue(tmp_path / "a.fits")["RA"], [2 * factor])


@pytest.mark.parametrize("unit", ["h:m:s", "nmgy", "''", "Jy"])
def test_positions_of_another_unit_are_refused_in_one_line(tmp_path, unit):
    fits = pytest.importorskip("astropy.io.fits")
    fits.BinTableHDU.from_columns([fits.Column("ra", "D", unit, array=[2.0])]).writeto(tmp_path / "a.fits")
    with pytest.raises(DataError, match=r"a\.fits: ra: unknown unit .*: write degrees"):
        read_catalogue(tmp_path / "a.fits")


@pytest.mark.parametrize("name", ["a.fits", "a.ecsv", "a.parquet"])
def test_damaged_catalogues_are_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"SIMPLE  = no table")
    with pytest.raises(DataError, match=rf"{name}: not a"):
        read_catalogue(tmp_path / name)


def test_circles_on_the_sky_and_in_pixels(tmp_path):
    places, radii = np.array([[150.0, 2.0]]), np.array([1.5])
    write_circles(tmp_path / "a.reg", places, radii, ["7"], on_sky=True)
    lines = (tmp_path / "a.reg").read_text().splitlines()
    assert lines[1:] == ["fk5", 'circle(150.0000000,2.0000000,1.500") # text={7}']
    assert is_ours(tmp_path / "a.reg")
    write_circles(tmp_path / "b.reg", np.array([[10.0, 20.0]]), radii, ["7"], on_sky=False)
    assert "circle(21.0000000,11.0000000,1.500)" in (tmp_path / "b.reg").read_text()


def test_positions_of_a_parquet_table_of_astropy_are_converted_from_the_unit_it_states(tmp_path):
    tables, units = pytest.importorskip("astropy.table"), pytest.importorskip("astropy.units")
    columns = {"ra": [10.0] * units.hourangle, "dec": [7200.0] * units.arcsec, "name": ["a"]}
    tables.Table(columns).write(tmp_path / "a.parquet")
    found = read_catalogue(tmp_path / "a.parquet")
    assert found["name"].tolist() == ["a"]
    assert found[["ra", "dec"]].to_numpy()[0] == pytest.approx([150, 2])
