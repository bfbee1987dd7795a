r"""Counting as one decision: which of the objects that an image can have are present.

Classes whose objects are in order, such as protons by decreasing energy, are filled one after the other: the
second is present only if the first one is. The possible states are then the numbers of objects of each such group,
and the decision is a categorical one over the states of all groups together:

.. math:: p(s) = \mathrm{softmax}_s \Big(\sum_{i \in s} a_i + b_s\Big), \qquad
          p(i\ \mathrm{present}) = \sum_{s \ni i} p(s)

with a logit a of every object and one b of every state. Where b is 0 and all subsets are possible, this is the
product of independent probabilities.

States can also tell how many of the objects exceed a limit of their first quantity, by which they are in order.
The number of these, which can be seen well, is then a decision of its own, by the sum over all numbers of the
others.
"""

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from oasis.errors import ConfigError, DataError

MOST_STATES = 4096


class Counts(NamedTuple):
    """The probability of every possible state of an image.

    Attributes:
        states: (b, M, N) bool, the classes that are present in each state.
        logs: (b, M) the logarithm of the probability of each state; these probabilities add up to 1.
        above: (b, M, N) bool, the classes whose objects exceed the limit in each state; None without a limit.
    """

    states: Tensor
    logs: Tensor
    above: Tensor | None = None

    @property
    def presence(self) -> Tensor:
        """(b, N) the logit of the probability that the object of a class is present.

        Example:
            >>> states = torch.tensor([[[False, False], [True, False], [True, True]]])
            >>> Counts(states, torch.tensor([[0.2, 0.5, 0.3]]).log()).presence.sigmoid()
            tensor([[0.8000, 0.3000]])
        """
        present = self.logs.unsqueeze(2).masked_fill(~self.states, -torch.inf).logsumexp(1)
        absent = self.logs.unsqueeze(2).masked_fill(self.states, -torch.inf).logsumexp(1)
        limits = torch.finfo(self.logs.dtype)
        return (present.clamp_min(limits.min / 4) - absent.clamp_min(limits.min / 4)).clamp(-88, 88)

    @property
    def decided(self) -> Tensor:
        """(b, N) bool, the most probable set of classes that are present."""
        return _most_probable(self.states, self.logs)

    @property
    def decided_above(self) -> Tensor | None:
        """(b, N) bool, the most probable set of classes whose objects exceed the limit; None without one.

        Example:
            >>> levels = joint_states([True, True], [[0, 1]], divided=True).unsqueeze(0)
            >>> logs = torch.tensor([[0.05, 0.1, 0.25, 0.1, 0.3, 0.2]]).log()
            >>> counts = Counts(levels > 0, logs, levels > 1)
            >>> counts.decided.tolist(), counts.decided_above.tolist()
            ([[True, True]], [[True, False]])
        """
        return None if self.above is None else _most_probable(self.above, self.logs)


def _most_probable(sets: Tensor, logs: Tensor) -> Tensor:
    """Return the most probable (b, N) of the sets (b, M, N) of states, whose probabilities add up where equal."""
    same = (sets.unsqueeze(1) == sets.unsqueeze(2)).all(3)
    best = logs.unsqueeze(1).masked_fill(~same, -torch.inf).logsumexp(2).argmax(1)
    return sets[torch.arange(len(best), device=best.device), best]


def joint_states(present: Sequence[bool], ordered: Sequence[Sequence[int]], divided: bool = False) -> Tensor:
    """Return the possible states (M, N) int64: 0 for an absent object, 1 for one that is present.

    Args:
        present: for each of the N classes, whether its object can be present.
        ordered: groups of indices of classes that are filled in order.
        divided: whether an object that exceeds a limit is another case, 2; in a group these come first.

    Raises:
        ConfigError: there are too many.

    Example:
        >>> joint_states([False, True, True, True], [[1, 2]]).tolist()
        [[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0], [0, 1, 0, 1], [0, 1, 1, 0], [0, 1, 1, 1]]
        >>> joint_states([True, True], [[0, 1]], divided=True).tolist()
        [[0, 0], [1, 0], [2, 0], [1, 1], [2, 1], [2, 2]]
    """
    groups = chains(present, ordered)
    cases = [
        [(count, above) for count in range(len(group) + 1) for above in range(count + 1 if divided else 1)]
        for group in groups
    ]
    number = prod(map(len, cases))
    if number > MOST_STATES:
        raise ConfigError(
            f"objects.counting: the objects can be present in {number:,} ways, more than {MOST_STATES:,}: set it "
            "to independent, or name classes that are filled in order in Quantities.ordered"
        )
    states = torch.zeros(number, len(present), dtype=torch.int64)
    for state, chosen in zip(states, product(*cases), strict=True):
        for group, (count, above) in zip(groups, chosen, strict=True):
            state[group[:count]] = 1
            state[group[:above]] = 2
    return states


def chains(present: Sequence[bool], ordered: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the groups of classes that are filled in order; a class of no group is one of its own.

    Example:
        >>> chains([False, True, True, True], [[1, 2]])
        [[1, 2], [3]]
    """
    leaders = {member: group[0] for group in ordered for member in group}
    groups = [list(group) for group in ordered]
    groups += [[label] for label, possible in enumerate(present) if possible and label not in leaders]
    return sorted(groups)


def state_of(there: Tensor, states: Tensor) -> Tensor:
    """Return the index (b,) of the state that is `there` (b, N).

    Args:
        there: (b, N) int64 or bool, as the states.
        states: (M, N), from `joint_states`.

    Raises:
        DataError: there is no such state.
    """
    same = (there.unsqueeze(1) == states).all(2)
    if not same.any(1).all():
        wrong = there[~same.any(1)][0].nonzero()[:, 0].tolist()
        raise DataError(
            f"objects.counting: in a sample the classes {wrong} (from 0) have objects, without those before them "
            "in their group of Quantities.ordered, or not by decreasing first quantity"
        )
    return same.int().argmax(1)
