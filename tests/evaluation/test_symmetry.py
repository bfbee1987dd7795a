"""Spread over symmetries and ensembles, against operations in numpy and moments in torch."""

import numpy as np
import pytest
import torch
from torch import nn

from oasis.errors import ModelError
from oasis.evaluation.symmetry import ensemble_spread, symmetry_spread
from oasis.separator.options import SeparatorOptions
from oasis.separator.prediction import Maps, Prediction
from oasis.separator.separator import Separator


class Fake(nn.Module):
    """Stands in for a separator: a function of the image gives the maps."""

    classes = ("ER", "NR")

    def __init__(self, function):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.function = function

    def forward(self, image, valid=None, context=None):
        assert not self.training
        assert image.dtype == torch.float32
        return Prediction(Maps(self.function(image, valid, context), None, scaled=False))


def neighbours(image, valid, context):
    """A function that is turned with its image: cross-shaped sums of whole numbers, exact in float32."""
    total = image + sum(image.roll(shift, axis) for axis in range(2, image.ndim) for shift in (-1, 1))
    for part in (valid, context):
        total = total if part is None else total * part
    return torch.stack([total, total.square()], dim=1)


SHAPES = [(7,), (6, 9), (8, 8), (4, 4, 4), (4, 6, 4)]


def whole_numbers(shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 9, shape)).float()


@pytest.mark.parametrize("shape", SHAPES)
def test_an_equivariant_separator_has_no_spread(shape):
    image, context = whole_numbers((2, 3, *shape)), whole_numbers((2, 1, *shape), 1)
    valid = whole_numbers((2, 1, *shape), 2) > 2
    separator = Fake(neighbours).train()
    spread = symmetry_spread(separator, image, valid, context)
    assert separator.training
    torch.testing.assert_close(spread.mean, neighbours(image, valid, context), rtol=0, atol=0)
    assert not spread.std.any()
    assert spread.intensity_std.shape == (2, 2)
    assert not spread.intensity_std.any()


@pytest.mark.parametrize(
    ("flips", "rotations", "operations"),
    [
        (True, True, [lambda a, k=k, f=f: np.rot90(a[:, ::-1] if f else a, k) for k in range(4) for f in (0, 1)]),
        (True, False, [lambda a, r=r, c=c: a[::r, ::c] for r in (1, -1) for c in (1, -1)]),
        (False, True, [lambda a: a, np.transpose]),
        (False, False, [lambda a: a]),
    ],
)
def test_moments_are_those_of_the_operations(flips, rotations, operations):
    image, ramp = whole_numbers((1, 1, 5, 5)).numpy(), np.random.default_rng(3).random((5, 5), np.float32)
    valid = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    valid[..., 2:] = False
    separator = Fake(lambda image, valid, context: torch.stack([image * torch.from_numpy(ramp)] * 2, dim=1))
    spread = symmetry_spread(separator, torch.from_numpy(image), valid, flips=flips, rotations=rotations)
    maps = np.stack([image[0, 0] * operation(ramp) for operation in operations])  # the inverses are operations too
    np.testing.assert_allclose(spread.mean[0, 1, 0], maps.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(spread.std[0, 1, 0], maps.std(axis=0), atol=1e-5)
    expected = maps[:, valid[0, 0].numpy()].sum(axis=1).std()
    np.testing.assert_allclose(spread.intensity_std, [[expected] * 2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("shape", "count"), zip(SHAPES, [2, 4, 8, 48, 16], strict=True))
def test_every_operation_is_applied_once(shape, count):
    seen = set()

    def remember(image, valid, context):
        seen.add(tuple(image.flatten().tolist()))
        return image.unsqueeze(1)

    symmetry_spread(Fake(remember), torch.arange(float(np.prod(shape))).view(1, 1, *shape))
    assert len(seen) == count


def test_ensemble_against_torch():
    image = whole_numbers((2, 1, 16, 16))
    options = SeparatorOptions(classes=("ER", "NR"), model={"name": "unet", "base_channels": 4})
    separators = [Separator(options) for _ in range(3)]
    with torch.no_grad():
        maps = torch.stack([separator.eval()(image).maps for separator in separators])
    spread = ensemble_spread(separators, image)
    torch.testing.assert_close(spread.mean, maps.mean(0))
    torch.testing.assert_close(spread.std, maps.std(0, correction=0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        spread.intensity_std, maps.flatten(3).sum(3).std(0, correction=0), rtol=1e-3, atol=1e-3
    )
    assert spread.std.max() > 0


def test_an_ensemble_needs_one_set_of_classes():
    other = Fake(neighbours)
    other.classes = ("a", "b")
    image = torch.ones(1, 1, 4)
    with pytest.raises(ModelError, match=r"same classes, found \['ER', 'NR'\], \['a', 'b'\]$"):
        ensemble_spread([Fake(neighbours), other], image)
    with pytest.raises(ModelError, match=r"same classes, found none$"):
        ensemble_spread([], image)
