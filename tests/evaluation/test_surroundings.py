import numpy as np
import pytest
import torch
from torch import nn

from oasis.data.mixing import SampleDataset
from oasis.data.samples import Sample
from oasis.evaluation.surroundings import check_size, embed_in, middle
from oasis.separator.options import SeparatorOptions
from oasis.separator.separator import Separator


def test_the_background_goes_on_around_a_sample(toy):
    sample = toy.dataset("test")[0]
    size = [2 * length for length in sample.image.shape[1:]]
    limits = torch.tensor(list(toy.adapter.limits.values()))
    large = embed_in(sample, size, limits, np.random.default_rng(0))
    place = middle(sample.image.shape[1:], size)
    np.testing.assert_array_equal(large.image[:, *place], sample.image)
    np.testing.assert_array_equal(large.target[:, :, *place], sample.target)
    assert large.target.sum() == sample.target.sum()
    empty = (sample.target > 1).sum(0) == 0
    outside = np.ones(size, bool)
    outside[place] = False
    assert set(large.image[0][outside]) <= set(sample.image[empty])
    assert abs(large.image[0][outside].mean() - sample.image[empty].mean()) < 0.03


class Everywhere(nn.Module):
    """Gives half of every pixel to each class, wherever it is."""

    def __init__(self):
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(1))

    def forward(self, image):
        nothing = image * self.zero
        return torch.cat([nothing, nothing, nothing - 99], dim=1)


class InTheMiddle(Everywhere):
    """Finds the first class in the middle of the image only, as if by its edges; all else is background."""

    def forward(self, image):
        logits = torch.full((len(image), 3, *image.shape[2:]), -9.0)
        rows, cols = image.shape[2] // 2, image.shape[3] // 2
        logits[:, 0, rows - 4 : rows + 4, cols - 4 : cols + 4] = 9.0
        logits[:, 2] = 0
        return logits + image * self.zero


def separator(network):
    options = SeparatorOptions(classes=("dot", "bar"), scaling={"name": "log", "scale": 5.0, "peak": False})
    return Separator(options, network)


def test_a_network_that_sees_only_its_pixel_gives_the_same_inside_and_shares_the_background_outside(toy):
    limits = torch.tensor(list(toy.adapter.limits.values()))
    check = check_size(separator(Everywhere()), toy.dataset("test"), limits, samples=5)
    assert check.samples == 5
    assert max(map(abs, check.inside.values())) < 1e-6
    images = [toy.dataset("test")[index] for index in range(5)]
    expected = []
    for sample in images:
        empty = (sample.target > 1).sum(0) == 0
        expected.append(3 * sample.image[0].size * sample.image[empty].mean() / 2)
    typical = np.median([sample.image.sum() / 2 for sample in images])
    np.testing.assert_allclose(check.outside["dot"], np.median(expected) / typical, rtol=0.1)
    assert check.same
    assert check.text().startswith(
        "5 samples of 24 x 20 pixels embedded in 48 x 40 of background: dot +0.0 % inside, 1.8 %"
    )
    worse = check.model_copy(update={"outside": {"dot": 0.0, "bar": 0.2}})
    assert not worse.same


def test_a_network_that_finds_the_middle_loses_nothing_in_the_middle(toy):
    limits = torch.tensor(list(toy.adapter.limits.values()))
    check = check_size(separator(InTheMiddle()), toy.dataset("test"), limits)
    assert abs(check.inside["dot"]) < 1e-6
    assert abs(check.outside["dot"]) < 0.01


class Larger(SampleDataset):
    """Test samples side by side: four of them make a larger one, and objects are not in the middle."""

    def __init__(self, small):
        self.small = small

    def __len__(self):
        return 12

    def sample(self, index, epoch):
        four = [self.small[(4 * index + place) % len(self.small)] for place in range(4)]
        image, target = (
            np.concatenate([np.concatenate(values[:2], axis=-1), np.concatenate(values[2:], axis=-1)], axis=-2)
            for values in ([one.image for one in four], [one.target for one in four])
        )
        return Sample(image, target, np.ones((1, *image.shape[1:]), bool))


@pytest.mark.parametrize(("network", "same"), [(Everywhere, True), (InTheMiddle, False)])
def test_parts_of_larger_samples_of_the_domain_are_compared_with_these(toy, network, same):
    """A network that finds the middle is recognised by objects that are not there."""
    limits, small = torch.tensor(list(toy.adapter.limits.values())), toy.dataset("test")
    check = check_size(separator(network()), small, limits, larger=Larger(small))
    assert (check.measured, check.samples, check.trained, check.larger) == (True, 12, (24, 20), (48, 40))
    assert check.same == same
    assert check.text().startswith("12 samples of 24 x 20 pixels as parts of 48 x 40: dot ")
    if same:
        assert max(map(abs, (*check.inside.values(), *check.outside.values()))) < 1e-6
    else:
        assert min(check.inside.values()) < -0.5


class WithoutBar(Larger):
    """Every second sample is bright and has no bar."""

    def sample(self, index, epoch):
        found = super().sample(index, epoch)
        absent = np.array([1, 0], np.float32)[:, None, None, None]
        return found.replace(image=found.image + 1000, target=found.target * absent) if index % 2 else found


class SeesBarsInLarge(Everywhere):
    """Takes large bright images for bars, but not the same in small."""

    def forward(self, image):
        bar = 9.0 if image.shape[2] > 30 or image.median() < 2 else -99.0
        dot, bar, background = (torch.full_like(image, value) for value in (9.0, bar, -99.0))
        return torch.cat([dot, bar, background], dim=1) + image * self.zero


def test_light_of_a_class_that_is_absent_counts_in_larger_samples(toy):
    limits, small = torch.tensor(list(toy.adapter.limits.values())), toy.dataset("test")
    check = check_size(separator(SeesBarsInLarge()), small, limits, larger=WithoutBar(small))
    assert abs(check.inside["bar"]) < 1e-6
    assert check.outside["bar"] > 1
    assert not check.same


def test_noise_keeps_its_correlations_in_the_background():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(1, 64, 64))
    smooth = (noise + np.roll(noise, 1, 1) + np.roll(noise, 1, 2) + np.roll(noise, (1, 1), (1, 2))).astype(
        np.float32
    )
    target = np.zeros((1, 1, 64, 64), np.float32)
    target[..., 20:30, 20:30] = 5
    large = embed_in(Sample(smooth, target, np.ones((1, 64, 64), bool)), (192, 192), torch.zeros(1), rng)
    outside = large.image[0, :60]
    along = np.mean(outside[:, 1:] * outside[:, :-1]) / np.mean(outside**2)
    assert 0.4 < along < 0.55  # 0.5 but for seams; 0 for pixels that are drawn one by one


class Swapping(Everywhere):
    """Gives all light to one class in small images, and to the other in large ones."""

    def forward(self, image):
        first, second, background = (torch.full_like(image, value) for value in (9.0, -9.0, -99.0))
        order = (first, second) if image.shape[2] < 30 else (second, first)
        return torch.cat([*order, background], dim=1) + image * self.zero


def test_interchangeable_classes_may_swap(toy):
    limits = torch.tensor(list(toy.adapter.limits.values()))
    values = {"classes": ("dot", "bar"), "scaling": {"name": "log", "scale": 5.0, "peak": False}}
    plain = Separator(SeparatorOptions.parse(values), Swapping())
    assert not check_size(plain, toy.dataset("test"), limits).same
    swapped = Separator(SeparatorOptions.parse({**values, "interchangeable": [["dot", "bar"]]}), Swapping())
    assert check_size(swapped, toy.dataset("test"), limits).same
