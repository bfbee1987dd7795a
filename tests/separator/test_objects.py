import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from oasis.data.quantities import Quantities, Quantity
from oasis.data.samples import collate
from oasis.errors import ConfigError, DataError, ModelError
from oasis.evaluation.event_table import evaluate
from oasis.models import create_model
from oasis.run import Run
from oasis.scaling import AsinhScale, LogScale
from oasis.separator.moments import moments
from oasis.separator.objects import ObjectHead, ObjectOptions
from oasis.separator.prediction import Objects
from oasis.separator.separator import Separator

ENERGY = Quantity(name="energy", centre=10, width=5)
PLACE = Quantity(name="place", width=2)
SCALE = LogScale(scale=2.0, peak=False)
META = [{"a_energy": 15.0, "b_energy": math.nan, "place": 1.0}, {"a_energy": 5.0, "b_energy": 10.0, "place": 0.0}]


def head(interchangeable=(), dims=2):
    torch.manual_seed(0)
    wanted = Quantities(of_object=(ENERGY,), of_image=(PLACE,))
    return ObjectHead(("a", "b"), 4, 1, dims, wanted, ObjectOptions(channels=16), interchangeable).eval()


def batch(classes=2, dims=2, size=6):
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(3, classes, 1, *[size] * dims, generator=generator)
    image = maps.sum(1)
    encoded = torch.rand(3, 4, *[size // 2] * dims, generator=generator)
    return maps, image, encoded, SCALE.fit(image)


@pytest.mark.parametrize("shape", [(9,), (7, 5), (4, 5, 6)])
def test_moments_are_those_of_numpy(shape):
    maps = np.random.default_rng(0).uniform(-1, 3, (1, 2, 2, *shape))
    found = moments(torch.from_numpy(maps).float(), SCALE.fit(torch.ones(1, 2, *shape))).numpy()[0]
    places = np.stack(np.meshgrid(*((np.arange(n) + 0.5) / n * 2 - 1 for n in shape), indexing="ij"), -1)
    for label in range(2):
        light = np.maximum(maps[0, label], 0)
        totals = light.reshape(2, -1).sum(1)
        weight = light.sum(0).ravel()
        flat = places.reshape(-1, len(shape))
        mean = np.average(flat, axis=0, weights=weight)
        covariance = np.atleast_2d(np.cov(flat.T, aweights=weight, ddof=0))[np.triu_indices(len(shape))]
        expected = [*np.log10(1 + totals / 2), *np.cbrt(totals), *mean, *covariance]
        np.testing.assert_allclose(found[label], expected, rtol=1e-5)


def test_an_empty_map_has_finite_moments():
    for scaling in (LogScale(), AsinhScale(noise=1.0)):
        found = moments(torch.zeros(1, 1, 1, 4, 4), scaling.fit(torch.zeros(1, 1, 4, 4)))
        assert (found == 0).all()


def test_numbers_follow_their_maps_where_classes_are_of_one_kind():
    one_kind = head(interchangeable=[("a", "b")])
    maps, image, encoded, scale = batch()
    straight = one_kind(maps, image, encoded, scale)
    swapped = one_kind(maps.flip(1), image, encoded, scale)
    torch.testing.assert_close(swapped.presence, straight.presence.flip(1))
    torch.testing.assert_close(swapped.of_object, straight.of_object.flip(1))
    torch.testing.assert_close(swapped.of_image, straight.of_image)
    order = torch.tensor([[1, 0]] * 3)
    torch.testing.assert_close(straight.ordered(order).of_object, swapped.of_object)
    distinct = head()
    assert not torch.allclose(
        distinct(maps.flip(1), image, encoded, scale).presence,
        distinct(maps, image, encoded, scale).presence.flip(1),
    )


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_gradients_go_to_the_encoder_and_not_to_the_maps(dims):
    own = head(dims=dims)
    maps, image, encoded, scale = batch(dims=dims)
    maps.requires_grad_()
    encoded.requires_grad_()
    sum(values.sum() for values in own(maps, image, encoded, scale)[:3]).backward()
    assert maps.grad is None
    assert encoded.grad.abs().sum() > 0


def test_columns_are_in_physical_units():
    own = head()
    objects = Objects(torch.tensor([[0.0, 2.0]]), torch.tensor([[[1.0], [-2.0]]]), torch.tensor([[3.0]]))
    columns = own.columns(objects)
    assert list(columns) == ["presence_predicted", "energy_predicted", "place_predicted"]
    torch.testing.assert_close(columns["presence_predicted"], torch.tensor([[0.5, 1 / (1 + math.exp(-2))]]))
    assert columns["energy_predicted"].tolist() == [[15, 0]]
    assert columns["place_predicted"].tolist() == [[6, 6]]


def test_directions_are_unit_vectors():
    vector = [Quantity(name=name, width=0.5) for name in ("dx", "dy", "dz")]
    wanted = Quantities(of_object=(ENERGY, *vector), directions=(("dx", "dy", "dz"),))
    own = ObjectHead(("a", "b"), 4, 1, 2, wanted, ObjectOptions(channels=16)).eval()
    maps, image, encoded, scale = batch()
    columns = own.columns(own(maps, image, encoded, scale))
    found = torch.stack([columns[f"{name}_predicted"] for name in ("dx", "dy", "dz")])
    torch.testing.assert_close(found.norm(dim=0), torch.ones(3, 2))
    raw = own(maps, image, encoded, scale).of_object[..., 1:]
    torch.testing.assert_close(found.movedim(0, -1), F.normalize(raw, dim=-1))


def test_the_loss_counts_what_is_there():
    own = head()
    objects = Objects(torch.zeros(2, 2), torch.zeros(2, 2, 1), torch.zeros(2, 1))
    ratios = own.ratios(objects, META)
    assert ratios["quantities"].denominator.tolist() == [2, 3]
    # Huber's distance of 1 width each from a's energies, of half a width from the first place.
    torch.testing.assert_close(ratios["quantities"].numerator, torch.tensor([0.5 + 0.125, 0.5]))
    torch.testing.assert_close(ratios["presence"].mean(), torch.tensor(math.log(2)))
    logits = torch.tensor([[1.0, -1.0], [2.0, 0.5]])
    entropy = F.binary_cross_entropy_with_logits(logits, torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    found = own.ratios(objects._replace(presence=logits), META)["presence"].mean()
    torch.testing.assert_close(found, entropy)


def test_the_truth_in_place_of_the_prediction_has_no_distance():
    own = head()
    of_object, of_image = own.truth(META)
    there = of_object.isfinite().all(2)
    objects = Objects(torch.where(there, 50.0, -50.0), of_object.nan_to_num(), of_image)
    ratios = own.ratios(objects, META)
    assert ratios["quantities"].mean() == 0
    assert ratios["presence"].mean() < 1e-12


def test_classes_without_numbers_are_left_out():
    wanted = Quantities(classes=("b",), of_object=(ENERGY,))
    own = ObjectHead(("a", "b"), 4, 1, 2, wanted, ObjectOptions(channels=16))
    objects = own(*batch())
    columns = own.columns(objects)
    assert columns["energy_predicted"][:, 0].isnan().all()
    assert columns["presence_predicted"][:, 0].isnan().all()
    assert columns["energy_predicted"][:, 1].isfinite().all()
    meta = [{"b_energy": 10.0}, {"b_energy": math.nan}, {"b_energy": 1.0}]
    ratios = own.ratios(objects, meta)
    assert ratios["quantities"].denominator.tolist() == [1, 0, 1]
    assert ratios["presence"].denominator.tolist() == [1, 1, 1]
    ratios["presence"].mean().backward()


def test_bad_input_is_one_line():
    with pytest.raises(ConfigError, match=r"objects.heads: 4 do not divide 10 channels"):
        ObjectHead(("a",), 4, 1, 2, Quantities(of_object=(ENERGY,)), ObjectOptions(channels=10))
    with pytest.raises(ConfigError, match="the adapter names no quantities"):
        ObjectHead(("a",), 4, 1, 2, Quantities(), ObjectOptions())
    with pytest.raises(DataError, match=r"metadata of the samples have no 'b_energy'; did you mean 'a_energy'"):
        head().truth([{"a_energy": 1.0, "place": 0.0}])


@pytest.mark.parametrize("name", ["unet", "timm/resnet18", "smp/unet-resnet18", "smp/fpn-mobilenet_v2"])
def test_backbones_hand_out_their_encoder(name):
    pytest.importorskip("segmentation_models_pytorch")
    backbone = create_model(name, 1, 3).eval()
    image = torch.rand(2, 1, 50, 70)
    with torch.no_grad():
        maps, encoded = backbone.forward_encoded(image)
        torch.testing.assert_close(maps, backbone(image))
    assert encoded.shape[:2] == (2, backbone.encoder_channels)
    assert encoded.shape[2] < 50
    assert encoded.std() > 0


def test_a_backbone_without_an_encoder_is_refused(toy):
    options = toy.new_separator().options.model_copy(update={"objects": ObjectOptions()})
    with pytest.raises(ModelError, match="objects: the model own:Conv2d provides no encoder features"):
        Separator(options, torch.nn.Conv2d(1, toy.new_separator().head.channels, 1))


def test_a_run_learns_saves_and_tabulates_numbers(toy_values, tmp_path):
    values = {**toy_values, "objects": {"channels": 32, "layers": 1}, "training": {"epochs": 12}}
    setup = Run.from_values(values)
    separator = setup.train()
    rows = setup.log.to_dict("records")
    assert float(rows[-1]["val/objects_quantities"]) < 0.5 * float(rows[0]["val/objects_quantities"])
    total = float(rows[-1]["val/regression"]) + 0.01 * float(rows[-1]["val/smoothness"])
    total += float(rows[-1]["val/objects_quantities"]) + float(rows[-1]["val/objects_presence"])
    assert float(rows[-1]["val/total"]) == pytest.approx(total, rel=1e-5)
    table = evaluate(separator, setup.dataset("test"), setup.adapter, workers=0)
    dots = table[table["class"] == "dot"]
    assert dots["presence_predicted"].between(0, 1).all()
    assert table[table["class"] == "bar"]["height_predicted"].isna().all()
    sample = collate([setup.dataset("test")[0]])
    prediction = separator.predict(sample.image)
    assert prediction.maps.shape == sample.target.shape
    heights = separator.columns(prediction)["height_predicted"]
    np.testing.assert_allclose(heights[0, 0], dots["height_predicted"].iloc[0], rtol=1e-3)
    loaded = Separator.load(setup.folder)
    np.testing.assert_array_equal(loaded.columns(loaded.predict(sample.image))["height_predicted"], heights)


@pytest.mark.parametrize(
    "chosen", [{"counting": "categorical", "features": "cells"}, {"decoder": "sequence", "features": "both"}]
)
def test_a_run_that_counts_as_one_decision_trains_and_is_read_again(toy_values, chosen):
    objects = {"channels": 16, "layers": 1, **chosen}
    setup = Run.from_values({**toy_values, "objects": objects, "training": {"epochs": 8, "accumulate": 2}})
    separator = setup.train()
    counts = [float(row["val/objects_count"]) for row in setup.log.to_dict("records")]
    assert counts[-1] < counts[0]
    sample = collate([setup.dataset("test")[0]])
    loaded = Separator.load(setup.folder)
    found = separator.columns(separator.predict(sample.image))
    again = loaded.columns(loaded.predict(sample.image))
    assert {"presence_predicted", "exists_predicted", "height_predicted"} == set(found)
    for name, values in found.items():
        torch.testing.assert_close(again[name], values, rtol=0, atol=0, equal_nan=True)


def test_configurations_without_the_new_options_have_their_fingerprint(toy_values):
    one, plain, other = (
        Run.from_values({**toy_values, "objects": objects}).fingerprint
        for objects in ({}, {"counting": "independent", "decoder": "queries"}, {"counting": "categorical"})
    )
    assert one == plain != other
