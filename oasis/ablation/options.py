"""The options of an ablation, as in its YAML file."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from oasis.options import Options


class Range(Options):
    """The range of a number in a search.

    Attributes:
        low: the smallest value.
        high: the largest value.
        log: sample on a logarithmic scale.
    """

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _increasing(self) -> "Range":
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError("expected low < high, and low > 0 with log")
        return self


class AblationOptions(Options):
    """The options of an ablation. Keys are those of a configuration, such as `training.epochs`.

    Attributes:
        base: the configuration that is varied: its path, relative to this file, or itself.
        run: the folder for all outputs.
        changes: values of keys that all trials share.
        ratios: names for ratios of two weights, as `above.key / below.key`; a missing weight is 1. A value of a
            ratio sets the weight above.
        grid: the values of each key or ratio, which may be whole tables; every combination is a campaign.
        seeds: seeds of the trainings of a campaign, all on the same data; none for the seed of the base.
        split: the split on which the grid is evaluated.
        bin: the bin of the domain's study that tables and figures use; none for the first one.
        search: for each key or ratio the range, or the choices, to search.
        objective: objective to minimise: weights of metrics such as `auc`, `spread_4-5` or `|bias_4-5|`, the
            absolute value.
        trials: number of trials of a search.
    """

    base: str | dict[str, Any]
    run: str
    changes: dict[str, Any] = {}
    ratios: dict[str, str] = {}
    grid: dict[str, list[Any]] = {}
    seeds: tuple[int, ...] = ()
    split: Literal["val", "test"] = "test"
    bin: tuple[float, float] | None = None
    search: dict[str, Range | list[Any]] = {}
    objective: dict[str, float] = {}
    trials: int = Field(30, ge=1)

    @field_validator("ratios")
    @classmethod
    def _two_keys(cls, ratios: dict[str, str]) -> dict[str, str]:
        for ratio in ratios.values():
            if len(ratio.split(" / ")) != 2:
                raise ValueError(f"expected 'above.key / below.key' instead of {ratio!r}")
        return ratios

    @field_validator("grid", "search")
    @classmethod
    def _not_empty(cls, values: dict[str, Any]) -> dict[str, Any]:
        for key, choices in values.items():
            if choices == []:
                raise ValueError(f"expected at least one value of {key}")
        return values
