"""Images in another unit than those in training are doubted, other objects and exposures are not."""

import numpy as np
import pytest

from oasis.data.brightness import Brightness
from oasis.run import Run


def images(scale=1.0, objects=20, count=8, seed=0):
    rng = np.random.default_rng(seed)
    found = rng.normal(0, 2, (count, 1, 48, 48))
    for image in found:
        rows, columns = rng.integers(0, 44, (2, objects))
        for row, column in zip(rows, columns, strict=True):
            image[0, row : row + 4, column : column + 4] += rng.uniform(20, 60)
    return scale * found


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (images(seed=1), ""),
        (images(scale=3, seed=1), ""),
        (images(scale=1 / 3, seed=1), ""),
        (images(objects=0, seed=1), ""),
        (images(objects=60, seed=1), ""),
        (images(seed=1) + 1000, ""),  # a level is a matter of the domain
        (images(scale=20, seed=1), "times those of the images in training"),
        (images(scale=1 / 20, seed=1), "times smaller than those of the images in training"),
        (np.zeros((3, 1, 48, 48)), ""),
        (np.full((3, 1, 48, 48), np.nan), ""),
        (np.where(images(scale=20) > 400, images(scale=20), 0), ""),  # zeros mostly
    ],
)
def test_another_unit_is_told_from_other_objects(other, words):
    trained = Brightness.of(images())
    for image in other:
        text = trained.unlike(image)
        assert words in text
        assert bool(text) == bool(words)


def test_nothing_is_known_of_images_without_noise():
    assert Brightness.of(np.zeros((3, 1, 8, 8))) is None
    assert Brightness.of([]) is None


@pytest.mark.parametrize(("scale", "said"), [(1, False), (30, True), (1 / 30, True)])
def test_predict_doubts_images_in_another_unit(toy_run, tmp_path, caplog, scale, said):
    run = Run(toy_run, trust_code=True)
    assert run.separator().options.brightness is not None
    frames = np.stack([run.dataset("test")[number].image for number in range(3)])
    np.save(tmp_path / "a.npy", scale * frames)
    run.predict(tmp_path / "a.npy", out=tmp_path / "m.h5")
    assert ("the images in training: check unit, gain and exposure" in caplog.text) == said
