"""Interchangeable classes: the regions that differ only by swaps of them, which have to share their weights."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from oasis.errors import ConfigError, nearest
from oasis.regions import check_classes, region_name


def representatives(classes: Sequence[str], groups: Sequence[Sequence[str]]) -> Tensor:
    """Return for each region the one of smallest code that differs only by swaps of interchangeable classes.

    Args:
        classes: the N class names.
        groups: groups of names of interchangeable classes.

    Returns:
        (2^N,) int64 region codes.

    Raises:
        ConfigError: an unknown class, a class in two groups, or a group of fewer than two.

    Example:
        >>> representatives(("star", "galaxy_1", "galaxy_2"), [["galaxy_1", "galaxy_2"]])
        tensor([0, 1, 2, 3, 2, 3, 6, 7])
    """
    codes = torch.arange(2 ** len(check_classes(classes)))
    result = codes.clone()
    named: set[str] = set()
    for group in groups:
        if len(group) < 2:
            raise ConfigError(f"interchangeable: {list(group)} has fewer than two classes")
        for name in group:
            if name not in classes:
                raise ConfigError(f"interchangeable: unknown class {name!r}; {nearest(name, classes)}")
            if name in named:
                raise ConfigError(f"interchangeable: class {name!r} appears in two groups")
            named.add(name)
        bits = sorted(list(classes).index(name) for name in group)
        present = torch.stack([codes >> bit & 1 for bit in bits]).sum(0)
        for rank, bit in enumerate(bits):
            result = result & ~(1 << bit) | (present > rank).long() << bit
    return result


def share_counts(
    counts: Mapping[int, float], classes: Sequence[str], groups: Sequence[Sequence[str]]
) -> dict[int, float]:
    """Return pixels by region code, averaged over regions that differ by swaps of interchangeable classes.

    Raises:
        ConfigError: counts of other classes, or invalid groups; see `representatives`.

    Example:
        >>> share_counts({0: 90, 1: 4, 2: 6}, ("a", "b"), [["a", "b"]])
        {0: 90.0, 1: 5.0, 2: 5.0}
    """
    shared = mean_over_swaps(pixels_by_code(counts, classes), representatives(classes, groups))
    return {code: pixels for code, pixels in enumerate(shared.tolist()) if pixels > 0}


def mean_over_swaps(sums: Tensor, representative: Tensor) -> Tensor:
    """Return the means of sums (2^N,) over the regions with the same representative; see `representatives`."""
    means = torch.zeros_like(sums).scatter_reduce(0, representative, sums, "mean", include_self=False)
    return means[representative]


def check_interchangeable(table: Tensor, classes: Sequence[str], groups: Sequence[Sequence[str]]) -> None:
    """Check that weights (2^N,) do not change when two classes of a group are swapped.

    Raises:
        ConfigError: they change, or the groups are invalid; see `representatives`.

    Example:
        >>> table = torch.tensor([1.0, 3.0, 1.0, 1.0])
        >>> check_interchangeable(table, ("a", "b"), [["a", "b"]])
        Traceback (most recent call last):
            ...
        oasis.errors.ConfigError: region_weights: 'a' weighs 3 but 'b' weighs 1, and they are interchangeable: ...
    """
    representative = representatives(classes, groups)
    table = table.detach().cpu()
    for code in (~torch.isclose(table, table[representative], rtol=1e-5, atol=0)).nonzero()[:1, 0].tolist():
        one, other = int(representative[code]), code
        raise ConfigError(
            f"region_weights: {region_name(one, classes)!r} weighs {table[one]:g} but "
            f"{region_name(other, classes)!r} weighs {table[other]:g}, and they are interchangeable: "
            "give both the same weight, or use rule size"
        )


def pixels_by_code(counts: Mapping[int, float], classes: Sequence[str]) -> Tensor:
    """Return the pixels of every region (2^N,)."""
    pixels = torch.zeros(2 ** len(check_classes(classes)), dtype=torch.float64)
    for code, count in counts.items():
        if not 0 <= code < len(pixels):
            regions = f"{list(classes)} have {len(pixels)} regions"
            raise ConfigError(f"region_weights: a count of region {code}, but {regions}")
        pixels[code] = count
    return pixels
