"""Job: what is done to every image of a prediction."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from oasis.adapters.base import Adapter
from oasis.inference.choice import Choice
from oasis.inference.options import WindowOptions
from oasis.instances.grouping import Grouping
from oasis.separator.separator import Separator


class Job(NamedTuple):
    """What is done to every image.

    Attributes:
        separator: to be applied.
        adapter: reads the files.
        spread: also measure how far the maps of all symmetries lie apart.
        refine: also give the columns of the adapter's `refine`.
        window: how images are cut.
        choice: decides where `window` does not say.
        grouping: how the maps of whole images are grouped into instances, by class; empty if they are not.
    """

    separator: Separator
    adapter: Adapter[Any]
    spread: bool
    refine: bool
    window: WindowOptions
    choice: Choice
    grouping: Mapping[str, Grouping] = MappingProxyType({})
