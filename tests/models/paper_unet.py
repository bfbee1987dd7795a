"""The paper's U-Net written out as functions of a dictionary of weights, under the authors' names."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
MODE = {1: "linear", 2: "bilinear", 3: "trilinear"}


def paper_unet(weights: dict[str, Tensor], image: Tensor) -> Tensor:
    """Scaled image (b, 1, *S) to raw output (b, 2, *S), before the softplus."""
    conv = CONV[image.ndim - 2]

    def layer(x: Tensor, name: str, **options: int) -> Tensor:
        return conv(x, weights[f"{name}.weight"], weights[f"{name}.bias"], **options)

    def block(x: Tensor, name: str) -> Tensor:
        for place in (0, 3):
            x = layer(x, f"{name}.{place}", padding=1)
            groups = min(8, x.shape[1])
            x = F.group_norm(x, groups, weights[f"{name}.{place + 1}.weight"], weights[f"{name}.{place + 1}.bias"])
            x = x * torch.sigmoid(x)
        return x

    def down(x: Tensor, name: str) -> Tensor:
        return block(layer(x, f"{name}.pool", stride=2, padding=1, groups=x.shape[1]), f"{name}.block.net")

    def up(x: Tensor, skip: Tensor, name: str) -> Tensor:
        x = F.interpolate(x, skip.shape[2:], mode=MODE[image.ndim - 2], align_corners=False)
        return block(torch.cat([layer(x, f"{name}.conv1x1"), skip], dim=1), f"{name}.block.net")

    first = block(image, "enc1.net")
    second = down(first, "enc2")
    third = down(second, "enc3")
    x = block(down(third, "enc4"), "bott.net")
    x = up(up(up(x, third, "up3"), second, "up2"), first, "up1")
    return layer(x, "head")


def draw_weights(base: int, dims: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """Random weights of the paper's shapes, also where a fresh network has zeros and ones."""
    rng = np.random.default_rng(seed)
    weights: dict[str, Tensor] = {}

    def layer(name: str, inputs: int, outputs: int, wide: int, groups: int = 1) -> None:
        shape = (outputs, inputs // groups, *[wide] * dims)
        scale = np.sqrt(2 / np.prod(shape[1:]))
        weights[f"{name}.weight"] = torch.from_numpy(rng.normal(0, scale, shape))
        weights[f"{name}.bias"] = torch.from_numpy(rng.normal(0, 0.1, outputs))

    def block(name: str, inputs: int, outputs: int) -> None:
        for place, channels in ((0, inputs), (3, outputs)):
            layer(f"{name}.{place}", channels, outputs, 3)
            weights[f"{name}.{place + 1}.weight"] = torch.from_numpy(rng.normal(1, 0.2, outputs))
            weights[f"{name}.{place + 1}.bias"] = torch.from_numpy(rng.normal(0, 0.2, outputs))

    block("enc1.net", 1, base)
    for level in (2, 3, 4):
        width = base * 2 ** (level - 1)
        layer(f"enc{level}.pool", width // 2, width // 2, 3, groups=width // 2)
        block(f"enc{level}.block.net", width // 2, width)
        layer(f"up{level - 1}.conv1x1", width, width // 2, 1)
        block(f"up{level - 1}.block.net", width, width // 2)
    block("bott.net", 8 * base, 8 * base)
    layer("head", base, 2, 1)
    return {name: weight.float() for name, weight in weights.items()}
