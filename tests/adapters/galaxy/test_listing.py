"""From an image of the sky to a catalogue, by the small model of the package, against the truth."""

import shutil

import numpy as np
import pandas as pd
import pytest
from brick_files import write_brick
from scipy.spatial import cKDTree

from oasis.adapters.galaxy import GalaxyAdapter
from oasis.adapters.galaxy.field import simulate_field
from oasis.adapters.galaxy.measuring import Training, catalogue_columns
from oasis.adapters.sources import Sources
from oasis.cli import run as command
from oasis.errors import ConfigError, DataError
from oasis.evaluation.calibration import BandCalibration, CalibrationOptions
from oasis.evaluation.identity import identified
from oasis.inference.catalogue import windows
from oasis.inference.options import WindowOptions
from oasis.io.catalogues import read_catalogue
from oasis.run import Run
from oasis.zoo.folders import copy_model

fits, wcs = pytest.importorskip("astropy.io.fits"), pytest.importorskip("astropy.wcs")

SIZE, COUNT, SHARP = 260, 14, 0.262
SMALLER = "data.library.simulated=60"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return copy_model("galaxy", tmp_path_factory.mktemp("zoo") / "run")


@pytest.fixture(scope="module")
def field(run):
    return simulate_field(Run(run, [SMALLER]).adapter.scene("test"), SIZE, COUNT, close=0.0, seed=3)


@pytest.fixture(scope="module")
def brick(field, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sky") / "brick"
    planes = {("image", band): field.image[at] for at, band in enumerate("grz")}
    planes |= {("invvar", band): 1 / field.variance[at] for at, band in enumerate("grz")}
    planes |= {
        ("psfsize", band): np.full((SIZE, SIZE), width, np.float32)
        for band, width in zip("grz", (1.29, 1.18, 1.11), strict=True)
    }
    bits = np.zeros((SIZE, SIZE), np.int32)
    at = field.truth[["row", "col"]].round().astype(int).to_numpy()[0]
    bits[tuple(at)] = 1 << 3
    write_brick(folder, planes | {("maskbits", ""): bits})
    return folder


@pytest.fixture(scope="module")
def listed(run, brick, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "sky.fits"
    found = Run(run, [SMALLER]).catalogue(brick, out, WindowOptions(detect="sep"), cutouts=True)
    return out, found


def test_galaxies_are_found_where_they_are_with_their_flux(field, listed):
    _, found = listed
    distance, nearest = cKDTree(found.table[["y", "x"]]).query(field.truth[["row", "col"]])
    near = distance < 3
    assert near.mean() >= 0.8
    ratio = found.table["flux_r"].to_numpy()[nearest[near]] / field.truth["flux_r"].to_numpy()[near]
    assert 0.8 < np.median(ratio) < 1.1
    assert len(found.table) <= COUNT + 2
    isolated = field.truth["blendedness"].to_numpy()[near] < 0.05
    assert (found.table["blendedness"].to_numpy()[nearest[near]][isolated] < 0.25).all()


def test_what_a_catalogue_states(listed, brick):
    out, found = listed
    table = read_catalogue(out)
    pd.testing.assert_frame_equal(table[["id", "flux_r"]], found.table[["id", "flux_r"]], check_dtype=False)
    assert table["id"].tolist() == list(range(1, len(table) + 1))
    magnitude = 22.5 - 2.5 * np.log10(table["flux_g"])
    np.testing.assert_allclose(table["magnitude_g"], magnitude)
    np.testing.assert_allclose(table["colour_g_r"], table["magnitude_g"] - table["magnitude_r"])
    header = fits.getheader(next(brick.glob("*image-r*")), 1)
    ra, dec = wcs.WCS(header).pixel_to_world_values(table["x"], table["y"])
    np.testing.assert_allclose(table[["ra", "dec"]], np.stack([ra, dec], axis=1))
    assert not table["flag_psf"].any()
    assert not table["flag_noise"].any()
    edge = np.minimum(table[["y", "x"]], SIZE - 1 - table[["y", "x"]]).min(axis=1)
    assert table["flag_edge"][edge < 25].all()
    assert not table["flag_edge"][edge > 40].any()


def test_saturated_pixels_flag_the_galaxy_that_has_them(field, listed):
    _, found = listed
    at = field.truth[["row", "col"]].to_numpy()[0]
    flagged = found.table[found.table["flag_saturated"]]
    assert len(flagged) >= 1
    assert np.hypot(*(flagged[["y", "x"]].to_numpy() - at).T).min() < 4
    far = found.table[np.hypot(*(found.table[["y", "x"]].to_numpy() - at).T) > 40]
    assert not far["flag_saturated"].any()
    assert (far["masked_fraction"] == 0).all()


def test_cutouts_are_the_maps_with_their_place_on_the_sky(field, listed):
    out, found = listed
    with fits.open(out.with_name("sky_cutouts.fits")) as units:
        assert len(units) == len(found.table) + 1
        for row in found.table.iloc[:5].itertuples():
            unit = units[f"SOURCE_{row.id}"]
            assert unit.data.shape == (3, 64, 64)
            np.testing.assert_allclose(unit.data.sum(axis=(1, 2)), [row.flux_g, row.flux_r, row.flux_z], rtol=1e-4)
            column, line = wcs.WCS(unit.header, naxis=2).world_to_pixel_values(row.ra, row.dec)
            place = line + unit.header["ROW0"], column + unit.header["COLUMN0"]
            assert place == pytest.approx((row.y, row.x), abs=1e-3)
    assert out.with_suffix(".reg").read_text().count("circle(") == len(found.table)


def test_given_positions_are_separated_where_they_are(run, brick, field, tmp_path):
    header = fits.getheader(next(brick.glob("*image-r*")), 1)
    ra, dec = wcs.WCS(header).pixel_to_world_values(field.truth["col"], field.truth["row"])
    names = [f"galaxy {number}" for number in range(COUNT)]
    from astropy.table import Table

    Table({"NAME": names, "RA": ra, "DEC": dec, "SHAPE": np.zeros((COUNT, 2))}).write(tmp_path / "given.fits")
    setup = Run(run, [SMALLER])
    found = setup.catalogue(brick, tmp_path / "out.parquet", WindowOptions(detect=str(tmp_path / "given.fits")))
    assert set(found.table["name"]) <= set(names)
    assert len(found.table) >= COUNT - 1
    places = field.truth.set_index(pd.Index(names)).loc[found.table["name"], ["row", "col"]].to_numpy()
    assert np.median(np.hypot(*(found.table[["y", "x"]].to_numpy() - places).T)) < 2


def test_cutouts_of_several_sizes_are_listed_together(run, tmp_path):
    """One galaxy in the middle of each, on 64, 80 and 51 x 60 pixels, which is less than a window."""
    scene = Run(run, [SMALLER]).adapter.scene("test")
    folder, flux = tmp_path / "cutouts", []
    folder.mkdir()
    for number, (height, width) in enumerate(((64, 64), (80, 80), (51, 60))):
        rng = np.random.default_rng(number)
        stamp = scene.stamps.flux[scene.indices[number]]
        image = rng.normal(0, 1, (3, height, width)) * scene.sky[:, None, None]
        side = min(height, width, 64)
        image[:, height // 2 - side // 2 :, width // 2 - side // 2 :][:, :side, :side] += stamp[
            :, 32 - side // 2 :, 32 - side // 2 :
        ][:, :side, :side]
        flux.append(stamp[1].sum())
        header = fits.Header({"BANDS": "grz", "BUNIT": "nanomaggy", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
        header.update({"CD1_1": -SHARP / 3600, "CD2_2": SHARP / 3600, "CRVAL1": 10.0 + number})
        fits.PrimaryHDU(image.astype(np.float32), header).writeto(folder / f"{number}.fits")
    found = Run(run, [SMALLER]).catalogue(folder, tmp_path / "sky.ecsv", WindowOptions(detect="centre"))
    assert found.table["source"].tolist() == ["0.fits", "1.fits", "2.fits"]
    np.testing.assert_allclose(found.table["flux_r"] / flux, 1, atol=0.3)
    assert found.table["flag_edge"].tolist() == [False, False, True]


def test_the_command(run, brick, tmp_path, capsys):
    out = tmp_path / "sky.fits"
    arguments = ["predict", str(run), str(brick), "--detect", "sep", "--out", str(out), "--set", SMALLER]
    assert command(arguments) == 0
    assert "objects in 1 image" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sky.fits", "sky.reg"]
    assert command(arguments) == 0  # replaces its own
    out.write_text("mine")
    assert command(arguments) == 2
    assert "exists and is not an earlier output" in capsys.readouterr().err
    assert command([*arguments[:4], "nothing", *arguments[5:], "--force"]) == 2
    assert "neither a detector of this adapter (sep, centre) nor a file" in capsys.readouterr().err
    assert command([*arguments, "--spread", "--force"]) == 2
    assert command([*arguments[:-3], str(tmp_path / "a.h5"), *arguments[-2:], "--cutouts"]) == 2


def test_positions_outside_are_refused(run, brick, tmp_path):
    (tmp_path / "far.csv").write_text("ra,dec\n10,10\n")
    with pytest.raises(DataError, match="none of 1 positions is in this image"):
        Run(run, [SMALLER]).catalogue(brick, tmp_path / "a.fits", WindowOptions(detect=str(tmp_path / "far.csv")))


def test_a_domain_without_single_objects_is_refused(toy_run, tmp_path):
    np.save(tmp_path / "a.npy", np.ones((30, 30), np.float32))
    with pytest.raises(ConfigError, match="this domain has no class"):
        Run(toy_run, trust_code=True).catalogue(tmp_path / "a.npy", tmp_path / "a.fits")


TRAINING = Training(
    ("g", "r"), 0.25, np.array([0.01, 0.02]), np.array([1.3, 1.2]), np.full(2, np.inf), (18.0, 22.0)
)


def sources(flux, noise=(0.01, 0.02), facts=(), deviation=None, rest=0.0):
    """Round galaxies of a flux in both bands, in windows of 41 pixels."""
    rows, columns = np.mgrid[:41, :41] - 20
    shape = np.exp(-(rows**2 + columns**2) / (2 * 3.0**2))
    shape /= shape.sum()
    maps = np.asarray(flux, np.float32)[:, None, None, None] * np.stack([shape, shape]).astype(np.float32)[None]
    good = np.ones((len(maps), 1, 41, 41), bool)
    places = np.full((len(maps), 2), 100.0)
    found = None if deviation is None else np.full(maps.shape, deviation, np.float32)
    return Sources(
        maps,
        rest * maps,
        maps,
        good,
        good,
        {},
        found,
        places,
        places.astype(int) - 20,
        dict(facts),
        np.array(noise),
    )


def test_the_error_is_that_of_a_fit_of_the_profile():
    """Against fits of the profile to 4,000 images of noise, and against sigma sqrt(4 pi s^2) of a Gaussian."""
    found = catalogue_columns(sources([5.0]), TRAINING)
    error = found["flux_g_error"].values[0]
    assert error == pytest.approx(0.01 * np.sqrt(4 * np.pi * 3.0**2), rel=1e-3)
    profile = sources([1.0]).maps[0, 0].ravel()
    noise = np.random.default_rng(0).normal(0, 0.01, (4000, profile.size))
    assert np.std(noise @ profile / (profile @ profile)) == pytest.approx(error, rel=0.05)
    stated = catalogue_columns(sources([5.0], deviation=0.03), TRAINING)["flux_g_error"].values[0]
    assert stated == pytest.approx(3 * error)
    assert found["magnitude_g_error"].values[0] == pytest.approx(2.5 / np.log(10) * error / 5, rel=1e-4)


def test_flags_compare_with_training():
    plain = catalogue_columns(sources([5.0, 100.0, 0.0]), TRAINING)
    assert plain["flag_range"].values.tolist() == [False, True, True]
    assert not plain["flag_psf"].values.any()
    assert not plain["flag_noise"].values.any()
    assert np.isnan(plain["magnitude_r"].values[2])
    wide = catalogue_columns(sources([5.0], facts={"psf_fwhm_g": 1.3, "psf_fwhm_r": 1.5}.items()), TRAINING)
    assert wide["flag_psf"].values.all()
    assert catalogue_columns(sources([5.0], noise=(0.01, 0.04)), TRAINING)["flag_noise"].values.all()


def test_blendedness_is_that_of_maps_that_are_the_same():
    found = catalogue_columns(sources([5.0], rest=1.0), TRAINING)["blendedness"].values[0]
    assert found == pytest.approx(0.5)
    assert catalogue_columns(sources([5.0]), TRAINING)["blendedness"].values[0] == pytest.approx(0, abs=1e-6)


def test_a_field_is_the_sum_of_its_galaxies_and_noise(field):
    scene_noise = np.sqrt(field.variance)
    far = scene_noise[1] < np.median(scene_noise[1]) * 1.01
    assert field.image[1][far].std() == pytest.approx(np.median(scene_noise[1]), rel=0.05)
    inside = field.truth[(field.truth["row"].between(40, SIZE - 41)) & (field.truth["col"].between(40, SIZE - 41))]
    for row in inside.itertuples():
        window = slice(round(row.row) - 2, round(row.row) + 3), slice(round(row.col) - 2, round(row.col) + 3)
        assert field.image[1][window].sum() > 0.05 * row.flux_r
    assert field.truth["blendedness"].between(-1e-6, 1).all()
    with pytest.raises(ConfigError, match="expected at least one"):
        simulate_field(None, 10, 0)


@pytest.mark.parametrize("whole", [True, False])
def test_a_brick_in_blocks_has_the_same_catalogue(run, brick, listed, tmp_path, monkeypatch, whole):
    """Blocks of 65 pixels, read one by one from the file, or cut from an image that was read as a whole."""
    read = []

    def of_block(self, path, cutout, known, plain=GalaxyAdapter._of_block):
        read.append(cutout.flux.shape[1:])
        return plain(self, path, cutout, known)

    monkeypatch.setattr(windows, "LONGEST", 70)
    monkeypatch.setattr(GalaxyAdapter, "_of_block", of_block)
    if whole:
        monkeypatch.setattr(GalaxyAdapter, "blocks", lambda self, path: None)
    out = tmp_path / "sky.fits"
    found = Run(run, [SMALLER]).catalogue(brick, out, WindowOptions(detect="sep"), cutouts=True).table
    assert len(read) == (0 if whole else 16)
    _, expected = listed
    by_place = ["y", "x"]
    one, other = (table.sort_values(by_place).reset_index(drop=True) for table in (found, expected.table))
    columns = [name for name in other if name != "id"]
    pd.testing.assert_frame_equal(one[columns], other[columns], rtol=1e-3, atol=1e-4)
    with fits.open(out.with_name("sky_cutouts.fits")) as units:
        for row in found.iloc[:5].itertuples():
            column, line = wcs.WCS(units[f"SOURCE_{row.id}"].header, naxis=2).world_to_pixel_values(
                row.ra, row.dec
            )
            header = units[f"SOURCE_{row.id}"].header
            assert (line + header["ROW0"], column + header["COLUMN0"]) == pytest.approx((row.y, row.x), abs=1e-3)


def test_given_positions_in_blocks(run, brick, field, tmp_path, monkeypatch):
    truth = field.truth[["row", "col"]].rename(columns={"row": "y", "col": "x"})
    truth.assign(name=[f"n{number}" for number in range(COUNT)]).to_csv(tmp_path / "given.csv", index=False)
    window = WindowOptions(detect=str(tmp_path / "given.csv"))
    plain = Run(run, [SMALLER]).catalogue(brick, tmp_path / "a.fits", window).table
    monkeypatch.setattr(windows, "LONGEST", 90)
    found = Run(run, [SMALLER]).catalogue(brick, tmp_path / "b.fits", window).table
    assert sorted(found["name"]) == sorted(plain["name"])
    one, other = (table.set_index("name").sort_index()["flux_r"] for table in (found, plain))
    np.testing.assert_allclose(one, other, rtol=1e-3)


def test_an_image_in_blocks_is_doubted_once(run, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(windows, "LONGEST", 70)
    noise = np.random.default_rng(0).normal(1, 0.003, (150, 150)).astype(np.float32)
    first = next(iter(write_brick(tmp_path / "brick", {("image", band): noise for band in "grz"}).values()))
    Run(run, [SMALLER]).catalogue(first, tmp_path / "a.ecsv", WindowOptions(detect="sep"))
    said = [one.getMessage() for one in caplog.records if "subtract the level of the sky" in one.getMessage()]
    assert len(said) == 1


def test_too_much_that_is_missing_is_refused_over_all_blocks(run, tmp_path, monkeypatch):
    monkeypatch.setattr(windows, "LONGEST", 70)
    image = np.random.default_rng(0).normal(0, 0.01, (150, 150)).astype(np.float32)
    planes = {("image", band): image for band in "grz"}
    image[:, :29] = 0  # less than a fifth of the image, and all of some parts
    write_brick(tmp_path / "few", planes)
    found = Run(run, [SMALLER]).catalogue(tmp_path / "few", tmp_path / "a.fits", WindowOptions(detect="sep"))
    assert found.images == 1
    image[:, :32] = 0
    write_brick(tmp_path / "many", planes)
    with pytest.raises(DataError, match=r"band g is missing \(0 or NaN\) in 21% of the pixels"):
        Run(run, [SMALLER]).catalogue(tmp_path / "many", tmp_path / "b.fits", WindowOptions(detect="sep"))


def test_calibrated_fluxes_are_columns_of_the_catalogue(run, brick, tmp_path):
    """A calibration that knows that fluxes are a tenth too low, and scattered by 5 %."""
    rng, setup = np.random.default_rng(0), Run(run, [SMALLER])
    true = rng.uniform(0.1, 500, 4000)
    table = pd.DataFrame({"class": "target", "blendedness_predicted": rng.uniform(0, 0.9, 4000)})
    for band in "grz":
        table[f"flux_{band}_true"], table[f"flux_{band}_predicted"] = true, true * rng.normal(0.9, 0.045, 4000)
    identity = setup.separator().options.identity["configuration"]
    options = CalibrationOptions(absent=False, strata="blendedness_predicted", edges=(0.05, 0.2, 0.5))
    folder = shutil.copytree(run, tmp_path / "run")
    calibration = BandCalibration.fit(identified(table, identity, "nmgy"), ["target"], "grz", options)
    calibration.save(folder / "calibration_fluxes.json")
    found = Run(folder, [SMALLER]).catalogue(brick, tmp_path / "sky.fits", WindowOptions(detect="sep")).table
    bright = found[found["flux_r"] > 5]
    np.testing.assert_allclose(bright["flux_r_calibrated"] / bright["flux_r"], 1 / 0.9, rtol=0.08)
    assert (found["flux_g_low"] < found["flux_g_calibrated"]).all()
    assert (found["flux_g_calibrated"] < found["flux_g_high"]).all()
    header = fits.getheader(tmp_path / "sky.fits", 1)
    units = {header[f"TTYPE{n}"]: header.get(f"TUNIT{n}") for n in range(1, header["TFIELDS"] + 1)}
    assert units["flux_z_low"] == units["flux_z"]
    assert units["flux_z"]
    assert Run(run, [SMALLER]).flux_calibration is None
