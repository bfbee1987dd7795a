"""Duplicates: an image that was read before, under another name or from another file."""

import hashlib
from math import cos, floor, hypot, isfinite, radians
from typing import Final

from oasis.adapters.galaxy.cutout import Cutout

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
        self._places: dict[tuple[int, int], list[tuple[float, float, str]]] = {}

    def add(self, cutout: Cutout) -> str | None:
        """Remember an image, and return the name of the earlier one that it repeats, if it does."""
        digest = hashlib.sha256(cutout.flux.tobytes()).digest()
        earlier = self._pixels.setdefault(digest, cutout.name)
        if earlier is not cutout.name:
            return earlier
        return self._near(cutout.ra, cutout.dec, cutout.name) if isfinite(cutout.ra) else None

    def _near(self, ra: float, dec: float, name: str) -> str | None:
        """Return the earlier image whose centre is near, or keep this one."""
        y, x = 3600 * dec, 3600 * (ra % 360) * cos(radians(dec))
        row, column = floor(y / SAME), floor(x / SAME)
        for cell in ((row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)):
            for other_y, other_x, other in self._places.get(cell, ()):
                if hypot(other_y - y, other_x - x) < SAME:
                    return other
        self._places.setdefault((row, column), []).append((y, x, name))
        return None
