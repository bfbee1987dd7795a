"""Catalogues of images without detections, of given positions, and of files that cannot be written."""

import sys

import numpy as np
import pandas as pd
import pytest

from oasis.cli import run as command
from oasis.errors import MissingExtraError
from oasis.io.catalogues import check_writable, read_catalogue
from oasis.zoo.folders import copy_model

fits = pytest.importorskip("astropy.io.fits")

SIZE, SHARP = 70, 0.262


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return copy_model("galaxy", tmp_path_factory.mktemp("zoo") / "run")


def write_sky(path, light=0.0, on_sky=True):
    """Noise, with a galaxy in the middle if there is light."""
    path.parent.mkdir(exist_ok=True)
    rows, columns = np.indices((SIZE, SIZE)) - SIZE // 2
    image = np.random.default_rng(0).normal(0, 0.01, (3, SIZE, SIZE))
    image += light * np.exp(-(rows**2 + columns**2) / (2 * 3.0**2)) / 56
    cards = {"BANDS": "grz", "BUNIT": "nanomaggy"}
    if on_sky:
        cards |= {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0}
        cards |= {"CD1_1": -SHARP / 3600, "CD2_2": SHARP / 3600}
    else:
        cards["PIXSCALE"] = SHARP
    fits.PrimaryHDU(image.astype(np.float32), fits.Header(cards)).writeto(path)
    return path


def listed(run, source, out, *more):
    settings = ["--set", "data.library.simulated=60", "--set", f"data.reading.pixel_scale={SHARP}"]
    return command(["predict", str(run), str(source), "--out", str(out), *settings, *more])


@pytest.mark.parametrize("suffix", ["fits", "ecsv", "parquet"])
def test_a_sky_without_detections_is_a_table_without_rows(run, tmp_path, suffix):
    full, empty = tmp_path / f"full.{suffix}", tmp_path / f"empty.{suffix}"
    assert listed(run, write_sky(tmp_path / "a.fits", light=20.0), full, "--detect", "sep") == 0
    assert listed(run, write_sky(tmp_path / "b.fits"), empty, "--detect", "sep", "--cutouts") == 0
    assert len(read_catalogue(full)) == 1
    assert len(read_catalogue(empty)) == 0
    kinds = [[kind.kind for kind in read_catalogue(path).dtypes] for path in (empty, full)]
    assert kinds[0] == kinds[1]
    assert list(read_catalogue(empty)) == list(read_catalogue(full))
    assert "circle" not in empty.with_suffix(".reg").read_text()


def test_names_in_any_script_come_back(run, tmp_path):
    sky, given = write_sky(tmp_path / "é.fits", light=20.0), tmp_path / "given.csv"
    given.write_text("name,y,x\n星系,35,35\n", encoding="utf-8")
    assert listed(run, sky, tmp_path / "out.fits", "--detect", str(given), "--cutouts") == 0
    table = read_catalogue(tmp_path / "out.fits")
    assert table[["source", "name"]].to_numpy().tolist() == [["é.fits", "星系"]]
    assert listed(run, sky, tmp_path / "again.fits", "--detect", str(tmp_path / "out.fits")) == 0
    for path in (tmp_path / "out.fits", tmp_path / "out_cutouts.fits"):
        with fits.open(path) as units:
            units.verify("exception")
            assert units[1].header.get("SOURCE", "\\xe9.fits") == "\\xe9.fits"


def test_nothing_is_replaced_before_everything_is_ready(run, tmp_path, monkeypatch):
    out = tmp_path / "sky.fits"
    sky = write_sky(tmp_path / "a.fits", light=20.0)
    assert listed(run, sky, out, "--detect", "sep", "--cutouts") == 0
    files = [out, out.with_suffix(".reg"), tmp_path / "sky_cutouts.fits"]
    before = [path.read_bytes() for path in files]

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("oasis.inference.catalogue.predict.write_circles", fail)
    assert listed(run, write_sky(tmp_path / "b.fits"), out, "--detect", "sep", "--cutouts") == 2
    assert [path.read_bytes() for path in files] == before
    assert not list(tmp_path.glob(".*.part"))


def test_given_positions_keep_their_rows_and_the_others_are_counted(run, tmp_path, caplog):
    sky, given = write_sky(tmp_path / "a.fits", light=20.0), tmp_path / "given.csv"
    given.write_text("name,y,x\na,35,35\nb,35,35\nfar,900,10\nc,35,35\nempty,10,10\n")
    assert listed(run, sky, tmp_path / "out.parquet", "--detect", str(given)) == 0
    table = pd.read_parquet(tmp_path / "out.parquet").set_index("name")
    assert list(table.index) == ["a", "b", "c", "empty"]
    assert table.loc["a", "flux_r"] == table.loc["b", "flux_r"] == table.loc["c", "flux_r"]
    assert 10 < table.loc["a", "flux_r"] < 30
    assert "1 of 5 positions are left out: outside of the image" in caplog.text
    assert "2 of 4 positions show the object of another one" in caplog.text


def test_positions_of_other_files_are_refused(run, tmp_path, capsys):
    sky = write_sky(tmp_path / "a" / "a.fits", light=20.0)
    assert listed(run, sky, tmp_path / "first.fits", "--detect", "sep") == 0
    other = write_sky(tmp_path / "b" / "b.fits", light=20.0)
    capsys.readouterr()
    assert listed(run, other.parent, tmp_path / "second.fits", "--detect", str(tmp_path / "first.fits")) == 2
    assert "all its rows are for other files" in capsys.readouterr().err
    assert not (tmp_path / "second.fits").exists()


def test_images_without_a_place_on_the_sky_have_no_circles(run, tmp_path):
    folder = tmp_path / "sky"
    write_sky(folder / "a.fits", light=20.0)
    write_sky(folder / "b.fits", light=20.0, on_sky=False)
    out = tmp_path / "deep" / "er" / "out.ecsv"  # a folder that does not exist
    assert listed(run, folder, out, "--detect", "centre") == 0
    assert read_catalogue(out)["ra"].isna().tolist() == [False, True]
    text = out.with_suffix(".reg").read_text()
    assert text.count("circle(") == 1
    assert "nan" not in text


def test_a_folder_that_cannot_be_made_is_named_before_reading(run, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "sub" / "y.fits"
    assert listed(run, write_sky(tmp_path / "a.fits"), out, "--detect", "sep") == 2
    assert f"{out}: cannot be written" in capsys.readouterr().err


def test_a_missing_astropy_is_told_first(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "astropy.table", None)
    for name in ("a.fits", "a.ecsv"):
        with pytest.raises(MissingExtraError, match=r"oasis-seg\[fits\]"):
            check_writable(tmp_path / name)
    check_writable(tmp_path / "a.parquet")
