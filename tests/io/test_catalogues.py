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
    table = TABLE if suffix != ".fits" else TABLE.assign(source=["a.fits", "b"])
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


def test_files_of_others_are_not_ours(tmp_path):
    for name in ("a.fits", "a.ecsv"):
        astropy.Table.from_pandas(TABLE[["id"]]).write(tmp_path / name)
        assert not is_our_catalogue(tmp_path / name)
    TABLE.to_parquet(tmp_path / "a.parquet")
    assert not is_our_catalogue(tmp_path / "a.parquet")


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
