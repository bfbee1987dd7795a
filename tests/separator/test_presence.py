import threading

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from oasis.errors import ConfigError, ModelError
from oasis.evaluation.event_table import evaluate
from oasis.inference.choice import Choice
from oasis.run import Run
from oasis.separator.options import SeparatorOptions
from oasis.separator.prediction import Presence
from oasis.separator.presence import BINS, PresenceHead, chances_of_absent, limits_for
from oasis.separator.separator import Separator


def make(**options):
    torch.manual_seed(0)
    values = {"classes": ("a", "b"), "model": {"name": "unet", "base_channels": 4, "depth": 2}, **options}
    return Separator(SeparatorOptions.parse(values))


def image(seed=0):
    return np.random.default_rng(seed).exponential(20, (16, 20)).astype(np.float32)


def test_presence_comes_beside_the_maps():
    separator = make(head={"name": "fraction", "presence": True}, bands=2)
    batch = torch.rand(3, 2, 16, 20) * 50
    prediction = separator(batch)
    assert prediction.presence.pixels.shape == prediction.maps.shape == (3, 2, 2, 16, 20)
    assert prediction.presence.image.shape == (3, 2)
    columns = separator.columns(separator.predict(batch))
    assert list(columns) == ["presence_predicted"]
    assert ((columns["presence_predicted"] > 0) & (columns["presence_predicted"] < 1)).all()


def test_maps_do_not_depend_on_presence_unless_gated():
    plain, gated = (
        make(head={"name": "softplus", "presence": True, "gate": gate}).eval() for gate in (False, True)
    )
    prediction = plain.predict(image())
    chance = torch.sigmoid(prediction.presence.pixels)
    torch.testing.assert_close(gated.predict(image()).maps, prediction.maps * chance)
    batch = torch.from_numpy(image())[None, None]
    torch.testing.assert_close(gated.train()(batch).maps, plain.train()(batch).maps)  # the loss sees the maps


@pytest.mark.parametrize("options", [{"gate": True}, {"present_from": 0.3}])
def test_a_gate_needs_presence(options):
    with pytest.raises(ConfigError, match=rf"head\.{next(iter(options))}: .*head\.presence"):
        make(head=options)


def test_the_map_of_a_class_that_is_not_there_is_empty_once_the_training_is_over():
    plain = make(head={"name": "softplus", "presence": True}).eval()
    batch = torch.from_numpy(np.stack([image(seed) for seed in range(6)]))[:, None]
    chances = torch.sigmoid(plain(batch).presence.image)
    least = chances.median().item()  # some classes of some images are there
    gated = make(head={"name": "softplus", "presence": True, "present_from": least}).eval()
    there = (chances >= least).view(6, 2, 1, 1, 1)
    assert there.any()
    assert not there.all()
    torch.testing.assert_close(gated(batch).maps, torch.where(there, plain(batch).maps, 0))
    torch.testing.assert_close(gated.train()(batch).maps, plain.train()(batch).maps)  # the loss sees the maps


@pytest.mark.parametrize("least", [{"a": 0.9}, {"b": 0.9}, {"a": 0.9, "b": 0.9}, 0.9])
def test_the_limit_of_a_class_empties_its_map_alone(least):
    plain, limited = (
        make(head={"name": "softplus", "presence": True, "present_from": given}).eval() for given in (0, least)
    )
    maps, expected = (separator.separate(image()) for separator in (limited, plain))
    for name in ("a", "b"):
        there = isinstance(least, dict) and name not in least
        np.testing.assert_array_equal(maps[name], expected[name] if there else 0)
    assert limited.options.head.decides


def test_the_limit_of_an_unknown_class_is_refused():
    with pytest.raises(ConfigError, match=r"head\.present_from: unknown class 'c'"):
        make(head={"presence": True, "present_from": {"c": 0.5}})


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_limits_accept_a_share_of_the_images_without_the_class(share):
    torch.manual_seed(0)
    logits, there = 2 * torch.randn(300, 3), torch.rand(300, 3) < torch.tensor([0.2, 0.9, 1.0])
    batches = [
        chances_of_absent(Presence(torch.zeros(0), part), known)
        for part, known in zip(logits.split(64), there.split(64), strict=True)
    ]
    limits = limits_for(sum(batches), share)
    for label, limit in enumerate(limits[:2]):
        absent = logits[:, label].sigmoid()[~there[:, label]]
        assert (absent >= limit).double().mean() <= share
        assert (absent >= limit - 2 / BINS).double().mean() > share - 2 / len(absent)
    assert limits[2] == 0  # of which no image is without it: nothing is known


def test_a_decision_for_the_whole_image_excludes_tiles():
    model = {"name": "unet", "base_channels": 4, "depth": 2, "norm": "batch"}
    for least, whole in ((0.0, False), (0.3, True)):
        separator = make(head={"name": "softplus", "presence": True, "present_from": least}, model=model)
        assert separator.sees_whole_frame is whole
    with pytest.raises(ModelError, match=r"head\.present_from.*--window regions"):
        _ = Choice(separator).halo


def test_the_loss_against_a_plain_computation():
    head = PresenceHead(("a", "b"), features=0)
    torch.manual_seed(0)
    presence = head(torch.randn(2, 2, 1, 3, 4), None)
    there = torch.rand(2, 2, 1, 3, 4) > 0.5
    weights = torch.tensor([0.0, 1.0, 6.0])[torch.randint(3, (2, 1, 3, 4))]
    class_weights = torch.tensor([5.0, 1.0])
    ratios = head.ratios(presence, there, weights, class_weights)
    entropy = F.binary_cross_entropy_with_logits(presence.pixels, there.float(), reduction="none")
    scale = class_weights.view(1, 2, 1, 1, 1) * weights.unsqueeze(1)
    torch.testing.assert_close(
        ratios["pixels"].mean(),
        (entropy * scale).sum() / scale.sum(),
    )
    anywhere = (there & (weights > 0).unsqueeze(1)).flatten(2).any(2).float()
    expected = F.binary_cross_entropy_with_logits(presence.image, anywhere)
    torch.testing.assert_close(ratios["image"].mean(), expected)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_empty_surroundings_do_not_change_the_presence(dims):
    torch.manual_seed(0)
    head = PresenceHead(("a", "b"), features=3, stride=4)
    pixels, encoded = torch.randn(2, 2, 1, *[8] * dims), torch.randn(2, 3, *[2] * dims)
    wide = F.pad(pixels, [4] * (2 * dims), value=-12.0)
    surroundings = 3 * torch.randn(2, 3, *[4] * dims)
    middle = (slice(None), slice(None), *[slice(1, 3)] * dims)
    surroundings[middle] = encoded
    found, expected = head(wide, surroundings).image, head(pixels, encoded).image
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)
    assert (head(wide, torch.zeros_like(surroundings)).image - expected).abs().max() > 0.01  # features count


def test_interchangeable_classes_share_their_weights():
    head = PresenceHead(("a", "b"), features=3, interchangeable=[("a", "b")])
    pixels, encoded = torch.randn(2, 2, 1, 6), torch.randn(2, 3, 2)
    torch.testing.assert_close(head(pixels.flip(1), encoded).image, head(pixels, encoded).image.flip(1))


def test_presence_is_trained_logged_saved_and_measured(toy_values):
    values = {**toy_values, "head": {"presence": True}, "training": {"epochs": 4}, "data": {"train": 96}}
    setup = Run.from_values(values)
    separator = setup.train()
    rows = setup.log.to_dict("records")
    assert float(rows[-1]["val/presence_pixels"]) < float(rows[0]["val/presence_pixels"])
    parts = ("regression", "presence_pixels", "presence_image")
    total = sum(float(rows[-1][f"val/{name}"]) for name in parts) + 0.01 * float(rows[-1]["val/smoothness"])
    assert float(rows[-1]["val/total"]) == pytest.approx(total, rel=1e-5)
    table = evaluate(separator, setup.dataset("test"), setup.adapter, workers=0)
    assert table["presence_predicted"].between(0, 1).all()
    again = evaluate(setup.separator(), setup.dataset("test"), setup.adapter, workers=0)
    np.testing.assert_array_equal(table["presence_predicted"], again["presence_predicted"])


def test_gates_of_a_run_can_be_changed_after_the_training_and_nothing_else_of_its_head(toy_values):
    values = {**toy_values, "head": {"presence": True}, "training": {"epochs": 1}, "data": {"train": 16}}
    setup = Run.from_values(values)
    setup.train()
    sample = setup.dataset("test")[0].image
    plain = setup.separator().separate(sample)
    assert any(maps.any() for maps in plain.values())
    gated = Run(setup.folder, ["head.present_from=0.999"], trust_code=True).separator().separate(sample)
    assert not any(maps.any() for maps in gated.values())
    with pytest.raises(ConfigError, match=r"head\.background: .* after training only gate and present_from"):
        Run(setup.folder, ["head.background=false"], trust_code=True).separator()


def test_training_chooses_the_limits_of_presence(toy_values):
    head = {"presence": True, "false_presence": 0.25}
    setup = Run.from_values(
        {**toy_values, "head": head, "training": {"epochs": 2}, "data": {"train": 32, "val": 32}}
    )
    setup.train()
    separator = setup.separator()
    limits = separator.options.head.present_from
    assert set(limits) == set(separator.classes)
    rows = {
        name: evaluate(run.separator(), setup.dataset("val"), setup.adapter, workers=0)
        for name, run in (
            ("limited", setup),
            ("whole", Run(setup.folder, ["head.present_from=0"], trust_code=True)),
        )
    }
    chances, light = rows["whole"]["presence_predicted"], rows["whole"]["intensity_predicted"]
    kept = chances >= rows["whole"]["class"].map(limits)
    np.testing.assert_array_equal(rows["limited"]["intensity_predicted"], np.where(kept, light, 0))
    absent = rows["whole"]["intensity_true"] == 0
    assert absent.any()
    assert kept[absent].groupby(rows["whole"]["class"]).mean().max() <= 0.25


def test_a_separator_in_training_predicts_from_several_threads_without_changing():
    separator = make(model={"name": "unet", "base_channels": 4, "depth": 2, "norm": "batch", "dropout": 0.5})
    images = [image(seed) for seed in range(8)]
    expected = [separator.eval().separate(one) for one in images]
    separator.train()
    before = {name: value.clone() for name, value in separator.state_dict().items()}
    found = {}

    def work(number):
        for _ in range(3):
            found[number] = separator.separate(images[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert separator.training
    for number, maps in enumerate(expected):
        np.testing.assert_array_equal(found[number]["a"], maps["a"])
    for name, value in separator.state_dict().items():
        assert torch.equal(value, before[name]), name
