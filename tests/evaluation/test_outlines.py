"""Outlines: the lines around single objects, in views of their maps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oasis.data.instances import Instances
from oasis.data.samples import Sample
from oasis.evaluation.outlines import MOST, edges, objects_of, outlines
from oasis.evaluation.pictures import event_pictures
from oasis.instances.grouping import Grouping

WHOLE = (slice(None), slice(None))


def lit(lines, shape):
    """The pixels that lines enclose, by crossing counts along each row."""
    upright = np.zeros((shape[0], shape[1] + 1), int)
    for (x, y), (u, v) in lines.astype(int):
        if x == u:
            upright[min(y, v), x] += 1
    return np.cumsum(upright, axis=1)[:, :-1] % 2 == 1


@given(st.integers(0, 2**32 - 1))
def test_edges_enclose_exactly_the_pixels_inside(seed):
    inside = np.random.default_rng(seed).random((5, 7)) < 0.4
    lines = edges(inside)
    np.testing.assert_array_equal(lit(lines, inside.shape), inside)
    assert (np.abs(lines[:, 1] - lines[:, 0]).sum(axis=1) == 1).all()


def test_each_object_of_the_class_has_its_own_outline():
    objects = Instances.pack((1, 4, 6), [0, 0, 1], [[0, 1], [2, 9], [20]], [[1, 1], [1, 1], [1]])
    lines = outlines(objects, 0, WHOLE)
    assert len(lines) == 6 + 8  # two pixels side by side; two that touch at a corner
    assert len(outlines(objects, 1, WHOLE)) == 4
    assert len(outlines(None, 0, WHOLE)) == 0


def test_views_shift_and_reduce_the_outlines():
    objects = Instances.pack((1, 8, 8), [0], [[36, 37, 44, 45]], [[1, 1, 1, 1]])  # rows and columns 4 and 5
    shifted = outlines(objects, 0, (slice(2, 8), slice(3, 8)))
    assert shifted.min(axis=(0, 1)).tolist() == [1, 2]
    reduced = outlines(objects, 0, WHOLE, side=4)
    assert reduced.min(axis=(0, 1)).tolist() == [2, 2]
    assert reduced.max(axis=(0, 1)).tolist() == [3, 3]


def test_only_the_brightest_are_drawn():
    count = MOST + 5
    objects = Instances.pack(
        (1, 1, 2 * count), [0] * count, [[2 * i] for i in range(count)], [[i + 1.0] for i in range(count)]
    )
    lines = outlines(objects, 0, WHOLE)
    assert len(lines) == 4 * MOST
    assert lines.min(axis=(0, 1))[0] == 2 * 5


def test_objects_of_an_event_are_those_that_can_be_seen(toy):
    target = np.zeros((2, 1, 6, 6), np.float32)
    target[0, 0, 1, 1:3], target[0, 0, 4, 4] = 9, 9
    valid = np.ones((1, 6, 6), bool)
    valid[0, 4] = False
    true = Instances.pack((1, 6, 6), [0, 0], [[7, 8], [28]], [[9, 9], [9]])
    sample = Sample(target.sum(axis=0), target, valid, {"id": 0}, instances=true)
    found = objects_of(sample, target, toy.adapter, {"dot": Grouping()})
    assert len(found.true) == len(found.predicted) == 1
    pictures = event_pictures(sample, [target], 6, [found])
    assert pictures.classes[0].truth.startswith("data:image/svg+xml")
    assert pictures.classes[0].predictions[0].startswith("data:image/svg+xml")
    assert pictures.classes[1].truth.startswith("data:image/png")  # no objects of this class
    unknown = objects_of(sample.replace(instances=None), target, toy.adapter, {"dot": Grouping()})
    assert unknown.true is None
    assert len(unknown.predicted) == 1


@pytest.mark.parametrize("size", [(5,), (3, 4, 5)])
def test_other_dimensions(size):
    objects = Instances.pack((1, *size), [0], [[1]], [[1.0]])
    lines = outlines(objects, 0, (slice(None),) * len(size))
    assert len(lines) == (0 if len(size) == 1 else 12)  # three views of a volume, a pixel in each
