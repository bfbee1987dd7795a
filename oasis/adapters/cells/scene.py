"""Scene: cells with nuclei, vesicles and filaments, as a camera sees them."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.cells.options import CellsOptions
from oasis.adapters.cells.shapes import Floats, Stamp, filament, nucleus, vesicle
from oasis.data.mixing import Placed, Scene
from oasis.data.samples import Array, Scalar

NUCLEUS, VESICLE, FILAMENT = CLASSES = ("nucleus", "vesicle", "filament")
MARGIN: Final = 10.0  # pixels outside the image in which centres of cells lie too
FLATTEST: Final = 0.7  # ratio of the semi-axes of a nucleus


class CellsScene(Scene):
    """Places cells at random; vesicles and filaments lie around the centres of cells, also over their nuclei.

    Args:
        options: the section `data`.
    """

    classes = CLASSES

    def __init__(self, options: CellsOptions) -> None:
        self.options = options
        self.shape = (1, *options.size)

    def place(self, index: int, rng: np.random.Generator) -> tuple[list[Placed], dict[str, Scalar]]:
        """Return the objects of one image and their numbers by class."""
        options = self.options
        there = dict(zip(CLASSES, rng.random(len(CLASSES)) < options.presence, strict=True))
        draw = {NUCLEUS: self._nuclei, VESICLE: self._vesicles, FILAMENT: self._filaments}
        placed: list[Placed] = []
        for _ in range(_number(options.cells, rng)):
            centre = rng.uniform(-MARGIN, np.array(options.size) + MARGIN)
            for name in CLASSES:
                if there[name]:
                    placed += [self._placed(name, stamp) for stamp in draw[name](centre, rng)]
        counts: dict[str, Scalar] = {name: sum(one.name == name for one in placed) for name in CLASSES}
        return placed, counts

    @staticmethod
    def _placed(name: str, stamp: Stamp) -> Placed:
        return Placed(name, stamp.light[None], stamp.origin, {"light": float(stamp.light.sum(dtype=float))})

    def _nuclei(self, centre: Floats, rng: np.random.Generator) -> Iterator[Stamp]:
        options = self.options
        radius, ratio = rng.uniform(*options.nucleus_radius), np.sqrt(rng.uniform(FLATTEST, 1))
        axes = radius * np.array([1 / ratio, ratio])
        peak = float(rng.uniform(*options.nucleus_peak))
        yield nucleus(peak, centre, axes, options.texture, options.blur, rng)

    def _vesicles(self, centre: Floats, rng: np.random.Generator) -> Iterator[Stamp]:
        options = self.options
        for _ in range(_number(options.vesicles, rng)):
            at = centre + rng.normal(0, options.spread, 2)
            width = float(np.hypot(rng.uniform(*options.vesicle_width), options.blur))
            yield vesicle(_log_uniform(options.vesicle_light, rng), at, width)

    def _filaments(self, centre: Floats, rng: np.random.Generator) -> Iterator[Stamp]:
        options = self.options
        for _ in range(_number(options.filaments, rng)):
            start = centre + rng.normal(0, options.spread, 2)
            light, length = _log_uniform(options.filament_light, rng), float(rng.uniform(*options.filament_length))
            yield filament(light, start, length, options.persistence, options.blur, rng)

    def observe(
        self, target: Array, placed: Sequence[Placed], rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the light of all classes and of the background as the camera measures it, in photoelectrons."""
        light = target.sum(axis=0) + rng.uniform(*self.options.background)
        return self.options.camera.observe(light, rng), np.ones((1, *self.options.size), dtype=bool)


def _number(bounds: tuple[int, int], rng: np.random.Generator) -> int:
    return int(rng.integers(bounds[0], bounds[1] + 1))


def _log_uniform(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))
