"""Models by name: what is built, listed, refused and imported. About 15 s."""

import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from oasis import models
from oasis.errors import ModelError
from oasis.models import Backbone, Family, UNet, create_model, list_models
from oasis.models.backbone import Wrapped

HEAVY = [
    "albumentations",
    "lightning",
    "matplotlib",
    "monai",
    "pandas",
    "pydantic",
    "scipy",
    "segmentation_models_pytorch",
    "timm",
]


def refusal(name: str, spatial_dims: int = 2, **options: Any) -> str:
    """Return what is said of a model, without its name."""
    with pytest.raises(ModelError) as error:
        create_model(name, 1, 2, spatial_dims, **options)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"model {name}: ")
    return str(error.value).removeprefix(f"model {name}: ")


def run(code: str) -> str:
    """Return what code prints in a process of its own."""
    code = textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_a_model_is_built_by_name() -> None:
    model = create_model("unet", in_channels=2, out_channels=3, spatial_dims=1, base_channels=4, norm="batch")
    assert isinstance(model, UNet)
    assert model(torch.zeros(2, 2, 16)).shape == (2, 3, 16)


def test_an_unknown_name_is_refused() -> None:
    kinds = "<file>.py:<builder>, monai/<Network>, smp/<architecture>-<encoder>, timm/<encoder>, tokens, unet"
    assert refusal("unte") == "unknown; did you mean 'unet'?"
    assert refusal("UNet") == "unknown; did you mean 'unet'?"
    assert refusal("resnet18") == f"unknown; known: {kinds}"
    assert refusal("smpp/unet") == "unknown family 'smpp'; did you mean 'smp'?"
    assert refusal("monai/unet") == "unknown; did you mean 'monai/UNet'?"


def test_an_unknown_name_of_smp_is_refused() -> None:
    pytest.importorskip("segmentation_models_pytorch")
    assert refusal("smp/unett-resnet18") == "unknown architecture 'unett'; did you mean 'unet'?"
    assert refusal("smp/unet-Resnet81") == "unknown encoder 'Resnet81'; did you mean 'resnet18'?"
    assert refusal("smp/unet-convnext_atto") == "unknown encoder 'convnext_atto'; did you mean 'tu-convnext_atto'?"
    assert refusal("smp/unet-tu-convnext_ato") == "unknown encoder 'convnext_ato'; did you mean 'convnext_atto'?"
    assert refusal("smp/unet-") == "unknown encoder ''; oasis.list_models('smp/unet-*') lists them"


def test_an_unknown_encoder_of_timm_is_refused() -> None:
    pytest.importorskip("timm")
    assert refusal("timm/ResNet18d") == "unknown encoder 'ResNet18d'; did you mean 'resnet18d'?"
    assert (
        refusal("timm/hf-hub:some/one")
        == "unknown encoder 'hf-hub:some/one'; oasis.list_models('timm/*') lists them"
    )


def test_an_unknown_option_is_refused() -> None:
    known = "attention, base_channels, centred, depth, dropout, multiplier, norm, padding, residual, stride"
    assert refusal("unet", base=8) == f"unknown option 'base'; known: {known}"
    assert refusal("unet", base_chanels=8) == "unknown option 'base_chanels'; did you mean 'base_channels'?"
    assert refusal("unet", norm="grup") == "unknown norm 'grup'; did you mean 'group'?"


def test_an_unknown_option_of_a_library_is_refused() -> None:
    for library in ("segmentation_models_pytorch", "monai"):
        pytest.importorskip(library)
    assert refusal("smp/fpn-resnet18", decoder_droput=0.1) == (
        "unknown option 'decoder_droput'; did you mean 'decoder_dropout'?"
    )
    assert refusal("smp/unet-resnet18", activation="tanh").startswith(
        "unknown option 'activation'; known: decoder_a"
    )
    assert refusal("timm/test_resnet", checkpoint_path="x").startswith(
        "unknown option 'checkpoint_path'; known: act_"
    )
    assert (
        refusal("timm/test_resnet", img_size=[64, 64, 64])
        == "img_size must be one number or 2, found [64, 64, 64]"
    )
    assert refusal("timm/test_resnet", window_size=7).endswith("got an unexpected keyword argument 'window_size'")
    assert refusal("timm/test_resnet", depth=6) == "depth: the encoder gives fewer than 6 maps"
    assert refusal("monai/UNet", chanels=[4, 8]) == "unknown option 'chanels'; did you mean 'channels'?"
    assert refusal("monai/DynUNet", deep_supervision=True).startswith(
        "unknown option 'deep_supervision'; known: act_"
    )
    assert refusal("monai/UNet", encoder_weights="default") == (
        "this network has no encoder_weights: leave them out"
    )


def test_what_does_not_go_together_is_refused_with_the_librarys_reason() -> None:
    for library in ("segmentation_models_pytorch", "monai"):
        pytest.importorskip(library)
    assert refusal("smp/pan-densenet121") == (
        "ValueError: DenseNet encoders do not support dilated mode due to pooling operation for downsampling!"
    )
    assert refusal("smp/unet-tu-test_vit") == "ValueError: Unsupported model downsampling pattern."
    assert "length" in refusal("monai/UNet", channels=[4, 8, 8], strides=[2])


def test_a_network_of_one_size_says_so() -> None:
    pytest.importorskip("timm")
    pytest.importorskip("monai")
    assert refusal("timm/test_vit_relpos") == (
        "accepts no image of 16 x 16 or 32 x 32 or 64 x 64 or 128 x 128 pixels (Input height (128) doesn't match "
        "model (160).); made for images of 160 x 160: a network of one size needs it as img_size"
    )
    assert refusal("monai/UNETR") == "needs the option img_size"


@pytest.mark.parametrize(
    ("name", "able"), [("smp/unet-resnet18", "2D"), ("timm/resnet18", "2D"), ("monai/VNet", "2D and 3D")]
)
def test_a_model_that_cannot_have_so_many_axes_names_those_that_can(name: str, able: str) -> None:
    one = (
        "unet, tokens, monai/AttentionUnet, monai/BasicUNet, monai/BasicUNetPlusPlus, monai/DynUNet, "
        "monai/HighResNet, monai/SegResNetDS, monai/UNETR, monai/UNet"
    )
    assert refusal(name, spatial_dims=1) == f"made for {able}; in 1D: {one}"
    assert refusal(name, spatial_dims=4) == "spatial_dims must be 1, 2 or 3, found 4"


def test_models_are_listed_by_pattern() -> None:
    for library in ("segmentation_models_pytorch", "monai"):
        pytest.importorskip(library)
    assert list_models("u*") == ["unet"]
    assert list_models("smpp/*") == []
    assert len(list_models("monai/*")) == 13
    assert list_models("*/*UNet") == ["monai/BasicUNet", "monai/DynUNet", "monai/FlexibleUNet", "monai/UNet"]
    smp = list_models("smp/*")
    assert "smp/unet-resnet18" in smp
    assert "smp/pan-vgg11" not in smp
    assert not any("tu-" in name for name in smp)
    assert list_models("smp/*-tu-test_mambaout")[:2] == [
        "smp/deeplabv3-tu-test_mambaout",
        "smp/deeplabv3plus-tu-test_mambaout",
    ]
    assert "smp/dpt-tu-test_vit" in list_models("smp/dpt*")
    assert "timm/test_vit" in list_models("timm/test_*")
    assert set(smp) < set(list_models())


def test_every_architecture_is_listed_with_encoders_that_go_with_it() -> None:
    smp = pytest.importorskip("segmentation_models_pytorch")
    names = list_models("smp/*")
    for architecture in smp.MODEL_ARCHITECTURES_MAPPING:
        for encoder in ("vgg11", "densenet121", "inceptionv4", "xception", "mit_b0"):
            if architecture == "dpt":
                continue
            listed = f"smp/{architecture}-{encoder}" in names
            assert listed == _goes_together(smp, architecture, encoder), (architecture, encoder)


def _goes_together(smp: Any, architecture: str, encoder: str) -> bool:
    try:
        with torch.device("cpu" if encoder == "mit_b0" else "meta"):
            smp.create_model(architecture, encoder, encoder_weights=None, encoder_depth=5)
    except ValueError:
        return False
    return True


def test_only_the_families_that_can_match_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(name: str, in_channels: int, out_channels: int, spatial_dims: int, wide: int = 1) -> Backbone:
        return Wrapped(nn.Conv2d(in_channels, out_channels, wide, padding=wide // 2), in_channels, out_channels, 2)

    asked = []
    family = Family(lambda pattern: asked.append(pattern) or ["toy/conv"], lambda name: (2,), build)
    monkeypatch.setattr(models, "FAMILIES", {"": models.FAMILIES[""], "toy": family})
    create_model("unet", 1, 2, base_channels=4)
    for pattern in ("unet", "u*", "tim*"):
        list_models(pattern)
    assert asked == []
    assert create_model("toy/conv", 1, 2, wide=3)(torch.zeros(1, 1, 3, 3)).shape == (1, 2, 3, 3)
    for pattern in ("toy/*", "to*", "[t]oy/c*", "toy/conv"):
        ours = ["tokens"] if pattern == "to*" else []
        assert list_models(pattern) == [*ours, "toy/conv"]
        assert asked.pop() == pattern
    assert list_models() == ["tokens", "toy/conv", "unet"]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("smp/unet-resnet18", {"encoder_weights": "imagenet"}),
        ("smp/unet-tu-test_resnet", {"encoder_weights": "default"}),
        ("smp/dpt-tu-test_vit", {"encoder_weights": "r160_in1k"}),
        ("timm/test_resnet", {"encoder_weights": "r160_in1k"}),
        ("monai/FlexibleUNet", {"encoder_weights": "default", "backbone": "efficientnet-b0"}),
    ],
)
def test_weights_that_cannot_be_fetched_are_named(
    name: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for library in ("segmentation_models_pytorch", "monai"):
        pytest.importorskip(library)
    import huggingface_hub.constants

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert refusal(name, **options).startswith(
        f"encoder_weights {options['encoder_weights']!r} could not be fetched: they need a network connection "
        "or a cached file; encoder_weights: null draws random ones instead ("
    )


def test_unknown_weights_are_refused() -> None:
    pytest.importorskip("segmentation_models_pytorch")
    assert refusal("smp/unet-resnet18", encoder_weights="imagenot") == (
        "unknown encoder_weights 'imagenot'; did you mean 'imagenet'?"
    )
    for name in ("smp/unet-tu-test_resnet", "timm/test_resnet"):
        assert refusal(name, encoder_weights="x") == "unknown encoder_weights 'x'; known: default, r160_in1k"


def test_importing_the_models_and_making_ours_brings_no_other_framework() -> None:
    found = run(f"""
        import sys, oasis.models
        oasis.models.create_model("unet", 1, 2)
        oasis.models.list_models("u*")
        print([name for name in sys.modules if name in {HEAVY}])
    """)
    assert found == "[]"


def test_without_the_libraries_ours_works_and_the_others_name_the_extra() -> None:
    found = run("""
        import sys

        class Blocker:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in ("segmentation_models_pytorch", "timm", "monai", "albumentations"):
                    raise ModuleNotFoundError(f"No module named {name!r}", name=name)

        sys.meta_path.insert(0, Blocker())
        import torch, oasis
        print(tuple(oasis.create_model("unet", 1, 2)(torch.zeros(1, 1, 5, 40)).shape))
        print(oasis.list_models())
        for name in ("smp/unet-resnet18", "timm/resnet18", "monai/UNet"):
            try:
                oasis.create_model(name, 1, 2)
            except oasis.OasisError as error:
                print(type(error).__name__, error)
    """)
    assert found.splitlines() == [
        "(1, 2, 5, 40)",
        "['tokens', 'unet']",
        "MissingExtraError segmentation_models_pytorch is not installed: run  pip install 'oasis-seg[backbones]'",
        "MissingExtraError timm is not installed: run  pip install 'oasis-seg[backbones]'",
        "MissingExtraError monai is not installed: run  pip install 'oasis-seg[backbones]'",
    ]


@pytest.mark.parametrize(
    ("file", "name", "message"),
    [
        ("", "nothing.py:build", "nothing.py: no such file"),
        ("def build(): ...", "own.py:biuld", "own.py defines no 'biuld'; did you mean 'build'?"),
        ("def build(**facts): return 3", "own.py:build", "expected a torch.nn.Module, found int"),
        (
            "import nothing_here",
            "own.py:build",
            "own.py: line 1: ModuleNotFoundError: No module named 'nothing_here'",
        ),
        (
            "def build(in_channels, out_channels, spatial_dims): ...",
            "own.py:build",
            "TypeError: build() got an unexpected keyword argument 'wide'",
        ),
    ],
)
def test_a_file_that_gives_no_model_is_refused(
    file: str, name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(file)
    options = {"wide": 3} if "wide" in message else {}
    assert refusal(name, **options) == message
