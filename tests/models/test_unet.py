"""The U-Net against the paper's description written out as functions. About 10 s."""

import json
from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from paper_unet import draw_weights, paper_unet
from torch import nn
from torch.nn import functional as F

from oasis.device import best_precision, vector_bits
from oasis.errors import ModelError
from oasis.models import UNet
from oasis.models.kernels import memory_format
from oasis.models.reference import _our_names
from oasis.models.unet import Gate, Style, block

SAVED = Path(__file__).parent / "files" / "unet_reference.npz"
SIZES = [(16,), (17,), (101,), (16, 16), (17, 30), (37, 51), (96, 96), (16, 16, 16), (17, 18, 23)]


def with_paper_weights(base: int, dims: int = 2, seed: int = 0) -> UNet:
    model = UNet(1, 2, dims, base)
    weights = draw_weights(base, dims, seed)
    model.load_state_dict({ours: weights[theirs] for theirs, ours in _our_names().items()})
    return model


def image_of(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape, np.float32))


def test_it_has_the_papers_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in UNet(1, 2).parameters()) == 2_982_274


@pytest.mark.parametrize("size", SIZES)
def test_it_is_the_papers_network_at_any_size(size: tuple[int, ...]) -> None:
    image = image_of(2, 1, *size)
    model, weights = with_paper_weights(16, len(size)), draw_weights(16, len(size))
    expected = paper_unet({name: weight.double() for name, weight in weights.items()}, image.double())
    with torch.no_grad():
        torch.testing.assert_close(model(image), expected.float(), rtol=1e-5, atol=2e-5)


def test_its_gradient_is_the_papers() -> None:
    image, weights = image_of(2, 1, 21, 34), draw_weights(16)
    for weight in weights.values():
        weight.requires_grad_()
    paper_unet(weights, image).square().mean().backward()
    model = with_paper_weights(16)
    model(image).square().mean().backward()
    ours = dict(model.named_parameters())
    for theirs, name in _our_names().items():
        torch.testing.assert_close(ours[name].grad, weights[theirs].grad, rtol=1e-3, atol=1e-5, msg=theirs)


def test_it_gives_what_it_gave() -> None:
    """The file was written by the paper's network in float64, from these weights."""
    saved = np.load(SAVED, allow_pickle=False)
    with torch.no_grad():
        output = with_paper_weights(4, seed=7).double()(torch.from_numpy(saved["image"]).double())
    np.testing.assert_allclose(output.numpy(), saved["output"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("more", [{}, {"residual": True, "attention": True}])
@pytest.mark.parametrize("norm", ["group", "batch", "instance", "none"])
def test_every_parameter_learns(norm: str, more: dict[str, bool], dims: int) -> None:
    torch.manual_seed(0)
    model = UNet(2, 3, dims, base_channels=16, depth=3, norm=norm, **more)
    model(image_of(2, 2, *[19] * dims)).square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if norm in ("group", "none") or not name.endswith("bias"):  # a norm per channel takes a bias away
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize(("norm", "per_channel"), [("group", 2), ("instance", 2), ("batch", 2), ("none", 0)])
def test_a_norm_has_two_parameters_per_channel(norm: str, per_channel: int) -> None:
    without = UNet(1, 2, base_channels=8, depth=2, norm="none")
    model = UNet(1, 2, base_channels=8, depth=2, norm=norm)
    count = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in without.parameters())
    assert count == per_channel * (2 * 8 + 2 * 16 + 2 * 16 + 2 * 8)


def test_instance_norm_is_torchs() -> None:
    torch.manual_seed(0)
    first = UNet(1, 2, base_channels=4, norm="instance").encoder[0]
    image = image_of(2, 1, 20, 24)
    expected = F.silu(F.instance_norm(first[0](image)))
    torch.testing.assert_close(first[1](first[0](image)), expected, rtol=1e-5, atol=1e-5)


def test_batch_norm_makes_a_sample_independent_of_its_frame() -> None:
    torch.manual_seed(0)
    model = UNet(1, 2, base_channels=4, depth=2, norm="batch")
    model(image_of(4, 1, 32, 32))
    model.eval()
    frame = torch.zeros(1, 1, 64, 64)
    frame[..., :32, :32] = image_of(1, 1, 32, 32)
    with torch.no_grad():
        near, whole = model(frame[..., :48, :48]), model(frame)
    torch.testing.assert_close(near[..., :16, :16], whole[..., :16, :16], rtol=1e-4, atol=1e-5)


def test_groups_divide_the_channels() -> None:
    model = UNet(1, 2, base_channels=6, multiplier=3)
    groups = [layer.num_groups for layer in model.modules() if isinstance(layer, nn.GroupNorm)]
    assert set(groups) == {2}
    assert model(image_of(1, 1, 16, 16)).shape == (1, 2, 16, 16)


def test_depth_and_multiplier_set_the_widths() -> None:
    model = UNet(1, 2, base_channels=8, depth=3, multiplier=3)
    widths = [layer.out_channels for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    assert max(widths) == 72
    assert model.minimum_size == 8
    assert UNet(1, 2, depth=1)(image_of(1, 1, 2, 5)).shape == (1, 2, 2, 5)


def test_weights_are_kaiming_normal_and_biases_zero() -> None:
    torch.manual_seed(0)
    for layer in UNet(1, 2).modules():
        if isinstance(layer, nn.Conv2d):
            fan = prod(layer.weight.shape[1:])
            tolerance = 5 / np.sqrt(2 * layer.weight.numel())
            assert layer.weight.detach().std() * np.sqrt(fan / 2) == pytest.approx(1, abs=tolerance)
            assert not layer.bias.any()


def test_dropout_acts_in_training_alone() -> None:
    torch.manual_seed(0)
    model = UNet(1, 2, base_channels=8, depth=2, dropout=0.5)
    image = image_of(1, 1, 16, 16)
    assert not torch.equal(model(image), model(image))
    model.eval()
    assert torch.equal(model(image), model(image))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(33, 48), (16, 17, 18)])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_level_is_in_the_format_of_the_processor(
    channels: int, size: tuple[int, ...], precision: torch.dtype
) -> None:
    model = UNet(channels, 2, len(size), base_channels=8)
    channels_last = {2: torch.channels_last, 3: torch.channels_last_3d}[len(size)]
    seen = []
    for layer in model.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.register_forward_pre_hook(
                lambda _, x: seen.append(x[0].is_contiguous(memory_format=channels_last))
            )
    image = image_of(2, channels, *size)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        output = model(image)
        assert torch.equal(output, model(image.contiguous(memory_format=channels_last)))
    if vector_bits() and (precision == torch.float32 or best_precision("cpu") == "bf16"):  # else in any layout
        assert seen == [memory_format(image, 8, grouped=True) == channels_last] * 32


@pytest.mark.parametrize("size", [(64,), (50, 64), (16, 20, 24)])
def test_bfloat16_is_close_to_float32(size: tuple[int, ...]) -> None:
    model = with_paper_weights(16, len(size))
    image = image_of(2, 1, *size)
    with torch.no_grad():
        expected = model(image)
        with torch.autocast("cpu", torch.bfloat16):
            output = model(image)
    assert output.dtype == torch.bfloat16
    assert (output - expected).abs().mean() < 0.03 * expected.std()


def test_bfloat16_trains_like_float32() -> None:
    image = image_of(2, 1, 50, 64)
    gradients = []
    for enabled in (False, True):
        model = with_paper_weights(16)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            output = model(image)
        output.float().square().mean().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    assert (gradients[1] - gradients[0]).norm() < 0.1 * gradients[0].norm()


def test_weights_survive_a_round_trip(tmp_path: Path) -> None:
    model, other = (UNet(1, 2, base_channels=4) for _ in range(2))
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    image = image_of(1, 1, 16, 20)
    with torch.no_grad():
        assert torch.equal(model(image), other(image))


def test_arguments_survive_json() -> None:
    arguments = {
        "in_channels": 2,
        "out_channels": 3,
        "spatial_dims": 1,
        "base_channels": 4,
        "depth": 2,
        "multiplier": 3,
        "norm": "batch",
        "dropout": 0.25,
        "residual": True,
        "attention": True,
        "padding": "zero",
    }
    assert UNet(**json.loads(json.dumps(arguments)))(image_of(2, 2, 8)).shape == (2, 3, 8)


@pytest.mark.parametrize("size", [(1,), (3, 40), (5, 1, 2)])
def test_any_size_will_do(size: tuple[int, ...]) -> None:
    assert UNet(1, 2, len(size), base_channels=4)(image_of(2, 1, *size)).shape == (2, 2, *size)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_gate_weighs_every_pixel_by_the_equation(dims: int) -> None:
    torch.manual_seed(0)
    gate = Gate(6, 4, dims)
    skip, features = image_of(2, 6, *[5] * dims), image_of(2, 4, *[5] * dims, seed=1)
    weights = {name: value.detach().double().numpy() for name, value in gate.named_parameters()}

    def mixed(name: str, values: np.ndarray) -> np.ndarray:
        matrix = weights[f"{name}.weight"].reshape(weights[f"{name}.weight"].shape[:2])
        bias = weights.get(f"{name}.bias", np.zeros(len(matrix)))
        return np.einsum("oc,bc...->bo...", matrix, values) + bias.reshape(1, -1, *[1] * dims)

    inner = np.maximum(mixed("skip", skip.numpy()) + mixed("features", features.numpy()), 0)
    expected = skip.numpy() / (1 + np.exp(-mixed("weight", inner)))
    np.testing.assert_allclose(gate(skip, features).detach().numpy(), expected, rtol=1e-5)


def test_attention_gates_every_skip_and_nothing_else() -> None:
    torch.manual_seed(0)
    plain, gated = (UNet(1, 2, base_channels=8, depth=3, attention=attention) for attention in (False, True))
    count = sum(p.numel() for p in gated.parameters()) - sum(p.numel() for p in plain.parameters())
    assert count == sum(2 * width * width // 2 + width // 2 + width // 2 + 1 for width in (8, 16))
    for gate in (module for module in gated.modules() if isinstance(module, Gate)):
        nn.init.zeros_(gate.weight.weight)
        nn.init.constant_(gate.weight.bias, 100)  # open
    gated.load_state_dict(plain.state_dict(), strict=False)
    image = image_of(1, 1, 17, 20)
    torch.testing.assert_close(gated(image), plain(image))


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 4), (3, 4)])
def test_a_residual_block_adds_its_input(inputs: int, outputs: int) -> None:
    torch.manual_seed(0)
    plain = block(inputs, outputs, Style(2))
    residual = block(inputs, outputs, Style(2, residual=True))
    residual.body.load_state_dict(plain.state_dict())
    image = image_of(2, inputs, 8, 9)
    added = image if inputs == outputs else F.conv2d(image, residual.shortcut.weight, residual.shortcut.bias)
    torch.testing.assert_close(residual(image), plain(image) + added)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norm": "grup"}, "unknown norm 'grup'; did you mean 'group'?"),
        ({"spatial_dims": 4}, "spatial_dims must be 1, 2 or 3, found 4"),
        ({"depth": 0}, "depth must be a whole number of at least 1, found 0"),
        ({"base_channels": 3.5}, "base_channels must be a whole number of at least 1, found 3.5"),
        ({"stride": 3}, "stride must be one of 1, 2, 4, found 3"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, found 1.0"),
    ],
)
def test_an_argument_out_of_range_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError) as error:
        UNet(**{"in_channels": 1, "out_channels": 2, **arguments})
    assert str(error.value) == message


def test_it_is_exported_for_any_batch_and_size() -> None:
    model = UNet(1, 2, base_channels=4, depth=2, norm="batch").eval()
    sizes = {axis: torch.export.Dim(f"s{axis}", min=least) for axis, least in ((0, 1), (2, 4), (3, 4))}
    exported = torch.export.export(model, (image_of(2, 1, 8, 12),), dynamic_shapes=(sizes,)).module()
    image = image_of(3, 1, 17, 9)
    torch.testing.assert_close(exported(image), model(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dims", [1, 2])
def test_a_stride_works_on_a_coarser_grid(dims: int) -> None:
    """Any size fits; a shift by the grid shifts the maps, and the first level sees half of the pixels."""
    torch.manual_seed(0)
    model = UNet(1, 2, dims, base_channels=4, depth=2, norm="batch", stride=2).eval()
    assert (model.grid, model.minimum_size) == (4, 8)
    assert model(image_of(1, 1, *[19] * dims)).shape == (1, 2, *[19] * dims)
    image = image_of(1, 1, *[100] * dims)
    shifted = image.roll([4] * dims, list(range(2, 2 + dims)))
    inner = (..., *[slice(46, 50)] * dims)
    outer = (..., *[slice(50, 54)] * dims)
    torch.testing.assert_close(model(shifted)[outer], model(image)[inner])
    sizes: list[int] = []
    model.encoder[0].register_forward_hook(lambda _, inputs, output: sizes.append(output.shape[-1]))
    model(image)
    assert sizes == [50]


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_centred_network_knows_the_middle_of_the_image(dims: int) -> None:
    """The distance from the middle pixel is one more channel, in images of any size."""
    model = UNet(1, 2, dims, base_channels=4, depth=2, norm="batch", centred=True).eval()
    assert model.sees_whole_frame
    seen: list[torch.Tensor] = []
    model.encoder[0].register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    for side in (20, 33):
        image = image_of(2, 1, *[side] * dims)
        assert model(image).shape == (2, 2, *[side] * dims)
        axes = torch.meshgrid(*[torch.arange(float(side)) - side // 2] * dims, indexing="ij")
        distance = torch.stack(axes).norm(dim=0)
        torch.testing.assert_close(seen[-1][:, 1], distance.log1p().expand(2, *distance.shape))
        torch.testing.assert_close(seen[-1][:, 0], image[:, 0])


def test_a_centred_network_is_exported_for_any_size() -> None:
    model = UNet(1, 2, base_channels=4, depth=2, norm="batch", centred=True).eval()
    sizes = {axis: torch.export.Dim(f"s{axis}", min=least) for axis, least in ((0, 1), (2, 4), (3, 4))}
    exported = torch.export.export(model, (image_of(2, 1, 8, 12),), dynamic_shapes=(sizes,)).module()
    image = image_of(3, 1, 17, 9)
    torch.testing.assert_close(exported(image), model(image), rtol=1e-4, atol=1e-5)
