"""Convolutions of many channels without AVX-512 against torch's own. About 10 s."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from oasis.models import kernels, wide, winograd
from oasis.models.folded import Block
from oasis.models.layers import BatchNormSiLU, Conv2d
from oasis.models.unet import UNet


@pytest.fixture(params=[True, False])
def by_winograd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether Winograd's convolution is used for any number of channels and pixels, or never."""
    monkeypatch.setattr(winograd, "CHANNELS", 0 if request.param else 10**6)
    monkeypatch.setattr(winograd, "PIXELS", 0)
    monkeypatch.setattr(wide, "LEAST", 0)
    return request.param


@pytest.fixture
def avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without AVX-512."""
    monkeypatch.setattr(kernels, "vector_bits", lambda: 256)


def drawn(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    values = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    return values.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else values


@pytest.mark.parametrize("part", [1, 200, 2**20])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (4, 8), (13, 18)])
def test_values_and_gradients_are_torchs(
    monkeypatch: pytest.MonkeyPatch, by_winograd: bool, size: tuple[int, int], part: int
) -> None:
    monkeypatch.setattr(winograd, "PART", part)
    monkeypatch.setattr(wide, "PART", part)
    inputs = [drawn(2, 5, *size), drawn(3, 5, 3, 3), drawn(3)]
    found, expected = (
        [y := convolution(*values), *torch.autograd.grad(y.square().sum(), values)]
        for convolution in (wide.convolve, lambda x, weight, bias: F.conv2d(x, weight, bias, padding=1))
        for values in [[one.clone().requires_grad_() for one in inputs]]
    )
    torch.testing.assert_close(found, expected, check_stride=False)


def test_gradients_have_gradients(by_winograd: bool) -> None:
    inputs = [one.requires_grad_() for one in (drawn(1, 3, 4, 6), drawn(2, 3, 3, 3), drawn(2))]
    assert torch.autograd.gradcheck(wide.convolve, inputs)
    assert torch.autograd.gradgradcheck(wide.convolve, inputs)


def test_the_gradient_of_a_layer_without_bias_or_of_its_weight_alone(by_winograd: bool) -> None:
    x, weight = drawn(1, 3, 4, 6), drawn(2, 3, 3, 3).requires_grad_()
    (found,) = torch.autograd.grad(wide.convolve(x, weight, None).square().sum(), weight)
    (expected,) = torch.autograd.grad(F.conv2d(x, weight, padding=1).square().sum(), weight)
    torch.testing.assert_close(found, expected, check_stride=False)


def test_rounding_in_float32_is_a_hundred_thousandth_of_the_largest_value() -> None:
    x, weight = drawn(1, 256, 40, 40), drawn(256, 256, 3, 3) / 48
    exact = F.conv2d(x, weight, padding=1)
    found = winograd.convolve(x.float(), weight.float())
    assert (found - exact).abs().max() < 2e-5 * exact.abs().max()


@pytest.mark.parametrize("norm", ["group", "batch", "none"])
def test_a_network_gives_the_same_by_winograd(
    monkeypatch: pytest.MonkeyPatch, avx2: None, by_winograd: bool, norm: str
) -> None:
    torch.manual_seed(0)
    trained = UNet(1, 2, base_channels=32, depth=2, norm=norm)
    image = drawn(2, 1, 22, 30, dtype=torch.float32)
    results = []
    for bits in (256, 0):
        monkeypatch.setattr(kernels, "vector_bits", lambda bits=bits: bits)
        model = deepcopy(trained)
        output = model(image)
        gradients = torch.autograd.grad(output.square().mean(), list(model.parameters()))
        with torch.no_grad():
            results.append([output, *gradients, model.eval()(image)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-5, check_stride=False)


def test_what_it_takes(avx2: None, monkeypatch: pytest.MonkeyPatch) -> None:
    x = drawn(1, 64, 40, 40, dtype=torch.float32)
    layer = Conv2d(64, 64, 3, padding=1)
    assert wide.takes(layer, x)
    with torch.no_grad():
        assert not wide.takes(layer, x)  # torch's own is as fast
        assert wide.takes(Conv2d(64, 128, 3, padding=1), x)
    for other in (
        Conv2d(64, 64, 1),
        Conv2d(64, 64, 3),
        Conv2d(64, 64, 3, padding="same"),
        Conv2d(64, 64, 3, padding=1, stride=2),
        Conv2d(64, 64, 3, padding=1, padding_mode="reflect"),
        Conv2d(64, 64, 3, padding=1, groups=2),
        Conv2d(64, 16, 3, padding=1),
    ):
        assert not wide.takes(other, x)
    assert not wide.takes(layer, x.contiguous())
    assert not wide.takes(layer, drawn(9, 64, 20, 20, dtype=torch.float32))
    assert not wide.takes(layer.double(), x.double())
    layer.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert not wide.takes(layer, x)
    assert torch.func.vmap(layer)(x[None]).shape == (1, 1, 64, 40, 40)
    monkeypatch.setattr(kernels, "vector_bits", lambda: 512)
    assert not wide.takes(layer, x)


def test_a_batch_without_images_and_a_normalised_layer(avx2: None, by_winograd: bool) -> None:
    block = Block(Conv2d(32, 32, 3, padding=1), BatchNormSiLU(32, 2)).eval()
    x = drawn(2, 32, 7, 9, dtype=torch.float32)
    with torch.no_grad():
        expected = F.silu(block[1][0](nn.Conv2d.forward(block[0], x.contiguous())))
        torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-5, check_stride=False)
    assert wide.convolve(x[:0], block[0].weight, None).shape == (0, 32, 7, 9)
