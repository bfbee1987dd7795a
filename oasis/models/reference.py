"""The published weights of the authors of OASIS, read into the U-Net of this package."""

import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from oasis.errors import ModelError
from oasis.models.unet import UNet

DEPTH = 4
INPUT, OUTPUT = "enc1.net.0.weight", "head.weight"
BLOCK = (0, 1, 3, 4)  # positions of convolutions and normalisations; activations have no weights
SHOWN = 4  # names in an error message


def load_reference(path: str | Path) -> nn.Module:
    """Return the authors' network with the weights of a file: the U-Net followed by softplus.

    It maps scaled intensities (Eq. 4 of the paper) to scaled intensities, (b, 1, H, W) to (b, 2, H, W), with the
    electron recoil first. The numbers of channels follow from the weights.

    Args:
        path: the path of a state dict, `.pt` or `.safetensors`; names may begin with `module.`.

    Raises:
        ModelError: the file cannot be read, or weights are missing, unexpected or of another shape.
    """
    path = Path(path)
    found = _read(path)
    for name in (INPUT, OUTPUT):
        if name not in found or found[name].ndim != 4:
            raise ModelError(f"{path}: no weight {name} (a tensor of 4 axes), so not the published network")
    base, inputs = found[INPUT].shape[:2]
    network = UNet(inputs, found[OUTPUT].shape[0], base_channels=base, depth=DEPTH)
    shapes = {name: weight.shape for name, weight in network.state_dict().items()}
    names = _our_names()
    wrong = {
        "missing": names.keys() - found.keys(),
        "left over": found.keys() - names.keys(),
        "of another shape": {
            name for name in names.keys() & found.keys() if found[name].shape != shapes[names[name]]
        },
    }
    if any(wrong.values()):
        listing = "; ".join(f"{problem}: {_listed(group)}" for problem, group in wrong.items() if group)
        raise ModelError(f"{path}: not the weights of the published network with {base} base channels; {listing}")
    network.load_state_dict({ours: found[theirs] for theirs, ours in names.items()})
    return nn.Sequential(network, nn.Softplus())


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).split("\n", 1)[0][:120]
        raise ModelError(f"{path}: not a file of weights ({reason})") from None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(f"{path}: not a state dict (tensors by name)")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _our_names() -> dict[str, str]:
    """Return our name of each of the authors' parameters.

    Example:
        >>> _our_names()["up3.block.net.3.weight"]
        'decoder.0.block.2.weight'
    """
    layers = {"head": "output"}
    blocks = {"enc1.net": "encoder.0", "bott.net": "bottleneck"}
    for level in range(1, DEPTH):
        layers[f"enc{level + 1}.pool"] = f"encoder.{level}.0.conv"
        blocks[f"enc{level + 1}.block.net"] = f"encoder.{level}.1"
        layers[f"up{level}.conv1x1"] = f"decoder.{DEPTH - 1 - level}.conv"
        blocks[f"up{level}.block.net"] = f"decoder.{DEPTH - 1 - level}.block"
    for theirs, ours in blocks.items():
        layers |= {f"{theirs}.{place}": f"{ours}.{index}" for index, place in enumerate(BLOCK)}
    return {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in layers.items() for kind in ("weight", "bias")}


def _listed(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
