"""Places: right ascension and declination (ICRS) of pixels, whatever the coordinates of an image are.

References:
    Calabretta & Greisen (2002), A&A 395, 1077: celestial coordinates in FITS.
    Shupe et al. (2005), ASP Conf. Ser. 347, 491: the distortion polynomials of SIP.
"""

from collections.abc import Sequence
from math import cos, degrees, radians, sin
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from oasis.errors import import_extra
from oasis.io.files import reading

J2000: Final = ("icrs", "fk5")
"""Frames that are the same to 0.03 arcsec, FK5 at the equinox of 2000."""


class Places:
    """The world coordinate system of an image.

    Args:
        path: the path of the file, for messages.
        system: of astropy, with two axes on the sky.

    Raises:
        DataError: its coordinates are not on the sky of the Earth, such as those of a planet.
    """

    def __init__(self, path: Path, system: Any) -> None:
        self.path, self.wcs = path, system
        utils = import_extra("astropy.wcs.utils", "galaxy")
        with reading(path, "a world coordinate system that is not known"):
            self.frame = utils.wcs_to_celestial_frame(system)
            self.scales = 3600 * np.asarray(utils.proj_plane_pixel_scales(system))
        equinox = getattr(self.frame, "equinox", None)
        self.as_it_is = self.frame.name in J2000 and (equinox is None or abs(equinox.jyear - 2000) < 1e-6)

    def to_sky(self, columns: Any, rows: Any) -> NDArray[np.float64]:
        """Return right ascension and declination (..., 2) of pixels, degrees."""
        found = self.wcs.pixel_to_world_values(columns, rows)
        longitude, latitude = found[self.wcs.wcs.lng], found[self.wcs.wcs.lat]
        if not self.as_it_is:
            longitude, latitude = self._converted(longitude, latitude, self.frame, "icrs")
        return np.stack([longitude, latitude], axis=-1)

    def to_pixels(self, sky: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return columns and rows of right ascension and declination (k, 2), degrees; NaN where there are none."""
        longitude, latitude = sky[:, 0], sky[:, 1]
        if not self.as_it_is:
            longitude, latitude = self._converted(longitude, latitude, "icrs", self.frame)
        world = [longitude, latitude] if self.wcs.wcs.lng == 0 else [latitude, longitude]
        columns, rows = self.wcs.world_to_pixel_values(*world)
        return columns, rows

    def _converted(self, longitude: Any, latitude: Any, old: Any, new: Any) -> tuple[Any, Any]:
        coordinates, units = (import_extra(f"astropy.{name}", "galaxy") for name in ("coordinates", "units"))
        with reading(self.path, "positions that are not on the sky"):
            there = coordinates.SkyCoord(longitude, latitude, unit=units.deg, frame=old).transform_to(new)
        return there.spherical.lon.wrap_at(360 * units.deg).deg, there.spherical.lat.deg

    def rescaled(self, size: Sequence[int], ratio: float) -> tuple["Places", tuple[int, ...]]:
        """Return the places and the size of the grid that `oasis.adapters.galaxy.grid.resample` makes.

        Args:
            size: rows and columns of the image.
            ratio: the side of the new pixels in old ones.
        """
        counts = tuple(int(length / ratio + 1e-6) for length in size)
        edges = [(length - count * ratio) / 2 for length, count in zip(size[::-1], counts[::-1], strict=True)]

        def moved(pixels: Any) -> NDArray[np.float64]:
            return (np.asarray(pixels) - 0.5 - edges) / ratio + 0.5

        new, sip = self.wcs.deepcopy(), self.wcs.sip
        new.wcs.crpix = moved(self.wcs.wcs.crpix)
        if new.wcs.has_cd():
            new.wcs.cd = self.wcs.wcs.cd * ratio
        else:
            new.wcs.cdelt = self.wcs.wcs.cdelt * ratio
        if sip is not None:
            # f(u, v) is in pixels too: each coefficient of order p + q is of pixels^(1 - p - q)
            terms = [None if one is None else _in_pixels(one, ratio) for one in (sip.a, sip.b, sip.ap, sip.bp)]
            new.sip = import_extra("astropy.wcs", "galaxy").Sip(*terms, moved(sip.crpix))
        new.wcs.set()
        return Places(self.path, new), counts

    def cards(self, start: Sequence[int]) -> dict[str, Any]:
        """Return the cards of the coordinate system of a part of the image that starts at (row, column)."""
        cards = dict(self.wcs.to_header(relax=True))  # with distortions
        cards["CRPIX1"] = cards.get("CRPIX1", 0.0) - start[1]
        cards["CRPIX2"] = cards.get("CRPIX2", 0.0) - start[0]
        return cards


def direction(ra: float, dec: float) -> tuple[float, float, float]:
    """Return the direction of a position, with a length such that small distances are in arcsec.

    Distances are right at every declination, and across a right ascension of 0.

    Example:
        >>> from math import dist
        >>> round(dist(direction(359.9999, 60.0), direction(0.0001, 60.0)), 3)
        0.36
    """
    length = degrees(1) * 3600
    around, up = radians(ra), radians(dec)
    return length * cos(up) * cos(around), length * cos(up) * sin(around), length * sin(up)


def _in_pixels(coefficients: NDArray[np.float64], ratio: float) -> NDArray[np.float64]:
    """Return the coefficients (p, q) of SIP in pixels of a side of `ratio` old ones."""
    orders = np.arange(len(coefficients))
    return np.asarray(coefficients * ratio ** (orders[:, None] + orders - 1.0))


def places_of(path: Path, header: Any) -> Places | None:
    """Return where the pixels of an image are by its header, or None if it has no world coordinate system.

    Raises:
        DataError: one that cannot be read.
    """
    with reading(path, "a world coordinate system that cannot be read"):
        system = import_extra("astropy.wcs", "galaxy").WCS(header, naxis=2)
        known = system.has_celestial
    return Places(path, system) if known else None
