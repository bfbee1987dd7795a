"""Files in both layouts of SPINE's writer."""

import h5py
import numpy as np
import pytest

from oasis.data.sparse import SpineFile
from oasis.errors import ConfigError, DataError

SHAPE = (256, 256, 256)


@pytest.fixture
def events():
    """Per event the rows x, y, z, value, cluster, ..., shape."""
    rng = np.random.default_rng(0)
    tables = []
    for count in (70, 0, 40):
        rows = np.zeros((count, 20), np.float32)
        rows[:, :3] = np.argwhere(rng.random((40, 40, 40)) > 0.9)[:count] + 100
        rows[:, 3], rows[:, 4] = rng.uniform(0.1, 3, count), rng.integers(-1, 4, count)
        rows[:, 5], rows[:, 10], rows[:, 19] = rows[:, 4] // 2, rows[:, 4] + 10, rows[:, 4] % 2
        tables.append(rows)
    return tables


def write_1(path, products):
    """As the backend of region references writes: growing data sets, and a row of references per event."""
    with h5py.File(path, "w") as out:
        out.create_group("info").attrs["version"] = "0.5.0"
        kind = np.dtype([(name, h5py.special_dtype(ref=h5py.RegionReference)) for name in products])
        for name, tables in products.items():
            width = tables[0].shape[1]
            out.create_dataset(name, (0, width), maxshape=(None, width), dtype="f4").attrs["scalar"] = False
        events = out.create_dataset("events", (0,), maxshape=(None,), dtype=kind)
        for number in range(len(next(iter(products.values())))):
            row = np.empty(1, kind)
            for name, tables in products.items():
                data, first = out[name], len(out[name])
                data.resize(first + len(tables[number]), axis=0)
                data[first:] = tables[number]
                row[name] = data.regionref[first : first + len(tables[number])]
            events.resize(number + 1, axis=0)
            events[number] = row


def write_2(path, products):
    with h5py.File(path, "w") as out:
        out.create_group("info").attrs["format_version"] = 2
        out["events"] = np.zeros(len(next(iter(products.values()))), np.dtype([("index", "i8")]))
        for name, tables in products.items():
            group = out.create_group(f"products/{name}")
            group.attrs["kind"], group.attrs["scalar"] = "array", False
            group["values"] = np.concatenate(tables)
            group["event_offsets"] = np.concatenate([[0], np.cumsum([len(one) for one in tables])])


def batched(tables):
    return [np.concatenate([np.zeros((len(one), 1), np.float32), one], axis=1) for one in tables]


LAYOUTS = {
    "1": (write_1, list, 20),
    "1 with a batch": (write_1, batched, 20),
    "2": (write_2, list, 20),
    "2, compact": (write_2, list, 6),
    "2, compact without particles": (write_2, list, 5),
    "1, compact with a batch": (write_1, batched, 6),
    "2, compact with a batch, without particles": (write_2, batched, 5),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_events_are_those_that_were_written(name, events, tmp_path):
    write, change, columns = LAYOUTS[name]
    path = tmp_path / "spine.h5"
    labels = change([one[:, :columns] for one in events])
    write(path, {"data": change([one[:, :4] for one in events]), "clust_label": labels})
    stored = SpineFile(path, SHAPE)
    assert len(stored) == len(events)
    for event, rows in zip(stored, events, strict=True):
        np.testing.assert_array_equal(event.coordinates, rows[:, :3])
        np.testing.assert_array_equal(event.features[:, 0], rows[:, 3])
        numbers = np.unique(rows[rows[:, 4] >= 0, 4])
        np.testing.assert_array_equal(event.objects.table.get("object", []), numbers)
        sums = [rows[rows[:, 4] == number, 3].sum() for number in numbers]
        np.testing.assert_allclose(event.objects.intensity.sum(axis=1), sums, rtol=1e-5)
        if columns == 20 and len(rows):
            np.testing.assert_array_equal(event.objects.table["pid"], numbers + 10)
            np.testing.assert_array_equal(event.objects.table["shape"], numbers % 2)
    particles = SpineFile(path, SHAPE, objects="particle")
    if columns > 5:
        assert len(particles[0].objects) == 2
    else:
        with pytest.raises(DataError, match="and none for the particle"):
            particles[0]


def test_semantic_types_are_classes(events, tmp_path):
    write_1(tmp_path / "spine.h5", {"data": [one[:, :4] for one in events], "clust_label": events})
    event = SpineFile(tmp_path / "spine.h5", SHAPE)[0].labelled("shape", [[0], [1]])
    sample = event.sample(2, (96, 96, 96), (48, 48, 48))
    rows = events[0][events[0][:, 4] >= 0]
    sums = [rows[rows[:, 19] == label, 3].sum() for label in (0, 1)]
    np.testing.assert_allclose(sample.target.sum(axis=(1, 2, 3, 4)), sums, rtol=1e-5)


def test_files_without_truth_are_read(events, tmp_path):
    write_2(tmp_path / "spine.h5", {"data": [one[:, :4] for one in events]})
    assert SpineFile(tmp_path / "spine.h5", SHAPE, labels=None)[2].objects is None
    with pytest.raises(DataError, match="no 'clust_label' in /products"):
        SpineFile(tmp_path / "spine.h5", SHAPE)


def test_positions_in_other_units_or_outside_are_refused(events, tmp_path):
    path = tmp_path / "spine.h5"
    tables = [one[:, :4].copy() for one in events]
    tables[0][3, 1] += 0.25
    tables[2][0, 2] = 300
    write_1(path, {"data": tables})
    stored = SpineFile(path, SHAPE, labels=None)
    with pytest.raises(DataError, match="event 0: positions are not whole numbers of voxels"):
        stored[0]
    with pytest.raises(DataError, match=r"event 2: a hit at \[.*300.0\], outside the volume"):
        stored[2]
    write_2(path, {"data": [one[:, :8] for one in events]})
    with pytest.raises(DataError, match="data has 8 columns, expected a position and a value") as caught:
        SpineFile(path, SHAPE, labels=None)[0]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (4, np.nan, "numbers of a cluster: nan, expected whole numbers"),
        (4, 0.5, "numbers of a cluster: 0.5, expected whole numbers"),
        (3, -1, "an object has a charge of -1, expected 0 or more"),
        (3, np.nan, "an object has a charge of nan, expected 0 or more"),
    ],
)
def test_labels_that_are_no_labels_are_refused(column, value, message, events, tmp_path):
    path = tmp_path / "spine.h5"
    data = [one[:, :4].copy() for one in events]
    events[0][np.flatnonzero(events[0][:, 4] >= 0)[0], column] = value
    write_2(path, {"data": data, "clust_label": events})
    with pytest.raises(DataError, match=f"event 0: {message}"):
        SpineFile(path, SHAPE)[0]


@pytest.mark.parametrize(
    "offsets",
    [[0, 70, 70, 999], [-1, 70, 70, 110], [0, 70, 110], [0, 80, 70, 110], [0.0, 70, 70, 110], [0, 70, 70, 90]],
)
def test_offsets_that_do_not_fit_are_refused(offsets, events, tmp_path):
    path = tmp_path / "spine.h5"
    write_2(path, {"data": [one[:, :4] for one in events]})
    with h5py.File(path, "r+") as file:
        del file["products/data/event_offsets"]
        file["products/data/event_offsets"] = offsets
    with pytest.raises(DataError, match="event_offsets of data: expected 4 integers that rise from 0 to 110"):
        SpineFile(path, SHAPE, labels=None)[0]


def test_other_objects_than_clusters_and_particles_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="objects='clusters': expected 'cluster' or 'particle'"):
        SpineFile(tmp_path / "spine.h5", SHAPE, objects="clusters")
