"""The classical chain: its filter against the written-out loop, its clustering against scikit-learn, its light."""

import numpy as np
import pytest

from oasis.adapters.cygno.chain import Chain, rebinned, reduced, weighted_dbscan
from oasis.adapters.cygno.digitisation import Digitisation
from oasis.errors import DataError


def raster(image, difference, neighbours):
    """The filter as the reconstruction writes it: every pixel in turn, in place."""
    out = image.astype(np.float64)
    out[:2] = out[-2:] = 0
    out[:, :2] = out[:, -2:] = 0
    height, width = out.shape
    for row in range(2, height - 2):
        for col in range(2, width - 2):
            around = [out[row + dr, col + dc] for dr in (-1, 0, 1) for dc in (-1, 0, 1) if (dr, dc) != (0, 0)]
            mean = sum(around) / 8
            if abs(out[row, col] - mean) > difference:
                out[row, col] = mean
            if mean < neighbours:
                out[row, col] = 0
            if sum(value != 0 for value in (*around, out[row, col])) < 3:
                out[row, col] = 0
    return out


@pytest.mark.parametrize("density", [0.02, 0.2, 1.0])
def test_the_filter_is_the_raster_loop(density):
    rng = np.random.default_rng(0)
    image = rng.exponential(3, (120, 96)) * (rng.random((120, 96)) < density)
    image[40:50, 40:50] += 60  # so that pixels are replaced by their mean and light up others
    image = np.rint(8 * image) / 8  # sums are exact
    assert np.array_equal(reduced(image, 10.0, 1.1), raster(image, 10.0, 1.1).astype(np.float32))


def test_sparse_macro_pixels_are_filtered_exactly():
    rng = np.random.default_rng(1)
    image = np.where(rng.random((240, 200)) < 0.05, np.rint(rng.exponential(4, (240, 200))), 0)
    assert np.array_equal(reduced(image, 10.0, 1.2), raster(image, 10.0, 1.2).astype(np.float32))


@pytest.mark.parametrize(("eps", "samples"), [(3.0, 10), (12.0, 20)])
def test_clusters_are_those_of_scikit_learn(eps, samples):
    cluster = pytest.importorskip("sklearn.cluster")
    rng = np.random.default_rng(2)
    centres = rng.integers(0, 200, (8, 2))
    points = np.unique(
        np.concatenate([np.rint(rng.normal(centre, 4, (25, 2))) for centre in centres]).astype(int), axis=0
    )
    points = np.concatenate([points, rng.integers(0, 200, (60, 2))])
    weights = rng.integers(1, 4, len(points)).astype(float)
    expected = cluster.DBSCAN(eps=eps, min_samples=samples, metric="manhattan").fit(points, sample_weight=weights)
    found = weighted_dbscan(points, weights, eps, samples)
    assert found.max() >= 1
    assert np.array_equal(found, expected.labels_)
    assert not len(weighted_dbscan(np.empty((0, 2)), np.empty(0), eps, 20))


def test_bright_spots_are_found_with_their_light():
    rng, tpc = np.random.default_rng(3), Digitisation()
    light, (top, left) = tpc.spot(1e6, 100.0, 120.0, 20.0)
    rms = np.full((203, 240), 2.3, np.float32)
    image = (rng.standard_normal(rms.shape) * rms).astype(np.float32)
    image[top : top + len(light), left : left + light.shape[1]] += rng.poisson(light)
    found = Chain()(image, rms)
    assert len(found) == 1
    assert found.integral[0] == pytest.approx(light.sum(), rel=0.1)
    rows, cols = np.unravel_index(found.pixels[0], image.shape)
    assert (rows.mean(), cols.mean()) == pytest.approx((100, 120), abs=2)
    assert found.sent % 16 == 0
    assert len(Chain(rows=(150, 200))(image, rms)) == 0


def test_saturated_pixels_are_set_to_0():
    image, rms = np.zeros((64, 64), np.float32), np.ones((64, 64), np.float32)
    image[20:40, 20:40] = 6000
    assert len(Chain()(image, rms)) == 0
    assert len(Chain(ceiling=7000)(image, rms)) == 1


def test_noise_maps_are_checked():
    image = np.zeros((64, 64), np.float32)
    with pytest.raises(DataError, match=r"noise map of \(32, 64\)"):
        Chain()(image, np.ones((32, 64), np.float32))
    with pytest.raises(DataError, match="1 pixels with an rms of 0 or NaN"):
        Chain()(image, 1 - np.eye(64, 64, dtype=np.float32)[:1].T @ np.eye(1, 64, dtype=np.float32))


def test_macro_pixels_are_means():
    image = np.random.default_rng(4).random((16, 24)).astype(np.float32)
    assert rebinned(image)[2, 3] == pytest.approx(image[8:12, 12:16].mean(), rel=1e-5)
