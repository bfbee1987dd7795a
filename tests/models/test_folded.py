import copy
import pickle

import pytest
import torch
from torch import nn

import oasis.models.folded as folded
from oasis.models import create_model
from oasis.models.folded import Block, folds
from oasis.models.layers import CONVOLUTIONS, BatchNormSiLU


@pytest.fixture
def calls(monkeypatch):
    """Every use of the one operation."""
    found, real = [], folded.convolve_silu

    def convolve_silu(x, *rest):
        found.append(x.dtype)
        return real(x, *rest)

    if not all(folded.kernel_works(torch.float32, dimension) for dimension in (1, 2, 3)):
        pytest.skip("the installed torch has no such operation")
    folded.kernel_works(torch.bfloat16, 2)
    monkeypatch.setattr(folded, "convolve_silu", convolve_silu)
    return found


def trained(block):
    """The block with statistics and weights as of a training."""
    generator = torch.Generator().manual_seed(1)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.3, 3, generator=generator)
            module.weight.data.uniform_(-1, 1.5, generator=generator)
            module.bias.data.normal_(0, 0.3, generator=generator)
    return block.eval()


def block_of(dimension, inputs=3, outputs=5):
    layers = []
    for channels in (inputs, outputs):
        layers += [
            CONVOLUTIONS[dimension](channels, outputs, 3, padding=1),
            BatchNormSiLU(outputs, dimension),
        ]
    return trained(Block(*layers))


def one_by_one(block, x):
    for layer in block:
        x = layer(x)
    return x


@pytest.mark.parametrize("dimension", [1, 2, 3])
def test_one_operation_gives_what_the_layers_give(dimension, calls):
    block, x = block_of(dimension), torch.randn(2, 3, *[9, 6, 7][:dimension])
    with torch.no_grad():
        torch.testing.assert_close(block(x), one_by_one(block, x), rtol=1e-5, atol=1e-5)
    assert calls == [torch.float32] * 2


def test_in_bfloat16_it_differs_by_rounding(calls):
    block, x = block_of(2, 8, 16), torch.randn(4, 8, 32, 32)
    if not folded.kernel_works(torch.bfloat16, 2):
        pytest.skip("no convolutions in bfloat16")
    with torch.no_grad():
        exact = one_by_one(block.double(), x.double())
        block = block.float()
        with torch.autocast("cpu", torch.bfloat16):
            found, plain = block(x), one_by_one(block, x)
    assert found.dtype == plain.dtype == torch.bfloat16
    for one in (found, plain):
        assert (one - exact).norm() < torch.finfo(torch.bfloat16).eps * exact.norm()
    assert calls == [torch.bfloat16] * 2


def of_weights(block):
    block[0].weight.data.mul_(2)


def of_a_new_tensor(block):
    block[3][0].bias.data = torch.ones(5)


def of_a_step(block):
    optimiser = torch.optim.AdamW(block.parameters(), lr=0.1)
    block(torch.randn(2, 3, 6, 6)).sum().backward()
    optimiser.step()


def of_statistics_alone(block):
    block.train()
    with torch.no_grad():
        block(torch.randn(2, 3, 6, 6) + 4)
    block.eval()


def of_stored_values(block):
    block.load_state_dict({name: values + 0.5 for name, values in block.state_dict().items()})


CHANGES = [of_weights, of_a_new_tensor, of_a_step, of_statistics_alone, of_stored_values]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_change_of_the_layers_is_seen(change, mode, calls):
    block, x = block_of(2), torch.randn(2, 3, 6, 6)
    with mode():
        before = block(x)
    change(block)
    with mode():
        after = block(x)
        torch.testing.assert_close(after, one_by_one(block, x), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(before, after)
    assert len(calls) == 4


def test_a_copy_is_independent_and_nothing_of_it_is_stored(calls):
    block, x = block_of(2), torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        expected = block(x)
        other = copy.deepcopy(block)
        of_weights(other)
        torch.testing.assert_close(other(x), one_by_one(other, x), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(block(x), expected)
    assert block._folded
    assert not pickle.loads(pickle.dumps(block))._folded


def test_gradients_hooks_transforms_and_other_layers_keep_the_layers_apart():
    block, x = block_of(2), torch.randn(2, 3, 6, 6)
    conv, norm = block[0], block[1]
    assert not folds(conv, norm, x), "a gradient is wanted"
    with torch.no_grad():
        assert folds(conv, norm, x) == folded.kernel_works(torch.float32, 2)
        assert not folds(conv, norm.train(), x)
        norm.eval()
        assert not folds(conv, nn.SiLU(), x)
        assert not folds(conv, norm, x.double())
        hook = conv.register_forward_hook(lambda *_: None)
        assert not folds(conv, norm, x)
        hook.remove()
        assert not torch.func.vmap(lambda one: torch.tensor(folds(conv, norm, one[None])))(x).any()
        norm[0] = nn.SyncBatchNorm(5).eval()
        assert not folds(conv, norm, x)


def test_without_the_operation_the_layers_are_computed(monkeypatch):
    model = trained(create_model("unet", in_channels=1, out_channels=2, base_channels=4, norm="batch"))
    x = torch.randn(1, 1, 32, 40)
    with torch.no_grad():
        found = model(x)
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
        folded.kernel_works.cache_clear()
        torch.testing.assert_close(found, model(x), rtol=1e-4, atol=1e-4)
    folded.kernel_works.cache_clear()


@pytest.mark.parametrize("options", [{}, {"residual": True}, {"attention": True, "dropout": 0.2}, {"stride": 2}])
def test_networks_give_the_same_with_and_without_gradients(options, calls):
    model = create_model("unet", in_channels=1, out_channels=2, base_channels=4, norm="batch", **options)
    x = torch.randn(2, 1, 33, 40)
    with_gradient = trained(model)(x)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), with_gradient.detach(), rtol=1e-4, atol=1e-4)
    assert len(calls) == 16
