"""Job: the processing of every image of a prediction."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from oasis.adapters.base import Adapter
from oasis.inference.choice import Choice
from oasis.inference.options import WindowOptions
from oasis.instances.grouping import Grouping
from oasis.separator.separator import Separator


class Job(NamedTuple):
    """The processing of every image.

    Attributes:
        separator: the separator to apply.
        adapter: the adapter, which reads the files.
        spread: also measure the spread of the maps over all symmetries.
        refine: also add the columns of the adapter's `refine`.
        window: how images are cut.
        choice: decides if `window` does not.
        grouping: how the maps of whole images are grouped into instances, by class; empty for no grouping.
    """

    separator: Separator
    adapter: Adapter[Any]
    spread: bool
    refine: bool
    window: WindowOptions
    choice: Choice
    grouping: Mapping[str, Grouping] = MappingProxyType({})
