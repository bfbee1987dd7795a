"""Baselines and metrics of the CCD adapter, on objects whose result is known."""

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from oasis.adapters.ccd.adapter import CcdAdapter
from oasis.adapters.ccd.baselines import Cuts, box_sums, classical, components, shapes
from oasis.adapters.ccd.metrics import Energies, chi2, median_interval, paper_counts, spectrum_distance
from oasis.data.instances import Instances
from oasis.errors import DataError
from oasis.evaluation.instances import visible
from oasis.instances.matching import count, panoptic_quality

CLASSES = ("beta", "ce", "photon", "muon")


def drawn(line, width=1.0, charge=300.0, shape=(64, 64)):
    """Return an image of charge along a line of points (k, 2)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = np.zeros(shape)
    for row, column in line:
        image += charge * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * width**2))
    return image.astype(np.float32)


def straight(length, angle, origin=(20, 15)):
    path = np.arange(0, length, 0.5)
    return np.column_stack([origin[0] + path * np.sin(angle), origin[1] + path * np.cos(angle)])


@pytest.mark.parametrize("angle", [0.0, 0.4, np.pi / 4, np.pi / 2])
def test_a_line_has_its_length_and_no_bend(angle):
    image = drawn(straight(30, angle))
    found = shapes(components(image[None], 1.6))
    assert len(found.charge) == 1
    assert found.charge[0] == pytest.approx(image.sum(), rel=0.01)
    assert found.length[0] == pytest.approx(30 + 2 * 3, abs=2.5)
    assert found.bend[0] < 0.15
    turn = np.linspace(0, np.pi, 100)
    curve = np.column_stack([30 + 12 * np.sin(turn), 30 + 12 * np.cos(turn)])
    assert shapes(components(drawn(curve)[None], 1.6)).bend[0] > 2


def test_classes_follow_from_shape_and_energy():
    spot = drawn([(10, 10)], 0.8, 1.0)
    spot /= spot.sum()
    turn = np.linspace(0, np.pi, 100)
    curve = np.column_stack([44 + 10 * np.sin(turn), 44 + 10 * np.cos(turn)])
    pieces = {
        "photon": spot * 31e3 / 3.6,
        "ce": drawn(curve, 1.0, 1.0) / drawn(curve, 1.0, 1.0).sum() * 213.8e3 / 3.6,
        "muon": drawn(straight(30, 0.1, (3, 25))),
    }
    found = classical(sum(pieces.values())[None], 1.6, CLASSES)
    assert sorted(CLASSES[label] for label in found.labels) == ["ce", "muon", "photon"]
    merged = classical(sum(pieces.values())[None], 1.6, ("electron", "photon", "muon"))
    assert sorted(merged.labels.tolist()) == [0, 1, 2]
    strict = classical(sum(pieces.values())[None], 1.6, CLASSES, cuts=Cuts(muon_pixels=60, photon_kev=(1, 2)))
    assert sorted(CLASSES[label] for label in strict.labels) == ["beta", "beta", "ce"]


def test_an_empty_image_has_no_objects():
    found = classical(np.zeros((1, 20, 20), np.float32), 1.6, CLASSES)
    assert len(found) == 0
    assert len(box_sums(np.zeros((1, 20, 20), np.float32), found)) == 0


def test_other_classes_and_no_noise_are_refused():
    image = np.zeros((1, 20, 20), np.float32)
    with pytest.raises(DataError, match="the cuts know the classes"):
        classical(image, 1.6, ("front", "back", "bulk"))
    with pytest.raises(DataError, match="an rms above 0"):
        classical(image, 0.0, CLASSES)


def test_box_sums_are_sums_over_boxes():
    adapter = CcdAdapter({"rate": 30, "events": {"test": 2}})
    sample = adapter.dataset("test")[1]
    true = visible(sample.instances, list(adapter.limits.values()), sample.valid)
    expected = [
        sample.image[0][tuple(slice(*ends) for ends in box)].sum(dtype=float) for box in true.boxes.tolist()
    ]
    np.testing.assert_allclose(box_sums(sample.image, true), expected, rtol=1e-5)
    assert (np.array(expected) > true.intensity[:, 0] * 1.05).any()


def test_isolated_objects_are_found_by_components():
    """Nearly all at the rate of the paper, where hardly any two objects touch."""
    adapter = CcdAdapter({"rate": 1, "evaluation_size": [256, 256], "events": {"test": 12}})
    counts = []
    for sample in map(adapter.dataset("test").__getitem__, range(12)):
        true = visible(sample.instances, list(adapter.limits.values()), sample.valid)
        found = classical(sample.image, adapter.options.sensor.noise_e, adapter.classes)
        counts.append(count(found, true, 1, blind=True))
    assert panoptic_quality(counts, ["any"], resamples=10)["pq"][0] > 0.85


def test_the_papers_counting_allows_several_boxes_on_one_object():
    square = [row * 10 + column for row in range(1, 5) for column in range(1, 5)]
    larger = [row * 10 + column for row in range(1, 6) for column in range(1, 5)]
    far = [77, 78, 87, 88]
    true = Instances.pack((1, 10, 10), [0, 1], [square, far], [[1] * 16, [1] * 4])
    found = Instances.pack((1, 10, 10), [0, 0, 0], [square, larger, far], [[1] * 16, [1] * 20, [1] * 4])
    counts = paper_counts(found, true, 2)
    assert counts.matched.tolist() == [2, 0]
    assert counts.unmatched.tolist() == [1, 0]
    assert counts.missed.tolist() == [0, 0]  # boxed, though with the wrong label
    assert counts.iou.tolist() == pytest.approx([1 + 16 / 20, 0])
    strict = count(found, true, 2)
    assert strict.matched.tolist() == [1, 0]
    assert strict.missed.tolist() == [0, 1]
    nothing = Instances.pack((1, 10, 10), [], [], [])
    assert paper_counts(nothing, true, 2).missed.tolist() == [1, 1]
    assert paper_counts(found, nothing, 2).unmatched.tolist() == [3, 0]


def test_energies_of_objects_that_share_pixels():
    true = Instances.pack((1, 1, 9), [0, 1, 0], [[0, 1, 2], [2, 3], [6, 7]], [[2, 2, 2], [3, 3], [5, 5]])
    found = Instances.pack((1, 1, 9), [0, 1, 1], [[0, 1, 2], [2, 3], [6, 7]], [[2, 2, 5], [3, 3], [4, 4]])
    energies = Energies.of(found, true)
    assert energies.ratio.tolist() == pytest.approx([1.5, 1, 0.8])
    assert energies.shares.tolist() == [True, True, False]
    assert energies.label.tolist() == [0, 1, 0]
    double = Energies.concatenate([energies, Energies.of(found, true, charge=np.array([6.0, 6.0, 10.0]))])
    assert double.ratio[3:].tolist() == pytest.approx([1, 1, 1])
    assert median_interval(double.ratio[double.shares]).value == pytest.approx(1)
    assert np.isnan(median_interval(np.empty(0)).value)


def test_distances_of_spectra():
    rng = np.random.default_rng(0)
    one, other = (rng.exponential(scale, (20, 30)) for scale in (100, 130))
    found = spectrum_distance(list(one), list(other), resamples=50)
    assert found.value == pytest.approx(wasserstein_distance(one.ravel(), other.ravel()))
    assert found.low < found.value < found.high
    assert spectrum_distance(list(one), list(one), resamples=20).value == 0
    assert chi2(one.ravel(), other.ravel()) > chi2(one.ravel(), rng.exponential(100, 600))
    with pytest.raises(DataError, match="a spectrum without any object"):
        spectrum_distance([np.empty(0)], [np.ones(3)])
