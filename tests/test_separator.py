import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import oasis
from oasis.errors import DataError, MissingExtraError, ModelError
from oasis.separator import Separator, SeparatorOptions, load_weights


def make(**changes):
    torch.manual_seed(0)
    return Separator(SeparatorOptions(classes=("a", "b"), model={"name": "unet", "base_channels": 4}, **changes))


@pytest.fixture
def image():
    return np.random.default_rng(0).exponential(50, (20, 26)).astype(np.float32)


@pytest.mark.parametrize("shape", [(20, 26), (1, 20, 26), (3, 1, 20, 26)])
def test_separate_returns_maps_in_the_shape_of_the_image(shape):
    values = np.random.default_rng(0).exponential(50, shape).astype(np.float32)
    maps = make().separate(values)
    assert list(maps) == ["a", "b"]
    for values_of_class in maps.values():
        assert values_of_class.shape == shape
        assert (values_of_class >= 0).all()


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("head", ["fraction", "softplus"])
def test_any_dimension_bands_and_head(dims, head):
    separator = make(spatial_dims=dims, bands=2, context=1, head={"name": head})
    shape = (2, *(17, 19, 16)[:dims])
    image = np.random.default_rng(1).exponential(5, shape).astype(np.float32)
    maps = separator.separate(image, context=np.ones((1, *shape[1:]), np.float32))
    assert maps["b"].shape == shape


def test_fraction_maps_and_background_are_the_image(image):
    separator = make(head={"name": "fraction", "background": False})
    maps = separator.separate(image, precision="float32")
    np.testing.assert_allclose(maps["a"] + maps["b"], image, rtol=1e-5)


def test_scaling_the_image_scales_the_maps(image):
    """With the scale fitted to each image the separation does not depend on the unit."""
    separator = make()
    one, thousand = (separator.separate(factor * image, precision="float32") for factor in (1, 1000))
    np.testing.assert_allclose(thousand["a"], 1000 * one["a"], rtol=1e-3)


def test_forward_is_the_scaled_form_of_maps(image):
    separator = make(head={"name": "softplus"})
    batch = torch.from_numpy(image)[None, None]
    scaled, scale = separator(batch)
    torch.testing.assert_close(scale.inverse(scaled), separator.maps(batch))


def test_bad_pixels_of_a_batch_do_not_spread(image):
    separator = make()
    batch = torch.from_numpy(image)[None, None].clone()
    batch[..., 3, 4] = torch.nan
    scaled, _ = separator(batch)
    scaled.sum().backward()
    assert scaled.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in separator.parameters())


@pytest.mark.parametrize("source", ["folder", "file"])
def test_save_and_load_round_trip(tmp_path, image, source):
    separator = make(unit="ADU", identity={"run": "x"})
    folder = separator.save(tmp_path / "s")
    assert json.loads((folder / "config.json").read_text())["classes"] == ["a", "b"]
    loaded = oasis.load(folder if source == "folder" else folder / "model.safetensors")
    assert loaded.options == separator.options
    np.testing.assert_array_equal(loaded.separate(image)["a"], separator.separate(image)["a"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((20, 26), np.nan), "520 pixels are NaN or infinite"),
        (np.array([[1.0] * 20] * 19 + [[np.inf] * 20]), "20 pixels are NaN or infinite, the first at"),
        (np.zeros((20, 26)), "all zero"),
        (np.ones((3, 20, 26)), r"shape \(3, 20, 26\)"),
        (np.ones(20), r"shape \(20,\)"),
    ],
)
def test_bad_images_are_refused_in_one_line(values, message):
    with pytest.raises(DataError, match=message) as error:
        make().separate(values.astype(np.float32))
    assert "\n" not in str(error.value)


def test_missing_context_is_refused(image):
    with pytest.raises(DataError, match="context"):
        make(context=2).separate(image)


def test_loading_what_is_not_there(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "migdal").mkdir()
    with pytest.raises(ModelError, match="holds no model"):
        oasis.load(tmp_path / "runs" / "migdal")
    with pytest.raises(ModelError, match="no such file"):
        oasis.load(tmp_path / "nothing" / "here.safetensors")


def test_a_mistyped_run_is_not_looked_for_on_a_hub(tmp_path, monkeypatch):
    (tmp_path / "runs" / "migdal").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="did you mean 'migdal'"):
        oasis.load("runs/migdall")


def test_a_hub_id_without_its_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"oasis-seg\[hub\]"):
        oasis.load("owner/name")


def test_truncated_and_foreign_files(tmp_path):
    folder = make().save(tmp_path / "s")
    blob = (folder / "model.safetensors").read_bytes()
    (tmp_path / "short.safetensors").write_bytes(blob[:1000])
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(ModelError, match="truncated"):
        oasis.load(tmp_path / "short.safetensors")
    with pytest.raises(ModelError, match="not a separator"):
        oasis.load(tmp_path / "foreign.safetensors")


def test_weights_have_to_fit_exactly():
    separator = make()
    weights = separator.state_dict()
    first = next(iter(weights))
    with pytest.raises(ModelError, match="1 weights do not fit"):
        load_weights(separator, {**weights, "extra": torch.zeros(1)}, "x")
    with pytest.raises(ModelError, match=first):
        load_weights(separator, {name: value for name, value in weights.items() if name != first}, "x")
    with pytest.raises(ModelError, match="expected"):
        load_weights(separator, {**weights, first: torch.zeros(7)}, "x")


def test_a_full_disk_leaves_the_old_separator(tmp_path, monkeypatch):
    separator = make()
    folder = separator.save(tmp_path / "s")
    before = (folder / "model.safetensors").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(DataError, match="No space left"):
        separator.save(folder)
    assert (folder / "model.safetensors").read_bytes() == before
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json"}
