"""Blank, constant and one-pixel images in a batch leave the gradient finite and of its usual size. About 40 s."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from oasis.loss.overlap import OverlapLoss
from oasis.models import backbone, create_model, kernels, own_backbone
from oasis.models.flat import bounded_norms, has_constant_area
from oasis.separator.separator import Separator, SeparatorOptions

SIZES = {1: (64,), 2: (32, 32), 3: (16, 16, 16)}
KINDS = ("blank", "constant", "one pixel", "all blank")
NETWORKS = [
    *(
        ("unet", dims, {"base_channels": 8, "norm": norm})
        for dims in SIZES
        for norm in ("group", "instance", "batch")
    ),
    ("unet", 2, {"base_channels": 8, "norm": "none"}),
    ("unet", 2, {"base_channels": 8, "residual": True, "attention": True}),
    ("smp/unet-resnet18", 2, {"encoder_weights": None}),
    ("timm/resnet18", 2, {"encoder_weights": None}),
    ("timm/convnext_atto", 2, {"encoder_weights": None}),
    ("monai/UNet", 2, {}),
    ("monai/AttentionUnet", 2, {}),
]


def targets(dims: int, kind: str = "ordinary") -> torch.Tensor:
    """Return maps of two sparse classes; the first sample, or all of them, are of a kind."""
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand((3, 2, 1, *SIZES[dims]), generator=generator) * 100
    maps = maps * (maps > 70)
    match kind:
        case "blank":
            maps[0] = 0
        case "constant":
            maps[0] = 10
        case "one pixel":
            maps[0] = 0
            maps[0].view(2, -1)[0, 5] = 50
        case "all blank":
            maps[:] = 0
    return maps


def loss_of(separator: Separator, maps: torch.Tensor) -> torch.Tensor:
    """Return the loss of the images that are the sums of maps."""
    valid = torch.ones((len(maps), 1, *maps.shape[3:]), dtype=torch.bool)
    loss = OverlapLoss(("a", "b"), spatial_dims=maps.ndim - 3, thresholds=0.5)
    prediction = separator(maps.sum(1), valid)
    return loss(prediction.scaled, prediction.scale.forward(maps), valid, loss.regions(maps))


def gradient(separator: Separator, maps: torch.Tensor) -> torch.Tensor:
    """Return the norm of the gradient of the loss, which the parameters keep."""
    separator.zero_grad()
    loss_of(separator, maps).backward()
    return torch.stack([value.grad.norm() for value in separator.parameters() if value.grad is not None]).norm()


def separator_of(name: str, dims: int, options: dict[str, object], head: str = "softplus") -> Separator:
    if "/" in name:
        pytest.importorskip({"smp": "segmentation_models_pytorch"}.get(name.split("/")[0], name.split("/")[0]))
    torch.manual_seed(0)
    model = {"name": name, **options}
    return Separator(SeparatorOptions(classes=("a", "b"), spatial_dims=dims, model=model, head={"name": head}))


@pytest.mark.parametrize(("name", "dims", "options"), NETWORKS)
def test_the_gradient_stays_bounded_in_every_family(name: str, dims: int, options: dict[str, object]) -> None:
    separator = separator_of(name, dims, options)
    usual = gradient(separator, targets(dims))
    for kind in KINDS:
        assert gradient(separator, targets(dims, kind)) < 10 * usual, kind


@pytest.mark.parametrize("head", ["softplus", "fraction", "denoised"])
@pytest.mark.parametrize("bits", [0, 512])
def test_the_gradient_stays_bounded_under_every_head(
    monkeypatch: pytest.MonkeyPatch, head: str, bits: int
) -> None:
    """Both with torch's normalisation and with the fused one."""
    monkeypatch.setattr(kernels, "vector_bits", lambda: bits)
    separator = separator_of("unet", 2, {"base_channels": 8}, head)
    usual = gradient(separator, targets(2))
    for kind in KINDS:
        assert gradient(separator, targets(2, kind)) < 10 * usual, kind


@pytest.mark.parametrize("bits", [0, 512])
def test_without_the_bound_one_blank_image_overflows(monkeypatch: pytest.MonkeyPatch, bits: int) -> None:
    monkeypatch.setattr(kernels, "vector_bits", lambda: bits)
    monkeypatch.setattr(backbone, "bounded_norms", lambda image: nullcontext())
    assert gradient(separator_of("unet", 2, {"base_channels": 16}), targets(2, "blank")) > 1e30


def test_ordinary_samples_keep_their_gradient_to_the_last_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    separator = separator_of("unet", 2, {"base_channels": 8})
    gradient(separator, targets(2))
    bounded = [value.grad.clone() for value in separator.parameters()]
    monkeypatch.setattr(backbone, "bounded_norms", lambda image: nullcontext())
    gradient(separator, targets(2))
    assert all(torch.equal(a, b.grad) for a, b in zip(bounded, separator.parameters(), strict=True))


def test_a_blank_sample_leaves_the_gradient_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """In front of the last normalisation the gradient is that of the batch without it."""
    model = create_model("unet", 1, 2, base_channels=8)
    image = torch.rand(3, 1, 32, 32)
    image[1] = 0
    model(image).square().sum().backward()
    with_blank = [value.grad.clone() for value in model.encoder.parameters()]
    model.zero_grad()
    model(image[[0, 2]]).square().sum().backward()
    for found, parameter in zip(with_blank, model.encoder.parameters(), strict=True):
        torch.testing.assert_close(found, parameter.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("norm", ["group", "instance"])
def test_training_with_one_blank_image_learns_as_well_as_without(norm: str) -> None:
    """One blank among 64 images in every step, which stops the training at its first value otherwise."""
    generator = torch.Generator().manual_seed(1)
    maps = (torch.rand((64, 2, 1, 16, 16), generator=generator) * 100).clamp_min(70) - 70
    losses = []
    for blank in (False, True):
        separator = separator_of("unet", 2, {"base_channels": 4, "depth": 3, "norm": norm})
        trained = torch.cat([maps[:1] * (not blank), maps[1:]])
        optimizer = torch.optim.AdamW(separator.parameters(), lr=1e-2)
        losses.append([])
        for _ in range(15):
            losses[-1].append(loss_of(separator, maps[1:]).item())
            gradient(separator, trained)
            nn.utils.clip_grad_norm_(separator.parameters(), 1.0)
            optimizer.step()
    assert losses[1][-1] == pytest.approx(losses[0][-1], rel=0.03)
    assert losses[1][-1] < 0.9 * losses[1][0]


class Functional(nn.Module):
    """A network of the user's own whose normalisations are functions."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(8 if index else 1, 8, 3, padding=1, bias=False) for index in range(20)
        )
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image
        for index, layer in enumerate(self.layers):
            x = layer(x)
            match index % 3:
                case 0:
                    x = F.group_norm(x, num_groups=2)
                case 1:
                    x = F.instance_norm(x)
                case 2:
                    x = F.layer_norm(x.movedim(1, -1), [8]).movedim(-1, 1)
        return self.last(x)


def test_normalisations_of_ones_own_network_are_bounded_too() -> None:
    torch.manual_seed(0)
    model = own_backbone(Functional(), 1, 2, 2)
    image = torch.rand(2, 1, 16, 16)
    sizes = []
    for factor in (1, 0):
        model.zero_grad()
        model(image * torch.tensor([1.0, factor]).view(2, 1, 1, 1)).square().mean().backward()
        sizes.append(torch.stack([value.grad.norm() for value in model.parameters()]).norm())
    assert sizes[1] < 10 * sizes[0]


def test_only_images_with_constant_areas_in_training_are_treated() -> None:
    image = torch.rand(2, 1, 20, 20)
    assert not has_constant_area(image)
    image[1, :, 8:16, 8:16] = 0.3
    assert has_constant_area(image)
    with torch.no_grad():
        assert isinstance(bounded_norms(image), nullcontext)
    assert not isinstance(bounded_norms(image), nullcontext)
    assert not has_constant_area(torch.cat([image, torch.rand(2, 1, 20, 20)], dim=1))
