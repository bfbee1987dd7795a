"""Instance tables against a count of pixels that is written down plainly."""

import numpy as np
import pytest

from oasis.data.instances import Instances
from oasis.errors import DataError
from oasis.evaluation.instances import visible
from oasis.instances.matching import count
from oasis.instances.table import PREDICTED, counts_of, instance_table, predicted_table

CLASSES = ("a", "b")
SHAPE = (2, 6, 7)


def drawn(rng, most=5):
    """Instances of random pixels, which may share some."""
    number = int(rng.integers(0, most))
    pixels = [np.sort(rng.choice(40, int(rng.integers(1, 9)), replace=False)) for _ in range(number)]
    values = [rng.uniform(1, 9, len(one)).astype(np.float32) for one in pixels]
    meta = [{"energy": float(rng.uniform())} for _ in range(number)]
    return Instances.pack(SHAPE, rng.integers(0, 2, number).tolist(), pixels, values, meta)


@pytest.fixture
def images():
    rng = np.random.default_rng(3)
    true = [drawn(rng) for _ in range(30)]
    predicted = [
        Instances.concatenate([record.select(rng.random(len(record)) < 0.7), drawn(rng, 2)]) for record in true
    ]
    return predicted, true


def plain(record, index):
    """Class, pixels, intensity, mean place and shared pixels of an instance."""
    dense = record.dense(index)
    lit = dense > 0
    others = np.any(
        [record.dense(i) > 0 for i in range(len(record)) if i != index] or [np.zeros_like(lit)], axis=0
    )
    places = [float((grid * dense).sum() / dense.sum()) for grid in np.indices(dense.shape)[1:]]
    name = CLASSES[int(record.labels[index])]
    return name, int(lit.sum()), float(dense.sum()), places, float((lit & others).sum() / lit.sum())


def test_every_instance_has_a_row_with_what_a_plain_count_gives(images):
    predicted, true = images
    table = instance_table(predicted, true, CLASSES)
    for kind, records in (("true", true), ("predicted", predicted)):
        rows = table[table[f"pixels_{kind}"].notna()]
        assert len(rows) == sum(map(len, records))
        for image, record in enumerate(records):
            found = rows[rows["image"] == image]
            expected = sorted(plain(record, index) for index in range(len(record)))
            columns = ("class", f"pixels_{kind}", f"intensity_{kind}", f"shared_{kind}")
            for one, row in zip(
                expected, sorted(found[list(columns)].itertuples(index=False, name=None)), strict=True
            ):
                assert row[:2] == one[:2]
                np.testing.assert_allclose(row[2:], (one[2], one[4]), rtol=1e-6)
    first = table[(table["image"] == 4) & table["pixels_true"].notna()].reset_index()
    for index, row in first.iterrows():
        np.testing.assert_allclose([row["position_0"], row["position_1"]], plain(true[4], index)[3], rtol=1e-6)
        assert row["energy_true"] == true[4].table["energy"][index]


def test_outcomes_are_those_that_count_gives(images):
    predicted, true = images
    table = instance_table(predicted, true, CLASSES)
    counts = [count(one, other, 2) for one, other in zip(predicted, true, strict=True)]
    for found, expected in zip(counts_of(table, CLASSES, len(true)), counts, strict=True):
        np.testing.assert_allclose(found.iou, expected.iou)
        for name in ("matched", "unmatched", "missed"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    for label, name in enumerate(CLASSES):
        rows = table[table["class"] == name]
        for outcome, counted in (("matched", "matched"), ("false", "unmatched"), ("missed", "missed")):
            assert (rows["outcome"] == outcome).sum() == sum(getattr(each, counted)[label] for each in counts)
        assert rows["iou"].sum() == pytest.approx(sum(each.iou[label] for each in counts))
    assert table["iou"].notna().equals(table["outcome"] == "matched")


def test_images_are_not_matched_with_one_another():
    one = Instances.pack((1, 4), [0], [[1, 2]], [[1, 1]])
    nothing = Instances.pack((1, 4), [], [], [])
    table = instance_table([one, nothing], [nothing, one], ["a"])
    assert table["outcome"].tolist() == ["missed", "false"]
    assert table["image"].tolist() == [1, 0]
    with pytest.raises(DataError, match="images of one shape"):
        Instances.stack([one, Instances.pack((1, 5), [], [], [])])


def test_nothing_at_all_is_an_empty_table():
    nothing = Instances.pack((1, 4), [], [], [])
    assert len(instance_table([nothing], [nothing], ["a"])) == 0
    table = predicted_table([nothing], ["a"])
    assert len(table) == 0
    assert list(table.columns[1 : 1 + len(PREDICTED)]) == list(PREDICTED)


def test_only_what_can_be_seen_counts():
    true = Instances.pack((1, 6), [0, 0, 1], [[0, 1, 2], [4], [1, 5]], [[5, 0.5, 5], [0.9], [0.9, 0.9]])
    valid = np.array([[True, True, False, True, True, True]])
    seen = visible(true, [1.0, 0.5], valid)
    assert [seen.dense(i).ravel().nonzero()[0].tolist() for i in range(len(seen))] == [[0], [1, 5]]
    assert seen.labels.tolist() == [0, 1]
