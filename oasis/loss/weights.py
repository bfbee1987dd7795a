"""Weights of the 2^N regions from a few numbers: by name, by size, as a product, balanced, or learned.

A rule turns class names, and for `balanced` the pixels of each region, into a table of weights by region code.
`balanced` and `learned` are not from the paper.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import torch
from pydantic import BeforeValidator, Field, model_serializer
from torch import Tensor

from oasis.errors import ConfigError, nearest
from oasis.loss.symmetry import pixels_by_code
from oasis.options import Options
from oasis.regions import check_classes, check_weight, per_class, region_name, weight_table


class _Rule(Options):
    @property
    def balanced(self) -> "BalancedWeights | None":
        """The rule that needs the pixels of each region, if there is one."""
        return None


class NamedWeights(_Rule):
    """Weights by region name; regions that are not named weigh 1. Stored as the plain mapping.

    Example:
        >>> NamedWeights(weights={"ER": 3, "ER&NR": 6}).table(("ER", "NR"))
        tensor([1., 3., 1., 6.])
    """

    rule: Literal["name"] = "name"
    weights: dict[str, float] = {}

    @model_serializer
    def _plain(self) -> dict[str, float]:
        return self.weights

    def table(self, classes: Sequence[str], counts: Mapping[int, float] | None = None) -> Tensor:
        """Return the weight of every region (2^N,)."""
        return weight_table(classes, self.weights)


class SizeWeights(_Rule):
    """Weights by the number of classes present (0 is the background); unnamed sizes weigh 1.

    Example:
        >>> SizeWeights(rule="size", weights={2: 6, 3: 8}).table(("a", "b", "c"))
        tensor([1., 1., 1., 6., 1., 6., 6., 8.])
    """

    rule: Literal["size"]
    weights: dict[int, float] = {}

    def table(self, classes: Sequence[str], counts: Mapping[int, float] | None = None) -> Tensor:
        """Return the weight of every region (2^N,).

        Raises:
            ConfigError: no region has such a size, or a weight is negative or not finite.
        """
        largest = len(check_classes(classes))
        by_size = torch.ones(largest + 1)
        for size, weight in self.weights.items():
            where = f"region_weights.weights.{size}"
            if not 0 <= size <= largest:
                raise ConfigError(f"{where}: a region of {list(classes)} has 0 to {largest} classes")
            by_size[size] = check_weight(weight, where)
        return by_size[_sizes(largest)]


class ProductWeights(_Rule):
    r"""The product of the factors of the classes present; unnamed classes have the factor 1.

    .. math:: W_R = \prod_{i \in R} f_i

    Example:
        >>> ProductWeights(rule="product", weights={"ER": 3, "NR": 2}).table(("ER", "NR"))
        tensor([1., 3., 2., 6.])
    """

    rule: Literal["product"]
    weights: dict[str, float] = {}
    background: float = 1

    def table(self, classes: Sequence[str], counts: Mapping[int, float] | None = None) -> Tensor:
        """Return the weight of every region (2^N,).

        Raises:
            ConfigError: a class is unknown, a factor negative or not finite, or a product too large.
        """
        table = torch.ones(1)
        for factor in per_class(check_classes(classes), self.weights, 1.0, "region_weights.weights"):
            table = torch.cat([table, table * factor])
        table[0] = check_weight(self.background, "region_weights.background")
        if not table.isfinite().all():
            raise ConfigError(f"region_weights.weights: the product of {self.weights} is too large for float32")
        return table


class BalancedWeights(_Rule):
    r"""Weights that are larger the rarer a region is.

    .. math:: W_R = \frac{r_R \sum_Q n_Q}{\sum_Q n_Q r_Q},
              \qquad r_R = \min\left( (n_\mathrm{max} / n_R)^\mathrm{power}, \mathrm{limit} \right)

    `n_R` are numbers of pixels. The weights are first clipped, so that none exceeds `limit` times that of the
    most frequent region, and then scaled, so that their mean over pixels is 1. Regions that never occur have the
    largest weight.

    Attributes:
        power: exponent of the rarity.
        limit: the largest ratio of two weights.
        samples: number of samples in which a training run counts pixels.

    Example:
        >>> BalancedWeights(rule="balanced").table(("ER", "NR"), {0: 900, 1: 100})
        tensor([0.8333, 2.5000, 2.5000, 2.5000])
    """

    rule: Literal["balanced"]
    power: float = Field(0.5, ge=0)
    limit: float = Field(100.0, ge=1)
    samples: int = Field(1000, ge=1)

    @property
    def balanced(self) -> "BalancedWeights":
        """The rule itself."""
        return self

    def table(self, classes: Sequence[str], counts: Mapping[int, float] | None = None) -> Tensor:
        """Return the weight of every region (2^N,).

        Args:
            classes: the N class names.
            counts: pixels by region code, from `oasis.data.statistics.region_statistics`.

        Raises:
            ConfigError: there are no counts, or they are of other classes.
        """
        pixels = pixels_by_code(counts or {}, classes)
        seen = pixels > 0
        if not seen.any():
            raise ConfigError(
                "region_weights: rule balanced needs the pixels of each region: "
                "give the counts of region_statistics(dataset, classes)"
            )
        rarity = (self.power * (pixels.max() / pixels).log()).clamp(max=math.log(self.limit)).exp()
        rarity[~seen] = rarity[seen].max()
        return (rarity * pixels.sum() / (pixels @ rarity)).float()


FixedRule = NamedWeights | SizeWeights | ProductWeights | BalancedWeights


class LearnedWeights(_Rule):
    """Weights that grow during training where errors are large; see `LearnedTable`.

    Attributes:
        rate: growth of the logarithm of a weight in a step in which the region's mean error is twice that of an
            average region.
        limit: a weight stays within its initial value divided and multiplied by this factor.
        start: the rule for the initial weights.

    Example:
        >>> parse_rule({"rule": "learned", "start": {"ER": 3}}).table(("ER", "NR"))
        tensor([1., 3., 1., 1.])
    """

    rule: Literal["learned"]
    rate: float = Field(0.01, gt=0, le=1)
    limit: float = Field(10.0, ge=1, le=1000)
    start: Annotated[FixedRule, BeforeValidator(lambda values: _parse_start(values))] = NamedWeights()

    @property
    def balanced(self) -> BalancedWeights | None:
        """The rule for the initial weights, if it is balanced."""
        return self.start.balanced

    def table(self, classes: Sequence[str], counts: Mapping[int, float] | None = None) -> Tensor:
        """Return the initial weight of every region (2^N,)."""
        try:
            return self.start.table(classes, counts)
        except ConfigError as error:
            raise ConfigError(str(error).replace("region_weights", "region_weights.start", 1)) from None


Rule = FixedRule | LearnedWeights
RULES: dict[str, type[Rule]] = {
    "name": NamedWeights,
    "size": SizeWeights,
    "product": ProductWeights,
    "balanced": BalancedWeights,
    "learned": LearnedWeights,
}


def parse_rule(values: Mapping[str, Any] | Rule | None, where: str = "region_weights") -> Rule:
    """Return the rule described by plain values; a mapping without the key `rule` contains weights by region name.

    Raises:
        ConfigError: an unknown rule or an invalid setting.

    Example:
        >>> parse_rule({"rule": "size", "weights": {2: 6}})
        SizeWeights(rule='size', weights={2: 6.0})
        >>> parse_rule({"ER": 3})
        NamedWeights(rule='name', weights={'ER': 3.0})
    """
    if isinstance(values, Rule):
        return values
    if values is not None and not isinstance(values, Mapping):
        raise ConfigError(f"{where}: expected weights by region name, or a rule, found {values!r}")
    values = values or {}
    rule = values.get("rule")
    if not isinstance(rule, str):  # a class may be called "rule"
        weights = {str(name): check_weight(weight, f"{where}.{name}") for name, weight in values.items()}
        return NamedWeights(weights=weights)
    if rule not in RULES:
        raise ConfigError(f"{where}.rule: unknown {rule!r}; {nearest(rule, RULES)}")
    return RULES[rule].parse(values, where)


def _parse_start(values: Any) -> FixedRule:
    rule = parse_rule(values, "region_weights.start")
    if isinstance(rule, LearnedWeights):
        raise ConfigError("region_weights.start: the initial weights cannot be learned themselves")
    return rule


class RegionWeight(NamedTuple):
    """A region, the number of its classes and its weight."""

    region: str
    classes: int
    weight: float


def region_table(classes: Sequence[str], table: Tensor) -> list[RegionWeight]:
    """Return the weights (2^N,) with the regions' names, ordered by the number of classes.

    Example:
        >>> region_table(("ER", "NR"), torch.tensor([1.0, 3.0, 1.0, 6.0]))[-1]
        RegionWeight(region='ER&NR', classes=2, weight=6.0)
    """
    sizes = _sizes(len(classes))
    order = sizes.argsort(stable=True).tolist()
    weights = table.tolist()
    return [RegionWeight(region_name(code, classes), int(sizes[code]), weights[code]) for code in order]


def _sizes(classes: int) -> Tensor:
    """Return the number of classes of every region (2^N,)."""
    sizes = torch.zeros(1, dtype=torch.int64)
    for _ in range(classes):
        sizes = torch.cat([sizes, sizes + 1])
    return sizes
