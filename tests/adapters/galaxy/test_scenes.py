"""Scenes of scarlet are read as other images are."""

import numpy as np
import pytest

from oasis.adapters.galaxy import GalaxyAdapter
from oasis.adapters.galaxy.cutout import Reading
from oasis.adapters.galaxy.scenes import is_scene, read_scene
from oasis.errors import DataError

HSC = Reading(pixel_scale=0.168, zero_point=27.0)
FACTOR = 10 ** (0.4 * (22.5 - 27.0))


def arrays(**changes):
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:41, :41] - 20
    psf = np.exp(-(rows**2 + columns**2) / (2 * 2.0**2))
    images = rng.normal(10, 1, (5, 58, 48)).astype(np.float32)
    variance = np.full(images.shape, 4.0, np.float32)
    variance[2, 3, 4] = np.inf
    made = {
        "images": images,
        "filters": np.array(list("grizy")),
        "variance": variance,
        "psfs": np.array([psf] * 5),
    }
    made["catalog"] = np.zeros(7, [("x", float), ("y", float)])
    return {name: values for name, values in (made | changes).items() if values is not None}


def written(path, **changes):
    np.savez(path, **arrays(**changes))
    return path


def test_a_scene_is_read_in_nanomaggies(tmp_path):
    path = written(tmp_path / "scene.npz")
    assert is_scene(path)
    cutout = read_scene(path, HSC)
    assert cutout.bands == tuple("grizy")
    np.testing.assert_allclose(cutout.flux, arrays()["images"] * FACTOR, rtol=1e-5)
    assert cutout.inverse_variance[0, 0, 0] == pytest.approx(0.25 / FACTOR**2, rel=1e-5)
    assert np.argwhere(cutout.bad).tolist() == [[3, 4]]
    assert cutout.psf_fwhm == pytest.approx([2.0 * 2.3548 * 0.168] * 5, rel=0.02)
    weighted = written(tmp_path / "b.npz", variance=None, weights=np.full((5, 58, 48), 0.25, np.float32))
    assert read_scene(weighted, HSC).inverse_variance[0, 0, 0] == pytest.approx(0.25 / FACTOR**2, rel=1e-5)


def test_an_adapter_takes_the_bands_of_its_model(tmp_path):
    adapter = GalaxyAdapter(
        {
            "survey": "hsc",
            "bands": ["r", "i", "g"],
            "library": {"simulated": 20},
            "reading": {"pixel_scale": 0.168, "zero_point": 27.0},
        }
    )
    read = adapter.read(written(tmp_path / "scene.npz"))
    np.testing.assert_allclose(read.image[0], arrays()["images"][[1, 2, 0]] * FACTOR, rtol=1e-5)
    assert read.position["psf_fwhm_i"][0] == pytest.approx(0.79, rel=0.02)
    assert read.deviation[0, 0, 0, 0] == pytest.approx(2 * FACTOR)
    assert not read.mask[0, 0, 3, 4]
    np.savez(tmp_path / "plain.npz", images=arrays()["images"][:3])
    assert not is_scene(tmp_path / "plain.npz")
    assert adapter.read(tmp_path / "plain.npz").image.shape == (1, 3, 58, 48)


@pytest.mark.parametrize(
    ("changes", "reading", "message"),
    [
        ({}, Reading(pixel_scale=0.168), r"does not state its unit: give reading\.zero_point"),
        ({}, Reading(zero_point=27.0), r"does not state its pixel scale: give reading\.pixel_scale"),
        ({"filters": None}, HSC, r"5 images, but the bands are g, r, z: give reading\.bands"),
        ({"images": np.ones((58, 48), np.float32)}, HSC, r"images of shape \(58, 48\)"),
        ({"variance": np.ones((5, 9, 9))}, HSC, r"variance of shape \(5, 9, 9\), expected \(5, 58, 48\)"),
        ({"psfs": np.ones((4, 9, 9))}, HSC, r"psfs of shape \(4, 9, 9\)"),
        ({"filters": np.array([{}] * 5, object)}, HSC, r"a\.npz: "),
    ],
)
def test_a_scene_that_does_not_fit_is_one_clear_line(tmp_path, changes, reading, message):
    with pytest.raises(DataError, match=message) as caught:
        read_scene(written(tmp_path / "a.npz", **changes), reading)
    assert "\n" not in str(caught.value)
