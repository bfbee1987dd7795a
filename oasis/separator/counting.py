r"""Counting as one decision: which of the objects that an image can have are present.

Classes whose objects are in order, such as protons by decreasing energy, are filled one after the other: the
second is present only if the first one is. The possible states are then the numbers of objects of each such group,
and the decision is a categorical one over the states of all groups together:

.. math:: p(s) = \mathrm{softmax}_s \Big(\sum_{i \in s} a_i + b_s\Big), \qquad
          p(i\ \mathrm{present}) = \sum_{s \ni i} p(s)

with a logit a of every object and one b of every state. Where b is 0 and all subsets are possible, this is the
product of independent probabilities.
"""

from collections.abc import Sequence
from itertools import product
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
    """

    states: Tensor
    logs: Tensor

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
        """(b, N) bool, the classes that are present in the most probable state."""
        best = self.logs.argmax(1)
        return self.states[torch.arange(len(best), device=best.device), best]


def joint_states(present: Sequence[bool], ordered: Sequence[Sequence[int]]) -> Tensor:
    """Return the possible states (M, N) bool.

    Args:
        present: for each of the N classes, whether its object can be present.
        ordered: groups of indices of classes that are filled in order.

    Raises:
        ConfigError: there are too many.

    Example:
        >>> joint_states([False, True, True, True], [[1, 2]]).int().tolist()
        [[0, 0, 0, 0], [0, 0, 0, 1], [0, 1, 0, 0], [0, 1, 0, 1], [0, 1, 1, 0], [0, 1, 1, 1]]
    """
    groups = chains(present, ordered)
    number = 1
    for group in groups:
        number *= len(group) + 1
    if number > MOST_STATES:
        raise ConfigError(
            f"objects.counting: the objects can be present in {number:,} ways, more than {MOST_STATES:,}: set it "
            "to independent, or name classes that are filled in order in Quantities.ordered"
        )
    states = torch.zeros(number, len(present), dtype=torch.bool)
    for state, counts in zip(states, product(*(range(len(group) + 1) for group in groups)), strict=True):
        for group, count in zip(groups, counts, strict=True):
            state[group[:count]] = True
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
    """Return the index (b,) of the state in which exactly the objects `there` (b, N) are present.

    Args:
        there: (b, N) bool.
        states: (M, N) bool.

    Raises:
        DataError: there is no such state.
    """
    same = (there.unsqueeze(1) == states).all(2)
    if not same.any(1).all():
        wrong = there[~same.any(1)][0].nonzero()[:, 0].tolist()
        raise DataError(
            f"objects.counting: in a sample the classes {wrong} (from 0) have objects, without those before them "
            "in their group of Quantities.ordered"
        )
    return same.int().argmax(1)
