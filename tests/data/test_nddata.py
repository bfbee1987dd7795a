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
