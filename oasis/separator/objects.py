r"""The object head: quantities of each object, such as its energy, and of the image, such as a vertex.

A small set-prediction head attends to the features of the backbone with one query per class, which includes
the moments of the map predicted for that class, and one query for the image. A map and the quantities of its class
thus belong to the same object, also if classes are interchangeable. A decoder of sequences attends to the same
queries.

Source of queries that attend to an encoder: Carion et al. 2020, arXiv 2005.12872.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from oasis.data.quantities import Quantities, Quantity
from oasis.errors import ConfigError, DataError, nearest
from oasis.loss.ratio import Ratio
from oasis.models.tokens import FREQUENCIES, Tokens, grid_tokens, waves
from oasis.options import Options
from oasis.scaling import FittedScale
from oasis.separator.counting import Counts, chains, joint_states, state_of
from oasis.separator.moments import moments
from oasis.separator.prediction import Objects
from oasis.separator.sequence import Context, SequenceDecoder, perceptron

PRESENCE = "presence"  # column of the probability that an object is present
EXISTS = "exists"  # column of the decision whether it is
ABOVE = "above"  # column of the decision whether it exceeds a limit
PREDICTED = "_predicted"  # suffix of columns of predicted quantities
TINY = 1e-6  # minimum length of a vector with a direction


class ObjectOptions(Options):
    """The options of the head that predicts quantities of objects.

    Attributes:
        channels: number of channels of its features.
        layers: number of attention layers.
        heads: number of attention heads, which divide the channels.
        weight: the weight of its loss relative to that of the maps.
        features: what it attends to: the deepest features of the `encoder`, features at full resolution of all
            `cells` above 0, which are further outputs of the backbone, or `both`.
        counting: presence of every object by itself (`independent`), or the number of objects as one decision
            (`categorical`).
        count_above: with `categorical`, also decide how many objects have a first quantity above this value, in
            its physical unit: those that can be seen well. None for no such decision.
        decoder: one query per class (`queries`), or objects one after the other until it stops (`sequence`), which
            is one decision too.
        expansion: factor by which its perceptrons are wider than its features.
        dropout: fraction of values that are dropped in training.
    """

    channels: int = Field(64, ge=1)
    layers: int = Field(2, ge=1)
    heads: int = Field(4, ge=1)
    weight: float = Field(1.0, gt=0)
    features: Literal["encoder", "cells", "both"] = "encoder"
    counting: Literal["independent", "categorical"] = "independent"
    count_above: float | None = Field(None, allow_inf_nan=False)
    decoder: Literal["queries", "sequence"] = "queries"
    expansion: int = Field(2, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)

    @property
    def needs_encoder(self) -> bool:
        """Whether the head needs the features of an encoder."""
        return self.features != "cells"

    @property
    def cell_channels(self) -> int:
        """Number of further channels that the head needs from the backbone."""
        return 0 if self.features == "encoder" else self.channels


class ObjectHead(nn.Module):
    """A head that predicts presence and quantities of the object of every class, and quantities of the image.

    Args:
        classes: the N class names.
        features: F, channels of the encoder's features.
        bands: number B of bands of the maps.
        spatial_dims: 1, 2 or 3.
        quantities: what to predict.
        options: the size of the head and the weight of its loss.
        interchangeable: groups of interchangeable classes, which share their query.

    Raises:
        ConfigError: `heads` does not divide `channels`, or there is nothing to predict.

    Example:
        >>> from oasis.scaling import LogScale
        >>> quantities = Quantities(of_object=(Quantity(name="energy", centre=10, width=5),))
        >>> head = ObjectHead(("a", "b"), 8, 1, 2, quantities, ObjectOptions(channels=16))
        >>> image = torch.ones(3, 1, 6, 6)
        >>> objects = head(image.unsqueeze(1).expand(3, 2, 1, 6, 6), image, torch.zeros(3, 8, 2, 2),
        ...                LogScale(scale=1.0).fit(image))
        >>> {name: values.shape for name, values in head.columns(objects).items()}
        {'presence_predicted': torch.Size([3, 2]), 'energy_predicted': torch.Size([3, 2])}
    """

    def __init__(
        self,
        classes: Sequence[str],
        features: int,
        bands: int,
        spatial_dims: int,
        quantities: Quantities,
        options: ObjectOptions,
        interchangeable: Sequence[Sequence[str]] = (),
    ) -> None:
        super().__init__()
        width = options.channels
        if width % options.heads:
            raise ConfigError(f"objects.heads: {options.heads} do not divide {width} channels")
        if not (quantities.of_object or quantities.of_image):
            raise ConfigError("objects: the adapter names no quantities to predict: leave the section out")
        self.classes = tuple(classes)
        self.quantities = quantities
        described = [not quantities.classes or name in quantities.classes for name in classes]
        self.register_buffer("described", torch.tensor(described), persistent=False)
        self.weight = options.weight
        kinds = kinds_of(self.classes, interchangeable)
        self.register_buffer("kinds", torch.tensor([*kinds, len(kinds)]), persistent=False)
        moments = 2 * bands + spatial_dims + spatial_dims * (spatial_dims + 1) // 2
        self.query = nn.Embedding(len(kinds) + 1, width)  # the last one is the image's
        self.moments = nn.Sequential(nn.Linear(moments, width), nn.GELU(), nn.Linear(width, width))
        if options.needs_encoder:
            self.tokens = nn.Linear(features + spatial_dims, width)
        if options.cell_channels:
            self.bands = bands
            of_cell = options.cell_channels + bands * (1 + 2 * FREQUENCIES) + spatial_dims
            self.cells = perceptron(width, width, of_cell)
            self.anywhere = nn.Parameter(torch.zeros(1, 1, width))  # in the place of cells where there are none
        self._build_decoder(options, interchangeable)

    def _build_decoder(self, options: ObjectOptions, interchangeable: Sequence[Sequence[str]]) -> None:
        """Add what turns queries and tokens into objects.

        Raises:
            ConfigError: objects are to be counted as one decision, and cannot be.
        """
        width, own, image = options.channels, len(self.quantities.of_object), len(self.quantities.of_image)
        layer = nn.TransformerDecoderLayer(
            width,
            options.heads,
            options.expansion * width,
            dropout=options.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        attention = nn.TransformerDecoder(layer, options.layers, nn.LayerNorm(width))
        one_decision = options.counting == "categorical" or options.decoder == "sequence"
        self.limit: float | None = None
        if options.count_above is not None:
            self.limit = self._limit(options, options.count_above)
        ordered = self._ordered(interchangeable) if one_decision else []
        self.sequence: SequenceDecoder | None = None
        self.joint: nn.Module | None = None
        if options.decoder == "sequence":
            groups = chains(self.described.tolist(), ordered)
            self.sequence = SequenceDecoder(groups, len(self.classes), own, image, attention, width)
            return
        self.attention = attention
        self.of_object = perceptron(width, 1 + own)
        self.of_image = perceptron(width, image) if image else None
        if one_decision:
            states = joint_states(self.described.tolist(), ordered, self.limit is not None)
            self.register_buffer("states", states, persistent=False)
            self.joint = perceptron(width, len(states))

    def _limit(self, options: ObjectOptions, value: float) -> float:
        """Return a limit of the first quantity in units of its width.

        Raises:
            ConfigError: the number of objects is not a decision over states, or they have no quantity.
        """
        if options.counting != "categorical" or options.decoder != "queries":
            raise ConfigError("objects.count_above: needs counting categorical and decoder queries")
        if not self.quantities.of_object:
            raise ConfigError("objects.count_above: the adapter has no quantities of objects")
        first = self.quantities.of_object[0]
        return (value - first.centre) / first.width

    def _ordered(self, interchangeable: Sequence[Sequence[str]]) -> list[list[int]]:
        """Return the groups of classes that are filled in order, by index.

        Raises:
            ConfigError: there is no object to count, or interchangeable ones, which have no order.
        """
        if not self.quantities.of_object:
            raise ConfigError("objects: the adapter has no quantities of objects, so that none can be counted")
        free = {name for group in interchangeable for name in group}
        for name, described in zip(self.classes, self.described.tolist(), strict=True):
            if described and name in free:
                raise ConfigError(
                    f"objects: {name} is interchangeable, and objects that are counted as one decision are "
                    "filled in order: give them an order (data.order: energy), or set counting to independent "
                    "and decoder to queries"
                )
        return [[self.classes.index(name) for name in group] for group in self.quantities.ordered]

    kinds: Tensor
    described: Tensor
    states: Tensor

    def forward(
        self,
        maps: Tensor,
        image: Tensor,
        encoded: Tensor | None,
        scale: FittedScale,
        cells: Tokens | None = None,
    ) -> Objects:
        """Return the quantities of every object; a sequence in training only gives what `ratios` needs.

        Args:
            maps: (b, N, B, *S) predicted maps in physical units; they receive no gradient.
            image: (b, B, *S) the mixture in physical units.
            encoded: (b, F, *s) the encoder's features, if the head attends to them.
            scale: the scaling fitted to `image`.
            cells: the features of cells above 0, if the head attends to them.
        """
        with torch.autocast(maps.device.type, enabled=False):
            shapes = torch.cat([maps, image.unsqueeze(1)], dim=1).detach().float()
            queries = self.query(self.kinds) + self.moments(moments(shapes, scale))
            context = self._context(encoded, cells)
            if self.sequence is not None:
                return self._in_sequence(self.sequence, queries, context)
            found = self.attention(queries, context.memory, memory_key_padding_mask=context.ignored)
            numbers = self.of_object(found[:, :-1])
            of_image = found.new_zeros(found.shape[0], 0) if self.of_image is None else self.of_image(found[:, -1])
            objects = Objects(numbers[..., 0], numbers[..., 1:], of_image)
            if self.joint is None:
                return objects
            states = self.states > 0
            logits = objects.presence @ states.T.to(found.dtype) + self.joint(found[:, -1])
            above = None if self.limit is None else (self.states > 1).expand(len(found), -1, -1)
            counts = Counts(states.expand(len(found), -1, -1), logits.log_softmax(1), above)
            return objects._replace(presence=counts.presence, counts=counts)

    def _context(self, encoded: Tensor | None, cells: Tokens | None) -> Context:
        """Return the tokens to which queries attend."""
        memory, ignored = [], []
        if encoded is not None and hasattr(self, "tokens"):
            grid = grid_tokens(encoded.float())
            memory.append(self.tokens(torch.cat([grid.features, grid.places], dim=2)))
            ignored.append(~grid.mask)
        if cells is not None:
            features = cells.features.float()
            known = torch.cat([features, waves(features[..., -self.bands :]), cells.places], dim=2)
            found = self.cells(known)
            memory += [self.anywhere.expand(len(found), -1, -1), found]
            ignored.append(F.pad(~cells.mask, (1, 0), value=False))
        return Context(torch.cat(memory, dim=1), torch.cat(ignored, dim=1))

    def _in_sequence(self, sequence: SequenceDecoder, queries: Tensor, context: Context) -> Objects:
        """Return the objects that a sequence gives, without gradients, and what it attends to."""
        memory = torch.cat([queries, context.memory], dim=1)
        context = Context(memory, F.pad(context.ignored, (queries.shape[1], 0), value=False))
        if self.training:
            unknown = queries.new_full((len(queries), len(self.classes)), torch.nan)
            of_object = unknown.unsqueeze(2).expand(-1, -1, len(self.quantities.of_object))
            of_image = unknown[:, :1].expand(-1, len(self.quantities.of_image))
            return Objects(unknown, of_object, of_image, context=context)
        with torch.no_grad():
            found = sequence.decode(context)
        return Objects(found.counts.presence, found.of_object, found.of_image, found.counts, context)

    def columns(self, objects: Objects) -> dict[str, Tensor]:
        """Return the quantities in physical units as columns of an event table, (b, N) each.

        A quantity of the image is repeated for all classes; a class without quantities has NaN. Directions are
        normalised to unit vectors. Where objects are counted as one decision, `exists_predicted` is 1 for those
        that are most probably present, else 0, and with `count_above` `above_predicted` for those above the limit.
        """
        values = {PRESENCE: objects.presence.sigmoid()} if self.quantities.of_object else {}
        if objects.counts is not None:
            values[EXISTS] = objects.counts.decided.to(objects.presence.dtype)
            if (above := objects.counts.decided_above) is not None:
                values[ABOVE] = above.to(objects.presence.dtype)
        values |= _physical(self.quantities.of_object, objects.of_object)
        for names in self.quantities.directions:
            length = torch.stack([values[name] for name in names]).norm(dim=0).clamp_min(TINY)
            values |= {name: values[name] / length for name in names}
        values = {name: value.masked_fill(~self.described, torch.nan) for name, value in values.items()}
        of_image = _physical(self.quantities.of_image, objects.of_image)
        values |= {name: value.unsqueeze(1).expand_as(objects.presence) for name, value in of_image.items()}
        return {name + PREDICTED: value for name, value in values.items()}

    def ratios(self, objects: Objects, meta: Sequence[Mapping[str, Any]]) -> dict[str, Ratio]:
        r"""Return the terms of the loss, as ratios that can be summed over processes.

        `presence` is the binary cross entropy of every object, `quantities` the Huber loss of the quantities of
        present objects and of the image, in units of their widths.

        .. math:: \frac{1}{N} \sum_n \mathrm{BCE}(\hat e_n, e_n), \qquad
                  \frac{1}{M} \sum_m h\left(\frac{\hat x_m - x_m}{w_m}\right), \quad
                  h(u) = \begin{cases} u^2 / 2 & |u| < 1 \\ |u| - 1/2 & \text{else} \end{cases}

        Where objects are counted as one decision, `count` takes the place of `presence`: the negative logarithm of
        the probability of the true state, :math:`-\ln p(s)`, or of the true sequence.

        Args:
            objects: predictions in the order of the true maps.
            meta: metadata of every sample, with the truth.

        Raises:
            DataError: the metadata lack a quantity, contain only some quantities of an object, or an object
                without one before it.
        """
        with torch.autocast(objects.presence.device.type, enabled=False):
            of_object, of_image = self.truth(meta, objects.presence.device)
            there = of_object.isfinite().all(2) & self.described
            of_object = of_object.masked_fill(~there.unsqueeze(2), torch.nan)
            if self.sequence is not None and objects.context is not None:
                truth = self.sequence.sorted(of_object, there)
                surprise, found, found_image = self.sequence.follow(objects.context, truth)
                counting = {"count": Ratio(surprise, torch.ones_like(surprise))}
                objects = objects._replace(of_object=found, of_image=found_image)
            else:
                counting = self._counting(objects, of_object, there) if self.quantities.of_object else {}
            return {"quantities": _distance(objects, of_object, of_image), **counting}

    def _counting(self, objects: Objects, of_object: Tensor, there: Tensor) -> dict[str, Ratio]:
        if objects.counts is not None:
            true = there.long() if self.limit is None else there.long() + (of_object[..., 0] > self.limit)
            state = state_of(true, self.states).unsqueeze(1)
            surprise = -objects.counts.logs.gather(1, state).squeeze(1)
            return {"count": Ratio(surprise, torch.ones_like(surprise))}
        entropy = F.binary_cross_entropy_with_logits(objects.presence, there.float(), reduction="none")
        entropy = entropy * self.described
        return {"presence": Ratio(entropy.sum(1), self.described.sum().expand(len(entropy)).to(entropy.dtype))}

    def truth(
        self, meta: Sequence[Mapping[str, Any]], device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """Return the standardised true quantities (b, N, Q) and (b, E), NaN for absent objects.

        Raises:
            DataError: the metadata lack one of them.
        """
        own, image = self.quantities.of_object, self.quantities.of_image
        pairs = zip(self.classes, self.described.tolist(), strict=True)
        rows = [[f"{name}_{one.name}" if described else "" for one in own] for name, described in pairs]
        try:
            of_object = [[[one[name] if name else math.nan for name in row] for row in rows] for one in meta]
            of_image = [[one[quantity.name] for quantity in image] for one in meta]
        except KeyError as error:
            name = error.args[0]
            raise DataError(
                f"objects: the metadata of the samples have no {name!r}; {nearest(name, map(str, meta[0]))}"
            ) from None
        return (
            _standard(torch.tensor(of_object, dtype=torch.float32), own).to(device),
            _standard(torch.tensor(of_image, dtype=torch.float32), image).to(device),
        )


def kinds_of(classes: Sequence[str], interchangeable: Sequence[Sequence[str]]) -> list[int]:
    """Return for every class the index of the first class that it is interchangeable with, or its own.

    Example:
        >>> kinds_of(("a", "b", "c"), [("b", "c")])
        [0, 1, 1]
    """
    leaders = {name: group[0] for group in interchangeable for name in group}
    return [list(classes).index(leaders.get(name, name)) for name in classes]


def _distance(objects: Objects, of_object: Tensor, of_image: Tensor) -> Ratio:
    """Return Huber's loss of predicted quantities where the true ones (b, N, Q) and (b, E) are known."""
    known = torch.cat([of_object.isfinite().flatten(1), of_image.isfinite()], dim=1)
    found = torch.cat([objects.of_object.flatten(1), objects.of_image], dim=1)
    true = torch.cat([of_object.flatten(1), of_image], dim=1)
    distance = F.smooth_l1_loss(torch.where(known, found, 0), torch.where(known, true, 0), reduction="none")
    return Ratio(distance.sum(1), known.sum(1).to(distance.dtype))


def _physical(quantities: Sequence[Quantity], values: Tensor) -> dict[str, Tensor]:
    """Return standardised quantities (..., Q) in physical units, by name."""
    return {one.name: one.centre + one.width * values[..., place] for place, one in enumerate(quantities)}


def _standard(values: Tensor, quantities: Sequence[Quantity]) -> Tensor:
    centre = values.new_tensor([one.centre for one in quantities])
    return (values - centre) / values.new_tensor([one.width for one in quantities])
