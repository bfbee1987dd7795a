"""Random numbers of the rows of a table, each row from the generator of its own sample.

Simulating several samples at once is several times faster than one by one, but a sample must not depend on those
that are made beside it. So only the arithmetic is shared, and the random numbers are not.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Draws:
    """A source of random numbers for n rows, with the names of the methods of `numpy.random.Generator`.

    Every method returns one number, or one array, per row. The rows of a sample get what its generator alone would
    return for them.

    Args:
        generators: one generator per sample.
        of: (n,) the sample of each row, in increasing order; by default one row per sample.

    Example:
        >>> two = Draws([np.random.default_rng(seed) for seed in (0, 1)], np.array([0, 0, 1]))
        >>> two.random(3).round(2), np.random.default_rng(0).random(2).round(2)
        (array([0.64, 0.27, 0.51]), array([0.64, 0.27]))
    """

    def __init__(
        self, generators: Sequence[np.random.Generator], of: NDArray[np.integer[Any]] | None = None
    ) -> None:
        count = len(generators)
        self.generators = generators
        self.of = np.arange(count) if of is None else of
        ends = np.searchsorted(self.of, np.arange(count + 1)).tolist()
        self._parts = [
            (generator, slice(first, end))
            for generator, first, end in zip(generators, ends[:-1], ends[1:], strict=True)
            if end > first
        ]

    def __len__(self) -> int:
        return len(self.of)

    def rows(self, chosen: NDArray[Any]) -> "Draws":
        """Return the source of some of the rows, chosen by a mask or by indices in increasing order."""
        return Draws(self.generators, self.of[chosen])

    def random(self, size: int | tuple[int, ...]) -> Floats:
        """Return numbers uniform from 0 to 1."""
        return self._each(size, lambda rng, _, shape: rng.random(shape))

    def uniform(self, low: ArrayLike, high: ArrayLike, size: int | tuple[int, ...] | None = None) -> Floats:
        """Return uniform numbers; bounds may be those of each number."""
        low, width = np.asarray(low, float), np.asarray(high, float) - np.asarray(low, float)
        return np.asarray(low + width * self.random(len(self) if size is None else size))

    def standard_normal(self, size: int | tuple[int, ...]) -> Floats:
        """Return normal numbers of mean 0 and variance 1."""
        return self._each(size, lambda rng, _, shape: rng.standard_normal(shape))

    def normal(self, mean: Floats, sigma: Floats) -> Floats:
        """Return normal numbers of the mean and standard deviation of each row."""
        return np.asarray(mean + sigma * self.standard_normal(len(mean)))

    def gamma(self, shape: Floats, scale: Floats) -> Floats:
        """Return gamma-distributed numbers of the shape and scale of each row."""
        drawn: Floats = self._each(len(shape), lambda rng, part, _: rng.standard_gamma(shape[part]))
        return drawn * scale

    def integers(self, high: int, size: int) -> Integers:
        """Return integers from 0 to below a bound."""
        return self._each(size, lambda rng, _, shape: rng.integers(high, size=shape), np.int64)

    def poisson(self, mean: Floats) -> Integers:
        """Return Poisson numbers of the mean of each row."""
        return self._each(len(mean), lambda rng, part, _: rng.poisson(mean[part]), np.int64)

    def _each(self, size: int | tuple[int, ...], draw: Callable[..., Any], kind: Any = np.float64) -> NDArray[Any]:
        shape = (size,) if isinstance(size, int) else size
        if shape[0] != len(self):
            raise ValueError(f"numbers for {shape[0]} rows, but this is the source of {len(self)}")
        drawn = [draw(rng, part, (part.stop - part.start, *shape[1:])) for rng, part in self._parts]
        return np.concatenate(drawn) if drawn else np.empty(shape, kind)


Random = np.random.Generator | Draws


def of_rows(rng: Random, chosen: NDArray[Any]) -> Random:
    """Return the source of some of the rows; a single generator is that of any."""
    return rng.rows(chosen) if isinstance(rng, Draws) else rng
