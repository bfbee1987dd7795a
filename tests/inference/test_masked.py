"""Pixels that are not finite: masked in prediction where the domain masks them in training."""

import h5py
import numpy as np
import pytest

from oasis.errors import DataError
from oasis.inference.options import WindowOptions
from oasis.inference.predict import predict
from oasis.run import Run

SIZES = {1: (300,), 2: (70, 81), 3: (24, 26, 28)}
TILE = {1: 100, 2: 64, 3: 20}
WINDOWS = {
    "whole": lambda dims: None,
    "tiles": lambda dims: WindowOptions(kind="tiles", tile=TILE[dims]),
}


def setup_of(dims, bands=1):
    data = {"classes": ["a", "b"], "spatial_dims": dims, "bands": bands, "size": [16] * dims}
    return Run.from_values(
        {"adapter": "folder", "run": "runs/none", "data": data, "model": {"depth": 1, "norm": "batch"}}
    )


def written(path, name="a"):
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return file["mask"][:], file[f"maps/{name}"][:]
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(path, mode="r")
    return group["mask/0"][:], group[f"maps/{name}/0"][:]


@pytest.mark.parametrize("out", ["m.h5", "m.zarr"])
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_what_training_masks_prediction_masks(tmp_path, caplog, dims, window, out):
    """The maps are those of an image that is 0 there, as in training, and no light counts there."""
    setup = setup_of(dims, bands=2)
    separator = setup.new_separator().eval()
    frames = np.random.default_rng(0).exponential(20, (3, 2, *SIZES[dims])).astype(np.float32)
    bad = np.zeros((3, 1, *SIZES[dims]), bool)
    bad[1, :, 5:9] = True
    dark = np.where(bad, 0, frames)
    frames[:, :1][bad] = np.nan
    frames[1, 1, 5] = np.inf
    np.save(tmp_path / "a.npy", frames)
    found = predict(separator, setup.adapter, tmp_path / "a.npy", tmp_path / out, window=WINDOWS[window](dims))
    assert not found.failed
    mask, maps = written(tmp_path / out)
    np.testing.assert_array_equal(mask, ~bad)
    np.testing.assert_allclose(maps, separator.separate(dark)["a"], rtol=1e-3, atol=1e-3)
    counted = np.where(bad, 0, maps).sum(axis=tuple(range(1, maps.ndim)), dtype=float)
    rows = found.objects[found.objects["class"] == "a"]
    np.testing.assert_allclose(rows["intensity_predicted"], counted, rtol=1e-4)
    np.testing.assert_allclose(rows["masked_fraction"], bad.reshape(3, -1).mean(axis=1))
    (said,) = [text for text in caplog.messages if "NaN" in text]
    assert said == (
        f"{tmp_path / 'a.npy'}: {bad.sum()} pixels are NaN or infinite: masked as in training, no light is "
        "counted there"
    )


@pytest.mark.parametrize("kind", ["regions", "parts"])
def test_regions_mask_them_too(tmp_path, monkeypatch, kind):
    from oasis.inference import regional_parts

    monkeypatch.setattr(regional_parts, "PARTS", 2**22 if kind == "regions" else 100)
    setup = setup_of(2)
    separator = setup.new_separator(trained_size=(16, 16)).eval()
    frames = np.random.default_rng(0).exponential(20, (1, 60, 60)).astype(np.float32)
    frames[0, 30, 28:32] = np.nan
    np.save(tmp_path / "a.npy", frames)
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    window = WindowOptions(kind="regions", regions=str(tmp_path / "labels"))
    found = predict(separator, setup.adapter, tmp_path / "a.npy", tmp_path / "m.h5", window=window)
    assert not found.failed
    mask, maps = written(tmp_path / "m.h5")
    assert (~mask).sum() == 4
    row = found.objects.iloc[0]
    np.testing.assert_allclose(row["intensity_predicted"], np.where(mask, maps, 0).sum(), rtol=1e-4)
    assert row["masked_fraction"] == 4 / 144


@pytest.mark.parametrize("window", WINDOWS)
def test_images_without_a_finite_pixel_are_refused(tmp_path, window):
    setup = setup_of(2)
    np.save(tmp_path / "a.npy", np.full(SIZES[2], np.nan, np.float32))
    with pytest.raises(DataError, match=r"a\.npy: no pixel is finite in every band"):
        predict(
            setup.new_separator().eval(),
            setup.adapter,
            tmp_path / "a.npy",
            tmp_path / "m.h5",
            window=WINDOWS[window](2),
        )
