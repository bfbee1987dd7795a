"""What a separator can be put into: the second table in docs/howto/own_training_loop.md has these rows."""

import pytest
import torch

from oasis.separator.options import SeparatorOptions
from oasis.separator.separator import Separator

OPTIONS = SeparatorOptions(classes=("a", "b"), model={"name": "unet", "base_channels": 4, "depth": 1})
IMAGE = torch.rand(2, 1, 12, 14, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def separator():
    torch.manual_seed(0)
    return Separator(OPTIONS).eval()


class Maps(torch.nn.Module):
    """A separator that returns a tensor."""

    def __init__(self, separator):
        super().__init__()
        self.separator = separator

    def forward(self, image):
        return self.separator(image).maps


def test_tensors_of_monai(separator):
    data = pytest.importorskip("monai.data")
    found = separator(data.MetaTensor(IMAGE)).maps
    torch.testing.assert_close(torch.as_tensor(found).as_subclass(torch.Tensor), separator(IMAGE).maps)


def test_autocast_keeps_maps_in_float32(separator):
    with torch.autocast("cpu", torch.bfloat16):
        found = separator(IMAGE).maps
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, separator(IMAGE).maps, rtol=0.1, atol=0.02)


def test_double_but_not_half_precision(separator):
    expected = separator(IMAGE).maps
    found = separator.double()(IMAGE.double()).maps
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), expected)
    for dtype in (torch.float16, torch.bfloat16):
        with pytest.raises(RuntimeError, match="should be the same"):
            separator.to(dtype)(IMAGE.to(dtype))


def test_compilation_with_breaks(separator):
    found = torch.compile(separator, backend="eager")(IMAGE).maps
    torch.testing.assert_close(found, separator(IMAGE).maps)


def test_export_and_checkpointing_of_maps(separator):
    from torch.utils.checkpoint import checkpoint

    module, expected = Maps(separator), separator(IMAGE).maps
    torch.testing.assert_close(torch.export.export(module, (IMAGE,), strict=False).module()(IMAGE), expected)
    torch.testing.assert_close(checkpoint(module, IMAGE, use_reentrant=False), expected)


def test_no_transformations_of_functions(separator):
    with pytest.raises(RuntimeError):
        torch.func.vmap(lambda one: separator(one[None]).maps[0])(IMAGE)
