"""The fast layers against torch's own in float64. About 5 s."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from math import prod

import pytest
import torch
from torch.nn import functional as F

from oasis.models import kernels, layers
from oasis.models.kernels import memory_format
from oasis.models.layers import CONVOLUTIONS, BatchNormSiLU, DepthwiseDown, GroupNormSiLU, upsample
from oasis.models.unet import UNet

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def drawn(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    return values.contiguous(memory_format=CHANNELS_LAST[len(shape)]).requires_grad_()


@pytest.fixture(params=[0, 256, 512])
def bits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """A processor with vector registers of this many bits, or an unknown one."""
    monkeypatch.setattr(kernels, "vector_bits", lambda: request.param)
    return request.param


@pytest.fixture
def fresh() -> Iterator[None]:
    """Try the kernels anew, before and after the test."""
    kernels.kernels_work.cache_clear()
    yield
    kernels.kernels_work.cache_clear()


def layer_of(groups: int, channels: int) -> GroupNormSiLU:
    layer = GroupNormSiLU(groups, channels)
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(-1, 2, channels))
        layer.bias.copy_(torch.linspace(0.5, -0.5, channels))
    return layer


@pytest.mark.parametrize("samples_at_once", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 4, 8, 16])
@pytest.mark.parametrize("shape", [(3, 16, 5, 7), (2, 16, 8, 12), (2, 16, 3, 4, 6), (1, 16, 1, 2)])
def test_norm_and_silu_are_torchs(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], groups: int, samples_at_once: int
) -> None:
    monkeypatch.setattr(kernels, "PART", samples_at_once * prod(shape[1:]))
    layer = layer_of(groups, 16).double()
    x, gradient = drawn(*shape), drawn(*shape, seed=1)
    y = layer(x)
    plain = x.detach().contiguous().requires_grad_()
    weight, bias = (parameter.detach().clone().requires_grad_() for parameter in (layer.weight, layer.bias))
    expected = F.silu(F.group_norm(plain, groups, weight, bias, layer.eps))
    torch.testing.assert_close(y, expected, check_stride=False)
    ours = torch.autograd.grad(y, (x, layer.weight, layer.bias), gradient)
    theirs = torch.autograd.grad(expected, (plain, weight, bias), gradient)
    torch.testing.assert_close(ours, theirs, check_stride=False)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("groups", [2, 16])
@pytest.mark.parametrize("shape", [(2, 16, 8, 12), (2, 16, 3, 4, 6)])
def test_norm_and_silu_are_torchs_on_every_processor(
    bits: int, shape: tuple[int, ...], groups: int, channels_last: bool
) -> None:
    layer = layer_of(groups, 16)
    x, gradient = drawn(*shape, dtype=torch.float32), drawn(*shape, dtype=torch.float32, seed=1)
    if not channels_last:
        x = x.detach().contiguous().requires_grad_()
    wide, weight, bias = (values.detach().double().requires_grad_() for values in (x, layer.weight, layer.bias))
    expected = F.silu(F.group_norm(wide, groups, weight, bias, layer.eps))
    y = layer(x)
    ours = torch.autograd.grad(y, (x, layer.weight, layer.bias), gradient)
    theirs = torch.autograd.grad(expected, (wide, weight, bias), gradient.double())
    for found, wanted in zip((y, *ours), (expected, *theirs), strict=True):
        torch.testing.assert_close(found, wanted.float(), check_stride=False, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(layer(x), y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("size", [(33, 48), (9, 10, 11)])
def test_a_network_gives_the_same_on_every_processor(
    monkeypatch: pytest.MonkeyPatch, channels: int, size: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    model = UNet(channels, 2, len(size), base_channels=32, depth=2)
    image = torch.rand(2, channels, *size)
    results = []
    for bits in (0, 256, 512):
        monkeypatch.setattr(kernels, "vector_bits", lambda bits=bits: bits)
        output = model(image)
        with torch.no_grad():
            torch.testing.assert_close(model(image), output, rtol=1e-4, atol=1e-5)
        results.append([output, *torch.autograd.grad(output.square().mean(), list(model.parameters()))])
    for others in results[1:]:
        for found, wanted in zip(others, results[0], strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-5)


def test_the_memory_format_is_what_the_processor_convolves_fastest(bits: int) -> None:
    image, volume = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4, 4)
    assert (memory_format(image, 8) == torch.channels_last) is (bits > 0)
    assert (memory_format(image, 8, grouped=True) == torch.channels_last) is (bits == 512)
    assert (memory_format(image, 32, grouped=True) == torch.channels_last) is (bits > 0)
    assert (memory_format(volume, 8, grouped=True) == torch.channels_last_3d) is (bits > 0)
    assert (memory_format(volume, 32) == torch.channels_last_3d) is (bits > 0)
    assert memory_format(image.to("meta"), 32) == torch.channels_last


def wrong_moments(columns: torch.Tensor, *_: object) -> tuple[torch.Tensor, torch.Tensor]:
    return columns.sum(0), columns.sum(0)


@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_kernels_are_found_to_work_in_whatever_context_they_are_first_used(
    fresh: None, context: Callable[[], AbstractContextManager[None]]
) -> None:
    with context():
        assert kernels.kernels_work()


@pytest.mark.parametrize("change", [None, "absent", wrong_moments, lambda columns: columns])
def test_kernels_that_a_torch_lacks_or_changed_are_not_used(
    monkeypatch: pytest.MonkeyPatch, fresh: None, change: object
) -> None:
    if change == "absent":
        monkeypatch.delattr(torch, "batch_norm_update_stats")
    elif change is not None:
        monkeypatch.setattr(torch, "batch_norm_update_stats", change)
    assert kernels.kernels_work() is (change is None)
    monkeypatch.setattr(kernels, "vector_bits", lambda: 512)
    layer, x = layer_of(2, 16), drawn(2, 16, 5, 7, dtype=torch.float32)
    y = layer(x)
    assert ("GroupNormSiLU" in type(y.grad_fn).__name__) is (change is None)
    torch.testing.assert_close(y, F.silu(F.group_norm(x, 2, layer.weight, layer.bias)), rtol=1e-4, atol=1e-5)


def test_norm_and_silu_have_the_gradient_of_their_values() -> None:
    layer = layer_of(2, 6).double()
    assert torch.autograd.gradcheck(
        lambda x, weight, bias: torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,)),
        (drawn(2, 6, 3, 5), layer.weight, layer.bias),
    )


def test_norm_and_silu_in_bfloat16_take_their_moments_in_float32() -> None:
    layer = layer_of(8, 8)
    x = (drawn(2, 8, 96, 96) + 3).detach().to(torch.bfloat16).requires_grad_()
    gradient = drawn(2, 8, 96, 96, seed=1).to(torch.bfloat16)
    y = layer(x)
    wide = x.detach().double().requires_grad_()
    expected = F.silu(F.group_norm(wide, 8, layer.weight.double(), layer.bias.double()))
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.double(), expected, rtol=2**-7, atol=2**-7)
    (ours,) = torch.autograd.grad(y, x, gradient)
    (theirs,) = torch.autograd.grad(expected, wide, gradient.double())
    assert (ours - theirs).norm() < 0.01 * theirs.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(96, 128), (97, 131)])
@pytest.mark.parametrize("channels", [8, 16])
def test_a_constant_image_stays_constant(channels: int, size: tuple[int, int], dtype: torch.dtype) -> None:
    """Rounding of the mean is magnified by 1 / sqrt(eps) = 316; torch's own kernel is 5e-3 off in float32."""
    layer, image = layer_of(8, channels), torch.full((1, channels, *size), 1.2345678, dtype=dtype)
    with torch.no_grad():
        y = layer(image.contiguous(memory_format=torch.channels_last))
    expected = F.silu(layer.bias.detach()).view(1, channels, 1, 1).to(dtype).expand_as(y)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-4 if dtype == torch.float32 else 2**-8)


def test_the_norm_of_a_single_channel_of_a_single_image_is_torchs() -> None:
    layer, x = layer_of(1, 1).double(), drawn(1, 1, 64, 48)
    found, wanted = layer(x), F.silu(F.group_norm(x, 1, layer.weight, layer.bias, layer.eps))
    gradient, inputs = drawn(1, 1, 64, 48, seed=1), (x, layer.weight, layer.bias)
    torch.testing.assert_close(
        *(torch.autograd.grad(one, inputs, gradient) for one in (found, wanted)), check_stride=False
    )


@pytest.mark.parametrize("size", [(64, 48), (7, 20, 24)])
@pytest.mark.parametrize("channels", [1, 5, 12])
def test_batch_norm_of_few_channels_is_torchs(channels: int, size: tuple[int, ...], monkeypatch) -> None:
    monkeypatch.setattr(kernels, "MANY", 1000)
    fast, torchs = (BatchNormSiLU(channels, len(size)).double() for _ in range(2))
    fast.load_state_dict({f"0.{name}": value for name, value in torchs[0].state_dict().items()})
    for layer in (fast, torchs):
        with torch.no_grad():
            layer[0].weight.copy_(torch.linspace(-1, 2, channels))
            layer[0].bias.copy_(torch.linspace(0.5, -0.5, channels))
    used = []

    def fuses(x: torch.Tensor) -> bool:
        used.append(kernels.fuses_batch_norm(x.float()))
        return used[-1]

    monkeypatch.setattr(layers, "fuses_batch_norm", fuses)
    for seed in range(3):
        x, y = (drawn(3, channels, *size, seed=seed) for _ in range(2))
        found, wanted = fast(x + 2), F.silu(torchs[0](y + 2))
        assert found.is_contiguous(memory_format=CHANNELS_LAST[found.ndim])
        torch.testing.assert_close(found, wanted)
        slope = drawn(*found.shape, seed=9).detach()
        for one, other in zip(
            torch.autograd.grad((found * slope).sum(), [x, *fast.parameters()]),
            torch.autograd.grad((wanted * slope).sum(), [y, *torchs[0].parameters()]),
            strict=True,
        ):
            torch.testing.assert_close(one, other)
    assert used == [kernels.kernels_work()] * 3
    for name, value in torchs[0].state_dict().items():
        torch.testing.assert_close(fast[0].state_dict()[name], value)
    torch.testing.assert_close(fast.eval()(x), F.silu(torchs[0].eval()(y)))


def test_batch_norm_is_torchs_own_where_that_is_faster_or_other_statistics_are_asked_for(monkeypatch) -> None:
    x = drawn(4, 12, 128, 96, dtype=torch.float32)
    assert kernels.fuses_batch_norm(x) == kernels.kernels_work()
    assert not kernels.fuses_batch_norm(drawn(4, 16, 128, 96, dtype=torch.float32))
    assert not kernels.fuses_batch_norm(drawn(4, 12, 32, 24, dtype=torch.float32))
    assert not kernels.fuses_batch_norm(x.contiguous())
    assert not kernels.fuses_batch_norm(x.bfloat16())
    monkeypatch.setattr(layers, "batch_norm_silu", None)
    layer = BatchNormSiLU(12, 2)
    frozen = layer[0].eval()
    before = {name: value.clone() for name, value in frozen.state_dict().items()}
    layer(x).sum().backward()  # frozen statistics within a module in training
    assert all(torch.equal(value, before[name]) for name, value in frozen.state_dict().items())
    with torch.no_grad():
        layer.train()(x)
    assert layer[0].num_batches_tracked == 1


def test_samples_of_a_batch_do_not_mix() -> None:
    layer = layer_of(2, 8)
    x = drawn(3, 8, 6, 6, dtype=torch.float32).detach()
    whole = layer(x)
    for index in range(3):
        torch.testing.assert_close(layer(x[index : index + 1])[0], whole[index])


def test_norm_and_silu_leave_their_input_alone() -> None:
    x = drawn(2, 8, 6, 6, dtype=torch.float32)
    before = x.detach().clone()
    layer_of(2, 8)(x).sum().backward()
    assert torch.equal(x, before)


def test_a_gradient_that_is_a_slice_or_expanded_is_taken() -> None:
    layer = layer_of(2, 8).double()
    x, wide = drawn(2, 8, 6, 6), drawn(2, 24, 6, 6, seed=1)
    y = layer(x)
    for gradient in (wide[:, 8:16], wide[:1, :8].expand(2, -1, -1, -1)):
        (found,) = torch.autograd.grad(y, x, gradient, retain_graph=True)
        (expected,) = torch.autograd.grad(
            y, x, gradient.clone(memory_format=torch.contiguous_format), retain_graph=True
        )
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", [(2, 8, 12, 17), (2, 8, 6, 7, 9)])
def test_the_depthwise_gradient_under_autocast_is_that_of_float32(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = DepthwiseDown(8, len(shape) - 2)
    x = drawn(*shape, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.shape[2:] == tuple((size + 1) // 2 for size in shape[2:])
    wide = x.detach().float().requires_grad_()
    (ours,) = torch.autograd.grad(y.float().square().sum(), x)
    (theirs,) = torch.autograd.grad(layer(wide).square().sum(), wide)
    torch.testing.assert_close(ours.float(), theirs, rtol=2**-7, atol=1e-3)


def test_a_whole_model_in_bfloat16_trains() -> None:
    layer = DepthwiseDown(4, 2).to(torch.bfloat16)
    layer(drawn(1, 4, 8, 8, dtype=torch.bfloat16)).sum().backward()
    assert layer.conv.weight.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("wanted", [torch.channels_last, torch.contiguous_format])
def test_upsampling_has_a_dense_gradient_of_the_same_value(wanted: torch.memory_format) -> None:
    x = drawn(1, 4, 5, 6)
    y = upsample(x, torch.Size([9, 12]), "bilinear", wanted)
    gradient = drawn(1, 8, 9, 12, seed=1)
    seen = []
    y.register_hook(lambda grad: seen.append(grad.is_contiguous(memory_format=wanted)))
    torch.cat([y, y.detach()], dim=1).backward(gradient)
    plain = x.detach().clone().requires_grad_()
    expected = F.interpolate(plain, (9, 12), mode="bilinear", align_corners=False)
    expected.backward(gradient[:, :4])
    assert seen == [True]
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(x.grad, plain.grad)


def test_volumes_of_two_pixels_are_convolved_in_float32_on_a_cpu():
    layer = CONVOLUTIONS[3](3, 3, 3, padding=1)
    image = torch.rand(2, 3, 2, 2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        small, large = layer(image.bfloat16()), layer(torch.rand(2, 3, 3, 2, 2))
    assert (small.dtype, large.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(small, F.conv3d(image.bfloat16().float(), layer.weight, layer.bias, padding=1))
