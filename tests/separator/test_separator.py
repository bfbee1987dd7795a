import json
import socket

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import oasis
from oasis.errors import DataError, MissingExtraError, ModelError
from oasis.separator.files import load_weights
from oasis.separator.options import SeparatorOptions
from oasis.separator.separator import Separator


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
    prediction = separator(batch)
    torch.testing.assert_close(prediction.scale.inverse(prediction.scaled), prediction.maps)


def test_bad_pixels_of_a_batch_do_not_spread(image):
    separator = make()
    batch = torch.from_numpy(image)[None, None].clone()
    batch[..., 3, 4] = torch.nan
    scaled = separator(batch).scaled
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


@pytest.mark.parametrize("head", ["softplus", "fraction", "denoised"])
def test_blank_images_have_blank_maps(head):
    options = SeparatorOptions(classes=("a", "b"), model={"base_channels": 4}, head={"name": head})
    separator = Separator(options)
    image = np.random.default_rng(0).exponential(9, (3, 1, 20, 26)).astype(np.float32)
    image[1] = 0
    maps = separator.separate(image)
    alone = separator.separate(image[::2])
    for name in ("a", "b"):
        assert not maps[name][1].any()
        np.testing.assert_allclose(maps[name][::2], alone[name], rtol=1e-3)
        assert not separator.separate(np.zeros((20, 26)))[name].any()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((20, 26), np.nan), "520 pixels are NaN or infinite"),
        (np.array([[1.0] * 20] * 19 + [[np.inf] * 20]), "20 pixels are NaN or infinite, the first at"),
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
    with pytest.raises(ModelError, match="contains no model"):
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
    with pytest.raises(ModelError, match="1 weights do not match"):
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


class Net(nn.Conv2d):
    """A backbone of a user's own, for one band and the shares of two classes and the background."""

    def __init__(self, in_channels=1, out_channels=3, spatial_dims=2):
        super().__init__(in_channels, out_channels, 3, padding=1)


BUILDER = """
import pathlib
from torch import nn

pathlib.Path("ran").touch()

class Net(nn.Conv2d):
    def __init__(self, in_channels, out_channels, spatial_dims):
        super().__init__(in_channels, out_channels, 3, padding=1)
"""


def test_a_module_of_ones_own_is_saved_and_loaded(tmp_path, image):
    separator = Separator(SeparatorOptions(classes=("a", "b")), backbone=Net())
    folder = separator.save(tmp_path / "s")
    net = Net()
    loaded = oasis.load(folder, backbone=net)
    assert loaded.options == separator.options
    np.testing.assert_array_equal(loaded.separate(image)["a"], separator.separate(image)["a"])
    assert torch.equal(net.weight, next(separator.backbone.parameters()))
    with pytest.raises(ModelError, match=r"its backbone is its author's own module Net: pass it as backbone="):
        oasis.load(folder, trust_code=True)
    with pytest.raises(ModelError, match=r"1 weights do not match, first 'backbone\.network\.weight'"):
        oasis.load(folder, backbone=nn.Conv2d(1, 3, 5, padding=2))


def test_the_backbone_of_a_separator_can_be_handed_back(tmp_path, image):
    separator = make()
    loaded = oasis.load(separator.save(tmp_path / "s"), backbone=separator.backbone)
    assert loaded.backbone is separator.backbone
    assert loaded.options == separator.options


def test_a_module_whose_maps_do_not_fit_is_refused(image):
    separator = Separator(SeparatorOptions(classes=("a", "b")), backbone=Net(out_channels=2))
    with pytest.raises(
        ModelError,
        match=r"\(1, 3, 20, 26\) .* \(1, 2, 20, 26\): .* needs 3 channels",
    ):
        separator.separate(image)


def test_code_that_a_file_names_is_not_run_unasked(tmp_path, monkeypatch, image):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(BUILDER)
    options = SeparatorOptions(classes=("a", "b"), model={"name": "own.py:Net"})
    separator = Separator(options)
    folder = separator.save(tmp_path / "s")
    (tmp_path / "ran").unlink()
    with pytest.raises(ModelError) as error:
        oasis.load(folder)
    assert str(error.value) == (
        f"{folder / 'model.safetensors'}: its backbone is code in own.py, which is not executed without "
        "permission: pass trust_code=True (--trust-code), or the module itself as backbone="
    )
    given = oasis.load(folder, backbone=Net())
    assert given.options == options
    assert not (tmp_path / "ran").exists()
    (tmp_path / "own.py").write_text(BUILDER + "\n")  # a file that has not changed is not run again
    trusted = oasis.load(folder, trust_code=True)
    assert (tmp_path / "ran").exists()
    for loaded in (given, trusted):
        np.testing.assert_array_equal(loaded.separate(image)["a"], separator.separate(image)["a"])


@pytest.mark.parametrize(
    "model",
    [
        {"name": "smp/linknet-tu-test_resnet", "encoder_weights": "default"},
        {"name": "smp/linknet-resnet18", "encoder_weights": "imagenet"},
        {"name": "timm/test_resnet", "encoder_weights": "default"},
        {"name": "monai/FlexibleUNet", "encoder_weights": "default", "decoder_channels": [8, 8, 8, 4, 4]},
    ],
)
def test_loading_fetches_nothing(tmp_path, monkeypatch, model):
    for library in ("segmentation_models_pytorch", "monai"):
        pytest.importorskip(library)
    separator = Separator(SeparatorOptions(classes=("a", "b"), model={**model, "encoder_weights": None}))
    separator.options = separator.options.model_copy(update={"model": model})
    folder = separator.save(tmp_path / "s")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("asked the network"))
    loaded = oasis.load(folder)
    assert loaded.options.model == model
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in separator.state_dict().items())


def test_a_tensor_of_several_names_is_stored_once(tmp_path):
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 3, 1))
    net.insert(1, net[0])
    separator = Separator(SeparatorOptions(classes=("a", "b")), backbone=net)
    folder = separator.save(tmp_path / "s")
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert len(file.keys()) == 4
    other = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 3, 1))
    other.insert(1, other[0])
    oasis.load(folder, backbone=other)
    assert torch.equal(other[1].weight, net[0].weight)
