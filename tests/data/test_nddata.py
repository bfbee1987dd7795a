"""Images of astropy are separated as arrays are: units, masks, cutouts."""

import numpy as np
import pytest

from oasis.data.nddata import unwrapped
from oasis.errors import DataError

nddata, units = pytest.importorskip("astropy.nddata"), pytest.importorskip("astropy.units")

VALUES = np.random.default_rng(0).exponential(10, (3, 12, 14)).astype(np.float32)


def test_other_arrays_are_left_as_they_are():
    assert unwrapped(VALUES, "nmgy") is VALUES
    assert unwrapped([1.0], "nmgy") == [1.0]


def test_units_are_converted():
    """3631 Jy have AB magnitude 0, of which a nanomaggy is 1e-9."""
    for given in (nddata.NDData(VALUES * 3.631, unit="uJy"), VALUES * 3.631 * units.uJy):
        np.testing.assert_allclose(unwrapped(given, "nmgy"), VALUES, rtol=1e-6)
    np.testing.assert_array_equal(unwrapped(nddata.NDData(VALUES), "nmgy"), VALUES)
    np.testing.assert_array_equal(unwrapped(nddata.CCDData(VALUES, unit="adu"), "adu"), VALUES)
    with pytest.raises(DataError, match="image: values in s, expected nmgy: convert them"):
        unwrapped(nddata.NDData(VALUES, unit="s"), "nmgy")


@pytest.mark.parametrize("shape", [(3, 12, 14), (12, 14)])
def test_masked_pixels_get_the_nearest_good_value(shape):
    mask = np.zeros(shape, bool)
    mask[..., 5, 6:] = True
    values = np.where(mask, np.nan, VALUES)
    found = unwrapped(nddata.NDData(values, mask=mask), "")
    good = ~np.broadcast_to(mask, VALUES.shape)
    np.testing.assert_array_equal(found[good], VALUES[good])
    assert all(found[band, 5, 8] in (VALUES[band, 4, 8], VALUES[band, 6, 8]) for band in range(3))
    with pytest.raises(DataError, match=r"a mask of shape \(2, 2\)"):
        unwrapped(nddata.NDData(VALUES, mask=np.ones((2, 2), bool)), "")


def test_a_separator_takes_a_cutout(toy_separator):
    image = np.random.default_rng(1).exponential(20, (40, 44)).astype(np.float32)
    cutout = nddata.Cutout2D(image, (20, 21), (24, 20))
    expected = toy_separator.eval().separate(np.ascontiguousarray(cutout.data))
    found = toy_separator.separate(cutout)
    for name, maps in expected.items():
        np.testing.assert_array_equal(found[name], maps)


class Array:
    def __init__(self, array, planes=None):
        self.array = array
        if planes is not None:
            self.getMaskPlaneDict = lambda: planes


class Exposure:
    """An exposure of Rubin's pipelines, as far as it is used: of one band, or of several (`singles`)."""

    def __init__(self, array, bits=None, scale=None, singles=None, planes=None):
        self.image, self.scale = Array(array), scale
        if bits is not None:
            self.mask = Array(
                bits, {"BAD": 0, "SAT": 1, "DETECTED": 5, "NO_DATA": 8} if planes is None else planes
            )
        if singles is not None:
            self.singles = singles

    def getPhotoCalib(self):
        return None if self.scale is None else self

    def instFluxToNanojansky(self, flux):
        return flux * self.scale


def test_an_exposure_of_several_bands_is_calibrated_and_its_bad_pixels_filled():
    bits = np.zeros(VALUES.shape, np.int32)
    bits[1, 5, 6], bits[1, 7, 7], bits[0] = 1 << 1, 1 << 8, 1 << 5  # saturated, no data, detected
    raw = VALUES / np.array([1.0, 2.0, 0.5], np.float32)[:, None, None]
    singles = [Exposure(band, scale=3631.0 * factor) for band, factor in zip(raw, (1.0, 2.0, 0.5), strict=True)]
    found = unwrapped(Exposure(raw, bits, singles=singles), "nmgy")
    good = (bits & (1 << 1 | 1 << 8)) == 0
    np.testing.assert_allclose(found[good], VALUES[good], rtol=1e-6)
    assert any(np.isclose(found[1, 5, 6], VALUES[1, 5 + i, 6 + j]) for i in (-1, 0, 1) for j in (-1, 0, 1))
    np.testing.assert_allclose(unwrapped(Exposure(raw[1], scale=7262.0), "nmgy"), VALUES[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("exposure", "unit", "message"),
    [
        (Exposure(VALUES), "nmgy", "an exposure without a photometric calibration: pass an array in nmgy"),
        (Exposure(VALUES, scale=1.0), "ADU", "an exposure has fluxes, expected ADU"),
        (Exposure(VALUES, np.ones(VALUES.shape, int), 1.0, planes={}), "nmgy", "without names of its planes"),
    ],
)
def test_an_exposure_that_states_too_little_is_refused(exposure, unit, message):
    with pytest.raises(DataError, match=f"image: .*{message}"):
        unwrapped(exposure, unit)


def test_a_separator_takes_an_exposure(toy_separator):
    image = np.random.default_rng(1).exponential(20, (20, 24)).astype(np.float32)
    toy_separator.options = toy_separator.options.model_copy(update={"unit": "nmgy"})
    expected = toy_separator.eval().separate(image)
    found = toy_separator.separate(Exposure(image / 2, scale=2 * 3631.0))
    for name, maps in expected.items():
        np.testing.assert_allclose(found[name], maps, rtol=1e-5)
