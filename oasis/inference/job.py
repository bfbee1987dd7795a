"""Job: what is done to every image of a prediction."""

from typing import Any, NamedTuple

from oasis.adapters.base import Adapter
from oasis.inference.choice import Choice
from oasis.inference.options import WindowOptions
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
    """

    separator: Separator
    adapter: Adapter[Any]
    spread: bool
    refine: bool
    window: WindowOptions
    choice: Choice
