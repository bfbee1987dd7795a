"""Counting as one decision: states, their probabilities, and the loss."""

from itertools import product

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from oasis.data.quantities import Quantities, Quantity
from oasis.errors import ConfigError, DataError
from oasis.scaling import LogScale
from oasis.separator.counting import Counts, joint_states, state_of
from oasis.separator.objects import ObjectHead, ObjectOptions

SCALE = LogScale(scale=2.0, peak=False)
CLASSES = ("muon", "p1", "p2", "p3", "d")
ORDERED = (("p1", "p2", "p3"),)
WANTED = Quantities(classes=CLASSES[1:], of_object=(Quantity(name="energy"),), ordered=ORDERED)


def head(**options):
    torch.manual_seed(0)
    chosen = ObjectOptions(**{"channels": 16, "counting": "categorical", **options})
    return ObjectHead(CLASSES, 4, 1, 2, WANTED, chosen).eval()


def predicted(own, samples=3):
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(samples, 5, 1, 6, 6, generator=generator)
    image = maps.sum(1)
    return own(maps, image, torch.rand(samples, 4, 3, 3, generator=generator), SCALE.fit(image))


def meta(*states):
    """Return metadata in which the named classes have energies."""
    return [{f"{name}_energy": 1.0 if name in state else np.nan for name in CLASSES[1:]} for state in states]


def test_states_are_all_that_are_possible():
    found = {tuple(row) for row in joint_states([False, True, True, True, True], [(1, 2, 3)]).tolist()}
    expected = set()
    for one in product((0, 1), repeat=5):
        if not one[0] and one[1] >= one[2] >= one[3]:
            expected.add(one)
    assert found == expected
    assert len(found) == 8


def test_probabilities_are_sums_over_states():
    objects = predicted(head())
    states, logs, above = objects.counts
    assert above is None
    chance = logs.exp()
    torch.testing.assert_close(chance.sum(1), torch.ones(3))
    expected = (chance.unsqueeze(2) * states).sum(1)
    torch.testing.assert_close(objects.presence.sigmoid()[:, 1:], expected[:, 1:], rtol=1e-4, atol=1e-6)
    present = objects.presence[:, 1:4]
    assert (present[:, :-1] >= present[:, 1:]).all()  # what is filled in order is present in order
    best = states[torch.arange(3), chance.argmax(1)]
    assert torch.equal(objects.counts.decided, best)


def test_without_order_and_joint_term_it_is_independent_presence():
    """Oracle: with all subsets possible and equal joint logits, the loss is the sum of binary cross entropies."""
    names = ("a", "b", "c")
    wanted = Quantities(of_object=(Quantity(name="energy"),))
    torch.manual_seed(0)
    own = ObjectHead(names, 4, 1, 2, wanted, ObjectOptions(channels=16, counting="categorical")).eval()
    torch.nn.init.zeros_(own.joint[-1].weight)
    torch.nn.init.zeros_(own.joint[-1].bias)
    torch.manual_seed(0)
    plain = ObjectHead(names, 4, 1, 2, wanted, ObjectOptions(channels=16)).eval()
    plain.load_state_dict({name: value for name, value in own.state_dict().items() if "joint" not in name})
    generator = torch.Generator().manual_seed(1)
    maps = torch.rand(4, 3, 1, 6, 6, generator=generator)
    image = maps.sum(1)
    arguments = (maps, image, torch.rand(4, 4, 3, 3, generator=generator), SCALE.fit(image))
    one, other = own(*arguments), plain(*arguments)
    torch.testing.assert_close(one.presence, other.presence, rtol=1e-4, atol=1e-5)
    rows = [
        {f"{name}_energy": 1.0 if name in state else np.nan for name in names} for state in ("", "b", "ac", "abc")
    ]
    count = own.ratios(one, rows)["count"].mean()
    torch.testing.assert_close(count, 3 * plain.ratios(other, rows)["presence"].mean(), rtol=1e-4, atol=1e-5)


def test_the_loss_is_the_surprise_at_the_true_state():
    own = head()
    objects = predicted(own, 2)
    rows = meta((), ("p1", "p2", "d"))
    chance = objects.counts.logs.exp()
    states = objects.counts.states[0].tolist()
    places = [states.index([False] * 5), states.index([False, True, True, False, True])]
    expected = -chance[[0, 1], places].log()
    found = own.ratios(objects, rows)["count"]
    torch.testing.assert_close(found.numerator, expected)
    assert found.denominator.tolist() == [1, 1]


def test_the_gradient_of_the_count_is_that_of_a_softmax():
    logits = torch.randn(2, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    states = joint_states([False, True, True, True, True], [(1, 2, 3)])
    there = states[[3, 6]]
    loss = F.cross_entropy(logits, state_of(there, states), reduction="sum")
    (expected,) = torch.autograd.grad(loss, logits)
    counts = Counts((states > 0).expand(2, -1, -1), logits.log_softmax(1))
    (-counts.logs[[0, 1], [3, 6]]).sum().backward()
    torch.testing.assert_close(logits.grad, expected)


def test_certain_states_have_finite_logits():
    states = joint_states([True, True], [(0, 1)])
    logs = torch.tensor([[0.0, -200.0, -torch.inf]])
    counts = Counts((states > 0).expand(1, -1, -1), logs)
    assert counts.presence.isfinite().all()
    assert (counts.presence < -80).all()


def test_the_table_has_the_decision():
    own = head()
    columns = own.columns(predicted(own))
    assert list(columns) == ["presence_predicted", "exists_predicted", "energy_predicted"]
    assert columns["exists_predicted"][:, 0].isnan().all()
    assert set(columns["exists_predicted"][:, 1:].flatten().tolist()) <= {0.0, 1.0}
    assert "exists_predicted" not in head(counting="independent").columns(predicted(head(counting="independent")))


def energetic(*energies):
    """Return metadata of images with protons of these energies, in order."""
    rows = []
    for one in energies:
        values = [*one, *[np.nan] * (3 - len(one))]
        rows.append({f"p{place}_energy": value for place, value in enumerate(values, 1)} | {"d_energy": np.nan})
    return rows


def test_states_above_a_limit_are_all_that_are_possible():
    found = [tuple(row) for row in joint_states([False, True, True, True, True], [(1, 2, 3)], True).tolist()]
    expected = {
        one for one in product((0, 1, 2), repeat=5) if not one[0] and one[1] >= one[2] >= one[3]
    }  # in an ordered group those above the limit come first, then those below it
    assert len(found) == len(set(found)) == 30
    assert set(found) == expected


def test_numbers_above_a_limit_are_sums_over_all_others():
    """Oracle: the most probable number above the limit, by summing over numbers below it in plain Python."""
    own = head(count_above=5)
    objects = predicted(own)
    chance = objects.counts.logs.exp()
    levels = own.states.tolist()
    for row, decided, above in zip(chance, objects.counts.decided, objects.counts.decided_above, strict=True):
        for limit, found in ((1, decided), (2, above)):
            sums = {}
            for probability, state in zip(row.tolist(), levels, strict=True):
                key = tuple(level >= limit for level in state)
                sums[key] = sums.get(key, 0) + probability
            assert tuple(found.tolist()) == max(sums, key=sums.get)
    presence = (chance.unsqueeze(2) * (own.states > 0)).sum(1)
    torch.testing.assert_close(objects.presence.sigmoid()[:, 1:], presence[:, 1:], rtol=1e-4, atol=1e-6)
    columns = own.columns(objects)
    assert list(columns) == ["presence_predicted", "exists_predicted", "above_predicted", "energy_predicted"]
    assert columns["above_predicted"][:, 0].isnan().all()


def test_the_true_state_knows_the_limit_in_physical_units():
    wanted = WANTED.model_copy(update={"of_object": (Quantity(name="energy", centre=30, width=15),)})
    torch.manual_seed(0)
    own = ObjectHead(CLASSES, 4, 1, 2, wanted, ObjectOptions(channels=16, counting="categorical", count_above=10))
    objects = predicted(own.eval(), 3)
    states = [[0, 2, 1, 0, 0], [0, 2, 2, 0, 0], [0, 1, 1, 1, 0]]
    places = [own.states.tolist().index(state) for state in states]
    found = own.ratios(objects, energetic((10.1, 9.9), (40, 11), (10, 2, 1)))["count"]
    torch.testing.assert_close(found.numerator, -objects.counts.logs[[0, 1, 2], places])
    with pytest.raises(DataError, match="not by decreasing first quantity"):
        own.ratios(objects, energetic((9, 11), (40, 11), (10, 2, 1)))


@pytest.mark.parametrize("options", [{"counting": "independent"}, {"decoder": "sequence"}])
def test_a_limit_needs_one_decision_over_states(options):
    with pytest.raises(ConfigError, match="count_above: needs counting categorical and decoder queries"):
        head(count_above=5, **options)


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(DataError, match="without those before them"):
        head().ratios(predicted(head(), 1), meta(("p2",)))
    with pytest.raises(ConfigError, match="can be present in 1,048,576 ways, more than 4,096"):
        joint_states([True] * 20, [])
    with pytest.raises(ConfigError, match="p1 is interchangeable"):
        ObjectHead(CLASSES, 4, 1, 2, WANTED, ObjectOptions(counting="categorical"), [("p1", "p2", "p3")])
    of_image = Quantities(of_image=(Quantity(name="place"),))
    with pytest.raises(ConfigError, match="no quantities of objects"):
        ObjectHead(("a",), 4, 1, 2, of_image, ObjectOptions(counting="categorical"))
