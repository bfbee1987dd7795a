"""Grid: images of the sky on another pixel scale, and where their pixels lie on the sky."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from oasis.adapters.galaxy.cutout import Cutout, Reading
from oasis.adapters.galaxy.fits import common_geometry, planes_of
from oasis.adapters.galaxy.places import places_of
from oasis.data.samples import Array
from oasis.errors import DataError

SAME = 1e-3
"""Relative difference of pixel scales up to which they are the same."""


def resample(images: NDArray[Any], pixel_scale: float, new_scale: float, power: int = 1) -> Array:
    r"""Resample images to another pixel scale with the same centre; flux is conserved.

    .. math:: f'_{ij} = \sum_{kl} A_{ik} A_{jl} f_{kl}

    with :math:`A_{ik}` the fraction of the old pixel `k` that lies in the new pixel `i` along one axis: exact for
    parallel grids. New pixels lie entirely within the image; the remainder at its edges is lost.

    Args:
        images: (..., H, W) flux per pixel.
        pixel_scale: the pixel scale of the images, arcsec.
        new_scale: arcsec.
        power: of the fractions A: 2 for the variance of independent pixels.

    Raises:
        DataError: the image is smaller than one new pixel.

    Example:
        >>> resample(np.ones((3, 3)), 1.0, 1.5)
        array([[2.25, 2.25],
               [2.25, 2.25]], dtype=float32)
    """
    ratio = new_scale / pixel_scale
    height, width = images.shape[-2:]
    rows, cols = _overlap(height, ratio), _overlap(width, ratio)
    if not rows.shape[0] or not cols.shape[0]:
        raise DataError(f"an image of {height} x {width} pixels is smaller than one of {new_scale:g} arcsec")
    rows, cols = rows.power(power), cols.power(power)
    flat = images.reshape(-1, height, width).astype(np.float64)
    new = np.stack([rows @ image @ cols.T for image in flat])
    return np.ascontiguousarray(new.reshape(*images.shape[:-2], *new.shape[1:]), np.float32)


def _overlap(length: int, ratio: float) -> sparse.csr_array:
    """Return the fraction of each old pixel in each new one, `ratio` old pixels long, along one axis."""
    count = int(length / ratio + 1e-6)
    edges = (length - count * ratio) / 2 + ratio * np.arange(count + 1)
    old = np.arange(length)
    shares = np.minimum(edges[1:, None], old + 1) - np.maximum(edges[:-1, None], old)
    return sparse.csr_array(np.clip(shares, 0, None))


def nearest_scale(found: float, wanted: float | tuple[float, float]) -> float:
    """Return the pixel scale that an image is put on: its own within the wanted range, else the nearest.

    Example:
        >>> nearest_scale(0.25, (0.2, 0.3)), nearest_scale(0.25, 0.262)
        (0.25, 0.262)
    """
    low, high = wanted if isinstance(wanted, tuple) else (wanted, wanted)
    return min(max(found, low), high)


def on_grid(cutout: Cutout, pixel_scale: float) -> Cutout:
    """Return an image on a grid of another pixel scale, arcsec, with the same centre; see `resample`.

    A pixel that a bad one reaches into is bad. Inverse variances are those of independent pixels.
    """
    old = cutout.pixel_scale
    if math.isclose(old, pixel_scale, rel_tol=SAME):
        return cutout

    def reached(plane: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return resample(plane, old, pixel_scale) > 1e-3

    weights = cutout.inverse_variance
    if weights is not None:
        variance = np.divide(1, weights, out=np.zeros_like(weights), where=weights > 0)
        variance = resample(variance, old, pixel_scale, power=2)
        weights = np.divide(1, variance, out=np.zeros_like(variance), where=variance > 0)
    return replace(
        cutout,
        flux=resample(cutout.flux, old, pixel_scale),
        pixel_scale=pixel_scale,
        inverse_variance=weights,
        bad=None if cutout.bad is None else reached(cutout.bad),
        flags={name: reached(plane) for name, plane in cutout.flags.items()},
    )


def deviation(inverse_variance: Array) -> Array:
    """Return the standard deviation of pixels, 0 where it is unknown."""
    found = np.zeros_like(inverse_variance)
    np.divide(1, inverse_variance, out=found, where=inverse_variance > 0)
    return np.sqrt(found, out=found)


class Grid:
    """Where the pixels of a FITS image lie on the sky, after it was put on a grid of another pixel scale.

    Args:
        path: the path of the file.
        pixel_scale: of the grid, arcsec, or the smallest and the largest that images may keep.
        reading: facts that the file does not state.
        bands: the wanted bands.

    Raises:
        DataError: a file that cannot be read, or has no world coordinate system.
    """

    def __init__(
        self, path: Path, pixel_scale: float | tuple[float, float], reading: Reading, bands: Sequence[str] = ()
    ) -> None:
        with planes_of(path, bands, headers=True) as planes:
            images = planes["image"]
            places = places_of(path, images[0].header)
            if places is None:
                raise DataError(
                    f"{path}: has no world coordinate system (CTYPE1, CD1_1): give positions in pixels"
                )
            scale, _, _ = common_geometry(path, images, reading)
        self.places, self.size = places, tuple(images[0].shape[1:])
        wanted = nearest_scale(scale, pixel_scale)
        if not math.isclose(scale, wanted, rel_tol=SAME):
            self.places, self.size = places.rescaled(self.size, wanted / scale)

    def to_pixels(self, sky: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return rows and columns (k, 2) of positions (k, 2): right ascension and declination, degrees."""
        columns, rows = self.places.to_pixels(sky)
        return np.stack([rows, columns], axis=1)

    def to_sky(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return right ascension and declination (k, 2), degrees, of rows and columns (k, 2)."""
        return self.places.to_sky(places[:, 1], places[:, 0])

    def cards(self, start: Sequence[int]) -> dict[str, Any]:
        """Return the cards of the world coordinate system of a part of the image that starts at (row, column)."""
        return self.places.cards(start)
