"""The heads against their formulas in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oasis.scaling import AsinhScale, LogScale
from oasis.separator.heads import HEADS, DenoisedHead, FractionHead, Head, SoftplusHead


def draw(seed: int, channels: int, bands: int, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features, some of them extreme, and images with empty and with negative pixels."""
    rng = np.random.default_rng(seed)
    features = rng.normal(scale=rng.choice([1, 100], (2, channels, *shape)))
    image = rng.exponential(1000, (2, bands, *shape)) * rng.choice([0, 1, 1, 1, -1], (2, bands, *shape))
    return torch.tensor(features, dtype=torch.float32), torch.tensor(image, dtype=torch.float32)


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("shape", [(7,), (4, 5), (2, 3, 4)])
def test_softplus_is_the_scaled_map_and_its_inverse_scaling_the_map(shape: tuple[int, ...], bands: int) -> None:
    rng = np.random.default_rng(0)
    head = SoftplusHead(2, bands)
    features = torch.tensor(rng.normal(size=(2, head.channels, *shape)), dtype=torch.float32)
    image = torch.tensor(rng.exponential(1000, (2, bands, *shape)), dtype=torch.float32)
    scale = LogScale(percentile=50).fit(image)
    y = np.log(1 + np.exp(features.double().numpy())).reshape(2, 2, bands, *shape)
    s, peak = (v.double().numpy().reshape(2, *[1] * (y.ndim - 1)) for v in (scale.scale, scale.peak))
    maps = head(features, image, scale)
    np.testing.assert_allclose(maps.in_scaled_units, y, rtol=1e-5)
    np.testing.assert_allclose(maps.in_physical_units, s * (10 ** (y * peak) - 1), rtol=1e-4)
    torch.testing.assert_close(scale.forward(maps.in_physical_units), maps.in_scaled_units)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    classes=st.integers(1, 4),
    bands=st.integers(1, 3),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple),
    background=st.booleans(),
)
def test_fractions_share_out_the_image(
    seed: int, classes: int, bands: int, shape: tuple[int, ...], background: bool
) -> None:
    head = FractionHead(classes, bands, background)
    features, image = draw(seed, head.channels, bands, shape)
    maps = head(features, image, LogScale().fit(image)).in_physical_units
    light = image.double().clamp_min(0).numpy()
    logits = features.double().numpy().reshape(2, -1, bands, *shape)
    powers = np.exp(logits - logits.max(1, keepdims=True))
    shares = (powers / powers.sum(1, keepdims=True))[:, :classes]
    np.testing.assert_allclose(maps, shares * light[:, None], rtol=1e-5, atol=1e-30)
    total = maps.double().sum(1).numpy()
    if background:
        assert (total <= light * (1 + 1e-6)).all()
    else:
        np.testing.assert_allclose(total, light, rtol=1e-6)
    assert (maps >= 0).all()
    assert not maps.masked_select((image <= 0)[:, None]).any()


@pytest.mark.parametrize("background", [True, False])
def test_the_scaled_maps_of_fractions_are_the_scaling_of_the_maps(background: bool) -> None:
    head = FractionHead(3, background=background)
    features, image = draw(1, head.channels, 1, (6, 7))
    scale = LogScale(scale=23.0).fit(image)
    expected = np.log10(1 + head(features, image, scale).in_physical_units.double().numpy() / 23)
    np.testing.assert_allclose(
        head(features, image, scale).in_scaled_units,
        expected / scale.peak.numpy().reshape(2, 1, 1, 1, 1),
        rtol=1e-5,
        atol=1e-7,
    )


@pytest.mark.parametrize("image_scale", [1e-3, 1.0, 1e4])
def test_fractions_learn_from_every_pixel_that_holds_light(image_scale: float) -> None:
    features, image = draw(2, 3, 1, (6, 7))
    features = (features / 100).requires_grad_()
    image = image * image_scale
    head = FractionHead(2)
    scaled = head(features, image, LogScale(scale=23.0).fit(image)).in_scaled_units
    (gradient,) = torch.autograd.grad(scaled[:, 0].sum(), features)
    assert gradient.isfinite().all()
    lit = image[:, 0] > 0
    assert (gradient[:, 0][lit] > 0).all()
    assert (gradient[:, 1:].transpose(0, 1)[:, lit] < 0).all()
    assert not gradient.transpose(0, 1)[:, ~lit].any()


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_maps_are_float32_and_do_not_depend_on_the_memory_format(name: str, dtype: torch.dtype) -> None:
    head: Head = HEADS[name](classes=2, bands=2)
    features, image = draw(3, head.channels, 2, (4, 6))
    features = (features / 100).to(dtype)
    scale = LogScale().fit(image)
    maps = head(features, image, scale).in_physical_units
    assert maps.dtype == torch.float32
    assert maps.shape == (2, 2, 2, 4, 6)
    torch.testing.assert_close(maps, head(features.double().float(), image, scale).in_physical_units)
    torch.testing.assert_close(
        maps, head(features.to(memory_format=torch.channels_last), image, scale).in_physical_units
    )


@pytest.mark.parametrize(
    ("head", "channels"),
    [
        (SoftplusHead(2), 2),
        (SoftplusHead(2, 3), 6),
        (FractionHead(2, 3), 9),
        (FractionHead(2, 3, background=False), 6),
        (DenoisedHead(2, 3), 9),
    ],
)
def test_a_head_states_how_many_channels_it_needs_and_has_no_parameters(head: Head, channels: int) -> None:
    assert head.channels == channels
    assert not list(head.parameters())


@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("shape", [(7,), (4, 5), (2, 3, 4)])
def test_denoised_maps_share_out_the_corrected_image(shape: tuple[int, ...], bands: int) -> None:
    rng = np.random.default_rng(4)
    head = DenoisedHead(2, bands)
    features = rng.normal(size=(2, head.channels, *shape))
    image = rng.normal(0, 3, (2, bands, *shape)) + rng.choice([0, 1000], (2, bands, *shape))
    maps = head(
        torch.tensor(features, dtype=torch.float32),
        torch.tensor(image, dtype=torch.float32),
        AsinhScale(noise=3.0).fit(torch.tensor(image)),
    ).in_physical_units
    logits = features.reshape(2, 3, bands, *shape)
    corrected = np.arcsinh(image / 6) / np.log(10) + logits[:, 2]
    denoised = 6 * np.sinh(np.log1p(np.exp(10 * corrected)) / 10 * np.log(10))
    shares = np.exp(logits[:, :2]) / np.exp(logits[:, :2]).sum(1, keepdims=True)
    np.testing.assert_allclose(maps, shares * denoised[:, None], rtol=2e-4, atol=1e-6)
    np.testing.assert_allclose(maps.sum(1), denoised, rtol=2e-4, atol=1e-6)


def test_a_denoised_map_can_hold_light_where_the_image_is_negative_and_none_where_it_is_noise() -> None:
    image = torch.tensor([[[-1.0, 1.0]]])
    scale = AsinhScale(noise=1.0).fit(image)
    features = torch.tensor([[[0.0, 0.0], [1.0, -3.0]]])  # one class: its share, and the correction
    light, nothing = DenoisedHead(1)(features, image, scale).in_physical_units[0, 0, 0].tolist()
    assert light > 1
    assert 0 <= nothing < 1e-6
