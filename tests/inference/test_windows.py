import numpy as np
import pytest
import torch
from torch import nn

from oasis.errors import ConfigError, ModelError
from oasis.inference import windows
from oasis.inference.windows import places, reach, separate_tiled, surroundings
from oasis.models import create_model
from oasis.models.backbone import Wrapped
from oasis.separator.options import SeparatorOptions
from oasis.separator.separator import Separator

pytestmark = pytest.mark.usefixtures("float32")

SIZES = {1: (1004,), 2: (152, 172), 3: (40, 38, 52)}
ODD = {1: (1003,), 2: (149, 171), 3: (35, 41, 38)}
CORES = {1: 100, 2: 48, 3: 16}
DEPTHS = {1: 3, 2: 3, 3: 2}


def make(dims=2, norm="batch", head="fraction", **options):
    """A separator whose batch normalisation has seen data, so that nothing is zero by chance."""
    torch.manual_seed(0)
    model = {"name": "unet", "base_channels": 4, "depth": DEPTHS[dims], "norm": norm}
    values = {"classes": ("a", "b"), "spatial_dims": dims, "model": model, "head": {"name": head}} | options
    separator = Separator(SeparatorOptions.parse(values))
    for module in separator.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return separator.eval()


def image(dims, bands=1):
    return np.random.default_rng(0).exponential(30, (bands, *SIZES[dims])).astype(np.float32)


@pytest.mark.parametrize("head", ["fraction", "softplus", "denoised"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_tiles_give_the_maps_of_the_whole_image(dims, head):
    separator, whole = make(dims, head=head), image(dims)
    expected = separator.predict(whole[None]).maps[0].numpy()
    found = separate_tiled(separator, whole, core=CORES[dims])
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max(), rtol=1e-3)


@pytest.mark.parametrize("scaling", [{"name": "log", "percentile": 90}, {"name": "asinh"}])
def test_the_scaling_is_that_of_the_whole_image(scaling):
    separator, whole = make(scaling=scaling, head="softplus"), image(2) - 20
    whole[:, :75] *= 50
    expected = separator.predict(whole[None]).maps[0].numpy()
    found = separate_tiled(separator, whole, core=48)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max(), rtol=1e-3)


def test_context_and_bands_are_cut_with_the_image():
    separator, whole = make(context=2, bands=2), image(2, bands=2)
    context = np.random.default_rng(1).normal(size=(2, *SIZES[2])).astype(np.float32)
    expected = separator.predict(whole[None], context[None]).maps[0].numpy()
    found = separate_tiled(separator, whole, context, core=(48, 64))
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max(), rtol=1e-3)


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_tiles_of_images_off_the_grid_give_the_maps_of_the_whole_image(dims, stride):
    model = {"name": "unet", "base_channels": 4, "depth": 2, "norm": "batch", "stride": stride}
    separator, whole = make(dims, model=model, head="softplus"), image(dims)
    whole = whole[:, *map(slice, ODD[dims])]
    expected = separator.predict(whole[None]).maps[0].numpy()
    found = separate_tiled(separator, whole, core=CORES[dims])
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max(), rtol=1e-3)


@pytest.mark.parametrize("padding", ["reflect", "zero"])
def test_tiles_of_padded_images_give_the_maps_of_the_whole_image(padding):
    network = nn.Sequential(nn.Conv2d(1, 4, 4, stride=4), nn.SiLU(), nn.ConvTranspose2d(4, 3, 4, stride=4))
    separator, whole = make(), image(2)[:, :149, :171]
    separator.backbone = Wrapped(network, 1, 3, 2, divisor=4, minimum_size=8, padding=padding).eval()
    expected = separator.predict(whole[None]).maps[0].numpy()
    found = separate_tiled(separator, whole, core=48)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max(), rtol=1e-3)


def test_a_halo_narrower_than_the_reach_gives_other_maps(monkeypatch):
    separator, whole = make(head="softplus"), image(2)
    expected = separator.predict(whole[None]).maps[0].numpy()
    monkeypatch.setattr(windows, "reach", lambda backbone: (4, 4))
    found = separate_tiled(separator, whole, core=48)
    assert np.abs(found - expected).max() > 1e-3 * expected.max()


def test_blank_tiles_cost_nothing(monkeypatch):
    separator, whole = make(), np.zeros((1, 400, 400), np.float32)
    whole[:, 30:60, 200:230] = 50
    expected = separator.predict(whole[None]).maps[0].numpy()
    passes = []
    forward = type(separator).forward
    monkeypatch.setattr(
        type(separator), "forward", lambda self, *args, **given: passes.append(1) or forward(self, *args, **given)
    )
    found = separate_tiled(separator, whole, core=40)
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.max(), rtol=1e-3)
    assert len(passes) < 30  # of 100 tiles


@pytest.mark.parametrize("norm", ["group", "instance"])
def test_networks_that_see_the_whole_frame_are_refused_with_the_way_out(norm):
    with pytest.raises(ModelError, match=r"sees the whole frame .* model\.norm=batch"):
        separate_tiled(make(norm=norm), image(2))


@pytest.mark.parametrize("core", [0, (32,), (0, 32)])
def test_tiles_need_pixels(core):
    with pytest.raises(ConfigError, match="tile: expected 2 numbers of pixels of at least 1"):
        separate_tiled(make(), image(2), core=core)


@pytest.mark.parametrize(("dims", "depth"), [(1, 3), (2, 2), (2, 3), (3, 2)])
def test_the_reach_is_the_farthest_pixel_that_changes_the_output(dims, depth):
    torch.manual_seed(0)
    backbone = create_model("unet", 1, 1, spatial_dims=dims, base_channels=4, depth=depth, norm="batch").eval()
    farthest = reach(backbone)
    period = backbone.grid
    size = [period] * (dims - 1) + [24 * period]
    middle = 12 * period
    plain = torch.rand(1, 1, *size)
    changed = set()
    with torch.no_grad():
        before = backbone(plain)
        for place in range(middle, middle + period):
            other = plain.clone()
            other[..., place] += 1
            moved = (backbone(other) - before).abs().flatten(0, -2).amax(0) > 1e-7
            changed |= {abs(int(at) - place) for at in moved.nonzero()[:, 0]}
    assert max(changed) <= farthest[-1]
    assert max(changed) >= 0.7 * farthest[-1]  # the farthest changes vanish in float32


def test_tiles_cover_an_image_once_and_are_read_on_the_grid():
    count = np.zeros((32, 56), int)
    for place in places((32, 56), core=(10, 20)):
        count[place] += 1
        around = surroundings(place, (32, 56), halo=(5, 3), grid=8)
        assert all(part.start % 8 == 0 and part.stop % 8 == 0 for part in around)
        for part, whole, halo, length in zip(place, around, (5, 3), (32, 56), strict=True):
            assert whole.start == 0 or part.start - whole.start >= halo
            assert whole.stop == length or whole.stop - part.stop >= halo
    assert (count == 1).all()
