"""Files in the layout of larcv3, whose tables have the members of its structures."""

import h5py
import numpy as np
import pytest

from oasis.data.sparse import LarcvFile
from oasis.errors import DataError

EXTENTS = np.dtype([("first", "u8"), ("n", "u4")])
ID_EXTENTS = np.dtype([("first", "u8"), ("n", "u4"), ("id", "u4")])
VOXEL = np.dtype([("id", "u8"), ("value", "f4")])
PLACES = [("image_sizes", "f8", 3), ("number_of_voxels", "u8", 3), ("origin", "f8", 3)]
META = np.dtype([("valid", "u1"), ("projection_id", "u8"), *PLACES])
EVENT = np.dtype([("run", "i8"), ("subrun", "i8"), ("event", "i8")])
PARTICLE = np.dtype(
    [("id", "u8"), ("shape", "i4"), ("pdg", "i4"), ("energy_init", "f8"), ("energy_deposit", "f8")]
)
KINDS = {"extents": EXTENTS, "voxels": VOXEL, "particles": PARTICLE}
SHAPE = (200, 180, 160)


def drawn(rng):
    """Clusters of an event: positions and charges; clusters share voxels."""
    clusters = []
    for _ in range(rng.integers(2, 5)):
        places = np.unique(np.clip(rng.normal(90, 3, (40, 3)), 0, 159).astype(int), axis=0)
        clusters.append((places, rng.uniform(0.1, 2, len(places)).astype(np.float32)))
    return clusters


def dense(clusters):
    total = np.zeros(SHAPE, np.float32)
    for places, values in clusters:
        total[tuple(places.T)] += values
    return total


def voxels(places, values):
    return [(x * 180 * 160 + y * 160 + z, value) for (x, y, z), value in zip(places, values, strict=True)]


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(0)
    events = [drawn(rng) for _ in range(3)]
    sparse = {"extents": [], "voxel_extents": [], "voxels": []}
    cluster = {"extents": [], "projection_extents": [], "cluster_extents": [], "voxels": []}
    particle = {"extents": [], "particles": []}
    for event, clusters in enumerate(events):
        cluster["extents"].append((event, 1))
        cluster["projection_extents"].append((len(cluster["cluster_extents"]), len(clusters), 0))
        particle["extents"].append((len(particle["particles"]), len(clusters)))
        for number, (places, values) in enumerate(clusters):
            cluster["cluster_extents"].append((len(cluster["voxels"]), len(places), number))
            cluster["voxels"] += voxels(places, values)
            particle["particles"].append((number, 1, (13, 2212)[number % 2], 100.0 + number, values.sum()))
        lit = np.argwhere(dense(clusters))
        sparse["extents"].append((event, 1))
        sparse["voxel_extents"].append((len(sparse["voxels"]), len(lit), 0))
        sparse["voxels"] += voxels(lit, dense(clusters)[tuple(lit.T)])
    path = tmp_path / "larcv.h5"
    with h5py.File(path, "w") as out:
        out["Events/event_id"] = np.array([(5, 1, number) for number in range(len(events))], EVENT)
        for name, tables in {"sparse3d_sbn": sparse, "cluster3d_sbn": cluster, "particle_sbn": particle}.items():
            for table, content in tables.items():
                values = np.array(content, KINDS.get(table, ID_EXTENTS))
                out.create_dataset(f"Data/{name}_group/{table}", data=values, chunks=(10,), maxshape=(None,))
            if name != "particle_sbn":
                one = (1, 0, (200.0, 180.0, 160.0), SHAPE, (-100.0, 0.0, 0.0))
                out[f"Data/{name}_group/image_meta"] = np.array([one] * len(events), META)
    return path, events


def test_events_are_those_that_were_written(file):
    path, events = file
    stored = LarcvFile(path, "sbn", "sbn", "sbn")
    assert len(stored) == len(events)
    for number, (event, clusters) in enumerate(zip(stored, events, strict=True)):
        assert event.shape == SHAPE
        assert (event.meta["run"], event.meta["event"]) == (5, number)
        assert event.objects.table["pdg"].tolist() == [(13.0, 2212.0)[one % 2] for one in range(len(clusters))]
        for one, cluster in enumerate(clusters):
            np.testing.assert_array_equal(event.objects.dense(one)[0], dense([cluster]))
        found = np.zeros(SHAPE, np.float32)
        found[tuple(event.coordinates.T)] = event.features[:, 0]
        np.testing.assert_array_equal(found, dense(clusters))
    assert (stored[1].objects.shared > 0).any()
    tiles = list(stored[0].labelled("pdg", [[13], [2212]]).tiles((64, 64, 64), 2))
    charge = sum(sample.target.sum() for _, sample in tiles)
    assert charge == pytest.approx(sum(values.sum() for _, values in events[0]), rel=1e-5)


def test_charge_alone_can_be_read(file):
    event = LarcvFile(file[0], "sbn")[0]
    assert event.objects is None
    assert len(event) == (dense(file[1][0]) > 0).sum()


def test_what_is_missing_is_named(file, tmp_path):
    with pytest.raises(DataError, match="no 'sparse3d_icarus_group' in /Data"):
        LarcvFile(file[0], "icarus")
    with pytest.raises(DataError, match="event 0: no projection 2"):
        LarcvFile(file[0], "sbn", projection=2)[0]
    with pytest.raises(IndexError):
        LarcvFile(file[0], "sbn")[3]
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = 1
    with pytest.raises(DataError, match="no 'Events/event_id'"):
        LarcvFile(tmp_path / "other.h5", "sbn")


def test_damaged_tables_give_one_line(file):
    with h5py.File(file[0], "r+") as data:
        data["Data/cluster3d_sbn_group/cluster_extents"][0] = (0, 10_000, 0)
    with pytest.raises(DataError, match=r"event 0: .*voxels: rows 0 to 10000 of") as caught:
        LarcvFile(file[0], "sbn", "sbn")[0]
    assert str(caught.value).startswith(str(file[0]))
    assert "\n" not in str(caught.value)
