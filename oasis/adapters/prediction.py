"""The prediction for one event, as passed to the hooks of an adapter."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from oasis.data.samples import Array

PRESENT_FROM = 0.5  # probability


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


def present_objects(quantities: Mapping[str, Any]) -> Any:
    """Return which objects are predicted to be present, from predicted columns of arrays or tensors.

    Where their number is one decision, that decides, else a probability above 0.5.

    Example:
        >>> import numpy as np
        >>> present_objects({"presence_predicted": np.array([0.9, 0.6])})
        array([ True,  True])
        >>> present_objects({"presence_predicted": np.array([0.9, 0.6]), "exists_predicted": np.array([1.0, 0.0])})
        array([ True, False])
    """
    decided = quantities.get("exists_predicted")
    return (quantities["presence_predicted"] if decided is None else decided) > PRESENT_FROM
