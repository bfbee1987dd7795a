"""Scene: cells with nuclei, vesicles and filaments, as a camera sees them."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oasis.adapters.cells.options import CellsOptions
from oasis.adapters.cells.shapes import Floats, Stamp, course, filaments, nucleus, vesicles
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
        return self.place_all([index], [rng])[0]

    def place_all(
        self, indices: Sequence[int], rngs: Sequence[np.random.Generator]
    ) -> list[tuple[list[Placed], dict[str, Scalar]]]:
        """Return the objects of several images: random numbers are drawn image by image, stamps all at once."""
        drawn = _Drawn([], [], [])
        names = [self._draw(drawn, rng) for rng in rngs]
        stamps = {
            NUCLEUS: iter(drawn.nuclei),
            VESICLE: iter(vesicles(*_columns(drawn.vesicles))),
            FILAMENT: iter(
                filaments(
                    np.array([light for light, _ in drawn.filaments]),
                    [points for _, points in drawn.filaments],
                    self.options.blur,
                )
            ),
        }
        found = []
        for own in names:
            counts: dict[str, Scalar] = {name: own.count(name) for name in CLASSES}
            found.append(([_placed(name, next(stamps[name])) for name in own], counts))
        return found

    def _draw(self, drawn: "_Drawn", rng: np.random.Generator) -> list[str]:
        """Draw the objects of one image, and return the class of each in order."""
        options = self.options
        there = dict(zip(CLASSES, rng.random(len(CLASSES)) < options.presence, strict=True))
        draw = {NUCLEUS: self._nucleus, VESICLE: self._vesicles, FILAMENT: self._filaments}
        names: list[str] = []
        for _ in range(_number(options.cells, rng)):
            centre = rng.uniform(-MARGIN, np.array(options.size) + MARGIN)
            for name in CLASSES:
                if there[name]:
                    names += [name] * draw[name](drawn, centre, rng)
        return names

    def _nucleus(self, drawn: "_Drawn", centre: Floats, rng: np.random.Generator) -> int:
        options = self.options
        radius, ratio = rng.uniform(*options.nucleus_radius), np.sqrt(rng.uniform(FLATTEST, 1))
        axes = radius * np.array([1 / ratio, ratio])
        peak = float(rng.uniform(*options.nucleus_peak))
        drawn.nuclei.append(nucleus(peak, centre, axes, options.texture, options.blur, rng))
        return 1

    def _vesicles(self, drawn: "_Drawn", centre: Floats, rng: np.random.Generator) -> int:
        options, number = self.options, _number(self.options.vesicles, rng)
        for _ in range(number):
            at = centre + rng.normal(0, options.spread, 2)
            width = float(np.hypot(rng.uniform(*options.vesicle_width), options.blur))
            drawn.vesicles.append((_log_uniform(options.vesicle_light, rng), at, width))
        return number

    def _filaments(self, drawn: "_Drawn", centre: Floats, rng: np.random.Generator) -> int:
        options, number = self.options, _number(self.options.filaments, rng)
        for _ in range(number):
            start = centre + rng.normal(0, options.spread, 2)
            light, length = _log_uniform(options.filament_light, rng), float(rng.uniform(*options.filament_length))
            points = start + course(length, options.persistence, rng)
            drawn.filaments.append((light * length / len(points), points))
        return number

    def observe(
        self, target: Array, placed: Sequence[Placed], rng: np.random.Generator
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the light of all classes and of the background as the camera measures it, in photoelectrons."""
        light = target.sum(axis=0) + rng.uniform(*self.options.background)
        return self.options.camera.observe(light, rng), np.ones((1, *self.options.size), dtype=bool)


class _Drawn(NamedTuple):
    """Objects of several images, in the order in which they were drawn.

    Attributes:
        nuclei: their stamps.
        vesicles: light, centre and width of each.
        filaments: light per point, and points (k, 2), of each.
    """

    nuclei: list[Stamp]
    vesicles: list[tuple[float, Floats, float]]
    filaments: list[tuple[float, Floats]]


def _columns(vesicles: Sequence[tuple[float, Floats, float]]) -> tuple[Floats, Floats, Floats]:
    light, at, width = zip(*vesicles, strict=True) if vesicles else ((), (), ())
    return np.array(light), np.array(at).reshape(-1, 2), np.array(width)


def _placed(name: str, stamp: Stamp) -> Placed:
    return Placed(name, stamp.light[None], stamp.origin, {"light": float(stamp.light.sum(dtype=float))})


def _number(bounds: tuple[int, int], rng: np.random.Generator) -> int:
    return int(rng.integers(bounds[0], bounds[1] + 1))


def _log_uniform(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(bounds))))
