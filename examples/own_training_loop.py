"""The overlap loss in a training loop of plain PyTorch, with a network of segmentation-models-pytorch.

Only the loss of oasis-seg is used: maps are the softplus of the network's output, and the loss compares square
roots of intensities.

    python examples/own_training_loop.py --steps 300
"""

import argparse
import sys

import segmentation_models_pytorch as smp
import torch
from torch import Tensor
from torch.nn import functional as F

import oasis
from oasis.command import at_least, run_script

SIZE = 64  # pixels


def draw_batch(size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return counts (b, 1, H, W) and maps (b, 2, H, W) of faint narrow spots under bright wide ones."""
    grid = torch.arange(SIZE, dtype=torch.float32)

    def spots(brightness: tuple[float, float], width: float) -> Tensor:
        row, col, peak = torch.rand(3, size, 1, 1, generator=generator)
        place = torch.tensor([0.25 * SIZE, 0.5 * SIZE])
        distance = (grid[:, None] - place[0] - row * place[1]) ** 2 + (grid - place[0] - col * place[1]) ** 2
        low, high = brightness
        light = (low + (high - low) * peak) * torch.exp(-distance / (2 * width**2))
        return torch.where(light > 0.5, light, 0)

    target = torch.stack([spots((5, 30), 2.5), spots((50, 200), 8)], dim=1)
    return torch.poisson(target.sum(1, keepdim=True) + 2, generator=generator), target


def error_in_overlap(model: torch.nn.Module, images: Tensor, target: Tensor) -> float:
    """Return the median relative error of the faint spots' intensity in the overlap, in per cent."""
    model.eval()
    with torch.no_grad():
        maps = F.softplus(model(images.sqrt())) ** 2
    model.train()
    shared = (target > 0).all(1)
    true, found = ((values[:, 0] * shared).sum((1, 2)) for values in (target, maps))
    bright = true > 20
    return float(((found - true) / true)[bright].median()) * 100


def main() -> None:
    """Train, and print the error on held-out images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=at_least(1), default=300)
    parser.add_argument("--encoder", default="resnet18")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = smp.Unet(options.encoder, encoder_weights=None, in_channels=1, classes=2)
    loss = oasis.OverlapLoss(
        ("spot", "halo"), class_weights={"spot": 3}, region_weights={"spot": 2, "spot&halo": 6}
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(1)
    held_out = draw_batch(128, torch.Generator().manual_seed(2))
    for step in range(options.steps):
        images, target = draw_batch(16, generator)
        value = loss(F.softplus(model(images.sqrt())), target.sqrt())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if (step + 1) % max(options.steps // 5, 1) == 0:
            error = error_in_overlap(model, *held_out)
            print(f"step {step + 1}: loss {value.item():.3f}, spots in the overlap {error:+.0f} %")


if __name__ == "__main__":
    sys.exit(run_script(main))
