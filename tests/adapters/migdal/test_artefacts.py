"""What a real camera shows beside tracks and noise: off by default, and each as its option says."""

import numpy as np
import pytest

from oasis.adapters.migdal import MigdalAdapter
from oasis.adapters.migdal.artefacts import Artefacts
from oasis.adapters.migdal.detector import Detector
from oasis.errors import ConfigError
from oasis.run import Run

COUNT = 24
QUIET = {"noise_adu": 0.0}


def samples(**artefacts: object) -> list:
    options = {"events": {"val": COUNT}, "detector": QUIET, "artefacts": artefacts}
    dataset = MigdalAdapter(options, seed=4).dataset("val")
    return [dataset[index] for index in range(COUNT)]


@pytest.fixture(scope="module")
def plain() -> list:
    return samples()


def test_nothing_is_added_by_default(plain) -> None:
    for sample in plain:
        np.testing.assert_allclose(sample.image[0], sample.target.sum(axis=(0, 1)), rtol=1e-5)


def test_a_second_recoil_is_in_the_map_of_recoils(plain) -> None:
    for one, other in zip(samples(pile_up=1.0), plain, strict=True):
        assert (one.target[1] >= other.target[1]).all()
        np.testing.assert_array_equal(one.target[0], other.target[0])
        np.testing.assert_allclose(one.image[0], one.target.sum(axis=(0, 1)), rtol=1e-5)
        assert len([label for label in one.instances.labels if label == 1]) in (1, 2)
    assert np.mean([one.target[1].sum() for one in samples(pile_up=1.0)]) > 1.2 * np.mean(
        [other.target[1].sum() for other in plain]
    )


def test_an_afterglow_is_in_the_image_alone(plain) -> None:
    found = samples(afterglow=1.0, afterglow_share=0.1)
    added = [one.image.sum() - other.image.sum() for one, other in zip(found, plain, strict=True)]
    assert min(added) >= 0
    light = np.mean([other.target[1].sum() for other in plain])
    assert 0.03 * light < np.mean(added) < 0.12 * light
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_array_equal(one.target, other.target)


def test_the_shutter_hides_rows_of_image_and_maps(plain) -> None:
    cut = 0
    for one, other in zip(samples(shutter_cut=1.0), plain, strict=True):
        kept = (one.target == other.target).all(axis=(0, 1, 3))
        assert not one.target[:, :, ~kept].any()
        np.testing.assert_allclose(one.image[0], one.target.sum(axis=(0, 1)), rtol=1e-5)
        assert np.abs(np.diff(kept.astype(int))).sum() <= 2
        cut += one.target.sum() < 0.999 * other.target.sum()
    assert cut > 0.8 * COUNT


def test_sparks_hot_pixels_and_columns_have_the_light_they_are_given() -> None:
    rng, detector, shape = np.random.default_rng(0), Detector(), (200, 300)
    spark = Artefacts(sparks=1.0, spark_adu=(5000, 5000), spark_mm=0.5)
    light = [spark.background(shape, detector, rng).sum() for _ in range(20)]
    np.testing.assert_allclose(light, 5000, rtol=1e-4)
    hot = Artefacts(hot_pixels=30, hot_adu=(100, 100))
    light = [hot.background(shape, detector, rng).sum() / 100 for _ in range(60)]
    assert np.mean(light) == pytest.approx(30, abs=3)
    columns = Artefacts(column_adu=10.0).background(shape, detector, rng)
    assert np.abs(columns - columns[0]).max() < 1e-3
    assert 1 < columns[0].std() < 10


def test_full_pixels_are_cut_off_in_the_image_alone(plain) -> None:
    found = samples(saturation=500.0)
    assert max(one.image.max() for one in found) == 500
    for one, other in zip(found, plain, strict=True):
        np.testing.assert_array_equal(one.target, other.target)
        np.testing.assert_array_equal(one.image, np.minimum(other.image, 500))


def test_wrong_values_are_refused() -> None:
    for wrong in ({"pile_up": 1.5}, {"spark_adu": (5, 1)}, {"hot_pixels": -1}, {"storm": 1}):
        with pytest.raises(ConfigError, match="artefacts"):
            MigdalAdapter({"artefacts": wrong})


def test_electrons_are_imaged_like_recoils_on_request(plain) -> None:
    def electrons(clean: bool) -> list:
        options = {"events": {"val": COUNT}, "alone": 1.0, "clean_electrons": clean}
        dataset = MigdalAdapter(options, seed=4).dataset("val")
        return [dataset[index] for index in range(COUNT)]

    halo = Detector().halo
    brighter = []
    for one, clean in zip(electrons(False), electrons(True), strict=True):
        brighter.append(one.target[0].sum() / clean.target[0].sum())
        assert (clean.image >= clean.target[0]).all()
        below = one.image[0] < one.target[0, 0]  # where noise is negative
        assert below[one.target[0, 0] > 0].mean() > 0.1
    assert 1 + halo / 2 < np.median(brighter) < 1 + 1.5 * halo


def varied(**variation: object) -> list:
    options = {"events": {"val": COUNT}, "detector": QUIET, "clean_electrons": False, "variation": variation}
    dataset = MigdalAdapter(options, seed=4).dataset("val")
    return [dataset[index] for index in range(COUNT)]


@pytest.mark.parametrize("constant", ["blur_mm", "halo", "halo_mm"])
def test_constants_vary_within_their_range(constant) -> None:
    low, high = (varied(**{constant: [value, value]}) for value in (0.3, 0.9))
    between = varied(**{constant: [0.3, 0.9]})
    for label in (
        0,
        1,
    ):  # the same constants for both tracks, of which more light lies far from the brightest pixel
        peaks = [
            np.array(
                [
                    one.target[label].max() / max(one.target[label].sum(), 1)
                    for one in each
                    if one.target[label].any()
                ]
            )
            for each in (low, between, high)
        ]
        assert peaks[0].mean() > peaks[1].mean() > peaks[2].mean()
        assert len(set((peaks[1] / peaks[0]).round(3))) > 3  # each event has its own


def test_a_range_needs_its_lower_bound_first() -> None:
    with pytest.raises(ConfigError, match=r"variation\.halo: expected the lower bound first"):
        MigdalAdapter({"variation": {"halo": [0.5, 0.1]}})


def test_the_realistic_example_has_every_artefact(root) -> None:
    run = Run.from_config(root / "examples" / "migdal" / "realistic.yaml")
    artefacts = run.adapter.options.artefacts
    off = [name for name in Artefacts.model_fields if getattr(artefacts, name) == getattr(Artefacts(), name)]
    assert set(off) <= {"afterglow_share", "spark_adu", "spark_mm", "hot_adu"}  # brightness, not known better
    sample = run.dataset("train")[0]
    assert np.isfinite(sample.image).all()
    assert sample.image.max() <= artefacts.saturation
