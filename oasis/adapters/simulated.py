"""A domain in one class: it places objects and simulates how they are measured; all else follows from it."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.base import Adapter
from oasis.adapters.options import DataOptions
from oasis.data.mixing import Placed, Scene, check_placed
from oasis.data.samples import Array, Scalar
from oasis.errors import ConfigError, DataError


class SimulatedOptions(DataOptions):
    """The section `data` of such a domain.

    Attributes:
        size: pixels of an image along each spatial axis, instead of those of the adapter.
    """

    size: tuple[int, ...] = ()


class SimulatedAdapter(Adapter[SimulatedOptions]):
    """An adapter without a scene of its own: `place` gives the objects of an image, `observe` measures their sum.

    Samples have the metadata `number_CLASS`: how many objects of a class were placed. A domain with options,
    context or other metadata defines a `scene` instead.

    Attributes:
        shape: (B, *S) of the image, from which the facts `bands` and `spatial_dims` follow.

    Raises:
        ConfigError: `shape` is missing, or `data.size` has another number of axes or lengths below 1.

    Example:
        >>> class Steps(SimulatedAdapter):
        ...     classes = ("step",)
        ...     shape = (1, 6)
        ...
        ...     def place(self, rng):
        ...         yield Placed("step", np.ones((1, 3), np.float32), (2,))
        >>> Steps().dataset("test")[0].image
        array([[0., 0., 1., 1., 1., 0.]], dtype=float32)
    """

    shape: tuple[int, ...] = ()

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)  # type: ignore[arg-type]
        name, size = type(self).__name__, self.options.size
        if not _is_shape(self.shape):
            raise ConfigError(
                f"{name}: shape is {self.shape}, expected bands and one to three spatial axes, such as (1, 64, 64)"
            )
        if size and (len(size) != self.spatial_dims or min(size) < 1):
            raise ConfigError(f"data.size: expected {self.spatial_dims} lengths of at least 1, found {list(size)}")
        self.shape = (self.bands, *(size or self.shape[1:]))

    @property
    def bands(self) -> int:
        """Number B of bands of an image and of every map."""
        return self.shape[0]

    @property
    def spatial_dims(self) -> int:
        """Number of spatial axes of an image: 1, 2 or 3."""
        return len(self.shape) - 1

    @abstractmethod
    def place(self, rng: np.random.Generator) -> Iterable[Placed]:
        """Return or yield the objects of one image, each alone.

        Args:
            rng: the generator of everything random in the image.
        """

    def observe(self, image: Array, rng: np.random.Generator) -> NDArray[np.floating]:
        """Return the measured image (B, *S): by default the sum of the maps.

        Args:
            image: (B, *S) the sum of the maps.
            rng: the generator of everything random in the image.
        """
        return image

    def scene(self, split: str) -> Scene:
        """Return the scene from which images are mixed."""
        return _Simulation(self)


def _is_shape(shape: object) -> bool:
    """Return whether this is the shape of an image: bands and one to three lengths, all integers of at least 1."""
    if not isinstance(shape, Sequence | np.ndarray) or not 2 <= len(shape) <= 4:
        return False
    return all(isinstance(length, int | np.integer) and length >= 1 for length in shape)


class _Simulation(Scene):
    """The scene of an adapter that places and observes itself."""

    def __init__(self, adapter: SimulatedAdapter) -> None:
        self.adapter = adapter
        self.classes = adapter.classes
        self.shape = adapter.shape

    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Scalar]]:
        """Return the objects of one image, and how many there are of each class."""
        given: object = self.adapter.place(rng)
        if not isinstance(given, Iterable):
            kind = type(self.adapter).__name__
            raise DataError(f"{kind}.place: expected a list of Placed, found {type(given).__name__}: yield each")
        placed = list(given)
        for one in placed:
            check_placed(one)
        return placed, {f"number_{name}": sum(one.name == name for one in placed) for name in self.classes}

    def observe(
        self, target: Array, placed: Sequence[Placed], rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the measured image, which is valid everywhere."""
        image = np.asarray(self.adapter.observe(target.sum(axis=0), rng), dtype=np.float32)
        return image, np.ones((1, *self.shape[1:]), dtype=bool)
