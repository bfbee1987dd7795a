"""Duplicates: an image that was read before, under another name or from another file."""

import hashlib
from collections.abc import Mapping
from itertools import product
from math import dist, floor, isfinite
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from oasis.adapters.galaxy.cutout import Cutout
from oasis.adapters.galaxy.places import direction

SAME: Final = 1.0  # arcsec: centres that are nearer to each other are those of one galaxy


class Seen:
    """The images that were read, known by the position of their centre and by their pixels.

    Example:
        >>> import numpy as np
        >>> first = Cutout(np.ones((1, 2, 2), np.float32), ("r",), 0.2, "first", ra=10.0, dec=0.0)
        >>> same = Cutout(np.zeros((1, 2, 2), np.float32), ("r",), 0.2, "same", ra=10.0, dec=0.5 / 3600)
        >>> seen = Seen()
        >>> seen.add(first), seen.add(same)
        (None, 'first')
    """

    def __init__(self) -> None:
        self._pixels: dict[bytes, str] = {}
        self._places: dict[tuple[int, ...], list[tuple[tuple[float, ...], str]]] = {}

    def add(self, cutout: Cutout) -> str | None:
        """Remember an image, and return the name of the earlier one that it repeats, if it does."""
        digest = hashlib.sha256(cutout.flux.tobytes()).digest()
        earlier = self._pixels.setdefault(digest, cutout.name)
        if earlier is not cutout.name:
            return earlier
        return self._near(cutout.ra, cutout.dec, cutout.name) if isfinite(cutout.ra) else None

    def _near(self, ra: float, dec: float, name: str) -> str | None:
        """Return the earlier image whose centre is near, or keep this one."""
        place = direction(ra, dec)
        cell = tuple(floor(one / SAME) for one in place)
        for step in product((-1, 0, 1), repeat=3):
            for other, earlier in self._places.get(tuple(map(sum, zip(cell, step, strict=True))), ()):
                if dist(other, place) < SAME:
                    return earlier
        self._places.setdefault(cell, []).append((place, name))
        return None


def together(
    table: Mapping[str, NDArray[Any]], count: int, splits: Mapping[str, NDArray[np.intp]]
) -> dict[str, NDArray[np.intp]]:
    """Return splits in which galaxies at the same place of the sky, of several libraries, are in the same one.

    Each goes to the split of the first at its place; galaxies without a position stay where they are.

    Args:
        table: the columns of the galaxies, of which `ra` and `dec` may be missing.
        count: how many of them are measured.
        splits: the numbers of the galaxies of each split.

    Example:
        >>> table = {"ra": np.array([5.0, 7.0, 5.0]), "dec": np.zeros(3)}
        >>> splits = {"train": np.array([0, 1]), "test": np.array([2])}
        >>> {name: part.tolist() for name, part in together(table, 3, splits).items()}
        {'train': [0, 1, 2], 'test': []}
    """
    if not {"ra", "dec"} <= {*table}:
        return dict(splits)
    positions = np.stack([table["ra"][:count], table["dec"][:count]], axis=1).astype(float)
    known = np.flatnonzero(np.isfinite(positions).all(axis=1))
    places = np.array([direction(*one) for one in positions[known].tolist()]).reshape(-1, 3)
    first = np.arange(count)
    for one, other in sorted(cKDTree(places).query_pairs(SAME)) if len(known) else ():
        low, high = sorted((known[one], known[other]))
        first[high] = min(first[high], first[low])
    of = np.full(count, -1)
    for number, part in enumerate(splits.values()):
        of[part] = number
    of = of[first]
    return {name: np.flatnonzero(of == number) for number, name in enumerate(splits)}
