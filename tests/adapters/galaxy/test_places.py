"""Places of pixels on the sky against astropy, in any coordinates, also of images that are resampled."""

import numpy as np
import pytest

from oasis.adapters.galaxy import GalaxyAdapter
from oasis.errors import DataError

fits, wcs = pytest.importorskip("astropy.io.fits"), pytest.importorskip("astropy.wcs")
coordinates, units = pytest.importorskip("astropy.coordinates"), pytest.importorskip("astropy.units")

SIZE = (48, 64)
STEP = 0.262 / 3600
SYSTEMS = {
    "rotated": {"CD1_1": -0.6 * STEP, "CD1_2": 0.8 * STEP, "CD2_1": 0.8 * STEP, "CD2_2": 0.6 * STEP},
    "east right": {"CD1_1": STEP},
    "declination first": {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 2.0, "CRVAL2": 150.0},
    "galactic": {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "CRVAL1": 120.0, "CRVAL2": 40.0},
    "ecliptic": {"CTYPE1": "ELON-TAN", "CTYPE2": "ELAT-TAN", "CRVAL1": 120.0, "CRVAL2": 40.0},
    "B1950": {"RADESYS": "FK4", "EQUINOX": 1950.0},
    "J1975": {"RADESYS": "FK5", "EQUINOX": 1975.0},
    "SIP": {
        "CTYPE1": "RA---TAN-SIP",
        "CTYPE2": "DEC--TAN-SIP",
        "A_ORDER": 2,
        "A_2_0": 5e-4,
        "A_0_2": 1e-4,
        "B_ORDER": 3,
        "B_1_1": 3e-4,
        "B_0_3": 1e-5,
    },
    "TPV": {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_1": 1.0, "PV1_4": 50.0, "PV2_1": 1.0, "PV2_4": 30.0},
}


def written(path, scale, changes):
    step = scale / 0.262
    header = {
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CRVAL1": 150.0,
        "CRVAL2": 2.0,
        "CRPIX1": 20.0,
        "CRPIX2": 30.0,
        "CD1_1": -STEP,
        "CD2_2": STEP,
        "BUNIT": "nanomaggy",
        "BANDS": "grz",
        **changes,
    }
    header |= {key: value * step for key, value in header.items() if key.startswith("CD") and "_" in key}
    values = np.random.default_rng(0).normal(1, 0.1, (3, *SIZE)).astype(np.float32)
    fits.PrimaryHDU(values, fits.Header(header)).writeto(path)
    return wcs.WCS(fits.Header(header), naxis=2)


def truth(system, columns, rows):
    found = system.pixel_to_world(columns, rows)
    if found.name == "fk5" and found.equinox.jyear == 2000:
        return np.stack([found.ra.deg, found.dec.deg], axis=-1)  # as ICRS, to 0.03 arcsec
    return np.stack([found.icrs.ra.deg, found.icrs.dec.deg], axis=-1)


@pytest.mark.parametrize("scale", [0.262, 0.131])
@pytest.mark.parametrize("changes", SYSTEMS.values(), ids=SYSTEMS)
def test_pixels_have_the_place_that_astropy_gives_them(tmp_path, changes, scale):
    path = tmp_path / "a.fits"
    system = written(path, scale, changes)
    adapter, ratio = GalaxyAdapter({"library": {"simulated": 20}}), 0.262 / scale
    read, grid = adapter.read(path), adapter.sky(path)
    assert read.image.shape[2:] == tuple(int(length / ratio) for length in SIZE)
    rows, columns = np.array([3.0, 10.25, 20.0]), np.array([30.0, 4.5, 11.0])
    expected = truth(system, (columns + 0.5) * ratio - 0.5, (rows + 0.5) * ratio - 0.5)
    np.testing.assert_allclose(grid.to_sky(np.stack([rows, columns], axis=1)), expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(
        adapter.to_pixels(path, expected), np.stack([rows, columns], axis=1), rtol=0, atol=1e-3
    )
    middle = truth(system, (SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2)
    np.testing.assert_allclose([read.position["ra"][0], read.position["dec"][0]], middle, rtol=0, atol=1e-8)
    part = wcs.WCS(fits.Header(grid.cards((5, 7))))
    np.testing.assert_allclose(truth(part, columns - 7, rows - 5), expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    "changes",
    [{"CTYPE1": "RA---XXX", "CTYPE2": "DEC--XXX"}, {"CUNIT1": "foo"}, {"CD1_1": 0.0}, {"CPDIS1": "LOOKUP"}],
)
def test_a_coordinate_system_that_cannot_be_read_is_named(tmp_path, changes):
    header = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CD2_2": 1e-4, "CD1_1": -1e-4} | changes
    fits.PrimaryHDU(np.ones((3, 8, 8), np.float32), fits.Header(header)).writeto(tmp_path / "a.fits")
    with pytest.raises(DataError, match=r"a\.fits: a world coordinate system that cannot be read \("):
        GalaxyAdapter({"library": {"simulated": 20}}).read(tmp_path / "a.fits")
