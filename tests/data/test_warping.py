"""Warps: image and maps stay together, objects keep their total, the geometry is the one asked for; about 10 s."""

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform, map_coordinates

from oasis.data.samples import Sample
from oasis.data.warping import LARGEST_2D, Affine, Elastic, check_warp, draw_factors, warp
from oasis.errors import ConfigError, DataError, MissingExtraError, OasisError

SHAPES = [(40,), (24, 31), (12, 10, 14)]
TOLERANCE = {1: 2e-3, 2: 3.0, 3: 2e-3}  # of values up to 250: OpenCV 4 rounds sources to 1/32 pixel


class FixedAffine(Affine):
    """An affine warp that is known."""

    matrix: list[list[float]]
    by: list[float]

    def draw(self, dims: int, rng: np.random.Generator) -> tuple[Any, Any]:
        return np.array(self.matrix), np.array(self.by)


class FixedElastic(Elastic):
    """Waves of known slope along every axis."""

    size: float = 1.0
    length: float = 10.0

    def draw(self, shape: Sequence[int], rng: np.random.Generator) -> Any:
        return np.stack([1.5 * np.sin(grid / 10) for grid in np.indices(shape)])


def affine_for(shape: Sequence[int], **options: Any) -> Affine:
    turning = {"rotate": 180, "shear": 10} if len(shape) > 1 else {}
    return Affine(**{"scale": (0.8, 1.25), "shift": 2, **turning, **options})


def noisy(shape: Sequence[int], classes: int = 2, bands: int = 1, seed: int = 0) -> Sample:
    """Return bright maps; the background and noise of the image are its context."""
    rng = np.random.default_rng(seed)
    target = 100 * rng.random((classes, bands, *shape), np.float32)
    noise = 5 + rng.standard_normal((bands, *shape)).astype(np.float32)
    valid = rng.random((1, *shape)) > 0.02
    return Sample(target.sum(0) + noise, target, valid, {"id": "a"}, noise)


def blobs(shape: Sequence[int], sigma: float, rng: np.random.Generator) -> Sample:
    """Return two Gaussian objects near the middle of the frame."""
    centres = [[n / 2 + rng.uniform(-n, n) / 12 for n in shape] for _ in range(2)]
    squares = [sum((g - c) ** 2 for g, c in zip(np.indices(shape), at, strict=True)) for at in centres]
    target = np.exp(-np.array(squares)[:, None] / (2 * sigma**2)).astype(np.float32)
    return Sample(target.sum(0), target, np.ones((1, *shape), bool))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [1, 2, 3, 5])
@pytest.mark.parametrize("bands", [1, 2, 3])
def test_the_residual_of_the_warped_is_the_warped_residual(shape: Any, classes: int, bands: int) -> None:
    for seed, context in ((0, True), (1, False)):
        sample = noisy(shape, classes, bands)
        options: dict[str, Any] = {"affine": affine_for(shape), "elastic": Elastic(size=1, length=8)}
        bright = warp(sample, np.random.default_rng(seed), **options, conserve="brightness")
        kept = warp(sample if context else sample.replace(context=None), np.random.default_rng(seed), **options)
        residual = bright.image - bright.target.sum(0)
        peak = sample.image.max()
        assert np.abs(residual - bright.context).max() <= 1e-5 * peak
        density = bright.image.sum(0) / np.where(bright.image.sum(0) > 0, kept.image.sum(0), 1)
        assert np.abs((kept.image - kept.target.sum(0)) * density - residual).max() <= 2e-5 * peak
        assert bright.image.shape == sample.image.shape
        assert bright.target.shape == sample.target.shape
        assert bright.valid.dtype == bool
        assert {array.dtype for array in (kept.image, kept.target)} == {np.dtype(np.float32)}
        assert kept.meta == sample.meta
        assert (kept.context is None) != context


@given(
    seed=st.integers(0, 2**32),
    dims=st.integers(1, 2),
    size=st.floats(0.01, 3),
    sides=st.lists(st.integers(2, 40), min_size=2, max_size=2),
    classes=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_whatever_is_drawn_sums_stay_and_nothing_comes_from_outside(
    seed: int, dims: int, size: float, sides: list[int], classes: int
) -> None:
    sample = noisy(sides[:dims], classes).replace(context=None)
    sample = sample.replace(image=sample.target.sum(0))
    warped = warp(
        sample, np.random.default_rng(seed), affine_for(sides[:dims]), Elastic(size=size, length=9 * size)
    )
    assert np.isfinite(warped.image).all()
    assert (warped.target >= 0).all()
    np.testing.assert_allclose(
        warped.image, warped.target.sum(0), rtol=1e-4, atol=1e-4 * max(warped.image.max(), 1)
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_an_affine_warp_is_the_one_of_scipy(shape: tuple[int, ...]) -> None:
    sample, affine, dims = noisy(shape), affine_for(shape), len(shape)
    warped = warp(sample, np.random.default_rng(4), affine, conserve="brightness")
    rng = np.random.default_rng(4)
    rng.random()  # decides whether to warp
    matrix, shift = affine.draw(dims, rng)
    backward, middle = np.linalg.inv(matrix), (np.array(shape) - 1) / 2
    for one, source in [(warped.image, sample.image), (warped.target[1], sample.target[1])]:
        expected = affine_transform(
            source[0].astype(float), backward, middle - backward @ (middle + shift), order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(one[0][warped.valid[0]], expected[warped.valid[0]], atol=TOLERANCE[dims])
    weight = affine_transform(
        sample.valid[0].astype(float),
        backward,
        middle - backward @ (middle + shift),
        order=1,
        mode="grid-constant",
    )
    assert (warped.valid[0] <= (weight >= (0.9985 if dims != 2 else 0.96))).all()
    assert (warped.valid[0] >= (weight >= 0.9995)).all()
    assert 0.05 < warped.valid.mean() < 0.95


@pytest.mark.parametrize("shape", SHAPES)
def test_an_elastic_warp_after_an_affine_one_is_one_interpolation(shape: tuple[int, ...]) -> None:
    sample, dims = noisy(shape), len(shape)
    matrix = np.eye(dims) * 1.2
    matrix[0, -1] += 0.1
    fixed = FixedAffine(matrix=matrix.tolist(), by=[0.7] * dims)
    warped = warp(sample, np.random.default_rng(0), fixed, FixedElastic(), conserve="brightness")
    middle = ((np.array(shape) - 1) / 2).reshape(-1, *[1] * dims)
    seen = np.indices(shape) + 1.5 * np.sin(np.indices(shape) / 10)  # pixels of the affinely warped image
    sources = np.tensordot(np.linalg.inv(matrix), seen - middle - 0.7, 1) + middle
    expected = map_coordinates(sample.image[0].astype(float), sources, order=1, mode="grid-constant")
    np.testing.assert_allclose(warped.image[0][warped.valid[0]], expected[warped.valid[0]], atol=TOLERANCE[dims])
    assert warped.valid.mean() > 0.3


@pytest.mark.parametrize("shape", [(16, 16), (9, 9, 9)])
@pytest.mark.parametrize("axes", [(0, 1), (-1, 0)])
def test_a_quarter_turn_is_exact(shape: tuple[int, ...], axes: tuple[int, int]) -> None:
    matrix = np.eye(len(shape))
    matrix[axes, axes] = 0
    matrix[axes[::-1]], matrix[axes] = 1, -1  # the first axis turns towards the second
    sample = noisy(shape)
    warped = warp(sample, np.random.default_rng(0), FixedAffine(matrix=matrix.tolist(), by=[0] * len(shape)))
    turned = np.rot90(sample.valid[0], axes=axes)
    np.testing.assert_array_equal(warped.valid[0], turned)
    for one, source in zip(warped.target[:, 0], sample.target[:, 0], strict=True):
        np.testing.assert_allclose(one, np.rot90(source, axes=axes), atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_shift_brings_in_is_empty_and_not_valid(shape: tuple[int, ...]) -> None:
    dims = len(shape)
    sample = noisy(shape).replace(valid=np.ones((1, *shape), bool))
    warped = warp(
        sample, np.random.default_rng(0), FixedAffine(matrix=np.eye(dims).tolist(), by=[3] + [0] * (dims - 1))
    )
    np.testing.assert_allclose(warped.image[:, 3:], sample.image[:, :-3], atol=1e-4)
    np.testing.assert_allclose(warped.target[:, :, 3:], sample.target[:, :, :-3], atol=1e-4)
    np.testing.assert_allclose(warped.image[:, :3], 0, atol=1e-9)
    np.testing.assert_allclose(warped.target[:, :, :3], 0, atol=1e-9)
    assert not warped.valid[:, :3].any()
    assert warped.valid[:, 3:].all()


@pytest.mark.parametrize("shape", SHAPES)
def test_nan_where_nothing_is_valid_stays_there(shape: tuple[int, ...]) -> None:
    sample = noisy(shape)
    image = np.where(sample.valid, sample.image, np.nan).astype(np.float32)
    target = np.where(sample.valid, sample.target, np.inf).astype(np.float32)
    zeroed = sample.replace(image=np.nan_to_num(image), target=np.where(sample.valid, target, 0))
    affine = affine_for(shape)
    warped, expected = (
        warp(one, np.random.default_rng(2), affine) for one in (sample.replace(image=image, target=target), zeroed)
    )
    np.testing.assert_array_equal(warped.image, expected.image)
    np.testing.assert_array_equal(warped.target, expected.target)


@pytest.mark.parametrize("shape", [(300,), (120, 150), (50, 48, 52)])
@pytest.mark.parametrize(
    ("options", "limit"), [("affine", 1e-3), ("elastic", 2e-3), ("both", 2e-3)], ids=lambda value: str(value)
)
def test_objects_keep_their_total_intensity(shape: tuple[int, ...], options: str, limit: float) -> None:
    affine = affine_for(shape) if options != "elastic" else None
    elastic = Elastic(size=2, length=30) if options != "affine" else None
    changes = []
    for seed in range(12 if len(shape) < 3 else 4):
        rng = np.random.default_rng(seed)
        sample = blobs(shape, 4 if len(shape) > 1 else 8, rng)
        warped = warp(sample, rng, affine, elastic)
        axes = tuple(range(1, 2 + len(shape)))
        changes.append(warped.target.sum(axes) / sample.target.sum(axes) - 1)
    assert np.sqrt(np.mean(np.square(changes))) <= limit


@pytest.mark.parametrize("shape", SHAPES)
def test_brightness_is_kept_where_asked_and_the_factor_is_the_determinant(shape: tuple[int, ...]) -> None:
    ones = np.ones((1, *shape), np.float32)
    sample = Sample(ones, ones[None], ones > 0)
    scale = 1.3
    affine = FixedAffine(matrix=(scale * np.eye(len(shape))).tolist(), by=[0] * len(shape))
    rng = np.random.default_rng(0)
    bright = warp(sample, rng, affine, FixedElastic(), conserve="brightness")
    kept = warp(sample, rng, affine, FixedElastic())
    factors = np.prod([1 + 0.15 * np.cos(grid / 10) for grid in np.indices(shape)], axis=0) / scale ** len(shape)
    inside = bright.valid[0] & np.pad(np.ones([n - 2 for n in shape], bool), 1)  # off the edge's one-sided slopes
    np.testing.assert_allclose(bright.image[0][inside], 1, atol=1e-5)
    np.testing.assert_allclose(kept.image[0][inside], factors[inside], rtol=1e-2)
    assert np.ptp(factors[inside]) > 0.1


@given(st.integers(0, 2**32), st.integers(2, 3), st.floats(0, 180), st.floats(0.2, 1), st.floats(0, 20))
@settings(deadline=None)
def test_drawn_matrices_turn_and_scale_within_bounds(
    seed: int, dims: int, rotate: float, low: float, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    matrix, by = Affine(rotate=rotate, scale=(low, 2), shift=shift).draw(dims, rng)
    scale = np.linalg.det(matrix) ** (1 / dims)
    assert low - 1e-9 <= scale <= 2 + 1e-9
    rotation = matrix / scale
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(dims), atol=1e-9)
    cosine = (np.trace(rotation) - (dims - 2)) / 2
    assert np.rad2deg(np.arccos(np.clip(cosine, -1, 1))) <= rotate + 1e-5
    assert (np.abs(by) <= shift).all()


def test_all_directions_are_drawn() -> None:
    rng = np.random.default_rng(0)
    matrices = np.array([Affine(rotate=90).draw(3, rng)[0] for _ in range(2000)])
    axes = np.stack([(matrices[:, i, j] - matrices[:, j, i]) for i, j in [(2, 1), (0, 2), (1, 0)]], axis=1)
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    np.testing.assert_allclose(axes.mean(0), 0, atol=0.05)
    np.testing.assert_allclose(axes.T @ axes / len(axes), np.eye(3) / 3, atol=0.05)
    sheared = np.array([Affine(shear=20).draw(2, rng)[0] for _ in range(500)])
    assert (sheared[:, [0, 1], [0, 1]] == 1).all()
    for angles in (np.rad2deg(np.arctan(sheared[:, 0, 1])), np.rad2deg(np.arctan(sheared[:, 1, 0]))):
        assert angles.min() == pytest.approx(-20, abs=0.5)
        assert angles.max() == pytest.approx(20, abs=0.5)


@pytest.mark.parametrize("shape", [(600,), (90, 121), (40, 41, 36)])
def test_displacements_have_the_size_and_covariance_asked_for(shape: tuple[int, ...]) -> None:
    elastic = Elastic(size=0.5, length=4)
    rng = np.random.default_rng(0)
    fields = np.concatenate([elastic.draw(shape, rng) for _ in range(30)])
    assert fields.shape[1:] == shape
    assert np.abs(fields.mean()) < 0.02
    for lag in (0, 3, 6, 12):
        pairs = fields * np.roll(fields, lag, axis=-1)
        assert pairs.mean() == pytest.approx(0.25 * np.exp(-(lag**2) / 32), abs=0.015)
    spread = fields.std(axis=0)
    assert 0.25 < spread.min() < 0.5 < spread.max() < 0.85


def test_factors_are_log_uniform() -> None:
    factors = draw_factors((0.5, 2.0), np.random.default_rng(0), 4000)
    np.testing.assert_allclose(
        np.quantile(factors, [0, 0.25, 0.5, 0.75, 1]), 2.0 ** np.linspace(-1, 1, 5), rtol=0.03
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_probability_decides_whether_anything_happens(shape: tuple[int, ...]) -> None:
    sample = noisy(shape)
    affine, elastic = affine_for(shape, probability=0.0), Elastic(size=1, length=8, probability=0.3)
    rng = np.random.default_rng(0)
    assert warp(sample, rng) is sample
    untouched = sum(warp(sample, rng, affine, elastic) is sample for _ in range(60))
    assert 30 <= untouched <= 54


SCRIPT = """
import os, sys, urllib.request
import numpy as np
def refuse(*_, **__): raise SystemExit("the network was asked")
urllib.request.OpenerDirector.open = refuse
import oasis.data.augmentation
assert not {"albumentations", "cv2", "monai"} & set(sys.modules)
from oasis.data.samples import Sample
from oasis.data.warping import Affine, Elastic, warp
for shape in [(40,), (24, 31)]:
    target = np.random.default_rng(0).random((2, 1, *shape), np.float32)
    sample = Sample(target.sum(0), target, np.ones((1, *shape), bool))
    affine = Affine(scale=(0.8, 1.2), shift=2, rotate=0 if len(shape) == 1 else 90)
    warped = warp(sample, np.random.default_rng(7), affine, Elastic(size=1, length=8))
    print(warped.image.tobytes().hex())
assert os.environ["NO_ALBUMENTATIONS_UPDATE"] == "1"
"""


def test_a_fresh_process_draws_the_same_loads_late_and_asks_no_network() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    fresh = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    for shape, expected in zip(SHAPES[:2], fresh, strict=True):
        assert drawn_in_state(0, shape) == bytes.fromhex(expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_only_the_generator_that_is_handed_in_decides(shape: tuple[int, ...]) -> None:
    assert drawn_in_state(1, shape) == drawn_in_state(2, shape)
    assert drawn_in_state(1, shape) != drawn_in_state(1, shape, seed=8)


def drawn_in_state(state: int, shape: tuple[int, ...], seed: int = 7) -> bytes:
    """Return the sample of SCRIPT, drawn while the libraries' own generators are in some state."""
    random.seed(state)
    np.random.seed(state)  # noqa: NPY002
    torch.manual_seed(state)
    target = np.random.default_rng(0).random((2, 1, *shape), np.float32)
    sample = Sample(target.sum(0), target, np.ones((1, *shape), bool))
    affine = Affine(scale=(0.8, 1.2), shift=2, rotate=0 if len(shape) == 1 else 90)
    return warp(sample, np.random.default_rng(seed), affine, Elastic(size=1, length=8)).image.tobytes()


@pytest.mark.parametrize(
    ("shape", "options", "error", "message"),
    [
        (
            (40,),
            {"affine": Affine(rotate=5)},
            ConfigError,
            "augmentation.affine: images with one spatial axis can be scaled and shifted, not rotated or sheared: "
            "leave out rotate and shear",
        ),
        (
            (40,),
            {"affine": Affine(shear=5)},
            ConfigError,
            "augmentation.affine: images with one spatial axis can be scaled and shifted, not rotated or sheared: "
            "leave out rotate and shear",
        ),
        (
            (4, 4, 4, 4),
            {"affine": Affine()},
            DataError,
            "augmentation: images of 4 x 4 x 4 x 4 pixels cannot be warped, expected 1 to 3 axes of 2 or more "
            "pixels: leave out affine and elastic",
        ),
        (
            (4, 1),
            {"elastic": Elastic(size=1, length=8)},
            DataError,
            "augmentation: images of 4 x 1 pixels cannot be warped, expected 1 to 3 axes of 2 or more pixels: "
            "leave out affine and elastic",
        ),
    ],
)
def test_what_cannot_be_warped_is_refused_in_one_line(
    shape: tuple[int, ...], options: dict[str, Any], error: type[OasisError], message: str
) -> None:
    with pytest.raises(error) as caught:
        warp(noisy(shape), np.random.default_rng(0), **options)
    assert str(caught.value) == message


@pytest.mark.parametrize(("shape", "module"), [((8, 8), "albumentations"), ((8, 8, 8), "monai")])
def test_a_missing_package_is_named(shape: Any, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    check_warp(shape, None, None)
    check_warp((8,), Affine(), Elastic(size=1, length=8))
    with pytest.raises(MissingExtraError) as caught:
        check_warp(shape, Affine(), None)
    assert str(caught.value) == f"{module} is not installed: run  pip install 'oasis-seg[augment]'"


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Affine, {"scale": [1.1, 0.9]}, "a.scale: expected two factors [low, high] with 0 < low <= high"),
        (Affine, {"scale": [0, 1]}, "a.scale: expected two factors [low, high] with 0 < low <= high"),
        (Affine, {"shear": 30}, "a.shear: Input should be less than or equal to 25 (found 30)"),
        (Affine, {"rotat": 30}, "a.rotat: unknown key; did you mean 'rotate'?"),
        (
            Elastic,
            {"size": 2, "length": 15},
            "a: size must be at most length / 8, or the warp folds the image",
        ),
        (Elastic, {"size": 2}, "a.length: Field required"),
    ],
)
def test_options_say_what_does_not_fit(kind: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kind.parse(values, where="a")
    assert str(caught.value).startswith(message)


def test_no_elastic_warp_that_is_allowed_folds() -> None:
    elastic = Elastic(size=3, length=24)
    rng = np.random.default_rng(0)
    for _ in range(10):
        rows, columns = (np.indices((200, 210)) + elastic.draw((200, 210), rng))[:, 1:-1, 1:-1]
        down, right = (np.gradient(rows), np.gradient(columns))
        assert (down[0] * right[1] - down[1] * right[0]).min() > 0


def test_images_that_are_too_large_for_opencv_are_refused_and_the_largest_are_not():
    large = LARGEST_2D + 1
    with pytest.raises(DataError, match="32767 pixels are too large"):
        check_warp((3, large), Affine(), None)
    check_warp((large,), Affine(), None)
    image = np.ones((1, 3, LARGEST_2D), np.float32)
    sample = Sample(image, image[None], np.ones(image.shape, bool))
    assert warp(sample, np.random.default_rng(0), Affine(shift=1)).image.shape == image.shape
