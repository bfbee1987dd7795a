"""Saved outputs of the networks that this package defines; `python tests/models/own_networks.py` writes them.

The weights are drawn by numpy from the names of the parameters, so that the outputs change only where a network
does, whatever torch draws. Write them anew only for a change of a network that is meant.
"""

from math import prod
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from oasis.models import create_model

SAVED = Path(__file__).parent / "files" / "own_networks.npz"
CASES = {
    "group": ("unet", (17, 22), {}),
    "batch": ("unet", (17, 22), {"norm": "batch"}),
    "instance": ("unet", (9, 8, 7), {"norm": "instance", "depth": 3}),
    "none": ("unet", (53,), {"norm": "none", "multiplier": 3}),
    "residual": ("unet", (17, 22), {"residual": True}),
    "attention": ("unet", (17, 22), {"attention": True}),
    "small": ("unet", (3, 5), {"padding": "zero"}),
    "timm": ("timm/test_resnet", (33, 37), {}),
    "timm at stride 4": ("timm/test_convnext", (33, 37), {"norm": "batch", "attention": True, "depth": 3}),
}


def draw(model: nn.Module) -> None:
    """Give every parameter values that follow from its name and shape."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = np.random.default_rng(crc32(name.encode())).standard_normal(parameter.shape)
            if parameter.ndim > 1:
                values *= np.sqrt(2 / prod(parameter.shape[1:]))
            else:
                values = values / 10 + name.endswith("weight")
            parameter.copy_(torch.from_numpy(values))


def output(case: str) -> NDArray[np.float32]:
    """Return the maps (1, 2, *S) that a network gives for an image of noise."""
    name, size, options = CASES[case]
    model = create_model(name, 1, 2, len(size), base_channels=4, **options)
    draw(model)
    image = torch.from_numpy(np.random.default_rng(0).random((1, 1, *size), np.float32))
    with torch.no_grad():
        return model.eval()(image).numpy()


if __name__ == "__main__":
    np.savez_compressed(SAVED, **{case: output(case) for case in CASES})
