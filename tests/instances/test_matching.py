from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oasis.data.instances import Instances
from oasis.errors import ConfigError, DataError
from oasis.instances.matching import Pairs, count, match, overlaps, panoptic_quality


def random_instances(rng, number, shape=(1, 6, 7), classes=2):
    size = int(np.prod(shape))
    pixels = [np.sort(rng.choice(size, rng.integers(1, 14), replace=False)) for _ in range(number)]
    values = [rng.uniform(1, 9, len(part)) for part in pixels]
    return Instances.pack(shape, rng.integers(classes, size=number), pixels, values)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), by=st.sampled_from(["mask", "weighted", "box"]))
def test_overlaps_against_dense_maps(seed, by):
    rng = np.random.default_rng(seed)
    first, second = (random_instances(rng, rng.integers(0, 6)) for _ in range(2))
    pairs = overlaps(first, second, by)
    found = {(int(a), int(b)): iou for a, b, iou in zip(pairs.predicted, pairs.true, pairs.iou, strict=True)}
    expected = {}
    for a in range(len(first)):
        for b in range(len(second)):
            one, other = first.dense(a), second.dense(b)
            if by == "weighted":
                iou = np.minimum(one, other).sum() / np.maximum(one, other).sum()
            else:
                one, other = (boxed(each) if by == "box" else each > 0 for each in (one, other))
                iou = (one & other).sum() / (one | other).sum()
            if iou > 0:
                expected[a, b] = iou
    assert found.keys() == expected.keys()
    for key, iou in expected.items():
        assert found[key] == pytest.approx(iou, rel=1e-6)


def boxed(values):
    lit = values.any(axis=0)
    box = np.zeros_like(lit)
    rows, cols = (np.flatnonzero(lit.any(axis)) for axis in (1, 0))
    box[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] = True
    return box


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), threshold=st.sampled_from([0.0, 0.1, 0.3]))
def test_the_assignment_against_all_orders(seed, threshold):
    rng = np.random.default_rng(seed)
    first, second = (random_instances(rng, rng.integers(1, 6), classes=1) for _ in range(2))
    pairs = overlaps(first, second).above(threshold)
    table = np.zeros((5, 5))
    table[pairs.predicted, pairs.true] = pairs.iou
    best = max(sum(table[row, col] for row, col in enumerate(order)) for order in permutations(range(5)))
    found = match(pairs)
    assert found.iou.sum() == pytest.approx(best)
    assert len(set(found.predicted.tolist())) == len(set(found.true.tolist())) == len(found.iou)


def labels(rng, number, shape=(24, 24)):
    """Disjoint rectangles of two classes, as a label image and as instances."""
    image = np.zeros(shape, np.int64)
    for index in range(1, number + 1):
        row, col = rng.integers(0, 20, 2)
        height, width = rng.integers(2, 8, 2)
        part = image[row : row + height, col : col + width]
        part[part == 0] = index
    kept = [index for index in range(1, number + 1) if (image == index).any()]
    pixels = [np.flatnonzero(image == index) for index in kept]
    classes = [index % 2 for index in kept]
    return image, Instances.pack((1, *shape), classes, pixels, [np.ones(len(part)) for part in pixels])


def of_class(image, label):
    """A label image of the instances of one class, numbered from 1."""
    numbers = np.zeros_like(image)
    for number, index in enumerate([i for i in np.unique(image) if i and i % 2 == label], start=1):
        numbers[image == index] = number
    return numbers


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.8])
def test_disjoint_instances_have_the_counts_of_monai(threshold):
    metrics = pytest.importorskip("monai.metrics.panoptic_quality")
    rng, different = np.random.default_rng(1), 0
    for _ in range(60):
        (image, first), (other, second) = labels(rng, 9), labels(rng, 9)
        found, best = (count(first, second, 2, threshold, drop=drop) for drop in ("last", "first"))
        for label in (0, 1):
            pair = [torch.from_numpy(of_class(each, label)) for each in (image, other)]
            if not pair[0].any() or not pair[1].any():
                continue
            counted = metrics.compute_panoptic_quality(
                *pair, match_iou_threshold=threshold, output_confusion_matrix=True
            ).tolist()
            ours = (found.matched[label], found.unmatched[label], found.missed[label], found.iou[label])
            assert ours == pytest.approx(counted, abs=1e-5)
            assert best.iou[label] >= found.iou[label] - 1e-12
            different += best.iou[label] > found.iou[label] + 1e-6
    assert different == 0 or threshold < 0.5


def test_pairs_that_are_dropped_last_can_cost_others():
    predicted = Instances.pack((1, 10), [0, 0], [[3, 6, 9], [0, 1, 2, 4, 7, 8]], [[1] * 3, [1] * 6])
    true = Instances.pack((1, 10), [0, 0], [[0, 2, 3, 8, 9], [4, 5, 7]], [[1] * 5, [1] * 3])
    assert overlaps(predicted, true).iou == pytest.approx([1 / 3, 3 / 8, 2 / 7])
    assert count(predicted, true, 1, 0.3).iou == pytest.approx([3 / 8])
    assert count(predicted, true, 1, 0.3, drop="last").iou == pytest.approx([1 / 3])  # 1/3 + 2/7 > 3/8


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.8])
def test_disjoint_instances_against_monai(threshold):
    metrics = pytest.importorskip("monai.metrics.panoptic_quality")
    rng = np.random.default_rng(1)
    for _ in range(12):
        (predicted, first), (true, second) = labels(rng, 9), labels(rng, 9)
        mixed = np.where(rng.random() < 0.7, true, predicted)
        first = second if (mixed == true).all() and rng.random() < 0.5 else first
        image = true if first is second else predicted
        found = count(first, second, 2, threshold)
        for label in (0, 1):
            pair = [torch.from_numpy(of_class(each, label)) for each in (image, true)]
            if not pair[0].any() or not pair[1].any():
                continue
            rq, sq, pq = (
                float(metrics.compute_panoptic_quality(*pair, metric_name=name, match_iou_threshold=threshold))
                for name in ("rq", "sq", "pq")
            )
            matched = found.matched[label]
            half = matched + (found.unmatched[label] + found.missed[label]) / 2
            assert matched / half == pytest.approx(rq, abs=1e-5)
            if matched:
                assert found.iou[label] / matched == pytest.approx(sq, abs=1e-5)
            assert found.iou[label] / half == pytest.approx(pq, abs=1e-5)


def test_disjoint_instances_against_torchmetrics():
    detection = pytest.importorskip("torchmetrics.detection")
    rng = np.random.default_rng(2)
    metric = detection.PanopticQuality(things={1, 2}, stuffs={0}, return_per_class=True)
    counts = []
    for _ in range(10):
        (_, first), (_, second) = labels(rng, 6), labels(rng, 6)
        first = second if rng.random() < 0.6 else first
        counts.append(count(first, second, 2))
        panes = []
        for each in (first, second):
            pane = np.zeros((24 * 24, 2), np.int64)
            pane[each.pixels, 0] = np.repeat(np.asarray(each.labels) + 1, each.sizes)
            pane[each.pixels, 1] = each.owners + 1
            panes.append(torch.from_numpy(pane).view(1, 24, 24, 2))
        metric.update(*panes)
    table = panoptic_quality(counts, ["even", "odd"], resamples=50)
    per_class = metric.compute().flatten().tolist()
    order = [metric.cat_id_to_continuous_id[label] for label in (1, 2)]
    np.testing.assert_allclose(table["pq"], [per_class[place] for place in order], atol=1e-5)
    assert (table["pq_low"] <= table["pq"]).all()
    assert (table["pq"] <= table["pq_high"]).all()


def test_an_instance_may_overlap_several_and_matches_one():
    long = Instances.pack((1, 8), [0], [range(8)], [np.ones(8)])
    parts = Instances.pack((1, 8), [0, 0], [range(5), range(4, 8)], [np.ones(5), np.ones(4)])
    found = count(long, parts, 1, threshold=0.4)
    assert (found.matched[0], found.unmatched[0], found.missed[0]) == (1, 0, 1)
    assert found.iou[0] == pytest.approx(5 / 8)


def test_a_match_has_to_exceed_the_threshold():
    one = Instances.pack((1, 4), [0], [[0, 1]], [[1, 1]])
    half = Instances.pack((1, 4), [0], [[0]], [[1]])
    assert count(half, one, 1, threshold=0.5).matched[0] == 0
    assert count(half, one, 1, threshold=0.49).matched[0] == 1


def test_classes_do_not_match_unless_blind():
    one = Instances.pack((1, 4), [0], [[0, 1]], [[1, 1]])
    other = Instances.pack((1, 4), [1], [[0, 1]], [[1, 1]])
    apart = count(one, other, 2)
    assert (apart.matched.tolist(), apart.unmatched.tolist(), apart.missed.tolist()) == ([0, 0], [1, 0], [0, 1])
    assert count(one, other, 2, blind=True).matched.tolist() == [1]


def test_nothing_against_nothing_is_undefined():
    nothing = Instances.pack((1, 4), [], [], [])
    table = panoptic_quality([count(nothing, nothing, 1)], ["a"])
    assert table[["pq", "sq", "rq"]].isna().all(axis=None)


def test_what_does_not_fit_is_refused():
    one = Instances.pack((1, 4), [0], [[0, 1]], [[1, 1]])
    with pytest.raises(DataError, match="cannot be matched"):
        overlaps(one, Instances.pack((1, 5), [0], [[0, 1]], [[1, 1]]))
    with pytest.raises(ConfigError, match="expected an IoU of at least 0 and below 1"):
        count(one, one, 1, threshold=1.0)


def test_pairs_of_many_instances_are_matched_part_by_part():
    size = 20000
    pairs = Pairs(np.arange(size), np.arange(size)[::-1].copy(), np.full(size, 0.7))
    assert len(match(pairs).iou) == size
