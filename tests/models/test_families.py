"""Backbones of every family and dimension: any size, gradients, and a round trip through a file. About 45 s."""

from pathlib import Path

import numpy as np
import own_networks
import pytest
import torch

import oasis
from oasis.models.from_monai import NETWORKS
from oasis.models.from_timm import of_any_size
from oasis.separator.options import SeparatorOptions
from oasis.separator.separator import Separator

SIZES = {1: (101,), 2: (37, 50), 3: (17, 20, 9)}
BUILDER = """
from torch import nn

def build(in_channels, out_channels, spatial_dims, wide=3):
    convolution = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[spatial_dims]
    return convolution(in_channels, out_channels, wide, padding=wide // 2)
"""

UNETS = [{}, {"norm": "batch", "residual": True}, {"norm": "none", "attention": True, "padding": "zero"}]
SMP = {
    "unet-tu-test_resnet": {"decoder_channels": [16, 8, 8, 4, 4]},
    "unet-resnet18": {"encoder_depth": 3, "decoder_channels": [32, 16, 16], "decoder_attention_type": "scse"},
    "unet-tu-test_mambaout": {"decoder_channels": [16, 8, 8, 4, 4]},
    "unetplusplus-tu-test_resnet": {"decoder_channels": [16, 8, 8, 4, 4]},
    "manet-tu-test_resnet": {"decoder_channels": [16, 8, 8, 4, 4], "decoder_pab_channels": 8},
    "linknet-tu-test_resnet": {},
    "fpn-tu-test_convnext": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32},
    "pspnet-tu-test_resnet": {"psp_out_channels": 16},
    "deeplabv3-tu-test_resnet": {"decoder_channels": 16},
    "deeplabv3plus-tu-test_resnet": {"decoder_channels": 16},
    "pan-tu-test_resnet": {"decoder_channels": 8, "padding": "zero"},
    "upernet-tu-test_resnet": {"decoder_channels": 16},
    "segformer-tu-test_resnet": {"decoder_segmentation_channels": 16},
    "dpt-tu-test_vit": {"decoder_intermediate_channels": [8, 8, 8, 8], "decoder_fusion_channels": 8},
}
TIMM = {
    "test_resnet": {},
    "test_efficientnet": {"depth": 3, "norm": "batch"},
    "test_convnext": {"residual": True},  # begins at stride 4 and rounds down
    "test_mambaout": {"padding": "zero"},  # channels last
    "vit_tiny_patch16_224": {"attention": True, "depth": 2},  # one stride; made for one size, but can do without
    "test_vit_relpos": {"img_size": 64},  # one size
    "vgg11": {"depth": 3},  # begins at full resolution
    "dla46_c": {},  # takes no odd sizes
}
SMALL = {
    "AttentionUnet": {"channels": [4, 8, 8], "strides": [2, 2]},
    "BasicUNet": {"features": [4, 4, 8, 8, 8, 4]},
    "BasicUNetPlusPlus": {"features": [4, 4, 8, 8, 8, 4]},
    "DynUNet": {"strides": [1, 2, [2, 2, 1], 2], "filters": [4, 8, 8, 8]},
    "FlexibleUNet": {"decoder_channels": [8, 8, 8, 4, 4]},
    "HighResNet": {
        "layer_params": [
            {"name": "conv_0", "n_features": 4, "kernel_size": 3},
            {"name": "res_1", "n_features": 4, "kernels": [3, 3], "repeat": 1},
            {"name": "conv_1", "n_features": 4, "kernel_size": 1},
            {"name": "conv_2", "kernel_size": 1},
        ]
    },
    "MedNeXt": {"init_filters": 4, "kernel_size": 3, "blocks_down": [1, 1], "blocks_up": [1, 1]},
    "SegResNet": {"blocks_down": [1, 1], "blocks_up": [1]},
    "SegResNetDS": {"init_filters": 8, "blocks_down": [1, 1]},
    "SwinUNETR": {"feature_size": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1], "norm_name": "batch"},
    "UNETR": {"feature_size": 4, "hidden_size": 8, "mlp_dim": 8, "num_heads": 1},
    "UNet": {"channels": [4, 8, 8], "strides": [2, 2]},
    "VNet": {},
}
UNETR_SIZE = {1: 112, 2: [48, 64], 3: [32, 32, 16]}


def cases():
    for dims in SIZES:
        yield from [("unet", dims, {"base_channels": 4, **options}) for options in UNETS]
        yield "own.py:build", dims, {"wide": 5}
        yield "tokens", dims, {"width": 16, "layers": 2}
    yield from [(f"smp/{name}", 2, options) for name, options in SMP.items()]
    yield from [(f"timm/{name}", 2, {"base_channels": 4, **options}) for name, options in TIMM.items()]
    for name, network in NETWORKS.items():
        for dims in network.dimensions:
            more = {"img_size": UNETR_SIZE[dims]} if name == "UNETR" else {}
            if name == "DynUNet" and dims < 3:
                more = {"strides": [1, 2, 2, 2]}
            yield f"monai/{name}", dims, {**SMALL[name], **more}


def named(value):
    return "-".join(map(str, value.values())) if isinstance(value, dict) else None


@pytest.mark.parametrize(("name", "dims", "options"), cases(), ids=named)
def test_any_backbone(name, dims, options, tmp_path, monkeypatch):
    if "/" in name:
        pytest.importorskip({"smp": "segmentation_models_pytorch"}.get(name.split("/")[0], name.split("/")[0]))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(BUILDER)
    torch.manual_seed(0)
    facts = {"classes": ("a", "b"), "spatial_dims": dims, "context": 1, "head": {"name": "softplus"}}
    separator = Separator(SeparatorOptions(**facts, model={"name": name, **options}))
    image = torch.from_numpy(np.random.default_rng(0).random((2, 2, *SIZES[dims]), np.float32))
    output = separator.backbone(image)
    assert output.shape == (2, 2, *SIZES[dims])
    assert output.isfinite().all()
    output.square().mean().backward()
    gradients = [parameter.grad for parameter in separator.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(gradient.abs().sum() for gradient in gradients) > 0

    loaded = oasis.load(separator.save(Path("saved")), trust_code=True)
    assert loaded.options == separator.options
    with torch.no_grad():
        assert torch.equal(loaded.backbone(image), separator.eval().backbone(image))


@pytest.mark.parametrize(
    ("name", "options", "whole"),
    [
        ("smp/linknet-tu-test_resnet", {}, False),
        ("smp/pspnet-tu-test_resnet", {}, True),
        ("timm/test_resnet", {"norm": "batch"}, False),
        ("timm/test_resnet", {}, True),
        ("timm/test_efficientnet", {"norm": "batch"}, True),  # squeezes and excites
    ],
)
def test_pooling_over_the_frame_is_found(name, options, whole):
    pytest.importorskip("segmentation_models_pytorch")
    backbone = oasis.create_model(name, 1, 2, **options)
    own_networks.draw(backbone)
    assert backbone.sees_whole_frame is whole


@pytest.mark.parametrize(
    ("known", "options", "expected"),
    [
        (["dynamic_img_size"], {}, ({"dynamic_img_size": True}, None)),
        (["strict_img_size"], {}, ({"strict_img_size": False}, None)),
        ([], {}, ({}, None)),
        (["img_size", "dynamic_img_size"], {"img_size": 64}, ({"img_size": 64}, 64)),
        ([], {"img_size": 64}, ({}, 64)),
    ],
)
def test_an_encoder_is_built_for_any_size_if_it_can(known, options, expected):
    def build(**given):
        for name in given:
            if name not in known:
                raise TypeError(f"Encoder.__init__() got an unexpected keyword argument '{name}'")
        return given

    assert of_any_size(build, options) == expected
    with pytest.raises(TypeError, match="'widow_size'"):
        of_any_size(build, {"widow_size": 7})


@pytest.mark.parametrize("case", own_networks.CASES)
def test_our_own_networks_give_what_they_gave(case):
    if "timm" in case:
        pytest.importorskip("timm")
    saved = np.load(own_networks.SAVED, allow_pickle=False)[case]
    np.testing.assert_allclose(own_networks.output(case), saved, rtol=1e-4, atol=1e-4 * saved.std())
