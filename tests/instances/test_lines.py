import numpy as np
import pytest

from oasis.errors import ConfigError
from oasis.instances.grouping import Grouping, group
from oasis.instances.lines import find_lines
from oasis.instances.matching import overlaps

TRACKS = Grouping(method="lines")


def track(start, end, shape=(80, 90), sigma=1.2, brightness=40.0):
    """A straight track: a Gaussian profile around a segment."""
    start, end = np.array(start, float), np.array(end, float)
    places = np.stack(np.indices(shape), axis=-1).astype(float)
    step = end - start
    along = np.clip(((places - start) @ step) / (step @ step), 0, 1)
    square = ((places - start - along[..., None] * step) ** 2).sum(-1)
    return (brightness * np.exp(-square / (2 * sigma**2))).astype(np.float32)[None]


def grouped(maps, how=TRACKS):
    return group(maps[None], ["a"], {"a": 1.0}, {"a": how})


def alone(*tracks):
    return [grouped(one, Grouping()) for one in tracks]


def best(found, tracks):
    return [float(overlaps(found, one).iou.max()) for one in alone(*tracks)]


CROSS = (track((5, 10), (70, 80)), track((60, 5), (20, 85), brightness=80.0))
FAN = (track((5, 5), (75, 40)), track((6, 40), (75, 12)), track((40, 3), (44, 88)))
MEETING = (track((40, 3), (40, 86)), track((41, 30), (75, 50)))  # the second one ends in the first
SPACE = (
    track((2, 2, 2), (22, 28, 30), (26, 32, 34)),
    track((3, 28, 4), (22, 3, 30), (26, 32, 34)),
)


@pytest.mark.parametrize("tracks", [CROSS, FAN, MEETING, SPACE], ids=["cross", "fan", "meeting", "space"])
def test_tracks_that_cross_are_divided(tracks):
    image = np.sum(tracks, axis=0)
    assert len(grouped(image, Grouping())) == 1
    found = grouped(image)
    assert len(found) == len(tracks)
    assert min(best(found, tracks)) > 0.85
    expected = [float(one.intensity.sum()) for one in alone(*tracks)]
    np.testing.assert_allclose(np.sort(found.intensity.sum(1)), np.sort(expected), rtol=0.1)


def test_nothing_is_lost_at_a_crossing():
    image = np.sum(CROSS, axis=0)
    found, whole = grouped(image), grouped(image, Grouping())
    np.testing.assert_allclose(found.sums(1)[0], whole.sums(1)[0], rtol=1e-5)
    assert len(np.intersect1d(*(found.select([one]).pixels for one in range(2))))  # shared


@pytest.mark.parametrize("angle", [0.2, 0.9, 1.5])
def test_one_track_stays_one(angle):
    step = 35 * np.array([np.sin(angle), np.cos(angle)])
    one = track((40, 45) - step, (40, 45) + step, sigma=1.6)
    np.testing.assert_array_equal(grouped(one).dense(0), grouped(one, Grouping()).dense(0))


def test_a_spot_stays_one():
    spot = track((40, 45), (40, 46), sigma=2.0)
    assert len(grouped(spot)) == 1


@pytest.mark.parametrize("shape", [(60, 60), (36, 32, 34)])
def test_an_area_is_no_bundle_of_tracks(shape):
    assert len(grouped(np.full((1, *shape), 20, np.float32))) == 1


def test_a_track_needs_its_length():
    image = np.sum(MEETING, axis=0)
    assert [len(grouped(image, Grouping(method="lines", length=length))) for length in (16, 60)] == [2, 1]


def test_the_place_in_the_image_does_not_matter():
    image = np.sum(FAN, axis=0)
    larger = np.zeros((1, 130, 150), np.float32)
    larger[:, 31:111, 43:133] = image
    found, moved = grouped(image), grouped(larger).crop([31, 43], [80, 90])
    assert len(found) == len(moved)
    np.testing.assert_allclose(found.sums(1), moved.sums(1), rtol=1e-4)


def test_bands_are_shared_alike():
    image = np.sum(CROSS, axis=0)
    found = grouped(np.concatenate([image, 0.5 * image]))
    assert len(found) == 2
    np.testing.assert_allclose(found.intensity[:, 1] / found.intensity[:, 0], 0.5, atol=0.03)


def test_lines_of_too_few_pixels():
    places = np.array([[0.0, 0], [0, 1], [1, 0]])
    assert find_lines(places, np.ones(3), 2, 5) == []


def test_one_dimension_has_no_lines():
    with pytest.raises(ConfigError, match=r"grouping\.a\.method: lines are found in two and three dimensions"):
        grouped(np.full((1, 20), 5, np.float32))
