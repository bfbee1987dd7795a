"""BTK's metrics against BTK itself where it is installed, else against loops over pixels."""

import numpy as np
import pytest

from oasis.adapters.galaxy import btk
from oasis.adapters.galaxy.baselines.matching import match


@pytest.fixture(scope="module")
def images():
    """Two stacks (6, 40, 40) of galaxies, the second distorted, in electrons."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :40]
    galaxies = [
        rng.uniform(1e3, 1e5) * np.exp(-((x - a) ** 2 + (y - b) ** 2) / rng.uniform(10, 60))
        for a, b in rng.uniform(12, 28, (6, 2))
    ]
    first = np.stack(galaxies)
    return first, np.maximum(0.6 * np.roll(first, 1, axis=2) + rng.normal(0, 200, first.shape), 0)


def theirs():
    """The modules of BTK, which needs older versions of numpy and astropy than this package."""
    pytest.importorskip("btk", reason="blending-toolkit is not installed", exc_type=ImportError)
    import btk.match
    import btk.measure
    import btk.metrics.detection
    import btk.metrics.utils

    return btk


def test_metrics_of_images_are_those_of_btk(images):
    utils = theirs().metrics.utils
    for name in ("mse", "psnr", "struct_sim"):
        assert getattr(btk, name)(*images) == pytest.approx(getattr(utils, name)(*images), rel=1e-6)


def test_signal_to_noise_and_blendedness_are_those_of_btk(images):
    from oasis.adapters.galaxy.photometry import object_columns

    measure, sky = theirs().measure, 900.0
    true = images[0][:3, None]
    rows = object_columns(true, true, [np.sqrt(sky)], ["r"], 0.2, gain=1.0)
    assert [row["btk_snr"] for row in rows] == pytest.approx(measure.get_snr(images[0][:3], sky), rel=1e-6)
    blendedness = measure.get_blendedness(images[0][:3])
    assert [row["blendedness"] for row in rows] == pytest.approx(blendedness, abs=1e-6)


def test_matches_purity_and_completeness_are_those_of_btk():
    from astropy.table import Table

    package, rng, counts = theirs(), np.random.default_rng(1), []
    matcher = package.match.PixelHungarianMatcher(pixel_max_sep=5.0)
    for _ in range(200):
        wanted, found = (rng.uniform(0, 20, (count, 2)) for count in rng.integers(1, 6, 2))
        catalogues = [Table({"x_peak": one[:, 1], "y_peak": one[:, 0]}) for one in (wanted, found)]
        true, detected = matcher.match_catalogs(*catalogues)
        owners = match(found, wanted)
        assert {*zip(true.tolist(), detected.tolist(), strict=True)} == {
            (int(owner), number) for number, owner in enumerate(owners) if owner >= 0
        }
        counts.append([(owners >= 0).sum(), len(found), len(wanted)])
    matched, detected, wanted = np.array(counts).T
    detection = package.metrics.detection
    for name, ours in (
        ("Precision", btk.precision(matched, detected)),
        ("Recall", btk.recall(matched, wanted)),
        ("F1", btk.f1(matched, detected, wanted)),
    ):
        metric = getattr(detection, name)(len(matched))
        data = metric._get_data(matched, wanted, detected)
        assert ours == pytest.approx(metric._compute(data))


def test_metrics_of_images_follow_their_equations(images):
    from skimage.metrics import structural_similarity

    for number, (one, other) in enumerate(zip(*images, strict=True)):
        squares = [(a - b) ** 2 for a, b in zip(one.ravel().tolist(), other.ravel().tolist(), strict=True)]
        assert btk.mse(*images)[number] == pytest.approx((sum(squares) / 1600) ** 0.5)
        one, other = one / one.max(), other / other.max()
        ratio = 10 * np.log10(1 / ((one - other) ** 2).mean())
        assert btk.psnr(*images)[number] == pytest.approx(ratio)
        assert btk.struct_sim(*images)[number] == pytest.approx(structural_similarity(one, other, data_range=1))


def test_flux_does_not_count_and_shot_noise_does(images):
    first, _ = images
    assert np.isinf(btk.psnr(first, 0.5 * first)).all()
    assert btk.struct_sim(first, 0.5 * first) == pytest.approx(1)
    sky = np.sqrt((first**2).sum(axis=(1, 2)) / 900)
    assert btk.snr(first, 900.0) == pytest.approx(sky)
    total = [sum(g * g / (g / 2.0 + 900) for g in one.ravel().tolist()) ** 0.5 for one in first]
    assert btk.snr(first, 900.0, gain=2.0) == pytest.approx(total)
    assert (btk.snr(first, 900.0, gain=2.0) < sky).all()


def test_images_without_light_have_no_ratio():
    dark, light = np.zeros((1, 9, 9)), np.ones((1, 9, 9))
    for metric in (btk.psnr, btk.struct_sim):
        assert np.isnan(metric(light, dark)).all()


def test_purity_and_completeness_are_over_all_images():
    matched, detected, galaxies = [2, 0], [3, 1], [2, 6]
    assert btk.purity(matched, detected) == 0.5
    assert btk.completeness(matched, galaxies) == 0.25
    assert btk.f1(matched, detected, galaxies) == pytest.approx(1 / 3)
    assert np.isnan(btk.purity([0], [0]))
