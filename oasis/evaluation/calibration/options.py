"""The options of a calibration."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from oasis.evaluation.calibration.columns import PREDICTED
from oasis.options import Options


class CalibrationOptions(Options):
    """The options of a calibration of intensities.

    Attributes:
        coverage: the required probability that an interval contains the truth.
        absent: also count events without an object of the class; without them, estimates and intervals are for
            objects that are known to be present.
        correct: correct the bias of the predicted intensity before building the interval: true gives the median
            true intensity of events with the same prediction, which depends on their spectrum; `classical` the
            intensity whose objects have this median prediction, so that the median error is 0 at every intensity.
        width_by: column that scales the interval width: predicted intensity, or another such as
            `intensity_spread`, which is measured over the symmetries of the image if it is requested here; None
            makes all intervals of a stratum equally wide.
        strata: column whose bins each get their own coverage guarantee; None for all events together.
        edges: stratum edges; an edge is the inclusive lower bound of the stratum above it. Or a number of strata
            with about equally many events. Events without a value form a separate stratum.
        quantities: by class, the column of a non-negative physical quantity, such as an energy, to be estimated
            from the intensity of present objects.
        group: column of the object that events share: all events of an object are in the same half.
        seed: the seed of the division into halves.
    """

    taken_whole = frozenset({"quantities"})

    coverage: float = Field(0.9, gt=0, lt=1)
    absent: bool = True
    correct: Literal[True, False, "classical"] = True
    width_by: str | None = PREDICTED
    strata: str | None = "overlap_fraction_predicted"
    edges: int | tuple[float, ...] = 3
    quantities: dict[str, str] = {}
    group: str | None = None
    seed: int = Field(0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _of_earlier_versions(cls, values: Any) -> Any:
        return renamed(values, "spread", "width_by")

    @field_validator("edges")
    @classmethod
    def _increasing(cls, edges: int | tuple[float, ...]) -> int | tuple[float, ...]:
        if isinstance(edges, int) and edges < 1:
            raise ValueError("expected at least 1 stratum")
        if isinstance(edges, tuple) and any(low >= high for low, high in pairwise(edges)):
            raise ValueError("edges must increase")
        return edges

    @property
    def learns(self) -> bool:
        """Whether half of the events is needed to fit a correction, a width or strata."""
        divided = self.strata is not None and isinstance(self.edges, int)
        return bool(self.correct) or self.width_by is not None or divided


def renamed(values: Any, old: str, new: str) -> Any:
    """Return options with one name of an earlier version replaced by today's.

    Raises:
        ValueError: both names are given.
    """
    if not isinstance(values, Mapping) or old not in values:
        return values
    if new in values:
        raise ValueError(f"{old} is an older name of {new}: leave it out")
    return {new if name == old else name: value for name, value in values.items()}
