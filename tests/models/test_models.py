"""Models by name. About 2 s."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from oasis import models
from oasis.errors import ModelError
from oasis.models import Family, UNet, create_model, list_models


def test_a_model_is_built_by_name() -> None:
    model = create_model("unet", in_channels=2, out_channels=3, spatial_dims=1, base_channels=4, norm="batch")
    assert isinstance(model, UNet)
    assert model(torch.zeros(2, 2, 16)).shape == (2, 3, 16)


def test_models_are_listed_by_pattern() -> None:
    assert list_models() == ["unet"]
    assert list_models("smp/*") == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("unte", "did you mean 'unet'?"), ("nosuch/unet", "known: unet"), ("smp", "known: unet")],
)
def test_an_unknown_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(ModelError) as error:
        create_model(name, 1, 2)
    assert str(error.value) == f"model: unknown {name!r}; {message}"


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError) as error:
        create_model("unet", 1, 2, base=8)
    assert str(error.value) == (
        "model unet: unknown option 'base'; known: base_channels, depth, multiplier, norm, dropout"
    )


def test_a_family_is_asked_only_for_its_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(in_channels: int, out_channels: int, spatial_dims: int, wide: int = 1) -> nn.Module:
        return nn.Conv2d(in_channels, out_channels, wide)

    asked = []
    family = Family(names=lambda: ["toy/conv"], builder=lambda name: asked.append(name) or build)
    monkeypatch.setitem(models.FAMILIES, "toy", family)
    create_model("unet", 1, 2, base_channels=4)
    assert asked == []
    model = create_model("toy/conv", 1, 2, wide=3)
    assert model(torch.zeros(1, 1, 3, 3)).shape == (1, 2, 1, 1)
    assert list_models("toy/*") == ["toy/conv"]
    assert list_models() == ["toy/conv", "unet"]


def test_importing_the_models_brings_no_other_framework() -> None:
    code = "import sys, oasis.models; print([m for m in sys.modules if m in sys.argv[1:]])"
    heavy = [
        "lightning",
        "matplotlib",
        "pandas",
        "scipy",
        "timm",
        "monai",
        "segmentation_models_pytorch",
        "pydantic",
    ]
    found = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
