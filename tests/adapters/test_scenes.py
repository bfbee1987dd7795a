"""Scenes of every domain: each component brings its truth, samples do not change, nothing is kept between them."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from oasis.adapters import find_adapter
from oasis.data.mixing import Mixer, keyed_rng

# From the first version of the mixer, whose samples later ones keep: sums of image and target, and sample numbers
KEPT = json.loads((Path(__file__).parent / "kept_samples.json").read_text())
OPTIONS = {"galaxy": {"library": {"simulated": 40}}, "galaxies": {"library": {"simulated": 40}}}
KEYS = [(0, 0), (1, 0), (2, 3), (3, 1)]
TRUTH = {  # of the components of a class: name of the component's quantity, and of the same one of the sample
    "cygno": {"recoil": {"sensor": "sensor"}},
    "migdal": {"ER": {"energy": "ER_energy", "dz": "ER_dz"}, "NR": {"energy": "NR_energy", "track": "NR_track"}},
    "galaxy": {"target": {"galaxy": "target_galaxy"}},
    "galaxies": {name: {"galaxy": f"{name}_galaxy"} for name in ("galaxy_1", "galaxy_2", "galaxy_3", "galaxy_4")},
    "neutrino": {"muon": {"ke": "muon_ke", "vertex_x": "vertex_x"}, "proton_1": {"length": "proton_1_length"}},
    "waveform": {"interference": {"slow_pulses": "slow_pulses"}},
    "pulses": {},
    "ccd": {},
    "cells": {"vesicle": {}},
}


def mixer(name: str) -> Mixer:
    if name.startswith("galax"):
        pytest.importorskip("galsim")
        pytest.importorskip("sep")
    dataset = find_adapter(name)(OPTIONS.get(name, {})).dataset("train")
    assert isinstance(dataset, Mixer)
    return dataset


@pytest.mark.parametrize("name", KEPT)
def test_samples_are_those_of_the_first_version(name: str) -> None:
    dataset = mixer(name)
    for (index, epoch), kept in zip(KEYS, KEPT[name], strict=True):
        sample = dataset.sample(index, epoch)
        assert sample.image.sum(dtype=float) == pytest.approx(kept["image"], rel=1e-6)
        axes = tuple(range(1, sample.target.ndim))
        assert sample.target.sum(axis=axes, dtype=float) == pytest.approx(kept["target"], rel=1e-6)
        numbers = {key: value for key, value in sample.meta.items() if isinstance(value, int | float)}
        assert numbers == pytest.approx(kept["meta"], rel=1e-6, nan_ok=True)


@pytest.mark.parametrize("name", TRUTH)
def test_components_bring_the_truth_of_their_sample(name: str) -> None:
    dataset = mixer(name)
    names = defaultdict(set)
    for index in range(8):
        placed, meta = dataset.scene.place(index, keyed_rng(0, "train", index))
        for one in placed:
            names[one.name].add(tuple(sorted(one.meta)))
            assert one.meta
            for quantity, same in TRUTH[name].get(one.name, {}).items():
                assert float(one.meta[quantity]) == float(meta[same]) or np.isnan(meta[same])
    assert all(len(each) == 1 for each in names.values())  # a class has the same quantities in every sample


@pytest.mark.parametrize("name", TRUTH)
def test_scenes_keep_nothing_between_samples(name: str) -> None:
    scene = mixer(name).scene
    before = {key: id(value) for key, value in vars(scene).items()}
    one, other = (Mixer(scene, 9, 0, "train", True) for _ in range(2))
    alone = [one[index].image for index in range(4)]
    for index in reversed(range(4)):
        np.testing.assert_array_equal(other[index].image, alone[index])
    assert {key: id(value) for key, value in vars(scene).items()} == before


@pytest.mark.parametrize("name", TRUTH)
def test_samples_do_not_depend_on_those_made_beside_them(name: str) -> None:
    """Other samples before and after, another number of them, and twice the same one."""
    dataset = mixer(name)
    keys = [(1, 4), (0, 2), (1, 3), (0, 2), (0, 7)]
    for key, found in zip(keys, dataset.__getitems__(keys), strict=True):
        alone = dataset[key]
        assert list(found.meta) == list(alone.meta)
        for name_of, value in alone.meta.items():
            expected = value if isinstance(value, str) else pytest.approx(value, nan_ok=True, rel=1e-9)
            assert found.meta[name_of] == expected
        for part in ("image", "target", "valid", "context"):
            expected, made = getattr(alone, part), getattr(found, part)
            if expected is not None:
                np.testing.assert_allclose(made, expected, rtol=1e-6, atol=1e-6)
        assert len(found.instances) == len(alone.instances)
