"""What every backbone does with images of any size, and with networks from elsewhere. About 5 s."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from oasis.errors import ModelError
from oasis.models import UNet, own_backbone
from oasis.models.backbone import Backbone, Wrapped, crop, pad, settle

margin = st.tuples(st.integers(0, 23), st.integers(0, 23))
paddings = st.sampled_from(["reflect", "zero"])


class Local(Backbone):
    """Takes sizes as it says and gives back what it is handed."""

    def compute(self, image: Tensor) -> Tensor:
        for size in image.shape[2:]:
            assert size % self.divisor == 0
            assert size >= self.minimum_size
            assert self.image_size is None or size in self.image_size
        return image


def noise(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).random(shape, np.float32))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 7), margin), min_size=1, max_size=3), paddings)
def test_padding_is_numpys(axes: list[tuple[int, tuple[int, int]]], padding: str) -> None:
    sizes, margins = zip(*axes, strict=True)
    image = noise(2, 3, *sizes)
    mode = {"reflect": "reflect", "zero": "constant"}[padding]
    expected = np.pad(image.numpy(), [(0, 0), (0, 0), *margins], mode=mode)
    padded = pad(image, margins, padding)
    np.testing.assert_array_equal(padded.numpy(), expected)
    assert torch.equal(crop(padded, margins), image)


@pytest.mark.parametrize("padding", ["reflect", "zero"])
def test_nothing_is_copied_where_nothing_is_padded(padding: str) -> None:
    image = noise(1, 1, 8, 12)
    assert pad(image, [(0, 0), (0, 0)], padding) is image
    assert Local(1, 1, 2, divisor=4, minimum_size=8, padding=padding)(image).data_ptr() == image.data_ptr()


def test_the_gradient_of_a_pixel_counts_its_reflections() -> None:
    image = noise(1, 1, 3).requires_grad_()
    pad(image, [(2, 3)]).sum().backward()
    assert image.grad is not None
    assert image.grad.flatten().tolist() == [2, 4, 2]  # 2 1 | 0 1 2 | 1 0 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=3),
    st.integers(1, 9),
    st.integers(1, 33),
    paddings,
)
def test_a_network_is_handed_sizes_that_it_takes(size: list[int], divisor: int, least: int, padding: str) -> None:
    image = noise(1, 2, *size)
    assert torch.equal(Local(2, 2, len(size), divisor, least, padding)(image), image)


@pytest.mark.parametrize("padding", ["reflect", "zero"])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (15, 40)])
def test_a_small_image_gives_what_it_gives_padded(size: tuple[int, int], padding: str) -> None:
    torch.manual_seed(0)
    model = UNet(1, 2, base_channels=4, padding=padding)
    image = noise(1, 1, *size)
    margins = [((16 - own) // 2, (17 - own) // 2) if own < 16 else (0, 0) for own in size]
    with torch.no_grad():
        expected = crop(model(pad(image, margins, padding)), margins)
        assert torch.equal(model(image), expected)


def test_flipping_an_image_that_is_padded_evenly_flips_its_maps() -> None:
    torch.manual_seed(0)
    model = Wrapped(nn.Conv2d(1, 2, 3, padding=1), 1, 2, 2, divisor=8)
    image = noise(1, 1, 10, 14)
    flipped = model(image.flip(-1))
    with torch.no_grad():
        model.network.weight.copy_(model.network.weight.flip(-1))
    torch.testing.assert_close(model(image).flip(-1), flipped)


def test_a_network_of_one_size_is_handed_that_size() -> None:
    model = Local(1, 1, 2, image_size=[8, 12])
    image = noise(1, 1, 5, 12)
    assert torch.equal(model(image), image)
    with pytest.raises(ModelError) as error:
        model(noise(1, 1, 9, 12))
    assert str(error.value) == (
        "built for images of 8 x 12 pixels, found 9 x 12: set img_size to the largest image, or cut it into tiles"
    )


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 2, 16, 16), "expected an image (batch, 1, H, W), found (1, 2, 16, 16)"),
        ((1, 1, 16), "expected an image (batch, 1, H, W), found (1, 1, 16)"),
    ],
)
def test_an_image_that_does_not_fit_is_refused(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ModelError) as error:
        Local(1, 1, 2)(torch.zeros(shape))
    assert str(error.value) == f"{message}: this model has in_channels 1 and spatial_dims 2"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Local(0, 1, 2), "in_channels must be a whole number of at least 1, found 0"),
        (lambda: Local(1, 1, 4), "spatial_dims must be 1, 2 or 3, found 4"),
        (lambda: Local(1, 1, 2, padding="mirror"), "unknown padding 'mirror'; known: reflect, zero"),
        (lambda: Local(1, 1, 2, image_size=[8]), "img_size must be one number or 2, found [8]"),
        (lambda: Local(1, 1, 2, image_size=0), "img_size must be a whole number of at least 1, found 0"),
    ],
)
def test_an_argument_out_of_range_is_refused(build: Callable[[], Backbone], message: str) -> None:
    with pytest.raises(ModelError) as error:
        build()
    assert str(error.value) == message


def test_maps_of_another_shape_are_refused() -> None:
    with pytest.raises(ModelError) as error:
        own_backbone(nn.Conv2d(1, 3, 3), 1, 2, 2)(noise(2, 1, 8, 9))
    assert str(error.value) == "expected maps of shape (2, 2, 8, 9) from the network, found (2, 3, 6, 7)"
    with pytest.raises(ModelError) as error:
        own_backbone(nn.MaxPool2d(1, return_indices=True), 1, 1, 2)(noise(2, 1, 8, 9))
    assert str(error.value) == "expected one tensor of maps from the network, found tuple"


def test_a_module_may_say_which_sizes_it_takes() -> None:
    module = nn.Sequential(nn.AvgPool2d(4), nn.Upsample(scale_factor=4))
    module.divisor, module.minimum_size = 4, 8
    backbone = own_backbone(module, 1, 1, 2)
    assert backbone(noise(1, 1, 5, 13)).shape == (1, 1, 5, 13)
    assert own_backbone(backbone, 1, 1, 2) is backbone


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (print, "expected a torch.nn.Module, found builtin_function_or_method"),
        (
            UNet(1, 2, 1, base_channels=4),
            "expected a backbone from 1 to 2 channels in 2D, found one from 1 to 2 in 1D",
        ),
    ],
)
def test_what_is_no_backbone_for_these_images_is_refused(module: nn.Module, message: str) -> None:
    with pytest.raises(ModelError) as error:
        own_backbone(module, 1, 2, 2)
    assert str(error.value) == message


def test_too_small_a_training_batch_is_named() -> None:
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(1), nn.Upsample(8))
    backbone = own_backbone(module, 1, 1, 2)
    assert backbone(noise(2, 1, 8, 8)).shape == (2, 1, 8, 8)
    with pytest.raises(ModelError, match=r"^needs a larger training batch or image: Expected more than 1 value"):
        backbone(noise(1, 1, 8, 8))
    assert backbone.eval()(noise(1, 1, 8, 8)).shape == (1, 1, 8, 8)


class OneSize(nn.Module):
    """Takes images of one size."""

    def forward(self, image: Tensor) -> Tensor:
        if image.shape[-1] != 3:
            raise ValueError(f"Input width ({image.shape[-1]})\ndoesn't match model (3).")
        return image


def test_a_networks_own_error_is_left_alone() -> None:
    with pytest.raises(ValueError, match="match model"):
        own_backbone(OneSize(), 1, 1, 1)(noise(1, 1, 4))


class Pooled(nn.Conv2d):
    """Adds the mean over the image to a convolution."""

    def forward(self, image: Tensor) -> Tensor:
        return super().forward(image) + image.mean((2, 3), keepdim=True)


@pytest.mark.parametrize(
    ("build", "whole"),
    [
        (lambda: UNet(1, 2, base_channels=4), True),
        (lambda: UNet(1, 2, base_channels=4, norm="instance"), True),
        (lambda: UNet(1, 2, 1, base_channels=4, norm="batch"), False),
        (lambda: UNet(1, 2, base_channels=4, norm="none", attention=True), False),
        (lambda: own_backbone(nn.Conv2d(1, 2, 5, padding=2), 1, 2, 2), False),
        (lambda: own_backbone(nn.Sequential(nn.GroupNorm(1, 1), nn.Conv2d(1, 2, 1)), 1, 2, 2), True),
        (lambda: own_backbone(Pooled(1, 2, 1), 1, 2, 2), True),
        (lambda: own_backbone(nn.Conv2d(1, 3, 1), 1, 2, 2), True),  # cannot be known
        (lambda: Wrapped(nn.Conv2d(1, 2, 1), 1, 2, 2, image_size=8), True),
    ],
)
def test_what_sees_the_whole_frame_is_known_or_tried(build: Callable[[], Backbone], whole: bool) -> None:
    backbone = build()
    assert backbone.sees_whole_frame is whole
    assert backbone.training


def test_the_least_size_is_found() -> None:
    pooled = nn.Sequential(nn.AvgPool2d(20), nn.Upsample(40))
    backbone = Wrapped(pooled, 1, 1, 2, divisor=5)
    assert settle(backbone).minimum_size == 40
    assert backbone.training
    with pytest.raises(ModelError) as error:
        settle(Wrapped(OneSize(), 1, 1, 1, divisor=2), usual=(3,))
    assert str(error.value) == (
        "accepts no image of 2 or 4 or 8 or 16 pixels (Input width (16) doesn't match model (3).); "
        "made for images of 3: a network of one size needs it as img_size"
    )
    assert settle(Wrapped(OneSize(), 1, 1, 1, image_size=3))(noise(1, 1, 2)).shape == (1, 1, 2)
