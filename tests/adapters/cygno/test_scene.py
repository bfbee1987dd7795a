"""The scene: recoils with their truth, light outside the true pixels, empty images, tracks above recoils."""

import numpy as np
import pytest

from oasis.adapters.cygno import CygnoAdapter
from oasis.adapters.cygno.scene import RECOIL, TRACK
from oasis.errors import ConfigError
from oasis.testing import check_adapter

SMALL = {"train": 8, "val": 90, "test": 4}
FEW = {"val": 20}
QUIET = {"rms": 0.01, "spread": 0.01, "hot": 0, "telegraph": 0, "row": 0}


def samples_of(split="val", **options):
    dataset = CygnoAdapter({"events": SMALL, "size": [96, 96], **options}, seed=1).dataset(split)
    return [dataset[index] for index in range(len(dataset))]


@pytest.fixture(scope="module")
def samples():
    return samples_of()


def test_the_contract_is_kept_with_tracks():
    options = {"events": {"train": 16, "val": 8, "test": 12}, "size": [96, 96], "tracks": 1.5, "recoils": [1, 3]}
    check_adapter(CygnoAdapter, options, count=8)


def test_recoils_have_the_energies_in_turns_and_some_images_are_empty(samples):
    energies = np.array([sample.meta["recoil_energy"] for sample in samples])
    for index, energy in enumerate(energies):
        assert energy in (0, (0.25, 0.5, 1.0)[index % 3])
    assert (energies == 0).mean() == pytest.approx(0.2, abs=0.13)
    assert all(not sample.target.any() for sample in samples if sample.meta["recoil_energy"] == 0)
    training = samples_of("train", recoils=[1, 4], empty=0, training_energies=[0.2, 0.3])
    assert {1, 4} <= {
        len(sample.instances) for sample in samples_of("train", recoils=[1, 4], empty=0, events={"train": 40})
    }
    assert all(0.2 <= sample.instances.table["energy"].min() <= 0.3 for sample in training)


def test_training_recoils_lie_up_to_and_beyond_the_border():
    places = [s.meta["recoil_row"] for s in samples_of("train", recoils=[1, 1], empty=0, events={"train": 200})]
    assert min(places) < 0
    assert max(places) > 95
    assert np.histogram(places, bins=4, range=(0, 96))[0].min() > 20


def test_true_pixels_hold_the_share_of_the_light(samples):
    for sample in samples:
        light = sample.meta["recoil_light"]
        if light > 0:
            assert 0.9 <= sample.target.sum(dtype=float) / light < 0.94
            centre = np.argwhere(sample.target[0, 0] > 0).mean(axis=0)
            assert centre == pytest.approx([sample.meta["recoil_row"], sample.meta["recoil_col"]], abs=0.8)


def test_all_light_is_in_the_image():
    options = {"empty": 0, "noise": QUIET, "digitisation": {"poisson": "counts"}}
    found, true = zip(
        *((sample.image.sum(dtype=float), sample.meta["recoil_light"]) for sample in samples_of(**options)),
        strict=True,
    )
    assert sum(found) / sum(true) == pytest.approx(1, abs=0.02)


def test_nuclei_ionise_less():
    number = {
        species: sum(s.meta["recoil_electrons"] for s in samples_of(species=species, quenching=0.3, empty=0))
        for species in ("ER", "NR")
    }
    assert number["NR"] / number["ER"] == pytest.approx(0.3, rel=0.25)


def test_the_context_is_the_noise_of_the_pixels(samples):
    rest = np.concatenate([((s.image - s.target.sum(0)) / np.exp(s.context))[0, :16].ravel() for s in samples])
    assert np.std(rest[np.abs(rest) < 5]) == pytest.approx(1, abs=0.03)
    assert samples[0].context.shape == (1, 96, 96)
    assert not np.array_equal(samples[0].context, samples[1].context)


def test_recoils_lie_on_tracks_where_asked():
    images = samples_of(tracks=3, beneath=1.0, empty=0, events=FEW)
    covered = [
        (s.target[0] * (s.target[1] > 0.5)).sum() / max(s.target[0].sum(), 1e-9)
        for s in images
        if s.meta["tracks"] and s.target[0].any()
    ]
    beside = samples_of(tracks=3, beneath=0.0, empty=0, events=FEW)
    clear = [
        (s.target[0] * (s.target[1] > 0.5)).sum() / max(s.target[0].sum(), 1e-9)
        for s in beside
        if s.target[0].any()
    ]
    assert np.mean(covered) > 0.8
    assert np.mean(clear) < np.mean(covered) - 0.2
    assert images[0].target.shape[0] == 2
    assert CygnoAdapter({"tracks": 1}).classes == (RECOIL, TRACK)


def test_impossible_options_are_refused():
    for options, message in (
        ({"energies": [0.25, 0]}, r"energies\.1"),
        ({"energies": []}, "energies"),
        ({"margin": 64}, "margin: 64 pixels on every side leave nothing of an image"),
        ({"whole_frames": True}, "whole_frames: there are none without a pedestal run"),
        ({"training_energies": [1.0, 0.5]}, "training_energies: expected the lower bound first"),
    ):
        with pytest.raises(ConfigError, match=message):
            CygnoAdapter(options)
