"""Sparse events against their dense volumes."""

import numpy as np
import pytest

from oasis.data.instances import Instances
from oasis.data.sample_files import SampleFile, write_samples
from oasis.data.sparse import SparseEvent
from oasis.data.sparse.events import gather_objects
from oasis.errors import DataError

SHAPE = (20, 24, 18)


@pytest.fixture
def volume():
    """Three objects, which share cells, and noise; dense."""
    rng = np.random.default_rng(0)
    objects = np.zeros((3, *SHAPE), np.float32)
    for number, one in enumerate(objects):
        cells = tuple(np.clip(rng.normal([8, 10, 6 + number], 2, (60, 3)), 0, 17).astype(int).T)
        one[cells] = rng.uniform(1, 9, 60)
    noise = (rng.random(SHAPE) > 0.999) * 0.5
    return objects, (objects.sum(axis=0) + noise).astype(np.float32)


@pytest.fixture
def event(volume):
    objects, image = volume
    place, hits = np.argwhere(image), np.argwhere(objects)
    table = {number: {"pdg": (13.0, 2212.0, 11.0)[number]} for number in range(3)}
    cells = np.ravel_multi_index(tuple(hits[:, 1:].T), SHAPE)
    known = gather_objects(SHAPE, cells, objects[tuple(hits.T)], hits[:, 0], table)
    return SparseEvent(SHAPE, place, image[tuple(place.T)][:, None], known, {"id": "7"})


def test_the_dense_sample_is_the_volume(event, volume):
    objects, image = volume
    sample = event.labelled("pdg", [[13, 2212], [11, -11]]).sample(2)
    np.testing.assert_array_equal(sample.image[0], image)
    np.testing.assert_allclose(sample.target[:, 0], [objects[:2].sum(axis=0), objects[2]], rtol=1e-6)
    assert sample.valid.all()
    assert len(sample.instances) == 3


def test_tiles_together_are_the_volume(event, volume):
    objects, image = volume
    size, found, target, inside = (8, 8, 8), *np.zeros((3, 24, 24, 24))
    inside[: SHAPE[0], : SHAPE[1], : SHAPE[2]] = 1
    corners = set()
    for corner, sample in event.labelled("pdg", [[13, 2212, 11]]).tiles(size, 1):
        box = tuple(slice(start, start + step) for start, step in zip(corner, size, strict=True))
        found[box], target[box] = sample.image[0], sample.target[0, 0]
        np.testing.assert_array_equal(sample.valid[0], inside[box])
        corners.add(corner)
    whole = tuple(slice(length) for length in SHAPE)
    np.testing.assert_array_equal(found[whole], image)
    np.testing.assert_allclose(target[whole], objects.sum(axis=0), rtol=1e-6)
    assert corners == {tuple(8 * (place // 8)) for place in np.argwhere(image)}
    assert len(corners) < 27


def test_tiles_are_stored_as_samples(event, tmp_path):
    tiles = [sample for _, sample in event.labelled("pdg", [[13], [2212], [11]]).tiles((8, 8, 8), 3)]
    path = tmp_path / "tiles.h5"
    assert write_samples(path, tiles, ("muon", "proton", "electron"), unit="MeV") == len(tiles)
    stored = SampleFile(path)
    for index, tile in enumerate(tiles):
        np.testing.assert_array_equal(stored[index].target, tile.target)
        np.testing.assert_array_equal(stored[index].instances.table["pdg"], tile.instances.table["pdg"])


def test_objects_of_other_species_are_background(event, volume):
    sample = event.labelled("pdg", [[11]]).sample(1)
    np.testing.assert_allclose(sample.target[0, 0], volume[0][2], rtol=1e-6)
    np.testing.assert_array_equal(sample.image[0], volume[1])


BAD = {
    "a cell outside": (np.array([[0, 0, 18]]), np.ones((1, 1)), r"a hit in cell \(0, 0, 18\)"),
    "a cell twice": (np.zeros((2, 3), int), np.ones((2, 1)), "a cell that is listed more than once"),
    "no integers": (np.zeros((2, 3)), np.ones((2, 1)), r"coordinates are float64"),
    "another number of features": (np.zeros((1, 3), int), np.ones((2, 1)), r"features have shape \(2, 1\)"),
    "NaN": (np.zeros((1, 3), int), np.array([[np.nan]]), "NaN"),
}


@pytest.mark.parametrize("name", BAD)
def test_invalid_events_are_refused(name):
    coordinates, features, message = BAD[name]
    with pytest.raises(DataError, match=message):
        SparseEvent(SHAPE, coordinates, features)


def test_events_without_truth_or_of_another_volume_are_refused(event):
    with pytest.raises(DataError, match="the charge of each object is not known"):
        SparseEvent(SHAPE, event.coordinates, event.features).sample(1)
    with pytest.raises(DataError, match="no column 'pid'; found object, pdg"):
        event.labelled("pid", [[1]])
    with pytest.raises(DataError, match="objects of a volume"):
        SparseEvent(SHAPE, event.coordinates, event.features, Instances.pack((1, 3, 3), [], [], []))
    with pytest.raises(DataError, match="an object of class 1, but there are 1 classes"):
        event.labelled("pdg", [[13], [11]]).sample(1)


@pytest.mark.parametrize("size", [(0, 8, 8), (-8, 8, 8), (8, 8), (8.0, 8.0, 8.0), 8])
def test_tiles_of_an_impossible_size_are_refused(event, size):
    labelled = event.labelled("pdg", [[13]])
    with pytest.raises(DataError, match=r"size is .*, expected 3 integers of 1 or more"):
        list(labelled.tiles(size, 1))
    with pytest.raises(DataError, match=r"size is .*, expected 3 integers of 1 or more"):
        labelled.sample(1, (0, 0, 0), size)
    with pytest.raises(DataError, match=r"corner is .*, expected 3 integers"):
        labelled.sample(1, (0.5, 0, 0))


def test_classes_by_names_are_refused(event):
    with pytest.raises(DataError, match=r"class 1 has pdg in \['mu'\], expected numbers"):
        event.labelled("pdg", [[13], ["mu"]])


@pytest.mark.parametrize(("cell", "charge"), [(20 * 24 * 18, 1.0), (-1, 1.0), (0, -1.0), (0, np.nan)])
def test_charges_of_objects_below_0_or_outside_are_refused(cell, charge):
    with pytest.raises(DataError, match=r"charge of (an object lies outside|.*expected 0 or more)"):
        gather_objects(SHAPE, np.array([cell]), np.array([charge]), np.array([0]))
