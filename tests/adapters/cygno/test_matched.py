"""The matched filter: normal in noise, the known significance of a spot, the width that is best."""

import numpy as np
import pytest
from scipy.stats import norm

from oasis.adapters.cygno.clusters import Clustering, Clusters, pixel_curve, recoil_row, threshold_for
from oasis.adapters.cygno.digitisation import Digitisation, brightest
from oasis.adapters.cygno.matched import MatchedFilter
from oasis.errors import DataError

SIZE = 256


def noise_of(rms, seed):
    return (np.random.default_rng(seed).standard_normal(rms.shape) * rms).astype(np.float32)


def test_noise_is_standard_normal():
    rng = np.random.default_rng(0)
    rms = (2.3 * rng.gamma(59, 1 / 59, (SIZE, SIZE))).astype(np.float32)
    rms[rng.random(rms.shape) < 0.01] *= 6
    inner = slice(20, -20)
    scores = [MatchedFilter().significance(noise_of(rms, seed), rms)[inner, inner] for seed in range(20)]
    assert np.std(scores) == pytest.approx(1, abs=0.03)
    assert np.mean(scores) == pytest.approx(0, abs=0.05)


def test_the_false_rate_at_3_sigma_is_that_of_the_normal_distribution():
    """One of a grid of pixels, so that they are independent."""
    rms, step = np.full((SIZE, SIZE), 2.3, np.float32), 18
    scores = np.concatenate(
        [MatchedFilter().significance(noise_of(rms, s), rms)[20:-20:step, 20:-20:step].ravel() for s in range(120)]
    )
    expected = norm.sf(3) * len(scores)
    assert expected > 20
    assert expected / 2 < (scores > 3).sum() < expected * 2


def test_the_significance_of_a_spot_is_the_known_one():
    """A spot of N counts and width s has N / (2 sqrt(pi) s sigma) in white noise."""
    rms = np.full((128, 128), 2.3, np.float32)
    tpc = Digitisation(saturation=0.0)
    light, (top, left) = tpc.spot(1e5, 60.0, 64.0, 25.0)
    image = np.zeros_like(rms)
    image[top : top + len(light), left : left + light.shape[1]] = light
    width = tpc.transverse_pixels(25.0)
    peak = MatchedFilter(width=width).significance(image, rms).max()
    assert peak == pytest.approx(light.sum() / (2 * np.sqrt(np.pi) * width * 2.3), rel=0.01)
    for other in (3.0, 6.5):
        assert MatchedFilter(width=other).significance(image, rms).max() < peak


def test_noisy_pixels_count_less_and_clipping_tames_unknown_ones():
    rms = np.full((64, 64), 2.0, np.float32)
    image = np.zeros_like(rms)
    image[32, 32] = 200
    known = rms.copy()
    known[32, 32] = 60
    unknown = MatchedFilter().significance(image, rms).max()
    assert MatchedFilter().significance(image, known).max() < 0.1 * unknown
    assert MatchedFilter(clip=4.0).significance(image, rms).max() < 0.1 * unknown
    with pytest.raises(DataError, match="rms of 0 or NaN"):
        MatchedFilter().significance(image, rms * 0)


@pytest.fixture(scope="module")
def spot():
    light, (top, left) = Digitisation().spot(4e5, 60.0, 64.0, 20.0)
    clean = np.zeros((128, 128), np.float32)
    clean[top : top + len(light), left : left + light.shape[1]] = light
    return clean


def test_clusters_have_the_light_of_the_recoil(spot):
    rms = np.full(spot.shape, 2.3, np.float32)
    found = MatchedFilter()(spot + noise_of(rms, 1), rms)
    assert len(found) == 1
    row = recoil_row(found, brightest(spot, 0.9), float(spot.sum()))
    assert row["score"] > 10
    assert row["ratio"] == pytest.approx(1, abs=0.15)
    assert 0 < row["precision"] <= 1
    assert row["others"] == 0
    assert {"preselect", "cluster"} == set(found.seconds)


def test_a_recoil_without_a_cluster_is_missed(spot):
    none = Clusters([], np.empty(0), np.empty(0), spot.shape)
    row = recoil_row(none, brightest(spot, 0.9), float(spot.sum()))
    assert row["score"] == -np.inf
    assert np.isnan(row["ratio"])
    assert len(none.above(3.0)) == 0
    assert len(Clustering(cut=1e9)(spot, spot)) == 0  # an empty selection


def test_thresholds_leave_the_fakes_that_are_allowed():
    rng = np.random.default_rng(5)
    empty = [Clusters([np.array([0])] * 5, rng.normal(size=5), np.zeros(5), (512, 512)) for _ in range(81)]
    scores = np.concatenate([one.score for one in empty])
    for fakes in (1, 4):
        threshold = threshold_for(empty, fakes, 2304**2)
        assert (scores > threshold).sum() == int(fakes * 81 * 512**2 / 2304**2)
    assert threshold_for(empty[:1], 1000, 2304**2) == -np.inf


def test_curves_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(6)
    truth = rng.random((4, 30, 30)) < 0.1
    score = (truth + rng.normal(size=truth.shape)).astype(np.float32)
    curve = pixel_curve(list(score), list(truth), points=50)
    expected = metrics.average_precision_score(truth.ravel(), score.ravel())
    assert curve.attrs["area"] == pytest.approx(expected, rel=1e-6)
    for row in curve.itertuples():
        chosen = score >= row.cut
        assert (truth & chosen).sum() / chosen.sum() == pytest.approx(row.precision)
        assert (truth & chosen).sum() / truth.sum() == pytest.approx(row.recall)
    assert not len(pixel_curve([score[0]], [np.zeros_like(truth[0])]))
