"""The prediction for one event, as passed to the hooks of an adapter."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from oasis.data.samples import Array


@dataclass(frozen=True)
class EventPrediction:
    """The prediction of a separator, or of another method, for one sample.

    Attributes:
        maps: (N, B, *S) in physical units; interchangeable classes in the order that fits the truth best.
        quantities: quantities of the objects by column (N,): `<quantity>_predicted`, `presence_predicted`, and the
            columns of `refine`; empty if none were predicted.
    """

    maps: Array
    quantities: Mapping[str, NDArray[Any]] = field(default_factory=dict)
