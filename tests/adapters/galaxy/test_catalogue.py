"""Galaxy Zoo catalogues: both spellings, CSV and Parquet, selection, pixel scales, images that are missing."""

import numpy as np
import pandas as pd
import pytest

from oasis.adapters.galaxy.catalogue import (
    Selection,
    find_images,
    pixel_scales,
    read_catalogue,
    why_not,
    with_votes,
)
from oasis.errors import ConfigError, DataError

NAMES = ["J112953.88-000427.4", "J104325.29+190335.0", "J104629.54+115415.1", "J082950.68+125621.8"]


def table(**columns):
    """Return a catalogue as published, with the columns that are read and some that are not."""
    return pd.DataFrame(
        {
            "iauname": NAMES,
            "ra": [172.47, 160.85, 161.62, 127.46],
            "dec": [-0.07, 19.06, 11.90, 12.94],
            "redshift": [0.03, 0.02, np.nan, 0.1],
            "elpetro_absmag_r": [-19.0, -20.0, -21.0, -22.0],
            "sersic_nmgy_r": [1000.0, 100.0, 10.0, np.nan],
            "petro_th50": [5.0, 2.0, 10.0, 4.0],
            "petro_th90": [12.0, 6.0, 15.0, np.nan],
            "smooth-or-featured_total": [40, 40, 40, 40],
            "merging_none": [36, 2, 30, 0],
            "merging_none_fraction": [0.9, 0.05, 0.75, np.nan],
            "merging_merger": [0, 30, 2, 0],
            "merging_total-votes": [40, 40, 40, 0],
            "wrong_size_statistic": [100.0, 110.0, 170.0, 90.0],
            "wrong_size_warning": [False, False, True, False],
            **columns,
        }
    )


def write(path, frame):
    frame.to_parquet(path) if path.suffix == ".parquet" else frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", ["catalogue.csv", "catalogue.parquet"])
def test_csv_and_parquet_are_read_alike(tmp_path, name):
    read = read_catalogue(write(tmp_path / name, table()))
    assert read.index.tolist() == NAMES
    assert "smooth-or-featured_total" not in read
    np.testing.assert_allclose(read["mag_r"], [15.0, 17.5, 20.0, np.nan])
    assert read["merging_total"].tolist() == [40, 40, 40, 0]


@pytest.mark.parametrize(
    "spelled",
    [
        {},
        {"merging_total-votes": "merging_total"},
        {"merging_none_fraction": "unused"},
        {"merging_none_fraction": "unused", "merging_total-votes": "merging_total"},
        {"merging_none": "merging-dr5_none", "merging_none_fraction": "merging-dr5_none_fraction"},
        {
            "merging_none": "merging-dr12_neither",
            "merging_none_fraction": "x",
            "merging_total-votes": "merging-dr12_total-votes",
        },
        {"iauname": "id_str"},
    ],
)
def test_isolated_galaxies_are_the_same_in_every_spelling(tmp_path, spelled):
    read = read_catalogue(write(tmp_path / "catalogue.csv", table().rename(columns=spelled)))
    reasons = why_not(read)
    assert reasons[NAMES[0]] == ""
    assert "0.05 below 0.80" in reasons[NAMES[1]]
    assert reasons[NAMES[2]] == "wrong_size_warning"
    assert "nan below" in reasons[NAMES[3]]


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        ({}, [0]),
        ({"fraction": 0.0}, [0, 1]),
        ({"kind": "merging"}, [1]),
        ({"kind": "all"}, [0, 1, 3]),
        ({"kind": "all", "magnitudes": (16, 21)}, [1]),
        ({"kind": "all", "votes": 10}, [0, 1]),
        ({"votes": 41}, []),
    ],
)
def test_a_selection_takes_what_it_says(tmp_path, selection, taken):
    reasons = why_not(read_catalogue(write(tmp_path / "c.csv", table())), Selection.parse(selection))
    assert [NAMES.index(name) for name in reasons.index[reasons == ""]] == taken


@pytest.mark.parametrize(
    "warning", [["False", "False", "True", "False"], [0, 0, 1, 0], [np.nan, None, True, False]]
)
def test_wrong_sizes_are_known_however_they_are_written(tmp_path, warning):
    read = read_catalogue(write(tmp_path / "c.csv", table(wrong_size_warning=warning)))
    reasons = why_not(read, Selection(kind="all"))
    assert reasons.index[reasons == "wrong_size_warning"].tolist() == [NAMES[2]]


def test_a_catalogue_without_what_a_selection_needs_is_refused(tmp_path):
    read = read_catalogue(
        write(tmp_path / "c.csv", table().drop(columns=["merging_none_fraction", "merging_none"]))
    )
    with pytest.raises(DataError, match="no column merging_none_fraction; found ra"):
        why_not(read)
    assert (why_not(read, Selection(kind="all")) == "").sum() == 3
    with pytest.raises(DataError, match="no column petro_th50"):
        pixel_scales(read.drop(columns="petro_th50"))
    with pytest.raises(ConfigError, match="did you mean 'kind'"):
        Selection.parse({"kin": "all"})


def test_pixel_scales_follow_equation_1(tmp_path):
    scales = pixel_scales(read_catalogue(write(tmp_path / "c.csv", table())))
    assert scales == pytest.approx({NAMES[0]: 0.2, NAMES[1]: 0.1, NAMES[2]: 0.3})


def test_images_are_found_and_the_missing_are_listed(tmp_path):
    for number, name in enumerate(NAMES[:3:2]):
        folder = tmp_path / f"gz_decals_dr5_png_part{number + 1}" / name[:4]
        folder.mkdir(parents=True)
        (folder / f"{name}.png").touch()
    (tmp_path / "J000000.00-000000.0.png").touch()
    paths, missing = find_images(read_catalogue(write(tmp_path / "c.csv", table())), tmp_path)
    assert {name: path.parent.name for name, path in paths.items()} == {NAMES[0]: "J112", NAMES[2]: "J104"}
    assert missing == [NAMES[1], NAMES[3]]


def test_what_is_not_a_number_is_not_known(tmp_path):
    read = read_catalogue(write(tmp_path / "c.csv", table(merging_none_fraction=[0.9, 0.95, 0.99, "0.9x"])))
    assert (why_not(read) == "").tolist() == [True, True, False, False]


def test_repeated_names_are_read_once(tmp_path):
    read = read_catalogue(write(tmp_path / "c.csv", pd.concat([table(), table().iloc[:2]])))
    assert read.index.tolist() == NAMES


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("c.csv", b"", "not a readable catalogue"),
        ("c.csv", b"\xff\xfe\x00\x01\x02", "not a readable catalogue"),
        ("c.csv", b"ra,dec\n1,2\n", "a column iauname or id_str"),
        ("c.parquet", b"PAR1 no more", "not a readable catalogue"),
    ],
)
def test_what_is_no_catalogue_is_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_catalogue(tmp_path / name)


def test_a_missing_catalogue_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.csv: no such file"):
        read_catalogue(tmp_path / "absent.csv")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_votes_are_joined_to_the_nearest_galaxy_on_the_sky(tmp_path, suffix):
    """Also across 0 h, near a pole, and without a position."""
    zoo = pd.DataFrame(
        {
            "iauname": ["J0", "J1", "J2"],
            "ra": [359.9999, 10.0, 100.0],
            "dec": [0.0, 89.9999, -30.0],
            "smooth-or-featured_smooth_fraction": [0.1, 0.2, 0.3],
            "mag_r": [16.0, 17.0, 18.0],
            "other": ["a", "b", "c"],
        }
    )
    path = tmp_path / f"zoo{suffix}"
    zoo.to_csv(path, index=False) if suffix == ".csv" else zoo.to_parquet(path)
    table = pd.DataFrame(
        {"ra": [0.0001, 190.0, 100.0, np.nan, 100.001], "dec": [0.0, 89.9999, -30.0, 0, -30.0], "mag_r": 20.0}
    )
    found = with_votes(table, path)
    assert found["galaxy_zoo"].tolist() == ["J0", "J1", "J2", "", ""]
    np.testing.assert_allclose(found["galaxy_zoo_distance"][:3], [0.72, 0.72, 0], atol=1e-6)
    assert found["smooth-or-featured_smooth_fraction"].tolist()[:3] == [0.1, 0.2, 0.3]
    assert found["smooth-or-featured_smooth_fraction"][3:].isna().all()
    assert (found["mag_r"] == 20).all()
    assert found["galaxy_zoo_mag_r"].tolist()[:3] == [16, 17, 18]
    assert "other" not in found
    with pytest.raises(DataError, match="ra is missing"):
        with_votes(table.drop(columns="ra"), path)
