"""Merging of objects that were separated in overlapping windows, with a separator whose maps are known."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

from oasis.data.images import Images
from oasis.inference.catalogue.merging import Merging
from oasis.inference.catalogue.windows import bell, cut, overlap, starts_of

SIZE, WINDOW = (60, 80), (24, 20)
ROWS, COLUMNS = np.indices(SIZE)


def spot(row, column, height, width=2.0):
    return (height * np.exp(-((ROWS - row) ** 2 + (COLUMNS - column) ** 2) / (2 * width**2))).astype(np.float32)


class Known:
    """A separator that knows its objects: in a window the nearest to the middle, with part of the others' light.

    The second band of an image contains the number of each pixel, by which a window knows where it is.
    """

    classes = ("target", "others")

    def __init__(self, objects, places, taken=0.0):
        self.objects, self.places, self.taken = objects, np.array(places, float), taken

    def predict(self, batch, context=None):
        found = []
        for window in batch.numpy():
            inside = window[1] > 0
            row, column = divmod(int(window[1][inside][0]) - 1, SIZE[1])
            first = np.argwhere(inside)[0]
            start = np.array([row, column]) - first
            middle = start + np.array(WINDOW) // 2
            chosen = np.hypot(*(self.places - middle).T).argmin()
            rest = sum(one for number, one in enumerate(self.objects) if number != chosen)
            full = np.stack([self.objects[chosen] + self.taken * rest, (1 - self.taken) * rest])
            part = cut(full, start[None], WINDOW)[0]
            found.append(np.stack([part, np.zeros_like(part)], axis=1))
        return SimpleNamespace(maps=torch.from_numpy(np.array(found, np.float32)))


def image_of(objects):
    numbers = np.arange(1, ROWS.size + 1, dtype=np.float32).reshape(SIZE)
    return Images(np.stack([sum(objects), numbers])[None].astype(np.float32))


@pytest.fixture
def store(tmp_path):
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        yield file


def merged(store, objects, places, taken=0.0, added=None):
    merging = Merging(Known(objects, places, taken), image_of(objects), [0], WINDOW, store)
    merging.add(np.array(places if added is None else added, float))
    kept = merging.merge()
    return merging, kept, list(merging.sources(kept, np.ones(2)))


def test_right_maps_are_left_as_they_are(store):
    places = [(30, 30), (33, 36), (20, 60), (2, 78)]
    objects = [spot(*place, height) for place, height in zip(places, (9, 5, 7, 4), strict=True)]
    merging, kept, (sources,) = merged(store, objects, places)
    assert kept.tolist() == [0, 1, 2, 3]
    for number, whole in enumerate(objects):
        expected = cut(whole[None], sources.starts[[number]], WINDOW)[0]
        np.testing.assert_allclose(sources.maps[number, :1], expected, atol=1e-5)
        others = cut((sum(objects) - whole)[None], sources.starts[[number]], WINDOW)[0]
        np.testing.assert_allclose(sources.rest[number, :1], others, atol=0.02)
    inside = merging.residual().image[0, 0]
    assert np.abs(inside).max() < 0.02  # the wings beyond the windows


def test_light_that_two_objects_claim_is_counted_once(store):
    places = [(30, 30), (30, 37)]
    objects = [spot(*place, 8) for place in places]
    merging, _, (sources,) = merged(store, objects, places, taken=0.5)
    claimed, total = merging.claimed[0], sum(objects)
    window = (slice(20, 40), slice(27, 40))
    assert (claimed[window] <= total[window] * 1.001).all()
    np.testing.assert_allclose(claimed[window].sum(), total[window].sum(), rtol=0.01)
    assert sources.maps.sum() < 1.05 * total.sum()
    raw = Known(objects, places, 0.5).predict(
        torch.from_numpy(cut(image_of(objects).image[0], sources.starts, WINDOW))
    )
    assert raw.maps[:, 0].sum() > 1.3 * total.sum()  # before


def test_an_object_that_is_found_twice_is_listed_once(store):
    objects = [spot(30, 30, 9), spot(34, 34, 3)]
    _, kept, _ = merged(store, objects, [(30, 30), (34, 34)], added=[(30, 30), (31, 30), (34, 34)])
    assert len(kept) == 2
    assert 2 in kept


def test_every_given_place_shows_an_object(store):
    objects = [spot(30, 30, 9), spot(34, 34, 3)]
    merging = Merging(Known(objects, [(30, 30), (34, 34)]), image_of(objects), [0], WINDOW, store)
    merging.add(np.array([(31, 30), (30, 30), (34, 34)], float))
    shown = merging.merge(keep=True)
    assert shown[0] == shown[1] != shown[2] == 2
    (sources,) = merging.sources(shown, np.ones(2))
    np.testing.assert_array_equal(sources.maps[0], sources.maps[1])
    np.testing.assert_allclose(sources.maps[0, 0].sum(), objects[0].sum(), rtol=0.02)  # not shared between the two


def test_places_that_are_added_later_are_merged_with_the_others(store):
    places = [(30, 30), (33, 36)]
    objects = [spot(*place, 6) for place in places]
    merging, _, _ = merged(store, objects, places, added=places[:1])
    residual = merging.residual().image[0, 0]
    assert np.unravel_index(residual.argmax(), SIZE) == (33, 36)
    merging.add(np.array(places[1:], float))
    assert merging.merge().tolist() == [0, 1]
    assert np.abs(merging.residual().image[0, 0]).max() < 0.02


def test_an_image_without_objects_has_none(store):
    merging, kept, sources = merged(store, [spot(0, 0, 0)], [(0, 0)], added=np.empty((0, 2)))
    assert not len(kept)
    assert [len(one) for one in sources] == [0]
    np.testing.assert_array_equal(merging.residual().image, image_of([spot(0, 0, 0)]).image)


def test_windows_beyond_the_image_are_zero():
    values = np.arange(1, 13, dtype=np.float32).reshape(1, 3, 4)
    starts = starts_of(np.array([[0.0, 0.0], [1.2, 2.0], [50.0, 50.0]]), (4, 4))
    assert starts.tolist() == [[-2, -2], [-1, 0], [48, 48]]
    found = cut(values, starts, (4, 4))
    np.testing.assert_array_equal(found[0, 0], [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 2], [0, 0, 5, 6]])
    np.testing.assert_array_equal(found[1, 0], [[0] * 4, *values[0].tolist()])
    assert not found[2].any()
    inside, within = overlap(starts[0], (4, 4), (3, 4))
    assert (inside, within) == ((slice(0, 2), slice(0, 2)), (slice(2, 4), slice(2, 4)))


def test_weights_fall_from_the_middle_and_are_never_0():
    weights = bell((8, 6))[0]
    assert weights.shape == (8, 6)
    assert weights.min() > 0
    assert weights[4, 3] == weights.max()
    np.testing.assert_allclose(weights, weights[::-1, ::-1])
