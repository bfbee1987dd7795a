"""The decoder of sequences: its likelihood, its order, its end, and that it does not know the truth."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from oasis.data.quantities import Quantities, Quantity
from oasis.scaling import LogScale
from oasis.separator.objects import ObjectHead, ObjectOptions
from oasis.separator.sequence import Context, SequenceDecoder

SCALE = LogScale(scale=2.0, peak=False)
CLASSES = ("muon", "p1", "p2", "p3", "d")
WANTED = Quantities(
    classes=CLASSES[1:],
    of_object=(Quantity(name="energy", centre=3, width=2), Quantity(name="length")),
    of_image=(Quantity(name="place"),),
    ordered=(("p1", "p2", "p3"),),
)
pytestmark = pytest.mark.usefixtures("float32")


def decoder(groups=((1, 2, 3), (4,)), quantities=2):
    torch.manual_seed(0)
    layer = nn.TransformerDecoderLayer(16, 2, 32, dropout=0.0, batch_first=True, norm_first=True)
    own = SequenceDecoder(groups, 5, quantities, 1, nn.TransformerDecoder(layer, 2), 16).eval()
    for parameter in own.parameters():
        nn.init.normal_(parameter, std=0.3)
    return own


def context(samples=1, tokens=6):
    generator = torch.Generator().manual_seed(1)
    ignored = torch.zeros(samples, tokens, dtype=torch.bool)
    ignored[:, -1] = True
    return Context(torch.randn(samples, tokens, 16, generator=generator), ignored)


def truth(own, *events):
    """Return true objects, given by class and energy."""
    of_object = torch.full((len(events), 5, 2), torch.nan)
    for place, event in enumerate(events):
        for slot, energy in event.items():
            of_object[place, slot] = torch.tensor([energy, energy / 2])
    return own.sorted(of_object, of_object.isfinite().all(2))


def head(**options):
    torch.manual_seed(0)
    chosen = ObjectOptions(**{"channels": 16, "decoder": "sequence", **options})
    return ObjectHead(CLASSES, 4, 1, 2, WANTED, chosen).eval()


def arguments(samples=3):
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(samples, 5, 1, 6, 6, generator=generator)
    image = maps.sum(1)
    return maps, image, torch.rand(samples, 4, 3, 3, generator=generator), SCALE.fit(image)


def meta(*events):
    rows = []
    for event in events:
        row = {f"{name}_{one}": event.get(name, np.nan) for name in CLASSES[1:] for one in ("energy", "length")}
        rows.append({**row, "place": 0.5})
    return rows


def test_the_likelihood_of_all_sequences_adds_up_to_one():
    """Oracle: every sequence of up to three protons and one deuteron, whose energies state their order."""
    own, total = decoder(), 0.0
    for length in range(5):
        for kinds in product("pd", repeat=length):
            if kinds.count("p") > 3 or kinds.count("d") > 1:
                continue
            free = {"p": [1, 2, 3], "d": [4]}
            event = {free[kind].pop(0): 9.0 - step for step, kind in enumerate(kinds)}
            surprise, _, _ = own.follow(context(), truth(own, event))
            total += float((-surprise).exp().detach())
    assert total == pytest.approx(1, abs=1e-5)


def test_numbers_along_the_decoded_sequence_are_its_likelihood():
    own = decoder(groups=((1, 2, 3, 4),))
    found = own.decode(context())
    chance = found.counts.logs.exp()[0]
    assert float(chance.sum().detach()) == pytest.approx(1, abs=1e-5)
    for number in range(5):
        of_object = torch.full((1, 5, 2), torch.nan)
        of_object[0, 1 : 1 + number] = found.of_object[0, 1 : 1 + number].detach()
        surprise, _, _ = own.follow(context(), own.sorted(of_object, of_object.isfinite().all(2)))
        assert float((-surprise).exp().detach()) == pytest.approx(float(chance[number].detach()), abs=1e-5)


def test_objects_follow_by_energy_and_fill_their_kind_in_order():
    own = decoder()
    found = truth(own, {1: 5.0, 2: 2.0, 4: 3.0}, {4: 9.0}, {})
    assert found.number.tolist() == [3, 1, 0]
    assert found.slots[0, :3].tolist() == [1, 4, 2]
    assert found.slots[1, 0] == 4
    wrong = truth(own, {1: 2.0, 2: 5.0, 4: 3.0})  # the classes are filled in order, whatever their energies
    assert wrong.slots[0].tolist().index(1) < wrong.slots[0].tolist().index(2)


def test_a_step_does_not_see_later_objects():
    own = decoder()
    first, second, third = (
        own.follow(context(), truth(own, event))[1]
        for event in ({1: 5.0, 2: 3.0, 4: 2.0, 3: 1.0}, {1: 5.0, 2: 3.0, 3: 2.0, 4: 1.0}, {4: 5.0, 1: 3.0, 2: 2.0})
    )
    torch.testing.assert_close(first[:, 1:3], second[:, 1:3], rtol=0, atol=0)  # two protons come first in both
    torch.testing.assert_close(first[:, 4], second[:, 3], rtol=0, atol=0)  # the third object, of whatever kind
    torch.testing.assert_close(first[:, 1], third[:, 4], rtol=0, atol=0)  # the first object
    assert not torch.allclose(first[:, 2], third[:, 1])  # the second follows another kind


def test_training_conditions_on_what_is_predicted_and_not_on_the_truth():
    """Energies of the truth order its objects; beyond that they change no probability."""
    own = decoder()
    one, other = (own.follow(context(), truth(own, {1: energy, 4: 3.0, 2: 1.0})) for energy in (5.0, 50.0))
    for found, expected in zip(one, other, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_gradient_reaches_the_embeddings_of_earlier_objects():
    own = decoder()
    own.follow(context(), truth(own, {1: 5.0, 4: 3.0, 2: 1.0}))[0].sum().backward()
    assert own.kind.weight.grad.abs().sum() > 0
    assert own.earlier.weight.grad.abs().sum() > 0


def test_padding_of_the_memory_changes_nothing():
    own, short = decoder(), context()
    longer = Context(
        torch.cat([short.memory, torch.full((1, 3, 16), 50.0)], dim=1),
        torch.cat([short.ignored, torch.ones(1, 3, dtype=torch.bool)], dim=1),
    )
    torch.testing.assert_close(own.decode(longer).counts.logs, own.decode(short).counts.logs)


def test_every_class_is_given_once_at_most():
    states = decoder().decode(context(4)).counts.states
    assert states.shape == (4, 5, 5)
    assert (states.sum(2) == torch.arange(5)).all()
    assert (states[:, 1:] >= states[:, :-1]).all()
    assert not states[..., 0].any()
    ordered = states[..., 1:4].int()
    assert (ordered[..., :-1] >= ordered[..., 1:]).all()


def test_the_truth_does_not_change_a_prediction():
    """The number in the truth caps, leads or ends nothing: an image has the same prediction with any truth."""
    own = head()
    with torch.no_grad():
        objects = own(*arguments())
        before = own.columns(objects)
        losses = []
        for event in ({}, {"p1": 4.0}, {"p1": 4.0, "p2": 3.0, "p3": 2.0, "d": 1.0}):
            losses.append(own.ratios(objects, meta(event, event, event))["count"].mean().item())
            after = own.columns(own(*arguments()))
            assert list(before) == list(after)
            for name in before:
                torch.testing.assert_close(after[name], before[name], rtol=0, atol=0, equal_nan=True)
    assert len(set(losses)) == 3
    assert list(before)[:2] == ["presence_predicted", "exists_predicted"]


def test_it_can_predict_more_than_there_are():
    own = head()
    with torch.no_grad():
        own.sequence.next[-1].weight.zero_()
        own.sequence.next[-1].bias.copy_(torch.tensor([-9.0, 0.0, 0.0]))  # never stop
        objects = own(*arguments())
        assert own.columns(objects)["exists_predicted"][:, 1:].sum(1).tolist() == [4, 4, 4]
        own.sequence.next[-1].bias.copy_(torch.tensor([9.0, 0.0, 0.0]))
        objects = own(*arguments())
        assert own.columns(objects)["exists_predicted"][:, 1:].sum(1).tolist() == [0, 0, 0]


def test_training_follows_the_truth_and_reaches_every_parameter():
    own = head().train()
    objects = own(*arguments())
    assert objects.presence.isnan().all()
    rows = meta({"p1": 4.0, "d": 5.0}, {}, {"p1": 4.0, "p2": 3.0, "p3": 2.0, "d": 1.0})
    terms = own.ratios(objects, rows)
    assert terms["quantities"].denominator.tolist() == [5, 1, 9]
    sum(term.mean() for term in terms.values()).backward()
    missing = [name for name, value in own.named_parameters() if value.grad is None]
    assert not missing
    own.eval()
    same = own.ratios(
        own(*arguments()), meta({"p1": 4.0, "d": 5.0}, {}, {"p1": 4.0, "p2": 3.0, "p3": 2.0, "d": 1.0})
    )
    for name, term in terms.items():
        torch.testing.assert_close(same[name].mean(), term.mean())


def test_it_learns_numbers_that_it_is_shown():
    """The number of objects is that of the bright maps; the loss falls below what is known without looking."""
    own = head().train()
    optimiser = torch.optim.Adam(own.parameters(), lr=0.005)
    losses = []
    for step in range(120):
        rng = np.random.default_rng(step)
        numbers = rng.integers(0, 4, 32)
        maps, image, encoded, _ = arguments(32)
        for place, number in enumerate(numbers):
            maps[place, 1:] = 0
            maps[place, 1 : 1 + number] = 5
        events = [{f"p{rank}": 4.0 - rank for rank in range(1, number + 1)} for number in numbers]
        loss = own.ratios(own(maps, image, encoded, SCALE.fit(image)), meta(*events))["count"].mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.3 * np.log(4)
