"""Prediction of an event: what a separator says of one sample, as the hooks of an adapter see it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from oasis.data.samples import Array


@dataclass(frozen=True)
class EventPrediction:
    """What a separator, or another method, says of one sample.

    Attributes:
        maps: (N, B, *S) in physical units; interchangeable classes in the order that fits the truth best.
        quantities: of the objects, by column (N,): `<quantity>_predicted`, `presence_predicted`, and what `refine`
            gave; empty where none were predicted.
    """

    maps: Array
    quantities: Mapping[str, NDArray[Any]] = field(default_factory=dict)
