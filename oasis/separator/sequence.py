r"""A decoder that predicts the objects of an image one after the other, until it predicts to stop.

Objects follow one another by decreasing first quantity, such as the energy. Every step gives the kind of the
next object (one of the groups of classes that are filled in order) or the end, and its quantities; an object is
the next class of its kind that is free. What is predicted depends on the steps before it:

.. math:: p(k_1, \ldots, k_n) = \Big(\prod_{t=1}^{n} p(k_t \mid k_{<t}, x_{<t})\Big)\,
          p(\mathrm{end} \mid k_{\le n}, x_{\le n})

with kinds k and quantities x. Kinds without a free class have probability 0, so that the classes limit the number.
In training the kinds before a step are the true ones, their quantities those that the decoder itself predicts, as
in use: from true energies it would learn how much light is left for further objects, which nobody tells it in use.

Source: Alonso-Monsalve et al., arXiv 2310.19695, whose decoder stops at the true number in evaluation; here it
does not know it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from oasis.separator.counting import Counts


class Context(NamedTuple):
    """What a decoder attends to.

    Attributes:
        memory: (b, T, width).
        ignored: (b, T) bool, True for tokens to which none attends.
    """

    memory: Tensor
    ignored: Tensor


class Ordered(NamedTuple):
    """Objects in the order in which they follow one another.

    Attributes:
        slots: (b, L) the class of each object, int64; first those that are present.
        number: (b,) of objects that are present.
    """

    slots: Tensor
    number: Tensor


class Decoded(NamedTuple):
    """The prediction for a batch.

    Attributes:
        of_object: (b, N, Q) standardised quantities by class, 0 for classes without.
        of_image: (b, E) standardised quantities of the image.
        counts: the probability of each number of objects, in the order of the most probable kinds.
    """

    of_object: Tensor
    of_image: Tensor
    counts: Counts


class SequenceDecoder(nn.Module):
    """A causal decoder of objects.

    Args:
        groups: for each of the K kinds, the indices of its classes, which are filled in order.
        classes: number N of classes.
        of_object: number Q of quantities of an object.
        of_image: number E of quantities of the image.
        attention: a decoder of tokens (b, L, width) that attends to a memory.
        width: channels of a token.

    Example:
        >>> attention = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 1)
        >>> decoder = SequenceDecoder([[1, 2], [3]], 4, 3, 1, attention, 8).eval()
        >>> found = decoder.decode(Context(torch.zeros(2, 5, 8), torch.zeros(2, 5, dtype=torch.bool)))
        >>> found.counts.states.shape, float(found.counts.logs[0].exp().sum().detach().round(decimals=4))
        (torch.Size([2, 4, 4]), 1.0)
    """

    slots: Tensor
    capacity: Tensor
    kind_of: Tensor

    def __init__(
        self,
        groups: Sequence[Sequence[int]],
        classes: int,
        of_object: int,
        of_image: int,
        attention: nn.TransformerDecoder,
        width: int,
    ) -> None:
        super().__init__()
        self.classes, self.length = classes, sum(map(len, groups))
        slots = torch.zeros(len(groups), max(map(len, groups)) + 1, dtype=torch.int64)
        kind_of = torch.zeros(classes, dtype=torch.int64)
        for kind, group in enumerate(groups):
            slots[kind, : len(group)] = torch.tensor(group)
            kind_of[list(group)] = kind
        self.register_buffer("slots", slots, persistent=False)
        self.register_buffer("kind_of", kind_of, persistent=False)
        self.register_buffer("capacity", torch.tensor([len(group) for group in groups]), persistent=False)
        self.attention = attention
        self.start = nn.Parameter(torch.zeros(1, 1, width))
        self.step = nn.Embedding(self.length, width)
        self.kind = nn.Embedding(len(groups), width)
        self.earlier = nn.Linear(of_object, width)
        self.next = perceptron(width, 1 + len(groups))
        self.of_object = perceptron(width, of_object)
        self.of_image = perceptron(width, of_image) if of_image else None

    def decode(self, context: Context) -> Decoded:
        """Return the most probable objects, up to the number of classes; no truth is needed or known."""
        batch = torch.arange(len(context.memory), device=context.memory.device)
        tokens = self.start.expand(len(batch), -1, -1)
        used = tokens.new_zeros(len(batch), len(self.capacity), dtype=torch.int64)
        of_object = tokens.new_zeros(len(batch), self.classes, self.earlier.in_features)
        states = [tokens.new_zeros(len(batch), self.classes, dtype=torch.bool)]
        logs, going, of_image = [], tokens.new_zeros(len(batch)), tokens.new_zeros(len(batch), 0)
        for step in range(self.length):
            found = self._attend(tokens, context)[:, -1]
            if step == 0 and self.of_image is not None:
                of_image = self.of_image(found)
            choice = self._choices(found, used)
            kind, values = choice[:, 1:].argmax(1), self.of_object(found)
            slot = self.slots[kind, used[batch, kind]]
            of_object[batch, slot] = values
            used[batch, kind] += 1
            state = states[-1].clone()
            state[batch, slot] = True
            states.append(state)
            logs.append(going + choice[:, 0])
            going = going + choice[:, 1:].logsumexp(1)
            tokens = torch.cat([tokens, self._token(kind, values).unsqueeze(1)], dim=1)
        counts = Counts(torch.stack(states, dim=1), torch.stack([*logs, going], dim=1))
        return Decoded(of_object, of_image, counts)

    def follow(self, context: Context, truth: Ordered) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is predicted at every step if the kinds of the earlier objects are the true ones.

        Returns:
            (b,) the negative logarithm of the probability of the true kinds and their number; (b, N, Q)
            standardised quantities by class, 0 for absent objects; (b, E) those of the image.
        """
        kinds = self.kind_of[truth.slots]
        found = self._attend(self._tokens(kinds, context), context)
        one_hot = nn.functional.one_hot(kinds, len(self.capacity))
        choices = self._choices(found, one_hot.cumsum(1) - one_hot)
        steps = torch.arange(self.length, device=kinds.device)
        going = steps < truth.number.unsqueeze(1)
        wanted = torch.where(going, kinds + 1, 0).unsqueeze(2)
        logs = choices.gather(2, wanted).squeeze(2).masked_fill(steps > truth.number.unsqueeze(1), 0)
        values = self.of_object(found).masked_fill(~going.unsqueeze(2), 0)
        of_object = values.new_zeros(len(kinds), self.classes, values.shape[2])
        of_object = of_object.scatter(1, truth.slots.unsqueeze(2).expand_as(values), values)
        of_image = values.new_zeros(len(kinds), 0) if self.of_image is None else self.of_image(found[:, 0])
        return -logs.sum(1), of_object, of_image

    def sorted(self, of_object: Tensor, there: Tensor) -> Ordered:
        """Return true objects in the order in which they follow one another.

        Args:
            of_object: (b, N, Q) standardised quantities; NaN where absent.
            there: (b, N) bool, which are present.
        """
        key = of_object[..., 0].masked_fill(~there, -torch.inf)
        for kind, size in enumerate(self.capacity.tolist()):
            group = self.slots[kind, :size]
            key[:, group] = key[:, group].cummin(1).values  # the classes of a kind are filled in order
        members = torch.cat([self.slots[kind, :size] for kind, size in enumerate(self.capacity.tolist())])
        slots = members[torch.argsort(key[:, members], dim=1, descending=True, stable=True)]
        return Ordered(slots, there.sum(1))

    def _tokens(self, kinds: Tensor, context: Context) -> Tensor:
        """Return the start and the objects of these kinds (b, L) but the last, with predicted quantities."""
        start = self.start.expand(len(kinds), -1, -1)
        if self.length == 1:
            return start
        values: list[Tensor] = []
        with torch.no_grad():
            tokens = start
            for step in range(self.length - 1):
                values.append(self.of_object(self._attend(tokens, context)[:, -1]))
                tokens = torch.cat([tokens, self._token(kinds[:, step], values[-1]).unsqueeze(1)], dim=1)
        return torch.cat([start, self._token(kinds[:, :-1], torch.stack(values, dim=1))], dim=1)

    def _attend(self, tokens: Tensor, context: Context) -> Tensor:
        length = tokens.shape[1]
        steps = torch.arange(length, device=tokens.device)
        later = steps > steps.unsqueeze(1)
        found: Tensor = self.attention(
            tokens + self.step(steps),
            context.memory,
            tgt_mask=later,
            tgt_is_causal=True,
            memory_key_padding_mask=context.ignored,
        )
        return found

    def _choices(self, found: Tensor, used: Tensor) -> Tensor:
        """Return the logarithms of the probabilities of the end and of every kind (..., 1 + K)."""
        full = nn.functional.pad(used >= self.capacity, (1, 0), value=False)
        choices: Tensor = self.next(found).masked_fill(full, -torch.inf)
        return choices.log_softmax(-1)

    def _token(self, kinds: Tensor, quantities: Tensor) -> Tensor:
        return self.kind(kinds) + self.earlier(quantities)  # type: ignore[no-any-return]


def perceptron(width: int, outputs: int, inputs: int | None = None) -> nn.Module:
    """Return a perceptron with one hidden layer of a width; it has as many inputs unless told otherwise."""
    return nn.Sequential(nn.Linear(inputs or width, width), nn.GELU(), nn.Linear(width, outputs))
