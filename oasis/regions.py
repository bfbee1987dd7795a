"""Regions: the 2^N subsets of N classes that can be present in a pixel, their codes, names and weights.

The code of a region has bit i set where class i is present; code 0 is the background. A region is named by its
classes joined with `&`, in any order: `"ER"`, `"ER&NR"`.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from oasis.errors import ConfigError, nearest

BACKGROUND = "background"
MAX_CLASSES = 20


def check_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the class names as a tuple.

    Raises:
        ConfigError: no names, too many, a duplicate name, or a name that could not be in that of a region or in
            a path.
    """
    several = isinstance(classes, Sequence) and not isinstance(classes, str)
    if not several or not 1 <= len(classes) <= MAX_CLASSES:
        raise ConfigError(f"classes: expected 1 to {MAX_CLASSES} names, such as ('ER', 'NR'), found {classes!r}")
    for name in classes:
        if not isinstance(name, str) or name != name.strip() or not name.strip(".") or name == BACKGROUND:
            raise ConfigError(
                f"classes: {name!r} cannot name a class (empty, dots alone, spaces around it, or {BACKGROUND!r})"
            )
        if "&" in name or "/" in name:
            raise ConfigError(f"classes: {name!r} cannot name a class: '&' and '/' separate names")
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if list(classes).count(name) > 1)
        raise ConfigError(f"classes: duplicate name {twice!r} in {list(classes)}")
    return tuple(classes)


def region_code(region: str, classes: Sequence[str]) -> int:
    """Return the code of a region given by name.

    Raises:
        ConfigError: the name contains a class that is not among `classes`, or one twice.

    Example:
        >>> region_code("NR & ER", ("ER", "NR")), region_code("background", ("ER", "NR"))
        (3, 0)
    """
    if region == BACKGROUND:
        return 0
    code = 0
    known = list(classes) if "&" in str(region) else [*classes, BACKGROUND]
    for name in str(region).split("&"):
        if name.strip() not in classes:
            hint = nearest(name.strip(), known)
            raise ConfigError(f"region {region!r}: unknown class {name.strip()!r}; {hint}")
        bit = 1 << list(classes).index(name.strip())
        if code & bit:
            raise ConfigError(f"region {region!r}: class {name.strip()!r} appears twice")
        code |= bit
    return code


def region_name(code: int, classes: Sequence[str]) -> str:
    """Return the name of a region given by code.

    Example:
        >>> region_name(3, ("ER", "NR"))
        'ER&NR'
    """
    return "&".join(name for bit, name in enumerate(classes) if code >> bit & 1) or BACKGROUND


def present(maps: Tensor, thresholds: Tensor) -> Tensor:
    """Return where each class is present: where its map lies above the threshold of the class.

    Args:
        maps: (b, N, *S) or (b, N, B, *S).
        thresholds: (N,), in the units of the maps.

    Returns:
        bool, of the shape of `maps`; NaN is not present.

    Example:
        >>> present(torch.tensor([[[0.0, 2.0], [1.0, 1.5]]]), torch.tensor([0.0, 1.0]))
        tensor([[[False,  True],
                 [False,  True]]])
    """
    return maps > thresholds.to(maps.device).view(1, -1, *[1] * (maps.ndim - 2))


def region_codes(present: Tensor) -> Tensor:
    """Return the code of the region that every pixel belongs to.

    Args:
        present: (b, N, *S) bool, where each class is present.

    Returns:
        (b, *S) int32.

    Example:
        >>> region_codes(torch.tensor([[[True, False], [True, True]]]))
        tensor([[3, 2]], dtype=torch.int32)
    """
    codes = torch.zeros_like(present[:, 0], dtype=torch.int32)
    for bit in range(present.shape[1]):
        codes.add_(present[:, bit], alpha=1 << bit)
    return codes


def weight_table(classes: Sequence[str], weights: Mapping[str, float] | None = None) -> Tensor:
    """Return the weight of every region, to be looked up by code.

    Args:
        classes: the N class names.
        weights: weights by region name; regions that are not named weigh 1, the background too.

    Returns:
        (2^N,) float32.

    Raises:
        ConfigError: an unknown region, a region named twice, or a weight that is negative or not finite.

    Example:
        >>> weight_table(("ER", "NR"), {"ER": 3, "ER&NR": 6})
        tensor([1., 3., 1., 6.])
    """
    table = torch.ones(2 ** len(check_classes(classes)))
    named: dict[int, str] = {}
    for region, weight in (weights or {}).items():
        code = region_code(region, classes)
        if code in named:
            raise ConfigError(f"region_weights: {named[code]!r} and {region!r} are the same region")
        named[code] = region
        table[code] = check_weight(weight, f"region_weights.{region}")
    return table


def per_class(
    classes: Sequence[str],
    values: Mapping[str, float] | list[float] | tuple[float, ...] | float | None,
    default: float,
    where: str,
) -> Tensor:
    """Return one number per class from a mapping by name (unnamed: `default`), a number for each, or a single one.

    Raises:
        ConfigError: an unknown class, another number of them, or a number that is negative or not finite.

    Example:
        >>> per_class(("ER", "NR"), {"ER": 5}, 1.0, "class_weights")
        tensor([5., 1.])
    """
    if values is None:
        values = {}
    elif isinstance(values, list | tuple):
        if len(values) != len(classes):
            raise ConfigError(f"{where}: expected a number for each of {list(classes)}, found {list(values)}")
        values = dict(zip(classes, values, strict=True))
    elif not isinstance(values, Mapping):
        values = dict.fromkeys(classes, values)
    for name in values:
        if name not in classes:
            raise ConfigError(f"{where}: unknown class {name!r}; {nearest(name, classes)}")
    return torch.tensor([check_weight(values.get(name, default), f"{where}.{name}") for name in classes])


def check_weight(value: float, where: str) -> float:
    """Return `value` as a float.

    Raises:
        ConfigError: it is not a number, negative or not finite.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{where}: expected a number, found {value!r}") from None
    if not math.isfinite(number) or number < 0:
        raise ConfigError(f"{where}: expected a finite number of at least 0, found {value!r}")
    return number
