"""What the loss works with: tensor subclasses, number types, autocast, torch.func, export and compilation.

The table in docs/howto/own_training_loop.md has a row for each group of these tests.
"""

import pytest
import torch
from torch import Tensor

from oasis.loss.overlap import OverlapLoss

LOSS = OverlapLoss(("a", "b"), class_weights={"a": 5}, region_weights={"a&b": 6}, smoothness=0.1)


@pytest.fixture
def maps():
    """A prediction, a target and where it is valid."""
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.rand(2, 3, 2, 12, 14, generator=generator)
    target = target * (torch.rand(3, 2, 12, 14, generator=generator) > 0.5)
    return prediction, target, torch.rand(3, 1, 12, 14, generator=generator) > 0.2


def gradient(loss, prediction, *given):
    leaf = prediction.detach().clone().requires_grad_()
    loss(leaf, *given).backward()
    return leaf.grad


class Image(Tensor):
    """A subclass as other libraries have them, which hands itself on."""


def test_tensors_of_monai(maps):
    data = pytest.importorskip("monai.data")
    prediction, target, valid = maps
    given = data.MetaTensor(target), data.MetaTensor(valid)
    torch.testing.assert_close(LOSS(data.MetaTensor(prediction), *given), LOSS(*maps))
    found = gradient(LOSS, data.MetaTensor(prediction), *given)
    torch.testing.assert_close(torch.as_tensor(found).as_subclass(Tensor), gradient(LOSS, *maps))


@pytest.mark.parametrize("kind", [Image, torch.nn.Parameter])
def test_other_subclasses(maps, kind):
    prediction, target, valid = maps
    changed = prediction.clone().as_subclass(Image) if kind is Image else kind(prediction)
    torch.testing.assert_close(LOSS(changed, target, valid).as_subclass(Tensor), LOSS(*maps))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_and_double_precision(maps, dtype, autocast):
    prediction, target, valid = maps[0].to(dtype), maps[1].to(dtype), maps[2]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = LOSS(prediction, target, valid)
    assert found.dtype in (torch.float32, torch.float64)
    expected = LOSS(prediction.double(), target.double(), valid)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6, check_dtype=False)
    assert gradient(LOSS, prediction, target, valid).dtype == dtype


def test_vmap_gives_the_loss_of_every_sample(maps):
    found = torch.func.vmap(lambda *one: LOSS(*(part[None] for part in one)))(*maps)
    expected = torch.stack([LOSS(*(part[[place]] for part in maps)) for place in range(3)])
    torch.testing.assert_close(found, expected)


def test_gradients_of_torch_func(maps):
    prediction, target, valid = maps
    expected = gradient(LOSS, *maps)
    torch.testing.assert_close(torch.func.grad(LOSS)(prediction, target, valid), expected)
    found = torch.func.vmap(torch.func.grad(lambda *one: LOSS(*(part[None] for part in one))))(*maps)
    single = torch.cat([gradient(LOSS, *(part[[place]] for part in maps)) for place in range(3)])
    torch.testing.assert_close(found, single)
    tangent = torch.rand(prediction.shape, generator=torch.Generator().manual_seed(1))
    _, slope = torch.func.jvp(lambda one: LOSS(one, target, valid), (prediction,), (tangent,))
    torch.testing.assert_close(slope, (expected * tangent).sum(), check_dtype=False)


@pytest.mark.parametrize("strict", [False, True])
def test_export_for_images_of_one_size(maps, strict):
    program = torch.export.export(_Whole(), maps, strict=strict).module()
    torch.testing.assert_close(program(*maps), LOSS(*maps))


class _Whole(torch.nn.Module):
    """The loss with the arguments that a program takes."""

    def __init__(self):
        super().__init__()
        self.loss = LOSS

    def forward(self, prediction, target, valid):
        return self.loss(prediction, target, valid)


def test_compilation_as_one_graph(maps):
    """The graph is compiled without a compiler of C++, which a machine need not have."""
    compiled = torch.compile(LOSS, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*maps), LOSS(*maps))
    torch.testing.assert_close(gradient(compiled, *maps), gradient(LOSS, *maps))


def test_checkpointing(maps):
    from torch.utils.checkpoint import checkpoint

    prediction, target, valid = maps
    found = gradient(lambda one: checkpoint(LOSS, one, target, valid, use_reentrant=False), prediction)
    torch.testing.assert_close(found, gradient(LOSS, *maps))


def test_interchangeable_classes_compile_but_are_not_for_vmap(maps):
    loss = OverlapLoss(("a", "b"), interchangeable=[("a", "b")])
    with pytest.raises(RuntimeError):
        torch.func.vmap(lambda *one: loss(*(part[None] for part in one)))(*maps[:2])
    torch.testing.assert_close(torch.compile(loss, backend="aot_eager")(*maps[:2]), loss(*maps[:2]))
