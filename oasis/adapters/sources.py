"""Sources: objects of an image that were separated one by one, of which a domain makes rows of a catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oasis.data.samples import Array


class Column(NamedTuple):
    """A column of a catalogue: a value for every source, its unit as astropy spells it, and what it is."""

    values: NDArray[Any]
    unit: str = ""
    description: str = ""


@dataclass(frozen=True)
class Sources:
    """Objects of an image, each in the middle of a window of the size in training.

    Attributes:
        maps: (k, B, *S) the light of each.
        rest: (k, B, *S) the light of all others in its window.
        image: (k, B, *S) what was measured, bad pixels filled in, 0 outside of the image.
        good: (k, 1, *S) pixels that are inside of the image and not bad.
        inside: (k, 1, *S) pixels inside of the image.
        flags: (k, 1, *S) pixels that are bad for a reason, by reason.
        deviation: (k, B, *S) noise of each pixel, 0 where unknown, or None.
        places: (k, spatial axes) where each was detected, pixels of the image.
        starts: (k, spatial axes) the first pixel of each window, which may lie outside of the image.
        facts: what is known of the image, by name.
        noise: (B,) the noise of the image's background, measured.
        path: the path of the image.
    """

    maps: Array
    rest: Array
    image: Array
    good: NDArray[np.bool_]
    inside: NDArray[np.bool_]
    flags: Mapping[str, NDArray[np.bool_]]
    deviation: Array | None
    places: NDArray[np.float64]
    starts: NDArray[np.intp]
    facts: Mapping[str, float]
    noise: NDArray[np.float64]
    path: Path = field(default_factory=Path)

    def __len__(self) -> int:
        return len(self.maps)

    def centroids(self) -> NDArray[np.float64]:
        """Return the centroid of each map (k, spatial axes) in pixels of the image; of an empty one its place."""
        light = self.maps.sum(axis=1, dtype=np.float64)
        total = light.sum(axis=tuple(range(1, light.ndim)))
        found = self.places.copy()
        lit = total > 0
        for axis in range(light.ndim - 1):
            others = tuple(at for at in range(1, light.ndim) if at != axis + 1)
            along = light.sum(axis=others) @ np.arange(light.shape[axis + 1])
            found[lit, axis] = along[lit] / total[lit] + self.starts[lit, axis]
        return found
