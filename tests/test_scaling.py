"""The scaling against Eq. 4 and 5 of arXiv 2510.06194 in numpy."""

from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oasis.errors import ConfigError
from oasis.scaling import AsinhScale, FittedLogScale, LogScale, asinh


def lognormal(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).lognormal(2, 2, shape).astype(np.float32))


@pytest.mark.parametrize("shape", [(1, 101), (1, 12, 13), (2, 5, 4, 3)])
@pytest.mark.parametrize("percentile", [0, 37.5, 99, 100])
@pytest.mark.parametrize("over", ["frame", "valid"])
def test_it_is_equation_4_of_every_image(
    over: Literal["frame", "valid"], percentile: float, shape: tuple[int, ...]
) -> None:
    images = lognormal(0, 3, *shape)
    valid = torch.from_numpy(np.random.default_rng(1).random((3, 1, *shape[1:])) < 0.6)
    if over == "valid":
        images.masked_fill_(~valid, torch.nan)
    fitted = LogScale(percentile=percentile, over=over).fit(images, valid)
    for number, image in enumerate(images.double().numpy()):
        counted = image[np.broadcast_to(valid[number].numpy(), image.shape)] if over == "valid" else image
        s = np.percentile(counted, percentile)
        expected = np.log10(1 + image / s) / np.log10(1 + counted / s).max()
        np.testing.assert_allclose(fitted.scale[number], s, rtol=1e-5)
        np.testing.assert_allclose(fitted.forward(images)[number], expected, rtol=1e-5, atol=2e-7)


@pytest.mark.parametrize("over", ["frame", "valid"])
@pytest.mark.parametrize("pixels", [101, 100_000])
def test_the_percentile_lies_between_two_pixels_where_numpy_puts_it(
    pixels: int, over: Literal["frame", "valid"]
) -> None:
    image = torch.zeros(1, 1, pixels)
    image[..., -pixels // 100 :] = 1  # the 99th percentile falls between a 0 and a 1
    fitted = LogScale(over=over).fit(image, torch.ones(1, 1, pixels, dtype=torch.bool))
    np.testing.assert_allclose(fitted.scale, max(np.percentile(image.double().numpy(), 99), 1e-12), rtol=1e-4)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(scale=st.floats(1e-3, 1e5), decades=st.floats(0, 3), peak=st.booleans())
def test_the_inverse_is_exact_over_six_decades_of_both_signs(scale: float, decades: float, peak: bool) -> None:
    above_scale = torch.logspace(-3, 3, 200)
    image = torch.cat([scale * above_scale, -scale * above_scale, torch.zeros(1)])[None, None]
    fitted = LogScale(scale=scale, peak=peak).fit(image * 10**decades)
    torch.testing.assert_close(fitted.inverse(fitted.forward(image)), image, rtol=1e-5, atol=0)


def test_negative_intensity_is_scaled_by_symmetry() -> None:
    image = lognormal(3, 2, 1, 50)
    fitted = LogScale().fit(image)
    assert torch.equal(fitted.forward(-image), -fitted.forward(image))
    assert torch.equal(fitted.inverse(-image / 9), -fitted.inverse(image / 9))


def test_a_fixed_scale_without_peak_is_the_same_for_every_image() -> None:
    images = lognormal(4, 2, 1, 50) * torch.tensor([1.0, 100.0]).view(2, 1, 1)
    fitted = LogScale(scale=23.0, peak=False).fit(images)
    np.testing.assert_allclose(
        fitted.forward(images), np.log10(1 + images.double().numpy() / 23), rtol=1e-5, atol=2e-7
    )
    assert LogScale(scale=23.0).fit(images).forward(images).amax((1, 2)).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("over", ["frame", "valid"])
@pytest.mark.parametrize("image", [torch.zeros(1, 1, 9), torch.full((1, 1, 9), -5.0), torch.full((1, 1, 9), 7.0)])
def test_an_image_without_contrast_or_without_valid_pixels_stays_finite(
    image: torch.Tensor, over: Literal["frame", "valid"]
) -> None:
    fitted = LogScale(over=over).fit(image, torch.zeros(1, 1, 9, dtype=torch.bool))
    for values in (fitted.scale, fitted.peak, fitted.forward(image), fitted.inverse(torch.zeros_like(image))):
        assert values.isfinite().all()
    assert not fitted.inverse(fitted.forward(torch.zeros_like(image))).any()


def test_an_image_is_scaled_alike_in_any_batch() -> None:
    images = lognormal(5, 4, 2, 7, 9)
    together = LogScale().fit(images)
    for number in range(4):
        alone = LogScale().fit(images[number : number + 1])
        assert torch.equal(alone.forward(images[number : number + 1])[0], together.forward(images)[number])


def test_the_gradient_is_that_of_the_logarithm_and_finite_at_0() -> None:
    intensity = torch.tensor([-50.0, -1e-3, 1e-6, 1e-3, 1.0, 1e4], requires_grad=True)
    fitted = FittedLogScale(torch.tensor([23.0]), torch.tensor([2.0]))
    (gradient,) = torch.autograd.grad(fitted.forward(intensity[None]).sum(), intensity)
    expected = 1 / (np.log(10) * 2 * (23 + np.abs(intensity.detach().double().numpy())))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)
    for transform in (fitted.forward, fitted.inverse):
        zero = torch.zeros(1, 1, requires_grad=True)
        assert torch.autograd.grad(transform(zero).sum(), zero)[0].isfinite().all()


def test_the_fit_passes_no_gradient() -> None:
    fitted = LogScale().fit(lognormal(6, 1, 1, 9).requires_grad_())
    assert not fitted.scale.requires_grad
    assert not fitted.peak.requires_grad


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"percentile": 101}, "percentile"),
        ({"scale": 0}, "scale"),
        ({"over": "box"}, "over"),
        ({"percentil": 99}, "did you mean 'percentile'?"),
    ],
)
def test_options_that_do_not_fit_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LogScale.parse(values, "scaling")
    assert str(caught.value).startswith("scaling.")
    assert words in str(caught.value)


@pytest.mark.parametrize("shape", [(9,), (4, 5), (2, 3, 4)])
@pytest.mark.parametrize("softening", [0.5, 2.0])
def test_asinh_is_that_of_every_band_and_its_inverse_is_exact(softening: float, shape: tuple[int, ...]) -> None:
    image = torch.randn(2, 3, *shape) * 10.0 ** torch.randint(-3, 4, (2, 3, *shape))
    noise = np.array([1.0, 2.0, 5.0])
    fitted = AsinhScale(noise=tuple(noise), softening=softening).fit(image)
    b = (softening * noise).reshape(1, 3, *[1] * len(shape))
    scaled = fitted.forward(image)
    np.testing.assert_allclose(scaled, np.arcsinh(image.double().numpy() / (2 * b)) / np.log(10), rtol=1e-5)
    torch.testing.assert_close(fitted.inverse(scaled), image, rtol=1e-4, atol=1e-6)
    maps = torch.stack([image, 2 * image], dim=1)  # (b, N, B, *S)
    torch.testing.assert_close(fitted.forward(maps)[:, 0], scaled)
    torch.testing.assert_close(fitted.inverse(fitted.forward(maps)), maps, rtol=1e-4, atol=1e-6)


def test_asinh_is_torchs_for_all_numbers_with_its_gradient() -> None:
    signs, sizes = torch.tensor([-1.0, 1.0]), 10.0 ** torch.linspace(-37, 38, 500)
    x = torch.cat(
        [(signs[:, None] * sizes).flatten(), torch.tensor([0.0, -0.0, torch.inf, -torch.inf, torch.nan])]
    )
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    found, wanted = asinh(ours), torch.asinh(theirs)
    torch.testing.assert_close(found, torch.asinh(x.double()).float(), rtol=5e-7, atol=0, equal_nan=True)
    assert torch.equal(found[:-1].signbit(), wanted[:-1].signbit())
    found.sum().backward()
    wanted.sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, equal_nan=True)
    assert torch.equal(torch.func.vmap(asinh)(x.view(-1, 5))[:-1], found.view(-1, 5)[:-1])
    some = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(asinh, some)


@pytest.mark.parametrize("filled", [0.0, 0.3])
def test_noise_is_found_on_its_negative_side_whatever_light_is_there(filled: float) -> None:
    rng = np.random.default_rng(0)
    sigma = np.array([0.5, 4.0])
    image = rng.normal(0, sigma[:, None, None], (2, 200, 200)) + 1000 * (rng.random((200, 200)) < filled)
    valid = torch.ones(1, 1, 200, 200, dtype=torch.bool)
    image[:, :20] = -1e6
    valid[:, :, :20] = False
    fitted = AsinhScale().fit(torch.tensor(image[None]), valid)
    np.testing.assert_allclose(fitted.softening[0], sigma, rtol=0.02)


def test_asinh_of_an_empty_image_is_zero_and_its_untrained_inverse_is_finite() -> None:
    image = torch.zeros(1, 1, 8)
    fitted = AsinhScale().fit(image)
    assert not fitted.forward(image).any()
    assert fitted.inverse(torch.full((1, 1, 8), 1e9)).isfinite().all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"noise": 0}, "noise: expected noise above 0"),
        ({"noise": [1, -1]}, "noise: expected noise above 0"),
        ({"softening": 0}, "softening"),
    ],
)
def test_noise_and_softening_are_above_zero(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        AsinhScale.parse(values)


def test_noise_has_to_fit_the_bands() -> None:
    with pytest.raises(ConfigError, match=r"scaling\.noise: 2 values for images of 3 bands"):
        AsinhScale(noise=(1.0, 2.0)).fit(torch.ones(1, 3, 4))
