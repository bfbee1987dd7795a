import numpy as np
import pytest

from oasis.data.images import Images
from oasis.errors import DataError


def images(**given):
    return Images(np.arange(24, dtype=np.float32).reshape(2, 1, 3, 4), **given)


def test_bad_pixels_take_the_value_of_the_nearest_good_one():
    mask = np.ones((2, 1, 3, 4), bool)
    mask[0, 0, 0, 0] = False
    mask[1] = False
    mask[1, 0, 2, 3] = True
    found = images(mask=mask).filled()
    assert found[0, 0, 0, 0] in (1, 4)
    np.testing.assert_array_equal(found[0].ravel()[1:], np.arange(1, 12))
    assert (found[1] == 23).all()


def test_what_bad_pixels_hold_has_no_influence():
    mask = np.random.default_rng(0).random((2, 1, 3, 4)) > 0.3
    first = images(mask=mask)
    other = first.replace(image=np.where(mask, first.image, np.nan))
    np.testing.assert_array_equal(first.filled(), other.filled())


def test_all_bands_of_a_bad_pixel_are_filled_from_one_place():
    image = np.stack([np.arange(9.0), np.arange(9.0) * 2])[None].astype(np.float32)
    mask = np.ones((1, 1, 9), bool)
    mask[..., 4] = False
    found = Images(image, mask=mask).filled()
    assert found[0, 1, 4] == 2 * found[0, 0, 4]


def test_images_without_a_good_pixel_read_zero():
    assert not images(mask=np.zeros((2, 1, 3, 4), bool)).filled().any()


def test_images_without_a_mask_stay_as_they_are():
    one = images()
    assert one.filled() is one.image
    good = images(mask=np.ones((2, 1, 3, 4), bool))
    assert good.filled() is good.image


def test_a_part_keeps_what_belongs_to_it():
    part = images(position={"ra": np.array([1.0, 2.0])}, context=np.zeros((2, 5, 3, 4), np.float32)).part(
        slice(1, 2)
    )
    assert (len(part), part.position["ra"].tolist(), part.context.shape) == (1, [2.0], (1, 5, 3, 4))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"context": np.zeros((1, 5, 3, 4))}, "a context of shape"),
        ({"context": np.zeros((2, 5, 3, 5))}, "a context of shape"),
        ({"mask": np.ones((2, 3, 4), bool)}, "a mask of good pixels"),
        ({"mask": np.ones((2, 1, 3, 4), np.uint8)}, "type uint8, expected .* and bool"),
        ({"axes": ("x",)}, "axes: found"),
        ({"pixel_size": (0.2, 0.2, 0.2)}, "pixel_size: found"),
        ({"position": {"ra": np.zeros(3)}}, "position 'ra'"),
    ],
)
def test_what_does_not_fit_is_refused(given, message):
    with pytest.raises(DataError, match=message):
        images(**given)
