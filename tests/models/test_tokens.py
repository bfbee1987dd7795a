"""Tokens of sparse images, and the transformer over them."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from oasis.errors import DataError, ModelError
from oasis.models import create_model
from oasis.models.sparse import SparseTransformer, attend
from oasis.models.tokens import grid_tokens, occupied, waves
from oasis.separator.options import SeparatorOptions
from oasis.separator.separator import Separator

SAVED = {
    0: [[0.483153, -0.527761, -0.634809], [0.438174, -0.571448, -0.63454], [0.532695, -0.486363, -0.641985]],
    2: [[0.518155, -0.477426, -0.618299], [0.532963, -0.46194, -0.617258], [0.527628, -0.473911, -0.624176]],
}  # by frequencies, of the test of that name
SHAPES = {1: (23,), 2: (9, 6), 3: (5, 4, 6)}
pytestmark = pytest.mark.usefixtures("float32")


def sparse(shape, channels=1, samples=3, share=0.2, seed=0):
    """Return images (b, c, *S) in which some cells are above 0; the last one is blank."""
    generator = torch.Generator().manual_seed(seed)
    lit = torch.rand(samples, 1, *shape, generator=generator) < share
    image = torch.rand(samples, channels, *shape, generator=generator) * lit
    image[-1] = 0
    return image


def model(dims, out=2, inputs=1, **options):
    torch.manual_seed(0)
    wanted = {"width": 16, "layers": 2, "heads": 2, "extent": 32, **options}
    return create_model("tokens", inputs, out, dims, **wanted).eval()


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_cells_are_those_of_numpy(dims):
    image = sparse(SHAPES[dims], channels=2)
    cells = occupied(image)
    for place, one in enumerate(image.numpy()):
        expected = np.argwhere((one > 0).any(0))
        mask = cells.mask[place]
        np.testing.assert_array_equal(cells.coordinates()[place][mask], expected)
        values = cells.gather(image)[place][mask]
        np.testing.assert_array_equal(values, one[:, *expected.T].T)
        centres = (expected + 0.5) / SHAPES[dims] * 2 - 1
        np.testing.assert_allclose(cells.places()[place][mask], centres, atol=1e-6)
    assert not cells.mask[-1].any()


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_scattering_inverts_gathering(dims):
    image = sparse(SHAPES[dims], channels=3)
    cells = occupied(image)
    torch.testing.assert_close(cells.scatter(cells.gather(image), torch.zeros(3)), image, rtol=0, atol=0)
    values = torch.rand(3, cells.index.shape[1], 5)
    again = cells.gather(cells.scatter(values, torch.full((5,), -1.0)))
    torch.testing.assert_close(again[cells.mask], values[cells.mask], rtol=0, atol=0)


def test_a_grid_as_tokens_keeps_values_at_their_places():
    tokens = grid_tokens(torch.arange(6.0).view(1, 1, 2, 3))
    assert tokens.features[0, :, 0].tolist() == [0, 1, 2, 3, 4, 5]
    torch.testing.assert_close(tokens.places[0, 4], torch.tensor([0.5, 0.0]))
    assert tokens.mask.all()


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_neither_padding_nor_other_images_change_a_value(dims):
    own, image = model(dims), sparse(SHAPES[dims])
    crowd = torch.cat([image, torch.ones(1, 1, *SHAPES[dims])])  # pads all others to the number of cells
    with torch.no_grad():
        torch.testing.assert_close(own(crowd)[:-1], own(image), rtol=1e-5, atol=1e-6)
        alone = torch.cat([own(one.unsqueeze(0)) for one in image])
        torch.testing.assert_close(alone, own(image), rtol=1e-5, atol=1e-6)


def test_groups_of_images_of_similar_length_keep_the_order_of_the_batch():
    own, generator = model(2), torch.Generator().manual_seed(3)
    torch.nn.init.normal_(own.anywhere)  # normalisations of constant values pass no gradient
    shares = torch.tensor([0.9, 0.0, 0.3, 0.05, 0.6, 0.02, 0.9, 0.4, 0.1])[:, None, None, None]
    image = torch.rand(9, 1, 9, 6, generator=generator) * (torch.rand(9, 1, 9, 6, generator=generator) < shares)
    with torch.no_grad():
        alone = torch.cat([own(one.unsqueeze(0)) for one in image])
        torch.testing.assert_close(own(image), alone, rtol=1e-5, atol=1e-6)
    gradients = []
    for parts in (image.split(1), [image]):
        own.zero_grad()
        for part in parts:
            own(part).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in own.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_the_order_of_tokens_means_nothing():
    own, image = model(2), sparse(SHAPES[2])[:1]
    cells = occupied(image)
    order = torch.randperm(cells.index.shape[1], generator=torch.Generator().manual_seed(1))
    shuffled = type(cells)(cells.index[:, order], cells.mask[:, order], cells.shape)
    with torch.no_grad():
        features = own._encode(own._embed(image, cells), cells.mask)
        other = own._encode(own._embed(image, shuffled), shuffled.mask)
        torch.testing.assert_close(other, features[:, order], rtol=1e-5, atol=1e-6)


def test_places_mean_something():
    own, image = model(1), torch.zeros(1, 1, 9)
    image[0, 0, 2] = image[0, 0, 6] = 1
    with torch.no_grad():
        maps = own(image)
    assert not torch.allclose(maps[..., 2], maps[..., 6])


def test_attention_is_its_formula():
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 7, 5, generator=generator)
    counted = torch.rand(2, 1, 1, 7, generator=generator) < 0.7
    counted[..., 0] = True
    scores = query @ key.transpose(2, 3) / 5**0.5
    expected = scores.masked_fill(~counted, -torch.inf).softmax(3) @ value
    torch.testing.assert_close(attend(query, key, value, counted), expected, rtol=1e-5, atol=1e-6)


def test_context_makes_no_tokens_but_is_seen():
    own, image = model(2, inputs=3), sparse(SHAPES[2])
    own.bands = 1
    context = torch.rand(3, 2, *SHAPES[2], generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        maps = own(torch.cat([image, context], dim=1))
        other = own(torch.cat([image, context.flip(1)], dim=1))
    empty = (image == 0).expand_as(maps)
    assert (maps[empty].view(-1) == own.empty.repeat(1)[0]).all()
    torch.testing.assert_close(maps[empty], other[empty], rtol=0, atol=0)
    assert not torch.allclose(maps[~empty], other[~empty])


@pytest.mark.parametrize("name", ["fraction", "softplus"])
def test_a_separator_has_no_charge_in_empty_cells_with_any_gradient(name):
    options = SeparatorOptions(
        classes=("a", "b"),
        spatial_dims=3,
        model={"name": "tokens", "width": 16, "layers": 1, "extent": 8},
        head={"name": name, "background": False},
        scaling={"name": "log", "scale": 1.0, "peak": False},
    )
    torch.manual_seed(0)
    separator = Separator(options)
    image = 100 * sparse(SHAPES[3])
    maps = separator(image).maps
    if name == "fraction":
        torch.testing.assert_close(maps.sum(1), image, rtol=1e-5, atol=1e-4)
    maps.square().sum().backward()
    used = {key: value.grad for key, value in separator.named_parameters()}
    assert all(grad is not None and grad.isfinite().all() for grad in used.values())


def test_too_much_is_refused_with_the_way_out():
    with pytest.raises(DataError, match="model: an image has 54 cells above 0, more than 20: cut it into tiles"):
        model(2, most=20)(torch.ones(1, 1, *SHAPES[2]))
    with pytest.raises(ModelError, match="at most 8 cells along an axis, found 9: set extent"):
        model(2, extent=8)(torch.ones(1, 1, *SHAPES[2]))
    with pytest.raises(ModelError, match="heads: 3 do not divide a width of 16"):
        model(2, heads=3)
    with pytest.raises(ModelError, match="dropout must be at least 0 and below 1, found 1"):
        model(2, dropout=1)


def test_some_thousand_cells_are_computed():
    with torch.no_grad():
        assert model(2, extent=64)(torch.ones(1, 1, 64, 64)).shape == (1, 2, 64, 64)


def test_it_sees_the_whole_frame():
    assert model(2).sees_whole_frame


@pytest.mark.parametrize(("frequencies", "saved"), SAVED.items())
def test_saved_results_are_those_of_today(frequencies, saved):
    """A change of the code that changes what saved weights give must not pass unseen."""
    own = SparseTransformer(2, 3, 2, width=8, layers=2, heads=2, extent=8, frequencies=frequencies)
    with torch.no_grad():
        for number, parameter in enumerate(own.parameters(), start=1):
            values = torch.arange(parameter.numel(), dtype=torch.float32)
            parameter.copy_((torch.sin(values * 1.7 + number) / 3).view_as(parameter))
    image = torch.zeros(1, 2, 4, 5)
    image[0, 0, 1, 2], image[0, 0, 3, 4], image[0, 1, 0, 0] = 1.0, 2.0, 0.5
    with torch.no_grad():
        maps = own.eval()(image)[0, :, [1, 3, 0], [2, 4, 0]].T
    torch.testing.assert_close(maps, torch.tensor(saved), rtol=1e-4, atol=1e-5)


def test_dropout_is_of_training_only():
    own, image = model(2, dropout=0.5), sparse(SHAPES[2])
    with torch.no_grad():
        torch.testing.assert_close(own(image), own(image), rtol=0, atol=0)
        own.train()
        assert not torch.equal(own(image), own(image))


def test_a_token_transformer_learns_what_a_cell_alone_cannot_tell():
    """Whether a cell belongs to the brightest of an image depends on all others."""
    torch.manual_seed(0)
    own = model(1, out=1, width=16, layers=1).train()
    optimiser = torch.optim.Adam(own.parameters(), lr=0.01)
    losses = []
    for step in range(150):
        image = sparse((12,), samples=65, share=0.4, seed=step)[:-1]
        image = image[(image > 0).flatten(1).any(1)]
        truth = (image == image.amax(2, keepdim=True)).float()
        counted = image > 0
        loss = F.binary_cross_entropy_with_logits(own(image)[counted], truth[counted])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])


def test_waves_are_those_of_numpy():
    values = np.random.default_rng(0).normal(size=(2, 5, 3))
    phases = values[..., None] * np.array([1, 2, 4, 8])
    expected = np.concatenate([np.sin(phases), np.cos(phases)], axis=-1).reshape(2, 5, 24)
    np.testing.assert_allclose(waves(torch.from_numpy(values), 4), expected, atol=1e-12)


@pytest.mark.parametrize("frequencies", [-1, 17, 2.0])
def test_a_senseless_number_of_frequencies_is_refused(frequencies):
    with pytest.raises(ModelError, match="frequencies must be from 0 to 16"):
        model(2, frequencies=frequencies)
