"""Simulated cells: the light of their parts against formulas, the noise of the camera, images in counts."""

import numpy as np
import pytest
import tifffile
from scipy.ndimage import gaussian_filter

from oasis.adapters import find_adapter
from oasis.adapters.cells.scene import CLASSES
from oasis.adapters.cells.shapes import course, filaments, nucleus, vesicles
from oasis.data.mixing import keyed_rng
from oasis.errors import ConfigError
from oasis.testing import check_adapter


def centre_of(stamp):
    places = np.indices(stamp.light.shape) + np.array(stamp.origin).reshape(2, 1, 1)
    return (places * stamp.light).sum(axis=(1, 2)) / stamp.light.sum()


def test_the_adapter_keeps_the_contract():
    check_adapter("cells", {"size": [64, 64]}, count=4)


def test_a_vesicle_keeps_its_light_and_place_at_any_part_of_a_pixel():
    rng = np.random.default_rng(0)
    light, at, width = rng.uniform(100, 900, 6), rng.uniform(-5, 40, (6, 2)), np.array([0.8, 2.5, 1, 0.8, 2.4, 1])
    for number, stamp in enumerate(vesicles(light, at, width)):
        assert stamp.light.sum() == pytest.approx(light[number], rel=1e-3)
        np.testing.assert_allclose(centre_of(stamp), at[number], atol=0.01)
        alone = vesicles(*(one[[number]] for one in (light, at, width)))[0]
        np.testing.assert_array_equal(stamp.light, alone.light)
        assert stamp.origin == alone.origin


def test_a_nucleus_has_the_light_of_an_ellipsoid():
    rng = np.random.default_rng(0)
    axes = np.array([20.0, 15.0])
    found = [nucleus(40.0, np.array([30.3, 9.8]), axes, 0.0, 1.0, rng).light.sum(dtype=float) for _ in range(40)]
    assert np.mean(found) == pytest.approx(2 / 3 * np.pi * 40 * 20 * 15, rel=0.02)


def test_texture_changes_a_nucleus_within_but_hardly_its_light():
    plain, textured = (
        nucleus(40.0, np.array([30.0, 9.0]), np.array([20.0, 20.0]), one, 1.0, np.random.default_rng(5)).light
        for one in (0.0, 0.3)
    )
    bright = plain > 30
    ratio = textured[bright] / plain[bright]
    assert 0.1 < ratio.std() < 0.3  # less than 0.3, which the microscope blurs
    assert textured.sum() == pytest.approx(plain.sum(), rel=0.1)


def test_filaments_have_the_light_of_their_length_and_lie_along_their_course():
    rng = np.random.default_rng(2)
    lines = [np.array([5.0, 7.0]) + course(length, 60.0, rng) for length in (83.0, 20.0)]
    light = np.array([20.0 * 83 / len(lines[0]), 7.0])
    for stamp, points, one in zip(filaments(light, lines, 1.0), lines, light, strict=True):
        assert stamp.light.sum() == pytest.approx(one * len(points), rel=1e-3)
        np.testing.assert_allclose(centre_of(stamp), points.mean(axis=0), atol=0.01)


def test_filaments_are_blurred_as_by_a_gaussian_filter():
    points = np.array([[10.0, 12.0], [10.0, 13.0]])
    stamp = filaments(np.array([3.0]), [points], 1.3)[0]
    image = np.zeros(stamp.light.shape)
    for row, column in points.astype(int) - stamp.origin:
        image[row, column] = 3
    np.testing.assert_allclose(stamp.light, gaussian_filter(image, 1.3, truncate=4), rtol=1e-6)


def test_filaments_bend_as_worm_like_chains():
    rng = np.random.default_rng(0)
    cosines = []
    for _ in range(400):
        steps = np.diff(course(60.0, 30.0, rng), axis=0)
        directions = steps / np.linalg.norm(steps, axis=1, keepdims=True)
        cosines.append((directions[:-80] * directions[80:]).sum(axis=1).mean())  # at 20 pixels
    assert np.mean(cosines) == pytest.approx(np.exp(-20 / (2 * 30)), abs=0.03)


def test_noise_is_that_of_photons_readout_and_rounding():
    scene = find_adapter("cells")({"background": [5, 5], "size": [256, 256]}).scene("test")
    empty = np.zeros((3, 1, 256, 256), np.float32)
    image, valid = scene.observe(empty, [], np.random.default_rng(0))
    assert valid.all()
    assert image.mean() == pytest.approx(5.0, abs=0.06)  # values below 0 counts are 0
    assert image.var() == pytest.approx(5 + 1.6**2 + 1 / 12, rel=0.05)


def test_classes_are_left_out_with_their_probability():
    scene = find_adapter("cells")({"presence": 0.5}).scene("train")
    counts = [scene.place(index, keyed_rng(0, "train", index))[1] for index in range(200)]
    for name in CLASSES:
        assert 0.35 < np.mean([one[name] > 0 for one in counts]) < 0.6


def test_images_in_counts_become_photoelectrons(tmp_path):
    counts = np.random.default_rng(0).integers(100, 400, (40, 48)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", counts)
    images = find_adapter("cells")({"camera": {"offset": 100, "gain": 0.5}}).read(tmp_path / "a.tif")
    np.testing.assert_allclose(images.image[0, 0], (counts - 100.0) * 0.5)


def test_cells_without_anything_are_refused():
    for options in ({"cells": [0, 0]}, {"vesicles": [0, 0], "filaments": [0, 0]}):
        with pytest.raises(ConfigError, match="expected some, found none"):
            find_adapter("cells")(options)
